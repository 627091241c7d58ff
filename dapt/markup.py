"""How a stretch of a session reads as text, in either direction of time, and back: nothing is lost, no words pass for a marker.

The text carries the three levels of markers of paper 2104-2107:

    [UHD: SESSION]                           session-level header: "Treatment stage, session number, client profile summary"
    Treatment stage: 1
    [T+0] Turn 1 Client                      turn-level marker: "Speaker identity, turn number, temporal position"
    <CHAIN-OF-THOUGHT>                       component-level tags: "Chain-of-thought boundaries, utterance boundaries,
    ...                                      TMoC sections"
    </CHAIN-OF-THOUGHT>

The paper names what each level holds and gives no characters for it, but for ADWC's headers and positions (2099-2100): forward
windows are headed [ADWC: FORWARD TEMPORAL ORDER] and count [T+0], [T+1], ...; backward ones [ADWC: REVERSE TEMPORAL ORDER] and
[T-0], [T-1], ... from the latest turn back. The number of a turn is its place in the session, from 1, in both.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from agents.lm.five_tuple import FORWARD, REVERSE, UHD, Session, Turn

HEADERS = (UHD, FORWARD, REVERSE)
MARKER = "[T{sign}{position}] Turn {number} {speaker}"


class Component(NamedTuple):
    """A place in a turn that is filled with words: the path of fields that leads to them."""

    path: tuple[str, ...]


LAYOUT: tuple[str | Component, ...] = (
    MARKER.replace("{speaker}", "Client"),
    "<CHAIN-OF-THOUGHT>",
    Component(("client_reasoning",)),
    "</CHAIN-OF-THOUGHT>",
    "<UTTERANCE>",
    Component(("client_utterance",)),
    "</UTTERANCE>",
    MARKER.replace("{speaker}", "Therapist"),
    "<TMoC>",
    Component(("therapist_model",)),
    "</TMoC>",
    "<CHAIN-OF-THOUGHT>",
    "<GCO>",
    Component(("therapist_reasoning", "gco")),
    "</GCO>",
    "<OMO>",
    Component(("therapist_reasoning", "omo")),
    "</OMO>",
    "</CHAIN-OF-THOUGHT>",
    "<UTTERANCE>",
    Component(("therapist_utterance",)),
    "</UTTERANCE>",
)
"""The lines of a turn, in the order of the 5-tuple: rendering and parsing both walk it."""

_STRUCTURE = re.compile(
    r"\[UHD: SESSION\]|\[ADWC: (FORWARD|REVERSE) TEMPORAL ORDER\]|\[T[+-][0-9]+\] Turn [0-9]+ (Client|Therapist)"
    r"|</?(CHAIN-OF-THOUGHT|UTTERANCE|TMoC|GCO|OMO)>"
)
_FIRST = re.compile(r"\[T([+-])0\] Turn ([0-9]+) Client")


class Stretch(NamedTuple):
    """Turns of a session that stand together, in the order in which they are read.

    first: index of the earliest turn, from 0. length >= 1. header: one of HEADERS; REVERSE reads from the latest turn back.
    """

    session: Session
    first: int
    length: int
    header: str

    @property
    def places(self) -> range:
        """Indices of the turns in their session, in the order of reading."""
        forward = range(self.first, self.first + self.length)
        return forward[::-1] if self.header == REVERSE else forward

    @property
    def turns(self) -> tuple[Turn, ...]:
        """The turns in the order of reading."""
        return tuple(self.session.turns[i] for i in self.places)

    def text(self) -> str:
        """The stretch as the model reads it. Of two with one header, first turn and direction, the shorter begins the longer."""
        return "".join(f"{line}\n" for line in (*_header(self), *_lines(self)))


def head_text(stretch: Stretch) -> str:
    """The session-level header alone, as it begins the text."""
    return "".join(f"{line}\n" for line in _header(stretch))


def turn_text(session: Session, place: int) -> str:
    """One turn alone, as the first of a forward stretch; at another place its marker has other digits."""
    return "".join(f"{line}\n" for line in _lines(Stretch(session, place, 1, FORWARD)))


class Read(NamedTuple):
    """What a text holds. numbers: of the turns in their session, from 1, in the order of reading, as the turns are."""

    header: str
    numbers: tuple[int, ...]
    turns: tuple[Turn, ...]


def parse(text: str) -> Read:
    """What the text of a stretch holds, exactly. Raises ValueError at the first line that does not fit."""
    lines = text.split("\n")
    if lines[0] not in HEADERS or lines[-1]:
        raise ValueError(
            f"found {lines[0]!r} ... {lines[-1]!r}, expected a whole sample: one of {', '.join(HEADERS)} first, a newline last"
        )
    end = len(lines) - 1
    at = _next_structure(lines, 1, end)
    sign, step, number = ("-", -1, 0) if lines[0] == REVERSE else ("+", 1, 0)
    if at < end and (first := _FIRST.fullmatch(lines[at])) and first[1] == sign:
        number = int(first[2])
    turns: list[Turn] = []
    numbers: list[int] = []
    while at < end:
        numbers.append(number + step * len(turns))
        turn, at = _parse_turn(lines, at, end, {"sign": sign, "position": len(turns), "number": numbers[-1]})
        turns.append(turn)
    return Read(lines[0], tuple(numbers), tuple(turns))


def _parse_turn(lines: list[str], at: int, end: int, marks: dict[str, Any]) -> tuple[Turn, int]:
    """(the turn that begins at line index `at`, the index after it)."""
    fields: dict[str, Any] = {}
    for item in LAYOUT:
        if isinstance(item, Component):
            stop = _next_structure(lines, at, end)
            _put(fields, item.path, "\n".join(_unquote(line) for line in lines[at:stop]))
            at = stop
            continue
        expected = item.format(**marks)
        found = lines[at] if at < end else "the end"
        if found != expected:
            raise ValueError(f"line {at + 1}: found {found!r}, expected {expected!r}; try the text of a whole sample")
        at += 1
    return Turn.model_validate(fields, strict=False), at


def _header(stretch: Stretch) -> Iterator[str]:
    """The session-level header; what is not known of the session has no line."""
    session = stretch.session
    yield stretch.header
    if session.treatment_stage is not None:
        yield f"Treatment stage: {session.treatment_stage}"
    if session.session_number is not None:
        yield f"Session number: {session.session_number}"
    if session.client_profile is not None:
        yield _quote(f"Client profile summary: {session.client_profile}")


def _lines(stretch: Stretch) -> Iterator[str]:
    """The turn-level markers and component-level tags, each component between its tags."""
    sign = "-" if stretch.header == REVERSE else "+"
    for position, place in enumerate(stretch.places):
        turn = stretch.session.turns[place]
        for item in LAYOUT:
            if isinstance(item, Component):
                yield _quote(operator.attrgetter(".".join(item.path))(turn))
            else:
                yield item.format(sign=sign, position=position, number=place + 1)


def _quote(words: str) -> str:
    """Words in which no line is one of ours: a line that reads like a marker or tag gets a backslash before it."""
    return "\n".join(f"\\{line}" if _STRUCTURE.fullmatch(line.lstrip("\\")) else line for line in words.split("\n"))


def _unquote(line: str) -> str:
    return line[1:] if _STRUCTURE.fullmatch(line.lstrip("\\")) else line


def _next_structure(lines: list[str], at: int, end: int) -> int:
    return next((i for i in range(at, end) if _STRUCTURE.fullmatch(lines[i])), end)


def _put(fields: dict[str, Any], path: tuple[str, ...], words: str) -> None:
    for key in path[:-1]:
        fields = fields.setdefault(key, {})
    fields[path[-1]] = words


def described(low: int, high: int, of: str) -> str:
    """A range of numbers in an error, or that there is none."""
    return f"{low} to {high}" if low <= high else f"none: there are no {of}"
