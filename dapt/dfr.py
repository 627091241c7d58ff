"""A session taken apart into atomic units and put together again: nothing lost, nothing twice, all in place (paper 2076-2093).

    turn        a complete 5-tuple                                                                          (paper 2080)
    component   one text of a turn; the therapist's reasoning is two, Gamma and Omega                       (paper 240, 2081)
    segment     a component cut where its spans begin and end: "logical segments within components"         (paper 2082)

A unit knows of its session only what it carries: its place, and the labels of its turn and session, "carrying factors into
recomposed units" (paper 242). What a model reads of a session in one piece, all of it, a window, a prefix, is a view that copies
nothing (dapt/views.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple, get_args

from agents.lm.five_tuple import Place, Session, Span, TherapistReasoning, Turn
from dapt.anchors import LABELS, PHASES, Part, anchored

Level = Literal["turn", "component", "segment"]
PLACES: tuple[Place, ...] = get_args(Place)
"""The texts of a turn, in the order of the 5-tuple."""
_REASONING = ("gco", "omo")


class Mark(NamedTuple):
    """A span at its place: characters `start` to `end` of its component's words. number: in the turn's list of spans, from 0."""

    number: int
    kind: Literal["insight", "framework", "intervention"]
    place: Place
    start: int
    end: int


class Piece(NamedTuple):
    """Words of a component, all of it or from character `start` on. size: characters of the whole component."""

    place: Place
    start: int
    size: int
    words: str

    @property
    def end(self) -> int:
        """The character after its last one."""
        return self.start + len(self.words)


@dataclass(frozen=True)
class Unit:
    """A part of a session that can stand alone. turn: its index, from 0, among so many `turns`.

    session, labels: the fields of the session besides its turns, and of the turn besides its words and spans, as in the file.
    spans: how many the turn has, None where it says nothing of spans. marks: those of them that its words have a share in.
    """

    level: Level
    session: Mapping[str, Any]
    turns: int
    turn: int
    labels: Mapping[str, Any]
    spans: int | None
    pieces: tuple[Piece, ...]
    marks: tuple[Mark, ...]

    @property
    def factors(self) -> dict[str, Any]:
        """What is known of it, for auxiliary tasks (paper 2085-2088): labels by name, its turn's phase, its spans' kinds."""
        known = {name: self.session[name] for name in LABELS if self.session[name] is not None}
        if PHASES in known:
            known[PHASES] = known[PHASES][self.turn]
        return known | {"spans": tuple(mark.kind for mark in self.marks)}


def decompose(session: Session, level: Level) -> list[Unit]:
    """The units of a session in the order of reading. Raises ValueError for another level, or a span of no certain place."""
    if level not in get_args(Level):
        raise ValueError(f"found level {level!r}, expected one of {', '.join(get_args(Level))}")
    own = {name: value for name, value in session if name != "turns"}
    units = []
    for at, turn in enumerate(session.turns):
        found, count = marks(session, at), None if turn.spans is None else len(turn.spans)
        labels = {name: value for name, value in turn if name not in (*PLACES, "therapist_reasoning", "spans")}
        for pieces in _groups(turn, level, found):
            shared = tuple(mark for mark in found if any(_touches(mark, piece) for piece in pieces))
            units.append(Unit(level, own, len(session.turns), at, labels, count, pieces, shared))
    return units


def recompose(units: Iterable[Unit]) -> Session:
    """The session whose units these are: the inverse of `decompose`, in any order of units and with levels mixed.

    Raises ValueError where units are of several sessions, or words are missing or there twice.
    """
    found = list(units)
    if not found:
        raise ValueError("found no units, expected those of one session")
    first, turns = found[0], dict[int, list[Unit]]()
    for unit in found:
        if (unit.session, unit.turns) != (first.session, first.turns):
            raise ValueError(
                f"found units of session {first.session['id']!r} and of {unit.session['id']!r} with other labels or turns; "
                "expected those of one session"
            )
        turns.setdefault(unit.turn, []).append(unit)
    if sorted(turns) != list(range(first.turns)):
        raise ValueError(
            f"session {first.session['id']!r}: found turns {[n + 1 for n in sorted(turns)]}, expected 1 to {first.turns}"
        )
    return Session(turns=tuple(_turn(turns[at]) for at in range(first.turns)), **first.session)


def marks(session: Session, turn: int) -> tuple[Mark, ...]:
    """The spans of a turn at their places, in its list's order. Raises ValueError where words stand twice in their component."""
    found, problems = _placed(session, turn)
    if problems:
        raise ValueError("; ".join(problems))
    return tuple(found)


