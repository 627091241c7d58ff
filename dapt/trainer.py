"""Pre-training on sessions in windows: samples in the curriculum's order, a step each, exact resume at any window's border.

Of several processes (agents/lm/ranks.py) each reads a sample of its own, and all take one step on

    ∇L = Σ_r N_r ∇L_sample,r / Σ_r N_r          N_r: windows of rank r's sample, which its gradient is a mean over

so that two ranks step as one would on a sample with the windows of both. They go through their windows in rounds: in each a rank
reads a window, or waits where it has none left, and the compressor takes one step on the mean of the gradients there are. So it is
the same on all ranks in every round, and takes as many steps as the longest sample has windows. Averaging its parameters at each
step instead would leave it, and its Adam's moments, different inside a sample, where recaps and gates follow from what it keeps.
"""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_unflatten

from agents.lm.adapters import AdapterMismatch, adapter_settings, load_adapter, save_adapter
from agents.lm.checkpoint import restore_optimizer, save_checkpoint
from agents.lm.device import device_name, mx
from agents.lm.files import write_whole
from agents.lm.five_tuple import Session, SessionFileError, read_sessions, split
from agents.lm.lora import flatten, fresh, inject, set_trainable, trainable
from agents.lm.models import LoadedModel
from agents.lm.rank_folder import expect_ranks, new_folder, newest_common, remove_newer
from agents.lm.ranks import Ranks
from agents.lm.run_folder import ADAPTERS, SETTINGS, STEPS, SUMMARY, RunFolder, RunFolderError
from agents.lm.step import norms_of, take_step
from dapt.adwc import Windows
from dapt.anchors import SPANS
from dapt.compressor import Compressor
from dapt.curriculum import Curriculum
from dapt.dfr import unplaced
from dapt.held_out import held_out_losses
from dapt.markup import Stretch
from dapt.masks import Sample, Sampler, absent
from dapt.probe import probe
from dapt.rolling import FIRST, Rolling, compressor_step, read_window
from dapt.rra import cache_shapes
from dapt.saving import arrays_of, restore_compressor, rolling_of, state_of
from dapt.settings import DaptSettings
from dapt.uhd import Samples
from dapt.views import View
from dapt.watching import LOGS, PROBES, WINDOWS, Recorder, step_line, window_line

VIEWS: dict[str, type[View]] = {"uhd": Samples, "adwc": Windows}


