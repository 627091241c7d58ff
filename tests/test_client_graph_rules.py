"""What the checker finds: rules of every catalog, slips, the paper's rules, and forty mistakes at once."""

import csv
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from strategies import copied_tables

from client_graph.catalog import catalog_of, load_catalog
from client_graph.inventory import by_file, inventory
from client_graph.paper_rules import broken_paper_rules
from client_graph.rows import TABLES
from client_graph.slips import slips
from client_graph.tables import TableError, line_of
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


def test_the_shipped_tables_keep_every_rule() -> None:
    assert list(broken_paper_rules(CATALOG)) == []


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


@pytest.mark.parametrize(
    ("table", "which", "cells", "told"),
    [
        ("nodes", SECURITY, {"bq_1": 7.0}, "found 7.0 for attachment_security; expected 8 (paper 330)"),
        ("nodes", SECURITY, {"phase_d": 0.9}, "expected 1.0 (paper 334)"),
        ("nodes", {"name": "self_worth"}, {"direction": "decrease"}, "expected increase (paper 331)"),
        ("nodes", {"name": "shame_core"}, {"bq_2": 10.0}, "expected numbers that never rise"),
        ("nodes", {"name": "mentalization"}, {"start_1": 4.0}, "start_1: found 4 for mentalization; expected 0 to 3 (paper 1564)"),
        ("nodes", {"name": "trust_capacity"}, {"start_1": 5.0}, "expected 0 to 2 or 8 to 10 (paper 1564)"),
        ("nodes", {"domain": "adaptive_humor"}, {"domain": "motivation"}, "found no node of domain adaptive_humor"),
        ("nodes", {"direction": "bipolar"}, {"direction": "increase"}, "found no bipolar node"),
        ("nodes", {"name": "shame_core"}, {"low": CATALOG.rows["edges"][5].why.upper() + "!"}, "the same sentence as nodes.csv"),
        ("domains", {"name": "motivation"}, {"meaning": CATALOG.rows["voice"][0].line}, "found the same sentence as domains.csv"),
        ("sensitivities", TRUST, {"high": 0.03}, "expected 0.02 (paper 333)"),
        ("sensitivities", TRUST, {"low": -0.01}, "expected the larger size for low"),
        ("sensitivities", TRUST, {"high": -0.02}, "expected help to lead toward health"),
        ("sensitivities", TRUST, {"low": 0.05}, "expected help to lead toward health"),
        ("sensitivities", {"dimension": "pacing"}, {"high": 0.0, "low": 0.0}, "pacing moves 0 nodes; expected 20 or more"),
        ("sensitivities", {"node": "purpose"}, {"high": 0.0, "low": 0.0}, "no dimension moves purpose"),
        ("edges", {"type": "paradoxical"}, None, "found 0 paradoxical edges; expected 25 or more"),
        ("edges", {"type": "paired"}, None, "found no paired edge of affect_tolerance and distress_tolerance"),
        ("edges", {"edge_from": "trust_capacity", "type": "reinforcing"}, None, "attachment_security; expected one (paper 337)"),
        ("edges", {"edge_from": "shame_core"}, None, "found no edge from shame_core"),
        ("edges", {"edge_to": "goal_agreement"}, None, "found no edge to goal_agreement"),
        ("edges", {"edge_to": "intimacy_tolerance", "type": "prerequisite"}, {"threshold": 2.0}, "expected 3.0 (paper 341)"),
        ("edges", {"type": "gated"}, {f"gate_{s}": 0.5 for s in (1, 2, 3, 4)}, "found one gate for all stages"),
        ("phase_thresholds", {"stage": 1, "phase_to": "A"}, {"threshold": -0.2}, "1, B, A; expected -0.25 (paper 383)"),
        ("phase_thresholds", {"stage": 4, "phase_from": "A"}, {"threshold": 0.9}, "A to B: found 0.35, 0.25, 0.15, 0.9 by stage"),
        ("stage_criteria", TEN_SESSIONS, {"value": 9.0}, "expected at_least 10 (paper 385)"),
        ("stage_criteria", TEN_SESSIONS, None, "found no row 3 to 4 completed_sessions; expected at_least 10"),
        ("stage_criteria", TEN_SESSIONS, {"measure": "core_sessions"}, "expected no such criterion (paper 385)"),
        ("stage_criteria", {}, {"sessions": 1}, "sessions: found 1; expected 2 or more"),
        ("stage_criteria", {"stage_from": 2, "stage_to": 1}, {"value": 0.6}, "expected a gap between them"),
        ("stage_criteria", {"stage_from": 4, "stage_to": 3}, {"value": 0.1}, "expected a gap between them"),
        ("buckets", {"name": "dissociation"}, {"falls": False}, "found dissociation as adaptive, falls no"),
        ("bucket_scores", {"dimension": "attunement", "bucket": "trust"}, {"high": -0.3}, "expected one above 0 (paper 355)"),
        ("bucket_scores", {"dimension": "attunement", "bucket": "trust"}, {"low": 0.3}, "expected help to fill it"),
        ("bucket_scores", {"dimension": "safety", "bucket": "fear"}, None, "found no row safety, fear; expected one (paper 355)"),
        ("bucket_scores", {"bucket": "grief"}, None, "no dimension moves the bucket grief"),
        ("bucket_nodes", {"bucket": "shame", "node": "self_compassion"}, {"coefficient": 0.5}, "expected one below 0 (paper 356)"),
        ("bucket_nodes", {"bucket": "grief"}, None, "no node feels the bucket grief"),
        ("axis_scores", {"axis": "self_esteem"}, None, "no dimension moves the axis self_esteem"),
        ("axis_scores", {"axis": "self_esteem"}, None, "found no row validation, self_esteem; expected one (paper 372)"),
        ("loa_scores", {"loa": "mentalization"}, None, "no dimension moves the LOA dimension mentalization"),
        ("loa_thresholds", {"threshold": 8.0}, {"threshold": 9.0}, ""),
        ("signal_nodes", {"signal": "overwhelm"}, None, "no node shows in the signal overwhelm"),
        ("strategy_nodes", {"strategy": "A1"}, None, "no node shows the strategy A1"),
        ("concern_nodes", {"concern": "panic"}, None, "no node shows the concern panic"),
        ("strategies", {"name": "C3"}, {"coherence": "even"}, "found even for C3; expected odd"),
        ("strengths", {"name": "honesty"}, {"distortion": None}, "missing: honesty; not expected: none (paper 1320"),
        ("guidance", {"stage": 2, "phase": "C"}, {"text": "Stay near the pain, and let them bear it in few words."}, "(paper 387)"),
    ],
)  # fmt: skip
def test_the_papers_rules_are_found_broken(table: str, which: Which, cells: dict[str, Any] | None, told: str) -> None:
    found = paper(changed(table, which, cells))
    assert any(told in problem for problem in found) if told else found == []


