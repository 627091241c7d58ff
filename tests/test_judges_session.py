"""A session's assessment on worked numbers, its sentences true of any numbers, and a writer that fails."""

import re
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client_graph.names import DIMENSIONS
from client_graph.stance import RUPTURE
from judges.assessment import session_text
from judges.assessment.session import (
    SessionEvaluation,
    judge_full_session,
    session_prompt,
    summarise_scores,
    summarise_session,
    written_by,
)
from judges.assessment.session_text import ERRATIC, HARMS, HELPS, SUSTAINED, TURNED, turning_point
from judges.protocol import Assessment, Exchange, JudgeError, JudgeFailure, Judgement, Violation
from judges.rubric import rubric
from judges.scripted import ScriptedJudge

RISING = [[2.0] * 12, [8.0] + [4.0] * 11, [5.0] + [6.0] * 11]
SCORE = st.sampled_from((0.0, 3.5, 6.5, 10.0)) | st.floats(0.0, 10.0)
ROWS = st.lists(SCORE, min_size=12, max_size=12)
WAVES = st.lists(st.none() | ROWS | SCORE.map(lambda s: [s] * 12), min_size=1, max_size=12).filter(any)


def judged(scores: Sequence[float] | None, kinds: Sequence[str] = ()) -> Judgement | JudgeFailure:
    if scores is None:
        return JudgeFailure("timeout")
    view = Assessment(np.array(scores), ("",) * 12, "")
    return Judgement(view, view, tuple(Violation(kind, "") for kind in kinds))


def said(count: int) -> list[Exchange]:
    return [Exchange(f"Client {n}.", "", f"Reply number {n}.") for n in range(1, count + 1)]


def told(rows: Sequence[Sequence[float] | None]) -> SessionEvaluation:
    return judge_full_session(said(len(rows)), [judged(row) for row in rows])


def about(found: SessionEvaluation, topic: str) -> list[str]:
    return [sentence.text for sentence in found.sentences if sentence.topic == topic]


def level(*composites: float) -> list[list[float]]:
    return [[value] * 12 for value in composites]


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
    assert session.violations == ()


def test_violations_are_counted_by_kind() -> None:
    turns = [judged([5.0] * 12, ["padding", "echo"]), judged(None), judged([5.0] * 12, ["padding", "padding"])]
    session = summarise_session(turns)
    assert session.violations == (("echo", 1), ("padding", 3))
    found = judge_full_session(said(3), turns)
    assert about(found, "violations") == ["The screen found padding 3 times (turns 1 and 3) and echo once (turn 1)."]
    assert session != summarise_session([judged([5.0] * 12), judged(None), judged([5.0] * 12)])


def test_a_session_without_a_judgement_has_no_assessment() -> None:
    for turns in ([], [JudgeFailure("timeout")]):
        with pytest.raises(JudgeError, match="no judgement"):
            summarise_session(turns)
        with pytest.raises(JudgeError, match="no judgement"):
            judge_full_session(said(len(turns)), turns)
    with pytest.raises(JudgeError, match="found 3 turns and 1 judgements"):
        judge_full_session(said(3), [judged([5.0] * 12)])


def test_two_assessments_of_the_same_turns_are_equal() -> None:
    scores = np.arange(24.0).reshape(2, 12) / 3
    one, other = summarise_scores(scores), summarise_scores(scores.copy())
    assert one == other
    assert hash(one) == hash(other)
    assert one != summarise_scores(scores, failures=1)
    assert one != summarise_scores(scores + 0.5)
    assert one != "an assessment"


def test_a_session_in_full() -> None:
    """Broken at turn 2, mended at turn 4, one turn without a score: as a reader gets it."""
    rows = [[5.0] * 12, [2.0] * 12, None, [7.0] * 12, [8.0] * 11 + [5.0], [8.0] * 12]
    assert told(rows).text == (
        "5 turns of 6 could be judged; turn 3 has no score and is left out of what follows. "
        "Taken together, the replies are scored as neither helping much nor harming, as in many real hours (composite 6.0 of 10). "
        "The session began at 5.0 in turn 1 and ended at 8.0 in turn 6. "
        "Its scores rose at turn 4: the turns before had a mean of 3.5, from there on 7.6. "
        "Its quality was erratic: from one judged turn to the next the composite moved by 2.25 points on average. "
        "The best moment was turn 6 (8.0): “Reply number 6.”. "
        "The weakest moment was turn 2 (2.0): “Reply number 2.”. "
        "Strongest over the session were attunement (6.0) and pacing (6.0); weakest were artfulness (5.4) and tenderness (6.0). "
        "From the first judged turn to the last, what grew most: attunement by 3.0 and pacing by 3.0. "
        "The contact broke at turn 2 (attunement and safety 2.0 in the mean) and was mended at turn 4. "
        f"To work on: artfulness (5.4). {rubric()[11].recommendation} To work on: attunement (6.0). {rubric()[0].recommendation}"
    )


