"""The stance: locked at first, down at once, up only on sustained evidence (paper 411-415)."""

import numpy as np
import pytest

from client_graph.catalog import load_catalog
from client_graph.personhood import draw
from client_graph.stance import mean_so_far, next_stance, ruptured
from client_graph.turn import advance

CATALOG = load_catalog()
#               openness, disclosure, resistance, defensiveness, overwhelm
OPEN = np.array([6.0, 4.0, 3.0, 3.0, 1.0])
GUARDED = np.array([6.0, 6.0, 3.0, 5.0, 1.0])
FLOODED = np.array([6.0, 6.0, 3.0, 3.0, 3.0])
SILENT = np.array([4.9, 4.9, 3.0, 3.0, 1.0])
SEEN = np.array([4.9, 5.0, 3.0, 3.0, 1.0])


@pytest.mark.parametrize(
    ("stance", "turn", "signals", "rupture", "attuned", "resisting", "expected"),
    [
        (0, 2, OPEN, False, 8.0, 3.0, 0),  # the third turn is still locked
        (0, 3, OPEN, False, 8.0, 3.0, 1),
        (1, 4, OPEN, False, 8.0, 3.0, 2),  # one step a turn
        (2, 5, OPEN, False, 8.0, 3.0, 2),
        (2, 5, OPEN, True, 8.0, 3.0, 0),
        (2, 5, GUARDED, False, 8.0, 3.0, 1),
        (0, 5, GUARDED, False, 8.0, 3.0, 0),
        (2, 5, FLOODED, False, 8.0, 3.0, 1),
        (1, 5, SILENT, False, 8.0, 3.0, 1),
        (1, 5, SEEN, False, 8.0, 3.0, 2),
        (1, 5, OPEN, False, 5.5, 5.5, 2),
        (1, 5, OPEN, False, 5.4, 3.0, 1),
        (1, 5, OPEN, False, 8.0, 5.6, 1),
    ],
)
def test_the_stance_by_hand(
    stance: int, turn: int, signals: np.ndarray, rupture: bool, attuned: float, resisting: float, expected: int
) -> None:
    assert next_stance(stance, 0, turn, signals, rupture, attuned, resisting, 3) == expected


@pytest.mark.parametrize(
    ("attuned", "safe", "step", "expected"), [(3.0, 3.9, 0, True), (3.0, 4.0, 0, False), (9.0, 9.0, -1, True)]
)
def test_a_rupture_misses_and_frightens_or_throws_back(attuned: float, safe: float, step: int, expected: bool) -> None:
    assert ruptured(attuned, safe, step) == expected


def test_the_running_averages_are_of_the_last_four_turns() -> None:
    state, _ = draw(CATALOG, np.random.default_rng(0), stage=2)
    resistance = []
    for score in (4.0, 5.0, 6.0):
        state, report = advance(state, np.full((1, 12), score), CATALOG)
        resistance.append(report.signals[0, 2])
    assert np.isnan(state.recent_attunement[0, 0])
    assert state.recent_attunement[0, 1:].tolist() == [4.0, 5.0, 6.0]
    for score in (7.0, 8.0):
        state, report = advance(state, np.full((1, 12), score), CATALOG)
        resistance.append(report.signals[0, 2])
    assert state.recent_attunement[0].tolist() == [5.0, 6.0, 7.0, 8.0]
    assert state.recent_resistance[0].tolist() == resistance[1:]


@pytest.mark.parametrize(
    ("window", "mean"),
    [
        ((np.nan, np.nan, np.nan, 4.0), 4.0),
        ((np.nan, np.nan, 1.0, 4.0), 2.5),
        ((3.0, 5.0, 6.0, 8.0), 5.5),
    ],
)
def test_the_mean_so_far_is_of_the_turns_there_were(window: tuple[float, ...], mean: float) -> None:
    assert mean_so_far(np.array(window)) == mean
