"""icarus/Session-v0: one session of therapy, text in and text out."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.spaces import Box, Dict, Discrete

from client_graph.catalog import Catalog, load_catalog
from client_graph.client import ClientGraph
from client_graph.names import PHASES, STAGES, STANCES
from client_graph.personhood import Person, draw
from client_graph.session import SessionReport, end_session
from client_graph.settings import ClientSettings
from client_graph.state import read_only
from client_graph.turn import advance
from envs.rendering import dashboard
from envs.text import UnicodeText, therapist_words
from envs.types import ClientFailed, JudgeFailed, Outcome, SessionState, Snapshot
from envs.voice import AuthoredVoice, ClientVoice, SpeakingTurn, VoiceFailure, moment_of
from judges.protocol import Exchange, Judge, JudgeFailure, Judgement, Turn
from judges.session import summarise_scores
from rewards.parts import RewardParts, stage_composite, turn_reward, with_stage_transition
from rewards.settings import RewardSettings

MOST_SESSIONS = 10_000
INTEGRATION = 3  # phase D
TURNS_TO_CLOSE = 3  # turns in phase D after which a session has closed well
COLLAPSE = 0.6  # the client leaves when the alliance falls below this share of what the session began with


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
        client: "authored" (offline lines), or a ClientVoice.
        judge: "embedding" (offline), or a Judge.
        catalog: a folder of client tables, a Catalog, or None for configs/client.
        stage: treatment stage 1..4 of every client, or None to draw it.
        max_turns: turns of a session.
        reward: scales of the reward's parts.
        settings: gains of the client's dynamics.
        judge_retries: how often a judge that failed is asked again before JudgeFailed is raised.
        render_mode: "ansi" or None.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012  # the name and form are Gymnasium's

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
        if max_turns < 1 or judge_retries < 0:
            raise ValueError(
                f"found max_turns {max_turns}, judge_retries {judge_retries}; expected at least 1 and at least 0"
            )
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(
                f"found render_mode {render_mode!r}; expected one of {self.metadata['render_modes']} or None"
            )
        if stage is not None and stage not in STAGES:
            raise ValueError(f"found stage {stage!r}; expected one of {STAGES}, or None to draw it")
        self.catalog = catalog if isinstance(catalog, Catalog) else load_catalog(catalog)
        self.voice = _voice(client, self.catalog)
        self.judge = _judge(judge)
        self.stage = stage
        self.max_turns = max_turns
        self.reward_settings = reward or RewardSettings()
        self.settings = settings or ClientSettings()
        self.judge_retries = judge_retries
        self.render_mode = render_mode
        self.action_space: UnicodeText = UnicodeText()
        self.observation_space = Dict(
            client=UnicodeText(),
            turn=Discrete(max_turns + 1),
            session=Discrete(MOST_SESSIONS, start=1),
            stage=Discrete(4, start=1),
            stance=Discrete(len(STANCES)),
            beliefs=Box(0.0, 10.0, (len(self.catalog.nodes),), np.float64),
        )
        self._session: SessionState | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """A new client, or with `same_client` the next session of the one before. A refused reset changes nothing."""
        wishes = dict(options or {})
        same_client = wishes.pop("same_client", False)
        if same_client and wishes:
            raise ValueError(
                f"found reset options {sorted(wishes)} beside same_client; expected no wish for a known client"
            )
        if same_client and (self._session is None or self._session.next_state is None):
            raise ResetNeeded("same_client needs a session that has ended; reset without it first")
        if unknown := set(wishes) - {"stage", "strategy", "concern"}:
            raise ValueError(f"found reset options {sorted(unknown)}; expected same_client, stage, strategy, concern")
        kept = self._np_random, self._np_random_seed, deepcopy(self.np_random.bit_generator.state)
        try:
            super().reset(seed=seed)
            self._begin(same_client, {"stage": self.stage, **wishes})
        except BaseException:
            self._np_random, self._np_random_seed = kept[:2]
            self.np_random.bit_generator.state = kept[2]
            raise
        return self._observation(), self._info()

    def _begin(self, same_client: bool, wishes: dict[str, Any]) -> None:
        if same_client:
            assert self._session is not None
            assert self._session.next_state is not None
            state, person = self._session.next_state, self._session.person
        else:
            state, people = draw(self.catalog, self.np_random, settings=self.settings, **wishes)
            person = people[0]
        view = ClientGraph(state, self.catalog)
        words = self._speak(SpeakingTurn(view, person, "opening", (), self.np_random))
        self._put(SessionState(state, person, *words, alliance_at_start=view.alliance))

    def _put(self, session: SessionState) -> None:
        """The running session; its arrays are handed out to researchers, so nobody may write into them."""
        for arrays in (session.state, session.before, session.report, session.next_state):
            if arrays is not None:
                read_only(arrays)
        self._session = session

    def evaluate(self, actions: Sequence[str]) -> list[Outcome | JudgeFailure]:
        """What each reply would do to the client as it is now, in order: same client, same chance, nothing changed.

        All replies are judged in one batch. `step` takes the outcome of a reply that was evaluated at this turn.
        """
        session = self._running()
        if isinstance(actions, str):
            raise InvalidAction("found one text; expected a list of replies: evaluate([reply])")
        words = {action: therapist_words(action, self.action_space) for action in actions}
        failures: dict[str, JudgeFailure] = {}
        for _ in range(1 + self.judge_retries):
            asked = [action for action in words if action not in session.tried]
            if not asked:
                break
            exchanges = [Exchange(session.words, *words[action], session.history) for action in asked]
            for action, found in zip(asked, self.judge.judge(exchanges), strict=True):
                if isinstance(found, JudgeFailure):
                    failures[action] = found
                else:
                    session.tried[action] = self._outcome(*words[action], found)
        return [session.tried[action] if action in session.tried else failures[action] for action in actions]

    def step(self, action: str) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """One turn: judge the reply, move the client, let it answer."""
        session = self._running()
        outcome = self.evaluate([action])[0]
        if isinstance(outcome, JudgeFailure):
            raise JudgeFailed(f"judge {self.judge.name} gave no score: {outcome.reason}. The client was not changed")
        state, report, parts = outcome.state, outcome.report, outcome.parts
        in_integration = session.turns_in_integration + 1 if state.phase[0] == INTEGRATION else 0
        view = ClientGraph(state, self.catalog, report)
        left = view.alliance < COLLAPSE * session.alliance_at_start
        closed_well = not left and in_integration >= TURNS_TO_CLOSE
        truncated = not (left or closed_well) and int(state.turn[0]) >= self.max_turns
        over = left or closed_well or truncated
        history = (*session.history, Turn(session.words, outcome.reasoning, outcome.utterance))
        moment = "hurt" if left else "closing" if over else moment_of(report, outcome.judgement.composite)
        chance = deepcopy(self.np_random.bit_generator.state)
        try:
            words = self._speak(SpeakingTurn(view, session.person, moment, history, self.np_random))
        except BaseException:
            self.np_random.bit_generator.state = chance
            raise
        next_state, ended = end_session(state, self.catalog) if over else (None, None)
        if ended is not None:
            parts = with_stage_transition(parts, ended.stage_step, self.reward_settings)
        self._put(
            SessionState(
                state=state,
                person=session.person,
                words=words[0],
                reasoning=words[1],
                alliance_at_start=session.alliance_at_start,
                history=history,
                before=session.state,
                report=report,
                scores=(*session.scores, tuple(outcome.judgement.scores.tolist())),
                turns_in_integration=in_integration,
                over=over,
                next_state=next_state,
            )
        )
        info = self._info(outcome, parts, ended)
        info["ending"] = "left" if left else "closed_well" if closed_well else "turn_limit" if truncated else None
        return self._observation(), float(parts.total[0]), left or closed_well, truncated, info

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
        self._put(deepcopy(snapshot.session))
        self.np_random.bit_generator.state = deepcopy(snapshot.chance)
        return self._observation()

    @property
    def client_view(self) -> ClientGraph:
        """The true client by name, for researchers."""
        if self._session is None:
            raise ResetNeeded("no client yet; call reset() first")
        session = self._session
        return ClientGraph(
            session.state, self.catalog, session.report, person=session.person, settings=self.settings,
            before=session.before, scores=np.array(session.scores[-1:]) if session.scores else None,
        )  # fmt: skip

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

    def render(self) -> str | None:
        """The session as text for a terminal (render_mode "ansi")."""
        if self.render_mode is None:
            return None
        return dashboard(self.client_view, self.person, self.history, self._session.words if self._session else "")

    def _running(self) -> SessionState:
        if self._session is None:
            raise ResetNeeded("no session yet; call reset() first")
        if self._session.over:
            raise ResetNeeded("the session is over; call reset() for the next one")
        return self._session

    def _outcome(self, reasoning: str, utterance: str, judgement: Judgement) -> Outcome:
        session = self._running()
        scores = judgement.scores[None]
        state, report = advance(session.state, scores, self.catalog, self.settings)
        parts = turn_reward(scores, session.state.stage, report, self.reward_settings)
        composite = float(stage_composite(scores, session.state.stage)[0])
        return Outcome(
            reasoning, utterance, judgement, read_only(state), read_only(report), read_only(parts), composite
        )

    def _speak(self, turn: SpeakingTurn) -> tuple[str, str]:
        said = self.voice.speak([turn])[0]
        if isinstance(said, VoiceFailure):
            raise ClientFailed(
                f"client voice {self.voice.name} gave no words: {said.reason}. The client was not changed"
            )
        fault = self.action_space.fault(said.text)
        if fault is not None:
            raise ClientFailed(
                f"client voice {self.voice.name}: {fault}, in the client's words. The client was not changed"
            )
        return said.text, said.reasoning

    def _observation(self) -> dict[str, Any]:
        session = self._session
        assert session is not None
        state = session.state
        return {
            "client": session.words,
            "turn": np.int64(state.turn[0]),
            "session": np.int64(state.session[0] + 1),
            "stage": np.int64(state.stage[0] + 1),
            "stance": np.int64(state.stance[0]),
            "beliefs": state.tmog[0].copy(),
        }

    def _info(
        self, outcome: Outcome | None = None, parts: RewardParts | None = None, ended: SessionReport | None = None
    ) -> dict[str, Any]:
        session = self._session
        assert session is not None
        view = self.client_view
        info: dict[str, Any] = {
            "person": session.person,
            "client_reasoning": session.reasoning,
            "levels": session.state.levels[0].copy(),
            "buckets": session.state.buckets[0].copy(),
            "loa": session.state.loa[0].copy(),
            "axes": session.state.axes[0].copy(),
            "phase": view.phase,
            "deepest_phase": PHASES[session.state.deepest_phase[0]],
            "coiling": view.coiling,
            "alliance": view.alliance,
            "attunement": view.attunement,
            "guidance": view.guidance,
            "worst_misread": view.worst_misread(),
        }
        if outcome is not None and parts is not None:
            info["judgement"] = outcome.judgement
            info["scores"] = outcome.judgement.scores.copy()
            info["composite"] = outcome.composite
            info["reward_parts"] = parts.of(0)
            info["phase_score"] = float(outcome.report.phase_score[0])
            info["phase_step"] = int(outcome.report.phase_step[0])
            info["rupture"] = bool(outcome.report.rupture[0])
            info["transformation"] = float(outcome.report.transformation[0])
            info["signals"] = view.signals
        if ended is not None:
            info["stage_step"] = int(ended.stage_step[0])
            info["session_assessment"] = summarise_scores(np.array(session.scores))
            info["session_measures"] = {name: float(value[0]) for name, value in ended.measures._asdict().items()}
        return info


def _voice(client: str | ClientVoice, catalog: Catalog) -> ClientVoice:
    if not isinstance(client, str):
        return client
    if client != "authored":
        raise ValueError(f'found client {client!r}; expected "authored" or a ClientVoice')
    return AuthoredVoice(catalog)


def _judge(judge: str | Judge) -> Judge:
    if not isinstance(judge, str):
        return judge
    if judge != "embedding":
        raise ValueError(f'found judge {judge!r}; expected "embedding" or a Judge')
    return _embedding_judge()


@cache
def _embedding_judge() -> Judge:
    """One for all environments of a process: its weights are 90 MB and it has no state."""
    from judges.embedding import EmbeddingJudge

    return EmbeddingJudge()
