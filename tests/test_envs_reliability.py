"""Faults that an environment has to survive (the env and number lines of the reliability list), each injected."""

import json
import os
import subprocess
import sys
import textwrap
import time
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import InvalidAction
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from test_envs_session import CATALOG, by_turn, same
from test_envs_session_vector import moody, replies

import envs
from client_graph.drive import ScoreError
from client_graph.state import out_of_range
from envs.session import RENDER_MODES, SessionEnv
from envs.session_vector import SessionVectorEnv
from envs.snapshot import to_json
from envs.twins import check_twins
from judges.protocol import Assessment, JudgeError, JudgeFailure, Judgement
from judges.scripted import ScriptedJudge

ROOT = os.path.dirname(os.path.dirname(envs.__file__))
MODES = list(AutoresetMode)


def new_env(script: Any = by_turn, **others: Any) -> SessionEnv:
    return SessionEnv(**({"client": "silent", "judge": ScriptedJudge(script), "catalog": CATALOG} | others))


def kept(env: SessionEnv) -> str:
    return json.dumps(to_json(env.snapshot()))


def script_of(body: str, *arguments: str, **environ: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(body), *arguments],
        env=os.environ | environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT,
    )  # fmt: skip


def said_by(run: "subprocess.Popen[str]", seconds: float) -> str:
    """What a process printed; it is ended where it hangs."""
    try:
        return run.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        run.kill()
        run.communicate()
        raise


PASSAGE = """
    import hashlib, sys, numpy as np
    from envs import SessionEnv, SessionVectorEnv
    from judges.scripted import ScriptedJudge

    def script(e):
        return [float((7 * len(e.history) + 3 * d + len(e.therapist)) % 11) for d in range(12)]

    digest = hashlib.sha256()

    def note(value):
        if isinstance(value, dict):
            for name in value:
                digest.update(name.encode())
                note(value[name])
        elif isinstance(value, np.ndarray) and value.dtype != object:
            digest.update(value.tobytes())
        elif isinstance(value, (list, tuple, np.ndarray)):
            for part in value:
                note(part)
        elif isinstance(value, (float, np.floating)):
            digest.update(np.float64(value).tobytes())
        elif value is None or isinstance(value, (str, int, np.integer)):
            digest.update(repr(value).encode())
        else:  # a person or a judgement: what they hold is in the arrays beside
            digest.update(type(value).__name__.encode())

    env, over = SessionEnv(client="silent", judge=ScriptedJudge(script)), True
    for step in range(int(sys.argv[1]) // 10):
        if over:
            note(env.reset(seed=5 if step == 0 else None))
        found = env.step("Go on." + "." * (step % 7))
        note(found)
        over = found[2] or found[3]
    many = SessionVectorEnv(100, client="silent", judge=ScriptedJudge(script))
    note(many.reset(seed=5))
    for step in range(int(sys.argv[1]) // 100):
        note(many.step(tuple("Go on." + "." * ((step + i) % 7) for i in range(100))))
    print(digest.hexdigest())
"""


def test_ten_thousand_steps_are_the_same_in_every_process() -> None:
    """To the byte, whatever the hash seed: everything that reset and step return, alone and in a vector."""
    runs = [script_of(PASSAGE, "10000", PYTHONHASHSEED=seed) for seed in ("1", "271828")]
    one, two = (said_by(run, 300).strip() for run in runs)
    assert len(one) == 64, one
    assert one == two


@pytest.mark.parametrize(
    "megabyte", ["x" * 1_000_000, "<think>" + "x" * 1_000_000 + "</think>Yes.", "\U0001f642" * 1_000_000]
)
def test_a_megabyte_of_text_is_refused_at_once(megabyte: str) -> None:
    env = new_env()
    env.reset(seed=0)
    many = SessionVectorEnv(2, client="silent", judge=ScriptedJudge(by_turn), catalog=CATALOG)
    many.reset(seed=0)
    before, all_before = kept(env), many.snapshot()
    start = time.process_time()
    with pytest.raises(InvalidAction, match="8000") as refused:
        env.step(megabyte)
    with pytest.raises(InvalidAction, match=r"sub-environment 1.*8000"):
        many.step(("Hello.", megabyte))
    assert time.process_time() - start < 1.0
    assert len(str(refused.value)) < 200
    assert kept(env) == before
    assert same(many.snapshot(), all_before)


