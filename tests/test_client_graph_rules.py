"""What the checker finds: rules of every catalog, slips, the paper's rules, and forty mistakes at once."""

import csv
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from strategies import copied_tables

from client_graph.catalog import catalog_of, load_catalog
from client_graph.inventory import inventory
from client_graph.names import LOA_DIMENSIONS
from client_graph.paper_rules import broken_paper_rules
from client_graph.rows import TABLES, NameRow
from client_graph.rules import broken_rules
from client_graph.slips import slips
from client_graph.tables import TableError, line_of
from client_graph.testing import plain
from client_graph.testing.plain import node, plain_catalog

CATALOG = load_catalog()
Which = dict[str, Any]
TRUST: Which = {"node": "trust_capacity", "dimension": "attunement"}
SECURITY: Which = {"name": "attachment_security"}
TEN_SESSIONS: Which = {"measure": "completed_sessions"}
LAST_COILING: Which = {"stage_from": 3, "stage_to": 4, "measure": "coiling"}
GOODBYE: Which = {"moment": "closing", "phase": "D"}


def changed(table: str, which: Which, cells: dict[str, Any] | None) -> dict[str, tuple[Any, ...]]:
    """The shipped rows with `cells` put into every row of `table` that is like `which`; without it where cells is None."""
    rows, count = [], 0
    for row in CATALOG.rows[table]:
        hit = all(getattr(row, name) == value for name, value in which.items())
        count += hit
        if not hit or cells is not None:
            rows.append(row.model_copy(update=cells) if hit else row)
    assert count
    return CATALOG.rows | {table: tuple(rows)}


def refused(rows: dict[str, tuple[Any, ...]]) -> str:
    with pytest.raises(TableError) as caught:
        catalog_of(rows)
    return "\n".join(caught.value.problems)


def paper(rows: dict[str, tuple[Any, ...]]) -> list[str]:
    return list(broken_paper_rules(catalog_of(rows)))


@pytest.mark.parametrize(
    ("table", "which", "cells", "told"),
    [
        ("nodes", {}, {"weight": 0.0}, "weight: found 0 for every node"),
        ("nodes", {}, {"load_y": 0.0}, "load_y: found 0 for every node"),
        ("nodes", {"name": "shame_core"}, {"domain": "affect_regulatio"}, "did you mean affect_regulation"),
        ("buckets", {"name": "shame"}, {"falls": False}, "falls: found no for the maladaptive bucket shame"),
        ("buckets", {"kind": "adaptive"}, None, "found no adaptive bucket"),
        ("stage_criteria", {"stage_to": 4}, {"stage_from": 2}, "found a step from stage 2 to 4"),
        ("stage_criteria", LAST_COILING, {"value": 20.0}, "found 20 for coiling; expected a number in"),
        ("stage_criteria", LAST_COILING, {"value": -0.1}, "found -0.1 for coiling"),
        ("stage_criteria", TEN_SESSIONS, {"value": 2.5}, "found 2.5 completed_sessions"),
        ("stage_criteria", {"measure": "core_sessions"}, {"value": -1.0}, "found -1 core_sessions"),
        ("phase_thresholds", {"phase_from": "A", "stage": 2}, {"phase_to": "C"}, "found stage, step 2, AC, which has no meaning"),
        ("phase_thresholds", {"phase_from": "A", "stage": 2}, None, "no row for stage, step 2, AB"),
        ("guidance", {"phase": "A", "stage": 2}, None, "guidance.csv: no row for stage, phase 2, A"),
        ("loa", {"name": "mentalization"}, None, "loa.csv: no row for name mentalization"),
        ("axes", {"name": "self_esteem"}, None, "axes.csv: no row for name self_esteem"),
        ("signals", {"name": "overwhelm"}, None, "signals.csv: no row for name overwhelm"),
        ("roles", {"role": "alliance"}, None, "roles.csv: no row for role alliance"),
        ("roles", {"role": "engagement"}, None, "roles.csv: no row for role engagement"),
        ("roles", {"node": "goal_agreement"}, {"role": "engagement"}, "found 2 engagement nodes"),
        ("sensitivities", {"node": "shame_core"}, None, "sensitivities.csv: no row for node shame_core"),
        ("loa_thresholds", {"threshold": 8.0}, {"threshold": 5.0}, "5.0 stands more than once"),
        ("strategies", {"name": "C1"}, {"family": "A"}, "family: found A for strategy C1; expected C"),
        ("concerns", {"name": "panic"}, {"name": "any"}, "found a concern named any"),
        ("signals", {"name": "overwhelm"}, {"offset": 1e300}, "offset: found 1e+300; expected at most 100 in size"),
        ("signals", {"name": "overwhelm"}, {"offset": float("nan")}, "offset: found nan; expected at most 100 in size"),
        ("axes", {"name": "self_esteem"}, {"low": ""}, "low: found an empty cell"),
        ("names", {}, None, "names.csv: found no row"),
        ("strategies", {}, None, "strategies.csv: found no row"),
        ("concerns", {}, None, "concerns.csv: found no row"),
        ("loa_thresholds", {}, None, "loa_thresholds.csv: found no row"),
        ("nodes", {}, None, "nodes.csv: found no row"),
    ],
)  # fmt: skip
def test_a_broken_rule_is_refused(table: str, which: Which, cells: dict[str, Any] | None, told: str) -> None:
    assert told in refused(changed(table, which, cells))


