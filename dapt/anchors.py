"""How factor labels stand in a text: an anchor before and one after, which no words can pass for (paper 2084-2089).

    He is <FAC:INSIGHT>leaving, courteously</FAC:INSIGHT>.        a span: around its words
    <FAC:PHASE>B</FAC:PHASE>                                      a label: on its own line, after what it tells of

The paper prints <FAC:ATTACH> and <FAC:STAGE>; the other names and the closing anchors are ours. Quoting: where n backslashes stand
before an anchor, the words had n / 2 of them if n is even; if n is odd they had (n - 1) / 2, and the anchor itself is words.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

SPANS = {"insight": "INSIGHT", "framework": "FRAMEWORK", "intervention": "INTERVENTION"}
"""Text-span factors by their kind (paper 2088)."""
LABELS = {
    "treatment_stage": "STAGE",
    "attachment_strategy": "ATTACH",
    "session_phases": "PHASE",
    "school": "SCHOOL",
    "defenses": "DEFENSE",
    "focus": "FOCUS",
    "issues": "ISSUE",
    "strengths": "STRENGTH",
}
"""Multiclass and multilabel factors by their field in the session file (paper 2086-2087); the phase is one of each turn."""
PHASES = "session_phases"

_NAMES = {label: name for name, label in (SPANS | LABELS).items()}
_ANCHOR = re.compile(rf"(\\*)(<(/?)FAC:({'|'.join(_NAMES)})>)")


class Part(NamedTuple):
    """Where something stands in a text: characters `start` to `end`, from 0, `end` not included. name: of a factor or component."""

    name: str
    start: int
    end: int


class Written(NamedTuple):
    """A text and where its parts stand in it."""

    text: str
    parts: tuple[Part, ...]


def anchored(words: str, parts: Sequence[Part]) -> Written:
    """Words with anchors around each part, and the parts in that text: from their first character to the end of the closing anchor.

    Parts may stand in one another. Raises ValueError where two cross, since no text could tell which anchor closes which.
    """
    order = sorted(range(len(parts)), key=lambda i: (parts[i].start, -parts[i].end, i))
    text, done, begun = "", 0, list[int]()
    found = list(parts)

    def put(up_to: int, anchor: str) -> None:
        nonlocal text, done
        piece = literal(words[done:up_to])
        text, done = text + piece + "\\" * _slashes(piece) + anchor, up_to

    def close() -> None:
        part = parts[i := begun.pop()]
        put(part.end, _anchor(part.name, close=True))
        found[i] = found[i]._replace(end=len(text))

    for i in order:
        while begun and parts[begun[-1]].end <= parts[i].start:
            close()
        if begun and parts[i].end > parts[begun[-1]].end:
            first, second = parts[begun[-1]], parts[i]
            raise ValueError(
                f"found spans that cross, {first.name} {words[first.start : first.end]!r} and {second.name} "
                f"{words[second.start : second.end]!r}; expected one to stand in the other or after it"
            )
        put(parts[i].start, _anchor(parts[i].name))
        found[i] = found[i]._replace(start=len(text))
        begun.append(i)
    while begun:
        close()
    return Written(text + literal(words[done:]), tuple(found))


def unanchored(text: str) -> Written:
    """The inverse: the words, and their parts in the order they begin. Raises ValueError where an anchor does not fit."""
    words, done, begun = "", 0, list[int]()
    parts: list[Part] = []
    for match in _ANCHOR.finditer(text):
        slashes, anchor, closes, label = match.groups()
        words += text[done : match.start()] + "\\" * (len(slashes) // 2)
        done = match.end()
        if len(slashes) % 2 == 1:
            words += anchor
        elif not closes:
            begun.append(len(parts))
            parts.append(Part(_NAMES[label], len(words), -1))
        elif begun and parts[begun[-1]].name == _NAMES[label]:
            i = begun.pop()
            parts[i] = parts[i]._replace(end=len(words))
        else:
            expected = _anchor(parts[begun[-1]].name, close=True) if begun else "one that opens"
            raise ValueError(f"found {anchor}, expected {expected}")
    if begun:
        raise ValueError(f"found the end, expected {_anchor(parts[begun[-1]].name, close=True)}")
    return Written(words + text[done:], tuple(parts))


def literal(words: str) -> str:
    """Words in which nothing passes for an anchor."""
    return _ANCHOR.sub(lambda match: 2 * match[1] + "\\" + match[2], words)


def _anchor(name: str, close: bool = False) -> str:
    return f"<{'/' if close else ''}FAC:{(SPANS | LABELS)[name]}>"


def _slashes(text: str) -> int:
    """How many backslashes a text ends with."""
    return len(text) - len(text.rstrip("\\"))
