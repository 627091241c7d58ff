"""Wrappers of the text environments: units change and points stay, history is what was said, truth is what is true."""

import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import flatten
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import NormalizeReward

import envs
from client_graph.catalog import load_catalog
from client_graph.names import PHASES
from envs.scaling import RewardScale
from envs.wrappers import DialogueHistory, GroundTruth, RewardScaling, VectorRewardScaling, chat_messages
from judges.protocol import Exchange, Turn
from judges.scripted import ScriptedJudge
from rewards.parts import RewardParts

CATALOG = load_catalog()


def by_words(exchange: Exchange) -> list[float]:
    """Scores from the reply and the turn, so that two replies are two futures."""
    return [float((len(exchange.therapist) + 3 * len(exchange.history) + d) % 11) for d in range(12)]


def new_env(**settings: Any) -> gymnasium.Env[Any, Any]:
    return gymnasium.make("icarus/Session-v0", judge=ScriptedJudge(by_words), catalog=CATALOG, **settings)


WRAPPERS = {
    "RewardScaling": lambda env: RewardScaling(env, centre=5.0, width=10.0, jump_limit=1.0, scales={"modifiers": 0.5}),
    "DialogueHistory": lambda env: DialogueHistory(env, 3),
    "GroundTruth": GroundTruth,
    "all": lambda env: GroundTruth(DialogueHistory(RewardScaling(env), 2)),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_gymnasium_checks_each_wrapper(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = WRAPPERS[name](envs.SessionEnv(judge=ScriptedJudge(by_words), catalog=CATALOG))
        warnings.filterwarnings("ignore", message=".*different from the unwrapped version.*")  # that is what we check
        check_env(env, skip_render_check=True)


@pytest.mark.parametrize("name", WRAPPERS)
def test_a_spec_builds_the_same_stack(name: str) -> None:
    env = WRAPPERS[name](gymnasium.make("icarus/Session-v0", judge=ScriptedJudge(by_words), max_turns=3))
    again = gymnasium.make(env.spec)
    assert str(again) == str(env)
    assert again.observation_space == env.observation_space
    for call in (lambda e: e.reset(seed=4), lambda e: e.step("Go on."), lambda e: e.step("I am here with you.")):
        one, two = call(env), call(again)
        assert gymnasium.utils.env_checker.data_equivalence(one, two)


# Reward


def test_scaling_changes_the_unit_and_hides_nothing() -> None:
    plain, env = new_env(), RewardScaling(new_env())
    for each in (plain, env):
        each.reset(seed=1)
    for words in ("Go on.", "Tell me more of that.", "", "I hear you."):
        raw, scaled = plain.step(words), env.step(words)
        assert scaled[1] == pytest.approx(raw[1] / 15.0, abs=1e-12)
        assert type(scaled[1]) is float
        assert scaled[4]["raw_reward"] == raw[1]
        assert scaled[4]["reward_parts"] == raw[4]["reward_parts"]


PARTS = dict.fromkeys(RewardParts._fields, 0.0) | {
    "composite": 6.0, "modifiers": -2.0, "phase_transition": -30.0, "stage_transition": 100.0
}  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"width": 10.0}, 0.4 - 3.0 + 10.0),
        ({"width": 10.0, "centre": 5.0}, -0.1 - 3.0 + 10.0),
        ({"width": 10.0, "jump_limit": 1.0}, 0.4 - 1.0 + 1.0),
        ({"width": 10.0, "jump_limit": 4.0}, 0.4 - 3.0 + 4.0),
        ({"width": 10.0, "jump_limit": 0.0}, 0.4),
        ({"width": 10.0, "scales": {"modifiers": 0.0, "stage_transition": 0.1}}, 0.6 - 3.0 + 1.0),
    ],
)
def test_the_map_is_the_one_that_is_written(settings: dict[str, Any], expected: float) -> None:
    scale = RewardScale(**settings)
    assert scale.of(PARTS) == pytest.approx(expected, abs=1e-12)
    many = {name: np.array([points, 0.0]) for name, points in PARTS.items()}
    assert scale.of(many).tolist() == [scale.of(PARTS), -scale.centre / scale.width]


