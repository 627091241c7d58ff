"""Many sequences in one forward pass, each shared beginning forwarded once, with no padding and no copy of the prefix.

The sequences make a tree of tokens. Its trunk, which all share, is an ordinary causal pass and is kept between calls; the
branches are laid one after another in ONE row, and each token gets the position it has in its own sequence and a mask of
the tokens it may see:

    position = depth in the tree,      a token sees its ancestors and itself

So 4 replies x 24 questions after 1500 tokens of rubric cost the tokens that are new and hold the rubric's keys once, where
a batch of 96 rows would hold them 96 times. Branches are forwarded in passes of at most `budget` tokens, which bounds memory.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import mlx.nn as nn
import numpy as np

from agents.lm.architecture import hidden_states, layers_of
from agents.lm.depth import states_entering
from agents.lm.device import mx, on_cpu
from agents.lm.functional_cache import FunctionalCache, functional_caches
from agents.lm.generate import PREFILL, common_length

# Tokens of branches in one pass. Branches do not see each other, but a pass computes as if they did before it masks them: on a
# CPU that work counts; on a GPU fewer passes do.
BUDGET = 256 if on_cpu() else 4096
Forward = Callable[[nn.Module, mx.array, list[Any]], mx.array]  # (model, tokens (1, n), caches) -> states (1, n, width)


@dataclass(frozen=True)
class Trunk:
    """Tokens that were forwarded as one chain, with the keys and values of every layer. Of ONE adapter set."""

    tokens: tuple[int, ...]
    layers: list[FunctionalCache]

    @staticmethod
    def empty(model: nn.Module) -> Trunk:
        return Trunk((), functional_caches(model))

    def cut(self, length: int) -> Trunk:
        """The first `length` tokens of it."""
        if length >= len(self.tokens):
            return self
        return Trunk(self.tokens[:length], [_cut(layer, length) for layer in self.layers])

    def extended(
        self, model: nn.Module, tokens: Sequence[int], forward: Forward = hidden_states
    ) -> tuple[Trunk, mx.array | None]:
        """(a longer trunk, hidden states (len(tokens), width) of the new tokens or None); this one stays as it is."""
        layers, found = [layer.broadcast(1) if layer.slots else FunctionalCache() for layer in self.layers], []
        for start in range(0, len(tokens), PREFILL):
            found.append(forward(model, mx.array([list(tokens[start : start + PREFILL])]), layers)[0])
            mx.eval(found[-1], [(layer.keys, layer.values) for layer in layers if layer.keys is not None])
        return Trunk((*self.tokens, *tokens), layers), mx.concatenate(found) if found else None


def _cut(layer: FunctionalCache, length: int) -> FunctionalCache:
    if layer.keys is None or layer.values is None or length == 0:
        return FunctionalCache()
    return FunctionalCache(layer.keys[:, :, :length], layer.values[:, :, :length])


class Places:
    """Where the tokens of one pass stand. slots: (S,) positions of the keys held; positions: (n,) of the new tokens;
    seen: (n, S + n) bool, which keys, held and new, each new token sees."""

    def __init__(self, slots: np.ndarray, positions: np.ndarray, seen: np.ndarray) -> None:
        self.slots, self.positions, self.seen = slots, positions, seen

    def mask(self, window: int | None) -> mx.array:
        if window is None:
            return mx.array(self.seen)
        distance = self.positions[:, None] - np.concatenate([self.slots, self.positions])[None]
        return mx.array(self.seen & (distance < window))


class SlotCache:
    """Keys and values of one layer whose tokens stand at `places`, not one after another."""

    offset = 0  # the rotary embedding reads `places` instead

    def __init__(self, keys: mx.array | None = None, values: mx.array | None = None) -> None:
        self.keys, self.values = keys, values
        self.places: Places | None = None

    def update_and_fetch(self, keys: mx.array, values: mx.array) -> tuple[mx.array, mx.array]:
        if self.keys is not None and self.values is not None:
            keys = mx.concatenate([self.keys, keys], axis=2)
            values = mx.concatenate([self.values, values], axis=2)
        self.keys, self.values = keys, values
        return keys, values

    def advance(self, n: int) -> None:
        """Of a layer that stands aside nothing is kept."""

    def make_mask(self, n: int, return_array: bool = False, window_size: int | None = None) -> mx.array:
        assert self.places is not None
        return self.places.mask(window_size)


def slot_caches(trunk: Trunk) -> list[SlotCache]:
    return [SlotCache(layer.keys, layer.values) for layer in trunk.layers]


def placed_states(
    model: nn.Module,
    tokens: Sequence[int],
    caches: list[SlotCache],
    places: Places,
    forward: Forward = hidden_states,
) -> mx.array:
    """Hidden states (n, width) of n tokens that stand at `places`; their keys and values are appended to `caches`."""
    for cache in caches:
        cache.places = places
    with _rotary_at(model, mx.array(places.positions)):
        return forward(model, mx.array([list(tokens)]), caches)[0]


class _RotaryAt:
    """A rotary embedding that turns each token of its one row by a position of its own."""

    def __init__(self, rotary: Any, positions: mx.array) -> None:
        self._rotary, self._positions = rotary, positions

    def __call__(self, x: mx.array, offset: Any = 0) -> mx.array:
        """x: (1, heads, n, width)."""
        return self._rotary(x.transpose(2, 1, 0, 3), offset=self._positions).transpose(2, 1, 0, 3)


@contextmanager
def _rotary_at(model: nn.Module, positions: mx.array) -> Iterator[None]:
    """The rotary embeddings of all layers stand aside for the time of a pass, as the layers do in logprob.py."""
    holders: list[Any] = [layer.self_attn for layer in layers_of(model) if "rope" in layer.self_attn]
    before = [holder["rope"] for holder in holders]
    try:
        for holder, rotary in zip(holders, before, strict=True):
            holder["rope"] = _RotaryAt(rotary, positions)
        yield
    finally:
        for holder, rotary in zip(holders, before, strict=True):
            holder["rope"] = rotary


@dataclass(frozen=True)
class Branch:
    """Tokens that a group of sequences shares and no other has, `depth` tokens after the root; then where they part."""

    depth: int
    tokens: tuple[int, ...]
    sequences: tuple[int, ...]
    children: tuple[Branch, ...]

    @property
    def size(self) -> int:
        """Tokens in it and in all below it."""
        return len(self.tokens) + sum(child.size for child in self.children)

    def flattened(self) -> list[tuple[Branch, int]]:
        """(branch, index of its parent in this list or -1), parents first."""
        found: list[tuple[Branch, int]] = [(self, -1)]
        for child in self.children:
            start = len(found)
            found += [(b, 0 if parent < 0 else parent + start) for b, parent in child.flattened()]
        return found


def grown(sequences: Sequence[Sequence[int]], depth: int = 0) -> Branch:
    """The tree of the sequences from `depth` on, all equal up to there; equal sequences end in the same branch."""
    return _grown(sequences, sorted(range(len(sequences)), key=lambda i: tuple(sequences[i])), depth)


def _grown(sequences: Sequence[Sequence[int]], group: Sequence[int], depth: int) -> Branch:
    first, last = sequences[group[0]], sequences[group[-1]]  # sorted: what these two share, all share
    shared = depth + common_length(first[depth:], last[depth:])
    longer = [i for i in group if len(sequences[i]) > shared]
    edges = [0, *(n for n in range(1, len(longer)) if _parts(sequences, longer, n, shared)), len(longer)]
    children = tuple(_grown(sequences, longer[a:b], shared) for a, b in pairwise(edges) if b > a)
    return Branch(depth, tuple(first[depth:shared]), tuple(group), children)


def _parts(sequences: Sequence[Sequence[int]], group: Sequence[int], n: int, depth: int) -> bool:
    return sequences[group[n - 1]][depth] != sequences[group[n]][depth]


class PromptTree:
    """Forwards sequences as a tree and keeps the trunk for the next call.

    Of one model under one adapter set: `clear` it when another is active or the set was trained. budget: tokens of branches in one
    pass. context: tokens of one sequence that the model was made for; readers and writers refuse longer ones. layers: where
    given, states are those that enter these layers, side by side, and nothing above is computed; else the last ones, after
    the norm.
    """

    def __init__(self, model: nn.Module, budget: int = BUDGET, layers: Sequence[int] | None = None) -> None:
        self.model, self.budget, self.context = model, budget, _context(model)
        if layers is not None:
            _expect_layers(layers, len(layers_of(model)))
        self._forward: Forward = hidden_states if layers is None else partial(states_entering, layers=tuple(layers))
        self._kept = Trunk.empty(model)
        self.forwarded = 0  # tokens, for measurements

    def clear(self) -> None:
        """Forget the trunk."""
        self._kept = Trunk.empty(self.model)

    def states(self, sequences: Sequence[Sequence[int]], wanted: Sequence[int]) -> list[mx.array]:
        """Hidden states (wanted[i], width) of the last wanted[i] tokens of each sequence.

        Sequence i does not depend on the others (but for rounding). Raises ValueError for an empty sequence or more wanted than
        it has.
        """
        if wrong := [i for i, (s, w) in enumerate(zip(sequences, wanted, strict=True)) if not 0 < w <= len(s)]:
            raise ValueError(f"sequences {wrong}: more states wanted than tokens, or none; expected 1 to its length")
        if not sequences:
            return []
        reading = _Reading([len(s) - w for s, w in zip(sequences, wanted, strict=True)], list(map(len, sequences)))
        trunk = self.trunk(sequences, min(reading.first))
        self._walk(trunk, [grown(sequences, len(trunk.tokens))], reading)
        return reading.states()

    def trunk(self, sequences: Sequence[Sequence[int]], most: int) -> Trunk:
        """What all sequences begin with, at most `most` tokens of it, forwarded where it was not kept; it is kept."""
        first, last = min(map(tuple, sequences)), max(map(tuple, sequences))  # what these two share, all share
        shared = first[: min(most, common_length(first, last))]
        kept = self._kept.cut(common_length(self._kept.tokens, shared))
        self.forwarded += len(shared) - len(kept.tokens)
        self._kept, _ = kept.extended(self.model, shared[len(kept.tokens) :], self._forward)
        return self._kept

    def _walk(self, trunk: Trunk, branches: Sequence[Branch], reading: _Reading) -> None:
        """Small branches together, in passes of at most `budget` tokens; a large one becomes a trunk for those on it."""
        for packed in self._packed([branch for branch in branches if branch.size <= self.budget]):
            self._forest(trunk, packed, reading)
        for branch in branches:
            if branch.size > self.budget:
                longer, hidden = trunk.extended(self.model, branch.tokens, self._forward)
                self.forwarded += len(branch.tokens)
                if hidden is not None:
                    reading.read(hidden, [(branch, 0)])
                self._walk(longer, branch.children, reading)

    def _packed(self, branches: Sequence[Branch]) -> Iterator[list[Branch]]:
        together: list[Branch] = []
        for branch in branches:
            if together and sum(b.size for b in together) + branch.size > self.budget:
                yield together
                together = []
            together.append(branch)
        if together:
            yield together

    def _forest(self, trunk: Trunk, branches: Sequence[Branch], reading: _Reading) -> None:
        tokens, places, found = laid_out(len(trunk.tokens), branches)
        if tokens:
            self.forwarded += len(tokens)
            states = placed_states(self.model, tokens, slot_caches(trunk), places, self._forward)
            reading.read(states, found)


def laid_out(trunk: int, branches: Sequence[Branch]) -> tuple[list[int], Places, list[tuple[Branch, int]]]:
    """(tokens in one row, their places after a trunk of so many tokens, each branch with where it starts in the row)."""
    nodes = [
        (b, start + parent if parent >= 0 else -1)
        for start, whole in _starts(branches)
        for b, parent in whole.flattened()
    ]
    starts = np.cumsum([0, *(len(b.tokens) for b, _ in nodes)])
    n = int(starts[-1])
    seen = np.zeros((n, trunk + n), dtype=bool)
    seen[:, :trunk] = True
    for (b, parent), start in zip(nodes, starts, strict=False):
        rows = slice(start, start + len(b.tokens))
        if parent >= 0 and nodes[parent][0].tokens:  # only a root can be without tokens, and it sees the trunk alone
            seen[rows] = seen[starts[parent] + len(nodes[parent][0].tokens) - 1]
        seen[rows, trunk + start : trunk + start + len(b.tokens)] = np.tri(len(b.tokens), dtype=bool)
    positions = np.concatenate([b.depth + np.arange(len(b.tokens)) for b, _ in nodes]).astype(np.int32)
    places = Places(np.arange(trunk, dtype=np.int32), positions, seen)
    return (
        [t for b, _ in nodes for t in b.tokens],
        places,
        [(b, int(s)) for (b, _), s in zip(nodes, starts, strict=False)],
    )


def _starts(branches: Sequence[Branch]) -> Iterator[tuple[int, Branch]]:
    """Each branch with the number of nodes laid out before it."""
    start = 0
    for branch in branches:
        yield start, branch
        start += len(branch.flattened())


def _expect_layers(layers: Sequence[int], depth: int) -> None:
    if not layers or sorted(set(layers)) != list(layers) or layers[0] < 1 or layers[-1] >= depth:
        raise ValueError(
            f"found layers {list(layers)} of a model of {depth}; expected some of 1 to {depth - 1}, ascending"
        )


def _context(model: nn.Module) -> int:
    """The tokens that the model's configuration states; without a statement, as many as there are."""
    arguments = vars(getattr(model, "args", None) or object)
    stated = (arguments.get("text_config") or {}).get(
        "max_position_embeddings", arguments.get("max_position_embeddings")
    )
    return int(stated or sys.maxsize)


