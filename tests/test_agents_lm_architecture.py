"""The map of architectures agrees with mlx-lm's own modules."""

from __future__ import annotations

import fakes
import pytest

from agents.lm.architecture import (
    KINDS,
    UnknownArchitecture,
    head,
    hidden_states,
    layers_of,
    layers_path,
    modules_by_kind,
)
from agents.lm.device import mx

ALL = sorted(fakes.CONFIGS)


@pytest.mark.parametrize("model_type", ALL)
def test_every_kind_is_found_in_every_layer(model_type: str) -> None:
    model = fakes.tiny(model_type).model
    names = {name for name, _ in model.named_modules()}
    for i in range(len(layers_of(model))):
        kinds = modules_by_kind(model, i)
        assert list(kinds) == list(KINDS)
        assert all(kinds.values()), kinds
        assert {p for paths in kinds.values() for p in paths} <= names


@pytest.mark.parametrize("model_type", ALL)
def test_head_of_hidden_states_is_the_model(model_type: str) -> None:
    model = fakes.tiny(model_type).model
    tokens = mx.array([[1, 2, 3, 4]])
    assert mx.allclose(head(model, hidden_states(model, tokens)), model(tokens), atol=1e-5)


def test_latent_attention_and_experts() -> None:
    model = fakes.tiny("glm4_moe_lite").model
    kinds = modules_by_kind(model, 1)
    assert [p.rpartition(".")[2] for p in kinds["q"]] == ["q_a_proj", "q_b_proj"]
    assert kinds["k"] == kinds["v"] == ["model.layers.1.self_attn.kv_a_proj_with_mqa"]
    assert kinds["up"] == ["model.layers.1.mlp.switch_mlp.up_proj", "model.layers.1.mlp.shared_experts.up_proj"]
    assert modules_by_kind(model, 0)["up"] == ["model.layers.0.mlp.up_proj"]
    assert layers_path(fakes.tiny("gemma3").model) == "language_model.model.layers"


def test_unknown_architecture_lists_the_known() -> None:
    model = fakes.tiny_llama().model
    model.model_type = "perceptron"
    with pytest.raises(UnknownArchitecture, match=r"perceptron.*llama, gemma3"):
        layers_of(model)
