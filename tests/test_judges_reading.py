"""What is read of a reply: sense comes back from states that hold it, and a score is held against it."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import judges.reading.fit as fitting
from judges.offline.examples import Examples
from judges.offline.fit import logit, sigmoid
from judges.protocol import Exchange, JudgeFailure, Judgement
from judges.reading.fit import (
    DECENT,
    NOTHING,
    Reader,
    ReadingFit,
    Rows,
    fit,
    held_against,
    logistic_ridge,
    probability,
    read,
    rows_of,
)
from judges.reading.judge import WithReading
from judges.reading.kept import cached_reading
from judges.scripted import ScriptedJudge

WIDTH = 12


def some_examples(clients: int = 60) -> Examples:
    """Three replies to each client, good, middling and poor."""
    rng = np.random.default_rng(0)
    said = [
        (f"Client number {i} lost the {w}.", w)
        for i in range(clients)
        for w in ("cat", "house", "job")[i % 3 : i % 3 + 1]
    ]
    rows = [(c, f"You lost the {w}, number {i}. What is it like, {tone}?", s)
            for i, (c, w) in enumerate(said) for tone, s in (("now", 8.0), ("then", 5.0), ("anyway", 1.5))]  # fmt: skip
    scores = np.clip(np.array([[s] * 12 for _, _, s in rows]) + rng.normal(0, 0.4, (len(rows), 12)), 0, 10)
    return Examples(tuple(r[0] for r in rows), tuple(r[1] for r in rows), ("why",) * len(rows), scores)


class Seeing:
    """A reader whose states hold what is to be found: whether a reply is as authored, and how good it is; and much else."""

    def __init__(self, examples: Examples) -> None:
        means = examples.scores.mean(axis=1)
        self.known = {(c, r): m for c, r, m in zip(examples.clients, examples.replies, means, strict=True)}
        self.fingerprint = "0123456789abcdef0123"
        self.asked = 0

    def states(self, exchanges: Sequence[Exchange]) -> np.ndarray:
        self.asked += len(exchanges)
        return np.stack([self._state(exchange) for exchange in exchanges])

    def _state(self, exchange: Exchange) -> np.ndarray:
        if not exchange.therapist:
            return np.full(WIDTH, np.nan, dtype=np.float32)
        noise = np.random.default_rng(list((exchange.client + exchange.therapist).encode())).normal(size=WIDTH)
        mean = self.known.get((exchange.client, exchange.therapist))
        noise[0] += 0.0 if mean is None else 4.0
        noise[1] += 0.0 if mean is None else mean
        return noise.astype(np.float32)


@pytest.fixture(scope="module", autouse=True)
def light_penalty() -> Iterator[None]:
    """A hundredth of the rows bear a hundredth of the penalty."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "PENALTY", 3.0)
        yield


@pytest.fixture(scope="module")
def fitted() -> tuple[ReadingFit, Seeing, Examples, Rows]:
    examples = some_examples()
    reader = Seeing(examples)
    rows = rows_of(examples, np.random.default_rng(0), every=1)
    made, _ = fit(rows, read(reader, rows), examples, logit(examples.scores))
    return made, reader, examples, rows


def test_rows_are_the_examples_and_what_is_made_of_good_ones() -> None:
    examples = some_examples(30)
    rows = rows_of(examples, np.random.default_rng(0), every=1)
    own = rows.kinds == "own"
    assert [rows.replies[i] for i in np.flatnonzero(own)] == list(examples.replies)
    good = examples.scores.mean(axis=1) >= 6
    assert int((rows.kinds == "swapped").sum()) == int(good[::2].sum())
    assert int(np.isin(rows.kinds, ("chain", "about", "mixed")).sum()) == int(good.sum())
    for i in np.flatnonzero(rows.kinds == "swapped"):
        assert rows.replies[i] == examples.replies[rows.examples[i]]
        assert rows.clients[i] != examples.clients[rows.examples[i]]
    half = rows_of(examples, np.random.default_rng(0), every=2)
    assert set(half.clients) == set(dict.fromkeys(examples.clients)) - set(list(dict.fromkeys(examples.clients))[1::2])


