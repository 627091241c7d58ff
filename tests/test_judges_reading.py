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
from judges.protocol import Exchange, JudgeFailure, Judgement, JudgeUnavailable, Turn
from judges.reading.fit import (
    DECENT,
    NOTHING,
    PLAIN,
    ReadingFit,
    Rows,
    fit,
    gates,
    held_against,
    logistic_ridge,
    read,
    rows_of,
)
from judges.reading.judge import OTHERS, WithReading
from judges.reading.kept import cached_reading
from judges.reading.manner import EmptyRow
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
        self.name, self.fingerprint = "seeing", "0123456789abcdef0123"
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
def small() -> Iterator[None]:
    """A hundredth of the rows bear a hundredth of the penalty; a model has said something to every client."""

    def said(path: Path) -> tuple[EmptyRow, ...]:
        if path == fitting.MANNER:
            return ()
        clients = [*dict.fromkeys(some_examples(120).clients)]
        return tuple(EmptyRow(client=c, reply=f"I'm so sorry to hear that, {c}", source="a test") for c in clients)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "PENALTY", 3.0)
        patch.setattr(fitting, "read_empty", said)
        yield


def test_what_a_model_says_shuts_the_gate_however_it_reads_otherwise() -> None:
    """Two lines, one of which finds nothing: the lesser counts."""
    along = np.array([[5.0, 5.0], [5.0, -5.0], [-5.0, 5.0], [5.0, 0.0]])
    np.testing.assert_allclose(gates(along, np.array([[-1.0, 1.0], [-2.0, 2.0]])), [1.0, 0.0, 0.0, 0.5])


def test_without_anything_said_by_a_model_there_is_no_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitting, "read_empty", lambda path: ())
    examples = some_examples(120)
    rows = rows_of(examples, np.random.default_rng(0), every=1)
    with pytest.raises(ValueError, match="no row that a model said"):
        fit(rows, read(Seeing(examples), rows), examples)


@pytest.fixture(scope="module")
def fitted() -> tuple[ReadingFit, Seeing, Examples, Rows]:
    examples = some_examples(120)
    reader = Seeing(examples)
    rows = rows_of(examples, np.random.default_rng(0), every=1)
    made, _ = fit(rows, read(reader, rows), examples)
    return made, reader, examples, rows


def made_columns(made: ReadingFit, states: np.ndarray) -> np.ndarray:
    return fitting.standardised(states, made.mean, made.sd)


def test_rows_are_the_examples_and_what_is_made_of_them() -> None:
    examples = some_examples(96)
    rows = rows_of(examples, np.random.default_rng(0))
    own = rows.kinds == "own"
    names = list(dict.fromkeys(examples.clients))
    assert set(rows.clients) == set(names[::2])
    assert [rows.replies[i] for i in np.flatnonzero(own)] == [
        r for c, r in zip(examples.clients, examples.replies, strict=True) if c in names[::2]
    ]
    given = set(zip(examples.clients, examples.replies, strict=True))
    for i in np.flatnonzero(~own):
        assert (rows.clients[i], rows.replies[i]) not in given
    for i in np.flatnonzero(rows.kinds == "swapped"):
        assert rows.replies[i] == examples.replies[rows.examples[i]]
        assert examples.scores[rows.examples[i]].mean() >= 6
    made = np.isin(rows.kinds, ("chain", "about", "mixed"))
    assert np.all(examples.scores.mean(axis=1)[rows.examples[made]] >= fitting.MEANT)
    assert {"chain", "about", "mixed", "swapped"} <= set(rows.kinds.tolist())


