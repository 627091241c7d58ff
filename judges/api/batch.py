"""A whole session in one batch: sent once, looked at now and then until it has ended, its results matched by id.

    create -> poll until ended or the batch deadline -> results, one line each, in any order

Every request ends in a view: what was cancelled, expired, errored, lost or found twice ends in a typed failure.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx2

from judges.api.errors import BudgetSpent, Failure, JudgeRefused, Kind
from judges.api.guard import QUOTED, Clock, Request, Unsupported
from judges.api.ledger import Ledger, Usage
from judges.api.line import Answer, Line, total, unsendable
from judges.api.reply import Reply, read_json, read_reply
from judges.api.request import OPTIONAL, Body, judging, named_in, worst_case
from judges.api.views import View, Views
from judges.protocol import Exchange
from judges.rubric import PERSONAS

Wanted = tuple[int, Exchange, str]  # place among the views, what to judge, persona


@dataclass(frozen=True)
class Entry:
    """One request of a batch, under the id its result will carry."""

    place: int
    who: str
    body: Body
    worst: Usage

    @property
    def custom_id(self) -> str:
        return f"view-{self.place:06d}"


async def batch_views(
    line: Line, views: Views, ledger: Ledger, clock: Clock, exchanges: Sequence[Exchange]
) -> tuple[list[View | None], Exception | None]:
    """Kind and harsh of each exchange in turn, and what ended the run early, if anything did.

    Requests that fail over a parameter this model does not take are sent again without it, each parameter once.
    """
    wanted = [(2 * i + j, exchange, who) for i, exchange in enumerate(exchanges) for j, who in enumerate(PERSONAS)]
    results: list[View | None] = [None] * len(wanted)
    try:
        for _ in range(len(OPTIONAL) + 1):
            known = len(line.dropped)
            for place, view in (await _Round(line, views, ledger, clock).views(wanted)).items():
                results[place] = view
            wanted = [one for one in wanted if _worth_another(results[one[0]])]
            if not wanted or len(line.dropped) == known:
                break
    except (BudgetSpent, JudgeRefused) as error:
        return results, error
    return results, None


def _worth_another(view: View | None) -> bool:
    return view is None or (isinstance(view.outcome, Failure) and view.outcome.kind == "batch_errored")


class _Round:
    """One batch from its creation to its results."""

    def __init__(self, line: Line, views: Views, ledger: Ledger, clock: Clock) -> None:
        self._line, self._views, self._ledger, self._clock = line, views, ledger, clock
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
            kept = self._views.kept(who, body, self._dropped)
            if kept is not None:
                found[place] = kept
                continue
            entries.append(Entry(place, who, body, worst_case(body)))
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
        created = await self._create(entries)
        if isinstance(created, Failure):
            if created.kind in ("rate_limited", "overloaded", "too_large"):  # the service said that it did nothing
                self._release(owed)
            return self._all(entries, created)
        ended = await self._ended(created)
        if isinstance(ended, Failure):
            return self._all(entries, ended)
        lines = await self._results(created["id"])
        if isinstance(lines, Failure):
            return self._all(entries, lines)
        return {entry.place: self._view(entry, lines.get(entry.custom_id, []), owed) for entry in entries}

    def _all(self, entries: list[Entry], failure: Failure) -> dict[int, View]:
        return {entry.place: View(entry.who, failure, dropped=tuple(self._dropped)) for entry in entries}

    async def _create(self, entries: list[Entry]) -> Any:
        requests: Any = [{"custom_id": entry.custom_id, "params": entry.body} for entry in entries]

        async def send() -> str:
            answer = await self._line.client.messages.batches.with_raw_response.create(requests=requests)
            return answer.http_response.text

        return await self._batch(Request(send, _read_batch, repeatable=False))

    async def _ended(self, batch: Any) -> Any:
        """The batch once it has ended, or a Failure past the deadline; it is cancelled then."""
        config, start = self._line.config, self._clock.now()

        async def send() -> str:
            return (await self._line.client.messages.batches.with_raw_response.retrieve(batch["id"])).http_response.text

        async def cancel() -> str:
            return (await self._line.client.messages.batches.with_raw_response.cancel(batch["id"])).http_response.text

        while batch["processing_status"] != "ended":
            if self._clock.now() - start + config.batch_poll > config.batch_deadline:
                await self._batch(Request(cancel, _read_batch))
                return Failure(
                    f"batch {batch['id']} had not ended after {config.batch_deadline:g} s and was cancelled; "
                    "send it again, or use judge",
                    "batch_unfinished",
                )
            await self._clock.sleep(config.batch_poll)
            looked = await self._batch(Request(send, _read_batch))
            batch = batch if isinstance(looked, Failure) else {**looked, "id": batch["id"]}  # a failed look is no news
        return batch

    async def _results(self, name: str) -> Any:
        """The results by id, each a list: an id should stand there once. Or a Failure."""

        async def send() -> str:
            # Not the results_url the server names: the key goes to the service and nowhere else.
            path = f"/v1/messages/batches/{name}/results"
            return (await self._line.client.get(path, cast_to=httpx2.Response)).text

        reply, _ = await self._line.guard.ask(Request(send, lambda text: Reply(text, None)))
        if isinstance(reply.outcome, Failure):
            return reply.outcome
        found: dict[str, list[Any]] = {}
        for row in map(read_json, reply.outcome.split("\n")):
            if isinstance(row, dict) and isinstance(row.get("custom_id"), str):
                found.setdefault(row["custom_id"], []).append(row.get("result"))
        return found

    def _view(self, entry: Entry, results: list[Any], owed: dict[str, Entry]) -> View:
        if len(results) != 1 or not isinstance(results[0], dict):
            reason = f"found {len(results)} results under {entry.custom_id}, expected one. Send it again, or use judge"
            return self._made(entry, Reply(Failure(reason, "batch_unmatched"), None))
        result, kind = results[0], results[0].get("type")
        if kind == "succeeded":
            reply = read_reply(result.get("message"))
            if reply.usage is not None:
                self._ledger.settle(owed.pop(entry.custom_id).worst, reply.usage, self._factor)
            return self._made(entry, reply)
        self._ledger.cancel(owed.pop(entry.custom_id).worst, self._factor)  # the service charges successes only
        if kind in ("expired", "canceled"):
            return self._failed(entry, "batch_unfinished", f"the batch {kind} before this request was answered")
        return self._errored(entry, result)

    def _errored(self, entry: Entry, result: dict[str, Any]) -> View:
        error = result.get("error")
        inner = error.get("error") if isinstance(error, dict) else None
        message = str(inner.get("message")) if isinstance(inner, dict) else "no message"
        message = self._line.guard.quoted(message)
        self._line.dropped.update(named_in(message, entry.body))
        return self._failed(entry, "batch_errored", f"the batch reports an error: {message[:QUOTED]}")

    def _failed(self, entry: Entry, kind: Kind, what: str) -> View:
        return self._made(entry, Reply(Failure(f"{what}. Send it again, or use judge", kind), None))

    def _made(self, entry: Entry, reply: Reply) -> View:
        return self._views.made(entry.who, Answer(reply, 1, entry.body), self._dropped)

    async def _batch(self, request: Request) -> Any:
        reply, _ = await self._line.guard.ask(request)
        return reply.outcome if isinstance(reply.outcome, Failure) else read_json(reply.outcome)


def _read_batch(text: str) -> Reply:
    found = read_json(text)
    known = isinstance(found, dict) and found.get("type") == "message_batch"
    named = known and isinstance(found.get("id"), str) and re.fullmatch(r"[A-Za-z0-9_-]{1,128}", found["id"])
    if named and isinstance(found.get("processing_status"), str):
        return Reply(text, None)
    return Reply(Failure("status 200 with no message batch in it; check base_url", "not_a_message"), None)
