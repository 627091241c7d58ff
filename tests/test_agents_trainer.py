"""Whole runs on a tiny random model, through the same code as the real one."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import tiny_llama
from rich.console import Console

from agents.learner import THERAPIST
from agents.lm.adapters import AdapterMismatch, tree_hash
from agents.lm.device import mx
from agents.lm.lora import LoraSettings
from agents.lm.run_folder import RunFolder, RunFolderError
from agents.record import spending_scalars
from agents.report import LiveReport, closing_table
from agents.self_play import TurnResult
from agents.settings import EnvironmentPart, GenerationPart, OptimizerPart, RlaifPart, RunPart, Settings
from agents.trainer import Progress, TBNRLTrainer
from judges.api.ledger import Spending, Usage
from judges.protocol import Exchange, JudgeFailure, Judgement
from judges.reading.fit import ReadingFit
from judges.screening.screen import Screened
from judges.scripted import ScriptedJudge
from rewards.settings import RewardSettings


def scores(exchange: Exchange) -> list[float]:
    """Any judgement that depends on what was said, the same in every process."""
    total = sum(exchange.therapist.encode())
    return [(total * (d + 3)) % 101 / 10.0 for d in range(12)]


def settings(folder: Path, **run: Any) -> Settings:
    return Settings(
        run=RunPart(folder=str(folder), seed=5, sessions=2, checkpoint_every=2, **run),
        lora=LoraSettings(attention_rank=4, mlp_rank=2),
        environment=EnvironmentPart(max_turns=3, client="authored"),
        generation=GenerationPart(max_tokens=8, min_p=0.0, remembered_turns=1, beliefs_shown=0),
        optimizer=OptimizerPart(learning_rate=1e-2),
    )


def trainer(told: Settings, folder: Path | None = None, judge: Any = scores, model: Any = None) -> TBNRLTrainer:
    run = RunFolder.existing(folder) if folder else None
    asked = ScriptedJudge(judge) if callable(judge) else judge
    return TBNRLTrainer(model or tiny_llama(layers=3), told, run, asked)


def played(folder: Path, stop_after: int | None = None, **run: Any) -> TBNRLTrainer:
    made = trainer(settings(folder, **run))
    made.begin()
    stop_at(made, stop_after)
    made.train()
    made.folder.release()
    return made


def stop_at(made: TBNRLTrainer, turn: int | None) -> None:
    def on_turn(result: TurnResult, progress: Progress) -> None:
        made.stop = progress.total_turns == turn

    made.on_turn = on_turn


def whole_and_stopped(made: Callable[..., TBNRLTrainer], place: Path) -> tuple[TBNRLTrainer, TBNRLTrainer]:
    """A run, and one that stops after three turns and goes on; both have left the same. made(folder, run folder or None)."""
    whole, stopped = made(place / "whole"), made(place / "stopped")
    for run, turns in ((whole, None), (stopped, 3)):
        run.begin()
        stop_at(run, turns)
        run.train()
        run.folder.release()
    going_on = made(place / "stopped", RunFolder.existing(stopped.folder.path))
    assert going_on.resume() == []
    going_on.train()
    going_on.folder.release()
    assert log_without_times(whole.folder.path) == log_without_times(going_on.folder.path)
    assert adapter_bytes(whole.folder.path) == adapter_bytes(going_on.folder.path)
    return whole, going_on


def log_without_times(folder: Path) -> list[str]:
    lines = (folder / "turns.jsonl").read_text().splitlines()
    return [json.dumps({k: v for k, v in json.loads(line).items() if k != "seconds"}, sort_keys=True) for line in lines]


def adapter_bytes(folder: Path) -> bytes:
    return (folder / "adapters" / "adapters.safetensors").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> TBNRLTrainer:
    return played(tmp_path_factory.mktemp("whole"))


def test_a_run_leaves_a_whole_folder(whole: TBNRLTrainer) -> None:
    folder = whole.folder.path
    assert {path.name for path in folder.iterdir()} >= {
        "settings.toml", "turns.jsonl", "summary.json", "adapters", "checkpoints", "events"
    }  # fmt: skip
    assert len(log_without_times(folder)) == whole.progress.total_turns == 6
    assert len(list((folder / "checkpoints").iterdir())) == 2
    assert list((folder / "events").glob("events.out.tfevents.*"))
    summary = json.loads((folder / "summary.json").read_text())
    assert [session["ending"] for session in summary["sessions"]] == ["turn_limit", "turn_limit"]
    assert summary["adapter_change"] > 0.0
    assert len(summary["before"]["replies"]) == len(summary["after"]["replies"]) == 8


def test_every_number_of_a_turn_is_in_the_log(whole: TBNRLTrainer) -> None:
    row = json.loads((whole.folder.path / "turns.jsonl").read_text().splitlines()[-1])
    assert sum(row["reward_parts"].values()) == pytest.approx(row["reward"])
    assert len(row["after"]["levels"]) == 142
    assert len(row["after"]["buckets"]) == 16
    assert len(row["judgement"]["kind"]["scores"]) == len(row["judgement"]["harsh"]["reasons"]) == 12
    assert len(row["candidates"]) == len(row["grpo"]["advantages"]) == 4
    assert set(row["grpo"]["norms"]) == {"q", "k", "v", "o", "gate", "up", "down"}


def test_the_adapters_differ_from_their_start(whole: TBNRLTrainer) -> None:
    start, now = whole.sets.get("frozen"), whole.sets.get("therapist")
    assert all(np.array(now[name]).tobytes() != np.array(start[name]).tobytes() for name in now)


def test_two_runs_with_one_seed_are_the_same_byte_for_byte(whole: TBNRLTrainer, tmp_path: Path) -> None:
    mx.random.seed(99)
    np.random.seed(99)  # noqa: NPY002  # the global generators must not matter
    again = played(tmp_path)
    assert log_without_times(again.folder.path) == log_without_times(whole.folder.path)
    assert adapter_bytes(again.folder.path) == adapter_bytes(whole.folder.path)


def test_another_seed_is_another_run(whole: TBNRLTrainer, tmp_path: Path) -> None:
    told = settings(tmp_path)
    other = trainer(told.model_copy(update={"run": told.run.model_copy(update={"seed": 6})}))
    other.begin()
    other.train()
    assert log_without_times(other.folder.path) != log_without_times(whole.folder.path)


@pytest.mark.parametrize("turns", [1, 3, 4])
def test_stopping_and_going_on_is_not_stopping(whole: TBNRLTrainer, tmp_path: Path, turns: int) -> None:
    stopped = played(tmp_path, stop_after=turns)
    assert stopped.progress.total_turns == turns
    assert not (stopped.folder.path / "summary.json").exists()
    going_on = trainer(settings(tmp_path), stopped.folder.path)
    assert going_on.resume() == []
    assert going_on.train() is not None
    assert log_without_times(going_on.folder.path) == log_without_times(whole.folder.path)
    assert adapter_bytes(going_on.folder.path) == adapter_bytes(whole.folder.path)
    one, two = (
        {name: np.array(array).tobytes() for name, array in found.newest_checkpoint()[1].optimizer.items()}  # type: ignore[union-attr]
        for found in (going_on.folder, whole.folder)
    )
    assert one == two


def test_turns_after_the_last_checkpoint_are_played_again(whole: TBNRLTrainer, tmp_path: Path) -> None:
    """A killed run: the log is ahead of the newest checkpoint, and its last line is torn."""
    stopped = played(tmp_path, stop_after=3)
    folder = stopped.folder.path
    newest = stopped.folder.checkpoints()[0]
    for path in newest.iterdir():
        path.unlink()
    newest.rmdir()
    with open(folder / "turns.jsonl", "a") as log:
        log.write('{"session": 1, "tur')
    going_on = trainer(settings(tmp_path), folder)
    assert "after turn 2" in going_on.resume()[0]
    going_on.train()
    assert log_without_times(folder) == log_without_times(whole.folder.path)
    assert adapter_bytes(folder) == adapter_bytes(whole.folder.path)


def test_a_broken_checkpoint_is_passed_over(tmp_path: Path) -> None:
    stopped = played(tmp_path, stop_after=3)
    weights = stopped.folder.checkpoints()[0] / "adapter_0.safetensors"
    damaged = bytearray(weights.read_bytes())
    damaged[-3] ^= 1
    weights.write_bytes(damaged)
    going_on = trainer(settings(tmp_path), stopped.folder.path)
    assert any("broken checkpoint" in warning for warning in going_on.resume())
    assert going_on.progress.total_turns == 2


def test_a_run_does_not_go_on_with_another_base(tmp_path: Path) -> None:
    stopped = played(tmp_path, stop_after=1)
    with pytest.raises(AdapterMismatch, match="SHA-256"):
        trainer(settings(tmp_path), stopped.folder.path, model=tiny_llama(seed=1, layers=3)).resume()


def test_one_run_at_a_time_writes_in_a_folder(tmp_path: Path) -> None:
    first = trainer(settings(tmp_path))
    first.begin()
    with pytest.raises(RunFolderError, match="another run"):
        trainer(settings(tmp_path), first.folder.path).resume()
    first.folder.release()
    trainer(settings(tmp_path), first.folder.path).resume()


def test_a_judge_that_fails_invents_nothing(tmp_path: Path) -> None:
    """The session is cut short and counted; no turn is logged, no step is taken."""
    made = trainer(settings(tmp_path), judge=lambda exchange: JudgeFailure("no answer"))
    made.begin()
    summary = made.train()
    assert summary is not None
    assert summary["unfinished_sessions"] == 2
    assert summary["turns"] == 0
    assert summary["adapter_change"] == 0.0
    assert summary["before"]["composite"] is None
    assert made.folder.log_size("turns.jsonl") == 0


def test_a_group_with_a_failure_is_masked(tmp_path: Path) -> None:
    calls = 0

    def third_fails(exchange: Exchange) -> Any:
        nonlocal calls
        calls += 1
        # Eight calls are the held-out clients'; then reply, correction and the candidates, of which each is asked twice.
        return JudgeFailure("unreadable") if calls > 10 else scores(exchange)

    made = trainer(settings(tmp_path), judge=third_fails)
    made.begin()
    stop_at(made, 1)
    made.train()
    row = json.loads((made.folder.path / "turns.jsonl").read_text().splitlines()[0])
    assert "no score" in row["grpo"]["skipped"]


class Costly(ScriptedJudge):
    """Two requests for each exchange, 15 tokens and 0.5 in money each."""

    def __init__(self) -> None:
        super().__init__(scores)
        self.spending = Spending(0, 0, Usage(), Usage(output=1), 0.0, 0.0)

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement | JudgeFailure]:
        calls = 2 * len(exchanges)
        used = Usage(input=10 * calls, output=5 * calls)
        self.spending += Spending(calls, 0, used, Usage(), calls / 2, 0.0)
        return super().judge(exchanges)


def test_what_the_judge_has_spent_is_on_record_also_over_a_stop(tmp_path: Path) -> None:
    judges = [Costly(), Costly()]
    made = trainer(settings(tmp_path), judge=Screened(judges[0]))
    made.begin()
    stop_at(made, 4)  # in the second session, and the first has ended after three turns
    made.train()
    made.close()
    again = trainer(settings(tmp_path), made.folder.path, judge=judges[1])
    again.resume()
    summary = again.train()
    assert summary is not None
    total = judges[0].spending + judges[1].spending
    assert Spending.of(summary["spending"]) == total
    first, second = (Spending.of(each["spent_so_far"]) for each in summary["sessions"])
    assert 0 < first.calls < judges[0].spending.calls
    assert second.calls == total.calls - 2 * len(summary["after"]["replies"])  # the last probe is after all sessions
    drawn = b"".join(path.read_bytes() for path in (again.folder.path / "events").iterdir())
    assert b"judge/cost" in drawn
    shown = StringIO()
    report = LiveReport(Console(file=shown, width=300), 2, 3)
    report.session(summary["sessions"][1])
    Console(file=shown, width=300).print(closing_table(summary))
    assert f"the judge has spent so far: {second}" in shown.getvalue()
    assert f"{total.calls} requests answered" in shown.getvalue()


def test_a_judge_that_costs_nothing_leaves_no_account(whole: TBNRLTrainer) -> None:
    summary = json.loads((whole.folder / "summary.json").read_text())
    assert summary["spending"] is None
    assert all("spent_so_far" not in session for session in summary["sessions"])
    assert spending_scalars(None) == {}


def test_a_cost_is_drawn_where_prices_are_known() -> None:
    spent = Spending(1, 0, Usage(1, 2, 3, 4), Usage(5), 0.5, 0.0)
    assert spending_scalars(spent) == {"judge/tokens": 10.0, "judge/lost_tokens": 5.0, "judge/cost": 0.5}
    assert "judge/cost" not in spending_scalars(replace(spent, cost=None))


def test_clients_come_back_for_their_next_session(tmp_path: Path) -> None:
    made = played(tmp_path, sessions_per_client=2)
    rows = [json.loads(line) for line in (made.folder.path / "turns.jsonl").read_text().splitlines()]
    assert len({row["person"]["name"] + row["person"]["opening"] for row in rows}) == 1
    assert rows[-1]["after"]["session_measures"]["completed_sessions"] == 2.0


def test_a_gradient_that_is_not_finite_is_on_record_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One group's advantages are NaN: that step is refused, its numbers are null in the log, the others are taken."""
    from agents import learner as module

    groups = 0

    def second_is_nan(found: Any, **how: Any) -> Any:
        nonlocal groups
        groups += 1
        return plain(found, **how) * float("nan") if groups == 2 else plain(found, **how)

    plain = module.group_advantages
    monkeypatch.setattr(module, "group_advantages", second_is_nan)
    made = played(tmp_path)
    rows = [json.loads(line) for line in (made.folder.path / "turns.jsonl").read_text().splitlines()]
    assert [row["grpo"]["applied"] for row in rows] == [True, False, True, True, True, True]
    assert rows[1]["grpo"]["loss"] is None
    assert all(np.isfinite(np.array(array)).all() for array in made.sets.get("therapist").values())


