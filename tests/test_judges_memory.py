"""What everybody is told is seen over clients, never in one reply; nothing that people wrote is taken for it."""

import json
from collections.abc import Sequence

import numpy as np
import pytest

from benchmarks.judge_stencils import authored_replies, commonest
from judges.memory import FEWEST, MOST, Memory, WithMemory
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
    assert "'be like not to' stands in 50% of what was replied to 40 other lines" in stencilled.violations[0].evidence
    assert other.violations == ()
    np.testing.assert_array_equal(stencilled.scores, other.scores)
    assert isinstance(failed, JudgeFailure)
    assert judge.name == "scripted+memory"


def test_a_share_has_a_limit_and_needs_lines_to_be_one() -> None:
    assert told(framed(5, 40)).stencil(OTHER) is None  # an eighth
    assert told(framed(6, 40)).stencil(OTHER) is not None  # 15 %
    assert told(framed(FEWEST - 1, FEWEST - 1)).stencil(OTHER) is None
    assert told(framed(FEWEST, FEWEST)).stencil(OTHER) is not None


def test_alternatives_to_one_line_count_as_one_line() -> None:
    one_in_four = [[FRAME.format("it"), "a b c d", "e f g h", "i j k l"]] * 20 + [["nothing of that kind here"]] * 20
    assert told(one_in_four).stencil(OTHER) is None  # an eighth of what was said
    assert told([[FRAME.format("it")] * 4] * 20 + [["nothing of that kind here"]] * 20).stencil(OTHER) is not None


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


def test_no_sixty_four_replies_by_people_share_a_frame() -> None:
    for name, replies in authored_replies().items():
        shares = [commonest(replies[start : start + 64])[1] for start in range(0, len(replies) - 63, 16)]
        assert max(shares) < MOST, name
