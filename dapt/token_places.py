"""Which tokens of a text hold which of its characters.

A fast tokenizer says where each token stands; a character of several tokens is named by all of them. Byte-level ones may trim
spaces off what they say (`trim_offsets`), so it is asked of a copy that does not. (A unigram model names a run of unknown
characters by each of their tokens.) Without such places, tokens are placed by how many the text up to a character has.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from tokenizers import Tokenizer, processors

Ranges = Sequence[tuple[int, int]]


class TokenPlaces:
    """Asks one tokenizer. tokenizer: as in `LoadedModel`."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        backend = getattr(tokenizer, "backend_tokenizer", None)
        self._fast = _untrimmed(backend) if isinstance(backend, Tokenizer) else None

    def masks(self, text: str, tokens: Sequence[int], ranges: Mapping[str, Ranges]) -> dict[str, list[bool]]:
        """By name, for each token of the text, whether it holds a character of one of the ranges (start, end not included).

        tokens: the text's, without special tokens of the tokenizer's own. Without a fast tokenizer this is exact where what follows
        changes no token before the one that it joins, and takes a pass over the text for every edge of a range.
        """
        if self._fast is not None:
            found = self._fast.encode(text, add_special_tokens=False)
            if found.ids == list(tokens):
                places = np.array(found.offsets, np.int64).reshape(-1, 2)
                return {name: _within(places, len(text), one) for name, one in ranges.items()}
        edges = {edge: self._before(text, tokens, edge) for one in ranges.values() for pair in one for edge in pair}
        return {name: _between(edges, len(tokens), one) for name, one in ranges.items()}

    def _before(self, text: str, tokens: Sequence[int], edge: int) -> tuple[int, int]:
        """(tokens that end at the edge or before it, the same and one that stands across it)."""
        prefix = self._tokenizer.encode(text[:edge], add_special_tokens=False)
        same = next((i for i, pair in enumerate(zip(prefix, tokens, strict=False)) if pair[0] != pair[1]), len(prefix))
        return same, same + (same < len(prefix))


def _untrimmed(backend: Tokenizer) -> Tokenizer:
    """A copy that names every character of a token; what else its post-processor does are special tokens, which nobody asks for."""
    made = copy.deepcopy(backend)
    made.post_processor = processors.ByteLevel(trim_offsets=False)
    made.no_truncation()
    made.no_padding()
    return made


def _within(places: np.ndarray, size: int, ranges: Ranges) -> list[bool]:
    """places (tokens, 2): first character, the one after the last."""
    inside = np.zeros(size, np.int64)
    for start, end in ranges:
        inside[start:end] = 1
    before = np.concatenate([[0], np.cumsum(inside)])
    return (before[places[:, 1]] > before[places[:, 0]]).tolist()


def _between(edges: Mapping[int, tuple[int, int]], count: int, ranges: Ranges) -> list[bool]:
    mask = np.zeros(count, bool)
    for start, end in ranges:
        if start < end:
            mask[edges[start][0] : edges[end][1]] = True
    return mask.tolist()
