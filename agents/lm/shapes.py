"""What arithmetic needs to know of a model with adapters: widths, heads and experts, read from its modules, not from its weights.

It reads a blueprint (`agents.lm.blueprint`) and a loaded model alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import mlx.nn as nn
from mlx_lm.models.cache import make_prompt_cache

from agents.lm.architecture import KINDS, layers_of, modules_by_kind
from agents.lm.lora import LEAVES, flatten, slots

SWIGLU, GELU = (
    4,
    6,
)  # arrays of the inner width that a gated unit keeps: gate, σ(gate), silu(gate), up; and of GELU's polynomial


@dataclass(frozen=True)
class Layer:
    """Numbers of one layer. kept: of a token in its cache. window: newest tokens that the cache keeps, None for all. In a training
    step: token: of each token, in the model's type. context: of each key. heads: rows of scores for each query. router: of each
    token, float32. adapters: (inputs, which input, rank) of each adapted module, inputs and rank times the experts that a token
    visits."""

    kept: int
    window: int | None
    token: int
    context: int
    heads: int
    router: int
    adapters: tuple[tuple[int, str, int], ...]


@dataclass(frozen=True)
class Shapes:
    """A model. width: of a hidden state. item: bytes of a number that tokens are computed in. parameters: of the base, as before it
    was quantised. base: bytes of its parts. adapter: bytes of one set."""

    layers: tuple[Layer, ...]
    width: int
    vocabulary: int
    item: int
    parameters: int
    base: dict[str, int]
    adapter: int

    @property
    def first(self) -> int:
        """The lowest layer with an adapter."""
        return min(i for i, layer in enumerate(self.layers) if layer.adapters)


def shapes_of(model: nn.Module) -> Shapes:
    """The shapes of a model; exact but for the numbers of a training step, which are counted from its architecture."""
    present, adapters, arrays = dict(model.named_modules()), slots(model), flatten(model.parameters())
    windows = [getattr(cache, "max_size", None) for cache in make_prompt_cache(model)]
    layers = [
        _layer(layer, modules_by_kind(model, i), window, present, adapters)
        for i, (layer, window) in enumerate(zip(layers_of(model), windows, strict=True))
    ]
    embedding = next(module for name, module in present.items() if name.endswith("embed_tokens"))
    norm = next(array for name, array in arrays.items() if name.endswith("model.norm.weight"))
    return Shapes(
        layers=tuple(layers),
        width=int(norm.shape[0]),
        vocabulary=int(embedding.weight.shape[0]),
        item=norm.dtype.size,
        parameters=sum(_parameters(name, array, present) for name, array in arrays.items()),
        base=_base(arrays),
        adapter=sum(module[leaf].nbytes for module, leaf in adapters.values()),
    )


def _parameters(name: str, array: Any, present: dict[str, Any]) -> int:
    """Of a quantised module the numbers that its packed words stand for; its scales and biases, and adapters, are none."""
    path, _, leaf = name.rpartition(".")
    quantised = "scales" in present[path]
    if leaf in LEAVES or (quantised and leaf in ("scales", "biases")):
        return 0
    return int(array.size * 32 // present[path].bits if quantised and leaf == "weight" else array.size)


def _base(arrays: dict[str, Any]) -> dict[str, int]:
    """Bytes of the frozen base by part. With b bits in groups of g, each with a scale and a bias of s bytes:

    quantised  size (b / 8 + 2 s / g)        else  size · item
    """
    found = dict.fromkeys(("embedding", "attention", "experts", "other units", "norms and routers", "head"), 0)
    for name, array in arrays.items():
        if name.rpartition(".")[2] not in LEAVES:
            found[_part(name)] += array.nbytes
    return {part: size for part, size in found.items() if size}


def _part(name: str) -> str:
    """Which part of the base an array belongs to."""
    for part, marks in {
        "embedding": ["embed_tokens."],
        "head": ["lm_head."],
        "experts": [".switch_mlp."],
        "norms and routers": ["norm.", ".gate.", "e_score_correction_bias"],
        "attention": [".self_attn."],
    }.items():
        if any(mark in name for mark in marks):
            return part
    return "other units"


def _layer(
    layer: Any, kinds: dict[str, list[str]], window: int | None, present: dict[str, Any], adapters: dict[str, Any]
) -> Layer:
    """token = 2 d (4 d with Gemma's norms after each part) + attention + Σ units visits (c f + [d of an expert's answer])."""
    d = int(layer.input_layernorm.weight.shape[0])
    attention, context, heads = _attention(layer.self_attn, kinds, present)
    after = "pre_feedforward_layernorm" in layer  # Gemma's: norms after attention and after the unit, and GELU
    units = router = 0
    for path in kinds["gate"]:
        visits, experts = _visits(layer, path, present[path])
        units += visits * ((GELU if after else SWIGLU) * _outputs(present[path]) + d * bool(experts))
        router += 2 * experts
    every = dict.fromkeys(path for kind in KINDS for path in kinds[kind])
    return Layer(
        kept=sum(_outputs(present[path]) for path in dict.fromkeys([*kinds["k"], *kinds["v"]])),
        window=window,
        token=(4 if after else 2) * d + attention + units,
        context=context,
        heads=heads,
        router=router,
        adapters=tuple(_adapter(layer, path, present[path]) for path in every if f"{path}.lora_a" in adapters),
    )


def _attention(attention: Any, kinds: dict[str, list[str]], present: dict[str, Any]) -> tuple[int, int, int]:
    """(of a token: queries, and what enters norms of queries, keys and latents; of a key: key and value; heads)."""
    queries = _outputs(present[kinds["q"][-1]])
    if (
        "embed_q" in attention
    ):  # latent attention: keys and values of all heads are made from the latent, rotary part shared
        heads, rank = int(attention.num_heads), int(attention.kv_lora_rank)
        query_rank = _outputs(present[kinds["q"][0]]) if len(kinds["q"]) > 1 else 0
        made = heads * (attention.qk_nope_head_dim + attention.v_head_dim) + attention.qk_rope_head_dim
        return queries + query_rank + rank, int(made), heads
    keys, values = (_outputs(present[kinds[kind][0]]) for kind in ("k", "v"))
    normed = queries + keys if "q_norm" in attention else 0
    names = ("n_heads", "num_attention_heads")
    return queries + normed, keys + values, int(next(getattr(attention, n) for n in names if hasattr(attention, n)))


def _outputs(module: Any) -> int:
    """Numbers that a linear module makes of one token, adapted or not, quantised or not."""
    return int(module.get("linear", module).weight.shape[-2])


def _visits(layer: Any, path: str, module: Any) -> tuple[int, int]:
    """(experts that a token visits, all experts); (1, 0) for a unit that every token passes."""
    weight = module.get("linear", module).weight
    if weight.ndim != 3:
        return 1, 0
    holder = layer[path.split(".")[-3]]  # ...layers.N.HOLDER.switch_mlp.gate_proj
    return int(holder.num_experts_per_tok), int(weight.shape[0])


def _adapter(layer: Any, path: str, module: Any) -> tuple[int, str, int]:
    """Modules that read one and the same array name it alike: q, k and v of a layer; gate and up of a unit."""
    holder, _, name = path.rpartition(".")
    a = module.lora_a.shape
    inputs, rank = (a[2], a[1]) if len(a) == 3 else a
    visits = _visits(layer, path, module)[0] if len(a) == 3 else 1
    return visits * inputs, path if name in ("o_proj", "down_proj", "q_b_proj") else holder, visits * rank
