"""icarus/Skills-v0, one session: spaces, actions, budget, endings, branching, rendering."""

import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils.env_checker import check_env

import envs  # noqa: F401
from client_graph.names import DIMENSIONS, PHASES
from client_graph.turn import empty_report
from envs.skills import COLUMNS, ENDINGS, ResponseModel, ResponseSettings, SkillsEnv, columns_of
from envs.skills.outcome import PARTS
from envs.skills.policies import Clinician, emphasis_on, single_minded
from envs.twins import check_twins
from rewards.parts import stage_composite, turn_reward, with_ending, with_stage_transition
from rewards.settings import RewardSettings

GOOD = Clinician(knows_phase=True)


def begun(seed: int = 1, **made_with: object) -> SkillsEnv:
    env = SkillsEnv(**made_with)  # type: ignore[arg-type]
    env.reset(seed=seed)
    return env


def random_action(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random(12, dtype=np.float32)


def to_the_end(env: SkillsEnv, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict]:
    for _ in range(100):
        told = env.step(action)
        if told[2] or told[3]:
            return told
    raise AssertionError("the session never ended")


def held_to_the_truth(env: SkillsEnv, observation: np.ndarray) -> np.ndarray:
    phase = env.sessions.state.phase
    return GOOD.act(observation[None], phase)[0].astype(np.float32)


@pytest.mark.parametrize("render_mode", [None, "ansi", "rgb_array"])
def test_gymnasium_s_checker_finds_nothing(render_mode: str | None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(
            gym.make("icarus/Skills-v0", render_mode=render_mode).unwrapped, skip_render_check=render_mode is None
        )


def test_observations_have_a_name_a_unit_and_a_range_for_every_number() -> None:
    env = SkillsEnv(max_turns=7)
    columns = columns_of(7)
    assert tuple(column.name for column in columns) == COLUMNS
    assert env.observation_space.shape == (len(COLUMNS),)
    assert [c.low for c in columns] == env.observation_space.low.tolist()
    assert [c.high for c in columns] == env.observation_space.high.tolist()
    assert "phase" not in COLUMNS


def test_an_observation_tells_stage_turn_and_session_as_they_are() -> None:
    env = SkillsEnv(stage=3)
    observation, _ = env.reset(seed=5)
    named = dict(zip(COLUMNS, observation.tolist(), strict=True))
    assert (named["stage"], named["turn"], named["session"], named["felt_last_turn"]) == (3, 0, 1, -1)
    observation, *_ = env.step(random_action())
    named = dict(zip(COLUMNS, observation.tolist(), strict=True))
    assert named["turn"] == 1
    assert 0 <= named["felt_last_turn"] <= 10


def test_without_noise_the_therapist_sees_the_signals_and_feels_the_composite() -> None:
    env = begun(signal_noise=0.0, felt_noise=0.0, judge=ResponseModel(ResponseSettings(markers=False)))
    observation, _, _, _, info = env.step(random_action())
    assert observation[:5] == pytest.approx(info["signals"], abs=1e-6)
    assert observation[5] == pytest.approx(info["composite"], abs=1e-6)


def test_what_the_client_does_is_seen_on_top_and_an_open_client_is_still_seen_to_open() -> None:
    env = SkillsEnv(stage=4, signal_noise=0.0)
    model, beyond, markers = env.sessions.response, 0, set()
    observation, info = env.reset(seed=2)
    while True:
        place = model.markers.index(info["marker"])
        without = observation[:5] - model.tables.marker_signs[place]
        assert np.clip(without, 0.0, 10.0) == pytest.approx(info["signals"], abs=1e-5)
        beyond += int((without > 10.1).any())
        markers.add(info["marker"])
        observation, _, terminated, truncated, info = env.step(held_to_the_truth(env, observation))
        if terminated or truncated:
            break
    assert beyond
    assert len(markers) >= 3


def test_the_same_seed_gives_the_same_session_and_another_one_another() -> None:
    def told(seed: int) -> bytes:
        env = SkillsEnv()
        seen = [env.reset(seed=seed)[0]]
        for turn in range(12):
            seen.append(env.step(random_action(turn))[0])
        return np.concatenate(seen).tobytes()

    assert told(4) == told(4)
    assert told(4) != told(5)


@pytest.mark.parametrize(
    "wrong",
    [
        np.full(12, np.nan), np.full(12, np.inf), np.full(12, 1.001), np.full(12, -0.001), np.zeros(11), np.zeros((1, 12)),
        "safety", None, np.zeros(12, dtype=complex), np.zeros(12, dtype=bool), [[0.0], [1.0, 2.0]],
    ],
    ids=str,
)  # fmt: skip
def test_a_wrong_action_is_refused_and_changes_nothing(wrong: object) -> None:
    env = begun()
    env.step(random_action())
    before = env.snapshot()
    with pytest.raises(InvalidAction):
        env.step(wrong)  # type: ignore[arg-type]
    assert env.sessions.state.same_as(before.state)
    assert all((a == b).all() for a, b in zip(env.sessions.running, before.running, strict=True))


def test_the_error_names_dimension_and_value() -> None:
    env = begun()
    wrong = np.zeros(12)
    wrong[DIMENSIONS.index("tenderness")] = 1.5
    with pytest.raises(InvalidAction, match=r"found tenderness is 1\.5; expected 12 numbers in .*\[0, 1\]"):
        env.step(wrong)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (None, "of type NoneType"), ("", "of type str"), ({}, "of type dict"), ([None] * 12, "of type array of object"),
        (np.zeros(12, dtype=bool), "of type array of bool"), (np.zeros(11), r"of shape \(11,\)"),
        (np.full(12, np.nan), "^found nan on every dimension; expected"),
        (np.array([0.0] * 10 + [np.nan, 2.0]), "^found tenderness is nan, artfulness is 2.0; expected"),
    ],
    ids=str,
)  # fmt: skip
def test_the_error_says_in_one_sentence_what_was_found(wrong: object, told: str) -> None:
    with pytest.raises(InvalidAction, match=told):
        begun().step(wrong)  # type: ignore[arg-type]


