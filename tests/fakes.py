"""Fakes the tests are written with: tiny random models of every architecture and a byte tokenizer. No files."""

from __future__ import annotations

from typing import Any

from agents.lm.device import mx  # first: it puts a fast BLAS in place before mlx.core is imported

# isort: split
from mlx.utils import tree_flatten, tree_unflatten
from mlx_lm.utils import _get_classes

from agents.lm.models import LoadedModel, weights_hash

SPECIAL = ("<|user|>", "<|assistant|>", "<|system|>", "<|end|>")
VOCABULARY = 256 + len(SPECIAL)
END = VOCABULARY - 1

_SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 6,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "rms_norm_eps": 1e-5,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 512,
    "rope_theta": 10000.0,
    "tie_word_embeddings": True,
}
_GEMMA = {"sliding_window": 8, "sliding_window_pattern": 3, "query_pre_attn_scalar": 8}
_EXPERTS = {
    "moe_intermediate_size": 16,
    "n_routed_experts": 4,
    "num_experts_per_tok": 2,
    "n_shared_experts": 1,
    "n_group": 1,
    "topk_group": 1,
    "routed_scaling_factor": 1.0,
    "first_k_dense_replace": 1,
    "norm_topk_prob": True,
    "tie_word_embeddings": False,
}
CONFIGS: dict[str, dict[str, Any]] = {
    "llama": _SMALL,
    "gemma3_text": _SMALL | _GEMMA,
    "gemma3": {"text_config": _SMALL | _GEMMA | {"model_type": "gemma3_text"}, "vocab_size": VOCABULARY},
    "minimax": _SMALL
    | {
        "num_experts_per_tok": 2,
        "num_local_experts": 4,
        "shared_intermediate_size": 0,
        "rotary_dim": 4,
        "tie_word_embeddings": False,
    },
    "glm4_moe": _SMALL
    | _EXPERTS
    | {"rope_scaling": None, "use_qk_norm": True, "attention_bias": False, "partial_rotary_factor": 0.5},
    "glm4_moe_lite": _SMALL
    | _EXPERTS
    | {
        "num_key_value_heads": 4,
        "kv_lora_rank": 8,
        "q_lora_rank": 12,
        "qk_rope_head_dim": 4,
        "qk_nope_head_dim": 8,
        "v_head_dim": 8,
    },
}


class ByteTokenizer:
    """A token for each byte, and four special tokens: three roles and the end of a turn."""

    all_special_tokens = SPECIAL
    eos_token_id = END
    eos_token_ids = frozenset({END})

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        """Bytes of the text; a special token written out becomes its id, as in real tokenizers."""
        for i, token in enumerate(SPECIAL):
            before, found, after = text.partition(token)
            if found:
                return [*self.encode(before), 256 + i, *self.encode(after)]
        return list(text.encode())

    def decode(self, tokens: list[int], skip_special_tokens: bool = False) -> str:
        """Text of the tokens; bytes that are no UTF-8 become U+FFFD."""
        parts = [bytes([t]) if t < 256 else SPECIAL[t - 256].encode() * (not skip_special_tokens) for t in tokens]
        return b"".join(parts).decode(errors="replace")

    def apply_chat_template(
        self, messages: list[dict[str, str]], *, add_generation_prompt: bool = False, tokenize: bool = True
    ) -> list[int] | str:
        """<|role|>content<|end|> for each message, then <|assistant|>."""
        text = "".join(f"<|{m['role']}|>{m['content']}<|end|>" for m in messages)
        text += "<|assistant|>" if add_generation_prompt else ""
        return self.encode(text) if tokenize else text


def tiny(model_type: str = "llama", seed: int = 0, **changes: Any) -> LoadedModel:
    """A frozen random model of an architecture in CONFIGS: width 32, 6 layers, vocabulary 260. Seeded."""
    config = {"model_type": model_type, **CONFIGS[model_type], **changes}
    model_class, args = _get_classes(config)
    model = model_class(args.from_dict(config))
    flat = dict(tree_flatten(model.parameters()))
    keys = mx.random.split(mx.random.key(seed), len(flat))
    drawn = [(name, _drawn(name, flat[name], key)) for name, key in zip(sorted(flat), keys, strict=True)]
    model.update(tree_unflatten(drawn))
    model.freeze()
    model.eval()
    mx.eval(model.parameters())
    return LoadedModel(model, ByteTokenizer(), f"tiny-{model_type}", weights_hash(model))


def tiny_llama(seed: int = 0, *, layers: int = 6) -> LoadedModel:
    """A random llama with a byte tokenizer, frozen."""
    return tiny("llama", seed, num_hidden_layers=layers)


def _drawn(name: str, like: mx.array, key: mx.array) -> mx.array:
    """Wide enough that every module matters to the output; norms near one (near zero in Gemma, which adds one)."""
    noise = mx.random.normal(like.shape, key=key)
    if "norm" in name:
        return like + 0.05 * noise
    return noise * (0.7 if "embed_tokens" in name or like.ndim < 2 else 1.2 / like.shape[-1] ** 0.5)
