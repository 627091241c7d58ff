"""A whole session in one batch: sent once, looked at now and then until it has ended, its results matched by id.

    create -> poll until ended or the batch deadline -> results, one line each, in any order

Every request ends in a view: what was cancelled, expired, errored, lost or found twice ends in a typed failure. A result's id
holds the hash of its request, so that a batch of another process is read only by who asks the very same.
"""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import httpx2

from judges.api.errors import BudgetSpent, Failure, JudgeRefused, Kind
from judges.api.guard import QUOTED, Clock, Request, Unsupported
from judges.api.ledger import Ledger, Usage
from judges.api.line import Answer, Line, total, unsendable
from judges.api.reply import Reply, read_json, read_reply
from judges.api.request import OPTIONAL, Body, judging, named_in, remembered_as, worst_case
from judges.api.views import View, Views
from judges.protocol import Exchange, JudgeUnavailable
from judges.rubric import PERSONAS

ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
Told = Callable[[str | None], None]  # a batch that is under way, by its id; None once it has been read
Wanted = tuple[int, Exchange, str]  # place among the views, what to judge, persona


@dataclass(frozen=True)
class Entry:
    """One request of a batch, under the id its result will carry."""

    place: int
    who: str
    body: Body
    worst: Usage
    custom_id: str


async def batch_views(
    line: Line,
    views: Views,
    ledger: Ledger,
    clock: Clock,
    exchanges: Sequence[Exchange],
    told: Told,
    sent: str | None = None,
) -> tuple[list[View | None], Exception | None]:
    """Kind and harsh of each exchange in turn, and what ended the run early, if anything did.

    Requests that fail over a parameter this model does not take are sent again without it, each parameter once.
    sent: a batch to read in place of sending the first.
    """
    wanted = [(2 * i + j, exchange, who) for i, exchange in enumerate(exchanges) for j, who in enumerate(PERSONAS)]
    results: list[View | None] = [None] * len(wanted)
    try:
        for _ in range(len(OPTIONAL) + 1):
            known = len(line.dropped)
            for place, view in (await _Round(line, views, ledger, clock, told, sent).views(wanted)).items():
                results[place] = view
            sent = None
            wanted = [one for one in wanted if _worth_another(results[one[0]])]
            if not wanted or len(line.dropped) == known:
                break
    except (BudgetSpent, JudgeRefused) as error:
        return results, error
    return results, None


async def cancel(line: Line, batch: str) -> Failure | None:
    """Have the service end a batch, or why it could not be had."""
    found = await _asked(line, line.client.messages.batches.with_raw_response.cancel, batch)
    return found if isinstance(found, Failure) else None


def checked_id(batch: str) -> str:
    """The id. Raises JudgeUnavailable where it cannot be one: it goes into an address."""
    if not ID.fullmatch(batch):
        raise JudgeUnavailable(f"found the batch {batch!r:.60}; expected an id as it was told when the batch was sent")
    return batch


def _worth_another(view: View | None) -> bool:
    return view is None or (isinstance(view.outcome, Failure) and view.outcome.kind == "batch_errored")


