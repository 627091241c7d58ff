"""The twin-rollout checker: every planted bug is caught, and what has none passes."""

import random
import time
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.spaces import Box, Discrete
from test_envs_session import CATALOG, by_turn

from envs.equality import first_difference
from envs.session import SessionEnv
from envs.text import UnicodeText
from envs.twins import TwinsDiffer, check_twins, outside
from judges.scripted import ScriptedJudge

pytestmark = pytest.mark.filterwarnings("ignore:.*Casting input x")  # said by a Box that is asked about a list


class Walk(gym.Env[np.ndarray, int]):
    """A random walk on a line of three cells' worth of noise: small, and without a fault."""

    action_space = Discrete(3)
    observation_space = Box(-1e6, 1e6, (3,), np.float64)
    length = 12

    def __init__(self) -> None:
        self.place: np.ndarray | None = None
        self.steps = 0
        self.over = True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        super().reset(seed=seed)
        self.place = self.np_random.normal(size=3)
        self.steps, self.over = 0, False
        return self.place.copy(), self.told()

    def told(self) -> dict[str, Any]:
        assert self.place is not None
        return {"place": self.place.copy(), "steps": self.steps}

    def check(self, action: Any) -> None:
        if self.place is None or self.over:
            raise ResetNeeded("call reset() first")
        if not self.action_space.contains(action):
            raise InvalidAction(f"found {action!r}; expected 0, 1 or 2")

    def move(self, action: Any) -> None:
        self.place = self.place + (float(action) - 1.0) + self.np_random.normal(size=3)
        self.steps += 1
        self.over = self.steps >= self.length

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, Any]:
        self.check(action)
        self.move(action)
        assert self.place is not None
        return self.place.copy(), float(self.place[0]), False, self.over, self.told()


class Branching(Walk):
    """The same, with a way back."""

    def snapshot(self) -> Any:
        assert self.place is not None
        return self.place.copy(), self.steps, self.over, self.np_random.bit_generator.state

    def restore(self, kept: Any) -> None:
        self.place, self.steps, self.over = kept[0].copy(), kept[1], kept[2]
        self.np_random.bit_generator.state = kept[3]


class Steered(Walk):
    """The same with an array as its action."""

    action_space = Box(-1.0, 1.0, (3,), np.float64)  # type: ignore[assignment]

    def move(self, action: Any) -> None:
        super().move(1)
        self.place = self.place + action


@dataclass(frozen=True)
class Told:
    what: tuple[np.ndarray, ...]


# Sixteen ways of going wrong, and some more


class ListensToNumpy(Walk):
    def move(self, action: Any) -> None:
        super().move(action)
        self.place = self.place + np.random.normal()  # noqa: NPY002


class ListensToRandom(Walk):
    def reset(self, **given: Any) -> tuple[Any, Any]:
        super().reset(**given)
        self.place = self.place + random.random()
        return self.place.copy(), self.told()


class HasItsOwnEntropy(Walk):
    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:
        return super().reset(seed=None)


class ReadsTheClock(Walk):
    def told(self) -> dict[str, Any]:
        return super().told() | {"time": time.perf_counter()}


class HandsOutItsBuffer(Walk):
    """The observation is the same array every time."""

    def __init__(self) -> None:
        super().__init__()
        self.buffer = np.zeros(3)

    def step(self, action: Any) -> Any:
        _, *others = super().step(action)
        self.buffer[:] = self.place
        return self.buffer, *others


class HandsOutItsState(Walk):
    def step(self, action: Any) -> Any:
        _, *others = super().step(action)
        return self.place, *others


class HandsOutItsStateInInfo(Walk):
    def told(self) -> dict[str, Any]:
        return {"deep": [{"place": self.place}]}


class HandsOutItsStateInADataclass(Walk):
    def told(self) -> dict[str, Any]:
        assert self.place is not None
        return {"deep": Told((self.place,))}


class ChangesItsDtypeInATuple(Walk):
    observation_space = gym.spaces.Tuple((Box(-1e6, 1e6, (3,), np.float64), Discrete(2)))  # type: ignore[assignment]

    def reset(self, **given: Any) -> tuple[Any, Any]:
        observation, info = super().reset(**given)
        return (observation, 0), info

    def step(self, action: Any) -> Any:
        observation, *others = super().step(action)
        return (observation.astype(np.float32) if self.steps == 9 else observation, 0), *others


class KeepsItsInfo(Walk):
    """One dict for all calls."""

    def __init__(self) -> None:
        super().__init__()
        self.info: dict[str, Any] = {}

    def told(self) -> dict[str, Any]:
        self.info["steps"] = self.steps
        return self.info


class RemembersEpisodes(Walk):
    def __init__(self) -> None:
        super().__init__()
        self.drift = 0.0

    def move(self, action: Any) -> None:
        super().move(action)
        self.drift += 0.001
        self.place = self.place + self.drift


