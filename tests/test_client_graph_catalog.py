"""The tables: what they hold, what the paper's examples are, and how a broken folder is refused."""

from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from strategies import copied_tables

from client_graph.catalog import Catalog, catalog_of, load_catalog
from client_graph.client import ClientGraph
from client_graph.names import (
    AXES,
    CONFIGS,
    DOMAINS,
    EDGE_TYPES,
    LOA_DIMENSIONS,
    PHASE_NAMES,
    PHASES,
    STAGE_NAMES,
    STAGES,
)
from client_graph.personhood import draw
from client_graph.settings import ClientSettings
from client_graph.tables import TableError
from client_graph.testing.strategies import catalogs

CATALOG = load_catalog()
TABLES = CATALOG.tables


def test_size_of_the_person() -> None:
    assert len(CATALOG.nodes) == 142
    assert tuple(row.name for row in CATALOG.rows["domains"]) == DOMAINS
    assert {row.domain for row in CATALOG.nodes} == set(DOMAINS)
    assert len(CATALOG.bucket_names) == 16
    assert [row.kind for row in CATALOG.rows["buckets"]].count("adaptive") == 8
    assert len(CATALOG.rows["edges"]) >= 450
    for kind in EDGE_TYPES:
        assert sum(row.type == kind for row in CATALOG.rows["edges"]) >= 25, kind


def row(table: str, **which: object) -> Any:
    """The one row of a table that is like `which`."""
    (found,) = (r for r in CATALOG.rows[table] if all(getattr(r, name) == value for name, value in which.items()))
    return found


def test_the_papers_examples() -> None:
    trust = row("sensitivities", node="trust_capacity", dimension="attunement")
    assert (trust.high, trust.low) == (0.02, -0.05)  # paper 333
    security = row("nodes", name="attachment_security")
    assert (security.bq_1, security.bq_4) == (8, 2)  # paper 330
    assert (security.phase_a, security.phase_d) == (0.4, 1.0)  # paper 334
    assert row("edges", edge_from="trust_capacity", type="reinforcing", edge_to="attachment_security")  # paper 337
    assert row("edges", edge_from="trust_capacity", type="prerequisite", edge_to="intimacy_tolerance").threshold == 3.0
    assert row("edges", edge_from="shame_core", type="suppressive", edge_to="self_compassion")  # paper 340
    pairs = [{r.edge_from, r.edge_to} for r in CATALOG.rows["edges"] if r.type == "paired"]
    assert pairs.count({"affect_tolerance", "distress_tolerance"}) == 1  # paper 342; one row, since it leads both ways
    for name, direction in (
        ("self_worth", "increase"),
        ("shame_core", "decrease"),
        ("emotional_reactivity", "bipolar"),
    ):
        assert row("nodes", name=name).direction == direction  # paper 331
    assert "UNUSUAL and potentially destabilizing" in CATALOG.guidance(0, 2)  # paper 387
    assert "EXPECTED" in CATALOG.guidance(1, 2)
    assert "metabolizing the therapeutic relationship itself" in CATALOG.guidance(3, 3)


@pytest.mark.parametrize(
    ("stage", "step", "threshold"),
    [(1, "AB", 0.35), (1, "BC", 0.60), (3, "AB", 0.15), (3, "BC", 0.30), (1, "BA", -0.25), (3, "BA", -0.45)],
)
def test_the_papers_thresholds(stage: int, step: str, threshold: float) -> None:  # paper 382-383
    assert row("phase_thresholds", stage=stage, phase_from=step[0], phase_to=step[1]).threshold == threshold


@pytest.mark.parametrize(
    ("dimension", "bucket", "side"),
    [
        ("attunement", "trust", "high"),
        ("safety", "fear", "low"),
        ("validation", "worth", "high"),
        ("boundaries", "distrust", "low"),
    ],
)
def test_the_papers_bucket_mappings(dimension: str, bucket: str, side: str) -> None:  # paper 355
    assert getattr(row("bucket_scores", dimension=dimension, bucket=bucket), side) > 0


