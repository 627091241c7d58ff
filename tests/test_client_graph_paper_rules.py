"""The paper's rules: what is told of the shipped tables when one thing in them is changed, and that nothing else is."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from client_graph.catalog import load_catalog
from client_graph.paper_rules import broken_paper_rules
from client_graph.rows import TABLES
from client_graph.tables import line_of
from client_graph.testing import plain

CATALOG = load_catalog()
Which = dict[str, Any]
Rows = dict[str, tuple[Any, ...]]
SHIPPED: Rows = dict(CATALOG.rows)
TRUST: Which = {"node": "trust_capacity", "dimension": "attunement"}
SECURITY: Which = {"name": "attachment_security"}
TEN_SESSIONS: Which = {"measure": "completed_sessions"}
SHAME: Which = {"name": "shame_core"}
SHAME_BY_ATTUNEMENT: Which = {"node": "shame_core", "dimension": "attunement"}
RISING = {"bq_1": 9.0, "bq_2": 10.0, "bq_3": 5.5, "bq_4": 3.0}
NUMBERS = {name: value for name, value in CATALOG.nodes[20] if isinstance(value, float)}
TRUST_BY_ATTUNEMENT: Which = {"dimension": "attunement", "bucket": "trust"}
HEALTH = "expected help to lead toward health and harm away from it (paper 333)"
FILL = "expected help to fill it and harm to do the opposite (paper 354-355)"
DRAIN = "expected help to drain it and harm to do the opposite (paper 354-355)"
GAP = "expected a gap between them, so that a stage is not won and lost on one day"
ASKS = "the step forward asks for"
OWN = "expected one of its own"
ADD = "expected one or more. Add it to"
ROW = "expected a row for it in"
FALLING = "expected numbers that never rise with the stage (paper 330)"


def changed(table: str, which: Which, cells: dict[str, Any] | None, most: int = 10_000) -> Rows:
    """The shipped rows with `cells` put into the first `most` rows that are like `which`, or those left out for None."""
    rows, count = [], 0
    for row in CATALOG.rows[table]:
        hit = count < most and all(getattr(row, name) == value for name, value in which.items())
        count += hit
        if not hit or cells is not None:
            rows.append(row.model_copy(update=cells) if hit else row)
    assert count
    return SHIPPED | {table: tuple(rows)}


def told(rows: Rows) -> list[str]:
    return list(broken_paper_rules(replace(CATALOG, rows=rows)))


def line(table: str, which: Which) -> str:
    """Where the shipped tables have the one row that is like `which`."""
    (row,) = (row for row in CATALOG.rows[table] if all(getattr(row, name) == value for name, value in which.items()))
    return f"{table}.csv:{line_of(row)}"


def test_the_shipped_tables_keep_every_rule() -> None:
    assert list(broken_paper_rules(CATALOG)) == []


@pytest.mark.parametrize(
    ("table", "which", "cells", "expected"),
    [
        ("nodes", SECURITY, {"bq_1": 7.0}, ["nodes.csv: bq_1: found 7.0 for attachment_security; expected 8 (paper 330)"]),
        ("nodes", SECURITY, {"phase_d": 0.9}, ["nodes.csv: phase_d: found 0.9 for attachment_security; expected 1.0 (paper 334)"]),
        ("nodes", SHAME, RISING, [f"nodes.csv: bq_1..bq_4: found 9, 10, 5.5, 3 for shame_core; {FALLING}"]),
        ("nodes", SHAME, {"bq_1": 9.0, "bq_2": 9.0}, []),
        ("nodes", {"name": "mentalization"}, {"start_1": 3.0}, []),
        (
            "nodes", {"name": "mentalization"}, {"start_1": 3.5},
            ["nodes.csv: start_1: found 3.5 for mentalization; expected 0 to 3 (paper 1564)"],
        ),
        ("nodes", {"name": "trust_capacity"}, {"start_1": 2.0}, []),
        ("nodes", {"name": "trust_capacity"}, {"start_1": 8.0}, []),
        (
            "nodes", {"name": "trust_capacity"}, {"start_1": 5.0},
            ["nodes.csv: start_1: found 5 for trust_capacity; expected 0 to 2 or 8 to 10 (paper 1564)"],
        ),
        (
            "nodes", {"domain": "adaptive_humor"}, {"domain": "motivation"},
            [f"{line('domains', {'name': 'adaptive_humor'})}: found no node of domain adaptive_humor; expected some (paper 325)"],
        ),
        (
            "nodes", {"direction": "bipolar"}, {"direction": "increase"},
            ["nodes.csv: direction: found no bipolar node; expected some of each (paper 331)",
             "nodes.csv: direction: found increase for emotional_reactivity; expected bipolar (paper 331)"],
        ),
        (
            "nodes", SHAME, {"low": CATALOG.rows["edges"][5].why.upper() + "!"},
            [f"edges.csv:{line_of(CATALOG.rows['edges'][5])}: why: found the same sentence as nodes.csv: low; {OWN}"],
        ),
        (
            "domains", {"name": "motivation"}, {"meaning": CATALOG.rows["voice"][0].line},
            [f"voice.csv:{line_of(CATALOG.rows['voice'][0])}: line: found the same sentence as domains.csv: meaning; {OWN}"],
        ),
        (
            "domains", {"name": "motivation"}, {"name": "drive"},
            ["domains.csv: missing: motivation; not expected: drive (paper 325)",
             "domains.csv: found no node of domain drive; expected some (paper 325)"],
        ),
        (
            "sensitivities", TRUST, {"high": 0.03},
            ["sensitivities.csv: high: found 0.03 for trust_capacity, attunement; expected 0.02 (paper 333)"],
        ),
        (
            "sensitivities", TRUST, {"low": -0.02},
            ["sensitivities.csv: found high 0.02, low -0.02 for trust_capacity under attunement; expected the larger size for "
             "low (paper 333)",
             "sensitivities.csv: low: found -0.02 for trust_capacity, attunement; expected -0.05 (paper 333)"],
        ),
        (
            "sensitivities", TRUST, {"high": -0.02},
            [f"sensitivities.csv: found high -0.02, low -0.05 for the increase node trust_capacity; {HEALTH}",
             "sensitivities.csv: high: found -0.02 for trust_capacity, attunement; expected 0.02 (paper 333)"],
        ),
        (
            "sensitivities", TRUST, {"low": 0.05},
            [f"sensitivities.csv: found high 0.02, low 0.05 for the increase node trust_capacity; {HEALTH}",
             "sensitivities.csv: low: found 0.05 for trust_capacity, attunement; expected -0.05 (paper 333)"],
        ),
        (
            "sensitivities", SHAME_BY_ATTUNEMENT, {"high": 0.02, "low": 0.05},
            [f"sensitivities.csv: found high 0.02, low 0.05 for the decrease node shame_core; {HEALTH}"],
        ),
        (
            "sensitivities", SHAME_BY_ATTUNEMENT, {"high": -0.02, "low": -0.05},
            [f"sensitivities.csv: found high -0.02, low -0.05 for the decrease node shame_core; {HEALTH}"],
        ),
        # Help that moves nothing is in order, harm that moves nothing is smaller than it should be.
        ("sensitivities", SHAME_BY_ATTUNEMENT, {"high": 0.0, "low": 0.05}, []),
        (
            "sensitivities", SHAME_BY_ATTUNEMENT, {"high": -0.02, "low": 0.0},
            ["sensitivities.csv: found high -0.02, low 0 for shame_core under attunement; expected the larger size for low "
             "(paper 333)"],
        ),
        (
            "sensitivities", {"dimension": "pacing"}, {"high": 0.0, "low": 0.0},
            ["sensitivities.csv: pacing moves 0 nodes; expected 20 or more"],
        ),
        (
            "sensitivities", {"node": "purpose"}, {"high": 0.0, "low": 0.0},
            [f"{line('nodes', {'name': 'purpose'})}: no dimension moves purpose; {ADD} sensitivities.csv"],
        ),
        ("edges", {"type": "paradoxical"}, None, ["edges.csv: found 0 paradoxical edges; expected 25 or more (paper 336-343)"]),
        (
            "edges", {"type": "paired"}, None,
            ["edges.csv: found 0 paired edges; expected 25 or more (paper 336-343)",
             "edges.csv: found no paired edge of affect_tolerance and distress_tolerance; expected one (paper 342)"],
        ),
        (
            "edges", {"edge_from": "trust_capacity", "type": "reinforcing"}, None,
            ["edges.csv: found no row trust_capacity, reinforcing, attachment_security; expected one (paper 337)"],
        ),
        (
            "edges", {"edge_from": "shame_core"}, None,
            [f"{line('nodes', SHAME)}: found no edge from shame_core; {ADD} edges.csv",
             "edges.csv: found no row shame_core, suppressive, self_compassion; expected one (paper 340)"],
        ),
        (
            "edges", {"edge_to": "goal_agreement"}, None,
            [f"{line('nodes', {'name': 'goal_agreement'})}: found no edge to goal_agreement; {ADD} edges.csv"],
        ),
        (
            "edges", {"edge_to": "intimacy_tolerance", "type": "prerequisite"}, {"threshold": 2.0},
            ["edges.csv: threshold: found 2.0 for trust_capacity, prerequisite, intimacy_tolerance; expected 3.0 (paper 341)"],
        ),
        (
            "phase_thresholds", {"stage": 1, "phase_to": "A"}, {"threshold": -0.2},
            ["phase_thresholds.csv: threshold: found -0.2 for 1, B, A; expected -0.25 (paper 383)"],
        ),
        (
            "phase_thresholds", {"stage": 4, "phase_from": "A"}, {"threshold": 0.9},
            ["phase_thresholds.csv: A to B: found 0.35, 0.25, 0.15, 0.9 by stage; expected numbers that never rise "
             "(paper 382-383)"],
        ),
        ("phase_thresholds", {"stage": 4, "phase_from": "A"}, {"threshold": 0.15}, []),
        (
            "stage_criteria", TEN_SESSIONS, {"value": 9.0},
            ["stage_criteria.csv: found 3 to 4 completed_sessions at_least 9; expected at_least 10 (paper 385)"],
        ),
        (
            "stage_criteria", TEN_SESSIONS, {"relation": "above"},
            ["stage_criteria.csv: found 3 to 4 completed_sessions above 10; expected at_least 10 (paper 385)"],
        ),
        (
            "stage_criteria", TEN_SESSIONS, None,
            ["stage_criteria.csv: found no row 3 to 4 completed_sessions; expected at_least 10 (paper 385)"],
        ),
        (
            "stage_criteria", TEN_SESSIONS, {"measure": "core_sessions"},
            ["stage_criteria.csv: found no row 3 to 4 completed_sessions; expected at_least 10 (paper 385)",
             "stage_criteria.csv: found 3 to 4 core_sessions; expected no such criterion (paper 385)"],
        ),
        (
            "stage_criteria", {"stage_from": 3, "stage_to": 4}, {"sessions": 1},
            ["stage_criteria.csv: sessions: found 1; expected 2 or more (paper 385: sustained)"] * 2,
        ),
        (
            "stage_criteria", {"stage_from": 2, "stage_to": 1}, {"value": 0.5},
            [f"stage_criteria.csv: found adaptive_mean below 0.5 for a step back, where {ASKS} above 0.5; {GAP}"],
        ),
        (
            "stage_criteria", {"stage_from": 4, "stage_to": 3}, {"value": 0.2},
            [f"stage_criteria.csv: found coiling above 0.2 for a step back, where {ASKS} below 0.2; {GAP}"],
        ),
        (
            "buckets", {"name": "dissociation"}, {"falls": False},
            ["buckets.csv: found dissociation as adaptive, falls no; expected adaptive, falls yes (paper 354)",
             *(f"bucket_scores.csv:{line_of(row)}: found high {row.high:g}, low {row.low:g} for dissociation; {FILL}"
               for row in CATALOG.rows["bucket_scores"] if row.bucket == "dissociation")],
        ),
        (
            "buckets", {"name": "trust"}, {"falls": True},
            ["buckets.csv: found trust as adaptive, falls yes; expected adaptive, falls no (paper 354)",
             *(f"bucket_scores.csv:{line_of(row)}: found high {row.high:g}, low {row.low:g} for trust; {DRAIN}"
               for row in CATALOG.rows["bucket_scores"] if row.bucket == "trust")],
        ),
        (
            "bucket_scores", TRUST_BY_ATTUNEMENT, {"high": -0.3, "low": 0.0},
            ["bucket_scores.csv: high: found -0.3 for attunement, trust; expected one above 0 (paper 355)",
             f"bucket_scores.csv: found high -0.3, low 0 for trust; {FILL}"],
        ),
        (
            "bucket_scores", TRUST_BY_ATTUNEMENT, {"high": 0.0},
            ["bucket_scores.csv: high: found 0 for attunement, trust; expected one above 0 (paper 355)"],
        ),
        ("bucket_scores", TRUST_BY_ATTUNEMENT, {"low": 0.0}, []),
        ("bucket_scores", TRUST_BY_ATTUNEMENT, {"low": 0.3}, [f"bucket_scores.csv: found high 0.3, low 0.3 for trust; {FILL}"]),
        (
            "bucket_scores", {"dimension": "safety", "bucket": "fear"}, None,
            ["bucket_scores.csv: found no row safety, fear; expected one (paper 355)"],
        ),
        (
            "bucket_scores", {"bucket": "grief"}, None,
            [f"{line('buckets', {'name': 'grief'})}: no dimension moves the bucket grief; {ROW} bucket_scores.csv"],
        ),
        (
            "bucket_nodes", {"bucket": "shame", "node": "self_compassion"}, {"coefficient": 0.5},
            ["bucket_nodes.csv: coefficient: found 0.5 for shame, self_compassion; expected one below 0 (paper 356)"],
        ),
        (
            "bucket_nodes", {"bucket": "grief"}, None,
            [f"{line('buckets', {'name': 'grief'})}: no node feels the bucket grief; {ROW} bucket_nodes.csv"],
        ),
        (
            "axis_scores", {"axis": "self_esteem"}, None,
            ["axis_scores.csv: found no row validation, self_esteem; expected one (paper 372)",
             f"{line('axes', {'name': 'self_esteem'})}: no dimension moves the axis self_esteem; {ROW} axis_scores.csv"],
        ),
        (
            "loa_scores", {"loa": "mentalization"}, None,
            [f"{line('loa', {'name': 'mentalization'})}: no dimension moves the LOA dimension mentalization; {ROW} loa_scores.csv"],
        ),
        (
            "signal_nodes", {"signal": "overwhelm"}, None,
            [f"{line('signals', {'name': 'overwhelm'})}: no node shows in the signal overwhelm; {ROW} signal_nodes.csv"],
        ),
        (
            "strategy_nodes", {"strategy": "A1"}, None,
            [f"{line('strategies', {'name': 'A1'})}: no node shows the strategy A1; {ROW} strategy_nodes.csv"],
        ),
        (
            "concern_nodes", {"concern": "panic"}, None,
            [f"{line('concerns', {'name': 'panic'})}: no node shows the concern panic; {ROW} concern_nodes.csv"],
        ),
        ("loa_thresholds", {"threshold": 8.0}, {"threshold": 9.0}, []),
        (
            "strategies", {"name": "C3"}, {"coherence": "even"},
            ["strategies.csv: coherence: found even for C3; expected odd (paper 1692-1695)"],
        ),
        (
            "strategies", {"name": "C3"}, {"name": "C9"},
            ["strategies.csv: missing: C3; not expected: C9 (paper 1691)",
             f"strategies.csv: no node shows the strategy C9; {ROW} strategy_nodes.csv"],
        ),
        (
            "strengths", {"name": "honesty"}, {"distortion": None},
            ["strengths.csv: distortion: missing: honesty; not expected: none (paper 1320-1326)"],
        ),
        (
            "strengths", {"name": "hope"}, {"name": "optimism"},
            ["strengths.csv: missing: hope; not expected: optimism (paper 1490-1497)"],
        ),
        (
            "guidance", {"stage": 2, "phase": "C"}, {"text": "Stay near the pain."},
            ["guidance.csv: text: expected the words 'EXPECTED—match depth, witness without rescuing' (paper 387); "
             "found 'Stay near the pain.'"],
        ),
    ],
)  # fmt: skip
def test_one_change_is_told_and_nothing_else_is(
    table: str, which: Which, cells: dict[str, Any] | None, expected: list[str]
) -> None:
    assert told(changed(table, which, cells)) == expected


@pytest.mark.parametrize(
    ("table", "which", "cells", "expected"),
    [
        ("nodes", SHAME, RISING, f"bq_1..bq_4: found 9, 10, 5.5, 3 for shame_core; {FALLING}"),
        ("nodes", SECURITY, {"bq_1": 7.0}, "bq_1: found 7.0 for attachment_security; expected 8 (paper 330)"),
        (
            "edges", {"type": "gated", "edge_to": next(e.edge_to for e in CATALOG.rows["edges"] if e.type == "gated")},
            {f"gate_{stage}": 0.5 for stage in (1, 2, 3, 4)},
            "found one gate for all stages; expected gates that depend on the stage (paper 343)",
        ),
        (
            "sensitivities", SHAME_BY_ATTUNEMENT, {"high": 0.02, "low": 0.05},
            f"found high 0.02, low 0.05 for the decrease node shame_core; {HEALTH}",
        ),
        (
            "sensitivities", SHAME_BY_ATTUNEMENT, {"high": -0.045, "low": 0.001},
            "found high -0.045, low 0.001 for shame_core under attunement; expected the larger size for low (paper 333)",
        ),
        (
            "stage_criteria", {"measure": "core_sessions"}, {"sessions": 1},
            "sessions: found 1; expected 2 or more (paper 385: sustained)",
        ),
        (
            "stage_criteria", {"stage_from": 4, "stage_to": 3}, {"value": 0.2},
            f"found coiling above 0.2 for a step back, where {ASKS} below 0.2; {GAP}",
        ),
        ("bucket_scores", TRUST_BY_ATTUNEMENT, {"low": 0.3}, f"found high 0.3, low 0.3 for trust; {FILL}"),
        ("nodes", {"name": CATALOG.node_names[21]}, NUMBERS, f"found all numbers of {CATALOG.node_names[21]} as those of "
         f"{CATALOG.node_names[20]}; expected its own"),
    ],
)  # fmt: skip
def test_a_problem_of_a_row_is_told_with_its_line(
    table: str, which: Which, cells: dict[str, Any], expected: str
) -> None:
    rows = changed(table, which, cells, 1)
    for old, new in zip(CATALOG.rows[table], rows[table], strict=True):
        if new is not old:
            object.__setattr__(new, "read_at", 9_000)
    assert f"{table}.csv:9000: {expected}" in told(rows)


def test_another_pair_is_not_the_papers() -> None:
    pair = {"affect_tolerance", "distress_tolerance"}
    edges = [row for row in CATALOG.rows["edges"] if row.type != "paired" or {row.edge_from, row.edge_to} != pair]
    assert len(edges) == len(CATALOG.rows["edges"]) - 1
    assert told(SHIPPED | {"edges": tuple(edges)}) == [
        "edges.csv: found no paired edge of affect_tolerance and distress_tolerance; expected one (paper 342)"
    ]


def test_every_gated_edge_with_one_gate_is_told() -> None:
    gated = sum(row.type == "gated" for row in CATALOG.rows["edges"])
    found = told(changed("edges", {"type": "gated"}, {f"gate_{stage}": 0.5 for stage in (1, 2, 3, 4)}))
    assert (
        found
        == ["edges.csv: found one gate for all stages; expected gates that depend on the stage (paper 343)"] * gated
    )


@pytest.mark.parametrize(("kept", "expected"), [(25, 0), (24, 1)])
def test_twenty_five_edges_of_a_type_are_enough(kept: int, expected: int) -> None:
    protective = sum(row.type == "protective" for row in CATALOG.rows["edges"])
    found = told(changed("edges", {"type": "protective"}, None, protective - kept))
    assert [line for line in found if "protective" in line] == (
        ["edges.csv: found 24 protective edges; expected 25 or more (paper 336-343)"] * expected
    )


@pytest.mark.parametrize(
    ("kept", "expected"), [(20, []), (19, ["sensitivities.csv: pacing moves 19 nodes; expected 20 or more"])]
)
def test_twenty_nodes_of_a_dimension_are_enough(kept: int, expected: list[str]) -> None:
    pacing = sum(row.dimension == "pacing" for row in CATALOG.rows["sensitivities"])
    assert told(changed("sensitivities", {"dimension": "pacing"}, {"high": 0.0, "low": 0.0}, pacing - kept)) == expected


@pytest.mark.parametrize(
    ("count", "expected"), [(450, []), (449, ["edges.csv: found 449 edges; expected 450 or more"])]
)
def test_too_few_edges_are_found(count: int, expected: list[str]) -> None:
    found = told(SHIPPED | {"edges": CATALOG.rows["edges"][:count]})
    assert [line for line in found if "450" in line] == expected


def test_a_paired_edge_reaches_and_leads_from_both_its_ends() -> None:
    """Without the pair, and in it either way round: nothing else of affect_tolerance is told."""
    pair = next(
        row
        for row in CATALOG.rows["edges"]
        if row.type == "paired" and "affect_tolerance" in (row.edge_from, row.edge_to)
    )
    alone = [row for row in CATALOG.rows["edges"] if "affect_tolerance" not in (row.edge_from, row.edge_to)]
    place = line("nodes", {"name": "affect_tolerance"})
    for ends in ((pair.edge_from, pair.edge_to), (pair.edge_to, pair.edge_from)):
        turned = pair.model_copy(update=dict(zip(("edge_from", "edge_to"), ends, strict=True)))
        found = told(SHIPPED | {"edges": (*alone, turned)})
        assert not [line for line in found if "affect_tolerance" in line]
    assert [line for line in told(SHIPPED | {"edges": tuple(alone)}) if line.startswith(place)] == [
        f"{place}: found no edge {way} affect_tolerance; {ADD} edges.csv" for way in ("to", "from")
    ]


def test_numbers_on_one_side_of_zero_leave_growth_or_regression_out() -> None:
    expected = [
        "loa_thresholds.csv: found thresholds on one side of 0; expected growth and regression to have theirs (paper 366)"
    ]
    sides: tuple[Callable[[Any], bool], ...] = (lambda row: row.threshold > 0, lambda row: row.threshold < 0)
    for side in sides:
        assert told(SHIPPED | {"loa_thresholds": tuple(filter(side, CATALOG.rows["loa_thresholds"]))}) == expected


def test_small_numbers_on_both_sides_of_zero_are_enough() -> None:
    both = tuple(plain.row("loa_thresholds", threshold=threshold) for threshold in (0.5, -0.5))
    assert told(SHIPPED | {"loa_thresholds": both}) == []


def test_the_order_of_the_rows_is_no_departure() -> None:
    rows = {table: entries[::-1] for table, entries in CATALOG.rows.items()}
    assert told(rows) == []


def test_nodes_with_the_numbers_of_another_are_told_by_the_first() -> None:
    nodes = list(CATALOG.rows["nodes"])
    numbers = {name: value for name, value in nodes[20] if isinstance(value, float)}
    nodes[21], nodes[22] = (row.model_copy(update=numbers) for row in nodes[21:23])
    assert [problem for problem in told(SHIPPED | {"nodes": tuple(nodes)}) if "all numbers" in problem] == [
        f"nodes.csv: found all numbers of {row.name} as those of {nodes[20].name}; expected its own"
        for row in nodes[21:23]
    ]


def test_sentences_said_thrice_are_told_by_the_first() -> None:
    loa = list(CATALOG.rows["loa"])
    loa[2], loa[3] = (row.model_copy(update={"high": loa[1].high}) for row in loa[2:4])
    first = f"loa.csv:{line_of(loa[1])}: high"
    assert told(SHIPPED | {"loa": tuple(loa)}) == [f"loa.csv: high: found the same sentence as {first}; {OWN}"] * 2


def test_a_node_of_ones_own_is_one_too_many() -> None:
    """Nothing reaches it and it reaches nothing."""
    wonder = plain.node("wonder", domain="motivation", low="never stops to look", high="stops and looks and asks")
    assert told(SHIPPED | {"nodes": (*CATALOG.rows["nodes"], wonder)}) == [
        "nodes.csv: found 143 nodes; expected 142 (paper 325)",
        f"nodes.csv: found no edge to wonder; {ADD} edges.csv",
        f"nodes.csv: found no edge from wonder; {ADD} edges.csv",
        f"nodes.csv: no dimension moves wonder; {ADD} sensitivities.csv",
    ]


def test_names_that_are_missing_and_names_too_many_stand_in_order() -> None:
    domains = {"name": "b_domain"}, {"name": "a_domain"}
    rows = [row.model_copy(update=cells) for row, cells in zip(CATALOG.rows["domains"], domains, strict=False)]
    found = told(SHIPPED | {"domains": (*rows, *CATALOG.rows["domains"][2:])})
    assert found[0] == (
        "domains.csv: missing: affect_regulation, attachment_relational; not expected: a_domain, b_domain (paper 325)"
    )
    fewer = told(SHIPPED | {"domains": CATALOG.rows["domains"][1:]})
    assert fewer == ["domains.csv: missing: attachment_relational; not expected: none (paper 325)"]
    more = told(SHIPPED | {"domains": (*CATALOG.rows["domains"], rows[1])})
    assert more[0] == "domains.csv: missing: none; not expected: a_domain (paper 325)"


def test_another_bucket_than_the_papers_is_told() -> None:
    found = told(changed("buckets", {"name": "worth"}, {"name": "value"}))
    assert found[0] == "buckets.csv: missing: worth; not expected: value (paper 354)"
    assert Counter(problem.partition(":")[0] for problem in found) == {
        "buckets.csv": 3
    }  # nothing moves it, no node feels it


def test_a_small_catalog_is_valid_and_far_from_the_paper() -> None:
    found = list(broken_paper_rules(plain.plain_catalog([plain.node("a"), plain.node("b"), plain.node("c")])))
    for fact in (
        "nodes.csv: found no row mentalization; expected one (paper 1564)",
        "nodes.csv: found no row shame_core; expected one (paper 331)",
        "edges.csv: found no row trust_capacity, reinforcing, attachment_security; expected one (paper 337)",
        "edges.csv: found no row shame_core, suppressive, self_compassion; expected one (paper 340)",
    ):
        assert fact in found
    for part in ("found 3 nodes; expected 142", "found 0 edges; expected 450", "voice.csv: found no line"):
        assert any(part in problem for problem in found)
    for problem in found:
        assert problem.split(":")[0].removesuffix(".csv") in TABLES
        assert "expected" in problem or "missing: " in problem
