"""How hard Skills-v0 is: therapists from random to one who knows the needs, those that a search finds, and PPO beside them.

    python benchmarks/skills.py [--quick] [--ppo] [--seeds 5] [--steps 350000] [--write]

Every therapist meets the same new clients, in equal shares of the four stages of treatment. Intervals are 95 %, over sessions;
those of PPO over seeds. The constants and linear maps are what cross-entropy searches find, which is more than a hand would.
`--write` writes docs/skills.md and, with `--ppo`, docs/skills.png; without it the table is printed.

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
from typing import Any, TypeVar

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # envs has a package of this file's name

import numpy as np

from client_graph.names import DIMENSIONS, STAGES
from envs.skills import SkillsVectorEnv
from envs.skills import observation as see
from envs.skills.evaluation import Sessions, best_constant, best_linear, evaluate
from envs.skills.policies import (
    Clinician,
    ConstantPolicy,
    Knowing,
    LinearPolicy,
    Policy,
    RandomPolicy,
    single_minded,
    told,
)
from rewards.tables import load_reward_tables

P = TypeVar("P", bound=Policy)
ROOT = Path(__file__).resolve().parent.parent
EVALUATION_SEED, TRAINING_SEED = 90_000_000, 10_000_000  # far apart: nobody is evaluated with clients of the training
SEARCHES = 2  # cross-entropy searches of each kind; the best of them counts, on clients of its own
LINEAR_ROWS = 8  # one, five signals, how the last turn felt, the turn
# Student, by number of seeds.
T_975 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78, 6: 2.57, 7: 2.45, 8: 2.36, 9: 2.31, 10: 2.26}


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
    parser.add_argument("--steps", type=int, default=350_000, help="turns of one PPO run")
    parser.add_argument("--write", action="store_true", help="write docs/skills.md, and docs/skills.png with --ppo")
    asked = parser.parse_args()
    each = 64 if asked.quick else 1_000
    rows, found = baselines(each, asked.quick)
    curves = []
    for without in LEARNERS if asked.ppo else ():
        learning, learnt = ppo(without, asked.seeds, asked.steps, each)
        curves.append(learning)
        rows[learnt.name.split(",")[0]] = learnt
    table = markdown(list(rows.values()))
    print(table)
    if asked.write:
        write(table, rows, found, curves, each)


def baselines(each: int, quick: bool) -> tuple[dict[str, Row], "Found"]:
    """The therapists that learn nothing, in the order of the table; and what the searches found."""
    weights = load_reward_tables().weights
    found = searched(each, quick)
    only = the_best([single_minded(name) for name in DIMENSIONS], 64)
    policies: dict[str, Policy | Callable[[SkillsVectorEnv], Policy]] = {
        "random": RandomPolicy(np.random.default_rng(0)),
        f"{only.name}, the best of twelve": only,
        "best constant": found.constant,
        "best constant of each stage": found.constants,
        "best linear map of each stage": found.linear,
        "clinician": Clinician(),
        "clinician told the phase": Clinician(knows_phase=True),
        "clinician told phase and marker": lambda envs: told(lambda: envs.marker),
        "knows the needs": lambda envs: Knowing(envs.sessions.response, lambda: envs.sessions.moment, weights),
    }
    rows = {}
    for name, policy in policies.items():
        rows[name] = Row(name, evaluate(policy, each, EVALUATION_SEED))
        print(" | ".join(rows[name].cells()), flush=True)
    return rows, found


@dataclass(frozen=True)
class Found:
    """The best of each kind that the cross-entropy searches found."""

    constant: ConstantPolicy
    constants: LinearPolicy  # of one row
    linear: LinearPolicy


def searched(each: int, quick: bool) -> Found:
    """One constant, then four from there, then four linear maps from there."""
    searches, long, longest = (1, 6, 6) if quick else (SEARCHES, 30, 80)
    rngs = [np.random.default_rng(search) for search in range(searches)]
    constant = the_best([best_constant(rng, 6 if quick else 20, each=4 if quick else 12) for rng in rngs], each)
    start = LinearPolicy(np.tile(constant.emphasis, (len(STAGES), 1, 1)))
    constants = the_best([best_linear(rng, start, long) for rng in rngs], each)
    maps = np.zeros((len(STAGES), LINEAR_ROWS, len(DIMENSIONS)))
    maps[:, :1] = np.clip(constants.weights, 0.0, 1.0)
    return Found(constant, constants, the_best([best_linear(rng, LinearPolicy(maps), longest) for rng in rngs], each))


def the_best(policies: Sequence[P], each: int) -> P:
    """Of `policies`, on clients of neither training nor evaluation."""
    return max(policies, key=lambda policy: evaluate(policy, each, TRAINING_SEED - 10_000).mean()[0])


# ---------------------------------------------------------------- PPO


TRAINING_ENVS, TURNS, BATCH = 128, 20, 640  # a rollout is a session of every environment
LEARNERS = {
    "": "PPO",
    "stage": "PPO without the stage",
    "signals": "PPO without the client's signals",
}  # by what is hidden
COLOURS = dict(zip(LEARNERS.values(), ("#0072B2", "#D55E00", "#009E73"), strict=True))
REWARD_SCALE = 0.05
EVALUATIONS, SEEN_EACH = 14, 32  # points of a learning curve, and sessions a stage at each


def features(observations: np.ndarray, without: str = "") -> np.ndarray:
    """(N, 13) float32 of observations (N, 10): what a network reads easily: the stage as four marks, the rest about [-1, 1].

    without: "stage" hides the stage; "signals" hides the client's signals and the stance, and leaves stage, turn and felt turn.
    """
    stage = observations[:, see.STAGE].astype(np.int64) - 1
    signals = observations[:, : see.FELT + 1] / 5.0 - 1.0
    rest = np.stack([observations[:, see.TURN] / 10.0 - 1.0, observations[:, see.STANCE] - 1.0], axis=1)
    first = (observations[:, see.TURN, None] == 0).astype(np.float32)
    marks = np.eye(4)[stage]
    if without == "stage":
        marks[:] = 0.0
    elif without == "signals":
        signals[:, : see.FELT] = 0.0
        rest[:, 1] = 0.0
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

    class Adapter(VecEnv):
        def __init__(self) -> None:
            self.envs = SkillsVectorEnv(
                TRAINING_ENVS, stage=np.resize(STAGES, TRAINING_ENVS).tolist(), autoreset_mode="SameStep"
            )
            size = features(np.ones((1, len(see.COLUMNS)))).shape[1]
            super().__init__(TRAINING_ENVS, Box(-4.0, 4.0, (size,)), Box(-1.0, 1.0, (len(DIMENSIONS),)))

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

    class Watcher(BaseCallback):
        def _on_rollout_start(self) -> None:
            if self.num_timesteps % every == 0:
                returns.append(evaluate(Learnt(self.model, without), SEEN_EACH, EVALUATION_SEED - 10_000).mean()[0])

        def _on_step(self) -> bool:
            return True

    return Watcher()


def ppo(without: str, seeds: int, steps: int, each: int) -> tuple[Curves, Row]:
    """The learning curves, and the row of the trained policies, all seeds together."""
    runs = [train(without, seed, steps, each) for seed in range(seeds)]
    at = watched_every(steps) * np.arange(EVALUATIONS + 1)
    means = np.array([sessions.mean()[0] for _, sessions in runs])
    name = f"{LEARNERS[without]}, {at[-1]:,} turns, {seeds} seeds"
    row = Row(name, together([sessions for _, sessions in runs]), interval=band(means))
    return Curves(LEARNERS[without], at, np.array([returns for returns, _ in runs])), row


def watched_every(steps: int) -> int:
    """Turns between points of a learning curve: whole rollouts, so that about `steps` are taken in all."""
    return math.ceil(steps / (TURNS * TRAINING_ENVS) / EVALUATIONS) * TURNS * TRAINING_ENVS


def train(without: str, seed: int, steps: int, each: int) -> tuple[list[float], Sessions]:
    """One run: its learning curve, and what it does in the end with clients whom nobody trained on."""
    import torch  # type: ignore[import-not-found]
    from stable_baselines3 import PPO  # type: ignore[import-not-found]

    torch.set_num_threads(1)  # the networks are small: more threads only wait for one another
    begun, every = time.perf_counter(), watched_every(steps)
    model = PPO(
        "MlpPolicy", adapter(TRAINING_SEED + seed * TRAINING_ENVS, without), seed=seed, n_steps=TURNS, batch_size=BATCH,
        n_epochs=6, learning_rate=lambda left: 1e-3 * left + 5e-5, gamma=0.9, gae_lambda=0.8, ent_coef=0.0, clip_range=0.2,
        policy_kwargs={"net_arch": {"pi": [64, 64], "vf": [64, 64]}, "log_std_init": -0.7}, device="cpu",
    )  # fmt: skip
    returns: list[float] = []
    model.learn(every * EVALUATIONS, callback=watcher(returns, every, without))
    returns.append(evaluate(Learnt(model, without), SEEN_EACH, EVALUATION_SEED - 10_000).mean()[0])
    sessions = evaluate(Learnt(model, without), each, EVALUATION_SEED)
    took = time.perf_counter() - begun
    print(f"{LEARNERS[without]}, seed {seed}: {sessions.mean()[0]:.1f}, {took:.0f} s", flush=True)
    return returns, sessions


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


def write(table: str, rows: dict[str, Row], found: Found, curves: Sequence[Curves], each: int) -> None:
    """docs/skills.md, and docs/skills.png where there are curves."""
    stages = "\n".join(f"- stage {stage}: {named(found.constants.weights[stage - 1, 0])}" for stage in STAGES)
    picture = "\n![Learning curves of PPO beside the baselines](skills.png)\n" if curves else ""
    (ROOT / "docs" / "skills.md").write_text(
        "# How hard Skills-v0 is\n\n"
        f"Written by `python benchmarks/skills.py{' --ppo' if curves else ''} --write`. Points a session, "
        f"{each:,} sessions of each stage with clients whom nobody trained on, equal shares of the four stages; 95 % intervals, "
        f"for PPO over seeds.\n\n{table}\n{picture}\n{EXPLAINED}\n{worth(rows, curves)}"
        "## What the searches found\n\n"
        f"The best of {SEARCHES} cross-entropy searches each. One constant: {named(found.constant.emphasis)}. "
        "One of each stage:\n\n"
        f"{stages}\n",
        encoding="utf-8",
    )
    if curves:
        draw(rows, curves)


def named(emphasis: np.ndarray) -> str:
    """Emphasis (12,) in words."""
    shares = zip(DIMENSIONS, np.clip(emphasis, 0.0, 1.0), strict=True)
    return ", ".join(f"{name.replace('_', ' ')} {share:.2f}" for name, share in shares if share >= 0.01)


EXPLAINED = """\
At every turn a client of Skills-v0 does one of seven things that psychotherapy research calls markers (reaching, withdrawing,
confronting, being flooded, keeping a distance, wondering, or nothing in particular), by odds that depend on the phase. It moves
what is needed and what is seen for that turn (configs/envs/skills_markers.csv, skills_marker_needs.csv). And a session has a
good or a bad day for whatever is said, so that clients of a stage open after few or many turns.

