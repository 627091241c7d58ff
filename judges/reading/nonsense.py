"""Replies that sound like good ones and mean nothing, made from good ones: what a policy says that has learned a manner.

    chain     P(w_t | w_t-2, w_t-1) of all good replies: fluent for three words at a time, about nothing
    about     the same, in which this client's words and the replies to this client come often: it names what was said
    mixed     two or three sentences, each from a good reply to somebody else

They are negatives for a reader and are never shown to anybody. A sentence encoder hardly tells them from what they are made
of (benchmarks/judge_reading.py): it sees the words, and the words are the same.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

KINDS = ("chain", "about", "mixed")
FEWEST, MOST = 7, 40  # words
OFTEN = 6  # how often this client's words and replies stand in the chain of `about`
TRIES = 200  # texts that are thrown away before one is cut to its length, or nonsense is given up
_WORD = re.compile(r"[\w'’]+|[.,?!;:]")
_SENTENCE = re.compile(r"[^.?!]+[.?!]")
Chain = dict[tuple[str, str], list[str]]
_START = ("", "")


class Nonsense:
    """Makes it from good replies by client. Deterministic: nothing is random but through the generator of each call."""

    def __init__(self, replies: Mapping[str, Sequence[str]]) -> None:
        """replies: good ones, by the client's words. Raises ValueError for fewer than three clients: there is nothing to mix."""
        if len(replies) < 3:
            raise ValueError(f"found replies to {len(replies)} clients; expected at least three to make nonsense of")
        self._replies = replies
        self._chain = _chain(reply for said in replies.values() for reply in said)
        self._sentences = {
            client: [s.strip() for r in said for s in _SENTENCE.findall(r)] for client, said in replies.items()
        }
        self._clients = list(replies)
        self._given = [_written(_WORD.findall(reply)) for said in replies.values() for reply in said]

    def __call__(self, kind: str, client: str, rng: np.random.Generator) -> str:
        """A reply of that kind to the client, which nobody has given. Raises KeyError for a kind that is none of KINDS, ValueError
        where every try comes back as a reply that was given."""
        maker = {"chain": self._fluent, "about": self._about, "mixed": self._mixed}[kind]
        for _ in range(TRIES):
            made = maker(client, rng)
            if not any(made in reply for reply in self._given):
                return made
        raise ValueError(
            f"found only replies that were given, {TRIES} times, for {kind} to {client!r}; expected more replies"
        )

    def _fluent(self, client: str, rng: np.random.Generator) -> str:
        return _walk([self._chain], rng)

    def _about(self, client: str, rng: np.random.Generator) -> str:
        own = _chain([client, *self._replies.get(client, ())])
        return _walk([own] * OFTEN + [self._chain], rng)

    def _mixed(self, client: str, rng: np.random.Generator) -> str:
        many = int(rng.integers(2, 4))
        found: list[str] = []
        while len(found) < many:
            other = self._clients[int(rng.integers(len(self._clients)))]
            if other != client and (sentences := self._sentences[other]):
                found.append(sentences[int(rng.integers(len(sentences)))])
        return _written(_WORD.findall(" ".join(found)))


def _chain(texts: Iterable[str]) -> Chain:
    chain: Chain = {}
    for text in texts:
        state = _START
        for word in [*_WORD.findall(text), ""]:
            chain.setdefault(state, []).append(word)
            state = (state[1], word)
    return chain


def _walk(chains: Sequence[Chain], rng: np.random.Generator) -> str:
    """A text of FEWEST to MOST words; at each word one of the chains that know the last two goes on."""
    for _ in range(TRIES):
        words: list[str] = []
        state = _START
        while len(words) <= MOST:
            known = [chain for chain in chains if state in chain]
            following = known[int(rng.integers(len(known)))][state]
            word = following[int(rng.integers(len(following)))]
            if not word:
                break
            words.append(word)
            state = (state[1], word)
        if FEWEST <= len(words) <= MOST:
            break
    return _written(words[:MOST])


def _written(words: Sequence[str]) -> str:
    return re.sub(r" (?=[.,?!;:])", "", " ".join(words))
