"""The language-model judge with a reader that answers by script: prompts, refusals, texts, and no invented score."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from client_graph.names import DIMENSIONS
from client_graph.tables import TableError
from judges.language_model import FIELDS, UNWRITTEN, LanguageModelJudge, form, form_fields, prompt, questions
from judges.protocol import Exchange, JudgeFailure, Judgement, Turn
from judges.rubric import JUDGE_CONFIGS, persona, rubric
from judges.templates import fenced
from judges.writer import Form

EXCHANGE = Exchange(
    "I miss {therapist} her.", "stay", "Yes. ``` {client} {name}", (Turn("Hello.", "secret", "Good day."),)
)
OTHER = Exchange(EXCHANGE.client, "go", "No.", EXCHANGE.history)


class Reader:
    """Gives every prompt the same row unless told otherwise."""

    def __init__(self, scores: np.ndarray, mass: np.ndarray) -> None:
        self.scores, self.mass = scores, mass
        self.asked: list[tuple[Sequence[str], Sequence[str]]] = []

    def expected_scores(self, prompts: Sequence[str], questions: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        self.asked.append((prompts, questions))
        if self.scores.ndim == 2:
            return self.scores, self.mass
        return np.tile(self.scores, (len(prompts), 1)), np.tile(self.mass, (len(prompts), 1))


class Pen:
    """Writes the row's number into every field, or nothing; rows in `too_long` it cannot read."""

    def __init__(self, empty: bool = False, too_long: tuple[int, ...] = ()) -> None:
        self.empty, self.too_long = empty, too_long
        self.asked: list[tuple[Sequence[str], Sequence[Form]]] = []

    def fill(self, prompts: Sequence[str], forms: Sequence[Form]) -> list[tuple[str, ...]]:
        self.asked.append((prompts, forms))
        texts = [("" if self.empty else f"text {i}",) * len(form.openings) for i, form in enumerate(forms)]
        return [() if i in self.too_long else text for i, text in enumerate(texts)]


def judge(scores: np.ndarray, mass: np.ndarray | None = None) -> tuple[Judgement | JudgeFailure, Reader]:
    reader = Reader(scores, np.full(scores.shape, 0.9) if mass is None else mass)
    return LanguageModelJudge(reader, "scripted reader").judge([EXCHANGE])[0], reader


def test_kind_comes_first_and_harsh_second() -> None:
    mass = np.linspace(0.6, 1, 24)
    answer, reader = judge(np.concatenate([np.linspace(4, 9.5, 12), np.linspace(0, 5.5, 12)]), mass)
    assert isinstance(answer, Judgement)
    assert answer.kind.scores[0] == 4
    assert answer.harsh.scores[-1] == 5.5
    assert answer.kind.reasons[-1].endswith(rubric()[-1].excellent)
    assert answer.harsh.recommendations[0] == rubric()[0].recommendation
    assert answer.digit_mass is not None
    np.testing.assert_array_equal(answer.digit_mass, mass.reshape(2, 12))
    assert len(reader.asked) == 1


def test_there_is_one_question_for_each_persona_and_dimension() -> None:
    asked = questions()
    assert len(asked) == len(set(asked)) == 24
    for i, name in enumerate(DIMENSIONS):
        assert f'"{name}": ' in asked[i]
        assert "kind supervisor" in asked[i]
        assert "harsh client" in asked[i + 12]
        assert asked[i].endswith(": ")


def test_the_rubric_and_both_personas_stand_before_anything_that_changes() -> None:
    text, other = prompt(EXCHANGE), prompt(Exchange("Another.", "", "Reply."))
    shared = next(i for i, (a, b) in enumerate(zip(text, other, strict=False)) if a != b)
    for row in rubric():
        assert text.index(row.excellent) < shared
    assert text.index(persona("kind").strip()) < text.index(persona("harsh").strip()) < shared
    candidates = next(i for i, (a, b) in enumerate(zip(text, prompt(OTHER), strict=False)) if a != b)
    assert text.index(EXCHANGE.client) < candidates


def test_what_was_said_is_fenced_and_filled_once() -> None:
    text = prompt(EXCHANGE)
    assert "````\nYes. ``` {client} {name}\n````" in text
    assert "I miss {therapist} her." in text
    assert "The client said:\n```\nHello.\n```\nThe therapist replied:\n```\nGood day.\n```" in text
    assert "secret" not in text
    assert fenced("`" * 9).startswith("`" * 10 + "\n")
    assert prompt(Exchange("a\ud800", "", "\udfffb")).encode()


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -0.1, 10.1])
def test_a_number_that_is_no_score_is_refused(wrong: float) -> None:
    scores = np.full(24, 5.0)
    scores[13] = wrong
    answer, _ = judge(scores)
    assert isinstance(answer, JudgeFailure)
    assert "pacing" in answer.reason


