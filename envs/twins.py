"""What Gymnasium's checker does not see: whether an environment's twins stay twins, whatever is done around them.

The same seed and actions are run again and again, each time with one disturbance that must not matter: global generators
reseeded, a second environment beside, returned arrays written over, many episodes before, refused actions and steps in
between, a way back to a snapshot. Every run must give the same observations, rewards, flags and infos, to the bit.

    from envs.twins import check_twins
    check_twins(lambda: gymnasium.make("my/Env-v0"), seeds=(0, 1), steps=200)
"""

import random
import warnings
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded

from envs.equality import first_difference

Env = gym.Env[Any, Any]
MakeEnv = Callable[[], Env]


class TwinsDiffer(AssertionError):
    """An environment is not what its seed and actions make of it. `findings` holds a sentence for each fault."""

    def __init__(self, findings: Sequence[str]) -> None:
        super().__init__(f"{len(findings)} findings\n" + "\n".join(f"- {finding}" for finding in findings))
        self.findings = tuple(findings)


class Event(NamedTuple):
    """What one call of reset or step returned."""

    step: int  # 0 for the first reset; a reset after an end has the number of the step before it
    observation: Any
    reward: Any  # None from a reset
    terminated: Any
    truncated: Any
    info: Any

    @property
    def over(self) -> bool:
        return bool(self.terminated) or bool(self.truncated)


@dataclass
class Disturbance:
    """What happens around a run that must not matter. Findings of its own are added to `findings`."""

    name: str
    findings: list[str] = field(default_factory=list)

    def start(self, env: Env, seed: int) -> None:
        """Before the first reset."""

    def before(self, env: Env, step: int, over: bool) -> None:
        """Before every step, and before the reset that follows an end (`over`)."""

    def returned(self, event: Event) -> None:
        """With what the environment handed out, of which a copy has been kept."""

    def acted(self, action: Any) -> None:
        """With the action that was just taken, which the environment has no right to any more."""

    def stop(self) -> None:
        """When the run is over, however it ended."""


def check_twins(
    make_env: MakeEnv,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    steps: int = 100,
    actions: Sequence[Any] | Callable[[int], Any] | None = None,
    episodes: int = 10,
    refusals: bool = True,
) -> None:
    """Raise TwinsDiffer naming every way in which the environment is not reproducible or not closed to the outside.

    make_env: makes a new environment, each time the same. seeds: each gives a run of `steps` steps over as many episodes as
    they last. actions: taken in turn, or a function of the step's number; None samples the action space, seeded. episodes:
    played before the run that shows whether an environment that was used is as good as new. refusals: also expect
    ResetNeeded from a step before reset or after an end, and an error for an action outside the space, all without a trace;
    Gymnasium's own classic environments are looser there.

    Costs about ten times `len(seeds) * steps` steps. Where the environment has `snapshot` and `restore`, they are tried.
    """
    findings: list[str] = []
    runs = []
    kept = random.getstate(), np.random.get_state()  # noqa: NPY002  # reseeded below, and the caller's own
    try:
        for seed in seeds:
            taken = _actions(make_env, actions, steps, seed)
            expected, own = _run(make_env, seed, taken, _Watch("left alone"))
            runs.append(expected)
            findings += own
            for disturbance in _disturbances(make_env, taken, seed, episodes, refusals):
                found, own = _run(make_env, seed, taken, disturbance)
                findings += own + _differences(found, expected, f"seed {seed}, {disturbance.name}")
            findings += _branching(make_env, seed, taken, expected)
    finally:
        random.setstate(kept[0])
        np.random.set_state(kept[1])  # noqa: NPY002
    findings += _repetition(runs)
    if findings:
        raise TwinsDiffer(_without_echoes(findings))


def _disturbances(
    make_env: MakeEnv, actions: Sequence[Any], seed: int, episodes: int, refusals: bool
) -> list[Disturbance]:
    quiet: list[Disturbance] = [
        Disturbance("twin"),
        _GlobalSeeds("global generators reseeded"),
        _Neighbour("another environment beside it", make_env=make_env, actions=actions),
        _Scribble("returned arrays written over"),
        _Used("used for episodes before", actions=actions, episodes=episodes),
        _TwiceReset("reset twice with the seed"),
    ]
    return [*quiet, _OutOfTurn("steps out of turn"), _Nonsense("actions outside the space")] if refusals else quiet


