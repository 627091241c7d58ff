"""A model's shapes with no weights in memory: built from its config.json, never evaluated.

MLX arrays are lazy: a module of 230 billion parameters costs its graph (some 20 MB, half a second) until somebody asks for a
value. So a blueprint is mlx-lm's own model, cast, quantised and adapted by the calls that load a real one, and its shapes are
right by construction. Never evaluate one, nor anything made from it.
"""

from __future__ import annotations

import re
from typing import Any

import mlx.nn as nn
from mlx.utils import tree_map_with_path
from mlx_lm.utils import _get_classes, dequantize_model

from agents.lm.architecture import KNOWN, UnknownArchitecture, layers_of
from agents.lm.device import mx
from agents.lm.lora import LoraSettings, global_generator_untouched, inject

Config = dict[str, Any]
NEEDED = ("torch_dtype", "dtype")  # config.json's names for the floating type of the weights, old and new


class BadDescription(ValueError):
    """A config.json that says too little, or what mlx-lm does not read; the message says what."""


def blueprint(config: Config, *, cpu: bool = False) -> nn.Module:
    """The model of a config.json, frozen, as `load_model` would have it on a GPU or, with `cpu`, on a CPU: there quantised weights
    are expanded to float32.

    What mlx_lm.convert would quantise is quantised: every module that can be, whose inputs are whole groups, where config and
    model do not say otherwise. Raises UnknownArchitecture, BadDescription.
    """
    with global_generator_untouched():
        model = _built(config)
        _head(model, config)
        _cast(model, config)
        _quantise(model, config)
        if cpu:
            model = dequantize_model(model)
            model.set_dtype(mx.float32)
    model.freeze()
    model.eval()
    return model


def adapted(config: Config, lora: LoraSettings, *, cpu: bool = False) -> nn.Module:
    """The blueprint with adapters in it. Raises NoSuchLayers beside what `blueprint` raises."""
    model = blueprint(config, cpu=cpu)
    inject(model, lora, mx.random.key(0))
    return model


def _built(config: Config) -> nn.Module:
    try:
        model_class, arguments = _get_classes(config)
        model: nn.Module = model_class(arguments.from_dict(dict(config)))
    except KeyError as error:
        raise BadDescription(f"config.json: found no {error}; expected one, as mlx-lm reads it") from error
    except ValueError as error:
        raise UnknownArchitecture(
            f"mlx-lm cannot build a model of type {config.get('model_type')!r} ({error}); known here are {', '.join(KNOWN)}"
        ) from error
    except TypeError as error:
        missing = ", ".join(re.findall(r"'(\w+)'", str(error))) or str(error)
        raise BadDescription(
            f"config.json of type {config['model_type']!r}: found no {missing}; expected them"
        ) from error
    layers_of(model)  # an architecture that adapters have no map for is refused here
    return model


def _head(model: nn.Module, config: Config) -> None:
    """mlx-lm's Gemma learns from the weights whether it has a head of its own; the config says it where there are none."""
    owner: Any = getattr(model, "language_model", model)
    told = {"tie_word_embeddings": True} | config.get("text_config", {}) | config
    if getattr(owner, "tie_word_embeddings", None) is False and told["tie_word_embeddings"]:
        owner.sanitize({})


def _cast(model: nn.Module, config: Config) -> None:
    """Every floating array in the config's type, but those that the model keeps as they are (a router's correction)."""
    told = config.get("text_config", {}) | config
    name = next((told[key] for key in NEEDED if told.get(key)), None)
    dtype = getattr(mx, str(name).removeprefix("torch."), None)
    if not isinstance(dtype, mx.Dtype):
        raise BadDescription(
            f'config.json: found {name!r} as the type of the weights; expected "torch_dtype" or "dtype" with float32, bfloat16 or '
            "float16. Add it: it decides how many bytes a value takes"
        )
    keeps = getattr(model, "cast_predicate", lambda path: True)

    def cast(path: str, array: mx.array) -> mx.array:
        return array.astype(dtype) if keeps(path) and mx.issubdtype(array.dtype, mx.floating) else array

    model.update(tree_map_with_path(cast, model.parameters()))


def _quantise(model: nn.Module, config: Config) -> None:
    told = config.get("quantization")
    if told is None:
        if method := config.get("quantization_config", {}).get("quant_method"):
            raise BadDescription(
                f'config.json: found weights quantised by {method!r}; expected "quantization" with bits and group_size, as mlx-lm '
                "writes it. Convert the model with mlx_lm.convert, and plan the folder that it makes"
            )
        return
    own = getattr(model, "quant_predicate", None)

    def chosen(path: str, module: nn.Module) -> Any:
        if path in told:
            return told[path]
        if not hasattr(module, "to_quantized") or module.weight.shape[-1] % told["group_size"]:
            return False
        return own(path, module) if own else True

    nn.quantize(model, told["group_size"], told["bits"], mode=told.get("mode", "affine"), class_predicate=chosen)