@pytest.mark.parametrize("table", sorted(TABLES.keys() - {"names"}))
def test_no_fact_stands_twice(table: str) -> None:
    rows = CATALOG.rows | {table: (*CATALOG.rows[table], CATALOG.rows[table][-1])}
    if not table.startswith(("strength", "narcissism")):  # rules of their own
        rows[table] = (*CATALOG.rows[table], CATALOG.rows[table][-1].model_copy(update={"source": "another source"}))
    told = refused(rows)
    assert "stands more than once, first at " in told
    assert f"{table}.csv:{line_of(CATALOG.rows[table][-1])}" in told


def edge(kind: str) -> Which:
    return next(
        {"edge_from": e.edge_from, "type": kind, "edge_to": e.edge_to} for e in CATALOG.rows["edges"] if e.type == kind
    )


@pytest.mark.parametrize(
    ("kind", "cells", "told"),
    [
        ("prerequisite", {"threshold": None}, "found type prerequisite, threshold none"),
        ("suppressive", {"threshold": 3.0}, "found type suppressive, threshold 3"),
        ("gated", {"gate_3": None}, "found type gated, gates"),
        ("paired", {"gate_1": 0.5}, "found type paired, gates 0.5, none, none, none"),
        ("reinforcing", {"edge_to": "trust_capacty"}, "nodes.csv has no 'trust_capacty'; did you mean trust_capacity"),
        ("reinforcing", {"edge_from": "zzzz"}, "nodes.csv has no 'zzzz'; name one that stands there"),
    ],
)
def test_a_broken_edge_is_refused(kind: str, cells: dict[str, Any], told: str) -> None:
    assert told in refused(changed("edges", edge(kind), cells))


@pytest.mark.parametrize(
    ("table", "which", "cells", "told"),
    [
        ("phase_thresholds", {"stage": 4, "phase_to": "B", "phase_from": "A"}, {"threshold": 0.0}, "for the step forward AB"),
        ("phase_thresholds", {"stage": 4, "phase_to": "A"}, {"threshold": 0.1}, "for the step back BA"),
        ("stage_criteria", {"measure": "core_sessions"}, {"sessions": 3}, "expected one number for the whole step"),
        ("stage_criteria", {"stage_from": 2, "stage_to": 3, "measure": "adaptive_mean"}, {"value": 1.0}, "which can never hold"),
        ("stage_criteria", LAST_COILING, {"value": 0.0}, "which can never hold"),
        ("voice", GOODBYE, {"phase": "C"}, "closing in phase C, which is never spoken"),
        ("voice", {"moment": "hurt", "phase": "B", "coherence": "odd"}, None, "found no line for phase B, odd, hurt, any concern"),
        ("voice", {"moment": "hurt", "phase": "B", "coherence": "odd"}, {"concern": "panic"}, "odd, hurt, grief_after_loss, "),
    ],
)  # fmt: skip
def test_a_slip_is_no_error_and_is_shown(table: str, which: Which, cells: dict[str, Any] | None, told: str) -> None:
    catalog = catalog_of(changed(table, which, cells))
    assert any(told in slip for slip in slips(catalog.rows))
    assert any(told in problem for problem in broken_paper_rules(catalog))


