"""The therapist's adapters and what moves them: two optimizer steps a turn, each scaled and clipped on its own (paper 448-452)."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_map

from agents.lm.adapters import AdapterSets, FrozenSetChanged
from agents.lm.architecture import KINDS
from agents.lm.device import mx
from agents.lm.logprob import LowerStates, record_lower, response_logprobs
from agents.lm.lora import set_trainable, slots
from agents.lm.ranks import Ranks
from agents.lm.step import norms_of, take_step
from agents.losses import dpo_loss, group_advantages, grpo_loss, kl_penalty, rlaif_loss, sequence_logprob, sft_loss
from agents.settings import DpoPart, GrpoPart, OptimizerPart, RlaifPart

# The frozen set is where the therapist began: client, judge and the reference policy of the KL penalty.
THERAPIST, FROZEN = "therapist", "frozen"


@dataclass(frozen=True)
class Batch:
    """Replies that share how their prompts begin. prompt: what all share. branches: the rest of each prompt, and the reply.

    given: how many tokens of each branch belong to the prompt: read, not learned.
    """

    prompt: list[int]
    branches: list[list[int]]
    given: list[int]


class BadGradients(RuntimeError):
    """Gradients were not finite several times in a row; the adapters are as they were before."""


@dataclass(frozen=True)
class StepReport:
    """One optimizer step. norms: of the scaled gradient before clipping, by module kind. applied: whether weights moved."""

    loss: float
    norm: float
    norms: dict[str, float]
    applied: bool


@dataclass(frozen=True)
class GrpoReport:
    """A GRPO step (the last one, where there are several on one group), and what was true before the first.

    advantages: (K,). kl: mean divergence from the reference, nats a reply (k3). entropy: nats a token, -log π of the tokens that
    were drawn; with a temperature below 1 it stands a little below the policy's own.
    """

    step: StepReport
    advantages: list[float]
    kl: float
    entropy: float


@dataclass(frozen=True)
class Preferences:
    """Pairs as the policy has them beside the reference: means over the pairs.

    loss. accuracy: share in which the policy has come to prefer the chosen reply more than the reference did. chosen, rejected:
    log π - log π_ref of each, nats.
    """

    loss: float
    accuracy: float
    chosen: float
    rejected: float
    pairs: int

    @classmethod
    def of(cls, seen: mx.array) -> "Preferences":
        """From (3, pairs): losses, log-ratios of the chosen, of the rejected."""
        loss, chosen, rejected = np.asarray(seen)
        won = np.where(chosen == rejected, 0.5, chosen > rejected)  # a policy that is the reference prefers neither
        return cls(float(loss.mean()), float(won.mean()), float(chosen.mean()), float(rejected.mean()), loss.size)


class Learner:
    """Adam on the therapist's set; reference and frozen sets are only read.

    ranks: other processes that take the same steps on the mean gradient; none: this one alone (agents/lm/ranks.py).
    """

    def __init__(
        self, sets: AdapterSets, model: nn.Module, settings: OptimizerPart, ranks: Ranks | None = None
    ) -> None:
        self.sets, self.model, self.settings = sets, model, settings
        self.ranks = ranks or Ranks()
        self.exchanges = 0  # steps that were asked for, so that ranks can keep in time
        self.first_layer = first_adapted_layer(model)
        self.optimizer = optim.Adam(
            learning_rate=settings.learning_rate, bias_correction=True
        )  # as Kingma and Ba; not MLX's default
        self.optimizer.init(model.trainable_parameters())
        self.bad_in_a_row = 0
        self.frozen_hash = sets.hash(FROZEN)

    def remember(self) -> tuple[Any, ...]:
        """All that a step changes, to go back to; no copy, since arrays are never changed in place."""
        return self.sets.get(THERAPIST), tree_map(lambda a: a, self.optimizer.state), self.bad_in_a_row

    def go_back(self, remembered: tuple[Any, ...]) -> None:
        """Undo the steps since `remember`."""
        tree, state, self.bad_in_a_row = remembered
        with self.sets.role(THERAPIST) as model:
            set_trainable(model, tree)
        self.optimizer.state = state

    def expect_frozen(self) -> None:
        """Raises FrozenSetChanged if a byte of the reference, client or judge set is not what it was at the start."""
        if (found := self.sets.hash(FROZEN)) != self.frozen_hash:
            raise FrozenSetChanged(
                f"the frozen adapters: found SHA-256 {found}; expected {self.frozen_hash}, as at the start"
            )

    def rlaif_step(
        self, prompt: list[int], corrected: list[int], original: list[int], modifier: float, settings: RlaifPart
    ) -> StepReport:
        """Toward the corrected reply; the gradient is scaled by w_RLAIF · treatment modifier (paper 450)."""
        lower = record_lower(self.model, prompt, [corrected, original], self.first_layer)

        def loss() -> tuple[mx.array, mx.array]:
            logp, mask = self._logprobs(prompt, [corrected, original], lower)
            total = sequence_logprob(logp, mask, settings.length_normalised)
            return rlaif_loss(total[0], total[1], settings.beta), total[0] - total[1]

        return self._step(loss, settings.weight * modifier)[0]

    def grpo_step(
        self,
        prompt: list[int],
        candidates: list[list[int]],
        scores: list[float],
        settings: GrpoPart,
        barred: Sequence[bool] = (),
    ) -> GrpoReport:
        """Toward the better candidates of one group; the reference is evaluated before the step, on the same lower states.

        barred: candidates that are never preferred, whatever the others are: A_k <- min(A_k, 0).
        """
        s, lower = settings, record_lower(self.model, prompt, candidates, self.first_layer)
        advantages = group_advantages(mx.array(scores), divide=s.advantage == "z-score")
        if any(barred):
            advantages = mx.where(mx.array(list(barred)), mx.minimum(advantages, 0.0), advantages)
        reference = self._reference(prompt, candidates, lower)
        spoken: list[mx.array] = []  # log-probabilities of the policy that spoke

        def loss() -> tuple[mx.array, mx.array]:
            logp, mask = self._logprobs(prompt, candidates, lower)
            if not spoken:
                spoken.append(mx.stop_gradient(logp))
            value = grpo_loss(
                logp, mask, advantages, reference, s.kl_weight, s.kl_estimator, s.length_normalised, spoken[0], s.clip_ratio
            )  # fmt: skip
            seen = mx.stack([kl_penalty(logp, reference, mask, "k3").mean(), -(logp * mask).sum() / mask.sum()])
            return value, seen

        report, before = self._step(loss, s.weight)
        for _ in range(s.iterations - 1):
            report, _ = self._step(loss, s.weight)
        kl, entropy = np.asarray(before).tolist()
        return GrpoReport(report, np.asarray(advantages).tolist(), kl, entropy)

    def sft_step(self, batch: Batch) -> StepReport:
        """Toward a batch of good replies: one step on the mean over all their tokens."""
        lower = record_lower(self.model, batch.prompt, batch.branches, self.first_layer)

        def loss() -> tuple[mx.array, mx.array]:
            found = sft_loss(*self._batch_logprobs(batch, lower))
            return found, found

        return self._step(loss, 1.0, weight=sum(map(len, batch.branches)) - sum(batch.given))[0]

    def dpo_step(self, batch: Batch, settings: DpoPart) -> tuple[StepReport, Preferences]:
        """Toward the chosen and away from the rejected reply of each pair; branches are all chosen ones, then all rejected."""
        lower, reference = self._dpo_reference(batch, settings)

        def loss() -> tuple[mx.array, mx.array]:
            seen = self._preferences(batch, lower, reference, settings)
            return seen[0].mean(), seen

        report, seen = self._step(loss, 1.0, weight=len(batch.branches) // 2)
        return report, Preferences.of(seen)

    def idle_step(self) -> StepReport:
        """Take the step of the other ranks where this one has nothing to learn; alone, nothing happens."""
        if self.ranks.size == 1:
            return StepReport(0.0, 0.0, dict.fromkeys(KINDS, 0.0), False)
        nothing = tree_map(mx.zeros_like, self.model.trainable_parameters())
        return self._apply(mx.array(0.0), nothing, 0.0)

    def sft_measure(self, batch: Batch) -> tuple[float, int]:
        """(sum of -log π over the replies' tokens in nats, tokens) with the active set; nothing is learned."""
        logp, mask = self._batch_logprobs(batch, None)
        return float(-(logp * mask).sum()), sum(map(len, batch.branches)) - sum(batch.given)

    def dpo_measure(self, batch: Batch, settings: DpoPart) -> Preferences:
        """What the active set makes of a batch of pairs; nothing is learned."""
        lower, reference = self._dpo_reference(batch, settings)
        return Preferences.of(self._preferences(batch, lower, reference, settings))

    def _preferences(self, batch: Batch, lower: LowerStates, reference: mx.array, settings: DpoPart) -> mx.array:
        """(3, pairs): loss, log-ratio of the chosen, of the rejected."""
        total = sequence_logprob(*self._batch_logprobs(batch, lower), settings.length_normalised)
        (chosen, rejected), (ref_chosen, ref_rejected) = mx.split(total, 2), mx.split(reference, 2)
        each = dpo_loss(chosen, rejected, ref_chosen, ref_rejected, settings.beta)
        return mx.stack([each, chosen - ref_chosen, rejected - ref_rejected])

    def _batch_logprobs(self, batch: Batch, lower: LowerStates | None) -> tuple[mx.array, mx.array]:
        return self._logprobs(batch.prompt, batch.branches, lower, batch.given)

    def _logprobs(
        self, prompt: list[int], branches: list[list[int]], lower: LowerStates | None, given: list[int] | None = None
    ) -> tuple[mx.array, mx.array]:
        again = self.settings.checkpoint_gradients
        return response_logprobs(self.model, prompt, branches, lower=lower, given=given, checkpoint=again)

    def _dpo_reference(self, batch: Batch, settings: DpoPart) -> tuple[LowerStates, mx.array]:
        """(states below the first adapter, log-probabilities of the replies under the reference)."""
        lower = record_lower(self.model, batch.prompt, batch.branches, self.first_layer)
        with self.sets.role(FROZEN):
            total = sequence_logprob(*self._batch_logprobs(batch, lower), settings.length_normalised)
            mx.eval(total)
        return lower, total

    def _reference(self, prompt: list[int], responses: list[list[int]], lower: LowerStates) -> mx.array:
        with self.sets.role(FROZEN):
            logp, _ = self._logprobs(prompt, responses, lower)
            mx.eval(logp)
        return logp

    def _step(
        self, loss: Callable[[], tuple[mx.array, mx.array]], scale: float, weight: float = 1.0
    ) -> tuple[StepReport, mx.array]:
        """One step on scale · ∇L, which over several ranks is their mean by `weight`, what the loss is a mean over.

        `loss` returns what is learned from and numbers beside it, which come back as the second result.
        """
        (value, beside), gradients = nn.value_and_grad(self.model, loss)()
        scaled = tree_map(lambda g: scale * g, gradients)
        mx.eval(value, beside, scaled)  # at once, or what `beside` needs would be kept through the step
        return self._apply(value, scaled, weight), beside

    def _apply(self, value: mx.array, gradients: Any, weight: float) -> StepReport:
        """g <- mean over ranks;  g <- g · min(1, clip / ‖g‖);  Adam.

        A gradient or a loss that is not finite changes nothing, on any rank; nor does a step that no rank has weight in.
        """
        self.exchanges += 1
        mean, weights = self.ranks.mean({"gradients": gradients, "loss": value}, weight)
        if weights == 0.0:
            return StepReport(0.0, 0.0, dict.fromkeys(KINDS, 0.0), False)
        scaled, seen = mean["gradients"], mean["loss"]
        norms = norms_of(scaled)
        loss = float(seen)
        if not (norms.finite and math.isfinite(loss)):
            return self._refused(loss, norms.whole, norms.by_kind)
        self.bad_in_a_row = 0
        take_step(self.model, self.optimizer, scaled, norms, self.settings.clip_norm)
        return StepReport(loss, norms.whole, norms.by_kind, norms.whole > 0.0)

    def _refused(self, loss: float, norm: float, norms: dict[str, float]) -> StepReport:
        self.bad_in_a_row += 1
        if self.bad_in_a_row >= self.settings.stop_after_bad:
            raise BadGradients(
                f"found a gradient norm of {norm} and a loss of {loss}, {self.bad_in_a_row} steps in a row; expected finite "
                "numbers. The turn was taken back; lower optimizer.learning_rate in the run folder's settings.toml, then go on"
            )
        return StepReport(loss, norm, norms, False)


def first_adapted_layer(model: nn.Module) -> int:
    """Number of the lowest layer with an adapter: what lies below is the base alone, and is computed once."""
    return min(int(found.group(1)) for name in slots(model) if (found := re.search(r"\blayers\.(\d+)\.", name)))
