"""A judge beside which a frozen language model reads: words that mean nothing to this client earn nothing, however they sound.

    score' = NOTHING + kept (score - NOTHING)          kept: judges/reading/fit.py

What talks one of two readers round seldom talks round the other, which knows other things (an ensemble: Coste et al. 2023).
Violations and failures pass through; the profile over dimensions stays the judge's own. It reads the reply after the client's
last words, in a dialogue once more after the last EARLIER lines as well (what takes up an earlier turn means little after the last
one alone; the kinder reading counts), and once more after the words of others.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from judges.protocol import Assessment, Exchange, Judge, JudgeFailure, Judgement
from judges.reading.fit import ReadingFit, held_against
from judges.reading.kept import NamedReader

# Two clients whom nobody meets: what a reply means to them it means to anybody.
OTHERS = (
    "I keep putting off ringing the dentist, and then I lie there at night going over it.",
    "We had my brother's family round on Sunday and by the end I just wanted everyone to leave.",
)
EARLIER = 2  # lines of the client before the last


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
        heard = [_heard(exchanges[i]) for i in asked]
        read = [
            Exchange(said, "", exchanges[i].therapist)
            for i, mine in zip(asked, heard, strict=True)
            for said in (*OTHERS, *mine)
        ]
        states = iter(self._reader.states(read))
        for i, mine in zip(asked, heard, strict=True):
            answer = answers[i]
            assert isinstance(answer, Judgement)
            others, own = (np.stack([next(states) for _ in part]) for part in (OTHERS, mine))
            whole = np.isfinite(own).all(axis=1)  # with the earlier lines it may be longer than the model reads
            read_all = whole[0] and np.isfinite(others).all()
            answers[i] = self._held_against(answer, own[whole], others) if read_all else JudgeFailure(UNREAD)
        return answers

    def _held_against(self, judgement: Judgement, own: np.ndarray, others: np.ndarray) -> Judgement:
        """own (readings, width), others (OTHERS, width) states of one reply."""
        elsewhere = np.repeat(others[:, None], len(own), axis=1)
        kept = float(self._fit.kept(own, elsewhere, np.full(len(own), judgement.composite)).max())
        kind, harsh = _view(judgement.kind, kept), _view(judgement.harsh, kept)
        held = replace(judgement, kind=kind, harsh=harsh)
        if judgement.error is None:
            return held
        # What was taken off may have been taken off wrongly: the score is at least half as far from sure as it was moved.
        return replace(held, error=np.maximum(kept * judgement.error, (judgement.scores - held.scores) / 2.0))


def _heard(exchange: Exchange) -> tuple[str, ...]:
    """What the reply may be an answer to: the client's last words, and these after the lines before them."""
    before = [turn.client for turn in exchange.history[-EARLIER:]]
    return (exchange.client, "\n".join([*before, exchange.client])) if before else (exchange.client,)


UNREAD = (
    "the base could not read the reply: its states are not finite, or there is no token in it, or client and reply are longer than "
    "the model's context. Shorten the reply, or try another judge"
)


def _view(view: Assessment, kept: float) -> Assessment:
    if kept >= 1.0:
        return view
    told = f"Read after this client's words and after others', it says little to this client: {kept:.0%} of its points are left."
    moment = f"read, it says little to this client: {kept:.0%} of its points are left"
    return replace(
        view,
        scores=held_against(view.scores, kept),
        narrative=f"{view.narrative} {told}".strip(),
        critical_moments=(moment, *view.critical_moments),
    )
