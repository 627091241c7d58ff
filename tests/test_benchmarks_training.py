"""The training benchmark: sides answer in lines, a side that fails is named, the naive pass takes the same step."""

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from test_agents_learner import CANDIDATES, PROMPT, learner

from agents.learner import THERAPIST
from agents.settings import GrpoPart, RlaifPart
from benchmarks.training_report import Row, ratios
from benchmarks.training_sides.lines import KEYS
from benchmarks.training_sides.naive import naive_learning
from benchmarks.training_sides.process import Process, SideFailed

SIDES = Path(__file__).resolve().parent.parent / "benchmarks" / "training_sides"
TOLD: dict[str, Any] = dict.fromkeys(KEYS, 0)
SIDE = """
import sys
sys.path.insert(0, {folder!r})
from lines import serve

class Side:
    name, trainable = "a side 1.0", 7
    def __init__(self, told): print("a library says hello")
    def step(self, prompts, new_tokens):
        if not prompts: raise RuntimeError("no prompts at all")
        return {{"generate": 1.0, "learn": 2.0, "replies": [new_tokens] * len(prompts)}}

serve(Side)
"""


def side() -> Process:
    return Process([sys.executable, "-c", SIDE.format(folder=str(SIDES))], TOLD)


def test_a_side_answers_in_lines_whatever_its_libraries_print() -> None:
    running = side()
    assert (running.name, running.trainable) == ("a side 1.0", 7)
    found = running.ask({"prompts": [{}, {}], "new_tokens": 3})
    assert found["replies"] == [3, 3]
    assert found["resident_gb"] > 0.0
    assert running.close() == 0


def test_a_side_that_fails_is_named_with_what_it_printed_last() -> None:
    with pytest.raises(SideFailed, match=r"exit code 1(.|\n)*no prompts at all"):
        side().ask({"prompts": [], "new_tokens": 3})
    with pytest.raises(SideFailed, match="min_p"):
        Process([sys.executable, "-c", SIDE.format(folder=str(SIDES))], {k: 0 for k in KEYS if k != "min_p"})


def test_naive_learning_takes_the_same_steps() -> None:
    reports = []
    for naive in (False, True):
        found = learner()
        steps = [
            lambda found=found: found.rlaif_step(PROMPT, CANDIDATES[0], CANDIDATES[1], 1.0, RlaifPart()),
            lambda found=found: found.grpo_step(PROMPT, CANDIDATES, [6.0, 3.0, 7.0, 1.0], GrpoPart()).step,
        ]
        with found.sets.role(THERAPIST):
            if naive:
                with naive_learning():
                    reports.append([step() for step in steps])
            else:
                reports.append([step() for step in steps])
    for quick, plain in zip(*reports, strict=True):
        assert quick.loss == pytest.approx(plain.loss, abs=1e-4)
        assert quick.norm == pytest.approx(plain.norm, rel=1e-3)


def test_ratios_are_to_icarus_with_as_many_prompts() -> None:
    def row(side: str, prompts: int, generate: float, learn: float, gb: float) -> Row:
        steps = [
            {"generate": generate, "learn": learn, "resident_gb": gb},
            {"generate": 9.0, "learn": 9.0, "resident_gb": 0.1},
        ]
        return Row.of(side, SimpleNamespace(name=side, trainable=1), prompts, [*steps, steps[0]])  # type: ignore[arg-type]

    rows = [row("Icarus", 1, 2.0, 1.0, 1.0), row("trl", 1, 4.0, 5.0, 4.0), row("trl", 4, 4.0, 5.0, 4.0)]
    assert ratios(rows) == ["| 1 | trl | 2.00 | 5.00 | 3.00 | 4.00 |"]
