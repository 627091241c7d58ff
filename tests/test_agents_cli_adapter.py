"""icarus adapter: export, import, fuse, card. What a run folder holds is told, nothing more, and nothing is overwritten."""

import json
import re
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import pytest
import yaml
from mlx_lm.utils import load as mlx_lm_load
from model_folder import model_folder

from agents import cli
from agents.lm.adapters import adapter_settings, load_adapter, save_adapter, tree_hash
from agents.lm.device import mx
from agents.lm.files import verify_folder
from agents.lm.interchange import Adapter, read_adapter
from agents.lm.interchange_peft import import_peft
from agents.lm.lora import LoraSettings, fresh, inject
from agents.lm.models import LoadedModel, load_model
from agents.settings import Settings, settings_of

SMALL = LoraSettings(attention_rank=4, mlp_rank=2)


def adapter_of(loaded: LoadedModel) -> Adapter:
    inject(loaded.model, SMALL, mx.random.key(1))
    tree = fresh(loaded.model, mx.random.key(2))
    keys = mx.random.split(mx.random.key(3), len(tree))
    tree = {name: mx.random.normal(a.shape, key=key) for (name, a), key in zip(tree.items(), keys, strict=True)}
    return Adapter(tree, SMALL, loaded.base_hash)


def run_folder(folder: Path, adapter: Adapter, model: str, summary: dict[str, Any] | None = None) -> Path:
    """What icarus train leaves, without training."""
    folder.mkdir()
    told = {"run": {"name": "tried", "seed": 11}, "model": {"name": model}, "grpo": {"kl_weight": 0.125}}
    (folder / "settings.toml").write_text(settings_of(told | {"lora": SMALL.model_dump()}, "test").to_toml())
    save_adapter(folder / "adapters", *adapter)
    if summary:
        (folder / "summary.json").write_text(json.dumps(summary), "utf-8")
    return folder


def a_summary(**changes: Any) -> dict[str, Any]:
    probe = {
        "composite": 2.5,
        "kind_harsh_gap": 0.5,
        "base_logprob": -2.0,
        "distinct_2": 0.9,
        "words": 12.0,
        "finished": 0.75,
    }
    lines = [{"client": "I | laughed.", "reply": "{name} <b>\nsaid *so*", "score": 2.5}]
    before = probe | {"unscored": 0, "replies": lines}
    after = probe | {"composite": 3.5, "distinct_2": 0.625, "kind_harsh_gap": None, "unscored": 1, "replies": lines}
    sessions = [{"ending": "turn_limit"}, {"ending": "left"}, {"ending": "turn_limit"}]
    told = {
        "method": "C",
        "turns": 41,
        "sessions": sessions,
        "unfinished_sessions": 0,
        "steps": {"rlaif": 17, "grpo": 40},
        "spending": None,
    }
    told |= {
        "before": before,
        "after": after,
        "adapter_change": 0.125,
        "device": "CPU with MKL",
        "peak_resident_gb": 2.0,
    }
    return told | {"model": "x", "base_hash": "b" * 64, "tables_hash": "c" * 64} | changes


def icarus(*arguments: Any) -> int:
    return cli.main([str(argument) for argument in arguments])


def refused(capsys: pytest.CaptureFixture[str], *arguments: Any) -> str:
    assert icarus(*arguments) == cli.WRONG_INPUT
    shown = capsys.readouterr().err
    assert shown.startswith("icarus: ")
    return shown


