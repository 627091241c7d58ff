"""LoRA adapters on chosen layers: y = W x + scale B A x, A drawn from a key and B zero (Hu et al. 2021).

The modules are mlx-lm's own LoRALinear and LoRASwitchLinear, so its tools load what is trained here. `scale` is
mlx-lm's: the factor itself, alpha / rank in other libraries. It is 2.0, the usual alpha = 2 r, where mlx-lm's default
of 20 is unstable at a learning rate of 1e-4. One scale for both ranks keeps the exported adapter free of rescaling.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import mlx.nn as nn
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear
from mlx_lm.tuner.lora import LoRALinear, LoRASwitchLinear
from pydantic import BaseModel, ConfigDict, Field

from agents.lm.architecture import ATTENTION, KINDS, layers_of, modules_by_kind
from agents.lm.device import mx

LEAVES = ("lora_a", "lora_b")


class LoraSettings(BaseModel):
    """Which layers get adapters, and how large they are."""

    model_config = ConfigDict(extra="forbid")

    layers: Literal["middle-third", "latter-third", "all"] | list[int] = Field(
        "middle-third", description="Layers to adapt: a named slice, or their numbers from 0."
    )
    attention_rank: int = Field(32, ge=1, description="Rank on the attention projections.")
    mlp_rank: int = Field(16, ge=1, description="Rank on the gate, up and down projections.")
    scale: float = Field(
        2.0, gt=0, description="Factor on the low-rank product (mlx-lm's `scale`; alpha / rank elsewhere)."
    )


def middle_third(n: int) -> range:
    """The middle third of n layers as the paper counts it: 62 -> 21..41, 30 -> 10..19."""
    return range(math.ceil(n / 3), math.ceil(2 * n / 3))


def latter_third(n: int) -> range:
    """The last third of n layers: 62 -> 42..61, 30 -> 20..29."""
    return range(math.ceil(2 * n / 3), n)


class NoSuchLayers(ValueError):
    """Settings name layers that the model does not have."""


def adapted_layers(n: int, settings: LoraSettings) -> list[int]:
    """Layer numbers that `settings` names in a model of n layers. Raises ValueError for none, or for ones outside."""
    named = {"middle-third": middle_third(n), "latter-third": latter_third(n), "all": range(n)}
    chosen = settings.layers if isinstance(settings.layers, list) else list(named[settings.layers])
    outside = [i for i in chosen if not 0 <= i < n]
    if outside or not chosen:
        raise NoSuchLayers(
            f"layers = {settings.layers!r} names {outside or 'no layer'}; "
            f"expected numbers from 0 to {n - 1}, at least one"
        )
    return sorted(set(chosen))


def inject(model: nn.Module, settings: LoraSettings, key: mx.array) -> list[str]:
    """Put stock LoRALinear / LoRASwitchLinear modules in; returns their full paths. The base is frozen.

    A is uniform in +-1/sqrt(inputs) from `key`, never from the global generator; B is zero.
    Raises ValueError if the model has adapters already, UnknownArchitecture for an unknown model type.
    """
    if slots(model):
        raise ValueError("the model has LoRA modules already; expected a plain base. Load it afresh, or use `fresh`")
    model.freeze()
    ranks = _ranks(model, settings)
    present = dict(model.named_modules())
    with global_generator_untouched():
        made = [(path, _lora(present[path], rank, settings)) for path, rank in ranks.items()]
    model.update_modules(tree_unflatten(made))
    set_trainable(model, fresh(model, key))
    return list(ranks)


def _ranks(model: nn.Module, settings: LoraSettings) -> dict[str, int]:
    """Full module path -> rank, in the order of layers and kinds. A path that serves two kinds appears once."""
    ranks: dict[str, int] = {}
    for layer in adapted_layers(len(layers_of(model)), settings):
        kinds = modules_by_kind(model, layer)
        for kind in KINDS:
            rank = settings.attention_rank if kind in ATTENTION else settings.mlp_rank
            ranks |= dict.fromkeys(kinds[kind], rank)
    return ranks


def _lora(base: nn.Module, rank: int, settings: LoraSettings) -> nn.Module:
    stock: Any = LoRASwitchLinear if isinstance(base, SwitchLinear | QuantizedSwitchLinear) else LoRALinear
    module: nn.Module = stock.from_base(base, r=rank, scale=settings.scale)
    return module


@contextmanager
def global_generator_untouched() -> Iterator[None]:
    """mlx-lm's constructors draw an A that is thrown away; give the global generator its state back."""
    state: Any = mx.random.state
    high, low = state[0].tolist()
    try:
        yield
    finally:
        mx.random.seed((high << 32) | low)


def slots(model: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    """Full array name -> (module, "lora_a" or "lora_b"), in the order of the model's modules."""
    adapted = [(p, m) for p, m in model.named_modules() if isinstance(m, LoRALinear | LoRASwitchLinear)]
    return {f"{path}.{leaf}": (module, leaf) for path, module in sorted(adapted, key=lambda a: a[0]) for leaf in LEAVES}


def trainable(model: nn.Module) -> dict[str, mx.array]:
    """The adapters' arrays, flat: {"model.layers.10.self_attn.q_proj.lora_a": array, ...}."""
    return {name: module[leaf] for name, (module, leaf) in slots(model).items()}


def set_trainable(model: nn.Module, flat: dict[str, mx.array]) -> None:
    """Put a flat tree of adapter arrays into the model."""
    model.update(tree_unflatten(list(flat.items())))


def flatten(tree: object) -> dict[str, mx.array]:
    """A nested tree (gradients, optimizer state) as a flat one with dotted names."""
    return dict(tree_flatten(tree))


def fresh(model: nn.Module, key: mx.array) -> dict[str, mx.array]:
    """A new set for the injected modules: A from `key`, B zero, in float32. Does not touch the model."""
    found = slots(model)
    keys = mx.random.split(key, max(len(found), 1))
    return {name: _drawn(module, leaf, k) for (name, (module, leaf)), k in zip(found.items(), keys, strict=True)}


def _drawn(module: nn.Module, leaf: str, key: mx.array) -> mx.array:
    shape = module[leaf].shape
    if leaf == "lora_b":
        return mx.zeros(shape)
    inputs = shape[-1] if isinstance(module, LoRASwitchLinear) else shape[0]
    bound = 1 / math.sqrt(inputs)
    return mx.random.uniform(-bound, bound, shape, key=key)


@contextmanager
def without_adapters(model: nn.Module) -> Iterator[nn.Module]:
    """The base itself for the time of a pass, e.g. as the reference policy.

    Same numbers as the `off` set to the bit, without its products with A and B.
    """
    adapted = [(p, m) for p, m in model.named_modules() if isinstance(m, LoRALinear | LoRASwitchLinear)]
    model.update_modules(tree_unflatten([(path, module.linear) for path, module in adapted]))
    try:
        yield model
    finally:
        model.update_modules(tree_unflatten(adapted))


def off(model: nn.Module) -> dict[str, mx.array]:
    """The set that leaves the base as it is: the model's A with B zero. The reference policy is this set."""
    return {name: mx.zeros_like(a) if name.endswith("lora_b") else a for name, a in trainable(model).items()}
