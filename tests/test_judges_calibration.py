"""Worked numbers for every measure of a judge, and a judge of known faults found out by them."""

import math

import numpy as np
import pytest

from client_graph.names import DIMENSIONS
from judges.calibration.measures import (
    Share,
    accuracy,
    agreement,
    correlation,
    coverage,
    discrimination,
    gap_matrix,
    length_bias,
    mean_off_diagonal,
    spearman,
    spread,
    swap,
)

NAN = float("nan")


def rows(*first: float, others: float = 5.0) -> np.ndarray:
    """One row for each number, which stands in the first dimension."""
    made = np.full((len(first), 12), others)
    made[:, 0] = first
    made[np.isnan(np.array(first))] = NAN
    return made


def test_wilsons_interval() -> None:
    low, high = Share(81, 263).interval  # the example of Newcombe (1998), method 3: 0.2553 to 0.3662
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)
    assert Share(10, 10).interval[1] == pytest.approx(1.0)
    assert Share(0, 0).interval == (0.0, 1.0)
    assert math.isnan(Share(0, 0).value)


def test_accuracy_counts_a_tie_as_wrong_and_leaves_a_failure_out() -> None:
    better, worse = rows(7, 5, 6, NAN), rows(4, 5, 7, 3)
    better[2, 1:] = 9.0  # the composite is right here and the own dimension wrong
    found = accuracy(better, worse, np.zeros(4, int))
    assert (found.composite, found.own) == (Share(2, 3), Share(1, 3))
    assert found.own_by[0] == Share(1, 3)
    assert found.own_by[1] == Share(0, 0)


def test_discrimination_asks_for_the_own_dimension() -> None:
    better = np.array([[8, 7, 7, 6, *[5] * 8], [6, 8, 8, 8, *[5] * 8], [6] * 12], dtype=float)
    worse = np.full((3, 12), 5.0)
    found = discrimination(better, worse, np.zeros(3, int))
    # gaps: 3 (others 5/11): yes, first; 1 (others 9/11): yes, but fourth; 1 (others 1): neither
    assert (found.above_others, found.among_top) == (Share(2, 3), Share(1, 3))


def test_the_gap_matrix_is_a_mean_by_dimension() -> None:
    found = gap_matrix(rows(8, 6, 9), rows(4, 4, 4), np.array([0, 0, 2]))
    assert found.shape == (12, 12)
    assert found[0, 0] == 3.0
    assert found[0, 1] == 0.0
    assert found[2, 0] == 5.0
    assert np.isnan(found[1]).all()


def test_correlation_between_dimensions() -> None:
    scores = np.tile(np.arange(12.0), (3, 1))
    scores[:, 0], scores[:, 1], scores[:, 2] = [1, 2, 3], [2, 4, 6], [3, 1, 2]
    found = correlation(np.concatenate([scores, np.full((1, 12), NAN)]))
    assert found[0, 1] == pytest.approx(1.0)
    assert found[0, 2] == pytest.approx(-0.5)
    assert np.isnan(found[0, 3])
    assert mean_off_diagonal(np.array([[1.0, 0.2], [0.4, 1.0]])) == pytest.approx(0.3)


def test_length_bias_with_quality_held_constant() -> None:
    long, short = np.exp([3.0, 4.0, 5.0]), np.exp([1.0, 2.0, 3.0])
    found = length_bias(6 + 0.5 * np.log(long), 2 + 0.5 * np.log(short), long, short)
    assert (found.better, found.worse, found.partial) == pytest.approx((0.5, 0.5, 0.5))
    flat = length_bias(np.full(3, 8.0), np.full(3, 4.0), long, short)  # better is longer, and length buys nothing
    assert (flat.better, flat.worse, flat.partial) == pytest.approx((0.0, 0.0, 0.0), abs=1e-12)
    assert math.isnan(length_bias(np.full(3, 8.0), np.full(3, 4.0), np.ones(3), short).better)


def test_spread_is_pooled_and_leaves_failures_out() -> None:
    repeats = np.stack([rows(4, 6, NAN), rows(6, 6, 5), rows(NAN, 6, NAN)])
    # variances of the first dimension: of 4, 6: 2; of 6, 6, 6: 0; the third exchange has one repeat
    assert spread(repeats)[0] == pytest.approx(1.0)
    assert spread(repeats)[1] == 0.0
    assert np.isnan(spread(repeats[:1])).all()


def test_swap() -> None:
    found = swap(np.array([7.0, 6.0, 5.0, NAN]), np.array([4.0, 6.0, 6.0, 1.0]))
    assert found.falls == Share(1, 3)
    assert found.mean_fall == pytest.approx(2 / 3)
    assert found.median_fall == 0.0


def test_coverage_counts_scores_within_the_stated_error() -> None:
    truth, error = rows(5, 5, 5, 5), np.ones((4, 12))
    found = coverage(rows(5.5, 6.0, 8.0, NAN), truth, error)
    assert found[0] == Share(2, 3)
    assert found[1] == Share(3, 3)


def test_spearman_shares_the_rank_of_ties() -> None:
    # ranks 1, 2.5, 2.5, 4 and 1, 2, 3, 4: covariance 4.5, sizes sqrt(4.5 * 5)
    assert spearman(np.array([1, 2, 2, 9]), np.array([10, 20, 30, 40])) == pytest.approx(4.5 / math.sqrt(22.5))
    assert math.isnan(spearman(np.ones(3), np.arange(3)))


def test_bland_and_altman() -> None:
    found = agreement(np.array([5.0, 6.0, 7.0, NAN]), np.array([4.0, 4.0, 4.0, 1.0]))
    assert found.bias == pytest.approx(2.0)
    assert found.low == pytest.approx(2 - 1.959964)
    assert found.high == pytest.approx(2 + 1.959964)
    assert math.isnan(found.spearman)
    assert math.isnan(agreement(np.ones(2), np.ones(2)).bias)


def test_a_judge_of_one_number_has_accuracy_and_no_discrimination() -> None:
    rng = np.random.default_rng(0)
    quality = rng.uniform(0, 4, size=(60, 1))
    better, worse, own = np.tile(quality + 5, 12), np.tile(quality, 12), np.arange(60) % len(DIMENSIONS)
    assert accuracy(better, worse, own).composite == Share(60, 60)
    assert discrimination(better, worse, own).among_top == Share(0, 60)
    assert mean_off_diagonal(correlation(better)) == pytest.approx(1.0)
