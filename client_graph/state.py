"""The state of N clients: a struct of arrays with a leading batch axis. A single client is N = 1."""

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple, TypeVar

import numpy as np

from client_graph.compiled import compiled

WINDOW = 4  # turns of the stance's running averages (paper 413)
ASSESSMENTS = 3  # assessments of the TAIE trend (paper 374)

A = TypeVar("A", bound=tuple[np.ndarray, ...])


def read_only(arrays: A) -> A:
    """The same arrays, which nobody can write into any more; copies of them can be written into."""
    for array in arrays:
        array.setflags(write=False)
    return arrays


class StateError(ValueError):
    """A state that does not fit its catalog, or that no client can be in. The message names every field that is wrong."""


class ClientState(NamedTuple):
    """Everything that a turn may change. n nodes, B buckets, 7 LOA dimensions, 3 axes; float64 unless said. Ranges: RANGES."""

    levels: np.ndarray  # (N, n) in [0, 10]: the client's true node levels
    tmog: np.ndarray  # (N, n) in [0, 10]: what the therapist believes they are
    buckets: np.ndarray  # (N, B) in [0, 1]
    buckets_start: np.ndarray  # (N, B) in [0, 1]: at intake, what progress is counted from
    loa: np.ndarray  # (N, 7) in [-10, 10]
    axes: np.ndarray  # (N, 3) in [-10, 10]: X rigidity(-) porosity(+), Y self-esteem, Z estrangement(-) cherishment(+)
    axes_start: np.ndarray  # (N, 3) in [-10, 10]: at intake
    axes_window: np.ndarray  # (N, 3) in [0, 30]: |X|+|Y|+|Z| at the last three assessments, oldest first
    attunement: np.ndarray  # (N,) in [0, 1]: how near tmog is to levels
    phase: np.ndarray  # (N,) int64, 0..3 for A..D
    phase_mood: np.ndarray  # (N,) in [-1, 1]: adaptive minus maladaptive mean when the phase was entered
    phase_coiling: np.ndarray  # (N,) in [0, 1]: mean coiling when the phase was entered
    deepest_phase: np.ndarray  # (N,) int64, 0..3: furthest phase of this session
    stage: np.ndarray  # (N,) int64, 0..3 for treatment stages 1..4
    stage_ahead: np.ndarray  # (N,) int64: sessions in a row that met the next stage's criteria
    stage_behind: np.ndarray  # (N,) int64: sessions in a row that failed this stage's ground
    core_sessions: np.ndarray  # (N,) int64: completed sessions that reached phase C
    session: np.ndarray  # (N,) int64: completed sessions
    turn: np.ndarray  # (N,) int64: completed turns of this session
    stance: np.ndarray  # (N,) int64, 0..2: rapport_building, personhood_assemblage, intervention
    arc: np.ndarray  # (N,) int64: turns left of an intervention under way, which hold that stance; 0: none
    recent_attunement: np.ndarray  # (N, 4) in [0, 10]: the judge's, oldest first; NaN where the session is younger
    recent_resistance: np.ndarray  # (N, 4) in [0, 10]: the client's, likewise
    stream: np.ndarray  # (N,) uint64: each client's own random stream

    @property
    def clients(self) -> int:
        """N."""
        return int(self.levels.shape[0])

    def snapshot(self) -> "ClientState":
        """A copy that shares no memory: keep it, try a reply, and go on from the copy to restore."""
        return ClientState(*(array.copy() for array in self))

    def take(self, clients: Sequence[int] | np.ndarray) -> "ClientState":
        """The chosen clients as a state of their own: places 0..N-1, which may come more than once, or (N,) bool."""
        index = _places(clients, self.clients)
        return ClientState(*(array[index] for array in self))

    def same_as(self, other: "ClientState") -> bool:
        """Whether both hold the same bits."""
        return all(a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in zip(self, other, strict=True))

    @staticmethod
    def stack(states: Sequence["ClientState"]) -> "ClientState":
        """One batch of the clients of `states`, in order."""
        return ClientState(*(np.concatenate(arrays) for arrays in zip(*states, strict=True)))


