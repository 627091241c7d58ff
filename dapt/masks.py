"""Which words of a sample are learned, the others given: any components, and the words or labels of any factors (paper 2083).

"The model can be trained to predict just the therapist utterance given everything else, or to predict the therapist's model of
client given the client's utterance, or any other factored combination." What is given is read, compressed and recapped as ever, and
carries no loss. What is learned, is from its first character to the end of the tag or anchor that closes it. A text's tokens and
their places are asked for in parts (dapt/tokens.py), so that a long one takes little memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np

from agents.lm.five_tuple import Session
from dapt.anchors import LABELS, SPANS
from dapt.dfr import PLACES
from dapt.markup import Stretch, written
from dapt.rra import borders
from dapt.token_places import Ranges, TokenPlaces
from dapt.tokens import PART, encoded, parts

Learnable = Literal[
    "client_reasoning", "client_utterance", "therapist_model", "therapist_reasoning", "gco", "omo", "therapist_utterance",
    "insight", "framework", "intervention",
    "treatment_stage", "attachment_strategy", "session_phases", "school", "defenses", "focus", "issues", "strengths",
]  # fmt: skip
"""Components (the therapist's reasoning is its two chains), kinds of spans, and labels, which only anchors show."""


class Sample(NamedTuple):
    """Tokens (n,) int32 of a text: half a million take two megabytes, where a list would take eighteen.

    learned: (n,) bool, whether each carries the loss; None: all do. components: (n,) bool, the tokens of each, by place.
    """

    tokens: np.ndarray
    learned: np.ndarray | None
    components: dict[str, np.ndarray]

    def windows(self, size: int) -> list[Sample]:
        """The content of each window, with what is known of its tokens: all cut at the same borders."""
        return [
            Sample(
                self.tokens[a:b],
                None if self.learned is None else self.learned[a:b],
                {name: mask[a:b] for name, mask in self.components.items()},
            )
            for a, b in borders(len(self.tokens), size)
        ]


class Sampler:
    """Stretches as the model reads them, and what of them is learned. learn None: everything. part: as for `encoded`."""

    def __init__(self, tokenizer: Any, learn: Sequence[Learnable] | None, anchors: bool, part: int = PART) -> None:
        self.anchors, self.part = anchors, part
        self._tokenizer, self._learn = tokenizer, None if learn is None else parts_of(learn)

    @cached_property
    def _places(self) -> TokenPlaces:
        return TokenPlaces(self._tokenizer)  # copies the tokenizer: only where a mask is asked for

    def tokens(self, text: str) -> np.ndarray:
        """(n,) int32: a text's tokens, without special ones."""
        return encoded(self._encode, text, self.part)

    def sample(self, stretch: Stretch, components: bool = False) -> Sample:
        """components: whether those are told apart, too. Raises ValueError for spans of no certain place, where they count."""
        placed = self.anchors or bool(self._learn and self._learn & set(SPANS))
        text, named = written(stretch, self.anchors, spans=placed)
        asked: dict[str, set[str]] = {place: {place} for place in PLACES} if components else {}
        if self._learn is not None:
            asked[""] = self._learn
        if not asked:
            return Sample(self.tokens(text), None, {})
        ranges: dict[str, Ranges] = {
            name: [(p.start, p.end) for p in named if p.name in names] for name, names in asked.items()
        }
        tokens, masks = self._masked(text, ranges)
        return Sample(tokens, masks.pop("", None), masks)

    def _masked(self, text: str, ranges: dict[str, Ranges]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """The text's tokens, and by name which of them hold a character of the ranges: asked of the parts that made the tokens."""
        begin, tokens, masks = 0, list[np.ndarray](), {name: list[np.ndarray]() for name in ranges}
        for part in parts(text, self.part):
            end, made = begin + len(part), self._encode(part)
            inside = {
                name: [(max(a, begin) - begin, min(b, end) - begin) for a, b in one if a < end and b > begin]
                for name, one in ranges.items()
            }
            for name, mask in self._places.masks(part, made, inside).items():
                masks[name].append(np.array(mask, np.bool_))
            tokens.append(np.array(made, np.int32))
            begin = end
        return np.concatenate(tokens), {name: np.concatenate(found) for name, found in masks.items()}

    def _encode(self, text: str) -> list[int]:
        return list(self._tokenizer.encode(text, add_special_tokens=False))


def parts_of(learn: Iterable[Learnable]) -> set[str]:
    """The names of a text's parts (dapt/markup.py) that are learned."""
    return {part for name in learn for part in (("gco", "omo") if name == "therapist_reasoning" else (name,))}


def absent(learn: Iterable[Learnable], sessions: Sequence[Session]) -> list[str]:
    """Each of these that no session holds: it would teach nothing."""
    return [name for name in learn if name in SPANS | LABELS and not any(_holds(one, name) for one in sessions)]


def _holds(session: Session, name: str) -> bool:
    if name in LABELS:
        return bool(getattr(session, name))
    return any(span.kind == name for turn in session.turns for span in turn.spans or ())
