"""Adapters as PEFT keeps them: adapter_model.safetensors and adapter_config.json, on transformers' module names.

    y = W x + (alpha / r) B A x,   A (r, inputs), B (outputs, r)

so alpha = scale r, and modules of a second rank need both a rank and an alpha of their own: rank_pattern, alpha_pattern.
Modules are written as full names, which no other module can match: a vision tower has layers and a q_proj too.
`import_peft` reads what PEFT itself writes, in any of its forms (agents/lm/peft_config.py).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from agents.lm.adapters import CONFIG, rank_of
from agents.lm.architecture import is_attention, layers_path
from agents.lm.device import mx
from agents.lm.files import save_arrays, whole_folder
from agents.lm.interchange import (
    Adapter,
    Foreign,
    Imported,
    InterchangeError,
    assemble,
    counted,
    expect_base,
    places,
    read_config,
    read_pairs,
)
from agents.lm.models import LoadedModel
from agents.lm.peft_config import PeftConfig, read_peft_config

WEIGHTS = "adapter_model.safetensors"
PREFIX = "base_model.model."
BASE = "icarus_base_hash"  # in the metadata of the safetensors file, where PEFT looks for nothing
# mlx-lm's name of the layers -> transformers' own.
_ROOTS = {"model.layers": "model.layers", "language_model.model.layers": "model.language_model.layers"}
# Read too, not written: an older transformers, a body without its head.
_ALSO_READ = ("language_model.model.layers", "language_model.layers", "layers")
# Names that only a model with experts has. In one that is adapted in a dense layer alone nothing tells.
_OF_A_MIXTURE = (".switch_mlp.", ".shared_experts.", ".q_a_proj", ".kv_a_proj_with_mqa")


def export_peft(folder: Path | str, adapter: Adapter, base_name: str | None) -> list[str]:
    """Write an adapter as PEFT does, whole or not at all; returns the modules left out, which are zero in both A and B.

    base_name: the base as transformers knows it (a hub name, a folder); None: whoever loads it names the base.
    Raises InterchangeError, naming the modules, for the MLP of a mixture of experts (PEFT 0.21 with transformers 5).
    """
    modules = {n.rpartition(".")[0]: n for n in sorted(adapter.tree)}
    pairs = {p: (adapter.tree[f"{p}.lora_a"], adapter.tree[f"{p}.lora_b"]) for p in modules}
    kept = {p: pair for p, pair in pairs.items() if any(mx.any(array != 0).item() for array in pair)}
    if not kept:
        raise InterchangeError(f"all {len(pairs)} modules are zero; expected an adapter that may change something")
    mixture = any(part in path for path in pairs for part in _OF_A_MIXTURE)
    if mixture and (barred := [path for path in kept if not is_attention(path)]):
        raise InterchangeError(
            f"{len(barred)} modules belong to a mixture of experts ({', '.join(counted(barred))}). transformers keeps the "
            "experts of a layer as one parameter, and PEFT takes every gate_proj, up_proj and down_proj of such a model for "
            "a part of it: it would load something else. Try --to mlx-lm, which takes them as they are, or icarus adapter fuse"
        )
    arrays, ranks = {}, {}
    for path, (a, b) in kept.items():
        name = _theirs(path)
        ranks[name] = rank_of("lora_a", a)
        arrays[f"{PREFIX}{name}.lora_A.weight"], arrays[f"{PREFIX}{name}.lora_B.weight"] = (
            mx.contiguous(a.T),
            mx.contiguous(b.T),
        )
    config = _config(ranks, adapter.settings.scale, base_name)
    with whole_folder(folder) as temporary:
        save_arrays(temporary / WEIGHTS, arrays, {"format": "pt", BASE: adapter.base_hash})
        (temporary / CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True), "utf-8")
    return [path for path in pairs if path not in kept]


def _theirs(path: str) -> str:
    """A module's name in transformers. Raises InterchangeError where it is not known."""
    for ours, theirs in _ROOTS.items():
        if path.startswith(f"{ours}."):
            return theirs + path.removeprefix(ours)
    raise InterchangeError(f"{path}: its name in transformers is not known; expected one in {' or '.join(_ROOTS)}")


