"""Adapters of other libraries in Icarus's own form: one scale and two ranks, and the same product as before.

Elsewhere each module has a rank and a factor of its own, y = W x + f B A x. Icarus has one rank for attention, one for
the MLP, one scale s, and adapts every kind of module in each of its layers. With A (inputs, r) and B (r, outputs),

    A' = [A 0],   B' = [(f / s) B; 0],   so that   s A' B' = f A B

s is the factor that most modules have; where f = s, arrays keep their bits, elsewhere B is rounded to float32 once. A
module that the other library left alone gets zeros. What is zero in both A and B stays so in training: no gradient
reaches it. Zeros at the end of a rank are cut off, so that what was padded for mlx-lm comes back as it was.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import mlx.nn as nn
import numpy as np
from mlx_lm.models.switch_layers import QuantizedSwitchLinear, SwitchLinear

from agents.lm.adapters import CONFIG, WEIGHTS, AdapterMismatch, Tree, cut, own_config, padded, rank_axis, tree_hash
from agents.lm.architecture import is_attention, layers_of, modules_by_kind
from agents.lm.device import mx
from agents.lm.files import MANIFEST, load_arrays, verify_folder
from agents.lm.lora import LoraSettings
from agents.lm.models import LoadedModel

SHOWN = 8  # mistakes of one kind that are written out; the rest is counted


class InterchangeError(ValueError):
    """An adapter that cannot be brought over: the message lists everything that stands against it."""


class Adapter(NamedTuple):
    """What an adapter folder holds; `save_adapter(folder, *adapter)` writes it.

    tree: flat, A and B of each module at its own rank. base_hash: `LoadedModel.base_hash`.
    """

    tree: Tree
    settings: LoraSettings
    base_hash: str


class Foreign(NamedTuple):
    """One module elsewhere: y = W x + factor B A x. a (inputs, r), b (r, outputs); experts as LoRASwitchLinear has them."""

    a: mx.array
    b: mx.array
    factor: float


class Imported(NamedTuple):
    """An adapter that was brought over, and a sentence for each thing that is not as it was elsewhere."""

    adapter: Adapter
    notes: tuple[str, ...]


def read_adapter(folder: Path | str) -> Adapter:
    """Read an adapter written by `save_adapter` without its model: the ranks of its settings undo the padding.

    Raises AdapterMismatch where files have changed or what is read is not what was saved.
    """
    folder = Path(folder)
    own = own_config(folder)
    settings = LoraSettings(**own["settings"])
    tree = {}
    for name, array in load_arrays(folder / WEIGHTS).items():
        shape, attends = list(array.shape), is_attention(name.rpartition(".")[0])
        shape[rank_axis(name, array)] = settings.attention_rank if attends else settings.mlp_rank
        tree[name] = cut(name, array, tuple(shape))
    if tree_hash(tree) != own.get("adapter_hash"):
        raise AdapterMismatch(
            f"{folder}: the arrays at ranks {settings.attention_rank} and {settings.mlp_rank} are not those that were "
            "saved; expected an adapter written by save_adapter. Try an older copy"
        )
    return Adapter(tree, settings, own["base_hash"])


def assemble(folder: Path, loaded: LoadedModel, found: dict[str, Foreign], wrong: list[str]) -> Imported:
    """`found` (full module path -> what it has) as an adapter for `loaded`, a plain base; float32.

    wrong: what was wrong with `folder` before. Raises InterchangeError with that and with every path, shape, factor
    and value that does not fit.
    """
    known, modules = places(loaded.model), dict(loaded.model.named_modules())
    wrong = wrong + counted(
        [f"{p}: not a module that Icarus adapts in a {loaded.model.model_type}" for p in found if p not in known]
    )
    wrong += counted([m for p, one in found.items() if p in known for m in _mistakes(p, one, modules[p])])
    if not found:
        wrong.append("found no pair of A and B; expected one for each module")
    if wrong:
        raise InterchangeError("\n  - ".join([f"{folder} cannot be brought over:", *wrong]))
    used = {path: _used(one) for path, one in found.items()}
    scale = Counter(one.factor for one in found.values()).most_common(1)[0][0]
    attention, mlp = (max([1, *(r for p, r in used.items() if is_attention(p) == k)]) for k in (True, False))
    layers = sorted({known[path] for path in found})
    tree: Tree = {}
    for path in sorted(p for p, layer in known.items() if layer in layers):
        rank = attention if is_attention(path) else mlp
        if path in found:
            a, b = _pair(found[path], used[path], scale)
        else:
            a, b = (mx.zeros(shape) for shape in _shapes(modules[path], rank))
        tree |= {f"{path}.lora_a": padded("lora_a", a, rank), f"{path}.lora_b": padded("lora_b", b, rank)}
    mx.eval(tree)
    settings = LoraSettings(layers=layers, attention_rank=attention, mlp_rank=mlp, scale=scale)
    return Imported(Adapter(tree, settings, loaded.base_hash), tuple(_notes(found, used, tree, settings)))


def _notes(found: dict[str, Foreign], used: dict[str, int], tree: Tree, settings: LoraSettings) -> list[str]:
    rank = {path: settings.attention_rank if is_attention(path) else settings.mlp_rank for path in found}
    told = {
        f"had another factor than {settings.scale:g}: folded into B": sum(
            not _same(one.factor, settings.scale) for one in found.values()
        ),
        "had a smaller rank: filled up with zeros": sum(used[path] < rank[path] for path in found),
        "of these layers had no adapter: zero, and zero after any training": len(tree) // 2 - len(found),
    }
    return [f"{count} module{'s' if count > 1 else ''} {what}" for what, count in told.items() if count]


def places(model: nn.Module) -> dict[str, int]:
    """Full path of every module that may be adapted -> number of its layer, in the order of the layers."""
    return {
        path: layer
        for layer in range(len(layers_of(model)))
        for paths in modules_by_kind(model, layer).values()
        for path in paths
    }


def _shapes(base: nn.Module, rank: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Shapes of A and B at a rank."""
    if isinstance(base, SwitchLinear | QuantizedSwitchLinear):
        return (base.num_experts, rank, base.input_dims), (base.num_experts, base.output_dims, rank)
    outputs, inputs = base.weight.shape
    inputs = inputs * 32 // base.bits if isinstance(base, nn.QuantizedLinear) else inputs
    return (inputs, rank), (rank, outputs)


