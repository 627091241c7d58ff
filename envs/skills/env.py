"""icarus/Skills-v0: one session under a numeric action."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import InvalidAction, ResetNeeded

from client_graph.catalog import Catalog
from client_graph.client import ClientGraph
from client_graph.names import DIMENSIONS, PHASES
from client_graph.personhood import Person
from client_graph.settings import ClientSettings
from envs.arguments import checked_options
from envs.skills.arguments import sessions_of, voice_problems
from envs.skills.drawing import RENDER_MODES, frame
from envs.skills.observation import observation_space
from envs.skills.outcome import CLOSED_WELL, ENDINGS, LEFT, PARTS, TURN_LIMIT
from envs.skills.response import ResponseModel
from envs.skills.sessions import SkillsSnapshot, Turned, checked_emphasis, new_observation
from envs.skills.snapshot import Talk
from envs.skills.speech import Speech, speech_of
from envs.skills.vector import action_space
from envs.voice import ClientVoice
from rewards.settings import RewardSettings

_FIRST = np.zeros(1, dtype=np.int64)


class SkillsEnv(gym.Env[np.ndarray, np.ndarray]):
    """One session with a simulated client, in numbers. Research software: a simulator, not for clinical use.

    Action: Box(0, 1, (12,)) float32, the therapist's emphasis on each judge dimension, in the order of
    client_graph.names.DIMENSIONS. Together they count for at most the budget (4): more is scaled down to it, in proportion; less
    stays as it is, for a therapist may do less. NaN, infinite numbers, numbers outside [0, 1] and other shapes raise
    gymnasium.error.InvalidAction, and nothing is changed.

    Observation: Box (10,) float32, the columns of `envs.skills.observation`: five noisy signals of the client in [-5, 20], how
    the client stands and what passes at this moment in one; how the last turn seems to have gone in [0, 10] (-1 before a first
    turn), stage 1..4, turn, stance 0..2, session from 1. Never the phase, nor the marker.

    A response model (envs/skills/response.py) gives twelve scores in [0, 10] from emphasis, client, phase, stage, the marker of
    the moment (what the client does now: reaching, withdrawing, ...), how the day is, and noise; the client takes its turn under
    them, as in Session-v0, and the reward is the same: the sum of `info["reward_parts"]`.

    Episode: as Session-v0. Truncated after `max_turns` turns; terminated when the client leaves (the alliance falls below 0.6
    of what the session began with) or the session closes well (three turns in phase D). Options of `reset`: `stage`,
    `strategy`, `concern`, or `same_client` for the next session of the client whose last one is over.

    Info, the truth: `phase` (a letter), `marker` (a name of configs/envs/skills_markers.csv), `alliance` in [0, 1],
    `signals` (5,) in [0, 10]; of a turn `scores` (12,), `composite`, `reward_parts`, `phase_step`, `rupture`, `stage_step`,
    `ending`; of a client who speaks `client` and `client_reasoning`.

    Args:
        client: "silent", "authored", or a ClientVoice: whose words are in `info` and in pictures, and change nothing.
        judge: "response", or a ResponseModel.
        catalog: a folder of client tables, a Catalog, or None for configs/client.
        stage: treatment stage 1..4 of every client, or None to draw it.
        max_turns: turns of a session.
        reward: scales of the reward's parts.
        settings: gains of the client's dynamics.
        signal_noise: standard deviation of what is seen of a signal, in level points.
        felt_noise: standard deviation of `felt_last_turn`, in score points.
        render_mode: "ansi" (text), "rgb_array" (a picture), "human" (text printed at every reset and step) or None. With any of
            them `client_view` knows the last turn, and a step takes longer.
    """

    metadata = {"render_modes": RENDER_MODES, "render_fps": 1}  # noqa: RUF012  # the name and form are Gymnasium's

    def __init__(
        self,
        client: str | ClientVoice = "silent",
        judge: str | ResponseModel = "response",
        catalog: str | Path | Catalog | None = None,
        stage: int | None = None,
        max_turns: int = 20,
        reward: RewardSettings | None = None,
        settings: ClientSettings | None = None,
        signal_noise: float = 0.5,
        felt_noise: float = 1.0,
        render_mode: str | None = None,
    ) -> None:
        self.sessions = sessions_of(
            1, judge=judge, catalog=catalog, stage=stage, max_turns=max_turns, reward=reward, settings=settings,
            signal_noise=signal_noise, felt_noise=felt_noise, render_mode=render_mode, render_modes=RENDER_MODES,
            also=voice_problems(client),
        )  # fmt: skip
        self._speech: Speech | None = speech_of(client, self.sessions.catalog)
        self.render_mode = render_mode
        self.action_space, self.observation_space = action_space(), observation_space(int(max_turns))
        self._begun = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """A new client, or with `same_client` the next session of the one before. A refused reset changes nothing."""
        same_client, wishes = checked_options(options)
        if same_client and not (self._begun and self.sessions.running.over[0]):
            raise ResetNeeded("same_client needs a session that has ended; reset without it first")
        observation = new_observation(1)
        kept = self._np_random, self._np_random_seed, deepcopy(self.np_random.bit_generator.state)
        before = self._before_words()
        try:
            super().reset(seed=seed)
            if same_client:
                self.sessions.go_on(_FIRST, observation)
            else:
                word = self.np_random.bit_generator.random_raw()
                self.sessions.begin(_FIRST, np.array([word], dtype=np.uint64), observation, **wishes)
            info = self._truth()
            if self._speech is not None:
                info |= self._speech.begin(self.sessions)
        except BaseException:
            self._np_random, self._np_random_seed = kept[:2]
            self.np_random.bit_generator.state = kept[2]
            self._back_to(before)
            raise
        self._begun = True
        self._show()
        return observation[0], info

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One turn: score the emphasis, move the client. A voice that fails raises ClientFailed, and nothing is changed."""
        if not self._begun:
            raise ResetNeeded("no session yet; call reset() first")
        if self.sessions.running.over[0]:
            raise ResetNeeded("the session is over; call reset() for the next one")
        emphasis = checked_emphasis(_alone(action), 1)
        before = self._before_words()
        try:
            turned = self.sessions.turn(emphasis)
            result, ending = turned.result, int(turned.result.ending[0])
            info = self._truth() | self._turn_told(turned, ending)
            if self._speech is not None:
                info |= self._speech.answer(self.sessions, turned, emphasis)
        except BaseException:
            self._back_to(before)
            raise
        self._show()
        ended_itself = ending in (LEFT, CLOSED_WELL)
        return result.observation[0], float(result.reward[0]), ended_itself, ending == TURN_LIMIT, info

    def snapshot(self) -> SkillsSnapshot:
        """Everything that a later `restore` needs to go on from here, byte for byte, words too; shares no memory with the env."""
        if not self._begun:
            raise ResetNeeded("nothing to keep yet; call reset() first")
        return self._keep([self.np_random])

    def restore(self, snapshot: SkillsSnapshot) -> np.ndarray:
        """Go back to a snapshot, which stays as it is and may be restored again; returns the observation there.

        Raises TypeError for what is no snapshot, ValueError for one that an environment with these arguments could not go on
        from; then nothing is changed. `np_random_seed` stays that of the last reset; before any, it is -1, as it is unknown.
        """
        never_seeded = self._np_random is None
        chance = np.random.Generator(np.random.PCG64(0)) if never_seeded else self.np_random
        before = self._before_words()
        try:
            if self._speech is not None and isinstance(snapshot, SkillsSnapshot):
                if not isinstance(snapshot.talk, Talk):
                    raise ValueError(
                        f"found talk {snapshot.talk!r:.100}; expected a snapshot of a client who speaks, as this one does"
                    )
                self._speech.restore(snapshot.talk)
            self.sessions.restore(snapshot, [chance])
        except BaseException:
            self._back_to(before)
            raise
        if never_seeded:
            self._np_random, self._np_random_seed = chance, -1
        self._begun = True
        return self.sessions.observe()[0]

    @property
    def catalog(self) -> Catalog:
        """The facts about people."""
        return self.sessions.catalog

    @property
    def settings(self) -> ClientSettings:
        """Gains of the client's dynamics."""
        return self.sessions.settings

    @property
    def max_turns(self) -> int:
        """Turns of a session."""
        return self.sessions.max_turns

    @property
    def client_view(self) -> ClientGraph:
        """The true client by name, for researchers; with the last turn where a render_mode was given."""
        if not self._begun:
            raise ResetNeeded("no client yet; call reset() first")
        return self.sessions.view(0)

    @property
    def person(self) -> Person:
        """Who the client is."""
        return self.client_view.person  # type: ignore[return-value]  # a view of sessions always has one

    def render(self) -> Any:
        """The session as render_mode asks: text, a picture (H, W, 3) uint8, or None, as "human" prints by itself."""
        if self.render_mode in (None, "human"):
            return None
        if not self._begun:
            raise ResetNeeded("nothing to draw yet; call reset() first")
        return frame(str(self.render_mode), self.sessions, 0)

    def _before_words(self) -> SkillsSnapshot | None:
        """What a voice that fails leads back to; None where nobody speaks, as the sessions alone are refused before they change."""
        return None if self._speech is None else self._keep(())

    def _back_to(self, before: SkillsSnapshot | None) -> None:
        if before is not None and self._speech is not None and before.talk is not None:
            self.sessions.put(before)
            self._speech.restore(before.talk)

    def _keep(self, generators: Sequence[np.random.Generator]) -> SkillsSnapshot:
        kept = self.sessions.keep(generators)
        return kept if self._speech is None else replace(kept, talk=self._speech.keep())

    def _show(self) -> None:
        if self.render_mode == "human":
            print(frame("ansi", self.sessions, 0))

    def _truth(self) -> dict[str, Any]:
        running = self.sessions.running
        return {
            "phase": PHASES[self.sessions.state.phase[0]],
            "marker": self.sessions.response.markers[self.sessions.markers[0]],
            "alliance": float(running.alliance[0]),
            "signals": running.signals[0].copy(),
        }

    def _turn_told(self, turned: Turned, ending: int) -> dict[str, Any]:
        report = self.sessions.report
        return {
            "scores": turned.scores[0],
            "composite": float(self.sessions.running.composite[0]),
            "reward_parts": dict(zip(PARTS, turned.result.parts[:, 0].tolist(), strict=True)),
            "phase_step": int(report.phase_step[0]),
            "rupture": bool(report.rupture[0]),
            "stage_step": int(turned.stage_step[0]),
            "ending": ENDINGS[ending],
        }


def _alone(action: Any) -> np.ndarray:
    """(1, 12) of one session's action."""
    try:
        found = np.asarray(action)
    except ValueError as error:
        raise InvalidAction(f"found an action that is no array ({error}); the client was not changed") from error
    if found.shape != (len(DIMENSIONS),):
        what = (
            f"shape {found.shape}" if isinstance(action, np.ndarray | list | tuple) else f"type {type(action).__name__}"
        )
        raise InvalidAction(
            f"found an action of {what}; expected ({len(DIMENSIONS)},): an emphasis in [0, 1] on each dimension. "
            "The client was not changed"
        )
    return found[None]