class _Round:
    """One batch from its creation to its results."""

    def __init__(
        self, line: Line, views: Views, ledger: Ledger, clock: Clock, told: Told, sent: str | None = None
    ) -> None:
        self._line, self._views, self._ledger, self._clock, self._told = line, views, ledger, clock, told
        self._sent = sent  # by an earlier process
        self._known = False  # the service has it: it may charge for it
        self._factor = ledger.batch_factor()

    async def views(self, wanted: Sequence[Wanted]) -> dict[int, View]:
        """A view for each of those wanted; none for those whose parameters have just been dropped."""
        found: dict[int, View] = {}
        entries: list[Entry] = []
        for place, exchange, who in wanted:
            try:
                body = judging(self._line.config, exchange, who, self._line.dropped)
            except UnicodeEncodeError:
                found[place] = View(who, unsendable())
                continue
            kept = await self._views.kept(who, body, self._dropped)
            if kept is not None:
                found[place] = kept
                continue
            name = f"view-{remembered_as(body, self._line.config.base_url)[:16]}-{place:06d}"
            entries.append(Entry(place, who, body, worst_case(body), name))
        if entries:
            found.update(await self._judged(entries))
        return found

    @property
    def _dropped(self) -> list[str]:
        return sorted(self._line.dropped)

    async def _judged(self, entries: list[Entry]) -> dict[int, View]:
        worst = total([entry.worst for entry in entries])
        if not self._ledger.reserve(worst, self._factor):
            raise BudgetSpent(f"the judge's budget does not hold this batch: {self._ledger.shortage(worst)}. Raise it")
        owed = {entry.custom_id: entry for entry in entries}  # what is still set aside for them
        try:
            return await self._settled(entries, owed)
        except Unsupported as refused:
            self._release(owed)
            unsupported = refused
        except JudgeRefused:
            if not self._known:
                self._release(owed)
            raise
        finally:  # whatever nobody accounted for may have been charged
            for entry in owed.values():
                self._ledger.lose(entry.worst, self._factor)
        self._line.drop(str(unsupported), entries[0].body, unsupported.error)
        return {}

    def _release(self, owed: dict[str, Entry]) -> None:
        for entry in owed.values():
            self._ledger.cancel(entry.worst, self._factor)
        owed.clear()

    async def _settled(self, entries: list[Entry], owed: dict[str, Entry]) -> dict[int, View]:
        batch = await (self._create(entries) if self._sent is None else self._look(self._sent))
        if isinstance(batch, Failure):
            # The service said that it did nothing; or another process has counted what it sent.
            if self._sent is not None or batch.kind in ("rate_limited", "overloaded", "too_large"):
                self._release(owed)
            return self._all(entries, batch)
        self._known = True
        self._told(batch["id"])
        found = await self._read(batch, entries, owed)
        self._told(None)
        return found

    async def _read(self, batch: Any, entries: list[Entry], owed: dict[str, Entry]) -> dict[int, View]:
        """The views of a batch that was made, once it has ended."""
        ended = await self._ended(batch)
        if isinstance(ended, Failure):
            return self._all(entries, ended)
        lines = await self._results(batch["id"])
        if isinstance(lines, Failure):
            return self._all(entries, lines)
        if self._sent is not None and not any(entry.custom_id in lines for entry in entries):
            self._release(owed)
            raise JudgeUnavailable(
                f"batch {self._sent}: found {len(lines)} results, none of them to what is asked now; expected the batch that "
                "was sent for this. Name the same transcript, model and settings, without what the model would not take"
            )
        return {entry.place: await self._view(entry, lines.get(entry.custom_id, []), owed) for entry in entries}

    def _all(self, entries: list[Entry], failure: Failure) -> dict[int, View]:
        return {entry.place: View(entry.who, failure, dropped=tuple(self._dropped)) for entry in entries}

    async def _create(self, entries: list[Entry]) -> Any:
        requests: Any = [{"custom_id": entry.custom_id, "params": entry.body} for entry in entries]

        async def send() -> str:
            answer = await self._line.client.messages.batches.with_raw_response.create(requests=requests)
            return answer.http_response.text

        reply, _ = await self._line.guard.ask(Request(send, _read_batch, repeatable=False))
        return _batch(reply.outcome)

    async def _look(self, batch: str) -> Any:
        return await _asked(self._line, self._line.client.messages.batches.with_raw_response.retrieve, batch)

    async def _ended(self, batch: Any) -> Any:
        """The batch once it has ended, or a Failure past the deadline; it is cancelled then."""
        config, start = self._line.config, self._clock.now()
        while batch["processing_status"] != "ended":
            if self._clock.now() - start + config.batch_poll > config.batch_deadline:
                await cancel(self._line, batch["id"])
                return Failure(
                    f"batch {batch['id']} had not ended after {config.batch_deadline:g} s and was cancelled; "
                    "send it again, or use judge",
                    "batch_unfinished",
                )
            await self._clock.sleep(config.batch_poll)
            looked = await self._look(batch["id"])
            batch = batch if isinstance(looked, Failure) else {**looked, "id": batch["id"]}  # a failed look is no news
        return batch

    async def _results(self, batch: str) -> Any:
        """The results by id, each a list: an id should stand there once. Or a Failure."""

        async def send() -> str:
            # Not the results_url the server names: the key goes to the service and nowhere else.
            path = f"/v1/messages/batches/{batch}/results"
            return (await self._line.client.get(path, cast_to=httpx2.Response)).text

        text = await _about(self._line, batch, Request(send, lambda text: Reply(text, None)))
        if isinstance(text, Failure):
            return text
        found: dict[str, list[Any]] = {}
        for row in map(read_json, text.split("\n")):
            if isinstance(row, dict) and isinstance(row.get("custom_id"), str):
                found.setdefault(row["custom_id"], []).append(row.get("result"))
        return found

    async def _view(self, entry: Entry, results: list[Any], owed: dict[str, Entry]) -> View:
        if not results and self._sent is not None:  # it was not asked there
            self._ledger.cancel(owed.pop(entry.custom_id).worst, self._factor)
        if len(results) != 1 or not isinstance(results[0], dict):
            reason = f"found {len(results)} results under {entry.custom_id}, expected one. Send it again, or use judge"
            return await self._made(entry, Reply(Failure(reason, "batch_unmatched"), None))
        result, kind = results[0], results[0].get("type")
        if kind == "succeeded":
            reply = read_reply(result.get("message"))
            if reply.usage is not None:
                self._ledger.settle(owed.pop(entry.custom_id).worst, reply.usage, self._factor)
            return await self._made(entry, reply)
        self._ledger.cancel(owed.pop(entry.custom_id).worst, self._factor)  # the service charges successes only
        if kind in ("expired", "canceled"):
            return await self._failed(entry, "batch_unfinished", f"the batch {kind} before this request was answered")
        return await self._errored(entry, result)

    async def _errored(self, entry: Entry, result: dict[str, Any]) -> View:
        error = result.get("error")
        inner = error.get("error") if isinstance(error, dict) else None
        message = str(inner.get("message")) if isinstance(inner, dict) else "no message"
        message = self._line.guard.quoted(message)
        self._line.dropped.update(named_in(message, entry.body))
        return await self._failed(entry, "batch_errored", f"the batch reports an error: {message[:QUOTED]}")

    async def _failed(self, entry: Entry, kind: Kind, what: str) -> View:
        return await self._made(entry, Reply(Failure(f"{what}. Send it again, or use judge", kind), None))

    async def _made(self, entry: Entry, reply: Reply) -> View:
        return await self._views.made(entry.who, Answer(reply, 1, entry.body), self._dropped)


