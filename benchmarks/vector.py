"""How fast Skills-v0 is as a vector environment, with observations, rewards, infos and autoreset, beside other ways to run it.

    python benchmarks/vector.py [--quick] [--markdown] [--one-core]

Everything runs in one process in turns (first one contestant, then the next, and round again), so that ratios hold on a busy
machine. A repetition is a whole session and its autoreset (21 steps): of the 21 only the 20 turns count. Best is the figure to
compare; the microseconds of processor time a turn (all threads together, least of the repetitions) are what is left when others
wait for the same cores. Actions are uniform.

NumPy's single environment (below) does the same in plain NumPy, but for markers and the day, which it leaves out; its turn
is that of benchmarks/client_peers.py. The last rows take the client's turn alone, without an environment around it; jax is no
dependency of this project (how to have it: client_graph.py).
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # benchmarks are no package that is installed

import gymnasium as gym
import numpy as np
from gymnasium.vector import SyncVectorEnv

from benchmarks.client_graph import Contestant, compete, cores_to_be_had, crowd
from benchmarks.client_peers import JaxCrowd, NumpyCrowd
from client_graph.arrival import newcomers
from client_graph.catalog import Catalog, load_catalog
from client_graph.turn import advance_in_place, empty_report
from envs.skills import ResponseModel, SkillsEnv, SkillsVectorEnv
from envs.skills.observation import observation_space
from envs.skills.outcome import COLLAPSE, INTEGRATION, TURNS_TO_CLOSE
from envs.skills.rows import SIGNS
from envs.skills.vector import action_space
from rewards.parts import turn_reward, with_ending, with_stage_transition

TURNS = 20
MANY = 64  # sub-environments of SyncVectorEnv, as in the figure that is to be beaten
COMPARED = 4_096  # the size at which ratios are taken
START_UP = """
import time; begun = time.perf_counter()
import gymnasium, envs
imported = time.perf_counter()
made = gymnasium.make_vec("icarus/Skills-v0", num_envs=64, vectorization_mode="vector_entry_point"); made.reset(seed=1)
reset = time.perf_counter()
made.step(made.action_space.sample())
print(imported - begun, reset - imported, time.perf_counter() - reset)
"""


class NumpySkillsEnv(gym.Env[np.ndarray, np.ndarray]):
    """Skills-v0 as one would write it in NumPy: the same turn, response model, reward and observation; one session."""

    def __init__(self) -> None:
        self.catalog, self.response = load_catalog(), ResponseModel()
        self.action_space, self.observation_space = action_space(), observation_space(TURNS)
        self.crowd: NumpyCrowd | None = None
        self._spill = np.zeros((12, 12))
        for row in self.response.tables.spill:
            self._spill[row.dimension, row.onto] = row.cost

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """A new client."""
        super().reset(seed=seed)
        words = self.np_random.integers(0, 2**64, size=1, dtype=np.uint64)
        state = newcomers(self.catalog, words)
        if self.crowd is None:
            self.crowd = NumpyCrowd(self.catalog, state)
        self.crowd.state = state
        self._signals = self._shown()
        self._alliance = float((state.levels @ self.crowd.matrices.core)[0])
        self._in_integration, self._felt = 0, -1.0
        return self._observation(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One turn."""
        assert self.crowd is not None
        state = self.crowd.state
        scores = self._scores(np.asarray(action, dtype=np.float64))[None]
        report = self.crowd.turn(scores)
        after = self.crowd.state
        self._signals = report.signals[0]
        parts = turn_reward(scores, state.stage, report)
        self._felt = float(parts.composite[0])
        self._in_integration = self._in_integration + 1 if after.phase[0] == INTEGRATION else 0
        left = float((after.levels @ self.crowd.matrices.core)[0]) < COLLAPSE * self._alliance
        closed_well = not left and self._in_integration >= TURNS_TO_CLOSE
        turn = int(after.turn[0])
        truncated = not left and not closed_well and turn >= TURNS
        if left or closed_well or truncated:
            from client_graph.session import end_session

            parts = with_stage_transition(parts, end_session(after, self.catalog)[1].stage_step)
            parts = with_ending(parts, np.array([int(closed_well) - int(left)]), np.array([TURNS - turn]))
        info = {"scores": scores[0], "reward_parts": parts.of(0)}
        return self._observation(), float(parts.total[0]), left or closed_well, truncated, info

    def _shown(self) -> np.ndarray:
        assert self.crowd is not None
        m, state = self.crowd.matrices, self.crowd.state
        return np.clip((state.levels[0] @ m.show + m.show_offset) * m.show_phase[state.phase[0]], 0.0, 10.0)

    def _scores(self, emphasis: np.ndarray) -> np.ndarray:
        assert self.crowd is not None
        state, scale, tables = self.crowd.state, self.response.settings, self.response.tables
        emphasis = emphasis * min(1.0, scale.budget / max(emphasis.sum(), 1e-9))
        last = state.recent_attunement[0, -1]
        signs = np.append(self._signals, 0.0 if np.isnan(last) else 10.0 - last)
        assert len(signs) == len(SIGNS)
        need = tables.needs[state.stage[0], state.phase[0]].copy()
        shifts = tables.shifts
        np.add.at(need, shifts.dimension, shifts.slope * np.maximum(0.0, signs[shifts.sign] - shifts.above))
        need = np.clip(need, 0.0, 1.0)
        met, beyond = np.minimum(emphasis, need), np.maximum(0.0, emphasis - need)
        lost = tables.excess[state.phase[0]] * beyond + beyond @ self._spill
        score = scale.plain + scale.met * met - scale.unmet * (need - met) - scale.excess * lost
        return np.clip(score + self.np_random.normal(0.0, scale.score_noise, 12), 0.0, 10.0)

    def _observation(self) -> np.ndarray:
        assert self.crowd is not None
        state = self.crowd.state
        seen = np.clip(self._signals + self.np_random.normal(0.0, 0.5, 5), 0.0, 10.0)
        felt = self._felt if self._felt < 0 else float(np.clip(self._felt + self.np_random.normal(), 0.0, 10.0))
        rest = [felt, state.stage[0] + 1, state.turn[0], state.stance[0], state.session[0] + 1]
        return np.concatenate([seen, rest]).astype(np.float32)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few repetitions, N up to 4,096")
    parser.add_argument("--markdown", action="store_true", help="the table as Markdown")
    parser.add_argument("--one-core", action="store_true", help="bind the process to one core (Linux)")
    asked = parser.parse_args()
    if asked.one_core and len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        os.execv(sys.executable, [sys.executable, *sys.argv])
    print(f"load average {_load()} at the start; {cores_to_be_had():.1f} of two cores to be had")
    contestants = [*environments(asked.quick), *turns_alone(load_catalog())]
    compete(contestants, rounds=4 if asked.quick else 10, least=0.02)
    show(contestants, asked.markdown)
    print("\n".join([*ratios(contestants), start_up()]))
    print(f"load average {_load()} at the end; {cores_to_be_had():.1f} of two cores to be had")


