"""TBNRLTrainer: self-play over sessions and clients, method C of the paper (432-438): RLAIF and GRPO at every turn."""

import dataclasses
import resource
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from tensorboardX import SummaryWriter

from agents.client import ChosenVoice, WrittenVoice
from agents.judge import FrozenDigits, FrozenLikelihood, reading_judge
from agents.learner import FROZEN, THERAPIST, BadGradients, Learner
from agents.lm.adapters import AdapterMismatch, AdapterSets, adapter_settings, load_adapter, save_adapter
from agents.lm.checkpoint import restore_optimizer, save_checkpoint
from agents.lm.device import device_name, mx
from agents.lm.files import write_whole
from agents.lm.lora import LoraSettings, fresh, inject, set_trainable
from agents.lm.models import LoadedModel
from agents.probe import Probe, probe
from agents.record import scalars, spending_scalars, turn_record
from agents.run_folder import ADAPTERS, EVENTS, SETTINGS, SUMMARY, TURNS, RunFolder, RunFolderError
from agents.self_play import Stopwatch, TurnResult, TurnUnjudged, play_turn
from agents.settings import Settings
from agents.therapist import Therapist
from client_graph.catalog import load_catalog
from client_graph.names import DIMENSIONS
from envs import snapshot as env_snapshot
from envs.session import SessionEnv
from envs.types import ClientFailed, JudgeFailed
from judges.api.errors import BudgetSpent, JudgeRefused
from judges.api.ledger import Spending, spending_of
from judges.assessment.session import SessionAssessment
from judges.language_model import LanguageModelJudge
from judges.likelihood import WithLikelihood
from judges.offline.embedding import EmbeddingJudge
from judges.protocol import Judge


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
    rlaif_steps: int = 0
    grpo_steps: int = 0
    log_bytes: int = 0
    sessions: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    spending: dict[str, Any] | None = None  # of the judge, where it has any, up to the checkpoint


