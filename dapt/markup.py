"""How a stretch of a session reads as text, in either direction of time: nothing is lost, no words pass for a marker.

The text carries the three levels of markers of paper 2104-2107:

    [UHD: SESSION]                           session-level header: "Treatment stage, session number, client profile summary"
    Treatment stage: 1
    [T+0] Turn 1 Client                      turn-level marker: "Speaker identity, turn number, temporal position"
    <CHAIN-OF-THOUGHT>                       component-level tags: "Chain-of-thought boundaries, utterance boundaries,
    ...                                      TMoC sections"
    </CHAIN-OF-THOUGHT>

The paper names what each level holds and gives no characters for it, but for ADWC's headers and positions (2099-2100): forward
windows are headed [ADWC: FORWARD TEMPORAL ORDER] and count [T+0], [T+1], ...; backward ones [ADWC: REVERSE TEMPORAL ORDER] and
[T-0], [T-1], ... from the latest turn back. The number of a turn is its place in the session, from 1, in both. Where anchors are
shown (dapt/anchors.py), a turn ends with its phase and a text with the labels of its session: after what they can be told from.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from typing import NamedTuple

from agents.lm.five_tuple import FORWARD, REVERSE, UHD, Place, Session, Turn
from dapt.anchors import LABELS, PHASES, Part, Written, anchored
from dapt.dfr import marks

HEADERS = (UHD, FORWARD, REVERSE)
MARKER = "[T{sign}{position}] Turn {number} {speaker}"


class Component(NamedTuple):
    """A place in a turn that is filled with words. The line after it is the tag that closes it."""

    place: Place


LAYOUT: tuple[str | Component, ...] = (
    MARKER.replace("{speaker}", "Client"),
    "<CHAIN-OF-THOUGHT>",
    Component("client_reasoning"),
    "</CHAIN-OF-THOUGHT>",
    "<UTTERANCE>",
    Component("client_utterance"),
    "</UTTERANCE>",
    MARKER.replace("{speaker}", "Therapist"),
    "<TMoC>",
    Component("therapist_model"),
    "</TMoC>",
    "<CHAIN-OF-THOUGHT>",
    "<GCO>",
    Component("gco"),
    "</GCO>",
    "<OMO>",
    Component("omo"),
    "</OMO>",
    "</CHAIN-OF-THOUGHT>",
    "<UTTERANCE>",
    Component("therapist_utterance"),
    "</UTTERANCE>",
)
"""The lines of a turn, in the order of the 5-tuple: rendering and parsing both walk it."""

STRUCTURE = re.compile(
    r"\[UHD: SESSION\]|\[ADWC: (FORWARD|REVERSE) TEMPORAL ORDER\]|\[T[+-][0-9]+\] Turn [0-9]+ (Client|Therapist)"
    r"|</?(CHAIN-OF-THOUGHT|UTTERANCE|TMoC|GCO|OMO)>"
)
"""A line that is ours. A line of words that reads like one, after any backslashes, gets one more."""


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

    def text(self, anchors: bool = False) -> str:
        """The stretch as the model reads it. Raises ValueError for spans that cannot be shown.

        Of two with one header, first turn and direction, the shorter begins the longer, but for labels at the end.
        """
        return written(self, anchors, spans=anchors).text


def written(stretch: Stretch, anchors: bool = False, spans: bool = True) -> Written:
    """The text, and where its parts stand in it: components by place, spans by kind, labels by field.

    A part goes from its first character to the end of the tag or anchor that closes it: where words end is part of saying them. A
    span without anchors is its words. spans: whether they are looked for; ValueError where one has no certain place.
    """
    page = _Page(anchors)
    _header(page, stretch)
    for position, place in enumerate(stretch.places):
        _turn(page, stretch, position, place, spans)
    _labels(page, stretch.session)
    return Written("".join(page.text), tuple(page.parts))


def head_text(stretch: Stretch, anchors: bool = False) -> str:
    """The session-level header alone, as it begins the text."""
    page = _Page(anchors)
    _header(page, stretch)
    return "".join(page.text)


def turn_text(session: Session, place: int, anchors: bool = False) -> str:
    """One turn alone, as the first of a forward stretch; at another place its marker has other digits."""
    page = _Page(anchors)
    _turn(page, Stretch(session, place, 1, FORWARD), 0, place, spans=anchors)
    return "".join(page.text)


def tail_text(session: Session, anchors: bool = False) -> str:
    """The labels of the session alone, as they end the text; nothing without anchors."""
    page = _Page(anchors)
    _labels(page, session)
    return "".join(page.text)


class _Page:
    """A text that grows line by line, and its parts so far. at: characters there are."""

    def __init__(self, anchors: bool) -> None:
        self.anchors, self.at = anchors, 0
        self.text: list[str] = []
        self.parts: list[Part] = []

    def line(self, line: str) -> None:
        self.text.append(f"{line}\n")
        self.at += len(line) + 1

    def words(self, words: str, parts: list[Part]) -> None:
        """Words in which no line is one of ours and, where anchors are shown, nothing is an anchor but those of `parts`."""
        shown = anchored(words, parts) if self.anchors else Written(words, tuple(parts))
        text, put = _quoted(shown.text)
        for name, start, end in shown.parts:
            self.parts.append(Part(name, *(self.at + edge + bisect_left(put, edge) for edge in (start, end))))
        self.line(text)

    def label(self, name: str, value: object) -> None:
        self.words(str(value), [Part(name, 0, len(str(value)))])


def _header(page: _Page, stretch: Stretch) -> None:
    """The session-level header; what is not known of the session has no line."""
    session = stretch.session
    page.line(stretch.header)
    if session.treatment_stage is not None:
        page.line(f"Treatment stage: {session.treatment_stage}")
    if session.session_number is not None:
        page.line(f"Session number: {session.session_number}")
    if session.client_profile is not None:
        page.words(f"Client profile summary: {session.client_profile}", [])


def _turn(page: _Page, stretch: Stretch, position: int, place: int, spans: bool) -> None:
    """The turn-level markers and component-level tags, each component between its tags."""
    session, turn = stretch.session, stretch.session.turns[place]
    found = marks(session, place) if spans else ()
    begun: Part | None = None
    for item in LAYOUT:
        if isinstance(item, Component):
            begun = Part(item.place, page.at, page.at)
            inside = [Part(m.kind, m.start, m.end) for m in found if m.place == item.place]
            try:
                page.words(turn.words(item.place), inside)
            except ValueError as error:
                raise ValueError(f"session {session.id!r}, turn {place + 1}, {item.place}: {error}") from error
            continue
        page.line(item.format(sign="-" if stretch.header == REVERSE else "+", position=position, number=place + 1))
        if begun is not None:
            page.parts.append(begun._replace(end=page.at - 1))
            begun = None
    if page.anchors and session.session_phases is not None:
        page.label(PHASES, session.session_phases[place])


def _labels(page: _Page, session: Session) -> None:
    """What is known of the session, a label a line; those of turns stand there."""
    for name in LABELS if page.anchors else ():
        value = getattr(session, name)
        if name != PHASES and value is not None:
            for one in value if isinstance(value, tuple) else (value,):
                page.label(name, one)


def _quoted(words: str) -> tuple[str, list[int]]:
    """Words in which no line is one of ours, and where in the words a backslash was put before a character; growing."""
    put, at = list[int](), 0
    lines = words.split("\n")
    for i, line in enumerate(lines):
        if STRUCTURE.fullmatch(line.lstrip("\\")):
            put.append(at)
            lines[i] = f"\\{line}"
        at += len(line) + 1
    return "\n".join(lines), put


def unquoted(line: str) -> str:
    """A line of words as it was."""
    return line[1:] if STRUCTURE.fullmatch(line.lstrip("\\")) else line


def described(low: int, high: int, of: str) -> str:
    """A range of numbers in an error, or that there is none."""
    return f"{low} to {high}" if low <= high else f"none: there are no {of}"
