"""The line to the service: requests in, answers out, with everything that outlives a single request.

A line is opened for each call of the judge, in an event loop of its own thread: it works inside another loop, in a
notebook and after a fork, and Ctrl-C ends it.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import anthropic
import anyio
from anyio.from_thread import start_blocking_portal
from pydantic import SecretStr

from judges.api.errors import BudgetSpent, Failure, JudgeRefused
from judges.api.guard import Guard, Request, Unsupported
from judges.api.ledger import Usage
from judges.api.reply import Reply, read_json, read_reply
from judges.api.request import OPTIONAL, Body, named_in, worst_case
from judges.api.secret import Scrubber
from judges.api.settings import AnthropicJudgeConfig

_T = TypeVar("_T")


@dataclass(frozen=True)
class Answer:
    """What came of one request. body: as it was finally sent."""

    reply: Reply
    attempts: int
    body: Body


class Line:
    """An open client, its guard, and the parameters this model is known to refuse (`dropped`, shared and grown)."""

    def __init__(
        self, client: anthropic.AsyncAnthropic, config: AnthropicJudgeConfig, guard: Guard, dropped: set[str]
    ) -> None:
        self.client, self.config, self.guard, self.dropped = client, config, guard, dropped

    async def ask(
        self, written: Callable[[set[str]], Body], kept: Callable[[Body], Awaitable[_T | None]]
    ) -> Answer | _T:
        """The answer to the body that `written(dropped)` gives, or what `kept(body)` has of it already.

        A parameter the model refuses is left out and remembered: each at most once, so this ends.
        """
        for sent in range(len(OPTIONAL) + 1):
            try:
                body = written(self.dropped)
            except UnicodeEncodeError:
                return Answer(Reply(unsendable(), None), sent, {})
            if (known := await kept(body)) is not None:
                return known
            answer = await self._asked(body, sent)
            if isinstance(answer, Answer):
                return answer
            self.drop(str(answer), body, answer.error)
        raise AssertionError("each round drops a parameter, and there are no more")

    async def _asked(self, body: Body, sent: int) -> Answer | Unsupported:
        try:
            reply, attempts = await self.guard.ask(Request(lambda: self._send(body), _read, worst_case(body)))
        except Unsupported as unsupported:
            return unsupported
        return Answer(reply, sent + attempts, body)

    def drop(self, message: str, body: Body, otherwise: Exception) -> None:
        """Remember the parameters of `body` that the message refuses. Raises `otherwise` where it names none."""
        names = named_in(message, body)
        if not names:
            raise otherwise
        self.dropped.update(names)

    async def _send(self, body: Body) -> str:
        # Older models take a temperature; this SDK has no argument for it any more.
        named = {name: value for name, value in body.items() if name != "temperature"}
        extra = {"temperature": body["temperature"]} if "temperature" in body else None
        answer: Any = await self.client.messages.with_raw_response.create(**named, extra_body=extra)
        text: str = answer.http_response.text
        return text


def _read(text: str) -> Reply:
    return read_reply(read_json(text))


def unsendable() -> Failure:
    """The failure of an exchange that cannot be written as UTF-8."""
    return Failure(
        "the exchange holds half a surrogate pair, which no request can hold; expected text. Mask the turn",
        "unsendable",
    )


@asynccontextmanager
async def open_line(
    config: AnthropicJudgeConfig, key: SecretStr, guard: Guard, dropped: set[str]
) -> AsyncIterator[Line]:
    """A Line while inside. Redirects are not followed: the key would travel with them."""
    async with anthropic.AsyncAnthropic(
        api_key=key.get_secret_value(),
        base_url=config.base_url,
        max_retries=0,
        open_telemetry=False,  # spans can hold what was sent
        timeout=config.attempt_timeout,
        http_client=anthropic.DefaultAsyncHttpxClient(follow_redirects=False, timeout=config.attempt_timeout),
    ) as client:
        yield Line(client, config, guard, dropped)


def in_own_loop(job: Callable[[], Awaitable[_T]], scrub: Scrubber) -> _T:
    """Run it to its end in a thread with an event loop; cancelled where this thread is interrupted."""
    with scrub.on_logs(), start_blocking_portal() as portal:
        return portal.call(job)


async def in_order(jobs: Sequence[Callable[[], Awaitable[_T]]], limit: int) -> tuple[list[_T | None], Exception | None]:
    """The results in the order of the jobs, at most `limit` at once; and what ended the run early, if anything did.

    JudgeRefused cancels what is in flight. After BudgetSpent what is in flight is awaited (it is paid for) and nothing new
    begins. A job that did not end has None.
    """
    results: list[_T | None] = [None] * len(jobs)
    stopped: list[Exception] = []
    limiter = anyio.Semaphore(limit)

    async def run(place: int, scope: anyio.CancelScope) -> None:
        async with limiter:
            if stopped:
                return
            try:
                results[place] = await jobs[place]()
            except BudgetSpent as spent:
                stopped.append(spent)
            except JudgeRefused as refused:
                stopped.append(refused)
                scope.cancel()

    async with anyio.create_task_group() as group:
        for place in range(len(jobs)):
            group.start_soon(run, place, group.cancel_scope)
    refusals = [error for error in stopped if isinstance(error, JudgeRefused)]
    return results, (refusals or stopped or [None])[0]


def total(usages: Sequence[Usage | None]) -> Usage:
    """The sum of those that are known."""
    return sum((usage for usage in usages if usage is not None), Usage())
