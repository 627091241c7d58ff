"""Whole pre-training runs on a tiny random model: they learn, stop inside a sample, go on exactly, and refuse what has changed."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from fakes import tiny, tiny_llama
from test_dapt_uhd import plain

from agents.lm.adapters import AdapterMismatch, adapter_settings, load_adapter, tree_hash
from agents.lm.checkpoint import Checkpoint, save_checkpoint
from agents.lm.device import mx
from agents.lm.five_tuple import SessionFileError, write_sessions
from agents.lm.lora import LoraSettings, flatten, inject, slots
from agents.lm.models import LoadedModel
from agents.lm.run_folder import RunFolder, RunFolderError
from dapt.recap import Quality
from dapt.rolling import ASKED
from dapt.saving import rolling_of
from dapt.settings import (
    CorpusPart,
    DaptSettings,
    DaptSettingsError,
    OptimizerPart,
    RunPart,
    WatchPart,
    WindowPart,
    read_dapt_settings,
)
from dapt.trainer import DaptTrainer
from dapt.watching import LOGS, PROBES, WINDOWS


def told(folder: Path, **run: Any) -> DaptSettings:
    folder.mkdir(exist_ok=True)
    place = folder / "sessions.jsonl"
    if not place.exists():
        write_sessions(place, [plain(f"s{i}", 3) for i in range(4)])
    return DaptSettings(
        run=RunPart(folder=str(folder / "runs"), seed=3, checkpoint_every=2, **{"steps": 4, **run}),
        lora=LoraSettings(attention_rank=4, mlp_rank=2),
        corpus=CorpusPart(sessions=str(place), held_out=1, most_tokens=700),
        window=WindowPart(size=120, slots=8, recap_tokens=6),
        optimizer=OptimizerPart(learning_rate=1e-2),
        watch=WatchPart(every=3, windows=3),
    )


def run(
    settings: DaptSettings,
    stop_after: int | None = None,
    folder: RunFolder | None = None,
    loaded: LoadedModel | None = None,
) -> DaptTrainer:
    made = DaptTrainer(loaded or tiny_llama(layers=3), settings, folder)

    def on_window(line: dict[str, Any]) -> None:
        made.stop = made.progress.windows == stop_after

    made.on_window = on_window
    if folder is None:
        made.begin()
    else:
        made.resume()
    made.train()
    made.close()
    return made


def log(made: DaptTrainer, name: str = WINDOWS) -> list[dict[str, Any]]:
    lines = (made.folder / name).read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in lines]


def logs(made: DaptTrainer) -> dict[str, list[dict[str, Any]]]:
    return {name: log(made, name) for name in LOGS}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> DaptTrainer:
    return run(told(tmp_path_factory.mktemp("whole")))


def test_a_run_learns_what_its_sessions_have_in_common(whole: DaptTrainer) -> None:
    summary = json.loads((whole.folder / "summary.json").read_text())
    first, last = summary["looks"]
    assert last["loss"] < first["loss"]
    assert summary["steps"] == 4
    assert summary["windows"] == len(log(whole)) > 4
    assert summary["refused"] == 0


def test_the_adapter_is_one_that_training_begins_with(whole: DaptTrainer) -> None:
    place = whole.folder / "adapters"
    other = tiny_llama(layers=3)
    inject(other.model, adapter_settings(place), mx.random.key(9))
    tree = load_adapter(place, other.model, other.base_hash)
    assert set(tree) == set(slots(other.model))


def test_windows_after_the_first_are_read_with_a_recap_and_its_gate(whole: DaptTrainer) -> None:
    lines = log(whole)
    later = [line for line in lines if line["window"] > 1]
    assert later
    gates = {"good": [1.0, 1.2], "poor": [0.6, 0.5], "garbage": [0.0, 0.0]}
    for before, line in pairwise(lines):
        if line["window"] > 1:
            assert line["gate"] == gates[before["quality"]["kind"]]
            assert (line["reconstruction"] is None) == (line["gate"][1] == 0.0)
    assert all(line["gate"] == [1.0, 1.0] for line in lines if line["window"] == 1)
    assert all((line["recap"] is None) == (line["window"] == line["of"]) for line in lines)


def test_samples_come_shortest_cluster_first(whole: DaptTrainer) -> None:
    order = [whole.sample(i) for i in range(len(whole.curriculum))]
    clusters = whole.curriculum.cluster[order]
    assert sorted(clusters.tolist()) == clusters.tolist()


def test_a_run_is_measured_every_so_many_windows_on_one_text(whole: DaptTrainer) -> None:
    probes, windows = log(whole, PROBES), whole.progress.windows
    assert [line["windows"] for line in probes] == [0, *range(3, windows, 3), windows]
    first, last = probes[0], probes[-1]
    assert last["step"] == whole.progress.step
    for place in ("first", "later", "history"):
        assert {side: len(layers) for side, layers in first["kurtosis"][place].items()} == {"keys": 3, "values": 3}
    # Layer 1 of 3 is adapted: no adapter reaches the lower layer's keys, and no history the first window's.
    assert last["kurtosis"]["first"]["keys"][0] == first["kurtosis"]["first"]["keys"][0]
    assert last["kurtosis"]["first"]["keys"][2] != first["kurtosis"]["first"]["keys"][2]
    assert last["loss"] < first["loss"]


def test_a_step_has_its_loss_and_norms(whole: DaptTrainer) -> None:
    steps, windows = log(whole, "steps.jsonl"), log(whole)
    assert [line["step"] for line in steps] == [1, 2, 3, 4]
    for line in steps:
        mine = [one for one in windows if one["step"] == line["step"]]
        assert line["windows"] == len(mine) == mine[0]["of"]
        scored = [one["tokens"] - (one["window"] == 1) for one in mine]
        nats = sum(n * one["loss"] for n, one in zip(scored, mine, strict=True))
        assert line["loss"] == pytest.approx(nats / sum(scored))
        assert line["applied"]
        assert line["norm"] > 0.0
        assert line["norm"] ** 2 == pytest.approx(sum(norm**2 for norm in line["norms"].values()))
    assert all(one["norm"] > 0.0 for one in windows)


def test_watching_changes_nothing_of_what_is_learned(whole: DaptTrainer, tmp_path: Path) -> None:
    unseen = run(told(tmp_path).model_copy(update={"watch": WatchPart(every=0, windows=1)}))
    assert log(unseen) == log(whole)
    assert [line["windows"] for line in log(unseen, PROBES)] == [0, unseen.progress.windows]
    weights = "adapters/adapters.safetensors"
    assert (unseen.folder / weights).read_bytes() == (whole.folder / weights).read_bytes()


def test_a_run_that_holds_nothing_out_measures_nothing(tmp_path: Path) -> None:
    settings = told(tmp_path, steps=1)
    made = run(settings.model_copy(update={"corpus": settings.corpus.model_copy(update={"held_out": 0})}))
    assert not (made.folder / PROBES).exists()
    assert made.progress.step == 1


def test_tensorboard_draws_what_the_logs_hold(whole: DaptTrainer) -> None:
    drawn = b"".join(path.read_bytes() for path in (whole.folder / "events").iterdir())
    for name in (
        "window/loss", "window/norm", "window/reconstruction", "gate/adapters", "recap/strangers", "recap/class", "step/norm",
        "step_norm/down", "probe/loss", "kurtosis/later_keys", "kurtosis_keys/layer_02", "kurtosis_values/layer_00",
    ):  # fmt: skip
        assert name.encode() in drawn


@pytest.mark.parametrize("stop", [1, 2, 5])
def test_stopping_inside_a_sample_and_going_on_is_not_stopping(whole: DaptTrainer, tmp_path: Path, stop: int) -> None:
    stopped = run(told(tmp_path), stop_after=stop)
    assert stopped.progress.windows == stop
    assert not (stopped.folder / "summary.json").exists()
    again = run(told(tmp_path), folder=RunFolder.existing(stopped.folder.path))
    assert logs(again) == logs(whole)
    weights = "adapters/adapters.safetensors"
    assert (again.folder / weights).read_bytes() == (whole.folder / weights).read_bytes()
    found = [made.folder.newest_checkpoint()[1] for made in (again, whole)]
    assert tree_hash(found[0].arrays) == tree_hash(found[1].arrays)
    assert tree_hash(found[0].optimizer or {}) == tree_hash(found[1].optimizer or {})


def test_a_killed_run_does_again_what_no_checkpoint_holds(whole: DaptTrainer, tmp_path: Path) -> None:
    stopped = run(told(tmp_path), stop_after=3)
    newest = stopped.folder.checkpoints()[0]
    for path in newest.iterdir():
        path.unlink()
    newest.rmdir()
    going_on = DaptTrainer(tiny_llama(layers=3), told(tmp_path), RunFolder.existing(stopped.folder.path))
    assert "after window 2" in going_on.resume()[0]
    going_on.train()
    going_on.close()
    assert logs(going_on) == logs(whole)


def test_a_checkpoint_of_an_older_version_is_refused(tmp_path: Path) -> None:
    stopped = run(told(tmp_path), stop_after=1)
    path, saved, _ = stopped.folder.newest_checkpoint()
    del saved.state["ranks"]
    save_checkpoint(path, adapters=saved.adapters, optimizer=stopped.optimizer, state=saved.state, arrays=saved.arrays)
    with pytest.raises(RunFolderError, match="older version"):
        run(told(tmp_path), folder=RunFolder.existing(stopped.folder.path))


def test_a_corpus_that_changed_is_refused(tmp_path: Path) -> None:
    stopped = run(told(tmp_path), stop_after=1)
    write_sessions(tmp_path / "sessions.jsonl", [plain(f"t{i}", 3) for i in range(4)])
    with pytest.raises(AdapterMismatch, match="corpus of SHA-256"):
        run(told(tmp_path), folder=RunFolder.existing(stopped.folder.path))


@pytest.mark.parametrize("model_type", ["gemma3_text", "glm4_moe_lite"])
def test_other_architectures_take_every_step(tmp_path: Path, model_type: str) -> None:
    made = run(told(tmp_path, steps=1), loaded=tiny(model_type))
    assert made.progress.step == 1
    assert made.progress.bad == 0


def test_all_mistakes_of_a_settings_file_are_told(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text("[run]\nsteps = 0\nsede = 3\n[corpus]\nsessions = ''\n")
    with pytest.raises(DaptSettingsError, match="3 setting") as error:
        read_dapt_settings(path)
    assert "run.sede" in str(error.value)
    assert read_dapt_settings("configs/dapt_quickstart.toml").window.size == 256


KINDS = {
    "good": Quality(0.0, 0.0, 0.0, 0.0, 9, 0.0, 0.0),
    "poor": Quality(0.2, 0.0, 0.0, 0.0, 9, 0.0, 0.0),
    "garbage": Quality(0.9, 0.0, 0.0, 0.0, 9, 0.0, 0.0),
}


def mean_gradient(folder: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> tuple[dict[str, mx.array], int]:
    """What a sample's step is taken on where every recap is of one kind, and the windows of the sample."""
    seen: list[Any] = []
    monkeypatch.setattr("dapt.rolling.assess", lambda *words: KINDS[kind])
    monkeypatch.setattr(
        "dapt.trainer.take_step", lambda model, optimizer, gradients, norms, clip: seen.append(gradients)
    )
    settings = told(folder, steps=1)
    # The compressor stands still, so that all three read the same history.
    still = OptimizerPart(learning_rate=1e-2, compressor_share=1e-12)
    part = settings.window.model_copy(update={"size": 90})
    made = run(settings.model_copy(update={"optimizer": still, "window": part}))
    return flatten(seen[0]), made.progress.windows


