"""The folder of a run: what lies where, the log that a stopped run goes on from, one run at a time."""

import json
import os
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from agents.lm.checkpoint import Checkpoint, load_checkpoint
from agents.lm.files import BrokenFolder, write_whole

SETTINGS = "settings.toml"
TURNS, STEPS = "turns.jsonl", "steps.jsonl"  # of self-play, and of learning from sessions
START = "start"  # the run in which the adapters were fine-tuned that a run begins with
SUMMARY = "summary.json"
ADAPTERS = "adapters"
CHECKPOINTS = "checkpoints"
EVENTS = "events"


def adapter_folder(path: Path) -> Path:
    """Where the adapter of a run lies; a path that is no run is an adapter's folder itself."""
    return path / ADAPTERS if (path / SETTINGS).is_file() else path


def settings_file(path: Path) -> Path | None:
    """The settings that a run, or the run whose adapter this is, was told; None for an adapter that lies by itself."""
    run = path.absolute().parent if path.name == ADAPTERS else path
    return run / SETTINGS if (run / SETTINGS).is_file() else None


class RunFolderError(RuntimeError):
    """A run folder that cannot be used: somebody writes in it, or it holds nothing to go on from."""


class RunFolder:
    """One run's files: settings.toml, turns.jsonl or steps.jsonl, adapters/, checkpoints/, events/, summary.json, start/."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = FileLock(path / ".lock", blocking=False)

    @classmethod
    def create(cls, parent: Path, name: str) -> "RunFolder":
        """A new folder parent/name-DATE-TIME; a number is added where it exists."""
        stem = f"{name}-{datetime.now():%Y%m%d-%H%M%S}"
        for attempt in range(1000):
            path = parent / (stem if attempt == 0 else f"{stem}-{attempt + 1}")
            try:
                path.mkdir(parents=True)
            except FileExistsError:
                continue
            return cls(path)
        raise RunFolderError(f"{parent}: a thousand runs began in the same second; expected a free name")

    @classmethod
    def existing(cls, path: Path) -> "RunFolder":
        """A run that was begun. Raises RunFolderError where there is none."""
        if not (path / SETTINGS).is_file():
            raise RunFolderError(
                f"{path}: found no {SETTINGS}; expected the folder of a run that was begun by icarus train or icarus dapt"
            )
        return cls(path)

    def acquire(self) -> None:
        """Hold the folder until the process ends. The lock dies with its process, so none is ever stale."""
        try:
            self._lock.acquire()
        except Timeout:
            raise RunFolderError(
                f"{self.path}: another run is writing here; wait for it to end, or begin a new run"
            ) from None

    def discard(self) -> None:
        """Remove the folder of a run that could not begin, where there is one yet; another rank may be removing it too."""
        self.release()
        shutil.rmtree(self.path, ignore_errors=True)

    def release(self) -> None:
        """Let others write here."""
        self._lock.release()

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def checkpoints(self) -> list[Path]:
        """Checkpoint folders, newest first."""
        return sorted((self.path / CHECKPOINTS).glob("after-[0-9]*"), reverse=True)

    def checkpoint_path(self, count: int) -> Path:
        """Where the checkpoint after `count` turns or steps lies."""
        return self.path / CHECKPOINTS / f"after-{count:07d}"

    @staticmethod
    def count_of(checkpoint: Path) -> int:
        """The turns or steps after which a checkpoint was written."""
        return int(checkpoint.name.rpartition("-")[2])

    def newest_checkpoint(self, at_most: int | None = None) -> tuple[Path, Checkpoint, list[str]]:
        """The newest checkpoint that is whole, and a warning for each broken one that was passed over.

        at_most: none after more turns or steps than these.
        """
        warnings: list[str] = []
        for path in self.checkpoints():
            if at_most is not None and self.count_of(path) > at_most:
                continue
            try:
                return path, load_checkpoint(path), warnings
            except (BrokenFolder, OSError) as error:
                warnings.append(f"passed over a broken checkpoint: {error}")
        raise RunFolderError(
            "\n  ".join([f"{self.path}: found no whole checkpoint to go on from; begin a new run", *warnings])
        )

    def log_size(self, name: str) -> int:
        """Bytes of a log."""
        path = self.path / name
        return path.stat().st_size if path.exists() else 0

    def append(self, name: str, record: dict[str, Any]) -> None:
        """One line to a log. A line that did not fit on the disk is taken back."""
        before = self.log_size(name)
        line = json.dumps(record, allow_nan=False, ensure_ascii=False) + "\n"
        try:
            with open(self.path / name, "ab") as file:
                file.write(line.encode())
                file.flush()
                os.fsync(file.fileno())
        except OSError:
            self.cut_log(name, before)
            raise

    def cut_log(self, name: str, size: int) -> None:
        """Take back what was written after `size` bytes: what no checkpoint holds is done again."""
        path = self.path / name
        if path.exists():
            with open(path, "r+b") as file:
                file.truncate(size)

    def expect_log(self, name: str, size: int) -> bool:
        """Whether a log is longer than the `size` bytes that a checkpoint knows of. Raises RunFolderError if it is shorter."""
        missing = size - self.log_size(name)
        if missing > 0:
            raise RunFolderError(
                f"{self.path / name}: {missing} bytes are missing that the checkpoint knows of; put back the log"
            )
        return missing < 0

    def rotate(self, keep: int, best: int | None = None) -> None:
        """Remove all but the newest `keep` checkpoints; that after `best` turns or steps stays, too."""
        for old in self.checkpoints()[keep:]:
            if self.count_of(old) != best:
                shutil.rmtree(old)

    def write_json(self, name: str, value: dict[str, Any]) -> None:
        """A JSON file, whole or not at all."""
        write_whole(self.path / name, json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n")
