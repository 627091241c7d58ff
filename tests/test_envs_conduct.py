"""What trying a reply tells is what saying it does; models outside that break their protocol change nothing."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from test_envs_session import CATALOG, CountingJudge, MuteVoice, by_turn, kept, new_env, same

from client_graph.client import ClientGraph
from client_graph.personhood import draw
from client_graph.settings import CourseSettings
from client_graph.state import ClientState
from envs.infos import worst_misreads
from envs.session import SessionEnv
from envs.session_vector import SessionVectorEnv
from envs.treatment import TreatmentEnv
from envs.treatment_vector import TreatmentVectorEnv
from envs.types import JudgeFailed, Outcome
from envs.voice import AuthoredVoice, SilentVoice, Utterance
from judges.protocol import Exchange, JudgeFailure
from judges.scripted import ScriptedJudge


def heard(exchange: Exchange) -> float:
    """The reply is the score of all twelve dimensions."""
    return float(exchange.therapist)


def made(kind: Any, **given: Any) -> Any:
    return kind(**{"judge": ScriptedJudge(heard), "catalog": CATALOG, "client": "silent"} | given)


def tried_and_said(env: SessionEnv, reply: str, seed: int, name: str) -> str:
    """How an episode of one reply ends (`name` in info), where every step is told before, to the bit; others are tried beside."""
    env.reset(seed=seed)
    over = False
    while not over:
        before = kept(env)
        *_, outcome = env.evaluate(["5", "0", reply])
        assert kept(env) == before
        _, reward, terminated, truncated, info = env.step(reply)
        assert isinstance(outcome, Outcome)
        assert outcome.reward == reward
        assert outcome.parts.of(0) == info["reward_parts"]
        assert outcome.ending == info.get("session_ended", info)["ending"]
        over = terminated or truncated
        if name == "ending":
            after = env.snapshot().session
            assert (outcome.ending is not None) == over == (outcome.next_state is not None)
            assert same(outcome.next_state, after.next_state)
            assert outcome.turns_in_integration == after.turns_in_integration
        else:
            assert (outcome.week.ending if outcome.week else None) == info[name]
            assert outcome.week is None or same(outcome.week.course, env.snapshot().session.course)
    return str(info[name])


@pytest.mark.parametrize(
    ("stage", "reply", "ending"), [(1, "0", "left"), (4, "10", "closed_well"), (2, "5", "turn_limit"), (2, "9", None)]
)
def test_a_reply_that_is_tried_is_worth_what_saying_it_pays(stage: int, reply: str, ending: str | None) -> None:
    for seed in range(3):
        found = tried_and_said(made(SessionEnv, stage=stage), reply, seed, "ending")
        assert ending in (None, found)


def test_a_stage_that_is_gained_is_told_before() -> None:
    env = made(SessionEnv, stage=2)
    env.reset(seed=0)
    gained = 0.0
    for _ in range(12):
        over = False
        while not over:
            (outcome,) = env.evaluate(["9"])
            _, reward, terminated, truncated, info = env.step("9")
            assert outcome.reward == reward
            over = terminated or truncated
        gained += info["reward_parts"]["stage_transition"]
        assert outcome.ended is not None
        assert outcome.ended.stage_step.tolist() == [info["stage_step"]]
        env.reset(options={"same_client": True})
    assert gained >= 100.0


@pytest.mark.parametrize(
    ("given", "reply", "endings"),
    [
        ({"stage": 1, "max_turns": 20}, "0", {"left"}),
        ({"stage": 4, "max_turns": 2}, "8", {"planned"}),
        ({"max_turns": 1, "course": CourseSettings(dropout=0.3)}, "6", {"dropped_out", "session_limit"}),
    ],
)
def test_in_a_treatment_its_end_is_told_too(given: dict[str, Any], reply: str, endings: set[str]) -> None:
    env = made(TreatmentEnv, **({"max_sessions": 3, "course": CourseSettings(dropout=0)} | given))
    assert {tried_and_said(env, reply, seed, "treatment_ending") for seed in range(8)} == endings


@pytest.mark.parametrize("kind", [SessionVectorEnv, TreatmentVectorEnv])
def test_many_tried_at_once_are_worth_what_they_pay(kind: type[SessionVectorEnv]) -> None:
    others: dict[str, Any] = {"max_sessions": 2} if kind is TreatmentVectorEnv else {}
    env = made(kind, num_envs=6, max_turns=3, autoreset_mode="SameStep", **others)
    env.reset(seed=1)
    ends = 0
    for _ in range(12):
        tried = env.evaluate([["1", reply] for reply in ("0", "5", "7", "9", "10", "6")])
        _, rewards, terminated, truncated, _ = env.step(["0", "5", "7", "9", "10", "6"])
        assert [own[1].reward for own in tried] == rewards.tolist()
        ends += int((terminated | truncated).sum())
    assert ends >= 6


def test_what_an_outcome_holds_of_the_end_may_not_be_written_into() -> None:
    env = made(TreatmentEnv, max_turns=1, max_sessions=2)
    env.reset(seed=0)
    (outcome,) = env.evaluate(["5"])
    arrays = [*outcome.next_state, *outcome.measures, outcome.ended.stage_step, *outcome.ended.measures]
    assert not any(array.flags.writeable for array in [*arrays, *outcome.week.course, *outcome.week.arriving])


def test_turns_in_integration_are_counted_without_a_break() -> None:
    """A client who had two turns in phase D and is out of it begins to count anew."""
    env = new_env(lambda _: 5.0, stage=1)
    env.reset(seed=0)
    for _ in range(3):
        env.step("…")
    snapshot = env.snapshot()
    env.restore(replace(snapshot, session=replace(snapshot.session, turns_in_integration=2)))
    (outcome,) = env.evaluate(["…"])
    assert isinstance(outcome, Outcome)
    *_, info = env.step("…")
    assert info["phase"] != "D"
    assert outcome.turns_in_integration == env.snapshot().session.turns_in_integration == 0


@pytest.mark.parametrize("retries", [0, 2])
def test_a_treatments_judge_that_fails_is_asked_as_often_as_agreed(retries: int) -> None:
    judge = CountingJudge(lambda _: JudgeFailure("unreadable"))
    env = made(TreatmentEnv, judge=judge, judge_retries=retries)
    env.reset(seed=0)
    with pytest.raises(JudgeFailed, match="unreadable"):
        env.step("5")
    assert judge.asked == [1] * (1 + retries)


# Models that break their protocol


class Odd:
    """A judge or a voice that returns whatever `answer` makes of the number of questions."""

    name = "odd"

    def __init__(self, answer: Callable[[int], Any]) -> None:
        self.answer = answer

    def judge(self, exchanges: Sequence[Any]) -> Any:
        return self.answer(len(exchanges))

    def speak(self, turns: Sequence[Any]) -> Any:
        return self.answer(len(turns))


GOOD = ScriptedJudge(lambda _: 5.0).judge([Exchange("", "", "")])[0]
NO_ANSWERS = {
    "none": lambda n: None,
    "one too few": lambda n: [GOOD] * (n - 1),
    "one too many": lambda n: [GOOD] * (n + 1),
    "nothing in them": lambda n: [None] * n,
    "numbers": lambda n: [5.0] * n,
    "a number": lambda n: 5.0,
    "a text": lambda n: "x" * n,
    "an iterator": lambda n: iter([GOOD] * n),
    "one wrong": lambda n: [GOOD] * (n - 1) + ["5"],
}


@pytest.mark.parametrize("answer", NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_a_judge_that_breaks_its_protocol_is_named_and_changes_nothing(answer: Callable[[int], Any]) -> None:
    env = made(SessionVectorEnv, num_envs=3, judge=Odd(answer))
    env.reset(seed=0)
    before = env.snapshot()
    expected = r"judge odd returned .*; expected a list of 3, each a Judgement or JudgeFailure, in order"
    with pytest.raises(TypeError, match=expected):
        env.step(("a", "b", "c"))
    assert env.snapshot() == before
    assert not any(session.tried for session in env.sessions)


@pytest.mark.parametrize(
    "answer",
    [
        *(lambda n, of=of: of(n) for name, of in NO_ANSWERS.items() if name != "one wrong"),
        lambda n: [Utterance("", "")] * (n + 1),
        lambda n: [Utterance(None, "")] * n,  # type: ignore[arg-type]
        lambda n: [Utterance("", 3)] * n,  # type: ignore[arg-type]
    ],
)
def test_a_voice_that_breaks_its_protocol_is_named_and_changes_nothing(answer: Callable[[int], Any]) -> None:
    voice = Odd(lambda n: [Utterance("", "")] * n)
    env = made(SessionVectorEnv, num_envs=2, client=voice, judge=ScriptedJudge(by_turn))
    env.reset(seed=0)
    before = env.snapshot()
    voice.answer = answer
    for call in (lambda: env.step(("a", "b")), lambda: env.reset(seed=4)):
        with pytest.raises(TypeError, match=r"client voice odd returned .*; expected .*in order"):
            call()
        assert env.snapshot() == before


class Nameless:
    def judge(self, exchanges: Any) -> Any:
        return []

    def speak(self, turns: Any) -> Any:
        return []


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"judge": ScriptedJudge}, r"found judge <class .*a class"),
        ({"client": SilentVoice}, r"found client <class .*a class"),
        ({"judge": Nameless()}, r"found judge .*without a name"),
        ({"client": Nameless()}, r"found client .*without a name"),
        ({"judge": 3}, r"found judge 3; expected"),
    ],
)
def test_what_is_no_judge_and_no_voice_is_refused_at_once(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        made(SessionEnv, **given)


class Stopped(MuteVoice):
    """Draws, and then somebody presses Ctrl-C."""

    def speak(self, turns: Sequence[Any]) -> list[Any]:
        if self.how is None:
            return AuthoredVoice.speak(self, turns)
        turns[0].rng.random(3)
        raise KeyboardInterrupt


@pytest.mark.parametrize("many", [False, True])
def test_who_is_interrupted_has_changed_nothing(many: bool) -> None:
    voice = Stopped(CATALOG)
    judge = ScriptedJudge(by_turn)
    kinds: Any = SessionVectorEnv(2, client=voice, judge=judge) if many else SessionEnv(client=voice, judge=judge)
    kinds.reset(seed=0)
    before, seed, voice.how = kinds.snapshot(), kinds.np_random_seed, "stops"
    for call in (lambda: kinds.step(("a", "b") if many else "a"), kinds.reset, lambda: kinds.reset(seed=5)):
        with pytest.raises(KeyboardInterrupt):
            call()
        assert kinds.snapshot() == before
        assert kinds.np_random_seed == seed


def test_the_worst_misreads_of_many_are_those_of_each() -> None:
    """A column for speed and the view's own: the same nodes, in order, with belief minus truth to the bit and the sign."""
    state = ClientState.stack([draw(CATALOG, np.random.default_rng(seed))[0] for seed in range(6)])
    for client, told in enumerate(worst_misreads(state, CATALOG, 7)):
        view = ClientGraph(state.take([client]), CATALOG)
        assert told == view.worst_misread(7)
        assert all(error == view.beliefs[node] - view.levels[node] for node, error in told)


def test_no_wish_is_the_environments_own() -> None:
    """An option that is None says nothing: the stage is the environment's, and the seed's client is met."""
    env, many = new_env(stage=2), SessionVectorEnv(3, judge=ScriptedJudge(by_turn), catalog=CATALOG, stage=2)
    for seed in range(4):
        plain = env.reset(seed=seed)
        assert plain[0]["stage"] == 2
        assert same(env.reset(seed=seed, options={"stage": None, "strategy": None, "concern": None}), plain)
    assert many.reset(seed=0, options={"stage": None})[0]["stage"].tolist() == [2, 2, 2]
    with pytest.raises(ValueError, match="mood"):
        env.reset(options={"mood": None})
    for wrong in ("no", 1, None):
        with pytest.raises(ValueError, match="same_client"):
            env.reset(options={"same_client": wrong})