def test_a_pair_turned_round_is_a_slip() -> None:
    pair = next(row for row in CATALOG.rows["edges"] if row.type == "paired")
    round_ = pair.model_copy(update={"edge_from": pair.edge_to, "edge_to": pair.edge_from})
    found = list(slips(CATALOG.rows | {"edges": (*CATALOG.rows["edges"], round_)}))
    assert len(found) == 1
    assert f"again, first at edges.csv:{line_of(pair)}" in found[0]


def test_the_shipped_tables_keep_every_rule() -> None:
    assert list(broken_paper_rules(CATALOG)) == []


@pytest.mark.parametrize(
    ("table", "which", "cells", "told"),
    [
        ("nodes", SECURITY, {"bq_1": 7.0}, "nodes.csv: bq_1: found 7.0 for attachment_security; expected 8 (paper 330)"),
        (
            "sensitivities", TRUST, {"high": 0.03},
            "sensitivities.csv: high: found 0.03 for trust_capacity, attunement; expected 0.02 (paper 333)",
        ),
        (
            "stage_criteria", TEN_SESSIONS, None,
            "stage_criteria.csv: found no row 3 to 4 completed_sessions; expected at_least 10 (paper 385)",
        ),
    ],
)  # fmt: skip
def test_the_papers_rules_are_found_broken(table: str, which: Which, cells: dict[str, Any] | None, told: str) -> None:
    """In tables that the engine takes. Each rule has its change in test_client_graph_paper_rules.py."""
    assert paper(changed(table, which, cells)) == [told]


def test_the_inventory_counts_and_names_the_least() -> None:
    told = " ".join(inventory(CATALOG).split())
    for part in (
        "nodes 142: attachment_relational 12",
        "buckets 16: maladaptive 8, adaptive 8",
        "odd 8, even 8, balanced 6",
    ):
        assert part in told
    weakest = CATALOG.rows["edges"][7].model_copy(update={"weight": 0.001})
    edges = (*CATALOG.rows["edges"][:7], weakest, *CATALOG.rows["edges"][8:])
    told = " ".join(inventory(catalog_of(CATALOG.rows | {"edges": edges})).split())
    assert f"{weakest.edge_from} {weakest.type} {weakest.edge_to}: weight 0.001" in told


# Each rule by itself: a person of three nodes, each table's rows numbered from line 2 on as in a file.
SMALL = plain_catalog([node("bond"), node("self_worth"), node("self_trust", "bipolar")])
KEEP = "Keep the one that is meant"
STEPS = "; ".join(f"{stage}, {step}" for stage in (1, 2, 3, 4) for step in ("AB", "BC", "CD", "BA", "CB", "DC"))
NEEDED = ("names", "strategies", "concerns", "loa_thresholds")
LOADS = "another number for one at least, since an axis begins as the weighted mean of its loadings"


def broken(*bad: str, **tables: Iterable[Any]) -> list[str]:
    """What is broken when `tables` stand in the small catalog; those named in `bad` had a bad cell."""
    rows: dict[str, tuple[Any, ...]] = {}
    for table, entries in (dict(SMALL.rows) | tables).items():
        rows[table] = tuple(row.model_copy() for row in entries)
        for line, row in enumerate(rows[table], start=2):
            object.__setattr__(row, "read_at", line)
    return list(broken_rules(rows, set(TABLES) - set(bad)))


