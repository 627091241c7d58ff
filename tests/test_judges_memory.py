"""What everybody is told is seen over clients, never in one reply; nothing that people wrote is taken for it."""

import json
from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.judge_stencils import authored_replies, stocks
from judges.memory import FEWEST, Memory, WithMemory
from judges.protocol import Assessment, Exchange, JudgeFailure, Judgement

VIEW = Assessment(np.full(12, 5.0), ("because",) * 12, "plain")
FRAME = "You say {}. What would it be like not to."
OTHER = Exchange("I never rang him back.", "", "What would it be like not to ring.")


class Scripted:
    name = "scripted"

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement | JudgeFailure]:
        return [JudgeFailure("no") if e.therapist == "broken" else Judgement(VIEW, VIEW) for e in exchanges]


def told(replies: Sequence[Sequence[str]], lines: int = 64) -> Memory:
    memory = Memory(lines)
    for i, said in enumerate(replies):
        memory.remember(f"line {i}", said)
    return memory


def framed(many: int, of: int) -> list[list[str]]:
    """`many` of `of` lines were put into the frame; the others were told what nobody else was."""
    return [[FRAME.format(f"it {i}")] if i < many else [f"one{i} two{i} three{i} four{i} five{i}"] for i in range(of)]


def test_a_frame_for_everybody_is_reported_and_no_score_changed() -> None:
    judge = WithMemory(Scripted(), told(framed(20, 40)))
    stencilled, other, failed = judge.judge(
        [OTHER, Exchange("I never rang.", "", "And he?"), Exchange("a", "", "broken")]
    )
    assert isinstance(stencilled, Judgement)
    assert isinstance(other, Judgement)
    assert [violation.kind for violation in stencilled.violations] == ["stencil"]
    # "What would it be like not to ring.": all but the last word stand in the frame.
    assert stencilled.violations[0].share == pytest.approx(7 / 8)
    assert "88% of it" in stencilled.violations[0].evidence
    assert "'would it be' stands in 50%" in stencilled.violations[0].evidence
    assert other.violations == ()
    np.testing.assert_array_equal(stencilled.scores, other.scores)
    assert isinstance(failed, JudgeFailure)
    assert judge.name == "scripted+memory"


def test_a_share_has_a_limit_and_needs_lines_to_be_one() -> None:
    assert told(framed(1, 40)).stencil(OTHER) is None
    assert told(framed(2, 40)).stencil(OTHER) is not None  # 5 %
    assert told(framed(FEWEST - 1, FEWEST - 1)).stencil(OTHER) is None
    assert told(framed(FEWEST, FEWEST)).stencil(OTHER) is not None


def test_a_reply_is_charged_for_as_many_words_as_are_stock() -> None:
    memory = told(framed(20, 40))
    found = memory.stencil(Exchange("I never rang.", "", "You never rang, and then it was March. What would it cost?"))
    assert found is not None
    assert found.share == pytest.approx(3 / 12)


def test_alternatives_to_one_line_count_as_one_line() -> None:
    rare = [[FRAME.format("it"), *(f"{i} {k} c d" for k in range(3))] if i < 6 else [f"{i} b c"] for i in range(40)]
    assert told(rare).stencil(OTHER) is None  # a quarter of what six of forty lines were told
    assert told([said[:1] for said in rare]).stencil(OTHER) is not None


def test_the_clients_own_words_and_the_same_line_are_no_evidence() -> None:
    memory = told(framed(20, 40))
    assert memory.stencil(Exchange("What would it be like not to?", "", "What would it be like not to")) is None
    memory = Memory(64)
    for _ in range(40):
        memory.remember("I never rang him back.", [OTHER.therapist])
    assert memory.stencil(OTHER) is None
    assert len(memory.state()) == 1


def test_it_forgets_the_oldest_and_goes_on_from_its_state() -> None:
    memory = told(framed(20, 20 + FEWEST + 1), lines=FEWEST + 1)
    assert memory.stencil(OTHER) is None  # the frame is forgotten
    assert len(memory.state()) == FEWEST + 1
    first = told(framed(20, 40))
    second = Memory(64)
    second.restore(json.loads(json.dumps(first.state())))
    assert second.stencil(OTHER) == first.stencil(OTHER)
    assert second.state() == first.state()


def test_judging_changes_nothing() -> None:
    memory = told(framed(20, 40))
    before, judge = memory.state(), WithMemory(Scripted(), memory)
    assert judge.judge([OTHER] * 30) == judge.judge([OTHER] * 30)
    assert memory.state() == before


def test_a_memory_of_too_few_lines_is_refused() -> None:
    with pytest.raises(ValueError, match=f"expected at least {FEWEST + 1}"):
        Memory(FEWEST)


@pytest.mark.parametrize(("kind", "most"), [("sessions", 0.01), ("good replies", 0.01), ("poor replies", 0.01)])
def test_what_people_say_to_sixty_four_clients_is_hardly_ever_stock(kind: str, most: float) -> None:
    replies = authored_replies()[kind]
    found = np.concatenate([stocks(replies[start : start + 64]) for start in range(0, len(replies) - 63, 64)])
    assert found.mean() < most
    assert np.quantile(found, 0.9) == 0.0


def test_what_is_no_list_of_replies_is_refused_and_changes_nothing() -> None:
    memory = told(framed(20, 40))
    before = memory.state()
    with pytest.raises(TypeError, match=r"try \[reply\]"):
        memory.remember("a line", "one reply")
    with pytest.raises(ValueError, match="no reply to 'a line'"):
        memory.remember("a line", [])
    with pytest.raises(ValueError, match=r"entries \[1\]"):
        memory.restore([{"client": "a", "replies": ["b"]}, {"x": 1}])
    assert memory.state() == before
