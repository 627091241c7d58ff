"""A violation for what the base would hardly say, and no score changed."""

from collections.abc import Sequence

import numpy as np

from judges.likelihood import LEAST, WithLikelihood, likelihood_prompt
from judges.protocol import Assessment, Exchange, JudgeFailure, Judgement

EXCHANGES = [Exchange("I am {client} tired.", "", reply) for reply in ("Yes.", "xq zz", "", "broken")]
VIEW = Assessment(np.full(12, 5.0), ("because",) * 12, "plain")


class Scripted:
    name = "scripted"

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement | JudgeFailure]:
        return [JudgeFailure("no") if e.therapist == "broken" else Judgement(VIEW, VIEW) for e in exchanges]


class Told:
    def mean_logprobs(self, exchanges: Sequence[Exchange]) -> np.ndarray:
        return np.array([LEAST, LEAST - 0.1, np.nan, LEAST - 1])


def test_only_what_is_too_unlikely_is_reported() -> None:
    judge = WithLikelihood(Scripted(), Told())
    likely, unlikely, empty, failed = judge.judge(EXCHANGES)
    assert isinstance(likely, Judgement)
    assert isinstance(unlikely, Judgement)
    assert isinstance(empty, Judgement)
    assert likely.violations == empty.violations == ()
    assert [violation.kind for violation in unlikely.violations] == ["unlikely"]
    assert "nats" in unlikely.violations[0].evidence
    np.testing.assert_array_equal(unlikely.scores, likely.scores)
    assert isinstance(failed, JudgeFailure)
    assert judge.judge([]) == []
    assert judge.name == "scripted+likelihood"


class OneBreaks:
    """A model whose output is no number for one reply, and so for every call that this reply is in."""

    def mean_logprobs(self, exchanges: Sequence[Exchange]) -> np.ndarray:
        if any(exchange.therapist == "xq zz" for exchange in exchanges):
            raise FloatingPointError("found NaN")
        return np.full(len(exchanges), LEAST)


def test_one_broken_likelihood_fails_no_other_reply() -> None:
    first, second, third, fourth = WithLikelihood(Scripted(), OneBreaks()).judge(EXCHANGES)
    assert isinstance(first, Judgement)
    assert isinstance(second, JudgeFailure)
    assert "found NaN" in second.reason
    assert isinstance(third, Judgement)
    assert isinstance(fourth, JudgeFailure)  # the judge's own
    assert fourth.reason == "no"


def test_the_clients_words_are_filled_once() -> None:
    text = likelihood_prompt(EXCHANGES[0])
    assert text.endswith("I am {client} tired.\n")
