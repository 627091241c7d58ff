"""Adapters to and from PEFT and mlx-lm, and fused: the same product, the same bits, or a refusal that says why."""

import errno
import json
import math
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx.utils import tree_unflatten
from mlx_lm.tuner.utils import linear_to_lora_layers
from mlx_lm.utils import load as mlx_lm_load
from model_folder import model_folder
from safetensors.numpy import load_file, save_file

from agents.lm.adapters import AdapterMismatch, load_adapter, save_adapter, tree_hash
from agents.lm.device import mx
from agents.lm.fuse import fuse, fuse_folder
from agents.lm.interchange import Adapter, InterchangeError, read_adapter
from agents.lm.interchange_mlx_lm import import_mlx_lm
from agents.lm.interchange_peft import BASE, export_peft, import_peft
from agents.lm.lora import LoraSettings, flatten, fresh, inject, set_trainable, trainable
from agents.lm.models import LoadedModel, load_model
from agents.lm.peft_config import PeftConfig

SMALL = LoraSettings(attention_rank=4, mlp_rank=2)
TOKENS = mx.array([[1, 9, 200, 31, 77, 5, 18, 64]])
DENSE = ["gemma3", "gemma3_text", "llama"]
PREFIX = "base_model.model."


def noisy(loaded: LoadedModel, lora: LoraSettings = SMALL, *, attention_only: bool = False) -> Adapter:
    """An adapter with nothing zero in it (or all of its MLP) for a model of its own."""
    inject(loaded.model, lora, mx.random.key(1))
    tree = fresh(loaded.model, mx.random.key(2))
    for name, key in zip(tree, mx.random.split(mx.random.key(3), len(tree)), strict=True):
        zero = attention_only and "self_attn" not in name
        tree[name] = mx.zeros_like(tree[name]) if zero else mx.random.normal(tree[name].shape, key=key)
    return Adapter(tree, lora, loaded.base_hash)


def logits(loaded: LoadedModel, adapter: Adapter) -> mx.array:
    inject(loaded.model, adapter.settings, mx.random.key(0))
    set_trainable(loaded.model, adapter.tree)
    return loaded.model(TOKENS)


# ---------------------------------------------------------------- Icarus -> PEFT -> Icarus


@pytest.mark.parametrize("model_type", DENSE)
def test_to_peft_and_back_is_bit_equal(tmp_path: Path, model_type: str) -> None:
    adapter = noisy(fakes.tiny(model_type))
    assert export_peft(tmp_path / "p", adapter, "owner/base") == []
    back, notes = import_peft(tmp_path / "p", fakes.tiny(model_type))
    assert notes == ()
    assert tree_hash(back.tree) == tree_hash(adapter.tree)
    assert back.settings == LoraSettings(layers=[2, 3], attention_rank=4, mlp_rank=2)
    assert back.base_hash == adapter.base_hash


@settings(max_examples=10)
@given(st.floats(1e-3, 1e3), st.integers(1, 9), st.integers(1, 9))
def test_any_scale_and_ranks_come_back(tmp_path_factory: pytest.TempPathFactory, scale: float, a: int, b: int) -> None:
    folder = tmp_path_factory.mktemp("any") / "p"
    lora = LoraSettings(layers=[1], attention_rank=a, mlp_rank=b, scale=scale)
    adapter = noisy(fakes.tiny_llama(layers=2), lora)
    export_peft(folder, adapter, None)
    back, notes = import_peft(folder, fakes.tiny_llama(layers=2))
    assert notes == ()
    assert tree_hash(back.tree) == tree_hash(adapter.tree)
    assert math.isclose(back.settings.scale, scale, rel_tol=1e-15)
    assert (back.settings.attention_rank, back.settings.mlp_rank) == (a, b)


