"""Learning from sessions: fine-tuning on what their therapists said, and DPO on the replies they preferred (paper 433-437)."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from agents.corpus import Chat, Example, batches, digest, pairs, replies, sessions_of
from agents.guards import finite
from agents.learner import FROZEN, THERAPIST, BadGradients, Batch, Preferences, StepReport
from agents.lm.device import device_name
from agents.lm.five_tuple import SessionFileError, split
from agents.lm.models import LoadedModel
from agents.lm.run_folder import STEPS, RunFolder, RunFolderError
from agents.probe import Probe, probe
from agents.record import memory_scalars
from agents.settings import Settings
from agents.training import Training, as_dict, peak_resident_gb, seed_of
from client_graph.catalog import load_catalog


@dataclass
class CorpusProgress:
    """Where a run stands; the order of its batches follows from the seed and the epoch."""

    step: int = 0
    applied: int = 0
    looks: list[dict[str, float | None]] = field(
        default_factory=list
    )  # at what is held out: step, and what was measured


class CorpusTrainer(Training):
    """Fine-tuning (run.method "sft") or DPO ("A": pairs in their sessions; "B": in every view of the curriculum).

    on_step(line, progress) is called after every step with its line of steps.jsonl.
    """

    log = STEPS

    def __init__(self, loaded: LoadedModel, settings: Settings, folder: RunFolder | None = None) -> None:
        self.method = settings.run.method
        part = settings.sft if self.method == "sft" else settings.dpo
        super().__init__(loaded, settings, folder, part.learning_rate)
        self.epochs = part.epochs
        self.progress = CorpusProgress()
        self.before: Probe | None = None
        self.on_step: Callable[[dict[str, Any], CorpusProgress], None] = lambda line, progress: None
        self.catalog = load_catalog(settings.environment.catalog)
        sessions = sessions_of(settings.corpus.sessions)
        self.corpus_hash = digest(sessions)
        learned, held_out = split(sessions, settings.corpus.held_out)
        self.examples, self.held_out = self._examples(learned), self._examples(held_out)
        if not self.examples:
            what = (
                "reply that is no misstep"
                if self.method == "sft"
                else "turn with a counterfactual, so no pair to prefer in"
            )
            raise SessionFileError(
                [f"{settings.corpus.sessions or 'the shipped sessions'}: found no {what}"], "learned from"
            )
        self._epoch: tuple[int, list[Batch]] | None = None  # the batches of one epoch, drawn again when the next begins
        self._steps_an_epoch = math.ceil(len(self._batches(0)) / self.ranks.size)
        self.steps = self.epochs * self._steps_an_epoch

    @property
    def count(self) -> int:
        return self.progress.step

    @property
    def done(self) -> bool:
        return self.progress.step >= self.steps

    def _examples(self, sessions: list[Any]) -> list[Example]:
        chat = Chat(self.loaded.tokenizer, self.catalog, self.settings.generation.remembered_turns)
        if self.method == "sft":
            return replies(sessions, chat)
        return pairs(sessions, chat, self.settings.dpo.longest_window if self.method == "B" else None)

    def _batches(self, epoch: int) -> list[Batch]:
        if self._epoch is None or self._epoch[0] != epoch:
            drawn = batches(self.examples, self.settings.corpus.shared_by, self._generator(1 + epoch))
            self._epoch = epoch, drawn
        return self._epoch[1]

    def _generator(self, use: int) -> np.random.Generator:
        return np.random.default_rng(seed_of(self.settings.run.seed, 4, use))

    def _look_first(self) -> None:
        self.before = self._probe(FROZEN)
        self.progress.looks.append({"step": 0, **self.look()})

    def _probe(self, role: str) -> Probe:
        """What is said to the held-out clients; nobody judges it here."""
        seed = seed_of(self.settings.run.seed, 2, 0)
        return probe(self.loaded, self.sets, role, None, self.catalog, self.settings.generation, seed)

    def look(self) -> dict[str, float]:
        """What the therapist makes of the sessions that it does not learn from; nothing where none is held out.

        sft: loss, nats a token. DPO: loss, accuracy, chosen and rejected log-ratios to the reference in nats.
        """
        if not self.held_out:
            return {}
        drawn = batches(self.held_out, self.settings.corpus.shared_by, None)
        with self.sets.role(THERAPIST):
            if self.method == "sft":
                sums = [self.learner.sft_measure(batch) for batch in drawn]
                return {"loss": sum(nats for nats, _ in sums) / sum(tokens for _, tokens in sums)}
            seen = [self.learner.dpo_measure(batch, self.settings.dpo) for batch in drawn]
            return _mean(seen)

    def _go_on(self) -> None:
        """One step, and what comes at its epoch's end. Of several ranks, each has a batch of its own, or none is left for it."""
        progress, began = self.progress, time.perf_counter()
        epoch, at = divmod(progress.step, self._steps_an_epoch)
        mine = self._batches(epoch)[at * self.ranks.size :][: self.ranks.size]
        batch = mine[self.ranks.rank] if self.ranks.rank < len(mine) else None
        remembered = self.learner.remember()
        try:
            with self.sets.role(THERAPIST):
                report, found = self._step(batch) if batch else (self.learner.idle_step(), {})
        except BadGradients as failure:
            self.learner.go_back(remembered)
            self.paused, self.stop = str(failure), True
            return
        self.learner.expect_frozen()
        progress.step += 1
        progress.applied += report.applied
        line = {
            "step": progress.step,
            "epoch": epoch + 1,
            **{n: finite(v) for n, v in found.items()},
            **_report(report),
        }
        seconds = time.perf_counter() - began
        branches = batch.branches if batch else []
        line |= {"replies": len(branches), "tokens": sum(map(len, branches)), "seconds": seconds}
        drawn = {f"{self.method}/{name}": value for name, value in {**found, "norm": report.norm}.items()}
        self._record(line, {n: v for n, v in drawn.items() if math.isfinite(v)} | memory_scalars())
        self.on_step(line, progress)
        every = self.settings.run.probe_every
        if progress.step == self.steps or at + 1 == self._steps_an_epoch or (every and progress.step % every == 0):
            self._look_on()
        self._checkpoint_if_due()

    def _look_on(self) -> None:
        if seen := self.look():
            self.progress.looks.append({"step": self.progress.step, **{n: finite(v) for n, v in seen.items()}})
            self._looked(-seen["loss"])

    def _step(self, batch: Batch) -> tuple[StepReport, dict[str, float]]:
        if self.method == "sft":
            report = self.learner.sft_step(batch)
            return report, {"loss": report.loss}
        report, seen = self.learner.dpo_step(batch, self.settings.dpo)
        return report, {name: value for name, value in dataclasses.asdict(seen).items() if name != "pairs"}

    def _state(self) -> dict[str, Any]:
        return {
            "corpus_hash": self.corpus_hash,
            "held_out": sorted({one.session for one in self.held_out}),
            "steps": self.steps,
            "progress": dataclasses.asdict(self.progress),
            "before": as_dict(self.before),
        }

    def _restore(self, state: dict[str, Any], path: Path) -> list[str]:
        for what, found, expected in (
            ("sessions of SHA-256", self.corpus_hash, state["corpus_hash"]),
            ("sessions held out,", sorted({one.session for one in self.held_out}), state["held_out"]),
            ("a number of steps,", self.steps, state["steps"]),
        ):
            if found != expected:
                raise RunFolderError(
                    f"{path}: the run began with {what} {expected}; found {found}. Put back the sessions and settings that it "
                    "began with, or begin a new run with its adapters"
                )
        self.progress = CorpusProgress(**state["progress"])
        self.before = Probe(**{**state["before"], "replies": tuple(state["before"]["replies"])})
        return []

    def _summary(self) -> dict[str, Any]:
        return {
            "method": self.method,
            "steps": self.progress.step,
            "applied": self.progress.applied,
            "learned_from": {"examples": len(self.examples), "sessions": len({one.session for one in self.examples})},
            "held_out": {"examples": len(self.held_out), "sessions": len({one.session for one in self.held_out})},
            "looks": self.progress.looks,
            "best": self.best,
            "before": as_dict(self.before),
            "after": as_dict(self._probe(THERAPIST)),
            "adapter_change": self.adapter_change(),
            "device": device_name(),
            "model": self.loaded.name,
            "base_hash": self.loaded.base_hash,
            "corpus_hash": self.corpus_hash,
            "peak_resident_gb": peak_resident_gb(),
        }


def _report(report: StepReport) -> dict[str, Any]:
    return {
        "norm": finite(report.norm),
        "norms": {kind: finite(norm) for kind, norm in report.norms.items()},
        "applied": report.applied,
    }


def _mean(seen: list[Preferences]) -> dict[str, float]:
    """Means over all pairs, of means over batches."""
    pairs_in = np.array([each.pairs for each in seen], np.float64)
    names = ("loss", "accuracy", "chosen", "rejected")
    return {name: float(np.average([getattr(each, name) for each in seen], weights=pairs_in)) for name in names}
