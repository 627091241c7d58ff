"""How hard Skills-v0 is: a table of therapists from random to one who knows the needs, and PPO beside them.

    python benchmarks/skills.py [--quick] [--ppo] [--seeds 5] [--steps 1000000] [--write]

Every therapist meets the same new clients, in equal shares of the four stages of treatment. Intervals are 95 %, over sessions;
those of PPO over seeds. `--write` writes docs/skills.md and, with `--ppo`, docs/skills.png; without it the table is printed.

PPO is stable-baselines3's, which wants torch; neither is a dependency of this project. Give them an environment of their own:

    python3 -m venv ppoenv && ppoenv/bin/pip install stable-baselines3 numba pydantic networkx platformdirs matplotlib
    ppoenv/bin/python benchmarks/skills.py --ppo --write
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # envs has a package of this file's name

import numpy as np

from client_graph.names import DIMENSIONS, STAGES
from envs.skills import SkillsVectorEnv
from envs.skills import observation as see
from envs.skills.evaluation import Sessions, best_constant, evaluate
from envs.skills.policies import CLINICIANS, ConstantPolicy, Knowing, Policy, RandomPolicy, single_minded
from rewards.tables import load_reward_tables

ROOT = Path(__file__).resolve().parent.parent
EVALUATION_SEED, TRAINING_SEED = 90_000_000, 10_000_000  # far apart: nobody is evaluated with clients of the training
SEARCHES = 3  # cross-entropy searches for the best constant; the best of them counts
T_975 = {
    2: 12.71,
    3: 4.30,
    4: 3.18,
    5: 2.78,
    6: 2.57,
    7: 2.45,
    8: 2.36,
    9: 2.31,
    10: 2.26,
}  # Student, by number of seeds


@dataclass(frozen=True)
class Row:
    """One therapist of the table."""

    name: str
    sessions: Sessions
    interval: float | None = None  # of the mean over all, where it is not that over sessions

    def cells(self) -> list[str]:
        """The row as text."""
        mean, half = self.sessions.mean()
        by_stage = [f"{self.sessions.mean(stage)[0]:.0f}" for stage in STAGES]
        return [
            self.name, f"{mean:.1f} ± {half if self.interval is None else self.interval:.1f}", *by_stage,
            f"{self.sessions.composite.mean():.2f}", f"{self.sessions.turns.mean():.1f}",
            f"{100 * self.sessions.closed_well.mean():.0f} %", f"{100 * self.sessions.left.mean():.0f} %",
        ]  # fmt: skip


@dataclass(frozen=True)
class Curves:
    """How one kind of learner learnt."""

    name: str
    at: np.ndarray  # (points,) turns
    returns: np.ndarray  # (seeds, points) mean return of a session


HEADER = (
    "therapist", "return of a session", "stage 1", "stage 2", "stage 3", "stage 4", "composite", "turns", "closed well", "left",
)  # fmt: skip


def main() -> None:
    """Run, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few sessions and a short search: under a minute")
    parser.add_argument("--ppo", action="store_true", help="train PPO as well (stable-baselines3)")
    parser.add_argument("--seeds", type=int, default=5, help="PPO runs")
    parser.add_argument("--steps", type=int, default=1_000_000, help="turns of one PPO run")
    parser.add_argument("--write", action="store_true", help="write docs/skills.md, and docs/skills.png with --ppo")
    asked = parser.parse_args()
    each = 64 if asked.quick else 1_000
    rows, constant = baselines(each, asked.quick)
    curves = []
    for without in LEARNERS if asked.ppo else ():
        learning, learnt = ppo(without, asked.seeds, asked.steps, each)
        curves.append(learning)
        rows.append(learnt)
    table = markdown(rows)
    print(table)
    if asked.write:
        write(table, rows, constant, curves, each)


