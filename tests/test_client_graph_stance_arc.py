"""The intervention arc: it holds a stance over a wobble, and nothing more (paper 415)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client_graph.catalog import load_catalog
from client_graph.client import ClientGraph
from client_graph.personhood import draw
from client_graph.session import end_session
from client_graph.settings import ClientSettings
from client_graph.stance import INTERVENTION, RAPPORT, arc_holds, begin_arc, next_arc, next_stance
from client_graph.state import ClientState, StateError, out_of_range
from client_graph.testing import scores, states
from client_graph.turn import advance

CATALOG = load_catalog()
LOCK = 3
#                    openness, disclosure, resistance, defensiveness, overwhelm
WOBBLE = np.array([6.0, 4.0, 6.9, 9.0, 2.9])
LEVEL = st.sampled_from((2.9, 3.0, 5.0, 5.5, 6.9, 7.0)) | st.floats(0.0, 10.0)
SIGNALS = st.lists(LEVEL, min_size=5, max_size=5).map(np.array)


def old_stance(
    stance: int, turn: int, signals: np.ndarray, rupture: bool, attuned: float, resisting: float, lock: int
) -> int:
    """The machine of lines 411-414 alone, once more and plainly."""
    openness, disclosure, _, defensiveness, overwhelm = signals
    if turn < lock or rupture:
        return 0
    if defensiveness >= 5.0 or overwhelm >= 3.0:
        return max(0, stance - 1)
    if attuned >= 5.5 and resisting <= 5.5 and (openness >= 5.0 or disclosure >= 5.0):
        return min(2, stance + 1)
    return stance


moments = st.tuples(st.integers(0, 20), SIGNALS, st.booleans(), LEVEL, LEVEL, st.integers(0, 5))


@given(stance=st.integers(0, 2), moment=moments)
def test_without_an_arc_the_machine_is_the_old_one(
    stance: int, moment: tuple[int, np.ndarray, bool, float, float, int]
) -> None:
    assert next_stance(stance, 0, *moment) == old_stance(stance, *moment)


@given(stance=st.integers(0, 2), arc=st.integers(0, 9), moment=moments)
def test_an_arc_never_raises_the_stance_and_lowers_nothing(
    stance: int, arc: int, moment: tuple[int, np.ndarray, bool, float, float, int]
) -> None:
    found, without = next_stance(stance, arc, *moment), old_stance(stance, *moment)
    assert found in (without, stance)
    if found != without:
        assert (stance, found, without) == (INTERVENTION, INTERVENTION, INTERVENTION - 1)
        assert arc > 0


@given(arc=st.integers(0, 9), moment=moments)
def test_a_rupture_always_wins(arc: int, moment: tuple[int, np.ndarray, bool, float, float, int]) -> None:
    turn, signals, _, *rest = moment
    assert next_stance(INTERVENTION, arc, turn, signals, True, *rest) == RAPPORT
    assert next_arc(INTERVENTION, RAPPORT, arc, 3) == 0


@pytest.mark.parametrize(
    ("stance", "arc", "changed", "expected"),
    [
        (2, 1, {}, 2),
        (2, 0, {}, 1),
        (1, 1, {}, 0),  # an arc in another stance holds nothing
        (2, 5, {2: 7.0}, 1),  # more than moderate resistance
        (2, 5, {4: 3.0}, 1),  # overwhelm at the paper's line
    ],
)
def test_what_an_arc_rides_out(stance: int, arc: int, changed: dict[int, float], expected: int) -> None:
    signals = WOBBLE.copy()
    for place, value in changed.items():
        signals[place] = value
    assert next_stance(stance, arc, 9, signals, False, 8.0, 3.0, LOCK) == expected
    assert arc_holds(stance, arc, signals) == (expected == INTERVENTION)


@given(steps=st.integers(0, 8), arc_steps=st.integers(0, 8))
def test_an_arc_ends_by_itself_and_holds_exactly_its_turns(steps: int, arc_steps: int) -> None:
    """A client who goes on wobbling is let go after as many turns as the arc had."""
    stance, arc, held = INTERVENTION, steps, 0
    for turn in range(LOCK, LOCK + 20):
        after = next_stance(stance, arc, turn, WOBBLE, False, 8.0, 6.0, LOCK)
        stance, arc = after, next_arc(stance, after, arc, arc_steps)
        held += stance == INTERVENTION
    assert (held, stance, arc) == (steps, RAPPORT, 0)


@given(before=st.integers(0, 2), after=st.integers(0, 2), arc=st.integers(0, 9), steps=st.integers(0, 9))
def test_an_arc_begins_on_reaching_intervention_and_nowhere_else(before: int, after: int, arc: int, steps: int) -> None:
    left = next_arc(before, after, arc, steps)
    if (before, after) == (INTERVENTION, INTERVENTION):
        assert left == max(0, arc - 1)
    else:
        assert left == (steps if after == INTERVENTION else 0)


@given(data=st.data())
def test_without_arcs_and_steps_a_turn_moves_everything_as_with_them_but_the_stance(data: st.DataObject) -> None:
    """An arc is about the stance: it touches no level, no phase and no chance."""
    state, judged = data.draw(states(CATALOG, 2)), data.draw(scores(2))
    bare = state._replace(arc=np.zeros_like(state.arc))
    with_arc, report = advance(state, judged, CATALOG, ClientSettings(arc_steps=4))
    without, other = advance(bare, judged, CATALOG, ClientSettings(arc_steps=0))
    assert all(a.tobytes() == b.tobytes() for a, b in zip(report, other, strict=True))
    moved = {n for n in ClientState._fields if getattr(with_arc, n).tobytes() != getattr(without, n).tobytes()}
    assert moved <= {"stance", "arc"}
    assert (with_arc.stance >= without.stance).all()
    assert out_of_range(with_arc) == []


def in_intervention() -> ClientState:
    """Three clients of stage 3 after good turns, all in the stance of intervention."""
    state, _ = draw(CATALOG, np.random.default_rng(0), 3, stage=3)
    for _ in range(8):
        state, _ = advance(state, np.full((3, 12), 8.0), CATALOG)
    assert state.stance.tolist() == [2, 2, 2]
    return state


def test_reaching_intervention_begins_an_arc_of_the_settings() -> None:
    state, _ = draw(CATALOG, np.random.default_rng(0), stage=3)
    seen = []
    for _ in range(9):
        state, _ = advance(state, np.full((1, 12), 8.0), CATALOG, ClientSettings(arc_steps=2))
        seen.append((int(state.stance[0]), int(state.arc[0])))
    reached = seen.index((2, 2))
    assert seen[reached : reached + 4] == [(2, 2), (2, 1), (2, 0), (2, 0)]
    assert all(arc == 0 for _, arc in seen[:reached])


def test_an_arc_ends_with_the_session_and_with_a_rupture() -> None:
    state = begin_arc(in_intervention(), 9)
    assert end_session(state, CATALOG)[0].arc.tolist() == [0, 0, 0]
    hurt, report = advance(state, np.full((3, 12), 1.0), CATALOG)
    assert report.rupture.all()
    assert (hurt.stance.tolist(), hurt.arc.tolist()) == ([0, 0, 0], [0, 0, 0])


def test_a_researcher_begins_and_ends_an_arc_for_whom_they_choose() -> None:
    state = begin_arc(in_intervention(), 0)
    kept = state.snapshot()
    assert begin_arc(state, 5).arc.tolist() == [5, 5, 5]
    assert begin_arc(state, 5, [2]).arc.tolist() == [0, 0, 5]
    assert begin_arc(begin_arc(state, 5), 0, np.array([True, False, False])).arc.tolist() == [0, 5, 5]
    assert state.same_as(kept)


def test_an_arc_that_cannot_begin_is_refused() -> None:
    state = in_intervention()
    state.stance[1] = 1
    state.arc[:] = 0
    with pytest.raises(StateError, match=r"found clients \[1\] in another stance than intervention"):
        begin_arc(state, 2)
    with pytest.raises(StateError, match="0 to 2"):
        begin_arc(state, 2, [3])
    for steps in (-1, 1.5, True):
        with pytest.raises(StateError, match="expected a whole number of turns"):
            begin_arc(state, steps)  # type: ignore[arg-type]
    state.arc[1] = 1
    assert out_of_range(state) == ["arc: found an arc under way in another stance than intervention (2)"]


def test_a_client_by_name_shows_its_six_signals_and_its_arc() -> None:
    client = ClientGraph.draw(seed=3, stage=3)
    assert client.rupture is None
    for _ in range(8):
        client = client.after(np.full(12, 8.0))
    assert set(client.signals) == {"openness", "disclosure", "resistance", "defensiveness", "overwhelm"}
    assert client.rupture is False
    assert client.stance == "intervention"
    under_way = client.with_arc(4)
    assert (under_way.arc, "(4 turns of an intervention to go)" in repr(under_way)) == (4, True)
    assert client.diff(under_way).labels == {"arc": (client.arc, 4)}
    hurt = under_way.after(np.full(12, 1.0))
    assert (hurt.rupture, hurt.arc, hurt.stance) == (True, 0, "rapport_building")
