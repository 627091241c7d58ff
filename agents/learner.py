"""The therapist's adapters and what moves them: two optimizer steps a turn, each scaled and clipped on its own (paper 448-452)."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten, tree_map

from agents.lm.adapters import AdapterSets, FrozenSetChanged
from agents.lm.architecture import KINDS
from agents.lm.device import mx
from agents.lm.logprob import LowerStates, record_lower, response_logprobs
from agents.lm.lora import set_trainable, slots
from agents.losses import group_advantages, grpo_loss, kl_penalty, rlaif_loss, sequence_logprob
from agents.settings import GrpoPart, OptimizerPart, RlaifPart

# The frozen set is where the therapist began: client, judge and the reference policy of the KL penalty.
THERAPIST, FROZEN = "therapist", "frozen"


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
    """A GRPO step: the group's advantages (K,) and mean KL to the reference, before the step."""

    step: StepReport
    advantages: list[float]
    kl: float


class Learner:
    """Adam on the therapist's set; reference and frozen sets are only read."""

    def __init__(self, sets: AdapterSets, model: nn.Module, settings: OptimizerPart) -> None:
        self.sets, self.model, self.settings = sets, model, settings
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
            logp, mask = response_logprobs(self.model, prompt, [corrected, original], lower=lower)
            total = sequence_logprob(logp, mask, settings.length_normalised)
            return rlaif_loss(total[0], total[1], settings.beta), total[0] - total[1]

        report, _ = self._step(loss, settings.weight * modifier)
        return report

    def grpo_step(
        self, prompt: list[int], candidates: list[list[int]], scores: list[float], settings: GrpoPart
    ) -> GrpoReport:
        """Toward the better candidates of one group; the reference is evaluated before the step, on the same lower states."""
        lower = record_lower(self.model, prompt, candidates, self.first_layer)
        advantages = group_advantages(mx.array(scores))
        reference = self._reference(prompt, candidates, lower)

        def loss() -> tuple[mx.array, mx.array]:
            logp, mask = response_logprobs(self.model, prompt, candidates, lower=lower)
            s = settings
            value = grpo_loss(logp, mask, advantages, reference, s.kl_weight, s.kl_estimator, s.length_normalised)
            return value, kl_penalty(logp, reference, mask, "k3").mean()

        report, kl = self._step(loss, settings.weight)
        return GrpoReport(report, np.asarray(advantages).tolist(), kl)

    def _reference(self, prompt: list[int], responses: list[list[int]], lower: LowerStates) -> mx.array:
        with self.sets.role(FROZEN):
            logp, _ = response_logprobs(self.model, prompt, responses, lower=lower)
            mx.eval(logp)
        return logp

    def _step(self, loss: Callable[[], tuple[mx.array, mx.array]], scale: float) -> tuple[StepReport, float]:
        """g <- scale · ∇L;  g <- g · min(1, clip / ‖g‖);  Adam.  A gradient that is not finite changes nothing.

        `loss` returns what is learned from and a number beside it, which comes back as the second result.
        """
        (value, beside), gradients = nn.value_and_grad(self.model, loss)()
        scaled = tree_map(lambda g: scale * g, gradients)
        flat = dict(tree_flatten(scaled))
        squares = {name: g.astype(mx.float32).square().sum() for name, g in flat.items()}
        mx.eval(value, beside, squares)
        by_kind = dict.fromkeys(KINDS, 0.0)
        for name, square in squares.items():
            by_kind[_kind(name)] = by_kind.get(_kind(name), 0.0) + square.item()
        norm = math.sqrt(sum(by_kind.values()))
        norms = {kind: math.sqrt(square) for kind, square in by_kind.items()}
        if not (math.isfinite(norm) and math.isfinite(value.item())):
            return self._refused(value.item(), norm, norms), beside.item()
        self.bad_in_a_row = 0
        shrink = min(1.0, self.settings.clip_norm / norm) if norm > 0.0 else 1.0
        self.optimizer.update(self.model, tree_map(lambda g: shrink * g, scaled))
        mx.eval(self.model.trainable_parameters(), self.optimizer.state)
        return StepReport(value.item(), norm, norms, norm > 0.0), beside.item()

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


_PATHS = {
    "gate": "gate_proj",
    "up": "up_proj",
    "down": "down_proj",
    "o": "o_proj",
    "k": "k_proj",
    "v": "v_proj",
    "q": "q_",
}


def _kind(name: str) -> str:
    """The module kind of an adapter array's full name; latent attention's kv_a counts as k."""
    module = name.rpartition(".")[0].rpartition(".")[2]
    if module.startswith("kv_"):
        return "k"
    return next((kind for kind, start in _PATHS.items() if module.startswith(start)), "other")