def _actions(
    make_env: MakeEnv, actions: Sequence[Any] | Callable[[int], Any] | None, steps: int, seed: int
) -> list[Any]:
    if callable(actions):
        return [actions(step) for step in range(steps)]
    if actions is not None:
        return [actions[step % len(actions)] for step in range(steps)]
    env = make_env()
    env.action_space.seed(seed)
    sampled = [env.action_space.sample() for _ in range(steps)]
    env.close()
    return sampled


def _run(
    make_env: MakeEnv, seed: int, actions: Sequence[Any], disturbance: Disturbance
) -> tuple[list[Event], list[str]]:
    """(what every call returned, copied; what the disturbance found)."""
    env = make_env()
    events: list[Event] = []
    try:
        for event, action in _played(env, seed, actions, disturbance):
            events.append(deepcopy(event))
            disturbance.returned(event)
            if action is not None:
                disturbance.acted(action)
    except Exception as error:
        disturbance.findings.append(f"seed {seed}, {disturbance.name}, step {len(events)}: {_told(error)}")
    finally:
        disturbance.stop()
        env.close()
    return events, disturbance.findings


def _played(env: Env, seed: int, actions: Sequence[Any], disturbance: Disturbance) -> Iterator[tuple[Event, Any]]:
    disturbance.start(env, seed)
    event = Event(0, *_reset(env, seed))
    yield event, None
    yield from _onward(env, actions, event, disturbance)


def _onward(env: Env, actions: Sequence[Any], event: Event, disturbance: Disturbance) -> Iterator[tuple[Event, Any]]:
    """The calls that follow `event`: a step for each action, and a reset without a seed after every end."""
    for step, action in enumerate(actions, start=event.step + 1):
        disturbance.before(env, step, event.over)
        if event.over:
            event = Event(step - 1, *_reset(env, None))
            yield event, None
        own = deepcopy(action)
        observation, reward, terminated, truncated, info = env.step(own)
        if first_difference(own, action) is not None:
            disturbance.findings.append(f"step {step}: the environment changed the action that it was given")
        event = Event(step, observation, reward, terminated, truncated, info)
        yield event, own


def _reset(env: Env, seed: int | None) -> tuple[Any, None, bool, bool, Any]:
    observation, info = env.reset(seed=seed)
    return observation, None, False, False, info


def _differences(found: Sequence[Event], expected: Sequence[Event], which: str) -> list[str]:
    """The first difference of two runs; one is enough, the rest follows from it."""
    for a, b in zip(found, expected, strict=False):
        difference = first_difference(a._asdict(), b._asdict())
        if difference is not None:
            return [f"{which}: step {b.step} is not that of a run left alone: {difference}"]
    if len(found) != len(expected):
        return [f"{which}: {len(found)} calls came through, {len(expected)} in a run left alone"]
    return []


@dataclass
class _Watch(Disturbance):
    """No disturbance: looks at what is handed out, then and later."""

    space: spaces.Space[Any] | None = None
    last: tuple[Event, Event] | None = None

    def start(self, env: Env, seed: int) -> None:
        self.space = env.observation_space

    def returned(self, event: Event) -> None:
        assert self.space is not None
        if not self.space.contains(event.observation):
            self.findings.append(f"step {event.step}: the observation is outside the observation space")
        for fault in _wrong_dtypes(self.space, event.observation, "observation"):
            self.findings.append(f"step {event.step}: {fault}")
        if not isinstance(event.info, dict):
            self.findings.append(f"step {event.step}: info is a {type(event.info).__name__}, expected a dict")
        if event.reward is not None and not _is_reward(event.reward):
            self.findings.append(f"step {event.step}: the reward is {event.reward!r}, expected a finite number")
        for name in ("terminated", "truncated"):
            if not isinstance(flag := getattr(event, name), bool | np.bool_):
                self.findings.append(f"step {event.step}: {name} is {flag!r}, expected a bool")
        if self.last is not None:
            difference = first_difference(self.last[0]._asdict(), self.last[1]._asdict())
            if difference is not None:
                self.findings.append(
                    f"what step {self.last[1].step} returned was changed by the next call: {difference}"
                )
        self.last = event, deepcopy(event)


