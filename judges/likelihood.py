"""Whether a reply is language at all, by the likelihood that a model which took no part in learning gives it.

    L = 1/T sum_t log p(y_t | client, y_<t)      nats for each token of the reply

A policy that has been talked into warm repetition or garble leaves what its own base would ever say. It is reported as a
violation and charged like one; no score is changed.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from judges.protocol import Exchange, Judge, JudgeFailure, Judgement, Violation
from judges.rubric import prompt_text

# benchmarks/judge_likelihood.py on SmolLM2-135M: decent authored replies -2.2 to -5.9 (median -3.5; the lowest is three words
# long), the same words in another order -5.2 to -10.0 (median -7.3). A short reply's mean is a noisy one, so the limit lies
# below the middle between them: to charge a decent reply is the graver error. Of another base it must be measured anew.
LEAST = -6.5


class Likelihood(Protocol):
    """A frozen model's view of how likely a reply is."""

    def mean_logprobs(self, exchanges: Sequence[Exchange]) -> np.ndarray:
        """(n,) mean log-probability of a token of each reply after the client's words, nats; NaN for a reply of no tokens.

        Raises FloatingPointError where the model's output is no number.
        """


class WithLikelihood:
    """A judge whose judgements carry a violation where the reply is less likely than `least` nats for each token.

    Scores stay the judge's own. A reply of no tokens gets none: that it is empty is for the screen to say.
    """

    def __init__(self, judge: Judge, likelihood: Likelihood, least: float = LEAST) -> None:
        self.name = f"{judge.name}+likelihood"
        self.judging, self._likelihood, self._least = judge, likelihood, least

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement | JudgeFailure]:
        """The judge's answers, in order; a JudgeFailure for each where the model's output is broken."""
        if not exchanges:
            return []
        found = self._found(exchanges)
        asked = [exchange for exchange, L in zip(exchanges, found, strict=True) if not isinstance(L, JudgeFailure)]
        answers = iter(self.judging.judge(asked) if asked else [])
        return [L if isinstance(L, JudgeFailure) else self._noted(next(answers), L) for L in found]

    def _found(self, exchanges: Sequence[Exchange]) -> list[float | JudgeFailure]:
        """Each reply's likelihood. Where those of a call are broken, each is asked alone: one bad reply fails no other."""
        try:
            return [float(L) for L in self._likelihood.mean_logprobs(exchanges)]
        except FloatingPointError as error:
            if len(exchanges) == 1:
                return [JudgeFailure(f"the base's likelihood cannot be had: {error}")]
            return [one for exchange in exchanges for one in self._found([exchange])]

    def _noted(self, answer: Judgement | JudgeFailure, mean_logprob: float) -> Judgement | JudgeFailure:
        if isinstance(answer, JudgeFailure) or not mean_logprob < self._least:
            return answer
        evidence = f"{mean_logprob:.1f} nats for each token; expected at least {self._least:g}"
        return replace(answer, violations=(*answer.violations, Violation("unlikely", evidence)))


def likelihood_prompt(exchange: Exchange) -> str:
    """The user's message that the reply is an answer to: the client's words alone, with one sentence of setting."""
    client = exchange.client.encode("utf-8", "replace").decode("utf-8")  # no tokenizer takes lone surrogates
    return re.sub(r"\{client\}", lambda _: client, prompt_text("likelihood"))
