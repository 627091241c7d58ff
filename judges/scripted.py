"""A judge that says what it was told to say: for tests, and for users who score by a formula of their own."""

from collections.abc import Callable, Sequence

import numpy as np

from client_graph.names import DIMENSIONS
from judges.protocol import Assessment, Exchange, JudgeFailure, Judgement

Script = Callable[[Exchange], "Sequence[float] | float | np.ndarray | JudgeFailure | Judgement"]


class ScriptedJudge:
    """Judges by a script: a list used one entry an exchange, in order, or a function of the exchange.

    An entry is a Judgement or a JudgeFailure (returned as it is), twelve scores, or one number for all twelve.
    kind and harsh both get the scores, moved apart by `gap` / 2 each way where given. Raises IndexError when the list
    is used up, and JudgeError where a score leaves [0, 10].
    """

    name = "scripted"

    def __init__(self, script: "Sequence[object] | Script", gap: float = 0.0) -> None:
        self._script = script
        self._used = 0
        self._gap = gap

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement | JudgeFailure]:
        """One answer for each exchange, in order."""
        return [self._answer(self._next(exchange)) for exchange in exchanges]

    def _next(self, exchange: Exchange) -> object:
        if callable(self._script):
            return self._script(exchange)
        if self._used >= len(self._script):
            raise IndexError(f"the script holds {len(self._script)} entries and all are used; give it more")
        self._used += 1
        return self._script[self._used - 1]

    def _answer(self, entry: object) -> Judgement | JudgeFailure:
        if isinstance(entry, Judgement | JudgeFailure):
            return entry
        if not isinstance(entry, Sequence | np.ndarray):
            entry = [entry] * len(DIMENSIONS)
        plain = _assessment(entry)  # refuses what is no score before anything is added to it
        if self._gap == 0.0:
            return Judgement(plain, plain)
        return Judgement(_assessment(plain.scores + self._gap / 2), _assessment(plain.scores - self._gap / 2))


def _assessment(scores: object) -> Assessment:
    reasons = tuple(f"{name}: as scripted" for name in DIMENSIONS)
    return Assessment(scores, reasons, "scripted")  # type: ignore[arg-type]  # Assessment refuses what is no score
