"""What users get to test with: that the strategies reach what they promise, and that the checks can fail."""

import ast
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, find, settings

import client_graph
from client_graph.catalog import Catalog, load_catalog
from client_graph.names import EDGE_TYPES
from client_graph.personhood import draw
from client_graph.tables import TableError
from client_graph.testing import catalogs, crowds, edge, node, out_of_range, plain_catalog, scores, states
from client_graph.turn import advance

CATALOG = load_catalog()
SMALL = plain_catalog([node(name) for name in "abc"])
once = settings(phases=[Phase.generate], max_examples=500, database=None, derandomize=True)


def test_only_the_testing_package_needs_hypothesis() -> None:
    """Nothing else of client_graph imports it, or the package that does."""
    for path in Path(client_graph.__file__).parent.glob("*.py"):
        for line in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [line.module or ""] if isinstance(line, ast.ImportFrom) else []
            modules += [name.name for name in line.names] if isinstance(line, ast.Import) else []
            assert not any(name.startswith(("hypothesis", "client_graph.testing")) for name in modules), path.name


def several_between(catalog: Catalog) -> bool:
    ends = Counter((over.edge_from, over.edge_to) for over in catalog.rows["edges"])
    return max(ends.values(), default=0) > 1


@pytest.mark.parametrize(
    "wanted",
    [
        lambda catalog: len(catalog.nodes) == 8,
        several_between,
        lambda catalog: {entry.direction for entry in catalog.nodes} == {"increase", "decrease", "bipolar"},
        lambda catalog: any(row.kind == "adaptive" and row.falls for row in catalog.rows["buckets"]),
        lambda catalog: len(catalog.rows["bucket_nodes"]) > 2,
        lambda catalog: any(abs(row.low) < abs(row.high) for row in catalog.rows["sensitivities"]),
        lambda catalog: any(row.stage_from > row.stage_to for row in catalog.rows["stage_criteria"]),
        *(lambda catalog, kind=kind: any(e.type == kind for e in catalog.rows["edges"]) for kind in EDGE_TYPES),
    ],
)
def test_catalogs_are_of_many_kinds(wanted: Callable[[Catalog], bool]) -> None:
    shown = repr(find(catalogs(), wanted, settings=once))
    assert shown.startswith("a catalog of")
    assert "guidance" not in shown  # what was not drawn is not shown


def test_states_reach_the_edges() -> None:
    for field, value in (("levels", 5.0), ("levels", 0.0), ("levels", 10.0), ("axes", 0.0), ("buckets", 1.0)):
        find(states(SMALL), lambda state, f=field, v=value: (getattr(state, f) == v).any(), settings=once)  # type: ignore[misc]
    find(states(SMALL), lambda state: (state.phase[0], state.stage[0]) == (3, 3), settings=once)
    find(states(SMALL), lambda state: np.isnan(state.recent_attunement).sum() == 2, settings=once)
    find(scores(), lambda judged: {0.0, 3.5, 6.5, 10.0} <= set(judged[0]), settings=once)
    find(crowds(SMALL), lambda crowd: crowd[0].clients == len(crowd[1]) == 33, settings=once)


def test_what_lies_outside_its_range_is_told() -> None:
    state, _ = draw(CATALOG, np.random.default_rng(0), 2)
    state, _ = advance(state, np.full((2, 12), 5.0), CATALOG)
    assert out_of_range(state) == []
    wrong = {"levels": 10.1, "buckets": -0.1, "loa": np.nan, "stage": 4, "session": -1, "recent_attunement": np.nan}
    for name, value in wrong.items():
        spoilt = state.snapshot()
        getattr(spoilt, name)[-1:] = value
        assert any(problem.startswith(name) for problem in out_of_range(spoilt)), name
    state.phase[:] = 3
    assert out_of_range(state) == ["deepest_phase is less than phase"]


def test_a_plain_catalog_is_checked_as_files_are() -> None:
    with pytest.raises(TableError, match="to itself") as caught:
        plain_catalog([node("a")], edges=[edge("a", "reinforcing", "a"), edge("a", "gated", "nobody")])
    assert "nobody" in str(caught.value)