def test_a_run_for_peft(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adapter = adapter_of(fakes.tiny_llama())
    run = run_folder(tmp_path / "run", adapter, "owner/base")
    assert icarus("adapter", "export", run, "--to", "peft", "--out", tmp_path / "p") == 0
    assert "base: owner/base" in capsys.readouterr().out
    verify_folder(tmp_path / "p")
    assert tree_hash(import_peft(tmp_path / "p", fakes.tiny_llama()).adapter.tree) == tree_hash(adapter.tree)
    config = json.loads((tmp_path / "p" / "adapter_config.json").read_text("utf-8"))
    assert config["base_model_name_or_path"] == "owner/base"


def test_an_adapter_by_itself_does_not_know_its_base(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save_adapter(tmp_path / "a", *adapter_of(fakes.tiny_llama()))
    assert icarus("adapter", "export", tmp_path / "a", "--to", "peft", "--out", tmp_path / "p") == 0
    assert "not named (--base NAME)" in capsys.readouterr().out
    assert icarus("adapter", "export", tmp_path / "a", "--to", "peft", "--base", "a/b", "--out", tmp_path / "q") == 0
    assert '"a/b"' in (tmp_path / "q" / "adapter_config.json").read_text("utf-8")
    assert "--model NAME" in refused(capsys, "adapter", "fuse", tmp_path / "a", "--out", tmp_path / "f")


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_folder(tmp_path / "run", adapter_of(fakes.tiny_llama()), "owner/base")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years")
    out = ("--out", tmp_path / "mine")
    for command in (
        ("export", run, "--to", "peft"), ("export", run, "--to", "mlx-lm"), ("import", run, "--from", "peft", "--model", "smollm2"),
        ("fuse", run), ("card", run),
    ):  # fmt: skip
        assert "expected a new folder" in refused(capsys, "adapter", *command, *out)
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_there_and_back_through_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = model_folder(tmp_path / "base")
    adapter = adapter_of(load_model(str(base)))
    run = run_folder(tmp_path / "run", adapter, str(base))
    for form in ("peft", "mlx-lm"):
        assert icarus("adapter", "export", run / "adapters", "--to", form, "--out", tmp_path / form) == 0
        arguments = (
            "adapter",
            "import",
            tmp_path / form,
            "--from",
            form,
            "--model",
            base,
            "--out",
            tmp_path / f"from-{form}",
        )
        assert icarus(*arguments) == 0
        assert "layers 2, 3, ranks 4 (attention) and 2 (MLP), scale 2" in capsys.readouterr().out
        assert tree_hash(read_adapter(tmp_path / f"from-{form}").tree) == tree_hash(adapter.tree)


def test_an_import_says_what_had_to_change_or_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = model_folder(tmp_path / "base")
    save_adapter(tmp_path / "a", *adapter_of(load_model(str(base))))
    icarus("adapter", "export", tmp_path / "a", "--to", "peft", "--out", tmp_path / "p")
    (tmp_path / "p" / "manifest.json").unlink()
    config = json.loads((tmp_path / "p" / "adapter_config.json").read_text("utf-8"))
    changed = config | {"alpha_pattern": config["alpha_pattern"] | {"v_proj": 100}}
    (tmp_path / "p" / "adapter_config.json").write_text(json.dumps(changed), "utf-8")
    capsys.readouterr()
    arguments = ("adapter", "import", tmp_path / "p", "--from", "peft", "--model", base, "--out")
    assert icarus(*arguments, tmp_path / "b") == 0
    assert "  2 modules had another factor than 2: folded into B" in capsys.readouterr().out
    (tmp_path / "p" / "adapter_config.json").write_text(json.dumps(config | {"use_dora": True, "bias": "all"}), "utf-8")
    shown = refused(capsys, *arguments, tmp_path / "c")
    assert "use_dora: found True" in shown
    assert "bias: found 'all'" in shown
    assert not (tmp_path / "c").exists()


def test_fused_by_the_runs_own_base(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = model_folder(tmp_path / "base", bits=8)
    run = run_folder(tmp_path / "run", adapter_of(load_model(str(base))), str(base))
    assert "--dequantize" in refused(capsys, "adapter", "fuse", run, "--out", tmp_path / "f")
    assert icarus("adapter", "fuse", run, "--dequantize", "--out", tmp_path / "f") == 0
    tokens = mx.array([[5, 80, 33, 40]])
    expected = mlx_lm_load(str(base), adapter_path=str(run / "adapters"))[0](tokens)
    np.testing.assert_allclose(mlx_lm_load(str(tmp_path / "f"))[0](tokens), expected, atol=2e-3)


# ---------------------------------------------------------------- the card


def card_of(run: Path, out: Path, *more: Any) -> tuple[dict[str, Any], str]:
    """(front matter, text) of a card."""
    assert icarus("adapter", "card", run, "--out", out, *more) == 0
    whole = (out / "README.md").read_text("utf-8")
    _, front, text = re.split(r"^---$", whole, maxsplit=2, flags=re.MULTILINE)
    return yaml.safe_load(front), text


def test_a_card_tells_the_run_as_it_was(tmp_path: Path) -> None:
    adapter = adapter_of(fakes.tiny_llama())
    run = run_folder(tmp_path / "run", adapter, "owner/base", a_summary())
    front, text = card_of(run, tmp_path / "out")
    assert front["base_model"] == "owner/base"
    assert {"lora", "peft", "mlx"} <= set(front["tags"])
    assert "license" not in front  # the user's to choose
    for part in (
        "not for clinical use",
        "in layers\n2, 3;",
        "turn limit 2, left 1",
        "RLAIF 17, GRPO 40",
        adapter.base_hash,
        "grpo.kl_weight = 0.125",
        "run.seed = 11",
        "| training judge, mean of the twelve (0-10) | 2.500 | 3.500 |",
        "| kind minus harsh | 0.500 | none |",
        "In this run it repeats itself more: 0.900 before, 0.625 after.",
        r"| I \| laughed. | {name} \<b\> said \*so\* |",
        "icarus chat --adapter mlx-lm --model owner/base",
    ):
        assert part in text, part
    assert str(tmp_path) not in text
    assert "unknown" not in text.lower()


def test_both_forms_in_the_folder_are_the_runs_adapter(tmp_path: Path) -> None:
    adapter = adapter_of(fakes.tiny_llama())
    card_of(run_folder(tmp_path / "run", adapter, "owner/base", a_summary()), tmp_path / "out")
    verify_folder(tmp_path / "out")
    assert tree_hash(import_peft(tmp_path / "out" / "peft", fakes.tiny_llama()).adapter.tree) == tree_hash(adapter.tree)
    loaded = fakes.tiny_llama()
    inject(loaded.model, adapter_settings(tmp_path / "out" / "mlx-lm"), mx.random.key(0))
    assert tree_hash(load_adapter(tmp_path / "out" / "mlx-lm", loaded.model, loaded.base_hash)) == tree_hash(
        adapter.tree
    )


def test_what_the_run_does_not_hold_is_unknown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = tmp_path / "secret place" / "my-model"
    run = run_folder(tmp_path / "run", adapter_of(fakes.tiny_llama()), str(base))
    front, text = card_of(run, tmp_path / "out")
    assert "base_model" not in front
    assert "base_model: not known" in (tmp_path / "out" / "README.md").read_text("utf-8")
    assert "not named (--base NAME)" in capsys.readouterr().out
    for part in (
        "| turns | unknown |",
        "the run had not ended when this card was written",
        "a folder called my-model",
        'model.name = "my-model"',
    ):
        assert part in text, part  # fmt: skip
    assert "secret place" not in text
    front, _ = card_of(run, tmp_path / "named", "--base", "owner/theirs")
    assert front["base_model"] == "owner/theirs"


def test_the_embedded_model_is_told_as_what_it_is(tmp_path: Path) -> None:
    front, text = card_of(run_folder(tmp_path / "run", adapter_of(fakes.tiny_llama()), "smollm2"), tmp_path / "out")
    assert front["base_model"] == "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert "close to the hub's weights, not the same" in text
    assert "--model smollm2" in text


def test_a_mixture_of_experts_has_no_peft_form_and_the_card_says_so(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", adapter_of(fakes.tiny("minimax")), "owner/base", a_summary())
    front, text = card_of(run, tmp_path / "out")
    assert "peft" not in front["tags"]
    assert "There is no PEFT form of it: 6 modules belong to a mixture of experts" in text
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["README.md", "manifest.json", "mlx-lm"]


def test_a_card_is_whole_or_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    run = run_folder(tmp_path / "run", adapter_of(fakes.tiny_llama()), "owner/base")
    monkeypatch.setattr("agents.card.model_card", full)
    assert "No space left" in refused(capsys, "adapter", "card", run, "--out", tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run"]
    assert "no settings.toml" in refused(capsys, "adapter", "card", tmp_path, "--out", tmp_path / "out")


def test_settings_that_are_not_the_default_are_told(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run", adapter_of(fakes.tiny_llama()), "owner/base")
    used = Settings().model_dump(mode="json", exclude_none=True)
    used["client"]["drive"] = "literal"
    used["model"] |= {"name": "owner/base", "adapter": "/home/someone/old"}
    (run / "settings.toml").write_text(settings_of(used, "test").to_toml())
    _, text = card_of(run, tmp_path / "out")
    assert 'client.drive = "literal"' in text
    assert "client.stance" not in text
    assert "an adapter in a folder called old" in text
    assert "/home" not in text


@pytest.mark.real
def test_a_run_that_was_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.lm.models.load_model", lambda name: fakes.tiny_llama(layers=3))
    (tmp_path / "run.toml").write_text(
        f'[run]\nfolder = "{tmp_path / "runs"}"\nsessions = 1\n[environment]\nmax_turns = 2\nclient = "authored"\n'
        "[lora]\nattention_rank = 2\nmlp_rank = 1\n[generation]\nmax_tokens = 6\nbeliefs_shown = 0\n"
    )
    assert icarus("train", "--config", tmp_path / "run.toml") == 0
    run = next((tmp_path / "runs").iterdir())
    _, text = card_of(run, tmp_path / "out")
    summary = json.loads((run / "summary.json").read_text("utf-8"))
    for part in (
        f"| turns | {summary['turns']} |",
        summary["tables_hash"],
        "8 held-out client lines",
        "RLAIF ",
        "| judge spent | nothing |",
    ):
        assert part in text, part  # fmt: skip
    assert "unknown" not in text.lower()
    assert str(tmp_path) not in text


def test_a_card_of_a_fine_tuned_adapter_tells_the_sessions(tmp_path: Path) -> None:
    import json

    from test_agents_corpus_trainer import run, told

    from agents.card import model_card
    from agents.lm.interchange import read_adapter

    made = run(told(tmp_path))
    summary = json.loads((made.folder / "summary.json").read_text())
    card = model_card(made.settings, summary, read_adapter(made.folder / "adapters"), "owner/base", None)
    assert "By fine-tuning on what the therapists of sessions said (3 times through them)." in card
    assert "on 1 sessions held out" in card
    assert f"{summary['looks'][0]['loss']:.3f} to {summary['looks'][-1]['loss']:.3f}" in card
    assert str(tmp_path) not in card
