"""Where each architecture keeps its layers, and in them the seven kinds of module that adapters go to.

GLM-4.7 Flash has latent attention: q is a pair of projections, and one projection makes both k and v. Mixtures of
experts keep gate, up and down in `switch_mlp` (every expert at once), GLM beside shared experts. Routers are never
adapted.
"""

from __future__ import annotations

from functools import reduce
from typing import Any

import mlx.nn as nn

from agents.lm.device import mx

KINDS = ("q", "k", "v", "o", "gate", "up", "down")
ATTENTION = ("q", "k", "v", "o")

_PLAIN = {kind: [f"self_attn.{kind}_proj"] for kind in ATTENTION}
_LATENT = {
    "q": ["self_attn.q_proj", "self_attn.q_a_proj", "self_attn.q_b_proj"],
    "k": ["self_attn.kv_a_proj_with_mqa"],
    "v": ["self_attn.kv_a_proj_with_mqa"],
    "o": ["self_attn.o_proj"],
}


def _mlp(*holders: str) -> dict[str, list[str]]:
    return {kind: [f"{holder}.{kind}_proj" for holder in holders] for kind in ("gate", "up", "down")}


# model type -> (path of the language model's body, kind -> paths a layer may have; those it has are used)
_MAP: dict[str, tuple[str, dict[str, list[str]]]] = {
    "llama": ("model", _PLAIN | _mlp("mlp")),
    "gemma3": ("language_model.model", _PLAIN | _mlp("mlp")),
    "gemma3_text": ("model", _PLAIN | _mlp("mlp")),
    "minimax": ("model", _PLAIN | _mlp("block_sparse_moe.switch_mlp")),
    "glm4_moe": ("model", _PLAIN | _mlp("mlp", "mlp.switch_mlp", "mlp.shared_experts")),
    "glm4_moe_lite": ("model", _LATENT | _mlp("mlp", "mlp.switch_mlp", "mlp.shared_experts")),
}
_ALIASES = {"minimax_m2": "minimax", "mistral": "llama"}  # as mlx-lm maps them

KNOWN = tuple(_MAP)
_ATTENTION_PATHS = {path for _, inside in _MAP.values() for kind in ATTENTION for path in inside[kind]}


class UnknownArchitecture(ValueError):
    """A model type without an entry in the map. The message lists the known ones."""


def _entry(model: nn.Module) -> tuple[str, dict[str, list[str]]]:
    found = getattr(model, "model_type", None)
    entry = _MAP.get(_ALIASES.get(str(found), str(found)))
    if entry is None:
        raise UnknownArchitecture(
            f"model type {found!r} has no entry in agents/lm/architecture.py; known are {', '.join(KNOWN)}. "
            "Add its layer path and module names there."
        )
    return entry


def _at(module: Any, path: str) -> Any:
    """The module at a dotted path, or None."""
    return reduce(lambda m, name: None if m is None else getattr(m, name, None), path.split("."), module)


def layers_path(model: nn.Module) -> str:
    """Dotted path of the list of layers, e.g. "model.layers"."""
    return f"{_entry(model)[0]}.layers"


def layers_of(model: nn.Module) -> list[nn.Module]:
    """The transformer layers, first to last: the model's own list, not a copy."""
    layers: list[nn.Module] = _at(model, layers_path(model))
    return layers


def modules_by_kind(model: nn.Module, layer: int) -> dict[str, list[str]]:
    """kind ("q" ... "down") -> full module paths in layer number `layer` (from 0). A path may serve two kinds."""
    root, inside, module = layers_path(model), _entry(model)[1], layers_of(model)[layer]
    return {
        kind: [f"{root}.{layer}.{path}" for path in inside[kind] if _at(module, path) is not None] for kind in KINDS
    }


def is_attention(path: str) -> bool:
    """Whether a full module path is one of the attention's, by its name alone: for adapters without their model."""
    return ".".join(path.split(".")[-2:]) in _ATTENTION_PATHS


def hidden_states(model: nn.Module, tokens: mx.array, cache: list[Any] | None = None) -> mx.array:
    """Final hidden states (batch, time, width) of tokens (batch, time), after the last norm, before the head."""
    return _at(model, _entry(model)[0])(tokens, cache=cache)  # by name: MiniMax takes a mask in between


def head(model: nn.Module, hidden: mx.array) -> mx.array:
    """Logits (..., vocabulary) in float32 of hidden states (..., width)."""
    body_path = _entry(model)[0]
    owner = _at(model, body_path.rpartition(".")[0]) if "." in body_path else model
    logits = owner.lm_head(hidden) if "lm_head" in owner else _at(model, body_path).embed_tokens.as_linear(hidden)
    return logits.astype(mx.float32)
