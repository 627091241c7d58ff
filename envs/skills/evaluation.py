"""What a therapist of numbers is worth: whole sessions with many clients at once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from client_graph.names import STAGES
from envs.skills.outcome import CLOSED_WELL, LEFT
from envs.skills.policies import ConstantPolicy, LinearPolicy, Policy
from envs.skills.vector import SkillsVectorEnv

DIMENSIONS = 12
ELITE = 8  # one in so many of the candidates makes the next generation


@dataclass(frozen=True)
class Sessions:
    """Whole sessions, (4, n) by stage of treatment."""

    returns: np.ndarray  # points
    turns: np.ndarray
    composite: np.ndarray  # mean over the turns, in [0, 10]
    left: np.ndarray  # bool
    closed_well: np.ndarray  # bool
    deepest: np.ndarray  # 0..3 for A..D

    def mean(self, stage: int | None = None) -> tuple[float, float]:
        """(mean return, half width of its 95 % interval) at a stage 1..4, or over all with equal shares."""
        chosen = self.returns if stage is None else self.returns[stage - 1 : stage]
        shares = chosen.var(axis=1, ddof=1) / chosen.shape[1] / len(chosen) ** 2
        return float(chosen.mean()), float(1.96 * np.sqrt(shares.sum()))


def evaluate(
    policy: Policy | Callable[[SkillsVectorEnv], Policy], each: int, seed: int, threads: int = 1, **made_with: Any
) -> Sessions:
    """`each` sessions at every stage, with new clients; the same seed, the same clients for every policy.

    A policy that has to look into the environment is given as a function of it. `made_with` goes to the environment.
    """
    stages = np.repeat(STAGES, each)
    envs = SkillsVectorEnv(len(stages), stage=stages.tolist(), threads=threads, **made_with)
    therapist = policy if hasattr(policy, "act") else policy(envs)
    observations, _ = envs.reset(seed=seed)
    n = envs.num_envs
    going = np.ones(n, dtype=bool)
    returns, turns, composite, ending, deepest = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n)
    while going.any():
        actions = therapist.act(observations, envs.phase)
        observations, rewards, _, _, infos = envs.step(actions)
        returns += going * rewards
        turns += going
        composite += np.where(going, infos["composite"], 0.0)
        deepest = np.where(going, np.maximum(deepest, infos["phase"]), deepest)
        ending = np.where(going, infos["ending"], ending)
        going &= ending == 0
    shape = (len(STAGES), each)
    return Sessions(
        returns.reshape(shape),
        turns.reshape(shape),
        (composite / turns).reshape(shape),
        (ending == LEFT).reshape(shape),
        (ending == CLOSED_WELL).reshape(shape),
        deepest.reshape(shape),
    )


def best_constant(
    rng: np.random.Generator, generations: int = 20, candidates: int = 64, each: int = 16, threads: int = 1
) -> ConstantPolicy:
    """The constant emphasis with the highest mean return that a cross-entropy search finds, over all four stages.

    Every generation draws `candidates` from a normal distribution, tries all on the same new clients (`each` at every stage),
    and moves to the mean and spread of the best eighth.
    """
    mean, spread = np.full(DIMENSIONS, 0.4), np.full(DIMENSIONS, 0.3)
    for _ in range(generations):
        tried = np.clip(rng.normal(mean, spread, (candidates, DIMENSIONS)), 0.0, 1.0)
        weights = np.repeat(tried[:, None, None, :], len(STAGES), axis=1)
        returns = _returns(weights, each, int(rng.integers(2**31)), threads).mean(axis=1)
        best = tried[np.argsort(returns)[-(candidates // ELITE) :]]
        mean, spread = best.mean(axis=0), best.std(axis=0) + 0.02
    return ConstantPolicy(mean, "best constant")


def best_linear(
    rng: np.random.Generator,
    start: LinearPolicy,
    generations: int,
    candidates: int = 64,
    each: int = 16,
    threads: int = 1,
) -> LinearPolicy:
    """From `start` on, the four linear maps, one a stage, that four cross-entropy searches find, each for its stage alone.

    A map of one row is a constant: four constants. As in `best_constant`, with new clients in every generation.
    """
    mean = start.weights.copy()
    spread = np.full(mean.shape, 0.1)
    spread[:, 0] = 0.25
    stage = np.arange(len(STAGES))
    for _ in range(generations):
        tried = rng.normal(mean, spread, (candidates, *mean.shape))
        returns = _returns(tried, each, int(rng.integers(2**31)), threads)
        order = np.argsort(returns, axis=0)[-(candidates // ELITE) :]
        best = tried[order, stage]
        mean, spread = best.mean(axis=0), best.std(axis=0) + 0.01
    return LinearPolicy(mean, start.name)


def _returns(weights: np.ndarray, each: int, seed: int, threads: int) -> np.ndarray:
    """(candidates, 4) mean return at each stage of linear policies `weights` (candidates, 4, rows, 12), all on the same clients."""
    candidates, clients = len(weights), len(STAGES) * each
    stages = np.tile(np.repeat(STAGES, each), candidates).tolist()
    envs = SkillsVectorEnv(len(stages), stage=stages, threads=threads)
    observations, _ = envs.reset(seed=[seed + i % clients for i in range(len(stages))])
    going, returns = np.ones(len(stages), dtype=bool), np.zeros(len(stages))
    maps = weights.reshape(candidates * len(STAGES), -1, DIMENSIONS)
    while going.any():
        columns = LinearPolicy.columns(observations)[:, : maps.shape[1]].reshape(len(maps), each, -1)
        actions = np.clip(columns @ maps, 0.0, 1.0).reshape(len(stages), DIMENSIONS)
        observations, rewards, _, _, infos = envs.step(actions)
        returns += going * rewards
        going &= infos["ending"] == 0
    return returns.reshape(candidates, len(STAGES), each).mean(axis=2)
