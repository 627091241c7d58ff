"""What holds of every reward: each part within its scale, no way to be paid for going back and forth, the best twelve scores."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from test_rewards_parts import judged, report

from benchmarks.reward_landscape import ATTACK, DECENT, REPLIES, best_scores, points, session_points, turn_points
from client_graph.names import DIMENSIONS
from client_graph.turn import TurnReport
from judges.screening.screen import load_screen_tables
from rewards.parts import (
    RewardParts,
    stage_composite,
    stage_modifiers,
    turn_reward,
    with_ending,
    with_stage_transition,
    with_violations,
)
from rewards.settings import RewardSettings
from rewards.tables import load_reward_tables

STAGES = (1, 2, 3, 4)
WISDOM = DIMENSIONS.index("clinical_wisdom")
TABLES = load_reward_tables()

# The setting that scales each part where it adds, and where it takes.
SCALES = {
    "composite": ("composite", "composite"),
    "modifiers": ("modifiers", "modifiers"),
    "phase_transition": ("phase_forward", "phase_regression"),
    "stage_transition": ("stage_forward", "stage_regression"),
    "taie_trend": ("taie", "taie"),
    "transformation": ("transformation", "transformation"),
    "adaptation_events": ("adaptation_event", "adaptation_event"),
    "attunement_change": ("attunement", "attunement"),
    "ending": ("closed_well", "broken_off"),
    "violations": ("violation", "violation"),
}

score = st.floats(0.0, 10.0)
twelve = st.lists(score, min_size=12, max_size=12).map(lambda row: np.array([row]))
stages = st.sampled_from(STAGES)
step = st.integers(-1, 1)


@st.composite
def turns(draw: st.DrawFn) -> dict[str, object]:
    """Everything that a turn's reward is made of, but the settings."""
    return {
        "scores": draw(twelve),
        "stage": np.array([draw(stages) - 1]),
        "report": report(
            phase_step=np.array([draw(step)]),
            axis_trend=np.array([draw(step)]),
            attunement_change=np.array([draw(st.floats(-1, 1))]),
            transformation_change=np.array([draw(st.floats(-1, 1))]),
            adaptation_events=np.array([draw(st.lists(step, min_size=7, max_size=7))]),
        ),
        "stage_step": np.array([draw(step)]),
        "way": np.array([draw(step)]),
        "turns": np.array([draw(st.integers(0, 20))]),
        "charge": np.array([draw(st.floats(0, 1))]),
    }


@st.composite
def scales(draw: st.DrawFn) -> RewardSettings:
    """Any settings that are allowed."""
    some = st.floats(0.0, 200.0)
    found = {name: draw(some) for name in RewardSettings.model_fields}
    for kind in ("phase", "stage"):
        found[f"{kind}_regression"] = -found[f"{kind}_forward"] * draw(st.floats(1.0, 3.0))
    for name in ("broken_off", "violation"):
        found[name] = -found[name]
    return RewardSettings(**found)


def paid(turn: dict[str, object], scale: RewardSettings) -> RewardParts:
    parts = turn_reward(turn["scores"], turn["stage"], turn["report"], scale)  # type: ignore[arg-type]
    parts = with_violations(parts, turn["charge"], scale)  # type: ignore[arg-type]
    parts = with_stage_transition(parts, turn["stage_step"], scale)  # type: ignore[arg-type]
    return with_ending(parts, turn["way"], turn["turns"], scale)  # type: ignore[arg-type]


# Scale of each part


def test_every_part_has_its_scale() -> None:
    assert tuple(SCALES) == RewardParts._fields
    assert {name for pair in SCALES.values() for name in pair} == set(RewardSettings.model_fields)


@given(turn=turns(), scale=scales())
def test_every_part_stays_within_its_scale(turn: dict[str, object], scale: RewardSettings) -> None:
    """What one turn's signals can be at most, times the setting; and no number that is none."""
    parts = paid(turn, scale).of(0)
    bonuses = [row.reward for row in TABLES.modifiers if row.stage - 1 == turn["stage"][0]]  # type: ignore[index]
    gain, loss = sum(b for b in bonuses if b > 0), sum(b for b in bonuses if b < 0)
    most_turns = float(turn["turns"][0])  # type: ignore[index]
    bounds = {
        "composite": (0.0, 10.0), "modifiers": (-loss, gain), "phase_transition": (1.0, 1.0),
        "stage_transition": (1.0, 1.0), "taie_trend": (1.0, 1.0), "transformation": (1.0, 1.0),
        "adaptation_events": (7.0, 7.0), "attunement_change": (1.0, 1.0), "ending": (most_turns, most_turns),
        "violations": (1.0, 0.0),
    }  # fmt: skip
    for name, (least, most) in bounds.items():
        adds, takes = (abs(getattr(scale, setting)) for setting in SCALES[name])
        room = 1e-9 * (1.0 + adds + takes)
        assert -least * takes - room <= parts[name] <= most * adds + room, name
    assert np.isfinite(list(parts.values())).all()