_MANY = (0, 2**53)
RANGES: dict[str, tuple[float, float]] = {
    "levels": (0, 10), "tmog": (0, 10), "buckets": (0, 1), "buckets_start": (0, 1), "loa": (-10, 10), "axes": (-10, 10),
    "axes_start": (-10, 10), "axes_window": (0, 30), "attunement": (0, 1), "phase": (0, 3), "phase_mood": (-1, 1),
    "phase_coiling": (0, 1), "deepest_phase": (0, 3), "stage": (0, 3), "stage_ahead": _MANY, "stage_behind": _MANY,
    "core_sessions": _MANY, "session": _MANY, "turn": _MANY, "stance": (0, 2), "arc": _MANY, "recent_attunement": (0, 10),
    "recent_resistance": (0, 10), "stream": (0, 2**64 - 1),
}  # fmt: skip
MAY_BE_UNKNOWN = ("recent_attunement", "recent_resistance")  # NaN where the session is younger than the window
ROUNDING = 1e-12  # of means of numbers that stand at the end of a range


@lru_cache(maxsize=64)
def shapes(clients: int, nodes: int, buckets: int) -> tuple[tuple[int, ...], ...]:
    """The shape of each field of `ClientState`, in order."""
    wide = {"levels": nodes, "tmog": nodes, "buckets": buckets, "buckets_start": buckets, "loa": 7, "axes": 3}
    wide |= {"axes_start": 3, "axes_window": ASSESSMENTS, "recent_attunement": WINDOW, "recent_resistance": WINDOW}
    return tuple((clients, wide[name]) if name in wide else (clients,) for name in ClientState._fields)


def misshapen(state: ClientState, nodes: int, buckets: int) -> list[str]:
    """What of `state` has not the shape that a catalog of `nodes` and `buckets` asks for, a sentence a field."""
    clients = state.levels.shape[0] if state.levels.ndim else 0
    return [
        f"{name}: found shape {array.shape}; expected {shape}"
        for name, array, shape in zip(ClientState._fields, state, shapes(clients, nodes, buckets), strict=True)
        if array.shape != shape
    ]


@compiled
def _indices_are_valid(stage, phase, stance):  # type: ignore[no-untyped-def]
    valid = 0
    for i in range(stage.shape[0]):
        valid += int(0 <= stage[i] <= 3 and 0 <= phase[i] <= 3 and 0 <= stance[i] <= 2)
    return valid == stage.shape[0]


def check_state(state: ClientState, nodes: int, buckets: int) -> None:
    """Raise StateError where compiled code could read beside an array: wrong shapes, stages or phases that do not exist.

    Not every number is looked at, every turn; `out_of_range` does that.
    """
    if tuple(array.shape for array in state) != shapes(len(state.levels), nodes, buckets):
        raise StateError("; ".join(misshapen(state, nodes, buckets)) + " for this catalog")
    if not _indices_are_valid(state.stage, state.phase, state.stance):
        raise StateError("; ".join(out_of_range(state)))


def out_of_range(state: ClientState) -> list[str]:
    """What of `state` lies outside its stated range, a sentence a field; empty where all is well."""
    problems = []
    for name, (low, high) in RANGES.items():
        values = getattr(state, name)
        slack = ROUNDING if name in ("attunement", "phase_mood", "phase_coiling") else 0.0
        inside = (values >= low - slack) & (values <= high + slack)  # false for NaN
        if name in MAY_BE_UNKNOWN:
            inside |= np.isnan(values) & (np.arange(values.shape[1]) < values.shape[1] - state.turn[:, None])
        if not inside.all():
            problems.append(f"{name}: found {values[~inside][0]}; expected numbers in [{low}, {high}]")
    for deeper, shallower in (("deepest_phase", "phase"), ("session", "core_sessions")):
        if (getattr(state, deeper) < getattr(state, shallower)).any():
            problems.append(f"{deeper} is less than {shallower}")
    if ((state.arc > 0) & (state.stance != 2)).any():
        problems.append("arc: found an arc under way in another stance than intervention (2)")
    return problems


def _places(clients: Sequence[int] | np.ndarray, count: int) -> np.ndarray:
    index = np.asarray(clients)
    if index.dtype == bool and index.shape == (count,):
        return np.flatnonzero(index)
    if index.size == 0:
        return np.zeros(0, dtype=np.int64)
    if index.dtype.kind not in "iu" or index.ndim != 1:
        raise StateError(
            f"found clients {index.dtype} of shape {index.shape}; expected whole numbers, or ({count},) bool"
        )
    if index.min() < 0 or index.max() >= count:
        raise StateError(f"found clients from {index.min()} to {index.max()}; expected 0 to {count - 1}")
    return index.astype(np.int64)
