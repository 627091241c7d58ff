"""The losses of Teaching by Negation, as pure functions of log-probabilities.

Shapes: logp and logp_ref (K, T) float32, log-probabilities of K responses to one prompt, 0 where padded; mask (K, T) of 0
and 1. A response's log-probability is the sum over its tokens, as the paper prints it; `length_normalised` divides by its
length. Nothing here samples, prints, or knows a model.
"""

from typing import Literal

import mlx.nn as nn

from agents.lm.device import mx

KlEstimator = Literal["paper", "k2", "k3"]


def sequence_logprob(logp: mx.array, mask: mx.array, length_normalised: bool = False) -> mx.array:
    """(K,): log π(y_k | x) = Σ_t log π(y_kt | x, y_k<t), or its mean over the response's tokens."""
    total = (logp * mask).sum(axis=-1)
    return total / mask.sum(axis=-1) if length_normalised else total


def rlaif_loss(logp_corrected: mx.array, logp_original: mx.array, beta: float) -> mx.array:
    """Margin loss toward the corrected reply (paper 422); log-probabilities of whole replies, scalars.

    L = -log σ(β (log π_θ(y_corrected | x) - log π_θ(y_original | x)))
    """
    return -nn.log_sigmoid(beta * (logp_corrected - logp_original))


def group_advantages(scores: mx.array, epsilon: float = 1e-8, divide: bool = True) -> mx.array:
    """(K,) z-scores within the group (paper 429); a group of equal scores has advantage 0, not noise over epsilon.

    A_k = (s_k - s̄) / (σ_s + ε),   σ_s the population deviation;   not divided: A_k = s_k - s̄ (Liu et al. 2025)
    """
    centred = scores - scores.mean()
    if not divide:
        return centred
    spread = mx.sqrt((centred**2).mean())
    # Written so that a score that is no number stays visible: NaN is not at most anything.
    return mx.where(spread <= 1e-6, mx.zeros_like(scores), centred / (spread + epsilon))


def kl_penalty(logp: mx.array, logp_ref: mx.array, mask: mx.array, estimator: KlEstimator) -> mx.array:
    """(K,) estimate of KL(π_θ ‖ π_ref) on each response, summed over its tokens; Δ = log π_θ - log π_ref.

    paper: Δ (paper 430; its expected gradient is zero on-policy)    k2: Δ² / 2    k3: e^-Δ - 1 + Δ   (Schulman 2020)
    """
    delta = logp - logp_ref
    if estimator == "paper":
        per_token = delta
    elif estimator == "k2":
        per_token = 0.5 * delta**2
    else:
        per_token = mx.exp(-delta) - 1.0 + delta
    return (per_token * mask).sum(axis=-1)


def grpo_loss(
    logp: mx.array,
    mask: mx.array,
    advantages: mx.array,
    logp_ref: mx.array,
    kl_weight: float,
    estimator: KlEstimator = "k3",
    length_normalised: bool = False,
    logp_old: mx.array | None = None,
    clip: tuple[float, float] | None = None,
) -> mx.array:
    """Group relative policy gradient with a KL penalty (paper 430); advantages (K,), scalar result.

    L = (1/K) Σ_k [-A_k log π_θ(y_k | x) + λ_KL · KL_k]

    With `clip` = (low, high) and logp_old (K, T) of the policy that spoke, the first term is the clipped surrogate (Schulman et
    al. 2017; two bounds as Yu et al. 2025), a sum over tokens of

    -min(r_t A_k, clamp(r_t, 1 - low, 1 + high) A_k),   r_t = π_θ(y_t) / π_old(y_t)

    which has the same gradient on the first step, where r_t = 1. Log-probabilities are the model's own: that replies were drawn
    with a temperature and without their unlikeliest tokens (min_p) is not accounted for.
    """
    penalty = kl_penalty(logp, logp_ref, mask, estimator)
    lengths = mask.sum(axis=-1)
    if clip is None:
        gained = advantages * sequence_logprob(logp, mask, length_normalised)
    else:
        assert logp_old is not None
        ratio = mx.exp(logp - logp_old)
        a = advantages[:, None]
        surrogate = mx.minimum(ratio * a, mx.clip(ratio, 1.0 - clip[0], 1.0 + clip[1]) * a)
        gained = (surrogate * mask).sum(axis=-1) / (lengths if length_normalised else 1.0)
    return (-gained + kl_weight * (penalty / lengths if length_normalised else penalty)).mean()


def dpo_loss(
    logp_chosen: mx.array, logp_rejected: mx.array, ref_chosen: mx.array, ref_rejected: mx.array, beta: float
) -> mx.array:
    """Direct preference optimisation (Rafailov et al. 2023; paper 436-437); whole-reply log-probabilities, of one shape.

    L = -log σ(β [(log π_θ(y_w) - log π_ref(y_w)) - (log π_θ(y_l) - log π_ref(y_l))])
    """
    return -nn.log_sigmoid(beta * ((logp_chosen - ref_chosen) - (logp_rejected - ref_rejected)))


def sft_loss(logp: mx.array, mask: mx.array) -> mx.array:
    """Mean negative log-likelihood of the response tokens: L = -Σ log π_θ(y_t | x, y_<t) / Σ mask."""
    return -(logp * mask).sum() / mask.sum()
