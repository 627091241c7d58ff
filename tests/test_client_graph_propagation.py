"""How change travels: each edge type's law in small catalogs of any numbers, its switches, and how one node moves."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client_graph.catalog import Catalog
from client_graph.names import DIMENSIONS, EDGE_TYPES
from client_graph.personhood import draw
from client_graph.settings import ClientSettings
from client_graph.state import ClientState
from client_graph.tables import Row
from client_graph.testing import catalogs, edge, edges, node, plain_catalog, row, scores, sensitivity, states, with_rows
from client_graph.testing.reference import after_change
from client_graph.turn import TurnReport, advance

DAMPED = 0.3 * 0.5  # source, target (paper 345)
CLOSE = 1e-12
kinds = st.sampled_from(EDGE_TYPES)


class Hop(NamedTuple):
    """One turn of one client over one edge, a -> b; node numbers are (n,) arrays."""

    edge: Any
    directions: list[str]
    direct: np.ndarray  # each node's direct change
    between: np.ndarray  # the levels after it, before the edge
    after: np.ndarray  # the levels after the turn
    alliance: float
    stage: int


@st.composite
def hops(pick: st.DrawFn, kind: str) -> Hop:
    """Any hop of an edge type in a catalog of two or three nodes of which any may be moved directly."""
    catalog = pick(catalogs(fewest=2, most=3, most_edges=0, couplings=False))
    return hop(catalog, pick(edges("a", "b", kind)), pick(states(catalog)), pick(scores()))


def hop(catalog: Catalog, over: Row, state: ClientState, judged: np.ndarray) -> Hop:
    """The turn with the edge; what it does is seen against the same turn without it."""
    without, alone = advance(state, judged, catalog)
    after, report = advance(state, judged, with_rows(catalog, edges=[over]))
    assert report.direct.tobytes() == alone.direct.tobytes()
    assert not alone.through_edges.any()
    directions = [entry.direction for entry in catalog.nodes]
    stage = int(state.stage[0]) + 1
    return Hop(over, directions, report.direct[0], without.levels[0], after.levels[0], float(report.alliance[0]), stage)


def holds(hop: Hop, factor: float, back: float = 0.0) -> bool:
    """Whether the target moved by source change x weight x 0.3 x 0.5 x `factor`, and no other node by anything.

    `back` is the factor of what the source gets from the target.
    """
    sent = {1: hop.direct[0] * factor, 0: hop.direct[1] * back}
    for n, (before, after, direction) in enumerate(zip(hop.between, hop.after, hop.directions, strict=True)):
        if n in sent and (n == 1 or back):
            expected = after_change(float(before), DAMPED * hop.edge.weight * sent[n], direction)
            assert after == pytest.approx(expected, rel=0, abs=CLOSE), (n, factor)
        else:
            assert after == before, f"node {n} moved"
    return True


@given(hop=hops("reinforcing"))
def test_reinforcing_leads_the_same_way(hop: Hop) -> None:
    """Paper 337."""
    assert holds(hop, 1.0)


@given(hop=hops("protective"))
def test_protective_softens_in_a_strong_alliance_and_tightens_in_a_weak_one(hop: Hop) -> None:
    """Paper 338."""
    assert holds(hop, -1.0 if hop.alliance > 0.5 else 1.0)


@given(hop=hops("compensatory"))
def test_compensatory_fires_only_when_its_source_rises(hop: Hop) -> None:
    """Paper 339."""
    assert holds(hop, 1.0 if hop.direct[0] > 0 else 0.0)


@given(hop=hops("suppressive"))
def test_suppressive_leads_the_other_way(hop: Hop) -> None:
    """Paper 340."""
    assert holds(hop, -1.0)


@given(hop=hops("prerequisite"))
def test_prerequisite_waits_for_the_level_of_its_source(hop: Hop) -> None:
    """Paper 341; the level is the one after the source's direct change."""
    assert holds(hop, 1.0 if hop.between[0] >= hop.edge.threshold else 0.0)


@given(hop=hops("paired"))
def test_paired_leads_the_same_way_along_and_against(hop: Hop) -> None:
    """Paper 342."""
    assert holds(hop, 1.0, back=1.0)


@given(hop=hops("gated"))
def test_gated_is_multiplied_by_its_stage(hop: Hop) -> None:
    """Paper 343."""
    assert holds(hop, getattr(hop.edge, f"gate_{hop.stage}"))