class TBNRLTrainer:
    """Trains the therapist's adapters in the session environment. One base model; roles switch adapter sets.

    on_turn(result, progress) is called after every turn, on_session(summary) after every session.
    `judge` wins over environment.judge. `stop` may be set at any time, also by a signal: the turn that runs is finished
    and the run is left whole.
    """

    def __init__(
        self, loaded: LoadedModel, settings: Settings, folder: RunFolder | None = None, judge: Judge | None = None
    ) -> None:
        self.loaded, self.settings, self._folder = loaded, settings, folder
        self.stop = False
        self.paused: str | None = None  # why the run stopped by itself
        self.progress = Progress()
        self.before: Probe | None = None
        self.on_turn: Callable[[TurnResult, Progress], None] = lambda result, progress: None
        self.on_session: Callable[[dict[str, Any]], None] = lambda summary: None
        self.catalog = load_catalog(settings.environment.catalog)
        self.tables_hash = self.catalog.hash()
        self.lora, start = starting_adapters(loaded, settings)
        self.settings = settings.model_copy(update={"lora": self.lora})  # an adapter folder brings its own
        self.sets = AdapterSets(loaded.model)
        self.sets.add(THERAPIST, start)
        self.sets.add(FROZEN, dict(start), frozen=True)
        self.sets.activate(THERAPIST)
        self.learner = Learner(self.sets, loaded.model, settings.optimizer)
        self.therapist = Therapist(loaded, self.catalog, settings.generation)
        self._scorer = judge or self._judge()  # without what stands before it: it may have spent something
        self._spent_before: Spending | None = None  # by the processes that the run was stopped in
        self.env = self._environment(judge or self._with_likelihood(self._scorer))
        self._observation: dict[str, Any] = {}
        self._events: SummaryWriter | None = None

    @property
    def folder(self) -> RunFolder:
        """Where the run is written; a new run's folder is made by `begin`."""
        if self._folder is None:
            raise RunFolderError("the run has no folder yet; call begin() first")
        return self._folder

    def begin(self) -> None:
        """A new run: what the therapist says before it learns, then the folder with settings and a first checkpoint.

        Raises OSError where the folder cannot be written; nothing of it is left then.
        """
        self.before = self._probe(FROZEN)
        self._folder = RunFolder.create(Path(self.settings.run.folder), self.settings.run.name)
        try:
            self.folder.acquire()
            write_whole(self.folder / SETTINGS, self.settings.to_toml())
            self._checkpoint()
        except BaseException:
            self.folder.discard()
            raise

    def resume(self) -> list[str]:
        """Go on where the newest whole checkpoint stands; returns warnings about broken ones and turns played again."""
        self.folder.acquire()
        path, saved, warnings = self.folder.newest_checkpoint()
        found = saved.state["base_hash"]
        if found != self.loaded.base_hash:
            raise AdapterMismatch(
                f"{path}: found adapters for a base with SHA-256 {found}; expected {self.loaded.base_hash}, that of "
                f"{self.loaded.name}. Name the base model that the run began with"
            )
        if saved.state["start_hash"] != self.learner.frozen_hash:
            raise AdapterMismatch(
                f"{path}: the run began with adapters of SHA-256 {saved.state['start_hash']}; found {self.learner.frozen_hash} in "
                f"{self.settings.model.adapter}. Put back the adapter folder that the run began with"
            )
        if saved.state["tables_hash"] != self.tables_hash:
            raise RunFolderError(
                f"{path}: the run began with client tables of SHA-256 {saved.state['tables_hash']}; found {self.tables_hash} in "
                f"{self.catalog.folder}. Put back the tables that the run began with, or begin a new run with its adapters: "
                f"--adapter {self.folder / ADAPTERS}"
            )
        if (missing := saved.state["progress"]["log_bytes"] - self.folder.log_size()) > 0:
            raise RunFolderError(
                f"{self.folder / TURNS}: {missing} bytes are missing that the checkpoint knows of; put back the log"
            )
        with self.sets.role(THERAPIST) as model:
            set_trainable(model, saved.adapters[THERAPIST])
        if saved.optimizer is not None:
            restore_optimizer(self.learner.optimizer, saved.optimizer)
            self.learner.optimizer.learning_rate = self.settings.optimizer.learning_rate  # which a user may lower
        self.learner.bad_in_a_row = saved.state["bad_in_a_row"]
        self.progress = Progress(**saved.state["progress"])
        self._spent_before = Spending.of(self.progress.spending) if self.progress.spending else None
        self.before = Probe(**{**saved.state["before"], "replies": tuple(saved.state["before"]["replies"])})
        if saved.state["environment"] is not None:
            self._observation = self.env.restore(env_snapshot.from_json(saved.state["environment"]))
        if self.folder.log_size() > self.progress.log_bytes:
            warnings.append(f"turns after turn {self.progress.total_turns} were not saved whole and are played again")
        self.folder.cut_log(self.progress.log_bytes)
        return warnings

    def spending(self) -> Spending | None:
        """What the judge has cost this run so far, earlier processes up to their last checkpoint; None where it costs nothing.

        A judge that was passed in brings its whole account: give each trainer one of its own.
        """
        before, now = self._spent_before, spending_of(self._scorer)
        return before + now if before and now else now or before

    def close(self) -> None:
        """Let others write in the run folder."""
        if self._folder is not None:
            self._folder.release()

    def train(self) -> dict[str, Any] | None:
        """Play and learn until all sessions have ended or `stop` is set. Returns the summary, None if it was stopped."""
        self._events = SummaryWriter(str(self.folder / EVENTS), purge_step=self.progress.total_turns + 1)
        try:
            while self.progress.session < self.settings.run.sessions and not self.stop:
                self._play_on()
        finally:
            self._events.close()
        self._checkpoint()
        if self.progress.session < self.settings.run.sessions:
            return None
        summary = self._summary()
        self.folder.write_json(SUMMARY, summary)
        return summary

    def _play_on(self) -> None:
        """One turn, with what comes before it (a session begins) and after it (a session ends, a checkpoint)."""
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
        progress.turn += 1
        progress.total_turns += 1
        progress.rlaif_steps += bool(result.rlaif and result.rlaif.applied)
        progress.grpo_steps += bool(result.grpo and result.grpo.step.applied)
        self.folder.append_turn(
            turn_record(result, progress.session + 1, progress.turn, progress.total_turns, self.catalog)
        )
        progress.log_bytes = self.folder.log_size()
        for name, value in (scalars(result) | spending_scalars(self.spending())).items():
            assert self._events is not None
            self._events.add_scalar(name, value, progress.total_turns)
        self.on_turn(result, progress)
        if result.terminated or result.truncated:
            progress.unfinished_in_a_row = 0
            self._end_session(_session_summary(result))
        if progress.total_turns % self.settings.run.checkpoint_every == 0:
            self._checkpoint()
        mx.clear_cache()  # on Metal, buffers kept between turns run into a limit on their number

    def _attempt(self, watch: Stopwatch) -> TurnResult | None:
        """The turn, or None where neither judge nor client could be had: then nothing has changed but the session's end."""
        progress, told = self.progress, self.settings.run
        for attempt in range(told.turn_attempts):
            remembered = self.learner.remember()
            key = mx.random.key(_seed(told.seed, 1, progress.total_turns, progress.unfinished, attempt))
            try:
                return play_turn(self.env, self.therapist, self.learner, self._observation, key, self.settings, watch)
            except (TurnUnjudged, JudgeFailed, ClientFailed) as failure:
                self.learner.go_back(remembered)
                reason = str(failure)
            except (BadGradients, BudgetSpent, JudgeRefused) as failure:
                self.learner.go_back(remembered)
                self.paused, self.stop = str(failure), True
                return None
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
        seed = None if again else _seed(self.settings.run.seed, 0, progress.session)
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
        progress.session += 1
        progress.running = False
        if summary["ending"] in ("left", "failed"):
            progress.same_client = self.settings.run.sessions_per_client  # the next client comes
        summary = {"session": progress.session, "turns": progress.turn, **summary}
        if spent := self.spending():
            summary["spent_so_far"] = dataclasses.asdict(spent)
        progress.sessions.append(summary)
        self.on_session(summary)

    def _checkpoint(self) -> None:
        """Adapters for others, then the checkpoint; the oldest ones go."""
        folder, progress = self.folder, self.progress
        tree = self.sets.get(THERAPIST)
        save_adapter(folder / ADAPTERS, tree, self.lora, self.loaded.base_hash)
        assert self.before is not None
        spent = self.spending()
        progress.spending = dataclasses.asdict(spent) if spent else None
        save_checkpoint(
            folder.checkpoint_path(progress.total_turns),
            adapters={THERAPIST: tree},
            optimizer=self.learner.optimizer,
            state={
                "base_hash": self.loaded.base_hash,
                "start_hash": self.learner.frozen_hash,
                "tables_hash": self.tables_hash,
                "bad_in_a_row": self.learner.bad_in_a_row,
                "progress": dataclasses.asdict(progress),
                "before": dataclasses.asdict(self.before),
                "environment": env_snapshot.to_json(self.env.snapshot()) if self._observation else None,
            },
        )
        for old in folder.checkpoints()[self.settings.run.keep_checkpoints :]:
            shutil.rmtree(old)

    def _environment(self, judge: Judge) -> SessionEnv:
        part = self.settings.environment
        voices: dict[str, Any] = {
            "authored": lambda: "authored",
            "chosen": lambda: ChosenVoice(self.catalog, self.loaded, self.sets, FROZEN),
            "written": lambda: WrittenVoice(self.loaded, self.sets, FROZEN),
        }
        made = gymnasium.make(
            "envs:icarus/Session-v0",
            client=voices[part.client](),
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
        if part.judge == "self":
            return LanguageModelJudge(FrozenDigits(self.loaded, self.sets, FROZEN), f"self:{self.loaded.name}")
        if part.judge == "anthropic":
            from judges.api.judge import AnthropicJudge  # its SDK takes seconds to import

            return AnthropicJudge(part.anthropic)
        embedding = EmbeddingJudge()
        return reading_judge(embedding, self.loaded) if part.judge == "reading" else embedding

    def _with_likelihood(self, judge: Judge) -> Judge:
        least = self.settings.environment.least_logprob
        if least is None:
            return judge
        return WithLikelihood(judge, FrozenLikelihood(self.loaded, self.sets, FROZEN), least)

    def _probe(self, role: str) -> Probe:
        seed = _seed(self.settings.run.seed, 2, 0)
        return probe(self.loaded, self.sets, role, self.env.judge, self.catalog, self.settings.generation, seed)

    def _summary(self) -> dict[str, Any]:
        assert self.before is not None
        start, now = self.sets.get(FROZEN), self.sets.get(THERAPIST)
        squares = mx.stack([((now[name] - start[name]) ** 2).sum() for name in now])
        after = self._probe(THERAPIST)
        spent = self.spending()  # the probe's judgements among it
        return {
            "turns": self.progress.total_turns,
            "sessions": self.progress.sessions,
            "unfinished_sessions": self.progress.unfinished,
            "steps": {"rlaif": self.progress.rlaif_steps, "grpo": self.progress.grpo_steps},
            "before": dataclasses.asdict(self.before),
            "after": dataclasses.asdict(after),
            "spending": dataclasses.asdict(spent) if spent else None,
            "adapter_change": float(np.asarray(mx.sqrt(squares.sum()))),
            "device": device_name(),
            "model": self.loaded.name,
            "base_hash": self.loaded.base_hash,
            "tables_hash": self.tables_hash,
            "peak_resident_gb": peak_resident_gb(),
        }


def starting_adapters(loaded: LoadedModel, settings: Settings) -> tuple[LoraSettings, dict[str, mx.array]]:
    """Put adapter modules into the model; the set that roles begin with is that of model.adapter, or leaves the base."""
    folder = settings.model.adapter
    lora = settings.lora if folder is None else adapter_settings(folder)
    key = mx.random.key(_seed(settings.run.seed, 3, 0))
    inject(loaded.model, lora, key)
    if folder is None:
        return lora, fresh(loaded.model, key)
    return lora, load_adapter(folder, loaded.model, loaded.base_hash)


def peak_resident_gb() -> float:
    """The process's largest resident size so far, in GB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e9 if sys.platform == "darwin" else 1e6)


def _seed(*parts: int) -> int:
    """A seed of 63 bits for one use of one place in a run."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


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