class _Reading:
    """Collects the wanted states as the passes go by. first, stop: (sequences,) depths of the states wanted, [first, stop)."""

    def __init__(self, first: list[int], stop: list[int]) -> None:
        self.first, self.stop = first, stop
        self._found: list[mx.array] = []
        self._at: list[dict[int, int]] = [{} for _ in first]  # sequence -> depth -> row of all that was found
        self._count = 0

    def read(self, hidden: mx.array, branches: list[tuple[Branch, int]]) -> None:
        """Pick from hidden (n, width), in which each branch starts at a row."""
        rows: dict[int, int] = {}
        for branch, start in branches:
            ends = branch.depth + len(branch.tokens)
            for i in branch.sequences:
                for depth in range(max(self.first[i], branch.depth), min(self.stop[i], ends)):
                    row = start + depth - branch.depth
                    self._at[i][depth] = self._count + rows.setdefault(row, len(rows))
        if rows:
            self._found.append(hidden[mx.array(list(rows))])
            self._count += len(rows)
        mx.eval(self._found[-1:] or hidden)

    def states(self) -> list[mx.array]:
        every = mx.concatenate(self._found)
        return [every[mx.array([at[depth] for depth in sorted(at)])] for at in self._at]


__all__ = ["BUDGET", "Branch", "Places", "PromptTree", "SlotCache", "Trunk", "grown", "laid_out", "placed_states"]
