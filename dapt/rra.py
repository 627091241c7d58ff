"""The rolling recap architecture: a sample of any length in windows, at the memory of one (paper 286-301).

    Window_n = compressed history (1 : n - 1)  ⊕  recap R_(n-1)  ⊕  content C_n                                   (paper 291)

    ∇L_sample = 1/N Σ_n g_n ∇L(W_n)          g_n: by the quality of the recap that the window is read with           (paper 299)

Window borders ignore turns. The recap is read and not learned: only content tokens carry the loss, all of them or those that a mask
names (dapt/masks.py); L is the mean over them, and 0 in a window that has none. The history is cut off from the gradient between
windows; through what reads it, gradients flow.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import mlx.nn as nn

from agents.lm.architecture import head, hidden_states, layers_of
from agents.lm.device import mx
from agents.lm.functional_cache import FunctionalCache
from dapt.compressor import Compressor, merged
from dapt.memory import History, Memory, Plain, at_positions, caches_after, without_positions

# Of a window. A rest of three tokens had a gradient norm of 5 where windows have a fifth of one (LOG.md).
SHORTEST = 0.25


class Window(NamedTuple):
    """One window's tokens. recap: read, not learned; content: learned, or of it those tokens where `learned` (as many) is true."""

    recap: list[int]
    content: list[int]
    learned: list[bool] | None = None

    @property
    def scored(self) -> list[int]:
        """Indices in recap + content of the tokens that carry the loss.

        The first token of a window without recap does not: nothing, or a memory alone, stands before it, in which nothing is said.
        """
        first, before = (0 if self.recap else 1), len(self.recap)
        return [before + i for i in range(first, len(self.content)) if self.learned is None or self.learned[i]]


class Passed(NamedTuple):
    """A forward pass over a window. logp: (C,) float32 of the tokens that carry the loss, C may be 0; caches: a layer each."""

    logp: mx.array
    caches: list[FunctionalCache]


def borders(length: int, size: int) -> list[tuple[int, int]]:
    """(first token, the one after the last) of each window's content: `size` tokens, the last one fewer or, where a
    rest of less than SHORTEST windows joins it, up to a quarter more: each window counts alike in the mean over a sample.

    What is known of each token is cut as the tokens are. Raises ValueError for a size below 2: a token alone has nothing before it.
    """
    if size < 2:
        raise ValueError(f"found windows of {size} tokens; expected at least 2")
    edges = [*range(0, length, size), length] if length else []
    if len(edges) > 2 and edges[-1] - edges[-2] < max(2, SHORTEST * size):
        del edges[-2]
    return list(pairwise(edges))


def pass_window(model: nn.Module, memory: Memory | None, window: Window) -> Passed:
    """Log-probabilities of what is scored of the content, read after the memory and the recap; differentiable in the adapters.

    The head runs on what stands before those tokens alone. Raises ValueError for a window that has nothing to score, masked or not,
    or a mask of another length.
    """
    tokens = window.recap + window.content
    if len(tokens) < 2 or not window.content:
        raise ValueError(
            f"found a window of {len(window.content)} content and {len(window.recap)} recap tokens; expected two or more"
        )
    if window.learned is not None and len(window.learned) != len(window.content):
        raise ValueError(
            f"found a mask of {len(window.learned)} for {len(window.content)} content tokens; expected one for each"
        )
    caches = caches_after(model, memory)
    hidden = hidden_states(model, mx.array([tokens]), caches)
    scored = window.scored
    if not scored:
        return Passed(mx.zeros((0,)), caches)
    before = hidden[0, scored[0] - 1 : -1] if window.learned is None else hidden[0][mx.array(scored) - 1]
    logits = head(model, before)
    found = mx.take_along_axis(logits, mx.array([tokens[i] for i in scored])[:, None], axis=-1)[:, 0]
    return Passed(found - mx.logsumexp(logits, axis=-1), caches)


def loss_of(passed: Passed) -> mx.array:
    """L(W): mean of -log π over the tokens that carry the loss; 0, with no gradient, where none does."""
    return -passed.logp.mean() if passed.logp.size else mx.array(0.0)


def window_loss(model: nn.Module, memory: Memory | None, window: Window) -> mx.array:
    """L(W) of a window that is passed over here."""
    return loss_of(pass_window(model, memory, window))


def history_of(model: nn.Module, memory: Memory | None, window: Window, caches: Sequence[FunctionalCache]) -> History:
    """What is to be remembered after a window, layer by layer: the memory it had and its content, without positions.

    The recap is left out: it says again what the memory holds. Cut off from the gradient.
    """
    slots, recap = (0 if memory is None else memory.slots), len(window.recap)
    found = []
    for layer, cache in zip(layers_of(model), caches, strict=True):
        assert cache.keys is not None
        assert cache.values is not None
        old = without_positions(layer, cache.keys[:, :, :slots], cache.values[:, :, :slots], 0) if slots else None
        start = slots + recap
        new = without_positions(layer, cache.keys[:, :, start:], cache.values[:, :, start:], start)
        parts = [new] if old is None else [old, new]
        found.append(
            Plain(*(mx.stop_gradient(mx.concatenate(list(side), axis=2)) for side in zip(*parts, strict=True)))
        )
    counts = () if memory is None else memory.counts
    return History(found, (*counts, *[1] * len(window.content)))


def compressed(model: nn.Module, compressor: Compressor, history: History, slots: int) -> Memory:
    """The history as the next window reads it: at most `slots` slots, rotated at 0, 1, ...; cut off from the gradient."""
    placed = [
        Plain(*(a.astype(was.dtype) for a, was in zip(at_positions(layer, kept), one, strict=True)))
        for layer, kept, one in zip(layers_of(model), compressor(*history, slots), history.items, strict=True)
    ]
    keys, values = (tuple(mx.stop_gradient(a) for a in side) for side in zip(*placed, strict=True))
    return Memory(keys, values, merged(history.counts, slots))


def cache_shapes(model: nn.Module) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """((heads, width) of keys, of values) of every layer's cache, from a pass over one token."""
    caches = caches_after(model, None)
    hidden_states(model, mx.array([[0]]), caches)
    shapes = []
    for cache in caches:
        assert cache.keys is not None
        assert cache.values is not None
        keys, values = cache.keys.shape, cache.values.shape
        shapes.append(((int(keys[1]), int(keys[3])), (int(values[1]), int(values[3]))))
    return shapes
