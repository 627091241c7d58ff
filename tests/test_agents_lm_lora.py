"""Adapters sit in the right layers, come from the key alone, and every kind of module learns."""

from __future__ import annotations

import fakes
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten
from pydantic import ValidationError

from agents.lm.device import mx
from agents.lm.logprob import response_logprobs
from agents.lm.lora import (
    LoraSettings,
    adapted_layers,
    fresh,
    inject,
    latter_third,
    middle_third,
    off,
    set_trainable,
    without_adapters,
)
from agents.lm.lora import trainable as arrays

SMALL = LoraSettings(attention_rank=4, mlp_rank=2)


def noisy(model: nn.Module, seed: int = 5) -> dict[str, mx.array]:
    """A set with a B that is not zero, so that A has a gradient."""
    flat = fresh(model, mx.random.key(seed))
    keys = mx.random.split(mx.random.key(seed + 1), len(flat))
    return {
        n: 0.1 * mx.random.normal(a.shape, key=k) if n.endswith("lora_b") else a
        for (n, a), k in zip(flat.items(), keys, strict=True)
    }


def test_thirds_of_the_layers() -> None:
    assert list(middle_third(62)) == list(range(21, 42))  # paper: layers 21-41 of 62
    assert list(middle_third(30)) == list(range(10, 20))
    assert list(latter_third(30)) == list(range(20, 30))
    for n in range(3, 100):
        assert middle_third(n).stop == latter_third(n).start
        assert latter_third(n).stop == n


def test_explicit_layers() -> None:
    assert adapted_layers(6, LoraSettings(layers=[4, 1, 1])) == [1, 4]
    assert adapted_layers(3, LoraSettings(layers="all")) == [0, 1, 2]
    for wrong in ([6], [-1], []):
        with pytest.raises(ValueError, match="numbers from 0 to 5"):
            adapted_layers(6, LoraSettings(layers=wrong))


def test_settings_refuse_unknown_keys() -> None:
    with pytest.raises(ValidationError):
        LoraSettings(alpha=16)  # type: ignore[call-arg]


@pytest.mark.parametrize("model_type", sorted(fakes.CONFIGS))
def test_gradient_reaches_both_matrices_of_every_adapted_module(model_type: str) -> None:
    model = fakes.tiny(model_type).model
    names = inject(model, SMALL, mx.random.key(0))
    set_trainable(model, noisy(model))
    prompt, responses = list(range(40, 60)), [[9, 8, 7, 30, 31, 32], [77, 78, 11, 12]]

    def loss(m: nn.Module) -> mx.array:
        return response_logprobs(m, prompt, responses)[0].sum()

    gradients = dict(tree_flatten(nn.value_and_grad(model, loss)(model)[1]))
    assert sorted(gradients) == sorted(f"{n}.{leaf}" for n in names for leaf in ("lora_a", "lora_b"))
    assert [n for n, g in gradients.items() if not mx.any(g != 0).item()] == []


def test_a_fresh_adapter_leaves_the_output_as_it_is_and_a_trained_one_does_not() -> None:
    model, tokens = fakes.tiny_llama().model, mx.array([[1, 2, 3]])
    before = model(tokens)
    inject(model, SMALL, mx.random.key(0))
    assert mx.array_equal(model(tokens), before)
    set_trainable(model, noisy(model))
    assert not mx.allclose(model(tokens), before, atol=1e-3)
    trained = model(tokens)
    with without_adapters(model):
        assert mx.array_equal(model(tokens), before)
    assert mx.array_equal(model(tokens), trained)
    set_trainable(model, off(model))
    assert mx.array_equal(model(tokens), before)


def test_a_comes_from_the_key_and_the_global_generator_is_untouched() -> None:
    models = [fakes.tiny_llama().model for _ in range(3)]
    state = mx.random.state[0].tolist()
    drawn = []
    for model, seed in zip(models, (1, 1, 2), strict=True):
        inject(model, SMALL, mx.random.key(seed))
        drawn.append(arrays(model))
    assert mx.random.state[0].tolist() == state
    assert all(mx.array_equal(drawn[0][n], drawn[1][n]) for n in drawn[0])
    assert any(not mx.array_equal(drawn[0][n], drawn[2][n]) for n in drawn[0])


def test_ranks_and_layers_are_the_settings() -> None:
    model = fakes.tiny_llama().model
    inject(model, SMALL, mx.random.key(0))
    flat = arrays(model)
    assert {n.split(".")[2] for n in flat} == {"2", "3"}
    assert flat["model.layers.2.self_attn.v_proj.lora_a"].shape == (32, 4)
    assert flat["model.layers.2.mlp.down_proj.lora_a"].shape == (48, 2)
    assert set(dict(tree_flatten(model.trainable_parameters()))) == set(flat)


def test_a_second_injection_is_refused() -> None:
    model = fakes.tiny_llama().model
    inject(model, SMALL, mx.random.key(0))
    with pytest.raises(ValueError, match="already"):
        inject(model, SMALL, mx.random.key(0))
