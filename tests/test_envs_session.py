"""icarus/Session-v0: one seed one future, a refused action changes nothing, a trial is no step."""

import hashlib
import json
import os
import random
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import is_dataclass
from itertools import product
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import copied_tables

import envs
from client_graph.catalog import load_catalog
from client_graph.client import ClientGraph
from client_graph.names import PHASES
from client_graph.personhood import draw
from envs.session import SessionEnv
from envs.snapshot import from_json, to_json
from envs.types import ClientFailed, JudgeFailed
from envs.voice import AuthoredVoice, SpeakingTurn, VoiceFailure
from judges.protocol import Exchange, JudgeFailure, Judgement
from judges.scripted import ScriptedJudge
from rewards.settings import RewardSettings

CATALOG = load_catalog()


def by_turn(exchange: Exchange) -> list[float]:
    """Scores from the number of the turn and nothing else."""
    return [float((7 * len(exchange.history) + 3 * d) % 11) for d in range(12)]


def by_words(exchange: Exchange) -> list[float]:
    """Scores from the reply and the turn, so that two replies are two futures."""
    return [float((len(exchange.therapist) + 3 * len(exchange.history) + d) % 11) for d in range(12)]


class CountingJudge(ScriptedJudge):
    """Counts what it was asked."""

    def __init__(self, script: Any) -> None:
        super().__init__(script)
        self.asked: list[int] = []

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement | JudgeFailure]:
        self.asked.append(len(exchanges))
        return super().judge(exchanges)


def new_env(script: Any = by_words, **settings_: Any) -> SessionEnv:
    return SessionEnv(judge=CountingJudge(script), catalog=CATALOG, **settings_)


def kept(env: SessionEnv) -> str:
    return json.dumps(to_json(env.snapshot()))


def same(a: Any, b: Any) -> bool:
    """Equal to the bit, through containers."""
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.tobytes() == b.tobytes()
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(x, y) for x, y in zip(a, b, strict=True))
    if is_dataclass(a):
        return type(a) is type(b) and same(vars(a), vars(b))
    return type(a) is type(b) and bool(a == b)


# The interface of Gymnasium


def test_gymnasium_checks_the_environment() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(SessionEnv(judge=ScriptedJudge(by_turn)), skip_render_check=True)


def test_gymnasium_makes_it_by_name() -> None:
    env = gymnasium.make("envs:icarus/Session-v0", judge=ScriptedJudge(by_turn), max_turns=2)
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    env.step("Hello.")
    assert env.step("Go on.")[3]
    assert isinstance(env.unwrapped, envs.SessionEnv)


def test_observations_are_in_the_space_and_say_nothing_of_the_truth() -> None:
    env = new_env(by_turn)
    observation, info = env.reset(seed=3)
    for turn in range(1, 21):
        assert env.observation_space.contains(observation)
        assert not np.array_equal(observation["beliefs"], info["levels"])
        observation, reward, terminated, truncated, info = env.step("I am with you.")
        assert type(reward) is float
        assert reward == pytest.approx(sum(info["reward_parts"].values()), abs=1e-12)
        assert observation["turn"] == turn
        if terminated or truncated:
            break
    assert env.observation_space.contains(observation)
    assert info["ending"] is not None


@pytest.mark.parametrize(
    "wrong", [{"max_turns": 0}, {"render_mode": "hologram"}, {"client": "loud"}, {"judge": "coin"}]
)
def test_settings_that_have_no_meaning_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        SessionEnv(**({"judge": ScriptedJudge([])} | wrong))


def test_rendering_says_what_it_is() -> None:
    env = new_env(by_turn, render_mode="ansi")
    env.reset(seed=1)
    env.step("I hear how tired you are.")
    assert "not for clinical use" in env.render()
    assert "I hear how tired you are." in env.render()
    assert new_env().render() is None


# One seed, one future


def test_twins_agree_whatever_others_do_with_the_global_generators() -> None:
    one, two = new_env(by_turn), new_env(by_turn)
    for episode in range(3):
        seed = 11 if episode == 0 else None
        assert same(one.reset(seed=seed), two.reset(seed=seed))
        over = False
        while not over:
            first = one.step("Tell me more.")
            random.seed(episode)
            np.random.seed(episode)  # noqa: NPY002  # the point: nobody may listen to it
            np.random.random(7)  # noqa: NPY002
            assert same(first, two.step("Tell me more."))
            over = first[2] or first[3]
        assert kept(one) == kept(two)