def environments(quick: bool) -> Iterator[Contestant]:
    """Whole environments."""
    for clients in (1, 256, 1_024, 4_096, *(() if quick else (65_536,))):
        for threads in (1, 2):
            if threads == 1 or clients > 1:
                session = _sessions(SkillsVectorEnv(clients, threads=threads))
                yield Contestant("icarus, vector", clients * TURNS, str(threads), session)
    yield Contestant("icarus, single", TURNS, "1", _session(SkillsEnv()))
    for name, make in (("icarus, single", SkillsEnv), ("NumPy, single", NumpySkillsEnv)):
        session = _sessions(SyncVectorEnv([make] * MANY))
        yield Contestant(f"SyncVectorEnv of {name}", MANY * TURNS, "1", session)
    yield Contestant("NumPy, single", TURNS, "1", _session(NumpySkillsEnv()))


def _sessions(envs: gym.vector.VectorEnv) -> Callable[[], object]:
    """A whole session of every sub-environment, and its autoreset."""
    rng = np.random.default_rng(0)
    actions = [rng.random((envs.num_envs, 12), dtype=np.float32) for _ in range(4)]
    envs.reset(seed=1)

    def session() -> None:
        for turn in range(TURNS + 1):
            envs.step(actions[turn % 4])

    return session


def _session(env: gym.Env) -> Callable[[], object]:
    rng = np.random.default_rng(0)
    actions = [rng.random(12, dtype=np.float32) for _ in range(4)]
    env.reset(seed=1)

    def session() -> None:
        env.reset()
        for turn in range(TURNS):
            _, _, terminated, truncated, _ = env.step(actions[turn % 4])
            if terminated or truncated:
                env.reset()

    return session


