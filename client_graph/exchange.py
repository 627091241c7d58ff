"""A client as a networkx graph and as GraphML, and back: what an editor changed passes the checks of the tables.

Nodes hold `level`, `belief`, the columns of nodes.csv, `role_alliance` and `role_engagement` (read-only hints), and for each
judge dimension that moves them `judge_high_D`, `judge_low_D`, `judge_source_D` (sensitivities.csv). Edges hold the columns of
edges.csv; their key is the type. The column `source` is the attribute `fact_source`: an edge's source is the node it leaves.
An empty cell is an absent attribute. The graph's own attribute `client` is JSON: the rest of the state, the person and the
settings. The last turn's report is no part of a graph.
"""

import difflib
import json
from collections.abc import Mapping
from dataclasses import asdict
from io import BytesIO
from pathlib import Path
from typing import Any, TypeVar
from xml.etree.ElementTree import ParseError

import networkx as nx
import numpy as np
from pydantic import ValidationError

from client_graph.catalog import Catalog, catalog_of
from client_graph.client import ClientGraph
from client_graph.files import write_whole
from client_graph.names import DIMENSIONS
from client_graph.personhood import Person, draw
from client_graph.rows import EdgeRow, NodeRow, SensitivityRow
from client_graph.rules import broken_rules
from client_graph.settings import ClientSettings
from client_graph.state import MAY_BE_UNKNOWN, RANGES, ClientState, read_only
from client_graph.tables import Row, TableError


def _attributes(kind: type[Row], but: tuple[str, ...]) -> dict[str, str]:
    return {"fact_source" if name == "source" else name: name for name in kind.model_fields if name not in but}


NODE_COLUMNS = _attributes(NodeRow, ("name",))  # attribute -> column
EDGE_COLUMNS = _attributes(EdgeRow, ("edge_from", "edge_to"))
JUDGED = {f"judge_{what}_{name}": (name, what) for name in DIMENSIONS for what in ("high", "low", "source")}
# What Gephi, yEd and networkx's own reader write beside the facts; anything else that is unknown is a slip of the pen.
OF_THE_EDITOR = frozenset(
    {"label", "x", "y", "z", "r", "g", "b", "a", "alpha", "size", "color", "shape", "shape_type", "id", "key", "url",
     "description", "interval", "timeset", "Modularity Class", "modularity_class", "nodegraphics", "edgegraphics",
     "edgelabel", "Edge Label", "role_alliance", "role_engagement"}
)  # fmt: skip
PER_NODE = {"levels": "level", "tmog": "belief"}
IN_THE_GRAPH = ("nodes", "sensitivities", "edges")  # the tables that a graph holds whole

R = TypeVar("R", bound=Row)


def to_networkx(client: ClientGraph) -> nx.MultiDiGraph:
    """The client with all facts of its nodes and edges; the order of the nodes is the catalog's."""
    rows = client.catalog.rows
    graph = nx.MultiDiGraph(client=json.dumps(_told(client)))
    levels, beliefs = client.levels, client.beliefs
    for row in client.catalog.nodes:
        graph.add_node(row.name, level=levels[row.name], belief=beliefs[row.name], **_present(row, NODE_COLUMNS))
    for fact in rows["sensitivities"]:
        graph.nodes[fact.node].update(
            {f"judge_{what}_{fact.dimension}": getattr(fact, what) for what in ("high", "low", "source")}
        )
    for role in rows["roles"]:
        graph.nodes[role.node][f"role_{role.role}"] = True
    for edge in rows["edges"]:
        graph.add_edge(edge.edge_from, edge.edge_to, key=edge.type, **_present(edge, EDGE_COLUMNS))
    return graph


def from_networkx(graph: nx.MultiDiGraph, like: ClientGraph | None, catalog: Catalog) -> ClientGraph:
    """The client of a graph: its nodes, sensitivities and edges, and the other tables of `catalog`.

    Raises TableError with every mistake of the graph, and ValueError where it holds no client and `like` is None.
    """
    problems: list[str] = []
    whole = set(catalog.rows)
    rows = dict(catalog.rows)
    for table, found in (("nodes", _nodes), ("sensitivities", _sensitivities), ("edges", _edges)):
        before = len(problems)
        rows[table] = tuple(found(graph, problems))
        if len(problems) > before:
            whole.discard(table)
    per_node = {name: _per_node(graph, attribute, problems) for name, attribute in PER_NODE.items()}
    if problems:
        raise TableError([*problems, *(f"graph/{problem}" for problem in broken_rules(rows, whole))])
    told, person, settings = _client_of(graph, like, catalog)  # says so where the graph is of other tables
    facts = catalog_of(rows)
    state = _state_of(told, per_node, facts)
    return ClientGraph(read_only(state), facts, person=person, settings=settings)


