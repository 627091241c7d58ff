"""What the beginning of a session and a turn do to many sessions at once: one judge call, one advance, one voice call."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from client_graph.catalog import Catalog
from client_graph.client import ClientGraph
from client_graph.personhood import Person, draw
from client_graph.session import Measures, SessionReport, end_session, measure
from client_graph.settings import ClientSettings
from client_graph.state import ClientState, read_only
from client_graph.turn import TurnReport, advance
from envs.text import UnicodeText, therapist_words
from envs.types import ClientFailed, JudgeFailed, Outcome, SessionState
from envs.voice import ClientVoice, SpeakingTurn, VoiceFailure, moment_of
from judges.protocol import Exchange, Judge, JudgeFailure, Judgement, Turn
from rewards.parts import RewardParts, stage_composite, turn_reward, with_ending, with_stage_transition
from rewards.settings import RewardSettings

INTEGRATION = 3  # phase D
TURNS_TO_CLOSE = 3  # turns in phase D after which a session has closed well
COLLAPSE = 0.6  # the client leaves when the alliance falls below this share of what the session began with

TEXT = UnicodeText()  # what both sides may say
A = TypeVar("A", bound=tuple[np.ndarray, ...])


@dataclass(frozen=True)
class Begun:
    """N sessions that begin; arrays (N, ...), read-only. `speaking` is what the voice is asked, one a session."""

    sessions: list[SessionState]
    speaking: list[SpeakingTurn]
    state: ClientState
    measures: Measures


@dataclass(frozen=True)
class Turned:
    """What a turn did to N sessions; arrays (N, ...), read-only, but `ended`, which is of the sessions in `closed`."""

    sessions: list[SessionState]
    speaking: list[SpeakingTurn]
    outcomes: list[Outcome]
    scores: np.ndarray  # (N, 12) in [0, 10], the judge's
    state: ClientState
    report: TurnReport
    parts: RewardParts  # with what a stage gained or lost at the session's end is worth
    measures: Measures
    endings: list[str | None]  # "left", "closed_well", "turn_limit"; None while the session goes on
    terminated: np.ndarray  # (N,) bool
    truncated: np.ndarray  # (N,) bool
    closed: np.ndarray  # (E,) int64, the places of the sessions that are over
    ended: SessionReport | None  # (E, ...); None where no session ended


@dataclass(frozen=True)
class Conduct:
    """What sessions are conducted with. Its methods change no session that they are given, but for `tried`.

    Sessions are independent: N at once are what each would be alone, bit for bit.
    """

    catalog: Catalog
    voice: ClientVoice
    judge: Judge
    max_turns: int = 20
    reward: RewardSettings = field(default_factory=RewardSettings)
    settings: ClientSettings = field(default_factory=ClientSettings)
    judge_retries: int = 1

    def newcomers(
        self, chances: Sequence[np.random.Generator], **wishes: Any
    ) -> tuple[list[ClientState], list[Person]]:
        """A new client from each generator; `wishes` are stage, strategy and concern, None to draw them."""
        drawn = [draw(self.catalog, rng, settings=self.settings, **wishes) for rng in chances]
        return [state for state, _ in drawn], [people[0] for _, people in drawn]

    def begin(
        self, states: Sequence[ClientState], people: Sequence[Person], chances: Sequence[np.random.Generator]
    ) -> Begun:
        """The sessions that begin with these clients (each a state of one) and the client's first words.

        Raises ClientFailed with the generators as they were.
        """
        with unchanged_on_failure(chances):
            begun = self.arrive(states, people, chances)
            self.speak(begun)
        return begun

    def turn(
        self, sessions: Sequence[SessionState], actions: Sequence[str], chances: Sequence[np.random.Generator]
    ) -> Turned:
        """One turn of each session: judge the replies, move the clients, let them answer, end what is over.

        Raises InvalidAction, JudgeFailed or ClientFailed with sessions and generators as they were.
        """
        with unchanged_on_failure(chances):
            turned = self.land(sessions, actions, chances)
            self.speak(turned)
        return turned

    def outcomes(self, asked: Sequence[tuple[SessionState, str]]) -> list[Outcome | JudgeFailure]:
        """What each reply would do to its session as it is now, in order; nothing is changed but `tried`, which remembers it.

        All are judged in one call; where a judge failed, it is asked again for what is missing, `judge_retries` times.
        """
        missing: dict[tuple[int, str], tuple[SessionState, str, tuple[str, str]]] = {}
        for session, action in asked:
            words = therapist_words(action, TEXT)
            if action not in session.tried:
                missing[id(session), action] = session, action, words
        failures: dict[tuple[int, str], JudgeFailure] = {}
        for _ in range(1 + self.judge_retries):
            if not missing:
                break
            exchanges = [Exchange(session.words, *words, session.history) for session, _, words in missing.values()]
            judged = []
            for key, found in zip(list(missing), self.judge.judge(exchanges), strict=True):
                if isinstance(found, JudgeFailure):
                    failures[key] = found
                else:
                    judged.append((*missing.pop(key), found))
            if judged:
                self._try(judged)
        return [
            session.tried[action] if action in session.tried else failures[id(session), action]
            for session, action in asked
        ]

    def _try(self, judged: list[tuple[SessionState, str, tuple[str, str], Judgement]]) -> None:
        before = ClientState.stack([session.state for session, *_ in judged])
        scores = np.stack([judgement.scores for *_, judgement in judged])
        after, report = advance(before, scores, self.catalog, self.settings)
        parts = turn_reward(scores, before.stage, report, self.reward)
        composite = stage_composite(scores, before.stage).tolist()
        states, reports, rewards = rows(read_only(after)), rows(read_only(report)), rows(read_only(parts))
        for i, (session, action, words, judgement) in enumerate(judged):
            session.tried[action] = Outcome(*words, judgement, states[i], reports[i], rewards[i], composite[i])

    def arrive(
        self, states: Sequence[ClientState], people: Sequence[Person], chances: Sequence[np.random.Generator]
    ) -> Begun:
        """`begin` but for the words, which `speak` puts in."""
        state = ClientState.stack(states)
        measures = measure(state, self.catalog)
        each = rows(read_only(state))
        sessions = [
            SessionState(one, person, "", "", alliance_at_start=alliance)
            for one, person, alliance in zip(each, people, measures.alliance.tolist(), strict=True)
        ]
        speaking = [
            SpeakingTurn(ClientGraph(one, self.catalog, settings=self.settings), person, "opening", (), rng)
            for one, person, rng in zip(each, people, chances, strict=True)
        ]
        return Begun(sessions, speaking, state, measures)

    def land(
        self, sessions: Sequence[SessionState], actions: Sequence[str], chances: Sequence[np.random.Generator]
    ) -> Turned:
        """`turn` but for the client's words, which `speak` puts in."""
        outcomes = self._judged(sessions, actions)
        state = ClientState.stack([outcome.state for outcome in outcomes])
        report, parts = stacked([o.report for o in outcomes]), stacked([o.parts for o in outcomes])
        scores = np.stack([outcome.judgement.scores for outcome in outcomes])
        measures = measure(state, self.catalog)

        at_start = np.array([session.alliance_at_start for session in sessions])
        in_integration = np.array([session.turns_in_integration for session in sessions])
        in_integration = np.where(state.phase == INTEGRATION, in_integration + 1, 0)
        left = measures.alliance < COLLAPSE * at_start
        closed_well = ~left & (in_integration >= TURNS_TO_CLOSE)
        truncated = ~left & ~closed_well & (state.turn >= self.max_turns)
        closed = np.flatnonzero(left | closed_well | truncated)
        next_states, ended = self._end(state, closed)
        if ended is not None:
            step = np.zeros(len(sessions), dtype=np.int64)
            step[closed] = ended.stage_step
            parts = with_stage_transition(parts, step, self.reward)
            way = closed_well.astype(np.int64) - left
            parts = with_ending(parts, way, self.max_turns - state.turn, self.reward)

        endings: list[str | None] = [None] * len(sessions)
        for i in closed.tolist():
            endings[i] = "left" if left[i] else "closed_well" if closed_well[i] else "turn_limit"
        means, rounds, told = scores.mean(axis=1).tolist(), in_integration.tolist(), list(map(tuple, scores.tolist()))
        after, speaking = [], []
        for i, (session, outcome) in enumerate(zip(sessions, outcomes, strict=True)):
            after.append(_after(session, outcome, told[i], rounds[i], next_states.get(i)))
            speaking.append(self._answering(after[i], means[i], endings[i], chances[i]))
        return Turned(
            after, speaking, outcomes, scores, read_only(state), read_only(report), read_only(parts), measures, endings,
            left | closed_well, truncated, closed, ended,
        )  # fmt: skip

    def _judged(self, sessions: Sequence[SessionState], actions: Sequence[str]) -> list[Outcome]:
        found = self.outcomes(list(zip(sessions, actions, strict=True)))
        failures = {i: f"gave no score: {o.reason}" for i, o in enumerate(found) if isinstance(o, JudgeFailure)}
        if failures:
            raise JudgeFailed.of(f"judge {self.judge.name}", failures, len(found))
        return [each for each in found if isinstance(each, Outcome)]

    def _end(self, state: ClientState, closed: np.ndarray) -> tuple[dict[int, ClientState], SessionReport | None]:
        """(the clients who come next time by place, what their sessions showed)."""
        if not len(closed):
            return {}, None
        next_state, ended = end_session(state.take(closed), self.catalog)
        return dict(zip(closed.tolist(), rows(read_only(next_state)), strict=True)), ended

    def _answering(
        self, session: SessionState, composite: float, ending: str | None, rng: np.random.Generator
    ) -> SpeakingTurn:
        """What the voice is asked after a turn; `composite` is the judge's mean score."""
        last = {"left": "hurt", "closed_well": "closing", "turn_limit": "closing"}
        moment = moment_of(session.report, composite) if ending is None else last[ending]
        view = ClientGraph(session.state, self.catalog, session.report, settings=self.settings)
        return SpeakingTurn(view, session.person, moment, session.history, rng)

    def speak(self, *batches: Begun | Turned) -> None:
        """Put the clients' words into the new sessions of `batches`, in one call of the voice; all of them or none.

        Raises ClientFailed, with places counted through the batches in order.
        """
        sessions = [session for batch in batches for session in batch.sessions]
        said = self.voice.speak([turn for batch in batches for turn in batch.speaking])
        failures = {}
        for i, (_, words) in enumerate(zip(sessions, said, strict=True)):
            if isinstance(words, VoiceFailure):
                failures[i] = f"gave no words: {words.reason}"
            elif (fault := TEXT.fault(words.text)) is not None:
                failures[i] = f"said what is no text of ours: {fault}"
        if failures:
            raise ClientFailed.of(f"client voice {self.voice.name}", failures, len(sessions))
        for session, words in zip(sessions, said, strict=True):
            assert not isinstance(words, VoiceFailure)
            session.words, session.reasoning = words.text, words.reasoning


