"""What is kept of N sessions, so that they can go on from there, and what keeps a snapshot from being restored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, TypeVar

import numpy as np

from client_graph.arrival import Kind
from client_graph.catalog import Catalog
from client_graph.state import MAY_BE_UNKNOWN, RANGES, ROUNDING, ClientState, out_of_range
from client_graph.turn import TurnReport
from envs.skills.compiled import compiled
from envs.skills.observation import NO_TURN_YET
from envs.skills.outcome import Running
from judges.protocol import Turn

A = TypeVar("A", bound=tuple[np.ndarray, ...])

_RUNNING = {
    "alliance_at_start": (0.0, 1.0), "in_integration": RANGES["turn"], "signals": (0.0, 10.0),
    "composite": (NO_TURN_YET, 10.0), "alliance": (0.0, 1.0),
}  # fmt: skip
_TABLES = {"strategy": "strategies", "concern": "concerns", "name": "names"}  # whose rows a kind is
_PLAIN = {
    name: (float(low) - ROUNDING, float(high) + ROUNDING)
    for name, (low, high) in RANGES.items()
    if name not in (*MAY_BE_UNKNOWN, "stream")
}


@dataclass(frozen=True)
class Seen:
    """The last turn, as explanations and pictures need it."""

    before: ClientState
    report: TurnReport
    scores: np.ndarray  # (N, 12)
    emphasis: np.ndarray  # (N, 12)

    def copy(self) -> "Seen":
        """The same in memory of its own."""
        return Seen(self.before.snapshot(), copied(self.report), self.scores.copy(), self.emphasis.copy())


class Talk(NamedTuple):
    """What a session's client and therapist have said, where the client speaks."""

    history: tuple[Turn, ...]
    said: str  # the client's latest words
    chance: Any  # the state of the voice's bit generator


@dataclass(frozen=True)
class SkillsSnapshot:
    """N sessions as they stood, with the generators that draw their next clients; shares no memory with anything."""

    state: ClientState
    running: Running
    words: np.ndarray  # (N,) uint64: who each client is
    kind: Kind
    chance: Any  # the state of each numpy bit generator
    seen: Seen | None  # the last turn, where it is watched
    talk: Talk | None = None  # of a client who speaks

    def copy(self) -> "SkillsSnapshot":
        """The same in memory of its own; `chance` is read only."""
        seen = None if self.seen is None else self.seen.copy()
        arrays = self.state.snapshot(), copied(self.running), self.words.copy(), copied(self.kind)
        return SkillsSnapshot(*arrays, self.chance, seen, self.talk)


def copied(arrays: A) -> A:
    """A named tuple of arrays in memory of its own."""
    return type(arrays)(*(array.copy() for array in arrays))


def fitting(
    found: SkillsSnapshot, like: SkillsSnapshot, catalog: Catalog, max_turns: int, may_be_over: bool = True
) -> SkillsSnapshot:
    """A copy of `found` to take the place of `like`. Raises ValueError naming all that keeps it from that."""
    problems = _misshapen(found, like)
    if not problems:  # else the numbers have no meaning
        found = found.copy()
        problems = _impossible(found, catalog, max_turns, may_be_over)
    if problems:
        raise ValueError(f"found a snapshot that does not fit here: {'; '.join(problems)}. Nothing was changed")
    return found


def set_chance(generators: Sequence[np.random.Generator], states: Sequence[Any]) -> None:
    """The generators stand at `states`. Raises ValueError for a state of something else, when some may be set already."""
    for place, (rng, state) in enumerate(zip(generators, states, strict=True)):
        try:
            rng.bit_generator.state = state
        except (TypeError, ValueError, KeyError) as error:
            kind = type(rng.bit_generator).__name__
            raise ValueError(
                f"found a snapshot that does not fit here: chance: that of generator {place} is no state of a {kind} "
                f"({error}). Nothing was changed"
            ) from error