def test_what_peft_reads(tmp_path: Path) -> None:
    adapter = noisy(fakes.tiny("gemma3"), LoraSettings(layers=[1], attention_rank=4, mlp_rank=3, scale=1.5))
    export_peft(tmp_path / "p", adapter, "owner/base")
    config = json.loads((tmp_path / "p" / "adapter_config.json").read_text("utf-8"))
    assert (config["r"], config["lora_alpha"]) in ((4, 6), (3, 4.5))
    ranks = {name: PeftConfig.model_validate(config).factor(name) for name in config["target_modules"]}
    root = "model.language_model.layers.1"
    assert ranks[f"{root}.self_attn.q_proj"] == (4, 1.5)
    assert ranks[f"{root}.mlp.down_proj"] == (3, 1.5)
    assert len(ranks) == 7
    assert config["base_model_name_or_path"] == "owner/base"
    arrays = load_file(tmp_path / "p" / "adapter_model.safetensors")
    assert set(arrays) == {f"{PREFIX}{name}.lora_{leaf}.weight" for name in ranks for leaf in "AB"}
    a = arrays[f"{PREFIX}{root}.mlp.down_proj.lora_A.weight"]
    assert a.shape == (3, 48)  # (r, inputs)
    ours = adapter.tree["language_model.model.layers.1.mlp.down_proj.lora_a"]
    np.testing.assert_array_equal(a, np.array(ours).T)


def test_modules_that_are_zero_are_left_out(tmp_path: Path) -> None:
    adapter = noisy(fakes.tiny_llama(), attention_only=True)
    left_out = export_peft(tmp_path / "p", adapter, None)
    assert len(left_out) == 6
    assert all(".mlp." in path for path in left_out)
    back = import_peft(tmp_path / "p", fakes.tiny_llama()).adapter
    assert mx.array_equal(logits(fakes.tiny_llama(), back), logits(fakes.tiny_llama(), adapter))
    nothing = adapter._replace(tree={name: mx.zeros_like(a) for name, a in adapter.tree.items()})
    with pytest.raises(InterchangeError, match="all 14 modules are zero"):
        export_peft(tmp_path / "nothing", nothing, None)


@pytest.mark.parametrize("model_type", ["minimax", "glm4_moe", "glm4_moe_lite"])
def test_experts_do_not_go_to_peft_and_attention_does(tmp_path: Path, model_type: str) -> None:
    with pytest.raises(InterchangeError, match=r"mixture of experts \(.*switch_mlp.*--to mlx-lm"):
        export_peft(tmp_path / "p", noisy(fakes.tiny(model_type)), None)
    assert not (tmp_path / "p").exists()
    adapter = noisy(fakes.tiny(model_type), attention_only=True)
    export_peft(tmp_path / "p", adapter, None)
    back, notes = import_peft(tmp_path / "p", fakes.tiny(model_type))
    assert len(notes) == 1
    assert "had no adapter" in notes[0]
    assert mx.array_equal(logits(fakes.tiny(model_type), back), logits(fakes.tiny(model_type), adapter))


def test_a_failed_export_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = noisy(fakes.tiny_llama())
    export_peft(tmp_path / "p", adapter, "first")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("agents.lm.interchange_peft.save_arrays", full)
    for name in ("p", "new"):
        with pytest.raises(OSError, match="No space left"):
            export_peft(tmp_path / name, adapter, "second")
    assert [p.name for p in tmp_path.iterdir()] == ["p"]
    assert '"first"' in (tmp_path / "p" / "adapter_config.json").read_text("utf-8")


# ---------------------------------------------------------------- PEFT -> Icarus


def peft_folder(folder: Path, ranks: dict[str, int], **config: Any) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """An adapter as PEFT writes it for the tiny llama: module name -> rank; returns name -> (A, B)."""
    sides = {"q_proj": (32, 32), "k_proj": (32, 16), "v_proj": (32, 16), "o_proj": (32, 32), "down_proj": (48, 32)}
    rng = np.random.default_rng(4)
    pairs = {}
    for name, rank in ranks.items():
        inputs, outputs = sides[name.rpartition(".")[2]]
        pairs[name] = (
            rng.normal(size=(rank, inputs)).astype(np.float32),
            rng.normal(size=(outputs, rank)).astype(np.float32),
        )
    folder.mkdir(exist_ok=True)
    arrays = {f"{PREFIX}{n}.lora_{leaf}.weight": x for n, ab in pairs.items() for leaf, x in zip("AB", ab, strict=True)}
    save_file(arrays, folder / "adapter_model.safetensors", {"format": "pt"})
    told = {
        "peft_type": "LORA",
        "r": 4,
        "lora_alpha": 8,
        "target_modules": sorted({n.rpartition(".")[2] for n in ranks}),
    }
    (folder / "adapter_config.json").write_text(json.dumps(told | config), "utf-8")
    return pairs


