"""How good a recap is, by what can be counted: it gates what a window teaches, and its record is a monitor of its own (paper 301).

    garble       share of words that are no words: letters mixed with digits, no vowel, longer than twenty letters, damaged marks,
                 pieces of tags
    repetition   1 - different word pairs / word pairs
    drift        share of the last recap's terms that this one and its window have both dropped
    strangers    share of names and numbers in the recap that neither its window nor the recap before it holds
    copied       share of its word triples that stand in the recap before
    asked        share of its word triples that stand in the instruction which it answers

Terms are words of five letters or more that carry meaning, as stems of six letters, so that "hospital" and "hospitals" are one. A
recap is garbage where it has fewer than three words, or one of them is past its limit in GARBAGE; poor where any is past POOR; else
good. The classes gate the adapters' and the compressor's updates (paper, the footnote on the compressor):

    good 1.0, 1.2        poor 0.6, 0.5        garbage: neither learns from the window

The paper names no features; these are ours, and the limits are where authored recaps and a small model's worst parted by hand.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal, NamedTuple

Class = Literal["good", "poor", "garbage"]
GARBAGE = {"garble": 0.3, "repetition": 0.5, "asked": 0.5}
POOR = {"garble": 0.1, "repetition": 0.25, "drift": 0.9, "strangers": 0.34, "copied": 0.6, "asked": 0.25}
FEWEST_WORDS = 3
_FUNCTION = frozenset(
    {
        "about", "above", "after", "again", "against", "along", "among", "another", "around", "because", "before", "being",
        "between", "could", "doing", "during", "every", "first", "going", "might", "never", "other", "quite", "rather", "shall",
        "should", "since", "still", "their", "there", "these", "thing", "things", "those", "though", "through", "under", "until",
        "where", "which", "while", "whose", "would", "client", "therapist", "session",
    }
)  # fmt: skip

_WORD = re.compile(r"\S+")
_LETTERS = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_NAME = re.compile(r"(?<![.!?…:]\s)(?<!^)\b[A-Z][a-z]+\b|\b\d+(?:[.,:]\d+)*\b")


class Gate(NamedTuple):
    """What a window's gradients are multiplied by: of the adapters, of the compressor. 0: skipped."""

    adapters: float
    compressor: float


GATES: dict[Class, Gate] = {"good": Gate(1.0, 1.2), "poor": Gate(0.6, 0.5), "garbage": Gate(0.0, 0.0)}


@dataclass(frozen=True)
class Quality:
    """What was counted, each in [0, 1], and what follows."""

    garble: float
    repetition: float
    drift: float
    strangers: float
    words: int
    copied: float
    asked: float

    @property
    def kind(self) -> Class:
        """good, poor or garbage."""
        if self.words < FEWEST_WORDS or any(getattr(self, name) > limit for name, limit in GARBAGE.items()):
            return "garbage"
        return "poor" if any(getattr(self, name) > limit for name, limit in POOR.items()) else "good"

    @property
    def gate(self) -> Gate:
        """How much is learned from the window that is read with this recap."""
        return GATES[self.kind]


def assess(recap: str, content: str, before: str = "", instruction: str = "") -> Quality:
    """recap: of `content`, the text of a window; before: the recap that this window was read with, empty at the first; instruction:
    what the recap answers."""
    words = _WORD.findall(recap)
    pairs = list(itertools.pairwise(words))
    lowered = Counter((a.lower(), b.lower()) for a, b in pairs)
    old, kept = terms(before), terms(recap) | terms(content)
    names, known = (
        set(_NAME.findall(recap)),
        set(_LETTERS.findall(content + " " + before)) | set(re.findall(r"\d+(?:[.,:]\d+)*", content + " " + before)),
    )
    return Quality(
        garble=_share(sum(map(_is_garbled, words)), len(words)),
        repetition=1.0 - _share(len(lowered), len(pairs)) if pairs else 0.0,
        drift=_share(len(old - kept), len(old)),
        strangers=_share(len(names - known), len(names)),
        words=len(words),
        copied=_shared(recap, before),
        asked=_shared(recap, instruction),
    )


def terms(text: str) -> set[str]:
    """Stems of a text's longer words."""
    return {word.lower()[:6] for word in _LETTERS.findall(text) if len(word) >= 5 and word.lower() not in _FUNCTION}


def _shared(text: str, other: str) -> float:
    """The share of the text's word triples that stand in the other."""
    mine, theirs = (
        [tuple(words[i : i + 3]) for i in range(len(words) - 2)] for words in map(_plain_words, (text, other))
    )
    theirs_once = set(theirs)
    return _share(sum(triple in theirs_once for triple in mine), len(mine))


def _plain_words(text: str) -> list[str]:
    return [word.lower() for word in _LETTERS.findall(text)]


def _is_garbled(word: str) -> bool:
    if "\ufffd" in word or any(mark in word for mark in "<>{}[]|"):
        return True
    letters = [c for c in word if c.isalpha()]
    if not letters:
        return not any(c.isdigit() or c in "-–—…&" for c in word)
    mixed = any(c.isdigit() for c in word.strip("0123456789.,:;%£$€stndrh'’\"()"))
    return (
        mixed
        or len(letters) > 20
        or (len(letters) > 3 and not set("".join(letters).lower()) & set("aeiouyàâäéèêëíïóôöúüæøå"))
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
