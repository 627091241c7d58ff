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
from tensorboardX import SummaryWriter

from agents.lm.adapters import AdapterMismatch, adapter_settings, load_adapter, save_adapter
from agents.lm.checkpoint import Checkpoint, restore_optimizer, save_checkpoint
from agents.lm.device import device_name, mx
from agents.lm.files import write_whole
from agents.lm.five_tuple import Session, read_sessions, split
from agents.lm.lora import flatten, fresh, inject, set_trainable, trainable
from agents.lm.models import LoadedModel
from agents.lm.run_folder import ADAPTERS, EVENTS, SETTINGS, STEPS, SUMMARY, RunFolder, RunFolderError
from agents.lm.step import norms_of, take_step
from dapt.adwc import Windows
from dapt.compressor import Compressor
from dapt.curriculum import Curriculum
from dapt.memory import Memory
from dapt.probe import probe, shares
from dapt.recap import Quality
from dapt.rolling import Rolling, held_out_loss, read_window
from dapt.rra import borders, cache_shapes, contents
from dapt.settings import DaptSettings
from dapt.tokens import encoded
from dapt.uhd import Samples
from dapt.views import View
from dapt.watching import LOGS, PROBES, WINDOWS, probe_scalars, step_line, step_scalars, window_line, window_scalars

VIEWS: dict[str, type[View]] = {"uhd": Samples, "adwc": Windows}