def test_too_few_edges_are_found() -> None:
    found = paper(CATALOG.rows | {"edges": CATALOG.rows["edges"][:449]})
    assert "edges.csv: found 449 edges; expected 450 or more" in found


def test_numbers_on_one_side_of_zero_leave_growth_or_regression_out() -> None:
    rows = tuple(row for row in CATALOG.rows["loa_thresholds"] if row.threshold > 0)
    assert any("found thresholds on one side of 0" in told for told in paper(CATALOG.rows | {"loa_thresholds": rows}))


def test_a_node_that_copies_anothers_numbers_is_found() -> None:
    one, other = CATALOG.rows["nodes"][20:22]
    numbers = {name: value for name, value in one if isinstance(value, float)}
    found = paper(changed("nodes", {"name": other.name}, numbers))
    assert any(f"found all numbers of {other.name} as those of {one.name}" in problem for problem in found)


def test_a_small_catalog_is_valid_and_far_from_the_paper() -> None:
    found = "\n".join(broken_paper_rules(plain_catalog([node("a"), node("b"), node("c")])))
    for told in ("found 3 nodes; expected 142", "found 0 edges; expected 450", "voice.csv: found no line"):
        assert told in found


def test_every_problem_of_the_paper_says_where_and_what_was_expected() -> None:
    for problem in broken_paper_rules(plain_catalog([node("a"), node("b"), node("c")])):
        assert problem.split(":")[0].removesuffix(".csv") in TABLES
        assert "expected" in problem or "missing: " in problem


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


def test_a_misspelt_table_is_named_by_the_inventory(tmp_path: Path) -> None:
    folder = copied_tables(tmp_path)
    (folder / "edge.csv").write_text("")
    assert "edge.csv: no table has such a name" in " ".join(inventory(load_catalog(folder)).split())


def test_problems_are_grouped_by_file_and_sorted_by_line() -> None:
    folder = Path("/some/where.csv.d")
    problems = [
        f"{folder}/edges.csv:12: b",
        f"{folder}/nodes.csv: c",
        f"{folder}/edges.csv:3: a: d.csv:1: e",
        "no folder",
    ]
    assert by_file(problems, folder).splitlines() == [
        "  no folder", "edges.csv", "  line 3: a: d.csv:1: e", "  line 12: b", "nodes.csv", "  c"
    ]  # fmt: skip


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
