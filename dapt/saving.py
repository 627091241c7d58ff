"""Where a sample stands and the compressor, as a checkpoint holds them, and back: what going on inside a sample needs."""

from __future__ import annotations

import dataclasses
from typing import Any

import mlx.optimizers as optim
from mlx.utils import tree_unflatten

from agents.lm.checkpoint import Checkpoint, restore_optimizer
from agents.lm.device import mx
from agents.lm.lora import flatten
from agents.lm.run_folder import RunFolderError
from dapt.compressor import Compressor
from dapt.memory import Memory
from dapt.recap import Quality
from dapt.rolling import Rolling


def arrays_of(rolling: Rolling, compressor: Compressor, optimizer: optim.Optimizer) -> dict[str, mx.array]:
    """Arrays by name."""
    arrays = {f"compressor.{n}": a for n, a in flatten(compressor.parameters()).items()}
    arrays |= {f"compressor_optimizer.{n}": a for n, a in flatten(optimizer.state).items()}
    arrays |= {f"gradients.{n}": a for n, a in rolling.gradients.items()}
    if rolling.memory is not None:
        for side in ("keys", "values"):
            arrays |= {f"memory.{side}.{i}": a for i, a in enumerate(getattr(rolling.memory, side))}
    return arrays


def state_of(rolling: Rolling) -> dict[str, Any]:
    """The rest, for JSON."""
    return {
        "window": rolling.window,
        "counts": [] if rolling.memory is None else list(rolling.memory.counts),
        "recap": rolling.recap,
        "quality": None if rolling.quality is None else dataclasses.asdict(rolling.quality),
        "nats": rolling.nats,
        "tokens": rolling.tokens,
    }


def rolling_of(saved: Checkpoint) -> Rolling:
    """Where the sample stood."""
    sides = [
        tuple(a for _, a in sorted(_part(saved, f"memory.{side}").items(), key=lambda one: int(one[0])))
        for side in ("keys", "values")
    ]
    quality = saved.state["quality"]
    if quality is not None and set(quality) != set(Quality.__dataclass_fields__):
        raise RunFolderError(
            f"the checkpoint holds a recap of which {', '.join(quality)} were counted; expected "
            f"{', '.join(Quality.__dataclass_fields__)}: another version wrote it. Go on with that one, or begin anew"
        )
    return Rolling(
        window=saved.state["window"],
        memory=Memory(sides[0], sides[1], tuple(saved.state["counts"])) if sides[0] else None,
        recap=saved.state["recap"],
        quality=None if quality is None else Quality(**quality),
        gradients=_part(saved, "gradients"),
        nats=saved.state["nats"],
        tokens=saved.state["tokens"],
    )


def restore_compressor(compressor: Compressor, optimizer: optim.Optimizer, saved: Checkpoint) -> None:
    """Put the compressor and its moments back."""
    compressor.update(tree_unflatten(list(_part(saved, "compressor").items())))
    restore_optimizer(optimizer, _part(saved, "compressor_optimizer"))


def _part(saved: Checkpoint, name: str) -> dict[str, mx.array]:
    return {n.removeprefix(f"{name}."): a for n, a in saved.arrays.items() if n.startswith(f"{name}.")}