def test_gradients_that_stay_broken_pause_the_run_which_can_go_on_at_a_lower_rate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from agents import learner as module

    with monkeypatch.context() as broken:
        broken.setattr(module, "group_advantages", lambda found, **how: found * float("nan"))
        made = trainer(settings(tmp_path).model_copy(update={"rlaif": RlaifPart(weight=0.0)}))
        made.begin()
        made.train()
        made.folder.release()
    assert made.paused is not None
    assert "settings.toml" in made.paused
    told = settings(tmp_path)
    lower = told.model_copy(update={"optimizer": OptimizerPart(learning_rate=1e-5)})
    going_on = trainer(lower, made.folder.path)
    going_on.resume()
    assert going_on.learner.optimizer.learning_rate.item() == pytest.approx(1e-5)
    assert going_on.train() is not None


def test_a_client_without_an_opening_cuts_the_session_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from envs.voice import AuthoredVoice, VoiceFailure

    made = trainer(settings(tmp_path))
    made.begin()
    monkeypatch.setattr(AuthoredVoice, "speak", lambda self, turns: [VoiceFailure("no words today")])
    summary = made.train()
    assert summary is not None
    assert [session["ending"] for session in summary["sessions"]] == ["failed", "failed"]


def test_a_log_that_lost_lines_is_refused(tmp_path: Path) -> None:
    stopped = played(tmp_path, stop_after=2)
    log = stopped.folder.path / "turns.jsonl"
    log.write_bytes(log.read_bytes()[:100])
    with pytest.raises(RunFolderError, match="missing"):
        trainer(settings(tmp_path), stopped.folder.path).resume()
    assert log.stat().st_size == 100


