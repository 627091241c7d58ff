"""What a window keeps of the windows before it: a fixed number of slots a layer, instead of every key and value (paper 291-292).

A cache holds keys after the rotary embedding. To stand for several tokens a slot must not carry the positions of one, so

    un-rotate at the tokens' positions  ->  compress (dapt/compressor.py)  ->  rotate at the slots' own, 0 ... S - 1

and the tokens of a window follow from position S on: positions stay as small in the last window as in the first. In latent
attention (GLM-4.7 Flash) a cache's `keys` are the latent vector, which is never rotated, and its `values` the rotary part.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import mlx.nn as nn

from agents.lm.architecture import layers_of
from agents.lm.device import mx
from agents.lm.functional_cache import FunctionalCache


class Plain(NamedTuple):
    """Keys and values of one layer without positions, in the cache's own places: (1, heads, items, width) each."""

    keys: mx.array
    values: mx.array


class History(NamedTuple):
    """What is to be remembered: items of every layer, and how many tokens each item stands for."""

    items: list[Plain]
    counts: tuple[int, ...]


class Memory(NamedTuple):
    """Slots of every layer, rotated at positions 0 ... S - 1 and cut off from any gradient; keys, values: a layer each.

    counts: how many tokens each slot stands for.
    """

    keys: tuple[mx.array, ...]
    values: tuple[mx.array, ...]
    counts: tuple[int, ...]

    @property
    def slots(self) -> int:
        """S."""
        return int(self.keys[0].shape[2])


def caches_after(model: nn.Module, memory: Memory | None) -> list[FunctionalCache]:
    """A cache for every layer that begins with the memory, which every query sees, whatever a layer's window."""
    if memory is None:
        return [FunctionalCache() for _ in layers_of(model)]
    return [
        FunctionalCache(keys, values, offset=memory.slots, n_mem=memory.slots)
        for keys, values in zip(memory.keys, memory.values, strict=True)
    ]


def without_positions(layer: nn.Module, keys: mx.array, values: mx.array, first: int) -> Plain:
    """What a cache holds, un-rotated; `first` is the position of its first token, the others follow."""
    rope: Any = layer.self_attn.rope
    if is_latent(layer):
        return Plain(keys, _unrotated(rope, values, first))
    return Plain(_unrotated(rope, keys, first), values)


def at_positions(layer: nn.Module, plain: Plain, first: int = 0) -> Plain:
    """The same, rotated at `first`, `first` + 1, ...: as a cache holds them."""
    rope: Any = layer.self_attn.rope
    if is_latent(layer):
        return Plain(plain.keys, rope(plain.values, offset=first))
    return Plain(rope(plain.keys, offset=first), plain.values)


def is_latent(layer: nn.Module) -> bool:
    """Whether a layer has latent attention, whose rotary part stands among a cache's values."""
    return "kv_a_proj_with_mqa" in layer.self_attn


def _unrotated(rope: Any, x: mx.array, first: int) -> mx.array:
    """R(p)^-1 x_p for p = first, first + 1, ...

    R(-p) is R(p)'s inverse, and a rotary module takes positions that grow by one: so the tokens are read from the last back, at
    -(first + T - 1) ... -first. A module that also scales its input by m (YaRN) does so twice here; m^2 is taken out.
    """
    reverse = mx.arange(x.shape[2])[::-1]
    turned = rope(x[:, :, reverse], offset=-(first + x.shape[2] - 1))[:, :, reverse]
    scale = float(getattr(rope, "mscale", getattr(rope, "_scale", 1.0)))
    return turned if scale == 1.0 else turned / scale**2
