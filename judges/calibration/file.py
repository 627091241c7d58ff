"""A calibration as JSON, and what a reader of scores must know of it: judge, accuracy, error, and what it was measured on."""

import dataclasses
import hashlib
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np

from client_graph.files import write_whole
from judges.calibration.measures import Share
from judges.calibration.run import Calibration
from judges.offline.examples import example_files
from judges.pairs import DECENT_POOR, PAIRS
from judges.reading.manner import MANNER, SAID
from judges.rubric import JUDGE_CONFIGS

SHIPPED = JUDGE_CONFIGS / "calibration"


def file_name(judge: str) -> str:
    """The file of a judge's calibration: its name without what no file name holds, and without a folder."""
    kind, _, model = judge.partition(":")
    parts = [kind, *([Path(model).name] if model else [])]
    return "-".join(re.sub(r"[^A-Za-z0-9.]+", "-", part).strip("-") for part in parts) + ".json"


def as_json(found: Calibration) -> dict[str, Any]:
    """Every number of it; a share as count, of, value and interval; null for what is none."""
    return {"tables": tables_digest(), **_plain(found)}


def write_calibration(folder: Path, found: Calibration) -> Path:
    """Write it into `folder`, whole or not at all."""
    path = folder / file_name(found.judge)
    write_whole(path, (json.dumps(as_json(found), indent=1, allow_nan=False) + "\n").encode())
    return path


def known_error(judge: str, folder: Path = SHIPPED) -> str:
    """How well this judge did in its calibration, or that none is kept. What a judge states of its own error stands in its
    judgements, with or without a calibration."""
    try:
        kept = json.loads((folder / file_name(judge)).read_text(encoding="utf-8"))
        told = _told(kept)
    except FileNotFoundError:
        return f"{judge}: not calibrated here, so how well it ranks pairs is not known; icarus calibrate-judge --keep measures it."
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{judge}: its calibration {folder / file_name(judge)} cannot be read ({type(error).__name__}); measure it anew."
    aged = "" if kept["tables"] == tables_digest() else " Examples or pairs have changed since: measure it anew."
    return f"{judge}: {told}{aged}"


def tables_digest() -> str:
    """Changes with the examples, with what means nothing, and with the pairs."""
    digest = hashlib.sha256()
    for file in (*example_files(), MANNER, SAID, PAIRS, DECENT_POOR):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _told(kept: dict[str, Any]) -> str:
    right, own, pairs = kept["accuracy"]["composite"], kept["accuracy"]["own"], kept["pairs"]
    low, high = right["interval"]
    told = f"ranks {right['value']:.0%} of {pairs} held-out pairs rightly ({low:.0%} to {high:.0%}), "
    told += f"{own['value']:.0%} in the dimension that differs; the same reply under another client's words scores "
    told += f"{kept['swap']['mean_fall']:.1f} points less."
    if kept["left_out"]:
        median = float(np.mean(kept["left_out"]["probable_error"]))
        examples = kept["left_out"]["examples"]
        told += f" On {examples} examples of clients it had not met half of the misses exceed {median:.1f} points."
    return told


def _plain(value: Any) -> Any:
    if isinstance(value, Share):
        return {"count": value.count, "of": value.of, "value": _plain(value.value), "interval": list(value.interval)}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float):
        return round(value, 4) if math.isfinite(value) else None
    return value
