"""The turn of the default person: against the plain reference, extremes, chance, and what can be told by hand.

Laws that hold for any person are in test_client_graph_laws.py.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client_graph.catalog import load_catalog
from client_graph.drive import ScoreError
from client_graph.names import DIMENSIONS
from client_graph.personhood import draw
from client_graph.phase_shift import next_phase, phase_score
from client_graph.session import measure
from client_graph.settings import ClientSettings
from client_graph.state import ClientState
from client_graph.testing import differences, one_turn, out_of_range, score_sequences, scores, seeds, states
from client_graph.turn import advance

CATALOG = load_catalog()
ATTUNEMENT = DIMENSIONS.index("attunement")


def someone(seed: int = 0, clients: int = 1, stage: int | None = None) -> ClientState:
    return draw(CATALOG, np.random.default_rng(seed), clients, stage=stage)[0]


@given(data=st.data(), kind=st.sampled_from(["excess", "literal"]))
@settings(max_examples=20)
def test_turn_equals_the_plain_reference(data: st.DataObject, kind: str) -> None:
    """Paper 324-386, in the default catalog; in any catalog: test_client_graph_laws.py."""
    state, judged = data.draw(states(CATALOG, 2)), data.draw(scores(2))
    rules = ClientSettings(drive=kind, tmog_noise=0.0)
    after, report = advance(state, judged, CATALOG, rules)
    assert differences(state, judged, after, report, CATALOG, rules) == []


def test_the_reference_tells_what_it_cannot_say_and_what_is_wrong() -> None:
    state, judged = someone(), np.full((1, 12), 5.0)
    judged[0, ATTUNEMENT] = 3.4
    with pytest.raises(ValueError, match="no noise"):
        one_turn(state, 0, judged[0].tolist(), CATALOG)
    judged[0, ATTUNEMENT] = 9.0
    after, report = advance(state, judged, CATALOG)
    assert differences(state, judged, after, report, CATALOG) == []
    for name in ("levels", "deepest_phase", "stream"):
        wrong = after.snapshot()
        getattr(wrong, name)[:] += getattr(wrong, name).dtype.type(1)
        (problem,) = differences(state, judged, wrong, report, CATALOG)
        assert f"client 0: {name}" in problem
    other = report._replace(signals=report.signals + 1e-9, rupture=~report.rupture)
    assert len(differences(state, judged, after, other, CATALOG)) == 2


@pytest.mark.many
@pytest.mark.parametrize("extreme", [0.0, 10.0])
def test_bounds_hold_for_three_hundred_extreme_turns(extreme: float) -> None:
    state = someone(3, 4)
    for _ in range(300):
        state, _ = advance(state, np.full((4, 12), extreme), CATALOG)
    assert out_of_range(state) == []
    assert (measure(state, CATALOG).coiling > 0.6).all() == (extreme == 0.0)


def test_a_snapshot_shares_nothing_and_leads_to_the_same_future() -> None:
    state, judged = someone(5), np.full((1, 12), 1.0)  # attunement 1: the stream is drawn from
    kept = state.snapshot()
    first, _ = advance(state, judged, CATALOG)
    for array in state:
        array[:] = 0
    again, _ = advance(kept, judged, CATALOG)
    assert first.same_as(again)
    assert not first.same_as(kept)


@given(seed=seeds, dimension=st.integers(0, 11), data=st.data())
def test_a_worse_score_never_harms_less(seed: int, dimension: int, data: st.DataObject) -> None:
    worse, better = sorted((data.draw(st.floats(0, 10)), data.draw(st.floats(0, 10))))
    state = someone(seed)
    state.phase[:] = data.draw(st.integers(0, 3))
    judged = np.repeat(np.random.default_rng(seed).uniform(0, 10, (1, 12)), 2, axis=0)
    judged[0, dimension], judged[1, dimension] = worse, better
    after, _ = advance(state.take([0, 0]), judged, CATALOG)
    found = measure(after, CATALOG)
    assert found.coiling[0] >= found.coiling[1] - 1e-12
    assert found.maladaptive_mean[0] >= found.maladaptive_mean[1] - 1e-12
    assert found.adaptive_mean[0] <= found.adaptive_mean[1] + 1e-12


def test_the_literal_drive_is_the_papers_product_and_not_monotone() -> None:
    state = someone(1)
    judged = np.repeat(np.full((1, 12), 5.0), 2, axis=0)
    judged[0, ATTUNEMENT], judged[1, ATTUNEMENT] = 0.0, 3.0
    _, report = advance(state.take([0, 0]), judged, CATALOG, ClientSettings(drive="literal"))
    assert not report.direct[0].any()  # a score of zero does nothing
    n = CATALOG.node("trust_capacity")
    row = CATALOG.nodes[n]
    engaged = max(0.2, state.levels[0, CATALOG.node("session_engagement")] / 10)
    bq = getattr(row, f"bq_{state.stage[0] + 1}")
    assert report.direct[1, n] == pytest.approx(3.0 * -0.05 * row.phase_a * engaged / (1 + bq), abs=1e-15)


@given(seed=seeds)
@settings(max_examples=15)
def test_beliefs_are_blurred_only_when_attunement_is_low_and_by_the_clients_own_stream(seed: int) -> None:
    state = someone(seed)
    steady, low = np.full((1, 12), 5.0), np.full((1, 12), 5.0)
    steady[0, ATTUNEMENT], low[0, ATTUNEMENT] = 3.5, 3.4
    assert advance(state, steady, CATALOG)[0].stream == state.stream
    one, two = advance(state, low, CATALOG)[0], advance(state.snapshot(), low, CATALOG)[0]
    assert one.stream != state.stream
    assert one.tmog.tobytes() == two.tmog.tobytes()
    other = state.snapshot()
    other.stream[:] += np.uint64(1)
    assert advance(other, low, CATALOG)[0].tmog.tobytes() != one.tmog.tobytes()


def test_noise_of_beliefs_has_the_stated_spread() -> None:
    state = someone(2, 50)
    state.levels[:] = state.tmog[:] = 5.0
    judged = np.full((50, 12), 5.0)
    judged[:, ATTUNEMENT] = 0.0  # harm 10: rate 0, spread 0.4
    after, _ = advance(state, judged, CATALOG)
    error = after.tmog - 5.0
    assert abs(error.mean()) < 0.02
    assert abs(error.std() - 0.4) < 0.02


def test_a_client_who_starts_at_zero_axes_has_no_transformation() -> None:
    state = someone(4)
    state.axes[:] = state.axes_start[:] = 0.0
    for score in (0.0, 10.0):
        assert advance(state, np.full((1, 12), score), CATALOG)[1].transformation == 0.0


def test_transformation_and_trend_by_hand() -> None:
    state = someone(4)
    state.axes[:] = state.axes_start[:] = (2.0, -4.0, -2.0)
    state.axes_window[:] = 8.0
    better, report = advance(state, np.full((1, 12), 10.0), CATALOG)
    assert report.transformation[0] == pytest.approx(1 - np.abs(better.axes).sum() / 8.0)
    assert report.axis_trend[0] == 1
    assert advance(state, np.full((1, 12), 5.0), CATALOG)[1].axis_trend[0] == 0
    worse, report = advance(state, np.full((1, 12), 0.0), CATALOG)
    assert report.axis_trend[0] == -1
    assert report.transformation[0] == 0.0
    assert (np.sign(worse.axes) == np.sign(state.axes)).all()


def test_an_axis_hurt_from_zero_goes_to_the_side_it_started_on() -> None:
    state = someone(4)
    state.axes[:], state.axes_start[:] = 0.0, (2.0, -4.0, 0.0)
    worse, _ = advance(state, np.zeros((1, 12)), CATALOG)
    assert np.sign(worse.axes[0]).tolist() == [1, -1, 1]


@pytest.mark.parametrize(("dimension", "axis"), [("boundaries", 0), ("validation", 1), ("attunement", 2)])
def test_boundaries_validation_and_attunement_move_their_axes(dimension: str, axis: int) -> None:  # paper 372
    judged = np.full((1, 12), 5.0)
    judged[0, DIMENSIONS.index(dimension)] = 10.0
    _, report = advance(someone(4), judged, CATALOG)
    assert np.flatnonzero(report.axes[0]).tolist() == [axis]
    assert np.abs(report.axes[0, axis]) == pytest.approx(0.2)  # axis_rate, at full drive and weight 1


def test_an_axis_that_is_helped_stops_at_zero() -> None:
    """Paper 373 has health at zero: self-esteem and cherishment of somebody wounded never turn positive."""
    state = someone(4)
    state.axes[:] = state.axes_start[:] = (0.1, -0.1, -0.1)
    better, report = advance(state, np.full((1, 12), 10.0), CATALOG)
    assert not better.axes.any()
    assert report.transformation[0] == 1.0


def test_a_session_moves_adaptation_by_less_than_a_quarter_of_its_range() -> None:  # paper 366: across sessions
    state = someone(4, stage=1)
    before = state.loa
    for _ in range(20):
        state, _ = advance(state, np.full((1, 12), 8.5), CATALOG)
    moved = state.loa - before
    assert moved.min() > 2
    assert moved.max() < 5


@pytest.mark.parametrize(("alliance", "score"), [(0.0, 0.245), (0.5, 0.35), (1.0, 0.455)])
def test_the_phase_score_by_hand(alliance: float, score: float) -> None:  # paper 380, gains left out
    plain = ClientSettings(phase_mood_gain=1.0, phase_coiling_gain=1.0).dynamics
    assert phase_score(0.5, 0.25, alliance, plain) == pytest.approx(score)


@pytest.mark.parametrize(
    ("phase", "score", "after"),
    [
        (0, 0.35, 1), (0, 0.34, 0), (0, 9.0, 1), (1, 0.60, 2), (1, 0.59, 1), (1, -0.25, 0), (1, -0.24, 1), (2, -9.0, 1),
        (2, 0.50, 3), (3, -0.30, 2), (3, 9.0, 3), (0, -9.0, 0),
    ],
)  # fmt: skip
def test_a_phase_changes_at_its_threshold_and_one_step_a_turn(phase: int, score: float, after: int) -> None:
    """Paper 381-383, the thresholds of stage 1."""
    assert next_phase(phase, score, CATALOG.tables.phase_forward[0], CATALOG.tables.phase_back[0]) == after


def test_adaptation_events_count_thresholds_once() -> None:
    state = someone(4)

    def events(level: float, score: float) -> set[int]:
        state.loa[:] = level
        return set(advance(state, np.full((1, 12), score), CATALOG)[1].adaptation_events[0].tolist())

    assert events(1.999, 10.0) == events(7.999, 10.0) == events(-2.001, 10.0) == {1}
    assert events(2.0, 0.0) == events(8.001, 0.0) == events(-2.0, 0.0) == {-1}
    assert events(2.0, 10.0) == events(-2.001, 0.0) == {0}  # already on that side
    assert events(3.0, 10.0) == events(0.0, 0.0) == {0}


@given(sequence=score_sequences(longest=8))
@settings(max_examples=10)
def test_going_up_and_down_again_earns_nothing(sequence: list[np.ndarray]) -> None:
    """The events add up to where the client came from and got to, whatever way it took."""
    state = someone(4)
    state.loa[:] = (1.95, 2.0, -1.95, -2.0, 4.95, 5.0, 0.0)
    reached = np.array([-8, -5, -2, 2, 5, 8])
    before, total = state.loa, np.zeros(7, dtype=int)
    for judged in sequence:
        state, report = advance(state, judged, CATALOG)
        total += report.adaptation_events[0]
    assert (total == (state.loa[0, :, None] >= reached).sum(1) - (before[0, :, None] >= reached).sum(1)).all()


def test_the_deepest_phase_of_a_session_is_remembered() -> None:
    state = someone(4, stage=1)
    state.phase[:] = state.deepest_phase[:] = 2
    state.phase_mood[:] += 0.5  # as if the phase had been entered in a better mood: protection returns
    after, report = advance(state, np.full((1, 12), 0.0), CATALOG)
    assert (report.phase_step[0], after.phase[0], after.deepest_phase[0]) == (-1, 1, 2)
    assert report.rupture[0]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (np.full((1, 12), np.nan), "nan"),
        (np.full((1, 12), np.inf), "inf"),
        (np.full((1, 12), 11.0), "11"),
        (np.full((1, 12), -0.1), "-0.1"),
        (np.full((1, 11), 5.0), "shape"),
        (np.full((2, 12), 5.0), "shape"),
        (np.full(12, 5.0), "shape"),
        (np.full((1, 12), True), "bool"),
        (np.full((1, 12), "5"), "type"),
        (np.full((1, 12), 5 + 0j), "complex"),
        (np.full((1, 12), None), "object"),
        ([["5"] * 12], "type"),
    ],
)
def test_what_is_no_score_is_refused_and_changes_nothing(found: object, said: str) -> None:
    state = someone()
    kept = state.snapshot()
    with pytest.raises(ScoreError, match=said):
        advance(state, found, CATALOG)  # type: ignore[arg-type]
    assert state.same_as(kept)


def test_a_bad_score_is_named() -> None:
    judged = np.full((1, 12), 5.0)
    judged[0, 3] = 10.5
    with pytest.raises(ScoreError, match=r"non_reactivity of client 0 is 10\.5"):
        advance(someone(), judged, CATALOG)


def test_scores_of_unequal_length_are_refused_as_scores() -> None:
    with pytest.raises(ScoreError):
        advance(someone(clients=2), [[5.0] * 12, [5.0] * 11], CATALOG)  # type: ignore[arg-type]