def test_a_sample_is_the_mean_of_its_windows_each_gated_by_its_recap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """g_1 + γ Σ_(n > 1) g_n over N: γ is 1, 0.6 and 0, so that poor - garbage = 0.6 (good - garbage)."""
    (good, windows), (poor, _), (garbage, _) = (
        mean_gradient(tmp_path / kind, monkeypatch, kind) for kind in ("good", "poor", "garbage")
    )
    assert windows >= 3
    largest = max(float(mx.abs(a).max()) for a in good.values())
    assert largest > 0.0
    apart = max(float(mx.abs(good[n] - garbage[n]).max()) for n in good)
    assert apart > 0.05 * largest
    for name, array in good.items():
        rest = array - garbage[name]
        assert mx.allclose(poor[name] - garbage[name], 0.6 * rest, atol=1e-3 * apart, rtol=0)


@pytest.mark.parametrize("stop", [2, 4])
def test_a_sample_with_gated_windows_goes_on_exactly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: int
) -> None:
    """Recaps of all kinds in turn: what was added up, the compressor and its moments survive a stop."""
    kinds = list(KINDS.values())
    monkeypatch.setattr("dapt.rolling.assess", lambda recap, content, *words: kinds[sum(content.encode()) % 3])
    settings = told(tmp_path).model_copy(update={"window": WindowPart(size=50, slots=8, recap_tokens=3)})
    plain = run(settings)
    gates = {tuple(line["gate"]) for line in log(plain)}
    assert len(gates) >= 3
    stopped = run(settings, stop_after=stop)
    again = run(settings, folder=RunFolder.existing(stopped.folder.path))
    assert logs(again) == logs(plain)
    found = [made.folder.newest_checkpoint()[1] for made in (again, plain)]
    assert tree_hash(found[0].arrays) == tree_hash(found[1].arrays)
    assert tree_hash(found[0].adapters["therapist"]) == tree_hash(found[1].adapters["therapist"])


