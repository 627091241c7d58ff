"""What can be seen of a reply by counting: repetition, echo, broken words, who it talks about and to.

Each feature is one number of one exchange. The embedding judge fits them beside the sentence vectors, and the language
gate (judges/offline/gate.py) reads the ones that tell language from its imitation. None of them knows what is therapeutic.
"""

import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from judges.offline.lexicon import (
    DETERMINERS,
    FIRST_PERSON,
    FUNCTION_WORDS,
    META,
    NEVER_AFTER_DETERMINER,
    ORDERS,
    SECOND_PERSON,
    STOCK_PHRASES,
)
from judges.protocol import Exchange

FEATURES = (
    "repetition",
    "own_echo",
    "client_echo",
    "picked_up",
    "content",
    "length",
    "unknown_words",
    "broken_grammar",
    "unfinished",
    "questions",
    "more_questions",
    "exclamations",
    "first_person",
    "second_person",
    "stock_phrases",
    "orders",
    "meta",
    "foreign",
)


FEWEST_FOR_ECHO = 5  # "Ten past nine." to one who has said it is an answer; a sentence given back is none


def features(exchange: Exchange, vocabulary: frozenset[str]) -> np.ndarray:
    """(18,) float64 in the order of FEATURES, each finite and >= 0. `vocabulary` holds known words in lower case."""
    reply, said = exchange.therapist, words(exchange.therapist)
    heard, earlier = words(exchange.client), [words(turn.therapist) for turn in exchange.history]
    return np.array(
        [
            repetition(said),
            max((overlap(said, before) for before in earlier), default=0.0),
            overlap(said, heard) if len(said) >= FEWEST_FOR_ECHO else 0.0,
            picked_up(said, heard),
            content(said),
            np.log1p(len(said)),
            unknown(said, vocabulary),
            broken_grammar(said),
            unfinished(reply),
            min(1, reply.count("?")),
            max(0, reply.count("?") - 1),
            reply.count("!"),
            share(said, FIRST_PERSON),
            share(said, SECOND_PERSON),
            stock_phrases(reply),
            len(ORDERS.findall(reply.lower())),
            meta(reply),
            foreign(reply),
        ],
        dtype=np.float64,
    )


def words(text: str) -> list[str]:
    """The words in lower case; an apostrophe parts a word, as the tokenizer does."""
    return re.findall(r"[^\W_]+", text.lower())


def repetition(said: Sequence[str]) -> float:
    """Share of the reply's word pairs that it has used before, in [0, 1]; one is free, as in "I'm sorry. I'm here"."""
    pairs = list(pairwise(said))
    return max(0, len(pairs) - len(set(pairs)) - 1) / len(pairs) if pairs else 0.0


def overlap(said: Sequence[str], other: Sequence[str]) -> float:
    """Share of the reply's word triples that stand in the other text, in [0, 1]; below three words, all or none."""
    if len(said) < 3:
        return float(bool(said) and list(said) == list(other))
    triples = _triples(said)
    theirs = set(_triples(other))
    return sum(triple in theirs for triple in triples) / len(triples)


def picked_up(said: Sequence[str], heard: Sequence[str]) -> float:
    """How many of the client's content words the reply takes up, by their first five letters, at most 4."""
    return float(min(4, len(_stems(said) & _stems(heard))))


def content(said: Sequence[str]) -> float:
    """Share of different content words among all words, in [0, 1]: low where a text says little with many words."""
    return len(set(said) - FUNCTION_WORDS) / len(said) if said else 0.0


def unknown(said: Sequence[str], vocabulary: frozenset[str]) -> float:
    """Share of words that the tokenizer does not hold as whole words, in [0, 1]; numbers are known, and one word is free:
    "jinx" in a short reply is no garble."""
    strange = sum(word not in vocabulary and not word.isdigit() for word in said)
    return max(0, strange - 1) / len(said) if said else 0.0


def broken_grammar(said: Sequence[str]) -> float:
    """Share of words that are a determiner followed by what cannot follow one ("the of"), in [0, 1]."""
    broken = sum(a in DETERMINERS and b in NEVER_AFTER_DETERMINER for a, b in pairwise(said))
    return broken / len(said) if said else 0.0


def unfinished(reply: str) -> float:
    """1 where the reply does not end as a sentence does, else 0."""
    return float(not reply.rstrip().rstrip("\"'”’)").endswith((".", "?", "!", "…")))


def share(said: Sequence[str], of: frozenset[str]) -> float:
    """Share of words that are in `of`, in [0, 1]."""
    return sum(word in of for word in said) / len(said) if said else 0.0


def stock_phrases(reply: str) -> float:
    """How many phrases of comfort that could be said to anybody."""
    plain = reply.lower().replace("’", "'")
    return float(sum(phrase in plain for phrase in STOCK_PHRASES))


def meta(reply: str) -> float:
    """How many kinds of talk to a judge, commentary or page markup."""
    return float(sum(pattern.search(reply) is not None for pattern in META))


def foreign(reply: str) -> float:
    """Share of the characters, blanks aside, that are no Latin letters, digits or marks of prose, in [0, 1]."""
    marks = [mark for mark in reply if not mark.isspace()]
    return sum(not _latin(mark) for mark in marks) / len(marks) if marks else 0.0


def _latin(mark: str) -> bool:
    if mark.isascii():
        return mark.isprintable()
    if mark.isalpha():
        return unicodedata.name(mark, "").startswith("LATIN") and unicodedata.normalize("NFKC", mark) == mark
    return mark in "‘’“”–—…«»€£"


def _triples(said: Sequence[str]) -> list[tuple[str, str, str]]:
    return list(zip(said, said[1:], said[2:], strict=False))


def _stems(said: Sequence[str]) -> set[str]:
    return {word[:5] for word in said if word not in FUNCTION_WORDS and len(word) > 2}
