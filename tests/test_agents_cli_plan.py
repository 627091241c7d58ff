"""`icarus plan`: every shipped run is planned without a network; what is asked wrongly is said in one sentence."""

import json
from pathlib import Path
from typing import Any

import fakes
import huggingface_hub
import pytest

from agents import cli
from agents.descriptions import NoDescription, config_of, descriptions, siblings
from agents.lm.blueprint import blueprint
from agents.lm.embedded import embedded_folder
from agents.run_plan import changes, lengths_of, plan_run
from agents.settings import read_settings
from client_graph.catalog import load_catalog
from client_graph.names import CONFIGS

RUNS = sorted(set(CONFIGS.glob("*.toml")) - set(CONFIGS.glob("dapt_*.toml")))
DOCUMENT = CONFIGS.parent / "docs" / "memory.md"
GB = 10**9


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refused(*_: object, **__: object) -> None:
        raise AssertionError("the network was tried")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refused)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refused)
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path / "hub"))


def shown(arguments: list[Any], capsys: pytest.CaptureFixture[str], expected: int = 0) -> str:
    assert cli.main(["plan", *map(str, arguments)]) == expected
    out, wrong = capsys.readouterr()
    return out if expected == 0 else wrong


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.name)
def test_every_shipped_run_is_planned(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = json.loads(shown([path, "--json", "--memory", 1000], capsys))
    assert told["model"] == read_settings(path).model.name
    assert told["peak"]["bytes"] == max(parts["together"] for parts in told["moments"].values())
    for parts in told["moments"].values():
        assert parts["together"] == sum(size for name, size in parts.items() if name != "together")
    assert told["shapes_from"].startswith("configs/models/")
    peak = f"peak {told['peak']['bytes'] / GB:.2f} GB, at the moment: {told['peak']['moment']}"
    page = DOCUMENT.read_text().split(f"`icarus plan configs/{path.name} ")[1]
    assert peak in page.split("###")[0], (
        "docs/memory.md is out of date: python benchmarks/plan.py --write docs/memory.md"
    )


def test_the_papers_run_is_not_fourteen_gigabytes(capsys: pytest.CaptureFixture[str]) -> None:
    """Line 444 says about 14 GB for 27 billion parameters at 8 bits."""
    told = json.loads(shown([CONFIGS / "icarus-9.2.toml", "--json", "--memory", 192], capsys))
    assert 27 * GB < told["parameters"] < 27.1 * GB
    assert 28 * GB < sum(told["base"].values()) < 29 * GB
    assert told["fits"] is True
    assert told["checkpoint_gradients"] is True


def test_what_would_need_less_is_told_least_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (CONFIGS / "icarus-9.2.toml").read_text()
    whole = tmp_path / "whole.toml"
    whole.write_text(text.replace("checkpoint_gradients = true", "checkpoint_gradients = false"))
    told = json.loads(shown([whole, "--json", "--memory", 192], capsys))
    assert told["fits"] is False
    by_name = {change["what"].split(" ")[0]: change["peak"] for change in told["changes"]}
    assert by_name["generation.remembered_turns"] <= 192 * GB
    assert by_name["optimizer.checkpoint_gradients"] < 0.25 * told["peak"]["bytes"]
    assert [change["peak"] for change in told["changes"]] == sorted(change["peak"] for change in told["changes"])


def test_the_table_says_what_dominates_and_whether_it_fits(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown([CONFIGS / "quickstart.toml", "--memory", 8], capsys)
    for part in ("base weights", "≈ layers for backward", "together", "most of it", "fits 8 GB", "layers 10-19 of 30"):
        assert part in text
    assert "would need less" not in text
    assert "would need less" in shown([CONFIGS / "quickstart.toml", "--memory", 0.5], capsys)


def test_a_turn_and_a_prompt_may_be_told() -> None:
    settings = read_settings(CONFIGS / "icarus-9.2.toml")
    first, last = plan_run(settings, turn=1), plan_run(settings)
    assert last.turn == settings.environment.max_turns
    assert first.plan.lengths.prompt < last.plan.lengths.prompt
    assert first.plan.peak.total < last.plan.peak.total
    assert plan_run(settings, prompt_tokens=1000).plan.lengths.prompt == 1000
    assert first.plan.lengths.judge > 0  # the paper's judge is the model


def test_a_cpu_expands_what_is_quantised() -> None:
    settings = read_settings(CONFIGS / "llama-8b.toml")
    gpu, cpu = (sum(plan_run(settings, cpu=cpu).plan.shapes.base.values()) for cpu in (False, True))
    assert cpu == pytest.approx(gpu * 32 / 8.5, rel=0.001)  # 8 bits and a scale and a bias of 16 for each 64 weights


@pytest.mark.real
def test_a_prompt_is_about_as_long_as_estimated() -> None:
    """SmolLM2's tokenizer on the therapist's prompt at the first turn, whose client says an authored line."""
    from agents.lm.generate import chat_tokens
    from agents.lm.models import load_model
    from agents.prompts import therapist_messages

    settings, catalog = read_settings(CONFIGS / "quickstart.toml"), load_catalog(None)
    lines = [row.line for row in catalog.rows["voice"]]
    observation = {"client": max(lines, key=len), "stage": 1, "stance": 0, "beliefs": catalog.start[0]}
    messages = therapist_messages(observation, (), catalog, 0, settings.generation.beliefs_shown)
    found = len(chat_tokens(load_model("smollm2").tokenizer, messages))
    assert lengths_of(settings, catalog, 1).prompt == pytest.approx(found, rel=0.15)


def test_a_folder_with_a_config_and_no_weights(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = {"model_type": "llama", "torch_dtype": "bfloat16", **fakes.CONFIGS["llama"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    told = json.loads(shown([CONFIGS / "quickstart.toml", "--model", tmp_path, "--memory", 1, "--json"], capsys))
    assert told["shapes_from"] == str(tmp_path / "config.json")
    (tmp_path / "config.json").write_text(json.dumps({**config, "model_type": "perceptron"}))
    assert "perceptron" in shown([CONFIGS / "quickstart.toml", "--model", tmp_path], capsys, cli.WRONG_INPUT)
    (tmp_path / "config.json").write_text("[]")
    assert "model_type" in shown([CONFIGS / "quickstart.toml", "--model", tmp_path], capsys, cli.WRONG_INPUT)
    (tmp_path / "config.json").unlink()
    assert "without config.json" in shown([CONFIGS / "quickstart.toml", "--model", tmp_path], capsys, cli.WRONG_INPUT)


def test_an_unknown_model_says_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = shown([CONFIGS / "quickstart.toml", "--model", "nobody/nothing"], capsys, cli.WRONG_INPUT)
    for part in ("nobody/nothing", "mlx-community/MiniMax-M2-4bit", "config.json", "--model"):
        assert part in wrong


@pytest.mark.parametrize("flag", ["--memory", "--turn", "--prompt-tokens"])
def test_numbers_below_one_are_refused(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert flag in shown([CONFIGS / "quickstart.toml", flag, "0"], capsys, cli.WRONG_INPUT)


def test_every_description_has_a_source_and_can_be_built() -> None:
    for file, described in descriptions().items():
        assert len(described.source) > 60, file
        for name in described.models:
            assert blueprint(config_of(name)[0]).model_type == described.config["model_type"]


def test_the_next_fewer_bits() -> None:
    assert siblings("mlx-community/gemma-3-27b-it-8bit") == "mlx-community/gemma-3-27b-it-6bit"
    assert siblings("mlx-community/MiniMax-M2-3bit") is None
    assert siblings("nobody/nothing") is None


@pytest.mark.real
def test_the_description_of_the_embedded_model_is_its_config() -> None:
    own = json.loads((embedded_folder() / "config.json").read_text())
    described, _ = config_of("smollm2")
    assert described == {name: own[name] for name in described}


def test_a_broken_description_names_its_file(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"models": {}}')
    with pytest.raises(NoDescription, match=r"x\.json"):
        descriptions(tmp_path)


def test_a_session_without_memory_has_no_fewer_turns() -> None:
    settings = read_settings(CONFIGS / "quickstart.toml")
    assert not any("remembered_turns" in change.what for change in changes(settings, plan_run(settings)))