def _mistakes(path: str, one: Foreign, base: nn.Module) -> list[str]:
    rank = one.a.shape[1] if one.a.ndim > 1 else 0
    a, b = _shapes(base, rank)
    if (one.a.shape, one.b.shape) != (a, b) or not rank:
        return [f"{path}: A {one.a.shape} and B {one.b.shape}; expected {a} and {b}, inputs and outputs of the base"]
    if not (np.isfinite(one.factor) and one.factor > 0):
        return [f"{path}: a factor of {one.factor} on the product; expected one above 0"]
    finite = mx.all(mx.isfinite(one.a)).item() and mx.all(mx.isfinite(one.b)).item()
    return [] if finite else [f"{path}: values that are not finite"]


def _used(one: Foreign) -> int:
    """The rank without the zeros at its end, at least 1."""
    a, b = (
        mx.any(array != 0, axis=[i for i in range(array.ndim) if i != rank_axis(leaf, array)])
        for leaf, array in (("lora_a", one.a), ("lora_b", one.b))
    )
    return int(np.flatnonzero(np.array(a | b)).max(initial=0)) + 1


def _pair(one: Foreign, rank: int, scale: float) -> tuple[mx.array, mx.array]:
    """A and B at `rank` in float32; B with what of the factor is not `scale`'s."""
    a, b = one.a[:, :rank], one.b[..., :rank] if one.b.ndim == 3 else one.b[:rank]
    a, b = a.astype(mx.float32), b.astype(mx.float32)
    return a, b if _same(one.factor, scale) else b * (one.factor / scale)


def _same(factor: float, scale: float) -> bool:
    """Equal but for float64's rounding of an alpha / r."""
    return math.isclose(factor, scale, rel_tol=1e-12)


def read_config(folder: Path) -> dict[str, Any]:
    """adapter_config.json of a folder. Raises InterchangeError where none can be read, BrokenFolder by a manifest."""
    if not folder.is_dir():
        raise InterchangeError(f"{folder}: found no such folder; expected one with {CONFIG} and a safetensors file")
    if (folder / MANIFEST).exists():
        verify_folder(folder)
    try:
        found = json.loads((folder / CONFIG).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InterchangeError(f"{folder / CONFIG}: cannot be read ({error}); expected an adapter's config") from error
    if not isinstance(found, dict):
        raise InterchangeError(f"{folder / CONFIG}: found a {type(found).__name__}; expected an object of settings")
    return found


def read_pairs(path: Path, a: str, b: str, wrong: list[str]) -> dict[str, tuple[mx.array, mx.array]]:
    """Name -> (A, B) of a safetensors file in which A's names end in `a` and B's in `b`; what is no pair goes to `wrong`."""
    try:
        arrays = load_arrays(path)
    except (OSError, RuntimeError, ValueError) as error:
        pickled = path.with_suffix(".bin")
        hint = f"{pickled.name} is a pickle and not read; save it as safetensors" if pickled.exists() else f"{error}"
        wrong.append(f"{path.name}: cannot be read: {hint}")
        return {}
    names = [name.removesuffix(a) for name in arrays if name.endswith(a) and name.removesuffix(a) + b in arrays]
    pairs = {name: (arrays.pop(name + a), arrays.pop(name + b)) for name in names}
    wrong += counted([f"{name}: expected only pairs of *{a} and *{b}" for name in arrays])
    return pairs


def expect_base(base_hash: object, loaded: LoadedModel, wrong: list[str]) -> None:
    """An adapter that knows its base must be for this one."""
    if base_hash not in (None, loaded.base_hash):
        wrong.append(f"trained on the base {str(base_hash)[:12]}..., {loaded.name} is {loaded.base_hash[:12]}...")


def counted(mistakes: list[str]) -> list[str]:
    """The first few, and how many more there are."""
    more = len(mistakes) - SHOWN
    return mistakes if more <= 0 else [*mistakes[:SHOWN], f"and {more} more like these"]
