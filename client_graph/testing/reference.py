"""One turn of one client in plain Python, from the rows of the tables: what an engine is held against.

Written from DESIGN sections 2 and 3 and the paper, in scalars and by name. It imports none of the functions it checks.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from client_graph.catalog import Catalog
from client_graph.names import AXES, DIMENSIONS, LOA_DIMENSIONS, SIGNALS
from client_graph.settings import ClientSettings
from client_graph.state import ClientState
from client_graph.turn import TurnReport

EITHER_WAY = 1e-9  # a number this near to a threshold may fall on either side when sums are taken in another order
RAPPORT, INTERVENTION = 0, 2  # the first and the last stance


class PlainTurn(NamedTuple):
    """What a turn makes of one client."""

    state: dict[str, Any]  # every field of ClientState that a turn changes
    report: dict[str, Any]  # every field of TurnReport
    margin: (
        float  # how near the closest computed number came to a threshold; below EITHER_WAY another engine may differ
    )


class Margin:
    """The least distance between a computed number and the threshold it was held against."""

    def __init__(self) -> None:
        self.least = math.inf

    def held(self, found: float, threshold: float) -> float:
        """`found`, its distance from `threshold` noted."""
        self.least = min(self.least, abs(found - threshold))
        return found


def one_turn(
    state: ClientState, index: int, scores: Sequence[float], catalog: Catalog, settings: ClientSettings | None = None
) -> PlainTurn:
    """Client `index` of `state` after a turn judged `scores` (12,) in [0, 10].

    It has no noise: ValueError where attunement is below 3.5, unless `settings.tmog_noise` is 0.
    """
    rules, rows, margin = settings or ClientSettings(), catalog.rows, Margin()
    judged = dict(zip(DIMENSIONS, (float(score) for score in scores), strict=True))
    help_ = {name: drive(score, rules.drive)[0] for name, score in judged.items()}
    harm = {name: drive(score, rules.drive)[1] for name, score in judged.items()}
    if harm["attunement"] * rules.tmog_noise > 0:
        raise ValueError("the reference has no noise: give it attunement of 3.5 or more, or settings with tmog_noise 0")
    nodes = {row.name: row for row in rows["nodes"]}
    level = {name: float(value) for name, value in zip(nodes, state.levels[index], strict=True)}
    stage, phase = int(state.stage[index]), int(state.phase[index])

    bucket, bucket_moved = buckets_after(state.buckets[index], help_, harm, rows)
    loa, loa_moved, events = loa_after(state.loa[index], help_, harm, rows, rules, margin)
    axes = axes_after(state.axes[index], state.axes_start[index], help_, harm, rows, rules)
    window = [*map(float, state.axes_window[index, 1:]), sum(map(abs, axes))]
    transformed = transformation(axes, state.axes_start[index])

    bond = alliance_of(level, rows)
    asked = asked_of_nodes(level, help_, harm, phase, stage, rows, rules)
    direct = shift(level, asked, nodes, margin)
    through_edges = shift(level, arriving(level, direct, bond, stage, rows, rules, margin), nodes, margin)
    poured = dict.fromkeys(nodes, 0.0)
    for row in rows["bucket_nodes"]:
        poured[row.node] += row.coefficient * bucket_moved[row.bucket]
    through_buckets = shift(level, poured, nodes, margin)

    tmog = beliefs_after(state.tmog[index], level, help_["attunement"], harm["attunement"], rules)
    attunement = 1 - sum(abs(belief - level[name]) for name, belief in tmog.items()) / 10 / len(nodes)

    mood, tight = mood_of(bucket, rows), coiling_of(level, nodes)
    score = 0.4 * rules.phase_mood_gain * (mood - float(state.phase_mood[index]))
    score += 0.6 * rules.phase_coiling_gain * (float(state.phase_coiling[index]) - tight)
    score *= 0.7 + 0.6 * bond
    step = phase_step(phase, stage, score, rows, margin)
    phase += step

    signals = signals_of(level, phase, rows)
    rupture = (judged["attunement"] + judged["safety"]) / 2 < 3.5 or step < 0
    attuned = [*map(float, state.recent_attunement[index, 1:]), judged["attunement"]]
    resisted = [*map(float, state.recent_resistance[index, 1:]), signals["resistance"]]
    turn = int(state.turn[index]) + 1
    stance, arc = int(state.stance[index]), int(state.arc[index])
    stance, arc = stance_after(stance, arc, turn, signals, rupture, attuned, resisted, rules, margin)
    return PlainTurn(
        state={
            "levels": list(level.values()), "tmog": list(tmog.values()), "buckets": list(bucket.values()), "loa": loa,
            "axes": axes, "axes_window": window, "attunement": attunement, "phase": phase,
            "phase_mood": mood if step else float(state.phase_mood[index]),
            "phase_coiling": tight if step else float(state.phase_coiling[index]),
            "deepest_phase": max(int(state.deepest_phase[index]), phase), "turn": turn, "stance": stance, "arc": arc,
            "recent_attunement": attuned, "recent_resistance": resisted,
        },
        report={
            "direct": list(direct.values()), "through_edges": list(through_edges.values()),
            "through_buckets": list(through_buckets.values()), "buckets": list(bucket_moved.values()),
            "loa": loa_moved, "adaptation_events": events,
            "axes": [now - float(before) for now, before in zip(axes, state.axes[index], strict=True)],
            "transformation": transformed,
            "transformation_change": transformed - transformation(state.axes[index], state.axes_start[index]),
            "axis_trend": trend(window, rules.axis_tolerance, margin),
            "attunement_change": attunement - float(state.attunement[index]), "coiling": tight, "alliance": bond,
            "phase_score": score, "phase_step": step, "signals": list(signals.values()), "rupture": rupture,
        },
        margin=margin.least,
    )  # fmt: skip


def differences(
    state: ClientState, scores: np.ndarray, after: ClientState, report: TurnReport, catalog: Catalog,
    settings: ClientSettings | None = None, tolerance: float = 1e-12,
) -> list[str]:  # fmt: skip
    """Where an engine's turn, `state` -> (`after`, `report`) under `scores` (N, 12), is not the reference's; empty if nowhere.

    Every field of every client is compared: computed ones within `tolerance`, those that no turn may change bit for bit.
    A client whose numbers come within EITHER_WAY of a threshold is left out. Raises ValueError as `one_turn` does.
    """
    problems = []
    for i in range(state.clients):
        plain = one_turn(state, i, scores[i].tolist(), catalog, settings)
        if plain.margin < EITHER_WAY:
            continue
        unchanged = {name: getattr(state, name)[i] for name in ClientState._fields if name not in plain.state}
        for name, wanted in (plain.state | unchanged | {f"report.{k}": v for k, v in plain.report.items()}).items():
            home = report if name.startswith("report.") else after
            found, exact = getattr(home, name.removeprefix("report."))[i], name in unchanged
            gap = np.asarray(found) != wanted if exact else _apart(found, wanted, tolerance)
            if np.any(gap):
                problems.append(f"client {i}: {name}: found {found}, expected {wanted}")
    return problems


def _apart(found: Any, wanted: Any, tolerance: float) -> np.ndarray:
    found, wanted = np.asarray(found, dtype=np.float64), np.asarray(wanted, dtype=np.float64)
    both_young = np.isnan(found) & np.isnan(wanted)  # a window of a session younger than it
    return ~(both_young | (np.abs(found - wanted) <= tolerance))


def drive(score: float, kind: str) -> tuple[float, float]:
    """(help, harm) of a score."""
    if kind == "literal":
        return (score if score > 6.5 else 0.0), (score if score < 3.5 else 0.0)
    return max(0.0, 10 * (score - 6.5) / 3.5), max(0.0, 10 * (3.5 - score) / 3.5)


def buckets_after(
    before: Iterable[float], help_: dict[str, float], harm: dict[str, float], rows: Mapping[str, Any]
) -> tuple[dict[str, float], dict[str, float]]:
    """(levels, changes) of the buckets (paper 355)."""
    bucket = {row.name: float(value) for row, value in zip(rows["buckets"], before, strict=True)}
    change, moved = dict.fromkeys(bucket, 0.0), {}
    for row in rows["bucket_scores"]:
        change[row.bucket] += help_[row.dimension] / 10 * row.high + harm[row.dimension] / 10 * row.low
    for row in rows["buckets"]:
        after = clip(bucket[row.name] + row.volatility * change[row.name], 0.0, 1.0)
        moved[row.name] = after - bucket[row.name]
        bucket[row.name] = after
    return bucket, moved


def loa_after(
    before: Iterable[float], help_: dict[str, float], harm: dict[str, float], rows: Mapping[str, Any],
    rules: ClientSettings, margin: Margin,
) -> tuple[list[float], list[float], list[int]]:  # fmt: skip
    """(levels, changes, events) of the seven dimensions (paper 357-366)."""
    change = dict.fromkeys(LOA_DIMENSIONS, 0.0)
    for row in rows["loa_scores"]:
        change[row.loa] += (help_[row.dimension] - harm[row.dimension]) / 10 * row.weight
    levels, moved, events = [], [], []
    for name, value in zip(LOA_DIMENSIONS, before, strict=True):
        start = float(value)
        after = clip(start + rules.loa_rate * change[name], -10.0, 10.0)
        event = 0
        for row in rows["loa_thresholds"]:
            if after != start:
                margin.held(after, row.threshold)
            event += (after >= row.threshold) - (start >= row.threshold)
        levels.append(after)
        moved.append(after - start)
        events.append(event)
    return levels, moved, events


def axes_after(
    before: Iterable[float], at_start: Iterable[float], help_: dict[str, float], harm: dict[str, float],
    rows: Mapping[str, Any], rules: ClientSettings,
) -> list[float]:  # fmt: skip
    """The three axes: toward zero and no further when helped, outward on their own side when harmed (paper 367-375)."""
    step = dict.fromkeys(AXES, 0.0)
    for row in rows["axis_scores"]:
        step[row.axis] += (help_[row.dimension] - harm[row.dimension]) / 10 * row.weight
    axes = []
    for name, value, first in zip(AXES, before, at_start, strict=True):
        distance = clip(abs(float(value)) - rules.axis_rate * step[name], 0.0, 10.0)
        below_zero = value < 0 or (value == 0 and first < 0)
        axes.append(-distance if below_zero else distance)
    return axes


def transformation(axes: Iterable[float], at_start: Iterable[float]) -> float:
    """How far the axes have come toward zero, in [0, 1] (paper 373); a start at zero gives 0."""
    start = sum(abs(float(x)) for x in at_start)
    return 0.0 if start == 0 else clip(1 - sum(abs(float(x)) for x in axes) / start, 0.0, 1.0)


def trend(window: Sequence[float], tolerance: float, margin: Margin) -> int:
    """1 toward zero, -1 away, 0 stable, over three assessments (paper 374)."""
    change = window[-1] - window[0]
    margin.held(abs(change), tolerance)
    return 0 if abs(change) <= tolerance else (1 if change < 0 else -1)


def alliance_of(level: dict[str, float], rows: Mapping[str, Any]) -> float:
    """Mean level / 10 of the alliance's core nodes."""
    core = [row.node for row in rows["roles"] if row.role == "alliance"]
    return sum(level[name] for name in core) / len(core) / 10


