"""The nodes: how far a person moves when treated well or badly (paper 325-334, 346-350)."""

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
    """(n,) distance from health, in [0, 1], of each node of one client."""
    tight = np.empty(levels.shape[0])
    for n in range(levels.shape[0]):
        tight[n] = coiling_of(levels[n], tables.direction[n])
    return tight


@compiled
def coiling(levels, tables):  # type: ignore[no-untyped-def]
    """Mean coiling tightness of one client, in [0, 1]: the weighted mean over nodes; `levels` (n,)."""
    total = 0.0
    for n in range(levels.shape[0]):
        total += tables.weight[n] * coiling_of(levels[n], tables.direction[n])
    return total / tables.weight_sum[0]


@compiled
def alliance(levels, tables):  # type: ignore[no-untyped-def]
    """Alliance in [0, 1]: mean level / 10 of the core nodes of the therapeutic-alliance domain."""
    total = 0.0
    for n in tables.alliance_nodes:
        total += levels[n]
    return total / (TOP * tables.alliance_nodes.shape[0])


@compiled
def direct_changes(levels, helping, harming, phase, stage, tables, dynamics, out):  # type: ignore[no-untyped-def]
    """What the judge's scores ask of each node; `helping`, `harming` (12,), `out` (n,), written in place.

    δ_n = (Σ_d help_d high_dn + harm_d low_dn) · phase_weight_n · engagement · 1 / (1 + β_n)
    """
    out[:] = 0.0
    for d in range(helping.shape[0]):
        if helping[d] > 0.0:
            for n in range(out.shape[0]):
                out[n] += helping[d] * tables.high[d, n]
        elif harming[d] > 0.0:
            for n in range(out.shape[0]):
                out[n] += harming[d] * tables.low[d, n]
    engagement = max(dynamics.engagement_floor, levels[tables.engagement_node[0]] / TOP)
    for n in range(out.shape[0]):
        out[n] *= dynamics.node_gain * tables.phase_weight[phase, n] * engagement / (1.0 + tables.bq[stage, n])


@compiled
def apply_changes(levels, changes, tables, moved):  # type: ignore[no-untyped-def]
    """Move `levels` (n,) in place by `changes` (n,); what each node truly moved is added to `moved` (n,)."""
    for n in range(levels.shape[0]):
        before = levels[n]
        levels[n] = move(before, changes[n], tables.direction[n])
        moved[n] += change_between(before, levels[n], tables.direction[n])