def unplaced(sessions: Sequence[Session], anchors: bool) -> list[str]:
    """Every span that has no certain place, or where `anchors` are to show them, crosses another; each with session and turn."""
    problems = []
    for session in sessions:
        for at, turn in enumerate(session.turns):
            found, mistakes = _placed(session, at)
            problems += mistakes
            for place in PLACES if anchors else ():
                try:
                    anchored(turn.words(place), [Part(m.kind, m.start, m.end) for m in found if m.place == place])
                except ValueError as error:
                    problems.append(f"session {session.id!r}, turn {at + 1}, {place}: {error}")
    return problems


def _placed(session: Session, turn: int) -> tuple[list[Mark], list[str]]:
    found, problems, spoken = list[Mark](), list[str](), session.turns[turn]
    for number, span in enumerate(spoken.spans or ()):
        words = spoken.words(span.place)
        start = words.index(span.text)
        found.append(Mark(number, span.kind, span.place, start, start + len(span.text)))
        if span.text in words[start + 1 :]:
            problems.append(
                f"session {session.id!r}, turn {turn + 1}, spans.{number}: found {span.text!r} more than once in {span.place}, "
                "expected once; try more of the words around it"
            )
    return found, problems


def _groups(turn: Turn, level: Level, found: Sequence[Mark]) -> Iterator[tuple[Piece, ...]]:
    """The pieces of each unit of a turn."""
    wholes = [Piece(place, 0, len(turn.words(place)), turn.words(place)) for place in PLACES]
    if level == "turn":
        yield tuple(wholes)
        return
    for whole in wholes:
        inner = (
            {edge for m in found if m.place == whole.place for edge in (m.start, m.end)}
            if level == "segment"
            else set()
        )
        for a, b in pairwise(sorted({0, whole.size, *inner})):
            yield (whole._replace(start=a, words=whole.words[a:b]),)


def _touches(mark: Mark, piece: Piece) -> bool:
    return mark.place == piece.place and mark.start < piece.end and piece.start < mark.end


def _turn(units: Sequence[Unit]) -> Turn:
    """One turn of its units."""
    first = units[0]
    where = f"session {first.session['id']!r}, turn {first.turn + 1}"
    if any((unit.labels, unit.spans) != (first.labels, first.spans) for unit in units):
        raise ValueError(f"{where}: found units with other labels; expected those of one turn")
    pieces = [piece for unit in units for piece in unit.pieces]
    words: dict[str, Any] = {
        place: _joined([piece for piece in pieces if piece.place == place], f"{where}, {place}") for place in PLACES
    }
    placed = {mark.number: mark for unit in units for mark in unit.marks}
    if sorted(placed) != list(range(first.spans or 0)):
        raise ValueError(f"{where}: found spans {sorted(placed)}, expected {first.spans or 0} from 0")
    spans = tuple(
        Span(kind=m.kind, place=m.place, text=words[m.place][m.start : m.end]) for _, m in sorted(placed.items())
    )
    return Turn(
        **{place: words[place] for place in PLACES if place not in _REASONING},
        therapist_reasoning=TherapistReasoning(gco=words["gco"], omo=words["omo"]),
        spans=None if first.spans is None else spans,
        **first.labels,
    )


def _joined(pieces: Sequence[Piece], where: str) -> str:
    """The words of one component, each character once."""
    text, size = "", pieces[0].size if pieces else 0
    for piece in sorted(pieces, key=lambda piece: piece.start):
        if piece.start != len(text) or piece.size != size:
            raise ValueError(
                f"{where}: found words from character {piece.start} of {piece.size}, expected from {len(text)} of {size}"
            )
        text += piece.words
    if not pieces or len(text) != size:
        raise ValueError(f"{where}: found {len(text)} characters, expected {size or 'some'}")
    return text
