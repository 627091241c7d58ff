"""icarus/Skills-v0 many times at once: the batched engine itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from client_graph.catalog import Catalog
from client_graph.client import ClientGraph
from client_graph.names import DIMENSIONS
from client_graph.settings import ClientSettings
from envs.arguments import checked_options, number_problems
from envs.conduct import unchanged_on_failure
from envs.session_vector import autoreset_problems
from envs.skills.arguments import sessions_of
from envs.skills.drawing import RENDER_MODES, frame
from envs.skills.observation import observation_space
from envs.skills.outcome import CLOSED_WELL, LEFT, PARTS, TURN_LIMIT
from envs.skills.response import ResponseModel
from envs.skills.sessions import Sessions, SkillsSnapshot, Turned, checked_emphasis, new_observation
from rewards.settings import RewardSettings


def action_space() -> Box:
    """Emphasis on each of the twelve dimensions, in the order of client_graph.names.DIMENSIONS."""
    return Box(0.0, 1.0, (len(DIMENSIONS),), dtype=np.float32)


class SkillsVectorEnv(gym.vector.VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """`num_envs` numeric sessions side by side. Research software: a simulator, not for clinical use.

    Sub-environment i is what a SkillsEnv seeded with its seed would be, bit for bit, autoresets included, whatever the number
    of sub-environments and threads. Actions (N, 12), observations (N, 10): see SkillsEnv.

    Infos hold arrays over all sub-environments, 0 where there is nothing to tell, and, beside each, a mask `_name` of those of
    which it tells: `phase` (N,) 0..3 for A..D, `marker` (N,) a place in `sessions.response.markers`, `alliance` (N,) in [0, 1]
    and `signals` (N, 5) in [0, 10], the truth now; of a turn `scores` (N, 12), `composite` (N,) in [0, 10], `reward_parts` (a
    dict of (N,) points), `phase_step` (N,), `rupture` (N,), `stage_step` (N,) and `ending` (N,), a place in
    `envs.skills.ENDINGS`.

    Args:
        num_envs: N.
        client: "silent". Clients who speak are for the single environment.
        judge: "response", or a ResponseModel.
        catalog: a folder of client tables, a Catalog, or None for configs/client.
        stage: treatment stage 1..4 of every client; or a list of N, None where it is drawn; or None to draw all.
        max_turns: turns of a session.
        reward: scales of the reward's parts.
        settings: gains of the client's dynamics.
        signal_noise: standard deviation of what is seen of a signal, in level points.
        felt_noise: standard deviation of `felt_last_turn`, in score points.
        render_mode: "ansi", "rgb_array" (a tuple of N from `render`) or None.
        autoreset_mode: "NextStep" (the step after an end begins anew, whatever its action), "SameStep" (an end begins anew at
            once; `final_obs`, (N,) object of observations and None, and `final_info` tell of the end, with masks) or "Disabled"
            (reset with the option `reset_mask`, (N,) bool, begins anew where it is true).
        threads: how many threads move the clients; the bits do not depend on it.
    """

    def __init__(
        self,
        num_envs: int = 1,
        client: str = "silent",
        judge: str | ResponseModel = "response",
        catalog: str | Path | Catalog | None = None,
        stage: int | Sequence[int | None] | None = None,
        max_turns: int = 20,
        reward: RewardSettings | None = None,
        settings: ClientSettings | None = None,
        signal_noise: float = 0.5,
        felt_noise: float = 1.0,
        render_mode: str | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        threads: int = 1,
    ) -> None:
        also = [*number_problems("threads", threads, 1), *autoreset_problems(autoreset_mode)]
        if not (isinstance(client, str) and client == "silent"):
            also.append(f'found client {client!r}; expected "silent": a client who speaks is for SkillsEnv')
        self.sessions: Sessions = sessions_of(
            num_envs, judge=judge, catalog=catalog, stage=stage, max_turns=max_turns, reward=reward, settings=settings,
            signal_noise=signal_noise, felt_noise=felt_noise, render_mode=render_mode, render_modes=RENDER_MODES[:2],
            stages_apart=True, also=also,
        )  # fmt: skip
        self.num_envs, self.render_mode, self.threads = int(num_envs), render_mode, int(threads)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"render_modes": RENDER_MODES[:2], "render_fps": 1, "autoreset_mode": self.autoreset_mode}
        self.single_action_space, self.single_observation_space = action_space(), observation_space(int(max_turns))
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self._generators: list[np.random.Generator] = []
        self._seeds: list[int] = []
        self._begun = False

    def reset(  # seeds may also come as a list, as in SyncVectorEnv
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """New clients everywhere, or where the option `reset_mask` is true. A refused reset changes nothing.

        seed: s seeds sub-environment i with s + i; or a list of N, None where a generator goes on. Options: `reset_mask`;
        `stage`, `strategy`, `concern` of new clients; or `same_client`: the next session of those whose last one is over.
        """
        wishes = dict(options or {})
        mask = self._mask(wishes.pop("reset_mask", None))
        same_client, wishes = checked_options(wishes)
        places = np.flatnonzero(mask)
        if same_client and not (self._begun and self.sessions.running.over[places].all()):
            raise ResetNeeded("same_client needs sessions that have ended; reset without it first")
        generators, seeds = self._seeded(seed, places)
        observation = self.sessions.observe() if self._begun else new_observation(self.num_envs)
        if same_client:
            self.sessions.go_on(places, observation)
        else:
            with unchanged_on_failure(_known_to_both(self._generators, generators, places)):
                self._newcomers(generators, places, observation, wishes)
        self._generators, self._seeds, self._begun = generators, seeds, True
        return observation, self._truth(mask)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One turn everywhere. Raises InvalidAction for actions out of range; those where a session begins anew are not read."""
        sessions = self._expect_begun()
        over = sessions.running.over.copy()
        if self.autoreset_mode == AutoresetMode.DISABLED and over.any():
            raise ResetNeeded(
                f"found sessions that are over at {np.flatnonzero(over)[:10].tolist()}; expected a reset with "
                "options={'reset_mask': ...} there before the next step"
            )
        anew = np.flatnonzero(over)
        emphasis = checked_emphasis(actions, self.num_envs, anew)
        turned = sessions.turn(emphasis, self.threads)
        result = turned.result
        infos: dict[str, Any] = {}
        terminated, truncated = (result.ending == LEFT) | (result.ending == CLOSED_WELL), result.ending == TURN_LIMIT
        ended = terminated | truncated
        told = ~over
        if len(anew):  # NEXT_STEP
            self._newcomers(self._generators, anew, result.observation, {})
        if self.autoreset_mode == AutoresetMode.SAME_STEP and ended.any():
            infos["final_obs"], infos["_final_obs"] = _final(result.observation, ended), ended.copy()
            final_info = self._turn_told(turned, ended, apart=True) | self._truth(ended)
            infos["final_info"], infos["_final_info"] = final_info, ended.copy()
            self._newcomers(self._generators, np.flatnonzero(ended), result.observation, {})
            told = told & ~ended
        if told.any():
            infos |= self._turn_told(turned, told)
        infos |= self._truth(np.ones(self.num_envs, dtype=np.bool_))
        return result.observation, result.reward, terminated, truncated, infos

    def snapshot(self) -> SkillsSnapshot:
        """All sessions and their generators; `restore` goes on from there, byte for byte."""
        return self._expect_begun().keep(self._generators)

    def restore(self, snapshot: SkillsSnapshot) -> np.ndarray:
        """Go back to a snapshot, which stays as it is; returns the observations there.

        As SkillsEnv.restore: all of it, or an error and nothing. Where an end begins anew at once (SameStep) nobody's session is
        ever over, so a snapshot with one that is over is refused there.
        """
        generators = self._generators or [np.random.Generator(np.random.PCG64(0)) for _ in range(self.num_envs)]
        self.sessions.restore(snapshot, generators, may_be_over=self.autoreset_mode != AutoresetMode.SAME_STEP)
        self._generators, self._begun = generators, True
        self._seeds = self._seeds or [-1] * self.num_envs
        return self.sessions.observe()

    def client_view(self, place: int) -> ClientGraph:
        """The true client of a sub-environment by name, for researchers; with the last turn where render_mode is given."""
        return self._expect_begun().view(place)

    @property
    def phase(self) -> np.ndarray:
        """(N,) int64: the true phases, 0..3 for A..D, which no therapist can see."""
        return self._expect_begun().state.phase.copy()

    @property
    def marker(self) -> np.ndarray:
        """(N,) int64: what each client truly does at this moment, a place in `sessions.response.markers`."""
        return self.sessions.markers

    def render(self) -> tuple[Any, ...] | None:
        """A frame a sub-environment."""
        if self.render_mode is None:
            return None
        sessions = self._expect_begun()
        return tuple(frame(self.render_mode, sessions, place) for place in range(self.num_envs))

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]  # as SyncVectorEnv: one each
        """The generators that draw the clients, one a sub-environment."""
        return tuple(self._generators)

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """Their seeds."""
        return tuple(self._seeds)

    def _newcomers(
        self, generators: list[np.random.Generator], places: np.ndarray, observation: np.ndarray, wishes: dict[str, Any]
    ) -> None:
        raw = [generators[i].bit_generator.random_raw() for i in places.tolist()]
        self.sessions.begin(places, np.array(raw, dtype=np.uint64), observation, self.threads, **wishes)

    def _truth(self, mask: np.ndarray) -> dict[str, Any]:
        state, running = self.sessions.state, self.sessions.running
        now = {
            "phase": state.phase.copy(), "alliance": running.alliance.copy(), "signals": running.signals.copy(),
            "marker": self.sessions.markers,
        }  # fmt: skip
        return _masked(now, mask)

    def _turn_told(self, turned: Turned, mask: np.ndarray, apart: bool = False) -> dict[str, Any]:
        report = self.sessions.report
        told: dict[str, Any] = {
            "scores": turned.scores, "composite": self.sessions.running.composite.copy(),
            "reward_parts": dict(zip(PARTS, turned.result.parts, strict=True)),
            "phase_step": report.phase_step.copy(), "rupture": report.rupture.copy(), "stage_step": turned.stage_step,
            "ending": turned.result.ending,
        }  # fmt: skip
        return _masked(told, mask, apart)

    def _seeded(
        self, seed: int | Sequence[int | None] | None, places: np.ndarray
    ) -> tuple[list[np.random.Generator], list[int]]:
        seeds: Sequence[int | None]
        if seed is None or isinstance(seed, int | np.integer):
            seeds = [None if seed is None else int(seed) + i for i in range(self.num_envs)]
        else:
            seeds = list(seed)
        if len(seeds) != self.num_envs:
            raise ValueError(f"found {len(seeds)} seeds; expected one, or one for each of {self.num_envs} environments")
        if not self._begun and len(places) < self.num_envs:
            raise ResetNeeded("found a reset_mask before any reset; reset all first")
        found: list[Any] = list(self._generators) or [None] * self.num_envs
        known = list(self._seeds) or [-1] * self.num_envs
        for i in places.tolist():
            if seeds[i] is not None or found[i] is None:
                found[i], known[i] = seeding.np_random(seeds[i])
        return found, known

    def _mask(self, mask: Any) -> np.ndarray:
        if mask is None:
            return np.ones(self.num_envs, dtype=np.bool_)
        found = np.asarray(mask)
        if found.dtype != np.bool_ or found.shape != (self.num_envs,) or not found.any():
            raise ValueError(
                f"found reset_mask of {found.dtype}, shape {found.shape}, {int(found.astype(bool).sum())} true; expected "
                f"({self.num_envs},) bool with one or more true"
            )
        return found.copy()

    @property
    def catalog(self) -> Catalog:
        """The facts about people."""
        return self.sessions.catalog

    @property
    def settings(self) -> ClientSettings:
        """Gains of the clients' dynamics."""
        return self.sessions.settings

    @property
    def max_turns(self) -> int:
        """Turns of a session."""
        return self.sessions.max_turns

    def _expect_begun(self) -> Sessions:
        if not self._begun:
            raise ResetNeeded("no sessions yet; call reset() first")
        return self.sessions


