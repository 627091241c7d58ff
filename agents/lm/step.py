"""One optimizer step, or none: clipped as a whole, measured by module kind, refused where a number is not finite."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_flatten, tree_map

from agents.lm.architecture import KINDS
from agents.lm.device import mx


class Norms(NamedTuple):
    """Of a gradient before clipping: the whole, and by module kind; root sums of squares."""

    whole: float
    by_kind: dict[str, float]

    @property
    def finite(self) -> bool:
        """Whether a step may be taken."""
        return math.isfinite(self.whole)


def norms_of(gradients: Any) -> Norms:
    """The norms of a tree of gradients of adapters."""
    flat: dict[str, mx.array] = dict(tree_flatten(gradients))
    squares = {name: g.astype(mx.float32).square().sum() for name, g in flat.items()}
    mx.eval(squares)
    by_kind = dict.fromkeys(KINDS, 0.0)
    for name, square in squares.items():
        by_kind[kind_of(name)] = by_kind.get(kind_of(name), 0.0) + float(square)
    return Norms(math.sqrt(sum(by_kind.values())), {kind: math.sqrt(square) for kind, square in by_kind.items()})


def take_step(model: nn.Module, optimizer: optim.Optimizer, gradients: Any, norms: Norms, clip_norm: float) -> None:
    """g <- g · min(1, clip / ‖g‖); the optimizer's update. For finite norms only."""
    shrink = min(1.0, clip_norm / norms.whole) if norms.whole > 0.0 else 1.0
    optimizer.update(model, tree_map(lambda g: shrink * g, gradients))
    mx.eval(model.trainable_parameters(), optimizer.state)


_PATHS = {
    "gate": "gate_proj", "up": "up_proj", "down": "down_proj", "o": "o_proj", "k": "k_proj", "v": "v_proj", "q": "q_",
}  # fmt: skip


def kind_of(name: str) -> str:
    """The module kind of an adapter array's full name; latent attention's kv_a counts as k."""
    module = name.rpartition(".")[0].rpartition(".")[2]
    if module.startswith("kv_"):
        return "k"
    return next((kind for kind, start in _PATHS.items() if module.startswith(start)), "other")
