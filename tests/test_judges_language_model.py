"""The language-model judge with a reader that answers by script: prompts, refusals, and no invented score."""

import numpy as np
import pytest

from client_graph.names import DIMENSIONS
from judges.language_model import LanguageModelJudge, fenced, prefix, suffixes
from judges.protocol import Exchange, JudgeFailure, Judgement, Turn
from judges.rubric import persona, rubric

EXCHANGE = Exchange(
    "I miss {therapist} her.", "stay", "Yes. ``` {client} {name}", (Turn("Hello.", "secret", "Good day."),)
)


class Reader:
    def __init__(self, scores: np.ndarray, mass: np.ndarray) -> None:
        self.scores, self.mass = scores, mass
        self.asked: list[tuple[str, list[str]]] = []

    def expected_scores(self, prefix: str, suffixes: list[str]) -> tuple[np.ndarray, np.ndarray]:
        self.asked.append((prefix, suffixes))
        return self.scores, self.mass


def judge(scores: np.ndarray, mass: np.ndarray | None = None) -> tuple[Judgement | JudgeFailure, Reader]:
    reader = Reader(scores, np.full(24, 0.9) if mass is None else mass)
    return LanguageModelJudge(reader, "scripted reader").judge([EXCHANGE])[0], reader


def test_kind_comes_first_and_harsh_second() -> None:
    answer, reader = judge(np.concatenate([np.linspace(4, 9.5, 12), np.linspace(0, 5.5, 12)]))
    assert isinstance(answer, Judgement)
    assert answer.kind.scores[0] == 4
    assert answer.harsh.scores[-1] == 5.5
    assert answer.kind.reasons[-1].endswith(rubric()[-1].excellent)
    assert answer.harsh.recommendations[0] == rubric()[0].recommendation
    assert len(reader.asked) == 1


def test_there_is_one_question_for_each_persona_and_dimension() -> None:
    asked = suffixes()
    assert len(asked) == len(set(asked)) == 24
    for i, name in enumerate(DIMENSIONS):
        assert f"Dimension: {name}." in asked[i]
        assert asked[i].startswith(persona("kind")[:40])
        assert asked[i + 12].startswith(persona("harsh")[:40])
        assert "{" not in asked[i]


def test_what_was_said_is_fenced_and_filled_once() -> None:
    prompt = prefix(EXCHANGE)
    assert "````\nYes. ``` {client} {name}\n````" in prompt
    assert "I miss {therapist} her." in prompt
    assert "Client: Hello.\nTherapist: Good day." in prompt
    assert "secret" not in prompt
    assert fenced("`" * 9).startswith("`" * 10 + "\n")


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


@pytest.mark.parametrize("count", [0, 12, 23, 25])
def test_too_few_or_too_many_answers_are_refused(count: int) -> None:
    answer, _ = judge(np.full(count, 5.0), np.full(count, 0.9))
    assert isinstance(answer, JudgeFailure)
