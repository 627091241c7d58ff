"""Which samples a session gives under Universal Hierarchical Direction (UHD), and how one reads as text.

Expanding prefixes only: "for a session with N turns, UHD generates N samples of progressively increasing length (turns 1,
turns 1-2, turns 1-3, ..., turns 1-N)" (paper 285). The samples are a view of the sessions: nothing is copied or written.

The text carries the three levels of markers of paper 2104-2107:

    [UHD: SESSION]                           session-level header: "Treatment stage, session number, client profile summary"
    Treatment stage: 1
    [T+0] Turn 1 Client                      turn-level marker: "Speaker identity, turn number, temporal position"
    <CHAIN-OF-THOUGHT>                       component-level tags: "Chain-of-thought boundaries, utterance boundaries,
    ...                                      TMoC sections"
    </CHAIN-OF-THOUGHT>

The paper names what each level holds and gives no characters for it; [T+0] is its marker of forward order (paper 2100).
"""

from __future__ import annotations

import operator
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate
from typing import Any, NamedTuple

from agents.lm.five_tuple import Session, Turn

HEADER = "[UHD: SESSION]"
MARKER = "[T+{position}] Turn {number} {speaker}"


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
    r"\[UHD: SESSION\]|\[T\+[0-9]+\] Turn [0-9]+ (Client|Therapist)|</?(CHAIN-OF-THOUGHT|UTTERANCE|TMoC|GCO|OMO)>"
)


class Sample(NamedTuple):
    """The first `length` turns of a session, 1 <= length <= N."""

    session: Session
    length: int

    @property
    def turns(self) -> tuple[Turn, ...]:
        """Turns 1 to `length`."""
        return self.session.turns[: self.length]

    def text(self) -> str:
        """The sample as the model reads it. The text of a shorter sample of the session begins that of a longer one."""
        return "".join(f"{line}\n" for line in (*_header(self.session), *_lines(self.turns)))


class Samples:
    """All UHD samples of `sessions`: session by session, shortest prefix first. Length is the sum of their turns.

    Sample numbers run from 0 and are found by bisection, in O(log sessions).
    """

    def __init__(self, sessions: Iterable[Session]) -> None:
        self.sessions = tuple(sessions)
        # starts[s] is the number of the first sample of session s; the last entry is the number of samples.
        self._starts = [0, *accumulate(len(session.turns) for session in self.sessions)]

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, number: int) -> Sample:
        """Sample `number`; -1 is the last. Raises IndexError out of range, TypeError for a slice."""
        session, length = self.locate(number)
        return Sample(self.sessions[session], length)

    def __iter__(self) -> Iterator[Sample]:
        return (Sample(session, length) for session in self.sessions for length in range(1, len(session.turns) + 1))

    def locate(self, number: int) -> tuple[int, int]:
        """(index of the session, length of the prefix) of sample `number`, which may count from the end as in a list."""
        if isinstance(number, slice):
            raise TypeError("found a slice, expected one sample number; try [samples[i] for i in range(start, stop)]")
        number, count = operator.index(number), len(self)
        if not -count <= number < count:
            raise IndexError(f"found sample number {number}, expected {_range(-count, count - 1, 'samples')}")
        number %= count
        session = bisect_right(self._starts, number) - 1
        return session, number - self._starts[session] + 1

    def number(self, session: int, length: int) -> int:
        """The sample that holds the first `length` turns of session `session`: the inverse of `locate`.

        Raises IndexError if there is no such session (counted from 0) or no such prefix (1 to N turns).
        """
        if not 0 <= session < len(self.sessions):
            raise IndexError(f"found session {session}, expected {_range(0, len(self.sessions) - 1, 'sessions')}")
        turns = len(self.sessions[session].turns)
        if not 1 <= length <= turns:
            raise IndexError(f"found prefix length {length} of session {session}, expected {_range(1, turns, 'turns')}")
        return self._starts[session] + length - 1


def parse_turns(text: str) -> tuple[Turn, ...]:
    """The turns of a sample's text, exactly as they were. Raises ValueError at the first line that does not fit."""
    lines = text.split("\n")
    if lines[0] != HEADER or lines[-1]:
        raise ValueError(
            f"found {lines[0]!r} ... {lines[-1]!r}, expected a whole sample: {HEADER} first, a newline last"
        )
    end = len(lines) - 1
    at = _next_structure(lines, 1, end)
    turns: list[Turn] = []
    while at < end:
        turn, at = _parse_turn(lines, at, end, len(turns))
        turns.append(turn)
    return tuple(turns)


def _parse_turn(lines: list[str], at: int, end: int, position: int) -> tuple[Turn, int]:
    """(the turn that begins at line index `at`, the index after it)."""
    fields: dict[str, Any] = {}
    for item in LAYOUT:
        if isinstance(item, Component):
            stop = _next_structure(lines, at, end)
            _put(fields, item.path, "\n".join(_unquote(line) for line in lines[at:stop]))
            at = stop
            continue
        expected = item.format(position=position, number=position + 1)
        found = lines[at] if at < end else "the end"
        if found != expected:
            raise ValueError(f"line {at + 1}: found {found!r}, expected {expected!r}; try the text of a whole sample")
        at += 1
    return Turn.model_validate(fields, strict=False), at


def _header(session: Session) -> Iterator[str]:
    """The session-level header; what is not known of the session has no line."""
    yield HEADER
    if session.treatment_stage is not None:
        yield f"Treatment stage: {session.treatment_stage}"
    if session.session_number is not None:
        yield f"Session number: {session.session_number}"
    if session.client_profile is not None:
        yield _quote(f"Client profile summary: {session.client_profile}")


def _lines(turns: Iterable[Turn]) -> Iterator[str]:
    """The turn-level markers and component-level tags, each component between its tags."""
    for position, turn in enumerate(turns):
        for item in LAYOUT:
            if isinstance(item, Component):
                yield _quote(operator.attrgetter(".".join(item.path))(turn))
            else:
                yield item.format(position=position, number=position + 1)


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


def _range(low: int, high: int, of: str) -> str:
    return f"{low} to {high}" if low <= high else f"none: there are no {of}"
