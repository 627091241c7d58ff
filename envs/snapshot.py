"""A snapshot of a session as JSON, and back, bit for bit: how a run that was stopped goes on."""

import base64
from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, fields
from typing import Any

import numpy as np

from client_graph.course import Course
from client_graph.names import DIMENSIONS
from client_graph.personhood import Person
from client_graph.state import ClientState
from client_graph.strengths import Strength
from client_graph.turn import TurnReport
from envs.types import SessionState, Snapshot
from judges.protocol import Turn

_PLAIN = {"words": str, "reasoning": str, "alliance_at_start": float, "turns_in_integration": int, "over": bool}


def to_json(snapshot: Snapshot) -> dict[str, Any]:
    """`snapshot` as plain JSON values; replies that were only tried are left out."""
    session = snapshot.session
    return {
        **{name: getattr(session, name) for name in _PLAIN},
        "person": asdict(session.person),
        "history": [asdict(turn) for turn in session.history],
        "state": _pack(session.state),
        "before": _pack(session.before),
        "report": _pack(session.report),
        "next_state": _pack(session.next_state),
        "course": _pack(session.course),
        "scores": [list(row) for row in session.scores],
        "chance": snapshot.chance,
    }


def from_json(saved: dict[str, Any]) -> Snapshot:
    """The snapshot that `to_json` wrote. Raises ValueError naming every key that is missing, unknown or holds something else."""
    faults = list(_faults(saved))
    if faults:
        raise ValueError(f"this is no snapshot of a session: {'; '.join(faults)}. Expected what to_json wrote")
    session = SessionState(
        **{name: saved[name] for name in _PLAIN},
        state=_unpack(ClientState, saved["state"]),
        person=Person(**saved["person"]),
        history=tuple(Turn(**turn) for turn in saved["history"]),
        before=_unpack(ClientState, saved["before"]),
        report=_unpack(TurnReport, saved["report"]),
        next_state=_unpack(ClientState, saved["next_state"]),
        course=_unpack(Course, saved.get("course")),  # saved before treatments were: a session alone
        scores=tuple(tuple(row) for row in saved["scores"]),
    )
    return Snapshot(session, saved["chance"])


def _faults(saved: Any) -> Iterator[str]:
    """What keeps plain JSON values from being a snapshot."""
    if not isinstance(saved, dict):
        yield f"found a {type(saved).__name__}, not an object"
        return
    arrays = {
        "state": ClientState,
        "before": ClientState,
        "report": TurnReport,
        "next_state": ClientState,
        "course": Course,
    }
    expected = {*_PLAIN, *arrays, "person", "history", "scores", "chance"}
    yield from _key_faults("", saved, expected, expected - {"course"})
    for name, kind in _PLAIN.items():
        if name in saved and not _is(saved[name], kind):
            yield f"{name} is {saved[name]!r:.40}, no {kind.__name__}"
    for name, tuple_ in arrays.items():
        if saved.get(name) is not None:
            yield from _packed_faults(name, saved[name], tuple_._fields)  # type: ignore[attr-defined]
        elif name == "state" and name in saved:
            yield "state is null"
    if "person" in saved:
        yield from _person_faults(saved["person"])
    for name, what, right in (("history", "turn", _turn_faults), ("scores", "row", _score_faults)):
        if name in saved and not isinstance(saved[name], list):
            yield f"{name} is a {type(saved[name]).__name__}, no list"
        elif name in saved:
            yield from (fault for i, each in enumerate(saved[name]) for fault in right(f"{name} {what} {i + 1}", each))
    if "chance" in saved and not isinstance(saved["chance"], dict):
        yield f"chance is a {type(saved['chance']).__name__}, no object"


def _key_faults(where: str, found: dict[str, Any], known: Collection[str], needed: Collection[str]) -> Iterator[str]:
    if missing := sorted(set(needed) - set(found)):
        yield f"{where}{'has no' if where else 'found no'} {', '.join(missing)}"
    if unknown := sorted(map(str, set(found) - set(known))):
        yield f"{where}{'has' if where else 'found'} unknown {', '.join(unknown)}"


def _is(value: Any, kind: type) -> bool:
    """Whether a JSON value is of a kind: a whole number is a float too, a truth value no number."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, int | float if kind is float else kind)


def _packed_faults(where: str, saved: Any, names: Sequence[str]) -> Iterator[str]:
    if not isinstance(saved, dict):
        yield f"{where} is a {type(saved).__name__}, no object"
        return
    yield from _key_faults(f"{where} ", saved, names, names)
    for name in [name for name in names if name in saved]:
        try:
            _array(saved[name])
        except (KeyError, TypeError, ValueError) as error:
            yield f"{where}.{name} holds no array ({type(error).__name__}: {error})"


def _person_faults(saved: Any) -> Iterator[str]:
    if not isinstance(saved, dict):
        yield f"person is a {type(saved).__name__}, no object"
        return
    names = [field.name for field in fields(Person)]
    yield from _key_faults("person ", saved, names, [name for name in names if name != "strengths"])
    for name, value in saved.items():
        kind = {"stage": int, "strengths": list | tuple}.get(name, str)
        if name in names and (not isinstance(value, kind) or isinstance(value, bool)):
            yield f"person.{name} is {value!r:.40}"
    strengths = saved.get("strengths", ())
    for i, each in enumerate(strengths if isinstance(strengths, list | tuple) else ()):
        if not isinstance(each, list | tuple) or len(each) != len(Strength._fields):
            yield f"person.strengths holds {each!r:.40} at place {i}, not {len(Strength._fields)} texts"


def _turn_faults(where: str, turn: Any) -> Iterator[str]:
    if not isinstance(turn, dict):
        yield f"{where} is a {type(turn).__name__}, no object"
        return
    names = [field.name for field in fields(Turn)]
    yield from _key_faults(f"{where} ", turn, names, names)
    yield from (
        f"{where}: {name} is {turn[name]!r:.40}, no text" for name in names if not isinstance(turn.get(name, ""), str)
    )


def _score_faults(where: str, row: Any) -> Iterator[str]:
    if not isinstance(row, list | tuple) or len(row) != len(DIMENSIONS) or not all(_is(score, float) for score in row):
        yield f"{where} is {row!r:.40}, no list of {len(DIMENSIONS)} numbers"


def _pack(arrays: Any) -> dict[str, Any] | None:
    """A named tuple of arrays, each as dtype, shape and its bytes (NaN has no JSON number)."""
    if arrays is None:
        return None
    return {
        name: {"dtype": a.dtype.str, "shape": list(a.shape), "bytes": base64.b64encode(a.tobytes()).decode()}
        for name, a in arrays._asdict().items()
    }


def _unpack(kind: Any, saved: dict[str, Any] | None) -> Any:
    return None if saved is None else kind(**{name: _array(packed) for name, packed in saved.items()})


def _array(packed: dict[str, Any]) -> np.ndarray:
    raw = base64.b64decode(packed["bytes"], validate=True)
    return np.frombuffer(raw, np.dtype(packed["dtype"])).reshape(packed["shape"]).copy()