def test_a_run_does_not_go_on_from_another_starting_adapter(tmp_path: Path) -> None:
    stopped = played(tmp_path, stop_after=1)
    told = settings(tmp_path)
    other = told.model_copy(update={"run": told.run.model_copy(update={"seed": 6})})
    with pytest.raises(AdapterMismatch, match="began with"):
        trainer(other, stopped.folder.path).resume()


def test_a_turn_steps_toward_the_correction_first_and_samples_candidates_from_what_that_moved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = {
        "rlaif": RlaifPart(only_if_better=False),
        "reward": RewardSettings(violation=0.0),
    }  # random bytes break every frame
    made = trainer(settings(tmp_path).model_copy(update=free))
    order: list[tuple[str, str]] = []

    def recorded(name: str, holder: Any) -> None:
        before = getattr(holder, name)

        def call(*arguments: Any, **named: Any) -> Any:
            order.append((name, tree_hash(made.sets.get(THERAPIST))))
            return before(*arguments, **named)

        monkeypatch.setattr(holder, name, call)

    for name in ("rlaif_step", "grpo_step"):
        recorded(name, made.learner)
    for name in ("reply", "corrected", "candidates"):
        recorded(name, made.therapist)
    made.begin()
    order.clear()  # the probe's
    stop_at(made, 1)
    made.train()
    made.folder.release()
    names, policies = zip(*order, strict=True)
    assert names[:5] == ("reply", "corrected", "rlaif_step", "candidates", "grpo_step")
    assert policies[0] == policies[1] == policies[2] != policies[3] == policies[4]


