"""What sets a better reply apart from a worse one to the same client, whatever the client: a direction to rank by.

    P(i before j) = sigmoid(v (x_i - x_j))          for every two replies to one client with authored means GAP apart
    v = argmin  -sum log P + lambda |v|^2 / 2       Bradley & Terry 1952, by Newton's method

Two replies to one client share all that is hard about that client, and the logistic loss asks which is better and not by how
much: fitted so, the same vectors rank more pairs of unseen clients rightly than scores fitted one by one (benchmarks/judge_fit.py).
"""

from collections.abc import Sequence

import numpy as np

GAP = 1.5  # points between two authored means from which one is said to be better
STEPS = 6  # Newton's; the loss settles in five
LEAST_CURVATURE = 1e-4


def bradley_terry(apart: np.ndarray, penalty: float) -> np.ndarray:
    """(columns,) v for differences better minus worse (n, columns), float64. Costs STEPS min(n, columns)^2 max(n, columns)."""
    if len(apart) < apart.shape[1]:  # v lies in the span of the rows
        basis, _ = np.linalg.qr(apart.T)
        return basis @ bradley_terry(apart @ basis, penalty)
    v = np.zeros(apart.shape[1])
    for _ in range(STEPS):
        p = 0.5 * (1.0 + np.tanh(0.5 * (apart @ v)))
        curvature = np.maximum(p * (1.0 - p), LEAST_CURVATURE)
        hessian = (apart * curvature[:, None]).T @ apart + penalty * np.eye(len(v))
        v = v + np.linalg.solve(hessian, apart.T @ (1.0 - p) - penalty * v)
    return v


def better_and_worse(means: np.ndarray, clients: np.ndarray) -> np.ndarray:
    """(pairs, 2) int64: places of two replies to one client of which the first is better by GAP; means and clients (n,)."""
    pairs = [(i, j) for rows in _by(clients) for i in rows.tolist() for j in rows.tolist() if means[i] > means[j] + GAP]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def ranked_unseen(
    columns: np.ndarray, pairs: np.ndarray, clients: np.ndarray, penalty: float, folds: int
) -> np.ndarray:
    """(n,) v x of each reply by a direction that has not seen its client; client number c is in fold c modulo `folds`."""
    unseen = np.empty(len(columns))
    fold = clients % folds
    for f in range(folds):
        kept = pairs[fold[pairs[:, 0]] != f]
        unseen[fold == f] = columns[fold == f] @ bradley_terry(columns[kept[:, 0]] - columns[kept[:, 1]], penalty)
    return unseen


def _by(clients: np.ndarray) -> Sequence[np.ndarray]:
    order = np.argsort(clients, kind="stable")
    return np.split(order, np.flatnonzero(np.diff(clients[order])) + 1)
