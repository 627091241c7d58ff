"""What backward has to keep of a training step with a shared prompt: an estimate from the architecture's shapes.

K responses of T tokens after P tokens of prompt pass the layers as n = P + K (T - 1) tokens. From the first adapted layer up, a
layer's keys, values and softmax are kept for

    contexts  P + K (P + T - 1)  keys        scores  P² + K (T - 1) (P + T - 1)  for each head

since MLX differentiates attention unfused, on every device, and K copies of the prompt's keys stand beside the branches'. What
is kept of a token was counted on random models of every architecture by evaluating a loss and holding its gradient back; what
the counts leave out (masks, rotary tables, scalars of norms) is a hundredth. MLX frees and reuses in an order of its own, so the
peak is an estimate: docs/memory.md has it beside measurements.

    peak = states + Σ layers from the first adapted one + max(logits, 3 scores of the top layer, the top layer once more)

The head's backward ends before a layer's begins, so only the larger of what they need for themselves counts.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import mlx.nn as nn

from agents.lm.architecture import KINDS, layers_of, modules_by_kind
from agents.lm.cache_sizes import outputs
from agents.lm.lora import slots

FLOAT = 4  # bytes: adapters, their products, logits and a router's scores are float32 in every model
SWIGLU, GELU = (
    4,
    6,
)  # arrays of the inner width that a gated unit keeps: gate, σ(gate), silu(gate), up; and of GELU's polynomial
SCORES_AT_ONCE = 3  # further arrays like one layer's softmax that its own backward makes


@dataclass(frozen=True)
class Load:
    """What passes a layer. tokens: n. contexts: keys, each row's counted. scores: queries times keys, for one head."""

    tokens: int
    contexts: int
    scores: int


@dataclass(frozen=True)
class Step:
    """A training step. prompt: P. rows: K responses. longest: T tokens of the longest response, the stop among them."""

    prompt: int
    rows: int
    longest: int

    @property
    def load(self) -> Load:
        """The prompt's tokens and the branches', whose last tokens are only predicted."""
        branch, keys = self.longest - 1, self.prompt + self.longest - 1
        contexts = self.prompt + self.rows * keys * (branch > 0)
        return Load(self.prompt + self.rows * branch, contexts, self.prompt**2 + self.rows * branch * keys)


@dataclass(frozen=True)
class Widths:
    """Numbers that a layer keeps. token: for each token, in the model's type. context: for each key. heads: rows of scores for
    each query. router: for each token, float32. adapters: (inputs, which input, rank) of each adapted module, inputs and rank
    times the experts that a token visits."""

    token: int
    context: int
    heads: int
    router: int
    adapters: tuple[tuple[int, str, int], ...]


def widths(model: nn.Module) -> list[Widths]:
    """Of each layer of a model with adapters, first to last."""
    present, adapters = dict(model.named_modules()), slots(model)
    return [_widths(layer, modules_by_kind(model, i), present, adapters) for i, layer in enumerate(layers_of(model))]


def _widths(layer: Any, kinds: dict[str, list[str]], present: dict[str, Any], adapters: dict[str, Any]) -> Widths:
    """token = 2 d (4 d with Gemma's norms after each part) + attention + Σ units visits (c f + [y of experts] d)."""
    d = int(layer.input_layernorm.weight.shape[0])
    attention, context, heads = _attention(layer.self_attn, kinds, present)
    after = "pre_feedforward_layernorm" in layer  # Gemma's: norms after attention and after the unit, and GELU
    units = router = 0
    for path in kinds["gate"]:
        visits, experts = _visits(layer, path, present[path])
        units += visits * ((GELU if after else SWIGLU) * outputs(present[path]) + d * bool(experts))
        router += 2 * experts
    found = [_adapter(layer, path, present[path], adapters) for path in _once(kinds) if f"{path}.lora_a" in adapters]
    return Widths((4 if after else 2) * d + attention + units, context, heads, router, tuple(found))