def test_other_seeds_are_other_people() -> None:
    env = new_env()
    people = {env.reset(seed=seed)[1]["levels"].tobytes() for seed in range(20)}
    assert len(people) == 20
    assert len({env.reset(seed=seed)[0]["client"] for seed in range(20)}) > 3


PASSAGE = """
import hashlib, sys, numpy as np
from envs import SessionEnv
from judges.scripted import ScriptedJudge
env = SessionEnv(judge=ScriptedJudge(lambda e: [float((7 * len(e.history) + 3 * d) % 11) for d in range(12)]))
digest, over = hashlib.sha256(), True
env.action_space.seed(5)
for step in range(int(sys.argv[1])):
    if over:
        observation, info = env.reset(seed=1 if step == 0 else None)
        digest.update(observation["client"].encode() + observation["beliefs"].tobytes() + info["levels"].tobytes())
    action = env.action_space.sample()[:50] if step % 10 == 0 else "Go on."
    observation, reward, terminated, truncated, info = env.step(action)
    over = terminated or truncated
    words = [observation["client"], action, info["phase"], str(sorted(info["reward_parts"].items())), info["client_reasoning"]]
    digest.update("|".join(words).encode() + observation["beliefs"].tobytes() + np.float64(reward).tobytes())
    digest.update(b"".join(np.int64(observation[name]).tobytes() for name in ("turn", "session", "stage", "stance")))
    digest.update(b"".join(info[name].tobytes() for name in ("levels", "buckets", "loa", "axes", "scores")))
print(digest.hexdigest())
"""
PASSAGE_STEPS = 5_000  # what fits into twenty seconds of a busy machine


def test_a_long_passage_is_the_same_in_every_process() -> None:
    """Byte for byte, whatever the hash seed: observations, rewards, truth and sampled actions."""
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", PASSAGE, str(PASSAGE_STEPS)],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            stdout=subprocess.PIPE,
            text=True,
            cwd=os.path.dirname(os.path.dirname(envs.__file__)),
        )
        for hash_seed in ("1", "271828")
    ]
    one, two = (run.communicate(timeout=300)[0].strip() for run in runs)
    assert len(one) == len(hashlib.sha256().hexdigest())
    assert one == two


# What is refused, and what that leaves


def test_a_step_needs_a_running_session() -> None:
    env = new_env(by_turn, max_turns=1)
    for call in (lambda: env.step("Hi."), lambda: env.evaluate(["Hi."]), env.snapshot, lambda: env.client_view):
        with pytest.raises(ResetNeeded, match="reset"):
            call()
    env.reset(seed=0)
    assert env.step("Hi.")[3]
    before = kept(env)
    with pytest.raises(ResetNeeded, match="over"):
        env.step("Hi.")
    with pytest.raises(ResetNeeded, match="over"):
        env.evaluate(["Hi."])
    assert kept(env) == before


@pytest.mark.parametrize(
    "action",
    [None, b"Hello.", 3, ["Hello."], np.array("Hello."), "a lone \ud83d", "a \0 inside", "x" * 1_000_000, "x" * 8_001],
    ids=["None", "bytes", "int", "list", "array", "surrogate", "NUL", "1 MB", "8001"],
)
def test_what_nobody_can_say_is_refused_and_changes_nothing(action: Any) -> None:
    env = new_env(by_turn)
    env.reset(seed=0)
    env.step("Good morning.")
    before = kept(env)
    for call in (env.step, lambda a: env.evaluate(["Fine.", a])):
        with pytest.raises(InvalidAction, match=r"found .*"):
            call(action)
        assert kept(env) == before
    assert env.judge.asked == [1]
    assert not env.action_space.contains(action)
    env.step("Still here.")


def test_silence_and_the_longest_reply_are_legal() -> None:
    env = new_env(by_turn)
    env.reset(seed=0)
    for action in ("", "   ", "x" * 8_000, "<think></think>"):
        assert env.action_space.contains(action)
        env.step(action)
    assert [turn.therapist for turn in env.history] == ["", "", "x" * 8_000, ""]


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=200))
@settings(max_examples=60, deadline=None)
def test_any_text_is_accepted(words: str) -> None:
    env = new_env(lambda _: 5.0)
    env.reset(seed=0)
    assert env.action_space.contains(words)
    env.step(words)
    assert len(env.history) == 1


