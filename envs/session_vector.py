"""icarus/Session-v0 many times at once: one judge call and one voice call for all sub-environments."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from client_graph.catalog import Catalog
from client_graph.client import ClientGraph
from client_graph.personhood import Person
from client_graph.settings import ClientSettings
from client_graph.state import ClientState
from envs.arguments import checked_options, conduct_of, number_problems, render_problems, stage_problems
from envs.conduct import Begun, Conduct, Turned, unchanged_on_failure
from envs.infos import Columns, end_told, observation_row, observation_space, observed, spread, taken, truth, turn_told
from envs.restoring import kept, restored
from envs.session import RENDER_MODES, frame, view_of
from envs.text import UnicodeText, therapist_words
from envs.types import ClientFailed, JudgeFailed, Outcome, SessionState, Snapshot
from envs.voice import ClientVoice
from judges.protocol import Judge, JudgeFailure
from rewards.settings import RewardSettings


@dataclass(frozen=True)
class Landed:
    """A turn of N sub-environments; `turn` is whatever tells of it, `batches` are those whose clients speak after it."""

    turn: Any
    batches: tuple[Begun | Turned, ...]
    sessions: list[SessionState]
    rewards: np.ndarray  # (N,) float64
    terminated: np.ndarray  # (N,) bool
    truncated: np.ndarray  # (N,) bool

    @property
    def over(self) -> np.ndarray:
        """The places of those whose episode is over."""
        return np.flatnonzero(self.terminated | self.truncated)


class SessionVectorEnv(gym.vector.VectorEnv[dict[str, Any], Sequence[str], np.ndarray]):
    """`num_envs` sessions with simulated clients, side by side. Research software: a simulator, not for clinical use.

    Sub-environment i is what a SessionEnv seeded with its seed would be, bit for bit, autoresets included; only the calls of
    judge and voice are batched. Actions: N texts. Observations: those of SessionEnv batched, `client` a tuple of N texts.
    Infos: Gymnasium's vector convention, an array for each name and a mask `_name` beside it.

    autoreset_mode: "NextStep" (the step after an end begins anew, whatever its action), "SameStep" (an end begins anew at
    once; the last observation is in `final_obs`, its info in `final_info`) or "Disabled" (reset with the option
    `reset_mask`, (N,) bool, begins anew where it is true). Other arguments and options: see SessionEnv.

    Raises JudgeFailed or ClientFailed naming the sub-environments; then nobody was changed, and what was judged is kept, so
    that the same step asks for the rest alone. Not thread-safe.
    """

    def __init__(
        self,
        num_envs: int = 1,
        client: str | ClientVoice = "authored",
        judge: str | Judge = "embedding",
        catalog: str | Path | Catalog | None = None,
        stage: int | None = None,
        max_turns: int = 20,
        reward: RewardSettings | None = None,
        settings: ClientSettings | None = None,
        judge_retries: int = 1,
        render_mode: str | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
    ) -> None:
        conduct = conduct_of(
            client=client, judge=judge, catalog=catalog, max_turns=max_turns, reward=reward, settings=settings,
            judge_retries=judge_retries, also=vector_problems(num_envs, stage, render_mode, autoreset_mode),
        )  # fmt: skip
        self._set_up(conduct, num_envs, stage, render_mode, autoreset_mode)

    def _set_up(
        self,
        conduct: Conduct,
        num_envs: int,
        stage: int | None,
        render_mode: str | None,
        autoreset_mode: str | AutoresetMode,
    ) -> None:
        self.conduct, self.num_envs, self.stage, self.render_mode = conduct, int(num_envs), stage, render_mode
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"render_modes": RENDER_MODES, "render_fps": 1, "autoreset_mode": self.autoreset_mode}
        self.single_action_space: UnicodeText = UnicodeText()
        self.single_observation_space = observation_space(conduct.catalog, conduct.max_turns)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self._sessions: list[SessionState] = []  # none before the first reset, then one a sub-environment
        self._over = np.zeros(self.num_envs, dtype=np.bool_)
        self._observations: Columns = {}
        self._chances: list[np.random.Generator] = []
        self._seeds: list[int] = []

    # What another kind of sub-environment does in its own way: begin, try replies, take a turn, tell of it.

    _treatment = False  # whether sessions are parts of treatments

    def _outcomes(self, asked: Sequence[tuple[SessionState, str]]) -> list[Outcome | JudgeFailure]:
        return self.conduct.outcomes(asked)

    def _arrive(
        self, states: Sequence[ClientState], people: Sequence[Person], chances: Sequence[np.random.Generator]
    ) -> Begun:
        return self.conduct.arrive(states, people, chances)

    def _land(
        self, sessions: Sequence[SessionState], replies: Sequence[str], chances: Sequence[np.random.Generator]
    ) -> Landed:
        turned = self.conduct.land(sessions, replies, chances)
        return Landed(turned, (turned,), turned.sessions, turned.parts.total, turned.terminated, turned.truncated)

    def _columns(self, landed: Landed) -> tuple[Columns, list[tuple[np.ndarray, Columns]]]:
        """(infos of all that took the turn, infos of some: their places and columns)."""
        turned = landed.turn
        return truth(turned, self.conduct.catalog) | turn_told(turned), [(turned.closed, end_told(turned))]

    def reset(  # seeds may also come as a list, as in SyncVectorEnv
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """New clients everywhere, or where the option `reset_mask` is true; a refused reset changes nothing.

        seed: s seeds sub-environment i with s + i; or a list of N, None where a generator goes on.
        """
        wishes = dict(options or {})
        places = np.flatnonzero(self._mask(wishes.pop("reset_mask", None)))
        same_client, wishes = checked_options(wishes)
        if same_client and (unready := [i for i in places.tolist() if not self._sessions or not self._over[i]]):
            raise ResetNeeded(
                f"same_client needs sessions that have ended; those of sub-environments {unready} have not"
            )
        before = self._chances, self._seeds
        with unchanged_on_failure(self._chances):
            try:
                self._chances, self._seeds = self._seeded(seed, places)
                begun = self._begin(places, same_client, {"stage": self.stage, **wishes})
            except BaseException:
                self._chances, self._seeds = before
                raise
        self._keep(places, begun.sessions)
        self._show()
        return self._observation(), spread(truth(begun, self.conduct.catalog), places, self.num_envs, {})

    def step(self, actions: Sequence[str]) -> tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One turn everywhere: one call of the judge over all replies, one of the voice over all clients."""
        anew = self._over if self.autoreset_mode == AutoresetMode.NEXT_STEP else np.zeros_like(self._over)
        going, opening = np.flatnonzero(~anew), np.flatnonzero(anew)
        replies = self._replies(actions, going)
        again: Begun | None = None
        with unchanged_on_failure(self._chances):
            landed, begun = self._turn(going, replies, opening)
            if self.autoreset_mode == AutoresetMode.SAME_STEP and landed is not None and len(landed.over):
                again = self._begin(landed.over, False, {"stage": self.stage})  # all go on: places are sub-environments

        rewards, infos = np.zeros(self.num_envs), dict[str, Any]()
        terminated, truncated = np.zeros_like(self._over), np.zeros_like(self._over)
        if landed is not None:
            rewards[going], terminated[going], truncated[going] = landed.rewards, landed.terminated, landed.truncated
            self._tell(landed, going, again is not None, infos)
            self._keep(going, landed.sessions)
        for places, told in ((opening, begun), (np.flatnonzero(terminated | truncated), again)):
            if told is not None:
                spread(truth(told, self.conduct.catalog), places, self.num_envs, infos)
                self._keep(places, told.sessions)
        self._show()
        return self._observation(), rewards, terminated, truncated, infos

    def _turn(self, going: np.ndarray, replies: list[str], opening: np.ndarray) -> tuple[Landed | None, Begun | None]:
        """A turn at the places `going` and a beginning at the places `opening`; their clients speak in one call."""
        landed: Landed | None = None
        begun: Begun | None = None
        try:
            if len(going):
                landed = self._land([self._sessions[i] for i in going], replies, self._at(going))
            if len(opening):
                begun = self._arrive(*self.conduct.newcomers(self._at(opening), stage=self.stage), self._at(opening))
        except JudgeFailed as failed:
            raise failed.at(going, self.num_envs) from None
        batches = [*(landed.batches if landed else ()), *([begun] if begun else [])]
        try:
            self.conduct.speak(*batches)
        except ClientFailed as failed:
            chances = [id(chance) for chance in self._chances]
            speaking = [chances.index(id(turn.rng)) for batch in batches for turn in batch.speaking]
            raise failed.at(speaking, self.num_envs) from None
        return landed, begun

    def _begin(self, places: np.ndarray, same_client: bool, wishes: dict[str, Any]) -> Begun:
        chances = self._at(places)
        if same_client:
            ended = [self._sessions[i] for i in places]
            states = [session.next_state for session in ended if session.next_state is not None]
            people = [session.person for session in ended]
        else:
            states, people = self.conduct.newcomers(chances, **wishes)
        begun = self._arrive(states, people, chances)
        try:
            self.conduct.speak(begun)
        except ClientFailed as failed:
            raise failed.at(places, self.num_envs) from None
        return begun

    def _tell(self, landed: Landed, going: np.ndarray, final: bool, infos: dict[str, Any]) -> None:
        """Put into `infos` what a turn did; what ended goes under `final_info` where a new episode follows at once."""
        count, final_info = self.num_envs, dict[str, Any]()
        told, some = self._columns(landed)
        for places, columns in [(np.arange(len(going)), told), *some]:
            last = np.isin(places, landed.over) if final else np.zeros(len(places), dtype=np.bool_)
            for chosen, into in ((~last, infos), (last, final_info)):
                if chosen.any() and columns:
                    part = columns if chosen.all() else taken(columns, np.flatnonzero(chosen))
                    spread(part, going[places[chosen]], count, into)
        if final:
            seen = observed([landed.sessions[i] for i in landed.over])
            final_obs = [observation_row(seen, k) for k in range(len(landed.over))]
            spread({"final_obs": final_obs, "final_info": {}}, going[landed.over], count, infos)
            infos["final_info"] = final_info

    def _keep(self, places: np.ndarray, sessions: list[SessionState]) -> None:
        """What a call led to is what the next one starts from."""
        seen = observed(sessions)
        if not self._sessions:  # the first reset, which is of all
            self._sessions, self._observations = list(sessions), seen
        for place, session in zip(places.tolist(), sessions, strict=True):
            self._sessions[place] = session
            self._over[place] = session.over
        for name, column in seen.items():
            if isinstance(column, np.ndarray):
                self._observations[name][places] = column
        self._observations["client"] = [session.words for session in self._sessions]

    def _observation(self) -> dict[str, Any]:
        """Of all sub-environments, in memory of its own."""
        return {
            name: tuple(column) if isinstance(column, list) else column.copy()
            for name, column in self._observations.items()
        }

    def evaluate(self, replies: Sequence[Sequence[str]]) -> list[list[Outcome | JudgeFailure]]:
        """What each of several replies would do in each sub-environment, all judged in one call; nothing is changed."""
        self._expect_running()
        if isinstance(replies, str) or len(replies) != self.num_envs or any(isinstance(own, str) for own in replies):
            raise InvalidAction(f"expected {self.num_envs} lists of replies, one list a sub-environment")
        asked = [(session, reply) for session, own in zip(self._sessions, replies, strict=True) for reply in own]
        found = iter(self._outcomes(asked))
        return [[next(found) for _ in own] for own in replies]

    def snapshot(self) -> tuple[Snapshot, ...]:
        """Every session and its generator, as SessionEnv.snapshot; `restore` goes on from there, byte for byte."""
        if not self._sessions:
            raise ResetNeeded("nothing to keep yet; call reset() first")
        return tuple(map(kept, self._sessions, self._chances))

    def restore(self, snapshots: Sequence[Snapshot]) -> dict[str, Any]:
        """Go back to what `snapshot` returned, which stays as it is; returns the observations there.

        As SessionEnv.restore: all of them or, with an error that names all that is wrong, none. Where an end begins anew at
        once (SameStep) nobody's session is ever over, so one that is over is refused there.
        """
        if isinstance(snapshots, Snapshot) or len(snapshots) != self.num_envs:
            raise TypeError(f"expected {self.num_envs} snapshots, as snapshot() returned them")
        chances, seeds = self._chances, self._seeds
        if not chances:
            chances, seeds = [np.random.Generator(np.random.PCG64(0)) for _ in snapshots], [-1] * self.num_envs
        sessions = restored(snapshots, self.conduct, chances, treatment=self._treatment)
        over = np.array([session.over for session in sessions])
        if self.autoreset_mode == AutoresetMode.SAME_STEP and over.any():
            raise ValueError(
                f"the sessions of sub-environments {np.flatnonzero(over).tolist()} are over; expected sessions that go on, as "
                "SameStep begins anew at once. Nothing was changed"
            )
        seen = observed(sessions)
        with unchanged_on_failure(chances):
            for chance, each in zip(chances, snapshots, strict=True):
                chance.bit_generator.state = deepcopy(each.chance)
        self._chances, self._seeds = chances, seeds
        self._sessions, self._observations = sessions, seen
        self._over[:] = over
        return self._observation()

    def client_view(self, place: int) -> ClientGraph:
        """The true client of a sub-environment by name, for researchers."""
        if not self._sessions:
            raise ResetNeeded("no client yet; call reset() first")
        return view_of(self._sessions[place], self.conduct.catalog, self.conduct.settings)

    @property
    def sessions(self) -> tuple[SessionState, ...]:
        """The running sessions; read them, do not change them."""
        return tuple(self._sessions)

    def render(self) -> tuple[Any, ...] | None:
        """One frame a sub-environment, as SessionEnv.render; None where there is nothing to hand out."""
        if self.render_mode in (None, "human"):
            return None
        if not self._sessions:
            raise ResetNeeded("nothing to draw yet; call reset() first")
        return self._frames(str(self.render_mode))

    def _frames(self, mode: str) -> tuple[Any, ...]:
        return tuple(
            frame(mode, self.client_view(i), session.history, session.words) for i, session in enumerate(self._sessions)
        )

    def _show(self) -> None:
        if self.render_mode == "human":
            print("\n\n".join(self._frames("ansi")))

    @property  # type: ignore[misc]  # the base class has one for all, which may be set
    def np_random(self) -> tuple[np.random.Generator, ...]:  # type: ignore[override]  # as SyncVectorEnv: one each
        """The generator of each sub-environment."""
        return tuple(self._chances)

    @property
    def np_random_seed(self) -> tuple[int, ...]:  # type: ignore[override]
        """The seed of each generator; -1 where it is not known, as after a restore before any reset."""
        return tuple(self._seeds)

    def _at(self, places: np.ndarray) -> list[np.random.Generator]:
        return [self._chances[i] for i in places]

    def _seeded(
        self, seed: int | Sequence[int | None] | None, places: np.ndarray
    ) -> tuple[list[np.random.Generator], list[int]]:
        """The generators and their seeds after a reset with `seed` at `places`."""
        if seed is None or isinstance(seed, int | np.integer):
            seed = [None if seed is None else int(seed) + i for i in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise ValueError(f"found {len(seed)} seeds; expected {self.num_envs}, one a sub-environment")
        chances, seeds = list(self._chances), list(self._seeds)
        if not chances:
            chances, seeds = [np.random.default_rng(0)] * self.num_envs, [0] * self.num_envs  # replaced below
        for i in places:
            if seed[i] is not None or not self._chances:
                chances[i], seeds[i] = seeding.np_random(seed[i])
        return chances, seeds

    def _mask(self, mask: Any) -> np.ndarray:
        if mask is None:
            return np.ones(self.num_envs, dtype=np.bool_)
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (self.num_envs,):
            raise ValueError(f"found reset_mask {mask!r}; expected a bool array of shape ({self.num_envs},)")
        if not mask.any():
            raise ValueError("found a reset_mask that is false everywhere; expected a sub-environment to reset")
        if not self._sessions and not mask.all():
            raise ResetNeeded("the first reset is of all sub-environments; leave reset_mask out")
        return mask

    def _expect_running(self) -> None:
        if not self._sessions:
            raise ResetNeeded("no sessions yet; call reset() first")
        if self.autoreset_mode == AutoresetMode.DISABLED and self._over.any():
            over = np.flatnonzero(self._over).tolist()
            raise ResetNeeded(
                f"the sessions of sub-environments {over} are over; reset them with options "
                '{"reset_mask": terminated | truncated}'
            )

    def _replies(self, actions: Sequence[str], going: np.ndarray) -> list[str]:
        """The texts of the sub-environments that take a turn; what the others were given is not looked at."""
        self._expect_running()
        if isinstance(actions, str | bytes) or not isinstance(actions, Sequence | np.ndarray):
            raise InvalidAction(f"found a {type(actions).__name__}; expected {self.num_envs} texts in a tuple or list")
        if len(actions) != self.num_envs:
            raise InvalidAction(f"found {len(actions)} texts; expected {self.num_envs}, one a sub-environment")
        replies = [actions[i] for i in going]
        faults = []
        for i, reply in zip(going, replies, strict=True):
            try:
                therapist_words(reply, self.single_action_space)
            except InvalidAction as refused:
                faults.append(f"sub-environment {i}: {refused}")
        if faults:
            raise InvalidAction("; ".join(faults))
        return replies


def vector_problems(num_envs: Any, stage: Any, render_mode: Any, autoreset_mode: Any) -> list[str]:
    """What is wrong with what every vector environment is made with."""
    return [
        *number_problems("num_envs", num_envs, 1),
        *stage_problems(stage),
        *render_problems(render_mode, RENDER_MODES),
        *autoreset_problems(autoreset_mode),
    ]


def autoreset_problems(mode: Any) -> list[str]:
    known = [each.value for each in AutoresetMode]
    if isinstance(mode, AutoresetMode) or mode in known:
        return []
    return [f"found autoreset_mode {mode!r}; expected one of {known}"]