MIXED = {
    f"model.layers.{layer}.{module}": rank
    for layer in (1, 4)
    for module, rank in {"self_attn.q_proj": 4, "self_attn.v_proj": 3, "mlp.down_proj": 2}.items()
}


@pytest.mark.parametrize("rslora", [False, True])
def test_an_import_does_what_numpy_does(tmp_path: Path, rslora: bool) -> None:
    pairs = peft_folder(
        tmp_path / "p", MIXED, rank_pattern={"v_proj": 3, "down_proj": 2}, alpha_pattern={"layers.4.self_attn.q_proj": 1.7},
        layers_to_transform=[1, 4], layers_pattern="layers", use_rslora=rslora,
    )  # fmt: skip
    adapter, notes = import_peft(tmp_path / "p", fakes.tiny_llama())
    assert len(notes) == 3  # another factor, a smaller rank, none at all
    assert adapter.settings.layers == [1, 4]
    assert (adapter.settings.attention_rank, adapter.settings.mlp_rank) == (4, 2)

    loaded, by_hand = fakes.tiny_llama(), fakes.tiny_llama()
    weights = flatten(by_hand.model.parameters())
    for name, (a, b) in pairs.items():
        alpha, rank = 1.7 if name == "model.layers.4.self_attn.q_proj" else 8, a.shape[0]
        factor = alpha / (math.sqrt(rank) if rslora else rank)
        weights[f"{name}.weight"] = mx.array(np.array(weights[f"{name}.weight"]) + factor * (b @ a))
    by_hand.model.update(tree_unflatten(list(weights.items())))
    np.testing.assert_allclose(logits(loaded, adapter), by_hand.model(TOKENS), atol=2e-4)

    name = "model.layers.1.mlp.down_proj"
    module, x = (
        dict(loaded.model.named_modules())[name],
        np.random.default_rng(0).normal(size=(3, 48)).astype(np.float32),
    )
    a, b = pairs[name]
    expected = x @ np.array(module.linear.weight).T + 8 / (math.sqrt(2) if rslora else 2) * x @ a.T @ b.T
    np.testing.assert_allclose(module(mx.array(x)), expected, rtol=1e-4, atol=1e-4)


def test_an_imported_adapter_is_saved_and_loaded_as_ones_own(tmp_path: Path) -> None:
    peft_folder(tmp_path / "p", MIXED, rank_pattern={"v_proj": 3, "down_proj": 2}, layers_to_transform=[1, 4])
    adapter = import_peft(tmp_path / "p", fakes.tiny_llama()).adapter
    save_adapter(tmp_path / "a", *adapter)
    loaded = fakes.tiny_llama()
    inject(loaded.model, adapter.settings, mx.random.key(0))
    assert tree_hash(load_adapter(tmp_path / "a", loaded.model, loaded.base_hash)) == tree_hash(adapter.tree)


@pytest.mark.parametrize("root", ["layers", "language_model.layers", "language_model.model.layers"])
def test_other_names_of_the_layers_are_read(tmp_path: Path, root: str) -> None:
    peft_folder(tmp_path / "p", {f"{root}.0.self_attn.q_proj": 4}, layers_to_transform=[0])
    adapter = import_peft(tmp_path / "p", fakes.tiny("gemma3")).adapter
    assert "language_model.model.layers.0.self_attn.q_proj.lora_a" in adapter.tree


