"""What a therapist says to everybody: a stencil is not seen in a reply, only over what other clients were told.

    f(g) = mean over the other lines remembered of the share of the replies to that line in which the four words g stand
    stencil where max_g f(g) >= MOST, of g that the client did not say

A policy under pressure finds one frame that scores and puts every client into it ("What would it be like not to": half of all
replies, docs/judge_under_pressure_reading.md). The judge of one reply cannot know that; who has heard the others can.
A judge asks the memory and never changes it: who trains says afterwards what was said (`remember`), so that a turn that
failed has left nothing, and judging the same twice gives the same.
"""

from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from judges.offline.features import words
from judges.protocol import Exchange, Judge, JudgeFailure, Judgement, Violation

LENGTH = 4  # words; three are everybody's grammar ("I'd like"), five let a frame escape by one changed word
# benchmarks/judge_stencils.py: in 64 replies by people the commonest four words stand in 3 to 12 % ("I'd like to"), in those of
# the policies that were trained against a judge in 29 and 50 %.
MOST = 0.15
FEWEST = 20  # other lines from which a share is one
Words = tuple[str, ...]


@dataclass(frozen=True)
class _Told:
    """What was said to one line of a client."""

    client: str
    replies: tuple[str, ...]
    shares: dict[Words, float]  # of the replies, by the four words that stand in them


class Memory:
    """The last `lines` lines of clients and what was replied to each, oldest first. One policy's: several have one each."""

    def __init__(self, lines: int = 64) -> None:
        """Raises ValueError where so few lines are kept that nothing could ever be said of them."""
        if lines < FEWEST + 1:
            raise ValueError(f"found a memory of {lines} lines; expected at least {FEWEST + 1}, or none at all")
        self._told: deque[_Told] = deque(maxlen=lines)

    def remember(self, client: str, replies: Sequence[str]) -> None:
        """These were said to this line, as alternatives or one. What was said to the same line before is forgotten."""
        counts = Counter(g for reply in replies for g in phrases(reply))
        told = _Told(client, tuple(replies), {g: count / len(replies) for g, count in counts.items()})
        same = next((old for old in self._told if old.client == client), None)
        if same is not None:
            self._told.remove(same)
        self._told.append(told)

    def stencil(self, exchange: Exchange) -> Violation | None:
        """The four words of the reply that most other lines were told, where too many were."""
        others = [told for told in self._told if told.client != exchange.client]
        if len(others) < FEWEST:
            return None
        own = phrases(exchange.therapist) - phrases(exchange.client)
        shares = {g: sum(told.shares.get(g, 0.0) for told in others) / len(others) for g in sorted(own)}
        g = max(shares, key=lambda g: shares[g], default=None)
        if g is None or shares[g] < MOST:
            return None
        evidence = f"{' '.join(g)!r} stands in {shares[g]:.0%} of what was replied to {len(others)} other lines"
        return Violation("stencil", evidence)

    def state(self) -> list[dict[str, Any]]:
        """All of it, for JSON."""
        return [{"client": told.client, "replies": list(told.replies)} for told in self._told]

    def restore(self, state: Sequence[dict[str, Any]]) -> None:
        """Put back what `state` gave."""
        self._told.clear()
        for told in state:
            self.remember(told["client"], told["replies"])


class WithMemory:
    """A judge whose judgements carry a violation where the reply is what everybody was told. Scores stay the judge's own."""

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
