"""Named adapter sets on one base: swap roles in under a millisecond, export and import with every check made.

An exported folder is mlx-lm's own format: one rank for all modules, so smaller ones are padded with zeros to the
largest, which leaves the product B A as it is; the scale is one for all and stands in the config. `mlx_lm.generate
--adapter-path` and `mlx_lm.fuse` load it unmodified. What stock mlx-lm does not check, the base's hash, is checked
here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import mlx.nn as nn
import numpy as np

from agents.lm.device import mx
from agents.lm.files import BrokenFolder, load_arrays, save_arrays, verify_folder, whole_folder
from agents.lm.lora import LoraSettings, slots

Tree = dict[str, mx.array]
WEIGHTS, CONFIG = "adapters.safetensors", "adapter_config.json"


class AdapterMismatch(ValueError):
    """An adapter that does not fit the model: the message lists everything that is wrong."""


class FrozenSetChanged(RuntimeError):
    """A frozen adapter set whose arrays are no longer the ones that were frozen."""


def tree_hash(tree: Tree) -> str:
    """SHA-256 over names, shapes, dtypes and bytes of a flat tree, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(tree):
        array = tree[name]
        digest.update(f"{name} {tuple(array.shape)} {array.dtype}\n".encode())
        digest.update(_bytes(array))
    return digest.hexdigest()


def _bytes(array: mx.array) -> Any:  # a NumPy array of bytes: hashlib reads it without a copy
    return np.ascontiguousarray(np.array(mx.view(array.reshape(-1), mx.uint8)))


class AdapterSets:
    """Named sets of adapter arrays for one model with LoRA modules injected (`lora.inject`).

    active: name of the set whose arrays are in the model, None before the first `activate`.
    """

    active: str | None

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.active = None
        self._slots = slots(model)
        self._sets: dict[str, Tree] = {}
        self._frozen: dict[str, str] = {}
        if not self._slots:
            raise ValueError("the model has no LoRA modules; expected some. Call agents.lm.lora.inject first")

    def add(self, name: str, tree: Tree, *, frozen: bool = False) -> None:
        """Store a set. Raises ValueError for a name in use, AdapterMismatch if names or shapes are not the model's.

        frozen: the set may be active but not trained; `capture` raises FrozenSetChanged if its arrays have changed.
        """
        if name in self._sets:
            raise ValueError(f"an adapter set {name!r} exists already; the sets are {', '.join(self._sets)}")
        wrong = _mistakes(tree, {n: module[leaf].shape for n, (module, leaf) in self._slots.items()})
        if wrong:
            raise AdapterMismatch(f"adapter set {name!r} does not fit the model: " + "; ".join(wrong))
        self._sets[name] = {n: tree[n] for n in self._slots}
        if frozen:
            self._frozen[name] = tree_hash(tree)

    def names(self) -> list[str]:
        """Names of the sets, in the order they were added."""
        return list(self._sets)

    def get(self, name: str) -> Tree:
        """The arrays of a set (those in the model if it is active)."""
        self._expect(name)
        if name == self.active:
            self.capture()
        return dict(self._sets[name])

    def activate(self, name: str) -> None:
        """Capture the active set, then put the arrays of `name` into the model."""
        self._expect(name)
        if name == self.active:
            return
        self.capture()
        self._put(self._sets[name])
        self.active = name

    def capture(self) -> None:
        """Read the active set back from the model: an optimizer makes new arrays.

        Raises FrozenSetChanged if the set is frozen and its bytes changed; the model then has the frozen arrays again.
        """
        if self.active is None:
            return
        stored = self._sets[self.active]
        live = {n: module[leaf] for n, (module, leaf) in self._slots.items()}
        if all(live[n] is stored[n] for n in live):
            return
        if self.active in self._frozen and tree_hash(live) != self._frozen[self.active]:
            self._put(stored)
            raise FrozenSetChanged(
                f"adapter set {self.active!r} is frozen and its arrays were changed; they are restored. "
                "Activate the set to train before the optimizer's update."
            )
        self._sets[self.active] = live

    @contextmanager
    def role(self, name: str) -> Iterator[nn.Module]:
        """The model with set `name` active; the set that was active before returns afterwards."""
        before = self.active
        self.activate(name)
        try:
            yield self.model
        finally:
            if before is None:
                self.capture()
            else:
                self.activate(before)

    def hash(self, name: str) -> str:
        """SHA-256 of a set."""
        return tree_hash(self.get(name))

    def _expect(self, name: str) -> None:
        if name not in self._sets:
            raise KeyError(f"no adapter set {name!r}; the sets are {', '.join(self._sets) or 'none yet'}")

    def _put(self, tree: Tree) -> None:
        # Straight into the modules: what model.update does, without walking the whole model.
        for name, (module, leaf) in self._slots.items():
            module[leaf] = tree[name]


def _mistakes(tree: Tree, expected: dict[str, tuple[int, ...]]) -> list[str]:
    """Every name that is missing or unexpected, every shape that differs."""
    missing = [f"{n}: missing" for n in expected if n not in tree]
    extra = [f"{n}: not in the model" for n in tree if n not in expected]
    shapes = [
        f"{n}: shape {tuple(tree[n].shape)}, expected {tuple(shape)}"
        for n, shape in expected.items()
        if n in tree and tuple(tree[n].shape) != tuple(shape)
    ]
    return missing + extra + shapes


