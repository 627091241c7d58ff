"""A LoraConfig as PEFT writes it, read without PEFT: which modules have which rank and factor, and what is no plain LoRA.

y = W x + (alpha / r) B A x          with use_rslora: alpha / sqrt(r)
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

# What says nothing about what the weights mean. Whatever else is set, in this or a later PEFT, is refused by name.
_HARMLESS = {
    "auto_mapping", "base_model_name_or_path", "corda_config", "ensure_weight_tying", "eva_config", "inference_mode",
    "loftq_config", "lora_dropout", "lora_ga_config", "megatron_core", "peft_version", "qalora_group_size", "revision",
    "runtime_config", "task_type",
}  # fmt: skip
_PLAIN_STARTS = (True, False, "gaussian", "eva", "orthogonal")  # the others write into the base as well, or freeze B
_WHY = {
    "use_dora": "DoRA also rescales the merged weight",
    "bias": "biases were trained beside the adapter",
    "lora_bias": "B has a bias of its own",
    "modules_to_save": "whole modules were trained beside the adapter",
    "fan_in_fan_out": "the base keeps weights as (inputs, outputs)",
    "target_parameters": "parameters were adapted that are no linear modules, as the experts of a layer are",
    "layer_replication": "the model has layers twice",
    "trainable_token_indices": "token embeddings were trained beside the adapter",
    "alora_invocation_tokens": "it is active on a part of the text only",
}
_MERGE = (
    "Merge it into its base by PEFT (merge_and_unload), bring that over by mlx_lm.convert, and name it as the model"
)


class PeftConfig(BaseModel):
    """The settings of a LoraConfig that say what its weights mean; `mistakes` says what is left."""

    model_config = ConfigDict(extra="allow", frozen=True)

    peft_type: str
    r: int = Field(ge=1)
    lora_alpha: float
    rank_pattern: dict[str, Annotated[int, Field(ge=1)]] = {}
    alpha_pattern: dict[str, float] = {}
    use_rslora: bool = False
    init_lora_weights: bool | str = True
    target_modules: list[str] | str
    exclude_modules: list[str] | str | None = None
    layers_to_transform: list[int] | int | None = None
    layers_pattern: list[str] | str | None = None

    @field_validator("rank_pattern", "alpha_pattern", "target_modules", "exclude_modules", "layers_pattern")
    @classmethod
    def _expressions(cls, value: Any) -> Any:
        for expression in [value] if isinstance(value, str) else value or ():
            try:
                re.compile(expression)
            except re.error as error:
                raise ValueError(f"{expression!r} is no regular expression ({error})") from error
        return value

    def factor(self, name: str) -> tuple[int, float]:
        """(rank, factor on the product) of a module, by PEFT's rule: the first pattern that the end of its name matches."""
        rank = next((r for key, r in self.rank_pattern.items() if _ends_as(key, name)), self.r)
        alpha = next((a for key, a in self.alpha_pattern.items() if _ends_as(key, name)), self.lora_alpha)
        if self.use_rslora:
            return rank, alpha / math.sqrt(rank)
        short = float(f"{alpha / rank:.15g}")  # 0.3 and not 0.30000000000000004, where both give this alpha
        return rank, short if short * rank == alpha else alpha / rank

    def adapts(self, name: str) -> bool:
        """Whether PEFT puts an adapter on a linear module of this name."""
        if self.exclude_modules and _is_named(self.exclude_modules, name):
            return False
        if self.target_modules == "all-linear":
            return True
        if not _is_named(self.target_modules, name):
            return False
        if isinstance(self.target_modules, str) or name in self.target_modules:
            return True  # what is named in full needs no layer
        chosen = [self.layers_to_transform] if isinstance(self.layers_to_transform, int) else self.layers_to_transform
        patterns = [self.layers_pattern] if isinstance(self.layers_pattern, str) else self.layers_pattern
        if not chosen:
            return True
        found = [re.match(rf"(?:^|.*?\.){pattern}\.(\d+)\.", name) for pattern in patterns or (r"[^.]*",)]
        return next((int(match.group(1)) for match in found if match), None) in chosen

    def mistakes(self) -> list[str]:
        """What of it is more than plain LoRA, each with its reason."""
        told = []
        if self.peft_type != "LORA":
            told.append(f"peft_type: found {self.peft_type!r}; expected 'LORA'. {_MERGE}")
        if self.init_lora_weights not in _PLAIN_STARTS:
            told.append(
                f"init_lora_weights: found {self.init_lora_weights!r}, a start that may have changed the base; expected "
                f"one of {', '.join(map(repr, _PLAIN_STARTS))}. PEFT makes a plain adapter of it: "
                "save_pretrained(..., path_initial_model_for_weight_conversion=...)"
            )
        for name, value in sorted((self.model_extra or {}).items()):
            if name not in _HARMLESS and value not in (None, False, [], {}, "none"):
                why = _WHY.get(name, "which may say more than plain LoRA has")
                told.append(f"{name}: found {value!r}; expected it unset: {why}. {_MERGE}")
        return told


def read_peft_config(raw: dict[str, Any], wrong: list[str]) -> PeftConfig | None:
    """The config, or None where it cannot be used at all; everything that is wrong goes to `wrong`."""
    try:
        config = PeftConfig.model_validate(raw)
    except ValidationError as error:
        for mistake in error.errors():
            found = "nothing" if mistake["type"] == "missing" else repr(mistake["input"])
            wrong.append(f"{'.'.join(map(str, mistake['loc']))}: found {found}; {mistake['msg']}")
        return None
    wrong += config.mistakes()
    return config


def _ends_as(pattern: str, name: str) -> bool:
    return re.match(rf"(.*\.)?({pattern})$", name) is not None


def _is_named(chosen: list[str] | str, name: str) -> bool:
    """PEFT's rule: a text is an expression for the whole name, a list holds names or their last parts."""
    if isinstance(chosen, str):
        return re.fullmatch(chosen, name) is not None
    return any(name == one or name.endswith(f".{one}") for one in chosen)
