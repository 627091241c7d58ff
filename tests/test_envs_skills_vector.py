"""icarus/Skills-v0 many times at once: the same sessions as one by one, in every autoreset mode."""

import os
import subprocess
import sys
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import envs  # noqa: F401
from envs.equality import first_difference
from envs.skills import ENDINGS, ResponseModel, ResponseSettings, SkillsEnv, SkillsVectorEnv
from envs.skills.outcome import PARTS
from envs.skills.policies import single_minded

N, SEED, MAX_TURNS = 5, 11, 6
STILL = ResponseModel(ResponseSettings(score_noise=0.0, day_spread=0.0, markers=False))
MODES = [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED]


def actions_of(turn: int, count: int = N) -> np.ndarray:
    """Some interpret until the client leaves, so that sessions end at different times."""
    actions = np.random.default_rng(turn).random((count, 12), dtype=np.float32)
    actions[1::3] = single_minded("clinical_wisdom").emphasis
    return actions


def both(mode: AutoresetMode, **made_with: Any) -> tuple[SyncVectorEnv, SkillsVectorEnv]:
    one_by_one = SyncVectorEnv([lambda: SkillsEnv(**made_with) for _ in range(N)], autoreset_mode=mode)
    return one_by_one, SkillsVectorEnv(N, autoreset_mode=mode, **made_with)


