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
def arriving_changes(levels, moved, alliance, stage, tables, dynamics, out):  # type: ignore[no-untyped-def]
    """Sum of what arrives at each node over its edges; `moved` (n, lanes) are this turn's direct changes, `out` is written.

    Edges lie sorted by type; `tables.edge_start` (9,) holds where each type begins. `alliance`, `stage` (lanes,).
    """
    out[:] = 0.0
    lanes = out.shape[1]
    damping = dynamics.source_damping * dynamics.target_damping
    start, edges = tables.edge_start, tables.edges
    for edge in edges[start[REINFORCING] : start[REINFORCING + 1]]:
        s, t, w = edge.source, edge.target, damping * edge.weight
        for k in range(lanes):
            out[t, k] += w * reinforcing(moved[s, k])
    for edge in edges[start[PROTECTIVE] : start[PROTECTIVE + 1]]:
        s, t, w = edge.source, edge.target, damping * edge.weight
        for k in range(lanes):
            out[t, k] += w * protective(moved[s, k], alliance[k])
    for edge in edges[start[COMPENSATORY] : start[COMPENSATORY + 1]]:
        s, t, w = edge.source, edge.target, damping * edge.weight
        for k in range(lanes):
            out[t, k] += w * compensatory(moved[s, k])
    for edge in edges[start[SUPPRESSIVE] : start[SUPPRESSIVE + 1]]:
        s, t, w = edge.source, edge.target, damping * edge.weight
        for k in range(lanes):
            out[t, k] += w * suppressive(moved[s, k])
    for edge in edges[start[PREREQUISITE] : start[PREREQUISITE + 1]]:
        s, t, w, threshold = edge.source, edge.target, damping * edge.weight, edge.threshold
        for k in range(lanes):
            out[t, k] += w * prerequisite(moved[s, k], levels[s, k], threshold)
    for edge in edges[start[PAIRED] : start[PAIRED + 1]]:
        s, t, w = edge.source, edge.target, damping * edge.weight
        for k in range(lanes):
            out[t, k] += w * paired(moved[s, k])
            out[s, k] += w * paired(moved[t, k])
    for edge in edges[start[GATED] : start[GATED + 1]]:
        s, t, w, gate = edge.source, edge.target, damping * edge.weight, edge.gate
        for k in range(lanes):
            out[t, k] += w * gated(moved[s, k], gate[stage[k]])
    for edge in edges[start[PARADOXICAL] : start[PARADOXICAL + 1]]:
        s, t, w = edge.source, edge.target, damping * edge.weight
        for k in range(lanes):
            out[t, k] += w * paradoxical(moved[s, k], stage[k])


@compiled
def propagate(levels, direct, alliance, stage, tables, dynamics, moved):  # type: ignore[no-untyped-def]
    """Carry the `direct` changes (n, lanes) one hop along all edges: `levels` are moved, `moved` holds by how much."""
    arriving_changes(levels, direct, alliance, stage, tables, dynamics, moved)
    apply_changes(levels, moved, tables)
