"""TBNRLTrainer: self-play over sessions and clients, method C of the paper (432-438): RLAIF and GRPO at every turn."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium

from agents.client import client_voice
from agents.guards import Guard, Seen
from agents.judge import FrozenLikelihood, local_judge
from agents.learner import FROZEN, THERAPIST, BadGradients
from agents.lm.device import device_name, mx
from agents.lm.models import LoadedModel
from agents.lm.run_folder import ADAPTERS, TURNS, RunFolder, RunFolderError
from agents.probe import Probe, probe
from agents.record import memory_scalars, scalars, spending_scalars, turn_record
from agents.self_play import Stopwatch, TurnResult, TurnUnjudged, play_turn
from agents.settings import Settings
from agents.therapist import Therapist
from agents.training import Training, as_dict, peak_resident_gb, seed_of
from client_graph.catalog import load_catalog
from client_graph.names import DIMENSIONS
from envs import snapshot as env_snapshot
from envs.screening import default_screen
from envs.session import SessionEnv
from envs.types import ClientFailed, JudgeFailed, Outcome
from judges.api.errors import BudgetSpent, JudgeRefused
from judges.api.ledger import Spending, spending_of
from judges.assessment.session import SessionAssessment
from judges.likelihood import WithLikelihood
from judges.memory import Memory, WithMemory
from judges.protocol import Exchange, Judge
from judges.screening.screen import Screen, Screened


@dataclass
class Progress:
    """Where a run stands; with the adapters, the optimizer and the client, all that going on needs."""

    session: int = 0  # sessions that have ended
    turn: int = 0  # turns of the running session
    total_turns: int = 0
    same_client: int = 0  # sessions in a row that the present client has had
    running: bool = False  # a session has begun and not ended
    unfinished: int = 0  # sessions cut short because client or judge failed
    unfinished_in_a_row: int = 0
    rounds: int = 0  # turns, and times that this rank waited for others
    rlaif_steps: int = 0
    grpo_steps: int = 0
    sessions: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    looks: list[dict[str, Any]] = dataclasses.field(default_factory=list)  # at the held-out clients, on the way
    spending: dict[str, Any] | None = None  # of the judge, where it has any, up to the checkpoint


class TBNRLTrainer(Training):
    """Trains the therapist's adapters in the session environment. One base model; roles switch adapter sets.

    on_turn(result, progress) is called after every turn, on_session(summary) after every session.
    `judge` wins over environment.judge. Of several ranks, each plays every so many-th session; all take the same steps, two a turn.
    """

    log = TURNS

    def __init__(
        self, loaded: LoadedModel, settings: Settings, folder: RunFolder | None = None, judge: Judge | None = None
    ) -> None:
        super().__init__(loaded, settings, folder, settings.optimizer.learning_rate)
        self.progress = Progress()
        self.before: Probe | None = None
        self.on_turn: Callable[[TurnResult, Progress], None] = lambda result, progress: None
        self.on_session: Callable[[dict[str, Any]], None] = lambda summary: None
        self.catalog = load_catalog(settings.environment.catalog)
        self.tables_hash = self.catalog.hash()
        self.therapist = Therapist(loaded, self.catalog, settings.generation)
        self.guard = Guard(settings.guards)
        self._scorer = judge or self._judge()  # without what stands before it: it may have spent something
        self._spent_before: Spending | None = None  # by the processes that the run was stopped in
        told = settings.environment.memory
        self.memory = Memory(told) if told else None
        self._forgetful = judge or self._with_likelihood(self._scorer)  # who looks from outside remembers nothing
        self.env = self._environment(self._remembering(self._forgetful))
        self._observation: dict[str, Any] = {}

    @property
    def count(self) -> int:
        return self.progress.total_turns if self.ranks.size == 1 else self.progress.rounds

    @property
    def done(self) -> bool:
        return self._session >= self.settings.run.sessions

    @property
    def _session(self) -> int:
        """Which of the run's sessions is this rank's next, from 0."""
        return self.progress.session * self.ranks.size + self.ranks.rank

    def spending(self) -> Spending | None:
        """What the judge has cost this run so far, earlier processes up to their last checkpoint; None where it costs nothing.

        A judge that was passed in brings its whole account: give each trainer one of its own.
        """
        before, now = self._spent_before, spending_of(self._scorer)
        return before + now if before and now else now or before

    def _look_first(self) -> None:
        self.before = self._probe(FROZEN)

    def _state(self) -> dict[str, Any]:
        self.progress.spending = as_dict(self.spending())
        return {
            "tables_hash": self.tables_hash,
            "progress": dataclasses.asdict(self.progress),
            "before": as_dict(self.before),
            "guard": self.guard.state(),
            "memory": self.memory.state() if self.memory else None,
            "environment": env_snapshot.to_json(self.env.snapshot()) if self._observation else None,
        }

    def _restore(self, state: dict[str, Any], path: Path) -> list[str]:
        if state["tables_hash"] != self.tables_hash:
            raise RunFolderError(
                f"{path}: the run began with client tables of SHA-256 {state['tables_hash']}; found {self.tables_hash} in "
                f"{self.catalog.folder}. Put back the tables that the run began with, or begin a new run with its adapters: "
                f"--adapter {self.folder / ADAPTERS}"
            )
        self.progress = Progress(**state["progress"])
        self._spent_before = Spending.of(self.progress.spending) if self.progress.spending else None
        self.before = Probe(**{**state["before"], "replies": tuple(state["before"]["replies"])})
        self.guard.restore(state["guard"])
        if self.memory and state["memory"] is not None:
            self.memory.restore(state["memory"])
        if state["environment"] is not None:
            self._observation = self.env.restore(env_snapshot.from_json(state["environment"]))
        return []

    def _go_on(self) -> None:
        """One turn, with what comes before it (a session begins) and after it (a session ends, a checkpoint).

        Of several ranks, each takes as many steps as a turn has, whether it plays one or not.
        """
        counted, due = self.count, self.learner.exchanges + 1 + self.settings.grpo.iterations
        remembered = self.learner.remember()
        if not self.done:
            self._play()
        while self.ranks.size > 1 and self.learner.exchanges < due:
            try:
                self.learner.idle_step()
            except BadGradients as failure:  # as on every rank at this step
                self.learner.go_back(remembered)
                self.paused, self.stop = str(failure), True
        self.progress.rounds += 1
        if self.count != counted:
            self._look_if_due()
            self._checkpoint_if_due()

    def _play(self) -> None:
        progress, watch = self.progress, Stopwatch()
        if not progress.running:
            with watch("client"):
                begun = self._begin_session()
            if not begun:
                return
        result = self._attempt(watch)
        if result is None:
            return
        self._observation = result.observation
        if self.memory:
            heard = [result.outcome, *(one for one in result.candidate_outcomes if isinstance(one, Outcome))]
            seen = self._screen.unaddressed(Exchange(result.client, "", ""))  # the line as the judge has seen it
            self.memory.remember(seen.client, [one.utterance for one in heard])
        progress.turn += 1
        progress.total_turns += 1
        progress.rlaif_steps += bool(result.rlaif and result.rlaif.applied)
        progress.grpo_steps += bool(result.grpo and result.grpo.step.applied)
        drawn = scalars(result) | spending_scalars(self.spending()) | memory_scalars()
        self._record(turn_record(result, self._session + 1, progress.turn, progress.total_turns, self.catalog), drawn)
        self.on_turn(result, progress)
        if result.terminated or result.truncated:
            progress.unfinished_in_a_row = 0
            self._end_session(_session_summary(result))
        if reason := self.guard.alarm(Seen.of(result)):
            self.paused, self.stop = reason, True

    def _look_if_due(self) -> None:
        """The held-out clients, on the way: by them the best checkpoint is known. A turn that paused the run is never the best."""
        every, count = self.settings.run.probe_every, self.count
        if every == 0 or count % every != 0:
            return
        try:
            seen = self._probe(THERAPIST)
        except (BudgetSpent, JudgeRefused) as failure:
            self.paused, self.stop = str(failure), True
            return
        self.progress.looks.append({"turn": count, **{k: v for k, v in as_dict(seen).items() if k != "replies"}})
        if seen.composite is not None and self.paused is None:
            self._looked(seen.composite)

    def _attempt(self, watch: Stopwatch) -> TurnResult | None:
        """The turn, or None where neither judge nor client could be had: then nothing has changed but the session's end.

        Steps that other ranks have taken too are kept, and the turn is not tried again.
        """
        progress, told = self.progress, self.settings.run
        reason = ""
        for attempt in range(told.turn_attempts):
            remembered, before = self.learner.remember(), self.learner.exchanges
            rank = (self.ranks.rank,) if self.ranks.rank else ()
            key = mx.random.key(seed_of(told.seed, 1, progress.total_turns, progress.unfinished, attempt, *rank))
            try:
                return play_turn(self.env, self.therapist, self.learner, self._observation, key, self.settings, watch)
            except BadGradients as failure:  # on every rank
                self.learner.go_back(remembered)
                self.paused, self.stop = str(failure), True
                return None
            except (TurnUnjudged, JudgeFailed, ClientFailed, BudgetSpent, JudgeRefused) as failure:
                shared = self.ranks.size > 1 and self.learner.exchanges > before
                if not shared:
                    self.learner.go_back(remembered)
                if isinstance(failure, BudgetSpent | JudgeRefused):
                    self.paused, self.stop = str(failure), True
                    return None
                reason = str(failure)
                if shared:
                    break
        self._cut_short(reason)
        return None

    def _cut_short(self, reason: str) -> None:
        """End a session that cannot go on; too many in a row pause the run."""
        progress = self.progress
        progress.unfinished += 1
        progress.unfinished_in_a_row += 1
        self._end_session({"ending": "failed", "reason": reason})
        if progress.unfinished_in_a_row >= self.settings.run.stop_after_unfinished:
            self.paused = f"{progress.unfinished_in_a_row} sessions in a row were cut short; the last: {reason}"
            self.stop = True

    def _begin_session(self) -> bool:
        """The next client, or the next session of this one; False where the client could not be given words."""
        progress = self.progress
        again = 0 < progress.same_client < self.settings.run.sessions_per_client
        seed = None if again else seed_of(self.settings.run.seed, 0, self._session)
        progress.turn = 0
        try:
            self._observation, _ = self.env.reset(seed=seed, options={"same_client": again})
        except ClientFailed as failure:
            self._cut_short(str(failure))
            return False
        progress.same_client = progress.same_client + 1 if again else 1
        progress.running = True
        return True

    def _end_session(self, summary: dict[str, Any]) -> None:
        progress = self.progress
        number = self._session + 1
        progress.session += 1
        progress.running = False
        if summary["ending"] in ("left", "failed"):
            progress.same_client = self.settings.run.sessions_per_client  # the next client comes
        summary = {"session": number, "turns": progress.turn, **summary}
        if spent := self.spending():
            summary["spent_so_far"] = dataclasses.asdict(spent)
        progress.sessions.append(summary)
        self.on_session(summary)

    def _environment(self, judge: Judge) -> SessionEnv:
        part = self.settings.environment
        made = gymnasium.make(
            "envs:icarus/Session-v0",
            client=client_voice(part.client, self.catalog, self.loaded, self.sets, FROZEN),
            judge=judge,
            catalog=self.catalog,
            stage=part.stage,
            max_turns=part.max_turns,
            reward=self.settings.reward,
            settings=self.settings.client,
            disable_env_checker=True,
        ).unwrapped
        assert isinstance(made, SessionEnv)
        return made

    def _judge(self) -> Judge:
        part = self.settings.environment
        if part.judge == "anthropic":
            from judges.api.judge import AnthropicJudge  # its SDK takes seconds to import

            return AnthropicJudge(part.anthropic)
        return local_judge(part.judge, self.loaded, self.sets, FROZEN)

    @property
    def _screen(self) -> Screen:
        return self._forgetful.screen if isinstance(self._forgetful, Screened) else default_screen()

    def _remembering(self, judge: Judge) -> Judge:
        """The judge with this run's memory, behind the screen that it had."""
        if self.memory is None:
            return judge
        if isinstance(judge, Screened):
            return Screened(WithMemory(judge.judging, self.memory), screen=judge.screen)
        return WithMemory(judge, self.memory)

    def _with_likelihood(self, judge: Judge) -> Judge:
        least = self.settings.environment.least_logprob
        if least is None:
            return judge
        return WithLikelihood(judge, FrozenLikelihood(self.loaded, self.sets, FROZEN), least)

    def _probe(self, role: str) -> Probe:
        seed = seed_of(self.settings.run.seed, 2, 0)
        return probe(self.loaded, self.sets, role, self._forgetful, self.catalog, self.settings.generation, seed)

    def _summary(self) -> dict[str, Any]:
        after = self._probe(THERAPIST)
        return {
            "method": "C",
            "turns": self.progress.total_turns,
            "sessions": self.progress.sessions,
            "unfinished_sessions": self.progress.unfinished,
            "steps": {"rlaif": self.progress.rlaif_steps, "grpo": self.progress.grpo_steps},
            "before": as_dict(self.before),
            "looks": self.progress.looks,
            "after": as_dict(after),
            "spending": as_dict(self.spending()),  # the probe's judgements among it
            "adapter_change": self.adapter_change(),
            "device": device_name(),
            "model": self.loaded.name,
            "base_hash": self.loaded.base_hash,
            "tables_hash": self.tables_hash,
            "peak_resident_gb": peak_resident_gb(),
        }


def _session_summary(result: TurnResult) -> dict[str, Any]:
    info = result.info
    return {
        "ending": info["ending"],
        "person": info["person"].name,
        "strategy": info["person"].strategy,
        "concern": info["person"].concern,
        "deepest_phase": info["deepest_phase"],
        "stage": int(result.observation["stage"]),
        "stage_step": info["stage_step"],
        "attunement": info["attunement"],
        "transformation": info["transformation"],
        "worst_misread": info["worst_misread"],
        "loa": info["loa"].tolist(),
        "axes": info["axes"].tolist(),
        "measures": info["session_measures"],
        "assessment": _assessment(info["session_assessment"]),
    }


def _assessment(found: SessionAssessment) -> dict[str, Any]:
    """Per-dimension mean, least, greatest and trend, and the composite's trajectory (paper 410)."""
    by_name = {
        name: dict(zip(DIMENSIONS, getattr(found, name).tolist(), strict=True))
        for name in ("mean", "least", "greatest", "trend")
    }
    return {**by_name, "trajectory": found.trajectory.tolist(), "steadiness": found.steadiness}