class SharesAmongAll(Walk):
    seen: list[int] = []  # noqa: RUF012  # the bug

    def move(self, action: Any) -> None:
        super().move(action)
        self.seen.append(1)
        self.place = self.place + 0.001 * len(self.seen)


class ForgetsASecondGenerator(Walk):
    def __init__(self) -> None:
        super().__init__()
        self.noise = np.random.default_rng(0)

    def move(self, action: Any) -> None:
        super().move(action)
        self.place = self.place + self.noise.normal()


class GoesOnAfterTheEnd(Walk):
    def check(self, action: Any) -> None:
        self.over = self.over and self.place is None
        super().check(action)


class StartsWithoutAReset(Walk):
    def check(self, action: Any) -> None:
        if self.place is None:
            self.reset()
        super().check(action)


class RefusesTooLate(Walk):
    """The refused step has used the generator."""

    def check(self, action: Any) -> None:
        self.np_random.random()
        super().check(action)


class ClampsActions(Walk):
    def check(self, action: Any) -> None:
        super().check(min(2, max(0, int(action))) if isinstance(action, int | float) else action)

    def move(self, action: Any) -> None:
        super().move(min(2, max(0, action)))


class MovesThenRefuses(Walk):
    def check(self, action: Any) -> None:
        if self.place is not None and not self.over and not self.action_space.contains(action):
            self.place = self.place + 1.0
        super().check(action)


class LeavesItsSpace(Walk):
    def step(self, action: Any) -> Any:
        observation, *others = super().step(action)
        return (observation + 1e7 if self.steps == 9 else observation), *others


class ChangesItsDtype(Walk):
    def step(self, action: Any) -> Any:
        observation, *others = super().step(action)
        return (observation.astype(np.float32) if self.steps == 9 else observation), *others


class GivesNoNumber(Walk):
    def step(self, action: Any) -> Any:
        observation, reward, *others = super().step(action)
        return observation, float("nan") if self.steps == 9 else reward, *others


class FlagsAreNumbers(Walk):
    def step(self, action: Any) -> Any:
        observation, reward, _, over, info = super().step(action)
        return observation, reward, 0, over, info


class SameEpisodeAgain(Walk):
    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, Any]:
        self.first = self.first if seed is None and hasattr(self, "first") else seed
        return super().reset(seed=self.first)


class ForgetsItsGenerator(Branching):
    def restore(self, kept: Any) -> None:
        state = self.np_random.bit_generator.state
        super().restore(kept)
        self.np_random.bit_generator.state = state


class SnapshotSharesMemory(Branching):
    def snapshot(self) -> Any:
        return self.place, *super().snapshot()[1:]

    def restore(self, kept: Any) -> None:
        super().restore(kept)
        self.place = kept[0]

    def move(self, action: Any) -> None:
        before = self.place
        super().move(action)
        assert before is not None
        before[:] = self.place
        self.place = before


class SnapshotDisturbs(Branching):
    def snapshot(self) -> Any:
        self.np_random.random()
        return super().snapshot()


class ChangesTheAction(Steered):
    def move(self, action: Any) -> None:
        super().move(action)
        action *= 0.5


class KeepsTheAction(Steered):
    last: np.ndarray | None = None

    def reset(self, **given: Any) -> tuple[Any, Any]:
        self.last = None
        return super().reset(**given)

    def move(self, action: Any) -> None:
        super().move(action if self.last is None else self.last)
        self.last = action


PLANTED = {
    ListensToNumpy: "global generators",
    ListensToRandom: "global generators",
    HasItsOwnEntropy: "twin",
    ReadsTheClock: r"info'\]\['time",
    HandsOutItsBuffer: "changed by the next call",
    HandsOutItsState: "written over",
    HandsOutItsStateInInfo: "written over",
    HandsOutItsStateInADataclass: "written over",
    KeepsItsInfo: "written over",
    RemembersEpisodes: "episodes before",
    SharesAmongAll: "twin",
    ForgetsASecondGenerator: "episodes before",
    GoesOnAfterTheEnd: "after the end at step 12 went through",
    StartsWithoutAReset: "before reset went through",
    RefusesTooLate: "out of turn",
    ClampsActions: "outside the space and went through",
    MovesThenRefuses: "actions outside the space",
    LeavesItsSpace: "step 9: the observation is outside",
    ChangesItsDtype: "step 9: the observation is float32",
    ChangesItsDtypeInATuple: r"step 9: the observation\[0\] is float32, expected float64",
    GivesNoNumber: "step 9: the reward is nan",
    FlagsAreNumbers: "terminated is 0",
    SameEpisodeAgain: "begins the episode before again",
    ForgetsItsGenerator: "after restore",
    SnapshotSharesMemory: "restore",
    SnapshotDisturbs: "going on after snapshot",
    ChangesTheAction: "changed the action",
    KeepsTheAction: "written over",
}