def asked_of_nodes(
    level: dict[str, float], help_: dict[str, float], harm: dict[str, float], phase: int, stage: int,
    rows: Mapping[str, Any], rules: ClientSettings,
) -> dict[str, float]:  # fmt: skip
    """What the scores ask of each node, before its level's range is felt (paper 348-349)."""
    (engagement_node,) = [row.node for row in rows["roles"] if row.role == "engagement"]
    engagement = max(rules.engagement_floor, level[engagement_node] / 10)
    asked = dict.fromkeys(level, 0.0)
    for row in rows["sensitivities"]:
        asked[row.node] += help_[row.dimension] * row.high + harm[row.dimension] * row.low
    for row in rows["nodes"]:
        asked[row.name] *= rules.node_gain * getattr(row, f"phase_{'abcd'[phase]}") * engagement
        asked[row.name] /= 1 + getattr(row, f"bq_{stage + 1}")
    return asked


def arriving(
    level: dict[str, float], direct: dict[str, float], bond: float, stage: int, rows: Mapping[str, Any],
    rules: ClientSettings, margin: Margin,
) -> dict[str, float]:  # fmt: skip
    """What the edges bring to each node (paper 335-345)."""
    brought = dict.fromkeys(level, 0.0)
    exact = {level[row.node] for row in rows["roles"] if row.role == "alliance"} == {5.0}  # 0.5 in any order of sums
    for row in rows["edges"]:
        change = direct[row.edge_from]
        if change != 0 and row.type == "protective" and not exact:
            margin.held(bond, 0.5)
        if change != 0 and row.type == "prerequisite":
            margin.held(level[row.edge_from], row.threshold)
        damped = rules.source_damping * rules.target_damping * row.weight
        brought[row.edge_to] += damped * edge_factor(row, change, level[row.edge_from], bond, stage) * change
        if row.type == "paired":
            brought[row.edge_from] += damped * direct[row.edge_to]
    return brought


