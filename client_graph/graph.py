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
        return (TOP - level) * 0.1
    if direction == DECREASE:
        return level * 0.1
    return abs(level - MIDDLE) * 0.2


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
        tight[n] = coiling_of(levels[n], tables.nodes[n].direction)
    return tight


@compiled
def coiling(levels, tables, out):  # type: ignore[no-untyped-def]
    """Mean coiling tightness, `out` (lanes,) in [0, 1]: the weighted mean over nodes; `levels` (n, lanes)."""
    out[:] = 0.0
    for n in range(levels.shape[0]):
        direction, share = tables.nodes[n].direction, tables.nodes[n].share
        for k in range(out.shape[0]):
            out[k] += share * coiling_of(levels[n, k], direction)


@compiled
def alliance(levels, tables, out):  # type: ignore[no-untyped-def]
    """Alliance, `out` (lanes,) in [0, 1]: mean level / 10 of the core nodes of the therapeutic-alliance domain."""
    out[:] = 0.0
    for n in tables.alliance_nodes:
        for k in range(out.shape[0]):
            out[k] += levels[n, k]
    for k in range(out.shape[0]):
        out[k] /= TOP * tables.alliance_nodes.shape[0]


@compiled
def engagement(levels, tables, floor, out):  # type: ignore[no-untyped-def]
    """How far the client is in the room, `out` (lanes,) in [floor, 1]: level / 10 of the engagement node (paper 349)."""
    n = tables.engagement_node[0]
    for k in range(out.shape[0]):
        out[k] = max(floor, levels[n, k] / TOP)


@compiled
def direct_changes(helping, harming, phase, stage, engaged, tables, gain, out):  # type: ignore[no-untyped-def]
    """What the judge's scores ask of each node; `helping`, `harming` (12, lanes), `out` (n, lanes) is written.

    δ_n = (Σ_d help_d high_dn + harm_d low_dn) · phase_weight_n · engagement · 1 / (1 + β_n)
    """
    out[:] = 0.0
    for row in tables.sensitivities:
        n, d, high, low = row.node, row.dimension, row.high, row.low
        for k in range(out.shape[1]):
            out[n, k] += helping[d, k] * high + harming[d, k] * low
    now, reach = 4 * stage + phase, gain * engaged
    for n in range(out.shape[0]):
        for k in range(out.shape[1]):
            out[n, k] *= reach[k] * tables.yielding[n, now[k]]


@compiled
def apply_changes(levels, changes, tables):  # type: ignore[no-untyped-def]
    """Move `levels` (n, lanes) in place by `changes` (n, lanes), which then hold what each node truly moved."""
    for n in range(levels.shape[0]):
        if tables.nodes[n].direction == BIPOLAR:
            for k in range(levels.shape[1]):
                before = levels[n, k]
                levels[n, k] = move(before, changes[n, k], BIPOLAR)
                changes[n, k] = change_between(before, levels[n, k], BIPOLAR)
        else:
            for k in range(levels.shape[1]):
                before = levels[n, k]
                levels[n, k] = move(before, changes[n, k], INCREASE)
                changes[n, k] = change_between(before, levels[n, k], INCREASE)