@pytest.mark.parametrize(
    ("action", "reasoning", "said"),
    [
        ("<think>He is afraid.</think>\nI am here.", "He is afraid.", "I am here."),
        ("I am <think>not</think> here.", "I am <think>not", "here."),
        ("<think>never closed", "never closed", ""),
        ("<think>a</think><think>b</think>c", "a", "<think>b</think>c"),
    ],
)
def test_what_stands_before_the_end_of_a_thought_is_private(action: str, reasoning: str, said: str) -> None:
    env = new_env(by_turn)
    env.reset(seed=0)
    env.step(action)
    assert (env.history[0].reasoning, env.history[0].therapist) == (reasoning, said)


@pytest.mark.parametrize("retries", [0, 1, 3])
def test_a_judge_that_fails_leaves_the_client_alone(retries: int) -> None:
    env = new_env(lambda _: JudgeFailure("unreadable"), judge_retries=retries)
    env.reset(seed=0)
    before = kept(env)
    with pytest.raises(JudgeFailed, match="unreadable"):
        env.step("Hello.")
    assert env.judge.asked == [1] * (1 + retries)
    assert kept(env) == before
    assert env.evaluate(["Hello."]) == [JudgeFailure("unreadable")]


def test_a_judge_that_fails_once_is_asked_again_for_what_is_missing() -> None:
    env = new_env([JudgeFailure("busy"), 7.0, 6.0], judge_retries=1)
    env.reset(seed=0)
    found = env.evaluate(["one", "two"])
    assert env.judge.asked == [2, 1]
    assert [outcome.judgement.composite for outcome in found] == [6.0, 7.0]
    fresh = new_env([6.0])
    fresh.reset(seed=0)
    assert same(env.step("one"), fresh.step("one"))


def test_a_judge_that_raises_leaves_the_client_alone() -> None:
    env = new_env([])
    env.reset(seed=0)
    before = kept(env)
    with pytest.raises(IndexError):
        env.step("Hello.")
    assert kept(env) == before


class MuteVoice(AuthoredVoice):
    """Draws from the generator, then has nothing to say, in one of two ways; until it is told to speak."""

    how: str | None = None

    def speak(self, turns: Sequence[SpeakingTurn]) -> list[Any]:
        if self.how is None:
            return super().speak(turns)
        turns[0].rng.random(3)
        if self.how == "raises":
            raise RuntimeError("out of memory")
        return [VoiceFailure("no words")]


@pytest.mark.parametrize(("how", "error"), [("fails", ClientFailed), ("raises", RuntimeError)])
def test_a_voice_that_fails_leaves_everything_as_it_was(how: str, error: type[Exception]) -> None:
    voice = MuteVoice(CATALOG)
    env = new_env(by_turn, client=voice)
    env.reset(seed=0)
    env.step("Hello.")
    before = kept(env)
    voice.how = how
    with pytest.raises(error):
        env.step("And then?")
    assert kept(env) == before
    voice.how = None
    plain = new_env(by_turn)
    plain.reset(seed=0)
    plain.step("Hello.")
    assert same(env.step("And then?"), plain.step("And then?"))


@pytest.mark.parametrize(
    "options",
    [{"mood": "good"}, {"strategy": "Z9"}, {"stage": 5}, {"concern": "rain"}, {"same_client": True}],
    ids=["unknown", "strategy", "stage", "concern", "same_client"],
)
def test_a_reset_that_is_refused_changes_nothing(options: dict[str, Any]) -> None:
    env = new_env()
    env.reset(seed=0)
    before = kept(env)
    with pytest.raises((ValueError, ResetNeeded)):
        env.reset(seed=99, options=options)
    assert kept(env) == before


def test_same_client_takes_no_other_wishes() -> None:
    env = new_env(lambda _: 5.0, max_turns=1)
    env.reset(seed=0, options={"stage": 1})
    env.step("Hello.")
    with pytest.raises(ValueError, match="same_client"):
        env.reset(options={"same_client": True, "stage": 3})


def test_a_negative_number_of_retries_is_refused() -> None:
    with pytest.raises(ValueError, match="judge_retries"):
        new_env(judge_retries=-1)


# Trying is not doing