def _impossible(found: SkillsSnapshot, catalog: Catalog, max_turns: int, may_be_over: bool) -> list[str]:
    rows = {name: (0, len(catalog.rows[table]) - 1) for name, table in _TABLES.items()}
    problems = [] if _is_sound(found.state) else [f"state.{problem}" for problem in out_of_range(found.state)]
    problems += _outside(found.running, _RUNNING, "running")
    problems += _outside(found.kind, {"stage": RANGES["stage"], **rows}, "kind")
    turn, over = found.state.turn, found.running.over
    if (turn + ~over > max_turns).any():
        problems.append(
            f"state.turn: found a session at turn {turn.max()}; expected one that max_turns {max_turns} allows"
        )
    if over.any() and not may_be_over:
        problems.append(
            f"running.over: found sessions that are over at {np.flatnonzero(over)[:10].tolist()}; expected none"
        )
    return problems


def _misshapen(found: SkillsSnapshot, like: SkillsSnapshot) -> list[str]:
    problems = _unlike(found.state, like.state, "state") + _unlike(found.running, like.running, "running")
    problems += _unlike(found.kind, like.kind, "kind") + _unlike(found.words, like.words, "words")
    if len(found.chance) != len(like.chance):
        problems.append(f"chance: found {len(found.chance)} generators; expected {len(like.chance)}")
    if found.seen is not None and like.seen is not None:
        for part in fields(Seen):
            problems += _unlike(getattr(found.seen, part.name), getattr(like.seen, part.name), f"seen.{part.name}")
    return problems


def _unlike(found: Any, like: Any, what: str) -> list[str]:
    if type(found) is not type(like):
        return [f"{what}: found a {type(found).__name__}; expected a {type(like).__name__}"]
    if isinstance(like, np.ndarray):
        fits = found.dtype == like.dtype and found.shape == like.shape
        return [] if fits else [f"{what}: found {found.dtype} {found.shape}; expected {like.dtype} {like.shape}"]
    problems = []
    for name, array, own in zip(like._fields, found, like, strict=True):
        if type(array) is not np.ndarray or array.dtype != own.dtype or array.shape != own.shape:
            problems += _unlike(array, own, f"{what}.{name}")
    return problems


def _outside(arrays: Any, ranges: Mapping[str, tuple[float, float]], what: str) -> list[str]:
    return [
        f"{what}.{name}: found numbers from {getattr(arrays, name).min()} to {getattr(arrays, name).max()}; "
        f"expected them in [{low}, {high}]"
        for name, (low, high) in ranges.items()
        if not _within(getattr(arrays, name).reshape(-1), float(low), float(high))
    ]


def _is_sound(state: ClientState) -> bool:
    """Whether `out_of_range` would find nothing, which takes longer: who tries replies restores at every turn."""
    return (
        all(_within(getattr(state, name).reshape(-1), low, high) for name, (low, high) in _PLAIN.items())
        and all(_window_is_sound(getattr(state, name), state.turn) for name in MAY_BE_UNKNOWN)
        and _none_less(state.deepest_phase, state.phase)
        and _none_less(state.session, state.core_sessions)
    )


@compiled
def _within(values, low, high):  # type: ignore[no-untyped-def]
    valid = 0
    for value in values:
        valid += int(low <= value <= high)  # false for NaN
    return valid == values.shape[0]


@compiled
def _none_less(values, others):  # type: ignore[no-untyped-def]
    less = 0
    for i in range(values.shape[0]):
        less += int(values[i] < others[i])
    return less == 0


@compiled
def _window_is_sound(values, turn):  # type: ignore[no-untyped-def]
    valid = 0
    for i in range(values.shape[0]):
        for k in range(values.shape[1]):
            unknown = values[i, k] != values[i, k] and k < values.shape[1] - turn[i]
            valid += int(unknown or 0.0 <= values[i, k] <= 10.0)
    return valid == values.size
