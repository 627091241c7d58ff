"""Layers that are stood in for during a pass: what enters one is kept, what lies above is not computed, its inside is forgotten.

A model is a list of layers between an embedding and a norm; the list is changed and changed back, the layers are not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import mlx.nn as nn

from agents.lm.architecture import hidden_states, layers_of
from agents.lm.device import mx
from agents.lm.functional_cache import FunctionalCache


class Skip:
    """A layer that passes its input on."""

    def __init__(self) -> None:
        self.stands_for: Any = None

    def __call__(self, hidden: mx.array, mask: Any = None, cache: Any = None) -> mx.array:
        cache.advance(hidden.shape[1])
        return hidden

    def __getattr__(self, name: str) -> Any:
        return getattr(self.__dict__["stands_for"], name)  # e.g. use_sliding, which the models ask of a layer


class Tap(Skip):
    """A layer that remembers its inputs and passes them on."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[mx.array] = []

    def __call__(self, hidden: mx.array, mask: Any = None, cache: Any = None) -> mx.array:
        self.seen.append(hidden)
        return super().__call__(hidden, mask, cache)


class Watched(Tap):
    """A layer that remembers its inputs and does its work."""

    def __call__(self, hidden: mx.array, mask: Any = None, cache: Any = None) -> mx.array:
        self.seen.append(hidden)
        worked: mx.array = self.stands_for(hidden, mask, cache)
        return worked


class Checkpointed(Skip):
    """A layer whose inside is not kept for the backward pass; it is computed once more there.

    All that gradients flow through is an input or an output: adapters, hidden states, and the keys and values that the cache held
    before and holds after. The cache has to be a functional one: it is not written to inside, so computing twice leaves one trace.
    """

    def __call__(self, hidden: mx.array, mask: Any = None, cache: Any = None) -> mx.array:
        layer, held = self.stands_for, [] if cache.keys is None else [cache.keys, cache.values]
        offset, n_mem, slots = cache.offset, cache.n_mem, cache.slots

        def inside(adapters: Any, hidden: mx.array, *held: mx.array) -> tuple[mx.array, ...]:
            own = FunctionalCache(*held, offset=offset, n_mem=n_mem)
            own.slots = slots
            before = layer.trainable_parameters()
            layer.update(adapters)
            try:
                output = layer(hidden, mask, own)
            finally:
                layer.update(before)  # or the module would hold arrays of the backward pass, and with them its graph
            assert own.keys is not None
            assert own.values is not None
            return output, own.keys, own.values

        output, keys, values = mx.checkpoint(inside)(layer.trainable_parameters(), hidden, *held)
        cache.keys, cache.values = keys, values
        cache.advance(hidden.shape[1])
        worked: mx.array = output
        return worked


@contextmanager
def layers_replaced(model: nn.Module, by: Mapping[int, Skip]) -> Iterator[None]:
    """Some layers stand aside for the time of a pass. The model's own list is changed and changed back."""
    layers: list[Any] = layers_of(model)
    before = list(layers)
    try:
        for i, layer in by.items():
            layer.stands_for = before[i]
            layers[i] = layer
        yield
    finally:
        layers[:] = before


def states_entering(model: nn.Module, tokens: mx.array, cache: list[Any], layers: Sequence[int]) -> mx.array:
    """(batch, time, len(layers) * width) hidden states that enter those layers, side by side; nothing above is computed.

    layers: ascending, counted from 0, so that layer n is entered by what the first n layers made. The last of them does not run.
    """
    last = layers[-1]
    entered, top = {i: Watched() for i in layers[:-1]}, Tap()
    above = {i: Skip() for i in range(last + 1, len(layers_of(model)))}
    with layers_replaced(model, {**entered, last: top, **above}):
        hidden_states(model, tokens, cache)
    return mx.concatenate([layer.seen[0] for layer in (*entered.values(), top)], axis=-1)
