"""Why one node changed in a turn: parts in level points that add up to what its level did (paper 333-356).

Plain Python over the rows of the tables, so that a reader can follow each number to the row it comes from; what the compiled
turn reported is held against it, and a report that is not of this turn is refused.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from client_graph import propagation
from client_graph.catalog import Catalog
from client_graph.drive import drive
from client_graph.graph import change_between, move
from client_graph.names import DIMENSIONS, DIRECTIONS, PHASES
from client_graph.rows import EdgeRow, NodeRow
from client_graph.settings import ClientSettings
from client_graph.state import ClientState
from client_graph.turn import TurnReport

STEPS = ("direct", "edges", "buckets")  # in the order in which they move the level
ROUNDING = 1e-9  # sums in another order differ by far less; a report of another turn by more
PRINTED = 12  # edges in the printed form; `edges` holds all


@dataclass(frozen=True)
class Part:
    """What one judge dimension, edge or bucket did to the node's level, before the bounds."""

    source: str  # judge dimension, node or bucket
    type: str  # direct, one of the eight edge types, or bucket
    contribution: float  # level points
    how: str  # how it acted in this turn
    why: str  # the table's reason: an edge's `why`, else the row's source


@dataclass(frozen=True, repr=False)
class Explanation:
    """before + the contributions of direct, edges and buckets + clipped = after, in level points (to rounding)."""

    node: str
    domain: str
    direction: str
    before: float  # in [0, 10]
    after: float  # in [0, 10]
    phase: str  # A..D, as the turn found it
    phase_weight: float  # in [0, 1]
    engagement: float  # in (0, 1]
    bq: float  # in [0, 10]; resistance is 1 / (1 + bq)
    direct: dict[str, Part]  # by judge dimension, largest first
    edges: tuple[Part, ...]  # every edge that carried something, largest first
    buckets: dict[str, Part]  # every bucket that fed the node, largest first
    held: tuple[Part, ...]  # edges whose source moved and that let nothing through, with what held them
    clipped: dict[str, float]  # by step: level points that the bounds (for bipolar nodes: 5 too) added or took

    @property
    def change(self) -> float:
        """What the level did."""
        return self.after - self.before

    @property
    def parts(self) -> tuple[Part, ...]:
        """All parts, in the order of the steps."""
        return (*self.direct.values(), *self.edges, *self.buckets.values())

    @property
    def total(self) -> float:
        """The parts and what the bounds took, added up: `change`, to rounding."""
        return sum(part.contribution for part in self.parts) + sum(self.clipped.values())

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON or a data frame."""
        return asdict(self) | {"change": self.change}

    def __repr__(self) -> str:
        return "\n".join(_told(self))


@dataclass(frozen=True)
class _Turn:
    """One client's turn as the rules speak of it; changes in the coordinate that edges read (bipolar: nearness to 5)."""

    level: dict[str, float]
    moved: dict[str, float]  # direct change of each node, as reported
    bucket_moved: dict[str, float]
    score: dict[str, float]
    alliance: float
    engagement: float
    stage: int  # 0..3
    phase: int  # 0..3
    settings: ClientSettings


def explain(
    node: str,
    before: ClientState,
    scores: np.ndarray,
    report: TurnReport,
    catalog: Catalog,
    settings: ClientSettings | None = None,
    index: int = 0,
) -> Explanation:
    """How the turn that led from `before` through `scores` (N, 12) to `report` changed a node of client `index`.

    Raises KeyError for an unknown node, and ValueError when the report is not of this state, scores and settings.
    """
    n = catalog.node(node)
    row = catalog.nodes[n]
    turn = _turn_of(before, scores, report, catalog, settings or ClientSettings(), index)
    incoming = list(_edges(row, turn, catalog))
    asked = {
        "direct": list(_direct(row, turn, catalog)),
        "edges": [part for part in incoming if part.contribution != 0.0],
        "buckets": list(_buckets(row, turn, catalog)),
    }
    reported = (report.direct, report.through_edges, report.through_buckets)
    level, clipped, parts = turn.level[node], {}, {}
    for step, moves in zip(STEPS, reported, strict=True):
        sign = -1.0 if row.direction == "bipolar" and level >= 5.0 else 1.0  # of the level, as the node comes to 5
        wanted, moved = sum(part.contribution for part in asked[step]), float(moves[index, n])
        _same_turn(node, step, level, wanted, moved, row.direction)
        parts[step] = _largest_first([_scaled(part, sign) for part in asked[step]])
        if abs(moved - wanted) > ROUNDING:
            clipped[step] = sign * (moved - wanted)
        level += sign * moved
    return Explanation(
        node=node,
        domain=row.domain,
        direction=row.direction,
        before=turn.level[node],
        after=level,
        phase=PHASES[turn.phase],
        phase_weight=_phase_weight(row, turn),
        engagement=turn.engagement,
        bq=_bq(row, turn),
        direct={part.source: part for part in parts["direct"]},
        edges=tuple(parts["edges"]),
        buckets={part.source: part for part in parts["buckets"]},
        held=tuple(part for part in incoming if part.contribution == 0.0),
        clipped=clipped,
    )