def test_emphasis_over_the_budget_counts_as_much_as_the_same_scaled_down_to_it() -> None:
    over = np.full(12, 0.8)
    assert over.sum() > ResponseSettings().budget
    scaled = over * ResponseSettings().budget / over.sum()
    first, second = begun().step(over), begun().step(scaled)
    assert first[4]["scores"] == pytest.approx(second[4]["scores"], abs=1e-9)


def test_emphasis_under_the_budget_is_left_as_it_is() -> None:
    model = ResponseModel()
    under = np.full(12, 0.1)
    assert model.within_budget(under).tolist() == under.tolist()
    assert model.within_budget(np.ones(12)).sum() == pytest.approx(model.settings.budget)
    spent, unspent = begun().step(np.full(12, 1 / 3)), begun().step(under)
    assert spent[4]["scores"].mean() > unspent[4]["scores"].mean()


@pytest.mark.parametrize("stage", [1, 2, 3, 4])
def test_the_reward_is_that_of_the_rewards_package(stage: int) -> None:
    settings = RewardSettings(composite=1.5, taie=0.5, attunement=7.0)
    env = SkillsEnv(stage=stage, reward=settings, render_mode="ansi")
    observation, _ = env.reset(seed=stage)
    for turn in range(20):
        action = held_to_the_truth(env, observation) if turn % 3 else random_action(turn)
        observation, reward, terminated, truncated, info = env.step(action)
        report = env.client_view.report
        assert report is not None
        stages = np.array([stage - 1])
        scores = info["scores"][None]
        parts = turn_reward(scores, stages, report, settings)
        if terminated or truncated:
            way = {"left": -1, "closed_well": 1}.get(info["ending"], 0)
            held = int(env.sessions.state.turn[0])
            parts = with_stage_transition(parts, np.array([info["stage_step"]]), settings)
            parts = with_ending(parts, np.array([way]), np.array([20 - held]), settings)
        assert info["reward_parts"] == pytest.approx(parts.of(0), abs=1e-12)
        assert reward == sum(info["reward_parts"].values())
        assert tuple(info["reward_parts"]) == PARTS
        assert info["composite"] == pytest.approx(float(stage_composite(scores, stages)[0]), abs=1e-12)
        if terminated or truncated:
            break


def test_a_session_is_truncated_after_its_turns() -> None:
    env = begun(max_turns=3)
    told = to_the_end(env, np.full(12, 0.3))
    assert (told[2], told[3], told[4]["ending"]) == (False, True, "turn_limit")
    with pytest.raises(ResetNeeded):
        env.step(random_action())


def test_a_client_who_is_interpreted_at_leaves() -> None:
    env = begun(stage=1)
    told = to_the_end(env, single_minded("clinical_wisdom").emphasis)
    assert (told[2], told[3], told[4]["ending"]) == (True, False, "left")
    assert told[4]["reward_parts"]["ending"] < 0


def test_a_session_closes_well_after_three_turns_in_integration() -> None:
    env = SkillsEnv(stage=4, judge=ResponseModel(ResponseSettings(day_spread=0.0)))
    observation, _ = env.reset(seed=2)
    in_integration, info = 0, {}
    for _ in range(20):
        observation, _, terminated, _, info = env.step(held_to_the_truth(env, observation))
        in_integration = in_integration + 1 if info["phase"] == "D" else 0
        if terminated:
            break
    assert (info["ending"], in_integration) == ("closed_well", 3)
    assert info["reward_parts"]["ending"] > 0