class ScriptedEmbedding:
    """Stands for the embedding judge where a fit to its examples is not what is tested."""

    name, examples = "embedding", None

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement | JudgeFailure]:
        return ScriptedJudge(scores).judge(exchanges)


def test_a_run_with_the_reading_judge_that_stops_and_goes_on_is_one_that_does_not_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    width = 2 * 32  # two layers of the tiny model
    line = np.random.default_rng(0).normal(size=width + 1)
    fit = ReadingFit(
        np.zeros(width), np.ones(width), np.stack([line, line]), np.tile([-3.0, 3.0], (2, 1)), np.array([5.0])
    )
    monkeypatch.setattr("agents.judge.EmbeddingJudge", ScriptedEmbedding)
    monkeypatch.setattr("agents.judge.cached_reading", lambda reader, examples: fit)

    def made(folder: Path, run: RunFolder | None = None) -> TBNRLTrainer:
        told = settings(folder)
        part = told.environment.model_copy(update={"judge": "reading"})
        return TBNRLTrainer(tiny_llama(layers=6), told.model_copy(update={"environment": part}), run)

    whole, stopped = whole_and_stopped(made, tmp_path)
    assert whole.env.judge.name == stopped.env.judge.name == "embedding+reading:tiny-llama"
    judged = json.loads((whole.folder.path / "turns.jsonl").read_text().splitlines()[0])["judgement"]
    assert "of its points are left" in judged["kind"]["narrative"]


