"""A client of numbers who speaks: a voice that fails changes nothing, and no two sessions are talked alike."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from envs.equality import first_difference
from envs.skills import SkillsEnv
from envs.types import ClientFailed
from envs.voice import SpeakingTurn, Utterance, VoiceFailure

ACTION = np.full(12, 0.3, dtype=np.float32)


class Voice:
    """Says random numbers and what was said before; at its `wrong_at`-th call, `wrong`."""

    name = "numbers"

    def __init__(self, wrong: Any = None, wrong_at: int = -1) -> None:
        self.calls, self.wrong, self.wrong_at = 0, wrong, wrong_at

    def speak(self, turns: Sequence[SpeakingTurn]) -> Any:
        self.calls += 1
        said = [Utterance(f"{turn.rng.random()} {[past.client for past in turn.history]}", "") for turn in turns]
        if self.calls - 1 != self.wrong_at:
            return said
        if isinstance(self.wrong, BaseException):
            raise self.wrong
        return self.wrong


WRONG = [
    ([VoiceFailure("down")], ClientFailed), ([Utterance("\ud800", "")], ClientFailed), ([], TypeError), (["hello"], TypeError),
    (None, TypeError), (KeyboardInterrupt(), KeyboardInterrupt), (OSError("gone"), OSError),
]  # fmt: skip


def told(env: SkillsEnv, turns: int = 3) -> list[Any]:
    return [env.step(ACTION) for _ in range(turns)]


@pytest.mark.parametrize(("wrong", "error"), WRONG, ids=str)
def test_a_voice_that_fails_in_a_step_changes_nothing(wrong: Any, error: type[BaseException]) -> None:
    env, twin = SkillsEnv(client=Voice(wrong, 2), render_mode="ansi"), SkillsEnv(client=Voice(), render_mode="ansi")
    for each in (env, twin):
        each.reset(seed=0)
        each.step(ACTION)
    before, frame = env.snapshot(), env.render()
    with pytest.raises(error):
        env.step(ACTION)
    assert first_difference(env.snapshot(), before) is None
    assert env.render() == frame
    assert first_difference(told(env), told(twin)) is None


@pytest.mark.parametrize(("wrong", "error"), WRONG, ids=str)
@pytest.mark.parametrize("asked", [{"seed": 1}, {}, {"options": {"same_client": True}}], ids=str)
def test_a_voice_that_fails_in_a_reset_changes_nothing(wrong: Any, error: type[BaseException], asked: Any) -> None:
    env, twin = SkillsEnv(client=Voice(wrong, 2), max_turns=1), SkillsEnv(client=Voice(), max_turns=1)
    for each in (env, twin):
        each.reset(seed=0)
        each.step(ACTION)
    before = env.snapshot()
    with pytest.raises(error):
        env.reset(**asked)
    assert first_difference(env.snapshot(), before) is None
    assert env.np_random_seed == 0
    for options in ({}, {"same_client": True}):
        assert first_difference(env.reset(options=dict(options)), twin.reset(options=dict(options))) is None
        assert first_difference(told(env, 1), told(twin, 1)) is None


def test_a_voice_that_fails_in_the_first_reset_leaves_no_session() -> None:
    env = SkillsEnv(client=Voice([VoiceFailure("down")], 0))
    with pytest.raises(ClientFailed):
        env.reset(seed=3)
    with pytest.raises(Exception, match="reset"):
        env.step(ACTION)
    other = SkillsEnv(client=Voice())
    assert first_difference(env.reset(seed=3), other.reset(seed=3)) is None


def test_a_failure_names_the_voice_and_its_reason() -> None:
    env = SkillsEnv(client=Voice([VoiceFailure("the line is down")], 1))
    env.reset(seed=0)
    with pytest.raises(
        ClientFailed, match=r"client voice numbers gave no words: the line is down.*not changed"
    ) as failed:
        env.step(ACTION)
    assert failed.value.failures == {0: "gave no words: the line is down"}


def test_the_next_session_of_a_client_is_talked_otherwise_and_the_same_one_alike() -> None:
    def sessions(env: SkillsEnv) -> list[list[str]]:
        said = []
        for asked in ({"seed": 4}, {"options": {"same_client": True}}, {"options": {"same_client": True}}):
            words = [env.reset(**asked)[1]["client"]]  # type: ignore[arg-type]
            said.append([*words, *(env.step(ACTION)[4]["client"] for _ in range(2))])
        return said

    first, second = (sessions(SkillsEnv(client=Voice(), max_turns=2)) for _ in range(2))
    assert first == second
    assert len({words for session in first for words in session}) == 9


def test_what_was_said_is_part_of_a_snapshot() -> None:
    env, other = SkillsEnv(client=Voice()), SkillsEnv(client=Voice())
    for each, seed in ((env, 0), (other, 1)):
        each.reset(seed=seed)
        each.step(ACTION)
    kept = env.snapshot()
    first = told(env)
    for each in (env, other, SkillsEnv(client=Voice())):
        for _ in range(2):
            each.restore(kept)
            assert first_difference(told(each), first) is None


def test_a_speaking_client_does_not_go_on_from_a_snapshot_without_words() -> None:
    silent, env = SkillsEnv(), SkillsEnv(client=Voice())
    silent.reset(seed=0)
    env.reset(seed=1)
    before = env.snapshot()
    wrong = [
        (silent.snapshot(), "found talk None"),
        (replace(before, talk=before.talk._replace(chance=np.random.MT19937(1).state)), "chance"),  # type: ignore[union-attr]
        (replace(before, talk=silent.snapshot()), "found talk"),
        (replace(before, words=before.words[:0]), "words"),
    ]
    for snapshot, message in wrong:
        with pytest.raises(ValueError, match=message):
            env.restore(snapshot)
        assert first_difference(env.snapshot(), before) is None
    silent.restore(before)
    assert first_difference(silent.step(ACTION)[:4], env.step(ACTION)[:4]) is None
