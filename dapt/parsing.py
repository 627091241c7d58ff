"""What the text of a stretch holds, exactly: the inverse of dapt/markup.py."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from agents.lm.five_tuple import REVERSE, Turn
from dapt.anchors import LABELS, PHASES, SPANS, Written, unanchored
from dapt.markup import HEADERS, LAYOUT, STRUCTURE, Component, unquoted

_FIRST = re.compile(r"\[T([+-])0\] Turn ([0-9]+) Client")
_LABEL = re.compile(f"<FAC:({'|'.join(LABELS.values())})>.*")


class Read(NamedTuple):
    """What a text holds. numbers: of the turns in their session, from 1, in the order of reading, as the turns are.

    Where anchors are shown, spans stand in the order of reading too, phases has one a turn or none, and labels by field.
    """

    header: str
    numbers: tuple[int, ...]
    turns: tuple[Turn, ...]
    phases: tuple[str, ...] = ()
    labels: Mapping[str, tuple[str, ...]] = MappingProxyType({})


def parse(text: str, anchors: bool = False) -> Read:
    """What the text of a stretch holds, exactly; anchors: whether they are shown in it.

    Raises ValueError at the first line that does not fit.
    """
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
    turns, numbers, phases = list[Turn](), list[int](), list[str]()
    while at < end and not (anchors and turns and _LABEL.match(lines[at])):
        numbers.append(number + step * len(turns))
        marks = {"sign": sign, "position": len(turns), "number": numbers[-1]}
        turn, at = _parse_turn(lines, at, end, marks, anchors)
        turns.append(turn)
        if anchors and at < end and lines[at].startswith(f"<FAC:{LABELS[PHASES]}>"):
            phases += _parse_labels(lines, at, at + 1)[PHASES]
            at += 1
    return Read(
        lines[0], tuple(numbers), tuple(turns), tuple(phases), _parse_labels(lines, at, end) if at < end else {}
    )


def _parse_turn(lines: list[str], at: int, end: int, marks: dict[str, Any], anchors: bool) -> tuple[Turn, int]:
    """(the turn that begins at line index `at`, the index after it)."""
    fields: dict[str, Any] = {}
    spans: list[dict[str, str]] = []
    for item in LAYOUT:
        if isinstance(item, Component):
            stop = _next_structure(lines, at, end)
            words, parts = _words(lines, at, stop, anchors)
            spans += [_span(part, item.place, words, at) for part in parts]
            (fields.setdefault("therapist_reasoning", {}) if item.place in ("gco", "omo") else fields)[item.place] = (
                words
            )
            at = stop
            continue
        expected = item.format(**marks)
        found = lines[at] if at < end else "the end"
        if found != expected:
            raise ValueError(f"line {at + 1}: found {found!r}, expected {expected!r}; try the text of a whole sample")
        at += 1
    return Turn.model_validate(fields | ({"spans": tuple(spans)} if spans else {}), strict=False), at


def _span(part: Any, place: str, words: str, at: int) -> dict[str, str]:
    if part.name not in SPANS:
        raise ValueError(f"line {at + 1}: found <FAC:{LABELS[part.name]}> in {place}, expected one of a span")
    return {"kind": part.name, "place": place, "text": words[part.start : part.end]}


def _parse_labels(lines: list[str], at: int, end: int) -> dict[str, tuple[str, ...]]:
    """Labels by field, from lines that hold nothing else."""
    words, parts = _words(lines, at, end, anchors=True)
    found: dict[str, tuple[str, ...]] = {}
    edge = 0
    for i, part in enumerate(parts):
        if part.name not in LABELS or words[edge : part.start] != ("\n" if i else ""):
            raise ValueError(f"line {at + 1}: found {words[edge : part.start]!r}, expected labels alone, one a line")
        found[part.name] = (*found.get(part.name, ()), words[part.start : part.end])
        edge = part.end
    if words[edge:]:
        raise ValueError(f"line {at + 1}: found {words[edge:]!r}, expected labels alone, one a line")
    return found


def _words(lines: list[str], at: int, stop: int, anchors: bool) -> Written:
    """The words of some lines, as they were, and their spans and labels."""
    text = "\n".join(unquoted(line) for line in lines[at:stop])
    if not anchors:
        return Written(text, ())
    try:
        return unanchored(text)
    except ValueError as error:
        raise ValueError(f"line {at + 1}: {error}; try the text of a whole sample") from error


def _next_structure(lines: list[str], at: int, end: int) -> int:
    return next((i for i in range(at, end) if STRUCTURE.fullmatch(lines[i])), end)
