"""What both kinds of Skills-v0 are made of: branching, the next session, arguments; seen through the single environment."""

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ResetNeeded

import envs  # noqa: F401
from envs.equality import first_difference
from envs.skills import ResponseModel, ResponseSettings, SkillsEnv

ACTION = np.full(12, 0.3, dtype=np.float32)


def begun(seed: int = 1, turns: int = 0, **made_with: Any) -> SkillsEnv:
    env = SkillsEnv(**made_with)
    env.reset(seed=seed)
    for _ in range(turns):
        env.step(ACTION)
    return env


def test_the_person_is_the_same_after_a_restore_elsewhere() -> None:
    env = begun(1)
    for seed in range(2, 6):
        other = begun(seed)
        assert other.person != env.person
        other.restore(env.snapshot())
        assert other.person == env.person


def test_an_environment_that_was_never_reset_goes_on_from_a_snapshot() -> None:
    env, other = begun(1, 2), SkillsEnv()
    other.restore(env.snapshot())
    assert other.np_random_seed == -1
    for each in (env, other):
        each.step(ACTION)
    assert first_difference(other.reset(), env.reset()) is None


@pytest.mark.parametrize("watched", ["ansi", None])
def test_the_view_after_a_restore_is_of_the_turn_that_led_there(watched: str | None) -> None:
    kept = begun(1, 1, render_mode="ansi").snapshot()
    assert kept.seen is not None
    env = begun(2, 3, render_mode=watched)
    env.restore(kept)
    assert first_difference(env.client_view.scores, kept.seen.scores if watched else None) is None
    scores = env.step(2 * ACTION)[4]["scores"]
    assert first_difference(env.client_view.scores, scores[None] if watched else None) is None


def test_what_nobody_watched_is_not_told_after_a_restore() -> None:
    env = begun(1, 2, render_mode="ansi")
    env.restore(begun(2, 2).snapshot())
    assert env.client_view.scores is None
    assert env.client_view.report is None


def test_a_snapshot_that_does_not_fit_is_refused_before_the_first_reset_too() -> None:
    env, kept = SkillsEnv(max_turns=3), begun(1, 4).snapshot()
    with pytest.raises(ValueError, match="max_turns 3"):
        env.restore(kept)
    with pytest.raises(ResetNeeded):
        env.step(ACTION)
    assert first_difference(env.reset(seed=7), SkillsEnv(max_turns=3).reset(seed=7)) is None


def test_the_last_turn_allowed_may_be_restored_where_it_is_over_and_nowhere_else() -> None:
    over, goes_on = begun(1, 3, max_turns=3), begun(1, 3)
    env = SkillsEnv(max_turns=3)
    env.restore(over.snapshot())
    with pytest.raises(ResetNeeded):
        env.step(ACTION)
    with pytest.raises(ValueError, match="turn 3"):
        env.restore(goes_on.snapshot())
    env.restore(begun(1, 2).snapshot())
    assert env.step(ACTION)[3]


def test_the_next_session_of_a_client_meets_other_noise() -> None:
    env = SkillsEnv(max_turns=1, judge=ResponseModel(ResponseSettings(markers=False)))
    noise = []
    for asked in ({"seed": 3}, {"options": {"same_client": True}}, {"options": {"same_client": True}}):
        observation, info = env.reset(**asked)  # type: ignore[arg-type]
        noise.append(observation[:5] - info["signals"])
        env.step(ACTION)
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert np.abs(noise[one] - noise[other]).min() > 1e-4


def test_none_is_no_wish() -> None:
    env = begun(stage=3)
    wishes = {"stage": None, "strategy": None, "concern": None}
    for seed in range(6):
        granted = env.reset(seed=seed, options=dict(wishes))
        assert first_difference(granted, env.reset(seed=seed)) is None
        assert granted[0][6] == 3


@pytest.mark.parametrize("render_mode", ["ansi", "rgb_array"])
def test_there_is_nothing_to_draw_before_the_first_reset(render_mode: str) -> None:
    with pytest.raises(ResetNeeded):
        SkillsEnv(render_mode=render_mode).render()


def test_what_it_is_made_of_can_be_read() -> None:
    made = gym.make("icarus/Skills-v0", max_turns=7).unwrapped
    assert isinstance(made, SkillsEnv)
    made.reset(seed=0)
    assert made.max_turns == 7
    assert made.catalog is made.client_view.catalog
    assert made.settings is made.client_view.settings


def test_all_wrong_arguments_are_named_at_once(tmp_path: Path) -> None:
    for catalog, told in ((7, "catalog 7"), (tmp_path / "none", "none")):
        with pytest.raises(ValueError, match=rf"(?s){told}.*stage \[2\].*max_turns 0.*client 'nope'"):
            SkillsEnv(client="nope", catalog=catalog, stage=[2], max_turns=0)  # type: ignore[arg-type]


def test_a_snapshot_may_be_restored_many_times() -> None:
    env = begun(1, 2, render_mode="ansi")
    kept = env.snapshot()
    asleep = kept.copy()
    first = env.step(ACTION), env.client_view.scores
    for _ in range(3):
        env.restore(kept)
        assert first_difference((env.step(ACTION), env.client_view.scores), first) is None
    assert first_difference(kept, asleep) is None
