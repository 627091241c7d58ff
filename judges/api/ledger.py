"""What was spent, and whether the next call still fits.

    spent + lost + reserved + worst case of the next call <= budget,   in tokens and in money

`lost` is the worst case of every request whose answer never came: the service may have charged it, nobody can tell.
Answers with an error status are not charged by the service and count as nothing.
"""

from dataclasses import dataclass, fields
from threading import Lock
from typing import Any

from judges.api.settings import AnthropicJudgeConfig, Prices
from judges.protocol import JudgeUnavailable

MILLION = 1_000_000


@dataclass(frozen=True)
class Usage:
    """Tokens of each kind, as the service counts them; the four do not overlap."""

    input: int = 0
    output: int = 0
    cache_write: int = 0
    cache_read: int = 0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))

    @property
    def tokens(self) -> int:
        """All of them."""
        return self.input + self.output + self.cache_write + self.cache_read

    def cost(self, prices: Prices, factor: float = 1.0) -> float:
        """Money: sum over kinds of tokens x price / 10^6, times `factor`."""
        total = sum(getattr(self, field.name) * getattr(prices, field.name) for field in fields(self))
        return factor * total / MILLION


@dataclass(frozen=True)
class Spending:
    """A judge's account at one moment. Costs are None where no prices were given.

    calls: answered requests. answers_kept: judgements the cache gave for nothing. lost: see the top of the file.
    """

    calls: int
    answers_kept: int
    used: Usage
    lost: Usage
    cost: float | None
    lost_cost: float | None

    @classmethod
    def of(cls, told: dict[str, Any]) -> "Spending":
        """The one that dataclasses.asdict gave this of."""
        return cls(**told | {"used": Usage(**told["used"]), "lost": Usage(**told["lost"])})

    def __add__(self, other: "Spending") -> "Spending":
        return Spending(
            self.calls + other.calls,
            self.answers_kept + other.answers_kept,
            self.used + other.used,
            self.lost + other.lost,
            _sum(self.cost, other.cost),
            _sum(self.lost_cost, other.lost_cost),
        )

    def __str__(self) -> str:
        told = [f"{self.calls} requests answered, {_told(self.used, self.cost)}"]
        told += [f"{self.answers_kept} judgements from the cache, for nothing"] if self.answers_kept else []
        lost = f"perhaps charged without an answer, at most {_told(self.lost, self.lost_cost)}"
        return "; ".join([*told, lost] if self.lost.tokens else told)


def spending_of(judge: object) -> Spending | None:
    """What a judge has spent, also one behind a screen (`judging`); None where judging costs nothing."""
    while judge is not None:
        if isinstance(spent := getattr(judge, "spending", None), Spending):
            return spent
        judge = getattr(judge, "judging", None)
    return None


def _sum(mine: float | None, theirs: float | None) -> float | None:
    return None if mine is None or theirs is None else mine + theirs


def _told(usage: Usage, cost: float | None) -> str:
    kinds = ", ".join(f"{field.name.replace('_', ' ')} {getattr(usage, field.name):,}" for field in fields(usage))
    money = "cost unknown: no prices were given" if cost is None else f"cost {cost:.4f}"
    return f"{usage.tokens:,} tokens ({kinds}), {money}"


class Ledger:
    """Keeps the account of one judge, or of several that share a budget. Safe for threads; not shared by processes."""

    def __init__(self, config: AnthropicJudgeConfig) -> None:
        self.prices, self._tokens, self._money = config.prices, config.token_budget, config.money_budget
        self._lock = Lock()
        self._calls = self._kept = self._reserved = 0
        self._used, self._lost = Usage(), Usage()
        self._cost = self._lost_cost = self._reserved_cost = 0.0

    def batch_factor(self) -> float:
        """What a batch pays of the prices. Raises JudgeUnavailable where a money budget needs it and nobody gave it."""
        if self.prices is None or self.prices.batch_factor is None:
            if self._money is not None:
                raise JudgeUnavailable(
                    "found a money budget and no prices.batch_factor; expected what a batch pays of the prices, in (0, 1]"
                )
            return 1.0
        return self.prices.batch_factor

    def reserve(self, worst: Usage, factor: float = 1.0) -> bool:
        """Set the worst case aside for one call; False, and nothing set aside, where it does not fit."""
        with self._lock:
            tokens = self._used.tokens + self._lost.tokens + self._reserved + worst.tokens
            cost = self._cost + self._lost_cost + self._reserved_cost + self._price(worst, factor)
            if (self._tokens is not None and tokens > self._tokens) or (self._money is not None and cost > self._money):
                return False
            self._reserved += worst.tokens
            self._reserved_cost += self._price(worst, factor)
            return True

    def settle(self, worst: Usage, used: Usage, factor: float = 1.0) -> None:
        """The call that `worst` was set aside for was answered, and used this much."""
        with self._lock:
            self._release(worst, factor)
            self._calls += 1
            self._used += used
            self._cost += self._price(used, factor)

    def lose(self, worst: Usage, factor: float = 1.0) -> None:
        """The answer never came, or did not say what it used."""
        with self._lock:
            self._release(worst, factor)
            self._lost += worst
            self._lost_cost += self._price(worst, factor)

    def cancel(self, worst: Usage, factor: float = 1.0) -> None:
        """The service answered with an error, which it does not charge, or was never reached."""
        with self._lock:
            self._release(worst, factor)

    def keep(self) -> None:
        """A judgement came from the cache."""
        with self._lock:
            self._kept += 1

    def spending(self) -> Spending:
        """The account now."""
        with self._lock:
            known = self.prices is not None
            costs = (self._cost, self._lost_cost) if known else (None, None)
            return Spending(self._calls, self._kept, self._used, self._lost, *costs)

    def shortage(self, worst: Usage) -> str:
        """Why `worst` does not fit, in words."""
        account = self.spending()
        tokens = f"{account.used.tokens + account.lost.tokens} tokens spent, the next call may take {worst.tokens}"
        limits = [f"budget {self._tokens} tokens"] if self._tokens is not None else []
        if self.prices is not None and self._money is not None:
            spent = self._cost + self._lost_cost
            limits.append(
                f"budget {self._money:g} in money, {spent:.4g} spent, next call {worst.cost(self.prices):.4g}"
            )
        return f"{tokens}; {'; '.join(limits)}"

    def _price(self, usage: Usage, factor: float) -> float:
        return 0.0 if self.prices is None else usage.cost(self.prices, factor)

    def _release(self, worst: Usage, factor: float) -> None:
        self._reserved -= worst.tokens
        self._reserved_cost -= self._price(worst, factor)