@given(hop=hops("paradoxical"))
def test_paradoxical_turns_round_in_the_early_stages(hop: Hop) -> None:
    """Paper 344."""
    assert holds(hop, -1.0 if hop.stage in (1, 2) else 1.0)


def three(*over: Row, moved: Iterable[str] = ("a",), directions: str = "") -> Catalog:
    """Nodes a, b and c, the last of which is alliance and engagement; full help moves the `moved` ones by 1, harm by -1."""
    names = {"i": "increase", "d": "decrease", "b": "bipolar"}
    people = [node(name, names[way]) for name, way in zip("abc", directions or "iii", strict=True)]
    roles = [row("roles", role=role, node="c") for role in ("alliance", "engagement")]
    by = [sensitivity(name, high=0.1, low=-0.1) for name in moved]
    return plain_catalog(people, edges=over, sensitivities=by, roles=roles)


def turned(
    catalog: Catalog, levels: tuple[float, float, float], attunement: float, stage: int = 1,
    settings: ClientSettings | None = None,
) -> TurnReport:  # fmt: skip
    """The report of one turn of one client at `levels`, judged `attunement` and nothing else."""
    state = plain_state(catalog, levels, stage)
    judged = np.full((1, 12), 5.0)
    judged[0, DIMENSIONS.index("attunement")] = attunement
    return advance(state, judged, catalog, settings)[1]


def plain_state(catalog: Catalog, levels: tuple[float, ...], stage: int = 1) -> ClientState:
    """A new client at `levels` who is known perfectly, every reservoir half full."""
    state, _ = draw(catalog, np.random.default_rng(0), stage=stage)
    state.levels[0] = state.tmog[0] = levels
    state.attunement[:] = 1.0
    return state


HELPED, HURT = 10.0, 0.0
GATES = (0.2, 0.6, 1.0, 1.6)


@pytest.mark.parametrize(
    ("kind", "attunement", "where", "factor"),
    [
        ("reinforcing", HELPED, {}, 1),
        ("reinforcing", HURT, {}, 1),
        ("protective", HELPED, {"bond": 5.1}, -1),
        ("protective", HELPED, {"bond": 5.0}, 1),  # strong means above 0.5
        ("protective", HURT, {"bond": 9.0}, -1),
        ("protective", HURT, {"bond": 2.0}, 1),
        ("compensatory", HELPED, {}, 1),
        ("compensatory", HURT, {}, 0),
        ("suppressive", HELPED, {}, -1),
        ("suppressive", HURT, {}, -1),
        ("prerequisite", HELPED, {"source": 2.0}, 0),
        ("prerequisite", HELPED, {"source": 3.0}, 1),
        ("prerequisite", HELPED, {"source": 2.99}, 1),  # the level after its direct change
        ("prerequisite", HURT, {"source": 3.0}, 0),
        ("paired", HELPED, {}, 1),
        ("paired", HURT, {}, 1),
        *(("gated", HELPED, {"stage": stage}, GATES[stage - 1]) for stage in (1, 2, 3, 4)),
        ("gated", HURT, {"stage": 4}, 1.6),
        *(("paradoxical", HELPED, {"stage": stage}, -1 if stage < 3 else 1) for stage in (1, 2, 3, 4)),
        ("paradoxical", HURT, {"stage": 2}, -1),
    ],
)
def test_each_edge_type_by_hand(kind: str, attunement: float, where: dict[str, float], factor: float) -> None:
    """Paper 337-345; a full score moves the source by 1 times the engagement, here alliance's own node."""
    bond = where.get("bond", 8.0)
    catalog = three(edge("a", kind, "b", weight=0.5, threshold=3.0, gates=GATES))
    report = turned(catalog, (where.get("source", 5.0), 5.0, bond), attunement, int(where.get("stage", 1)))
    assert report.direct[0].tolist() == pytest.approx([bond / 10 * (1 if attunement == HELPED else -1), 0, 0])
    assert report.through_edges[0].tolist() == pytest.approx([0, report.direct[0, 0] * 0.5 * DAMPED * factor, 0])


