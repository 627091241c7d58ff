"""From a judge's score to the phase: which node, edge and reservoir carried how much of a turn.

A reward point can be followed: a dimension's score moves nodes and reservoirs (paper 333, 353), edges carry a node's change
on (335-345), reservoirs feed nodes (356), and what loosened since the phase was entered is the phase score (381).
"""

from typing import Any

import numpy as np

from client_graph.client import ClientGraph
from client_graph.drive import drive
from client_graph.explain import Explanation
from client_graph.names import DIMENSIONS
from client_graph.rows import BucketRow
from rewards.parts import stage_modifiers
from rewards.settings import RewardSettings
from rewards.tables import load_reward_tables

EDGES = 6  # edges of a node that are told one by one
EXACT = 1e-9  # below it a difference is rounding


def composite_trace(scores: np.ndarray, stage: int, points: float) -> dict[str, float]:
    """Reward points of each dimension, w_sd score_d / Σ w_sd score_d · points; they add up to `points`. `stage` 1..4."""
    weighted = load_reward_tables().weights[stage - 1] * np.asarray(scores)
    total = float(weighted.sum())
    shares = weighted / total if total else np.zeros(len(DIMENSIONS))
    return dict(zip(DIMENSIONS, (shares * points).tolist(), strict=True))


def modifier_trace(scores: np.ndarray, stage: int, settings: RewardSettings) -> dict[str, float]:
    """The bonuses and penalties of the stage that applied, in points. `stage` 1..4."""
    found = stage_modifiers(np.asarray(scores)[None], np.array([stage - 1]))
    return {name: settings.modifiers * float(points[0]) for name, points in found.items() if points[0] != 0.0}


def moved_nodes(after: ClientGraph, count: int) -> list[dict[str, Any]]:
    """The `count` nodes whose level the last turn moved most, largest first, each with what moved it."""
    assert after.before is not None
    change = np.abs(after.state.levels[after.index] - after.before.levels[after.index])
    found = [
        after.explain(after.catalog.node_names[n]) for n in np.argsort(-change, kind="stable")[:count] if change[n]
    ]
    loosened, points = _loosened(after), _node_points(after)
    return [_told(why, loosened[why.node], points[why.node]) for why in found]


def _told(why: Explanation, loosened: float, points: float) -> dict[str, Any]:
    causes = (*why.direct.values(), *why.edges[:EDGES], *why.buckets.values())
    rest = why.edges[EDGES:]
    return {
        "node": why.node,
        "domain": why.domain,
        "direction": why.direction,
        "before": why.before,
        "after": why.after,
        "toward_health": loosened,
        "phase_points": points,
        "phase_weight": why.phase_weight,
        "engagement": why.engagement,
        "bq": why.bq,
        "causes": [
            {"source": p.source, "type": p.type, "contribution": p.contribution, "how": p.how, "why": p.why}
            for p in causes
        ],
        "other_edges": sum(part.contribution for part in rest),
        "other_edges_count": len(rest),
        "clipped": sum(why.clipped.values()),
    }


def bucket_trace(after: ClientGraph) -> dict[str, dict[str, Any]]:
    """The reservoirs that moved: by dimension volatility_b · (help_d / 10 · high_db + harm_d / 10 · low_db)   (paper 353)."""
    assert after.before is not None
    assert after.scores is not None
    literal = after.settings.drive == "literal"
    asked = {name: drive(float(s), literal) for name, s in zip(DIMENSIONS, after.scores[after.index], strict=True)}
    points = _bucket_points(after)
    found = {}
    for b, bucket in enumerate(after.catalog.rows["buckets"]):
        was, now = float(after.before.buckets[after.index, b]), float(after.state.buckets[after.index, b])
        parts = {
            row.dimension: 0.1
            * bucket.volatility
            * (asked[row.dimension][0] * row.high + asked[row.dimension][1] * row.low)
            for row in after.catalog.rows["bucket_scores"]
            if row.bucket == bucket.name
        }
        parts = {name: part for name, part in parts.items() if part != 0.0}
        if parts or now != was:
            lost = now - was - sum(parts.values())
            found[bucket.name] = {
                "before": was, "after": now, "parts": parts, "clipped": lost if abs(lost) > EXACT else 0.0,
                "phase_points": points[bucket.name],
            }  # fmt: skip
    return found


def phase_trace(after: ClientGraph) -> dict[str, float | None]:
    """The phase score as sums of points: of the turns before in this phase, of this turn's reservoirs, of its nodes."""
    assert after.before is not None
    assert after.report is not None
    score = float(after.report.phase_score[after.index])
    buckets, nodes = sum(_bucket_points(after).values()), sum(_node_points(after).values())
    stage, phase = int(after.before.stage[after.index]) + 1, "ABCD"[after.before.phase[after.index]]
    bounds = {
        row.phase_to > phase: row.threshold
        for row in after.catalog.rows["phase_thresholds"]
        if row.stage == stage and row.phase_from == phase
    }
    return {
        "score": score,
        "earlier": score - buckets - nodes,
        "buckets": buckets,
        "nodes": nodes,
        "alliance_factor": _alliance_factor(after),
        "forward_at": bounds.get(True),
        "back_at": bounds.get(False),
    }


def _alliance_factor(after: ClientGraph) -> float:
    assert after.report is not None
    return 0.7 + 0.6 * float(after.report.alliance[after.index])


def _bucket_points(after: ClientGraph) -> dict[str, float]:
    """Phase-score points of each reservoir's change: 0.4 gain (0.7 + 0.6 alliance) · its share of the mood."""
    assert after.before is not None
    rows: tuple[BucketRow, ...] = after.catalog.rows["buckets"]
    scale = 0.4 * after.settings.phase_mood_gain * _alliance_factor(after)
    change = after.state.buckets[after.index] - after.before.buckets[after.index]
    of_kind = {kind: sum(row.kind == kind for row in rows) for kind in ("adaptive", "maladaptive")}
    found = {}
    for row, moved in zip(rows, change.tolist(), strict=True):
        sign = 1.0 if row.kind == "adaptive" and not row.falls else -1.0
        found[row.name] = scale * sign * moved / of_kind[row.kind]
    return found


def _loosened(after: ClientGraph) -> dict[str, float]:
    """How much less tight each node became, in [-1, 1]."""
    assert after.before is not None
    now = after.tightness
    was = ClientGraph(after.before, after.catalog, index=after.index).tightness
    return {name: was[name] - now[name] for name in now}


def _node_points(after: ClientGraph) -> dict[str, float]:
    """Phase-score points of each node's change: 0.6 gain (0.7 + 0.6 alliance) · its share of the coiling."""
    scale = 0.6 * after.settings.phase_coiling_gain * _alliance_factor(after)
    weight = {row.name: row.weight for row in after.catalog.nodes}
    total = sum(weight.values())
    return {name: scale * weight[name] / total * loose for name, loose in _loosened(after).items()}