def test_every_row_is_read_in_its_place(fitted: tuple[ReadingFit, Seeing, Examples, Rows]) -> None:
    _, reader, _, rows = fitted
    states = read(reader, rows)
    for i in range(0, len(rows.clients), 17):
        np.testing.assert_array_equal(states[i], reader.states([Exchange(rows.clients[i], "", rows.replies[i])])[0])


def test_it_finds_what_the_states_hold(fitted: tuple[ReadingFit, Seeing, Examples, Rows]) -> None:
    made, reader, examples, rows = fitted
    meant = made.meant(read(reader, rows))
    decent = (rows.kinds == "own") & (examples.scores.mean(axis=1)[rows.examples] >= DECENT)
    made_up = np.array([(c, r) not in reader.known for c, r in zip(rows.clients, rows.replies, strict=True)])
    assert np.all((meant >= 0) & (meant <= 1))
    assert (meant[decent][:, None] > meant[made_up]).mean() > 0.97
    assert meant[decent].mean() > 0.8
    assert meant[made_up].mean() < 0.4


def test_decent_replies_keep_their_mean(fitted: tuple[ReadingFit, Seeing, Examples, Rows]) -> None:
    _, reader, examples, rows = fitted
    made, unseen = fit(rows, read(reader, rows), examples, logit(examples.scores))
    decent = (rows.kinds == "own") & (examples.scores.mean(axis=1)[rows.examples] >= DECENT)
    scores = 10 * sigmoid(logit(examples.scores).mean(axis=1))[rows.examples[decent]]
    held = made.held(scores, probability(unseen[decent], float(made.middle[0])))
    assert held.mean() == pytest.approx(scores.mean(), abs=1e-6)


def test_a_left_out_row_is_unknown_to_the_fit_that_judges_it() -> None:
    """States that are noise: only a fit that has seen a row could know anything of it."""
    examples = some_examples()
    rows = rows_of(examples, np.random.default_rng(0), every=1)
    noise = np.random.default_rng(1).normal(size=(len(rows.clients), 400)).astype(np.float32)
    made, unseen = fit(rows, noise, examples, logit(examples.scores))
    own = rows.kinds == "own"
    decent = own & (examples.scores.mean(axis=1)[rows.examples] >= DECENT)
    assert abs((unseen[decent][:, None] > unseen[~own]).mean() - 0.5) < 0.12
    meant = made.meant(noise)
    assert (meant[decent][:, None] > meant[~own]).mean() > 0.9


def test_a_reader_that_doubts_most_decent_replies_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot tell them from nonsense"):
        fitting._start(np.array([7.0, 8.0]), np.array([0.3, 0.4]))


def test_logistic_ridge_is_where_its_gradient_vanishes() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    y = (x[:, 0] + rng.normal(size=200) > 0.3).astype(float)
    u = logistic_ridge(x, y, 2.0)
    p = 1 / (1 + np.exp(-(x @ u[:3] + u[3])))
    np.testing.assert_allclose(x.T @ (y - p), 2.0 * u[:3], atol=1e-6)
    assert (y - p).sum() == pytest.approx(0, abs=1e-4)


class Flat:
    """A reader with one state for all."""

    def __init__(self, state: Sequence[float], broken: bool = False) -> None:
        self._state, self._broken = state, broken

    def states(self, exchanges: Sequence[Exchange]) -> np.ndarray:
        if self._broken:
            raise FloatingPointError("states that are not finite")
        empty = [not exchange.therapist for exchange in exchanges]
        return np.stack([np.full(2, np.nan) if e else np.array(self._state) for e in empty]).astype(np.float32)


