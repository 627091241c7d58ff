"""Pre-training on sessions in windows: samples in the curriculum's order, a step each, exact resume at any window's border."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_unflatten

from agents.lm.adapters import AdapterMismatch, adapter_settings, load_adapter, save_adapter
from agents.lm.checkpoint import Checkpoint, restore_optimizer, save_checkpoint
from agents.lm.device import device_name, mx
from agents.lm.files import write_whole
from agents.lm.five_tuple import SessionFileError, read_sessions, split
from agents.lm.lora import flatten, fresh, inject, set_trainable, trainable
from agents.lm.models import LoadedModel
from agents.lm.run_folder import ADAPTERS, SETTINGS, SUMMARY, RunFolder, RunFolderError
from agents.lm.step import norms_of, take_step
from dapt.adwc import Windows
from dapt.anchors import SPANS
from dapt.compressor import Compressor
from dapt.curriculum import Curriculum
from dapt.dfr import unplaced
from dapt.held_out import held_out_losses
from dapt.masks import Sampler, absent
from dapt.memory import Memory
from dapt.recap import Quality
from dapt.rolling import Rolling, WindowReport, read_window
from dapt.rra import cache_shapes, contents
from dapt.settings import DaptSettings
from dapt.uhd import Samples
from dapt.views import View

WINDOWS = "windows.jsonl"
VIEWS: dict[str, type[View]] = {"uhd": Samples, "adwc": Windows}


@dataclass
class Progress:
    """Where a run stands; the order of an epoch follows from the seed."""

    step: int = 0  # samples that have been learned from
    windows: int = 0
    skipped: int = 0  # windows whose recap was garbage
    given: int = 0  # windows of which nothing is learned
    bad: int = 0  # steps that were refused since a number was not finite
    looks: list[dict[str, Any]] = field(default_factory=list)


class DaptTrainer:
    """Learns from sessions in windows. on_window(line) is called after every window. `stop` may be set at any time."""

    def __init__(self, loaded: LoadedModel, settings: DaptSettings, folder: RunFolder | None = None) -> None:
        self.loaded, self.settings, self._folder = loaded, settings, folder
        self.stop = False
        self.on_window: Callable[[dict[str, Any]], None] = lambda line: None
        self.progress, self.rolling = Progress(), Rolling()
        self._start_adapters()
        self.compressor = Compressor(cache_shapes(loaded.model))
        part = settings.optimizer
        self.optimizer = optim.Adam(learning_rate=part.learning_rate, bias_correction=True)
        self.optimizer.init(loaded.model.trainable_parameters())
        self.compressor_optimizer = optim.Adam(
            learning_rate=part.learning_rate * part.compressor_share, bias_correction=True
        )
        self.compressor_optimizer.init(self.compressor.parameters())
        self._lay_out()

    def _start_adapters(self) -> None:
        folder, key = self.settings.model.adapter, self._key(0)
        self.lora = self.settings.lora if folder is None else adapter_settings(folder)
        inject(self.loaded.model, self.lora, key)
        start = (
            fresh(self.loaded.model, key)
            if folder is None
            else load_adapter(folder, self.loaded.model, self.loaded.base_hash)
        )
        set_trainable(self.loaded.model, start)

    def _lay_out(self) -> None:
        """Sessions that are learned from and held out, and the samples of the former in their clusters."""
        part = self.settings.corpus
        sessions = read_sessions(part.sessions)
        self.learned, self.held_out = split(sessions, part.held_out)
        self.corpus_hash = hashlib.sha256(
            "\n".join(s.model_dump_json(exclude_none=True) for s in sessions).encode()
        ).hexdigest()
        self._expect_what_is_learned()
        self.sampler = Sampler(self.loaded.tokenizer, part.learn, part.anchors)
        self.curriculum = Curriculum(
            [VIEWS[name](self.learned) for name in part.views],
            lambda text: len(self.sampler.tokens(text)),
            anchors=part.anchors,
        )
        self._orders: dict[int, np.ndarray] = {}

    def _expect_what_is_learned(self) -> None:
        """Raises SessionFileError with every span that cannot be placed, where spans are, and everything that no session holds."""
        part, problems = self.settings.corpus, list[str]()
        if part.anchors or set(part.learn or ()) & set(SPANS):
            problems += unplaced([*self.learned, *self.held_out], part.anchors)
        problems += [
            f"corpus.learn: found {name}, which none of {len(self.learned)} sessions to learn from holds; expected what some hold"
            for name in absent(part.learn or (), self.learned)
        ]
        if problems:
            raise SessionFileError([f"{part.sessions}: {problem}" for problem in problems], "learned from")

    def sample(self, step: int) -> int:
        """The number of the sample of one step: epoch after epoch in the curriculum's order, without those that are too long."""
        most = self.settings.corpus.most_tokens
        fit = int((self.curriculum.tokens <= most).sum()) if most else len(self.curriculum)
        if fit == 0:
            raise ValueError(
                f"no sample has at most {most} tokens; the shortest has {int(self.curriculum.tokens.min())}"
            )
        epoch, at = divmod(step, fit)
        if epoch not in self._orders:
            order = self.curriculum.epoch(self._generator(2 + epoch))
            self._orders = {epoch: order if most is None else order[self.curriculum.tokens[order] <= most]}
        return int(self._orders[epoch][at])

    @property
    def folder(self) -> RunFolder:
        """Where the run is written; a new run's folder is made by `begin`."""
        if self._folder is None:
            raise RunFolderError("the run has no folder yet; call begin() first")
        return self._folder

    @property
    def done(self) -> bool:
        """Whether all steps have been taken."""
        return self.progress.step >= self.settings.run.steps

    def begin(self) -> None:
        """A new run: a look at what is held out, then the folder with settings and a first checkpoint.

        Raises OSError where the folder cannot be written; nothing of it is left then.
        """
        self.progress.looks.append({"step": 0, **self.look()})
        self._folder = RunFolder.create(Path(self.settings.run.folder), self.settings.run.name)
        try:
            self.folder.acquire()
            write_whole(self.folder / SETTINGS, self.settings.to_toml())
            self._checkpoint()
        except BaseException:
            self.folder.discard()
            raise

    def close(self) -> None:
        """Let others write in the run folder."""
        if self._folder is not None:
            self._folder.release()

    def look(self) -> dict[str, Any]:
        """Loss on whole held-out sessions (dapt/held_out.py), nats a token; nothing where none is held out."""
        samples = (self.sampler.sample(Samples([s])[-1], components=True) for s in self.held_out)
        return held_out_losses(self.loaded, self.compressor, samples, self.settings.window)

    def train(self) -> dict[str, Any] | None:
        """Read and learn until all steps are taken or `stop` is set. Returns the summary, None if it was stopped."""
        while not self.done and not self.stop:
            number = self.sample(self.progress.step)
            sample, size = self.sampler.sample(self.curriculum[number]), self.settings.window.size
            windows = contents(sample.tokens, size)
            learned = None if sample.learned is None else contents(sample.learned, size)
            while self.rolling.window < len(windows) and not self.stop:
                self._read(number, windows, learned)
                if self.progress.windows % self.settings.run.checkpoint_every == 0:
                    self._checkpoint()
            if self.rolling.window == len(windows):
                self._step(len(windows))
        if not self.done:
            self._checkpoint()
            return None
        if self.progress.looks[-1]["step"] != self.progress.step:  # or a run that was killed here would look twice
            self.progress.looks.append({"step": self.progress.step, **self.look()})
        self._checkpoint()
        summary = self._summary()
        self.folder.write_json(SUMMARY, summary)
        return summary

    def _read(self, number: int, windows: list[list[int]], learned: list[list[bool]] | None) -> None:
        at, began = self.rolling.window, time.perf_counter()
        key = None if at + 1 == len(windows) else self._key(1, self.progress.step, at)
        report = read_window(
            self.loaded,
            self.compressor,
            self.compressor_optimizer,
            self.rolling,
            windows[at],
            self.settings.window,
            key,
            None if learned is None else learned[at],
        )
        self.progress.windows += 1
        self.progress.skipped += report.gate.adapters == 0.0
        self.progress.given += report.loss is None
        line = {"step": self.progress.step + 1, "sample": number, "window": at + 1, "of": len(windows), **_told(report)}
        line |= {"cluster": int(self.curriculum.cluster[number]), "seconds": time.perf_counter() - began}
        self.folder.append(WINDOWS, line)
        self.on_window(line)
        mx.clear_cache()

    def _step(self, windows: int) -> None:
        """∇L_sample = 1/N Σ_n g_n ∇L(W_n), clipped, Adam (paper 299); a gradient that is not finite changes nothing."""
        if total := self.rolling.gradients:
            mean = tree_unflatten([(name, g / windows) for name, g in total.items()])
            norms = norms_of(mean)
            if norms.finite:
                take_step(self.loaded.model, self.optimizer, mean, norms, self.settings.optimizer.clip_norm)
            else:
                self.progress.bad += 1
        self.rolling = Rolling()
        self.progress.step += 1

    def _checkpoint(self) -> None:
        """Adapters for others, then all that going on inside a sample needs; the oldest ones go."""
        tree, rolling = trainable(self.loaded.model), self.rolling
        save_adapter(self.folder / ADAPTERS, tree, self.lora, self.loaded.base_hash)
        arrays = {f"compressor.{n}": a for n, a in flatten(self.compressor.parameters()).items()}
        arrays |= {f"compressor_optimizer.{n}": a for n, a in flatten(self.compressor_optimizer.state).items()}
        arrays |= {f"gradients.{n}": a for n, a in rolling.gradients.items()}
        if rolling.memory is not None:
            for side in ("keys", "values"):
                arrays |= {f"memory.{side}.{i}": a for i, a in enumerate(getattr(rolling.memory, side))}
        save_checkpoint(
            self.folder.checkpoint_path(self.progress.windows),
            adapters={"therapist": tree},
            optimizer=self.optimizer,
            arrays=arrays,
            state={
                "base_hash": self.loaded.base_hash,
                "corpus_hash": self.corpus_hash,
                "log_bytes": self.folder.log_size(WINDOWS),
                "progress": dataclasses.asdict(self.progress),
                "window": rolling.window,
                "counts": [] if rolling.memory is None else list(rolling.memory.counts),
                "recap": rolling.recap,
                "quality": None if rolling.quality is None else dataclasses.asdict(rolling.quality),
            },
        )
        self.folder.rotate(self.settings.run.keep_checkpoints)

    def resume(self) -> list[str]:
        """Go on where the newest whole checkpoint stands, inside a sample too; returns warnings."""
        self.folder.acquire()
        path, saved, warnings = self.folder.newest_checkpoint()
        for what, found in (("base", self.loaded.base_hash), ("corpus", self.corpus_hash)):
            if saved.state[f"{what}_hash"] != found:
                raise AdapterMismatch(
                    f"{path}: the run began with a {what} of SHA-256 {saved.state[f'{what}_hash']}; found {found}. Put back what "
                    "it began with, or begin a new run with its adapters"
                )
        ahead = self.folder.expect_log(WINDOWS, saved.state["log_bytes"])
        set_trainable(self.loaded.model, saved.adapters["therapist"])
        assert saved.optimizer is not None
        restore_optimizer(self.optimizer, saved.optimizer)
        self.compressor.update(tree_unflatten(list(_part(saved, "compressor").items())))
        restore_optimizer(self.compressor_optimizer, _part(saved, "compressor_optimizer"))
        self.progress = Progress(**saved.state["progress"])
        self.rolling = _rolling(saved)
        if ahead:
            warnings.append(f"what came after window {self.progress.windows} was not saved whole and is done again")
        self.folder.cut_log(WINDOWS, saved.state["log_bytes"])
        return warnings

    def _summary(self) -> dict[str, Any]:
        return {
            "steps": self.progress.step,
            "windows": self.progress.windows,
            "skipped": self.progress.skipped,
            "given": self.progress.given,
            "refused": self.progress.bad,
            "samples": len(self.curriculum),
            "clusters": self.curriculum.sizes(),
            "sessions": {"learned": [s.id for s in self.learned], "held_out": [s.id for s in self.held_out]},
            "looks": self.progress.looks,
            "device": device_name(),
            "model": self.loaded.name,
            "base_hash": self.loaded.base_hash,
            "corpus_hash": self.corpus_hash,
        }

    def _key(self, *use: int) -> mx.array:
        return mx.random.key(
            int(np.random.SeedSequence((self.settings.run.seed, *use)).generate_state(1, np.uint64)[0] >> 1)
        )

    def _generator(self, use: int) -> np.random.Generator:
        return np.random.default_rng((self.settings.run.seed, use))


def _told(report: WindowReport) -> dict[str, Any]:
    quality = report.quality
    return {
        "loss": report.loss if report.loss is not None and np.isfinite(report.loss) else None,
        "tokens": report.tokens,
        "learned": report.learned,
        "gate": list(report.gate),
        "reconstruction": report.reconstruction,
        "recap": report.recap,
        "quality": None if quality is None else {**dataclasses.asdict(quality), "kind": quality.kind},
    }


def _part(saved: Checkpoint, name: str) -> dict[str, mx.array]:
    return {n.removeprefix(f"{name}."): a for n, a in saved.arrays.items() if n.startswith(f"{name}.")}


def _rolling(saved: Checkpoint) -> Rolling:
    sides = [
        tuple(a for _, a in sorted(_part(saved, f"memory.{side}").items(), key=lambda one: int(one[0])))
        for side in ("keys", "values")
    ]
    quality = saved.state["quality"]
    return Rolling(
        window=saved.state["window"],
        memory=Memory(sides[0], sides[1], tuple(saved.state["counts"])) if sides[0] else None,
        recap=saved.state["recap"],
        quality=None if quality is None else Quality(**quality),
        gradients=_part(saved, "gradients"),
    )
