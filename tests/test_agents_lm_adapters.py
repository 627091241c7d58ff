"""Roles swap bit for bit; an exported adapter is exact, mlx-lm loads it, and a wrong one is refused in one error."""

from __future__ import annotations

import json
from pathlib import Path

import fakes
import mlx.nn as nn
import mlx.optimizers as optim
import pytest
from mlx_lm.tuner.utils import load_adapters as mlx_lm_load_adapters
from test_agents_lm_lora import SMALL, noisy

from agents.lm.adapters import (
    AdapterMismatch,
    AdapterSets,
    FrozenSetChanged,
    adapter_settings,
    load_adapter,
    save_adapter,
    tree_hash,
)
from agents.lm.device import mx
from agents.lm.lora import LoraSettings, fresh, inject, off, set_trainable, trainable

TOKENS = mx.array([[1, 2, 3, 50, 60]])


def sets(model_type: str = "llama") -> AdapterSets:
    model = fakes.tiny(model_type).model
    inject(model, SMALL, mx.random.key(0))
    made = AdapterSets(model)
    made.add("therapist", noisy(model, 1))
    made.add("client", noisy(model, 2), frozen=True)
    return made


def step(model: nn.Module) -> None:
    """An optimizer step on whatever is in the model: it makes new arrays."""
    optimizer = optim.Adam(learning_rate=1e-2)
    gradients = nn.value_and_grad(model, lambda m: m(TOKENS).square().mean())(model)[1]
    optimizer.update(model, gradients)
    mx.eval(model.parameters())


def test_switching_is_bit_equal_on_return() -> None:
    made = sets()
    made.activate("therapist")
    first, before = made.model(TOKENS), made.hash("therapist")
    made.activate("client")
    assert not mx.allclose(made.model(TOKENS), first, atol=1e-3)
    made.activate("therapist")
    assert mx.array_equal(made.model(TOKENS), first)
    assert made.hash("therapist") == before


def test_what_the_optimizer_made_survives_a_switch() -> None:
    made = sets()
    made.activate("therapist")
    step(made.model)
    trained = made.model(TOKENS)
    with made.role("client"):
        assert made.active == "client"
    assert made.active == "therapist"
    assert mx.array_equal(made.model(TOKENS), trained)


def test_a_frozen_set_that_was_trained_is_refused_and_restored() -> None:
    made = sets()
    made.activate("client")
    before, output = tree_hash(trainable(made.model)), made.model(TOKENS)
    step(made.model)
    with pytest.raises(FrozenSetChanged, match="client"):
        made.activate("therapist")
    assert made.hash("client") == before
    assert mx.array_equal(made.model(TOKENS), output)
    assert made.active == "client"


def test_role_returns_after_an_exception() -> None:
    made = sets()
    made.activate("therapist")
    with pytest.raises(RuntimeError, match="x"), made.role("client"):
        raise RuntimeError("x")
    assert made.active == "therapist"


def test_sets_refuse_unknown_names_repeats_and_wrong_shapes() -> None:
    made = sets()
    tree = made.get("client")
    name = next(iter(tree))
    with pytest.raises(KeyError, match="therapist, client"):
        made.activate("judge")
    with pytest.raises(ValueError, match="exists already"):
        made.add("client", tree)
    wrong = {**{n: a for n, a in tree.items() if n != name}, "x": tree[name]}
    with pytest.raises(AdapterMismatch, match=rf"{name}: missing; x: not in the model"):
        made.add("other", wrong)
    with pytest.raises(ValueError, match="inject"):
        AdapterSets(fakes.tiny_llama().model)


@pytest.mark.parametrize("model_type", sorted(fakes.CONFIGS))
def test_export_is_exact_and_stock_mlx_lm_loads_it(tmp_path: Path, model_type: str) -> None:
    loaded = fakes.tiny(model_type)
    inject(loaded.model, SMALL, mx.random.key(0))
    tree = noisy(loaded.model)
    set_trainable(loaded.model, tree)
    expected = loaded.model(TOKENS)
    save_adapter(tmp_path / "a", tree, SMALL, loaded.base_hash)

    again = fakes.tiny(model_type)
    inject(again.model, adapter_settings(tmp_path / "a"), mx.random.key(9))
    back = load_adapter(tmp_path / "a", again.model, again.base_hash)
    assert tree_hash(back) == tree_hash(tree)
    set_trainable(again.model, back)
    assert mx.array_equal(again.model(TOKENS), expected)

    stock = mlx_lm_load_adapters(fakes.tiny(model_type).model, str(tmp_path / "a"))
    assert mx.allclose(stock(TOKENS), expected, atol=1e-5)


def test_a_wrong_adapter_lists_everything_in_one_error(tmp_path: Path) -> None:
    loaded = fakes.tiny_llama()
    inject(loaded.model, SMALL, mx.random.key(0))
    tree = noisy(loaded.model)
    first, second, third = list(tree)[:3]
    tree[second] = tree[second][:, :5]
    tree[third] = tree[third] * mx.inf
    tree["model.layers.9.x.lora_a"] = tree.pop(first)
    save_adapter(tmp_path / "a", tree, LoraSettings(attention_rank=4, mlp_rank=2, scale=3.0), "f" * 64)
    with pytest.raises(AdapterMismatch) as error:
        load_adapter(tmp_path / "a", loaded.model, loaded.base_hash)
    for part in (
        "trained on the base ffff",
        "scale 3.0",
        f"{first}: missing",
        "layers.9",
        f"{second}: shape",
        "finite",
    ):
        assert part in str(error.value)


def test_a_larger_rank_is_not_cut_to_size(tmp_path: Path) -> None:
    loaded = fakes.tiny_llama()
    inject(loaded.model, LoraSettings(attention_rank=8, mlp_rank=2), mx.random.key(0))
    save_adapter(tmp_path / "a", noisy(loaded.model), LoraSettings(), loaded.base_hash)
    small = fakes.tiny_llama()
    inject(small.model, SMALL, mx.random.key(0))
    with pytest.raises(AdapterMismatch, match="shape"):
        load_adapter(tmp_path / "a", small.model, small.base_hash)


def test_a_changed_or_foreign_adapter_is_refused(tmp_path: Path) -> None:
    loaded = fakes.tiny_llama()
    inject(loaded.model, SMALL, mx.random.key(0))
    save_adapter(tmp_path / "a", trainable(loaded.model), SMALL, loaded.base_hash)
    config = tmp_path / "a" / "adapter_config.json"
    config.write_text(json.dumps({k: v for k, v in json.loads(config.read_text()).items() if k != "icarus"}))
    with pytest.raises(AdapterMismatch, match="SHA-256"):
        load_adapter(tmp_path / "a", loaded.model, loaded.base_hash)
    with pytest.raises(AdapterMismatch, match="no such folder"):
        load_adapter(tmp_path / "nothing", loaded.model, loaded.base_hash)


def test_off_is_the_base() -> None:
    base = fakes.tiny_llama().model(TOKENS)
    made = sets()
    made.add("reference", off(made.model), frozen=True)
    made.add("new", fresh(made.model, mx.random.key(4)))
    for name in ("reference", "new"):
        made.activate(name)
        assert mx.array_equal(made.model(TOKENS), base)
