"""Settings: every file that ships can be read; every mistake is named."""

from pathlib import Path

import pytest

from agents.settings import Settings, SettingsError, read_settings
from client_graph.names import CONFIGS


@pytest.mark.parametrize(
    "path", sorted(set(CONFIGS.glob("*.toml")) - set(CONFIGS.glob("dapt_*.toml"))), ids=lambda path: path.name
)
def test_every_shipped_run_config_is_valid_and_begins_with_its_command(path: Path) -> None:
    read_settings(path)
    assert path.read_text().startswith(f"# icarus train --config configs/{path.name}")


def test_the_papers_config_has_the_papers_numbers() -> None:
    s = read_settings(CONFIGS / "icarus-9.2.toml")
    assert (s.lora.layers, s.lora.attention_rank, s.lora.mlp_rank) == ("middle-third", 32, 16)
    assert s.grpo.temperatures == (0.6, 0.7, 0.8, 0.9)
    assert (s.rlaif.weight, s.grpo.weight, s.rlaif.temperature, s.grpo.kl_estimator) == (0.4, 0.6, 0.5, "paper")
    assert (s.generation.temperature, s.generation.min_p, s.rlaif.beta) == (0.7, 0.0, 0.1)
    assert (s.optimizer.learning_rate, s.optimizer.clip_norm, s.rlaif.only_if_better) == (1e-6, 1.0, False)


def test_settings_as_used_read_back_as_they_were(tmp_path: Path) -> None:
    settings = read_settings(CONFIGS / "quickstart.toml", {"run.seed": 11})
    (tmp_path / "settings.toml").write_text(settings.to_toml())
    assert read_settings(tmp_path / "settings.toml") == settings
    assert settings.run.seed == 11


def test_all_mistakes_in_one_error_with_a_cure(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(
        '[run]\nsesions = 2\n[optimizer]\nlearning_rate = -1.0\n[grpo]\nkl_estimator = "k9"\n[lora]\nrank = 3\n'
    )
    with pytest.raises(SettingsError) as caught:
        read_settings(path)
    text = str(caught.value)
    assert "4 setting(s)" in text
    for part in (
        "run.sesions",
        "did you mean sessions?",
        "optimizer.learning_rate",
        "-1.0",
        "kl_estimator",
        "'k9'",
        "lora.rank",
    ):
        assert part in text


@pytest.mark.parametrize(
    "text", ["[run]\nseed = 1\nseed = 2\n", "not toml", "[run]\nseed = nan\n", '[environment]\ncatalog = ""\n']
)
def test_what_is_no_settings_file_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "run.toml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=r"run\.toml"):
        read_settings(path)


def test_a_missing_file_says_what_to_try() -> None:
    with pytest.raises(SettingsError, match=r"quickstart\.toml"):
        read_settings("no/such/file.toml")


def test_every_setting_has_its_sentence() -> None:
    for name, part in Settings.model_fields.items():
        for setting, field in part.annotation.model_fields.items():  # type: ignore[union-attr]
            assert len(field.description or "") > 15, f"{name}.{setting}"


def test_a_mistake_of_a_section_does_not_show_the_key_in_it(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text('[environment.anthropic]\napi_key = "canary-key"\nmoney_budget = 5.0\n')
    with pytest.raises(SettingsError) as caught:
        read_settings(path)
    assert "prices" in str(caught.value)
    assert "canary" not in str(caught.value)