def _turn_of(
    before: ClientState, scores: np.ndarray, report: TurnReport, catalog: Catalog, settings: ClientSettings, index: int
) -> _Turn:
    level = dict(zip(catalog.node_names, before.levels[index].tolist(), strict=True))
    (engaged,) = (row.node for row in catalog.rows["roles"] if row.role == "engagement")
    return _Turn(
        level=level,
        moved=dict(zip(catalog.node_names, report.direct[index].tolist(), strict=True)),
        bucket_moved=dict(zip(catalog.bucket_names, report.buckets[index].tolist(), strict=True)),
        score=dict(zip(DIMENSIONS, np.asarray(scores, dtype=np.float64)[index].tolist(), strict=True)),
        alliance=float(report.alliance[index]),
        engagement=max(settings.engagement_floor, level[engaged] / 10.0),
        stage=int(before.stage[index]),
        phase=int(before.phase[index]),
        settings=settings,
    )


def _phase_weight(row: NodeRow, turn: _Turn) -> float:
    return float(getattr(row, f"phase_{'abcd'[turn.phase]}"))


def _bq(row: NodeRow, turn: _Turn) -> float:
    return float(getattr(row, f"bq_{turn.stage + 1}"))


def _direct(row: NodeRow, turn: _Turn, catalog: Catalog) -> Iterator[Part]:
    """δ_n = Σ_d (help_d high_dn + harm_d low_dn) · gain · phase_weight_n · engagement · 1 / (1 + β_n)   (paper 348-349)."""
    scale = turn.settings.node_gain * _phase_weight(row, turn) * turn.engagement / (1.0 + _bq(row, turn))
    for fact in catalog.rows["sensitivities"]:
        if fact.node != row.name:
            continue
        score = turn.score[fact.dimension]
        helping, harming = drive(score, turn.settings.drive == "literal")
        contribution = (helping * fact.high + harming * fact.low) * scale
        if contribution != 0.0:
            asked, sensitivity = (helping, fact.high) if helping else (harming, fact.low)
            how = f"score {score:.1f} {'helps' if helping else 'harms'}: drive {asked:.1f} of 10 x {sensitivity:+.3f} x {scale:.3f}"
            yield Part(fact.dimension, "direct", contribution, how, fact.source)


def _edges(row: NodeRow, turn: _Turn, catalog: Catalog) -> Iterator[Part]:
    """target change = source change · weight · damping · type factor   (paper 335-345)."""
    damping = turn.settings.source_damping * turn.settings.target_damping
    directions = {node.name: node.direction for node in catalog.nodes}
    for edge in catalog.rows["edges"]:
        if edge.edge_to == row.name:
            source = edge.edge_from
        elif edge.type == "paired" and edge.edge_from == row.name:
            source = edge.edge_to
        else:
            continue
        change = turn.moved[source]
        if change != 0.0:
            source_level = move(turn.level[source], change, DIRECTIONS.index(directions[source]))
            travelled, how = _travelled(edge, change, source_level, turn)
            told = f"{how}; source {change:+.4f}{' toward 5' if directions[source] == 'bipolar' else ''}"
            yield Part(source, edge.type, damping * edge.weight * travelled, told, edge.why)


