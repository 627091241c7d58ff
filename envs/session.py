"""icarus/Session-v0: one session of therapy, text in and text out."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import InvalidAction, ResetNeeded

from client_graph.catalog import Catalog
from client_graph.client import ClientGraph
from client_graph.personhood import Person
from client_graph.settings import ClientSettings
from client_graph.state import read_only
from envs.arguments import conduct_of, render_problems, stage_problems
from envs.conduct import Begun, Conduct, Turned, unchanged_on_failure
from envs.infos import end_told, observation_row, observation_space, observed, row, truth, turn_told
from envs.rendering import dashboard
from envs.text import UnicodeText
from envs.types import Outcome, SessionState, Snapshot
from envs.voice import ClientVoice
from judges.protocol import Judge, JudgeFailure, Turn
from rewards.settings import RewardSettings

RENDER_MODES = ["ansi", "rgb_array", "human"]
WISHES = ("stage", "strategy", "concern")


class SessionEnv(gym.Env[dict[str, Any], str]):
    """One session with a simulated client. Research software: a simulator, not for clinical use.

    Action: the therapist's words (any Unicode text up to 8,000 characters); a leading <think>…</think> is private
    reasoning, which the judge reads and the client does not hear.

    Observation: what a therapist could know. `client` the client's words; `turn` completed turns; `session` number from 1;
    `stage` of treatment 1..4; `stance` 0..2 (rapport_building, personhood_assemblage, intervention); `beliefs` (n,) in
    [0, 10], the therapist's own model of the client's node levels (TMoG). The truth is in `info`.

    Reward: the sum of `info["reward_parts"]`, in points. A poor turn gives -6 to 3 and a good one 5 to
    15 (the composite, in 0 to 10, with stage modifiers and the trends); a phase step +20 or -30, a stage +100 or -150.

    A session can be branched with `snapshot` and `restore`; behind gymnasium.make, reset once before the first restore.
    AsyncVectorEnv wants `shared_memory=False`: Gymnasium reads shared texts only once.

    Episode: truncated after `max_turns` turns; terminated when the client leaves (the alliance falls below 0.6 of what
    the session began with) or the session closes well (three turns in phase D). `reset(options={"same_client": True})`
    goes on with the same client's next session; `options` may also name `stage`, `strategy` and `concern`.

    Args:
        client: "authored" (offline lines), "silent" (no words), or a ClientVoice.
        judge: "embedding" (offline), or a Judge.
        catalog: a folder of client tables, a Catalog, or None for configs/client.
        stage: treatment stage 1..4 of every client, or None to draw it.
        max_turns: turns of a session.
        reward: scales of the reward's parts.
        settings: gains of the client's dynamics.
        judge_retries: how often a judge that failed is asked again before JudgeFailed is raised.
        render_mode: "ansi" (text), "rgb_array" (a picture), "human" (text printed at every reset and step) or None.

    Raises ValueError naming every argument that has no meaning.
    """

    metadata = {"render_modes": RENDER_MODES, "render_fps": 1}  # noqa: RUF012  # the name and form are Gymnasium's

    def __init__(
        self,
        client: str | ClientVoice = "authored",
        judge: str | Judge = "embedding",
        catalog: str | Path | Catalog | None = None,
        stage: int | None = None,
        max_turns: int = 20,
        reward: RewardSettings | None = None,
        settings: ClientSettings | None = None,
        judge_retries: int = 1,
        render_mode: str | None = None,
    ) -> None:
        conduct = conduct_of(
            client=client, judge=judge, catalog=catalog, max_turns=max_turns, reward=reward, settings=settings,
            judge_retries=judge_retries, also=[*stage_problems(stage), *render_problems(render_mode, RENDER_MODES)],
        )  # fmt: skip
        self._set_up(conduct, stage, render_mode)

    def _set_up(self, conduct: Conduct, stage: int | None, render_mode: str | None) -> None:
        self.conduct = conduct
        self.stage = stage
        self.render_mode = render_mode
        self.action_space: UnicodeText = UnicodeText()
        self.observation_space = observation_space(self.catalog, self.max_turns)
        self._session: SessionState | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """A new client, or with `same_client` the next session of the one before. A refused reset changes nothing."""
        same_client, wishes = checked_options(options)
        kept = self._np_random, self._np_random_seed
        chance = self.np_random
        try:
            with unchanged_on_failure([chance]):
                super().reset(seed=seed)
                begun = self._begin(same_client, {"stage": self.stage, **wishes})
        except BaseException:
            self._np_random, self._np_random_seed = kept
            raise
        self._put(begun.sessions[0])
        self._show()
        return self._observation(), row(truth(begun, self.catalog), 0)

    def _begin(self, same_client: bool, wishes: dict[str, Any]) -> Begun:
        if not same_client:
            states, people = self.conduct.newcomers([self.np_random], **wishes)
            return self.conduct.begin(states, people, [self.np_random])
        if self._session is None or self._session.next_state is None:
            raise ResetNeeded("same_client needs a session that has ended; reset without it first")
        return self.conduct.begin([self._session.next_state], [self._session.person], [self.np_random])

    def _put(self, session: SessionState) -> None:
        self._session = session

    def evaluate(self, actions: Sequence[str]) -> list[Outcome | JudgeFailure]:
        """What each reply would do to the client as it is now, in order: same client, same chance, nothing changed.

        All replies are judged in one batch. `step` takes the outcome of a reply that was evaluated at this turn.
        """
        session = self._running()
        if isinstance(actions, str):
            raise InvalidAction("found one text; expected a list of replies: evaluate([reply])")
        return self.conduct.outcomes([(session, action) for action in actions])

    def step(self, action: str) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """One turn: judge the reply, move the client, let it answer."""
        turned = self.conduct.turn([self._running()], [action], [self.np_random])
        self._put(turned.sessions[0])
        self._show()
        return (
            self._observation(),
            float(turned.parts.total[0]),
            bool(turned.terminated[0]),
            bool(turned.truncated[0]),
            turn_info(turned, self.catalog),
        )

    def snapshot(self) -> Snapshot:
        """Everything that a later `restore` needs to go on from here, byte for byte; shares no memory with the env.

        `envs.snapshot` writes it as JSON and reads it back.
        """
        if self._session is None:
            raise ResetNeeded("nothing to keep yet; call reset() first")
        return Snapshot(deepcopy(replace(self._session, tried={})), deepcopy(self.np_random.bit_generator.state))

    def restore(self, snapshot: Snapshot) -> dict[str, Any]:
        """Go back to a snapshot, which stays as it is and may be restored again; returns the observation there."""
        if not isinstance(snapshot, Snapshot):
            raise TypeError(
                f"found a {type(snapshot).__name__}; expected what snapshot() or envs.snapshot.from_json returned"
            )
        self._put(closed(deepcopy(snapshot.session)))
        self.np_random.bit_generator.state = deepcopy(snapshot.chance)
        return self._observation()

    @property
    def catalog(self) -> Catalog:
        """The facts about people."""
        return self.conduct.catalog

    @property
    def judge(self) -> Judge:
        """Who scores the therapist."""
        return self.conduct.judge

    @property
    def voice(self) -> ClientVoice:
        """Who speaks for the client."""
        return self.conduct.voice

    @property
    def settings(self) -> ClientSettings:
        """Gains of the client's dynamics."""
        return self.conduct.settings

    @property
    def reward_settings(self) -> RewardSettings:
        """Scales of the reward's parts."""
        return self.conduct.reward

    @property
    def max_turns(self) -> int:
        """Turns of a session."""
        return self.conduct.max_turns

    @property
    def client_view(self) -> ClientGraph:
        """The true client by name, for researchers."""
        if self._session is None:
            raise ResetNeeded("no client yet; call reset() first")
        return view_of(self._session, self.catalog, self.settings)

    @property
    def person(self) -> Person:
        """Who the client is."""
        if self._session is None:
            raise ResetNeeded("no client yet; call reset() first")
        return self._session.person

    @property
    def history(self) -> tuple[Turn, ...]:
        """The session so far."""
        return self._session.history if self._session else ()

    def render(self) -> Any:
        """The session as render_mode asks: text, a picture (H, W, 3) uint8, or None, as "human" prints by itself."""
        if self.render_mode in (None, "human"):
            return None
        return frame(
            str(self.render_mode), self.client_view, self.history, self._session.words if self._session else ""
        )

    def _show(self) -> None:
        if self.render_mode == "human" and self._session is not None:
            print(frame("ansi", self.client_view, self.history, self._session.words))

    def _running(self) -> SessionState:
        if self._session is None:
            raise ResetNeeded("no session yet; call reset() first")
        if self._session.over:
            raise ResetNeeded("the session is over; call reset() for the next one")
        return self._session

    def _observation(self) -> dict[str, Any]:
        assert self._session is not None
        return observation_row(observed([self._session]), 0)