@pytest.mark.parametrize(
    ("config", "adapted"),
    [
        ({"target_modules": ["q_proj"]}, "012"),
        ({"target_modules": ["q_proj"], "layers_to_transform": 1}, "1"),
        ({"target_modules": ["q_proj"], "layers_to_transform": [0, 2], "layers_pattern": "layers"}, "02"),
        ({"target_modules": ["q_proj"], "layers_to_transform": [0], "layers_pattern": ["h", "blocks"]}, ""),
        ({"target_modules": r"model\.layers\.[12]\.self_attn\.q_proj"}, "12"),
        ({"target_modules": r"layers\.1\.self_attn\.q_proj"}, ""),  # an expression is for the whole name
        ({"target_modules": ["model.layers.2.self_attn.q_proj"], "layers_to_transform": [0]}, "2"),  # named in full
        ({"target_modules": ["proj"]}, ""),  # the last parts of a name, whole
        ({"target_modules": "all-linear", "exclude_modules": ["layers.0.self_attn.q_proj"]}, "12"),
    ],
)  # fmt: skip
def test_which_modules_peft_means(config: dict[str, Any], adapted: str) -> None:
    read = PeftConfig.model_validate({"peft_type": "LORA", "r": 8, "lora_alpha": 8} | config)
    assert "".join(i for i in "012" if read.adapts(f"model.layers.{i}.self_attn.q_proj")) == adapted


def test_a_pattern_is_the_end_of_a_name_and_the_first_counts() -> None:
    read = PeftConfig(
        peft_type="LORA", r=8, lora_alpha=16, target_modules=["q_proj"],
        rank_pattern={"layers.1.self_attn.q_proj": 2, "q_proj": 4}, alpha_pattern={"k_proj": 3, "^other.q_proj": 1},
    )  # fmt: skip
    assert read.factor("model.layers.1.self_attn.q_proj") == (2, 8)
    assert read.factor("model.layers.11.self_attn.q_proj") == (4, 4)
    assert read.factor("model.layers.1.self_attn.v_proj") == (8, 2)
    assert read.factor("model.layers.1.self_attn.k_proj") == (8, 0.375)


def test_everything_that_is_wrong_stands_in_one_error(tmp_path: Path) -> None:
    attention = "model.layers.0.self_attn"
    config = {"target_modules": ["q_proj", "k_proj", "o_proj"], "layers_to_transform": [0, 9], "use_dora": True}
    config |= {"bias": "lora_only", "modules_to_save": ["lm_head"], "fan_in_fan_out": True, "peft_type": "LOHA"}
    config |= {
        "init_lora_weights": "pissa_niter_4",
        "a_later_option": {"x": 1},
        "lora_dropout": 0.1,
        "peft_version": "9",
    }
    modules = {f"{attention}.q_proj": 4, f"{attention}.k_proj": 3, "model.layers.9.self_attn.q_proj": 4}
    pairs = peft_folder(tmp_path / "p", modules, **config)
    arrays = load_file(tmp_path / "p" / "adapter_model.safetensors")
    arrays[f"{PREFIX}model.layers.0.self_attn.q_proj.lora_magnitude_vector"] = np.ones(3, np.float32)
    arrays[f"{PREFIX}model.layers.9.self_attn.q_proj.lora_B.weight"] = (
        pairs["model.layers.9.self_attn.q_proj"][1] * np.nan
    )
    arrays[f"{PREFIX}model.layers.0.self_attn.q_proj.lora_B.weight"] = np.full((32, 4), np.inf, np.float32)
    save_file(arrays, tmp_path / "p" / "adapter_model.safetensors", {BASE: "f" * 64})
    with pytest.raises(InterchangeError) as error:
        import_peft(tmp_path / "p", fakes.tiny_llama())
    told = str(error.value)
    for part in (
        "peft_type: found 'LOHA'",
        "init_lora_weights: found 'pissa_niter_4'",
        "path_initial_model_for_weight_conversion",
        "use_dora: found True; expected it unset: DoRA",
        "bias: found 'lora_only'",
        "modules_to_save: found ['lm_head']",
        "fan_in_fan_out: found True",
        "a_later_option: found {'x': 1}",
        "lora_magnitude_vector: expected only pairs",
        "trained on the base ffff",
        "k_proj: A (3, 32), the config says rank 4",
        "layers.0.self_attn.o_proj: target_modules adapts it, but it has no weights",
        "layers.9.self_attn.q_proj: not a module that Icarus adapts in a llama",
        "layers.0.self_attn.q_proj: values that are not finite",
    ):
        assert part in told, f"{part} not in\n{told}"
    for harmless in ("lora_dropout", "peft_version"):
        assert harmless not in told