def _config(ranks: dict[str, int], scale: float, base_name: str | None) -> dict[str, Any]:
    """What PEFT reads. An Icarus adapter's rank follows the last part of a module's name, so patterns need no more of it."""
    rank = next(iter(ranks.values()))
    others = {name.rpartition(".")[2]: r for name, r in ranks.items() if r != rank}
    if any(others.get(name.rpartition(".")[2], rank) != r for name, r in ranks.items()):
        raise InterchangeError(
            "found modules of one kind with several ranks; expected one for attention, one for the MLP"
        )
    return {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base_name,
        "r": rank,
        "lora_alpha": _number(scale * rank),
        "rank_pattern": others,
        "alpha_pattern": {name: _number(scale * r) for name, r in others.items()},
        "target_modules": list(ranks),
        "layers_to_transform": None,
        "layers_pattern": None,
        "modules_to_save": None,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_dropout": 0.0,
        "use_dora": False,
        "use_rslora": False,
    }


def _number(alpha: float) -> float:
    return int(alpha) if alpha == int(alpha) else alpha


def import_peft(folder: Path | str, loaded: LoadedModel) -> Imported:
    """The adapter at `folder`, written by PEFT or by `export_peft`, for `loaded`, a plain base.

    Raises InterchangeError listing everything that stands against it, BrokenFolder where it has a manifest that it breaks.
    """
    folder, wrong = Path(folder), list[str]()
    config = read_peft_config(read_config(folder), wrong)
    pairs = read_pairs(folder / WEIGHTS, ".lora_A.weight", ".lora_B.weight", wrong)
    if pairs:
        expect_base(_base_hash(folder / WEIGHTS), loaded, wrong)
    found = {}
    for full, (a, b) in pairs.items():
        name = full.removeprefix(PREFIX)
        rank, factor = config.factor(name) if config else (None, 1.0)
        if config and a.shape[:1] != (rank,):
            wrong.append(f"{name}: A {a.shape}, the config says rank {rank}")
        found[_ours(name, layers_path(loaded.model))] = Foreign(a.T, b.T, factor)
    if config:
        wrong += _unlike_the_config(config, loaded, {full.removeprefix(PREFIX) for full in pairs})
    return assemble(folder, loaded, found, wrong)


def _ours(name: str, root: str) -> str:
    """A module's name in mlx-lm, whose layers are at `root`; as it is where it lies in no layer of a language model."""
    theirs = next((r for r in (*_ROOTS.values(), *_ALSO_READ) if name.startswith(f"{r}.")), None)
    return name if theirs is None else root + name.removeprefix(theirs)


def _unlike_the_config(config: PeftConfig, loaded: LoadedModel, names: set[str]) -> list[str]:
    """Modules that the config adapts and the file lacks, and the other way round."""
    root = layers_path(loaded.model)
    theirs = next((r for r in (*_ROOTS.values(), *_ALSO_READ) if any(n.startswith(f"{r}.") for n in names)), root)
    linear = [theirs + path.removeprefix(root) for path in places(loaded.model) if ".switch_mlp." not in path]
    expected = [] if config.target_modules == "all-linear" else [name for name in linear if config.adapts(name)]
    return [
        *counted([f"{n}: has weights, but target_modules leaves it out" for n in names if not config.adapts(n)]),
        *counted([f"{n}: target_modules adapts it, but it has no weights" for n in expected if n not in names]),
    ]


def _base_hash(path: Path) -> str | None:
    """The base's hash that `export_peft` has left; None in a file by PEFT."""
    try:
        with safe_open(path, "numpy") as file:
            return dict(file.metadata() or {}).get(BASE)
    except (SafetensorError, OSError):  # what mlx could read and this cannot has no hash of ours
        return None