@dataclass
class Progress:
    """Where a run stands; the order of an epoch follows from the seed."""

    step: int = 0  # samples that have been learned from
    windows: int = 0
    skipped: int = 0  # windows whose recap was garbage
    bad: int = 0  # steps that were refused since a number was not finite
    looks: list[dict[str, float]] = field(default_factory=list)


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
        self._events: SummaryWriter | None = None
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
        self.curriculum = Curriculum(
            [VIEWS[name](self.learned) for name in part.views], lambda text: len(self._tokens(text))
        )
        self._orders: dict[int, np.ndarray] = {}
        watched = shares([encoded(self._tokens, _whole(s)).tolist() for s in self.held_out], self.settings.watch.tokens)
        self._watched = [contents(text, self.settings.window.size) for text in watched]

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

    def _tokens(self, text: str) -> list[int]:
        return list(self.loaded.tokenizer.encode(text, add_special_tokens=False))

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
        """A new run: a look at what is held out, then the folder with settings, the first measurement and a first checkpoint.

        Raises OSError where the folder cannot be written; nothing of it is left then.
        """
        self.progress.looks.append({"step": 0, **self.look()})
        measured = self._measured()
        self._folder = RunFolder.create(Path(self.settings.run.folder), self.settings.run.name)
        try:
            self.folder.acquire()
            write_whole(self.folder / SETTINGS, self.settings.to_toml())
            self._record(PROBES, measured)
            self._checkpoint()
        except BaseException:
            self._close_events()
            self.folder.discard()
            raise

    def close(self) -> None:
        """Let others write in the run folder."""
        self._close_events()
        if self._folder is not None:
            self._folder.release()

    def look(self) -> dict[str, float]:
        """Loss on whole held-out sessions, read in windows with their compressed history, nats a token; nothing where none is."""
        texts = ([one.tolist() for one in self._windows(_whole(s))] for s in self.held_out)
        sums = [held_out_loss(self.loaded, self.compressor, text, self.settings.window.slots) for text in texts]
        return {"loss": sum(nats for nats, _ in sums) / sum(count for _, count in sums)} if sums else {}

    def _windows(self, text: str) -> list[np.ndarray]:
        """The tokens of each window's content, int32: half a million take two megabytes, where lists would take thirty."""
        tokens = encoded(self._tokens, text)
        return [tokens[a:b] for a, b in borders(len(tokens), self.settings.window.size)]

    def train(self) -> dict[str, Any] | None:
        """Read and learn until all steps are taken or `stop` is set. Returns the summary, None if it was stopped."""
        try:
            return self._train()
        finally:
            self._close_events()

    def _train(self) -> dict[str, Any] | None:
        while not self.done and not self.stop:
            number = self.sample(self.progress.step)
            sample = self.curriculum[number]
            windows = self._windows(sample.text())
            while self.rolling.window < len(windows) and not self.stop:
                self._read(number, windows)
                if self.rolling.window < len(windows):
                    self._measure_if_due()
                if self.progress.windows % self.settings.run.checkpoint_every == 0:
                    self._checkpoint()
            if self.rolling.window == len(windows):
                self._step(number, len(windows))
                self._measure_if_due()
        if not self.done:
            self._checkpoint()
            return None
        if self.progress.looks[-1]["step"] != self.progress.step:  # or a run that was killed here would look twice
            self.progress.looks.append({"step": self.progress.step, **self.look()})
            self._record(PROBES, self._measured())
        self._checkpoint()
        summary = self._summary()
        self.folder.write_json(SUMMARY, summary)
        return summary

    def _read(self, number: int, windows: list[np.ndarray]) -> None:
        at, began = self.rolling.window, time.perf_counter()
        key = None if at + 1 == len(windows) else self._key(1, self.progress.step, at)
        report = read_window(
            self.loaded,
            self.compressor,
            self.compressor_optimizer,
            self.rolling,
            windows[at].tolist(),
            self.settings.window,
            key,
        )
        self.progress.windows += 1
        self.progress.skipped += report.gate.adapters == 0.0
        line = {
            "step": self.progress.step + 1,
            "sample": number,
            "window": at + 1,
            "of": len(windows),
            **window_line(report),
        }
        line |= {"cluster": int(self.curriculum.cluster[number]), "seconds": time.perf_counter() - began}
        self._record(WINDOWS, line)
        self.on_window(line)
        mx.clear_cache()

    def _step(self, number: int, windows: int) -> None:
        """∇L_sample = 1/N Σ_n g_n ∇L(W_n), clipped, Adam (paper 299); a gradient that is not finite changes nothing."""
        rolling, self.rolling = self.rolling, Rolling()
        mean = tree_unflatten([(name, g / windows) for name, g in rolling.gradients.items()])
        norms = norms_of(mean)
        if norms.finite:
            take_step(self.loaded.model, self.optimizer, mean, norms, self.settings.optimizer.clip_norm)
        else:
            self.progress.bad += 1
        self.progress.step += 1
        line = {"step": self.progress.step, "sample": number, "windows": windows, "tokens": rolling.tokens}
        loss = rolling.nats / rolling.tokens if rolling.tokens else None
        self._record(STEPS, line | step_line(loss, norms, norms.finite))

    def _measure_if_due(self) -> None:
        """After a window, or the step that it brought; the last measurement comes with the last look."""
        every = self.settings.watch.every
        if every and self.progress.windows % every == 0 and not self.done:
            self._record(PROBES, self._measured())

    def _measured(self) -> dict[str, Any] | None:
        """A measurement on the held-out text; None where nothing is held out."""
        began = time.perf_counter()
        found = probe(self.loaded, self.compressor, self._watched, self.settings.window.slots)
        if found is None:
            return None
        line = {"windows": self.progress.windows, "step": self.progress.step, **found.record()}
        return line | {"seconds": time.perf_counter() - began}

    def _record(self, log: str, line: dict[str, Any] | None) -> None:
        """A line of a log, and what TensorBoard draws of it over the windows."""
        if line is None:
            return
        self.folder.append(log, line)
        if self._events is None:  # what a run that was killed had drawn from here on is hidden
            self._events = SummaryWriter(str(self.folder / EVENTS), purge_step=self.progress.windows)
        scalars = {WINDOWS: window_scalars, STEPS: step_scalars, PROBES: probe_scalars}[log](line)
        for name, value in scalars.items():
            self._events.add_scalar(name, value, self.progress.windows)

    def _close_events(self) -> None:
        if self._events is not None:
            self._events.close()
            self._events = None

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
                "log_bytes": {log: self.folder.log_size(log) for log in LOGS},
                "progress": dataclasses.asdict(self.progress),
                "window": rolling.window,
                "counts": [] if rolling.memory is None else list(rolling.memory.counts),
                "recap": rolling.recap,
                "quality": None if rolling.quality is None else dataclasses.asdict(rolling.quality),
                "nats": rolling.nats,
                "tokens": rolling.tokens,
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
        ahead = [self.folder.expect_log(log, saved.state["log_bytes"][log]) for log in LOGS]
        set_trainable(self.loaded.model, saved.adapters["therapist"])
        assert saved.optimizer is not None
        restore_optimizer(self.optimizer, saved.optimizer)
        self.compressor.update(tree_unflatten(list(_part(saved, "compressor").items())))
        restore_optimizer(self.compressor_optimizer, _part(saved, "compressor_optimizer"))
        self.progress = Progress(**saved.state["progress"])
        self.rolling = _rolling(saved)
        if any(ahead):
            warnings.append(f"what came after window {self.progress.windows} was not saved whole and is done again")
        for log in LOGS:
            self.folder.cut_log(log, saved.state["log_bytes"][log])
        return warnings

    def _summary(self) -> dict[str, Any]:
        return {
            "steps": self.progress.step,
            "windows": self.progress.windows,
            "skipped": self.progress.skipped,
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


def _whole(session: Session) -> str:
    """A session as its longest expanding sample."""
    return Samples([session])[-1].text()


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
        nats=saved.state["nats"],
        tokens=saved.state["tokens"],
    )
