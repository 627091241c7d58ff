"""Words in and out."""

import gymnasium
import numpy as np
import pytest
from gymnasium.error import InvalidAction
from gymnasium.spaces import flatten, unflatten

from envs.session import SessionEnv
from envs.text import UnicodeText, therapist_words
from judges.scripted import ScriptedJudge

SPACE = UnicodeText()


@pytest.mark.parametrize(
    ("action", "words"),
    [
        ("Hello.", ("", "Hello.")),
        (" <think>She is far away.</think> I am here.", ("She is far away.", "I am here.")),
        ("She is far away.</think>I am here.", ("She is far away.", "I am here.")),
        ("<think>never closed", ("never closed", "")),
        ("", ("", "")),
    ],
)
def test_thoughts_are_not_said(action: str, words: tuple[str, str]) -> None:
    assert therapist_words(action, SPACE) == words


@pytest.mark.parametrize("action", [None, b"bytes", 3, "a\0b", "\ud800", "x" * 8_001])
def test_what_is_no_text(action: object) -> None:
    with pytest.raises(InvalidAction):
        therapist_words(action, SPACE)


def test_any_text_survives_flattening() -> None:
    text = "Nürnberg 日本 🙂 — it’s “fine”"
    assert unflatten(SPACE, flatten(SPACE, text)) == text
    assert SPACE.contains(SPACE.sample())


def test_a_voice_may_not_leave_the_observation_space() -> None:
    from envs.types import ClientFailed
    from envs.voice import Utterance

    class Endless:
        name = "endless"

        def speak(self, turns: object) -> list[Utterance]:
            return [Utterance("on and on " * 2_000, "")]

    with pytest.raises(ClientFailed, match="8000"):
        SessionEnv(client=Endless(), judge=ScriptedJudge(lambda _: 5.0)).reset(seed=0)  # type: ignore[arg-type]


def test_async_vectors_carry_the_words() -> None:
    """Without shared memory: Gymnasium reads a text out of shared memory once, when the vector is made."""

    def make() -> gymnasium.Env:
        return SessionEnv(judge=ScriptedJudge(lambda _: 7.0), max_turns=3)

    vector = gymnasium.vector.AsyncVectorEnv([make, make], shared_memory=False)
    try:
        observation, _ = vector.reset(seed=[0, 1])
        alone = [SessionEnv(judge=ScriptedJudge(lambda _: 7.0)).reset(seed=seed)[0]["client"] for seed in (0, 1)]
        assert list(observation["client"]) == alone
        observation, reward, *_ = vector.step(("I hear you.", "Tell me."))
        assert np.isfinite(reward).all()
    finally:
        vector.close()


def test_the_likeliest_mistakes_are_told() -> None:
    env = SessionEnv(judge=ScriptedJudge(lambda _: 5.0))
    env.reset(seed=0)
    with pytest.raises(InvalidAction, match=r"evaluate\(\[reply\]\)"):
        env.evaluate("Hello.")
    with pytest.raises(TypeError, match="snapshot"):
        env.restore({})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="stage 7"):
        SessionEnv(judge=ScriptedJudge(lambda _: 5.0), stage=7)
