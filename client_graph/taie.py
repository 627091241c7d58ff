"""The three TAIE axes of structural organisation, each in [-10, 10], health at zero as the paper has it (paper 367-375)."""

from client_graph.compiled import compiled

AWAY, STABLE, TOWARD = -1, 0, 1


@compiled
def update_axes(axes, axes_start, helping, harming, tables, dynamics, moved):  # type: ignore[no-untyped-def]
    """Move `axes` (3, lanes) in place, write `moved` (3, lanes).

    step_a = rate · Σ_d (help_d - harm_d) / 10 · w_da;   a positive step leads toward zero and stops there, a negative one
    away from it, on the side where the axis lies (from zero: the side where the client started).
    """
    moved[:] = 0.0
    for row in tables.axis_scores:
        a, d, weight = row.axis, row.dimension, row.weight
        for k in range(moved.shape[1]):
            moved[a, k] += 0.1 * (helping[d, k] - harming[d, k]) * weight
    for a in range(axes.shape[0]):
        for k in range(moved.shape[1]):
            before = axes[a, k]
            negative = before < 0.0 or (before == 0.0 and axes_start[a, k] < 0.0)
            distance = min(10.0, max(0.0, abs(before) - dynamics.axis_rate * moved[a, k]))
            axes[a, k] = -distance if negative else distance
            moved[a, k] = axes[a, k] - before


@compiled
def axes_size(axes, out):  # type: ignore[no-untyped-def]
    """|X| + |Y| + |Z|, written to `out` (lanes,) in [0, 30]; `axes` (3, lanes)."""
    out[:] = 0.0
    for a in range(axes.shape[0]):
        for k in range(out.shape[0]):
            out[k] += abs(axes[a, k])


@compiled
def transformation(now, start):  # type: ignore[no-untyped-def]
    """T = max(0, min(1, 1 - (|X|+|Y|+|Z|) / (|X₀|+|Y₀|+|Z₀|))); a client who started at zero has 0 (paper 373)."""
    if start == 0.0:
        return 0.0
    return max(0.0, min(1.0, 1.0 - now / start))


@compiled
def axis_trend(window, tolerance):  # type: ignore[no-untyped-def]
    """Direction over the rolling three-assessment window: 1 toward zero, -1 away from zero, 0 stable (paper 374)."""
    change = window[window.shape[0] - 1] - window[0]
    if change < -tolerance:
        return TOWARD
    if change > tolerance:
        return AWAY
    return STABLE
