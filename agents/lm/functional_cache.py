"""A key-value cache without side effects on arrays: it can be differentiated through, broadcast and prepended to.

A stock cache is written in place, so a loss must never receive one from outside. This one concatenates. The models ask
their cache for the mask (`make_mask`), for rotary positions (`offset`) and for the keys (`update_and_fetch`).
"""

from __future__ import annotations

from typing import Any

import mlx.nn as nn

from agents.lm.architecture import layers_of
from agents.lm.device import mx


class FunctionalCache:
    """Keys and values of one layer.

    keys: (batch, heads, slots, width) after the rotary embedding; values likewise; None while empty. offset: rotary
    position of the next token, independent of the number of slots. n_mem: first slots that every query sees, whatever
    the window. slots: number of keys held (also counted for a layer that was skipped and holds none).
    """

    def __init__(
        self, keys: mx.array | None = None, values: mx.array | None = None, *, offset: int | None = None, n_mem: int = 0
    ) -> None:
        self.keys, self.values, self.n_mem = keys, values, n_mem
        self.slots = 0 if keys is None else int(keys.shape[2])
        self.offset = self.slots if offset is None else offset

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        """Append keys and values of new tokens; returns all of them."""
        if self.keys is not None and self.values is not None:
            keys = mx.concatenate([self.keys, keys], axis=2)
            values = mx.concatenate([self.values, values], axis=2)
        self.keys, self.values = keys, values
        self.advance(int(keys.shape[2]) - self.slots)
        return keys, values

    def advance(self, n: int) -> None:
        """Count n tokens without keys: what a skipped layer does."""
        self.slots += n
        self.offset += n

    def make_mask(self, n: int, return_array: bool = False, window_size: int | None = None) -> mx.array | str | None:
        """Mask for n new queries over slots + n keys: causal, within the window, memory slots always visible.

        Returns None where a lone query sees everything, "causal" where MLX's own causal mask will do, else booleans.
        """
        windowed = window_size is not None and self.slots - self.n_mem + n > window_size
        if not windowed and not return_array:
            return None if n == 1 else "causal"
        query = mx.arange(self.slots, self.slots + n)[:, None]
        key = mx.arange(self.slots + n)[None]
        seen = query >= key
        if window_size is not None:
            seen = seen & (query < key + window_size)
        return seen | (key < self.n_mem)

    def broadcast(self, k: int) -> FunctionalCache:
        """The same history for a batch of k branches; nothing is copied."""
        keys, values = self.keys, self.values
        if keys is not None and values is not None:
            keys, values = (mx.broadcast_to(a, (k, *a.shape[1:])) for a in (keys, values))
        other = FunctionalCache(keys, values, offset=self.offset, n_mem=self.n_mem)
        other.slots = self.slots
        return other


def functional_caches(model: nn.Module) -> list[Any]:
    """An empty functional cache for every layer."""
    return [FunctionalCache() for _ in layers_of(model)]