def _wrong_dtypes(space: spaces.Space[Any], value: Any, where: str) -> Iterator[str]:
    """Arrays of another dtype than their space's, which `contains` lets through where it can be cast."""
    if isinstance(space, spaces.Dict) and isinstance(value, dict):
        for name, part in space.spaces.items():
            yield from _wrong_dtypes(part, value.get(name), f"{where}[{name!r}]")
    elif isinstance(space, spaces.Tuple) and isinstance(value, tuple | list):
        for i, (part, own) in enumerate(zip(space.spaces, value, strict=False)):
            yield from _wrong_dtypes(part, own, f"{where}[{i}]")
    elif isinstance(space, spaces.Box | spaces.MultiBinary | spaces.MultiDiscrete):
        found = getattr(value, "dtype", type(value).__name__)
        if found != space.dtype:
            yield f"the {where} is {found}, expected {space.dtype}"


def _is_reward(reward: Any) -> bool:
    number = isinstance(reward, int | float | np.integer | np.floating) and not isinstance(reward, bool)
    return number and bool(np.isfinite(reward))


@dataclass
class _GlobalSeeds(Disturbance):
    """Somebody else seeds and uses the generators of the whole process."""

    def start(self, env: Env, seed: int) -> None:
        self.before(env, 0, False)

    def before(self, env: Env, step: int, over: bool) -> None:
        random.seed(1_000_003 * step + 17)
        np.random.seed(7_919 * step + 17)  # noqa: NPY002  # nobody may listen to it
        np.random.random(step % 5)  # noqa: NPY002


@dataclass
class _Neighbour(Disturbance):
    """A second environment runs in between, with another seed."""

    make_env: MakeEnv | None = None
    actions: Sequence[Any] = ()
    beside: Iterator[Any] | None = None
    neighbour: Env | None = None

    def start(self, env: Env, seed: int) -> None:
        assert self.make_env is not None
        self.neighbour = self.make_env()
        self.beside = _played(self.neighbour, seed + 1_000, self.actions, Disturbance("beside"))

    def before(self, env: Env, step: int, over: bool) -> None:
        assert self.beside is not None
        next(self.beside, None)

    def stop(self) -> None:
        if self.neighbour is not None:
            self.neighbour.close()


@dataclass
class _Scribble(Disturbance):
    """Who was handed an array writes into it."""

    def returned(self, event: Event) -> None:
        scribble(event.observation)
        scribble(event.info)

    def acted(self, action: Any) -> None:
        scribble(action)


def scribble(value: Any) -> None:
    """Write over every array, list and dict in `value` that can be written into, also where a dataclass holds them."""
    if isinstance(value, dict):
        for part in value.values():
            scribble(part)
        value["scribbled"] = True
    elif isinstance(value, list | tuple):
        for part in value:
            scribble(part)
        if isinstance(value, list):
            value.clear()
    elif is_dataclass(value) and not isinstance(value, type):
        for part in fields(value):
            scribble(getattr(value, part.name, None))
    elif isinstance(value, np.ndarray) and value.flags.writeable:
        value[...] = np.zeros((), value.dtype) if value.dtype == object else np.ones((), value.dtype)


@dataclass
class _Used(Disturbance):
    """The environment has been through many episodes, the last one left in the middle."""

    actions: Sequence[Any] = ()
    episodes: int = 10

    def start(self, env: Env, seed: int) -> None:
        ended = 0
        while ended < self.episodes:
            env.reset(seed=seed + 500 + ended)
            for action in self.actions:
                *_, terminated, truncated, _ = env.step(deepcopy(action))
                if terminated or truncated:
                    break
            ended += 1
        env.reset(seed=seed + 499)
        env.step(deepcopy(self.actions[0]))


@dataclass
class _TwiceReset(Disturbance):
    """The seed is given again at once."""

    def start(self, env: Env, seed: int) -> None:
        env.reset(seed=seed)


@dataclass
class _OutOfTurn(Disturbance):
    """Steps are asked for before the first reset and after every end."""

    action: Any = None

    def start(self, env: Env, seed: int) -> None:
        env.action_space.seed(seed)
        self.action = env.action_space.sample()
        self._poke(env, "before reset")

    def before(self, env: Env, step: int, over: bool) -> None:
        if over:
            self._poke(env, f"after the end at step {step - 1}")

    def _poke(self, env: Env, when: str) -> None:
        try:
            env.step(deepcopy(self.action))
        except ResetNeeded:
            return
        except Exception as error:
            self.findings.append(f"a step {when} raised {_told(error)}; expected gymnasium.error.ResetNeeded")
        else:
            self.findings.append(f"a step {when} went through; expected gymnasium.error.ResetNeeded")


