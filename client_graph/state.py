"""The state of N clients: a struct of arrays with a leading batch axis. A single client is N = 1."""

from collections.abc import Sequence
from typing import NamedTuple, TypeVar

import numpy as np

WINDOW = 4  # turns of the stance's running averages (paper 413)
ASSESSMENTS = 3  # assessments of the TAIE trend (paper 374)


A = TypeVar("A", bound=tuple[np.ndarray, ...])


def read_only(arrays: A) -> A:
    """The same arrays, which nobody can write into any more; copies of them can be written into."""
    for array in arrays:
        array.setflags(write=False)
    return arrays


class ClientState(NamedTuple):
    """Everything that a turn may change. n nodes, 16 buckets, 7 LOA dimensions, 3 axes; float64 unless said."""

    levels: np.ndarray  # (N, n) in [0, 10]: the client's true node levels
    tmog: np.ndarray  # (N, n) in [0, 10]: what the therapist believes they are
    buckets: np.ndarray  # (N, 16) in [0, 1]
    buckets_start: np.ndarray  # (N, 16) in [0, 1]: at intake, what progress is counted from
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
        """The chosen clients as a state of their own; an index may come more than once."""
        index = np.asarray(clients, dtype=np.int64)
        return ClientState(*(array[index] for array in self))

    def same_as(self, other: "ClientState") -> bool:
        """Whether both hold the same bits."""
        return all(a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in zip(self, other, strict=True))

    @staticmethod
    def stack(states: Sequence["ClientState"]) -> "ClientState":
        """One batch of the clients of `states`, in order."""
        return ClientState(*(np.concatenate(arrays) for arrays in zip(*states, strict=True)))
