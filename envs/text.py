"""Words in and out: the space of anything a person may type, and how a therapist's text is taken apart."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.error import InvalidAction
from gymnasium.spaces import Text

LONGEST = 8_000  # characters; a spoken turn is far below it, a flood of text far above

# Letters of several scripts, accents, signs and an emoji: what sampling draws from, not a limit on what is accepted.
_SAMPLED = "abcdefghijklmnopqrstuvwxyz ABC.,?!'éüñçßøłžğшяλאمहि日本語한🙂"
_SURROGATE = re.compile("[\ud800-\udfff]")
_THOUGHT = re.compile(r"\s*(?:<think>)?(.*?)</think>\s*(.*)", re.DOTALL)


class _Unicode(Sequence[str]):
    """All characters, by code point: what Gymnasium's flattening and shared memory index a text by."""

    def __len__(self) -> int:
        return 0x110000

    def __getitem__(self, index: Any) -> Any:
        return chr(index)

    def __contains__(self, character: object) -> bool:
        return isinstance(character, str) and len(character) == 1


class UnicodeText(Text):
    """Any text a person can type, up to `max_length` characters: all of Unicode but lone surrogates and NUL."""

    def __init__(self, max_length: int = LONGEST, seed: int | np.random.Generator | None = None) -> None:
        super().__init__(max_length, min_length=0, charset=frozenset(_SAMPLED), seed=seed)

    @property
    def character_set(self) -> Any:
        """All of Unicode."""
        return _Unicode()

    @property
    def character_list(self) -> Any:
        """All of Unicode, by code point."""
        return _Unicode()

    def character_index(self, char: str) -> np.int32:
        """The code point of a character."""
        return np.int32(ord(char))

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """A text of random length over letters of several scripts; a mask over all of Unicode is not offered."""
        if mask is not None or probability is not None:
            raise ValueError("found a mask over characters; expected none: this space is all of Unicode")
        length = int(self.np_random.integers(self.min_length, self.max_length + 1))
        return "".join(_SAMPLED[i] for i in self.np_random.integers(len(_SAMPLED), size=length))

    def contains(self, x: Any) -> bool:
        """Whether `x` is a text of this space."""
        return isinstance(x, str) and self.fault(x) is None

    def fault(self, text: str) -> str | None:
        """What keeps a str out of this space, in words; None for a member."""
        if len(text) > self.max_length:
            return f"found {len(text)} characters; expected at most {self.max_length}"
        if "\0" in text:
            return f"found a NUL character at position {text.index(chr(0))}"
        surrogate = None if text.isascii() else _SURROGATE.search(text)
        if surrogate is not None:
            return f"found a lone surrogate at position {surrogate.start()}; expected whole Unicode characters"
        return None

    def __repr__(self) -> str:
        return f"UnicodeText(max_length={self.max_length})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UnicodeText) and other.max_length == self.max_length

    __hash__ = None  # type: ignore[assignment]  # as gymnasium.spaces.Text


def therapist_words(action: Any, space: UnicodeText) -> tuple[str, str]:
    """(reasoning, utterance) of an action: what stands before </think> is thought, the rest is said.

    A template may open <think> in the prompt, so the opening tag need not be there; a thought that never closes is no
    utterance. Raises gymnasium.error.InvalidAction for anything that is not a text of the action space.
    """
    if not isinstance(action, str):
        raise InvalidAction(f"found an action of type {type(action).__name__}; expected str, the therapist's words")
    fault = space.fault(action)
    if fault is not None:
        raise InvalidAction(f"{fault}, in the therapist's words. The client was not changed")
    # Without the tag the pattern would look for it from every blank that the text begins with.
    thought = _THOUGHT.fullmatch(action) if "</think>" in action else None
    if thought is not None:
        return thought.group(1).strip(), thought.group(2).strip()
    if action.lstrip().startswith("<think>"):
        return action.strip().removeprefix("<think>").strip(), ""
    return "", action.strip()