def free(table: str, **cells: Any) -> Any:
    """A row whose cells nobody has checked, as the rules may meet it from memory."""
    return TABLES[table].model_construct(source="design: made for a test", **cells)


def without(table: str, **which: Any) -> list[Any]:
    return [row for row in SMALL.rows[table] if any(getattr(row, name) != value for name, value in which.items())]


def edited(table: str, place: int, **cells: Any) -> list[Any]:
    rows = list(SMALL.rows[table])
    rows[place] = rows[place].model_copy(update=cells)
    return rows


def criterion(before: int, after: int, measure: str, value: float) -> Any:
    return free(
        "stage_criteria", stage_from=before, stage_to=after, measure=measure, relation="above", value=value, sessions=2
    )


def strength(name: str, **cells: float) -> Any:
    pulls = {f"{state}_{k}": pull for state, pull in (("accessible", 0.3), ("shadow", 0.4)) for k in (1, 2, 3, 4)}
    return free("strengths", name=name, relevance=0.5, distortion=None, **(pulls | cells))


LEANING = free("strength_nodes", strength="hope", leans_on="bond", weight=0.5, feeds="shadow", why="a test")
UNWEIGHTED = [entry.model_copy(update={"weight": 0.0, "load_x": 0.0, "load_z": 0.0}) for entry in SMALL.nodes]


def said(concern: str) -> Any:
    return free(
        "voice", stage="any", phase="A", coherence="odd", moment="hurt", concern=concern, line=f"About {concern}."
    )