def test_shapes_and_factors_are_checked(tmp_path: Path) -> None:
    modules = {"model.layers.0.self_attn.q_proj": 4, "model.layers.0.self_attn.o_proj": 4}
    peft_folder(tmp_path / "p", modules, layers_to_transform=[0], alpha_pattern={"o_proj": -8})
    arrays = load_file(tmp_path / "p" / "adapter_model.safetensors")
    key = f"{PREFIX}model.layers.0.self_attn.q_proj.lora_A.weight"
    arrays[key] = np.ascontiguousarray(arrays[key][:, :30])
    save_file(arrays, tmp_path / "p" / "adapter_model.safetensors")
    with pytest.raises(InterchangeError) as error:
        import_peft(tmp_path / "p", fakes.tiny_llama())
    assert "q_proj: A (30, 4) and B (4, 32); expected (32, 4) and (4, 32)" in str(error.value)
    assert "o_proj: a factor of -2.0 on the product" in str(error.value)


def test_a_config_that_cannot_be_used(tmp_path: Path) -> None:
    peft_folder(tmp_path / "p", {"model.layers.0.self_attn.q_proj": 4}, r=0, target_modules="q_proj(")
    with pytest.raises(
        InterchangeError, match=r"(?s)r: found 0.*target_modules: found 'q_proj\('.*no regular expression"
    ):
        import_peft(tmp_path / "p", fakes.tiny_llama())


def test_a_pickle_is_not_read(tmp_path: Path) -> None:
    peft_folder(tmp_path / "p", {"model.layers.0.self_attn.q_proj": 4})
    (tmp_path / "p" / "adapter_model.safetensors").rename(tmp_path / "p" / "adapter_model.bin")
    with pytest.raises(InterchangeError, match=r"adapter_model.bin is a pickle and not read"):
        import_peft(tmp_path / "p", fakes.tiny_llama())


@pytest.mark.parametrize("bring", [import_peft, import_mlx_lm])
def test_a_folder_that_holds_no_adapter(tmp_path: Path, bring: Any) -> None:
    for folder, said in ((tmp_path / "none", "no such folder"), (tmp_path, "cannot be read")):
        with pytest.raises(InterchangeError, match=said):
            bring(folder, fakes.tiny_llama())
    (tmp_path / "adapter_config.json").write_text("[]")
    with pytest.raises(InterchangeError, match="expected an object"):
        bring(tmp_path, fakes.tiny_llama())


# ---------------------------------------------------------------- mlx-lm


@pytest.mark.parametrize("model_type", sorted(fakes.CONFIGS))
def test_to_mlx_lm_and_back_is_bit_equal(tmp_path: Path, model_type: str) -> None:
    """Also where mlx-lm has written the config anew and nothing says that it was ours: padding is found and undone."""
    adapter = noisy(fakes.tiny(model_type))
    save_adapter(tmp_path / "a", *adapter)
    assert tree_hash(read_adapter(tmp_path / "a").tree) == tree_hash(adapter.tree)
    (tmp_path / "a" / "manifest.json").unlink()
    config = json.loads((tmp_path / "a" / "adapter_config.json").read_text("utf-8"))
    del config["icarus"]
    (tmp_path / "a" / "adapter_config.json").write_text(json.dumps(config), "utf-8")
    back, notes = import_mlx_lm(tmp_path / "a", fakes.tiny(model_type))
    assert notes == ()
    assert tree_hash(back.tree) == tree_hash(adapter.tree)
    assert back.settings == LoraSettings(layers=[2, 3], attention_rank=4, mlp_rank=2)


def mlx_lm_folder(folder: Path, last: int, keys: list[str] | None, **config: Any) -> LoadedModel:
    """What mlx_lm.lora leaves for the tiny llama; returns the model that it trained."""
    loaded, told = fakes.tiny_llama(), {"rank": 3, "scale": 20.0, "dropout": 0.0}
    told |= {} if keys is None else {"keys": keys}
    linear_to_lora_layers(loaded.model, last, told)
    for name, key in zip(trainable(loaded.model), mx.random.split(mx.random.key(5), 99), strict=False):
        set_trainable(loaded.model, {name: mx.random.normal(trainable(loaded.model)[name].shape, key=key) * 0.1})
    folder.mkdir()
    mx.save_safetensors(str(folder / "adapters.safetensors"), trainable(loaded.model))
    whole = {"fine_tune_type": "lora", "num_layers": last, "lora_parameters": told, "model": "x", "iters": 9} | config
    (folder / "adapter_config.json").write_text(json.dumps(whole), "utf-8")
    return loaded


