"""What differs between two clients: each number as there minus here, the largest first, and how it is printed."""

import numpy as np
import pytest

from client_graph import Catalog, ClientGraph
from client_graph.difference import Difference, Differing
from client_graph.testing.plain import bucket, node, plain_catalog

SMALL = plain_catalog([node("bond"), node("self_worth"), node("shame", "decrease")])


def small(catalog: Catalog = SMALL, **levels: float) -> ClientGraph:
    """A client at the levels that are told, 5 elsewhere."""
    client = ClientGraph.draw(1, stage=1, catalog=catalog)
    placed = np.array([[levels.get(name, 5.0) for name in catalog.node_names]])
    return ClientGraph(client.state._replace(levels=placed, attunement=np.array([0.5])), catalog, person=client.person)


def changed(client: ClientGraph, **arrays: np.ndarray) -> ClientGraph:
    return ClientGraph(client.state._replace(**arrays), client.catalog, person=client.person)


def test_all_that_differs_is_printed_in_columns() -> None:
    """Coiling is the mean of 0.5, 0.5, 0.6 and then of 0.8, 0.9, 0.6; alliance 5 / 10 and then 2 / 10."""
    here = small(shame=6.0)
    there = changed(
        small(bond=2.0, self_worth=1.0, shame=6.0), phase=np.array([2]), turn=np.array([4]), attunement=np.array([0.25])
    )
    assert repr(here.diff(there)).splitlines() == [
        "phase: A here, C there",
        "turn: 0 here, 4 there",
        "                                  here    there  difference",
        "measures",
        "  alliance                       0.500    0.200     -0.3000",
        "  attunement                     0.500    0.250     -0.2500",
        "  coiling                        0.533    0.767     +0.2333",
        "nodes",
        "  self_worth                     5.000    1.000     -4.0000",
        "  bond                           5.000    2.000     -3.0000",
    ]


def test_a_kind_in_which_nothing_differs_is_passed_over() -> None:
    here = small()
    axes, loa = here.state.axes.copy(), here.state.loa.copy()
    axes[0], loa[0] = 1.0, 2.0
    here = changed(here, axes=axes, loa=loa)
    other_axes, other_loa = axes.copy(), loa.copy()
    other_axes[0, 1], other_loa[0, 6] = -1.5, 2.25
    assert repr(here.diff(changed(here, axes=other_axes, loa=other_loa))).splitlines() == [
        "                                  here    there  difference",
        "axes",
        "  self_esteem                    1.000   -1.500     -2.5000",
        "loa",
        "  mentalization                  2.000    2.250     +0.2500",
    ]


@pytest.mark.parametrize(("count", "more"), [(10, []), (12, ["  and 2 more, each by less than 0.1000"])])
def test_ten_are_printed_and_the_rest_counted(count: int, more: list[str]) -> None:
    """The tenth differs by 0.1, the ninth by 0.2, the eleventh by 0.05."""
    sizes = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.1, 0.05, 0.04]
    nodes = tuple(Differing(f"node_{k}", 0.0, size) for k, size in enumerate(sizes[:count]))
    found = Difference(nodes=nodes, buckets=(), axes=(), loa=(), measures=(), labels={})
    told = repr(found).splitlines()
    assert sum(line.startswith("  node_") for line in told) == 10
    assert told[11:13] == ["  node_9                         0.000    0.100     +0.1000", *more]
    assert len(told) == 12 + len(more)


def test_as_plain_values_each_kind_has_its_place() -> None:
    here = small(shame=6.0)
    there = changed(small(shame=7.0), session=np.array([2]))
    assert here.diff(there).as_dict() == {
        "nodes": {"shame": (6.0, 7.0)},
        "buckets": {},
        "axes": {},
        "loa": {},
        "measures": {"coiling": (pytest.approx(1.6 / 3), pytest.approx(1.7 / 3))},
        "labels": {"session": (0, 2)},
    }


def test_clients_of_other_nodes_or_buckets_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="nodes") as caught:
        small().diff(small(plain_catalog([node("bond"), node("zest"), node("hope")])))
    assert str(caught.value) == (
        "the two clients have other nodes: only here ['self_worth', 'shame'], only there ['hope', 'zest']; "
        "expected the same names"
    )
    buckets = (bucket("fear", "maladaptive", falls=True), bucket("ease", "adaptive", falls=False))
    with pytest.raises(ValueError, match="buckets") as caught:
        small().diff(small(plain_catalog([node("bond"), node("self_worth"), node("shame")], buckets=buckets)))
    assert str(caught.value) == (
        "the two clients have other buckets: only here ['trouble'], only there ['fear']; expected the same names"
    )


def test_the_order_of_the_nodes_is_no_difference() -> None:
    backwards = plain_catalog([node("bond"), node("shame", "decrease"), node("self_worth")])
    assert not small(shame=6.0).diff(small(backwards, shame=6.0)).nodes