def test_evaluating_changes_nothing_and_its_outcome_is_what_step_does() -> None:
    env, plain = new_env(), new_env()
    for each in (env, plain):
        each.reset(seed=4)
    words = ["Tell me.", "I hear you, and I am not going anywhere.", "", "Tell me."]
    for _ in range(4):
        before = kept(env)
        found = env.evaluate(words)
        assert kept(env) == before
        asked = len(env.judge.asked)
        assert env.judge.asked[-1] == 3  # the same words are judged once
        assert found[0] is found[3]
        stepped = env.step(words[1])
        assert len(env.judge.asked) == asked
        assert stepped[1] == found[1].reward
        assert same(stepped, plain.step(words[1]))
        assert kept(env) == kept(plain)


def test_candidates_meet_the_same_chance() -> None:
    env = new_env(lambda _: 1.0)  # low attunement: beliefs are blurred by the client's stream
    env.reset(seed=2)
    one, two = env.evaluate(["a", "b"])
    assert one.state.same_as(two.state)


def test_what_was_handed_out_may_be_scribbled_on() -> None:
    env, plain = new_env(), new_env()
    handed = [env.reset(seed=6)]
    plain.reset(seed=6)
    for _ in range(3):
        handed.append(env.step("Go on."))
        snapshot = env.snapshot()
        plain.step("Go on.")
        for observation, info in [(part[0], part[-1]) for part in handed]:
            for array in (observation["beliefs"], *(info[n] for n in ("levels", "buckets", "loa", "axes"))):
                array[:] = 0.0
            info.get("scores", np.zeros(1))[:] = 0.0
        for array in (*snapshot.session.state, *snapshot.session.report):
            array[:] = 0
        snapshot.session.tried.clear()
    assert kept(env) == kept(plain)


def test_an_outcome_may_be_scribbled_on() -> None:
    env, plain = new_env(), new_env()
    for each in (env, plain):
        each.reset(seed=6)
    for outcome in env.evaluate(["Go on."]):
        for array in (*outcome.state, *outcome.report, *outcome.parts):
            if array.flags.writeable:
                array[:] = 0
    env.step("Go on.")
    plain.step("Go on.")
    assert kept(env) == kept(plain)


def test_the_view_may_be_scribbled_on() -> None:
    env = new_env()
    env.reset(seed=6)
    before = kept(env)
    for array in env.client_view.state:
        if array.flags.writeable:
            array[:] = 0
    assert kept(env) == before


def test_the_composite_is_on_the_judges_scale_whatever_it_is_worth() -> None:
    env = new_env(lambda _: 5.0, reward=RewardSettings(composite=3.0))
    env.reset(seed=0)
    assert env.evaluate(["Hello."])[0].composite == pytest.approx(5.0)
    *_, info = env.step("Hello.")
    assert info["composite"] == pytest.approx(5.0)
    assert info["reward_parts"]["composite"] == pytest.approx(15.0)


# Snapshots and sessions


@pytest.mark.parametrize("turns", [0, 3, 6])
def test_a_snapshot_on_paper_leads_to_the_same_future(turns: int) -> None:
    env = new_env(by_turn, max_turns=6)
    env.reset(seed=8, options={"stage": 2})
    for _ in range(turns):
        env.step("Go on.")
    paper = json.dumps(to_json(env.snapshot()), allow_nan=False)

    def future(each: SessionEnv) -> list[Any]:
        steps: list[Any] = []
        for _ in range(turns, 6):
            steps.append(each.step("And now?"))
        return [*steps, each.reset(options={"same_client": True}), each.step("Welcome back."), kept(each)]

    first = future(env)
    for other in (new_env(by_turn, max_turns=6), env):
        if other is not env:
            other.reset(seed=123)
        other.restore(from_json(json.loads(paper)))
        assert kept(other) == paper
        assert same(future(other), first)


def test_a_stage_asked_for_as_a_numpy_integer_is_written_as_well() -> None:
    env = new_env(by_turn)
    env.reset(seed=0, options={"stage": np.int64(2)})
    assert from_json(json.loads(kept(env))).session.person.stage == 2


def test_a_snapshot_may_be_restored_twice() -> None:
    env = new_env(by_turn)
    env.reset(seed=8)
    snapshot = env.snapshot()
    first = env.step("One.")
    for _ in range(2):
        env.restore(snapshot)
        assert same(env.step("One."), first)


def test_the_same_client_comes_back_for_session_two() -> None:
    env = new_env(lambda _: 7.0, max_turns=3)
    _, first = env.reset(seed=1)
    for _ in range(3):
        *_, truncated, ended = env.step("I am here.")
    assert truncated
    assert ended["ending"] == "turn_limit"
    observation, info = env.reset(options={"same_client": True})
    assert (observation["session"], observation["turn"]) == (2, 0)
    assert info["person"] == first["person"]
    assert info["levels"].tobytes() == ended["levels"].tobytes()
    assert info["phase"] == "A"
    assert env.history == ()


