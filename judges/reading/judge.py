"""A judge beside which a frozen language model reads: a score has to convince both, and words that mean nothing earn nothing.

    e      = mean logit of the judge's twelve scores          r = level that the reader sees, g = its gate
    score' = g 10 sigmoid(logit(score) + m min(e, r) + n - e)

Worst-case optimisation over an ensemble (Coste et al. 2023): what talks one reader round seldom talks round the other, which knows
other things. m and n keep the scale of the authored scores. Violations and failures pass through; the profile over dimensions
stays the judge's own.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from judges.offline.fit import logit, sigmoid
from judges.protocol import Assessment, Exchange, Judge, JudgeFailure, Judgement
from judges.reading.fit import Reader, ReadingFit


class WithReading:
    """The judge's answers, held against what the reader says. A reply of no tokens is left as the judge judged it."""

    def __init__(self, judge: Judge, reader: Reader, fit: ReadingFit) -> None:
        self.name = f"{judge.name}+reading"
        self.judging = judge
        self._reader, self._fit = reader, fit

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement | JudgeFailure]:
        """One answer for each exchange, in order; a JudgeFailure for each where the model's output is broken."""
        if not exchanges:
            return []
        answers = self.judging.judge(exchanges)
        asked = [i for i, answer in enumerate(answers) if isinstance(answer, Judgement)]
        try:
            states = self._reader.states([exchanges[i] for i in asked]) if asked else np.empty((0, 0), np.float32)
        except FloatingPointError as error:
            return [JudgeFailure(f"the base could not read the reply: {error}") for _ in exchanges]
        for i, state in zip(asked, states, strict=True):
            answer = answers[i]
            if isinstance(answer, Judgement) and np.isfinite(state).all():
                answers[i] = self._held_against(answer, state)
        return answers

    def _held_against(self, judgement: Judgement, state: np.ndarray) -> Judgement:
        columns, judged = self._fit.columns(state[None]), logit(judgement.scores).mean(keepdims=True)
        read = self._fit.levels(columns)
        gate, shift = float(self._fit.gates(columns)[0]), float((self._fit.shared(judged, read) - judged)[0])
        told = f"{10 * float(sigmoid(read)[0]):.1f} of 10 by the reading model{_doubt(gate)}"
        before, after = judgement.scores, gate * 10 * sigmoid(logit(judgement.scores) + shift)
        error = judgement.error
        return replace(
            judgement,
            kind=_moved(judgement.kind, shift, gate, told),
            harsh=_moved(judgement.harsh, shift, gate, told),
            error=None if error is None else error * _slope(after / max(gate, 1e-9)) * gate / _slope(before),
        )


def _moved(view: Assessment, shift: float, gate: float, told: str) -> Assessment:
    scores = gate * 10 * sigmoid(logit(view.scores) + shift)
    return replace(view, scores=scores, narrative=f"{view.narrative} {told[0].upper()}{told[1:]}.".strip())


def _doubt(gate: float) -> str:
    if gate >= 1.0:
        return ""
    return f", which hardly finds a meaning for this client in it: {gate:.0%} of the scores are left"


def _slope(scores: np.ndarray) -> np.ndarray:
    """How much a score moves with its logit, up to a constant; away from the ends, where it would be nothing."""
    inside = np.clip(scores, 0.3, 9.7)
    slope: np.ndarray = inside * (10.0 - inside)
    return slope
