"""What is read of a reply: sense and level come back from states that hold them, and a score has to convince both judges."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from judges.offline.examples import Examples
from judges.offline.fit import logit
from judges.protocol import Exchange, JudgeFailure, Judgement
from judges.reading.fit import MEANT, Reader, ReadingFit, Rows, fit, logistic_ridge, read, rows_of
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
    columns = made.columns(read(reader, rows))
    own = rows.kinds == "own"
    decent = own & (examples.scores.mean(axis=1)[rows.examples] >= MEANT)
    sense = made.sense_logits(columns)
    made_up = np.array([(c, r) not in reader.known for c, r in zip(rows.clients, rows.replies, strict=True)])
    assert (sense[decent][:, None] > sense[made_up]).mean() > 0.97
    assert np.corrcoef(made.levels(columns)[own], logit(examples.scores).mean(axis=1))[0, 1] > 0.8
    gates = made.gates(columns)
    assert np.all((gates >= 0) & (gates <= 1))
    assert gates[decent].mean() > 0.9
    assert gates[made_up].mean() < 0.5


def test_a_left_out_row_is_unknown_to_the_fit_that_judges_it() -> None:
    """States that are noise but for the row's own number: only a fit that has seen a client could know anything of it."""
    examples = some_examples()
    rows = rows_of(examples, np.random.default_rng(0), every=1)
    noise = np.random.default_rng(1).normal(size=(len(rows.clients), 400)).astype(np.float32)
    made, unseen = fit(rows, noise, examples, logit(examples.scores))
    own, meant = rows.kinds == "own", logit(examples.scores).mean(axis=1)
    assert abs(np.corrcoef(unseen.level[own], meant)[0, 1]) < 0.25
    assert np.corrcoef(made.levels(made.columns(noise))[own], meant)[0, 1] > 0.5


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


# The first column is the sense logit, the second the level; the scale is left as it is.
PLAIN = ReadingFit(
    mean=np.zeros(2), sd=np.ones(2), sense=np.array([1.0, 0.0, 0.0]), direction=np.array([0.0, 1.0]), level=np.array([1.0, 0.0]),
    gate=np.array([-1.0, 1.0]), mixing=np.array([1.0, 0.0]),
)  # fmt: skip
ASKED = [Exchange("I am tired.", "", "What is it like?")]


def judged(reader: Reader, score: float = 8.0, asked: list[Exchange] = ASKED) -> Judgement | JudgeFailure:
    return WithReading(ScriptedJudge(lambda _: score, gap=0.5), reader, PLAIN).judge(asked)[0]


def test_the_lower_of_two_levels_counts() -> None:
    both, high, low = judged(Flat([3, 2])), judged(Flat([3, 0.0])), judged(Flat([3, 2]), 3.0)
    assert isinstance(both, Judgement)
    assert isinstance(high, Judgement)
    assert isinstance(low, Judgement)
    np.testing.assert_allclose(both.scores, 8.0, atol=0.02)  # the reader would have given 8.8
    np.testing.assert_allclose(high.scores, 5.0, atol=0.02)  # the reader says 5
    np.testing.assert_allclose(low.scores, 3.0, atol=0.02)  # the reader cannot raise it
    assert "reading model" in both.kind.narrative


def test_what_means_nothing_keeps_nothing() -> None:
    half, shut = judged(Flat([0, 2])), judged(Flat([-2, 2]))
    assert isinstance(half, Judgement)
    assert isinstance(shut, Judgement)
    np.testing.assert_allclose(half.scores, 4.0, atol=0.02)
    np.testing.assert_array_equal(shut.scores, 0.0)
    assert "hardly finds a meaning" in half.harsh.narrative


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
    examples = some_examples(12)
    reader = Seeing(examples)
    first = cached_reading(reader, examples, logit(examples.scores), tmp_path)
    asked = reader.asked
    again = cached_reading(reader, examples, logit(examples.scores), tmp_path)
    assert reader.asked == asked > 0
    np.testing.assert_array_equal(again.direction, first.direction)
    other = Seeing(examples)
    other.fingerprint = "another"
    cached_reading(other, examples, logit(examples.scores), tmp_path)
    assert other.asked == asked
