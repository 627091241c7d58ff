"""Words in and out: the space of anything a person may type, and how a therapist's text is taken apart."""

import re
from typing import Any

import numpy as np
from gymnasium.error import InvalidAction
from gymnasium.spaces import Text

LONGEST = 8_000  # characters; a spoken turn is far below it, a flood of text far above

# Letters of several scripts, accents, signs and an emoji: what sampling draws from, not a limit on what is accepted.
_SAMPLED = "abcdefghijklmnopqrstuvwxyz ABC.,?!'éüñçßøłžğшяλאمहि日本語한🙂"
_FENCE = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)


class UnicodeText(Text):
    """Any text a person can type, up to `max_length` characters: all of Unicode but lone surrogates and NUL."""

    def __init__(self, max_length: int = LONGEST, seed: int | np.random.Generator | None = None) -> None:
        super().__init__(max_length, min_length=0, charset=frozenset(_SAMPLED), seed=seed)

    def contains(self, x: Any) -> bool:
        """Whether `x` is a text of this space."""
        return isinstance(x, str) and self.fault(x) is None

    def fault(self, text: str) -> str | None:
        """What keeps a str out of this space, in words; None for a member."""
        if len(text) > self.max_length:
            return f"found {len(text)} characters; expected at most {self.max_length}"
        if "\0" in text:
            return f"found a NUL character at position {text.index(chr(0))}"
        for position, character in enumerate(text):
            if "\ud800" <= character <= "\udfff":
                return f"found a lone surrogate at position {position}; expected whole Unicode characters"
        return None

    def __repr__(self) -> str:
        return f"UnicodeText(max_length={self.max_length})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UnicodeText) and other.max_length == self.max_length

    __hash__ = None  # type: ignore[assignment]  # as gymnasium.spaces.Text


def therapist_words(action: Any, space: UnicodeText) -> tuple[str, str]:
    """(reasoning, utterance) of an action: what stands in a leading <think>…</think> is thought, the rest is said.

    Raises gymnasium.error.InvalidAction for anything that is not a text of the action space.
    """
    if not isinstance(action, str):
        raise InvalidAction(f"found an action of type {type(action).__name__}; expected str, the therapist's words")
    fault = space.fault(action)
    if fault is not None:
        raise InvalidAction(f"{fault}, in the therapist's words. The client was not changed")
    fence = _FENCE.match(action)
    if fence is None:
        return "", action.strip()
    return fence.group(1).strip(), action[fence.end() :].strip()
