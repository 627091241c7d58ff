"""icarus/Treatment-v0: sessions back to back, a week between them, an ending that is settled; Gymnasium's interface throughout."""

import json
import warnings
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from test_envs_session_vector import MODES, moody, plain, replies, same

from client_graph.catalog import load_catalog
from client_graph.course import begin_course, go_on
from client_graph.personhood import draw
from client_graph.session import end_session
from client_graph.settings import CourseSettings
from client_graph.turn import advance
from envs.snapshot import from_json, to_json
from envs.treatment import TreatmentEnv
from envs.treatment_vector import TreatmentVectorEnv
from envs.types import ClientFailed
from envs.voice import AuthoredVoice, VoiceFailure
from judges.protocol import Exchange
from judges.scripted import ScriptedJudge

CATALOG = load_catalog()
STEADY = CourseSettings(dropout=0, weekly_spread=0, fortune_spread=0)


def heard(exchange: Exchange) -> float:
    """The reply is the score of all twelve dimensions."""
    return float(exchange.therapist)


def new_env(**given: Any) -> TreatmentEnv:
    return TreatmentEnv(
        **{"judge": ScriptedJudge(heard), "catalog": CATALOG, "client": "silent", "course": STEADY} | given
    )


def treat(
    env: TreatmentEnv, reply: str = "8", seed: int = 1, **options: Any
) -> list[tuple[dict[str, Any], float, bool, bool, dict[str, Any]]]:
    """A whole treatment, every step of it."""
    env.reset(seed=seed, options=options)
    steps = [env.step(reply)]
    while not (steps[-1][2] or steps[-1][3]):
        steps.append(env.step(reply))
    return steps


def test_gymnasium_checks_the_environment() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(TreatmentEnv(judge=ScriptedJudge(lambda _: 8.0), max_turns=2, max_sessions=3), skip_render_check=True)


def test_gymnasium_makes_it_by_name_and_its_spec_is_json() -> None:
    env = gymnasium.make("envs:icarus/Treatment-v0", client="silent", max_turns=2, max_sessions=2, stage=3)
    assert env.spec is not None
    assert gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()).kwargs["max_sessions"] == 2
    assert isinstance(env.unwrapped, TreatmentEnv)