def _after(
    session: SessionState,
    outcome: Outcome,
    scores: tuple[float, ...],
    in_integration: int,
    next_state: ClientState | None,
) -> SessionState:
    """The session after a reply, without the client's answer to it."""
    return SessionState(
        state=outcome.state,
        person=session.person,
        words="",
        reasoning="",
        alliance_at_start=session.alliance_at_start,
        history=(*session.history, Turn(session.words, outcome.reasoning, outcome.utterance)),
        before=session.state,
        report=outcome.report,
        scores=(*session.scores, scores),
        turns_in_integration=in_integration,
        over=next_state is not None,
        next_state=next_state,
    )


def rows(arrays: A) -> list[A]:
    """The clients of a batch, each as a batch of one that shares its memory."""
    kind = type(arrays)
    return [kind(*each) for each in zip(*(array[:, None] for array in arrays), strict=True)]


def stacked(each: Sequence[A]) -> A:
    """The reverse of `rows`, in memory of its own."""
    return type(each[0])(*(np.concatenate(arrays) for arrays in zip(*each, strict=True)))


@contextmanager
def unchanged_on_failure(chances: Sequence[np.random.Generator]) -> Iterator[None]:
    """Generators stand where they stood if what is done with them fails."""
    kept = [rng.bit_generator.state for rng in chances]
    try:
        yield
    except BaseException:
        for rng, state in zip(chances, kept, strict=True):
            rng.bit_generator.state = state
        raise
