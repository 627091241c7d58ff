"""A reward in words: what counted, with its sign, the largest first."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_rewards_parts import judged, report

from rewards.parts import RewardParts, stage_modifiers, turn_reward, with_ending, with_stage_transition, with_violations
from rewards.sentence import reward_sentence

ZERO = dict.fromkeys(RewardParts._fields, 0.0)


def test_a_turn_as_a_clinician_reads_it() -> None:
    parts = ZERO | {"composite": 6.3, "modifiers": 2.5, "phase_transition": -30.0, "violations": -40.0}
    told = reward_sentence(
        parts, stage_composite=6.3, stage=1, modifiers={"alliance_bonus": 2.5}, violations=("to_judge", "template")
    )
    assert told == (
        "-61.2: the reply broke the frame: to judge, template (-40), the client stepped back a phase (-30), "
        "a composite of 6.3 of 10 at stage 1 (+6.3), the alliance bonus (+2.5)"
    )


def test_bonuses_and_penalties_are_told_one_by_one() -> None:
    parts = turn_reward(judged(9.0), np.array([0]), report())
    named = {name: float(p[0]) for name, p in stage_modifiers(judged(9.0), np.array([0])).items() if p[0]}
    assert parts.sentence(stage_composite=9.0, stage=1, modifiers=named) == (
        "+12.0: a composite of 9.0 of 10 at stage 1 (+9), the alliance bonus (+2.5), the safety bonus (+2), "
        "the depth penalty (-1.5)"
    )
    assert parts.sentence() == "+12.0: the judge's scores, weighted for the stage (+9), bonuses of the stage (+3)"


@pytest.mark.parametrize("name", RewardParts._fields)
def test_every_part_has_words_for_gain_and_loss(name: str) -> None:
    gain, loss = (reward_sentence(ZERO | {name: points}) for points in (3.0, -3.0))
    assert gain.startswith("+3.0: ")
    assert gain.endswith(" (+3)")
    assert loss.startswith("-3.0: ")
    assert loss.endswith(" (-3)")
    assert name.replace("_", " ") not in (gain, loss)  # words of its own, not the field's name


def test_what_is_too_small_is_told_together() -> None:
    small = ZERO | {"attunement_change": 0.04, "transformation": 0.03, "composite": 5.0}
    assert reward_sentence(small) == (
        "+5.1: the judge's scores, weighted for the stage (+5), small changes together (+0.1)"
    )
    assert reward_sentence(ZERO | {"attunement_change": -0.01}) == "+0.0: nothing that counts"


@given(st.lists(st.floats(-200, 200), min_size=10, max_size=10))
def test_what_is_told_adds_up_and_the_largest_stands_first(points: list[float]) -> None:
    told = reward_sentence(dict(zip(RewardParts._fields, points, strict=True)))
    total, _, rest = told.partition(": ")
    found = [float(piece.split(")")[0]) for piece in rest.split(" (")[1:]]
    assert float(total) == pytest.approx(sum(points), abs=0.051)
    assert sum(found) == pytest.approx(sum(points), abs=0.6)
    sizes = [abs(each) for each in found]
    own = sizes[:-1] if "small changes" in rest else sizes
    assert own == sorted(own, reverse=True)


def test_a_batch_is_told_a_line_a_client() -> None:
    scores = np.repeat(judged(5.0), 30, axis=0)
    quiet = report()
    quiet = type(quiet)(*(np.repeat(array, 30, axis=0) for array in quiet))
    parts = turn_reward(scores, np.zeros(30, np.int64), quiet)
    lines = str(parts).splitlines()
    assert lines[0] == "0: +5.0: the judge's scores, weighted for the stage (+5)"
    assert len(lines) == 21
    assert lines[-1] == "and 10 more"


def test_one_client_is_told_as_a_sentence() -> None:
    parts = with_violations(turn_reward(judged(5.0), np.array([0]), report()), np.array([0.5]))
    parts = with_ending(with_stage_transition(parts, np.array([1])), np.array([-1]), np.array([4]))
    assert str(parts) == (
        "+51.0: a stage of treatment was gained (+100), the reply broke the frame (-30), "
        "the turns that were not held (-24), the judge's scores, weighted for the stage (+5)"
    )
