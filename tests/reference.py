"""One turn of one client in plain Python, from the rows of the tables: what the compiled turn is held against.

Written from DESIGN sections 2 and 3 and the paper, in scalars and by name. It imports none of the functions it checks.
"""

from collections.abc import Iterable
from typing import Any

from client_graph.catalog import Catalog
from client_graph.names import AXES, DIMENSIONS, LOA_DIMENSIONS
from client_graph.settings import ClientSettings
from client_graph.state import ClientState


def one_turn(
    state: ClientState, index: int, scores: list[float], catalog: Catalog, settings: ClientSettings
) -> dict[str, Any]:
    """The client `index` after a turn judged `scores` (12,); TMoG without its noise, so attunement has to be >= 3.5."""
    rows = catalog.rows
    nodes = {row.name: row for row in rows["nodes"]}
    level = {name: float(value) for name, value in zip(nodes, state.levels[index], strict=True)}
    stage, phase = int(state.stage[index]), int(state.phase[index])
    help_, harm = {}, {}
    for name, score in zip(DIMENSIONS, scores, strict=True):
        help_[name], harm[name] = drive(score, settings.drive)

    bucket = {row.name: float(value) for row, value in zip(rows["buckets"], state.buckets[index], strict=True)}
    bucket_moved = {}
    for row in rows["buckets"]:
        change = 0.0
        for score_row in rows["bucket_scores"]:
            if score_row.bucket == row.name:
                change += help_[score_row.dimension] / 10 * score_row.high
                change += harm[score_row.dimension] / 10 * score_row.low
        before = bucket[row.name]
        bucket[row.name] = clip(before + row.volatility * change, 0.0, 1.0)
        bucket_moved[row.name] = bucket[row.name] - before

    loa, events = [], []
    for k, name in enumerate(LOA_DIMENSIONS):
        before, change = float(state.loa[index, k]), 0.0
        for score_row in rows["loa_scores"]:
            if score_row.loa == name:
                change += (help_[score_row.dimension] - harm[score_row.dimension]) / 10 * score_row.weight
        after = clip(before + settings.loa_rate * change, -10.0, 10.0)
        event = 0
        for threshold_row in rows["loa_thresholds"]:
            threshold = threshold_row.threshold
            event += (after >= threshold) - (before >= threshold)
        loa.append(after)
        events.append(event)

    axes = []
    for k, name in enumerate(AXES):
        before, step = float(state.axes[index, k]), 0.0
        for score_row in rows["axis_scores"]:
            if score_row.axis == name:
                step += (help_[score_row.dimension] - harm[score_row.dimension]) / 10 * score_row.weight
        distance = clip(abs(before) - settings.axis_rate * step, 0.0, 10.0)
        below_zero = before < 0 or (before == 0 and state.axes_start[index, k] < 0)
        axes.append(-distance if below_zero else distance)
    start = sum(abs(float(x)) for x in state.axes_start[index])

    def transformed(now: Iterable[float]) -> float:
        return 0.0 if start == 0 else clip(1 - sum(abs(float(x)) for x in now) / start, 0.0, 1.0)

    transformation = transformed(axes)
    transformation_change = transformation - transformed(state.axes[index])

    bond_nodes = [row.node for row in rows["roles"] if row.role == "alliance"]
    bond = sum(level[name] for name in bond_nodes) / len(bond_nodes) / 10
    (engagement_node,) = [row.node for row in rows["roles"] if row.role == "engagement"]
    engagement = max(settings.engagement_floor, level[engagement_node] / 10)

    asked = dict.fromkeys(nodes, 0.0)
    for row in rows["sensitivities"]:
        asked[row.node] += help_[row.dimension] * row.high + harm[row.dimension] * row.low
    for name, row in nodes.items():
        asked[name] *= settings.node_gain * getattr(row, f"phase_{'abcd'[phase]}") * engagement
        asked[name] /= 1 + getattr(row, f"bq_{stage + 1}")
    direct = shift(level, asked, nodes)

    arriving = dict.fromkeys(nodes, 0.0)
    for row in rows["edges"]:
        factor = edge_factor(row, direct[row.edge_from], level[row.edge_from], bond, stage)
        damped = settings.source_damping * settings.target_damping * row.weight
        arriving[row.edge_to] += damped * factor * direct[row.edge_from]
        if row.type == "paired":
            arriving[row.edge_from] += damped * direct[row.edge_to]
    through_edges = shift(level, arriving, nodes)

    poured = dict.fromkeys(nodes, 0.0)
    for row in rows["bucket_nodes"]:
        poured[row.node] += row.coefficient * bucket_moved[row.bucket]
    through_buckets = shift(level, poured, nodes)

    attuned = scores[DIMENSIONS.index("attunement")]
    assert attuned >= 3.5, "the reference has no noise; give it an attunement of 3.5 or more"
    rate = min(1.0, settings.tmog_steady_rate + settings.tmog_good_rate * help_["attunement"] / 10)
    tmog = {}
    for name, belief in zip(nodes, state.tmog[index], strict=True):
        tmog[name] = clip(float(belief) + rate * (level[name] - float(belief)), 0.0, 10.0)
    attunement = 1 - sum(abs(tmog[name] - level[name]) for name in nodes) / 10 / len(nodes)

    sick = [bucket[row.name] for row in rows["buckets"] if row.kind == "maladaptive"]
    well = [
        1 - bucket[row.name] if row.falls else bucket[row.name] for row in rows["buckets"] if row.kind == "adaptive"
    ]
    mood = sum(well) / len(well) - sum(sick) / len(sick)
    tight = sum(row.weight * tightness(level[name], row.direction) for name, row in nodes.items())
    tight /= sum(row.weight for row in nodes.values())
    score = 0.4 * settings.phase_mood_gain * (mood - float(state.phase_mood[index]))
    score += 0.6 * settings.phase_coiling_gain * (float(state.phase_coiling[index]) - tight)
    score *= 0.7 + 0.6 * bond
    thresholds = {
        (row.phase_from, row.phase_to): row.threshold for row in rows["phase_thresholds"] if row.stage == stage + 1
    }
    here, ahead, behind = "ABCD"[phase], "ABCD"[phase + 1 : phase + 2], "ABCD"[phase - 1 : phase]
    step = 0
    if ahead and score >= thresholds[here, ahead]:
        step = 1
    elif behind and score <= thresholds[here, behind]:
        step = -1
    return {
        "levels": list(level.values()), "buckets": list(bucket.values()), "loa": loa, "adaptation_events": events,
        "axes": axes, "transformation": transformation,
        "transformation_change": transformation_change, "direct": list(direct.values()),
        "through_edges": list(through_edges.values()), "through_buckets": list(through_buckets.values()),
        "tmog": list(tmog.values()), "attunement": attunement, "coiling": tight, "alliance": bond,
        "phase_score": score, "phase_step": step,
    }  # fmt: skip


