"""What can go wrong with a judge behind a network, by what the caller should do about it.

Failure        this exchange has no score; the others may: returned, never raised.
JudgeRefused   the service will not serve us (key, model, request): raised, the run stops.
BudgetSpent    the next call could exceed the budget: raised, the run writes its checkpoint and ends cleanly.
BatchInterrupted    Ctrl-C while a batch is under way: raised, and names the batch.
"""

from dataclasses import dataclass
from typing import Literal

from judges.protocol import JudgeFailure, Judgement

Kind = Literal[
    "rate_limited",  # 429 until the deadline, or a Retry-After beyond it
    "overloaded",  # 529 and other 5xx until the deadline
    "timeout",  # no answer within the deadline
    "connection",  # no connection until the deadline
    "too_large",  # 413: this exchange is too long
    "unsendable",  # the exchange holds what no request can hold
    "not_a_message",  # status 200, and a body that is no message: HTML, other JSON, nothing
    "empty",  # a message without text
    "refusal",  # the model declined
    "cut_off",  # max_tokens or the context window ended the answer
    "unreadable",  # text that is no judgement: see parsing.py
    "batch_errored",  # the batch reports an error for this request
    "batch_unfinished",  # cancelled, expired, past the deadline
    "batch_unmatched",  # no result, or two, under this request's id
    "unpaid",  # the budget ended before it: see BudgetSpent.filled
]


@dataclass(frozen=True)
class Failure(JudgeFailure):
    """A JudgeFailure that says of which kind it is. attempts: requests sent for it."""

    kind: Kind = "unreadable"
    attempts: int = 0


class JudgeRefused(RuntimeError):
    """The service refused the request itself: trying again changes nothing. `status` is the HTTP status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.status)


class BudgetSpent(RuntimeError):
    """No further call fits the budget. Nothing is lost: what was judged is in `answers`, and in the cache if there is one.

    answers: one for each exchange, in order; None where the budget ended first.
    """

    def __init__(self, message: str, answers: tuple[Judgement | JudgeFailure | None, ...] = ()) -> None:
        super().__init__(message)
        self.answers = answers

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (str(self), self.answers)

    def filled(self) -> list[Judgement | JudgeFailure]:
        """The answers, with an `unpaid` Failure in the place of each that is missing."""
        return [Failure(str(self), "unpaid") if answer is None else answer for answer in self.answers]


class BatchInterrupted(KeyboardInterrupt):
    """Ctrl-C while a batch was under way: it goes on at the service, which charges for it.

    batch: its id, for AnthropicJudge.judge_batch and cancel_batch. dropped: parameters of the settings it was sent without.
    """

    def __init__(self, batch: str, dropped: tuple[str, ...] = ()) -> None:
        super().__init__(batch, dropped)
        self.batch, self.dropped = batch, dropped

    def __str__(self) -> str:
        left_out = (
            f", sent without {', '.join(self.dropped)}: take it out of the settings to go on" if self.dropped else ""
        )
        return f"batch {self.batch} goes on at the service and is charged{left_out}"
