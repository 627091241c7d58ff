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
