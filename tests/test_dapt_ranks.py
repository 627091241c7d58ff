"""Two processes on loopback, each with a sample of its own: one step on the mean over all windows, one compressor, exact resume."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import mlx.optimizers as optim
import numpy as np
import pytest
from dapt_ranks_worker import still
from fakes import tiny_llama
from mlx.utils import tree_unflatten
from test_agents_ranks import launched, said
from test_dapt_rra import TOKENS, memory_of
from test_dapt_trainer import told

from agents.lm.device import mx
from agents.lm.lora import flatten, trainable
from agents.lm.ranks import Ranks
from agents.lm.step import norms_of, take_step
from dapt.compressor import Compressor
from dapt.recap import Gate
from dapt.rolling import compressor_step
from dapt.rra import cache_shapes
from dapt.trainer import DaptTrainer
from dapt.watching import LOGS

WORKER = Path(__file__).parent / "dapt_ranks_worker.py"


def mean_gradient(folder: Path, turn: int, monkeypatch: pytest.MonkeyPatch) -> tuple[dict[str, mx.array], int]:
    """Of the sample of one turn, read alone; and its windows."""
    seen: list[Any] = []
    with monkeypatch.context() as patched:
        patched.setattr(
            "dapt.trainer.take_step", lambda model, optimizer, gradients, norms, clip: seen.append(gradients)
        )
        made = DaptTrainer(tiny_llama(layers=3), still(told(folder)))
        mine = made.sample(turn)
        patched.setattr(made, "sample", lambda turn: mine)
        made.begin()
        made.train()
        made.close()
    return flatten(seen[0]), made.progress.windows


def test_two_ranks_step_on_the_mean_over_the_windows_of_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "two").mkdir()
    told(tmp_path / "two")
    launched("step", str(tmp_path / "two"), worker=WORKER)
    first, second = said(tmp_path / "two", "step")
    assert first["adapters"] == second["adapters"]

    found = [mean_gradient(tmp_path / f"one-{turn}", turn, monkeypatch) for turn in (0, 1)]
    windows = [n for _, n in found]
    assert windows == [first["windows"], second["windows"]]
    assert windows[0] != windows[1]  # or a plain mean of the two would do
    assert first["rounds"] == second["rounds"] == max(windows)
    mean = {name: sum(n * g[name] for g, n in found) / sum(windows) for name in found[0][0]}
    one = DaptTrainer(tiny_llama(layers=3), still(told(tmp_path)))
    gradients = tree_unflatten(list(mean.items()))
    take_step(one.loaded.model, one.optimizer, gradients, norms_of(mean), one.settings.optimizer.clip_norm)
    for name, array in trainable(one.loaded.model).items():
        assert np.allclose(np.array(array), np.array(first["weights"][name]), atol=2e-5, rtol=0), name


@pytest.mark.parametrize("what", ["run", "masked"])
def test_a_run_over_two_ranks_keeps_one_compressor_and_goes_on_exactly(tmp_path: Path, what: str) -> None:
    """A stop on one rank stops both in one round, inside a sample; one that lost its newest checkpoint takes the other back.

    Of all that is read, and of some of it: where there are windows of which nothing is learned.
    """
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for folder in (whole, stopped):
        folder.mkdir()
        told(folder)
    launched(what, str(whole), worker=WORKER)
    found = said(whole, what)
    assert all(one["done"] for one in found)
    assert all((one["given"] > 0) == (what == "masked") for one in found)
    assert found[0]["rounds"] == found[1]["rounds"] > min(one["windows"] for one in found)
    for held in ("adapters", "compressor"):
        assert found[0][held] == found[1][held]

    launched(what, str(stopped), "3", worker=WORKER)
    halfway = said(stopped, what)
    assert not any(one["done"] for one in halfway)
    assert halfway[0]["rounds"] == halfway[1]["rounds"]
    assert halfway[0]["compressor"] == halfway[1]["compressor"]
    run = next(stopped.glob("runs/*"))
    shutil.rmtree(max((run / "rank-1" / "checkpoints").iterdir()))
    launched(what, str(stopped), worker=WORKER)
    again, other = said(stopped, what), next(whole.glob("runs/*"))
    for held in ("adapters", "compressor", "windows", "given"):
        assert [one[held] for one in again] == [one[held] for one in found]
    for part in (".", "rank-1"):
        for log in LOGS:
            assert lines(run / part / log) == lines(other / part / log), (part, log)


def lines(path: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in path.read_text().splitlines()]


class Beside(Ranks):
    """One of two ranks, whose other has a gradient of ones, or none."""

    def __init__(self, other: float) -> None:
        super().__init__()
        self.size, self.other = 2, other

    def mean(self, tree: Any, weight: float) -> tuple[Any, float]:
        total = weight + self.other
        parts = {
            name: (weight * g + self.other * mx.ones_like(g)) / (total or 1.0) for name, g in flatten(tree).items()
        }
        return tree_unflatten(list(parts.items())), total


@pytest.mark.parametrize(("gate", "mine"), [(1.2, True), (0.0, True), (1.0, False)])
@pytest.mark.parametrize("other", [1.0, 0.0])
def test_the_compressor_moves_where_some_rank_has_a_gradient(gate: float, mine: bool, other: float) -> None:
    model = tiny_llama(layers=3).model
    _, history = memory_of(model, TOKENS, 6)
    compressor = Compressor(cache_shapes(model))
    before = {name: mx.array(a) for name, a in flatten(compressor.parameters()).items()}
    optimizer = optim.SGD(1e-2)
    loss = compressor_step(compressor, optimizer, history if mine else None, 6, Gate(1.0, gate), Beside(other))
    has = mine and gate > 0.0
    assert (loss is not None) == has
    moved = {name: a - before[name] for name, a in flatten(compressor.parameters()).items()}
    largest = max(float(mx.abs(a).max()) for a in moved.values())
    if not has and other == 0.0:
        assert largest == 0.0
    elif not has:
        assert all(mx.allclose(a, mx.full(a.shape, -1e-2), atol=1e-6) for a in moved.values())
    else:
        assert largest > 0.0