Best constant of each stage: four constants that see the stage and nothing else. Best linear map: emphasis linear in the five
signals, the felt last turn and the turn, another map for each stage. The clinician is written by hand: from the signals it weighs
phase and marker, and does what guidance puts first, in proportion; the two lines below it are told. Who knows the needs sees
the tables and the true client, and spends the budget on the largest needs of the turn: the most that one turn at a time could
know, but no bound, as it does not plan. PPO without the stage sees all but the stage; PPO without the client's signals sees
stage, turn and how the last turn felt. No learner has a memory. A session that closes well early
is credited for the turns it did not need.
"""


def worth(rows: dict[str, Row], curves: Sequence[Curves]) -> str:
    """What this shows and what not; empty without PPO."""
    mean = {name: row.sessions.mean()[0] for name, row in rows.items()}
    if not set(LEARNERS.values()) <= set(mean):
        return ""
    best, constants, clinician = mean["PPO"], mean["best constant of each stage"], mean["clinician"]
    no_stage, no_client = (mean[LEARNERS[what]] for what in ("stage", "signals"))
    phase, both = mean["clinician told the phase"], mean["clinician told phase and marker"]
    lost, gain = best - no_client, best - constants
    return (
        "## What this shows and what not\n\n"
        f"No constant solves it: four constants, one a stage, get {constants:.0f}, the clinician {clinician:.0f}, PPO {best:.0f}. "
        f"After as many turns PPO without the stage gets {best - no_stage:.0f} points less, and PPO without the client's signals "
        f"{lost:.0f} less, {'all' if lost >= gain else f'{100 * lost / gain:.0f} %'} of the {gain:.0f} that it gains over those "
        f"constants. The clinician reads the phase well but not perfectly: being told it brings {phase - clinician:.0f} "
        f"points more, and being told the marker too {both - phase:.0f}.\n\n"
        "It does not show what the phase alone is worth to PPO: phase and marker are seen in the same signals, and hiding these "
        f"hides both. Nor PPO at its best: its curves still rise where they end ({curves[0].at[-1]:,} turns; `--steps` goes on). "
        "Nor anything about real therapy: the needs, the markers and their odds were authored, each row with its source, and "
        "never measured.\n\n"
    )


def draw(rows: dict[str, Row], curves: Sequence[Curves]) -> None:
    """docs/skills.png: mean of the seeds with its interval, each baseline a line with its name at the right."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.6, 5.4), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    lines = [(row.name, row.sessions.mean()[0]) for row in rows.values() if not row.name.startswith(("PPO", "only"))]
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
