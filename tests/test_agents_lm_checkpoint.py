"""A checkpoint comes back bit for bit, or says what is broken; training goes on as if never stopped."""

from __future__ import annotations

import os
from pathlib import Path

import fakes
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import pytest
from test_agents_lm_lora import SMALL, noisy

from agents.lm.adapters import tree_hash
from agents.lm.checkpoint import load_checkpoint, restore_optimizer, save_checkpoint
from agents.lm.device import mx
from agents.lm.files import BrokenFolder
from agents.lm.lora import inject, set_trainable, trainable

TOKENS = mx.array([[1, 2, 3, 50, 60]])


def fresh_training() -> tuple[nn.Module, optim.Optimizer]:
    model = fakes.tiny_llama().model
    inject(model, SMALL, mx.random.key(0))
    set_trainable(model, noisy(model))
    return model, optim.Adam(learning_rate=optim.cosine_decay(1e-2, 50))


def step(model: nn.Module, optimizer: optim.Optimizer) -> None:
    optimizer.update(model, nn.value_and_grad(model, lambda m: m(TOKENS).square().mean())(model)[1])
    mx.eval(model.parameters(), optimizer.state)


def saved(folder: Path) -> tuple[nn.Module, optim.Optimizer]:
    model, optimizer = fresh_training()
    for _ in range(3):
        step(model, optimizer)
    save_checkpoint(
        folder,
        adapters={"therapist": trainable(model), "client/α": noisy(model)},
        optimizer=optimizer,
        state={"turn": 3, "generator": np.random.default_rng(1).bit_generator.state},
        arrays={"order": np.arange(5), "key": mx.random.key(4), "flags": np.array([True, False])},
    )
    return model, optimizer


def test_resumed_training_is_bit_equal(tmp_path: Path) -> None:
    model, optimizer = saved(tmp_path / "c")
    back = load_checkpoint(tmp_path / "c")
    assert tree_hash(back.adapters["therapist"]) == tree_hash(trainable(model))
    again, other = fresh_training()
    set_trainable(again, back.adapters["therapist"])
    assert back.optimizer is not None
    restore_optimizer(other, back.optimizer)
    assert int(other.step) == 3
    for _ in range(3):
        step(model, optimizer)
        step(again, other)
    assert tree_hash(trainable(again)) == tree_hash(trainable(model))
    assert other.learning_rate.item() == optimizer.learning_rate.item()


def test_state_and_arrays_come_back(tmp_path: Path) -> None:
    saved(tmp_path / "c")
    back = load_checkpoint(tmp_path / "c")
    assert list(back.adapters) == ["therapist", "client/α"]
    assert back.state == {"turn": 3, "generator": np.random.default_rng(1).bit_generator.state}
    assert back.arrays["order"].tolist() == [0, 1, 2, 3, 4]
    assert back.arrays["order"].dtype == mx.int64
    assert mx.array_equal(back.arrays["key"], mx.random.key(4))
    save_checkpoint(tmp_path / "c", adapters={})
    assert load_checkpoint(tmp_path / "c").optimizer is None


def test_every_byte_flip_and_every_cut_is_detected(tmp_path: Path) -> None:
    saved(tmp_path / "c")
    rng = np.random.default_rng(0)
    for file in sorted((tmp_path / "c").iterdir()):
        good = file.read_bytes()
        places = {0, len(good) - 1, *rng.integers(0, len(good), 6).tolist()}
        damaged = [good[:i] + bytes([good[i] ^ 1]) + good[i + 1 :] for i in places] + [good[: len(good) // 2], b""]
        for bad in damaged + [good[:-8] + bytes(8)] * (good[-8:] != bytes(8)):
            file.write_bytes(bad)
            if file.name == "manifest.json" and _equal_as_json(bad, good):
                continue  # white space moved: the manifest still says the same
            with pytest.raises(BrokenFolder):
                load_checkpoint(tmp_path / "c")
        file.unlink()
        with pytest.raises(BrokenFolder):
            load_checkpoint(tmp_path / "c")
        file.write_bytes(good)
    load_checkpoint(tmp_path / "c")


def _equal_as_json(a: bytes, b: bytes) -> bool:
    import json

    try:
        return bool(json.loads(a) == json.loads(b))
    except ValueError:
        return False


def test_nothing_that_is_not_finite_is_written(tmp_path: Path) -> None:
    model, _ = saved(tmp_path / "c")
    tree = trainable(model)
    name = next(iter(tree))
    with pytest.raises(ValueError, match=name):
        save_checkpoint(tmp_path / "c", adapters={"a": {**tree, name: tree[name] * mx.nan}})
    with pytest.raises(ValueError, match="JSON"):
        save_checkpoint(tmp_path / "c", adapters={}, state={"loss": float("nan")})
    with pytest.raises(TypeError, match="float64"):
        save_checkpoint(tmp_path / "c", adapters={}, arrays={"x": np.zeros(2)})
    assert load_checkpoint(tmp_path / "c").state["turn"] == 3
    assert os.listdir(tmp_path) == ["c"]


def test_a_disk_that_fills_up_leaves_the_old_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _ = saved(tmp_path / "c")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("agents.lm.files._sync", full)
    with pytest.raises(OSError, match="No space"):
        save_checkpoint(tmp_path / "c", adapters={"a": trainable(model)})
    assert load_checkpoint(tmp_path / "c").state["turn"] == 3
    assert os.listdir(tmp_path) == ["c"]