def test_turns_that_were_not_held_are_limited_only_where_that_is_asked_for() -> None:
    parts = PARTS | {"ending": -114.0}
    without = RewardScale(jump_limit=1.0).of(PARTS)
    assert RewardScale(jump_limit=1.0).of(parts) == pytest.approx(without - 7.6, abs=1e-12)
    assert RewardScale(jump_limit=1.0, ending_limit=2.0).of(parts) == pytest.approx(without - 2.0, abs=1e-12)


@pytest.mark.parametrize(("score", "mean"), [(0.0, -0.2), (5.0, 0.33), (8.0, 0.94), (10.0, 1.2)])
def test_turns_are_worth_what_the_scale_says(score: float, mean: float) -> None:
    scale, limited = RewardScale(), RewardScale(jump_limit=1.0)
    found, within = [], []
    for stage in (1, 2, 3, 4):
        env = gymnasium.make_vec(
            "icarus/Session-v0", 10, vectorization_mode="vector_entry_point", client="silent", catalog=CATALOG,
            judge=ScriptedJudge(lambda _: score), stage=stage, autoreset_mode="Disabled",
        )  # fmt: skip
        env.reset(seed=0)
        over = np.zeros(10, dtype=bool)
        for _ in range(8):
            _, _, terminated, truncated, infos = env.step(["Yes."] * 10)
            parts, over = infos["reward_parts"], terminated | truncated
            none = np.zeros(10)
            found += scale.of(parts | {"phase_transition": none, "stage_transition": none, "ending": none}).tolist()
            within += limited.of(parts)[~over].tolist()
            if over.any():
                env.reset(options={"reset_mask": over})
    assert -0.73 <= min(found) <= max(found) <= 1.95
    assert np.mean(found) == pytest.approx(mean, abs=0.12)
    assert -1.8 <= min(within) <= max(within) <= 2.9


@pytest.mark.parametrize(
    "wrong",
    [{"width": 0.0}, {"width": -1.0}, {"centre": float("nan")}, {"jump_limit": -1.0}, {"jump_limit": float("inf")},
     {"scales": {"warmth": 1.0}}, {"scales": {"composite": float("inf")}}],
)  # fmt: skip
def test_scales_that_have_no_meaning_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        RewardScaling(new_env(), **wrong)


@pytest.mark.parametrize("mode", ["NextStep", "SameStep", "Disabled"])
def test_a_scaled_vector_is_scaled_environments(mode: str) -> None:
    how = {"centre": 5.0, "jump_limit": 1.0, "scales": {"modifiers": 0.5}}
    making = {"num_envs": 3, "max_turns": 4}
    vector = VectorRewardScaling(
        gymnasium.make_vec("icarus/Skills-v0", vectorization_mode="vector_entry_point", autoreset_mode=mode, **making),
        **how,
    )
    singles = gymnasium.make_vec(
        "icarus/Skills-v0",
        vectorization_mode="sync",
        wrappers=[lambda env: RewardScaling(env, **how)],
        vector_kwargs={"autoreset_mode": AutoresetMode(mode)},
        **making,
    )
    for each in (vector, singles):
        each.reset(seed=5)
        each.action_space.seed(2)
    seen = set()
    for _ in range(12):
        actions = singles.action_space.sample()
        one, many = singles.step(actions), vector.step(actions)
        assert many[1].tolist() == one[1].tolist()
        for one_told, many_told in ((one[4], many[4]), (one[4].get("final_info", {}), many[4].get("final_info", {}))):
            assert ("raw_reward" in many_told) == ("raw_reward" in one_told)
            for name in ("raw_reward", "_raw_reward"):
                assert np.array_equal(many_told.get(name), one_told.get(name))
        seen |= set(many[1].tolist())
        if mode == "Disabled" and (over := one[2] | one[3]).any():
            for each in (vector, singles):
                each.reset(options={"reset_mask": over})
    assert len(seen) > 20
    assert (0.0 in seen) == (mode == "NextStep")


def test_an_environment_without_parts_is_named() -> None:
    env = RewardScaling(gymnasium.make("CartPole-v1"))
    env.reset(seed=0)
    with pytest.raises(KeyError, match="reward_parts"):
        env.step(0)