def edge_factor(row: Any, change: float, source_level: float, bond: float, stage: int) -> float:
    """What an edge multiplies its source's change by, before weight and damping; `stage` counts from 0."""
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


def shift(
    level: dict[str, float], changes: dict[str, float], nodes: dict[str, Any], margin: Margin | None = None
) -> dict[str, float]:
    """Change every level, in place; what each node truly moved (bipolar: toward 5)."""
    moved = {}
    for name, row in nodes.items():
        before = level[name]
        level[name] = after_change(before, changes[name], row.direction)
        if row.direction != "bipolar":
            moved[name] = level[name] - before
            continue
        moved[name] = abs(before - 5) - abs(level[name] - 5)
        if margin is not None and changes[name] != 0:
            margin.held(abs(before - 5), changes[name])  # which side of 5 a node lies on decides where harm leads it
    return moved


def after_change(level: float, change: float, direction: str) -> float:
    """A level after `change`, in [0, 10]; bipolar ones count it toward 5, which help never crosses (paper 331)."""
    if direction != "bipolar":
        return clip(level + change, 0.0, 10.0)
    distance = clip(abs(level - 5) - change, 0.0, 5.0)
    return 5 + distance if level >= 5 else 5 - distance


def beliefs_after(
    before: Iterable[float], level: dict[str, float], help_: float, harm: float, rules: ClientSettings
) -> dict[str, float]:
    """What the therapist believes of each node, without noise (paper 457-458)."""
    rate = min(1.0, (rules.tmog_steady_rate + rules.tmog_good_rate * help_ / 10) * (1 - harm / 10))
    return {
        name: clip(float(belief) + rate * (level[name] - float(belief)), 0.0, 10.0)
        for name, belief in zip(level, before, strict=True)
    }


