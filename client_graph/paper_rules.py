"""What the paper says of the person and the shipped tables keep; a user's own tables may break it on purpose."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from client_graph.catalog import Catalog
from client_graph.names import DIMENSIONS, DOMAINS, EDGE_TYPES
from client_graph.paper_facts import departures, difference
from client_graph.rules import Rows, place
from client_graph.slips import slips

NODES = 142  # paper 325
EDGES, EDGES_OF_A_TYPE, NODES_OF_A_DIMENSION = 450, 25, 20

SENTENCES = {
    "domains": ("meaning",), "nodes": ("low", "high"), "edges": ("why",), "guidance": ("text",), "strategies": ("voice",),
    "concerns": ("opening", "history"), "loa": ("low", "high"), "axes": ("low", "high"), "voice": ("line",),
    "strengths": ("accessible", "blocked", "shadow", "lever", "repair"), "strength_nodes": ("why",), "narcissism_nodes": ("why",),
}  # fmt: skip


def broken_paper_rules(catalog: Catalog) -> Iterable[str]:
    """Every way in which a catalog departs from the paper, as "table.csv:line: found ...; expected ... (paper line)"."""
    rows = catalog.rows
    yield from _sizes(rows)
    yield from _edges(rows)
    yield from _sensitivities(rows)
    yield from _copies(rows)
    yield from departures(rows)
    yield from _schedules(rows)
    yield from _hysteresis(rows)
    yield from _bucket_scores(rows)
    yield from _unmoved_and_unmoving(rows)
    yield from slips(rows)


def _sizes(rows: Rows) -> Iterable[str]:
    nodes = rows["nodes"]
    if len(nodes) != NODES:
        yield f"nodes.csv: found {len(nodes)} nodes; expected {NODES} (paper 325)"
    found = [row.name for row in rows["domains"]]
    if set(found) != set(DOMAINS):
        yield f"domains.csv: {difference(found, DOMAINS)} (paper 325)"
    peopled = {row.domain for row in nodes}
    for row in rows["domains"]:
        if row.name not in peopled:
            yield f"{place('domains', row)}: found no node of domain {row.name}; expected some (paper 325)"
    for direction in ("increase", "decrease", "bipolar"):
        if all(row.direction != direction for row in nodes):
            yield f"nodes.csv: direction: found no {direction} node; expected some of each (paper 331)"


def _edges(rows: Rows) -> Iterable[str]:
    edges = rows["edges"]
    if len(edges) < EDGES:
        yield f"edges.csv: found {len(edges)} edges; expected {EDGES} or more"
    by_type = Counter(row.type for row in edges)
    for kind in EDGE_TYPES:
        if by_type[kind] < EDGES_OF_A_TYPE:
            yield f"edges.csv: found {by_type[kind]} {kind} edges; expected {EDGES_OF_A_TYPE} or more (paper 336-343)"
    reached, reaching = reach(rows)
    for row in rows["nodes"]:
        if not reached[row.name]:
            yield f"{place('nodes', row)}: found no edge to {row.name}; expected one or more. Add it to edges.csv"
        if not reaching[row.name]:
            yield f"{place('nodes', row)}: found no edge from {row.name}; expected one or more. Add it to edges.csv"
    for row in edges:
        gates = {row.gate_1, row.gate_2, row.gate_3, row.gate_4}
        if row.type == "gated" and len(gates) == 1:
            yield f"{place('edges', row)}: found one gate for all stages; expected gates that depend on the stage (paper 343)"
    pair = {"affect_tolerance", "distress_tolerance"}
    if not any(row.type == "paired" and {row.edge_from, row.edge_to} == pair for row in edges):
        yield "edges.csv: found no paired edge of affect_tolerance and distress_tolerance; expected one (paper 342)"


def reach(rows: Rows) -> tuple[Counter[str], Counter[str]]:
    """How many edges lead to, and from, each node; a paired edge does both at both ends."""
    reached: Counter[str] = Counter()
    reaching: Counter[str] = Counter()
    for row in rows["edges"]:
        ends = (row.edge_from, row.edge_to)
        reaching.update(ends if row.type == "paired" else ends[:1])
        reached.update(ends if row.type == "paired" else ends[1:])
    return reached, reaching


def _sensitivities(rows: Rows) -> Iterable[str]:
    """Help helps, harm harms, and harm weighs more (paper 333). Level space: bipolar nodes count toward 5."""
    direction = {row.name: row.direction for row in rows["nodes"]}
    moved_by: Counter[str] = Counter()
    moved: Counter[str] = Counter()
    for row in rows["sensitivities"]:
        if row.high == row.low == 0.0:
            continue
        moved_by[row.dimension] += 1
        moved[row.node] += 1
        health = -1 if direction[row.node] == "decrease" else 1
        if row.high * health < 0.0 or row.low * health > 0.0:
            yield (
                f"{place('sensitivities', row)}: found high {row.high:g}, low {row.low:g} for the {direction[row.node]} node "
                f"{row.node}; expected help to lead toward health and harm away from it (paper 333)"
            )
        if not abs(row.low) > abs(row.high):
            yield (
                f"{place('sensitivities', row)}: found high {row.high:g}, low {row.low:g} for {row.node} under {row.dimension}; "
                "expected the larger size for low (paper 333)"
            )
    for name in DIMENSIONS:
        if moved_by[name] < NODES_OF_A_DIMENSION:
            yield f"sensitivities.csv: {name} moves {moved_by[name]} nodes; expected {NODES_OF_A_DIMENSION} or more"
    for row in rows["nodes"]:
        if not moved[row.name]:
            yield f"{place('nodes', row)}: no dimension moves {row.name}; expected one or more. Add it to sensitivities.csv"


def _copies(rows: Rows) -> Iterable[str]:
    numbers: dict[tuple[float, ...], Any] = {}
    for row in rows["nodes"]:
        key = tuple(value for _, value in row if isinstance(value, float))
        if key in numbers:
            yield f"{place('nodes', row)}: found all numbers of {row.name} as those of {numbers[key].name}; expected its own"
        numbers.setdefault(key, row)
    first: dict[str, str] = {}
    for table, columns in SENTENCES.items():
        for row in rows[table]:
            for column in columns:
                here = f"{place(table, row)}: {column}"
                words = " ".join(re.findall(r"\w+", getattr(row, column).casefold()))
                if words in first:
                    yield f"{here}: found the same sentence as {first[words]}; expected one of its own"
                first.setdefault(words, here)


def _schedules(rows: Rows) -> Iterable[str]:
    """With the stages resistance falls, opening asks for less and falling back for more (paper 330, 382-383)."""
    for row in rows["nodes"]:
        resistance = (row.bq_1, row.bq_2, row.bq_3, row.bq_4)
        if _rises(resistance):
            yield (
                f"{place('nodes', row)}: bq_1..bq_4: found {_numbers(resistance)} for {row.name}; expected numbers that never rise "
                "with the stage (paper 330)"
            )
    steps: dict[tuple[str, str], dict[int, float]] = defaultdict(dict)
    for row in rows["phase_thresholds"]:
        steps[row.phase_from, row.phase_to][row.stage] = row.threshold
    for (before, after), by_stage in steps.items():
        schedule = tuple(by_stage[stage] for stage in sorted(by_stage))
        if _rises(schedule):
            yield (
                f"phase_thresholds.csv: {before} to {after}: found {_numbers(schedule)} by stage; expected numbers that never "
                "rise (paper 382-383)"
            )


def _rises(schedule: Sequence[float]) -> bool:
    return any(later > earlier for earlier, later in pairwise(schedule))


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _hysteresis(rows: Rows) -> Iterable[str]:
    """A stage is won on sustained evidence, and not lost again on the day that it is won (paper 384-385)."""
    forward = {(r.stage_from, r.stage_to, r.measure): r for r in rows["stage_criteria"] if r.stage_to > r.stage_from}
    for row in rows["stage_criteria"]:
        if row.sessions < 2:
            yield f"{place('stage_criteria', row)}: sessions: found {row.sessions}; expected 2 or more (paper 385: sustained)"
        entry = forward.get((row.stage_to, row.stage_from, row.measure))
        if row.stage_to < row.stage_from and entry is not None and not _apart(entry, row):
            yield (
                f"{place('stage_criteria', row)}: found {row.measure} {row.relation} {row.value:g} for a step back, where the step "
                f"forward asks for {entry.relation} {entry.value:g}; expected a gap between them, so that a stage is not won and "
                "lost on one day"
            )


def _apart(entry: Any, back: Any) -> bool:
    """Whether the step back needs a value well on the other side of what the step forward asked for."""
    return bool(back.value > entry.value if entry.relation == "below" else back.value < entry.value)


def _bucket_scores(rows: Rows) -> Iterable[str]:
    """Help drains what falls and fills what rises; harm does the opposite (paper 354-355)."""
    falling = {row.name for row in rows["buckets"] if row.falls}
    for row in rows["bucket_scores"]:
        health = -1 if row.bucket in falling else 1
        if row.high * health < 0.0 or row.low * health > 0.0:
            yield (
                f"{place('bucket_scores', row)}: found high {row.high:g}, low {row.low:g} for {row.bucket}; expected help to "
                f"{'drain' if health < 0 else 'fill'} it and harm to do the opposite (paper 354-355)"
            )


def _unmoved_and_unmoving(rows: Rows) -> Iterable[str]:
    """What no score moves, or what moves nothing, has no part in the client (paper 355-356, 366, 372, 413)."""
    for table, column, home, told in (
        ("bucket_scores", "bucket", "buckets", "no dimension moves the bucket"),
        ("bucket_nodes", "bucket", "buckets", "no node feels the bucket"),
        ("loa_scores", "loa", "loa", "no dimension moves the LOA dimension"),
        ("axis_scores", "axis", "axes", "no dimension moves the axis"),
        ("signal_nodes", "signal", "signals", "no node shows in the signal"),
        ("strategy_nodes", "strategy", "strategies", "no node shows the strategy"),
        ("concern_nodes", "concern", "concerns", "no node shows the concern"),
    ):
        named = {getattr(row, column) for row in rows[table]}
        for row in rows[home]:
            if row.name not in named:
                yield f"{place(home, row)}: {told} {row.name}; expected a row for it in {table}.csv"
    signs = {row.threshold > 0 for row in rows["loa_thresholds"]}
    if signs != {True, False}:
        yield "loa_thresholds.csv: found thresholds on one side of 0; expected growth and regression to have theirs (paper 366)"
