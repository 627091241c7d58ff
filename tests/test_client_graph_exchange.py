"""To networkx and GraphML and back: exact, checked, and written whole or not at all."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client_graph import Catalog, ClientGraph, ClientSettings, TableError, draw, load_catalog
from client_graph.exchange import IN_THE_GRAPH, read_graphml
from client_graph.testing import plain

CATALOG = load_catalog()
EDGES = CATALOG.rows["edges"]


def a_client(turns: int = 1) -> ClientGraph:
    client = ClientGraph.draw(7, stage=2, settings=ClientSettings(node_gain=1.25))
    for _ in range(turns):
        client = client.after(np.full(12, 8.1))
    return client


def same_facts(one: Catalog, other: Catalog) -> None:
    """Every row, whatever the order of edges and sensitivities; nodes in order."""
    assert one.node_names == other.node_names
    for table, rows in one.rows.items():
        assert sorted(map(repr, rows)) == sorted(map(repr, other.rows[table])), table


def same_client(one: ClientGraph, other: ClientGraph) -> None:
    assert one.state.take([one.index]).same_as(other.state)
    assert one.person == other.person
    assert one.settings == other.settings
    same_facts(one.catalog, other.catalog)
    scores = np.full(12, 2.0)
    assert one.after(scores).state.same_as(other.after(scores).state)


@pytest.mark.parametrize("turns", [0, 1, 5])
def test_networkx_and_back_is_the_same_client(turns: int) -> None:
    client = a_client(turns)
    same_client(client, ClientGraph.from_networkx(client.to_networkx()))


@given(seed=st.integers(0, 2**32 - 1), stage=st.integers(1, 4))
@settings(max_examples=5, deadline=None)
def test_graphml_and_back_is_the_same_client(tmp_path_factory: pytest.TempPathFactory, seed: int, stage: int) -> None:
    state, people = draw(CATALOG, np.random.default_rng(seed), 2, stage=stage)
    client = ClientGraph(state, CATALOG, index=1, person=people[1])
    path = tmp_path_factory.mktemp("graph") / "client.graphml"
    assert client.to_graphml(path) == path
    same_client(client, ClientGraph.from_graphml(path))


def test_the_graph_holds_the_facts() -> None:
    client = a_client()
    graph = client.to_networkx()
    assert (graph.number_of_nodes(), graph.number_of_edges()) == (len(CATALOG.nodes), len(EDGES))
    trust = graph.nodes["trust_capacity"]
    assert trust["level"] == client.levels["trust_capacity"]
    assert trust["belief"] == client.beliefs["trust_capacity"]
    assert (trust["judge_high_attunement"], trust["judge_low_attunement"]) == (0.02, -0.05)  # paper 333
    assert graph.nodes["attachment_security"]["bq_1"] == 8  # paper 330
    gate = graph.edges["trust_capacity", "intimacy_tolerance", "prerequisite"]
    assert (gate["type"], gate["threshold"]) == ("prerequisite", 3.0)  # paper 341
    assert "gate_1" not in gate
    assert gate["why"]
    assert gate["fact_source"]
    assert graph.nodes["working_alliance"]["role_alliance"] is True


def test_graphml_opens_in_editors(tmp_path: Path) -> None:
    path = a_client().to_graphml(tmp_path / "client.graphml")
    name = "{http://graphml.graphdrawing.org/xmlns}"
    root = ElementTree.parse(path).getroot()
    ids = [edge.get("id") for edge in root.iter(f"{name}edge")]
    assert len(set(ids)) == len(ids) == len(EDGES)  # Gephi merges edges that share an id
    kinds = {(key.get("for"), key.get("attr.name")): key.get("attr.type") for key in root.iter(f"{name}key")}
    assert kinds["node", "level"] == kinds["edge", "weight"] == "double"
    assert kinds["node", "label"] == "string"
    assert nx.read_graphml(path, force_multigraph=True).nodes["shame_core"]["label"] == "shame core"


def test_an_edited_graph_is_another_client_of_other_tables() -> None:
    client = a_client()
    graph = client.to_networkx()
    graph.nodes["shame_core"].update(level=2.5, bq_2=1.0, judge_high_attunement=-0.2)
    graph.add_edge("curiosity", "shame_core", "suppressive", type="suppressive", weight=0.4,
                   why="Interest and shame seldom stay in one room", fact_source="design: a hypothesis")  # fmt: skip
    graph.remove_edge("shame_core", "self_compassion", "suppressive")
    edited = ClientGraph.from_networkx(graph)
    assert edited.levels == client.levels | {"shame_core": 2.5}
    assert edited.buckets == client.buckets
    row = edited.catalog.nodes[edited.catalog.node("shame_core")]
    assert row.bq_2 == 1.0
    edges = {(edge.edge_from, edge.type, edge.edge_to): edge for edge in edited.catalog.rows["edges"]}
    assert edges["curiosity", "suppressive", "shame_core"].source == "design: a hypothesis"
    assert ("shame_core", "suppressive", "self_compassion") not in edges
    moved = edited.after(np.full(12, 9.0))
    assert "curiosity" in {part.source for part in moved.explain("shame_core").edges}


def test_the_attunement_follows_an_edited_level() -> None:
    client = a_client()
    graph = client.to_networkx()
    graph.nodes["shame_core"]["level"] = 0.0
    edited = ClientGraph.from_networkx(graph)
    error = np.abs(edited.state.tmog - edited.state.levels).mean() / 10
    assert edited.attunement == pytest.approx(1 - error, abs=1e-12)
    assert edited.attunement < client.attunement


def test_a_new_node_may_join() -> None:
    client = a_client()
    graph = client.to_networkx()
    facts = dict(graph.nodes["curiosity"]) | {"level": 1.0, "belief": 2.0}
    graph.add_node("wonder", **{name: value for name, value in facts.items() if not name.startswith("role_")})
    graph.add_edge("wonder", "curiosity", type="reinforcing", weight=0.3, why="Wonder is where questions begin",
                   fact_source="design: a test")  # fmt: skip
    grown = ClientGraph.from_networkx(graph)
    assert grown.levels["wonder"] == 1.0
    assert grown.after(np.full(12, 9.0)).levels["wonder"] > 1.0


def test_what_an_editor_adds_is_let_be() -> None:
    client = a_client()
    graph = client.to_networkx()
    for _, facts in graph.nodes(data=True):
        facts.update(label="x", x=1.0, y=2.0, size=10.0, r=1, g=2, b=3)
    same_client(client, ClientGraph.from_networkx(graph))


def test_every_mistake_of_a_graph_is_one_error() -> None:
    graph = a_client().to_networkx()
    graph.nodes["shame_core"].update(weight=3.0, judge_hihg_pacing=0.1)
    graph.nodes["curiosity"].update(level=float("nan"), direction="sideways")
    del graph.nodes["self_worth"]["belief"]
    del graph.nodes["self_worth"]["judge_high_attunement"]
    graph.edges["trust_capacity", "intimacy_tolerance", "prerequisite"].pop("threshold")
    graph.add_edge("curiosity", "shame_core", type="magic", weight=0.1, why="no such type of edge", fact_source="test")
    graph.add_edge("curiosity", "self_worth")
    with pytest.raises(TableError) as caught:
        ClientGraph.from_networkx(graph)
    told = "\n".join(caught.value.problems)
    for part in (
        "node shame_core: weight: found 3.0", "judge_hihg_pacing", "did you mean judge_high_pacing?",
        "node curiosity: level: found nan", "direction: found 'sideways'", "node self_worth: belief: found nothing",
        "node self_worth, judge dimension attunement: high: found nothing",
        "edge curiosity -> shame_core (magic): type: found 'magic'",
        "edge curiosity -> self_worth (no type): weight: found nothing",
    ):  # fmt: skip
        assert part in told, part


def test_rules_between_rows_are_checked_as_in_the_tables() -> None:
    graph = a_client().to_networkx()
    graph.edges["trust_capacity", "intimacy_tolerance", "prerequisite"].pop("threshold")
    graph.remove_node("working_alliance")
    with pytest.raises(TableError) as caught:
        ClientGraph.from_networkx(graph)
    told = "\n".join(caught.value.problems)
    assert "prerequisite" in told
    assert "working_alliance" in told  # roles.csv and others still speak of it


def test_a_graph_without_directions_is_refused() -> None:
    with pytest.raises(TableError, match="edges without direction"):
        ClientGraph.from_networkx(a_client().to_networkx().to_undirected())


def test_a_graph_whose_client_was_dropped_needs_one() -> None:
    client = a_client()
    graph = client.to_networkx()
    graph.nodes["shame_core"]["level"] = 1.5
    del graph.graph["client"]
    with pytest.raises(ValueError, match="give like=client"):
        ClientGraph.from_networkx(graph)
    other = ClientGraph.from_networkx(graph, like=client)
    assert other.levels == client.levels | {"shame_core": 1.5}
    assert other.buckets == client.buckets
    assert other.settings == client.settings


def changed(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(told: dict[str, Any]) -> None:
        told["state"][name] = value

    return change


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (changed("phase", 9), "phase"),  # an index of the compiled turn
        (changed("stage", -1), "stage"),
        (changed("stance", 1.5), "stance"),
        (changed("phase", True), "phase"),
        (changed("buckets", [0.5] * 15), "buckets"),
        (changed("buckets", [0.5] * 15 + [1.5]), "buckets"),
        (changed("loa", [None] * 7), "loa"),
        (changed("stream", 2**64), "stream"),
        (changed("axes", "none"), "axes"),
        (lambda told: told["state"].pop("turn"), "turn"),
        (lambda told: told.pop("person"), "not what to_networkx wrote"),
        (lambda told: told.update(person={"nom": "X"}), "not what to_networkx wrote"),
        (lambda told: told.update(settings={"node_gain": -1}), "not what to_networkx wrote"),
    ],
)
def test_a_state_that_cannot_be_is_refused(change: Callable[[dict[str, Any]], None], named: str) -> None:
    graph = a_client().to_networkx()
    told = json.loads(graph.graph["client"])
    change(told)
    graph.graph["client"] = json.dumps(told)
    with pytest.raises(ValueError, match=named):
        ClientGraph.from_networkx(graph)


def test_a_file_that_is_no_graphml_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "client.graphml"
    for text in ("", "not xml", "<html/>"):
        path.write_text(text)
        with pytest.raises(ValueError, match=r"client\.graphml: not a GraphML graph"):
            ClientGraph.from_graphml(path)
    with pytest.raises(FileNotFoundError):
        ClientGraph.from_graphml(tmp_path / "absent.graphml")


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = a_client().to_graphml(tmp_path / "client.graphml")
    kept = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        a_client(3).to_graphml(path)
    assert path.read_bytes() == kept
    assert os.listdir(tmp_path) == ["client.graphml"]


# A person of three nodes and three edges, whose graph can be looked at whole.
SMALL = plain.plain_catalog(
    [plain.node("bond"), plain.node("hope"), plain.node("calm", "bipolar")],
    sensitivities=[plain.sensitivity("bond", "attunement", 0.02, -0.05)],
    edges=[
        plain.edge("bond", "prerequisite", "hope"),
        plain.edge("bond", "gated", "hope"),
        plain.edge("calm", "paired", "hope"),
    ],
)
MADE = "design: made for a test"
NUMBER = "expected a number in [0, 10]"
NO_MEANING = "which has no meaning here"
UNLIKE = "the graph's attribute 'client' is not what to_networkx wrote for these tables"
TAKE_OUT = "give the right catalog=, or take the attribute out and give like=client"


def small(**levels: float) -> ClientGraph:
    """Kim at the levels that are told, 5 elsewhere, with beliefs of 6 everywhere."""
    client = ClientGraph.draw(1, stage=1, catalog=SMALL)
    placed = np.array([[levels.get(name, 5.0) for name in SMALL.node_names]])
    believed = np.full(placed.shape, 6.0)
    near = 1.0 - np.abs(believed - placed).mean(axis=1) / 10.0
    state = client.state._replace(levels=placed, tmog=believed, attunement=near)
    return ClientGraph(state, SMALL, person=client.person, settings=client.settings)


def told_of(graph: nx.MultiDiGraph) -> dict[str, Any]:
    return dict(json.loads(graph.graph["client"]))


def test_a_small_clients_graph_in_full() -> None:
    graph = small(calm=2.5).to_networkx()
    usual = {
        "belief": 6.0, "domain": "whole", "low": "as low as it goes", "high": "as high as it goes", "weight": 1.0,
        **{f"bq_{k}": 0.0 for k in (1, 2, 3, 4)}, **{f"start_{k}": 5.0 for k in (1, 2, 3, 4)},
        **{f"load_{axis}": 0.5 for axis in "xyz"}, **{f"phase_{phase}": 1.0 for phase in "abcd"}, "fact_source": MADE,
        "judge_source_attunement": MADE,
    }  # fmt: skip
    unmoved = {"judge_high_attunement": 0.0, "judge_low_attunement": 0.0}
    assert list(graph.nodes(data=True)) == [
        ("bond", usual | {"level": 5.0, "direction": "increase", "judge_high_attunement": 0.02, "judge_low_attunement": -0.05,
                          "role_alliance": True, "role_engagement": True}),
        ("hope", usual | unmoved | {"level": 5.0, "direction": "increase"}),
        ("calm", usual | unmoved | {"level": 2.5, "direction": "bipolar"}),
    ]  # fmt: skip
    every = {"weight": 0.5, "why": "an edge to look at", "fact_source": MADE}
    assert list(graph.edges(keys=True, data=True)) == [
        ("bond", "hope", "prerequisite", every | {"type": "prerequisite", "threshold": 3.0}),
        (
            "bond",
            "hope",
            "gated",
            every | {"type": "gated", "gate_1": 0.2, "gate_2": 0.6, "gate_3": 1.0, "gate_4": 1.6},
        ),
        ("calm", "hope", "paired", every | {"type": "paired"}),
    ]


def test_the_rest_of_the_client_is_plain_json() -> None:
    client = small()
    told = told_of(client.to_networkx())
    assert set(told) == {"state", "person", "settings", "other_tables"}
    assert set(told["state"]) == set(client.state._fields) - {"levels", "tmog"}
    assert told["state"]["recent_attunement"] == told["state"]["recent_resistance"] == [None] * 4
    assert told["state"]["buckets"] == client.state.buckets[0].tolist()
    assert (told["state"]["phase"], told["state"]["attunement"]) == (0, 0.9)
    assert client.person is not None
    assert (told["person"]["name"], told["person"]["concern"]) == ("Kim", client.person.concern)
    assert told["settings"] == client.settings.model_dump()
    assert told["other_tables"] == SMALL.hash(IN_THE_GRAPH) != SMALL.hash()
    nobody = ClientGraph(client.state, SMALL)
    assert told_of(nobody.to_networkx())["person"] is None
    assert ClientGraph.from_networkx(nobody.to_networkx(), catalog=SMALL).person is None


def without_client(graph: nx.MultiDiGraph) -> None:
    del graph.graph["client"]


def spoil_nodes(graph: nx.MultiDiGraph) -> None:
    graph.nodes["bond"].update(weight=3.0, judge_hihg_attunement=0.1, zzzzqq=1)
    graph.nodes["hope"].update(level=float("nan"), belief=True, direction="sideways")
    del graph.nodes["calm"]["level"], graph.nodes["bond"]["judge_low_attunement"]
    graph.nodes["calm"]["belief"] = "much"


def spoil_levels(graph: nx.MultiDiGraph) -> None:
    graph.nodes["bond"].update(level=10.01, belief=-0.01)
    graph.nodes["hope"].update(level=-1, belief=11)


def spoil_edges(graph: nx.MultiDiGraph) -> None:
    graph.edges["bond", "hope", "gated"].update(wieght=1, level=2.0, label="an editor's")
    graph.add_edge("hope", "calm")
    graph.add_edge("hope", "bond", type="magic", weight=0.0, why="no such type of edge", fact_source="ab")


def spoil_both(graph: nx.MultiDiGraph) -> None:
    """The threshold is a rule between cells; a table with a bad cell cannot say what is missing."""
    graph.edges["bond", "hope", "prerequisite"].pop("threshold")
    graph.nodes["bond"]["weight"] = 7


def lose_a_sensitivity(graph: nx.MultiDiGraph) -> None:
    for what in ("high", "low", "source"):
        del graph.nodes["hope"][f"judge_{what}_attunement"]


def lose_one_and_spoil_another(graph: nx.MultiDiGraph) -> None:
    """A bad edge hides nothing of the sensitivities."""
    lose_a_sensitivity(graph)
    graph.edges["calm", "hope", "paired"]["weight"] = 1.5


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (
            lose_one_and_spoil_another,
            ["graph: edge calm -> hope (paired): weight: found 1.5; Input should be less than or equal to 1",
             "graph/sensitivities.csv: no row for node hope; expected one for each. Add it"],
        ),
        (
            spoil_nodes,
            [f"graph: node bond: found attribute 'judge_hihg_attunement', {NO_MEANING}; did you mean judge_high_attunement?",
             f"graph: node bond: found attribute 'zzzzqq', {NO_MEANING}",
             "graph: node bond: weight: found 3.0; Input should be less than or equal to 1",
             "graph: node hope: direction: found 'sideways'; Input should be 'increase', 'decrease' or 'bipolar'",
             "graph: node bond, judge dimension attunement: low: found nothing; Field required",
             f"graph: node hope: level: found nan; {NUMBER}", f"graph: node calm: level: found nothing; {NUMBER}",
             f"graph: node hope: belief: found True; {NUMBER}", f"graph: node calm: belief: found 'much'; {NUMBER}"],
        ),
        (
            spoil_levels,
            [f"graph: node bond: level: found 10.01; {NUMBER}", f"graph: node hope: level: found -1; {NUMBER}",
             f"graph: node bond: belief: found -0.01; {NUMBER}", f"graph: node hope: belief: found 11; {NUMBER}"],
        ),
        (
            spoil_edges,
            [f"graph: edge bond -> hope (gated): found attribute 'wieght', {NO_MEANING}; did you mean weight?",
             f"graph: edge bond -> hope (gated): found attribute 'level', {NO_MEANING}",
             "graph: edge hope -> calm (no type): source: found nothing; Field required",
             "graph: edge hope -> calm (no type): type: found nothing; Field required",
             "graph: edge hope -> calm (no type): weight: found nothing; Field required",
             "graph: edge hope -> calm (no type): why: found nothing; Field required",
             "graph: edge hope -> bond (magic): source: found 'ab'; String should have at least 3 characters",
             "graph: edge hope -> bond (magic): type: found 'magic'; Input should be 'reinforcing', 'protective', 'compensatory', "
             "'suppressive', 'prerequisite', 'paired', 'gated' or 'paradoxical'",
             "graph: edge hope -> bond (magic): weight: found 0.0; Input should be greater than 0"],
        ),
        (
            spoil_both,
            ["graph: node bond: weight: found 7; Input should be less than or equal to 1",
             "graph/edges.csv: threshold: prerequisite edges, and no others, have one; found type prerequisite, threshold none"],
        ),
        (lose_a_sensitivity, ["in memory/sensitivities.csv: no row for node hope; expected one for each. Add it"]),
    ],
)  # fmt: skip
def test_mistakes_of_a_graph_read_in_full(spoil: Callable[[nx.MultiDiGraph], None], told: list[str]) -> None:
    graph = small().to_networkx()
    spoil(graph)
    with pytest.raises(TableError) as caught:
        ClientGraph.from_networkx(graph, catalog=SMALL)
    assert list(caught.value.problems) == told


def test_an_undirected_graph_is_told_in_one_sentence() -> None:
    with pytest.raises(TableError) as caught:
        ClientGraph.from_networkx(small().to_networkx().to_undirected(), catalog=SMALL)
    assert list(caught.value.problems) == [
        "graph: found edges without direction; expected a directed graph, best a networkx.MultiDiGraph"
    ]


def test_levels_and_beliefs_may_be_any_number_of_the_range() -> None:
    graph = small().to_networkx()
    graph.nodes["bond"].update(level=0, belief=10)
    graph.nodes["hope"].update(level=np.float32(10.0), belief=0.0)
    back = ClientGraph.from_networkx(graph, catalog=SMALL)
    assert back.levels == {"bond": 0.0, "hope": 10.0, "calm": 5.0}
    assert back.beliefs == {"bond": 10.0, "hope": 0.0, "calm": 6.0}
    assert back.attunement == pytest.approx(1 - (10 + 10 + 1) / 30)


@pytest.mark.parametrize(("off", "kept"), [(1e-10, True), (5e-9, False)])
def test_an_attunement_that_fits_the_beliefs_is_kept_to_the_bit(off: float, kept: bool) -> None:
    graph = small().to_networkx()
    told = told_of(graph)
    told["state"]["attunement"] -= off
    graph.graph["client"] = json.dumps(told)
    assert ClientGraph.from_networkx(graph, catalog=SMALL).attunement == (told["state"]["attunement"] if kept else 0.9)


@pytest.mark.parametrize(
    ("cells", "wrong"),
    [
        ({"phase": 3, "deepest_phase": 3, "stage": 3, "stance": 2, "buckets": [0, 1], "stream": 2**64 - 1}, []),
        ({"loa": [-10.0, 10, 0, 0, 0, 0, 0], "axes_window": [0.0, 30.0, 1], "recent_attunement": [None, None, 0.0, 10]}, []),
        ({"phase": 4}, ["phase: expected int64 of shape () in [0, 3]"]),
        (
            {"stance": True, "stage": 1.0},
            ["stage: expected int64 of shape () in [0, 3]", "stance: expected int64 of shape () in [0, 2]"],
        ),
        ({"stream": -1}, [f"stream: expected uint64 of shape () in [0, {2**64 - 1}]"]),
        (
            {"buckets": [0.5], "loa": [0.0] * 6 + [10.5], "axes": None},
            ["buckets: expected float64 of shape (2,) in [0, 1]", "loa: expected float64 of shape (7,) in [-10, 10]",
             "axes: expected float64 of shape (3,) in [-10, 10]"],
        ),
        ({"buckets": [None, 0.5]}, ["buckets: expected float64 of shape (2,) in [0, 1]"]),
        (
            {"recent_attunement": [None, None, None, 10.1], "recent_resistance": [-0.1, None, None, None]},
            [f"recent_{name}: expected float64 of shape (4,) in [0, 10]" for name in ("attunement", "resistance")],
        ),
        ({"axes": ["x", 1, 2], "loa": [[0.0] * 7]}, ["loa: expected float64 of shape (7,) in [-10, 10]",
                                                     "axes: expected float64 of shape (3,) in [-10, 10]"]),
    ],
)  # fmt: skip
def test_what_of_a_state_cannot_be_is_told_with_what_can(cells: dict[str, Any], wrong: list[str]) -> None:
    graph = small().to_networkx()
    told = told_of(graph)
    told["state"].update(cells)
    graph.graph["client"] = json.dumps(told)
    if not wrong:
        state = ClientGraph.from_networkx(graph, catalog=SMALL).state
        for name, value in cells.items():
            assert [None if cell != cell else cell for cell in np.ravel(getattr(state, name)).tolist()] == list(
                np.ravel(np.array(value, dtype=object))
            )
        return
    with pytest.raises(ValueError, match="client") as caught:
        ClientGraph.from_networkx(graph, catalog=SMALL)
    assert str(caught.value) == "the graph's attribute 'client' holds a state that cannot be: " + "; ".join(wrong)


def other_tables() -> Catalog:
    """As SMALL, but for a table that no graph holds."""
    return plain.with_rows(SMALL, names=[plain.row("names", name="Ada")])


@pytest.mark.parametrize(
    ("written", "why"),
    [
        ("{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("{}", "'person'"),
        (7, "the JSON object must be str, bytes or bytearray, not int"),
    ],
)
def test_a_client_that_is_none_is_told_with_what_to_do(written: object, why: str) -> None:
    graph = small().to_networkx()
    graph.graph["client"] = written
    with pytest.raises(ValueError, match="client") as caught:
        ClientGraph.from_networkx(graph, catalog=SMALL)
    assert str(caught.value) == f"{UNLIKE} ({why}); {TAKE_OUT}"


def test_a_graph_of_other_tables_is_refused_unless_a_client_of_them_is_given() -> None:
    graph, other = small(hope=7.0).to_networkx(), other_tables()
    with pytest.raises(ValueError, match="tables") as caught:
        ClientGraph.from_networkx(graph, catalog=other)
    assert str(caught.value) == (
        f"{UNLIKE} (other tables than in memory (SHA-256 {SMALL.hash(IN_THE_GRAPH)}); give catalog= or like= with the client's "
        f"own); {TAKE_OUT}"
    )
    ada = ClientGraph.draw(2, stage=3, catalog=other)
    back = ClientGraph.from_networkx(graph, like=ada)
    assert (back.stage, back.levels["hope"], back.catalog.rows["names"][0].name) == (1, 7.0, "Ada")
    assert back.person == small().person


def test_without_its_client_a_graph_takes_that_of_another() -> None:
    graph = small(hope=7.0).to_networkx()
    without_client(graph)
    with pytest.raises(ValueError, match="no attribute") as caught:
        ClientGraph.from_networkx(graph, catalog=SMALL)
    assert str(caught.value) == (
        "the graph has no attribute 'client' (some editors drop it), so nothing tells the client's phase, reservoirs and "
        "history; give like=client, from whom they are taken"
    )
    like = ClientGraph.draw(5, stage=3, catalog=SMALL, settings=ClientSettings(node_gain=2.0))
    back = ClientGraph.from_networkx(graph, like=like)
    assert (back.stage, back.buckets, back.person, back.settings) == (3, like.buckets, like.person, like.settings)
    assert (back.levels["hope"], back.beliefs["hope"]) == (7.0, 6.0)


def test_a_file_without_parallel_edges_is_a_multigraph_too(tmp_path: Path) -> None:
    catalog = plain.with_rows(SMALL, edges=SMALL.rows["edges"][1:])
    client = ClientGraph(small().state, catalog)
    graph = read_graphml(client.to_graphml(tmp_path / "client.graphml"))
    assert graph.is_multigraph()
    assert graph.is_directed()
    found = sorted((one, other, key, facts["label"]) for one, other, key, facts in graph.edges(keys=True, data=True))
    assert found == [("bond", "hope", "bond gated hope", "gated"), ("calm", "hope", "calm paired hope", "paired")]
    assert [facts["label"] for _, facts in graph.nodes(data=True)] == ["bond", "hope", "calm"]
    assert graph.graph["client"] == client.to_networkx().graph["client"]


def test_a_file_that_is_no_graph_says_what_was_expected(tmp_path: Path) -> None:
    path = tmp_path / "client.graphml"
    path.write_text("not xml")
    with pytest.raises(ValueError, match="GraphML") as caught:
        read_graphml(path)
    assert str(caught.value) == (
        f"{path}: not a GraphML graph that can be read (syntax error: line 1, column 0); expected what to_graphml writes"
    )


def test_a_file_is_made_beside_its_place_and_readable_as_the_user_wishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside, since only within a file system is a file put into its place at once."""
    places: list[Path] = []
    replace = os.replace

    def seen(part: str, path: Path) -> None:
        places.append(Path(part))
        assert Path(part).read_bytes().startswith(b"<?xml version='1.0' encoding='utf-8'?>")
        replace(part, path)

    monkeypatch.setattr(os, "replace", seen)
    before = os.umask(0o022)
    try:
        path = small().to_graphml(tmp_path / "client.graphml")
        assert os.umask(0o022) == 0o022
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o644
    assert (places[0].parent, places[0].name.startswith(".client.graphml.")) == (tmp_path, True)
    assert os.listdir(tmp_path) == ["client.graphml"]
