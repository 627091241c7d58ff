"""A run from its settings: fine-tuning first where it is asked for, then the method, in one folder that can be gone on from."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from agents.corpus_trainer import CorpusTrainer
from agents.lm.files import write_whole
from agents.lm.models import LoadedModel
from agents.lm.rank_folder import new_folder
from agents.lm.ranks import Ranks
from agents.lm.run_folder import ADAPTERS, SETTINGS, START, SUMMARY, RunFolder
from agents.settings import Settings
from agents.trainer import TBNRLTrainer
from agents.training import Training


def phases(loaded: LoadedModel, settings: Settings, folder: RunFolder | None) -> Iterator[Training]:
    """The trainers that are still to be run, one after the other; ask for the next when the last one is done.

    folder: of a run that was begun, None for a new one. A run with a start has its folder made here, since the start's lies
    in it. `enter` begins or resumes each.
    """
    if not has_start(settings):
        yield trainer_of(loaded, settings, folder)
        return
    run = folder or new_folder(Path(settings.run.folder), settings.run.name, Ranks())
    start = RunFolder(run / START)
    if not Ranks().all((start / SUMMARY).is_file()):
        told = settings.run.model_copy(update={"method": "sft"})
        try:
            first = trainer_of(loaded, settings.model_copy(update={"run": told}), start)
            if folder is None:
                run.path.mkdir(parents=True, exist_ok=True)
                write_whole(run / SETTINGS, settings.to_toml())
        except BaseException:  # sessions that cannot be read, say: of a folder made here nothing is left
            if folder is None:
                run.discard()
            raise
        yield first
    model = settings.model.model_copy(update={"adapter": str(start / ADAPTERS)})
    yield trainer_of(loaded, settings.model_copy(update={"model": model}), run)


def has_start(settings: Settings) -> bool:
    """Whether the method begins with adapters that the same run fine-tunes first."""
    return settings.run.method != "sft" and settings.sft.epochs > 0


def trainer_of(loaded: LoadedModel, settings: Settings, folder: RunFolder | None = None) -> Training:
    """The trainer of run.method; all that are made in a process share one base."""
    if settings.run.method == "C":
        return TBNRLTrainer(loaded, settings, folder)
    return CorpusTrainer(loaded, settings, folder)


def enter(trainer: Training) -> list[str]:
    """Begin, or go on where the folder holds a checkpoint; returns warnings."""
    if trainer.ranks.all(trainer.has_folder and bool(trainer.folder.checkpoints())):
        return trainer.resume()
    trainer.begin()
    return []
