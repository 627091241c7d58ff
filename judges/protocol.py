"""What a judge is given, what it returns, and what nobody may return: an invented score (paper lines 403-408, 419)."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from client_graph.names import DIMENSIONS

LEAST, GREATEST = 0.0, 10.0  # paper line 408: a 0-10 scale


class JudgeError(ValueError):
    """A judgement holds something that is no score or no text. Nothing is clamped, coerced or filled in."""


class JudgeUnavailable(RuntimeError):
    """The judge cannot be built here: something it needs is missing or damaged."""


@dataclass(frozen=True)
class Turn:
    """One past exchange. `reasoning` is the therapist's unspoken thinking; it may be empty."""

    client: str
    reasoning: str
    therapist: str


@dataclass(frozen=True)
class Exchange:
    """What is to be judged: the client's words, the therapist's thinking and reply; the turns before, oldest first."""

    client: str
    reasoning: str
    therapist: str
    history: tuple[Turn, ...] = ()


@dataclass(frozen=True, eq=False)
class Assessment:
    """One persona's view of one exchange.

    scores: (12,) float64 in [0, 10], read-only, in the order of DIMENSIONS. reasons: one sentence for each score.
    Raises JudgeError for a wrong length, NaN, infinity, a number outside [0, 10], or anything that is not a number.
    """

    scores: np.ndarray
    reasons: tuple[str, ...]
    narrative: str
    critical_moments: tuple[str, ...] = ()
    recommendations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "scores", checked_scores(self.scores))
        for field in ("reasons", "critical_moments", "recommendations"):
            object.__setattr__(self, field, _texts(field, getattr(self, field)))
        if len(self.reasons) != len(DIMENSIONS):
            raise JudgeError(f"found {len(self.reasons)} reasons; expected {len(DIMENSIONS)}, one for each dimension")
        if not isinstance(self.narrative, str):
            raise JudgeError(f"the narrative is a {type(self.narrative).__name__}; expected text")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Assessment):
            return NotImplemented
        return np.array_equal(self.scores, other.scores) and self._words() == other._words()

    def __hash__(self) -> int:
        return hash((self.scores.tobytes(), self._words()))

    def _words(self) -> tuple[object, ...]:
        return self.reasons, self.narrative, self.critical_moments, self.recommendations


@dataclass(frozen=True)
class Violation:
    """Something a reply must not do, found by the screen (judges/screening/screen.py): reported, charged by a part of the reward of
    its own, never silently rescored.

    kind: a row of configs/judges/violations.csv. evidence: the words or the count that show it, for a reader. share: how much of
    the kind's weight it has, in [0, 1], where a violation has degrees. Raises JudgeError for another share.
    """

    kind: str
    evidence: str
    share: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.share <= 1.0:
            raise JudgeError(f"found {self.share} of the weight of a violation {self.kind!r}; expected 0 to 1")


@dataclass(frozen=True, eq=False)
class Judgement:
    """Both personas' views of one exchange. The score used is their mean; the gap is kept (DESIGN section 3).

    violations: what the screen found. error: (12,) float64 >= 0, the probable error of `scores` in points (half of the
    misses are larger), None where the judge does not know its own. digit_mass: (2, 12) float64 in [0, 1], how far a
    language model meant to write a number at all, persona by dimension; None where no digits were read.
    """

    kind: Assessment
    harsh: Assessment
    violations: tuple[Violation, ...] = ()
    error: np.ndarray | None = None
    digit_mass: np.ndarray | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "error", _measure("error", self.error, (len(DIMENSIONS),), np.inf))
        object.__setattr__(self, "digit_mass", _measure("digit_mass", self.digit_mass, (2, len(DIMENSIONS)), 1.0))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Judgement):
            return NotImplemented
        mine, theirs = self._said(), other._said()
        return mine == theirs and all(
            _same(getattr(self, name), getattr(other, name)) for name in ("error", "digit_mass")
        )

    def __hash__(self) -> int:
        return hash(self._said())

    def _said(self) -> tuple[object, ...]:
        return self.kind, self.harsh, self.violations

    @property
    def scores(self) -> np.ndarray:
        """(12,) float64 in [0, 10]: (kind + harsh) / 2, read-only."""
        mean = (self.kind.scores + self.harsh.scores) / 2.0
        mean.setflags(write=False)
        return mean

    @property
    def gap(self) -> np.ndarray:
        """(12,) float64 in [-10, 10]: kind - harsh, read-only."""
        gap: np.ndarray = self.kind.scores - self.harsh.scores
        gap.setflags(write=False)
        return gap

    @property
    def composite(self) -> float:
        """The unweighted mean of the twelve scores (paper line 408)."""
        return float(self.scores.mean())