def checked_options(options: Mapping[str, Any] | None) -> tuple[bool, dict[str, Any]]:
    """(same_client, wishes for a new client) of the options of a reset. Raises ValueError for what nobody knows."""
    wishes = dict(options or {})
    same_client = wishes.pop("same_client", False)
    if same_client and wishes:
        raise ValueError(
            f"found reset options {sorted(wishes)} beside same_client; expected no wish for a known client"
        )
    if unknown := set(wishes) - set(WISHES):
        raise ValueError(f"found reset options {sorted(unknown)}; expected same_client, {', '.join(WISHES)}")
    return same_client, wishes


def closed(session: SessionState) -> SessionState:
    """The session with its arrays read-only: they are handed out to researchers, so nobody may write into them."""
    for arrays in (session.state, session.before, session.report, session.next_state):
        if arrays is not None:
            read_only(arrays)
    return session


def turn_info(turned: Turned, catalog: Catalog) -> dict[str, Any]:
    """The info of the one session of `turned`."""
    return {**row(truth(turned, catalog), 0), **row(turn_told(turned), 0), **row(end_told(turned), 0)}


def view_of(session: SessionState, catalog: Catalog, settings: ClientSettings) -> ClientGraph:
    """The true client of a session by name, with the last turn where there was one."""
    return ClientGraph(
        session.state, catalog, session.report, person=session.person, settings=settings, before=session.before,
        scores=np.array(session.scores[-1:]) if session.scores else None,
    )  # fmt: skip


def frame(mode: str, view: ClientGraph, history: tuple[Turn, ...], words: str) -> Any:
    """A client in session as text ("ansi") or as a picture ("rgb_array")."""
    assert view.person is not None
    if mode == "ansi":
        return dashboard(view, view.person, history, words)
    from envs.pictures import session_picture  # a run that draws nothing does not load what draws

    return session_picture(view, view.person, history, words)
