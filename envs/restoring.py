"""What may be gone back to: a snapshot is looked at as a whole before anything of an environment is changed."""

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np

from client_graph.catalog import Catalog
from client_graph.course import ENDINGS, Course
from client_graph.personhood import Person
from client_graph.state import ClientState, out_of_range, read_only, shapes
from client_graph.turn import TurnReport, empty_report
from envs.conduct import Conduct
from envs.text import UnicodeText
from envs.types import SessionState, Snapshot

TEXT = UnicodeText()
_WHOLE = (
    "phase", "deepest_phase", "stage", "stage_ahead", "stage_behind", "core_sessions", "session", "turn", "stance",
    "arc",
)  # fmt: skip
_DTYPES = ["uint64" if n == "stream" else "int64" if n in _WHOLE else "float64" for n in ClientState._fields]
_COURSE = Course(np.zeros(1, np.int64), np.zeros(1), np.zeros(1, np.int64), np.zeros(1, np.uint64))


def kept(session: SessionState, chance: np.random.Generator) -> Snapshot:
    """`session` and its generator as they stand, sharing no memory; replies that were only tried are left out."""
    return Snapshot(deepcopy(replace(session, tried={})), deepcopy(chance.bit_generator.state))


def restored(
    snapshots: Sequence[Snapshot], conduct: Conduct, chances: Sequence[np.random.Generator], *, treatment: bool
) -> list[SessionState]:
    """The sessions of `snapshots`, in memory of their own and read-only, each for the generator beside it. Changes nothing.

    treatment: whether they have to be of treatments or of sessions alone. Raises TypeError for what is no snapshot, ValueError
    naming all that an environment with this conduct could not go on from.
    """
    for each in snapshots:
        if not isinstance(each, Snapshot):
            raise TypeError(
                f"found a {type(each).__name__}; expected what snapshot() or envs.snapshot.from_json returned"
            )
    faults = [
        f"{f'snapshot {i}: ' if len(snapshots) > 1 else ''}{fault}"
        for i, (each, chance) in enumerate(zip(snapshots, chances, strict=True))
        for fault in _faults(each, conduct, chance, treatment)
    ]
    if faults:
        raise ValueError(f"{'; '.join(faults)}. Nothing was changed")
    return [_closed(replace(deepcopy(each.session), tried={})) for each in snapshots]


def _closed(session: SessionState) -> SessionState:
    """The session with its arrays read-only: they are handed out to researchers, so nobody may write into them."""
    for arrays in (session.state, session.before, session.report, session.next_state, session.course):
        if arrays is not None:
            read_only(arrays)
    return session


def _faults(snapshot: Snapshot, conduct: Conduct, chance: np.random.Generator, treatment: bool) -> Iterator[str]:
    session, catalog = snapshot.session, conduct.catalog
    if not isinstance(session, SessionState):
        yield f"found a {type(session).__name__}; expected a SessionState"
        return
    if not isinstance(session.person, Person):
        yield f"person: found a {type(session.person).__name__}; expected a Person"
    if (session.course is not None) != treatment:
        names = ("a treatment", "a session alone")
        yield f"found a snapshot of {names[treatment]}; expected one of {names[not treatment]}"
    for name in ("state", "before", "next_state"):
        arrays = getattr(session, name)
        if arrays is not None or name == "state":
            yield from _state_faults(name, arrays, catalog)
    if session.report is not None:
        yield from _array_faults("report", session.report, TurnReport, _like(empty_report(1, catalog, by_node=True)))
    if treatment and session.course is not None:
        yield from _course_faults(session.course)
    yield from _counter_faults(session, conduct.max_turns)
    for name in ("words", "reasoning"):
        text = getattr(session, name)
        fault = TEXT.fault(text) if isinstance(text, str) else f"found a {type(text).__name__}; expected a text"
        if fault is not None and (name == "words" or not isinstance(text, str)):
            yield f"{name}: {fault}"
    yield from _chance_faults(snapshot.chance, chance)


def _array_faults(what: str, found: Any, kind: Any, likes: Sequence[tuple[Any, tuple[int, ...]]]) -> list[str]:
    """Where `found` is not of its kind, or arrays of it have not the (dtype, shape) of `likes`."""
    if not isinstance(found, kind):
        return [f"{what}: found a {type(found).__name__}; expected a {kind.__name__}"]
    faults = []
    for name, array, (dtype, shape) in zip(kind._fields, found, likes, strict=True):
        if not isinstance(array, np.ndarray) or (array.dtype, array.shape) != (dtype, shape):
            has = f"{array.dtype} of shape {array.shape}" if isinstance(array, np.ndarray) else type(array).__name__
            faults.append(f"{what}.{name}: found {has}; expected {dtype} of shape {shape}")
    return faults


def _like(arrays: Sequence[np.ndarray]) -> list[tuple[Any, tuple[int, ...]]]:
    return [(array.dtype, array.shape) for array in arrays]


def _state_faults(what: str, state: Any, catalog: Catalog) -> list[str]:
    wanted = zip(_DTYPES, shapes(1, len(catalog.nodes), len(catalog.bucket_names)), strict=True)
    faults = _array_faults(what, state, ClientState, [(np.dtype(dtype), shape) for dtype, shape in wanted])
    return faults or [f"{what}.{fault}" for fault in out_of_range(state)]


def _course_faults(course: Course) -> list[str]:
    faults = _array_faults("course", course, Course, _like(_COURSE))
    if faults:
        return faults
    if not (0 <= course.ending[0] < len(ENDINGS)) or course.farewells[0] < 0 or not np.isfinite(course.fortune[0]):
        return [f"course: found {course}; expected an ending in 0 to {len(ENDINGS) - 1}, a count and a finite number"]
    return []


def _counter_faults(session: SessionState, max_turns: int) -> Iterator[str]:
    turns = len(session.history)
    if not isinstance(session.state, ClientState) or np.asarray(session.state.turn).tolist() != [turns]:
        yield f"found {turns} turns of history; expected as many as the client has had"
    if len(session.scores) != turns:
        yield f"found {len(session.scores)} rows of scores; expected {turns}, as there are turns"
    most = max_turns if session.over else max_turns - 1
    if turns > most:
        yield (
            f"found {turns} turns in a session that {'is over' if session.over else 'goes on'}; expected at most {most}, as "
            f"max_turns is {max_turns}"
        )
    if not 0 <= session.turns_in_integration <= turns:
        yield f"found turns_in_integration {session.turns_in_integration}; expected a number in [0, {turns}]"
    if not 0.0 <= session.alliance_at_start <= 1.0:
        yield f"found alliance_at_start {session.alliance_at_start}; expected a number in [0, 1]"
    if session.over != (session.next_state is not None):
        yield "expected the client at their next session where a session is over, and only there"
    if not (session.before is None) == (session.report is None) == (turns == 0):
        yield "expected the client before the last turn and its report where there was one, and only there"


def _chance_faults(chance: Any, generator: np.random.Generator) -> list[str]:
    """What keeps a generator of the same kind from standing where `chance` says."""
    kind = type(generator.bit_generator)
    try:
        kind(0).state = deepcopy(chance)
    except (TypeError, ValueError, KeyError, AttributeError, OverflowError) as error:
        found = chance.get("bit_generator") if isinstance(chance, dict) else type(chance).__name__
        return [f"the generator: found {found} ({error}); expected the state of a {kind.__name__}"]
    return []
