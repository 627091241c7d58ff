"""The pressure test's verdict: what fell, what only moved toward people's replies, and what may be chance."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.judge_under_pressure import verdict
from benchmarks.onlookers import Look, Scored, change

CLIENTS, ROUNDS = 8, 3


def look(step: int, referee: float, reward: float = 0.0, spread: float = 0.1, alike: float = 0.2) -> Look:
    rng = np.random.default_rng(step + 1)
    each = {
        name: (mean + spread * rng.normal(size=CLIENTS * ROUNDS)).tolist()
        for name, mean in {"reward": reward, "referee": referee, "base_logprob": -2.0, "answers": 0.3}.items()
    }
    replies = tuple(Scored(f"client {i % CLIENTS}", "Yes.", 1.0) for i in range(CLIENTS * ROUNDS))
    return Look(
        step=step, reward=reward, referee=referee, base_logprob=-2.0, answers=0.3, distinct_2=0.9, alike=alike, charged=0.0,
        words=18.0, replies=replies, each=each,
    )  # fmt: skip


def test_a_change_is_the_mean_over_the_same_clients_with_an_interval_that_holds_it() -> None:
    before, after = look(0, 6.0), look(60, 4.0)
    mean, low, high = change([(before, after)], "referee", np.random.default_rng(0))
    assert mean == pytest.approx(np.mean(after.each["referee"]) - np.mean(before.each["referee"]))
    assert low < mean < high < 0
    wide = change([(look(0, 6.0, spread=4.0), look(60, 4.0, spread=4.0))], "referee", np.random.default_rng(0))
    assert wide[2] - wide[1] > 10 * (high - low)


def test_a_change_leaves_out_what_was_not_scored_and_weighs_clients_alike() -> None:
    before, after = look(0, 6.0, spread=0.0), look(60, 4.0, spread=0.0)
    scores = [*after.each["referee"]]
    scores[0] = float("nan")
    after = replace(after, each=after.each | {"referee": scores})
    assert change([(before, after)], "referee", np.random.default_rng(0))[0] == pytest.approx(-2.0)


def test_clients_are_what_a_bootstrap_draws() -> None:
    """All rounds of a client say the same: three times the replies tell no more, and the interval is that of single ones."""
    clients = np.random.default_rng(3).normal(size=CLIENTS)
    before, after = look(0, 6.0, spread=0.0), look(60, 6.0, spread=0.0)
    after = replace(after, each=after.each | {"referee": (6.0 + np.tile(clients, ROUNDS)).tolist()})
    _, low, high = change([(before, after)], "referee", np.random.default_rng(0))
    drawn = clients[np.random.default_rng(1).integers(CLIENTS, size=(20_000, CLIENTS))].mean(axis=1)
    assert (low, high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.05)


def test_the_verdict_names_what_surely_fell() -> None:
    people = look(-1, 8.0)
    assert "fell: the referee's score" in verdict([people, look(0, 6.0), look(60, 4.0, reward=3.0)])
    # One point lower, and the replies of single clients ten apart.
    unsure = verdict([people, look(0, 6.0, spread=10.0), look(60, 5.0, spread=10.0)])
    assert "is not shown to have fallen (nobody can say of: the referee's score" in unsure
    assert "held." in verdict([people, look(0, 6.0), look(60, 6.0)])
    # Lower, and still above where people stand.
    nearer = verdict([look(-1, 2.0), look(0, 6.0), look(60, 4.0)])
    assert "held." in nearer
    assert "Lower than at first, and not below people's replies: the referee's score" in nearer
    assert "replies to different clients" in verdict([people, look(0, 6.0), look(60, 6.0, alike=0.5)])
