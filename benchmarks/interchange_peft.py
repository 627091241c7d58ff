"""The PEFT side of benchmarks/interchange.py: runs where torch, transformers and peft are, and never imports this project.

python benchmarks/interchange_peft.py make FOLDER    tiny random bases by transformers, adapters by PEFT, their logits
python benchmarks/interchange_peft.py read FOLDER    logits of what Icarus has exported there
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.numpy import save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

VOCABULARY = 96
TOKENS = torch.tensor([[5, 17, 80, 3, 44, 9, 61, 2, 33, 90, 12, 7]])
SMALL = {
    "hidden_size": 64, "num_hidden_layers": 6, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2,
    "head_dim": 16, "vocab_size": VOCABULARY, "max_position_embeddings": 256, "tie_word_embeddings": False,
    "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1,
}  # fmt: skip
# transformers 5 keeps these in rope_parameters; mlx-lm reads them where published models have them.
ROPE = {"rope_theta": 10_000.0, "rope_scaling": None}
GEMMA = SMALL | {
    "sliding_window": 8, "query_pre_attn_scalar": 16, "tie_word_embeddings": True,
    "layer_types": 2 * ["sliding_attention", "sliding_attention", "full_attention"], "sliding_window_pattern": 3,
}  # fmt: skip
GLM = SMALL | ROPE | {
    "moe_intermediate_size": 32, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_shared_experts": 1, "n_group": 1,
    "topk_group": 1, "routed_scaling_factor": 1.0, "norm_topk_prob": True, "first_k_dense_replace": 1,
}  # fmt: skip
VISION = {
    "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "image_size": 28,
    "patch_size": 14,
}  # fmt: skip
BASES: dict[str, dict[str, Any]] = {
    "llama": SMALL | ROPE,
    "gemma3_text": GEMMA,
    "gemma3": {
        "text_config": GEMMA, "vision_config": VISION, "vocab_size": VOCABULARY, "mm_tokens_per_image": 4, "image_token_index": 4,
    },
    "minimax_m2": SMALL | ROPE
    | {"num_local_experts": 4, "num_experts_per_tok": 2, "rotary_dim": 8, "shared_intermediate_size": 0},
    "glm4_moe": GLM | {"use_qk_norm": True, "partial_rotary_factor": 0.5, "attention_bias": False},
    "glm4_moe_lite": GLM
    | {
        "num_key_value_heads": 4, "kv_lora_rank": 16, "q_lora_rank": 24, "qk_rope_head_dim": 8, "qk_nope_head_dim": 16,
        "v_head_dim": 16, "rms_norm_eps": 1e-6,  # transformers has this in the two inner norms whatever the config says
    },
}  # fmt: skip


def adapter_config(kind: str) -> LoraConfig:
    """Ranks and alphas by pattern, two layers by number; the second kind by expression and rank-stabilised."""
    if kind in ("gemma3", "glm4_moe_lite"):  # an expression: a vision tower has a q_proj too
        names = "q_a_proj|q_b_proj|kv_a_proj_with_mqa|q_proj|k_proj|o_proj"
        where = rf"model\.(language_model\.)?layers\.[23]\.self_attn\.({names})"
        return LoraConfig(r=6, lora_alpha=3, use_rslora=True, target_modules=where)
    dense = [] if kind in ("minimax_m2", "glm4_moe") else ["up_proj", "down_proj"]
    return LoraConfig(
        r=8,
        lora_alpha=12,
        target_modules=["q_proj", "k_proj", *dense],
        rank_pattern={"down_proj": 3, r"layers\.3\.self_attn\.k_proj": 2},
        alpha_pattern={"down_proj": 4.5},
        layers_to_transform=[1, 3],
        layers_pattern="layers",
    )


def tokenizer() -> PreTrainedTokenizerFast:
    """A word for each token: only what a model folder must have."""
    words = Tokenizer(WordLevel({f"w{i}": i for i in range(VOCABULARY)}, unk_token="w2"))
    return PreTrainedTokenizerFast(tokenizer_object=words, bos_token="w0", eos_token="w1", unk_token="w2")


def logits(model: torch.nn.Module) -> np.ndarray:
    """Logits (1, time, vocabulary) of TOKENS in float32."""
    with torch.no_grad():
        return np.ascontiguousarray(model(input_ids=TOKENS).logits.float().numpy())


def widen(model: torch.nn.Module, only: str = "") -> None:
    """Random weights large enough that every module matters to the output."""
    for name, weight in model.named_parameters():
        if only in name and weight.ndim > 1:
            torch.nn.init.normal_(weight, std=(0.5 if "embed" in name else 1.2) / weight.shape[-1] ** 0.5)


def base(folder: Path) -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def make(root: Path) -> None:
    """FOLDER/KIND/base, /peft (an adapter by PEFT) and /torch.safetensors (logits: base, peft)."""
    for kind, settings in BASES.items():
        torch.manual_seed(7)
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **settings), dtype=torch.float32)
        widen(model)
        model.save_pretrained(root / kind / "base")
        written = json.loads((root / kind / "base" / "config.json").read_text("utf-8"))
        (root / kind / "base" / "config.json").write_text(json.dumps(settings | written), "utf-8")
        tokenizer().save_pretrained(root / kind / "base")
        plain = base(root / kind / "base")
        found = {"base": logits(plain)}
        adapted = get_peft_model(plain, adapter_config(kind))
        widen(adapted, "lora_B")
        found["peft"] = logits(adapted.eval())
        adapted.save_pretrained(root / kind / "peft")
        save_file(found | {"tokens": TOKENS.numpy()}, root / kind / "torch.safetensors")


def read(root: Path) -> None:
    """FOLDER/KIND/exported.safetensors: logits of FOLDER/KIND/exported, an adapter by Icarus, on the base."""
    for folder in sorted(root.iterdir()):
        adapted = PeftModel.from_pretrained(base(folder / "base"), str(folder / "exported")).eval()
        save_file({"exported": logits(adapted)}, folder / "exported.safetensors")


if __name__ == "__main__":
    {"make": make, "read": read}[sys.argv[1]](Path(sys.argv[2]))