def test_a_draining_shame_bucket_lowers_shame_and_raises_self_compassion() -> None:  # paper 356
    core, kindness = (row("bucket_nodes", bucket="shame", node=name) for name in ("shame_core", "self_compassion"))
    assert core.coefficient > 0 > kindness.coefficient


def test_phases_and_stages_have_the_papers_names() -> None:  # paper 379, 382-399
    assert dict(zip(PHASES, PHASE_NAMES, strict=True)) == {
        "A": "Defended", "B": "Opening", "C": "Core Access", "D": "Integration",
    }  # fmt: skip
    assert dict(zip(STAGES, STAGE_NAMES, strict=True)) == {
        1: "Foundation", 2: "Working", 3: "Integration", 4: "Termination",
    }  # fmt: skip


def test_a_new_clients_reservoirs_are_full_of_trouble_and_nearly_empty_of_the_rest() -> None:  # paper 354
    buckets = CATALOG.rows["buckets"]
    for bucket in buckets:
        start = np.array([getattr(bucket, f"start_{stage}") for stage in STAGES])
        assert (np.diff(start) * (-1 if bucket.falls else 1) > 0).all(), bucket.name
        assert start[0] >= 0.5 if bucket.falls else start[0] <= 0.2, bucket.name
    quickest = sorted(buckets, key=lambda bucket: -bucket.volatility)
    assert {bucket.name for bucket in quickest[:2]} == {"fear", "safety"}  # paper 355, without numbers
    assert quickest[-1].name == "grief"


def test_the_seven_levels_of_adaptation_are_the_papers() -> None:  # paper 359-365
    assert LOA_DIMENSIONS == (
        "self_reflection", "relational_capacity", "affect_expression", "self_compassion", "reality_testing",
        "impulse_regulation", "mentalization",
    )  # fmt: skip
    assert {entry.name for entry in CATALOG.rows["loa"]} == set(LOA_DIMENSIONS)
    assert (np.diff(CATALOG.loa_start, axis=0) > 0).all()


def test_the_axes_have_the_papers_poles_and_new_clients_lie_at_the_low_ones() -> None:  # paper 369-371
    poles = [(row("axes", name=name).low, row("axes", name=name).high) for name in AXES]
    for (low, high), words in zip(
        poles, (("walled off", "boundary"), ("wounded", "robust"), ("estranged", "cherished")), strict=True
    ):
        assert words[0] in low
        assert words[1] in high
    found = [draw(CATALOG, np.random.default_rng(0), 30, stage=stage)[0].axes for stage in STAGES]
    assert (found[0][:, 1:] < -4.5).all()
    assert (np.diff([axes.mean(axis=0) for axes in found], axis=0) > 0).all()


def test_every_strategy_meets_the_therapist_in_its_own_way() -> None:
    """Without a shift of engagement and alliance, people of all strategies would open in the same turn (paper 349, 380)."""
    by_role = {name: {r.node for r in CATALOG.rows["roles"] if r.role == name} for name in ("alliance", "engagement")}
    shift = {
        role: {
            kind.name: [r.shift for r in CATALOG.rows["strategy_nodes"] if r.strategy == kind.name and r.node in nodes]
            for kind in CATALOG.rows["strategies"]
        }
        for role, nodes in by_role.items()
    }
    assert min(len(found) for found in shift["alliance"].values()) >= 3
    assert {len(found) for found in shift["engagement"].values()} == {1}
    bond = {name: sum(found) for name, found in shift["alliance"].items()}
    assert min(bond[f"B{k}"] for k in range(6)) > 0 > max(found for name, found in bond.items() if name[0] != "B")


