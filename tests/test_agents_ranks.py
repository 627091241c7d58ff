"""Two processes on loopback take the steps of one with both batches; a run over two goes on as if it had not been stopped."""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import mlx.nn as nn
import numpy as np
import pytest
from mlx.utils import tree_flatten, tree_map
from ranks_worker import GROUPS, LONG, PROMPT, SHORT
from test_agents_learner import learner
from test_agents_trainer import log_without_times

from agents.learner import THERAPIST, Learner
from agents.lm.device import mx
from agents.lm.logprob import response_logprobs
from agents.lm.ranks import OtherRankFailed, Ranks
from agents.losses import group_advantages, grpo_loss, sft_loss
from agents.settings import GrpoPart

WORKER = Path(__file__).parent / "ranks_worker.py"


def launched(*arguments: str, worker: Path = WORKER) -> None:
    """Run a worker on two ranks as `mlx.launch -n 2 --backend ring` does, whose own process would take a core for waiting."""
    ports = [_free_port() for _ in range(2)]
    with tempfile.NamedTemporaryFile("w", suffix=".json") as hosts:
        json.dump([[f"127.0.0.1:{port}"] for port in ports], hosts)
        hosts.flush()
        ranks = [
            subprocess.Popen(
                [sys.executable, str(worker), *arguments],
                env=os.environ | {"MLX_HOSTFILE": hosts.name, "MLX_RANK": str(rank)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for rank in range(2)
        ]
        told = [rank.communicate(timeout=600)[0] for rank in ranks]
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(told)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def said(folder: Path, what: str) -> list[dict[str, Any]]:
    return [json.loads((folder / f"{what}-{rank}.json").read_text()) for rank in (0, 1)]


def test_one_process_exchanges_nothing() -> None:
    ranks = Ranks()
    tree = {"a": mx.array([1.0])}
    assert (ranks.size, ranks.rank) == (1, 0)
    assert ranks.mean(tree, 3.0) == (tree, 3.0)
    assert ranks.any(True)
    assert not ranks.all(False)
    assert ranks.of_first("words") == "words"
    assert learner().idle_step().applied is False


class Beside(Ranks):
    """One of two ranks; the other always says the same."""

    def __init__(self, other: int) -> None:
        super().__init__()
        self.size, self.other = 2, other

    def every(self, numbers: list[int]) -> list[list[int]]:
        return [numbers, [self.other]]


def test_ranks_come_through_together_or_none_does() -> None:
    with Beside(1).together("begin"):
        pass
    with pytest.raises(OtherRankFailed, match="another rank could not begin"), Beside(0).together("begin"):
        pass
    for other in (0, 1):
        with pytest.raises(OSError, match="full"), Beside(other).together("begin"):
            raise OSError("full")


def stepped(made: Learner, loss: Any, scale: float) -> None:
    """One step by hand: gradient of the whole loss, scaled, clipped, Adam."""
    _, gradients = nn.value_and_grad(made.model, loss)()
    scaled = tree_map(lambda g: scale * g, gradients)
    norm = np.sqrt(sum(float((g**2).sum()) for _, g in tree_flatten(scaled)))
    made.optimizer.update(made.model, tree_map(lambda g: min(1.0, 1.0 / float(norm)) * g, scaled))
    mx.eval(made.model.trainable_parameters())


def test_two_ranks_take_the_step_of_one_with_both_batches(tmp_path: Path) -> None:
    launched("steps", str(tmp_path))
    first, second = said(tmp_path, "steps")
    assert first["hash"] == second["hash"]
    assert first["norms"] == second["norms"]
    assert first["nothing"] is second["nothing"] is False

    one = learner()

    def both() -> Any:
        parts = [response_logprobs(one.model, b.prompt, b.branches, given=b.given) for b in (SHORT, LONG)]
        logp, mask = (mx.concatenate([p[i].reshape(-1) for p in parts]) for i in (0, 1))
        return sft_loss(logp[None], mask[None])

    stepped(one, both, 1.0)
    stepped(one, both, 1.0)
    references = []
    for candidates, _ in GROUPS:
        with one.sets.role("frozen"):
            reference = response_logprobs(one.model, PROMPT, candidates)[0]
            mx.eval(reference)
        references.append(reference)

    def groups() -> Any:
        losses = []
        for (candidates, scores), reference in zip(GROUPS, references, strict=True):
            logp, mask = response_logprobs(one.model, PROMPT, candidates)
            losses.append(grpo_loss(logp, mask, group_advantages(mx.array(scores)), reference, GrpoPart().kl_weight))
        return mx.stack(losses).mean()

    stepped(one, groups, GrpoPart().weight)
    stepped(one, lambda: sft_loss(*response_logprobs(one.model, SHORT.prompt, SHORT.branches, given=SHORT.given)), 1.0)
    for name, array in one.sets.get(THERAPIST).items():
        assert np.allclose(np.array(array), np.array(first["weights"][name]), atol=2e-5, rtol=0), name


def test_a_run_over_two_ranks_shares_its_sessions_and_goes_on_exactly(tmp_path: Path) -> None:
    """Rank 0 plays sessions 1 and 3, rank 1 plays session 2 and then waits; a stop on one rank stops both at one place."""
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    for folder in (whole, stopped):
        folder.mkdir()
    launched("play", str(whole))
    found = said(whole, "play")
    assert [one["sessions"] for one in found] == [[1, 3], [2]]
    assert all(one["done"] for one in found)
    assert found[0]["rounds"] == found[1]["rounds"] == 6
    assert found[0]["hash"] == found[1]["hash"]

    launched("play", str(stopped), "2")
    halfway = said(stopped, "play")
    assert not any(one["done"] for one in halfway)
    assert halfway[0]["rounds"] == halfway[1]["rounds"] == 2
    # One rank lost its newest checkpoint: both go back to the newest that each has.
    run = next(stopped.glob("run-*"))
    shutil.rmtree(max((run / "rank-1" / "checkpoints").iterdir()))
    launched("play", str(stopped))
    assert [one["hash"] for one in said(stopped, "play")] == [found[0]["hash"]] * 2
    other = next(whole.glob("run-*"))
    for part in (".", "rank-1"):
        assert log_without_times(run / part) == log_without_times(other / part)
