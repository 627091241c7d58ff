"""The simulated clinic's instruments by worked numbers; a small clinic runs and is the same again."""

import numpy as np
import pytest

from benchmarks.clinic import (
    SESSIONS,
    Clinic,
    Measured,
    alliance_outcome,
    distress_of,
    figures,
    gone,
    heard,
    improved,
    measured,
    recovered,
    run,
    sessions_to_half,
    spoken,
    worse,
)
from client_graph.catalog import load_catalog
from judges.protocol import Exchange

CATALOG = load_catalog()


def of(observed: list[list[float]], ending: list[int], alliance: list[float]) -> Measured:
    """One therapist whose clients' questionnaires read like this, the last value carried forward."""
    full = np.array([[row + row[-1:] * (SESSIONS + 1 - len(row)) for row in observed]])
    clinic = Clinic(
        full, np.full((1, len(observed), SESSIONS), 0.5), np.array([ending]), np.full((1, len(observed)), SESSIONS)
    )
    return Measured(full, full[..., -1], np.array([alliance]), clinic, reliable=10.0, cutoff=30.0)


FOUR = of([[50, 45, 35, 25], [60, 55, 50], [40, 45, 51], [50, 49]], [0, 2, 3, 1], [0.9, 0.7, np.nan, 0.5])


def test_improved_recovered_and_worse_by_hand() -> None:
    assert improved(FOUR, 1).tolist() == [[False, False, False, False]]
    assert improved(FOUR, 2).tolist() == [[True, True, False, False]]  # at the reliable change itself
    assert recovered(FOUR, 2).tolist() == [[False, False, False, False]]
    assert recovered(FOUR, 3).tolist() == [[True, False, False, False]]  # 50 points is improved and not near the well
    assert worse(FOUR).tolist() == [[False, False, True, False]]
    assert gone(FOUR).tolist() == [[False, True, True, False]]


def test_the_session_by_which_half_got_there() -> None:
    every = np.arange(1)
    assert sessions_to_half(FOUR, improved, every) == 2
    assert sessions_to_half(FOUR, recovered, every) == np.inf


def test_alliance_and_outcome_leave_out_who_was_not_seen() -> None:
    better = [25.0, 10.0, 1.0]
    assert alliance_outcome(FOUR, np.arange(1)) == pytest.approx(np.corrcoef([0.9, 0.7, 0.5], better)[0, 1])


def test_scores_survive_being_said() -> None:
    scores = np.linspace(0, 10, 12)
    np.testing.assert_allclose(heard(Exchange("", "", spoken(scores))), scores, atol=1e-4)
    assert distress_of(np.array(0.4), np.array(0.6)) == pytest.approx(50.0)


def test_a_small_clinic_is_the_same_again_and_every_figure_is_a_number() -> None:
    one, other = (run(2, 3, 5, CATALOG) for _ in range(2))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
    seen = ~np.isnan(one.distress)
    assert (seen.sum(axis=2) == one.attended + 1).all()
    assert (one.attended[one.ending == 0] == SESSIONS).all()
    assert one.distress[seen].min() >= 0
    assert one.distress[seen].max() <= 100
    m = measured(one, 5, CATALOG)
    assert all(
        np.isfinite(figure(np.arange(2))) or what.startswith("sessions until") for what, _, _, figure, _ in figures(m)
    )