def arrow(kind: str, **cells: Any) -> Any:
    return plain.edge("bond", kind, "self_worth").model_copy(update=cells)


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({}, []),
        (
            {"edges": [plain.edge("bondd", "paired", "bond"), plain.edge("bond", "paired", "zzzz"),
                       plain.edge("self_rust", "suppressive", "bond")]},
            ["edges.csv:2: edge_from: nodes.csv has no 'bondd'; did you mean bond?",
             "edges.csv:3: edge_to: nodes.csv has no 'zzzz'; name one that stands there, or add it to nodes.csv",
             "edges.csv:4: edge_from: nodes.csv has no 'self_rust'; did you mean self_trust, self_worth?"],
        ),
        (
            {"voice": [said("any"), said("a_worry"), said("a_wory")],
             "concern_nodes": [free("concern_nodes", concern="any", node="bond", shift=1.0)]},
            ["concern_nodes.csv:2: concern: concerns.csv has no 'any'; name one that stands there, or add it to concerns.csv",
             "voice.csv:4: concern: concerns.csv has no 'a_wory'; did you mean a_worry?"],
        ),
        (
            {"edges": [arrow("paired"), arrow("paired", weight=0.1), arrow("reinforcing"), arrow("paired", source="else")]},
            [f"edges.csv:3: bond, paired, self_worth stands more than once, first at edges.csv:2; expected one row. {KEEP}",
             f"edges.csv:5: bond, paired, self_worth stands more than once, first at edges.csv:2; expected one row. {KEEP}"],
        ),
        # Of a table without a key, all cells but the source are one fact.
        (
            {"nicknames": [free("names", name="Al"), free("names", name="Bo"), NameRow(name="Al", source="another one")]},
            [f"nicknames.csv:4: Al stands more than once, first at nicknames.csv:2; expected one row. {KEEP}"],
        ),
        ({"axes": edited("axes", 1, low="")}, ["axes.csv:3: low: found an empty cell; expected text"]),
        ({"signals": edited("signals", 0, offset=100.0)}, []),
        ({"signals": edited("signals", 0, offset=-100.5)}, ["signals.csv:2: offset: found -100.5; expected at most 100 in size"]),
        (
            {"signals": edited("signals", 3, offset=float("nan"), phase_a=float("inf"))},
            ["signals.csv:5: offset: found nan; expected at most 100 in size",
             "signals.csv:5: phase_a: found inf; expected at most 100 in size"],
        ),
        (
            {"guidance": without("guidance", stage=2, phase="A")},
            ["guidance.csv: no row for stage, phase 2, A; expected one for each. Add it"],
        ),
        (
            {"phase_thresholds": edited("phase_thresholds", 0, phase_to="C")},
            ["phase_thresholds.csv: no row for stage, step 1, AB; expected one for each. Add it",
             f"phase_thresholds.csv:2: found stage, step 1, AC, which has no meaning here; expected one of {STEPS}"],
        ),
        (
            {"loa": edited("loa", 6, name="wit"), "axes": without("axes", name="self_esteem")},
            ["loa.csv: no row for name mentalization; expected one for each. Add it",
             f"loa.csv:8: found name wit, which has no meaning here; expected one of {'; '.join(LOA_DIMENSIONS)}",
             "axes.csv: no row for name self_esteem; expected one for each. Add it"],
        ),
        (
            {"signals": without("signals", name="overwhelm")},
            ["signals.csv: no row for name overwhelm; expected one for each. Add it"],
        ),
        (
            {"roles": []},
            ["roles.csv: no row for role alliance; expected one for each. Add it",
             "roles.csv: no row for role engagement; expected one for each. Add it"],
        ),
        (
            {"roles": [free("roles", role="alliance", node="bond"), free("roles", role="host", node="bond"),
                       *(free("roles", role="engagement", node=name) for name in SMALL.node_names)]},
            ["roles.csv:3: found role host, which has no meaning here; expected one of alliance; engagement",
             *(f"roles.csv:{line}: found 3 engagement nodes (bond, self_worth, self_trust); expected one. {KEEP}"
               for line in (5, 6))],
        ),
        (
            {"sensitivities": without("sensitivities", node="bond")},
            ["sensitivities.csv: no row for node bond; expected one for each. Add it"],
        ),
        (
            dict.fromkeys((*NEEDED, "voice"), ()),
            [f"{table}.csv: found no row; expected at least one" for table in NEEDED],
        ),
        ({"nodes": [], "sensitivities": [], "roles": [free("roles", role=role, node=None) for role in ("alliance", "engagement")]},
         ["nodes.csv: found no row; expected at least one"]),
        (
            {"buckets": []},
            [f"buckets.csv: found no {kind} bucket; expected at least one of each kind, since means are taken of each"
             for kind in ("adaptive", "maladaptive")],
        ),
        (
            {"nodes": UNWEIGHTED},
            ["nodes.csv: weight: found 0 for every node; expected one above 0 at least, since coiling is a weighted mean",
             f"nodes.csv: load_x: found 0 for every node; expected {LOADS}",
             f"nodes.csv: load_z: found 0 for every node; expected {LOADS}"],
        ),
        ({"nodes": [*UNWEIGHTED[:2], SMALL.nodes[2]]}, []),
        ({"edges": [plain.edge("bond", "paired", "bond")]}, ["edges.csv:2: found an edge from bond to itself; expected two nodes"]),
        (
            {"edges": [arrow("prerequisite", threshold=None), arrow("suppressive", threshold=3.5)]},
            [f"edges.csv:{line}: threshold: prerequisite edges, and no others, have one; found type {told}"
             for line, told in ((2, "prerequisite, threshold none"), (3, "suppressive, threshold 3.5"))],
        ),
        (
            {"edges": [arrow("gated", gate_3=None), arrow("paired", gate_1=0.5)]},
            [f"edges.csv:{line}: gate_1..gate_4 belong to gated edges, and each of these has four; found type {told}"
             for line, told in ((2, "gated, gates 0.2, 0.6, none, 1.6"), (3, "paired, gates 0.5, none, none, none"))],
        ),
        (
            {"buckets": edited("buckets", 0, falls=False)},
            ["buckets.csv:2: falls: found no for the maladaptive bucket trouble; expected yes, since it drains as therapy works"],
        ),
        (
            {"stage_criteria": [criterion(1, 3, "coiling", 0.5), criterion(2, 2, "coiling", 0.5), criterion(4, 3, "coiling", 0.5)]},
            [f"stage_criteria.csv:{line}: found a step from stage {step}; expected neighbours, such as 1 to 2 or 3 to 2"
             for line, step in ((2, "1 to 3"), (3, "2 to 2"))],
        ),
        ({"stage_criteria": [criterion(1, 2, "coiling", 0.0), criterion(1, 2, "adaptive_mean", 1.0),
                             criterion(1, 2, "core_sessions", 0.0), criterion(3, 4, "completed_sessions", 10.0)]}, []),
        (
            {"stage_criteria": [criterion(1, 2, "maladaptive_mean", 1.01), criterion(2, 1, "adaptive_mean", -0.01)]},
            ["stage_criteria.csv:2: value: found 1.01 for maladaptive_mean; expected a number in [0, 1], as the measure is",
             "stage_criteria.csv:3: value: found -0.01 for adaptive_mean; expected a number in [0, 1], as the measure is"],
        ),
        (
            {"stage_criteria": [criterion(1, 2, "core_sessions", -1.0), criterion(3, 4, "completed_sessions", 2.5)]},
            ["stage_criteria.csv:2: value: found -1 core_sessions; expected a whole number of sessions",
             "stage_criteria.csv:3: value: found 2.5 completed_sessions; expected a whole number of sessions"],
        ),
        (
            {"strategies": edited("strategies", 0, family="C")},
            ["strategies.csv:2: family: found C for strategy B3; expected B"],
        ),
        (
            {"concerns": [*SMALL.rows["concerns"], free("concerns", name="any", opening="Something.", history="Long ago.")]},
            ["concerns.csv:3: name: found a concern named any; expected another name, since any in voice.csv means all of them"],
        ),
        (
            {"strengths": [strength("hope", shadow_1=0.3, shadow_3=0.1), strength("zest", shadow_2=0.2), strength("love")],
             "strength_nodes": [LEANING]},
            ["strength_nodes.csv: no row for strength love; expected the nodes it leans on",
             "strength_nodes.csv: no row for strength zest; expected the nodes it leans on",
             "strengths.csv:2: hope: found shadow_1 0.3 and accessible_1 0.3; expected the shadow to weigh more in stages 1 and 2",
             "strengths.csv:3: zest: found shadow_2 0.2 and accessible_2 0.3; expected the shadow to weigh more in stages 1 and 2"],
        ),
    ],
)  # fmt: skip
def test_each_rule_is_told_with_its_line_and_nothing_else_is(tables: dict[str, list[Any]], told: list[str]) -> None:
    assert broken(**tables) == told


