"""A score in [0, 10] read from a model as the expected value over the digit tokens: one pass, cannot be malformed.

    score = sum_s s P(s) / mass,   s = "0" ... "10",   P("10") = P("1") P("0" | "1"),   P("1" alone) = P("1") - P("10")

mass = sum_d P(d) over the ten digits is what the model gives to a number at all: log it, a low mass is a model that
does not answer. Every question is a branch of one prompt tree, with a "1" behind it for P("0" | "1").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from agents.lm.architecture import head
from agents.lm.device import mx
from agents.lm.generate import chat_tokens, without_special
from agents.lm.models import LoadedModel
from agents.lm.prompt_tree import PromptTree

Matrix = npt.NDArray[np.float64]
HEAD_ROWS = 128  # rows of logits at once: 128 x 50 000 float32 are 25 MB


class NoDigits(ValueError):
    """A tokenizer that has no single token for each digit."""


@dataclass(frozen=True)
class Place:
    """The tokens of a text that a number follows, and the tokens that number begins with there."""

    before: list[int]
    digits: list[int]  # "0" to "9", first in the number
    zero: int  # "0" after "1"
    ten: int | None  # "10" where it is one token


class DigitReader:
    """Reads expected scores, under the adapter set that is active. What prompts share is forwarded once and kept.

    Under another set, or after training, `tree.clear()`.
    """

    def __init__(self, loaded: LoadedModel, *, chat: bool = False, tree: PromptTree | None = None) -> None:
        """chat: the prompt is a user's message and the question begins the assistant's answer, as instruction-tuned models
        expect; else the two are one text. Raises NoDigits."""
        self.loaded, self.chat = loaded, chat
        self.tree = tree or PromptTree(loaded.model)
        self._places: dict[str, Place] = {}
        self._place("score: ")

    def expected_scores(self, prompts: Sequence[str], questions: Sequence[str]) -> tuple[Matrix, Matrix]:
        """(scores (n, q) in [0, 10], digit mass (n, q) in [0, 1]) of q questions after each of n prompts.

        A question ends where the number begins. Special tokens written out in the text are broken up. Where the model's
        output is not finite, or prompt and question are longer than `tree.context` tokens, both are NaN. Raises ValueError for
        no questions or an empty prompt.
        """
        starts, places = [self._start(prompt) for prompt in prompts], [self._place(text) for text in questions]
        if not places or not all(starts):
            raise ValueError(
                f"found {[len(s) for s in starts]} tokens of prompts and {len(places)} questions; "
                "expected at least one of each"
            )
        longest = max(len(place.before) for place in places) + 1
        read = [i for i, start in enumerate(starts) if len(start) + longest <= self.tree.context]
        scores, mass = np.full((2, len(starts), len(places)), np.nan)
        if read:
            scores[read], mass[read] = self._scores([starts[i] for i in read], places)
        return scores, mass

    def _scores(self, starts: list[list[int]], places: list[Place]) -> tuple[Matrix, Matrix]:
        asked = [(start, place) for start in starts for place in places]
        states = self.tree.states([[*s, *p.before, p.digits[1]] for s, p in asked], [2] * len(asked))
        found = [self._read(places_, states_) for places_, states_ in _in_parts([p for _, p in asked], states)]
        scores, mass = (np.concatenate(part).reshape(len(starts), -1) for part in zip(*found, strict=True))
        return scores, mass

    def _start(self, prompt: str) -> list[int]:
        if self.chat and prompt:
            return chat_tokens(self.loaded.tokenizer, [{"role": "user", "content": prompt}])
        return self._encode(prompt)

    def _encode(self, text: str) -> list[int]:
        plain = without_special(text, self.loaded.tokenizer)
        return list(self.loaded.tokenizer.encode(plain, add_special_tokens=False))

    def _place(self, text: str) -> Place:
        """Found by encoding the text with each number behind it: some tokenizers join a space to the digit."""
        if text not in self._places:
            whole = [self._encode(f"{text}{number}") for number in range(11)]
            before, ten = whole[0][:-1], whole[10][len(whole[0]) - 1 :]
            if wrong := [str(d) for d in range(10) if whole[d][:-1] != before or len(whole[d]) != len(before) + 1]:
                raise NoDigits(
                    f"digits {', '.join(wrong)} are not one token each after {text!r} for the tokenizer of "
                    f"{self.loaded.name!r}; expected single tokens. Read the scores of this model from generated text"
                )
            digits = [tokens[-1] for tokens in whole[:10]]
            one_token = whole[10][:-1] == before
            self._places[text] = Place(
                before, digits, digits[0] if one_token else ten[-1], ten[0] if one_token else None
            )
        return self._places[text]

    def _read(self, places: Sequence[Place], states: Sequence[mx.array]) -> tuple[Matrix, Matrix]:
        """From states (2, width) where each number begins and after a "1" was put there."""
        logits = head(self.loaded.model, mx.stack(list(states)))
        p = np.array(mx.softmax(logits, axis=-1, precise=True), dtype=np.float64)
        return expected(p[:, 0], p[:, 1], places)


def expected(first: Matrix, second: Matrix, places: Sequence[Place]) -> tuple[Matrix, Matrix]:
    """(scores (n,), mass (n,)) from probabilities (n, vocabulary) at the number's first and second token; NaN where broken."""
    p = np.zeros((len(places), 11))
    for row, place in enumerate(places):
        p[row, :10] = first[row, place.digits]
        p[row, 10] = p[row, 1] * second[row, place.zero]
        p[row, 1] -= p[row, 10]
        if place.ten is not None:
            p[row, 10] += first[row, place.ten]
    mass = p.sum(axis=1)
    mass[~(np.isfinite(mass) & (mass > 0))] = np.nan
    return p @ np.arange(11.0) / mass, np.minimum(mass, 1.0)


def _in_parts(places: Sequence[Place], states: Sequence[mx.array]) -> list[tuple[Sequence[Place], Sequence[mx.array]]]:
    return [(places[i : i + HEAD_ROWS], states[i : i + HEAD_ROWS]) for i in range(0, len(states), HEAD_ROWS)]
