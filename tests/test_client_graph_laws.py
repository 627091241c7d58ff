"""The laws of a whole turn, in catalogs of any person: ranges, order, monotone harm, batches, purity, refusals."""

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client_graph.catalog import Catalog, load_catalog
from client_graph.compiled import LANES
from client_graph.drive import ScoreError
from client_graph.names import DIMENSIONS
from client_graph.personhood import draw
from client_graph.session import end_session
from client_graph.state import ClientState
from client_graph.testing import (
    catalogs,
    client_settings,
    crowds,
    differences,
    health_sign,
    out_of_range,
    score_sequences,
    scores,
    states,
    with_rows,
)
from client_graph.turn import TurnReport, advance, advance_in_place, empty_report

DEFAULT = load_catalog()
any_catalog = catalogs() | st.just(DEFAULT)
CLOSE = 1e-12


def same_bits(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> bool:
    return all(a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))


def taken(report: TurnReport, clients: Any) -> TurnReport:
    return TurnReport(*(array[clients] for array in report))


@given(data=st.data())
def test_everything_stays_in_its_range(data: st.DataObject) -> None:
    """Paper 327, 354, 357, 369: whatever is scored, turn after turn and from session to session."""
    catalog = data.draw(any_catalog)
    state = data.draw(states(catalog, 2))
    for judged in data.draw(score_sequences(2, longest=8)):
        state, report = advance(state, judged, catalog)
        assert out_of_range(state) == []
        for name, low, high in (("signals", 0, 10), ("transformation", 0, 1), ("coiling", 0, 1), ("alliance", 0, 1)):
            found = getattr(report, name)
            assert ((found >= low - CLOSE) & (found <= high + CLOSE)).all(), name
        assert (np.abs(report.phase_step) <= 1).all()
        if data.draw(st.booleans()):
            state, _ = end_session(state, catalog)
            assert out_of_range(state) == []


@given(data=st.data())
def test_a_report_adds_up_to_the_change_of_the_state(data: st.DataObject) -> None:
    """Paper 346-351: direct, edges and buckets are all that moves a node; nearness to 5 is what moves in a bipolar one."""
    catalog = data.draw(any_catalog)
    state, judged = data.draw(states(catalog, 2)), data.draw(scores(2))
    after, report = advance(state, judged, catalog)
    bipolar = np.array([entry.direction == "bipolar" for entry in catalog.nodes])
    nearer = np.abs(state.levels - 5) - np.abs(after.levels - 5)
    moved = np.where(bipolar, nearer, after.levels - state.levels)
    total = report.direct + report.through_edges + report.through_buckets
    np.testing.assert_allclose(total, moved, rtol=0, atol=CLOSE)
    for name in ("buckets", "loa", "axes", "attunement"):
        told = report.attunement_change if name == "attunement" else getattr(report, name)
        np.testing.assert_allclose(told, getattr(after, name) - getattr(state, name), rtol=0, atol=CLOSE)
    assert (report.phase_step == after.phase - state.phase).all()
    assert (after.turn == state.turn + 1).all()


KEEP_ORDER = ("nodes", "buckets")  # the order of their rows is the order of the arrays


def reordered(catalog: Catalog, seed: int) -> Catalog:
    """The same facts in another order."""
    rng = np.random.default_rng(seed)
    tables = {name: rows for name, rows in catalog.rows.items() if name not in KEEP_ORDER}
    return with_rows(catalog, **{name: [rows[k] for k in rng.permutation(len(rows))] for name, rows in tables.items()})


def assert_same_turn(one: Catalog, other: Catalog, state: ClientState, judged: np.ndarray) -> None:
    (after, report), (also, told) = advance(state, judged, one), advance(state, judged, other)
    assert after.same_as(also)
    assert same_bits(report, told)
    assert end_session(after, one)[0].same_as(end_session(also, other)[0])