@given(data=st.data())
def test_a_prerequisite_is_met_exactly_at_its_threshold(data: st.DataObject) -> None:
    """Paper 341: at or above, to the last bit."""
    catalog = data.draw(catalogs(fewest=2, most=3, most_edges=0, couplings=False))
    state, judged = data.draw(states(catalog)), data.draw(scores())
    reached = float(advance(state, judged, catalog)[0].levels[0, 0])
    assert holds(hop(catalog, edge("a", "prerequisite", "b", 1.0, threshold=reached), state, judged), 1.0)
    above = float(np.nextafter(reached, np.inf))
    if above <= 10:
        assert holds(hop(catalog, edge("a", "prerequisite", "b", 1.0, threshold=above), state, judged), 0.0)


@given(data=st.data(), beside=st.sampled_from((0.0, np.inf)))
def test_an_alliance_is_strong_just_above_one_half(data: st.DataObject, beside: float) -> None:
    """Paper 338: > 0.5, as the alliance stood before the turn."""
    catalog = data.draw(catalogs(fewest=3, most=3, most_edges=0, couplings=False))
    roles = [row("roles", role="alliance", node="c"), row("roles", role="engagement", node="a")]
    catalog, state = with_rows(catalog, roles=roles), data.draw(states(catalog))
    over, judged = edge("a", "protective", "b", 1.0), data.draw(scores())
    state.levels[0, 2] = 5.0
    assert holds(hop(catalog, over, state, judged), 1.0)
    state.levels[0, 2] = np.nextafter(5.0, beside)
    assert holds(hop(catalog, over, state, judged), -1.0 if beside else 1.0)


@given(data=st.data())
def test_a_paradox_ends_exactly_between_stages_two_and_three(data: st.DataObject) -> None:
    """Paper 344: the same client at each of the four stages."""
    catalog = data.draw(catalogs(fewest=2, most=3, most_edges=0, couplings=False))
    state, judged = data.draw(states(catalog)), data.draw(scores())
    for stage, factor in enumerate((-1.0, -1.0, 1.0, 1.0)):
        state.stage[:] = stage
        assert holds(hop(catalog, edge("a", "paradoxical", "b", 1.0), state, judged), factor)


@given(first=kinds, second=kinds, data=st.data())
def test_a_change_travels_one_hop_a_turn(first: str, second: str, data: st.DataObject) -> None:
    """Paper 345, 350: in a chain a -> b -> c, what a sends to b does not reach c in the same turn."""
    catalog = data.draw(catalogs(fewest=3, most=3, most_edges=0, couplings=False))
    state, judged = data.draw(states(catalog)), data.draw(scores())
    near, far = data.draw(edges("a", "b", first)), data.draw(edges("b", "c", second))
    with_chain, chained = advance(state, judged, with_rows(catalog, edges=[near, far]))
    without, single = advance(state, judged, with_rows(catalog, edges=[far]))
    assert with_chain.levels[0, 2] == without.levels[0, 2]
    assert chained.through_edges[0, 2] == single.through_edges[0, 2]
    if chained.direct[0, 1] == 0 and chained.direct[0, 2] == 0:
        assert chained.through_edges[0, 2] == 0


def test_a_chain_by_hand() -> None:
    """The second node is reached, the third waits."""
    report = turned(three(edge("a", "reinforcing", "b"), edge("b", "reinforcing", "c")), (5.0, 5.0, 10.0), HELPED)
    assert report.through_edges[0].tolist() == pytest.approx([0, 0.5 * DAMPED, 0])


@given(data=st.data())
def test_what_travels_is_bounded_by_the_dampening(data: st.DataObject) -> None:
    """Paper 345: the sum of |through_edges| is at most that of 0.15 x weight x gate x |source change| over the edges."""
    catalog = data.draw(catalogs(fewest=2, most_edges=20))
    state, judged = data.draw(states(catalog)), data.draw(scores())
    _, report = advance(state, judged, catalog)
    moved = np.abs(report.direct[0])
    bound = 0.0
    for over in catalog.rows["edges"]:
        gate = getattr(over, f"gate_{state.stage[0] + 1}") if over.type == "gated" else 1.0
        sources = (over.edge_from, over.edge_to) if over.type == "paired" else (over.edge_from,)
        bound += sum(DAMPED * over.weight * gate * moved[catalog.node(name)] for name in sources)
    assert np.abs(report.through_edges).sum() <= bound + CLOSE


