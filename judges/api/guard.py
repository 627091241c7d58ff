"""One request, guarded: the budget before it, a total deadline around it, one retry policy, typed ends.

    429, 529, other 5xx, 408, 409, timeouts, lost connections   again, after
        wait = max(Retry-After, min(longest, first 2^(attempt - 1)) (1/2 + u/2)),  u uniform in [0, 1) where a generator
        was passed in, 1 otherwise, as long as the next attempt still begins before the deadline; then Failure
    413                                                         Failure: this exchange is too long
    400 naming a parameter that may be left out                 Unsupported: the caller leaves it out, once
    every other status                                          JudgeRefused: the run stops

The SDK's own retries are off. The deadline is anyio's, around the whole attempt: a server that sends a byte now and then
ends no sooner than one that sends nothing.
"""

import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime

import anthropic
import anyio
import httpx2
import numpy as np
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from judges.api.errors import BudgetSpent, Failure, JudgeRefused, Kind
from judges.api.ledger import Ledger, Usage
from judges.api.reply import Reply
from judges.api.secret import Scrubber
from judges.api.settings import AnthropicJudgeConfig

AGAIN = (408, 409, 429)
SPEND_LIMIT = "spend_limit_reached"  # a 429 that waiting does not cure
QUOTED = 300  # characters of a server's message in an error

ADVICE = {
    401: "check the key",
    402: "the account cannot pay: see its billing page",
    403: "the key may not do this: see its permissions",
    404: "check the model's name and base_url, or the batch's id",
}


@dataclass(frozen=True)
class Clock:
    """Where time comes from, in seconds; tests put their own in. now: monotonic. wall: since the epoch."""

    now: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
    sleep: Callable[[float], Awaitable[None]] = anyio.sleep


class Unsupported(Exception):
    """The model refuses a parameter that can be left out. `message` is the server's, `error` what to raise if it cannot."""

    def __init__(self, message: str, error: JudgeRefused) -> None:
        super().__init__(message)
        self.error = error


class _Again(Exception):
    """An attempt failed in a way that may pass. after: seconds the server asked to wait. last: it must not be repeated."""

    def __init__(self, kind: Kind, what: str, after: float = 0.0, last: bool = False) -> None:
        super().__init__(what)
        self.kind, self.what, self.after, self.last = kind, what, after, last


@dataclass(frozen=True)
class Request:
    """What to send and how to read it. worst: the most it can use, None where it costs nothing. factor: of the prices.

    repeatable: False where sending twice would do the thing twice; then only answers that say "not done" are retried.
    """

    send: Callable[[], Awaitable[str]]
    read: Callable[[str], Reply]
    worst: Usage | None = None
    factor: float = 1.0
    repeatable: bool = True