def _attention(attention: Any, kinds: dict[str, list[str]], present: dict[str, Any]) -> tuple[int, int, int]:
    """(of a token: queries, and what enters norms of queries, keys and latents; of a key: key and value; heads)."""
    queries = outputs(present[kinds["q"][-1]])
    if (
        "embed_q" in attention
    ):  # latent attention: keys and values of all heads are made from the latent, rotary part shared
        heads, rank = int(attention.num_heads), int(attention.kv_lora_rank)
        query_rank = outputs(present[kinds["q"][0]]) if len(kinds["q"]) > 1 else 0
        made = heads * (attention.qk_nope_head_dim + attention.v_head_dim) + attention.qk_rope_head_dim
        return queries + query_rank + rank, int(made), heads
    keys, values = (outputs(present[kinds[kind][0]]) for kind in ("k", "v"))
    normed = queries + keys if "q_norm" in attention else 0
    names = ("n_heads", "num_attention_heads")
    return queries + normed, keys + values, int(next(getattr(attention, n) for n in names if hasattr(attention, n)))


def _visits(layer: Any, path: str, module: Any) -> tuple[int, int]:
    """(experts that a token visits, all experts), (1, 0) for a unit that every token passes."""
    base = module.get("linear", module)
    if base.weight.ndim != 3:
        return 1, 0
    holder = layer[path.split(".")[-3]]  # ...layers.N.HOLDER.switch_mlp.gate_proj
    return int(holder.num_experts_per_tok), int(base.weight.shape[0])


def _once(kinds: dict[str, list[str]]) -> list[str]:
    return list(dict.fromkeys(path for kind in KINDS for path in kinds[kind]))


def _adapter(layer: Any, path: str, module: Any, adapters: dict[str, Any]) -> tuple[int, str, int]:
    """Modules that read one and the same array name it alike: q, k and v of a layer; gate and up of a unit."""
    holder, _, name = path.rpartition(".")
    a = module.lora_a.shape
    inputs, rank = (a[2], a[1]) if len(a) == 3 else a
    visits = _visits(layer, path, module)[0] if len(a) == 3 else 1
    shares = name not in ("o_proj", "down_proj", "q_b_proj")
    return visits * inputs, holder if shares else path, visits * rank


def layer_bytes(kept: Widths, load: Load, item: int) -> int:
    """Bytes that backward needs of one layer; item: bytes of a number of the model.

    n · (token · item + router · 4 + ranks · 4 + inputs of adapters) + (contexts · context + heads · scores) · item

    An adapter is float32. In a float32 model its input is an array that others read as well; in another each adapted module
    keeps a float32 copy of its own.
    """
    shared = {which: inputs for inputs, which, _ in kept.adapters}
    inputs = sum(shared.values()) if item == FLOAT else sum(inputs for inputs, _, _ in kept.adapters)
    ranks = sum(rank for _, _, rank in kept.adapters)
    each = kept.token * item + FLOAT * (kept.router + ranks + inputs)
    return load.tokens * each + (load.contexts * kept.context + kept.heads * load.scores) * item


def logit_bytes(vocabulary: int, step: Step, item: int) -> int:
    """Bytes of logits and their gradients at once: K T V (3 · 4), and twice in the model's own type where that is another."""
    own = 0 if item == FLOAT else 2 * item
    return step.rows * step.longest * vocabulary * (3 * FLOAT + own)


def activation_bytes(model: nn.Module, step: Step, item: int) -> tuple[int, int]:
    """(bytes of states and layers, bytes of what the head or the top layer needs beside them) at the peak of a step's backward.

    states: what entered the first adapted layer, once for all losses. Adapters and their gradients are not among them.
    """
    every = widths(model)
    first = min(i for i, kept in enumerate(every) if kept.adapters)
    layers = [layer_bytes(kept, step.load, item) for kept in every[first:]]
    states = step.load.tokens * width(model) * item if first else 0
    scores = SCORES_AT_ONCE * every[-1].heads * step.load.scores * item
    return states + sum(layers), max(logit_bytes(vocabulary(model), step, item), scores, layers[-1])


def pass_bytes(model: nn.Module, load: Load, item: int) -> int:
    """Bytes that one layer makes for itself in a pass without gradients, at most: what its backward would keep, adapters aside."""
    return max(layer_bytes(replace(kept, adapters=()), load, item) for kept in widths(model))


def width(model: nn.Module) -> int:
    """Numbers of a hidden state."""
    layer: Any = layers_of(model)[0]
    return int(layer.input_layernorm.weight.shape[0])


def vocabulary(model: nn.Module) -> int:
    """Words that the head knows."""
    return next(int(m.weight.shape[0]) for name, m in model.named_modules() if name.endswith("embed_tokens"))