def baselines(each: int, quick: bool) -> tuple[list[Row], ConstantPolicy]:
    """The therapists that learn nothing, in the order of the table; and the best constant."""
    weights = load_reward_tables().weights

    def knowing(envs: SkillsVectorEnv) -> Policy:
        return Knowing(envs.sessions.response, lambda: envs.sessions.moment, weights)

    found = [
        best_constant(np.random.default_rng(search), **({"generations": 6, "each": 4} if quick else {"each": 12}))
        for search in range(1 if quick else SEARCHES)
    ]
    constant = max(found, key=lambda policy: evaluate(policy, each, TRAINING_SEED - each).mean()[0])
    only = max(
        (single_minded(name) for name in DIMENSIONS), key=lambda p: evaluate(p, 64, TRAINING_SEED - 64).mean()[0]
    )
    clinician, blind_to_stage, blind_to_phase, oracle = CLINICIANS
    policies: Sequence[Policy | Callable[[SkillsVectorEnv], Policy]] = (
        RandomPolicy(np.random.default_rng(0)), only, constant, blind_to_stage, blind_to_phase, clinician, oracle, knowing,
    )  # fmt: skip
    names = [getattr(policy, "name", "knows the needs") for policy in policies]
    names[1] = f"{only.name}, the best of twelve"
    rows = []
    for name, policy in zip(names, policies, strict=True):
        rows.append(Row(name, evaluate(policy, each, EVALUATION_SEED)))
        print(" | ".join(rows[-1].cells()), flush=True)
    return rows, constant


# ---------------------------------------------------------------- PPO


TRAINING_ENVS = 256
LEARNERS = {"": "PPO", "stage": "PPO that sees no stage", "signals": "PPO that sees no client"}  # by what is hidden
COLOURS = {"PPO": "#0072B2", "PPO that sees no stage": "#D55E00", "PPO that sees no client": "#009E73"}
REWARD_SCALE = 0.05
EVALUATIONS, SEEN_EACH = 24, 48  # points of a learning curve, and sessions a stage at each


def features(observations: np.ndarray, without: str = "") -> np.ndarray:
    """(N, 13) float32 of observations (N, 10): what a network reads easily. The stage as four marks, the rest near [-1, 1].

    without: "stage" hides the stage; "signals" hides the client, stance and felt turn included, and leaves stage and turn.
    """
    stage = observations[:, see.STAGE].astype(np.int64) - 1
    signals = observations[:, : see.FELT + 1] / 5.0 - 1.0
    rest = np.stack([observations[:, see.TURN] / 10.0 - 1.0, observations[:, see.STANCE] - 1.0], axis=1)
    first = (observations[:, see.TURN, None] == 0).astype(np.float32)
    marks = np.eye(4)[stage]
    if without == "stage":
        marks[:] = 0.0
    elif without == "signals":
        signals[:] = rest[:, 1] = 0.0
    return np.concatenate([signals, marks, rest, first], axis=1).astype(np.float32)


@dataclass(frozen=True)
class Learnt:
    """What PPO would do without exploring."""

    model: Any
    without: str
    name: str = "PPO"

    def act(self, observations: np.ndarray, phase: np.ndarray) -> np.ndarray:
        """(N, 12) emphasis."""
        actions, _ = self.model.predict(features(observations, self.without), deterministic=True)
        return np.clip(0.5 * (actions + 1.0), 0.0, 1.0)


def adapter(seed: int, without: str) -> Any:
    """SkillsVectorEnv as stable-baselines3 wants it: actions in [-1, 1], features, small rewards.

    The end of the last turn counts as an end (no bootstrapping): the turn is observed, and the reward speaks of turns left.
    """
    from gymnasium.spaces import Box
    from stable_baselines3.common.vec_env import VecEnv  # type: ignore[import-not-found]

    class Adapter(VecEnv):  # type: ignore[misc]
        def __init__(self) -> None:
            self.envs = SkillsVectorEnv(
                TRAINING_ENVS, stage=np.resize(STAGES, TRAINING_ENVS).tolist(), autoreset_mode="SameStep"
            )
            size = features(np.ones((1, len(see.COLUMNS)))).shape[1]
            super().__init__(TRAINING_ENVS, Box(-3.0, 3.0, (size,)), Box(-1.0, 1.0, (len(DIMENSIONS),)))

        def reset(self) -> np.ndarray:
            return features(self.envs.reset(seed=seed)[0], without)

        def step_async(self, actions: np.ndarray) -> None:
            self.actions = actions

        def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict[str, Any]]]:
            emphasis = np.clip(0.5 * (self.actions + 1.0), 0.0, 1.0)
            observations, rewards, terminated, truncated, _ = self.envs.step(emphasis)
            done = terminated | truncated
            infos = [{"terminal_observation": None} if each else {} for each in done]
            return features(observations, without), (REWARD_SCALE * rewards).astype(np.float32), done, infos

        def close(self) -> None:
            self.envs.close()

        def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
            return [getattr(self.envs, attr_name, None)] * TRAINING_ENVS

        def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
            raise NotImplementedError

        def env_method(self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any) -> list[Any]:
            raise NotImplementedError

        def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
            return [False] * TRAINING_ENVS

    return Adapter()


