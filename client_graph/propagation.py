"""How change travels: eight edge types, one small function each (paper 335-345).

target change = source change · weight · 0.3 · 0.5 · type factor. All edges read the direct changes of this turn at once:
one hop a turn, whatever the order of the edges. `change` is the source's change; each function returns it times its factor.
"""

from client_graph.compiled import compiled
from client_graph.graph import apply_changes

REINFORCING, PROTECTIVE, COMPENSATORY, SUPPRESSIVE, PREREQUISITE, PAIRED, GATED, PARADOXICAL = range(8)


@compiled
def reinforcing(change):  # type: ignore[no-untyped-def]
    """Same direction (paper 337)."""
    return change


@compiled
def protective(change, alliance):  # type: ignore[no-untyped-def]
    """Reversed while the alliance is strong (> 0.5): defences soften; else they tighten (paper 338)."""
    return -change if alliance > 0.5 else change


@compiled
def compensatory(change):  # type: ignore[no-untyped-def]
    """Only when the source rises (paper 339)."""
    return max(change, 0.0)


@compiled
def suppressive(change):  # type: ignore[no-untyped-def]
    """Opposite direction (paper 340)."""
    return -change


@compiled
def prerequisite(change, level, threshold):  # type: ignore[no-untyped-def]
    """Only once the source's level has reached the threshold (paper 341); the level is the one after its direct change."""
    return change if level >= threshold else 0.0


@compiled
def paired(change):  # type: ignore[no-untyped-def]
    """Same direction, along the edge and against it (paper 342)."""
    return change


@compiled
def gated(change, gate):  # type: ignore[no-untyped-def]
    """Times the multiplier of the treatment stage (paper 343)."""
    return change * gate


@compiled
def paradoxical(change, stage):  # type: ignore[no-untyped-def]
    """Reversed at stages 1-2, normal at 3-4 (paper 344); `stage` counts from 0."""
    return -change if stage < 2 else change


@compiled
def incoming_changes(levels, moved, alliance, stage, tables, damping, out):  # type: ignore[no-untyped-def]
    """Sum of what arrives at each node over its edges; `moved` (n,) are this turn's direct changes, `out` (n,) is written.

    Edges lie sorted by type; `tables.edge_start` (9,) holds where each type begins.
    """
    out[:] = 0.0
    start = tables.edge_start
    source, target, weight = tables.edge_source, tables.edge_target, tables.edge_weight
    for e in range(start[REINFORCING], start[REINFORCING + 1]):
        out[target[e]] += damping * weight[e] * reinforcing(moved[source[e]])
    for e in range(start[PROTECTIVE], start[PROTECTIVE + 1]):
        out[target[e]] += damping * weight[e] * protective(moved[source[e]], alliance)
    for e in range(start[COMPENSATORY], start[COMPENSATORY + 1]):
        out[target[e]] += damping * weight[e] * compensatory(moved[source[e]])
    for e in range(start[SUPPRESSIVE], start[SUPPRESSIVE + 1]):
        out[target[e]] += damping * weight[e] * suppressive(moved[source[e]])
    for e in range(start[PREREQUISITE], start[PREREQUISITE + 1]):
        s = source[e]
        out[target[e]] += damping * weight[e] * prerequisite(moved[s], levels[s], tables.edge_threshold[e])
    for e in range(start[PAIRED], start[PAIRED + 1]):
        out[target[e]] += damping * weight[e] * paired(moved[source[e]])
        out[source[e]] += damping * weight[e] * paired(moved[target[e]])
    for e in range(start[GATED], start[GATED + 1]):
        out[target[e]] += damping * weight[e] * gated(moved[source[e]], tables.edge_gate[stage, e])
    for e in range(start[PARADOXICAL], start[PARADOXICAL + 1]):
        out[target[e]] += damping * weight[e] * paradoxical(moved[source[e]], stage)


@compiled
def propagate(levels, direct, alliance, stage, tables, dynamics, scratch, moved):  # type: ignore[no-untyped-def]
    """Carry the `direct` changes (n,) one hop along all edges; `levels` and `moved` (n,) are changed in place."""
    damping = dynamics.source_damping * dynamics.target_damping
    incoming_changes(levels, direct, alliance, stage, tables, damping, scratch)
    apply_changes(levels, scratch, tables, moved)
