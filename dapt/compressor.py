"""The compressor of the rolling recap architecture: many keys and values to a few slots, learned by reconstruction.

For a layer and a head, items t of segment s (stretches of the order that stand for equally many tokens) become one slot:

    a_t = c_t exp(q · k_t) / Σ over the segment          k'_s = W_K Σ_t a_t k_t          v'_s = W_V Σ_t a_t v_t

c_t is how many tokens item t stands for: 1, or what a slot has taken up. Without it a slot of sixteen tokens would count as one,
and after two windows the history would be the last window. q = 0, W = 1 at the start: the mean of each segment's tokens. It is
learned by (paper, the footnote on the compressor)

    L = 1.0 · mse(mean k, mean k') + 0.5 · mse(var k, var k') + 0.5 · (1 - cos(k'_s, mean of segment s))      and the same for v

means over tokens, variances over tokens and width of each head. The paper names the three terms and their weights, and no
architecture: a mean alone would shrink the variance of independent items to 1/n, W gives it back. Latent attention keeps one head
of latent vectors and one of rotary parts; both are compressed as keys and values are, which the paper could not do.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

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

    def __call__(self, items: Plain, counts: Sequence[int], slots: int) -> Plain:
        """(1, heads, items, width) each to (1, heads, at most `slots`, width); float32. counts: tokens of each item."""
        keys, values = (a.astype(mx.float32) for a in items)
        place, share = _weights(counts, slots)
        scores = (keys * self.query[None, :, None]).sum(axis=-1)[:, :, place]
        weights = mx.softmax(scores + mx.log(share), axis=-1)[..., None]  # of a place that holds nothing, log 0
        pooled_keys, pooled_values = ((weights * a[:, :, place]).sum(axis=3) for a in (keys, values))
        return Plain(pooled_keys @ self.mix_keys[None], pooled_values @ self.mix_values[None])


class Compressor(nn.Module):
    """A compressor for every layer. `layers[i](items, counts, slots)`."""

    def __init__(self, shapes: Sequence[tuple[tuple[int, int], tuple[int, int]]]) -> None:
        """shapes: for each layer (heads, width) of its cache's keys and of its values (`cache_shapes`)."""
        super().__init__()
        self.layers = [LayerCompressor(keys, values) for keys, values in shapes]

    def __call__(self, items: Sequence[Plain], counts: Sequence[int], slots: int) -> list[Plain]:
        """Every layer's items to at most `slots` slots."""
        return [layer(one, counts, slots) for layer, one in zip(self.layers, items, strict=True)]

    def loss(self, items: Sequence[Plain], counts: Sequence[int], slots: int) -> mx.array:
        """The reconstruction loss, a mean over layers; items as they were, without gradient."""
        each = [
            reconstruction(one, layer(one, counts, slots), counts, slots)
            for layer, one in zip(self.layers, items, strict=True)
        ]
        return mx.stack(each).mean()


def reconstruction(items: Plain, kept: Plain, counts: Sequence[int], slots: int) -> mx.array:
    """L above, of one layer: what was (1, heads, items, width) beside what is kept of it in so many slots."""
    place, share = _weights(counts, slots)
    was, now = mx.array(list(counts), mx.float32), mx.array(list(merged(counts, slots)), mx.float32)
    return sum(
        (_kept(a, b, was / was.sum(), now / now.sum(), place, share) for a, b in zip(items, kept, strict=True)),
        mx.array(0.0),
    )


def merged(counts: Sequence[int], slots: int) -> tuple[int, ...]:
    """Tokens of each slot that items of so many tokens become."""
    return tuple(sum(counts[a:b]) for a, b in segments(counts, slots))


def segments(counts: Sequence[int], slots: int) -> list[tuple[int, int]]:
    """(first item, the one after the last) of each slot: an item of its own each where there are no more items than slots.

    Else an item belongs to the equal part of all tokens that its middle falls into; a part with no item's middle has no slot.
    """
    if len(counts) <= slots:
        return [(i, i + 1) for i in range(len(counts))]
    total, before, edges, last = sum(counts), 0, list[int](), -1
    for i, count in enumerate(counts):
        part = slots * (2 * before + count) // (2 * total)
        if part != last:
            edges.append(i)
            last = part
        before += count
    return list(pairwise([*edges, len(counts)]))


def _kept(
    was: mx.array, now: mx.array, old_share: mx.array, new_share: mx.array, place: mx.array, share: mx.array
) -> mx.array:
    was, now = was.astype(mx.float32), now.astype(mx.float32)
    (old_mean, old_variance), (new_mean, new_variance) = _moments(was, old_share), _moments(now, new_share)
    mean, variance = ((old_mean - new_mean) ** 2).mean(), ((old_variance - new_variance) ** 2).mean()
    centres = (was[:, :, place] * (share / share.sum(axis=-1, keepdims=True))[..., None]).sum(axis=3)
    norms = mx.linalg.norm(centres, axis=-1) * mx.linalg.norm(now, axis=-1)
    cosine = (centres * now).sum(axis=-1) / mx.maximum(norms, 1e-12)
    return MEAN * mean + VARIANCE * variance + COSINE * (1.0 - cosine.mean())


def _moments(x: mx.array, share: mx.array) -> tuple[mx.array, mx.array]:
    """(mean over the order (1, heads, width), variance over order and width (1, heads)); share (items,) sums to 1."""
    mean = (x * share[:, None]).sum(axis=2)
    centre = mean.mean(axis=-1)[..., None, None]
    return mean, (((x - centre) ** 2).mean(axis=-1) * share).sum(axis=-1)


def _weights(counts: Sequence[int], slots: int) -> tuple[mx.array, mx.array]:
    """(slots, longest) indices of each segment's items, and their tokens; 0 where a segment has no further item."""
    found = segments(counts, slots)
    longest = max(b - a for a, b in found)
    place = [[min(a + j, b - 1) for j in range(longest)] for a, b in found]
    share = [[float(counts[a + j]) if a + j < b else 0.0 for j in range(longest)] for a, b in found]
    return mx.array(place), mx.array(share)
