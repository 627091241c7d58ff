"""Levels of Adaptation: seven slow dimensions in [-10, 10], and the events of growth and regression (paper 357-366)."""

import numpy as np

from client_graph.compiled import compiled


@compiled
def update_loa(loa, helping, harming, tables, dynamics, moved, events):  # type: ignore[no-untyped-def]
    """Move `loa` (7, lanes) in place; `moved` and `events` (7, lanes) are written.

    Δ_l = rate · Σ_d (help_d - harm_d) / 10 · w_dl   (DIM_TO_LOA)
    event_l = thresholds crossed upward - thresholds crossed downward; a fall takes back what the rise gave, so that
    going up and down again is worth nothing
    """
    moved[:], events[:] = 0.0, 0
    before = np.empty(moved.shape[1])
    for row in tables.loa_scores:
        c, d, weight = row.loa, row.dimension, row.weight
        for k in range(moved.shape[1]):
            moved[c, k] += 0.1 * (helping[d, k] - harming[d, k]) * weight
    for c in range(loa.shape[0]):
        for k in range(moved.shape[1]):
            before[k] = loa[c, k]
            loa[c, k] = min(10.0, max(-10.0, before[k] + dynamics.loa_rate * moved[c, k]))
            moved[c, k] = loa[c, k] - before[k]
        for threshold in tables.loa_thresholds:
            for k in range(moved.shape[1]):
                events[c, k] += int(loa[c, k] >= threshold) - int(before[k] >= threshold)