def ending(stage: int, score: float, seed: int) -> tuple[str, list[dict[str, Any]]]:
    env = new_env(lambda _: score, stage=stage)
    env.reset(seed=seed)
    infos = []
    for _ in range(20):
        _, _, terminated, truncated, info = env.step("…")
        infos.append(info)
        assert (terminated or truncated) == (info["ending"] is not None)
        assert terminated == (info["ending"] in ("left", "closed_well"))
        if terminated or truncated:
            return info["ending"], infos
    raise AssertionError("twenty turns and no end")


def test_cruelty_drives_the_client_away() -> None:
    name, infos = ending(1, 0.0, 0)
    assert name == "left"
    assert infos[0]["rupture"]
    assert infos[-1]["alliance"] < infos[0]["alliance"]


def test_a_session_of_the_integration_stage_can_close_well() -> None:
    name, infos = ending(3, 9.0, 0)
    assert name == "closed_well"
    assert [info["phase"] for info in infos[-4:]] == ["C", "D", "D", "D"]  # three turns in D, not more
    assert sum(info["reward_parts"]["phase_transition"] for info in infos) == 60.0


def test_indifference_ends_at_the_turn_limit() -> None:
    name, infos = ending(1, 5.0, 0)
    assert (name, len(infos)) == ("turn_limit", 20)


def test_a_stage_gained_is_rewarded_on_the_last_turn() -> None:
    env = new_env(lambda _: 9.0, stage=2)
    env.reset(seed=0)
    gained = []
    for _ in range(12):
        over = False
        while not over:
            _, _, terminated, truncated, info = env.step("…")
            over = terminated or truncated
            assert info["reward_parts"]["stage_transition"] in (0.0, 100.0)
            assert over or info["reward_parts"]["stage_transition"] == 0.0
        gained.append(info["stage_step"])
        assert info["reward_parts"]["stage_transition"] == 100.0 * info["stage_step"]
        observation, _ = env.reset(options={"same_client": True})
    assert sum(gained) == observation["stage"] - 2 >= 1
    assert gained[0] == 0


# The offline voice


def test_the_authored_voice_is_never_without_a_line() -> None:
    voice = AuthoredVoice(CATALOG)
    state, (person,) = draw(CATALOG, np.random.default_rng(0))
    concerns = [row.name for row in CATALOG.rows["concerns"]]
    moments = ("ordinary", "moved", "hurt", "opening", "closing")
    for phase, coherence, moment, concern in product(range(4), ("odd", "even", "balanced"), moments, concerns):
        state.phase[:] = phase
        someone = type(person)(**(vars(person) | {"coherence": coherence, "concern": concern}))
        turn = SpeakingTurn(ClientGraph(state, CATALOG), someone, moment, (), np.random.default_rng(0))
        assert voice.fitting(turn, moment), (PHASES[phase], coherence, moment, concern)


def test_no_line_is_said_twice_in_a_session_while_another_fits() -> None:
    env = new_env(lambda _: 5.0, stage=1)
    for seed in range(5):
        env.reset(seed=seed)
        over = False
        while not over:
            _, _, terminated, truncated, _ = env.step("Go on.")
            over = terminated or truncated
        said = [turn.client for turn in env.history]
        doubled = [i for i, line in enumerate(said) if line in said[:i]]
        assert all(i >= 5 for i in doubled), said


def test_a_missing_line_is_an_event_and_not_made_up(tmp_path: Any) -> None:
    silent = load_catalog(copied_tables(tmp_path, voice=lambda rows: [r for r in rows if r["moment"] == "opening"]))
    env = SessionEnv(judge=ScriptedJudge(by_turn), catalog=silent)
    env.reset(seed=0)
    before = kept(env)
    with pytest.raises(ClientFailed, match=r"voice\.csv"):
        env.step("Hello.")
    assert kept(env) == before


def test_ten_seconds_are_enough_for_a_thousand_steps() -> None:
    """A guard against an accident in the loop, not a benchmark."""
    env = new_env(by_turn)
    start, over = time.perf_counter(), True
    for _ in range(1_000):
        if over:
            env.reset(seed=0)
        *_, terminated, truncated, _ = env.step("Go on.")
        over = terminated or truncated
    assert time.perf_counter() - start < 10.0