@given(data=st.data(), seed=st.integers(0, 99), size=st.sampled_from((1e-3, 1.0)))
def test_the_order_of_rows_does_not_matter(data: st.DataObject, seed: int, size: float) -> None:
    """DESIGN, section 3: edges read the direct changes all at once; the same facts in another order are the same bits.

    Levels are often small: a large one rounds the last bits of its change away.
    """
    catalog = data.draw(catalogs(most=4, most_edges=24))  # few nodes, many summands
    state, judged = data.draw(states(catalog, 2)), data.draw(scores(2))
    state.levels[:] *= size
    assert_same_turn(catalog, reordered(catalog, seed), state, judged)


@pytest.mark.parametrize("seed", range(3))
def test_the_order_of_the_default_tables_does_not_matter(seed: int) -> None:
    """Likewise; here there are hundreds of rows."""
    rng = np.random.default_rng(seed)
    state, _ = draw(DEFAULT, rng, 9)
    state.levels[:] *= 1e-3
    assert_same_turn(DEFAULT, reordered(DEFAULT, seed), state, rng.uniform(0, 10, (9, 12)))


def of_one_sign(catalog: Catalog) -> Catalog:
    """`catalog` without the edges along which a node's health is another's trouble."""
    sign = {entry.name: health_sign(entry) for entry in catalog.nodes}
    way = {"reinforcing": 1, "gated": 1, "paired": 1, "compensatory": 1, "suppressive": -1}
    kept = [e for e in catalog.rows["edges"] if way.get(e.type) == sign[e.edge_from] * sign[e.edge_to]]
    return with_rows(catalog, edges=kept)


ranges = st.sampled_from(((0.0, 3.5), (6.5, 10.0), (0.0, 10.0)))  # where scores harm, where they help, anywhere
two_scores = ranges.flatmap(lambda ends: st.tuples(st.floats(*ends), st.floats(*ends)))


@given(data=st.data(), pair=two_scores)
def test_a_worse_score_never_harms_less(data: st.DataObject, pair: tuple[float, float]) -> None:
    """Paper 333, DESIGN section 3: where help leads to health and harm away, in every node, bucket, LOA and axis."""
    catalog = of_one_sign(data.draw(catalogs(lawful=True)))
    felt = st.sampled_from([DIMENSIONS.index(row.dimension) for row in catalog.rows["sensitivities"]])
    state, judged = data.draw(states(catalog)), data.draw(scores()).repeat(2, axis=0)
    judged[:, data.draw(felt)] = sorted(pair)
    after, report = advance(state.take([0, 0]), judged, catalog)
    for n, entry in enumerate(catalog.nodes):
        parts = (report.direct, report.through_edges, report.through_buckets)
        moved = health_sign(entry) * sum(part[:, n] for part in parts)
        assert moved[0] <= moved[1] + CLOSE, entry.name
        assert health_sign(entry) * report.direct[0, n] <= health_sign(entry) * report.direct[1, n] + CLOSE, entry.name
    for b, entry in enumerate(catalog.rows["buckets"]):
        assert health_sign(entry) * (after.buckets[0, b] - after.buckets[1, b]) <= CLOSE, entry.name
    assert (after.loa[0] <= after.loa[1] + CLOSE).all()
    assert (np.abs(after.axes[0]) >= np.abs(after.axes[1]) - CLOSE).all()
    assert report.coiling[0] >= report.coiling[1] - CLOSE


@given(data=st.data())
def test_harm_outweighs_help(data: st.DataObject) -> None:
    """Paper 333: in a lawful catalog a perfect score never mends more than the worst one breaks, where there is room."""
    catalog = data.draw(catalogs(lawful=True, most_edges=0, couplings=False))
    state = data.draw(states(catalog))
    state.levels[:] = 5.0
    bipolar = [n for n, entry in enumerate(catalog.nodes) if entry.direction == "bipolar"]
    state.levels[:, bipolar] = 7.5
    _, report = advance(state.take([0, 0]), np.stack([np.full(12, 0.0), np.full(12, 10.0)]), catalog)
    room = np.where(np.isin(np.arange(len(catalog.nodes)), bipolar), 2.5, 5.0)
    hurt, healed = np.abs(report.direct)
    assert (hurt >= np.minimum(healed, room) - CLOSE).all()


