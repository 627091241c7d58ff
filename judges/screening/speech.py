"""A reply as the screen reads it: the text behind invisible marks and look-alike letters, its words and sentences."""

import re
import unicodedata
from dataclasses import dataclass
from functools import cached_property

MOST_READ = 4_000  # characters of each end that are read of a longer text; a session's reply has some hundreds

_QUOTES = str.maketrans(
    {"‘": "'", "’": "'", "‛": "'", "`": "`", "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‐": "-", "‑": "-"}
)
# Letters of other scripts that look like Latin ones (Unicode Technical Standard 39, the common part).
_LOOKALIKES = str.maketrans(
    "авсԁеһіјкӏмоԛрѕтухԝуАВСЕНІЈКМОРЅТУХαβεικνορτυχνΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
    "abcdehijklmoqpstyxwyABCEHIJKMOPSTYXabeiknoptuxvABEZHIKMNOPTYX",
)
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")
_SENTENCE_END = re.compile(r"(?<=[.!?…])[\"')\]]*\s+|\n+")
_PIECE_END = re.compile(r"(?<=[.!?…}\]>])[\"')\]]*\s+|\n+")
_SPACES = re.compile(r"[^\S\n]+")


@dataclass(frozen=True)
class Speech:
    """One text, read once. `raw` is what was written, cut to its two ends where it is very long."""

    raw: str

    @cached_property
    def plain(self) -> str:
        """Lower case, compatibility forms undone, invisible marks and accents gone, quotes straight, blanks single."""
        text = self.raw
        if not text.isascii():
            text = visible(text)
        return _SPACES.sub(" ", text.lower()).strip()

    @cached_property
    def words(self) -> list[str]:
        """The words of `plain`; an apostrophe stays within its word."""
        return _WORD.findall(self.plain)

    @cached_property
    def sentences(self) -> list[str]:
        """The sentences of `plain`, each as its words with single blanks."""
        found = (" ".join(_WORD.findall(part)) for part in _SENTENCE_END.split(self.plain))
        return [sentence for sentence in found if sentence]

    @cached_property
    def unquoted(self) -> str:
        """`plain` without what stands in double quotes: the speaker's own words."""
        return re.sub(r'"[^"\n]{0,300}"', " ", self.plain)


def read(text: str) -> Speech:
    """The text for reading; of a very long one both ends, so that the time to screen it is bounded."""
    return Speech(text if len(text) <= 2 * MOST_READ else f"{text[:MOST_READ]}\n{text[-MOST_READ:]}")


def visible(text: str) -> str:
    """What a reader sees: compatibility forms undone (NFKC), invisible marks and accents gone, look-alikes made Latin."""
    parts = unicodedata.normalize("NFKD", text.translate(_QUOTES))
    shown = "".join(mark for mark in parts if unicodedata.category(mark) not in _UNSEEN)
    return unicodedata.normalize("NFC", shown.translate(_LOOKALIKES) if mixed_words(shown) else shown)


_UNSEEN = frozenset(("Cf", "Mn", "Me", "Co", "Cn", "Cs"))


def mixed_words(text: str) -> list[str]:
    """Words that mix Latin letters with Greek or Cyrillic ones: nobody types such a word but to deceive a machine."""
    return re.findall(r"\w{0,12}(?:[A-Za-z][\u0370-\u052f]|[\u0370-\u052f][A-Za-z])\w{0,12}", text)


def sentence_spans(text: str) -> list[str]:
    """The text in pieces that end where its sentences, brackets or lines do; joined they are the text."""
    ends = [match.end() for match in _PIECE_END.finditer(text)]
    return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True) if start < end]