def turns_alone(catalog: Catalog) -> Iterator[Contestant]:
    """The client's turn without an environment."""
    people = newcomers(catalog, np.random.default_rng(1).integers(0, 2**64, size=256, dtype=np.uint64))
    scores = np.random.default_rng(2).uniform(3.0, 8.0, (COMPARED, 12))  # as the response model gives them
    state, report = crowd(people, COMPARED), empty_report(COMPARED, catalog, by_node=False)
    yield Contestant(
        "the turn alone: icarus", COMPARED, "1", lambda: advance_in_place(state, scores, catalog, report=report)
    )
    numpy_crowd = NumpyCrowd(catalog, crowd(people, COMPARED))
    yield Contestant("the turn alone: NumPy", COMPARED, "all", lambda: numpy_crowd.turn(scores))
    if importlib.util.find_spec("jax") is None:
        print("jax: not installed; its row is left out (how to have it: client_graph.py --help)")
        return
    jax_crowd = JaxCrowd(catalog, crowd(people, COMPARED))
    yield Contestant("the turn alone: JAX jit", COMPARED, "all", lambda: jax_crowd.turn(scores))


def show(contestants: list[Contestant], markdown: bool) -> None:
    """A row a contestant."""
    header = ("who", "N", "threads", "client-turns/s, best", "median", "us a turn", "of CPU")
    rows = [
        (
            one.who, f"{_size(one):,}", one.threads, f"{one.best:,.0f}", f"{one.median:,.0f}", f"{1e6 / one.best:.2f}",
            f"{1e6 * min(one.busy) / one.clients:.2f}",
        )
        for one in contestants
    ]  # fmt: skip
    if markdown:
        print("\n".join("| " + " | ".join(row) + " |" for row in (header, ("---", *["---:"] * 6), *rows)))
        return
    widths = [max(len(row[c]) for row in (header, *rows)) for c in range(len(header))]
    for row in (header, *rows):
        print("  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]))


def _size(one: Contestant) -> int:
    return one.clients if one.who.startswith("the turn alone") else one.clients // TURNS


def ratios(contestants: list[Contestant]) -> list[str]:
    """What was to be reached, and what was, by wall clock and by processor time."""
    of = {(one.who, _size(one), one.threads): one for one in contestants}
    ours, two = of["icarus, vector", COMPARED, "1"], of["icarus, vector", COMPARED, "2"]
    rows = [
        ("150", ours, of["SyncVectorEnv of NumPy, single", MANY, "1"]),
        ("10", ours, of["SyncVectorEnv of icarus, single", MANY, "1"]),
        ("", of["icarus, single", 1, "1"], of["NumPy, single", 1, "1"]),
        ("", ours, of["the turn alone: icarus", COMPARED, "1"]),
        ("", two, ours),
    ]
    if jax := of.get(("the turn alone: JAX jit", COMPARED, "all")):
        rows.insert(2, ("2", ours, jax))
    lines = []
    for wanted, one, other in rows:
        busy = (min(other.busy) / other.clients) / (min(one.busy) / one.clients)
        lines.append(
            f"{one.who}, {_size(one):,} on {one.threads} thread(s), to {other.who}, {_size(other):,}: "
            f"{one.best / other.best:,.2f} times, by processor time {busy:,.2f}"
            + (f" (to reach: {wanted})" if wanted else "")
        )
    for threads in ("1", "2"):
        few, many = of.get(("icarus, vector", 256, threads)), of.get(("icarus, vector", 65_536, threads))
        if few and many:
            lines.append(
                f"cost of a turn, N = 65,536 over N = 256, {threads} thread(s): {few.best / many.best:.2f}, in processor time "
                f"{(min(many.busy) / many.clients) / (min(few.busy) / few.clients):.2f}"
            )
    return lines


def start_up() -> str:
    """Seconds of a fresh process to its first step."""
    path = os.pathsep.join(filter(None, (sys.path[0], os.environ.get("PYTHONPATH"))))
    found = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", START_UP], env={**os.environ, "PYTHONPATH": path}, check=True, capture_output=True,
            text=True,
        )  # fmt: skip
        found.append((time.perf_counter() - start, done.stdout.split()))
    whole, parts = min(found)
    split = ", ".join(
        f"{name} {float(part):.2f}" for name, part in zip(("import", "reset", "step"), parts, strict=True)
    )
    return f"start-up of a vector environment, compiled code in its cache: {whole:.2f} s ({split})"


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


if __name__ == "__main__":
    main()
