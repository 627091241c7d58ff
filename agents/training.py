"""What every method of training shares: one base with its adapters, a learner, a run folder to stop in and go on from."""

import dataclasses
import math
import resource
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
from tensorboardX import SummaryWriter

from agents.learner import FROZEN, THERAPIST, Learner
from agents.lm.adapters import AdapterMismatch, AdapterSets, adapter_settings, load_adapter, save_adapter
from agents.lm.checkpoint import restore_optimizer, save_checkpoint
from agents.lm.device import mx
from agents.lm.files import write_whole
from agents.lm.lora import LoraSettings, fresh, inject, set_trainable, slots
from agents.lm.models import LoadedModel
from agents.lm.rank_folder import expect_ranks, new_folder, newest_common, remove_newer
from agents.lm.ranks import Ranks
from agents.lm.run_folder import ADAPTERS, EVENTS, SETTINGS, SUMMARY, RunFolder, RunFolderError
from agents.settings import Settings


class Training(ABC):
    """A run that may be stopped at any time and goes on as if it had not been.

    A method says what one unit of work is (`_go_on`), when it is `done`, and what it must remember beside adapters and
    optimizer (`_state`, `_restore`). `stop` may be set at any time, also by a signal: the unit that runs is finished and the
    run is left whole.
    """

    log: str  # the file of one line a unit

    def __init__(self, loaded: LoadedModel, settings: Settings, folder: RunFolder | None, learning_rate: float) -> None:
        self.loaded, self._folder = loaded, folder
        self.stop = False
        self.paused: str | None = None  # why the run stopped by itself
        self.lora, start = starting_adapters(loaded, settings)
        self.settings = settings.model_copy(update={"lora": self.lora})  # an adapter folder brings its own
        self.sets = AdapterSets(loaded.model)
        self.sets.add(THERAPIST, start)
        self.sets.add(FROZEN, dict(start), frozen=True)
        self.sets.activate(THERAPIST)
        self._learning_rate = learning_rate
        self.ranks = Ranks()
        told = settings.optimizer.model_copy(update={"learning_rate": learning_rate})
        self.learner = Learner(self.sets, loaded.model, told, self.ranks)
        self.best: dict[str, Any] | None = None  # {"count", "score"} of the checkpoint with the best look
        self._events: SummaryWriter | None = None

    @property
    @abstractmethod
    def count(self) -> int:
        """Units of work done."""

    @property
    @abstractmethod
    def done(self) -> bool:
        """Whether nothing is left to do."""

    @abstractmethod
    def _go_on(self) -> None:
        """One unit of work, with its line in the log."""

    @abstractmethod
    def _look_first(self) -> None:
        """What is measured before anything is learned."""

    @abstractmethod
    def _state(self) -> dict[str, Any]:
        """All that going on needs beside adapters and optimizer, for JSON."""

    @abstractmethod
    def _restore(self, state: dict[str, Any], path: Path) -> list[str]:
        """Put back what `_state` gave; returns warnings. Raises RunFolderError where the run cannot go on here."""

    @abstractmethod
    def _summary(self) -> dict[str, Any]:
        """What is said of the run when it is done."""

    @property
    def folder(self) -> RunFolder:
        """Where the run is written; a new run's folder is made by `begin`."""
        if self._folder is None:
            raise RunFolderError("the run has no folder yet; call begin() first")
        return self._folder

    @property
    def has_folder(self) -> bool:
        """Whether there is one yet."""
        return self._folder is not None

    def begin(self) -> None:
        """A new run: what is true before it learns, then the folder with settings and a first checkpoint.

        Raises OSError where the folder cannot be written; of a folder that is made here nothing is left then.
        """
        with self.ranks.together("look at the held-out clients"):
            self._look_first()
        made_here = self._folder is None
        if self._folder is None:
            self._folder = new_folder(Path(self.settings.run.folder), self.settings.run.name, self.ranks)
        try:
            with self.ranks.together("write its folder"):
                self.folder.path.mkdir(parents=True, exist_ok=True)
                self.folder.acquire()
                if not (self.folder / SETTINGS).is_file():
                    write_whole(self.folder / SETTINGS, self.settings.to_toml())
                self._checkpoint()
        except BaseException:
            if made_here:
                self.folder.discard()
            raise

    def resume(self) -> list[str]:
        """Go on where the newest whole checkpoint stands; returns warnings about broken ones and work that is done again."""
        with self.ranks.together("hold its run folder"):
            self.folder.acquire()
        path, saved, warnings = newest_common(self.folder, self.ranks)
        with self.ranks.together("go on from its checkpoint"):
            self._expect_same_start(path, saved.state)
            ahead = self.folder.expect_log(self.log, saved.state["log_bytes"])
            warnings += self._restore(saved.state, path)
        with self.sets.role(THERAPIST) as model:
            set_trainable(model, saved.adapters[THERAPIST])
        if saved.optimizer is not None:
            restore_optimizer(self.learner.optimizer, saved.optimizer)
            self.learner.optimizer.learning_rate = self._learning_rate  # which a user may lower
        self.learner.bad_in_a_row = saved.state["bad_in_a_row"]
        self.best = saved.state["best"]
        if ahead:
            warnings.append(f"what came after {self._unit(self.count)} was not saved whole and is done again")
        self.folder.cut_log(self.log, saved.state["log_bytes"])
        remove_newer(self.folder, path)
        return warnings

    def close(self) -> None:
        """Let others write in the run folder."""
        if self._folder is not None:
            self._folder.release()

    def train(self) -> dict[str, Any] | None:
        """Work until it is done or `stop` is set. Returns the summary, None if it was stopped."""
        self._events = SummaryWriter(str(self.folder / EVENTS), purge_step=self.count + 1)
        try:
            while not (all_done := self.ranks.all(self.done)) and not self.ranks.any(self.stop):
                self._go_on()
                mx.clear_cache()  # on Metal, buffers kept between turns run into a limit on their number
        finally:
            self._events.close()
        self._checkpoint()
        if not all_done:
            return None
        summary = self._summary()
        self.folder.write_json(SUMMARY, summary)
        return summary

    def _record(self, line: dict[str, Any], scalars: dict[str, float]) -> None:
        """A line of the log, and what TensorBoard draws."""
        self.folder.append(self.log, line)
        assert self._events is not None
        for name, value in scalars.items():
            self._events.add_scalar(name, value, self.count)

    def _checkpoint_if_due(self) -> None:
        if self.count % self.settings.run.checkpoint_every == 0:
            self._checkpoint()

    def _looked(self, score: float) -> None:
        """A look at what is held out, the higher the better: the best one's checkpoint is kept."""
        if math.isfinite(score) and (self.best is None or score > self.best["score"]):
            self.best = {"count": self.count, "score": score}
            self._checkpoint()

    def _checkpoint(self) -> None:
        """Adapters for others, then the checkpoint; the oldest ones go, and the best one stays."""
        folder, tree = self.folder, self.sets.get(THERAPIST)
        save_adapter(folder / ADAPTERS, tree, self.lora, self.loaded.base_hash)
        save_checkpoint(
            folder.checkpoint_path(self.count),
            adapters={THERAPIST: tree},
            optimizer=self.learner.optimizer,
            state={
                "base_hash": self.loaded.base_hash,
                "start_hash": self.learner.frozen_hash,
                "bad_in_a_row": self.learner.bad_in_a_row,
                "log_bytes": folder.log_size(self.log),
                "ranks": self.ranks.size,
                "best": self.best,
                **self._state(),
            },
        )
        folder.rotate(self.settings.run.keep_checkpoints, None if self.best is None else self.best["count"])

    def _expect_same_start(self, path: Path, state: dict[str, Any]) -> None:
        expect_ranks(path, state["ranks"], self.ranks)
        if (found := state["base_hash"]) != self.loaded.base_hash:
            raise AdapterMismatch(
                f"{path}: found adapters for a base with SHA-256 {found}; expected {self.loaded.base_hash}, that of "
                f"{self.loaded.name}. Name the base model that the run began with"
            )
        if state["start_hash"] != self.learner.frozen_hash:
            raise AdapterMismatch(
                f"{path}: the run began with adapters of SHA-256 {state['start_hash']}; found {self.learner.frozen_hash} in "
                f"{self.settings.model.adapter}. Put back the adapter folder that the run began with"
            )

    def _unit(self, number: int) -> str:
        return f"{'turn' if self.log.startswith('turn') else 'step'} {number}"

    def adapter_change(self) -> float:
        """Euclidean distance of the therapist's adapters from where they began."""
        start, now = self.sets.get(FROZEN), self.sets.get(THERAPIST)
        return float(np.asarray(mx.sqrt(mx.stack([((now[name] - start[name]) ** 2).sum() for name in now]).sum())))


def starting_adapters(loaded: LoadedModel, settings: Settings) -> tuple[LoraSettings, dict[str, mx.array]]:
    """Put adapter modules into the model; the set that roles begin with is that of model.adapter, or leaves the base.

    A model that has them already, from an earlier phase of the same run, keeps its modules.
    """
    folder = settings.model.adapter
    lora = settings.lora if folder is None else adapter_settings(folder)
    key = mx.random.key(seed_of(settings.run.seed, 3, 0))
    if not slots(loaded.model):
        inject(loaded.model, lora, key)
    if folder is None:
        return lora, fresh(loaded.model, key)
    return lora, load_adapter(folder, loaded.model, loaded.base_hash)


def seed_of(*parts: int) -> int:
    """A seed of 63 bits for one use of one place in a run."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)


def peak_resident_gb() -> float:
    """The process's largest resident size so far, in GB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e9 if sys.platform == "darwin" else 1e6)


def as_dict(found: Any) -> Any:
    """A dataclass as JSON takes it; None stays None."""
    return None if found is None else dataclasses.asdict(found)