def watcher(returns: list[float], every: int, without: str) -> Any:
    """A callback that appends the mean return of the policy as it stands, every so many turns, from the untrained one on."""
    from stable_baselines3.common.callbacks import BaseCallback  # type: ignore[import-not-found]

    class Watcher(BaseCallback):  # type: ignore[misc]
        def _on_rollout_start(self) -> None:
            if self.num_timesteps % every == 0:
                returns.append(evaluate(Learnt(self.model, without), SEEN_EACH, EVALUATION_SEED - 10_000).mean()[0])

        def _on_step(self) -> bool:
            return True

    return Watcher()


def ppo(without: str, seeds: int, steps: int, each: int) -> tuple[Curves, Row]:
    """The learning curves, and the row of the trained policies, all seeds together."""
    import torch  # type: ignore[import-not-found]
    from stable_baselines3 import PPO  # type: ignore[import-not-found]

    torch.set_num_threads(1)  # the networks are small: more threads only wait for one another
    curves, last = [], []
    rollout = 20 * TRAINING_ENVS
    every = math.ceil(steps / rollout / EVALUATIONS) * rollout
    at = every * np.arange(EVALUATIONS + 1)
    for seed in range(seeds):
        begun = time.perf_counter()
        model = PPO(
            "MlpPolicy", adapter(TRAINING_SEED + seed * TRAINING_ENVS, without), seed=seed, n_steps=20, batch_size=1_280,
            n_epochs=6, learning_rate=lambda left: 1e-3 * left + 5e-5, gamma=1.0, gae_lambda=0.95, ent_coef=0.0, clip_range=0.2,
            policy_kwargs={"net_arch": {"pi": [64, 64], "vf": [64, 64]}, "log_std_init": -0.7}, device="cpu",
        )  # fmt: skip
        returns: list[float] = []
        model.learn(int(at[-1]), callback=watcher(returns, every, without))
        returns.append(evaluate(Learnt(model, without), SEEN_EACH, EVALUATION_SEED - 10_000).mean()[0])
        curves.append(returns)
        last.append(evaluate(Learnt(model, without), each, EVALUATION_SEED))
        took = time.perf_counter() - begun
        print(
            f"{LEARNERS[without]}, seed {seed}: {last[-1].mean()[0]:.1f} after {model.num_timesteps:,} turns, {took:.0f} s",
            flush=True,
        )
    means = np.array([sessions.mean()[0] for sessions in last])
    row = Row(
        f"{LEARNERS[without]}, {at[-1] / 1e6:.1f} million turns, {seeds} seeds", together(last), interval=band(means)
    )
    return Curves(LEARNERS[without], at, np.array(curves)), row


def band(values: np.ndarray) -> float:
    """Half width of the 95 % interval of the mean of a few seeds (Student's t)."""
    return float(T_975.get(len(values), 1.96) * values.std(ddof=1) / math.sqrt(len(values))) if len(values) > 1 else 0.0


def together(many: Sequence[Sessions]) -> Sessions:
    """All sessions of several policies as one."""
    names = ("returns", "turns", "composite", "left", "closed_well", "deepest")
    return Sessions(*(np.concatenate([getattr(one, name) for one in many], axis=1) for name in names))


# ---------------------------------------------------------------- what is written