async def _asked(line: Line, verb: Callable[[str], Awaitable[Any]], batch: str) -> Any:
    """A batch as the service has it after `verb`, or a Failure."""

    async def send() -> str:
        text: str = (await verb(batch)).http_response.text
        return text

    return _batch(await _about(line, batch, Request(send, _read_batch)))


async def _about(line: Line, batch: str, request: Request) -> str | Failure:
    """The answer to a request on a batch that was made. What goes wrong names it: it goes on at the service."""
    try:
        reply, _ = await line.guard.ask(request)
    except (JudgeRefused, Unsupported) as error:
        refused = error.error if isinstance(error, Unsupported) else error
        told = f"{refused}. It was asked for batch {batch}, which can be asked for again"
        raise JudgeRefused(told, refused.status) from None
    if isinstance(reply.outcome, Failure):
        return replace(reply.outcome, reason=f"batch {batch}: {reply.outcome.reason}")
    return reply.outcome


def _batch(outcome: str | Failure) -> Any:
    return outcome if isinstance(outcome, Failure) else read_json(outcome)


def _read_batch(text: str) -> Reply:
    found = read_json(text)
    known = isinstance(found, dict) and found.get("type") == "message_batch"
    named = known and isinstance(found.get("id"), str) and ID.fullmatch(found["id"])
    if named and isinstance(found.get("processing_status"), str):
        return Reply(text, None)
    return Reply(Failure("status 200 with no message batch in it; check base_url", "not_a_message"), None)
