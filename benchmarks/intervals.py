"""The interval that goes with a mean over clients, and over runs where there are several."""

import numpy as np

DRAWS = 10_000


def interval(values: np.ndarray, rng: np.random.Generator) -> tuple[float, float]:
    """95 % of the mean of values (runs, clients), NaN where there is none: a bootstrap over runs, and over the clients in each."""
    runs, clients = values.shape
    drawn = np.array([
        np.nanmean([values[run][rng.integers(clients, size=clients)] for run in rng.integers(runs, size=runs)])
        for _ in range(DRAWS)
    ])  # fmt: skip
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)