@dataclass(frozen=True)
class JudgeFailure:
    """There is no score for this exchange, and why. The caller retries or masks the turn; it fills nothing in."""

    reason: str


class Judge(Protocol):
    """Whatever can judge: one Judgement or JudgeFailure for each exchange, in the same order."""

    @property
    def name(self) -> str: ...

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement | JudgeFailure]: ...


def checked_scores(scores: object) -> np.ndarray:
    """A read-only copy, (12,) float64. Raises JudgeError listing every entry that is not a finite number in [0, 10]."""
    if isinstance(scores, str | bytes) or not isinstance(scores, Sequence | np.ndarray):
        raise JudgeError(f"scores are a {type(scores).__name__}; expected {len(DIMENSIONS)} numbers in [0, 10]")
    entries = list(scores)
    if len(entries) != len(DIMENSIONS):
        raise JudgeError(f"found {len(entries)} scores; expected {len(DIMENSIONS)}: {', '.join(DIMENSIONS)}")
    wrong = [
        f"{name}: {entry!r}"
        for name, entry in zip(DIMENSIONS, entries, strict=True)
        if not _is_number(entry, LEAST, GREATEST)
    ]
    if wrong:
        raise JudgeError(f"not a number in [0, 10]: {'; '.join(wrong)}. Refuse the judgement and ask the judge again")
    checked = np.array(entries, dtype=np.float64)
    checked.setflags(write=False)
    return checked


def _measure(name: str, given: object, shape: tuple[int, ...], most: float) -> np.ndarray | None:
    """A read-only copy of what a judge says of its own sureness, or None. Raises JudgeError listing every entry that is not a
    finite number in [0, most], or where the shape is another."""
    if given is None:
        return None
    expected = f"expected {shape} finite numbers in [0, {most:g}]"
    if isinstance(given, str | bytes) or not isinstance(given, Sequence | np.ndarray):
        raise JudgeError(f"{name} is a {type(given).__name__}; {expected}")
    try:
        entries = np.array(given, dtype=object)  # as they are: float64 would make numbers of texts and booleans
    except ValueError:
        raise JudgeError(f"{name} has rows of unequal shapes; {expected}") from None
    if entries.shape != shape:
        raise JudgeError(f"{name} has the shape {entries.shape}; {expected}")
    greatest = min(most, sys.float_info.max)
    wrong = [f"{list(at)}: {entry!r}" for at, entry in np.ndenumerate(entries) if not _is_number(entry, 0.0, greatest)]
    if wrong:
        raise JudgeError(f"{name} holds {'; '.join(wrong)}; {expected}. Refuse the judgement and ask the judge again")
    values = entries.astype(np.float64)
    values.setflags(write=False)
    return values


def _same(mine: np.ndarray | None, theirs: np.ndarray | None) -> bool:
    if mine is None or theirs is None:
        return mine is theirs
    return np.array_equal(mine, theirs)


def _is_number(entry: object, least: float, greatest: float) -> bool:
    # bool is an int in Python, but True is no score; numpy's booleans are neither int nor np.number.
    number = isinstance(entry, int | float | np.integer | np.floating) and not isinstance(entry, bool)
    return number and bool(least <= entry <= greatest)  # type: ignore[operator]  # NaN fails both comparisons


def _texts(field: str, texts: object) -> tuple[str, ...]:
    if isinstance(texts, str) or not isinstance(texts, Sequence):
        raise JudgeError(f"{field} are a {type(texts).__name__}; expected a tuple of texts")
    for text in texts:
        if not isinstance(text, str):
            raise JudgeError(f"{field} hold a {type(text).__name__}; expected texts only")
    return tuple(texts)
