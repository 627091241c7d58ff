"""Fine-tuning and DPO on sessions, whole runs on a tiny random model: they learn, stop, go on, and refuse what has changed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import tiny_llama
from test_agents_corpus import session

from agents.corpus_trainer import CorpusProgress, CorpusTrainer
from agents.lm.five_tuple import write_sessions
from agents.lm.lora import LoraSettings
from agents.lm.run_folder import RunFolder, RunFolderError
from agents.run import enter, has_start, phases
from agents.settings import (
    CorpusPart,
    DpoPart,
    EnvironmentPart,
    GenerationPart,
    GrpoPart,
    RunPart,
    Settings,
    SettingsError,
    SftPart,
    settings_of,
)
from agents.trainer import TBNRLTrainer


def told(folder: Path, method: str = "sft", **changes: Any) -> Settings:
    place = folder / "sessions.jsonl"
    if not place.exists():
        write_sessions(place, [session(str(i)) for i in range(4)])
    return Settings(
        run=RunPart(method=method, folder=str(folder / "runs"), seed=5, checkpoint_every=2, sessions=1),  # type: ignore[arg-type]
        lora=LoraSettings(attention_rank=4, mlp_rank=2),
        corpus=CorpusPart(sessions=str(place), held_out=1, shared_by=4),
        sft=SftPart(epochs=3 if method == "sft" else 0, learning_rate=1e-2),
        dpo=DpoPart(epochs=3, learning_rate=1e-2, longest_window=2),
        environment=EnvironmentPart(max_turns=2, client="authored"),
        generation=GenerationPart(max_tokens=6, min_p=0.0, remembered_turns=1, beliefs_shown=0),
        **changes,
    )


def run(settings: Settings, stop_after: int | None = None, folder: RunFolder | None = None) -> CorpusTrainer:
    made = CorpusTrainer(tiny_llama(layers=3), settings, folder)

    def on_step(line: dict[str, Any], progress: CorpusProgress) -> None:
        made.stop = progress.step == stop_after

    made.on_step = on_step
    enter(made)
    made.train()
    made.close()
    return made


def log(made: CorpusTrainer) -> list[str]:
    lines = (made.folder / "steps.jsonl").read_text().splitlines()
    return [json.dumps({k: v for k, v in json.loads(line).items() if k != "seconds"}) for line in lines]


@pytest.mark.parametrize("method", ["sft", "A", "B"])
def test_what_is_held_out_is_learned_too_where_sessions_are_alike(tmp_path: Path, method: str) -> None:
    made = run(told(tmp_path, method))
    summary = json.loads((made.folder / "summary.json").read_text())
    looks = summary["looks"]
    assert looks[0]["step"] == 0
    assert looks[-1]["step"] == summary["steps"] == len(log(made))
    assert looks[-1]["loss"] < looks[0]["loss"]
    if method != "sft":
        assert looks[0]["loss"] == pytest.approx(np.log(2.0))  # the policy is the reference
        assert looks[0]["accuracy"] == 0.5
        assert looks[-1]["accuracy"] == 1.0
        assert looks[-1]["chosen"] > looks[-1]["rejected"]
    assert summary["adapter_change"] > 0.0
    assert summary["best"]["score"] == -min(look["loss"] for look in looks[1:])


def test_method_b_sees_each_pair_in_more_views(tmp_path: Path) -> None:
    a, b = (CorpusTrainer(tiny_llama(layers=3), told(tmp_path, method)) for method in "AB")
    assert len(b.examples) > 2 * len(a.examples)
    assert all(len(one.prompt) > 0 for one in b.examples)


@pytest.mark.parametrize(("method", "stop"), [("sft", 1), ("sft", 4), ("A", 3)])
def test_stopping_and_going_on_is_not_stopping(tmp_path: Path, method: str, stop: int) -> None:
    whole = run(told(tmp_path, method))
    stopped = run(told(tmp_path, method), stop_after=stop)
    assert not (stopped.folder / "summary.json").exists()
    again = run(told(tmp_path, method), folder=RunFolder.existing(stopped.folder.path))
    assert log(again) == log(whole)
    weights = "adapters/adapters.safetensors"
    assert (again.folder / weights).read_bytes() == (whole.folder / weights).read_bytes()


def test_the_best_checkpoint_is_kept_when_others_go(tmp_path: Path) -> None:
    settings = told(tmp_path)
    made = run(settings)
    assert made.best is not None
    kept = [path.name for path in made.folder.checkpoints()]
    assert f"after-{made.best['count']:07d}" in kept
    assert len(kept) <= settings.run.keep_checkpoints + 1
    made.best = {"count": 1, "score": 0.0}
    (made.folder.checkpoint_path(1)).mkdir()
    made.folder.acquire()
    made._checkpoint()
    made.close()
    assert "after-0000001" in [path.name for path in made.folder.checkpoints()]


def test_a_run_does_not_go_on_with_other_sessions(tmp_path: Path) -> None:
    stopped = run(told(tmp_path), stop_after=1)
    write_sessions(tmp_path / "sessions.jsonl", [session(str(i), stage=3) for i in range(4)])
    with pytest.raises(RunFolderError, match=r"sessions of SHA-256 .* found"):
        run(told(tmp_path), folder=RunFolder.existing(stopped.folder.path))


def test_a_run_with_a_start_is_fine_tuned_first_and_its_reference_is_what_that_made(tmp_path: Path) -> None:
    settings = told(tmp_path, "A")
    settings = settings.model_copy(update={"sft": SftPart(epochs=1, learning_rate=1e-2)})
    assert has_start(settings)
    loaded = tiny_llama(layers=3)
    made = phases(loaded, settings, None)
    first = next(made)
    assert isinstance(first, CorpusTrainer)
    assert first.method == "sft"
    enter(first)
    first.stop = True
    first.train()
    first.close()
    place = first.folder.path.parent
    assert (place / "settings.toml").is_file()

    # The start was stopped: going on in a new process finishes it, and then the method begins with what it made.
    going_on = phases(tiny_llama(layers=3), settings, RunFolder.existing(place))
    for trainer in going_on:
        enter(trainer)
        assert trainer.train() is not None
        trainer.close()
    assert isinstance(trainer, CorpusTrainer)
    assert trainer.method == "A"
    assert trainer.folder.path == place
    start = CorpusTrainer(tiny_llama(layers=3), trainer.settings)
    assert start.learner.frozen_hash == trainer.learner.frozen_hash != first.learner.frozen_hash
    left = list(phases(tiny_llama(layers=3), settings, RunFolder.existing(place)))
    assert [type(each) for each in left] == [CorpusTrainer]


def test_sessions_that_cannot_be_read_leave_no_folder_of_a_run_with_a_start(tmp_path: Path) -> None:
    settings = told(tmp_path, "A")
    corpus = settings.corpus.model_copy(update={"sessions": str(tmp_path / "nowhere")})
    settings = settings.model_copy(update={"sft": SftPart(epochs=1), "corpus": corpus})
    with pytest.raises(Exception, match="nowhere"):
        next(phases(tiny_llama(layers=3), settings, None))
    assert not any(Path(settings.run.folder).glob("*"))


def test_self_play_begins_with_the_fine_tuned_adapters(tmp_path: Path) -> None:
    settings = told(tmp_path, "C").model_copy(update={"sft": SftPart(epochs=1, learning_rate=1e-2)})
    made = phases(tiny_llama(layers=3), settings, None)
    first = next(made)
    enter(first)
    first.train()
    first.close()
    second = next(made)
    assert isinstance(second, TBNRLTrainer)
    assert second.folder.path == first.folder.path.parent
    assert second.learner.frozen_hash == first.sets.hash("therapist")


def test_a_gradient_that_stays_broken_pauses_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from agents import learner as module

    monkeypatch.setattr(module, "sft_loss", lambda logp, mask: (logp * float("nan")).sum())
    made = run(told(tmp_path))
    assert made.paused is not None
    assert "not finite" in made.paused or "expected finite" in made.paused
    assert made.adapter_change() == 0.0


def test_fine_tuning_without_epochs_is_a_mistake() -> None:
    with pytest.raises(SettingsError, match=r"sft.epochs = 0; expected at least 1"):
        settings_of({"run": {"method": "sft"}}, "here")


def test_the_options_of_grpo_are_off_in_the_papers_sense() -> None:
    plain = GrpoPart()
    assert (plain.advantage, plain.drop_equal, plain.iterations, plain.clip_ratio) == ("z-score", False, 1, None)
