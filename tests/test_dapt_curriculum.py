"""Clusters of growing context: every sample once an epoch, the shortest cluster first, an order that the generator decides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_dapt_uhd import corpora, plain

from agents.lm.five_tuple import Session
from dapt.adwc import Windows
from dapt.curriculum import BOUNDS, Curriculum
from dapt.uhd import Samples

quick = settings(max_examples=25, deadline=None)


def lines(text: str) -> int:
    """A tokenizer for tests: a token a line, so that parts add up exactly."""
    return text.count("\n")


@quick
@given(corpora, st.integers(0, 5))
def test_an_epoch_holds_each_sample_once_shortest_cluster_first(corpus: list[Session], seed: int) -> None:
    made = Curriculum([Samples(corpus), Windows(corpus)], lines, bounds=(40, 80, 200))
    order = made.epoch(np.random.default_rng(seed))
    assert sorted(order.tolist()) == list(range(len(made)))
    assert np.all(np.diff(made.cluster[order]) >= 0)
    assert order.tolist() == made.epoch(np.random.default_rng(seed)).tolist()


@quick
@given(corpora)
def test_lengths_are_those_of_the_texts(corpus: list[Session]) -> None:
    made = Curriculum([Samples(corpus), Windows(corpus)], lines)
    assert made.tokens.tolist() == [lines(made[i].text()) for i in range(len(made))]


def test_the_bounds_are_the_papers() -> None:
    assert BOUNDS == (10_000, 20_000, 30_000, 50_000, 100_000)
    session = plain("s", 1)
    for tokens, cluster in ((9_999, 0), (10_000, 1), (29_999, 2), (49_999, 3), (99_999, 4), (100_000, 5)):
        made = Curriculum([Samples([session])], lambda text, tokens=tokens: tokens if "Client" in text else 0)  # type: ignore[misc]
        assert made.cluster.tolist() == [cluster]
        assert made.sizes() == {cluster: 1}


def test_each_part_is_counted_once() -> None:
    calls: list[str] = []

    def counted(text: str) -> int:
        calls.append(text)
        return 1

    Curriculum([Windows([plain("s", 20)])], counted)
    assert len(calls) == 20 + 2  # turns, and a header in each direction


def test_mistaken_bounds_and_numbers_are_told() -> None:
    with pytest.raises(ValueError, match="growing numbers"):
        Curriculum([], lines, bounds=(20, 10))
    with pytest.raises(IndexError, match="found sample number 3, expected 0 to 2"):
        Curriculum([Samples([plain("s", 3)])], lines)[3]
