"""Many sessions at once are the same sessions, and a call of judge or voice is one call."""

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from test_envs_session import CATALOG, CountingJudge, by_words, same

from envs.session import SessionEnv
from envs.session_vector import SessionVectorEnv
from envs.types import ClientFailed, JudgeFailed
from envs.voice import AuthoredVoice, SpeakingTurn, VoiceFailure
from judges.protocol import Exchange, JudgeFailure
from judges.scripted import ScriptedJudge

MODES = list(AutoresetMode)


def moody(exchange: Exchange) -> list[float]:
    """Sessions that end in all three ways, at different turns: cruel, decent or excellent by the client's first words."""
    first = exchange.history[0].client if exchange.history else exchange.client
    kind = sum(map(ord, first)) % 3
    return [float(min(10, (0.0, 5.0, 9.0)[kind] + (d + len(exchange.therapist)) % 3 * 0.37)) for d in range(12)]


def new_vector(count: int = 5, mode: AutoresetMode = AutoresetMode.NEXT_STEP, **others: Any) -> SessionVectorEnv:
    settings = {"judge": CountingJudge(moody), "catalog": CATALOG, "max_turns": 6, **others}
    return SessionVectorEnv(count, autoreset_mode=mode, **settings)


def new_sync(count: int, mode: AutoresetMode, **others: Any) -> SyncVectorEnv:
    settings = {"judge": CountingJudge(moody), "catalog": CATALOG, "max_turns": 6, **others}
    return SyncVectorEnv([lambda: SessionEnv(**settings)] * count, autoreset_mode=mode)


def plain(value: Any) -> Any:
    """Infos with what NumPy compares by identity taken apart, keys sorted."""
    if isinstance(value, dict):
        return {name: plain(value[name]) for name in sorted(value)}
    if isinstance(value, np.ndarray) and value.dtype == object:
        return [plain(each) for each in value]
    return tuple(map(plain, value)) if isinstance(value, tuple) else value


def replies(step: int, count: int) -> tuple[str, ...]:
    return tuple(f"I hear you.{'.' * ((step + i) % 4)}" for i in range(count))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("client", ["authored", "silent"])
def test_sub_environments_are_single_ones_to_the_bit(mode: AutoresetMode, client: str) -> None:
    """Observations, rewards, ends and infos over many autoresets are those of SyncVectorEnv over SessionEnv."""
    many, singles = new_vector(5, mode, client=client), new_sync(5, mode, client=client)
    found, expected = many.reset(seed=3), singles.reset(seed=3)
    assert same(plain(found[0]), plain(expected[0]))
    assert same(plain(found[1]), plain(expected[1]))
    ends = set()
    for step in range(40):
        words = replies(step, 5)
        found, expected = many.step(words), singles.step(words)
        for name, a, b in zip(
            ("observation", "reward", "terminated", "truncated", "info"), found, expected, strict=True
        ):
            assert same(plain(a), plain(b)), (step, name)
        assert many.observation_space.contains(found[0])
        infos = found[4].get("final_info", found[4])
        ends |= set(infos.get("ending", [])) - {None}
        over = found[2] | found[3]
        if mode == AutoresetMode.DISABLED and over.any():
            found = many.reset(options={"reset_mask": over})
            expected = singles.reset(options={"reset_mask": over})
            assert same(plain(found[0]), plain(expected[0]))
            assert same(plain(found[1]), plain(expected[1]))
    assert len(ends) >= 2
    for chance, other in zip(many.np_random, singles.np_random, strict=True):
        assert chance.bit_generator.state == other.bit_generator.state
    assert many.np_random_seed == singles.np_random_seed


def test_a_list_of_seeds_seeds_each() -> None:
    many = new_vector(3)
    observation, _ = many.reset(seed=[9, None, 4])
    one = SessionEnv(judge=CountingJudge(moody), catalog=CATALOG, max_turns=6)
    assert observation["beliefs"][0].tobytes() == one.reset(seed=9)[0]["beliefs"].tobytes()
    assert observation["beliefs"][2].tobytes() == one.reset(seed=4)[0]["beliefs"].tobytes()