def write_graphml(client: ClientGraph, path: Path) -> Path:
    """Write the client as GraphML, whole or not at all; returns `path`. Edge ids are unique, as Gephi asks."""
    source = to_networkx(client)
    graph = nx.MultiDiGraph(**source.graph)
    graph.add_nodes_from((name, facts | {"label": name.replace("_", " ")}) for name, facts in source.nodes(data=True))
    for one, other, kind, facts in source.edges(keys=True, data=True):
        graph.add_edge(one, other, key=f"{one} {kind} {other}", **facts, label=kind)
    text = BytesIO()
    nx.write_graphml_xml(graph, text, encoding="utf-8")
    write_whole(path, text.getvalue())
    return path


def read_graphml(path: Path) -> nx.MultiDiGraph:
    """The graph of a GraphML file. Raises FileNotFoundError, or ValueError where the file is no GraphML."""
    with path.open("rb") as file:
        try:
            return nx.read_graphml(file, edge_key_type=str, force_multigraph=True)
        except (ParseError, nx.NetworkXError, KeyError, ValueError) as error:
            raise ValueError(
                f"{path}: not a GraphML graph that can be read ({error}); expected what to_graphml writes"
            ) from error


def _present(row: Row, columns: Mapping[str, str]) -> dict[str, Any]:
    return {name: value for name, column in columns.items() if (value := getattr(row, column)) is not None}


