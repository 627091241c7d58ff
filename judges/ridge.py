"""Ridge regression in closed form, and how wrong it is about clients it has not seen.

W = X^T A,   A = (X X^T + lambda I)^-1 Y,   H = X X^T (X X^T + lambda I)^-1
error on rows S, fitted without S:  (I - H_SS)^-1 (Y - H Y)_S          exact, no refit (Cook 1977)
"""

from collections.abc import Sequence

import numpy as np


def ridge_duals(x: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    """A (n, targets) with W = X^T A, for x (n, columns), y (n, targets) and penalty > 0, float64."""
    duals: np.ndarray = np.linalg.solve(x @ x.T + penalty * np.eye(len(x)), y)
    return duals


def left_out_errors(gram: np.ndarray, y: np.ndarray, penalty: float, groups: Sequence[np.ndarray]) -> list[np.ndarray]:
    """For each group of row numbers: target minus prediction by a fit without that group, (len(group), targets)."""
    hat = np.linalg.solve(gram + penalty * np.eye(len(gram)), gram).T
    residual = y - hat @ y
    return [np.linalg.solve(np.eye(len(rows)) - hat[np.ix_(rows, rows)], residual[rows]) for rows in groups]