def same_told(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    """Where SyncVectorEnv tells something of a sub-environment, ours tells the same."""
    for name in ("scores", "composite", "alliance", "signals", "phase_step", "rupture", "stage_step"):
        assert (name in ours) == (name in theirs)
        if name in theirs:
            mask = theirs[f"_{name}"]
            assert (ours[f"_{name}"] == mask).all()
            assert (ours[name][mask] == theirs[name][mask]).all()
    assert ("reward_parts" in ours) == ("reward_parts" in theirs)
    for part in PARTS if "reward_parts" in theirs else ():
        mask = theirs["_reward_parts"]
        assert (ours["reward_parts"][part][mask] == theirs["reward_parts"][part][mask]).all()
    if "ending" in theirs:
        told = theirs["_ending"]
        assert [ENDINGS[code] for code in ours["ending"][told]] == theirs["ending"][told].tolist()
    markers = np.array(STILL.markers)[ours["marker"]]
    assert (markers[theirs["_marker"]] == theirs["marker"][theirs["_marker"]]).all()
    letters = np.array(list("ABCD"))
    assert (letters[ours["phase"]][theirs["_phase"]] == theirs["phase"][theirs["_phase"]]).all()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("max_turns", [MAX_TURNS, 20])
def test_sub_environments_are_single_environments_bit_for_bit(mode: AutoresetMode, max_turns: int) -> None:
    theirs, ours = both(mode, max_turns=max_turns)
    (seen, info), (expected, expected_info) = ours.reset(seed=SEED), theirs.reset(seed=SEED)
    assert seen.tobytes() == expected.tobytes()
    same_told(info, expected_info)
    ended = 0
    for turn in range(3 * max_turns):
        ours_told, theirs_told = ours.step(actions_of(turn)), theirs.step(actions_of(turn))
        for mine, other in zip(ours_told[:4], theirs_told[:4], strict=True):
            assert mine.dtype == other.dtype
            assert mine.tobytes() == other.tobytes()
        same_told(ours_told[4], theirs_told[4])
        done = ours_told[2] | ours_told[3]
        ended += int(done.sum())
        if mode == AutoresetMode.SAME_STEP and done.any():
            assert (ours_told[4]["_final_obs"] == theirs_told[4]["_final_obs"]).all()
            for mine, other in zip(ours_told[4]["final_obs"], theirs_told[4]["final_obs"], strict=True):
                assert (mine is None) == (other is None)
                assert other is None or mine.tobytes() == other.tobytes()
            same_told(ours_told[4]["final_info"], theirs_told[4]["final_info"])
        if mode == AutoresetMode.DISABLED and done.any():
            mine, other = (env.reset(options={"reset_mask": done.copy()}) for env in (ours, theirs))
            assert mine[0].tobytes() == other[0].tobytes()
            same_told(mine[1], other[1])
    assert ended >= N


@pytest.mark.parametrize("mode", MODES[:2])
def test_bits_do_not_depend_on_threads_or_company(mode: AutoresetMode) -> None:
    many, few, threaded = 150, 3, SkillsVectorEnv(150, autoreset_mode=mode, threads=2)
    crowd, alone = SkillsVectorEnv(many, autoreset_mode=mode), SkillsVectorEnv(few, autoreset_mode=mode)
    for env in (crowd, alone, threaded):
        env.reset(seed=3)
    for turn in range(45):
        actions = actions_of(turn, many)
        seen = crowd.step(actions)
        assert seen[0].tobytes() == threaded.step(actions)[0].tobytes()
        assert seen[0][:few].tobytes() == alone.step(actions[:few])[0].tobytes()


def test_make_vec_gives_the_batched_engine() -> None:
    made = gym.make_vec("icarus/Skills-v0", num_envs=7, vectorization_mode="vector_entry_point", stage=2)
    assert isinstance(made.unwrapped, SkillsVectorEnv)
    assert made.metadata["autoreset_mode"] == AutoresetMode.NEXT_STEP
    observations, _ = made.reset(seed=0)
    assert made.observation_space.contains(observations)
    told = made.step(made.action_space.sample())
    assert made.observation_space.contains(told[0])
    assert (told[1].dtype, told[2].dtype, told[3].dtype) == (np.float64, np.bool_, np.bool_)


def test_in_the_step_after_an_end_the_action_is_ignored_and_nothing_is_earned() -> None:
    envs_ = SkillsVectorEnv(3, max_turns=2)
    envs_.reset(seed=0)
    envs_.step(actions_of(0, 3))
    assert envs_.step(actions_of(1, 3))[3].all()
    twin = SkillsVectorEnv(3, max_turns=2)
    twin.restore(envs_.snapshot())
    first, other = envs_.step(np.zeros((3, 12))), twin.step(np.ones((3, 12)))
    assert first[0].tobytes() == other[0].tobytes()
    assert not first[1].any()
    assert not (first[2] | first[3]).any()
    assert "reward_parts" not in first[4]


def test_stages_can_be_given_one_by_one() -> None:
    stages = [1, 4, None, 2]
    envs_ = SkillsVectorEnv(4, stage=stages, max_turns=1)
    envs_.reset(seed=0)
    for _ in range(4):
        observation = envs_.step(actions_of(0, 4))[0]
        assert observation[[0, 1, 3], 6].tolist() == [1, 4, 2]
    with pytest.raises(ValueError, match="3 stages"):
        SkillsVectorEnv(4, stage=[1, 2, 3])


def test_without_autoreset_a_session_that_is_over_cannot_go_on() -> None:
    envs_ = SkillsVectorEnv(2, max_turns=1, autoreset_mode="Disabled")
    envs_.reset(seed=0)
    envs_.step(actions_of(0, 2))
    before = envs_.snapshot()
    with pytest.raises(ResetNeeded, match="reset_mask"):
        envs_.step(actions_of(0, 2))
    assert envs_.sessions.state.same_as(before.state)


def test_a_masked_reset_leaves_the_others_alone() -> None:
    envs_ = SkillsVectorEnv(3, autoreset_mode="Disabled")
    envs_.reset(seed=0)
    before = envs_.step(actions_of(0, 3))[0]
    observation, info = envs_.reset(seed=50, options={"reset_mask": np.array([False, True, False])})
    assert observation[[0, 2]].tobytes() == before[[0, 2]].tobytes()
    assert observation[1].tobytes() == SkillsVectorEnv(1).reset(seed=51)[0][0].tobytes()
    assert info["_phase"].tolist() == [False, True, False]


@pytest.mark.parametrize("mask", [np.zeros(3, bool), np.ones(2, bool), np.ones(3), [True, False]], ids=str)
def test_a_mask_that_fits_nobody_is_refused(mask: Any) -> None:
    envs_ = SkillsVectorEnv(3)
    envs_.reset(seed=0)
    with pytest.raises(ValueError, match="reset_mask"):
        envs_.reset(options={"reset_mask": mask})


def test_a_wrong_action_names_its_session_and_changes_nobody() -> None:
    envs_ = SkillsVectorEnv(3)
    envs_.reset(seed=0)
    before = envs_.snapshot()
    actions = actions_of(0, 3).astype(np.float64)
    actions[2, 0] = np.nan
    with pytest.raises(InvalidAction, match="attunement of session 2 is nan"):
        envs_.step(actions)
    assert first_difference(envs_.snapshot(), before) is None


def test_a_snapshot_of_all_is_restored_byte_for_byte() -> None:
    envs_ = SkillsVectorEnv(N, max_turns=4)
    envs_.reset(seed=2)
    envs_.step(actions_of(0))
    kept = envs_.snapshot()

    def go_on() -> list[bytes]:
        return [envs_.step(actions_of(turn))[0].tobytes() for turn in range(9)]

    first = go_on()
    envs_.restore(kept)
    assert go_on() == first


def test_the_actions_of_those_that_begin_anew_are_not_read() -> None:
    envs_ = SkillsVectorEnv(3, stage=1)
    envs_.reset(seed=0)
    actions = np.full((3, 12), 0.3, dtype=np.float32)
    actions[1] = single_minded("clinical_wisdom").emphasis
    while not envs_.step(actions)[2][1]:
        pass
    assert envs_.sessions.running.over.tolist() == [False, True, False]
    kept, anew = envs_.snapshot(), np.full((3, 12), 0.3)
    anew[1] = np.nan
    seen = envs_.step(anew)
    envs_.restore(kept)
    anew[1] = 0.7
    assert envs_.step(anew)[0].tobytes() == seen[0].tobytes()
    envs_.restore(kept)
    anew[2, 0] = np.nan
    with pytest.raises(InvalidAction, match="attunement of session 2 is nan"):
        envs_.step(anew)


def ended_beside_going_on(mode: AutoresetMode) -> tuple[SkillsVectorEnv, dict[str, Any]]:
    """Where sub-environment 1 alone has just ended."""
    envs_ = SkillsVectorEnv(3, stage=1, autoreset_mode=mode)
    envs_.reset(seed=0)
    actions = np.full((3, 12), 0.3, dtype=np.float32)
    actions[1] = single_minded("clinical_wisdom").emphasis
    while True:
        told = envs_.step(actions)
        if told[2].any():
            assert told[2].tolist() == [False, True, False]
            return envs_, told[4]


def arrays_in(told: dict[str, Any], where: str = "") -> dict[str, np.ndarray]:
    found = {}
    for name, value in told.items():
        found |= arrays_in(value, f"{where}{name}.") if isinstance(value, dict) else {f"{where}{name}": value}
    return found


def test_infos_tell_of_nobody_else_and_share_no_memory() -> None:
    envs_, info = ended_beside_going_on(AutoresetMode.SAME_STEP)
    assert [each is None for each in info["final_obs"]] == [True, False, True]
    for told in (info, info["final_info"]):
        for name in ("scores", "composite", "ending", "signals", "alliance"):
            assert not told[name][~told[f"_{name}"]].any()
    arrays = arrays_in(info)
    for name, array in arrays.items():
        assert not any(np.shares_memory(array, other) for where, other in arrays.items() if where != name), name
        for own in (*envs_.sessions.state, *envs_.sessions.running, *envs_.sessions.report):
            assert not np.shares_memory(array, own), name


def test_nobody_starts_over_in_the_step_that_ends_them_with_a_session_that_was_over() -> None:
    envs_, _ = ended_beside_going_on(AutoresetMode.DISABLED)
    other = SkillsVectorEnv(3, stage=1, autoreset_mode="SameStep")
    other.reset(seed=5)
    before = other.snapshot()
    with pytest.raises(ValueError, match=r"over at \[1\]"):
        other.restore(envs_.snapshot())
    assert first_difference(other.snapshot(), before) is None


@pytest.mark.parametrize("options", [{}, {"stage": 4}])
def test_a_reset_that_fails_midway_changes_nothing(monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]) -> None:
    envs_ = SkillsVectorEnv(4, threads=2)
    envs_.reset(seed=0)
    before = envs_.snapshot()

    def fail(*asked: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("envs.skills.sessions.arrivals", fail)
    for seed in (None, 8):
        with pytest.raises(MemoryError):
            envs_.reset(seed=seed, options=dict(options))
        assert first_difference(envs_.snapshot(), before) is None
        assert envs_.np_random_seed == (0, 1, 2, 3)


def test_what_does_not_fit_is_not_restored_and_changes_nothing() -> None:
    envs_, longer = SkillsVectorEnv(2, max_turns=3, render_mode="ansi"), SkillsVectorEnv(2, max_turns=9)
    for env in (envs_, longer):
        env.reset(seed=1)
        env.step(actions_of(0, 2))
    good, before = envs_.snapshot(), envs_.snapshot()
    for turn in range(4):
        longer.step(actions_of(turn, 2)[[0, 0]])
    state, running = good.state, good.running
    assert good.seen is not None
    holes, unknown = state.levels.copy(), state.recent_resistance.copy()
    holes[1, 3], unknown[0, -1] = np.nan, np.nan
    wrong: dict[str, Any] = {
        "max_turns 3": longer.snapshot(),
        r"state.levels: found float64 \(2, 137\)": replace(good, state=state._replace(levels=state.levels[:, 5:])),
        "state.levels: found nan": replace(good, state=state._replace(levels=holes)),
        "state.recent_resistance: found nan": replace(good, state=state._replace(recent_resistance=unknown)),
        "state.phase: found 4": replace(good, state=state._replace(phase=state.phase + 4)),
        "state.turn: found int32": replace(good, state=state._replace(turn=state.turn.astype(np.int32))),
        "state: found a tuple": replace(good, state=tuple(state)),
        "state.tmog: found a list": replace(good, state=state._replace(tmog=state.tmog.tolist())),
        "running.composite": replace(good, running=running._replace(composite=np.full(2, np.inf))),
        "kind.name": replace(good, kind=good.kind._replace(name=np.full(2, 10**6))),
        "words: found a NoneType": replace(good, words=None),
        "chance: found 1": replace(good, chance=good.chance[:1]),
        "chance: that of generator 1": replace(good, chance=[good.chance[0], np.random.MT19937(1).state]),
        "chance: that of generator 1 ": replace(good, chance=[good.chance[0], {"bit_generator": "PCG64"}]),
        "seen.scores": replace(good, seen=replace(good.seen, scores=good.seen.scores[:1])),
    }
    other = SkillsVectorEnv(2, max_turns=3, render_mode="ansi")
    other.reset(seed=77)
    unchanged = other.snapshot()
    for message, snapshot in wrong.items():
        with pytest.raises(ValueError, match=message.strip()):
            other.restore(snapshot)
        assert first_difference(other.snapshot(), unchanged) is None, message
    with pytest.raises(ValueError, match=r"(?s)state.levels.*running.composite"):
        other.restore(replace(wrong["state.levels: found nan"], running=wrong["running.composite"].running))
    other.restore(good)
    assert first_difference(other.snapshot(), before) is None


def test_a_snapshot_shares_no_memory_with_the_environment() -> None:
    envs_ = SkillsVectorEnv(2, render_mode="ansi")
    envs_.reset(seed=0)
    envs_.step(actions_of(0, 2))
    kept, scores = envs_.snapshot(), envs_.client_view(1).scores
    assert kept.seen is not None
    kept.seen.scores[:] = 0
    assert first_difference(envs_.client_view(1).scores, scores) is None
    kept = envs_.snapshot()
    assert kept.seen is not None
    envs_.restore(kept)
    kept.seen.scores[:] = 0
    assert first_difference(envs_.client_view(1).scores, scores) is None


def test_views_and_frames_are_one_a_sub_environment() -> None:
    envs_ = SkillsVectorEnv(2, render_mode="ansi")
    envs_.reset(seed=0)
    envs_.step(actions_of(0, 2))
    assert envs_.client_view(1).report is not None
    frames = envs_.render()
    assert frames is not None
    assert len(frames) == 2
    assert frames[0] != frames[1]


def test_clients_who_speak_are_for_the_single_environment() -> None:
    with pytest.raises(ValueError, match="client 'authored'"):
        SkillsVectorEnv(2, client="authored")
    with pytest.raises(ValueError, match="autoreset_mode"):
        SkillsVectorEnv(2, autoreset_mode="Sometimes")


@pytest.mark.parametrize("stages", [["x", 1], [True, 1], [1, 7], [2.0, 1], np.array([1.0, 2.0]), np.array(2)], ids=str)
def test_all_wrong_arguments_are_named_at_once(stages: Any) -> None:
    with pytest.raises(ValueError, match=r"(?s)catalog 7.*found stage.*max_turns 0.*client None"):
        SkillsVectorEnv(2, client=None, catalog=7, stage=stages, max_turns=0)  # type: ignore[arg-type]


def test_nothing_can_be_done_before_the_first_reset() -> None:
    envs_ = SkillsVectorEnv(2)
    for forbidden in (lambda: envs_.step(actions_of(0, 2)), envs_.snapshot, lambda: envs_.client_view(0)):
        with pytest.raises(ResetNeeded):
            forbidden()
    with pytest.raises(ResetNeeded):
        envs_.reset(options={"reset_mask": np.array([True, False])})


DIGEST = """
import hashlib, gymnasium, numpy as np, envs
envs_ = gymnasium.make_vec("icarus/Skills-v0", num_envs=500, vectorization_mode="vector_entry_point")
digest = hashlib.sha256(envs_.reset(seed=8)[0].tobytes())
for turn in range(21):
    told = envs_.step(np.random.default_rng(turn).random((500, 12)))
    for array in (*told[:4], told[4]["signals"]):
        digest.update(array.tobytes())
print(digest.hexdigest())
"""


def test_ten_thousand_turns_are_the_same_bytes_in_another_process_and_after_other_chance(
    capsys: pytest.CaptureFixture[str],
) -> None:
    np.random.seed(3)  # noqa: NPY002  # the global generator, which nothing here may listen to
    exec(compile(DIGEST, "digest", "exec"), {})
    here = capsys.readouterr().out
    there = subprocess.run(
        [sys.executable, "-c", DIGEST], env={**os.environ, "PYTHONHASHSEED": "77", "PYTHONPATH": os.pathsep.join(sys.path)},
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert here == there


def test_the_plain_numpy_environment_that_it_is_measured_against_does_the_same() -> None:
    from benchmarks.vector import NumpySkillsEnv

    ours, plain = SkillsEnv(judge=STILL), NumpySkillsEnv()
    plain.response = ours.sessions.response
    for seed in range(4):
        ours.reset(seed=seed)
        plain.reset(seed=seed)
        for turn in range(20):
            action = actions_of(turn)[seed % 3]
            mine, other = ours.step(action), plain.step(action)
            assert mine[4]["scores"] == pytest.approx(other[4]["scores"], abs=1e-9)
            assert mine[4]["reward_parts"] == pytest.approx(other[4]["reward_parts"], abs=1e-9)
            assert mine[2:4] == other[2:4]
            assert mine[0][6:].tolist() == other[0][6:].tolist()
            if mine[2] or mine[3]:
                break
