"""The account: what was spent, lost and set aside counts against the budget, to the last token."""

from typing import Any

import pytest

from judges.api.ledger import Ledger, Usage
from judges.api.settings import AnthropicJudgeConfig, Prices

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