@pytest.mark.parametrize(
    ("composites", "place"),
    [
        ((3, 3, 6, 6), 2),
        ((6, 6, 6, 3, 3), 3),
        ((3, 3, 6), None),  # one turn on a side is a moment
        ((5, 5, 5.9, 5.9), None),
        ((5, 5, 6, 6), 2),
        ((3, 9, 3, 9), None),
    ],
)
def test_a_turning_point_parts_two_stretches(composites: tuple[float, ...], place: int | None) -> None:
    found = turning_point(np.array(composites, dtype=float))
    assert (found and found[0]) == place


def test_a_steady_climb_is_no_erratic_session() -> None:
    (climb,) = about(told(level(4.0, 4.7, 5.4, 6.1, 6.8)), "evenness")
    (swings,) = about(told(level(4.0, 7.0, 4.0, 7.0, 4.0)), "evenness")
    (between,) = about(told(level(4.0, 5.0, 4.0)), "evenness")
    assert "sustained" in climb
    assert "erratic" in swings
    assert "uneven" in between


def test_a_rupture_is_mended_by_contact_and_repair_before_the_next_one() -> None:
    warm, plain, harsh = [8.0] * 12, [5.0] * 12, [1.0] * 12
    cold = [8.0] * 12
    cold[DIMENSIONS.index("repair")] = 6.4
    assert session_text.RUPTURE_IS == RUPTURE == HARMS
    assert "mended at turn 3" in about(told([harsh, plain, warm]), "ruptures")[0]
    assert "the last judged turn" in about(told([warm, harsh]), "ruptures")[0]
    assert "no judged turn" in about(told([harsh, cold, plain]), "ruptures")[0]
    assert [("mended" in text, "no judged turn" in text) for text in about(told([harsh, harsh, warm]), "ruptures")] == [
        (True, True), (True, False),
    ]  # fmt: skip
    assert about(told([warm, cold]), "ruptures") == ["The scores show no rupture."]
    assert "To work on first: turn 1" in told([harsh, plain]).text
    assert "To work on first" not in told([harsh, warm, warm, warm]).text


def test_a_long_or_broken_reply_is_quoted_short_and_on_one_line() -> None:
    turns = [Exchange("", "", "word " * 60 + "\nend"), Exchange("", "", "\u202e \n\t"), Exchange("", "", "a\nb\x1b[2J")]
    found = judge_full_session(turns, [judged([9.0] * 12), judged([1.0] * 12), judged([5.0] * 12)])
    best, worst = about(found, "moments")
    assert best.startswith("The best moment was turn 1 (9.0): “word word")
    assert len(best) < 170
    assert worst == "The weakest moment was turn 2 (1.0): (no words)."
    assert found.text.isprintable()