def test_the_same_client_comes_again() -> None:
    env = begun(max_turns=2)
    with pytest.raises(ResetNeeded):
        env.reset(options={"same_client": True})
    to_the_end(env, random_action())
    person = env.person
    observation, _ = env.reset(options={"same_client": True})
    assert dict(zip(COLUMNS, observation.tolist(), strict=True))["session"] == 2
    assert env.person == person
    first_session = begun(max_turns=2).reset(seed=1)[0]
    assert observation[:5].tolist() != first_session[:5].tolist()


def test_wishes_are_granted_and_unknown_ones_refused_with_nothing_changed() -> None:
    env = begun()
    env.reset(seed=3, options={"stage": 4, "strategy": "A3"})
    assert (env.client_view.stage, env.person.strategy, env.person.stage) == (4, "A3", 4)
    before, chance = env.snapshot(), env.np_random.bit_generator.state
    for options in ({"stage": 9}, {"strategy": "Z9"}, {"mood": "good"}):
        with pytest.raises(ValueError, match="found"):
            env.reset(options=options)
        assert env.np_random.bit_generator.state == chance
        assert env.sessions.state.same_as(before.state)


def test_restoring_a_snapshot_goes_on_byte_for_byte_into_the_next_sessions() -> None:
    env = begun(max_turns=4)
    env.step(random_action(1))
    kept = env.snapshot()
    observation = env.sessions.observe()[0]

    def go_on() -> list[bytes]:
        seen = []
        for turn in range(10):
            told = env.step(random_action(turn))
            seen.append(told[0].tobytes() + told[4]["scores"].tobytes())
            if told[2] or told[3]:
                seen.append(env.reset()[0].tobytes())
        return seen

    first = go_on()
    assert env.restore(kept).tobytes() == observation.tobytes()
    assert go_on() == first


def test_branches_of_one_snapshot_meet_the_same_chance() -> None:
    env = begun()
    kept = env.snapshot()
    scores = []
    for emphasis in (emphasis_on("safety pacing validation boundaries attunement"), np.zeros(12)):
        env.restore(kept)
        scores.append(env.step(emphasis)[4]["scores"])
    untouched = DIMENSIONS.index("artfulness")  # not asked for in stage 1 or 2, phase A, beyond 0.1: the noise alone
    assert abs(scores[0][untouched] - scores[1][untouched]) < 1e-12


def test_a_snapshot_of_something_else_is_refused() -> None:
    env = begun()
    with pytest.raises(TypeError, match="snapshot"):
        env.restore("yesterday")  # type: ignore[arg-type]


def test_the_view_explains_the_last_turn_where_it_is_watched() -> None:
    env = begun(render_mode="ansi")
    env.step(emphasis_on("safety pacing validation boundaries attunement"))
    view = env.client_view
    moved = max(
        view.catalog.node_names,
        key=lambda name: abs(view.levels[name] - view.before.levels[0][view.catalog.node(name)]),
    )
    assert view.explain(moved).node == moved
    assert "parallel thinking" in env.render()
    assert begun().client_view.report is None


def test_a_picture_is_an_array_of_pixels() -> None:
    env = begun(render_mode="rgb_array")
    env.step(random_action())
    picture = env.render()
    assert picture.dtype == np.uint8
    assert picture.ndim == 3
    assert picture.shape[2] == 3


def test_a_client_who_speaks_says_something_and_changes_nothing() -> None:
    silent, speaking = begun(9), SkillsEnv(client="authored")
    _, info = speaking.reset(seed=9)
    assert info["client"]
    for turn in range(5):
        one, other = silent.step(random_action(turn)), speaking.step(random_action(turn))
        assert one[0].tobytes() == other[0].tobytes()
        assert other[4]["client"]


def test_all_wrong_arguments_are_named_at_once() -> None:
    with pytest.raises(ValueError, match=r"(?s)stage 7.*max_turns 0.*render_mode 'film'.*signal_noise -1.*judge 'me'"):
        SkillsEnv(judge="me", stage=7, max_turns=0, render_mode="film", signal_noise=-1)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="client 'loud'"):
        SkillsEnv(client="loud")


def test_info_tells_the_truth_in_words() -> None:
    env = begun()
    _, info = env.reset()
    assert info["phase"] in PHASES
    info = env.step(random_action())[4]
    assert info["ending"] in ENDINGS
    assert info["alliance"] == pytest.approx(env.client_view.alliance, abs=1e-15)
    assert empty_report(1, env.sessions.catalog, by_node=False).signals.shape[1] == len(info["signals"])


def test_twins_stay_twins() -> None:
    check_twins(lambda: gym.make("icarus/Skills-v0", max_turns=6), seeds=(0, 1), steps=40)