@given(turn=turns(), factor=st.floats(0.0, 10.0))
def test_every_part_is_linear_in_its_setting(turn: dict[str, object], factor: float) -> None:
    """Also at a factor of zero, which switches a part off."""
    default = RewardSettings()
    scaled = RewardSettings(**{name: factor * value for name, value in default.model_dump().items()})
    for name, points_ in paid(turn, default).of(0).items():
        assert paid(turn, scaled).of(0)[name] == pytest.approx(factor * points_, rel=1e-12, abs=1e-12)


@given(turn=turns(), name=st.sampled_from(RewardParts._fields))
def test_a_setting_moves_no_other_part(turn: dict[str, object], name: str) -> None:
    off = RewardSettings(**dict.fromkeys(SCALES[name], 0.0))
    kept, cut = paid(turn, RewardSettings()).of(0), paid(turn, off).of(0)
    assert cut.pop(name) == 0.0
    kept.pop(name)
    assert cut == kept


# The asymmetry


@given(scale=scales(), kind=st.sampled_from(("phase_transition", "stage_transition")))
def test_a_step_forward_and_back_never_pays(scale: RewardSettings, kind: str) -> None:
    there_and_back = []
    for way in (1, -1):
        parts = turn_reward(judged(), np.array([1]), report(phase_step=np.array([way])), scale)
        there_and_back.append(with_stage_transition(parts, np.array([way]), scale).of(0)[kind])
    assert sum(there_and_back) <= 0.0


@pytest.mark.parametrize("kind", ["phase", "stage"])
def test_settings_by_which_going_back_and_forth_pays_are_refused(kind: str) -> None:
    with pytest.raises(ValidationError, match=f"{kind}_regression at most -20, or {kind}_forward at most 19"):
        RewardSettings(**{f"{kind}_forward": 20.0, f"{kind}_regression": -19.0})
    assert RewardSettings(**{f"{kind}_forward": 20.0, f"{kind}_regression": -20.0})


def test_settings_that_are_wrong_twice_are_one_error() -> None:
    with pytest.raises(ValidationError) as caught:
        RewardSettings(phase_regression=0.0, stage_regression=0.0)
    assert "phase_regression" in str(caught.value)
    assert "stage_regression" in str(caught.value)


# Premature depth, new material, and the best twelve scores


@pytest.mark.parametrize(("stage", "name", "penalty"), [(1, "depth_penalty", 1.5), (4, "new_material_penalty", 2.5)])
@given(row=twelve, above=st.floats(8.0, 10.0, exclude_min=True))
@settings(max_examples=50)
def test_depth_that_comes_at_the_wrong_time_costs(
    stage: int, name: str, penalty: float, row: np.ndarray, above: float
) -> None:
    """Whatever the other scores are: more than the score itself can bring."""
    at, deep = row.copy(), row.copy()
    at[0, WISDOM], deep[0, WISDOM] = 8.0, above
    cost = float((points(at, stage) - points(deep, stage))[0])
    weights = TABLES.weights[stage - 1]
    assert cost == pytest.approx(penalty - (above - 8.0) * weights[WISDOM] / weights.sum(), abs=1e-9)
    assert cost > 0.0
    assert stage_modifiers(deep, np.array([stage - 1]))[name][0] == -penalty
    assert stage_modifiers(at, np.array([stage - 1]))[name][0] == 0.0


BEST = {1: 14.421875, 2: 15.0, 3: 15.0, 4: 14.878}


@pytest.mark.parametrize("stage", STAGES)
def test_the_best_twelve_scores_are_not_always_twelve_tens(stage: int) -> None:
    scores, most = best_scores(stage)
    tens = float(points(np.full((1, 12), 10.0), stage)[0])
    assert most == pytest.approx(BEST[stage], abs=1e-3)
    expected = np.full(12, 10.0)
    if stage in (1, 4):
        expected[WISDOM] = 8.0
        assert most > tens + 1.0
    assert scores.tolist() == expected.tolist()
    assert most == pytest.approx(float(points(scores[None], stage)[0]))


