"""Worked numbers of the reward: weights, modifiers around their thresholds, transitions, the sum."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client_graph.catalog import load_catalog
from client_graph.names import CONFIGS, DIMENSIONS
from client_graph.personhood import draw
from client_graph.tables import TableError
from client_graph.testing import scores, states
from client_graph.turn import TurnReport, advance
from rewards.parts import RewardParts, stage_composite, stage_modifiers, turn_reward, with_ending, with_stage_transition
from rewards.settings import RewardSettings
from rewards.tables import RewardTables, load_reward_tables

CATALOG = load_catalog()
TABLES = load_reward_tables()


def judged(base: float = 5.0, **named: float) -> np.ndarray:
    return np.array([[named.get(name, base) for name in DIMENSIONS]])


def report(**changed: object) -> TurnReport:
    """A turn in which nothing happened, but for what is named."""
    quiet = {
        "phase_step": np.zeros(1, np.int64), "axis_trend": np.zeros(1, np.int64), "attunement_change": np.zeros(1),
        "transformation_change": np.zeros(1),
        "adaptation_events": np.zeros((1, 7), np.int64),
    }  # fmt: skip
    return TurnReport(**{name: (quiet | changed).get(name, np.zeros(1)) for name in TurnReport._fields})  # type: ignore[arg-type]


STAGE = [np.array([s]) for s in range(4)]


@pytest.mark.parametrize(
    ("stage", "dimension", "weight"),
    [
        (1, "safety", 1.8), (1, "attunement", 1.5), (1, "validation", 1.5), (1, "clinical_wisdom", 0.5),
        (1, "artfulness", 0.4), (3, "clinical_wisdom", 1.5), (3, "thoughtfulness", 1.5), (3, "parallel_thinking", 1.5),
        (3, "safety", 0.8), (4, "tenderness", 1.5), (4, "artfulness", 1.5),
    ],
)  # fmt: skip
def test_weights_of_the_paper(stage: int, dimension: str, weight: float) -> None:
    assert TABLES.weights[stage - 1, DIMENSIONS.index(dimension)] == weight
    assert TABLES.weights.shape == (4, 12)
    assert (TABLES.weights > 0).all()


def test_composite_by_hand() -> None:
    assert stage_composite(judged(7.0), STAGE[2])[0] == pytest.approx(7.0)
    # Stage 1's weights sum to 12.8, safety's is 1.8: (1.8 · 10) / 12.8
    assert stage_composite(judged(0.0, safety=10.0), STAGE[0])[0] == pytest.approx(18 / 12.8)


@given(row=scores(2), stage=st.integers(0, 3))
def test_composite_lies_between_the_least_and_the_greatest_score(row: np.ndarray, stage: int) -> None:
    found = stage_composite(row, np.array([stage, stage]))
    assert (found >= row.min(axis=1) - 1e-12).all()
    assert (found <= row.max(axis=1) + 1e-12).all()


MODIFIERS = [
    # stage, name, dimensions, above or below, threshold, points; paper 396-399
    (1, "safety_bonus", ("safety",), "above", 8.0, 2.0),
    (1, "alliance_bonus", ("attunement", "validation"), "above", 7.5, 2.5),
    (1, "depth_penalty", ("clinical_wisdom",), "above", 8.0, -1.5),
    (2, "depth_bonus", ("clinical_wisdom",), "above", 7.5, 2.0),
    (2, "repair_bonus", ("repair",), "above", 7.5, 3.0),
    (2, "avoidance_penalty", ("clinical_wisdom",), "below", 3.5, -1.0),
    (3, "meaning_bonus", ("thoughtfulness", "parallel_thinking"), "above", 7.5, 2.5),
    (3, "containment_bonus", ("safety", "non_reactivity"), "above", 7.0, 1.0),
    (3, "artfulness_bonus", ("artfulness",), "above", 8.0, 1.5),
    (4, "closure_bonus", ("tenderness", "repair"), "above", 7.5, 3.0),
    (4, "tenderness_bonus", ("tenderness",), "above", 8.0, 2.0),
    (4, "new_material_penalty", ("clinical_wisdom",), "above", 8.0, -2.5),
]


def test_there_are_no_other_modifiers() -> None:
    assert {row.name for row in TABLES.modifiers} == {row[1] for row in MODIFIERS}


@pytest.mark.parametrize(("stage", "name", "dimensions", "side", "threshold", "points"), MODIFIERS)
def test_modifier_at_and_around_its_threshold(
    stage: int, name: str, dimensions: tuple[str, ...], side: str, threshold: float, points: float
) -> None:
    def given_mean(mean: float, at_stage: int = stage) -> float:
        # Two dimensions lie one point either side of the mean: it is the mean that counts.
        apart = (0.0,) if len(dimensions) == 1 else (1.0, -1.0)
        named = {d: mean + a for d, a in zip(dimensions, apart, strict=True)}
        return float(stage_modifiers(judged(5.0, **named), STAGE[at_stage - 1])[name][0])

    over, under = given_mean(threshold + 0.01), given_mean(threshold - 0.01)
    assert (over, under) == ((points, 0.0) if side == "above" else (0.0, points))
    assert given_mean(threshold) == 0.0  # above and below are strict
    far = threshold + 0.01 if side == "above" else threshold - 0.01
    assert all(given_mean(far, other) == 0.0 for other in (1, 2, 3, 4) if other != stage)


def test_modifiers_add_up() -> None:
    every = judged(9.0)
    expected = {1: 2.0 + 2.5 - 1.5, 2: 2.0 + 3.0, 3: 2.5 + 1.0 + 1.5, 4: 3.0 + 2.0 - 2.5}
    for stage, points in expected.items():
        assert turn_reward(every, STAGE[stage - 1], report()).modifiers[0] == pytest.approx(points)


@pytest.mark.parametrize(("step", "points"), [(1, 20.0), (0, 0.0), (-1, -30.0)])
def test_phase_transitions(step: int, points: float) -> None:
    assert turn_reward(judged(), STAGE[1], report(phase_step=np.array([step]))).phase_transition[0] == points


@pytest.mark.parametrize(("step", "points"), [(1, 100.0), (0, 0.0), (-1, -150.0)])
def test_stage_transitions(step: int, points: float) -> None:
    parts = turn_reward(judged(), STAGE[1], report())
    ended = with_stage_transition(parts, np.array([step]))
    assert parts.stage_transition[0] == 0.0
    assert ended.stage_transition[0] == points
    assert ended.total[0] - parts.total[0] == pytest.approx(points)


def test_a_step_back_costs_half_as_much_again_as_a_step_forward_gives() -> None:
    scale = RewardSettings()
    assert scale.phase_regression == -1.5 * scale.phase_forward
    assert scale.stage_regression == -1.5 * scale.stage_forward


def test_trend_events_and_attunement() -> None:
    events = np.array([[1, -1, 0, 2, 0, 0, 0]])
    moved = report(axis_trend=np.array([-1]), adaptation_events=events, attunement_change=np.array([0.02]))
    moved = moved._replace(transformation_change=np.array([-0.01]))
    parts = turn_reward(judged(), STAGE[1], moved)
    assert (parts.taie_trend[0], parts.adaptation_events[0]) == (-1.0, 4.0)
    assert parts.attunement_change[0] == pytest.approx(0.2)
    assert parts.transformation[0] == pytest.approx(-0.2)
    assert parts.of(0) == {name: float(part[0]) for name, part in zip(RewardParts._fields, parts, strict=True)}


def test_a_scale_of_zero_switches_a_part_off() -> None:
    off = RewardSettings(**dict.fromkeys(RewardSettings.model_fields, 0.0))
    moved = report(phase_step=np.array([1]), axis_trend=np.array([1]), attunement_change=np.array([0.5]))
    assert turn_reward(judged(9.0), STAGE[0], moved, off).total[0] == 0.0


@given(state=states(CATALOG, 3), row=scores(3))
@settings(max_examples=20)
def test_the_parts_sum_to_the_total_and_each_client_has_its_own(state: object, row: np.ndarray) -> None:
    _, done = advance(state, row, CATALOG)  # type: ignore[arg-type]
    stage = state.stage  # type: ignore[attr-defined]
    parts = turn_reward(row, stage, done)
    for i in range(3):
        assert parts.total[i] == pytest.approx(sum(parts.of(i).values()), abs=1e-12)
        alone = turn_reward(row[[i]], stage[[i]], TurnReport(*(array[[i]] for array in done)))
        assert alone.of(0) == parts.of(i)
        assert alone.total[0] == parts.total[i]


def test_broken_reward_tables_are_one_error(tmp_path: Path) -> None:
    for name in ("stage_weights", "modifiers"):
        text = (CONFIGS / "rewards" / f"{name}.csv").read_text()
        text = text.replace("attunement,1.5", "attunment,1.5").replace("above,8.0", "over,8.0")
        (tmp_path / f"{name}.csv").write_text(text)
    with pytest.raises(TableError) as caught:
        load_reward_tables(tmp_path)
    told = "\n".join(caught.value.problems)
    assert told.count("modifiers.csv") == 5  # five rows say "above,8.0"
    assert "attunment" in told


def test_two_modifiers_of_one_name_are_refused(tmp_path: Path) -> None:
    """They are kept by name: the second would silently replace the first."""
    for name in ("stage_weights", "modifiers"):
        (tmp_path / f"{name}.csv").write_text((CONFIGS / "rewards" / f"{name}.csv").read_text())
    with (tmp_path / "modifiers.csv").open("a") as rows:
        rows.write("3,safety_bonus,safety,above,9.0,1.0,test\n")
    with pytest.raises(TableError, match="safety_bonus"):
        load_reward_tables(tmp_path)


def test_the_composite_is_scaled() -> None:
    assert turn_reward(judged(7.0), STAGE[0], report(), RewardSettings(composite=2.0)).composite[0] == pytest.approx(14)


def test_a_turn_is_rewarded_by_the_tables_that_are_passed() -> None:
    """Weight on safety alone; the only modifier takes 5 points at stage 2 where artfulness is above 1."""
    weights = np.tile([float(name == "safety") for name in DIMENSIONS], (4, 1))
    row = TABLES.modifiers[0].model_copy(
        update={"stage": 2, "dimensions": ("artfulness",), "relation": "above", "threshold": 1.0, "reward": -5.0}
    )
    two, stage = np.repeat(judged(3.0, safety=9.0), 2, axis=0), np.array([0, 1])
    parts = turn_reward(two, stage, report(), tables=RewardTables(weights, (row,)))
    assert parts.composite.tolist() == [9.0, 9.0]
    assert parts.modifiers.tolist() == [0.0, -5.0]
    assert turn_reward(two, stage, report(), tables=RewardTables(weights, ())).modifiers.tolist() == [0.0, 0.0]


# How an episode ends


@pytest.mark.parametrize(
    ("way", "turns", "points"), [(1, 5, 80.0), (-1, 5, -30.0), (0, 5, 0.0), (1, 0, 0.0), (-1, 0, 0.0)]
)
def test_an_early_end_is_settled_by_the_turns_that_were_not_held(way: int, turns: int, points: float) -> None:
    parts = turn_reward(judged(), STAGE[0], report())
    ended = with_ending(parts, np.array([way]), np.array([turns]))
    assert parts.ending[0] == 0.0
    assert ended.ending[0] == points
    assert ended.total[0] == pytest.approx(parts.total[0] + points)
    assert (
        with_ending(parts, np.array([way]), np.array([turns]), RewardSettings(closed_well=0, broken_off=0)).ending[0]
        == 0
    )


def test_holding_on_to_a_client_who_is_done_never_pays() -> None:
    """At rest a turn brings its composite, its bonuses and the trend: the settled points are no less, stage by stage."""
    bonuses = [sum(m.reward for m in TABLES.modifiers if m.stage == stage and m.reward > 0) for stage in (1, 2, 3, 4)]
    assert RewardSettings().closed_well >= 10.0 + max(bonuses) + RewardSettings().taie


def test_driving_a_client_away_is_no_way_out() -> None:
    """Twenty turns of the worst scores cost less, a turn, than a client who leaves."""
    for stage in (1, 2, 3, 4):
        state, _ = draw(CATALOG, np.random.default_rng(1), 40, stage=stage)
        rewards = []
        for _ in range(20):
            after, told = advance(state, np.zeros((40, 12)), CATALOG)
            rewards.append(turn_reward(np.zeros((40, 12)), state.stage, told).total.mean())
            state = after
        assert np.mean(rewards) > RewardSettings().broken_off
