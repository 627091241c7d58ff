"""Kernel ridge regression in closed form, and how wrong it is about clients it has not seen.

prediction(x) = k(x, X) A,   A = G Y,   G = (K + lambda I)^-1,   K = k(X, X)
error on rows S, fitted without S:  G_SS^-1 A_S          exact, no refit (Cook 1977; Rasmussen & Williams 2006, 5.4.2)
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Ridge(NamedTuple):
    """duals (n, targets): A. left_out: for each group of row numbers the target minus the prediction without the group."""

    duals: np.ndarray
    left_out: list[np.ndarray]


def kernel_ridge(gram: np.ndarray, y: np.ndarray, penalty: float, groups: Sequence[np.ndarray]) -> Ridge:
    """Fit y (n, targets) by a gram matrix K (n, n) and a penalty > 0, float64. Costs one inverse: 2 n^3 operations."""
    inverse = np.linalg.inv(gram + penalty * np.eye(len(gram)))
    duals = inverse @ y
    return Ridge(duals, [np.linalg.solve(inverse[np.ix_(rows, rows)], duals[rows]) for rows in groups])
