"""In which order samples are read: by clusters of growing context, the shortest first in each epoch (paper 2110-2118).

The length of a sample is added up from the lengths of its parts, each tokenised once, so a corpus of any size is laid out in
memory as one number a sample and no text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate

import numpy as np

from agents.lm.five_tuple import Session
from dapt.markup import Stretch, head_text, tail_text, turn_text
from dapt.views import View

BOUNDS = (10_000, 20_000, 30_000, 50_000, 100_000)
"""Tokens from which a sample belongs to the next cluster: 0 below 10K, 1 below 20K, ..., 5 from 100K on (paper 2112-2117)."""


class Curriculum:
    """The samples of some views of one corpus, each in its cluster.

    count(text): tokens of a text. Samples are numbered view by view. tokens (samples,) int64; cluster (samples,) int8 in 0 to 5.
    anchors: whether factor labels are shown. A sample's length is the sum over its header, its turns and its labels, which may
    differ by a few tokens from that of its whole text, where a tokenizer joins over line ends.
    """

    def __init__(
        self, views: Sequence[View], count: Callable[[str], int], bounds: Sequence[int] = BOUNDS, anchors: bool = False
    ) -> None:
        if list(bounds) != sorted(set(bounds)) or (bounds and bounds[0] <= 0):
            raise ValueError(f"found cluster bounds {tuple(bounds)}; expected growing numbers of tokens above 0")
        self.views = tuple(views)
        self._starts = [0, *accumulate(len(view) for view in self.views)]
        lengths = _Lengths(count, anchors)
        found = [lengths.of(sample) for view in self.views for sample in view]
        self.tokens = np.array(found, np.int64)
        self.cluster = np.digitize(self.tokens, np.array(bounds)).astype(np.int8)

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, number: int) -> Stretch:
        """Sample `number`, over all views. Raises IndexError."""
        if not 0 <= number < len(self):
            raise IndexError(f"found sample number {number}, expected 0 to {len(self) - 1}")
        view = int(np.searchsorted(self._starts, number, side="right")) - 1
        return self.views[view][number - self._starts[view]]

    def epoch(self, rng: np.random.Generator) -> np.ndarray:
        """(samples,) int64: the numbers in the order of one epoch, cluster by cluster, drawn anew in each."""
        drawn = rng.permutation(len(self))
        return drawn[np.argsort(self.cluster[drawn], kind="stable")]

    def sizes(self) -> dict[int, int]:
        """Samples in each cluster that has any."""
        names, counts = np.unique(self.cluster, return_counts=True)
        return dict(zip(names.tolist(), counts.tolist(), strict=True))


class _Lengths:
    """Tokens of headers, turns and labels, each counted once; a stretch is a difference of two running sums."""

    def __init__(self, count: Callable[[str], int], anchors: bool) -> None:
        self._count, self._anchors = count, anchors
        self._headers: dict[tuple[int, str], int] = {}
        self._sums: dict[int, list[int]] = {}

    def of(self, sample: Stretch) -> int:
        sums = self._running(sample.session)
        return self._frame(sample) + sums[sample.first + sample.length] - sums[sample.first]

    def _frame(self, sample: Stretch) -> int:
        key = (id(sample.session), sample.header)
        if key not in self._headers:
            tail = tail_text(sample.session, self._anchors)
            self._headers[key] = self._count(head_text(sample, self._anchors)) + (self._count(tail) if tail else 0)
        return self._headers[key]

    def _running(self, session: Session) -> list[int]:
        if id(session) not in self._sums:
            each = [self._count(turn_text(session, i, self._anchors)) for i in range(len(session.turns))]
            self._sums[id(session)] = [0, *accumulate(each)]
        return self._sums[id(session)]