@pytest.mark.parametrize(
    ("bad", "tables"),
    [
        ("nodes", {"edges": [plain.edge("bondd", "paired", "bond")], "nodes": UNWEIGHTED}),
        ("guidance", {"guidance": without("guidance", stage=2, phase="A")}),
        ("loa_thresholds", {"loa_thresholds": []}),
        ("buckets", {"buckets": []}),
        ("strengths", {"strengths": [strength("hope", shadow_1=0.3)]}),
        ("strength_nodes", {"strengths": [strength("hope", shadow_1=0.3)]}),
    ],
)
def test_what_a_bad_cell_may_have_taken_away_is_not_told_as_missing(bad: str, tables: dict[str, list[Any]]) -> None:
    assert broken(bad, **tables) == []


# Many mistakes at once: (table, which row: its number from 0 or what it is like, cells, what is told at its line).
MISTAKES: tuple[tuple[str, int | dict[str, str], dict[str, str], str], ...] = (
    ("sensitivities", 0, {"high": "much"}, "high: found 'much'"),
    ("sensitivities", 1, {"low": "nan"}, "low: found 'nan'"),
    ("sensitivities", 2, {"high": "1.5"}, "high: found '1.5'"),
    ("sensitivities", 3, {"dimension": "kindness"}, "dimension: found 'kindness'"),
    ("sensitivities", 4, {"node": "trust_capacty"}, "node: nodes.csv has no 'trust_capacty'; did you mean trust_capacity"),
    ("sensitivities", 5, {"source": ""}, "source: found ''"),
    ("edges", {"type": "prerequisite"}, {"threshold": ""}, "found type prerequisite, threshold none"),
    ("edges", {"type": "suppressive"}, {"threshold": "3"}, "found type suppressive, threshold 3"),
    ("edges", {"type": "gated"}, {"gate_2": ""}, "found type gated, gates"),
    ("edges", {"type": "paradoxical"}, {"gate_1": "1"}, "found type paradoxical, gates 1, none, none, none"),
    ("edges", {"type": "compensatory"}, {"weight": "0"}, "weight: found '0'"),
    ("edges", {"type": "protective"}, {"weight": "inf"}, "weight: found 'inf'"),
    ("edges", {"type": "paired"}, {"why": ""}, "why: found ''"),
    ("edges", 0, {"type": "magical"}, "type: found 'magical'"),
    ("edges", 1, {"edge_from": "nobody_here"}, "edge_from: nodes.csv has no 'nobody_here'"),
    ("edges", 2, {"edge_from": "shame_core", "edge_to": "shame_core"}, "found an edge from shame_core to itself"),
    ("nodes", 7, {"domain": "affect"}, "domain: domains.csv has no 'affect'"),
    ("roles", 0, {"role": "engagement"}, "found 2 engagement nodes"),
    ("buckets", {"name": "shame"}, {"falls": "no"}, "falls: found no for the maladaptive bucket shame"),
    ("bucket_scores", 0, {"bucket": "joy"}, "bucket: buckets.csv has no 'joy'"),
    ("bucket_scores", 1, {"high": "-2"}, "high: found '-2'"),
    ("bucket_scores", 2, {"low": "1e999"}, "low: found '1e999'"),
    ("bucket_nodes", 0, {"coefficient": "11"}, "coefficient: found '11'"),
    ("bucket_nodes", 1, {"node": "shame"}, "node: nodes.csv has no 'shame'"),
    ("loa", 0, {"low": ""}, "low: found an empty cell"),
    ("loa", 1, {"start_1": "-11"}, "start_1: found '-11'"),
    ("loa_thresholds", 1, {"threshold": "2.0"}, "2.0 stands more than once"),
    ("axes", 0, {"high": ""}, "high: found an empty cell"),
    ("phase_thresholds", 0, {"phase_to": "C"}, "found stage, step 1, AC"),
    ("phase_thresholds", 1, {"stage": "1.5"}, "stage: found '1.5'"),
    ("phase_thresholds", 2, {"threshold": "101"}, "threshold: found 101; expected at most 100"),
    ("stage_criteria", 0, {"stage_to": "3"}, "found a step from stage 1 to 3"),
    ("stage_criteria", 2, {"value": "40"}, "value: found 40 for coiling"),
    ("stage_criteria", 3, {"relation": "over"}, "relation: found 'over'"),
    ("stage_criteria", 5, {"sessions": "0"}, "sessions: found '0'"),
    ("signals", 0, {"offset": "1e9"}, "offset: found 1e+09"),
    ("signal_nodes", 0, {"signal": "joy"}, "signal: signals.csv has no 'joy'"),
    ("signal_nodes", 1, {"weight": "heavy"}, "weight: found 'heavy'"),
    ("guidance", 0, {"phase": "E"}, "phase: found 'E'"),
    ("guidance", 1, {"text": "Be kind."}, "text: found 'Be kind.'"),
    ("strategies", {"name": "C1"}, {"family": "A"}, "family: found A for strategy C1"),
    ("strategy_nodes", 0, {"strategy": "D1"}, "strategy: strategies.csv has no 'D1'"),
    ("strategy_nodes", 1, {"shift": "12"}, "shift: found '12'"),
    ("concern_nodes", 0, {"concern": "rain"}, "concern: concerns.csv has no 'rain'"),
    ("concern_nodes", 1, {"shift": ""}, "shift: found ''"),
    ("voice", 0, {"line": ""}, "line: found ''"),
    ("voice", 1, {"line": "one line\nand another"}, "line: found a line break"),
    ("voice", 2, {"moment": "later"}, "moment: found 'later'"),
    ("voice", 3, {"concern": "rain"}, "concern: concerns.csv has no 'rain'"),
    ("voice", 4, {"stage": "4-1"}, "stage: found '4-1'"),
    ("voice", 5, {"coherence": "both"}, "coherence: found 'both'"),
)  # fmt: skip
WHOLE_FILES = {
    "axis_scores.csv: no such table",
    "names.csv: not UTF-8 text",
    "loa_scores.csv:1: found columns",
    "missing: weight",
    "found a row of another length",
}


