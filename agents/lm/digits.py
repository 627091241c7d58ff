"""A score in [0, 10] read from a model as the expected value over the digit tokens: one pass, cannot be malformed.

    score = sum_s s P(s) / mass,   s = "0" ... "10",   P("10") = P("1") P("0" | "1"),   P("1" alone) = P("1") - P("10")

mass = sum_d P(d) over the ten digits is what the model gives to a number at all: log it, a low mass is a model that
does not answer. All suffixes are rows of one batch on the prefix's cache, each with a "1" behind it for P("0" | "1").
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from agents.lm.architecture import head, hidden_states
from agents.lm.device import mx
from agents.lm.functional_cache import functional_caches
from agents.lm.generate import chat_tokens, common_length, without_special
from agents.lm.models import LoadedModel

Vector = npt.NDArray[np.float64]


class NoDigits(ValueError):
    """A tokenizer that has no single token for each digit."""


class DigitReader:
    """Reads expected scores with one prompt cache broadcast over the suffixes, under the adapter set that is active."""

    def __init__(self, loaded: LoadedModel, *, chat: bool = False) -> None:
        """chat: put each question as a user's message, as instruction-tuned models expect. Raises NoDigits."""
        self.loaded, self.chat = loaded, chat
        found = [self._encode(str(d)) for d in range(10)]
        if wrong := [str(d) for d, tokens in enumerate(found) if len(tokens) != 1]:
            raise NoDigits(
                f"digits {', '.join(wrong)} are not one token each for the tokenizer of {loaded.name!r}; expected "
                "single tokens. Read the scores of this model from generated text"
            )
        self.digits = [tokens[0] for tokens in found]
        ten = self._encode("10")
        self.ten = ten[0] if len(ten) == 1 else None

    def expected_scores(self, prefix: str, suffixes: list[str]) -> tuple[Vector, Vector]:
        """(scores (n,) in [0, 10], digit mass (n,) in [0, 1]) for `prefix` + each suffix.

        Without `chat` the text must end where the number begins, without a space if the tokenizer keeps spaces apart.
        Special tokens written out in the text are broken up. Raises ValueError for no suffixes or an empty prefix;
        FloatingPointError where the model gives NaN.
        """
        start, rows = self._questions(prefix, suffixes) if self.chat else self._continued(prefix, suffixes)
        if not start or not rows:
            raise ValueError(
                f"found {len(start)} prefix tokens and {len(rows)} suffixes; expected at least one of each"
            )
        first, second = self._two_positions(start, rows)
        return self._scores(first, second, len(rows))

    def _continued(self, prefix: str, suffixes: list[str]) -> tuple[list[int], list[list[int]]]:
        return self._encode(prefix), [self._encode(suffix) for suffix in suffixes]

    def _questions(self, prefix: str, suffixes: list[str]) -> tuple[list[int], list[list[int]]]:
        """The tokens that all chats share, and what each adds; the assistant's answer begins after each."""
        whole = [chat_tokens(self.loaded.tokenizer, [{"role": "user", "content": prefix + s}]) for s in suffixes]
        if not prefix or not whole:
            return [], whole
        shared = min(common_length(whole[0], other) for other in whole)
        shared = min(shared, min(map(len, whole)) - 1)
        return whole[0][:shared], [tokens[shared:] for tokens in whole]

    def _encode(self, text: str) -> list[int]:
        plain = without_special(text, self.loaded.tokenizer)
        return list(self.loaded.tokenizer.encode(plain, add_special_tokens=False))

    def _two_positions(self, start: list[int], rows: list[list[int]]) -> tuple[Any, Any]:
        """Probabilities (n, vocabulary) where the number begins, and after a "1" was put there."""
        model, n = self.loaded.model, len(rows)
        caches = functional_caches(model)
        if len(start) > 1:
            hidden_states(model, mx.array([start[:-1]]), caches)
        branches = [[start[-1], *row, self.digits[1]] for row in rows]
        time = max(map(len, branches))
        tokens = mx.array([b + [0] * (time - len(b)) for b in branches])
        hidden = hidden_states(model, tokens, [c.broadcast(n) for c in caches])
        places = mx.array([[len(b) - 2, len(b) - 1] for b in branches])
        logits = head(model, hidden[mx.arange(n)[:, None], places])
        p = np.array(mx.softmax(logits, axis=-1, precise=True), dtype=np.float64)
        return p[:, 0], p[:, 1]

    def _scores(self, first: Vector, second: Vector, n: int) -> tuple[Vector, Vector]:
        p = np.zeros((n, 11))
        p[:, :10] = first[:, self.digits]
        p[:, 10] = p[:, 1] * second[:, self.digits[0]]
        p[:, 1] -= p[:, 10]
        if self.ten is not None:
            p[:, 10] += first[:, self.ten]
        mass = p.sum(axis=1)
        if not (np.isfinite(mass).all() and (mass > 0).all()):
            raise FloatingPointError(
                f"digit masses {mass.tolist()}; expected positive numbers. The model's output is broken"
            )
        return p @ np.arange(11.0) / mass, np.minimum(mass, 1.0)
