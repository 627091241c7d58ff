"""Replies that a judge scored high and that other evidence calls poor: examples for a person to score.

    violations             the screen finds something in it
    says it again          a good part of it was said to the same client before
    turns in a circle      few different word pairs
    echo                   the client's own words, handed back
    unlikely               the policy's own base would hardly say it
    same to everybody      nearly the same was said to several other clients
    stencil                a good part of its words stand in what many other clients were told (judges/memory.py)

Nothing is scored here: the rows have the header of configs/judges/examples/*.csv, the evidence in `why`, and empty cells.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from judges.likelihood import LEAST
from judges.memory import FEWEST, Memory
from judges.offline.features import overlap, repetition, words
from judges.protocol import Exchange, Violation

HELPS = 6.5  # a score from which the client is helped (paper line 349): undeserved, it teaches the policy
AGAIN, CIRCLES, ECHO = 0.5, 0.3, 0.5  # shares of word triples and pairs from which it is evidence
STOCK = 0.2  # twice the share of its words that one in twenty good replies has (benchmarks/judge_stencils.py)
ALIKE, TWINS = 0.85, 0.93  # cosine of two replies that say the same, and of two that are the same
EVERYBODY = 3  # so many other clients who were told the same
Similarity = Callable[[Sequence[str], Sequence[str]], np.ndarray]  # (n, m) likenesses of texts, 1 for equal ones


@dataclass(frozen=True)
class Said:
    """A reply of a policy and what a judge gave for it. earlier: what it had said to this client before, oldest first.

    score: what it earned, points; a composite is in [0, 10]. likelihood: nats for each token under the base, None where it was
    not recorded. violations: those on record, which the screen may not find again.
    """

    client: str
    reply: str
    score: float
    source: str
    earlier: tuple[str, ...] = ()
    likelihood: float | None = None
    reasoning: str = ""
    violations: tuple[Violation, ...] = ()


@dataclass(frozen=True)
class Find:
    """A reply with what speaks against it, gravest first; weight: the sum of what each piece weighs."""

    said: Said
    evidence: tuple[str, ...]
    weight: float = field(compare=False)


def mine(
    said: Sequence[Said],
    screen: Callable[[Exchange], tuple[Violation, ...]],
    similarity: Similarity,
    known: Sequence[str] = (),
    top: int = 20,
    least: float = HELPS,
) -> list[Find]:
    """The `top` finds, highest score x weight first, none nearly the same as another or as the replies in `known`."""
    high = [one for one in said if one.score >= least]
    texts = list(dict.fromkeys(one.reply for one in said))
    alike = similarity([one.reply for one in high], texts) if high else np.zeros((0, len(texts)))
    told, memory = _clients_by_reply(said), _memory_of(said)
    finds = []
    for one, row in zip(high, alike, strict=True):
        pieces = [
            *_own_evidence(one, screen),
            *_same_to_everybody(one, [told[t] for t, s in zip(texts, row, strict=True) if s >= ALIKE]),
            *_stencil(one, memory),
        ]
        if pieces:
            pieces.sort(key=lambda piece: -piece[0])
            finds.append(Find(one, tuple(text for _, text in pieces), sum(weight for weight, _ in pieces)))
    finds.sort(key=lambda find: -find.said.score * find.weight)
    return _different(finds, similarity, known, top)


def _own_evidence(said: Said, screen: Callable[[Exchange], tuple[Violation, ...]]) -> Iterator[tuple[float, str]]:
    """(weight, words) of what the reply itself shows."""
    found = (*screen(Exchange(said.client, said.reasoning, said.reply)), *said.violations)
    for kind, evidence in {violation.kind: violation.evidence for violation in reversed(found)}.items():
        yield 1.0, f"{kind.replace('_', ' ')}: {evidence}"
    spoken = words(said.reply)
    if (again := max((overlap(spoken, words(before)) for before in said.earlier), default=0.0)) >= AGAIN:
        yield again, f"{again:.0%} of it was said in an earlier turn"
    if (circles := repetition(spoken)) >= CIRCLES:
        yield circles, f"{circles:.0%} of its word pairs come more than once"
    if (echo := overlap(spoken, words(said.client))) >= ECHO:
        yield echo, f"{echo:.0%} of it are the client's own words in a row"
    if said.likelihood is not None and said.likelihood < LEAST:
        yield 1.0, f"unlikely for the base: {said.likelihood:.1f} nats a token"


def _same_to_everybody(said: Said, told: Sequence[frozenset[str]]) -> Iterator[tuple[float, str]]:
    others = frozenset().union(*told) - {said.client}
    if len(others) >= EVERYBODY:
        yield min(1.0, len(others) / 10), f"nearly the same was said to {len(others)} other client lines"


def _stencil(said: Said, memory: Memory) -> Iterator[tuple[float, str]]:
    found = memory.stencil(Exchange(said.client, "", said.reply))
    if found is not None and found.share >= STOCK:
        yield found.share, f"stencil: {found.evidence}"


def _memory_of(said: Sequence[Said]) -> Memory:
    """Of everything that was said, whenever: nobody is trained by it."""
    replies: dict[str, list[str]] = {}
    for one in said:
        replies.setdefault(one.client, []).append(one.reply)
    memory = Memory(max(len(replies), FEWEST + 1))
    for client, told in replies.items():
        memory.remember(client, told)
    return memory


def _clients_by_reply(said: Sequence[Said]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for one in said:
        found.setdefault(one.reply, set()).add(one.client)
    return {reply: frozenset(clients) for reply, clients in found.items()}


def _different(finds: list[Find], similarity: Similarity, known: Sequence[str], top: int) -> list[Find]:
    """The first `top` that are no near copy of one before them or of a known reply."""
    if not finds:
        return []
    near_known = (
        similarity([find.said.reply for find in finds], list(known)).max(axis=1) if known else np.zeros(len(finds))
    )
    kept: list[Find] = []
    for find, near in zip(finds, near_known, strict=True):
        if len(kept) == top:
            break
        before = [other.said.reply for other in kept]
        if near < TWINS and (not before or similarity([find.said.reply], before).max() < TWINS):
            kept.append(find)
    return kept
