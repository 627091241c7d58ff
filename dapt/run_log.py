"""What a run folder tells of a run, whether it is done, stopped or still going: its settings and the lines of its logs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agents.lm.adapters import adapter_settings
from agents.lm.lora import adapted_layers
from agents.lm.run_folder import ADAPTERS, SETTINGS, STEPS, SUMMARY, RunFolder, RunFolderError
from dapt.probe import Place
from dapt.settings import DaptSettings, read_dapt_settings
from dapt.stages import Stage, stages
from dapt.watching import PROBES, WINDOWS


@dataclass(frozen=True)
class RunLog:
    """Lines as they were written (dapt/watching.py). summary: None of a run that is not done."""

    path: Path
    settings: DaptSettings
    windows: list[dict[str, Any]]
    steps: list[dict[str, Any]]
    probes: list[dict[str, Any]]
    summary: dict[str, Any] | None

    @property
    def at(self) -> np.ndarray:
        """(probes,) windows after which each measurement was made."""
        return np.array([line["windows"] for line in self.probes], np.int64)

    def measured(self, name: str) -> np.ndarray:
        """(probes,) "loss" or "reconstruction" on the held-out text; nan where it was none."""
        return np.array([line[name] for line in self.probes], np.float64)

    def kurtosis(self, place: Place, side: str) -> np.ndarray:
        """(layers, probes); (0, 0) where no window stood in that place."""
        found = [line["kurtosis"][place][side] for line in self.probes if place in line["kurtosis"]]
        return np.array(found, np.float64).T if found else np.zeros((0, 0))

    def mean_kurtosis(self, place: Place) -> np.ndarray:
        """(probes,) mean over layers and over keys and values; of "later" it is what the stages are told by."""
        both = np.concatenate([self.kurtosis(place, side) for side in ("keys", "values")])
        return both.mean(axis=0) if both.size else np.full(len(self.probes), np.nan)

    @property
    def stages(self) -> list[Stage]:
        """The paper's three stages, seen or not."""
        return stages(self.at, self.measured("loss"), self.measured("reconstruction"), self.mean_kurtosis("later"))

    @property
    def adapted(self) -> list[int]:
        """Layers with an adapter; empty where nothing was measured, so that no number of layers is known."""
        layers = len(self.kurtosis("first", "keys"))
        return adapted_layers(layers, adapter_settings(self.path / ADAPTERS)) if layers else []


def read_run(path: Path | str) -> RunLog:
    """The run in a folder. Raises RunFolderError for no run, one that has read no window yet, and every broken line at once."""
    path = RunFolder.existing(Path(path)).path
    problems: list[str] = []
    logs = {name: _lines(path / name, problems) for name in (WINDOWS, STEPS, PROBES)}
    if problems:
        raise RunFolderError("\n  - ".join([f"{path}: {len(problems)} line(s) cannot be read:", *problems]))
    if not logs[WINDOWS]:
        raise RunFolderError(
            f"{path}: found no line in {WINDOWS}; expected a run of icarus dapt that has read a window"
        )
    summary = path / SUMMARY
    return RunLog(
        path,
        read_dapt_settings(path / SETTINGS),
        logs[WINDOWS],
        logs[STEPS],
        logs[PROBES],
        json.loads(summary.read_text("utf-8")) if summary.is_file() else None,
    )


def _lines(path: Path, problems: list[str]) -> list[dict[str, Any]]:
    """The records of a log; a last line without its end is one that is being written, and is left out."""
    if not path.exists():
        return []
    found = []
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):
        try:
            found.append(json.loads(line))
        except ValueError as error:
            problems.append(f"{path.name}:{number}: found no JSON ({error}); expected a line as the run wrote it")
    return found
