"""icarus/Session-v0: one session of therapy, text in and text out."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import InvalidAction, ResetNeeded

from client_graph.catalog import Catalog
from client_graph.client import ClientGraph
from client_graph.personhood import Person
from client_graph.settings import ClientSettings
from envs.arguments import checked_options, conduct_of, render_problems, stage_problems
from envs.conduct import Begun, Conduct, Turned, unchanged_on_failure
from envs.infos import end_told, observation_row, observation_space, observed, row, truth, turn_told
from envs.rendering import dashboard
from envs.restoring import kept, restored
from envs.text import UnicodeText
from envs.types import Outcome, SessionState, Snapshot
from envs.voice import ClientVoice
from judges.protocol import Judge, JudgeFailure, Turn
from rewards.settings import RewardSettings

RENDER_MODES = ["ansi", "rgb_array", "human"]


class SessionEnv(gym.Env[dict[str, Any], str]):
    """One session with a simulated client. Research software: a simulator, not for clinical use.

    Action: the therapist's words (any Unicode text up to 8,000 characters). All that stands before the first </think> is private
    reasoning, which the judge reads and the client does not hear, also where no <think> opened it: a stray </think> takes
    what was said before it with it. A <think> that begins the text and never closes leaves nothing said.

    Observation: what a therapist could know. `client` the client's words; `turn` completed turns; `session` number from 1;
    `stage` of treatment 1..4; `stance` 0..2 (rapport_building, personhood_assemblage, intervention); `beliefs` (n,) in
    [0, 10], the therapist's own model of the client's node levels (TMoG). The truth is in `info`.

    Reward: the sum of `info["reward_parts"]`, in points. A turn that is scored 0 throughout brings -3.6 to -2.6 on average (-11
    at worst), one scored 5 brings 5, one scored 8 12.7 to 15.1, one scored 10 16.4 to 19.7 (28.7 at best), by stage of treatment.
    Beside that, a phase step brings +20 or -30, a stage +100 or -150. The part `ending` settles an early end, over the turns
    that are not held: 16 points a turn where the session closed well, -6 where the client left, so a client who leaves in
    turn 5 of 20 costs 90.

    A session can be branched with `snapshot` and `restore`, into any environment that was made with the same arguments; behind
    gymnasium.make, reset once before the first restore.
    AsyncVectorEnv wants `shared_memory=False`: Gymnasium reads shared texts only once.

    Episode: truncated after `max_turns` turns; terminated when the client leaves (the alliance falls below 0.6 of what
    the session began with) or the session closes well (three turns in phase D). `reset(options={"same_client": True})`
    goes on with the same client's next session; `options` may also name `stage`, `strategy` and `concern`. None is no wish:
    the stage is then that of the environment, strategy and concern are drawn.

    A step that fails changes nothing, and may be taken again: InvalidAction for what nobody can say; JudgeFailed and ClientFailed
    where judge or voice had no answer; TypeError where one broke its protocol. What judge or voice raise passes through as it is.

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

    _treatment = False  # whether sessions are parts of treatments
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
        before = self._np_random, self._np_random_seed
        chance = self.np_random
        try:
            with unchanged_on_failure([chance]):
                super().reset(seed=seed)
                begun = self._begin(same_client, {"stage": self.stage, **wishes})
        except BaseException:
            self._np_random, self._np_random_seed = before
            raise
        self._session = begun.sessions[0]
        self._show()
        return self._observation(), row(truth(begun, self.catalog), 0)

    def _begin(self, same_client: bool, wishes: dict[str, Any]) -> Begun:
        if not same_client:
            states, people = self.conduct.newcomers([self.np_random], **wishes)
            return self.conduct.begin(states, people, [self.np_random])
        if self._session is None or self._session.next_state is None:
            raise ResetNeeded("same_client needs a session that has ended; reset without it first")
        return self.conduct.begin([self._session.next_state], [self._session.person], [self.np_random])

    def evaluate(self, actions: Sequence[str]) -> list[Outcome | JudgeFailure]:
        """What each reply would do to the client as it is now, in order: same client, same chance, nothing changed.

        All replies are judged in one batch. `step` takes the outcome of a reply that was evaluated at this turn.
        """
        session = self._running()
        if isinstance(actions, str):
            raise InvalidAction("found one text; expected a list of replies: evaluate([reply])")
        return self._outcomes([(session, action) for action in actions])

    def _outcomes(self, asked: Sequence[tuple[SessionState, str]]) -> list[Outcome | JudgeFailure]:
        return self.conduct.outcomes(asked)

    def step(self, action: str) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """One turn: judge the reply, move the client, let it answer."""
        turned = self.conduct.turn([self._running()], [action], [self.np_random])
        self._session = turned.sessions[0]
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
        return kept(self._session, self.np_random)

    def restore(self, snapshot: Snapshot) -> dict[str, Any]:
        """Go back to a snapshot, which stays as it is and may be restored again; returns the observation there.

        The environment has to be made with the arguments of the one that gave the snapshot: what goes on is the session, not
        its rules. What can be seen to differ is refused and changes nothing: TypeError for what is no snapshot, else ValueError
        naming all of it (a session alone in a treatment or the reverse, more turns than max_turns, a client who does not fit
        the catalog or whom nobody could be, another kind of generator). `np_random_seed` stays that of the last reset; before
        any, it is -1, Gymnasium's word for unknown.
        """
        never_seeded = self._np_random is None
        chance = np.random.Generator(np.random.PCG64(0)) if never_seeded else self.np_random
        (session,) = restored([snapshot], self.conduct, [chance], treatment=self._treatment)
        with unchanged_on_failure([chance]):
            chance.bit_generator.state = deepcopy(snapshot.chance)
        if never_seeded:
            self.np_random = chance  # and its seed is -1
        self._session = session
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