def spoilt(folder: Path) -> list[str]:
    """The shipped tables with all of MISTAKES and WHOLE_FILES in them; what is to be told, with its line."""
    expected = []

    def edit(table: str) -> Callable[[list[dict[str, str]]], Iterable[dict[str, str]]]:
        def edited(rows: list[dict[str, str]]) -> list[dict[str, str]]:
            taken: set[int] = set()
            for name, which, cells, told in MISTAKES:
                if name != table:
                    continue
                index = which if isinstance(which, int) else _like(rows, which, taken)
                taken.add(index)
                rows[index] = rows[index] | cells
                # A cell with a line break ends one line later, and moves all that follow.
                line = index + 2 + sum("\n" in cell for row in rows[: index + 1] for cell in row.values())
                # Of several engagement nodes the second is told.
                line = (
                    next(i + 2 for i, row in enumerate(rows) if i and row["role"] == "engagement")
                    if table == "roles"
                    else line
                )
                expected.append(f"{table}.csv:{line}: {told}")
            return rows

        return edited

    copied_tables(folder, **{table: edit(table) for table in {name for name, *_ in MISTAKES}})
    (folder / "axis_scores.csv").unlink()
    (folder / "names.csv").write_bytes("name,source\nZoë,a test\n".encode("latin-1"))
    with (folder / "loa_scores.csv").open(newline="") as file:
        cut = [row[:2] + row[3:] for row in csv.reader(file)]
    with (folder / "loa_scores.csv").open("w", newline="") as file:
        csv.writer(file).writerows(cut)
    with (folder / "bucket_scores.csv").open("a") as file:
        file.write("pacing,trust,0.1,-0.1,a test, with a comma\n")
    # What a spreadsheet program adds is no mistake.
    for name in ("edges", "voice"):
        path = folder / f"{name}.csv"
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    return expected


