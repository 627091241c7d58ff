"""The three TAIE axes of structural organisation, each in [-10, 10], health at zero as the paper has it (paper 367-375)."""

from client_graph.compiled import compiled

AWAY, STABLE, TOWARD = -1, 0, 1


@compiled
def update_axes(axes, axes_start, window, helping, harming, tables, dynamics, moved):  # type: ignore[no-untyped-def]
    """Move `axes` (3,) in place, shift `window` (3,) of the last |X|+|Y|+|Z|, write `moved` (3,).

    step_a = rate · Σ_d (help_d - harm_d) / 10 · w_da;   a positive step leads toward zero and stops there, a negative one
    away from it, on the side where the axis lies (from zero: the side where the client started).
    """
    size = 0.0
    for a in range(axes.shape[0]):
        step = 0.0
        for d in range(helping.shape[0]):
            step += 0.1 * (helping[d] - harming[d]) * tables.axis_weight[d, a]
        before = axes[a]
        negative = before < 0.0 or (before == 0.0 and axes_start[a] < 0.0)
        distance = min(10.0, max(0.0, abs(before) - dynamics.axis_rate * step))
        axes[a] = -distance if negative else distance
        moved[a] = axes[a] - before
        size += distance
    for t in range(window.shape[0] - 1):
        window[t] = window[t + 1]
    window[window.shape[0] - 1] = size


@compiled
def transformation(axes, axes_start):  # type: ignore[no-untyped-def]
    """T = max(0, min(1, 1 - (|X|+|Y|+|Z|) / (|X₀|+|Y₀|+|Z₀|))); a client who started at zero has 0 (paper 373)."""
    now, start = 0.0, 0.0
    for a in range(axes.shape[0]):
        now += abs(axes[a])
        start += abs(axes_start[a])
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