@dataclass
class Progress:
    """Where a run stands; the order of an epoch follows from the seed."""

    step: int = 0
    windows: int = 0  # that this process has read
    rounds: int = 0  # windows of the longest sample in each step; one process has as many windows
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
        self.progress, self.rolling, self.ranks = Progress(), Rolling(), Ranks()
        self._start_adapters()
        self.compressor = Compressor(cache_shapes(loaded.model))
        part = settings.optimizer
        self.optimizer = optim.Adam(learning_rate=part.learning_rate, bias_correction=True)
        self.optimizer.init(loaded.model.trainable_parameters())
        self.compressor_optimizer = optim.Adam(
            learning_rate=part.learning_rate * part.compressor_share, bias_correction=True
        )
        self.compressor_optimizer.init(self.compressor.parameters())
        self._recorder = Recorder()
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
        self._expect_a_sample()
        size, first = self.settings.window.size, self.settings.watch.windows
        samples = (self.sampler.sample(one) for one in _whole(self.held_out))
        self._watched = [[one.tokens.tolist() for one in sample.windows(size)[:first]] for sample in samples]

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

    def _fitting(self) -> int:
        """How many samples are not too long."""
        most = self.settings.corpus.most_tokens
        return int((self.curriculum.tokens <= most).sum()) if most else len(self.curriculum)

    def _expect_a_sample(self) -> None:
        """Raises SessionFileError where every sample is too long."""
        part = self.settings.corpus
        if not self._fitting():
            shortest = int(self.curriculum.tokens.min())
            told = f"found no sample of at most {part.most_tokens} tokens (corpus.most_tokens); the shortest has {shortest}"
            raise SessionFileError([f"{part.sessions}: {told}"], "learned from")

    def sample(self, turn: int) -> int:
        """The number of the sample whose turn it is, of all processes' together.

        Epoch after epoch in the curriculum's order, without those that are too long.
        """
        most = self.settings.corpus.most_tokens
        epoch, at = divmod(turn, self._fitting())
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
        """A new run: a look at what is held out, then the folder with settings, the first measurement and a first checkpoint.

        Raises OSError where the folder cannot be written; nothing of it is left then.
        """
        with self.ranks.together("look at the held-out sessions"):
            self.progress.looks.append({"step": 0, **self.look()})
            measured = self._measured()
        self._folder = new_folder(Path(self.settings.run.folder), self.settings.run.name, self.ranks)
        try:
            with self.ranks.together("write its folder"):
                self.folder.path.mkdir(parents=True, exist_ok=True)
                self.folder.acquire()
                write_whole(self.folder / SETTINGS, self.settings.to_toml())
                self._record(PROBES, measured)
                self._checkpoint()
        except BaseException:
            self._recorder.close()
            self.folder.discard()
            raise

    def close(self) -> None:
        """Let others write in the run folder."""
        self._recorder.close()
        if self._folder is not None:
            self._folder.release()

    def look(self) -> dict[str, Any]:
        """Loss on whole held-out sessions (dapt/held_out.py), nats a token; nothing where none is held out."""
        samples = (self.sampler.sample(one, components=True) for one in _whole(self.held_out))
        return held_out_losses(self.loaded, self.compressor, samples, self.settings.window)

    def train(self) -> dict[str, Any] | None:
        """Read and learn until all steps are taken or `stop` is set. Returns the summary, None if it was stopped."""
        try:
            return self._train()
        finally:
            self._recorder.close()

    def _train(self) -> dict[str, Any] | None:
        while not self.done:
            turn = self.progress.step * self.ranks.size + self.ranks.rank
            number = self.sample(turn)
            windows = self.sampler.sample(self.curriculum[number]).windows(self.settings.window.size)
            while not (over := self.ranks.all(self.rolling.window >= len(windows))) and not self.ranks.any(self.stop):
                if self.rolling.window > 0:  # else it was measured after the last step
                    self._measure_if_due()
                self._round(turn, number, windows)
            if over:
                self._step(number, len(windows))
                self._measure_if_due()
            if self.ranks.any(self.stop):
                break
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

    def _round(self, turn: int, number: int, windows: list[Sample]) -> None:
        """The next window of this rank's sample; where none is left, the compressor's step of the others."""
        if self.rolling.window < len(windows):
            self._read(turn, number, windows)
        else:
            slots = self.settings.window.slots
            compressor_step(self.compressor, self.compressor_optimizer, None, slots, FIRST, self.ranks)
        self.progress.rounds += 1
        if self.progress.rounds % self.settings.run.checkpoint_every == 0:
            self._checkpoint()

    def _read(self, turn: int, number: int, windows: list[Sample]) -> None:
        at, began = self.rolling.window, time.perf_counter()
        window = windows[at]
        report = read_window(
            self.loaded,
            self.compressor,
            self.compressor_optimizer,
            self.rolling,
            window.tokens.tolist(),
            self.settings.window,
            None if at + 1 == len(windows) else self._key(1, turn, at),
            self.ranks,
            None if window.learned is None else window.learned.tolist(),
        )
        self.progress.windows += 1
        self.progress.skipped += report.gate.adapters == 0.0
        self.progress.given += report.loss is None
        line: dict[str, Any] = {"step": self.progress.step + 1, "sample": number, "window": at + 1, "of": len(windows)}
        line |= {"cluster": int(self.curriculum.cluster[number]), **window_line(report)}
        self._record(WINDOWS, line := {**line, "seconds": time.perf_counter() - began})
        self.on_window(line)
        mx.clear_cache()

    def _step(self, number: int, windows: int) -> None:
        """∇L_sample = 1/N Σ_n g_n ∇L(W_n), the mean over ranks by N, clipped, Adam (paper 299).

        A gradient that is not finite changes nothing, on any rank; nor does a step of which no rank has learned anything, where
        Adam's moments alone would move the adapters.
        """
        rolling, self.rolling = self.rolling, Rolling()
        mean = {name: g / windows for name, g in rolling.gradients.items()}
        taught = self.ranks.any(bool(mean))
        if self.ranks.size > 1:
            nothing = {name: mx.zeros_like(a) for name, a in trainable(self.loaded.model).items()}
            mean = flatten(self.ranks.mean(nothing | mean, windows)[0])
        norms = norms_of(mean)
        if applied := taught and norms.finite:
            gradients = tree_unflatten(list(mean.items()))
            take_step(self.loaded.model, self.optimizer, gradients, norms, self.settings.optimizer.clip_norm)
        self.progress.bad += not norms.finite
        self.progress.step += 1
        line = {"step": self.progress.step, "sample": number, "windows": windows, "tokens": rolling.tokens}
        loss = rolling.nats / rolling.tokens if rolling.tokens else None
        self._record(STEPS, line | step_line(loss, norms, applied))

    def _measure_if_due(self) -> None:
        """After a window, or the step that it brought; the last measurement comes with the last look."""
        every = self.settings.watch.every
        if every and self.progress.rounds % every == 0 and not self.done:
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
        if line is not None:
            self._recorder.record(self.folder, log, line, self.progress.windows)

    def _checkpoint(self) -> None:
        """Adapters for others, then all that going on inside a sample needs; the oldest ones go."""
        tree = trainable(self.loaded.model)
        save_adapter(self.folder / ADAPTERS, tree, self.lora, self.loaded.base_hash)
        save_checkpoint(
            self.folder.checkpoint_path(
                self.progress.rounds + self.progress.step
            ),  # another one before a step and after
            adapters={"therapist": tree},
            optimizer=self.optimizer,
            arrays=arrays_of(self.rolling, self.compressor, self.compressor_optimizer),
            state={
                "base_hash": self.loaded.base_hash,
                "corpus_hash": self.corpus_hash,
                "ranks": self.ranks.size,
                "log_bytes": {log: self.folder.log_size(log) for log in LOGS},
                "progress": dataclasses.asdict(self.progress),
                **state_of(self.rolling),
            },
        )
        self.folder.rotate(self.settings.run.keep_checkpoints)

    def resume(self) -> list[str]:
        """Go on where the newest whole checkpoint stands, inside a sample too; returns warnings."""
        with self.ranks.together("hold its run folder"):
            self.folder.acquire()
        path, saved, warnings = newest_common(self.folder, self.ranks)
        with self.ranks.together("go on from its checkpoint"):
            self._expect_same_start(path, saved.state)
            ahead = [self.folder.expect_log(log, saved.state["log_bytes"][log]) for log in LOGS]
        set_trainable(self.loaded.model, saved.adapters["therapist"])
        assert saved.optimizer is not None
        restore_optimizer(self.optimizer, saved.optimizer)
        restore_compressor(self.compressor, self.compressor_optimizer, saved)
        self.progress = Progress(**saved.state["progress"])
        self.rolling = rolling_of(saved)
        if any(ahead):
            warnings.append(f"what came after window {self.progress.windows} was not saved whole and is done again")
        for log in LOGS:
            self.folder.cut_log(log, saved.state["log_bytes"][log])
        remove_newer(self.folder, path)
        return warnings

    def _expect_same_start(self, path: Path, state: dict[str, Any]) -> None:
        """Raises RunFolderError, AdapterMismatch where the run of a checkpoint cannot go on here."""
        if "ranks" not in state:
            raise RunFolderError(
                f"{path}: an older version of this program wrote it; begin a new run with its adapters"
            )
        expect_ranks(path, state["ranks"], self.ranks)
        for what, found in (("base", self.loaded.base_hash), ("corpus", self.corpus_hash)):
            if state[f"{what}_hash"] != found:
                raise AdapterMismatch(
                    f"{path}: the run began with a {what} of SHA-256 {state[f'{what}_hash']}; found {found}. Put back what "
                    "it began with, or begin a new run with its adapters"
                )

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


def _whole(sessions: Iterable[Session]) -> Iterator[Stretch]:
    """Each session as its longest expanding sample."""
    return (Samples([session])[-1] for session in sessions)
