"""A session's assessment on worked numbers."""

import numpy as np
import pytest

from judges.protocol import Exchange, JudgeError, JudgeFailure
from judges.scripted import ScriptedJudge
from judges.session import summarise_scores, summarise_session

RISING = [[2.0] * 12, [8.0] + [4.0] * 11, [5.0] + [6.0] * 11]


def test_worked_session() -> None:
    turns = ScriptedJudge([*RISING[:2], JudgeFailure("timeout"), RISING[2]]).judge([Exchange("", "", "")] * 4)
    session = summarise_session(turns)
    assert session.mean.tolist() == [5.0] + [4.0] * 11
    assert session.least.tolist() == [2.0] * 12
    assert session.greatest.tolist() == [8.0] + [6.0] * 11
    assert session.trend.tolist() == [3.0] + [4.0] * 11
    np.testing.assert_allclose(session.trajectory, [2, 52 / 12, 71 / 12])
    assert session.steadiness == pytest.approx(np.std([2, 52 / 12, 71 / 12]))
    assert session.composite == pytest.approx(49 / 12)
    assert session.failures == 1


def test_a_session_without_a_judgement_has_no_assessment() -> None:
    for turns in ([], [JudgeFailure("timeout")]):
        with pytest.raises(JudgeError, match="no judgement"):
            summarise_session(turns)


def test_two_assessments_of_the_same_turns_are_equal() -> None:
    scores = np.arange(24.0).reshape(2, 12) / 3
    one, other = summarise_scores(scores), summarise_scores(scores.copy())
    assert one == other
    assert hash(one) == hash(other)
    assert one != summarise_scores(scores, failures=1)
    assert one != summarise_scores(scores + 0.5)
    assert one != "an assessment"
