"""Which words of a sample are learned, the others given: any components, and the words or labels of any factors (paper 2083).

"The model can be trained to predict just the therapist utterance given everything else, or to predict the therapist's model of
client given the client's utterance, or any other factored combination." What is given is read, compressed and recapped as ever, and
carries no loss. What is learned, is from its first character to the end of the tag or anchor that closes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, Literal, NamedTuple

from agents.lm.five_tuple import Session
from dapt.anchors import LABELS, SPANS
from dapt.dfr import PLACES
from dapt.markup import Stretch, written
from dapt.token_places import TokenPlaces

Learnable = Literal[
    "client_reasoning", "client_utterance", "therapist_model", "therapist_reasoning", "gco", "omo", "therapist_utterance",
    "insight", "framework", "intervention",
    "treatment_stage", "attachment_strategy", "session_phases", "school", "defenses", "focus", "issues", "strengths",
]  # fmt: skip
"""Components (the therapist's reasoning is its two chains), kinds of spans, and labels, which only anchors show."""


class Sample(NamedTuple):
    """Tokens of a text. learned: whether each carries the loss; None: all do. components: the tokens of each, by place."""

    tokens: list[int]
    learned: list[bool] | None
    components: dict[str, list[bool]]


class Sampler:
    """Stretches as the model reads them, and what of them is learned. learn None: everything."""

    def __init__(self, tokenizer: Any, learn: Sequence[Learnable] | None, anchors: bool) -> None:
        self.anchors = anchors
        self._tokenizer, self._learn = tokenizer, None if learn is None else parts_of(learn)

    @cached_property
    def _places(self) -> TokenPlaces:
        return TokenPlaces(self._tokenizer)  # copies the tokenizer: only where a mask is asked for

    def tokens(self, text: str) -> list[int]:
        """A text's tokens, without special ones."""
        return list(self._tokenizer.encode(text, add_special_tokens=False))

    def sample(self, stretch: Stretch, components: bool = False) -> Sample:
        """components: whether those are told apart, too. Raises ValueError for spans of no certain place, where they count."""
        placed = self.anchors or bool(self._learn and self._learn & set(SPANS))
        text, parts = written(stretch, self.anchors, spans=placed)
        tokens = self.tokens(text)
        asked: dict[str, set[str]] = {place: {place} for place in PLACES} if components else {}
        if self._learn is not None:
            asked[""] = self._learn
        if not asked:
            return Sample(tokens, None, {})
        ranges = {name: [(p.start, p.end) for p in parts if p.name in names] for name, names in asked.items()}
        masks = self._places.masks(text, tokens, ranges)
        return Sample(tokens, masks.pop("", None), masks)


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