def _like(rows: list[dict[str, str]], which: dict[str, str], taken: set[int]) -> int:
    return next(
        i
        for i, row in enumerate(rows)
        if i >= 3 * ("type" in which) and i not in taken and which.items() <= row.items()
    )


def test_forty_mistakes_are_one_error(tmp_path: Path) -> None:
    expected = spoilt(tmp_path)
    assert len(expected) == len(MISTAKES) >= 40
    with pytest.raises(TableError) as caught:
        load_catalog(tmp_path)
    problems = [problem.removeprefix(f"{tmp_path.resolve()}/") for problem in caught.value.problems]
    for told in expected:
        place, _, words = told.partition(": ")
        assert any(problem.startswith(f"{place}: ") and words in problem for problem in problems), told
    for told in WHOLE_FILES:
        assert any(told in problem for problem in problems), told
    assert str(caught.value).startswith(f"{len(problems)} problems in the tables")
    # Nothing else is said: each problem is one that was put there, or follows from one.
    known = [told.partition(": ")[2] for told in expected] + list(WHOLE_FILES)
    strange = [problem for problem in problems if not any(told in problem for told in known)]
    assert strange == []


def test_marks_and_line_endings_of_a_spreadsheet_change_nothing(tmp_path: Path) -> None:
    plain = load_catalog(copied_tables(tmp_path / "plain"))
    (tmp_path / "saved").mkdir()
    for path in (tmp_path / "plain").iterdir():
        (tmp_path / "saved" / path.name).write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert load_catalog(tmp_path / "saved").rows == plain.rows