@given(rows=WAVES)
def test_every_sentence_is_true_of_the_numbers(rows: list[list[float] | None]) -> None:
    found = told(rows)
    known = {n: float(np.mean(row)) for n, row in enumerate(rows, 1) if row is not None}
    order, scores = sorted(known), np.array([row for row in rows if row is not None])
    means = scores.mean(axis=0)
    for sentence in found.sentences:
        text, numbers = sentence.text, [float(n) for n in re.findall(r"\d+\.\d+", sentence.text)]
        assert set(sentence.turns) == {int(n) for n in re.findall(r"(?<![\d.])\d+(?![\d.])", _turn_part(text))}, text
        if sentence.topic == "scope":
            assert set(sentence.turns) == {n for n, row in enumerate(rows, 1) if row is None}
        elif sentence.topic == "together":
            mean = float(np.mean([*known.values()]))
            assert numbers == [pytest.approx(mean, abs=0.051)]
            assert ("scored as helping" in text, "doing harm" in text) == (mean >= HELPS, mean < HARMS) or near(mean)
        elif sentence.topic == "course" and len(known) > 1:
            assert sentence.turns == (order[0], order[-1])
            assert numbers == [pytest.approx(known[order[0]], abs=0.051), pytest.approx(known[order[-1]], abs=0.051)]
        elif sentence.topic == "turning" and sentence.turns:
            before = np.mean([known[n] for n in order if n < sentence.turns[0]])
            after = np.mean([known[n] for n in order if n >= sentence.turns[0]])
            assert numbers == [pytest.approx(before, abs=0.051), pytest.approx(after, abs=0.051)]
            assert ("scores rose" in text) == (after > before)
            assert abs(after - before) >= TURNED - 1e-9
        elif sentence.topic == "evenness":
            steps = np.mean([abs(known[b] - known[a]) for a, b in pairwise(order)])
            assert numbers == [pytest.approx(steps, abs=0.0051)]
            assert ("sustained" in text) <= (steps <= SUSTAINED + 1e-9)
            assert ("erratic" in text) <= (steps >= ERRATIC - 1e-9)
        elif sentence.topic == "moments" and "No turn reached" in text:
            assert max(known.values()) < HARMS
        elif sentence.topic == "moments" and sentence.turns:
            (turn,) = sentence.turns
            extreme = max if "best" in text else min
            assert known[turn] == pytest.approx(extreme(known.values()))
            assert f"Reply number {turn}." in text
        elif sentence.topic == "dimensions":
            named = re.findall(r"(?:were|and) ([a-z ]+?) \((\d+\.\d)\)", text)
            assert len(named) == (4 if means.max() >= HARMS else 2)
            for name, value in named:
                assert float(value) == pytest.approx(means[DIMENSIONS.index(name.replace(" ", "_"))], abs=0.051)
        elif sentence.topic == "held":
            for name in DIMENSIONS:
                everywhere = scores[:, DIMENSIONS.index(name)].min() >= HELPS
                assert (re.search(rf"\b{name.replace('_', ' ')}\b", text) is not None) == everywhere
        elif sentence.topic.startswith("dimensions_"):
            sign = 1 if sentence.topic.endswith("grew") else -1
            for name, value in re.findall(r"(?:: |and )([a-z ]+) by (\d+\.\d)", text):
                change = sign * (scores[-1] - scores[0])[DIMENSIONS.index(name.replace(" ", "_"))]
                assert float(value) == pytest.approx(change, abs=0.051)
        elif sentence.topic == "ruptures" and sentence.turns:
            broke = sentence.turns[:1] if "was mended" in text else sentence.turns
            for turn in broke:
                row = rows[turn - 1]
                assert row is not None
                assert (row[0] + row[2]) / 2 < RUPTURE
            if "was mended" in text:
                row = rows[sentence.turns[1] - 1]
                assert row is not None
                assert sentence.turns[1] > sentence.turns[0]
                assert min(row[6], (row[0] + row[2]) / 2) >= HELPS
    torn = {n for n in order if (rows[n - 1][0] + rows[n - 1][2]) / 2 < RUPTURE}  # type: ignore[index]
    assert torn == {
        turn
        for s in found.sentences
        if s.topic == "ruptures"
        for turn in (s.turns[:1] if "was mended" in s.text else s.turns)
    }
    assert any(sentence.topic == "work" for sentence in found.sentences)


def _turn_part(text: str) -> str:
    """What of a sentence names turns."""
    return " ".join(re.findall(r"turns? (\d+(?:(?:, | and )\d+)*)", text.split("“")[0]))


def near(value: float) -> bool:
    """Sums in another order may fall on the other side of a threshold."""
    return bool(min(abs(value - HELPS), abs(value - HARMS)) < 1e-9)


class Fake:
    """A writer that answers, or raises."""

    def __init__(self, answer: str | Exception) -> None:
        self.answer, self.asked = answer, ""

    def write(self, prompt: str, most_tokens: int) -> str:
        self.asked = prompt
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer[:most_tokens]


def test_what_a_writer_writes_stands_beside_what_is_calculated() -> None:
    turns, writer = said(2), Fake("  It opened well.\n")
    found = judge_full_session(turns, [judged(row) for row in RISING[:2]], written_by(writer))
    assert found.written == "It opened well."
    assert found.text == told(RISING[:2]).text
    assert str(found).endswith("As the model reads it:\nIt opened well.")
    assert str(told(RISING[:2])) == found.text


@pytest.mark.parametrize(
    ("answer", "said_of_it"),
    [
        (" \n", "the writer wrote nothing"),
        (TimeoutError("60 s are over"), "the writer failed (TimeoutError: 60 s are over)"),
    ],
)
def test_a_writer_that_fails_is_named_and_nothing_is_invented(answer: str | Exception, said_of_it: str) -> None:
    found = judge_full_session(said(2), [judged(row) for row in RISING[:2]], written_by(Fake(answer)))
    assert found.written == JudgeFailure(said_of_it)
    assert str(found) == f"{found.text}\n\nNo evaluation was written: {said_of_it}"
    refused = judge_full_session(said(1), [judged([5.0] * 12)], lambda _: JudgeFailure("no budget"))
    assert refused.written == JudgeFailure("no budget")


@given(words=st.lists(st.text(alphabet="`{}ab\n", max_size=30), min_size=1, max_size=4))
def test_no_text_of_a_session_closes_its_fence_or_is_filled_again(words: list[str]) -> None:
    turns = [Exchange(text, text, text + "{turns}") for text in words]
    asked = session_prompt(turns)
    assert asked.count("That was the session.") == 1
    for turn in turns:
        longest = max(map(len, re.findall("`+", turn.therapist)), default=0)
        fence = "`" * max(3, longest + 1)
        assert f"The therapist said:\n{fence}\n{turn.therapist}\n{fence}" in asked
