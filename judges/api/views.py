"""One persona's view of one exchange, from answer or cache, and the judgement that two of them make."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from anyio import CancelScope
from anyio.to_thread import run_sync

from judges.api.cache import JudgementCache
from judges.api.errors import BudgetSpent, Failure
from judges.api.ledger import Ledger, Usage
from judges.api.line import Answer
from judges.api.parsing import parse_assessment
from judges.api.request import Body, remembered_as
from judges.api.settings import AnthropicJudgeConfig
from judges.protocol import Assessment, JudgeFailure, Judgement


@dataclass(frozen=True)
class View:
    """One persona's view. kept: it came from the cache, for nothing. usage: None where nothing was used or nobody said.

    dropped: parameters of the settings that the model would not take, and that were left out.
    """

    persona: str
    outcome: Assessment | Failure
    kept: bool = False
    attempts: int = 0
    usage: Usage | None = None
    dropped: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ApiJudgement(Judgement):
    """A Judgement that says how it came about: the model, and the views of kind and harsh with what they used."""

    model: str = ""
    views: tuple[View, ...] = ()


class Views:
    """Makes views, and keeps those that are judgements. The cache's file is used in threads: it may be slow, or locked."""

    def __init__(self, config: AnthropicJudgeConfig, ledger: Ledger) -> None:
        self._config, self._ledger = config, ledger
        self._cache = None if config.cache is None else JudgementCache(Path(config.cache))

    async def kept(self, who: str, body: Body, dropped: Sequence[str]) -> View | None:
        """What the cache has of this request."""
        if self._cache is None:
            return None
        found = await run_sync(self._cache.get, remembered_as(body, self._config.base_url))
        if found is None:
            return None
        self._ledger.keep()
        return View(who, found, kept=True, dropped=tuple(dropped))

    async def made(self, who: str, answer: Answer, dropped: Sequence[str]) -> View:
        """An answer, parsed. A judgement goes to the cache, a failure never does."""
        outcome = answer.reply.outcome
        parsed = parse_assessment(outcome) if isinstance(outcome, str) else outcome
        if isinstance(parsed, Failure):
            parsed = replace(parsed, attempts=answer.attempts)
        elif self._cache is not None:
            key = remembered_as(answer.body, self._config.base_url)
            with CancelScope(shield=True):  # it is paid for: kept also where the call is cancelled meanwhile
                await run_sync(self._cache.put, key, self._config.model, parsed)
        return View(who, parsed, False, answer.attempts, answer.reply.usage, tuple(dropped))

    def joined(self, views: Sequence[View | None], stopped: Exception | None) -> list[Judgement | JudgeFailure]:
        """Views, kind and harsh of each exchange in turn -> one answer for each. Raises `stopped`, with the answers."""
        pairs = zip(views[::2], views[1::2], strict=True)
        answers = [None if kind is None or harsh is None else self._join(kind, harsh) for kind, harsh in pairs]
        if isinstance(stopped, BudgetSpent):
            raise BudgetSpent(str(stopped), tuple(answers))
        if stopped is not None:
            raise stopped
        return [answer for answer in answers if answer is not None]

    def _join(self, kind: View, harsh: View) -> Judgement | JudgeFailure:
        if isinstance(kind.outcome, Assessment) and isinstance(harsh.outcome, Assessment):
            return ApiJudgement(kind.outcome, harsh.outcome, model=self._config.model, views=(kind, harsh))
        failed = [(view.persona, view.outcome) for view in (kind, harsh) if isinstance(view.outcome, Failure)]
        reason = "; ".join(f"{who} persona: {failure.reason}" for who, failure in failed)
        return replace(failed[0][1], reason=reason)