def _travelled(edge: EdgeRow, change: float, source_level: float, turn: _Turn) -> tuple[float, str]:
    """What the type makes of its source's change, and in words."""
    stage = turn.stage + 1
    match edge.type:
        case "protective":
            does = "softens" if turn.alliance > 0.5 else "tightens"
            return propagation.protective(change, turn.alliance), f"alliance {turn.alliance:.2f}: {does}"
        case "compensatory":
            does = "the source rose" if change > 0.0 else "dormant while the source falls"
            return propagation.compensatory(change), does
        case "suppressive":
            return propagation.suppressive(change), "opposite direction"
        case "prerequisite":
            assert edge.threshold is not None
            told = f"source at {source_level:.2f}, asks for {edge.threshold:.2f}"
            return propagation.prerequisite(change, source_level, edge.threshold), told
        case "gated":
            gate = float(getattr(edge, f"gate_{stage}"))
            return propagation.gated(change, gate), f"gate {gate:g} at stage {stage}"
        case "paradoxical":
            does = "reversed" if stage <= 2 else "normal"
            return propagation.paradoxical(change, turn.stage), f"{does} at stage {stage}"
        case "paired":
            return propagation.paired(change), "moves with it"
    return propagation.reinforcing(change), "same direction"


def _buckets(row: NodeRow, turn: _Turn, catalog: Catalog) -> Iterator[Part]:
    """Δ_n = Σ_b coefficient_bn · Δ_b   (paper 356)."""
    for fact in catalog.rows["bucket_nodes"]:
        change = turn.bucket_moved[fact.bucket]
        if fact.node == row.name and fact.coefficient * change != 0.0:
            how = f"bucket {change:+.4f} x {fact.coefficient:g}"
            yield Part(fact.bucket, "bucket", fact.coefficient * change, how, fact.source)


def _same_turn(node: str, step: str, level: float, wanted: float, moved: float, direction: str) -> None:
    kind = DIRECTIONS.index(direction)
    expected = change_between(level, move(level, wanted, kind), kind)
    if abs(expected - moved) > ROUNDING:
        raise ValueError(
            f"{node}, {step}: the report says {moved:+.6f}, and these levels, scores and settings give {expected:+.6f}; "
            "give the state before the turn, its scores, the report that advance() returned for them, and its settings"
        )


def _scaled(part: Part, sign: float) -> Part:
    return part if sign > 0 else Part(part.source, part.type, -part.contribution, part.how, part.why)


def _largest_first(parts: list[Part]) -> list[Part]:
    return sorted(parts, key=lambda part: -abs(part.contribution))


_HEALTH = {
    "increase": "health is 10",
    "decrease": "health is 0",
    "bipolar": "health is 5, where a + of the tables leads",
}


def _told(why: Explanation) -> Iterator[str]:
    name = why.node.replace("_", " ")
    yield f"{name}: {why.before:.3f} -> {why.after:.3f} ({why.change:+.4f}; {_HEALTH[why.direction]})"
    sums = {
        "direct": sum(part.contribution for part in why.direct.values()),
        "edges": sum(part.contribution for part in why.edges),
        "buckets": sum(part.contribution for part in why.buckets.values()),
    }
    yield (
        f"{sums['direct']:+.4f}  from the judge's scores (phase {why.phase} lets {why.phase_weight:g} through, "
        f"engagement {why.engagement:.2f}, resistance 1/(1 + {why.bq:g}))"
    )
    if not why.direct:
        yield f"    no dimension that bears on {name} scored above 6.5 or below 3.5: between them nothing is asked of anybody"
    yield from (_line(part) for part in why.direct.values())
    yield f"{sums['edges']:+.4f}  through edges"
    for part in why.edges[:PRINTED]:
        yield _line(part)
        yield f"{'':14}{part.why}"
    if rest := why.edges[PRINTED:]:
        yield f"    {sum(part.contribution for part in rest):+.4f}  through {len(rest)} smaller edges (all are in .edges)"
    if why.held:
        yield "   held back: " + "; ".join(f"{part.source} ({part.type}: {part.how})" for part in why.held)
    yield f"{sums['buckets']:+.4f}  through buckets"
    yield from (_line(part) for part in why.buckets.values())
    for step, points in why.clipped.items():
        bound = "a bound or the healthy middle" if why.direction == "bipolar" else "a bound of [0, 10]"
        yield f"{points:+.4f}  given back at {bound} (step: {step})"


def _line(part: Part) -> str:
    kind = "" if part.type in ("direct", "bucket") else f"{part.type}, "
    return f"    {part.contribution:+.4f}  {part.source:<28} {kind}{part.how}"
