"""How a client speaks: the protocol, and the offline voice of authored lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, get_args

import numpy as np

from client_graph.catalog import Catalog
from client_graph.client import ClientGraph
from client_graph.drive import HIGH
from client_graph.personhood import Person
from client_graph.rows import Coherence, VoiceRow
from client_graph.turn import TurnReport
from judges.protocol import Turn

# A session opens defended, and a goodbye is either guarded (A) or at rest (D): only those lines are written.
_PHASE_OF_LINES = {"opening": dict.fromkeys("ABCD", "A"), "closing": {"A": "A", "B": "A", "C": "D", "D": "D"}}
_STAGE_ODDS, _CONCERN_ODDS = 4.0, 3.0  # of a line written for the stage, for the concern


@dataclass(frozen=True)
class SpeakingTurn:
    """What a voice may know: it is the client's own, so it sees the true state."""

    view: ClientGraph
    person: Person
    moment: str  # opening, ordinary, moved, hurt or closing
    history: tuple[Turn, ...]
    rng: np.random.Generator


@dataclass(frozen=True)
class Utterance:
    """What the client says, and what it keeps to itself."""

    text: str
    reasoning: str


@dataclass(frozen=True)
class VoiceFailure:
    """The client could not be given words, and why: the turn ends as an event, never with made-up words."""

    reason: str


class ClientVoice(Protocol):
    """Gives words to clients, in the order of `turns`."""

    @property
    def name(self) -> str: ...

    def speak(self, turns: Sequence[SpeakingTurn]) -> list[Utterance | VoiceFailure]: ...


def moment_of(report: TurnReport | None, composite: float) -> str:
    """How the last reply landed: hurt by a rupture, moved by a step forward or competent care, else ordinary."""
    if report is None:
        return "opening"
    if report.rupture[0]:
        return "hurt"
    if report.phase_step[0] > 0 or composite > HIGH:
        return "moved"
    return "ordinary"


def private_reasoning(view: ClientGraph) -> str:
    """What is true of the client now, in the tables' own sentences about the nodes that matter most."""
    sentences = []
    for name in view.matters_now(3):
        node = view.catalog.node(name)
        row = view.catalog.nodes[node]
        sentences.append(row.high if view.state.levels[view.index, node] >= 5.0 else row.low)
    return " ".join(sentence if sentence.endswith(".") else f"{sentence}." for sentence in sentences)


class SilentVoice:
    """A client that says nothing and keeps nothing to itself in words: for studies of numbers alone."""

    name = "silent"

    def speak(self, turns: Sequence[SpeakingTurn]) -> list[Utterance | VoiceFailure]:
        """No words, for everybody; no chance is used."""
        return [_SILENCE] * len(turns)


_SILENCE = Utterance("", "")


class AuthoredVoice:
    """The offline client: draws one of the lines of voice.csv that fit stage, phase, attachment, moment and concern.

    Among those not yet said in the session a line has odds 4 if it is written for one or two stages of treatment, else 3
    if it is written for the concern, else 1: stage and concern are heard, and other lines remain. A client at their first
    session opens with the concern as they brought it; one who is met there at a later stage, with where it is now.
    Understood just after having been hurt, they say what it is to have it mended.
    """

    name = "authored"

    def __init__(self, catalog: Catalog) -> None:
        self._lines: dict[tuple[str, str, str, int], list[VoiceRow]] = {}
        self._moment_of: dict[str, str] = {}
        for row in catalog.rows["voice"]:
            self._moment_of[row.line] = row.moment
            for coherence in get_args(Coherence) if row.coherence == "any" else (row.coherence,):
                for stage in row.stages:
                    self._lines.setdefault((row.moment, coherence, row.phase, stage), []).append(row)

    def speak(self, turns: Sequence[SpeakingTurn]) -> list[Utterance | VoiceFailure]:
        """One line each; a line is not said twice in a session while another fits."""
        return [self._one(turn) for turn in turns]

    def _one(self, turn: SpeakingTurn) -> Utterance | VoiceFailure:
        reasoning = private_reasoning(turn.view)
        if turn.moment == "opening" and not turn.history and turn.view.state.session[turn.view.index] == 0:
            rows = [row for row in self._rows(turn, "opening") if row.concern == turn.person.concern]
            return Utterance(_drawn(rows, turn.rng) if rows else turn.person.opening, reasoning)
        rows = self._fresh(turn) or self._said_longest_ago(turn)
        if not rows:
            return VoiceFailure(
                f"no line for stage {turn.view.stage}, phase {turn.view.phase}, {turn.person.coherence}, {turn.moment}, "
                f"{turn.person.concern}; add one to voice.csv"
            )
        return Utterance(_drawn(rows, turn.rng), reasoning)

    def fresh_lines(self, turn: SpeakingTurn) -> list[str]:
        """What this client could say now and has not said in this session, in file order."""
        return [row.line for row in self._fresh(turn)]

    def _fresh(self, turn: SpeakingTurn) -> list[VoiceRow]:
        said = [past.client for past in turn.history]
        before = self._moment_of.get(said[-1]) if said else None
        fresh = self._unsaid(turn, turn.moment, said)
        if turn.moment == "moved" and before == "hurt":
            return self._unsaid(turn, "mended", said) or fresh
        # Nobody says in every turn that they are moved or hurt; between, they go on with what they came for.
        if (turn.moment == "moved" and before in ("moved", "mended")) or (turn.moment == "hurt" and before == "hurt"):
            return self._unsaid(turn, "ordinary", said) or fresh
        if turn.moment in ("moved", "hurt"):
            return fresh or self._unsaid(turn, "ordinary", said)
        if turn.moment == "opening":  # a concern is named once: those lines are for first words
            return [row for row in fresh if row.concern == "any"] or fresh
        return fresh

    def _unsaid(self, turn: SpeakingTurn, moment: str, said: list[str]) -> list[VoiceRow]:
        return [row for row in self._rows(turn, moment) if row.line not in said]

    def _said_longest_ago(self, turn: SpeakingTurn) -> list[VoiceRow]:
        last_said = {past.client: i for i, past in enumerate(turn.history)}
        return sorted(self._rows(turn, turn.moment), key=lambda row: last_said.get(row.line, -1))[:1]

    def fitting(self, turn: SpeakingTurn, moment: str) -> list[str]:
        """The authored lines that fit the client and the moment, in file order."""
        return [row.line for row in self._rows(turn, moment)]

    def _rows(self, turn: SpeakingTurn, moment: str) -> list[VoiceRow]:
        phase = _PHASE_OF_LINES.get(moment, {}).get(turn.view.phase, turn.view.phase)
        rows = self._lines.get((moment, turn.person.coherence, phase, turn.view.stage), [])
        return [row for row in rows if row.concern in ("any", turn.person.concern)]


def _drawn(rows: list[VoiceRow], rng: np.random.Generator) -> str:
    """A line; one alone takes no chance."""
    if len(rows) == 1:
        return rows[0].line
    odds = np.array([_odds(row) for row in rows])
    return rows[int(rng.choice(len(rows), p=odds / odds.sum()))].line


def _odds(row: VoiceRow) -> float:
    return _STAGE_ODDS if len(row.stages) <= 2 else _CONCERN_ODDS if row.concern != "any" else 1.0