def test_nothing_of_a_fold_is_in_another() -> None:
    """Neither the client to whom nonsense is said nor one of whose replies it is made."""
    examples = some_examples(96)
    rows = rows_of(examples, np.random.default_rng(0), every=1)
    fold = {name: i // 2 % fitting.FOLDS for i, name in enumerate(dict.fromkeys(examples.clients))}
    number = {client: int(client.split()[2]) for client in fold}
    by_number = {number[client]: fold[client] for client in fold}
    for client, reply, kind in zip(rows.clients, rows.replies, rows.kinds, strict=True):
        if kind != "own":
            spoken_of = [int(word.strip(".,?")) for word in reply.split() if word.strip(".,?").isdigit()]
            assert {by_number[n] for n in spoken_of} <= {fold[client]}


def test_every_row_is_read_in_its_place(fitted: tuple[ReadingFit, Seeing, Examples, Rows]) -> None:
    _, reader, _, rows = fitted
    states = read(reader, rows)
    for i in range(0, len(rows.clients), 17):
        np.testing.assert_array_equal(states[i], reader.states([Exchange(rows.clients[i], "", rows.replies[i])])[0])


def test_it_finds_what_the_states_hold(fitted: tuple[ReadingFit, Seeing, Examples, Rows]) -> None:
    made, reader, examples, rows = fitted
    gate = gates(fitting.along_lines(made_columns(made, read(reader, rows)), made.lines), made.gate)
    decent = (rows.kinds == "own") & (examples.scores.mean(axis=1)[rows.examples] >= DECENT)
    assert np.all((gate >= 0) & (gate <= 1))
    assert np.mean(gate[decent] == 1) > 0.6
    assert gate[rows.kinds != "own"].mean() < 0.2


def test_each_gate_is_open_for_its_share_of_decent_replies_to_unseen_clients(
    fitted: tuple[ReadingFit, Seeing, Examples, Rows],
) -> None:
    _, reader, examples, rows = fitted
    made, unseen = fit(rows, read(reader, rows), examples)
    decent = (rows.kinds == "own") & (examples.scores.mean(axis=1)[rows.examples] >= DECENT)
    for i, opened in enumerate(made.gate[:, 1]):
        assert np.mean(unseen[decent, i] >= opened) == pytest.approx(1 - fitting.OPEN[i], abs=0.03)
    assert np.mean(gates(unseen[decent], made.gate) >= 1) > 0.5


def test_a_left_out_row_is_unknown_to_the_fit_that_judges_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """States that are noise: only a fit that has seen a row could know anything of it."""
    monkeypatch.setattr(fitting, "_answering", lambda rows, unseen: 1.0)  # noise answers nobody, and would be refused
    examples = some_examples(120)
    rows = rows_of(examples, np.random.default_rng(0), every=1)
    noise = np.random.default_rng(1).normal(size=(len(rows.clients), 400)).astype(np.float32)
    made, unseen = fit(rows, noise, examples)
    own = rows.kinds == "own"
    decent = own & (examples.scores.mean(axis=1)[rows.examples] >= DECENT)
    said = rows.kinds == "said"
    assert abs((unseen[decent, 0][:, None] > unseen[~own & ~said, 0]).mean() - 0.5) < 0.1
    seen = fitting.along_lines(made_columns(made, noise), made.lines)[:, 0]
    assert (seen[decent][:, None] > seen[~own & ~said]).mean() > 0.85


def test_a_state_that_is_not_finite_is_refused(fitted: tuple[ReadingFit, Seeing, Examples, Rows]) -> None:
    _, reader, examples, rows = fitted
    states = read(reader, rows)
    states[7, 3] = np.nan
    with pytest.raises(ValueError, match=r"rows \[7\].*not finite"):
        fit(rows, states, examples)


def test_logistic_ridge_is_where_its_gradient_vanishes() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, 3))
    y = (x[:, 0] + rng.normal(size=200) > 0.3).astype(float)
    u = logistic_ridge(x, y, 2.0)
    p = 1 / (1 + np.exp(-(x @ u[:3] + u[3])))
    np.testing.assert_allclose(x.T @ (y - p), 2.0 * u[:3], atol=1e-6)
    assert (y - p).sum() == pytest.approx(0, abs=1e-4)


class Flat:
    """A reader with one state for all after this client's words and another after others'; none for a reply that says "break"."""

    name, fingerprint = "flat", "0"

    def __init__(self, sense: float, elsewhere: float = -9.0) -> None:
        self._sense, self._elsewhere = sense, elsewhere

    def states(self, exchanges: Sequence[Exchange]) -> np.ndarray:
        return np.array([[self._state(exchange)] for exchange in exchanges], dtype=np.float32)

    def _state(self, exchange: Exchange) -> float:
        if "break" in exchange.therapist:
            return float("nan")
        return self._elsewhere if exchange.client in OTHERS else self._sense


# The only column is the sense logit: shut at -1, open at 1; an answer counts in full from 2 more than to others. Nobody sounds like
# a model.
PLAIN_FIT = ReadingFit(
    mean=np.zeros(1),
    sd=np.full(1, 10.0),
    lines=np.array([[10.0, 0.0], [0.0, 5.0]]),
    gate=np.array([[-1.0, 1.0], [-1.0, 1.0]]),
    answering=np.array([2.0]),
)
ASKED = [Exchange("I am tired.", "", "What is it like?")]


