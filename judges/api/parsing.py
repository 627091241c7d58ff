"""Text -> Assessment, or all the reasons why it is none. Refuses instead of guessing: nothing is clamped or filled in.

    {"dimensions": {<each of DIMENSIONS>: {"reason": text, "score": number in [0, 10]}},
     "narrative": text, "critical_moments": [text, ...], "recommendations": [text, ...]}

Exactly these keys, each once. For every judge whose model writes JSON, on a network or not.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from client_graph.names import DIMENSIONS
from judges.api.errors import Failure
from judges.api.schema import TEXTS
from judges.protocol import GREATEST, LEAST, Assessment

LONGEST = 2_000_000  # characters: some four hundred times a long judgement
DEEPEST = 8  # brackets within brackets: a judgement has three
SHOWN = 60  # characters of what was found, in an error

FIELDS = ("dimensions", "narrative", *TEXTS)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where in the text, what stands there, what should."""

    where: str
    found: str
    expected: str

    def __str__(self) -> str:
        return f"{self.where}: found {self.found}, expected {self.expected}"


@dataclass(frozen=True)
class Unreadable(Failure):
    """A text that is no judgement. problems: everything that is wrong with it."""

    problems: tuple[Problem, ...] = ()


class _Object(dict[str, Any]):
    """A JSON object that remembers which keys it was given twice."""

    repeated: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Constant:
    """NaN, Infinity or -Infinity: Python's reader takes them, JSON does not know them."""

    name: str


def parse_assessment(text: str) -> Assessment | Unreadable:
    """One persona's judgement, or Unreadable listing every mistake. Raises nothing, whatever the text holds."""
    tree, problems = _read(text)
    if not problems:
        problems = list(_mistakes(tree))
    if problems:
        reason = "not a judgement: " + "; ".join(map(str, problems)) + ". Ask the judge again, or mask the turn"
        return Unreadable(reason, problems=tuple(problems))
    dimensions = [tree["dimensions"][name] for name in DIMENSIONS]
    return Assessment(
        scores=[row["score"] for row in dimensions],  # type: ignore[arg-type]  # Assessment makes the array
        reasons=tuple(row["reason"] for row in dimensions),
        narrative=tree["narrative"],
        critical_moments=tuple(tree["critical_moments"]),
        recommendations=tuple(tree["recommendations"]),
    )


def write_assessment(assessment: Assessment) -> str:
    """The text that parse_assessment reads back as an equal Assessment."""
    rows = zip(DIMENSIONS, assessment.reasons, assessment.scores, strict=True)
    return json.dumps(
        {
            "dimensions": {name: {"reason": reason, "score": float(score)} for name, reason, score in rows},
            "narrative": assessment.narrative,
            "critical_moments": list(assessment.critical_moments),
            "recommendations": list(assessment.recommendations),
        }
    )


def _read(text: str) -> tuple[Any, list[Problem]]:
    if len(text) > LONGEST:
        return None, [Problem("the text", f"{len(text)} characters", f"at most {LONGEST}")]
    # Counted before it is read: Python's reader recurses, and a deep enough text would end it.
    if (depth := _depth(text)) > DEEPEST:
        return None, [Problem("the text", f"{depth} levels of brackets", f"at most {DEEPEST}")]
    try:
        return json.loads(text, object_pairs_hook=_object, parse_constant=_Constant), []
    except json.JSONDecodeError as error:
        found = _shown(text[error.pos : error.pos + SHOWN]) if text[error.pos :] else "the end of the text"
        where = f"line {error.lineno}, column {error.colno}"
        return None, [Problem(where, found, f"one JSON object and nothing else ({error.msg})")]
    except ValueError as error:  # a whole number of thousands of digits
        return None, [Problem("the text", str(error), "numbers in [0, 10]")]


def _depth(text: str) -> int:
    """Most brackets open at once, outside strings."""
    depth = deepest = 0
    inside = escaped = False
    for letter in text:
        if inside:
            inside = escaped or letter != '"'
            escaped = letter == "\\" and not escaped
        elif letter == '"':
            inside = True
        elif letter in "[{":
            depth += 1
            deepest = max(deepest, depth)
        elif letter in "]}":
            depth -= 1
    return deepest


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    found = _Object(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        found.repeated = tuple(key for key in found if keys.count(key) > 1)
    return found


def _mistakes(tree: Any) -> Iterator[Problem]:
    yield from _keys("the judgement", tree, FIELDS)
    if not isinstance(tree, _Object):
        return
    if "dimensions" in tree:
        yield from _dimension_mistakes(tree["dimensions"])
    if "narrative" in tree:
        yield from _text("narrative", tree["narrative"])
    for field in TEXTS:
        if field in tree:
            yield from _texts(field, tree[field])


def _dimension_mistakes(dimensions: Any) -> Iterator[Problem]:
    yield from _keys("dimensions", dimensions, DIMENSIONS)
    if not isinstance(dimensions, _Object):
        return
    for name in DIMENSIONS:
        if name not in dimensions:
            continue
        row = dimensions[name]
        yield from _keys(f"dimensions.{name}", row, ("reason", "score"))
        if isinstance(row, _Object) and "score" in row:
            yield from _score(f"dimensions.{name}.score", row["score"])
        if isinstance(row, _Object) and "reason" in row:
            yield from _text(f"dimensions.{name}.reason", row["reason"])


def _keys(where: str, found: Any, expected: tuple[str, ...]) -> Iterator[Problem]:
    """An object with exactly the expected keys, each once."""
    if not isinstance(found, _Object):
        yield Problem(where, _shown(found), f"an object with {', '.join(expected)}")
        return
    missing = [key for key in expected if key not in found]
    extra = [key for key in found if key not in expected]
    if missing:
        yield Problem(where, f"no {', '.join(missing)}", "every one of its fields")
    if extra:
        yield Problem(where, f"also {', '.join(map(_shown, extra))}", f"only {', '.join(expected)}")
    if found.repeated:
        yield Problem(where, f"twice {', '.join(map(_shown, found.repeated))}", "each field once")


def _score(where: str, found: Any) -> Iterator[Problem]:
    # type(), not isinstance: True is an int. An infinity (1e999) fails the comparison.
    if type(found) not in (int, float) or not LEAST <= found <= GREATEST:
        yield Problem(where, _shown(found), f"a number from {LEAST:g} to {GREATEST:g}")


def _text(where: str, found: Any) -> Iterator[Problem]:
    if not isinstance(found, str) or not found.strip():
        yield Problem(where, _shown(found), "a text that says something")
    elif any("\ud800" <= letter <= "\udfff" for letter in found):
        yield Problem(where, _shown(found), "text without half a surrogate pair, which no file can hold")


def _texts(where: str, found: Any) -> Iterator[Problem]:
    if not isinstance(found, list):
        yield Problem(where, _shown(found), "a list of texts")
        return
    for place, entry in enumerate(found):
        yield from _text(f"{where}[{place}]", entry)


def _shown(found: Any) -> str:
    """What was found, in ASCII and short: it may be hostile, and it goes into logs."""
    if isinstance(found, _Constant):
        return found.name
    if isinstance(found, dict | list):
        return f"{'an object' if isinstance(found, dict) else 'a list'} of {len(found)}"
    text = ascii(found)
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."