@pytest.mark.parametrize("make_env", [Walk, Branching, Steered])
def test_what_has_no_fault_passes(make_env: type[Walk]) -> None:
    before = random.getstate(), np.random.get_state()[1].tobytes()  # noqa: NPY002
    check_twins(make_env, seeds=(0, 1, 2), steps=40)
    assert (random.getstate(), np.random.get_state()[1].tobytes()) == before  # noqa: NPY002


@pytest.mark.parametrize(("make_env", "caught"), PLANTED.items(), ids=[each.__name__ for each in PLANTED])
def test_every_planted_bug_is_caught(make_env: type[Walk], caught: str) -> None:
    with pytest.raises(TwinsDiffer, match=caught) as found:
        check_twins(make_env, seeds=(0, 1), steps=40)
    assert found.value.findings


def test_all_faults_are_in_one_error() -> None:
    class Both(GivesNoNumber, RefusesTooLate):
        pass

    with pytest.raises(TwinsDiffer) as found:
        check_twins(Both, seeds=(0,), steps=40)
    told = str(found.value)
    assert "nan" in told
    assert "out of turn" in told


def test_an_environment_that_breaks_is_a_finding() -> None:
    class Breaks(Walk):
        def move(self, action: Any) -> None:
            super().move(action)
            if self.steps == 7:
                raise RuntimeError("wheel came off")

    with pytest.raises(TwinsDiffer, match="RuntimeError: wheel came off"):
        check_twins(Breaks, seeds=(0,), steps=40)


@pytest.mark.filterwarnings("ignore:.*You are calling 'step")
def test_looser_customs_may_be_allowed() -> None:
    check_twins(lambda: gym.make("CartPole-v1").unwrapped, seeds=(0, 1), steps=60, refusals=False)
    with pytest.raises(TwinsDiffer, match="after the end"):
        check_twins(lambda: gym.make("CartPole-v1").unwrapped, seeds=(0,), steps=60)


@pytest.mark.parametrize("client", ["authored", "silent"])
def test_the_session_has_none_of_these_faults(client: str) -> None:
    def make_env() -> SessionEnv:
        return SessionEnv(client=client, judge=ScriptedJudge(by_turn), catalog=CATALOG, max_turns=6)

    check_twins(make_env, seeds=(0, 1), steps=20, episodes=3, actions=["Tell me.", "<think>far</think>I hear you.", ""])


def test_actions_may_be_given_by_number_of_step() -> None:
    check_twins(Walk, seeds=(3,), steps=15, actions=lambda step: step % 3)


SPACES = [
    Discrete(3, start=2),
    Box(0, 1, (2,)),
    gym.spaces.MultiDiscrete([2, 3]),
    gym.spaces.MultiBinary(3),
    gym.spaces.Text(5),
    UnicodeText(),
]


@pytest.mark.parametrize("space", SPACES)
def test_what_is_outside_is_outside(space: gym.Space[Any]) -> None:
    wrong = outside(space)
    assert len(wrong) >= 6
    assert not any(space.contains(each) for each in wrong)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.zeros(2), np.zeros(2, dtype=np.float32)),
        (0.0, -0.0),
        (np.array([0.0]), np.array([-0.0])),
        (1, 1.0),
        ({"a": [1, (2,)]}, {"a": [1, (3,)]}),
        ({"a": 1}, {"b": 1}),
        (np.array(["a", None], dtype=object), np.array(["a", "b"], dtype=object)),
    ],
)
def test_equal_is_equal_to_the_bit(a: Any, b: Any) -> None:
    assert first_difference(a, b) is not None
    assert first_difference(a, a) is None


def test_nan_is_itself() -> None:
    assert first_difference({"a": float("nan")}, {"a": float("nan")}) is None


def test_nan_is_itself_as_a_key_too() -> None:
    one, two = float("nan"), float("nan")
    assert first_difference({one: 1}, {two: 1}) is None
    assert first_difference({one: 1}, {two: 2}) == "[nan]: found 1, expected 2"
    assert first_difference({one: 1, two: 2}, {two: 1, one: 2}) is None
    assert first_difference({one: 1, two: 2}, {two: 1, one: 3}) is not None
    assert first_difference({one: 1, two: 2}, {one: 1}) is not None
    assert first_difference({"b": 1, "a": 2}, {"a": 2, "b": 1}) is None
    assert first_difference({1: 1}, {True: 1}) is not None


@pytest.mark.parametrize("breaks", [False, True])
def test_every_environment_that_was_made_is_closed(breaks: bool) -> None:
    made: list[Walk] = []

    class Closes(Walk):
        closed = False

        def __init__(self) -> None:
            super().__init__()
            made.append(self)

        def move(self, action: Any) -> None:
            super().move(action)
            if breaks and self.steps == 3:
                raise RuntimeError("wheel came off")

        def close(self) -> None:
            self.closed = True

    with pytest.raises(TwinsDiffer) if breaks else nullcontext():
        check_twins(Closes, seeds=(0,), steps=15, episodes=1)
    assert len(made) >= 8
    assert all(env.closed for env in made)  # type: ignore[attr-defined]
