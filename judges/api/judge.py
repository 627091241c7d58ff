"""The judge that asks one of Anthropic's models: kind and harsh, each in a request of its own.

Two requests and not one: a model that has just been generous writes its harsh view against it, and the gap would measure
the prompt. Two cost little more, because most of the price is the two answers, and the rubric comes from the prompt cache;
and where one of them fails, the other is kept and only the failed one is asked again.
"""

from collections.abc import Awaitable, Callable, Sequence
from threading import Lock
from typing import TypeVar

import numpy as np

from judges.api.batch import batch_views, cancel, checked_id
from judges.api.errors import BatchInterrupted
from judges.api.guard import Clock, Guard
from judges.api.ledger import Ledger, Spending
from judges.api.line import Line, in_order, in_own_loop, open_line
from judges.api.request import evaluating, judging
from judges.api.secret import Scrubber, find_key
from judges.api.settings import AnthropicJudgeConfig
from judges.api.views import View, Views
from judges.protocol import Exchange, JudgeFailure, Judgement
from judges.rubric import PERSONAS

_T = TypeVar("_T")
_Ended = tuple[list[_T | None], Exception | None]


class AnthropicJudge:
    """Judges over the network, guarded: deadline, budget, cache, typed failures. One call at a time; inside, many requests.

    rng: jitters the waits between attempts; without one they follow a fixed schedule. ledger: to share a budget.
    Raises JudgeUnavailable where there is no key, or the cache cannot be used.
    """

    def __init__(
        self,
        config: AnthropicJudgeConfig | None = None,
        rng: np.random.Generator | None = None,
        ledger: Ledger | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.config = config or AnthropicJudgeConfig()
        self.name = f"anthropic:{self.config.model}"
        self._key = find_key(self.config.api_key)
        self._scrub = Scrubber(self._key)
        self._ledger = ledger or Ledger(self.config)
        self._views = Views(self.config, self._ledger)
        self._rng, self._clock = rng, clock or Clock()
        self._dropped: set[str] = set()
        self._busy = Lock()

    @property
    def spending(self) -> Spending:
        """What was spent so far."""
        return self._ledger.spending()

    @property
    def dropped(self) -> tuple[str, ...]:
        """Parameters of the settings that this model refused, and that are not sent to it any more."""
        return tuple(sorted(self._dropped))

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement | JudgeFailure]:
        """One ApiJudgement or Failure for each exchange, in order.

        Raises BudgetSpent (with the answers so far) before a call that might not fit, and JudgeRefused where the service
        refuses key, model or request.
        """
        wanted = [(exchange, who) for exchange in exchanges for who in PERSONAS]

        async def job(line: Line) -> _Ended[View]:
            asked = [_Asked(self.config, self._views, line, exchange, who) for exchange, who in wanted]
            return await in_order([one.view for one in asked], self.config.concurrency)

        return self._views.joined(*self._run(job)) if exchanges else []

    def judge_batch(
        self,
        exchanges: Sequence[Exchange],
        batch: str | None = None,
        on_batch: Callable[[str], None] | None = None,
    ) -> list[Judgement | JudgeFailure]:
        """The same through the Message Batches API: cheaper, and it may take a day. For whole sessions.

        batch: the id of one that was sent for these exchanges with these settings, to go on with. on_batch: is told each
        id, from another thread, as soon as it is known.
        Raises what judge raises, before anything is sent where the budget does not hold the whole batch;
        JudgeUnavailable where a money budget is set and nobody said what a batch costs, or `batch` holds nothing of this;
        BatchInterrupted on Ctrl-C while one is under way.
        """
        self._ledger.batch_factor()
        sent = None if batch is None else checked_id(batch)
        under_way: str | None = None

        def told(name: str | None) -> None:
            nonlocal under_way
            under_way = name
            if name is not None and on_batch is not None:
                on_batch(name)

        async def job(line: Line) -> _Ended[View]:
            return await batch_views(line, self._views, self._ledger, self._clock, exchanges, told, sent)

        try:
            return self._views.joined(*self._run(job)) if exchanges else []
        except KeyboardInterrupt:
            if under_way is None:
                raise
            raise BatchInterrupted(under_way, self.dropped) from None

    def cancel_batch(self, batch: str) -> JudgeFailure | None:
        """Have the service end a batch, or why it could not be had. What was answered by then is charged.

        Raises JudgeRefused, and JudgeUnavailable for what is no batch's id.
        """
        name = checked_id(batch)
        return self._run(lambda line: cancel(line, name))

    def holistic(self, session: Sequence[Exchange]) -> str | JudgeFailure:
        """The model's evaluation of a whole session, turns in order (paper line 410), or why there is none.

        Raises ValueError for a session without turns, BudgetSpent and JudgeRefused.
        """
        if not session:
            raise ValueError("found a session without turns; expected at least one")

        async def text(line: Line) -> str | JudgeFailure:
            answer = await line.ask(lambda dropped: evaluating(self.config, session, dropped), _nothing)
            return answer.reply.outcome

        async def job(line: Line) -> _Ended[str | JudgeFailure]:
            return await in_order([lambda: text(line)], 1)

        (outcome,), stopped = self._run(job)
        if stopped is not None:
            raise stopped
        assert outcome is not None
        return outcome.strip() if isinstance(outcome, str) else outcome

    def _run(self, job: Callable[[Line], Awaitable[_T]]) -> _T:
        async def whole() -> _T:
            guard = Guard(self.config, self._ledger, self._scrub, self._clock, self._rng)
            async with open_line(self.config, self._key, guard, self._dropped) as line:
                return await job(line)

        with self._busy:
            return in_own_loop(whole, self._scrub)


class _Asked:
    """One view that is wanted."""

    def __init__(self, config: AnthropicJudgeConfig, views: Views, line: Line, exchange: Exchange, who: str) -> None:
        self._config, self._views, self._line, self._exchange, self._who = config, views, line, exchange, who

    async def view(self) -> View:
        answer = await self._line.ask(
            lambda dropped: judging(self._config, self._exchange, self._who, dropped),
            lambda body: self._views.kept(self._who, body, sorted(self._line.dropped)),
        )
        if isinstance(answer, View):
            return answer
        return await self._views.made(self._who, answer, sorted(self._line.dropped))


async def _nothing(body: object) -> None:
    """A holistic text is not kept: it is no judgement."""