@pytest.mark.parametrize("mode", AutoresetMode)
def test_a_vector_without_parts_gets_no_invented_zeros(mode: AutoresetMode) -> None:
    env = VectorRewardScaling(
        gymnasium.make_vec("CartPole-v1", 3, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode})
    )
    env.reset(seed=0)
    with pytest.raises(KeyError, match=r"reward_parts of the turns of sub-environments \[0, 1, 2\]"):
        env.step(env.action_space.sample())


class _SilentThird(gymnasium.vector.VectorWrapper):
    """Keeps the parts of the third sub-environment to itself."""

    def step(self, actions: Any) -> Any:
        *rest, infos = self.env.step(actions)
        infos["_reward_parts"][2] = False
        return *rest, infos


def test_sessions_that_are_over_may_be_restored_beneath() -> None:
    env = VectorRewardScaling(
        gymnasium.make_vec("icarus/Skills-v0", 2, vectorization_mode="vector_entry_point", max_turns=2), centre=5.0
    )
    env.reset(seed=0)
    env.action_space.seed(0)
    env.step(env.action_space.sample())
    env.step(env.action_space.sample())
    over = env.unwrapped.snapshot()
    env.step(env.action_space.sample())
    env.unwrapped.restore(over)
    assert env.step(env.action_space.sample())[1].tolist() == [0.0, 0.0]


def test_the_sub_environment_that_tells_no_parts_is_named() -> None:
    env = VectorRewardScaling(
        _SilentThird(gymnasium.make_vec("icarus/Skills-v0", 3, vectorization_mode="vector_entry_point"))
    )
    env.reset(seed=0)
    with pytest.raises(KeyError, match=r"\[2\]"):
        env.step(env.action_space.sample())


def test_a_running_deviation_goes_on_top() -> None:
    env = NormalizeReward(RewardScaling(new_env()))
    env.reset(seed=0)
    _, reward, _, _, info = env.step("Go on.")
    assert np.isfinite(reward)
    assert info["raw_reward"] == sum(info["reward_parts"].values())


# History


def test_history_is_what_was_said_aloud_and_no_more_than_asked_for() -> None:
    env = DialogueHistory(new_env(), 2)
    observation, _ = env.reset(seed=3)
    said = [observation["client"]]
    assert observation["history"] == ()
    replies = ["One.", "<think>He is afraid.</think>Two.", "Three."]
    for reply in replies:
        observation = env.step(reply)[0]
        said.append(observation["client"])
        assert env.observation_space.contains(observation)
    assert observation["history"] == (
        {"client": said[1], "therapist": "Two."},
        {"client": said[2], "therapist": "Three."},
    )
    assert env.reset(seed=3)[0]["history"] == ()


def test_history_follows_a_branch() -> None:
    env = DialogueHistory(new_env(), 4)
    env.reset(seed=3)
    env.step("One.")
    kept = env.unwrapped.snapshot()
    there = env.step("Two.")[0]
    env.step("Three.")
    back = env.observation(env.unwrapped.restore(kept))
    assert [past["therapist"] for past in back["history"]] == ["One."]
    assert env.step("Two.")[0]["history"] == there["history"]


def test_a_history_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        DialogueHistory(new_env(), 0)
    with pytest.raises(TypeError, match="expected a Dict"):
        DialogueHistory(gymnasium.make("CartPole-v1"))


def test_a_history_of_an_environment_without_dialogue_is_refused() -> None:
    with pytest.raises(TypeError, match=r"no history.*Session-v0"):
        DialogueHistory(GroundTruth(gymnasium.make("icarus/Skills-v0", catalog=CATALOG)))


def test_a_session_reads_as_chat() -> None:
    env = DialogueHistory(new_env(), 9)
    first = env.reset(seed=3)[0]
    second = env.step("<think>Slowly.</think>Take your time.")[0]
    expected = [
        {"role": "system", "content": "You listen."},
        {"role": "user", "content": first["client"]},
        {"role": "assistant", "content": "Take your time."},
        {"role": "user", "content": second["client"]},
    ]
    assert chat_messages(second, system="You listen.") == expected
    assert chat_messages(second, env.unwrapped.history, "You listen.") == expected
    assert chat_messages({"client": "Hello."}) == [{"role": "user", "content": "Hello."}]
    assert chat_messages(second, [Turn("a", "unsaid", "b")])[:2] == [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
    ]