@given(data=st.data())
def test_a_pair_has_no_first_and_second(data: st.DataObject) -> None:
    """Paper 342: which end of a paired edge stands first in the table does not matter."""
    catalog = data.draw(catalogs(fewest=2, most_edges=6, kinds=("paired", "paired", "reinforcing", "suppressive")))
    state, judged = data.draw(states(catalog)), data.draw(scores())
    turned_round = [
        edge(over.edge_to, "paired", over.edge_from, over.weight) if over.type == "paired" else over
        for over in catalog.rows["edges"]
    ]
    _, one = advance(state, judged, catalog)
    _, other = advance(state, judged, with_rows(catalog, edges=turned_round))
    np.testing.assert_allclose(one.through_edges, other.through_edges, rtol=0, atol=CLOSE)


def test_only_a_paired_edge_leads_back() -> None:
    """Paper 342, both ends moved by 1."""
    for kind in EDGE_TYPES:
        catalog = three(edge("a", kind, "b"), moved=("a", "b"))
        back = turned(catalog, (5.0, 5.0, 10.0), HELPED).through_edges[0, 0]
        assert back == pytest.approx(0.5 * DAMPED if kind == "paired" else 0.0, abs=CLOSE), kind


@given(data=st.data())
def test_help_brings_a_bipolar_node_nearer_to_five_and_never_across(data: st.DataObject) -> None:
    """Paper 331: wherever all that acts on a node leads toward 5, it stays on its side and comes no further from 5."""
    catalog = data.draw(catalogs())
    state, judged = data.draw(states(catalog)), data.draw(scores())
    after, report = advance(state, judged, catalog)
    parts = np.stack([report.direct, report.through_edges, report.through_buckets])
    for n, entry in enumerate(catalog.nodes):
        was, now = state.levels[0, n], after.levels[0, n]
        if entry.direction == "bipolar" and (parts[:, 0, n] >= 0).all():
            assert (was - 5) * (now - 5) >= 0
            assert abs(now - 5) <= abs(was - 5) + CLOSE
            assert parts[:, 0, n].sum() == pytest.approx(abs(was - 5) - abs(now - 5), abs=CLOSE)


@pytest.mark.parametrize(
    ("level", "change", "after"),
    [(7, 1, 6), (7, 3, 5), (3, 1, 4), (3, 5, 5), (7, -1, 8), (3, -1, 2), (5, -1, 6), (5, 1, 5), (9, -4, 10), (1, -4, 0)],
)  # fmt: skip
def test_bipolar_moves_by_hand(level: float, change: float, after: float) -> None:
    """Paper 331; from exactly 5 harm leads upward (DESIGN, section 3)."""
    size = abs(change) / 10
    people = [node("a", "bipolar"), node("c")]
    roles = [row("roles", role=role, node="c") for role in ("alliance", "engagement")]
    catalog = plain_catalog(people, sensitivities=[sensitivity("a", high=size, low=-size)], roles=roles)
    state = plain_state(catalog, (level, 10.0))
    judged = np.full((1, 12), 5.0)
    judged[0, 0] = HELPED if change > 0 else HURT
    now, report = advance(state, judged, catalog)
    assert now.levels[0, 0] == pytest.approx(after)
    assert report.direct[0, 0] == pytest.approx(abs(level - 5) - abs(after - 5))


@pytest.mark.parametrize(
    ("level", "direction", "tight"), [(2, "i", 0.8), (2, "d", 0.2), (2, "b", 0.6), (5, "b", 0), (10, "b", 1)]
)
def test_coiling_is_the_distance_from_health(level: float, direction: str, tight: float) -> None:
    """DESIGN, section 3: two healthy nodes of weight 1 and one to look at."""
    report = turned(three(moved=(), directions=direction + "ii"), (level, 10.0, 10.0), 5.0)
    assert report.coiling[0] == pytest.approx(tight / 3)


@pytest.mark.parametrize(
    ("score", "excess", "literal"),
    [(10.0, 10, 10), (8.25, 5, 8.25), (6.5, 0, 0), (5.0, 0, 0), (3.5, 0, 0), (1.75, -5, -1.75), (0.0, -10, 0)],
)
def test_drive_by_hand(score: float, excess: float, literal: float) -> None:
    """Paper 333, 348: help less harm, as a node shows it whose coefficients are 0.1 and -0.1."""
    for kind, expected in (("excess", excess), ("literal", literal)):
        report = turned(three(), (5.0, 5.0, 10.0), score, settings=ClientSettings(drive=kind))  # type: ignore[arg-type]
        assert report.direct[0, 0] == pytest.approx(0.1 * expected, abs=CLOSE)