@dataclass
class _Nonsense(Disturbance):
    """Actions that are not in the space come in between, in the middle of an episode."""

    def before(self, env: Env, step: int, over: bool) -> None:
        if over or step % 3 == 0:
            return
        wrong = outside(env.action_space)
        action = wrong[step % len(wrong)]
        try:
            env.step(deepcopy(action))
        except Exception:  # of whatever kind: refused is refused
            return
        self.findings.append(f"the action {action!r:.80} is outside the space and went through; expected an error")


def outside(space: spaces.Space[Any]) -> list[Any]:
    """Actions that are not in `space`: of another kind or shape, past the ends of what is counted, not a number.

    Finite numbers past the ends of a Box are not among them: to clip those is a custom.
    """
    wrong: list[Any] = [None, object(), b"bytes", [[]], {"no": "action"}]
    if isinstance(space, spaces.Discrete):
        wrong += [int(space.start) - 1, int(space.start + space.n), "one", 0.5]
    elif isinstance(space, spaces.Box):
        wrong += [np.full((*space.shape, 2), 0.5), np.full(space.shape, np.nan), np.full(space.shape, np.inf), "one"]
    elif isinstance(space, spaces.MultiDiscrete):
        wrong += [space.start + space.nvec, "one"]
    elif isinstance(space, spaces.MultiBinary):
        wrong += [np.full(space.shape, 2, dtype=np.int8), "one"]
    elif isinstance(space, spaces.Text):
        wrong += [3, "x" * (space.max_length + 1), "a lone \ud800", "a \0 inside"]
    return [action for action in wrong if not _contains(space, action)]


def _contains(space: spaces.Space[Any], action: Any) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that it had to be cast
            return space.contains(action)
    except Exception:  # a space that cannot even say so does not hold it
        return False


def _branching(make_env: MakeEnv, seed: int, actions: Sequence[Any], expected: Sequence[Event]) -> list[str]:
    """Whether restore goes back to what snapshot kept, twice, and whether keeping changes anything."""
    env = make_env()
    offered = getattr(env.unwrapped, "snapshot", None), getattr(env.unwrapped, "restore", None)
    if not all(map(callable, offered)) or len(actions) < 2:
        env.close()
        return []
    snapshot, restore = offered
    assert snapshot is not None
    assert restore is not None
    half = max(1, next((event.step for event in expected if event.over), len(actions)) // 2)
    quiet = Disturbance("branching")
    try:
        last = [event for event, _ in _played(env, seed, actions[:half], quiet)][-1]
        kept, futures = snapshot(), []
        for _ in range(3):
            futures.append([deepcopy(event) for event, _ in _onward(env, actions[half:], last, quiet)])
            restore(kept)
    except Exception as error:
        return [f"seed {seed}, snapshot and restore after step {half}: {_told(error)}"]
    finally:
        env.close()
    names = ("going on after snapshot", "after restore", "after a second restore")
    past = expected[half + 1 :]  # the reset and the steps before the snapshot are left out
    return [
        finding
        for name, future in zip(names, futures, strict=True)
        for finding in _differences(future, past, f"seed {seed}, {name}")
    ]


def _repetition(runs: Sequence[Sequence[Event]]) -> list[str]:
    """Whether a reset without a seed begins the same episode again, in an environment where seeds matter."""
    starts = [run[0] for run in runs if run]
    if len(starts) < 2 or all(first_difference(start._asdict(), starts[0]._asdict()) is None for start in starts[1:]):
        return []
    again = [[event for event in run if event.reward is None] for run in runs]
    if any(len(resets) > 1 for resets in again) and all(
        first_difference(event.observation, resets[0].observation) is None for resets in again for event in resets[1:]
    ):
        return ["a reset without a seed begins the episode before again; expected it to go on with the generator"]
    return []


def _without_echoes(findings: Sequence[str]) -> list[str]:
    """Each fault once, in order, of every kind the first three."""
    kept: dict[str, list[str]] = {}
    for finding in dict.fromkeys(findings):
        kind = "".join(character for character in finding if not character.isdigit())[:60]
        kept.setdefault(kind, []).append(finding)
    return [finding for same in kept.values() for finding in same[:3]]


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"
