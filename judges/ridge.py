"""Kernel ridge regression in closed form, and how wrong it is about clients it has not seen.

prediction(x) = k(x, X) A,   A = (K + lambda I)^-1 Y,   H = K (K + lambda I)^-1,   K = k(X, X)
error on rows S, fitted without S:  (I - H_SS)^-1 (Y - H Y)_S          exact, no refit (Cook 1977)
"""

from collections.abc import Sequence

import numpy as np


def ridge_duals(gram: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    """A (n, targets) for a gram matrix K (n, n), y (n, targets) and penalty > 0, float64."""
    duals: np.ndarray = np.linalg.solve(gram + penalty * np.eye(len(gram)), y)
    return duals


def left_out_errors(gram: np.ndarray, y: np.ndarray, penalty: float, groups: Sequence[np.ndarray]) -> list[np.ndarray]:
    """For each group of row numbers: target minus prediction by a fit without that group, (len(group), targets)."""
    hat = np.linalg.solve(gram + penalty * np.eye(len(gram)), gram).T
    residual = y - hat @ y
    return [np.linalg.solve(np.eye(len(rows)) - hat[np.ix_(rows, rows)], residual[rows]) for rows in groups]
