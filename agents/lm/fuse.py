"""An adapter added to its base for good: W' = W + scale B A, as a model folder that `mlx_lm.load` opens.

mlx-lm's own modules do the sum, in the base's dtype. A quantised W cannot hold the sum as it is: it is expanded (exact,
larger), or quantised again (as small as before, and not the same).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Literal

import mlx.nn as nn
from mlx.utils import tree_unflatten
from mlx_lm.utils import dequantize_model, make_shards, save_config

from agents.lm.adapters import Tree, adapter_settings, load_adapter
from agents.lm.device import mx
from agents.lm.files import save_arrays, whole_folder
from agents.lm.interchange import InterchangeError
from agents.lm.lora import flatten, inject, set_trainable
from agents.lm.models import OpenedModel, files_hash, open_model

Quantised = Literal["refuse", "dequantise", "requantise"]


def fuse(model: nn.Module, tree: Tree, quantised: Quantised = "refuse") -> nn.Module:
    """`model`, which has LoRA modules, with `tree` added to its weights and the modules gone: changed in place.

    Raises InterchangeError for a quantised base unless `quantised` says what becomes of it.
    """
    is_quantised = any(name.endswith(".scales") for name in flatten(model.parameters()))
    if is_quantised and quantised == "refuse":
        raise InterchangeError(
            "the base is quantised and cannot hold the sum as it is; expected a choice: --dequantize expands all its weights "
            "(exact, a model of its full size), --requantize rounds them again (as small as before, and not the same)"
        )
    set_trainable(model, tree)
    expand = quantised == "dequantise"
    fused = [
        (path, module.fuse(dequantize=expand)) for path, module in model.named_modules() if hasattr(module, "fuse")
    ]
    model.update_modules(tree_unflatten(fused))
    if expand:
        model = dequantize_model(model)
        if left := [name for name in flatten(model.parameters()) if name.endswith(".scales")]:
            raise InterchangeError(
                f"mlx-lm does not expand {', '.join(left[:3])} and {max(len(left) - 3, 0)} more; try --requantize"
            )
    mx.eval(model.parameters())
    return model


def fuse_folder(base: str, adapter: Path | str, out: Path | str, quantised: Quantised = "refuse") -> Path:
    """Fuse the adapter folder into the model `base` (as `load_model` names it) and write the result; returns `out`.

    Raises ModelUnavailable, AdapterMismatch where the adapter is not of this base, InterchangeError.
    """
    opened = open_model(base)
    inject(opened.model, adapter_settings(adapter), mx.random.key(0))
    tree = load_adapter(adapter, opened.model, files_hash(opened.folder))
    model = fuse(opened.model, tree, quantised)
    write_model(out, opened._replace(model=model), expanded=quantised == "dequantise")
    return Path(out)


def write_model(out: Path | str, opened: OpenedModel, *, expanded: bool = False) -> None:
    """A model folder in mlx-lm's format, whole or not at all: weights, config, tokenizer, generation_config.json.

    expanded: the weights are no longer quantised as the config says. mlx-lm's own `save_model` is not used: on a full disk
    it succeeds without a word.
    """
    config = dict(opened.config)
    if expanded:
        config.pop("quantization", None)
        config.pop("quantization_config", None)
    shards = make_shards(flatten(opened.model.parameters()))
    names = [f"model-{i:05d}-of-{len(shards):05d}.safetensors" for i in range(1, len(shards) + 1)]
    names = names if len(shards) > 1 else ["model.safetensors"]
    index = {array: name for name, shard in zip(names, shards, strict=True) for array in shard}
    size = sum(array.nbytes for shard in shards for array in shard.values())
    with whole_folder(out) as folder:
        for name, shard in zip(names, shards, strict=True):
            save_arrays(folder / name, shard, {"format": "mlx"})
        told = {"metadata": {"total_size": size}, "weight_map": dict(sorted(index.items()))}
        (folder / "model.safetensors.index.json").write_text(json.dumps(told, indent=1), "utf-8")
        save_config(config, folder / "config.json")
        opened.tokenizer.save_pretrained(folder)
        generation = opened.folder / "generation_config.json"
        if generation.is_file():
            shutil.copy(generation, folder)
