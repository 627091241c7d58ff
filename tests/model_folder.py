"""A tiny random model as a folder that mlx-lm opens, with a tokenizer that has a token for each character it knows."""

from pathlib import Path
from typing import Any

import fakes
import mlx.nn as nn
from mlx_lm.tokenizer_utils import TokenizerWrapper
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from agents.lm.fuse import write_model
from agents.lm.models import OpenedModel

LETTERS = [chr(c) for c in range(32, 127)]
TEMPLATE = "{% for m in messages %}{{ m['content'] }}{% endfor %}"


def tokenizer() -> PreTrainedTokenizerFast:
    """One token for each printable ASCII character, and an end."""
    vocabulary = {letter: i for i, letter in enumerate(LETTERS)} | {"<end>": fakes.END}
    whole = Tokenizer(models.WordLevel(vocabulary, unk_token=" "))
    whole.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    made = PreTrainedTokenizerFast(tokenizer_object=whole, eos_token="<end>", unk_token=" ")
    made.chat_template = TEMPLATE
    return made


def model_folder(folder: Path, model_type: str = "llama", *, bits: int | None = None, **changes: Any) -> Path:
    """Write a model of fakes.CONFIGS, quantised in groups of 32 where `bits` says so; returns `folder`."""
    config = {"model_type": model_type, **fakes.CONFIGS[model_type], **changes}
    model = fakes.tiny(model_type, **changes).model
    if bits is not None:
        fits = lambda path, module: hasattr(module, "to_quantized") and module.weight.shape[-1] % 32 == 0  # noqa: E731
        nn.quantize(model, 32, bits, class_predicate=fits)
        config["quantization"] = {"group_size": 32, "bits": bits}
    write_model(folder, OpenedModel(model, TokenizerWrapper(tokenizer()), config, folder))
    return folder