def _cells(facts: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    return {column: facts[name] for name, column in columns.items() if name in facts}


def _nodes(graph: nx.MultiDiGraph, problems: list[str]) -> list[NodeRow]:
    known = {*NODE_COLUMNS, *PER_NODE.values(), *JUDGED}
    rows = []
    for name, facts in graph.nodes(data=True):
        place = f"graph: node {name}"
        _refuse_unknown(place, facts, known, problems)
        rows += _row(NodeRow, place, {"name": name} | _cells(facts, NODE_COLUMNS), problems)
    return rows


def _sensitivities(graph: nx.MultiDiGraph, problems: list[str]) -> list[SensitivityRow]:
    rows = []
    for name, facts in graph.nodes(data=True):
        by_dimension: dict[str, dict[str, Any]] = {}
        for attribute, (dimension, what) in JUDGED.items():
            if attribute in facts:
                by_dimension.setdefault(dimension, {})[what] = facts[attribute]
        for dimension, cells in by_dimension.items():
            place = f"graph: node {name}, judge dimension {dimension}"
            rows += _row(SensitivityRow, place, {"node": name, "dimension": dimension} | cells, problems)
    return rows


def _edges(graph: nx.MultiDiGraph, problems: list[str]) -> list[EdgeRow]:
    if not graph.is_directed():
        problems.append("graph: found edges without direction; expected a directed graph, best a networkx.MultiDiGraph")
        return []
    rows = []
    for one, other, facts in graph.edges(data=True):
        place = f"graph: edge {one} -> {other} ({facts.get('type', 'no type')})"
        _refuse_unknown(place, facts, set(EDGE_COLUMNS), problems)
        cells = {"edge_from": one, "edge_to": other}
        absent = dict.fromkeys(("threshold", "gate_1", "gate_2", "gate_3", "gate_4"), "")
        rows += _row(EdgeRow, place, cells | absent | _cells(facts, EDGE_COLUMNS), problems)
    return rows


def _refuse_unknown(place: str, facts: Mapping[str, Any], known: set[str], problems: list[str]) -> None:
    for attribute in facts:
        if attribute not in known and attribute not in OF_THE_EDITOR:
            near = difflib.get_close_matches(str(attribute), sorted(known), 1)
            problems.append(f"{place}: found attribute {attribute!r}, which has no meaning here" + (
                f"; did you mean {near[0]}?" if near else ""))  # fmt: skip


def _row(kind: type[R], place: str, cells: dict[str, Any], problems: list[str]) -> list[R]:
    """The checked row, or none and its mistakes."""
    try:
        return [kind.model_validate(cells)]
    except ValidationError as error:
        for mistake in error.errors():
            column = ".".join(str(part) for part in mistake["loc"]) or "row"
            found = "nothing" if mistake["type"] == "missing" else repr(mistake["input"])
            problems.append(f"{place}: {column}: found {found}; {mistake['msg']}")
        return []


def _per_node(graph: nx.MultiDiGraph, attribute: str, problems: list[str]) -> np.ndarray:
    """(n,) in [0, 10]."""
    values = []
    for name, facts in graph.nodes(data=True):
        value = facts.get(attribute)
        fine = isinstance(value, int | float | np.number) and not isinstance(value, bool) and 0.0 <= value <= 10.0
        if not fine:
            found = "nothing" if value is None else repr(value)
            problems.append(f"graph: node {name}: {attribute}: found {found}; expected a number in [0, 10]")
        values.append(float(value) if fine else np.nan)
    return np.array(values)


def _told(client: ClientGraph) -> dict[str, Any]:
    """What of a client is no node's, as plain JSON values; NaN is null."""
    alone: dict[str, np.ndarray] = client.state.take([client.index])._asdict()
    state = {name: array[0].tolist() for name, array in alone.items() if name not in PER_NODE}
    for name in MAY_BE_UNKNOWN:
        state[name] = [None if np.isnan(value) else value for value in state[name]]
    person = asdict(client.person) if client.person is not None else None
    return {
        "state": state,
        "person": person,
        "settings": client.settings.model_dump(),
        "other_tables": client.catalog.hash(IN_THE_GRAPH),
    }


def _client_of(
    graph: nx.MultiDiGraph, like: ClientGraph | None, catalog: Catalog
) -> tuple[dict[str, Any], Person | None, ClientSettings]:
    """(state, person, settings) as the graph has them, or those of `like`."""
    written = graph.graph.get("client")
    if written is None and like is None:
        raise ValueError(
            "the graph has no attribute 'client' (some editors drop it), so nothing tells the client's phase, reservoirs and "
            "history; give like=client, from whom they are taken"
        )
    try:
        told = _told(like) if written is None and like is not None else json.loads(written)
        person = None if told["person"] is None else Person(**told["person"])
        others = told["other_tables"]
        if like is None and others != catalog.hash(IN_THE_GRAPH):
            raise ValueError(
                f"other tables than {catalog.folder} (SHA-256 {others}); give catalog= or like= with the client's own"
            )
        return dict(told["state"]), person, ClientSettings(**told["settings"])
    except (TypeError, KeyError, ValueError) as error:
        raise ValueError(
            f"the graph's attribute 'client' is not what to_networkx wrote for these tables ({error}); give the right catalog=, or "
            "take the attribute out and give like=client"
        ) from error


def _state_of(told: Mapping[str, Any], per_node: dict[str, np.ndarray], catalog: Catalog) -> ClientState:
    """The state of one client; every array that is not of the right size or range is named in one error."""
    pattern, _ = draw(
        catalog, np.random.default_rng(0)
    )  # its arrays have the shapes and types that this catalog asks for
    arrays: dict[str, np.ndarray] = {name: values[None] for name, values in per_node.items()}
    wrong = []
    for name, expected in pattern._asdict().items():
        if name in PER_NODE:
            continue
        found = _array(told.get(name), expected)
        if found is None or not _inside(name, found):
            low, high = RANGES[name]
            wrong.append(f"{name}: expected {expected.dtype} of shape {expected.shape[1:]} in [{low}, {high}]")
        else:
            arrays[name] = found
    if wrong:
        raise ValueError("the graph's attribute 'client' holds a state that cannot be: " + "; ".join(wrong))
    # An edited level is nearer to or farther from the belief; an unedited one keeps its attunement to the bit.
    nearness = 1.0 - np.abs(arrays["tmog"] - arrays["levels"]).mean(axis=1) / 10.0
    if not np.allclose(nearness, arrays["attunement"], rtol=0.0, atol=1e-9):
        arrays["attunement"] = nearness
    return ClientState(**arrays)


def _array(values: Any, expected: np.ndarray) -> np.ndarray | None:
    """(1, ...) of the expected type and shape, or None."""
    if values is None:
        return None
    try:
        # Whole numbers go by way of objects: numpy would round a 64-bit stream through a float.
        whole = expected.dtype.kind in "iu"
        found = np.array(values, dtype=object if whole else np.float64)
        if whole and not all(type(value) is int for value in found.ravel()):
            return None
        found = found.astype(expected.dtype)[None]
    except (TypeError, ValueError, OverflowError):
        return None
    return found if found.shape == expected.shape else None


def _inside(name: str, found: np.ndarray) -> bool:
    low, high = RANGES[name]
    known = found[~np.isnan(found)] if name in MAY_BE_UNKNOWN else found
    return bool(((known >= low) & (known <= high)).all())