@given(row=twelve, stage=stages)
def test_no_scores_beat_the_best(row: np.ndarray, stage: int) -> None:
    assert points(row, stage)[0] <= best_scores(stage)[1] + 1e-9


@given(row=twelve, stage=stages, dimension=st.integers(0, 11), higher=score)
def test_a_better_score_never_brings_less_but_for_depth_at_the_wrong_time(
    row: np.ndarray, stage: int, dimension: int, higher: float
) -> None:
    better = row.copy()
    better[0, dimension] = max(higher, row[0, dimension])
    crosses = dimension == WISDOM and stage in (1, 4) and row[0, WISDOM] <= 8.0 < better[0, WISDOM]
    if not crosses:
        assert points(better, stage)[0] >= points(row, stage)[0] - 1e-12


@given(row=twelve, stage=stages, dimension=st.integers(0, 11))
def test_the_composite_grows_with_every_score(row: np.ndarray, stage: int, dimension: int) -> None:
    better = row.copy()
    better[0, dimension] = 10.0
    weights = TABLES.weights[stage - 1]
    gain = (stage_composite(better, np.array([stage - 1])) - stage_composite(row, np.array([stage - 1])))[0]
    assert gain == pytest.approx((10.0 - row[0, dimension]) * weights[dimension] / weights.sum(), abs=1e-9)


# Violations


def parts_of(turn_report: TurnReport | None = None, base: float = 6.0) -> RewardParts:
    return turn_reward(judged(base), np.array([0]), turn_report or report())


def test_what_a_violation_costs_by_hand() -> None:
    parts = parts_of()
    charged = with_violations(parts, np.array([0.4]))
    assert parts.violations.tolist() == [0.0]
    assert charged.violations.tolist() == [-24.0]
    assert charged.total[0] == pytest.approx(6.0 - 24.0)
    assert charged._replace(violations=parts.violations).of(0) == parts.of(0)  # nothing is rescored
    assert with_violations(parts, np.array([0.5]), RewardSettings(violation=-10.0)).violations[0] == -5.0


def test_nothing_found_costs_nothing_to_the_bit() -> None:
    parts = parts_of()
    free = with_violations(parts, np.zeros(1))
    assert not np.signbit(free.violations[0])
    assert free.total.tobytes() == parts.total.tobytes()


@pytest.mark.parametrize("charge", [-0.1, 1.1, np.nan, np.inf])
def test_a_charge_that_is_no_share_is_refused(charge: float) -> None:
    with pytest.raises(ValueError, match=r"at place 0; expected numbers in \[0, 1\]"):
        with_violations(parts_of(), np.array([charge]))


def test_a_charge_for_somebody_else_is_refused() -> None:
    with pytest.raises(ValueError, match="one for each client"):
        with_violations(parts_of(), np.zeros(2))


@pytest.mark.parametrize("stage", STAGES)
def test_full_marks_by_breaking_the_frame_pay_less_than_a_plain_decent_reply(stage: int) -> None:
    """A turn: also where it opens a phase and turns the axes; and with every violation that is more than a slip."""
    _, most = best_scores(stage)
    decent, scale = turn_points(REPLIES[DECENT], stage), RewardSettings()
    assert decent == pytest.approx(6.0)
    assert most + scale.phase_forward + scale.taie + scale.violation < decent
    slips = {"unfinished", "confabulation"}
    for kind, weight in load_screen_tables().weights.items():
        assert (most + weight * scale.violation < decent) == (kind not in slips), kind


@pytest.mark.parametrize("stage", STAGES)
def test_a_session_of_tens_by_an_attack_pays_less_than_a_session_of_sixes(stage: int) -> None:
    """With every phase that the tens open and the good end that they bring about."""
    attack, turns_ = session_points(REPLIES[ATTACK], stage, 3)
    decent, _ = session_points(REPLIES[DECENT], stage, 3)
    assert attack < decent
    lightest, _ = session_points(REPLIES[ATTACK], stage, 3, RewardSettings(violation=0.7 * RewardSettings().violation))
    assert lightest < decent  # the lightest kind that is neither a guess nor a slip
    free, same_turns = session_points(REPLIES[ATTACK], stage, 3, RewardSettings(violation=0.0))
    assert turns_ == same_turns  # the client is moved by the scores alone
    assert free > decent
    assert free - attack == pytest.approx(60.0 * turns_)
