"""A snapshot of a session as JSON, and back, bit for bit: how a run that was stopped goes on."""

import base64
from dataclasses import asdict
from typing import Any

import numpy as np

from client_graph.course import Course
from client_graph.personhood import Person
from client_graph.state import ClientState
from client_graph.turn import TurnReport
from envs.types import SessionState, Snapshot
from judges.protocol import Turn

_PLAIN = ("words", "reasoning", "alliance_at_start", "turns_in_integration", "over")


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
    """The snapshot that `to_json` wrote."""
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


def _pack(arrays: Any) -> dict[str, Any] | None:
    """A named tuple of arrays, each as dtype, shape and its bytes (NaN has no JSON number)."""
    if arrays is None:
        return None
    return {
        name: {"dtype": a.dtype.str, "shape": list(a.shape), "bytes": base64.b64encode(a.tobytes()).decode()}
        for name, a in arrays._asdict().items()
    }


def _unpack(kind: Any, saved: dict[str, Any] | None) -> Any:
    if saved is None:
        return None
    return kind(
        **{
            name: np.frombuffer(base64.b64decode(a["bytes"]), np.dtype(a["dtype"])).reshape(a["shape"]).copy()
            for name, a in saved.items()
        }
    )