@pytest.mark.parametrize(
    ("last", "keys", "layers"),
    [
        (2, None, [4, 5]),
        (-1, ["self_attn.q_proj", "mlp.up_proj"], [0, 1, 2, 3, 4, 5]),
        (1, ["self_attn.v_proj"], [5]),
        (1, ["model.layers.2.self_attn.q_proj"], [2]),
    ],
)
def test_an_adapter_by_mlx_lm(tmp_path: Path, last: int, keys: list[str] | None, layers: list[int]) -> None:
    trained = mlx_lm_folder(tmp_path / "m", last, keys)
    adapter, _ = import_mlx_lm(tmp_path / "m", fakes.tiny_llama())
    assert adapter.settings.layers == layers
    assert adapter.settings.scale == 20
    np.testing.assert_allclose(logits(fakes.tiny_llama(), adapter), trained.model(TOKENS), atol=1e-5)


def test_an_adapter_by_mlx_lm_that_is_none_of_ours(tmp_path: Path) -> None:
    mlx_lm_folder(tmp_path / "m", 1, None, fine_tune_type="dora")
    config = json.loads((tmp_path / "m" / "adapter_config.json").read_text("utf-8"))
    config |= {"num_layers": 2, "icarus": {"base_hash": "e" * 64}}
    config["lora_parameters"] |= {"rank": 5, "scale": None}
    (tmp_path / "m" / "adapter_config.json").write_text(json.dumps(config), "utf-8")
    with pytest.raises(InterchangeError) as error:
        import_mlx_lm(tmp_path / "m", fakes.tiny_llama())
    for part in (
        "'dora'",
        "lora_parameters.scale: found None",
        "A (32, 3), the config says rank 5",
        "trained on the base eeee",
        "layers.4.self_attn.q_proj: num_layers 2 of 6 adapts it, but it has no weights",
    ):
        assert part in str(error.value)


def test_a_config_of_anything(tmp_path: Path) -> None:
    mlx_lm_folder(tmp_path / "m", 1, None)
    odd = {"num_layers": "four", "lora_parameters": [3], "icarus": "yes"}
    for config in (odd, odd | {"lora_parameters": {"rank": True, "scale": 1, "keys": "self_attn.q_proj"}}):
        (tmp_path / "m" / "adapter_config.json").write_text(json.dumps(config), "utf-8")
        with pytest.raises(InterchangeError, match=r"(?s)lora_parameters.rank: found .*num_layers: found 'four'"):
            import_mlx_lm(tmp_path / "m", fakes.tiny_llama())
    peft_folder(tmp_path / "p", {"model.layers.0.self_attn.q_proj": 4}, layers_to_transform=0)
    key = f"{PREFIX}model.layers.0.self_attn.q_proj.lora_"
    flat = {f"{key}A.weight": np.array(1, np.float32), f"{key}B.weight": np.ones((2, 2, 2), np.float32)}
    save_file(flat, tmp_path / "p" / "adapter_model.safetensors")
    with pytest.raises(InterchangeError, match=r"A \(\) and B \(2, 2, 2\); expected"):
        import_peft(tmp_path / "p", fakes.tiny_llama())


def test_routers_do_not_come_over(tmp_path: Path) -> None:
    loaded = fakes.tiny("minimax")
    linear_to_lora_layers(loaded.model, 1, {"rank": 2, "scale": 1.0, "dropout": 0.0})
    (tmp_path / "m").mkdir()
    mx.save_safetensors(str(tmp_path / "m" / "adapters.safetensors"), trainable(loaded.model))
    (tmp_path / "m" / "adapter_config.json").write_text(
        json.dumps({"num_layers": 1, "lora_parameters": {"rank": 2, "scale": 1.0}})
    )
    with pytest.raises(InterchangeError, match=r"block_sparse_moe.gate: not a module that Icarus adapts in a minimax"):
        import_mlx_lm(tmp_path / "m", fakes.tiny("minimax"))