@given(data=st.data())
def test_a_batch_is_its_singles_bit_for_bit(data: st.DataObject) -> None:
    """DESIGN, section 1: `advance` works on N clients at a time, and a single client is N = 1."""
    catalog = data.draw(any_catalog)
    assert_singles(catalog, *data.draw(crowds(catalog, longest=3 * LANES + 1)))


@pytest.mark.parametrize("clients", [7, LANES - 1, LANES, LANES + 1, 2 * LANES + 1])
def test_a_batch_of_different_clients_is_its_singles_bit_for_bit(clients: int) -> None:
    """Likewise for the default catalog, around multiples of a block, no two clients alike."""
    rng = np.random.default_rng(clients)
    state, _ = draw(DEFAULT, rng, clients)
    state.phase[:] = rng.integers(0, 4, clients)
    state.stage[:] = rng.integers(0, 4, clients)
    assert_singles(DEFAULT, state, rng.uniform(0, 10, (clients, 12)))


def assert_singles(catalog: Catalog, state: ClientState, judged: np.ndarray) -> None:
    after, report = advance(state, judged, catalog)
    rested, _ = end_session(after, catalog)
    for i in {*range(0, state.clients, 1 + state.clients // 20), state.clients - 1}:
        alone, own = advance(state.take([i]), judged[[i]], catalog)
        assert alone.same_as(after.take([i])), i
        assert same_bits(own, taken(report, [i])), i
        assert end_session(alone, catalog)[0].same_as(rested.take([i])), i


@given(data=st.data(), threads=st.integers(1, 3))
def test_a_turn_in_place_is_the_same_turn(data: st.DataObject, threads: int) -> None:
    """DESIGN, section 1: over any number of threads, and with a report that has served before."""
    catalog = data.draw(any_catalog)
    state, judged = data.draw(crowds(catalog, longest=3 * LANES + 1))
    here, report = state.snapshot(), empty_report(state.clients, catalog, by_node=True)
    for _ in range(2):
        state, told = advance(state, judged, catalog)
        advance_in_place(here, judged, catalog, report=report, threads=threads)
        assert here.same_as(state)
        assert same_bits(report, told)
    judged[-1, -1] = np.nan
    with pytest.raises(ScoreError):
        advance_in_place(here, judged, catalog, report=report, threads=threads)
    assert here.same_as(state)
    assert same_bits(report, told)


@given(data=st.data())
def test_clients_in_another_order_are_the_same_clients(data: st.DataObject) -> None:
    """DESIGN, section 1: nobody's place in a batch matters."""
    catalog = data.draw(any_catalog)
    state, judged = data.draw(crowds(catalog))
    order = np.random.default_rng(data.draw(st.integers(0, 99))).permutation(state.clients)
    after, report = advance(state, judged, catalog)
    other, told = advance(state.take(order), judged[order], catalog)
    assert other.same_as(after.take(order))
    assert same_bits(told, taken(report, order))


@given(data=st.data())
def test_a_turn_is_the_plain_references_turn(data: st.DataObject) -> None:
    """Paper 324-386: all that `advance` changes and reports, in catalogs of any person and under any settings."""
    catalog, rules = data.draw(catalogs()), data.draw(client_settings())
    state, judged = data.draw(states(catalog, 3)), data.draw(scores(3))
    after, report = advance(state, judged, catalog, rules)
    assert differences(state, judged, after, report, catalog, rules) == []


@given(data=st.data())
def test_advance_is_pure(data: st.DataObject) -> None:
    """DESIGN, section 4: state and scores are left as they were, and nothing of them is shared with what is returned."""
    catalog = data.draw(any_catalog)
    state, judged = data.draw(states(catalog, 2)), data.draw(scores(2))
    kept, kept_scores = state.snapshot(), judged.copy()
    after, report = advance(state, judged, catalog)
    again, also = advance(state, judged, catalog)
    assert state.same_as(kept)
    assert judged.tobytes() == kept_scores.tobytes()
    assert again.same_as(after)
    assert same_bits(report, also)
    for array in (*state, judged):
        assert not any(np.shares_memory(array, made) for made in (*after, *report))
    rested, _ = end_session(after, catalog)
    assert after.same_as(again)
    assert not any(np.shares_memory(a, b) for a, b in zip(after, rested, strict=True))


@given(data=st.data())
def test_snapshot_and_restore_are_identity(data: st.DataObject) -> None:
    """DESIGN, section 2: candidates are tried from one snapshot; what was tried in between leaves no trace."""
    catalog = data.draw(any_catalog)
    state, judged, tried = data.draw(states(catalog)), data.draw(scores()), data.draw(scores())
    kept = state.snapshot()
    assert kept.same_as(state)
    assert not any(np.shares_memory(a, b) for a, b in zip(kept, state, strict=True))
    first, _ = advance(state, judged, catalog)
    advance(advance(state, tried, catalog)[0], tried, catalog)
    for array in state:
        array[:] = 0
    again, _ = advance(kept, judged, catalog)
    assert again.same_as(first)


@given(data=st.data())
def test_what_is_taken_apart_can_be_stacked_again(data: st.DataObject) -> None:
    """DESIGN, section 1: a state is a struct of arrays with a leading batch axis."""
    catalog = data.draw(any_catalog)
    state, _ = data.draw(crowds(catalog, longest=12))
    alone = [state.take([i]) for i in range(state.clients)]
    assert ClientState.stack(alone).same_as(state)
    assert state.take(range(state.clients)).same_as(state)
    cuts = sorted({0, state.clients, data.draw(st.integers(0, state.clients))})
    parts = [state.take(range(a, b)) for a, b in pairwise(cuts)]
    assert ClientState.stack(parts).same_as(state)
    alone[0].levels[:] = -1.0
    assert (state.levels >= 0).all()  # what was taken is a copy


bad_numbers = st.sampled_from((np.nan, np.inf, -np.inf, 1e308, -1.0, 10.0001, float(np.nextafter(10, 11)), -5e-324))


places = st.tuples(st.integers(0, 1), st.integers(0, len(DIMENSIONS) - 1))


@given(bad=st.dictionaries(places, bad_numbers, min_size=1, max_size=12))
def test_every_bad_score_is_named_and_nothing_changes(bad: dict[tuple[int, int], float]) -> None:
    """DESIGN, section 4: no number is invented, an out-of-range value is refused where it appears; state is as it was."""
    judged = np.full((2, 12), 5.0)
    for place, value in bad.items():
        judged[place] = value
    state = two_clients()
    kept = state.snapshot()
    with pytest.raises(ScoreError) as caught:
        advance(state, judged, DEFAULT)
    for (n, d), value in bad.items():
        assert f"{DIMENSIONS[d]} of client {n} is {value}" in str(caught.value)
    assert state.same_as(kept)


def two_clients() -> ClientState:
    return draw(DEFAULT, np.random.default_rng(0), 2)[0]


shapes = st.sampled_from(((12,), (2, 11), (2, 13), (1, 12), (3, 12), (2, 12, 1), (0, 12), (24,), ()))
no_numbers = st.sampled_from(
    (
        np.full((2, 12), True), np.full((2, 12), "5"), np.full((2, 12), b"5"), np.full((2, 12), None),
        np.full((2, 12), 5 + 0j), [["5"] * 12] * 2, [[True] * 12] * 2, [[5.0] * 12, [5.0] * 11], None, "scores", {},
    )
)  # fmt: skip


@given(found=shapes.map(lambda shape: np.full(shape, 5.0)) | no_numbers)
def test_what_is_no_table_of_scores_is_refused(found: object) -> None:
    """DESIGN, section 4: wrong shapes, strings, booleans, complex numbers, nothing at all."""
    state = two_clients()
    kept = state.snapshot()
    with pytest.raises(ScoreError, match="expected"):
        advance(state, found, DEFAULT)  # type: ignore[arg-type]
    assert state.same_as(kept)
