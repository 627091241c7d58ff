"""A score is a number in [0, 10] that a judge gave: everything else is refused, never mended."""

import numpy as np
import pytest

from client_graph.names import DIMENSIONS
from judges.protocol import Assessment, Exchange, JudgeError, JudgeFailure, Judgement
from judges.scripted import ScriptedJudge

REASONS = tuple(f"because of {name}" for name in DIMENSIONS)
EXCHANGE = Exchange("I am here.", "", "So am I.")


def assessment(scores: object) -> Assessment:
    return Assessment(scores, REASONS, "narrative")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [float("nan"), float("inf"), float("-inf"), 11, -1, 10.000001, 1e308, True, np.True_, "10", None, [5], 5 + 0j],
    ids=repr,
)
def test_an_entry_that_is_no_score_is_refused_and_named(wrong: object) -> None:
    with pytest.raises(JudgeError, match="repair"):
        assessment([5.0] * 6 + [wrong] + [5.0] * 5)


@pytest.mark.parametrize(
    "scores", [[5.0] * 11, [5.0] * 13, [], "5" * 12, b"5" * 12, 5.0, None, {}, np.full((12, 1), 5.0)]
)
def test_what_is_not_twelve_numbers_is_refused(scores: object) -> None:
    with pytest.raises(JudgeError):
        assessment(scores)


@pytest.mark.parametrize("scores", [np.full(12, np.nan), np.ones(12, dtype=bool), np.full(12, "5")])
def test_arrays_are_looked_at_entry_by_entry(scores: np.ndarray) -> None:
    with pytest.raises(JudgeError):
        assessment(scores)


def test_every_mistake_is_named_at_once() -> None:
    with pytest.raises(JudgeError, match=r"attunement: 11; artfulness: nan"):
        assessment([11, *[5.0] * 10, float("nan")])


def test_the_ends_of_the_scale_and_integers_are_scores() -> None:
    assert assessment([0, 10, *[np.int64(3)] * 10]).scores.tolist() == [0.0, 10.0, *[3.0] * 10]


def test_the_scores_are_a_copy_that_nobody_can_write() -> None:
    given = np.full(12, 5.0)
    kept = assessment(given)
    given[0] = 9.0
    assert kept.scores[0] == 5.0
    with pytest.raises(ValueError, match="read-only"):
        kept.scores[0] = 9.0


@pytest.mark.parametrize("reasons", [REASONS[:-1], (*REASONS, "more"), "twelve chars", (*REASONS[:-1], 3)])
def test_each_dimension_has_one_reason_in_words(reasons: object) -> None:
    with pytest.raises(JudgeError):
        Assessment(np.full(12, 5.0), reasons, "narrative")  # type: ignore[arg-type]


def test_a_judgement_is_the_mean_of_two_and_keeps_the_gap() -> None:
    kind, harsh = np.linspace(4, 9.5, 12), np.linspace(1, 6.5, 12)
    judgement = Judgement(assessment(kind), assessment(harsh))
    np.testing.assert_allclose(judgement.scores, (kind + harsh) / 2)
    np.testing.assert_allclose(judgement.gap, 3.0)
    assert judgement.composite == pytest.approx(np.mean(kind + harsh) / 2)


@pytest.mark.parametrize("wrong", ["1.5", True, np.True_, None, 1 + 0j, b"1", [1], np.nan, np.inf, 10**400, -0.1])
def test_a_measure_that_is_no_number_is_refused_and_named(wrong: object) -> None:
    both = assessment([5.0] * 12), assessment([5.0] * 12)
    with pytest.raises(JudgeError, match=r"error holds \[6\]: .*expected \(12,\) finite numbers") as error:
        Judgement(*both, error=[0.5] * 6 + [wrong] + [0.5] * 5)  # type: ignore[arg-type]
    assert repr(wrong) in str(error.value)
    with pytest.raises(JudgeError, match=r"digit_mass holds \[1, 0\]: "):
        Judgement(*both, digit_mass=[[0.5] * 12, [wrong] + [0.5] * 11])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong",
    [0.5, "0.5", b"0" * 12, {}, [0.5] * 11, [[0.5] * 12], [[0.5] * 12] * 3, [[0.5] * 12, [0.5]], np.ones((12, 2)),
     [np.ones((1, 12)), np.ones((1, 11))], ["1"] * 12, np.ones(12, dtype=bool), np.full((2, 12), "1")],
)  # fmt: skip
def test_a_measure_of_another_shape_or_kind_is_refused(wrong: object) -> None:
    for name in ("error", "digit_mass"):
        with pytest.raises(JudgeError, match=f"^{name} .*; expected "):
            Judgement(assessment([5.0] * 12), assessment([5.0] * 12), **{name: wrong})  # type: ignore[arg-type]


def test_measures_are_copies_that_nobody_can_write() -> None:
    error, mass = np.linspace(0, 12, 12), [list(range(2)) * 6, [np.float32(0.25)] * 12]
    kept = Judgement(assessment([5.0] * 12), assessment([5.0] * 12), error=error, digit_mass=mass)  # type: ignore[arg-type]
    assert kept.error is not None
    assert kept.digit_mass is not None
    np.testing.assert_array_equal(kept.error, error)
    np.testing.assert_array_equal(kept.digit_mass, mass)
    for array in (kept.error, kept.digit_mass):
        assert array.dtype == np.float64
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.5


def test_the_scripted_judge_says_what_it_was_told() -> None:
    failure = JudgeFailure("no network")
    answers = ScriptedJudge([5, [*range(11), 0], failure], gap=0.0).judge([EXCHANGE] * 3)
    assert isinstance(answers[0], Judgement)
    assert answers[0].composite == 5
    assert isinstance(answers[1], Judgement)
    assert answers[1].scores[10] == 10
    assert answers[2] is failure


def test_the_scripted_judge_can_be_a_function_with_a_gap() -> None:
    (answer,) = ScriptedJudge(lambda exchange: float(len(exchange.therapist)), gap=2.0).judge([EXCHANGE])
    assert isinstance(answer, Judgement)
    assert answer.kind.scores[0] == 9
    assert answer.harsh.scores[0] == 7


def test_the_scripted_judge_invents_nothing() -> None:
    with pytest.raises(JudgeError):
        ScriptedJudge([11]).judge([EXCHANGE])
    with pytest.raises(JudgeError):
        ScriptedJudge([True]).judge([EXCHANGE])
    with pytest.raises(JudgeError):
        ScriptedJudge([9.5], gap=2.0).judge([EXCHANGE])
    with pytest.raises(IndexError, match="used"):
        ScriptedJudge([5]).judge([EXCHANGE] * 2)
