"""A course of treatment: who comes back, a week of life, the planned ending; each by a worked number or a law."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client_graph.arrival import newcomers
from client_graph.catalog import load_catalog
from client_graph.course import (
    DROPPED_OUT,
    ENDINGS,
    GOING_ON,
    LEFT,
    PLANNED,
    Course,
    begin_course,
    go_on,
    odds_of_stopping,
)
from client_graph.session import end_session, measure
from client_graph.settings import CourseSettings
from client_graph.state import ClientState, out_of_range

CATALOG = load_catalog()
QUIET = CourseSettings(weekly_recovery=0, weekly_spread=0, fortune_spread=0, dropout=0)


def words(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, size=count, dtype=np.uint64)


def a_week(
    state: ClientState,
    course: Course,
    gains: CourseSettings,
    left: bool = False,
    hurt: bool = False,
    last: bool = False,
) -> tuple[ClientState, Course]:
    after, _ = end_session(state, CATALOG)
    flags = np.ones(state.clients, dtype=np.bool_)
    return go_on(state, after, course, CATALOG, gains, left=flags & left, hurt=flags & hurt, last=flags & last)


def test_the_endings_have_names() -> None:
    assert [ENDINGS[i] for i in (GOING_ON, PLANNED, DROPPED_OUT, LEFT)] == [
        "going_on",
        "planned",
        "dropped_out",
        "left",
    ]


def test_with_all_gains_at_zero_the_course_is_the_papers() -> None:
    state = newcomers(CATALOG, words(40))
    arrived, course = a_week(state, begin_course(words(40, 1), QUIET), QUIET)
    assert arrived.same_as(end_session(state, CATALOG)[0])
    assert (course.ending == GOING_ON).all()


def test_what_is_given_is_left_as_it_was() -> None:
    state, course = newcomers(CATALOG, words(20)), begin_course(words(20, 1))
    kept, kept_course = state.snapshot(), course.snapshot()
    a_week(state, course, CourseSettings(dropout=0.5))
    assert state.same_as(kept)
    assert course.same_as(kept_course)


def test_many_treatments_are_each_alone() -> None:
    state, course, gains = newcomers(CATALOG, words(90)), begin_course(words(90, 1)), CourseSettings(dropout=0.3)
    together, courses = a_week(state, course, gains)
    for i in (0, 71, 72, 89):
        place = np.array([i])
        alone, own = a_week(state.take(place), begin_course(words(90, 1)[place]), gains)
        assert alone.same_as(together.take(place))
        assert own.same_as(courses.take(place))


@given(seed=st.integers(0, 2**32), spread=st.floats(0, 50), recovery=st.floats(0, 50))
def test_no_week_leads_out_of_any_range(seed: int, spread: float, recovery: float) -> None:
    gains = CourseSettings(weekly_spread=spread, weekly_recovery=recovery, fortune_spread=spread)
    state = newcomers(CATALOG, words(8, seed))
    arrived, _ = a_week(state, begin_course(words(8, seed + 1), gains), gains)
    assert not out_of_range(arrived)


# A week of life


def lived(luck: float, stage: int = 2) -> tuple[ClientState, ClientState]:
    """40 clients before and after a week of just this luck."""
    state = newcomers(CATALOG, words(40), stage=stage)
    course = begin_course(words(40, 1), QUIET)._replace(fortune=np.full(40, luck))
    return end_session(state, CATALOG)[0], a_week(state, course, QUIET)[0]


@pytest.mark.parametrize("luck", [-2.0, 1.5])
def test_a_node_moves_by_luck_times_how_far_it_gives_way(luck: float) -> None:
    """trust_capacity (increase), shame_core (decrease): luck · phase weight in A / (1 + BQ), as the tables have them."""
    before, after = lived(luck)
    for name, sign in (("trust_capacity", 1), ("shame_core", -1)):
        n = CATALOG.node(name)
        row = CATALOG.nodes[n]
        step = sign * luck * row.phase_a / (1 + row.bq_2)
        np.testing.assert_allclose(after.levels[:, n], np.clip(before.levels[:, n] + step, 0, 10))


def test_good_luck_leads_a_bipolar_node_to_its_middle_and_never_across() -> None:
    before, after = lived(200.0)
    bipolar = [n for n, row in enumerate(CATALOG.nodes) if row.direction == "bipolar"]
    np.testing.assert_array_equal(after.levels[:, bipolar], 5.0)
    before, after = lived(0.1)
    assert (np.sign(after.levels[:, bipolar] - 5) == np.sign(before.levels[:, bipolar] - 5)).all()
    assert (abs(after.levels[:, bipolar] - 5) < abs(before.levels[:, bipolar] - 5)).all()


@pytest.mark.parametrize("luck", [-1.0, 1.0])
def test_reservoirs_move_by_luck_times_volatility(luck: float) -> None:
    before, after = lived(luck)
    for b, row in enumerate(CATALOG.rows["buckets"]):
        fills = row.kind == "adaptive" and not row.falls
        expected = before.buckets[:, b] + (luck if fills else -luck) * row.volatility
        np.testing.assert_allclose(after.buckets[:, b], np.clip(expected, 0, 1))


def test_what_is_between_the_two_rests_while_they_do_not_meet() -> None:
    before, after = lived(3.0)
    core = [CATALOG.node(row.node) for row in CATALOG.rows["roles"] if row.role == "alliance"]
    np.testing.assert_array_equal(after.levels[:, core], before.levels[:, core])
    assert measure(after, CATALOG).alliance.tolist() == measure(before, CATALOG).alliance.tolist()


def test_shifts_are_counted_from_the_arrival_and_not_from_before_the_week() -> None:
    _, after = lived(3.0)
    now = measure(after, CATALOG)
    np.testing.assert_array_equal(after.phase_coiling, now.coiling)
    np.testing.assert_array_equal(after.phase_mood, now.adaptive_mean - now.maladaptive_mean)


@pytest.mark.many
def test_luck_has_the_stated_mean_and_spread_and_changes_from_week_to_week() -> None:
    gains = CourseSettings(weekly_recovery=0.5, weekly_spread=1.0, fortune_spread=0.25, dropout=0)
    count = 4000
    course = begin_course(words(count, 3), gains)
    assert course.fortune.mean() == pytest.approx(0.0, abs=0.02)
    assert course.fortune.std() == pytest.approx(0.25, rel=0.05)
    state = newcomers(CATALOG, words(count), stage=2, strategy="B3", concern="panic")
    n = CATALOG.node("self_worth")
    row = CATALOG.nodes[n]
    lucks = []
    for _ in range(2):
        arrived, course = a_week(state, course, gains)
        inside = (arrived.levels[:, n] > 0) & (arrived.levels[:, n] < 10)
        assert inside.mean() > 0.99
        lucks.append((arrived.levels[:, n] - state.levels[:, n]) * (1 + row.bq_2) / row.phase_a)
        assert lucks[-1].mean() == pytest.approx(0.5, abs=0.06)
        assert lucks[-1].std() == pytest.approx(np.sqrt(1.0 + 0.25**2), rel=0.05)
    # What two weeks share is the client's fortune: 0.0625 of 1.0625 of the variance.
    assert np.corrcoef(*lucks)[0, 1] == pytest.approx(0.0625 / 1.0625, abs=0.06)


# Who comes back


def test_odds_of_stopping_by_hand() -> None:
    """Base 0.02 is odds of 0.0204; at alliance 0.2 and slope 3, times e^0.9; hurt, times e^1."""
    assert odds_of_stopping(0.5, False, 0.02, 3.0, 1.0) == pytest.approx(0.02)
    odds = 0.02 / 0.98 * np.exp(3.0 * 0.3)
    assert odds_of_stopping(0.2, False, 0.02, 3.0, 1.0) == pytest.approx(odds / (1 + odds))
    odds *= np.e
    assert odds_of_stopping(0.2, True, 0.02, 3.0, 1.0) == pytest.approx(odds / (1 + odds))
    assert odds_of_stopping(0.0, True, 0.0, 3.0, 1.0) == 0.0


@given(bond=st.floats(0, 1), closer=st.floats(0, 1), base=st.floats(0.001, 0.5), slope=st.floats(0, 8))
def test_a_closer_alliance_keeps_and_a_rupture_never_does(
    bond: float, closer: float, base: float, slope: float
) -> None:
    near, far = max(bond, closer), min(bond, closer)
    assert odds_of_stopping(near, False, base, slope, 1.0) <= odds_of_stopping(far, False, base, slope, 1.0) + 1e-12
    assert odds_of_stopping(near, True, base, slope, 1.0) >= odds_of_stopping(near, False, base, slope, 1.0)


@pytest.mark.many
def test_as_many_drop_out_as_the_odds_say() -> None:
    count = 4000
    state = newcomers(CATALOG, words(count))
    gains = CourseSettings(dropout=0.1, dropout_alliance=3.0, dropout_rupture=1.0)
    bond = measure(state, CATALOG).alliance
    for hurt in (False, True):
        _, course = a_week(state, begin_course(words(count, 1)), gains, hurt=hurt)
        expected = np.mean([odds_of_stopping(b, hurt, 0.1, 3.0, 1.0) for b in bond])
        assert (course.ending == DROPPED_OUT).mean() == pytest.approx(expected, abs=0.02)
        stayed = course.ending == GOING_ON
        assert bond[stayed].mean() > bond[~stayed].mean()


@pytest.mark.many
def test_who_stops_coming_is_no_matter_of_fortune() -> None:
    """Luck, drop-out and fortune are drawn apart, in the first week and in later ones."""
    count = 4000
    gains = CourseSettings(dropout=0.5, dropout_alliance=0, weekly_recovery=0, weekly_spread=1.0, fortune_spread=0.5)
    state = newcomers(CATALOG, words(count), stage=2, strategy="B3", concern="panic")
    course = begin_course(words(count, 1), gains)
    n = CATALOG.node("self_worth")
    row = CATALOG.nodes[n]
    for _ in range(3):
        arrived, after = a_week(state, course, gains)
        gone = after.ending == DROPPED_OUT
        assert abs(np.corrcoef(gone, course.fortune)[0, 1]) < 0.06
        luck = (arrived.levels - state.levels)[~gone, n] * (1 + row.bq_2) / row.phase_a - course.fortune[~gone]
        assert luck.mean() == pytest.approx(
            0.0, abs=0.08
        )  # who stays has had no better weeks than who went would have had
        assert luck.std() == pytest.approx(1.0, rel=0.06)
        course = after._replace(ending=np.zeros_like(after.ending))


def test_who_has_held_every_session_that_was_agreed_on_has_not_dropped_out() -> None:
    state, course = newcomers(CATALOG, words(200)), begin_course(words(200, 1))
    gains = CourseSettings(dropout=0.9)
    assert (a_week(state, course, gains)[1].ending == DROPPED_OUT).mean() > 0.5
    assert (a_week(state, course, gains, last=True)[1].ending == GOING_ON).all()
    assert (a_week(state, course, gains, last=True, left=True)[1].ending == LEFT).all()


def test_a_week_moves_the_client_and_not_what_the_therapist_believes() -> None:
    before, after = lived(3.0)
    np.testing.assert_array_equal(after.tmog, before.tmog)
    np.testing.assert_allclose(after.attunement, 1 - np.abs(after.tmog - after.levels).mean(axis=1) / 10)
    assert (after.attunement != before.attunement).all()


def test_who_has_gone_lives_no_week_of_ours() -> None:
    state = newcomers(CATALOG, words(60))
    gains = CourseSettings(dropout=0.4, weekly_recovery=5.0)
    arrived, course = a_week(state, begin_course(words(60, 1), gains), gains)
    gone = course.ending != GOING_ON
    assert 5 < gone.sum() < 55
    after = end_session(state, CATALOG)[0]
    np.testing.assert_array_equal(arrived.levels[gone], after.levels[gone])
    assert (arrived.levels[~gone] != after.levels[~gone]).any(axis=1).all()


# How it ends


def test_two_sessions_of_stage_4_are_a_planned_ending() -> None:
    state, course = newcomers(CATALOG, words(5), stage=4), begin_course(words(5, 1), QUIET)
    state, course = a_week(state, course, QUIET)
    assert course.ending.tolist() == [GOING_ON] * 5
    state, course = a_week(state, course, QUIET)
    assert course.ending.tolist() == [PLANNED] * 5
    assert course.farewells.tolist() == [2] * 5


def test_a_session_that_led_to_stage_4_is_not_yet_a_farewell() -> None:
    state, course = newcomers(CATALOG, words(5), stage=3), begin_course(words(5, 1), QUIET)
    _, course = a_week(state, course, QUIET)
    assert course.farewells.tolist() == [0] * 5


def test_walking_out_goes_before_all_else_and_an_ending_stays() -> None:
    state, course = newcomers(CATALOG, words(30), stage=4), begin_course(words(30, 1))
    gains = CourseSettings(dropout=0.9, farewell_sessions=1)
    _, course = a_week(state, course, gains, left=True)
    assert (course.ending == LEFT).all()
    _, course = a_week(state, course, gains)
    assert (course.ending == LEFT).all()
    _, planned = a_week(state, begin_course(words(30, 1)), gains)
    assert (planned.ending == PLANNED).all()  # who has said farewell cannot drop out