def mood_of(bucket: dict[str, float], rows: Mapping[str, Any]) -> float:
    """Adaptive minus maladaptive mean, in [-1, 1]; an adaptive bucket that falls counts as its absence."""
    sick = [bucket[row.name] for row in rows["buckets"] if row.kind == "maladaptive"]
    well = [
        1 - bucket[row.name] if row.falls else bucket[row.name] for row in rows["buckets"] if row.kind == "adaptive"
    ]
    return sum(well) / len(well) - sum(sick) / len(sick)


def coiling_of(level: dict[str, float], nodes: dict[str, Any]) -> float:
    """Weighted mean distance from health, in [0, 1]."""
    tight = sum(row.weight * tightness(level[name], row.direction) for name, row in nodes.items())
    return float(tight / sum(row.weight for row in nodes.values()))


def tightness(level: float, direction: str) -> float:
    """Distance from health in [0, 1]."""
    return {"increase": (10 - level) / 10, "decrease": level / 10, "bipolar": abs(level - 5) / 5}[direction]


def phase_step(phase: int, stage: int, score: float, rows: Mapping[str, Any], margin: Margin) -> int:
    """1 forward, -1 back, 0 (paper 376-383)."""
    thresholds = {
        (row.phase_from, row.phase_to): row.threshold for row in rows["phase_thresholds"] if row.stage == stage + 1
    }
    here = "ABCD"[phase]
    if phase < 3:
        threshold = thresholds[here, "ABCD"[phase + 1]]
        if margin.held(score, threshold) >= threshold:
            return 1
    if phase > 0:
        threshold = thresholds[here, "ABCD"[phase - 1]]
        if margin.held(score, threshold) <= threshold:
            return -1
    return 0


def signals_of(level: dict[str, float], phase: int, rows: Mapping[str, Any]) -> dict[str, float]:
    """What shows of the client in `phase`, in [0, 10], in the order of SIGNALS (paper 413)."""
    total = dict.fromkeys(SIGNALS, 0.0)
    for row in rows["signal_nodes"]:
        total[row.signal] += row.weight * level[row.node]
    known = {row.name: row for row in rows["signals"]}
    return {
        name: clip((known[name].offset + total[name]) * getattr(known[name], f"phase_{'abcd'[phase]}"), 0.0, 10.0)
        for name in SIGNALS
    }


def stance_after(
    stance: int, arc: int, turn: int, signals: dict[str, float], rupture: bool, attuned: Sequence[float],
    resisted: Sequence[float], rules: ClientSettings, margin: Margin,
) -> tuple[int, int]:  # fmt: skip
    """(stance for the coming turn, turns left of the arc): down at once, up on four turns' evidence (paper 411-415)."""
    if turn < rules.stance_lock_turns or rupture:
        return RAPPORT, 0
    running = arc - 1 if stance == INTERVENTION and arc > 0 else 0
    flooded = margin.held(signals["overwhelm"], 3.0) >= 3.0
    if margin.held(signals["defensiveness"], 5.0) >= 5.0 or flooded:
        ridden_out = stance == INTERVENTION and arc > 0 and margin.held(signals["resistance"], 7.0) < 7.0
        if ridden_out and not flooded:
            return INTERVENTION, running
        return max(RAPPORT, stance - 1), 0
    steady = margin.held(_mean(attuned), 5.5) >= 5.5
    calm = margin.held(_mean(resisted), 5.5) <= 5.5
    visible = max(signals["disclosure"], signals["openness"])
    if steady and calm and margin.held(visible, 5.0) >= 5.0 and stance < INTERVENTION:
        return stance + 1, rules.arc_steps if stance + 1 == INTERVENTION else 0
    return stance, running


def _mean(window: Sequence[float]) -> float:
    """Of the turns that the session has had."""
    known = [value for value in window if not math.isnan(value)]
    return sum(known) / len(known)


def clip(value: float, low: float, high: float) -> float:
    """`value` kept in [low, high]."""
    return min(high, max(low, value))
