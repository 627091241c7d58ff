"""Load a model by name: "smollm2" (embedded), a folder, or a hub name that mlx-lm takes."""

from __future__ import annotations

import hashlib
import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import mlx.nn as nn
from mlx_lm.utils import dequantize_model, hf_repo_to_path
from mlx_lm.utils import load as mlx_lm_load

from agents.lm.adapters import tree_hash
from agents.lm.device import default_dtype, mx, on_cpu
from agents.lm.embedded import HUB_NAME as EMBEDDED_HUB_NAME
from agents.lm.embedded import NAME, ModelUnavailable, embedded_folder
from agents.lm.files import sha256_file
from agents.lm.lora import flatten

__all__ = ["LoadedModel", "ModelUnavailable", "OpenedModel", "hub_name", "load_model", "open_model", "weights_hash"]

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_hashes: dict[tuple[str, int, int], str] = {}


@dataclass
class LoadedModel:
    """A frozen base with its tokenizer.

    model: an mlx-lm model, weights frozen, in the device's default dtype. tokenizer: mlx-lm's TokenizerWrapper (or a
    fake with encode, decode, eos_token_ids, all_special_tokens, apply_chat_template). base_hash: SHA-256 of the
    base's weights. folder: where it was loaded from; None for a model made in memory.
    """

    model: nn.Module
    tokenizer: Any
    name: str
    base_hash: str
    folder: Path | None = None


class OpenedModel(NamedTuple):
    """A model folder as mlx-lm opens it: its own dtype, quantised weights as they are; config: its config.json."""

    model: nn.Module
    tokenizer: Any
    config: dict[str, Any]
    folder: Path


def load_model(name: str, *, cache: Path | None = None) -> LoadedModel:
    """Load `name`: "smollm2", a model folder, or a hub name ("owner/model"). Raises ModelUnavailable.

    A folder that exists, or a name that looks like a path ("./x", "/x", "~/x"), never tries the network.
    cache: see `embedded_folder`.
    """
    opened = open_model(name, cache=cache)
    return LoadedModel(_ready(opened.model), opened.tokenizer, name, files_hash(opened.folder), opened.folder)


def open_model(name: str, *, cache: Path | None = None) -> OpenedModel:
    """As `load_model`, but nothing is expanded, cast or frozen: for what is to be written again."""
    folder = _folder(name, cache)
    try:
        opened: Any = mlx_lm_load(str(folder), return_config=True)
        folder = folder if folder.is_dir() else hf_repo_to_path(name)
    except Exception as error:  # whatever mlx-lm, transformers or the hub raise, the user needs one sentence
        raise ModelUnavailable(
            f'model {name!r} could not be loaded ({type(error).__name__}: {error}); expected "{NAME}", a folder in '
            "mlx-lm's format, or a hub name. Try `mlx_lm.convert` for a model in another format."
        ) from error
    model, tokenizer, config = opened
    return OpenedModel(model, tokenizer, config, folder)


def _folder(name: str, cache: Path | None) -> Path:
    """The folder to load from; a hub name that is no folder here comes back as it is."""
    if name == NAME:
        return embedded_folder(cache)
    path = Path(name).expanduser()
    if path.exists():
        _expect_model(path)
        return path
    if not HUB_NAME.fullmatch(name):
        raise ModelUnavailable(
            f'model {name!r}: found no such folder; expected "{NAME}", an existing folder in mlx-lm\'s format, or a '
            "hub name like owner/model. Check the spelling."
        )
    return Path(name)


def hub_name(name: str) -> str | None:
    """What `name` is called on the hub, as far as the name tells; None for a folder."""
    if name == NAME:
        return EMBEDDED_HUB_NAME
    return name if HUB_NAME.fullmatch(name) and not Path(name).exists() else None


def _expect_model(path: Path) -> None:
    """Raise ModelUnavailable with one sentence if a folder lacks what mlx-lm needs."""
    missing = [
        what
        for what, there in {
            "config.json with a model_type": _has_model_type(path / "config.json"),
            "model*.safetensors": path.is_dir() and any(path.glob("model*.safetensors")),
            "tokenizer.json or tokenizer.model": (path / "tokenizer.json").is_file()
            or (path / "tokenizer.model").is_file(),
        }.items()
        if not there
    ]
    if missing:
        hint = (
            "It holds an adapter: name its base model here."
            if (path / "adapter_config.json").exists()
            else ("Try `mlx_lm.convert`, or the folder that holds these files.")
        )
        raise ModelUnavailable(f"{path} is not a model folder: it lacks {', '.join(missing)}. {hint}")


def _has_model_type(config: Path) -> bool:
    try:
        return "model_type" in json.loads(config.read_text("utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _ready(model: nn.Module) -> nn.Module:
    """Frozen, in the dtype this device is quick in; quantised weights are expanded on a CPU."""
    if on_cpu():
        model = dequantize_model(model)
    own = next(a.dtype for a in flatten(model.parameters()).values() if mx.issubdtype(a.dtype, mx.floating))
    wanted = default_dtype(own)
    if wanted != own:
        model.set_dtype(wanted)
    model.freeze()
    model.eval()
    mx.eval(model.parameters())
    return model


def files_hash(folder: Path) -> str:
    """SHA-256 over the names and bytes of a folder's model*.safetensors; an unchanged file is read once."""
    files = sorted(folder.glob("model*.safetensors"))
    with ThreadPoolExecutor() as pool:
        hashes = list(pool.map(_remembered_hash, files))
    lines = "".join(f"{file.name} {digest}\n" for file, digest in zip(files, hashes, strict=True))
    return hashlib.sha256(lines.encode()).hexdigest()


def _remembered_hash(file: Path) -> str:
    stat = file.stat()
    known = (str(file.resolve()), stat.st_size, stat.st_mtime_ns)
    if known not in _hashes:
        _hashes[known] = sha256_file(file)
    return _hashes[known]


def weights_hash(model: nn.Module) -> str:
    """SHA-256 over names, shapes, dtypes and bytes of the weights of a model made in memory, adapters left out."""
    flat = flatten(model.parameters())
    return tree_hash({n: a for n, a in flat.items() if n.rpartition(".")[2] not in ("lora_a", "lora_b")})
