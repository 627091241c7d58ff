"""The account: what was spent, lost and set aside counts against the budget, to the last token."""

from dataclasses import asdict
from typing import Any

import pytest

from judges.api.ledger import Ledger, Spending, Usage, spending_of
from judges.api.settings import AnthropicJudgeConfig, Prices
from judges.screening.screen import Screened
from judges.scripted import ScriptedJudge

PRICES = Prices(input=1.0, output=10.0, cache_write=2.0, cache_read=0.1)
TEN = Usage(input=4, output=6)  # ten tokens, 64 millionths of money


def ledger(**changes: Any) -> Ledger:
    return Ledger(AnthropicJudgeConfig(**changes))


BUDGETS = [{"token_budget": 20}, {"money_budget": 2 * 64e-6 + 1e-12, "prices": PRICES}]


@pytest.mark.parametrize("budget", BUDGETS, ids=["tokens", "money"])
def test_what_is_set_aside_counts(budget: dict[str, Any]) -> None:
    account = ledger(**budget)
    assert account.reserve(TEN)
    assert account.reserve(TEN)
    assert not account.reserve(Usage(input=1))
    account.cancel(TEN)
    assert account.reserve(TEN)


@pytest.mark.parametrize("budget", BUDGETS, ids=["tokens", "money"])
def test_what_was_lost_counts_as_if_it_were_spent(budget: dict[str, Any]) -> None:
    account = ledger(**budget)
    assert account.reserve(TEN)
    account.lose(TEN)
    assert account.reserve(TEN)
    assert not account.reserve(Usage(input=1))
    assert account.spending().lost == TEN
    assert account.spending().used == Usage()


@pytest.mark.parametrize("budget", BUDGETS, ids=["tokens", "money"])
def test_what_was_used_counts_and_the_rest_is_free_again(budget: dict[str, Any]) -> None:
    account = ledger(**budget)
    assert account.reserve(TEN)
    account.settle(TEN, Usage(input=1))
    assert account.reserve(TEN)
    account.settle(TEN, TEN)
    assert account.reserve(Usage(input=4))
    account.cancel(Usage(input=4))
    assert not account.reserve(TEN)
    assert account.spending().used == Usage(input=5, output=6)
    assert account.spending().calls == 2


def test_a_batch_pays_its_factor() -> None:
    account = ledger(money_budget=64e-6 + 1e-12, prices=PRICES)
    assert account.reserve(TEN, 0.5)
    assert account.reserve(TEN, 0.5)
    assert not account.reserve(TEN, 0.5)
    account.settle(TEN, TEN, 0.5)
    account.lose(TEN, 0.5)
    assert account.spending().cost == account.spending().lost_cost == pytest.approx(32e-6)


def test_without_prices_nothing_has_a_cost() -> None:
    account = ledger()
    assert account.reserve(TEN)
    account.settle(TEN, TEN)
    assert account.spending().cost is None
    assert account.spending().lost_cost is None
    assert account.batch_factor() == 1.0


FIRST = Spending(2, 1, Usage(1000, 200, 30, 4), Usage(output=50), 0.5, 0.25)


def test_accounts_add_and_survive_being_written() -> None:
    assert Spending.of(asdict(FIRST)) == FIRST
    assert Spending(4, 2, Usage(2000, 400, 60, 8), Usage(output=100), 1.0, 0.5) == FIRST + FIRST
    unknown = Spending(1, 0, Usage(1), Usage(), None, None)
    assert (FIRST + unknown).cost is None  # a sum with an unknown part is not known
    assert (unknown + FIRST).lost_cost is None


def test_an_account_in_words_says_what_is_known() -> None:
    told = str(FIRST)
    assert (
        "2 requests answered, 1,234 tokens (input 1,000, output 200, cache write 30, cache read 4), cost 0.5000" in told
    )
    assert "1 judgements from the cache" in told
    assert "perhaps charged without an answer, at most 50 tokens" in told
    assert "cost 0.2500" in told
    plain = str(Spending(0, 0, Usage(), Usage(), None, None))
    assert "cost unknown" in plain
    assert "cache, for nothing" not in plain
    assert "perhaps" not in plain


def test_spending_is_found_behind_a_screen_and_only_where_there_is_any() -> None:
    judge = ScriptedJudge([])
    assert spending_of(Screened(judge)) is None
    judge.spending = "a lot"  # type: ignore[attr-defined]
    assert spending_of(judge) is None
    judge.spending = FIRST  # type: ignore[attr-defined]
    assert spending_of(Screened(Screened(judge))) == FIRST
