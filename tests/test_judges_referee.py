"""The onlooker of the pressure test, and the ranking it shares with the offline judge."""

import numpy as np
import pytest

from judges.calibration.referee import Referee
from judges.offline.ranking import better_and_worse, bradley_terry, ranked_unseen


def test_a_direction_by_hand() -> None:
    """One column, two pairs a unit apart: v solves 2 (1 - sigmoid(v)) = lambda v."""
    (v,) = bradley_terry(np.array([[1.0], [1.0]]), 0.5)
    assert 2 * (1 - 1 / (1 + np.exp(-v))) == pytest.approx(0.5 * v)


def test_more_columns_than_pairs_give_the_same_direction() -> None:
    rng = np.random.default_rng(0)
    wide = rng.normal(size=(12, 40))
    v = bradley_terry(wide, 2.0)
    gradient = wide.T @ (1 / (1 + np.exp(wide @ v))) - 2.0 * v
    np.testing.assert_allclose(gradient, 0, atol=1e-6)


def test_pairs_are_of_one_client_and_far_enough_apart() -> None:
    means, clients = np.array([8.0, 5.0, 6.6, 9.0, 1.0]), np.array([0, 0, 0, 1, 1])
    assert better_and_worse(means, clients).tolist() == [[0, 1], [2, 1], [3, 4]]


def test_a_reply_is_ranked_by_who_has_not_seen_its_client() -> None:
    """Each client's better reply has a mark that no other client's has: unseen, it cannot be known."""
    clients = np.repeat(np.arange(6), 2)
    columns = np.zeros((12, 6))
    columns[::2][np.arange(6), np.arange(6)] = 1.0
    pairs = better_and_worse(np.tile([8.0, 2.0], 6), clients)
    assert np.all(ranked_unseen(columns, pairs, clients, 1.0, 6) == 0.0)
    assert np.all(columns[::2] @ bradley_terry(columns[pairs[:, 0]] - columns[pairs[:, 1]], 1.0) > 0.1)


@pytest.mark.real
def test_the_referee_ranks_pairs_it_was_not_fitted_to() -> None:
    referee = Referee()
    assert referee.accuracy() > 0.8
    scores = referee.scores(["You heard her voice come out of your mouth.", "You should just calm down."])
    assert scores[0] > scores[1]
    assert ((scores >= 0) & (scores <= 10)).all()
