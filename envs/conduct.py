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
from envs.contracts import answers_fault, words_fault
from envs.endings import COLLAPSE, INTEGRATION, TURNS_TO_CLOSE
from envs.screening import charges, screened
from envs.text import UnicodeText, therapist_words
from envs.types import ClientFailed, JudgeFailed, Outcome, SessionState
from envs.voice import ClientVoice, SpeakingTurn, Utterance, VoiceFailure, moment_of
from judges.protocol import Exchange, Judge, JudgeFailure, Judgement, Turn
from judges.screening.screen import Screened
from rewards.parts import (
    RewardParts,
    stage_composite,
    turn_reward,
    with_ending,
    with_stage_transition,
    with_violations,
)
from rewards.settings import RewardSettings

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

    Whatever the judge is, it judges behind the screen (`screened`), and `judge` stays what was given.

    Sessions are independent: N at once are what each would be alone, bit for bit.
    """

    catalog: Catalog
    voice: ClientVoice
    judge: Judge
    max_turns: int = 20
    reward: RewardSettings = field(default_factory=RewardSettings)
    settings: ClientSettings = field(default_factory=ClientSettings)
    judge_retries: int = 1

    @property
    def screened(self) -> Screened:
        """The judge as it is asked: what a reply must not do is found beside its scores, and charged."""
        return screened(self.judge)

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
            answers = self.screened.judge(
                [Exchange(session.words, *words, session.history) for session, _, words in missing.values()]
            )
            judged = []
            for key, found in zip(list(missing), answers, strict=True):
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
        charge = charges(self.screened.screen, [judgement for *_, judgement in judged])
        parts = with_violations(turn_reward(scores, before.stage, report, self.reward), charge, self.reward)
        composite = stage_composite(scores, before.stage).tolist()
        measures = measure(after, self.catalog)
        counts, endings = self._endings([session for session, *_ in judged], after, measures)
        closed = [i for i, ending in enumerate(endings) if ending is not None]
        next_states: dict[int, ClientState] = {}
        ended: dict[int, SessionReport] = {}
        if closed:
            parts, next_states, ended = self._settled(parts, after, closed, endings)
        states, reports, rewards = rows(read_only(after)), rows(read_only(report)), rows(read_only(parts))
        measured = rows(read_only(measures))
        for i, (session, action, words, judgement) in enumerate(judged):
            session.tried[action] = Outcome(
                *words, judgement, states[i], reports[i], rewards[i], composite[i], measured[i], counts[i], endings[i],
                next_states.get(i), ended.get(i),
            )  # fmt: skip

    def _endings(
        self, sessions: Sequence[SessionState], after: ClientState, measures: Measures
    ) -> tuple[list[int], list[str | None]]:
        """(turns in phase D without a break, how the session ends, None where it goes on) of each session after a reply."""
        before = np.array([session.turns_in_integration for session in sessions])
        counts = np.where(after.phase == INTEGRATION, before + 1, 0)
        left = measures.alliance < COLLAPSE * np.array([session.alliance_at_start for session in sessions])
        well, long = counts >= TURNS_TO_CLOSE, after.turn >= self.max_turns
        ways = zip(left.tolist(), well.tolist(), long.tolist(), strict=True)
        return counts.tolist(), [_ending(*way) for way in ways]

    def _settled(
        self, parts: RewardParts, after: ClientState, closed: list[int], endings: list[str | None]
    ) -> tuple[RewardParts, dict[int, ClientState], dict[int, SessionReport]]:
        """(`parts` with what the ends of the sessions at `closed` are worth, who comes next time, what was shown; by place)."""
        next_state, ended = end_session(after.take(closed), self.catalog)
        step = np.zeros(after.clients, dtype=np.int64)
        step[closed] = ended.stage_step
        parts = with_stage_transition(parts, step, self.reward)
        way = np.array([{"closed_well": 1, "left": -1}.get(ending or "", 0) for ending in endings])
        parts = with_ending(parts, way, self.max_turns - after.turn, self.reward)
        ended.stage_step.setflags(write=False)
        shown = [
            SessionReport(ended.stage_step[k : k + 1], measures)
            for k, measures in enumerate(rows(read_only(ended.measures)))
        ]
        next_states = rows(read_only(next_state))
        return parts, dict(zip(closed, next_states, strict=True)), dict(zip(closed, shown, strict=True))

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
        return self.landed(sessions, self.all_judged(self.outcomes(list(zip(sessions, actions, strict=True)))), chances)

    def landed(
        self, sessions: Sequence[SessionState], outcomes: list[Outcome], chances: Sequence[np.random.Generator]
    ) -> Turned:
        """The turn that these outcomes, one a session, are."""
        scores = np.stack([outcome.judgement.scores for outcome in outcomes])
        endings = [outcome.ending for outcome in outcomes]
        ended = [outcome.ended for outcome in outcomes if outcome.ended is not None]
        means, told = scores.mean(axis=1).tolist(), list(map(tuple, scores.tolist()))
        after, speaking = [], []
        for i, (session, outcome) in enumerate(zip(sessions, outcomes, strict=True)):
            after.append(_after(session, outcome, told[i]))
            speaking.append(self._answering(after[i], means[i], endings[i], chances[i]))
        return Turned(
            sessions=after,
            speaking=speaking,
            outcomes=outcomes,
            scores=scores,
            state=read_only(ClientState.stack([outcome.state for outcome in outcomes])),
            report=read_only(stacked([outcome.report for outcome in outcomes])),
            parts=read_only(stacked([outcome.parts for outcome in outcomes])),
            measures=read_only(stacked([outcome.measures for outcome in outcomes])),
            endings=endings,
            terminated=np.array([ending in ("left", "closed_well") for ending in endings]),
            truncated=np.array([ending == "turn_limit" for ending in endings]),
            closed=np.array([i for i, ending in enumerate(endings) if ending is not None], dtype=np.int64),
            ended=_reports(ended) if ended else None,
        )

    def all_judged(self, found: Sequence[Outcome | JudgeFailure]) -> list[Outcome]:
        """`found`, where every reply has a score. Raises JudgeFailed naming those that have none."""
        failures = {i: f"gave no score: {o.reason}" for i, o in enumerate(found) if isinstance(o, JudgeFailure)}
        if failures:
            raise JudgeFailed.of(f"judge {self.judge.name}", failures, len(found))
        return [each for each in found if isinstance(each, Outcome)]

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

        Raises ClientFailed, with places counted through the batches in order, and TypeError for a voice that returns something
        else than one Utterance or VoiceFailure for each.
        """
        sessions = [session for batch in batches for session in batch.sessions]
        said = self.voice.speak([turn for batch in batches for turn in batch.speaking])
        fault = answers_fault(said, len(sessions), (Utterance, VoiceFailure)) or words_fault(said)
        if fault is not None:
            raise TypeError(f"client voice {self.voice.name} returned {fault}, in order. Nothing was changed")
        failures = {}
        for i, words in enumerate(said):
            if isinstance(words, VoiceFailure):
                failures[i] = f"gave no words: {words.reason}"
            elif (fault := TEXT.fault(words.text)) is not None:
                failures[i] = f"said what is no text of ours: {fault}"
        if failures:
            raise ClientFailed.of(f"client voice {self.voice.name}", failures, len(sessions))
        for session, words in zip(sessions, said, strict=True):
            assert not isinstance(words, VoiceFailure)
            session.words, session.reasoning = words.text, words.reasoning


def _ending(left: bool, closed_well: bool, turn_limit: bool) -> str | None:
    return "left" if left else "closed_well" if closed_well else "turn_limit" if turn_limit else None


def _after(session: SessionState, outcome: Outcome, scores: tuple[float, ...]) -> SessionState:
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
        turns_in_integration=outcome.turns_in_integration,
        over=outcome.ending is not None,
        next_state=outcome.next_state,
        course=outcome.week.course if outcome.week else session.course,
    )


def _reports(each: Sequence[SessionReport]) -> SessionReport:
    return SessionReport(np.concatenate([one.stage_step for one in each]), stacked([one.measures for one in each]))


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
