"""Several processes that train one policy: gradients are averaged, and every rank takes the same step.

    ḡ = Σ_r w_r g_r / Σ_r w_r        w_r: what rank r's loss is a mean over

so that two ranks take the step that one process would take on both batches: tokens for fine-tuning, pairs for DPO, groups for
GRPO. Started by `mlx.launch -n 2 ...` (ring, or MPI where it is installed); alone, nothing is exchanged. All ranks must ask for
the same exchanges in the same order: one that has nothing to learn gives weight 0.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from mlx.utils import tree_flatten, tree_unflatten

from agents.lm.device import mx

LONGEST = 1024  # bytes of a text that rank 0 tells the others


class OtherRankFailed(RuntimeError):
    """Something that every rank does has failed on another one: its output says why."""


class Ranks:
    """The processes that `mlx.launch` started, or this one alone."""

    def __init__(self, group: Any | None = None) -> None:
        self._group = group if group is not None else mx.distributed.init()
        self.size, self.rank = int(self._group.size()), int(self._group.rank())

    def mean(self, tree: Any, weight: float) -> tuple[Any, float]:
        """(weighted mean over ranks of a tree of arrays, sum of weights). Where no rank has weight, the tree is zeros.

        One exchange for all arrays: they are sent as one flat array, in float32.
        """
        if self.size == 1:
            return tree, weight
        flat: list[tuple[str, mx.array]] = list(tree_flatten(tree))  # type: ignore[arg-type]
        # Not weight * array: a rank that has nothing to say must not spread a NaN.
        sent = [mx.zeros(a.size) if weight == 0.0 else weight * a.astype(mx.float32).reshape(-1) for _, a in flat]
        total = self._sum(mx.concatenate([*sent, mx.array([weight])]))
        weights = float(total[-1])
        back, at = [], 0
        for name, array in flat:
            mean = total[at : at + array.size] / (weights or 1.0)
            back.append((name, mean.reshape(array.shape).astype(array.dtype)))
            at += array.size
        return tree_unflatten(back), weights

    def any(self, said: bool) -> bool:
        """Whether some rank says so."""
        return any(one for (one,) in self.every([int(said)]))

    def all(self, said: bool) -> bool:
        """Whether every rank says so."""
        return all(one for (one,) in self.every([int(said)]))

    @contextmanager
    def together(self, what: str) -> Iterator[None]:
        """All ranks come through the block, or none: who failed raises its own error, the others OtherRankFailed. Nothing may be
        exchanged inside it."""
        failure: Exception | None = None
        try:
            yield
        except Exception as error:
            failure = error
        if not self.all(failure is None):
            raise failure or OtherRankFailed(
                f"another rank could not {what}, and this one stops with it; its output says why"
            )

    def of_first(self, text: str) -> str:
        """Rank 0's text, up to LONGEST bytes, on every rank."""
        if self.size == 1:
            return text
        data = text.encode()
        if len(data) > LONGEST:
            raise ValueError(f"found a text of {len(data)} bytes, expected at most {LONGEST}")
        first = self.every([len(data), *data, *[0] * (LONGEST - len(data))])[0]
        return bytes(first[1 : 1 + first[0]]).decode()

    def every(self, numbers: list[int]) -> list[list[int]]:
        """Each rank's numbers, by rank; all ranks give equally many."""
        if self.size == 1:
            return [numbers]
        found = mx.distributed.all_gather(mx.array(numbers, mx.int32), group=self._group, stream=mx.cpu)
        return np.asarray(found).reshape(self.size, len(numbers)).tolist()

    def _sum(self, array: mx.array) -> mx.array:
        found = mx.distributed.all_sum(array, group=self._group, stream=mx.cpu)
        mx.eval(found)
        return found