def test_samples_that_are_all_too_long_are_told_before_anything_is_read(tmp_path: Path) -> None:
    settings = told(tmp_path)
    settings = settings.model_copy(update={"corpus": settings.corpus.model_copy(update={"most_tokens": 5})})
    with pytest.raises(
        SessionFileError, match=r"no sample of at most 5 tokens \(corpus\.most_tokens\); the shortest has \d+"
    ):
        DaptTrainer(tiny_llama(layers=3), settings)
    assert not (tmp_path / "runs").exists()


def test_a_recap_is_held_against_the_instruction_that_it_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def assessed(recap: str, content: str, before: str, instruction: str) -> Quality:
        asked.append(instruction)
        return KINDS["good"]

    monkeypatch.setattr("dapt.rolling.assess", assessed)
    run(told(tmp_path, steps=1))
    assert asked
    assert set(asked) == {ASKED}


def test_a_recap_that_another_version_counted_is_no_recap_to_go_on_from() -> None:
    state = {"quality": {"garble": 0.0, "words": 9}, "window": 1, "counts": [], "recap": [], "nats": 0.0, "tokens": 0}
    with pytest.raises(
        RunFolderError, match=r"of which garble, words were counted; expected garble, .*asked: another version"
    ):
        rolling_of(Checkpoint(state=state))