def test_gymnasium_makes_it_by_name_in_every_mode() -> None:
    for mode in (*MODES, "SameStep"):
        env = gymnasium.make_vec(
            "envs:icarus/Session-v0", num_envs=3, vectorization_mode="vector_entry_point", judge=ScriptedJudge(moody),
            max_turns=2, autoreset_mode=mode,
        )  # fmt: skip
        assert isinstance(env.unwrapped, SessionVectorEnv)
        assert env.metadata["autoreset_mode"] == AutoresetMode(mode)
        observation, _ = env.reset(seed=1)
        assert env.observation_space.contains(observation)
        assert env.action_space.contains(replies(0, 3))
        env.step(replies(0, 3))
        assert env.step(replies(1, 3))[3].any()
        env.close()


class CountingVoice(AuthoredVoice):
    """Counts what it was asked, and fails where it is told to."""

    def __init__(self) -> None:
        super().__init__(CATALOG)
        self.asked: list[int] = []
        self.mute: set[int] = set()

    def speak(self, turns: Sequence[SpeakingTurn]) -> list[Any]:
        self.asked.append(len(turns))
        said = super().speak(turns)
        return [VoiceFailure("hoarse") if i in self.mute else words for i, words in enumerate(said)]


def test_models_are_called_once_a_step() -> None:
    voice = CountingVoice()
    env = new_vector(8, client=voice, max_turns=3)
    env.reset(seed=0)
    for step in range(9):
        env.step(replies(step, 8))
    assert voice.asked == [8] * 10  # those that begin speak in the same call as those that answer
    assert max(env.conduct.judge.asked) == 8
    assert len(env.conduct.judge.asked) <= 9


def future(env: SessionVectorEnv, steps: int = 3) -> list[Any]:
    return [plain(env.step(replies(step, env.num_envs))) for step in range(steps)]


def test_a_judge_that_fails_for_some_changes_nobody_and_is_asked_again_for_them_alone() -> None:
    broken = {"now": True}

    def script(exchange: Exchange) -> Any:
        return JudgeFailure("unreadable") if broken["now"] and exchange.therapist == "b" else 6.0

    env, other = (
        new_vector(4, judge=CountingJudge(script), judge_retries=0),
        new_vector(4, judge=ScriptedJudge(lambda _: 6.0)),
    )
    env.reset(seed=2)
    other.reset(seed=2)
    before = env.snapshot()
    with pytest.raises(JudgeFailed, match=r"2 of 4.*1: .*unreadable.*3: .*unreadable") as failed:
        env.step(("a", "b", "c", "b"))
    assert set(failed.value.failures) == {1, 3}
    assert same(env.snapshot(), before)
    broken["now"] = False
    found = env.step(("a", "b", "c", "b"))
    assert env.conduct.judge.asked == [4, 2]
    assert same(plain(found), plain(other.step(("a", "b", "c", "b"))))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("turn", [1, 2])
def test_a_voice_that_fails_for_some_changes_nobody(mode: AutoresetMode, turn: int) -> None:
    voice = CountingVoice()
    env, other = new_vector(4, mode, client=voice, max_turns=2), new_vector(4, mode, max_turns=2)
    for each in (env, other):
        each.reset(seed=5)
        for step in range(turn - 1):
            each.step(replies(step, 4))
    before = env.snapshot()
    voice.mute = {2}
    with pytest.raises(ClientFailed, match=r"2: .*hoarse") as failed:
        env.step(replies(9, 4))
    assert set(failed.value.failures) == {2}
    assert same(env.snapshot(), before)
    voice.mute = set()
    assert same(plain(env.step(replies(9, 4))), plain(other.step(replies(9, 4))))


def test_a_snapshot_of_all_leads_to_the_same_future() -> None:
    env, other = new_vector(3), new_vector(3)
    env.reset(seed=7)
    future(env, 5)
    kept = env.snapshot()
    first = future(env, 8)
    observation = env.restore(kept)
    assert env.observation_space.contains(observation)
    assert same(future(env, 8), first)
    other.restore(kept)
    assert same(future(other, 8), first)


def test_trying_is_one_call_and_changes_nothing() -> None:
    env = new_vector(3, judge=CountingJudge(by_words))
    env.reset(seed=7)
    before = env.snapshot()
    found = env.evaluate([["a", "bb"], ["a"], []])
    assert [len(own) for own in found] == [2, 1, 0]
    assert env.conduct.judge.asked == [3]
    assert same(env.snapshot(), before)
    rewards = env.step(("bb", "a", "c"))[1]
    assert rewards[0] == found[0][1].reward
    assert rewards[1] == found[1][0].reward
    assert env.conduct.judge.asked == [3, 1]