def drive(score: float, kind: str) -> tuple[float, float]:
    """(help, harm) of a score."""
    if kind == "literal":
        return (score if score > 6.5 else 0.0), (score if score < 3.5 else 0.0)
    return max(0.0, 10 * (score - 6.5) / 3.5), max(0.0, 10 * (3.5 - score) / 3.5)


def edge_factor(row: Any, change: float, source_level: float, bond: float, stage: int) -> float:
    """What an edge multiplies its source's change by, before weight and damping."""
    if row.type == "protective":
        return -1.0 if bond > 0.5 else 1.0
    if row.type == "compensatory":
        return 1.0 if change > 0 else 0.0
    if row.type == "suppressive":
        return -1.0
    if row.type == "prerequisite":
        return 1.0 if source_level >= row.threshold else 0.0
    if row.type == "gated":
        return float(getattr(row, f"gate_{stage + 1}"))
    if row.type == "paradoxical":
        return -1.0 if stage < 2 else 1.0
    return 1.0


def shift(level: dict[str, float], changes: dict[str, float], nodes: dict[str, Any]) -> dict[str, float]:
    """Change every level, in place; what each node truly moved (bipolar: toward 5)."""
    moved = {}
    for name, row in nodes.items():
        before = level[name]
        if row.direction == "bipolar":
            distance = clip(abs(before - 5) - changes[name], 0.0, 5.0)
            level[name] = 5 + distance if before >= 5 else 5 - distance
            moved[name] = abs(before - 5) - abs(level[name] - 5)
        else:
            level[name] = clip(before + changes[name], 0.0, 10.0)
            moved[name] = level[name] - before
    return moved


def tightness(level: float, direction: str) -> float:
    """Distance from health in [0, 1]."""
    return {"increase": (10 - level) / 10, "decrease": level / 10, "bipolar": abs(level - 5) / 5}[direction]


def clip(value: float, low: float, high: float) -> float:
    """`value` kept in [low, high]."""
    return min(high, max(low, value))