@pytest.mark.parametrize(
    "longest", [" " * 8_000, "<think>" * 1_000, "</think>" * 1_000, "<" * 8_000, " </think>" * 800]
)
def test_the_longest_text_is_read_at_once(longest: str) -> None:
    env = new_env()
    env.reset(seed=0)
    start = time.process_time()
    env.step(longest)
    assert time.process_time() - start < 0.5


KILLED = """
    import os, signal, sys
    from multiprocessing import TimeoutError
    from gymnasium.vector import AsyncVectorEnv
    from envs import SessionEnv
    from judges.scripted import ScriptedJudge

    def make():
        return SessionEnv(client="silent", judge=ScriptedJudge(lambda e: 5.0))

    env = AsyncVectorEnv([make, make], shared_memory=False)
    env.reset(seed=0)
    env.step(("a", "b"))
    os.kill(env.processes[0].pid, getattr(signal, sys.argv[1]))
    try:
        env.step_async(("a", "b"))
        env.step_wait(timeout=3)
    except (EOFError, ConnectionError, TimeoutError) as error:
        print("named:", type(error).__name__)
    os.kill(env.processes[1].pid, signal.SIGKILL)
    os.kill(env.processes[0].pid, signal.SIGKILL)
    try:
        env.close(terminate=True)
    except EOFError as error:  # Gymnasium waits for the answer that is still due
        print("named:", type(error).__name__)
    print("closed", flush=True)
    os._exit(0)
"""


@pytest.mark.parametrize("how", ["SIGKILL", "SIGSTOP"])
def test_a_worker_that_is_killed_or_stopped_is_an_error_and_no_hang(how: str) -> None:
    told = said_by(script_of(KILLED, how), 120)
    assert "named:" in told, told
    assert told.strip().endswith("closed"), told


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("batched", [True, False])
def test_the_final_observation_belongs_to_the_ended_episode(mode: AutoresetMode, batched: bool) -> None:
    settings: dict[str, Any] = {"judge": ScriptedJudge(moody), "catalog": CATALOG, "max_turns": 4}
    vector: Any
    if batched:
        vector = SessionVectorEnv(3, autoreset_mode=mode, **settings)
    else:
        vector = SyncVectorEnv([lambda: SessionEnv(**settings)] * 3, autoreset_mode=mode)
    alone = [SessionEnv(**settings) for _ in range(3)]
    vector.reset(seed=11)
    for i, env in enumerate(alone):
        env.reset(seed=11 + i)
    ended, resting = 0, np.zeros(3, dtype=bool)
    for step in range(12):
        observation, _, terminated, truncated, info = vector.step(replies(step, 3))
        over = terminated | truncated
        for i, env in enumerate(alone):
            if resting[i]:
                env.reset()
                continue
            last, *_ = env.step(replies(step, 3)[i])
            if not over[i]:
                continue
            ended += 1
            if mode == AutoresetMode.SAME_STEP:
                assert same(info["final_obs"][i], last)
                assert info["final_info"]["ending"][i] is not None
                env.reset()
            else:
                assert same({name: column[i] for name, column in observation.items()}, last)
                assert info["ending"][i] is not None
        resting = over if mode == AutoresetMode.NEXT_STEP else np.zeros(3, dtype=bool)
        if mode == AutoresetMode.DISABLED and over.any():
            vector.reset(options={"reset_mask": over})
            for i in np.flatnonzero(over):
                alone[i].reset()
    assert ended >= 5


def test_an_environment_is_as_good_as_new_after_a_hundred_episodes() -> None:
    used, new = new_env(max_turns=3), new_env(max_turns=3)
    for episode in range(100):
        used.reset(seed=episode if episode % 3 else None)
        for _ in range(episode % 4):
            *_, terminated, truncated, _ = used.step("Go on.")
            if terminated or truncated:
                break
    assert same(used.reset(seed=7), new.reset(seed=7))
    for _ in range(3):
        assert same(used.step("Tell me."), new.step("Tell me."))
        assert kept(used) == kept(new)


@pytest.mark.parametrize("score", [float("nan"), float("inf"), -float("inf"), 1e308, -1.0, 10.000001, True, "10"])
def test_a_score_that_is_none_is_refused_and_changes_nothing(score: Any) -> None:
    wrong = {"now": False}
    env = new_env(lambda _: [5.0] * 11 + [score] if wrong["now"] else 5.0)
    env.reset(seed=0)
    env.step("Good morning.")
    before, wrong["now"] = kept(env), True
    with pytest.raises(JudgeError, match="artfulness"):
        env.step("Hello.")
    assert kept(env) == before