def test_what_was_handed_out_may_be_scribbled_on() -> None:
    env, other = new_vector(3), new_vector(3)
    handed = [env.reset(seed=1)]
    other.reset(seed=1)
    for step in range(10):
        for observation, info in [(each[0], each[-1]) for each in handed]:
            for value in [*observation.values(), *info.values()]:
                if isinstance(value, np.ndarray):
                    value[...] = 0
        handed.append(env.step(replies(step, 3)))
        assert same(plain(handed[-1]), plain(other.step(replies(step, 3))))


@pytest.mark.parametrize(
    "wrong", [None, "one text", ("a", "b"), ("a", "b", None), ("a", "b\0", "c"), ("a", "\ud800", "c"), ["a", "b", b"c"]]
)
def test_what_nobody_can_say_is_refused_and_changes_nothing(wrong: Any) -> None:
    env = new_vector(3)
    env.reset(seed=1)
    before = env.snapshot()
    with pytest.raises(InvalidAction, match="found"):
        env.step(wrong)
    assert same(env.snapshot(), before)
    assert env.conduct.judge.asked == []


def test_steps_and_resets_out_of_order_are_refused() -> None:
    env = new_vector(2, AutoresetMode.DISABLED, max_turns=1)
    for call in (
        lambda: env.step(("a", "b")),
        env.snapshot,
        lambda: env.client_view(0),
        lambda: env.evaluate([[], []]),
    ):
        with pytest.raises(ResetNeeded, match="reset"):
            call()
    with pytest.raises(ResetNeeded, match="first reset"):
        env.reset(options={"reset_mask": np.array([True, False])})
    env.reset(seed=1)
    with pytest.raises(ResetNeeded, match=r"\[0, 1\]"):
        env.reset(options={"same_client": True})
    env.step(("a", "b"))
    before = env.snapshot()
    with pytest.raises(ResetNeeded, match=r"\[0, 1\] are over"):
        env.step(("a", "b"))
    for wrong in (np.array([1, 0]), np.zeros(2, dtype=bool), np.ones(3, dtype=bool), [True, False]):
        with pytest.raises(ValueError, match="reset_mask"):
            env.reset(seed=4, options={"reset_mask": wrong})
    with pytest.raises(ValueError, match="seeds"):
        env.reset(seed=[1, 2, 3])
    with pytest.raises(ValueError, match="strategy"):
        env.reset(seed=4, options={"strategy": "Z9"})
    assert same(env.snapshot(), before)
    observation, info = env.reset(options={"same_client": True, "reset_mask": np.array([False, True])})
    assert observation["session"].tolist() == [1, 2]
    assert info["_levels"].tolist() == [False, True]


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(ValueError, match="num_envs") as refused:
        SessionVectorEnv(0, client="loud", judge=3, catalog=3, stage=9, max_turns=True, reward=1, settings={},
                         judge_retries=-1, render_mode="hologram", autoreset_mode="Never")  # fmt: skip
    for name in ("client", "judge", "catalog", "stage", "max_turns", "reward", "settings", "judge_retries"):
        assert f"found {name} " in str(refused.value)
    for name in ("num_envs", "render_mode", "autoreset_mode"):
        assert f"found {name} " in str(refused.value)


def test_every_sub_environment_is_rendered() -> None:
    env = new_vector(2, render_mode="ansi")
    with pytest.raises(ResetNeeded):
        env.render()
    env.reset(seed=1)
    env.step(("I hear how tired you are.", "Tell me."))
    one, two = env.render()
    assert "I hear how tired you are." in one
    assert "Tell me." in two
    assert new_vector(2).render() is None


def test_a_failure_names_the_sub_environment_where_some_begin_and_some_go_on() -> None:
    voice = CountingVoice()
    env = new_vector(4, client=voice, max_turns=6)
    env.reset(seed=0)
    found = env.step(replies(0, 4))
    while not 0 < (found[2] | found[3]).sum() < 4:
        found = env.step(replies(0, 4))
    beginning = np.flatnonzero(found[2] | found[3])
    before = env.snapshot()
    voice.mute = {3}  # asked last: those that begin come after those that answer
    with pytest.raises(ClientFailed) as failed:
        env.step(replies(1, 4))
    assert set(failed.value.failures) == {int(beginning[-1])}
    assert same(env.snapshot(), before)