def save_adapter(folder: Path | str, tree: Tree, settings: LoraSettings, base_hash: str) -> None:
    """Write adapters.safetensors and adapter_config.json so that stock mlx-lm loads them; whole or not at all.

    tree: flat arrays as from `lora.trainable` or `AdapterSets.get`. base_hash: `LoadedModel.base_hash`.
    """
    rank = max(rank_of(name, a) for name, a in tree.items())
    config = {
        "fine_tune_type": "lora",
        "num_layers": -1,  # every layer is looked at; the keys are full paths and pick the modules
        "lora_parameters": {
            "rank": rank,
            "scale": settings.scale,
            "dropout": 0.0,
            "keys": sorted({name.rpartition(".")[0] for name in tree}),
        },
        "icarus": {"base_hash": base_hash, "settings": settings.model_dump(), "adapter_hash": tree_hash(tree)},
    }
    wide = {name: padded(name, a, rank) for name, a in tree.items()}
    with whole_folder(folder) as temporary:
        save_arrays(temporary / WEIGHTS, wide, {"format": "mlx"})
        (temporary / CONFIG).write_text(json.dumps(config, indent=1), "utf-8")


def adapter_settings(folder: Path | str) -> LoraSettings:
    """The LoraSettings an adapter was trained with, for `lora.inject` before `load_adapter`. Raises AdapterMismatch."""
    return LoraSettings(**own_config(Path(folder))["settings"])


def load_adapter(folder: Path | str, model: nn.Module, base_hash: str) -> Tree:
    """Read an adapter written by `save_adapter` as a flat tree for `model`, which has LoRA modules; exact to the bit.

    Raises AdapterMismatch listing everything that is wrong: files, base hash, scale, names, shapes, values.
    """
    folder = Path(folder)
    own, config = own_config(folder), _config(folder)
    found = slots(model)
    wrong = []
    if own["base_hash"] != base_hash:
        wrong.append(f"trained on the base {own['base_hash'][:12]}..., this one is {base_hash[:12]}...")
    scales = sorted({module.scale for module, _ in found.values()} - {config["lora_parameters"]["scale"]})
    if scales:
        wrong.append(f"scale {config['lora_parameters']['scale']}, the model's modules have {scales}")
    stored = load_arrays(folder / WEIGHTS)
    expected = {n: module[leaf].shape for n, (module, leaf) in found.items()}
    tree = {n: cut(n, a, expected[n]) if n in expected else a for n, a in stored.items()}
    wrong += _mistakes(tree, expected)
    wrong += [f"{n}: values that are not finite" for n, a in tree.items() if not mx.all(mx.isfinite(a)).item()]
    if wrong:
        raise AdapterMismatch(f"the adapter at {folder} does not fit the model: " + "; ".join(wrong))
    return {n: tree[n] for n in expected}


def _config(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise AdapterMismatch(f"{folder}: found no such folder; expected an adapter folder, e.g. runs/RUN/adapters")
    try:
        verify_folder(folder)
        config: dict[str, Any] = json.loads((folder / CONFIG).read_text("utf-8"))
    except (BrokenFolder, OSError, ValueError) as error:
        raise AdapterMismatch(f"{folder} is not a whole adapter folder: {error}") from error
    return config


def own_config(folder: Path) -> dict[str, Any]:
    """base_hash, settings and adapter_hash of a whole folder that `save_adapter` wrote. Raises AdapterMismatch."""
    own = _config(folder).get("icarus")
    if not isinstance(own, dict) or not {"base_hash", "settings"} <= set(own):
        raise AdapterMismatch(
            f'{folder / CONFIG} has no "icarus" entry with base_hash and settings, so the base it was trained on is '
            "unknown; expected an adapter written by save_adapter"
        )
    return own


def rank_axis(name: str, array: mx.array) -> int:
    """LoRALinear: A (in, r), B (r, out). LoRASwitchLinear: A (experts, r, in), B (experts, out, r)."""
    is_a = name.endswith("lora_a")
    if array.ndim == 3:
        return 1 if is_a else 2
    return 1 if is_a else 0


def rank_of(name: str, array: mx.array) -> int:
    """The rank of an A or a B, by its name and shape."""
    return int(array.shape[rank_axis(name, array)])


def padded(name: str, array: mx.array, rank: int) -> mx.array:
    """An A or a B with zeros up to `rank`, which leaves the product B A as it is."""
    widths = [(0, 0)] * array.ndim
    widths[rank_axis(name, array)] = (0, rank - rank_of(name, array))
    return mx.pad(array, widths)


def cut(name: str, array: mx.array, shape: tuple[int, ...]) -> mx.array:
    """Undo the padding, if what is cut away is zero; otherwise the array as it is, for `_mistakes` to report."""
    if array.ndim != len(shape):
        return array
    axis = rank_axis(name, array)
    rank = shape[axis]
    kept, rest = mx.split(array, [min(rank, array.shape[axis])], axis=axis)
    return array if mx.any(rest != 0).item() else kept


__all__ = [
    "AdapterMismatch",
    "AdapterSets",
    "FrozenSetChanged",
    "Tree",
    "adapter_settings",
    "cut",
    "load_adapter",
    "own_config",
    "padded",
    "rank_axis",
    "rank_of",
    "save_adapter",
    "tree_hash",
]