def markdown(rows: Sequence[Row]) -> str:
    """The table."""
    lines = [HEADER, ("---", *["---:"] * (len(HEADER) - 1)), *(row.cells() for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def write(table: str, rows: Sequence[Row], constant: ConstantPolicy, curves: Sequence[Curves], each: int) -> None:
    """docs/skills.md, and docs/skills.png where there are curves."""
    best = ", ".join(f"{name} {share:.2f}" for name, share in zip(DIMENSIONS, constant.emphasis, strict=True))
    picture = "\n![Learning curves of PPO beside the baselines](skills.png)\n" if curves else ""
    (ROOT / "docs" / "skills.md").write_text(
        "# How hard Skills-v0 is\n\n"
        f"Written by `python benchmarks/skills.py{' --ppo' if curves else ''} --write`. Points a session, "
        f"{each:,} sessions of each stage with clients whom nobody trained on, equal shares of the four stages; 95 % intervals, "
        "for PPO over seeds.\n\n"
        f"{table}\n{picture}\n"
        "The clinician guesses the phase from four signals and the stage; the oracle is told the phase; who knows the needs "
        "sees the tables and the true client, and spends the budget on the largest needs of the turn. Blind variants do the mean "
        "of what the clinician would do in each case. PPO that sees no stage still sees the client, whose signals differ by stage; "
        "PPO that sees no client sees stage and turn. A session that closes well early is credited for the turns it did not "
        f"need.\n\n{worth(rows)}The best constant, of {SEARCHES} cross-entropy searches: {best}.\n",
        encoding="utf-8",
    )
    if curves:
        draw(rows, curves)


def worth(rows: Sequence[Row]) -> str:
    """What PPO gains by seeing the stage, and by seeing the client; empty without PPO."""
    learnt = [row.sessions.mean()[0] for row in rows if row.name.startswith("PPO")]
    if len(learnt) < len(LEARNERS):
        return ""
    whole, no_stage, no_client = learnt
    return (
        f"Seeing the stage is worth {whole - no_stage:.1f} points to PPO, seeing the client {whole - no_client:.1f}: whoever "
        "treats well can guess from stage and turn how far a client is, so the clock replaces much of the looking.\n\n"
    )


def draw(rows: Sequence[Row], curves: Sequence[Curves]) -> None:
    """docs/skills.png: mean of the seeds with its interval, each baseline a line with its name at the right."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 5.4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    lines = [(row.name, row.sessions.mean()[0]) for row in rows if not row.name.startswith(("PPO", "only"))]
    for _, value in lines:
        axes.axhline(value, color="#777777", linewidth=0.9, linestyle=(0, (5, 3)), zorder=0)
    labels = list(lines)
    for one in curves:
        mean, half = one.returns.mean(axis=0), np.array([band(values) for values in one.returns.T])
        axes.fill_between(one.at / 1e6, mean - half, mean + half, color=COLOURS[one.name], alpha=0.25, linewidth=0)
        axes.plot(one.at / 1e6, mean, color=COLOURS[one.name], linewidth=2.0)
        labels.append((one.name, float(mean[-1])))
    values = [
        *(value for _, value in lines),
        *(value for one in curves for value in (one.returns.min(), one.returns.max())),
    ]
    low, high = min(values), max(values)
    axes.set_ylim(low - 0.06 * (high - low), high + 0.06 * (high - low))
    axes.set_xlim(0, max(one.at[-1] for one in curves) / 1e6)
    labels.sort(key=lambda line: line[1])
    places = spaced([value for _, value in labels], 0.042 * (high - low))
    for (name, _), place in zip(labels, places, strict=True):
        axes.annotate(
            name, (1.0, place), (8, 0), xycoords=("axes fraction", "data"), textcoords="offset points", va="center",
            color=COLOURS.get(name, "#444444"), fontsize=10, annotation_clip=False,
        )  # fmt: skip
    axes.set_xlabel("turns of training, millions")
    axes.set_ylabel("return of a session, points (mean of the four stages)")
    seeds = len(curves[0].returns)
    axes.set_title(
        f"Skills-v0: PPO (mean of {seeds} seeds, 95 % interval) beside therapists that learn nothing",
        loc="left",
        fontsize=11,
    )
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(ROOT / "docs" / "skills.png")


def spaced(values: Sequence[float], least: float) -> list[float]:
    """Rising places near rising `values`, at least `least` apart, so that names do not lie on one another."""
    places = [float(value) for value in values]
    for _ in range(200):
        for i in range(len(places) - 1):
            if (gap := places[i + 1] - places[i]) < least:
                places[i] -= 0.5 * (least - gap)
                places[i + 1] += 0.5 * (least - gap)
    return places


if __name__ == "__main__":
    main()