def test_arrays_are_read_only_and_do_not_depend_on_the_order_of_rows(tmp_path: Path) -> None:
    assert not any(array.flags.writeable for array in TABLES)
    backwards = copied_tables(
        tmp_path, edges=lambda rows: rows[::-1], sensitivities=lambda rows: rows[::-1], loa=lambda rows: rows[::-1],
        signals=lambda rows: rows[::-1], phase_thresholds=lambda rows: rows[::-1],
    )  # fmt: skip
    for name, one, other in zip(TABLES._fields, TABLES, load_catalog(backwards).tables, strict=True):
        assert one.tobytes() == other.tobytes(), name


def test_an_unknown_node_is_answered_with_near_ones() -> None:
    with pytest.raises(KeyError, match="shame_core"):
        CATALOG.node("shame_cor")


@given(catalog=catalogs())
@settings(max_examples=10, deadline=None)
def test_small_catalogs_give_people(catalog: Catalog) -> None:
    state, people = draw(catalog, np.random.default_rng(0), 2)
    assert state.levels.shape == (2, len(catalog.nodes))
    assert len(people) == 2


def broken_cells(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    rows[0]["weight"], rows[1]["start_2"], rows[2]["direction"], rows[3]["load_x"] = "1.5", "eleven", "up", "nan"
    return rows


def without_why(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return [{name: cell for name, cell in row.items() if name != "why"} for row in rows]


def test_broken_cells_missing_columns_and_missing_tables_are_one_error(tmp_path: Path) -> None:
    folder = copied_tables(tmp_path, nodes=broken_cells, edges=without_why, roles=None)
    with pytest.raises(TableError) as caught:
        load_catalog(folder)
    told = "\n".join(caught.value.problems)
    for part in ("nodes.csv:2: weight", "nodes.csv:3: start_2", "nodes.csv:4: direction", "nodes.csv:5: load_x"):
        assert part in told
    assert "edges.csv:1: found columns" in told
    assert "roles.csv: no such table" in told
    assert len(caught.value.problems) == 6
    assert all(problem in str(caught.value) for problem in caught.value.problems)


def broken_edges(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    to_itself = rows[0] | {"edge_to": rows[0]["edge_from"]}
    unknown = rows[0] | {"edge_to": "no_such_node"}
    threshold = rows[1] | {"threshold": "3.0", "type": "suppressive"}
    ungated = rows[2] | {"type": "gated"}
    return [*rows, rows[0], to_itself, unknown, threshold, ungated]


RULES = (
    "stands more than once", "to itself", "nodes.csv has no 'no_such_node'", "prerequisite edges, and no others",
    "belong to gated edges",
)  # fmt: skip


def test_broken_rules_between_rows_are_one_error(tmp_path: Path) -> None:
    folder = copied_tables(
        tmp_path, edges=broken_edges, guidance=lambda rows: rows[1:], phase_thresholds=lambda rows: rows[1:],
        sensitivities=lambda rows: [row for row in rows if row["node"] != "shame_core"],
    )  # fmt: skip
    with pytest.raises(TableError) as caught:
        load_catalog(folder)
    told = "\n".join(caught.value.problems)
    for part in (*RULES, "guidance.csv: no row", "phase_thresholds.csv: no row", "sensitivities.csv: no row for node"):
        assert part in told, part


def test_broken_cells_do_not_hide_broken_rules(tmp_path: Path) -> None:
    folder = copied_tables(tmp_path, edges=broken_edges, buckets=lambda rows: [rows[0] | {"start_1": "2"}, *rows[1:]])
    with pytest.raises(TableError) as caught:
        load_catalog(folder)
    told = "\n".join(caught.value.problems)
    for part in ("buckets.csv:2: start_1", *RULES):
        assert part in told, part


def problems_of(folder: Path) -> str:
    """What is wrong with the tables, or nothing."""
    try:
        load_catalog(folder)
    except TableError as error:
        return "\n".join(error.problems)
    return ""


def test_a_table_without_names_is_refused(tmp_path: Path) -> None:
    assert "names.csv" in problems_of(copied_tables(tmp_path, names=lambda rows: []))


@pytest.mark.parametrize("kind", ["adaptive", "maladaptive"])
def test_buckets_of_one_kind_alone_are_refused(tmp_path: Path, kind: str) -> None:
    """Their other mean would be a division by zero."""
    folder = copied_tables(tmp_path, buckets=lambda rows: [row | {"kind": kind} for row in rows])
    assert "buckets.csv" in problems_of(folder)


def test_a_second_engagement_node_is_refused(tmp_path: Path) -> None:
    second = {"role": "engagement", "node": "curiosity", "source": "test"}
    assert "roles.csv" in problems_of(copied_tables(tmp_path, roles=lambda rows: [*rows, second]))


def test_a_quoted_comma_is_missing(tmp_path: Path) -> None:
    folder = copied_tables(tmp_path)
    with (folder / "names.csv").open("a") as names:
        names.write("Ada,design: a name, with a comma\n")
    with pytest.raises(TableError, match="quote cells that hold commas"):
        load_catalog(folder)


def test_the_view_names_what_the_arrays_hold() -> None:
    state, _ = draw(CATALOG, np.random.default_rng(1), 2, stage=2)
    view = ClientGraph(state, CATALOG, index=1)
    assert view.levels["shame_core"] == state.levels[1, CATALOG.node("shame_core")]
    assert (view.phase, view.stage, view.stance) == ("A", 2, "rapport_building")
    graph = view.to_networkx()
    assert (graph.number_of_nodes(), graph.number_of_edges()) == (142, len(CATALOG.rows["edges"]))
    name, error = view.worst_misread(1)[0]
    assert abs(error) == np.abs(state.tmog[1] - state.levels[1]).max()
    assert error == view.beliefs[name] - view.levels[name]
    with pytest.raises(ValueError, match="no turn yet"):
        view.explain("shame_core")


def test_people_are_drawn_as_asked_and_a_wish_shifts_no_other_draw() -> None:
    def drawn(**wishes: object) -> object:
        return draw(CATALOG, np.random.default_rng(3), **wishes)[1][0]  # type: ignore[arg-type]

    free, asked = drawn(), drawn(stage=4, strategy="B3", concern="panic")
    assert (asked.stage, asked.strategy, asked.concern) == (4, "B3", "panic")
    assert asked.name == free.name
    for wish in ({"stage": 5}, {"strategy": "Z1"}, {"concern": "rain"}):
        with pytest.raises(ValueError, match=r"expected one of"):
            drawn(**wish)


def test_termination_has_to_be_asked_for_and_other_stages_come_as_often_as_stated() -> None:
    _, people = draw(CATALOG, np.random.default_rng(0), 400)
    share = np.bincount([person.stage for person in people], minlength=5)[1:] / 400
    np.testing.assert_allclose(share, (0.35, 0.45, 0.20, 0.0), atol=0.06)
    assert share[3] == 0.0


def test_a_new_client_is_defended_and_settled() -> None:
    state, _ = draw(CATALOG, np.random.default_rng(0), 5, stage=1)
    for name in ("phase", "turn", "session", "stance", "stage", "core_sessions"):
        assert not getattr(state, name).any(), name
    assert np.array_equal(state.axes, state.axes_start)
    assert np.array_equal(state.buckets, state.buckets_start)
    assert len(set(state.stream.tolist())) == 5


def test_the_therapist_begins_with_beliefs_around_the_truth() -> None:  # paper 456
    state, _ = draw(CATALOG, np.random.default_rng(0), 30, stage=2, settings=ClientSettings(tmog_start_noise=0.5))
    error = (state.tmog - state.levels)[(state.levels > 2.5) & (state.levels < 7.5)]  # where no bound cuts it
    assert error.mean() == pytest.approx(0.0, abs=0.04)
    assert error.std() == pytest.approx(0.5, abs=0.03)
    usual, _ = draw(CATALOG, np.random.default_rng(0), 30)
    assert usual.attunement.mean() == pytest.approx(0.85, abs=0.02)


def test_the_default_tables_are_the_shipped_ones() -> None:
    found = load_catalog()
    assert found.folder == CONFIGS / "client"
    assert found is load_catalog(str(CONFIGS / "client"))  # read again, and not checked again


def test_a_catalog_in_memory_is_checked_whole_and_says_where_it_is() -> None:
    found = catalog_of(CATALOG.rows)
    assert found.folder == Path("in memory")
    assert found.hash() == CATALOG.hash()
    with pytest.raises(TableError) as caught:
        catalog_of({table: rows for table, rows in CATALOG.rows.items() if table not in ("names", "edges")})
    assert caught.value.problems == (
        "no table edges; expected rows of EdgeRow",
        "no table names; expected rows of NameRow",
    )
    with pytest.raises(TableError) as caught:
        catalog_of(dict(CATALOG.rows) | {"names": ()})
    assert caught.value.problems == ("in memory/names.csv: found no row; expected at least one",)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("shame_cor", "no node named 'shame_cor'; did you mean shame_core, shame_tolerance?"),
        ("qqqq", "no node named 'qqqq'"),
    ],
)
def test_an_unknown_node_is_answered_in_full(name: str, told: str) -> None:
    with pytest.raises(KeyError) as caught:
        CATALOG.node(name)
    assert caught.value.args == (told,)


def test_arrays_hold_the_cells_of_the_rows() -> None:
    """By phase, stage or axis, in the order of the nodes."""
    found = catalog_of(CATALOG.rows)
    n = CATALOG.node("attachment_security")
    security = CATALOG.nodes[n]
    assert found.phase_weight.shape == found.start.shape == (4, 142)
    assert found.phase_weight[:, n].tolist() == [security.phase_a, security.phase_b, security.phase_c, security.phase_d]
    assert found.start[:, n].tolist() == [security.start_1, security.start_2, security.start_3, security.start_4]
    assert found.loading[:, n].tolist() == [security.load_x, security.load_y, security.load_z]
    mind = row("loa", name="mentalization")
    assert found.loa_start[:, 6].tolist() == [mind.start_1, mind.start_2, mind.start_3, mind.start_4]
    fear = row("buckets", name="fear")
    b = found.bucket_names.index("fear")
    assert found.bucket_start[:, b].tolist() == [fear.start_1, fear.start_2, fear.start_3, fear.start_4]


def test_shifts_of_strategies_and_concerns_stand_at_their_nodes() -> None:
    found = catalog_of(CATALOG.rows)
    for table, shifts, column, array in (
        ("strategies", "strategy_nodes", "strategy", found.strategy_shift),
        ("concerns", "concern_nodes", "concern", found.concern_shift),
    ):
        kinds = [entry.name for entry in CATALOG.rows[table]]
        assert array.shape == (len(kinds), 142)
        assert not array.flags.writeable
        for entry in CATALOG.rows[shifts]:
            assert array[kinds.index(getattr(entry, column)), CATALOG.node(entry.node)] == entry.shift
        assert np.count_nonzero(array) == sum(entry.shift != 0.0 for entry in CATALOG.rows[shifts])


@pytest.mark.parametrize(
    ("table", "cells", "told"),
    [
        (
            "axis_scores", {"axis": "mood"},
            "axis: found 'mood'; Value error, expected one of rigidity_porosity, self_esteem, cherishment_estrangement",
        ),
        ("buckets", {"falls": "maybe"}, "falls: found 'maybe'; Value error, expected one of yes, no"),
    ],
)  # fmt: skip
def test_a_cell_of_named_things_is_refused_with_their_names(
    tmp_path: Path, table: str, cells: dict[str, str], told: str
) -> None:
    def edit(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        return [rows[0] | cells, *rows[1:]]

    folder = copied_tables(tmp_path, **{table: edit})
    assert f"{folder.resolve()}/{table}.csv:2: {told}" in problems_of(folder).splitlines()


def test_a_copy_of_a_catalog_is_the_catalog() -> None:
    assert deepcopy({"catalog": CATALOG})["catalog"] is CATALOG
