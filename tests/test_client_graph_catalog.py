"""The tables: what they hold, what the paper's examples are, and how a broken folder is refused."""

from pathlib import Path

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from strategies import copied_tables, small_catalogs

from client_graph.catalog import Catalog, load_catalog
from client_graph.names import DIMENSIONS, DOMAINS, EDGE_TYPES
from client_graph.personhood import draw
from client_graph.tables import TableError
from client_graph.view import ClientView

CATALOG = load_catalog()
TABLES = CATALOG.tables


def node(name: str) -> object:
    return CATALOG.nodes[CATALOG.node(name)]


def test_size_of_the_person() -> None:
    assert len(CATALOG.nodes) == 142
    assert tuple(row.name for row in CATALOG.rows["domains"]) == DOMAINS
    assert {row.domain for row in CATALOG.nodes} == set(DOMAINS)
    assert len(CATALOG.bucket_names) == 16
    assert int(TABLES.bucket_adaptive.sum()) == 8
    assert len(CATALOG.rows["edges"]) >= 450
    for kind in EDGE_TYPES:
        assert sum(row.type == kind for row in CATALOG.rows["edges"]) >= 25, kind


def test_every_node_reaches_and_is_reached() -> None:
    graph = nx.MultiDiGraph()
    graph.add_nodes_from(CATALOG.node_names)
    for row in CATALOG.rows["edges"]:
        graph.add_edge(row.edge_from, row.edge_to)
        if row.type == "paired":
            graph.add_edge(row.edge_to, row.edge_from)
    assert [name for name, degree in graph.in_degree() if degree == 0] == []
    assert [name for name, degree in graph.out_degree() if degree == 0] == []


def test_every_dimension_moves_twenty_nodes_and_every_node_is_moved() -> None:
    moves = (TABLES.high != 0) | (TABLES.low != 0)
    for name, count in zip(DIMENSIONS, moves.sum(axis=1), strict=True):
        assert count >= 20, name
    assert moves.any(axis=0).all()


def test_help_helps_and_harm_harms_every_node_and_no_two_nodes_are_copies() -> None:
    sign = np.where(TABLES.direction == 1, -1, 1)  # level space: bipolar counts toward 5
    assert (TABLES.high * sign >= 0).all()
    assert (TABLES.low * sign <= 0).all()
    rows = [tuple(row.model_dump(exclude={"name", "source"}).values()) for row in CATALOG.nodes]
    assert len(set(rows)) == len(rows)


def test_the_papers_examples() -> None:
    trust, attunement = CATALOG.node("trust_capacity"), DIMENSIONS.index("attunement")
    assert (TABLES.high[attunement, trust], TABLES.low[attunement, trust]) == (0.02, -0.05)  # paper 333
    security = CATALOG.node("attachment_security")
    assert (TABLES.bq[0, security], TABLES.bq[3, security]) == (8, 2)  # paper 330
    assert (TABLES.phase_weight[0, security], TABLES.phase_weight[3, security]) == (0.4, 1.0)  # paper 334
    edges = {(row.edge_from, row.type, row.edge_to): row for row in CATALOG.rows["edges"]}
    assert ("trust_capacity", "reinforcing", "attachment_security") in edges  # paper 337
    assert edges["trust_capacity", "prerequisite", "intimacy_tolerance"].threshold == 3.0  # paper 341
    assert ("shame_core", "suppressive", "self_compassion") in edges  # paper 340
    pair = {("affect_tolerance", "paired", "distress_tolerance"), ("distress_tolerance", "paired", "affect_tolerance")}
    assert len(pair & set(edges)) == 1  # paper 342; one row, since it leads both ways
    directions = {row.name: row.direction for row in CATALOG.nodes}
    assert directions["self_worth"] == "increase"
    assert directions["shame_core"] == "decrease"
    assert directions["emotional_reactivity"] == "bipolar"  # paper 331
    assert "UNUSUAL and potentially destabilizing" in CATALOG.guidance(0, 2)  # paper 387
    assert "EXPECTED" in CATALOG.guidance(1, 2)
    assert "metabolizing the therapeutic relationship itself" in CATALOG.guidance(3, 3)
    assert TABLES.phase_forward[0, :2].tolist() == [0.35, 0.60]  # paper 382
    assert TABLES.phase_forward[2, :2].tolist() == [0.15, 0.30]
    assert (TABLES.phase_back[0, 0], TABLES.phase_back[2, 0]) == (-0.25, -0.45)  # paper 383
    drained = {(row.bucket, row.node): row.coefficient for row in CATALOG.rows["bucket_nodes"]}
    assert drained["shame", "shame_core"] > 0 > drained["shame", "self_compassion"]  # paper 356


@pytest.mark.parametrize(
    ("dimension", "bucket", "side", "sign"),
    [
        ("attunement", "trust", "high", 1),
        ("safety", "fear", "low", 1),
        ("validation", "worth", "high", 1),
        ("boundaries", "distrust", "low", 1),
    ],
)
def test_the_papers_bucket_mappings(dimension: str, bucket: str, side: str, sign: int) -> None:  # paper 355
    table = TABLES.bucket_high if side == "high" else TABLES.bucket_low
    assert table[DIMENSIONS.index(dimension), CATALOG.bucket_names.index(bucket)] * sign > 0


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


@given(catalog=small_catalogs())
@settings(max_examples=10, deadline=None)
def test_small_catalogs_give_people(catalog: Catalog) -> None:
    state, people = draw(catalog, np.random.default_rng(0), 2)
    assert state.levels.shape == (2, 3)
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
    view = ClientView(state, CATALOG, index=1)
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
