"""The compressor of the rolling recap architecture: many keys and values to a few slots, learned by reconstruction.

For a layer and a head, items t of segment s (equal stretches of the order) become one slot:

    a_t = softmax over the segment of q · k_t          k'_s = W_K Σ_t a_t k_t          v'_s = W_V Σ_t a_t v_t

q = 0, W = 1 at the start: the mean of each segment. It is learned by (paper, the footnote on the compressor)

    L = 1.0 · mse(mean k, mean k') + 0.5 · mse(var k, var k') + 0.5 · (1 - cos(k'_s, mean of segment s))      and the same for v

means over the order, variances over order and width of each head. The paper names the three terms and their weights, and no
architecture: a mean alone would shrink the variance of independent items to 1/n, W gives it back. Latent attention keeps one head
of latent vectors and one of rotary parts; both are compressed as keys and values are, which the paper could not do.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import mlx.nn as nn

from agents.lm.device import mx
from dapt.memory import Plain

MEAN, VARIANCE, COSINE = 1.0, 0.5, 0.5


class LayerCompressor(nn.Module):
    """One layer's parameters: query (heads, key width), mix_keys (heads, key width, key width), mix_values likewise."""

    def __init__(self, keys: tuple[int, int], values: tuple[int, int]) -> None:
        """keys, values: (heads, width) of what the layer's cache holds."""
        super().__init__()
        self.query = mx.zeros(keys)
        self.mix_keys = mx.broadcast_to(mx.eye(keys[1]), (keys[0], keys[1], keys[1]))
        self.mix_values = mx.broadcast_to(mx.eye(values[1]), (values[0], values[1], values[1]))

    def __call__(self, items: Plain, slots: int) -> Plain:
        """(1, heads, items, width) each to (1, heads, min(slots, items), width); float32."""
        keys, values = (a.astype(mx.float32) for a in items)
        place, held = _segments(keys.shape[2], slots)
        scores = (keys * self.query[None, :, None]).sum(axis=-1)[:, :, place]
        weights = mx.softmax(mx.where(held, scores, -mx.inf), axis=-1)[..., None]
        pooled_keys, pooled_values = ((weights * a[:, :, place]).sum(axis=3) for a in (keys, values))
        return Plain(pooled_keys @ self.mix_keys[None], pooled_values @ self.mix_values[None])


class Compressor(nn.Module):
    """A compressor for every layer. `layers[i](items, slots)`."""

    def __init__(self, shapes: Sequence[tuple[tuple[int, int], tuple[int, int]]]) -> None:
        """shapes: for each layer (heads, width) of its cache's keys and of its values (`cache_shapes`)."""
        super().__init__()
        self.layers = [LayerCompressor(keys, values) for keys, values in shapes]

    def __call__(self, items: Sequence[Plain], slots: int) -> list[Plain]:
        """Every layer's items to at most `slots` slots."""
        return [layer(one, slots) for layer, one in zip(self.layers, items, strict=True)]

    def loss(self, items: Sequence[Plain], slots: int) -> mx.array:
        """The reconstruction loss, a mean over layers; items as they were, without gradient."""
        return mx.stack([
            reconstruction(one, layer(one, slots)) for layer, one in zip(self.layers, items, strict=True)
        ]).mean()  # fmt: skip


def reconstruction(items: Plain, slots: Plain) -> mx.array:
    """L above, of one layer: what was (1, heads, items, width) beside what is kept (1, heads, slots, width)."""
    return _kept(items.keys, slots.keys) + _kept(items.values, slots.values)


def _kept(was: mx.array, now: mx.array) -> mx.array:
    was = was.astype(mx.float32)
    mean = ((was.mean(axis=2) - now.mean(axis=2)) ** 2).mean()
    variance = ((was.var(axis=(2, 3)) - now.var(axis=(2, 3))) ** 2).mean()
    place, held = _segments(was.shape[2], now.shape[2])
    share = held / held.sum(axis=-1, keepdims=True)
    centres = (was[:, :, place] * share[..., None]).sum(axis=3)
    norms = mx.linalg.norm(centres, axis=-1) * mx.linalg.norm(now, axis=-1)
    cosine = (centres * now).sum(axis=-1) / mx.maximum(norms, 1e-12)
    return MEAN * mean + VARIANCE * variance + COSINE * (1.0 - cosine.mean())


def _segments(items: int, slots: int) -> tuple[mx.array, mx.array]:
    """(slots, longest) indices of each segment's items, and which of them are there; equal stretches but for one item."""
    count = min(items, slots)
    edges = [i * items // count for i in range(count + 1)]
    longest = max(b - a for a, b in itertools.pairwise(edges))
    place = [[min(a + j, b - 1) for j in range(longest)] for a, b in itertools.pairwise(edges)]
    held = [[a + j < b for j in range(longest)] for a, b in itertools.pairwise(edges)]
    return mx.array(place), mx.array(held)