class Guard:
    """Sends requests for one event loop's life."""

    def __init__(
        self,
        config: AnthropicJudgeConfig,
        ledger: Ledger,
        scrub: Scrubber,
        clock: Clock,
        rng: np.random.Generator | None = None,
    ) -> None:
        self._config, self._ledger, self._scrub, self._clock, self._rng = config, ledger, scrub, clock, rng
        self._in_flight = 0
        self._settled = anyio.Condition()

    async def ask(self, request: Request) -> tuple[Reply, int]:
        """The reply, or a typed failure in its place, within the deadline; and the number of attempts.

        Raises JudgeRefused, BudgetSpent, Unsupported.
        """
        start = self._clock.now()
        retrying = AsyncRetrying(
            sleep=self._clock.sleep,
            stop=lambda state: self._too_late(start, state),
            wait=self._wait,
            retry=retry_if_exception_type(_Again),
            reraise=True,
        )
        given_up: _Again | None = None
        reply: Reply | None = None
        try:
            reply = await retrying(self._attempt, request, start)
        except _Again as again:
            given_up = again
        attempts = int(retrying.statistics["attempt_number"])
        if given_up is not None:
            reply = Reply(self._given_up(given_up, self._clock.now() - start), None)
        assert reply is not None
        if isinstance(reply.outcome, Failure):
            reply = replace(reply, outcome=replace(reply.outcome, attempts=attempts))
        return reply, attempts

    def _too_late(self, start: float, state: RetryCallState) -> bool:
        late = self._clock.now() - start + state.upcoming_sleep >= self._config.deadline
        return late or _again(state).last

    def _wait(self, state: RetryCallState) -> float:
        backoff = self._config.first_wait * 2.0 ** min(state.attempt_number - 1, 60)
        backoff = min(self._config.longest_wait, backoff)
        if self._rng is not None:
            backoff *= 0.5 + 0.5 * float(self._rng.random())
        return max(backoff, _again(state).after)

    def _given_up(self, again: _Again, elapsed: float) -> Failure:
        asked = f", and the service asked to wait {again.after:g} s more" if again.after else ""
        reason = (
            f"{again.what}; given up after {elapsed:.1f} s{asked}, the deadline is {self._config.deadline:g} s. "
            "Mask the turn and ask again later; a lower concurrency may help"
        )
        return Failure(reason, again.kind)

    async def _attempt(self, request: Request, start: float) -> Reply:
        await self._reserve(request)
        left = self._config.deadline - (self._clock.now() - start)
        charge = self._lose  # until something says otherwise
        reply: Reply | None = None
        # Raised after the handlers, not in them: the SDK's exception quotes the server, and would travel along as context.
        ended: Exception | Failure
        try:
            with anyio.fail_after(max(0.0, min(left, self._config.attempt_timeout))):
                text = self._scrub(await request.send())
            reply = request.read(text)
        except (TimeoutError, anthropic.APITimeoutError):
            ended = _Again("timeout", "no answer in time", last=not request.repeatable)
        except anthropic.APIStatusError as error:
            ended, charge = self._status(error), self._cancel
        except anthropic.APIConnectionError as error:
            reached = not _never_reached(error)
            charge = self._lose if reached else self._cancel
            what = f"no connection ({type(error.__cause__ or error).__name__})"
            ended = _Again("connection", what, last=reached and not request.repeatable)
        finally:
            self._account(request, reply, charge)
        await self._notify()
        if reply is not None:
            return reply
        if isinstance(ended, Failure):
            return Reply(ended, None)
        raise ended

    def _status(self, error: anthropic.APIStatusError) -> Exception | Failure:
        status, message = error.status_code, self.quoted(str(error.api_message or error.message))
        what = f"status {status}: {message}"
        if status >= 500 or (status in AGAIN and not (error.error_code or "").endswith(SPEND_LIMIT)):
            kind: Kind = "rate_limited" if status == 429 else "overloaded"
            return _Again(kind, what, _asked(error.response.headers, self._clock.wall()))
        if status == 413:
            return Failure(f"{what}. The exchange is too long for the service: shorten its history", "too_large")
        advice = ADVICE.get(status, "the service refuses the request as it stands: see its message")
        refused = JudgeRefused(f"the Anthropic judge is refused, {what}. Try: {advice}", status)
        return Unsupported(message, refused) if status == 400 else refused

    def quoted(self, message: str) -> str:
        """A server's message, fit to be shown: without the key, short, in ASCII."""
        text = self._scrub(message)
        return ascii(text if len(text) <= QUOTED else text[: QUOTED - 3] + "...")

    async def _reserve(self, request: Request) -> None:
        if request.worst is None:
            return
        async with self._settled:
            # What is in flight has its worst case set aside and will mostly use less: wait for it before giving up.
            while not self._ledger.reserve(request.worst, request.factor):
                if self._in_flight == 0:
                    shortage = self._ledger.shortage(request.worst)
                    raise BudgetSpent(f"the judge's budget is spent: {shortage}. Raise it, or resume with another")
                await self._settled.wait()
            self._in_flight += 1

    def _account(self, request: Request, reply: Reply | None, charge: Callable[[Request], None]) -> None:
        if request.worst is None:
            return
        self._in_flight -= 1
        if reply is not None and reply.usage is not None:
            self._ledger.settle(request.worst, reply.usage, request.factor)
        else:
            charge(request)

    async def _notify(self) -> None:
        async with self._settled:
            self._settled.notify_all()

    def _lose(self, request: Request) -> None:
        assert request.worst is not None
        self._ledger.lose(request.worst, request.factor)

    def _cancel(self, request: Request) -> None:
        assert request.worst is not None
        self._ledger.cancel(request.worst, request.factor)


def _again(state: RetryCallState) -> _Again:
    error = state.outcome.exception() if state.outcome else None
    assert isinstance(error, _Again)  # nothing else is retried
    return error


def _never_reached(error: anthropic.APIConnectionError) -> bool:
    """Whether the connection failed before anything was sent."""
    return isinstance(error.__cause__, httpx2.ConnectError | httpx2.UnsupportedProtocol)


def _asked(headers: httpx2.Headers, now: float) -> float:
    """Seconds the server asks to wait: retry-after-ms, or Retry-After in seconds or as a date; 0 where it asks nothing."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) / unit
        except ValueError:
            continue
        return 0.0 if math.isnan(seconds) else max(0.0, seconds)
    try:
        return max(0.0, parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - now)
    except (ValueError, TypeError, OverflowError):
        return 0.0