@pytest.mark.parametrize("wrong", [0.49, np.nan, 1.1, -1])
def test_a_model_that_did_not_mean_to_score_is_refused(wrong: float) -> None:
    mass = np.full(24, 0.9)
    mass[12] = wrong
    answer, _ = judge(np.full(24, 5.0), mass)
    assert isinstance(answer, JudgeFailure)
    assert "harsh attunement" in answer.reason
    assert "kind" not in answer.reason
    assert "Try a larger" in answer.reason


def test_an_exchange_that_could_not_be_read_is_a_failure() -> None:
    answer, _ = judge(np.full(24, np.nan), np.full(24, np.nan))
    assert isinstance(answer, JudgeFailure)
    assert "longer than it can read" in answer.reason


@pytest.mark.parametrize("count", [0, 12, 23, 25])
def test_too_few_or_too_many_answers_are_refused(count: int) -> None:
    answer, _ = judge(np.full(count, 5.0))
    assert isinstance(answer, JudgeFailure)


def test_all_candidates_are_read_in_one_call_and_one_failure_is_its_own() -> None:
    scores, mass = np.full((3, 24), 5.0), np.full((3, 24), 0.9)
    scores[2], mass[1, 5] = 6.0, np.nan
    reader = Reader(scores, mass)
    first, second, third = LanguageModelJudge(reader, "scripted reader").judge([EXCHANGE, OTHER, EXCHANGE])
    assert len(reader.asked) == 1
    assert isinstance(first, Judgement)
    assert isinstance(second, JudgeFailure)
    assert isinstance(third, Judgement)
    assert (first.composite, third.composite) == (5.0, 6.0)
    assert LanguageModelJudge(reader, "scripted reader").judge([]) == []


def test_a_writer_gives_the_texts_and_touches_no_score() -> None:
    reader, pen = Reader(np.linspace(0, 10, 24), np.full(24, 0.9)), Pen()
    plain = LanguageModelJudge(reader, "scripted reader").judge([EXCHANGE, OTHER])
    written = LanguageModelJudge(reader, "scripted reader", writer=pen).judge([EXCHANGE, OTHER])
    assert len(pen.asked) == 1
    for i, (before, after) in enumerate(zip(plain, written, strict=True)):
        assert isinstance(before, Judgement)
        assert isinstance(after, Judgement)
        np.testing.assert_array_equal(before.scores, after.scores)
        np.testing.assert_array_equal(before.digit_mass, after.digit_mass)
        assert after.kind.narrative == f"This reply text {2 * i}"
        assert after.harsh.recommendations[0] == f"Next time, text {2 * i + 1}"
        assert after.harsh.recommendations[1:] == before.harsh.recommendations
        assert after.kind.reasons == before.kind.reasons


def test_where_the_model_writes_nothing_the_rubrics_texts_stand() -> None:
    reader = Reader(np.full(24, 5.0), np.full(24, 0.9))
    plain = LanguageModelJudge(reader, "scripted reader").judge([EXCHANGE])
    assert LanguageModelJudge(reader, "scripted reader", writer=Pen(empty=True)).judge([EXCHANGE]) == plain


def test_where_a_form_is_too_long_the_scores_stand_and_the_narrative_says_so() -> None:
    reader = Reader(np.full(24, 5.0), np.full(24, 0.9))
    [plain] = LanguageModelJudge(reader, "scripted reader").judge([EXCHANGE])
    refused, written = LanguageModelJudge(reader, "scripted reader", writer=Pen(too_long=(0, 1))).judge(
        [EXCHANGE, OTHER]
    )
    for answer in (plain, refused, written):
        assert isinstance(answer, Judgement)
    for name in ("kind", "harsh"):
        before, after = getattr(plain, name), getattr(refused, name)
        assert after.narrative == f"{before.narrative} {UNWRITTEN}"
        assert after == replace(before, narrative=after.narrative)
    assert written.kind.narrative == "This reply text 2"
    np.testing.assert_array_equal(refused.digit_mass, plain.digit_mass)


def test_a_failed_exchange_is_not_written_about() -> None:
    pen = Pen()
    [answer] = LanguageModelJudge(Reader(np.full(24, 5.0), np.zeros(24)), "scripted", writer=pen).judge([EXCHANGE])
    assert isinstance(answer, JudgeFailure)
    assert pen.asked == []


def test_a_form_says_what_was_strongest_and_weakest() -> None:
    asked = form("harsh", np.arange(12) * 0.9)
    assert asked.openings[0].startswith(
        '{"reader": "harsh client", "strongest": "artfulness 10, tenderness 9, parallel_thinking 8", '
        '"weakest": "attunement 0, pacing 1, safety 2", "narrative": "'
    )
    assert all(opening.startswith('", "') for opening in asked.openings[1:])
    assert len(asked.openings) == len(asked.most_tokens) == len(FIELDS)


def test_a_form_table_with_other_fields_is_refused(tmp_path: Path) -> None:
    lines = (JUDGE_CONFIGS / "form_fields.csv").read_text(encoding="utf-8").splitlines()
    wrong = tmp_path / "form_fields.csv"
    wrong.write_text("\n".join(lines[:2]), encoding="utf-8")
    with pytest.raises(TableError, match="in order"):
        form_fields(wrong)
