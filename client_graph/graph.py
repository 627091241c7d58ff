"""The nodes: how far a person moves when treated well or badly (paper 325-334, 346-350).

Arrays of a block are (rows, lanes), a lane a client.
"""

import numpy as np

from client_graph.compiled import compiled

INCREASE, DECREASE, BIPOLAR = 0, 1, 2
TOP = 10.0
MIDDLE = 5.0


@compiled
def coiling_of(level, direction):  # type: ignore[no-untyped-def]
    """Distance from health, in [0, 1], of one node: (10 - l)/10, l/10 or |l - 5|/5 by direction."""
    if direction == INCREASE:
        return (TOP - level) / TOP
    if direction == DECREASE:
        return level / TOP
    return abs(level - MIDDLE) / MIDDLE


@compiled
def move(level, change, direction):  # type: ignore[no-untyped-def]
    """The level after `change`, kept in [0, 10].

    A bipolar node counts change in steps toward its healthy middle: a positive one never crosses 5, a negative one leads
    away from it (from exactly 5: upward, toward the hyper-activated end).
    """
    if direction != BIPOLAR:
        return min(TOP, max(0.0, level + change))
    distance = min(MIDDLE, max(0.0, abs(level - MIDDLE) - change))
    return MIDDLE + distance if level >= MIDDLE else MIDDLE - distance


@compiled
def change_between(before, after, direction):  # type: ignore[no-untyped-def]
    """The change that `move` made, in the coordinate that edges read: level, or for bipolar nodes nearness to 5."""
    if direction != BIPOLAR:
        return after - before
    return abs(before - MIDDLE) - abs(after - MIDDLE)


@compiled
def tightness(levels, tables):  # type: ignore[no-untyped-def]
    """(n,) distance from health, in [0, 1], of each node of one client; `levels` (n,)."""
    tight = np.empty(levels.shape[0])
    for n in range(levels.shape[0]):
        tight[n] = coiling_of(levels[n], tables.direction[n])
    return tight


@compiled
def coiling(levels, tables, out):  # type: ignore[no-untyped-def]
    """Mean coiling tightness, `out` (lanes,) in [0, 1]: the weighted mean over nodes; `levels` (n, lanes)."""
    out[:] = 0.0
    for n in range(levels.shape[0]):
        direction, share = tables.direction[n], tables.weight[n] / tables.weight_sum[0]
        for k in range(out.shape[0]):
            out[k] += share * coiling_of(levels[n, k], direction)


@compiled
def alliance(levels, tables, out):  # type: ignore[no-untyped-def]
    """Alliance, `out` (lanes,) in [0, 1]: mean level / 10 of the core nodes of the therapeutic-alliance domain."""
    out[:] = 0.0
    for n in tables.alliance_nodes:
        for k in range(out.shape[0]):
            out[k] += levels[n, k] / TOP
    for k in range(out.shape[0]):
        out[k] /= tables.alliance_nodes.shape[0]


@compiled
def direct_changes(levels, helping, harming, phase, stage, tables, dynamics, out):  # type: ignore[no-untyped-def]
    """What the judge's scores ask of each node; `helping`, `harming` (12, lanes), `out` (n, lanes) is written.

    δ_n = (Σ_d help_d high_dn + harm_d low_dn) · phase_weight_n · engagement · 1 / (1 + β_n)
    """
    out[:] = 0.0
    for s in range(tables.sense_node.shape[0]):
        n, d, high, low = tables.sense_node[s], tables.sense_dimension[s], tables.sense_high[s], tables.sense_low[s]
        for k in range(out.shape[1]):
            out[n, k] += helping[d, k] * high + harming[d, k] * low
    engagement = np.empty(out.shape[1])
    for k in range(out.shape[1]):
        felt = levels[tables.engagement_node[0], k] / TOP
        engagement[k] = dynamics.node_gain * max(dynamics.engagement_floor, felt)
    now = 4 * stage + phase
    for n in range(out.shape[0]):
        for k in range(out.shape[1]):
            out[n, k] *= engagement[k] * tables.yielding[n, now[k]]


@compiled
def apply_changes(levels, changes, tables):  # type: ignore[no-untyped-def]
    """Move `levels` (n, lanes) in place by `changes` (n, lanes), which then hold what each node truly moved."""
    for n in range(levels.shape[0]):
        if tables.direction[n] == BIPOLAR:
            for k in range(levels.shape[1]):
                before = levels[n, k]
                levels[n, k] = move(before, changes[n, k], BIPOLAR)
                changes[n, k] = change_between(before, levels[n, k], BIPOLAR)
        else:
            for k in range(levels.shape[1]):
                before = levels[n, k]
                levels[n, k] = move(before, changes[n, k], INCREASE)
                changes[n, k] = change_between(before, levels[n, k], INCREASE)