def test_arrays_at_other_ranks_than_saved_are_refused(tmp_path: Path) -> None:
    adapter = noisy(fakes.tiny_llama())
    save_adapter(tmp_path / "a", adapter.tree, LoraSettings(attention_rank=2, mlp_rank=2), adapter.base_hash)
    assert tree_hash(read_adapter(tmp_path / "a").tree) == tree_hash(adapter.tree)  # a smaller rank cuts nothing off
    save_adapter(tmp_path / "b", adapter.tree, LoraSettings(attention_rank=4, mlp_rank=4), adapter.base_hash)
    with pytest.raises(AdapterMismatch, match="not those that were saved"):
        read_adapter(tmp_path / "b")


# ---------------------------------------------------------------- fused


@pytest.mark.parametrize("model_type", sorted(fakes.CONFIGS))
def test_a_fused_model_says_what_the_adapted_one_says(model_type: str) -> None:
    adapter = noisy(fakes.tiny(model_type))
    expected, loaded = logits(fakes.tiny(model_type), adapter), fakes.tiny(model_type)
    inject(loaded.model, SMALL, mx.random.key(0))
    fused = fuse(loaded.model, adapter.tree)
    assert trainable(fused) == {}
    np.testing.assert_allclose(fused(TOKENS), expected, atol=2e-4)


def saved(tmp_path: Path, **model: Any) -> tuple[str, Path]:
    """(a model folder, an adapter folder for it)."""
    base = model_folder(tmp_path / "base", **model)
    save_adapter(tmp_path / "a", *noisy(load_model(str(base))))
    return str(base), tmp_path / "a"


def adapted_logits(base: str, adapter: Path) -> mx.array:
    """By mlx-lm, with the weights as the folder has them."""
    return mlx_lm_load(base, adapter_path=str(adapter))[0](TOKENS)


def test_the_fused_folder_opens_in_mlx_lm(tmp_path: Path) -> None:
    base, adapter = saved(tmp_path)
    assert fuse_folder(base, adapter, tmp_path / "out") == tmp_path / "out"
    model, tokenizer = mlx_lm_load(str(tmp_path / "out"))
    np.testing.assert_allclose(model(TOKENS), adapted_logits(base, adapter), atol=1e-4)
    assert tokenizer.decode(tokenizer.encode("a word")) == mlx_lm_load(base)[1].decode(tokenizer.encode("a word"))
    assert load_model(str(tmp_path / "out")).base_hash != load_model(base).base_hash


def test_a_quantised_base_needs_a_choice(tmp_path: Path) -> None:
    base, adapter = saved(tmp_path, bits=4)
    with pytest.raises(InterchangeError, match=r"--dequantize .* --requantize"):
        fuse_folder(base, adapter, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    expected = adapted_logits(base, adapter)
    fuse_folder(base, adapter, tmp_path / "large", "dequantise")
    large = mlx_lm_load(str(tmp_path / "large"))[0]
    assert not any(name.endswith("scales") for name in flatten(large.parameters()))
    np.testing.assert_allclose(large(TOKENS), expected, atol=2e-3)
    fuse_folder(base, adapter, tmp_path / "small", "requantise")
    small = mlx_lm_load(str(tmp_path / "small"))[0]
    assert any(name.endswith("scales") for name in flatten(small.parameters()))
    assert mx.abs(small(TOKENS) - expected).max().item() > 0.1  # rounded again, and said so


def test_what_mlx_lm_does_not_expand_is_refused(tmp_path: Path) -> None:
    base, adapter = saved(tmp_path, model_type="glm4_moe_lite", bits=4, kv_lora_rank=32)
    with pytest.raises(InterchangeError, match=r"does not expand .*(embed_q|unembed_out).*--requantize"):
        fuse_folder(base, adapter, tmp_path / "out", "dequantise")
    assert not (tmp_path / "out").exists()


def test_an_adapter_of_another_base_is_not_fused(tmp_path: Path) -> None:
    base, _ = saved(tmp_path)
    save_adapter(tmp_path / "other", *noisy(fakes.tiny_llama(3)))
    with pytest.raises(AdapterMismatch, match="trained on the base"):
        fuse_folder(base, tmp_path / "other", tmp_path / "out")
    assert not (tmp_path / "out").exists()