def _known_to_both(before: list[Any], after: list[Any], places: np.ndarray) -> list[Any]:
    return [after[i] for i in places.tolist() if before and after[i] is before[i]]


def _final(observation: np.ndarray, ended: np.ndarray) -> np.ndarray:
    """(N,) object: the rows of those that `ended`, each an array of its own, and None, as SyncVectorEnv tells them."""
    found = np.full(len(ended), None, dtype=object)
    for place in np.flatnonzero(ended).tolist():
        found[place] = observation[place].copy()
    return found


def _masked(told: dict[str, Any], mask: np.ndarray, apart: bool = False) -> dict[str, Any]:
    """`told` (N, ...) by Gymnasium's convention: 0 where the mask is false, a mask beside each.

    apart: in new memory; else the arrays of `told` themselves are written.
    """
    places = np.flatnonzero(mask if apart else ~mask)
    return _with_masks(told, places, mask, apart)


def _with_masks(told: dict[str, Any], places: np.ndarray, mask: np.ndarray, apart: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, column in told.items():
        if isinstance(column, dict):
            column = _with_masks(column, places, mask, apart)
        elif apart:
            whole, column = column, np.zeros_like(column)
            column[places] = whole[places]
        elif len(places):
            column[places] = 0
        found[name], found[f"_{name}"] = column, mask.copy()
    return found
