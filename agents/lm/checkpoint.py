"""Checkpoints: adapters, optimizer, arrays and JSON state in one folder, whole or absent, each file hashed."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlx.optimizers as optim
import numpy as np
from mlx.utils import tree_flatten, tree_unflatten

from agents.lm.device import mx
from agents.lm.files import BrokenFolder, load_arrays, save_arrays, verify_folder, whole_folder

STATE = "state.json"
VERSION = 2


@dataclass
class Checkpoint:
    """What was saved. adapters: {set name: flat tree}; optimizer: flat optimizer state, None if there was none."""

    adapters: dict[str, dict[str, mx.array]] = field(default_factory=dict)
    optimizer: dict[str, mx.array] | None = None
    state: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, mx.array] = field(default_factory=dict)


def save_checkpoint(
    folder: Path | str,
    *,
    adapters: dict[str, dict[str, mx.array]],
    optimizer: optim.Optimizer | None = None,
    state: dict[str, Any] | None = None,
    arrays: dict[str, Any] | None = None,
) -> None:
    """Write a checkpoint folder in one step, replacing an older one.

    state: JSON-able; NaN and inf are refused. arrays: MLX or NumPy arrays by name (a NumPy generator's state is
    JSON-able and goes into `state`). Raises ValueError for values that are not finite, OSError if the disk is full or
    read-only; the older checkpoint is then untouched.
    """
    flat = None if optimizer is None else dict(tree_flatten(optimizer.state))
    _expect_finite({f"{name}/{n}": a for name, tree in adapters.items() for n, a in tree.items()} | (flat or {}))
    text = json.dumps(
        {"version": VERSION, "sets": list(adapters), "has_optimizer": flat is not None, "state": state or {}},
        indent=1,
        allow_nan=False,
    )
    with whole_folder(folder) as temporary:
        (temporary / STATE).write_text(text, "utf-8")
        for i, tree in enumerate(adapters.values()):
            save_arrays(temporary / f"adapter_{i}.safetensors", tree)
        if flat is not None:
            save_arrays(temporary / "optimizer.safetensors", flat)
        save_arrays(temporary / "arrays.safetensors", {n: _array(a) for n, a in (arrays or {}).items()})


def load_checkpoint(folder: Path | str) -> Checkpoint:
    """Read a checkpoint back, bytes as saved. Raises agents.lm.files.BrokenFolder listing every file that is wrong."""
    folder = Path(folder)
    verify_folder(folder)
    saved = json.loads((folder / STATE).read_text("utf-8"))
    if saved.get("version") != VERSION:
        raise BrokenFolder(
            f"{folder / STATE}: version {saved.get('version')}, expected {VERSION}. Use the code that wrote it."
        )
    return Checkpoint(
        adapters={name: load_arrays(folder / f"adapter_{i}.safetensors") for i, name in enumerate(saved["sets"])},
        optimizer=load_arrays(folder / "optimizer.safetensors") if saved["has_optimizer"] else None,
        state=saved["state"],
        arrays=load_arrays(folder / "arrays.safetensors"),
    )


def restore_optimizer(optimizer: optim.Optimizer, flat: dict[str, mx.array]) -> None:
    """Put a saved state (step, learning rate, moments) into an optimizer of the same kind."""
    optimizer.state = tree_unflatten(list(flat.items()))


def _array(a: Any) -> mx.array:
    """An MLX array with the same bytes. Raises TypeError for a NumPy dtype that MLX would change (float64)."""
    if isinstance(a, mx.array):
        return a
    given = np.asarray(a)
    made = mx.array(given)
    if str(made.dtype).removeprefix("mlx.core.") != str(given.dtype):
        raise TypeError(
            f"an array of {given.dtype} would become {made.dtype}; expected a dtype that MLX keeps. "
            "Cast it, or use `state`"
        )
    return made


def _expect_finite(arrays: dict[str, mx.array]) -> None:
    wrong = [
        name for name, a in arrays.items() if mx.issubdtype(a.dtype, mx.floating) and not mx.all(mx.isfinite(a)).item()
    ]
    if wrong:
        raise ValueError(f"values that are not finite in {', '.join(wrong)}; expected none. Nothing was written")