def test_what_every_client_was_told_is_remembered_over_a_stop(tmp_path: Path) -> None:
    def made(run: RunFolder | None = None) -> TBNRLTrainer:
        told = settings(tmp_path)
        part = told.environment.model_copy(update={"memory": 64})
        return TBNRLTrainer(
            tiny_llama(layers=3), told.model_copy(update={"environment": part}), run, ScriptedJudge(scores)
        )

    def on_turn(result: TurnResult, progress: Progress) -> None:
        seen.append(result)
        run.stop = len(seen) == 3

    seen: list[TurnResult] = []
    run = made()
    run.on_turn = on_turn
    run.begin()
    run.train()
    run.folder.release()
    assert run.env.judge.name == "scripted+memory"
    assert run.memory is not None
    remembered = run.memory.state()
    assert [told["client"] for told in remembered] == [result.client for result in seen]
    for told, result in zip(remembered, seen, strict=True):
        assert len(told["replies"]) == 1 + len(result.candidates)
        assert told["replies"][0] == result.outcome.utterance
    going_on = made(RunFolder.existing(run.folder.path))
    assert going_on.resume() == []
    assert going_on.memory is not None
    assert going_on.memory.state() == remembered
    going_on.folder.release()


def test_a_memory_that_speaks_speaks_the_same_after_a_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the third line on here, and of every word: what is charged depends on how many lines are remembered."""
    monkeypatch.setattr("judges.memory.LENGTH", 1)
    monkeypatch.setattr("judges.memory.FEWEST", 2)
    monkeypatch.setattr("judges.memory.COMMON", 0.0)

    def made(folder: Path, run: RunFolder | None = None) -> TBNRLTrainer:
        told = settings(folder)
        part = told.environment.model_copy(update={"memory": 64})
        told = told.model_copy(update={"environment": part})
        return TBNRLTrainer(tiny_llama(layers=3), told, run, ScriptedJudge(scores))

    whole, _ = whole_and_stopped(made, tmp_path)
    kinds = [
        {found["kind"] for found in json.loads(line)["judgement"]["violations"]}
        for line in log_without_times(whole.folder.path)
    ]
    assert not any("stencil" in found for found in kinds[:2])
    assert any("stencil" in found for found in kinds[4:])  # after the stop
