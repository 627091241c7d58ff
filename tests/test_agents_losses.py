"""Losses on worked numbers."""

import math

import numpy as np
import pytest

from agents.lm.device import mx
from agents.losses import dpo_loss, group_advantages, grpo_loss, kl_penalty, rlaif_loss, sequence_logprob, sft_loss

LOGP = mx.array([[-1.0, -2.0, 0.0], [-0.5, -0.5, -1.0]])
MASK = mx.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])


def test_sequence_logprob_sums_and_normalises() -> None:
    assert sequence_logprob(LOGP, MASK).tolist() == [-3.0, -2.0]
    np.testing.assert_allclose(np.array(sequence_logprob(LOGP, MASK, True)), [-1.5, -2 / 3], rtol=1e-6)


def test_rlaif_loss_is_the_papers() -> None:
    # β = 0.5, margin = -2 - (-6) = 4: -log σ(2)
    assert rlaif_loss(mx.array(-2.0), mx.array(-6.0), 0.5).item() == pytest.approx(
        math.log(1 + math.exp(-2.0)), rel=1e-6
    )
    assert rlaif_loss(mx.array(-6.0), mx.array(-6.0), 0.5).item() == pytest.approx(math.log(2.0), rel=1e-6)


def test_advantages_are_z_scores_and_zero_for_equal_groups() -> None:
    expected = [-1.341641, -0.447214, 0.447214, 1.341641]
    np.testing.assert_allclose(np.array(group_advantages(mx.array([1.0, 2.0, 3.0, 4.0]))), expected, rtol=1e-5)
    assert group_advantages(mx.array([6.1, 6.1, 6.1])).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("estimator", "expected"),
    [("paper", 0.3 - 0.2), ("k2", 0.5 * (0.09 + 0.04)), ("k3", math.exp(-0.3) - 0.7 + math.exp(0.2) - 1.2)],
)
def test_kl_estimators(estimator: str, expected: float) -> None:
    logp, reference = mx.array([[-1.0, -1.2, 5.0]]), mx.array([[-1.3, -1.0, 0.0]])
    found = kl_penalty(logp, reference, mx.array([[1.0, 1.0, 0.0]]), estimator)  # type: ignore[arg-type]
    assert found.item() == pytest.approx(expected, abs=1e-6)


def test_grpo_loss_on_two_candidates() -> None:
    # (1/2) [ -1·(-3) + 0.1·KL₁  +  1·(-2)·... ]: advantages 1 and -1, reference equal to the policy, so KL is 0
    assert grpo_loss(LOGP, MASK, mx.array([1.0, -1.0]), LOGP, 0.1).item() == pytest.approx(0.5 * (3.0 - 2.0))
    shifted = grpo_loss(LOGP, MASK, mx.array([1.0, -1.0]), LOGP - 0.2 * MASK, 0.1, "paper").item()
    assert shifted == pytest.approx(0.5 + 0.1 * 0.5 * (0.4 + 0.6), rel=1e-5)


def test_papers_kl_has_no_expected_gradient_but_k3_has() -> None:
    """On-policy E[∇ log π] = 0: over all outcomes of one token the paper's estimator cancels, k3 does not."""
    reference = mx.log(mx.array([0.7, 0.2, 0.1]))

    def expected(estimator: str):  # type: ignore[no-untyped-def]
        def loss(logits: mx.array) -> mx.array:
            logp = logits - mx.logsumexp(logits)
            each = kl_penalty(logp[:, None], reference[:, None], mx.ones((3, 1)), estimator)  # type: ignore[arg-type]
            return (mx.stop_gradient(mx.exp(logp)) * each).sum()

        return np.array(mx.grad(loss)(mx.array([0.1, 0.5, -0.3])))

    np.testing.assert_allclose(expected("paper"), 0.0, atol=1e-6)
    assert np.abs(expected("k3")).max() > 1e-2


def test_dpo_and_sft() -> None:
    margin = (-2.0 - -3.0) - (-4.0 - -3.5)
    found = dpo_loss(mx.array(-2.0), mx.array(-4.0), mx.array(-3.0), mx.array(-3.5), 0.1).item()
    assert found == pytest.approx(math.log(1 + math.exp(-0.1 * margin)), rel=1e-6)
    assert sft_loss(LOGP, MASK).item() == pytest.approx(5.0 / 5.0)


def test_centred_advantages_keep_the_size_of_the_difference() -> None:
    assert group_advantages(mx.array([1.0, 2.0, 6.0]), divide=False).tolist() == [-2.0, -1.0, 3.0]


def test_a_clipped_ratio_is_the_plain_gradient_on_the_first_step_and_stops_where_it_has_moved_enough() -> None:
    old, mask = mx.array([[-1.0, -2.0], [-0.5, -1.5]]), mx.array([[1.0, 1.0], [1.0, 0.0]])
    a = mx.array([1.0, -1.0])

    def gradient(logp: mx.array, clip: tuple[float, float] | None) -> list[list[float]]:
        found: list[list[float]] = mx.grad(
            lambda x: grpo_loss(x, mask, a, old, 0.0, "k3", False, old, clip)
        )(logp).tolist()  # fmt: skip
        return found

    assert np.allclose(gradient(old, (0.2, 0.28)), gradient(old, None))
    moved = old + mx.array(
        [[0.3, 0.1], [-0.3, 0.0]]
    )  # ratios 1.35, 1.11 and 0.74: the first and the last are past their bound
    found = gradient(moved, (0.2, 0.28))
    assert found[0][0] == 0.0
    assert found[1][0] == 0.0
    assert found[0][1] == pytest.approx(-0.5 * np.exp(0.1))
