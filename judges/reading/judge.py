"""A judge beside which a frozen language model reads: words that mean nothing to this client earn nothing, however they sound.

    score' = NOTHING + g (score - NOTHING)          g: judges/reading/fit.py

What talks one of two readers round seldom talks round the other, which knows other things (an ensemble: Coste et al. 2023).
Violations and failures pass through; the profile over dimensions stays the judge's own. Of the dialogue it reads the client's
last words and the reply.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from judges.protocol import Assessment, Exchange, Judge, JudgeFailure, Judgement
from judges.reading.fit import ReadingFit, held_against
from judges.reading.kept import NamedReader


class WithReading:
    """The judge's answers, held against what the reader says. A reply without words is left as the judge judged it.

    What a reader says of a reply does not depend on what is read beside it (but for rounding).
    """

    def __init__(self, judge: Judge, reader: NamedReader, fit: ReadingFit) -> None:
        self.name = f"{judge.name}+reading:{reader.name}"
        self.judging = judge
        self._reader, self._fit = reader, fit

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement | JudgeFailure]:
        """One answer for each exchange, in order; a JudgeFailure where the model could not read the reply."""
        answers = self.judging.judge(exchanges)
        asked = [
            i
            for i, (e, a) in enumerate(zip(exchanges, answers, strict=True))
            if isinstance(a, Judgement) and e.therapist.strip()
        ]
        if not asked:
            return answers
        for i, state in zip(asked, self._reader.states([exchanges[i] for i in asked]), strict=True):
            answer = answers[i]
            assert isinstance(answer, Judgement)
            answers[i] = self._held_against(answer, state) if np.isfinite(state).all() else JudgeFailure(UNREAD)
        return answers

    def _held_against(self, judgement: Judgement, state: np.ndarray) -> Judgement:
        gate = float(self._fit.gates(state[None])[0])
        kind, harsh = _view(judgement.kind, gate), _view(judgement.harsh, gate)
        held = replace(judgement, kind=kind, harsh=harsh)
        if judgement.error is None:
            return held
        # What was taken off may have been taken off wrongly: the score is at least half as far from sure as it was moved.
        return replace(held, error=np.maximum(gate * judgement.error, (judgement.scores - held.scores) / 2.0))


UNREAD = (
    "the base could not read the reply: its states are not finite, or there is no token in it, or client and reply are longer than "
    "the model's context. Shorten the reply, or try another judge"
)


def _view(view: Assessment, gate: float) -> Assessment:
    if gate >= 1.0:
        return view
    told = f"The reading model doubts that this means anything to this client; {gate:.0%} of the points above one are left."
    return replace(view, scores=held_against(view.scores, gate), narrative=f"{view.narrative} {told}".strip())
