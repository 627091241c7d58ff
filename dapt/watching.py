"""What is written down of a run while it learns: lines of its logs, and the same numbers as TensorBoard draws them over windows.

    windows.jsonl   a line a window: loss, how many tokens carry it, gate, reconstruction, gradient norm, the recap and what was
                    counted in it
    steps.jsonl     a line an optimizer step: loss over the sample, gradient norms by module kind
    probes.jsonl    a line a measurement on held-out text: losses, and kurtosis of every layer (dapt/probe.py)

Times stand alone under "seconds", the only part that two equal runs may differ in. A number that is none is null, and so are loss
and norm where nothing is learned (dapt/masks.py).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
from tensorboardX import SummaryWriter

from agents.lm.run_folder import EVENTS, STEPS, RunFolder
from agents.lm.step import Norms
from dapt.recap import GATES
from dapt.rolling import WindowReport

WINDOWS, PROBES = "windows.jsonl", "probes.jsonl"
LOGS = (WINDOWS, STEPS, PROBES)
FEATURES = ("garble", "repetition", "drift", "strangers", "copied", "asked")


def counted(quality: dict[str, Any], name: str) -> float:
    """What was counted of a recap; NaN in the logs of a version that did not count it."""
    return float(quality.get(name, math.nan))


class Recorder:
    """Writes lines to a run's logs, and has TensorBoard draw them over the windows that were read."""

    def __init__(self) -> None:
        self._events: SummaryWriter | None = None

    def record(self, folder: RunFolder, log: str, line: dict[str, Any], windows: int) -> None:
        """A line, after so many windows. What a run that was killed had drawn after its last checkpoint is hidden."""
        folder.append(log, line)
        if self._events is None:
            self._events = SummaryWriter(str(folder / EVENTS), purge_step=windows + (log != WINDOWS))
        for name, value in _SCALARS[log](line).items():
            self._events.add_scalar(name, value, windows)

    def close(self) -> None:
        """Write out what is to be drawn; the next line opens it again."""
        if self._events is not None:
            self._events.close()
            self._events = None


def window_line(report: WindowReport) -> dict[str, Any]:
    """One window, without where it stands."""
    quality = report.quality
    return {
        "loss": finite(report.loss),
        "tokens": report.tokens,
        "learned": report.learned,
        "norm": finite(report.norm),
        "gate": list(report.gate),
        "reconstruction": report.reconstruction,
        "recap": report.recap,
        "quality": None if quality is None else {**dataclasses.asdict(quality), "kind": quality.kind},
    }


def step_line(loss: float | None, norms: Norms, applied: bool) -> dict[str, Any]:
    """One optimizer step. loss: nats a token over what is learned of the sample, None where no window had one."""
    by_kind = {kind: finite(norm) for kind, norm in norms.by_kind.items()}
    return {"loss": loss, "norm": finite(norms.whole), "norms": by_kind, "applied": applied}


def window_scalars(line: dict[str, Any]) -> dict[str, float]:
    """Of a window: what it cost, and how good the recap is that was made after it (class: 0 garbage, 1 poor, 2 good)."""
    found = {f"window/{name}": line[name] for name in ("loss", "norm", "reconstruction", "seconds")}
    found |= {"gate/adapters": line["gate"][0], "gate/compressor": line["gate"][1]}
    if quality := line["quality"]:
        found |= {f"recap/{name}": quality[name] for name in (*FEATURES, "words")}
        found["recap/class"] = list(GATES)[::-1].index(quality["kind"])
    return _drawn(found)


def step_scalars(line: dict[str, Any]) -> dict[str, float]:
    """Of a step."""
    norms = {f"step_norm/{kind}": norm for kind, norm in line["norms"].items()}
    return _drawn({"step/loss": line["loss"], "step/norm": line["norm"], **norms})


def probe_scalars(line: dict[str, Any]) -> dict[str, float]:
    """Of a measurement: the means over layers in each place, and every layer's in the later windows."""
    found = {f"probe/{name}": line[name] for name in ("loss", "reconstruction", "seconds")}
    for place, sides in line["kurtosis"].items():
        found |= {f"kurtosis/{place}_{side}": mean_of(layers) for side, layers in sides.items()}
    for side, layers in line["kurtosis"].get("later", {}).items():
        found |= {f"kurtosis_{side}/layer_{i:02d}": k for i, k in enumerate(layers)}
    return _drawn(found)


_SCALARS = {WINDOWS: window_scalars, STEPS: step_scalars, PROBES: probe_scalars}


def mean_of(layers: list[float | None]) -> float | None:
    """Mean over layers; None where a layer has no number, since a mean over the others would be another quantity."""
    return None if any(k is None for k in layers) else float(np.mean(layers))  # type: ignore[arg-type]


def finite(value: float | None) -> float | None:
    """The number, or None for one that is none: JSON has no NaN."""
    return value if value is not None and math.isfinite(value) else None


def _drawn(found: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in found.items() if value is not None}
