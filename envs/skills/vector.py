"""icarus/Skills-v0 many times at once: the batched engine itself."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from client_graph.catalog import Catalog
from client_graph.client import ClientGraph
from client_graph.names import DIMENSIONS
from client_graph.settings import ClientSettings
from envs.arguments import number_problems
from envs.session import checked_options
from envs.skills.arguments import sessions_of
from envs.skills.drawing import RENDER_MODES, frame
from envs.skills.observation import observation_space
from envs.skills.outcome import CLOSED_WELL, LEFT, PARTS, TURN_LIMIT
from envs.skills.response import ResponseModel
from envs.skills.sessions import Sessions, SkillsSnapshot, Turned, checked_emphasis, new_observation
from rewards.settings import RewardSettings


def action_space() -> Box:
    """Emphasis on each of the twelve dimensions, in the order of client_graph.names.DIMENSIONS."""
    return Box(0.0, 1.0, (len(DIMENSIONS),), dtype=np.float32)


class SkillsVectorEnv(gym.vector.VectorEnv[np.ndarray, np.ndarray, np.ndarray]):
    """`num_envs` numeric sessions side by side. Research software: a simulator, not for clinical use.

    Sub-environment i is what a SkillsEnv seeded with its seed would be, bit for bit, autoresets included, whatever the number
    of sub-environments and threads. Actions (N, 12), observations (N, 10): see SkillsEnv.

    Infos hold arrays over all sub-environments and, beside each, a mask `_name` of those of which it tells:
    `phase` (N,) 0..3 for A..D, `alliance` (N,) in [0, 1] and `signals` (N, 5) in [0, 10], the truth now; of a turn
    `scores` (N, 12), `composite` (N,) in [0, 10], `reward_parts` (a dict of (N,) points), `phase_step` (N,), `rupture` (N,),
    `stage_step` (N,) and `ending` (N,), a place in `envs.skills.ENDINGS`.

    Args:
        num_envs: N.
        client: "silent". Clients who speak are for the single environment.
        judge: "response", or a ResponseModel.
        catalog: a folder of client tables, a Catalog, or None for configs/client.
        stage: treatment stage 1..4 of every client; or a list of N, None where it is drawn; or None to draw all.
        max_turns: turns of a session.
        reward: scales of the reward's parts.
        settings: gains of the client's dynamics.
        signal_noise: standard deviation of what is seen of a signal, in level points.
        felt_noise: standard deviation of `felt_last_turn`, in score points.
        render_mode: "ansi", "rgb_array" (a tuple of N from `render`) or None.
        autoreset_mode: "NextStep" (the step after an end begins anew, whatever its action), "SameStep" (an end begins anew at
            once; `final_obs` (N, 10) and `final_info` tell of the end, with masks) or "Disabled" (reset with the option
            `reset_mask`, (N,) bool, begins anew where it is true).
        threads: how many threads move the clients; the bits do not depend on it.
    """

    def __init__(
        self,
        num_envs: int = 1,
        client: str = "silent",
        judge: str | ResponseModel = "response",
        catalog: str | Path | Catalog | None = None,
        stage: int | Sequence[int | None] | None = None,
        max_turns: int = 20,
        reward: RewardSettings | None = None,
        settings: ClientSettings | None = None,
        signal_noise: float = 0.5,
        felt_noise: float = 1.0,
        render_mode: str | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
        threads: int = 1,
    ) -> None:
        also = [*number_problems("threads", threads, 1), *_mode_problems(autoreset_mode)]
        if client != "silent":
            also.append(f'found client {client!r}; expected "silent": a client who speaks is for SkillsEnv')
        self.sessions: Sessions = sessions_of(
            num_envs, judge=judge, catalog=catalog, stage=stage, max_turns=max_turns, reward=reward, settings=settings,
            signal_noise=signal_noise, felt_noise=felt_noise, render_mode=render_mode, render_modes=RENDER_MODES[:2],
            also=also,
        )  # fmt: skip
        self.num_envs, self.render_mode, self.threads = int(num_envs), render_mode, int(threads)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"render_modes": RENDER_MODES[:2], "render_fps": 1, "autoreset_mode": self.autoreset_mode}
        self.single_action_space, self.single_observation_space = action_space(), observation_space(int(max_turns))
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self._generators: list[np.random.Generator] = []
        self._seeds: list[int] = []
        self._begun = False

    def reset(  # seeds may also come as a list, as in SyncVectorEnv
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """New clients everywhere, or where the option `reset_mask` is true. A refused reset changes nothing.

        seed: s seeds sub-environment i with s + i; or a list of N, None where a generator goes on. Options: `reset_mask`;
        `stage`, `strategy`, `concern` of new clients; or `same_client`: the next session of those whose last one is over.
        """
        wishes = dict(options or {})
        mask = self._mask(wishes.pop("reset_mask", None))
        same_client, wishes = checked_options(wishes)
        places = np.flatnonzero(mask)
        if same_client and not (self._begun and self.sessions.running.over[places].all()):
            raise ResetNeeded("same_client needs sessions that have ended; reset without it first")
        generators, seeds = self._seeded(seed, places)
        observation = self.sessions.observe() if self._begun else new_observation(self.num_envs)
        if same_client:
            self.sessions.go_on(places, observation)
        else:
            kept = [(generators[i], generators[i].bit_generator.state) for i in places] if wishes else []
            try:
                self._newcomers(generators, places, observation, wishes)
            except ValueError:
                for generator, chance in kept:
                    generator.bit_generator.state = chance
                raise
        self._generators, self._seeds, self._begun = generators, seeds, True
        return observation, self._truth(mask)

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One turn everywhere. Raises InvalidAction for actions out of range, of sub-environments that begin anew as well."""
        sessions = self._expect_begun()
        over = sessions.running.over.copy()
        if self.autoreset_mode == AutoresetMode.DISABLED and over.any():
            raise ResetNeeded(
                f"found sessions that are over at {np.flatnonzero(over)[:10].tolist()}; expected a reset with "
                "options={'reset_mask': ...} there before the next step"
            )
        emphasis = checked_emphasis(actions, self.num_envs)
        turned = sessions.turn(emphasis, self.threads)
        result = turned.result
        infos: dict[str, Any] = {}
        ended = result.ending > 0
        told = ~over
        if over.any():  # NEXT_STEP
            self._newcomers(self._generators, np.flatnonzero(over), result.observation, {})
        if self.autoreset_mode == AutoresetMode.SAME_STEP and ended.any():
            infos["final_obs"], infos["_final_obs"] = result.observation.copy(), ended
            infos["final_info"], infos["_final_info"] = self._turn_told(turned, ended) | self._truth(ended), ended
            self._newcomers(self._generators, np.flatnonzero(ended), result.observation, {})
            told = told & ~ended
        if told.any():
            infos |= self._turn_told(turned, told)
        infos |= self._truth(np.ones(self.num_envs, dtype=np.bool_))
        terminated = (result.ending == LEFT) | (result.ending == CLOSED_WELL)
        return result.observation, result.reward, terminated, result.ending == TURN_LIMIT, infos

    def snapshot(self) -> SkillsSnapshot:
        """All sessions and their generators; `restore` goes on from there, byte for byte."""
        return self._expect_begun().keep(self._generators)

    def restore(self, snapshot: SkillsSnapshot) -> np.ndarray:
        """Go back to a snapshot, which stays as it is; returns the observations there."""
        generators = self._generators or [np.random.default_rng(0) for _ in range(self.num_envs)]
        self.sessions.restore(snapshot, generators)
        self._generators, self._begun = generators, True
        self._seeds = self._seeds or [-1] * self.num_envs
        return self.sessions.observe()

    def client_view(self, place: int) -> ClientGraph:
        """The true client of a sub-environment by name, for researchers; with the last turn where render_mode is given."""
        return self._expect_begun().view(place)

    @property
    def phase(self) -> np.ndarray:
        """(N,) int64: the true phases, 0..3 for A..D, which no therapist can see."""
        return self._expect_begun().state.phase.copy()

    def render(self) -> tuple[Any, ...] | None:
        """A frame a sub-environment."""
        if self.render_mode is None:
            return None
        sessions = self._expect_begun()
        return tuple(frame(self.render_mode, sessions, place) for place in range(self.num_envs))

    @property  # type: ignore[misc]
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]  # as SyncVectorEnv: one each
        """The generators that draw the clients, one a sub-environment."""
        return tuple(self._generators)

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """Their seeds."""
        return tuple(self._seeds)

    def _newcomers(
        self, generators: list[np.random.Generator], places: np.ndarray, observation: np.ndarray, wishes: dict[str, Any]
    ) -> None:
        raw = [generators[i].bit_generator.random_raw() for i in places.tolist()]
        self.sessions.begin(places, np.array(raw, dtype=np.uint64), observation, self.threads, **wishes)

    def _truth(self, mask: np.ndarray) -> dict[str, Any]:
        state, running = self.sessions.state, self.sessions.running
        return {
            "phase": state.phase.copy(), "_phase": mask, "alliance": running.alliance.copy(), "_alliance": mask,
            "signals": running.signals.copy(), "_signals": mask,
        }  # fmt: skip

    def _turn_told(self, turned: Turned, mask: np.ndarray) -> dict[str, Any]:
        report = self.sessions.report
        told: dict[str, Any] = {
            "scores": turned.scores, "composite": self.sessions.running.composite.copy(), "reward_parts": {},
            "phase_step": report.phase_step.copy(), "rupture": report.rupture.copy(), "stage_step": turned.stage_step,
            "ending": turned.result.ending,
        }  # fmt: skip
        told |= {f"_{name}": mask for name in told}
        told["reward_parts"] = dict(zip(PARTS, turned.result.parts, strict=True)) | {f"_{p}": mask for p in PARTS}
        return told

    def _seeded(
        self, seed: int | Sequence[int | None] | None, places: np.ndarray
    ) -> tuple[list[np.random.Generator], list[int]]:
        seeds: Sequence[int | None]
        if seed is None or isinstance(seed, int | np.integer):
            seeds = [None if seed is None else int(seed) + i for i in range(self.num_envs)]
        else:
            seeds = list(seed)
        if len(seeds) != self.num_envs:
            raise ValueError(f"found {len(seeds)} seeds; expected one, or one for each of {self.num_envs} environments")
        if not self._begun and len(places) < self.num_envs:
            raise ResetNeeded("found a reset_mask before any reset; reset all first")
        found: list[Any] = list(self._generators) or [None] * self.num_envs
        known = list(self._seeds) or [-1] * self.num_envs
        for i in places.tolist():
            if seeds[i] is not None or found[i] is None:
                found[i], known[i] = seeding.np_random(seeds[i])
        return found, known

    def _mask(self, mask: Any) -> np.ndarray:
        if mask is None:
            return np.ones(self.num_envs, dtype=np.bool_)
        found = np.asarray(mask)
        if found.dtype != np.bool_ or found.shape != (self.num_envs,) or not found.any():
            raise ValueError(
                f"found reset_mask of {found.dtype}, shape {found.shape}, {int(found.astype(bool).sum())} true; expected "
                f"({self.num_envs},) bool with one or more true"
            )
        return found.copy()

    def _expect_begun(self) -> Sessions:
        if not self._begun:
            raise ResetNeeded("no sessions yet; call reset() first")
        return self.sessions


def _mode_problems(mode: Any) -> list[str]:
    try:
        AutoresetMode(mode)
    except ValueError:
        return [f"found autoreset_mode {mode!r}; expected one of {[each.value for each in AutoresetMode]}"]
    return []