def judged(sense: float, score: float = 8.0, elsewhere: float = -9.0) -> Judgement:
    found = WithReading(ScriptedJudge(lambda _: score, gap=0.5), Flat(sense, elsewhere), PLAIN_FIT).judge(ASKED)[0]
    assert isinstance(found, Judgement)
    return found


def test_what_is_meant_keeps_its_score_and_what_is_not_keeps_nothing() -> None:
    sure, half, surely_not = judged(1.5), judged(0.0), judged(-3.0)
    np.testing.assert_array_equal(sure.scores, 8.0)
    np.testing.assert_allclose(half.scores, (8.0 + NOTHING) / 2)
    np.testing.assert_allclose(surely_not.scores, NOTHING)
    assert "50% of its points" in half.kind.narrative
    assert "50% of its points" in half.harsh.critical_moments[0]
    assert "points" not in sure.kind.narrative
    np.testing.assert_allclose(half.gap, 0.25)  # the scripted half point, halved as well


@pytest.mark.parametrize(("elsewhere", "composite"), [(5.0, PLAIN), (3.0, PLAIN), (2.0, (PLAIN + 10) / 2), (1.0, 8.0)])
def test_what_anybody_could_be_told_earns_no_more_than_a_plain_reply(elsewhere: float, composite: float) -> None:
    """At three logits to this client: two and more to others make it an answer to nobody in particular."""
    assert judged(3.0, 8.0, elsewhere).composite == pytest.approx(composite, abs=1e-5)
    assert judged(3.0, 5.0, elsewhere).composite == pytest.approx(5.0)  # a plain reply stays what it is


def test_the_profile_stays_the_judges() -> None:
    scores = np.linspace(2.0, 9.9, 12)
    found = WithReading(ScriptedJudge([scores.tolist()]), Flat(3.0, 3.0), PLAIN_FIT).judge(ASKED)[0]
    assert isinstance(found, Judgement)
    np.testing.assert_allclose(
        (found.scores - NOTHING) / (scores - NOTHING), (PLAIN - NOTHING) / (scores.mean() - NOTHING)
    )


def test_a_model_that_does_not_read_whom_a_reply_is_said_to_is_refused(
    fitted: tuple[ReadingFit, Seeing, Examples, Rows],
) -> None:
    _, reader, examples, rows = fitted
    states = read(reader, rows)
    swapped = np.flatnonzero(rows.kinds == "swapped")
    own = {i: k for k, (i, kind) in enumerate(zip(rows.examples.tolist(), rows.kinds, strict=True)) if kind == "own"}
    states[swapped] = states[[own[i] for i in rows.examples[swapped].tolist()]]
    with pytest.raises(ValueError, match="whom a reply is said to"):
        fit(rows, states, examples)


@given(st.floats(0, 10), st.floats(0, 10), st.floats(0, 1), st.floats(0, 1))
def test_it_only_doubts_and_better_and_more_meant_never_earn_less(one: float, other: float, p: float, q: float) -> None:
    scores, gate = np.sort([one, other]), np.sort([p, q])
    held = held_against(scores[:, None], gate[None])
    assert np.all(held <= scores[:, None])
    assert np.all(held >= np.minimum(scores, NOTHING)[:, None])
    assert np.all(np.diff(held, axis=0) >= 0)
    assert np.all(np.diff(held, axis=1) >= 0)


def test_a_doubted_score_is_less_sure() -> None:
    class Unsure:
        name = "unsure"

        def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement | JudgeFailure]:
            plain = ScriptedJudge([7.0]).judge(exchanges)[0]
            assert isinstance(plain, Judgement)
            return [replace(plain, error=np.full(12, 0.8))]

    errors = []
    for sense in (2.0, 0.0):
        found = WithReading(Unsure(), Flat(sense), PLAIN_FIT).judge(ASKED)[0]
        assert isinstance(found, Judgement)
        errors.append(found.error)
    np.testing.assert_allclose(errors, [[0.8] * 12, [1.5] * 12])  # three points were taken off


def test_one_reply_that_cannot_be_read_fails_alone_and_failures_pass_through() -> None:
    asked = [*ASKED, Exchange("I am tired.", "", "break"), Exchange("I am tired.", "", " "), *ASKED]
    judge = WithReading(ScriptedJudge([8.0, 8.0, 2.0, JudgeFailure("the real reason")]), Flat(2.0), PLAIN_FIT)
    read_, broken, silent, failed = judge.judge(asked)
    assert isinstance(read_, Judgement)
    assert isinstance(broken, JudgeFailure)
    assert "could not read" in broken.reason
    assert isinstance(silent, Judgement)
    np.testing.assert_array_equal(silent.scores, 2.0)
    assert failed == JudgeFailure("the real reason")
    assert judge.judge([]) == []
    assert judge.name == "scripted+reading:flat"


