"""A judge beside which a frozen language model reads: words that mean nothing to this client earn nothing, however they sound.

    score' = P 10 sigmoid(logit(score) + start) + (1 - P) NOTHING          judges/reading/fit.py

What talks one of two readers round seldom talks round the other, which knows other things (an ensemble: Coste et al. 2023).
Violations and failures pass through; the profile over dimensions stays the judge's own.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from judges.protocol import Assessment, Exchange, Judge, JudgeFailure, Judgement
from judges.reading.fit import Reader, ReadingFit

NEAR = 0.1  # points up and down by which it is seen how an error of the judge's is passed on


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
        meant = float(self._fit.meant(state[None])[0])
        up, down = (self._fit.held(np.clip(judgement.scores + step, 0.0, 10.0), meant) for step in (NEAR, -NEAR))
        error = judgement.error
        return replace(
            judgement,
            kind=self._view(judgement.kind, meant),
            harsh=self._view(judgement.harsh, meant),
            error=None if error is None else error * (up - down) / (2.0 * NEAR),
        )

    def _view(self, view: Assessment, meant: float) -> Assessment:
        told = f"Read after the client's words, it means something to this client with a probability of {meant:.0%}."
        return replace(view, scores=self._fit.held(view.scores, meant), narrative=f"{view.narrative} {told}".strip())
