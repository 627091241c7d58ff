"""Levels of Adaptation: seven slow dimensions in [-10, 10], and the events of growth and regression (paper 357-366)."""

from client_graph.compiled import compiled


@compiled
def update_loa(loa, helping, harming, tables, dynamics, moved, events):  # type: ignore[no-untyped-def]
    """Move `loa` (7,) in place; `moved` (7,) and `events` (7,) are written.

    Δ_l = rate · Σ_d (help_d - harm_d) / 10 · w_dl   (DIM_TO_LOA)
    event_l = thresholds crossed upward - thresholds crossed downward; a fall takes back what the rise gave, so that
    going up and down again is worth nothing
    """
    for k in range(loa.shape[0]):
        change = 0.0
        for d in range(helping.shape[0]):
            change += 0.1 * (helping[d] - harming[d]) * tables.loa_weight[d, k]
        before = loa[k]
        loa[k] = min(10.0, max(-10.0, before + dynamics.loa_rate * change))
        moved[k] = loa[k] - before
        events[k] = 0
        for threshold in tables.loa_thresholds:
            if before < threshold <= loa[k]:
                events[k] += 1
            elif loa[k] < threshold <= before:
                events[k] -= 1
