"""How a client speaks: the protocol, and the offline voice of authored lines."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from client_graph.catalog import Catalog
from client_graph.client import ClientGraph
from client_graph.drive import HIGH
from client_graph.personhood import Person
from client_graph.rows import VoiceRow
from client_graph.turn import TurnReport
from judges.protocol import Turn

# A session opens defended, and a goodbye is either guarded (A) or at rest (D): only those lines are written.
_PHASE_OF_LINES = {"opening": dict.fromkeys("ABCD", "A"), "closing": {"A": "A", "B": "A", "C": "D", "D": "D"}}


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
    """The offline client: chooses among the lines of voice.csv that fit phase, attachment, moment and concern."""

    name = "authored"

    def __init__(self, catalog: Catalog) -> None:
        self._lines: dict[tuple[str, str, str], list[VoiceRow]] = {}
        for row in catalog.rows["voice"]:
            self._lines.setdefault((row.moment, row.coherence, row.phase), []).append(row)

    def speak(self, turns: Sequence[SpeakingTurn]) -> list[Utterance | VoiceFailure]:
        """One line each; a line is not said twice in a session while another fits."""
        return [self._one(turn) for turn in turns]

    def _one(self, turn: SpeakingTurn) -> Utterance | VoiceFailure:
        reasoning = private_reasoning(turn.view)
        if turn.moment == "opening" and not turn.history and turn.view.state.session[turn.view.index] == 0:
            return Utterance(turn.person.opening, reasoning)
        lines = self.fresh_lines(turn) or self._said_longest_ago(turn)
        if not lines:
            return VoiceFailure(
                f"no line for phase {turn.view.phase}, {turn.person.coherence}, {turn.moment}, {turn.person.concern}; "
                "add one to voice.csv"
            )
        return Utterance(lines[int(turn.rng.integers(len(lines)))], reasoning)

    def fresh_lines(self, turn: SpeakingTurn) -> list[str]:
        """What this client could say now and has not said in this session, in file order."""
        said = [past.client for past in turn.history]
        fresh = [line for line in self.fitting(turn, turn.moment) if line not in said]
        if turn.moment not in ("moved", "hurt"):
            return fresh
        # Nobody says in every turn that they are moved or hurt; between, they go on with what they came for.
        just_said = bool(said) and said[-1] in self.fitting(turn, turn.moment)
        ordinary = [line for line in self.fitting(turn, "ordinary") if line not in said]
        return ordinary if ordinary and (just_said or not fresh) else fresh

    def _said_longest_ago(self, turn: SpeakingTurn) -> list[str]:
        last_said = {past.client: i for i, past in enumerate(turn.history)}
        return sorted(self.fitting(turn, turn.moment), key=lambda line: last_said.get(line, -1))[:1]

    def fitting(self, turn: SpeakingTurn, moment: str) -> list[str]:
        """The authored lines that fit the client and the moment, in file order."""
        phase = _PHASE_OF_LINES.get(moment, {}).get(turn.view.phase, turn.view.phase)
        return [
            row.line
            for row in self._lines.get((moment, turn.person.coherence, phase), [])
            if row.concern in ("any", turn.person.concern)
        ]