# The first column is the sense logit; the scale is left as it is.
PLAIN = ReadingFit(
    mean=np.zeros(2), sd=np.ones(2), sense=np.array([1.0, 0.0, 0.0]), middle=np.array([0.0]), start=np.array([0.0])
)
ASKED = [Exchange("I am tired.", "", "What is it like?")]


def judged(reader: Reader, score: float = 8.0, asked: list[Exchange] = ASKED) -> Judgement | JudgeFailure:
    return WithReading(ScriptedJudge(lambda _: score, gap=0.5), reader, PLAIN).judge(asked)[0]


def test_what_is_meant_keeps_its_score_and_what_is_not_keeps_nothing() -> None:
    sure, half, surely_not = judged(Flat([3, 0])), judged(Flat([0, 0])), judged(Flat([-3, 0]))
    assert isinstance(sure, Judgement)
    assert isinstance(half, Judgement)
    assert isinstance(surely_not, Judgement)
    np.testing.assert_allclose(sure.scores, 8.0, atol=0.05)
    np.testing.assert_allclose(half.scores, (8.0 + NOTHING) / 2, atol=0.02)
    np.testing.assert_allclose(surely_not.scores, NOTHING, atol=0.05)
    assert "probability of 50%" in half.kind.narrative
    assert half.gap.mean() == pytest.approx(0.25, abs=0.01)  # the scripted half point, halved as well


def test_a_low_score_is_not_raised() -> None:
    found = judged(Flat([-3, 0]), 0.5)
    assert isinstance(found, Judgement)
    np.testing.assert_allclose(found.scores, 0.5, atol=0.02)


@given(st.floats(0, 10), st.floats(0, 10), st.floats(0, 1), st.floats(0, 1), st.floats(0, 3))
def test_better_and_more_meant_never_earn_less(one: float, other: float, p: float, q: float, start: float) -> None:
    scores, meant = np.sort([one, other]), np.sort([p, q])
    held = held_against(scores[:, None], meant[None], start)
    assert np.all(held >= 0)
    assert np.all(held <= 10)
    assert np.all(np.diff(held, axis=0) >= -1e-9)
    assert np.all(np.diff(held, axis=1)[scores >= NOTHING] >= -1e-9)


def test_an_error_is_passed_on_as_far_as_the_score_moves() -> None:
    class Unsure:
        name = "unsure"

        def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement | JudgeFailure]:
            plain = ScriptedJudge([6.0]).judge(exchanges)[0]
            assert isinstance(plain, Judgement)
            return [replace(plain, error=np.full(12, 0.8))]

    found = WithReading(Unsure(), Flat([0, 0]), PLAIN).judge(ASKED)[0]
    assert isinstance(found, Judgement)
    assert found.error is not None
    np.testing.assert_allclose(found.error, 0.4, atol=0.01)


def test_failures_and_silence_pass_through() -> None:
    broken = judged(Flat([0, 0], broken=True))
    assert isinstance(broken, JudgeFailure)
    assert "not finite" in broken.reason
    silent = judged(Flat([0, 0]), 2.0, [Exchange("I am tired.", "", "")])
    assert isinstance(silent, Judgement)
    np.testing.assert_array_equal(silent.scores, 2.0)
    judge = WithReading(ScriptedJudge([JudgeFailure("no"), 8.0]), Flat([3, 2]), PLAIN)
    failed, other = judge.judge(ASKED * 2)
    assert isinstance(failed, JudgeFailure)
    assert isinstance(other, Judgement)
    assert judge.judge([]) == []


def test_a_fit_is_made_once_and_kept(tmp_path: Path) -> None:
    examples = some_examples()
    reader = Seeing(examples)
    first = cached_reading(reader, examples, logit(examples.scores), tmp_path)
    asked = reader.asked
    again = cached_reading(reader, examples, logit(examples.scores), tmp_path)
    assert reader.asked == asked > 0
    np.testing.assert_array_equal(again.sense, first.sense)
    other = Seeing(examples)
    other.fingerprint = "another"
    cached_reading(other, examples, logit(examples.scores), tmp_path)
    assert other.asked == asked