# Truth


def test_truth_is_the_truth_of_the_same_moment_and_its_columns_have_names() -> None:
    env = GroundTruth(new_env())
    observation, info = env.reset(seed=5)
    for words in ("Go on.", "I hear how tired you are.", ""):
        truth, view = observation["truth"], env.unwrapped.client_view
        for name in ("levels", "buckets", "loa", "axes"):
            assert np.array_equal(truth[name], info[name])
        assert PHASES[int(truth["phase"].argmax())] == info["phase"]
        assert truth["shares"].tolist() == [info["coiling"], info["alliance"], info["attunement"]]
        assert env.observation_space.contains(observation)
        assert {name: len(columns) for name, columns in env.columns.items()} == {k: len(v) for k, v in truth.items()}
        vector = dict(zip(env.flat_columns, flatten(env.truth_space, truth), strict=True))
        assert vector["levels/trust_capacity"] == view.levels["trust_capacity"]
        assert vector["buckets/hope"] == view.buckets["hope"]
        assert vector["shares/alliance"] == view.alliance
        assert vector[f"stance/{view.stance}"] == 1.0
        assert set(observation["observation"]) == {"client", "turn", "session", "stage", "stance", "beliefs"}
        observation, _, _, _, info = env.step(words)


def test_scribbling_on_the_truth_changes_nobody() -> None:
    env, plain = GroundTruth(new_env()), new_env()
    observation = env.reset(seed=5)[0]
    plain.reset(seed=5)
    for array in observation["truth"].values():
        array[:] = 0.0
    assert np.array_equal(env.step("Go on.")[4]["levels"], plain.step("Go on.")[4]["levels"])


@pytest.mark.parametrize("name", ["icarus/Treatment-v0", "icarus/Skills-v0"])
def test_other_environments_have_a_truth_and_a_scale_too(name: str) -> None:
    judge = {} if "Skills" in name else {"judge": ScriptedJudge(by_words)}
    env = GroundTruth(RewardScaling(gymnasium.make(name, catalog=CATALOG, max_turns=2, **judge)))
    env.action_space.seed(0)
    observation, _ = env.reset(seed=1)
    for _ in range(2):
        assert env.observation_space.contains(observation)
        observation, reward, _, _, info = env.step(env.action_space.sample())
        assert PHASES[int(observation["truth"]["phase"].argmax())] == info["phase"]
        assert reward == pytest.approx(info["raw_reward"] / 15.0, abs=1e-12)


# Several at once


def test_wrapped_environments_go_into_a_vector() -> None:
    vector = gymnasium.make_vec(
        "icarus/Session-v0",
        num_envs=2,
        vectorization_mode="sync",
        wrappers=[RewardScaling, lambda env: DialogueHistory(env, 2), GroundTruth],
        judge=ScriptedJudge(by_words),
        catalog=CATALOG,
    )
    singles = [GroundTruth(DialogueHistory(RewardScaling(new_env()), 2)) for _ in range(2)]
    observations, _ = vector.reset(seed=7)
    alone = [env.reset(seed=7 + i)[0] for i, env in enumerate(singles)]
    for replies in (("Go on.", "And then?"), ("I am here.", ""), ("Yes.", "No.")):
        for i in range(2):
            assert np.array_equal(observations["truth"]["levels"][i], alone[i]["truth"]["levels"])
            assert observations["observation"]["history"][i] == alone[i]["observation"]["history"]
        observations, rewards, _, _, infos = vector.step(replies)
        stepped = [env.step(reply) for env, reply in zip(singles, replies, strict=True)]
        alone = [each[0] for each in stepped]
        assert rewards.tolist() == [each[1] for each in stepped]
        assert infos["raw_reward"].tolist() == [each[4]["raw_reward"] for each in stepped]
    vector.close()