class Forger:
    """A judge that writes numbers into a judgement past all checks."""

    name = "forger"

    def __init__(self, score: float) -> None:
        self.score = score

    def judge(self, exchanges: Any) -> list[Judgement | JudgeFailure]:
        forged = Assessment([5.0] * 12, ("",) * 12, "")
        object.__setattr__(forged, "scores", np.array([5.0] * 11 + [self.score]))
        return [Judgement(forged, forged) for _ in exchanges]


@pytest.mark.parametrize("score", [float("nan"), float("inf"), 5e307, -1.0])
@pytest.mark.parametrize("count", [1, 4])
def test_a_forged_score_is_refused_and_changes_nothing(score: float, count: int) -> None:
    env = SessionVectorEnv(count, client="silent", judge=Forger(score), catalog=CATALOG)
    env.reset(seed=0)
    before = env.snapshot()
    with pytest.raises(ScoreError):
        env.step(("Hello.",) * count)
    assert same(env.snapshot(), before)
    assert not any(session.tried for session in env.sessions)


def test_random_scores_keep_every_bound() -> None:
    rng = np.random.default_rng(0)
    env = SessionVectorEnv(
        100, client="silent", judge=ScriptedJudge(lambda _: rng.choice([0.0, 10.0, 5.0, 3.3], 12)), catalog=CATALOG
    )
    observation, _ = env.reset(seed=0)
    for step in range(100):
        observation, rewards, *_ = env.step(replies(step, 100))
        assert np.isfinite(rewards).all()
        if step % 10 == 9:
            assert env.observation_space.contains(observation)
            assert [fault for session in env.sessions for fault in out_of_range(session.state)] == []


def test_gymnasium_and_the_twins_are_content_behind_make() -> None:
    def make() -> Any:
        return gymnasium.make("envs:icarus/Session-v0", client="silent", judge=ScriptedJudge(by_turn), max_turns=5)

    check_twins(make, seeds=(0,), steps=12, episodes=2, actions=["Tell me.", "", "<think>She is tired.</think>Rest."])


@pytest.mark.parametrize("mode", [None, *RENDER_MODES])
def test_gymnasium_checks_every_way_of_rendering(mode: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    if mode == "rgb_array":
        pytest.importorskip("matplotlib")
    env = new_env(client="authored", render_mode=mode)
    check_env(env, skip_render_check=True)
    env.reset(seed=0)
    env.step("I hear how tired you are.")
    frame = env.render()
    printed = capsys.readouterr().out
    assert ("I hear how tired you are." in printed) == (mode == "human")
    if mode == "ansi":
        assert "I hear how tired you are." in frame
    elif mode == "rgb_array":
        assert (frame.dtype, frame.ndim, frame.shape[2]) == (np.uint8, 3, 3)
    else:
        assert frame is None


def test_the_spec_goes_on_paper_and_back() -> None:
    """What an experiment was run in can be written down: entry points are words."""
    for name in ("icarus/Session-v0", "icarus/Treatment-v0", "icarus/Skills-v0"):
        spec = gymnasium.spec(name)
        again = gymnasium.envs.registration.EnvSpec.from_json(spec.to_json())
        assert again == spec
        assert isinstance(spec.entry_point, str)
        assert isinstance(spec.vector_entry_point, str)
    env = gymnasium.make("icarus/Session-v0", client="silent", max_turns=3)
    assert env.spec is not None
    again = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(env.spec.to_json()))
    assert same(env.reset(seed=4), again.reset(seed=4))
    assert same(env.step("Hello."), again.step("Hello."))


def test_nothing_that_is_wrong_goes_unnamed() -> None:
    wrong: dict[str, Any] = {
        "client": object(), "judge": "coin", "catalog": 3, "stage": True, "max_turns": 2.5, "reward": {"composite": 1},
        "settings": 4, "judge_retries": "once", "render_mode": ["ansi"],
    }  # fmt: skip
    with pytest.raises(ValueError, match="expected") as refused:
        SessionEnv(**wrong)
    for name in wrong:
        assert f"found {name} " in str(refused.value)
    with pytest.raises(ValueError, match="no/such/folder"):
        SessionEnv(catalog="no/such/folder")
