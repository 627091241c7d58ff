"""What a therapist says to everybody: a stencil is not seen in a reply, only over what other clients were told.

    f(g) = mean over the other lines remembered of the share of the replies to that line in which the three words g stand
    stock = share of the reply's words that stand in a g with f(g) >= COMMON that the client did not say
    a violation `stencil`, of so much of its weight, where stock > 0

A policy under pressure finds frames that score and puts every client into them ("What would it be like not to" once stood in half
of all replies, LOG.md). The judge of one reply cannot know that; who has heard the others can.
A judge asks the memory and never changes it: who trains says afterwards what was said (`remember`), so that a turn that
failed has left nothing, and judging the same twice gives the same.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from judges.offline.features import words
from judges.protocol import Exchange, Judge, JudgeFailure, Judgement, Violation

LENGTH = 3  # words; two are everybody's grammar, four let a frame escape by one changed word
# benchmarks/judge_stencils.py: the stock of replies by people among 64 of their kind is 0 to 1 %, of policies that were trained
# against a judge 35 to 40 %.
COMMON = 0.05
FEWEST = 21  # other lines: of fewer, what a single one was told would be common
Words = tuple[str, ...]


@dataclass(frozen=True)
class _Told:
    """What was said to one line of a client."""

    client: str
    replies: tuple[str, ...]
    shares: dict[Words, float]  # of the replies, by the LENGTH words that stand in them


class Memory:
    """The last `lines` lines of clients and what was replied to each, oldest first. One policy's: several have one each."""

    def __init__(self, lines: int = 64) -> None:
        """Raises ValueError where so few lines are kept that nothing could ever be said of them."""
        if lines < FEWEST + 1:
            raise ValueError(f"found a memory of {lines} lines; expected at least {FEWEST + 1}, or none at all")
        self._told: deque[_Told] = deque(maxlen=lines)

    def remember(self, client: str, replies: Sequence[str]) -> None:
        """These were said to this line, as alternatives or one. What was said to the same line before is forgotten.

        Raises TypeError for one text instead of a sequence of texts, ValueError for none.
        """
        if isinstance(replies, str):
            raise TypeError("found one text; expected a sequence of replies: try [reply]")
        if not replies:
            raise ValueError(f"found no reply to {client[:60]!r}; expected at least one")
        counts = Counter(g for reply in replies for g in phrases(reply))
        told = _Told(client, tuple(replies), {g: count / len(replies) for g, count in counts.items()})
        same = next((old for old in self._told if old.client == client), None)
        if same is not None:
            self._told.remove(same)
        self._told.append(told)

    def stencil(self, exchange: Exchange) -> Violation | None:
        """How much of the reply everybody is told, and the commonest three words; None where nothing is, or too little is known."""
        others = [told for told in self._told if told.client != exchange.client]
        if len(others) < FEWEST:
            return None
        said, heard = words(exchange.therapist), phrases(exchange.client)
        shares = {g: sum(told.shares.get(g, 0.0) for told in others) / len(others) for g in phrases(exchange.therapist)}
        stock = {g for g, f in shares.items() if f >= COMMON and g not in heard}
        if not stock:
            return None
        standing = {i + k for i in range(len(said)) if tuple(said[i : i + LENGTH]) in stock for k in range(LENGTH)}
        share, g = len(standing) / len(said), max(stock, key=lambda g: (shares[g], g))
        evidence = f"{share:.0%} of it is what other lines were told: {' '.join(g)!r} stands in {shares[g]:.0%} of those replies"
        return Violation("stencil", evidence, share)

    def state(self) -> list[dict[str, Any]]:
        """All of it, for JSON."""
        return [{"client": told.client, "replies": list(told.replies)} for told in self._told]

    def restore(self, state: Sequence[dict[str, Any]]) -> None:
        """Put back what `state` gave. Raises ValueError for anything else; then nothing has changed."""
        if wrong := [i for i, told in enumerate(state) if set(told) != {"client", "replies"}]:
            raise ValueError(f"entries {wrong[:10]}: expected the client and the replies that state() gives")
        self._told.clear()
        for told in state:
            self.remember(told["client"], told["replies"])


class WithMemory:
    """A judge whose judgements carry a violation where words of the reply are told to everybody. Scores stay the judge's own."""

    def __init__(self, judge: Judge, memory: Memory) -> None:
        self.name = f"{judge.name}+memory"
        self.judging, self._memory = judge, memory

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement | JudgeFailure]:
        """The judge's answers, in order."""
        answers = self.judging.judge(exchanges)
        return [self._noted(answer, exchange) for answer, exchange in zip(answers, exchanges, strict=True)]

    def _noted(self, answer: Judgement | JudgeFailure, exchange: Exchange) -> Judgement | JudgeFailure:
        found = None if isinstance(answer, JudgeFailure) else self._memory.stencil(exchange)
        if found is None or isinstance(answer, JudgeFailure):
            return answer
        return replace(answer, violations=(*answer.violations, found))


def phrases(text: str) -> frozenset[Words]:
    """Every LENGTH words in a row, in lower case, apostrophes parting words."""
    said = words(text)
    return frozenset(tuple(said[i : i + LENGTH]) for i in range(len(said) - LENGTH + 1))
