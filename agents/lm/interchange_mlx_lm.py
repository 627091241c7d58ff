"""An adapter trained by `mlx_lm.lora` as one of Icarus's. The other way needs nothing: `save_adapter` writes mlx-lm's format."""

from __future__ import annotations

from pathlib import Path

import mlx.nn as nn

from agents.lm.adapters import WEIGHTS
from agents.lm.architecture import layers_of, layers_path
from agents.lm.interchange import (
    SHOWN,
    Foreign,
    Imported,
    assemble,
    counted,
    expect_base,
    places,
    read_config,
    read_pairs,
)
from agents.lm.models import LoadedModel


def import_mlx_lm(folder: Path | str, loaded: LoadedModel) -> Imported:
    """The adapter at `folder` for `loaded`, a plain base.

    Its num_layers counts from the last layer, 0 or less means all; keys are paths in a layer, or full ones.
    Raises InterchangeError listing everything that stands against it, BrokenFolder where it has a manifest that it breaks.
    """
    folder, wrong = Path(folder), list[str]()
    config = read_config(folder)
    if (kind := config.get("fine_tune_type", "lora")) != "lora":
        wrong.append(
            f"fine_tune_type: found {kind!r}; expected 'lora'. Fuse it by mlx_lm.fuse and name the result as a base"
        )
    told, ours = (
        found if isinstance(found := config.get(name), dict) else {} for name in ("lora_parameters", "icarus")
    )
    rank, scale, last = told.get("rank"), told.get("scale"), config.get("num_layers")
    for name, value in {"lora_parameters.rank": rank, "lora_parameters.scale": scale, "num_layers": last}.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            wrong.append(f"{name}: found {value!r}; expected a number, as mlx_lm.lora writes it")
    keys = told.get("keys")
    if keys is not None and not (isinstance(keys, list) and all(isinstance(key, str) for key in keys)):
        wrong.append(f"lora_parameters.keys: found {keys!r}; expected names of modules")
        keys = None
    expect_base(ours.get("base_hash"), loaded, wrong)
    pairs = read_pairs(folder / WEIGHTS, ".lora_a", ".lora_b", wrong)
    wrong += counted(
        [f"{p}: A {a.shape}, the config says rank {rank}" for p, (a, _) in pairs.items() if a.shape[1:2] != (rank,)]
    )
    if isinstance(last, int):
        wrong += _unlike_the_config(loaded.model, last, keys, set(pairs))
    factor = float(scale) if isinstance(scale, int | float) else 0.0
    return assemble(folder, loaded, {path: Foreign(a, b, factor) for path, (a, b) in pairs.items()}, wrong)


def _unlike_the_config(model: nn.Module, last: int, keys: list[str] | None, found: set[str]) -> list[str]:
    """Modules that the config adapts and the file lacks, of which mlx-lm says nothing, and the other way round."""
    root, count, known = layers_path(model), len(layers_of(model)), places(model)

    def adapted(path: str) -> bool:
        layer = known[path]
        counts = last <= 0 or layer >= count - last
        return path in (keys or ()) or (counts and (keys is None or path.removeprefix(f"{root}.{layer}.") in keys))

    said = f"num_layers {last} of {count}" + (f" and keys {', '.join(keys[:SHOWN])}" if keys else "")
    return [
        *counted([f"{p}: has weights, but {said} leaves it out" for p in known if p in found and not adapted(p)]),
        *counted([f"{p}: {said} adapts it, but it has no weights" for p in known if adapted(p) and p not in found]),
    ]