def test_a_session_that_is_over_is_followed_by_the_next_ones_first_words() -> None:
    env = new_env(max_turns=3, max_sessions=3, client="authored")
    steps = treat(env, "6")
    assert len(steps) == 9
    for i, (observation, _, terminated, truncated, info) in enumerate(steps, start=1):
        last = i == 9
        assert env.observation_space.contains(observation)
        assert observation["session"] == (3 if last else 1 + i // 3)
        assert observation["turn"] == (3 if last else i % 3)
        assert ("session_ended" in info) == (i % 3 == 0)
        assert (terminated, truncated) == (False, last)
        assert info["treatment_ending"] == ("session_limit" if last else None)
        if "session_ended" in info:
            ended = info["session_ended"]
            assert ended["ending"] == "turn_limit"
            assert ended["farewell"]
            assert (ended["farewell"] == observation["client"]) == last
            assert set(ended) >= {"stage_step", "session_assessment", "session_measures"}
    with pytest.raises(ResetNeeded):
        env.step("6")


def test_a_treatment_is_turns_sessions_and_weeks_of_the_person() -> None:
    """The environment against the person alone: the same state, bit for bit, after three sessions of two turns."""
    env = new_env(max_turns=2, max_sessions=5, course=CourseSettings(dropout=0))
    env.reset(seed=4)
    rng = np.random.default_rng()
    rng.bit_generator.state = gymnasium.utils.seeding.np_random(4)[0].bit_generator.state
    state, _ = draw(CATALOG, rng)
    course = begin_course(rng.integers(0, 2**64, size=1, dtype=np.uint64))
    for turn in range(6):
        score = 4.0 + turn
        env.step(str(score))
        state, report = advance(state, np.full((1, 12), score), CATALOG)
        if turn % 2:
            after, _ = end_session(state, CATALOG)
            never = np.zeros(1, dtype=np.bool_)
            state, course = go_on(
                state, after, course, CATALOG, CourseSettings(dropout=0), left=never, hurt=report.rupture
            )
        assert env.client_view.state.same_as(state)


def test_the_truth_in_info_is_the_clients_as_they_are_now() -> None:
    env = new_env(max_turns=1, max_sessions=4)
    env.reset(seed=2)
    for _ in range(3):
        observation, *_, info = env.step("7")
        np.testing.assert_array_equal(info["levels"], env.client_view.state.levels[0])
        np.testing.assert_array_equal(observation["beliefs"], env.client_view.state.tmog[0])
        assert info["phase"] == "A"


# Endings


def test_a_good_treatment_ends_as_planned_and_the_turns_it_did_not_need_are_paid() -> None:
    env = new_env(max_turns=20, max_sessions=20)
    steps = treat(env, "9")
    observation, reward, terminated, truncated, info = steps[-1]
    assert (terminated, truncated, info["treatment_ending"]) == (True, False, "planned")
    assert observation["stage"] == 4
    left_over = 16.0 * (20 - int(observation["turn"])) if info["session_ended"]["ending"] == "closed_well" else 0.0
    sessions = int(observation["session"])
    assert sessions < 20
    assert info["reward_parts"]["ending"] == left_over + 16.0 * 20 * (20 - sessions)
    assert reward == pytest.approx(sum(info["reward_parts"].values()))


def test_harm_drives_the_client_away_and_that_costs_more_than_staying() -> None:
    env = new_env(max_turns=20, max_sessions=10)
    observation, reward, terminated, _, info = treat(env, "0")[-1]
    assert terminated
    assert info["treatment_ending"] == info["session_ended"]["ending"] == "left"
    turns = 20 - int(observation["turn"]) + 20 * (10 - int(observation["session"]))
    assert info["reward_parts"]["ending"] == -6.0 * turns
    assert reward < -6.0 * turns


def test_who_comes_no_more_has_dropped_out() -> None:
    env = new_env(max_turns=2, max_sessions=10, course=CourseSettings(dropout=0.5, dropout_alliance=0))
    endings = []
    for seed in range(40):
        steps = treat(env, "6", seed)
        *_, terminated, _, info = steps[-1]
        if info["treatment_ending"] == "dropped_out":
            assert terminated
            assert info["session_ended"]["ending"] == "turn_limit"
            assert info["reward_parts"]["ending"] == -6.0 * 2 * (10 - len(steps) // 2)
        endings.append((info["treatment_ending"], len(steps) // 2))
    first = sum(e == ("dropped_out", 1) for e in endings)
    assert 10 <= first <= 30
    assert {e for e, _ in endings} <= {"dropped_out", "session_limit"}


def test_who_has_held_all_sessions_has_not_dropped_out() -> None:
    env = new_env(max_turns=1, max_sessions=1, course=CourseSettings(dropout=0.9))
    for seed in range(10):
        *_, terminated, truncated, info = treat(env, "6", seed)[-1]
        assert (terminated, truncated, info["treatment_ending"]) == (False, True, "session_limit")


def test_all_that_a_treatment_pays_is_finite_and_without_settlement_where_all_sessions_were_held() -> None:
    steps = treat(new_env(max_turns=2, max_sessions=3), "5")
    assert steps[-1][3]
    assert len(steps) == 6
    for _, reward, *_, info in steps:
        assert np.isfinite([reward, *info["reward_parts"].values()]).all()
        assert info["reward_parts"]["ending"] == 0.0


# One seed, one future; branching; refusals


def trajectory(env: TreatmentEnv, seed: int) -> list[Any]:
    return [
        (json.dumps(step[0], default=_plain), step[1:4], step[4]["levels"].tobytes()) for step in treat(env, "7", seed)
    ]


def _plain(value: Any) -> Any:
    return value.tolist()


def test_one_seed_one_treatment_whatever_came_before() -> None:
    env, other = (new_env(max_turns=2, max_sessions=4, client="authored", course=CourseSettings()) for _ in range(2))
    treat(other, "3", 9)
    assert trajectory(env, 5) == trajectory(other, 5)
    assert trajectory(env, 5) != trajectory(env, 6)


@pytest.mark.parametrize("at", [1, 2, 3])  # within a session, just after one has begun, and later
def test_a_snapshot_holds_the_course_and_goes_on_as_if_nothing_had_been(at: int) -> None:
    given: dict[str, Any] = {
        "max_turns": 2, "max_sessions": 6, "client": "authored", "course": CourseSettings(dropout=0)
    }  # fmt: skip
    env = new_env(**given)
    env.reset(seed=3)
    for _ in range(at):
        env.step("7")
    kept = from_json(json.loads(json.dumps(to_json(env.snapshot()))))
    first = [env.step("6")[4]["levels"].tobytes() for _ in range(3)]
    env.restore(kept)
    assert [env.step("6")[4]["levels"].tobytes() for _ in range(3)] == first
    other = new_env(**given)
    other.reset(seed=99)
    other.restore(kept)
    assert [other.step("6")[4]["levels"].tobytes() for _ in range(3)] == first


def test_what_a_reply_would_do_is_told_without_doing_it() -> None:
    env = new_env(max_turns=1, max_sessions=3)
    env.reset(seed=3)
    before = json.dumps(to_json(env.snapshot()))
    kind, harsh = env.evaluate(["9", "1"])
    assert kind.reward > harsh.reward  # type: ignore[union-attr]
    assert json.dumps(to_json(env.snapshot())) == before


class FailingVoice(AuthoredVoice):
    """Finds no words for the next session's beginning, once."""

    broken = True

    def speak(self, turns: Any) -> list[Any]:
        said = super().speak(turns)
        if self.broken and any(turn.moment == "opening" and turn.view.state.session[0] > 0 for turn in turns):
            self.broken = False
            return [VoiceFailure("no breath") for _ in said]
        return said


def test_a_failed_step_changes_nothing_also_between_sessions() -> None:
    env = new_env(max_turns=1, max_sessions=3, client=FailingVoice(CATALOG), course=CourseSettings(dropout=0))
    twin = new_env(max_turns=1, max_sessions=3, client="authored", course=CourseSettings(dropout=0))
    env.reset(seed=3), twin.reset(seed=3)
    before = json.dumps(to_json(env.snapshot()))
    with pytest.raises(ClientFailed, match="no breath"):
        env.step("7")
    assert json.dumps(to_json(env.snapshot())) == before
    again, expected = env.step("7"), twin.step("7")
    assert again[0]["client"] == expected[0]["client"]
    assert again[4]["levels"].tobytes() == expected[4]["levels"].tobytes()


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ValueError, match=r"found max_sessions 0.*; found course 3; expected CourseSettings"):
        TreatmentEnv(max_sessions=0, course=3)  # type: ignore[arg-type]
    env = new_env()
    with pytest.raises(ResetNeeded):
        env.step("5")
    env.reset(seed=0)
    with pytest.raises(ValueError, match="a treatment goes on with its client by itself"):
        env.reset(options={"same_client": True})
    with pytest.raises(InvalidAction):
        env.step(3)  # type: ignore[arg-type]


# Many at once


@pytest.mark.parametrize("mode", MODES)
def test_sub_environments_are_single_ones_to_the_bit(mode: AutoresetMode) -> None:
    """Observations, rewards, ends and infos over many sessions and autoresets are those of SyncVectorEnv over TreatmentEnv."""
    given: dict[str, Any] = {
        "judge": ScriptedJudge(moody), "catalog": CATALOG, "max_turns": 3, "max_sessions": 3,
        "course": CourseSettings(dropout=0.3),
    }  # fmt: skip
    many = TreatmentVectorEnv(6, autoreset_mode=mode, **given)
    singles = SyncVectorEnv([lambda: TreatmentEnv(**given)] * 6, autoreset_mode=mode)
    found, expected = many.reset(seed=3), singles.reset(seed=3)
    assert same(plain(found[0]), plain(expected[0]))
    assert same(plain(found[1]), plain(expected[1]))
    ends: set[str] = set()
    sessions_ended = 0
    for step in range(40):
        words = replies(step, 6)
        found, expected = many.step(words), singles.step(words)
        for name, a, b in zip(
            ("observation", "reward", "terminated", "truncated", "info"), found, expected, strict=True
        ):
            assert same(plain(a), plain(b)), (step, name)
        assert many.observation_space.contains(found[0])
        infos = found[4].get("final_info", found[4])
        ends |= set(infos.get("treatment_ending", [])) - {None}
        sessions_ended += int(found[4].get("_session_ended", np.zeros(6)).sum())
        over = found[2] | found[3]
        if mode == AutoresetMode.DISABLED and over.any():
            found, expected = (env.reset(options={"reset_mask": over.copy()}) for env in (many, singles))
            assert same(plain(found[0]), plain(expected[0]))
            assert same(plain(found[1]), plain(expected[1]))
    assert {"dropped_out", "session_limit"} <= ends
    assert sessions_ended > 10


def test_gymnasium_makes_many_by_name() -> None:
    many = gymnasium.make_vec(
        "icarus/Treatment-v0", 3, vectorization_mode="vector_entry_point", client="silent", judge=ScriptedJudge(heard), max_turns=1
    )  # fmt: skip
    assert isinstance(many, TreatmentVectorEnv)
    many.reset(seed=0)
    *_, infos = many.step(["6"] * 3)
    assert infos["_session_ended"].all()
    assert infos["session_ended"]["session_measures"]["coiling"].shape == (3,)
    with pytest.raises(ValueError, match="same_client"):
        many.reset(options={"same_client": True})