class Recalling(Flat):
    """What a reply means it shows only where the line about the glue sticks stands before it; "long" lines are too long to read."""

    def _state(self, exchange: Exchange) -> float:
        if "long" in exchange.client:
            return float("nan")
        return super()._state(exchange) if "glue" in exchange.client or exchange.client in OTHERS else -3.0


@pytest.mark.parametrize(
    ("earlier", "composite"),
    [(["I counted the glue sticks."], 8.0), (["I am fine."], NOTHING), ([], NOTHING), (["a long line"], NOTHING)],
)
def test_what_takes_up_an_earlier_line_is_read_after_it(earlier: list[str], composite: float) -> None:
    asked = replace(ASKED[0], history=tuple(Turn(line, "", "Mm.") for line in earlier))
    found = WithReading(ScriptedJudge(lambda _: 8.0), Recalling(3.0), PLAIN_FIT).judge([asked, *ASKED])
    assert [one.composite for one in found if isinstance(one, Judgement)] == pytest.approx([composite, NOTHING])


def test_of_many_earlier_lines_the_last_are_read() -> None:
    turns = [Turn(line, "", "Mm.") for line in ("I counted the glue sticks.", "a", "b")]
    judge = WithReading(ScriptedJudge(lambda _: 8.0), Recalling(3.0), PLAIN_FIT)
    for history, composite in ((turns[:2], 8.0), (turns, NOTHING)):
        (found,) = judge.judge([replace(ASKED[0], history=tuple(history))])
        assert isinstance(found, Judgement)
        assert found.composite == pytest.approx(composite)


def test_a_fit_is_made_once_and_kept(tmp_path: Path) -> None:
    examples = some_examples(96)
    reader = Seeing(examples)
    first = cached_reading(reader, examples, tmp_path)
    asked = reader.asked
    again = cached_reading(reader, examples, tmp_path)
    assert reader.asked == asked > 0
    np.testing.assert_array_equal(again.lines, first.lines)
    other = Seeing(examples)
    other.fingerprint = "another"
    cached_reading(other, examples, tmp_path)
    assert other.asked == asked


@pytest.mark.parametrize("constant", ["PENALTY", "SHUT", "MEANT"])
def test_a_fit_is_made_anew_where_what_makes_it_changed(
    constant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    examples = some_examples(96)
    reader = Seeing(examples)
    cached_reading(reader, examples, tmp_path)
    asked = reader.asked
    before = getattr(fitting, constant)
    monkeypatch.setattr(fitting, constant, tuple(0.9 * np.array(before)) if isinstance(before, tuple) else before * 0.9)
    cached_reading(reader, examples, tmp_path)
    assert reader.asked > asked


def test_a_reader_that_cannot_read_the_examples_is_unavailable(tmp_path: Path) -> None:
    class Blind(Seeing):
        def states(self, exchanges: Sequence[Exchange]) -> np.ndarray:
            return np.full((len(exchanges), WIDTH), np.nan, dtype=np.float32)

    examples = some_examples(96)
    with pytest.raises(JudgeUnavailable, match="seeing: rows"):
        cached_reading(Blind(examples), examples, tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


def test_a_shipped_fit_to_other_examples_is_used_and_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    examples, fewer = some_examples(96), some_examples(60)
    reader = Seeing(examples)
    shipped = cached_reading(reader, examples, tmp_path / "shipped")
    monkeypatch.setattr("judges.reading.kept.SHIPPED", tmp_path / "shipped")
    asked = reader.asked
    np.testing.assert_array_equal(cached_reading(reader, examples, tmp_path / "cache").lines, shipped.lines)
    assert "other examples" not in caplog.text
    np.testing.assert_array_equal(cached_reading(reader, fewer, tmp_path / "cache").lines, shipped.lines)
    assert "other examples" in caplog.text
    assert reader.asked == asked


def test_among_few_clients_nobody_is_their_own_other_client() -> None:
    examples = some_examples(28)
    rows = rows_of(examples, np.random.default_rng(0))
    swapped = np.flatnonzero(rows.kinds == "swapped")
    assert all(rows.clients[i] != examples.clients[rows.examples[i]] for i in swapped)
