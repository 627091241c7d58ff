"""What benchmarks/training.py found, as a page: tables, ratios, and the machine in words."""

import argparse
import os
import platform
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.lm.device import device_name
from benchmarks.training_sides.process import Process

OWN = "Icarus"


@dataclass(frozen=True)
class Row:
    """One side with so many prompts a step: medians of its steps, in seconds; GB resident, the most so far.

    generate, whole: None for a side that learns from replies that it did not write.
    """

    side: str
    name: str
    trainable: int
    prompts: int
    steps: int
    generate: float | None
    learn: float
    whole: float | None
    resident_gb: float

    @classmethod
    def of(cls, side: str, process: Process, prompts: int, steps: Sequence[dict[str, Any]]) -> "Row":
        learn = [step["learn"] for step in steps]
        generate = [step["generate"] for step in steps if step["generate"] is not None]
        whole = [sum(both) for both in zip(generate, learn, strict=False)]
        return cls(
            side, process.name, process.trainable, prompts, len(steps), statistics.median(generate) if generate else None,
            statistics.median(learn), statistics.median(whole) if whole else None, max(step["resident_gb"] for step in steps),
        )  # fmt: skip


def report(
    rows: Sequence[Row],
    own: dict[str, Any],
    turn: dict[str, Any] | None,
    lengths: Sequence[int],
    asked: argparse.Namespace,
) -> str:
    """The page."""
    parameters = sorted({row.trainable for row in rows})
    lines = [
        "# The speed of training", "",
        f"Made by `{command(asked)}`, whose first lines say how, on {machine()}. Prompts of {spread(lengths)} tokens, four "
        f"replies of {asked.new_tokens} tokens each; {' / '.join(f'{p:,}' for p in parameters)} parameters are learned. Seconds "
        "are medians; the sides' steps alternate. With several prompts Icarus takes a step for each, the peers one for all: TRL in "
        "one batch, mlx-lm-lora as many sequences at a time as there are prompts. mlx-lm-lora's reference is a second model.",
        "",
        "| prompts a step | side | steps | generate | loss, backward, step | whole | GB resident |",
        "|--:|---|--:|--:|--:|--:|--:|",
        *(
            f"| {r.prompts} | {r.name} | {r.steps} | {decimals(r.generate)} | {r.learn:.2f} | {decimals(r.whole)} | "
            f"{r.resident_gb:.2f} |"
            for r in rows
        ),
        "", "How many times as long, and as much memory, as Icarus:", "",
        "| prompts a step | side | generate | loss, backward, step | whole | memory |", "|--:|---|--:|--:|--:|--:|",
        *ratios(rows), "", *alone(own),
    ]  # fmt: skip
    if turn is not None:
        lines += ["", *turns(turn)]
    return "\n".join(lines) + "\n"


def ratios(rows: Sequence[Row]) -> list[str]:
    """Rows of a table: each side's numbers over those of Icarus with as many prompts."""
    by_own = {row.prompts: row for row in rows if row.side == OWN}
    lines = []
    for row in rows:
        own = by_own.get(row.prompts)
        if own is not None and row.side != OWN:
            pairs = [(getattr(row, n), getattr(own, n)) for n in ("generate", "learn", "whole", "resident_gb")]
            times = [decimals(None if a is None or not b else a / b) for a, b in pairs]
            lines.append(f"| {row.prompts} | {row.name} | {' | '.join(times)} |")
    return lines


def decimals(number: float | None) -> str:
    return "–" if number is None else f"{number:.2f}"


def alone(own: dict[str, Any]) -> list[str]:
    """Icarus beside itself."""
    gradients, reference, lower, table = (own[part] for part in ("gradients", "reference", "lower", "checkpoint"))
    return [
        "## Icarus alone", "",
        f"- Gradients of the quick passes differ from those of full padded sequences by {gradients['largest']:.1e} at most, "
        f"{gradients['relative']:.1e} of the largest.",
        f"- Reference log-probabilities take {reference['reference']:.2f} s, {reference['reference'] / reference['policy']:.0%} "
        f"of a policy pass forward and backward ({reference['policy']:.2f} s), with no second model.",
        f"- A switch of roles takes {own['switch'] * 1e3:.3f} ms.",
        f"- RLAIF and GRPO step: {lower['once']:.2f} s with the layers below the first adapter computed once a step, "
        f"{lower['every_pass']:.2f} s with them in every pass ({lower['every_pass'] / lower['once']:.2f} times).",
        "", "Loss and backward of one group. Memory: the most that MLX held, the model among it.", "",
        "| pass | seconds | to the first | GB |", "|---|--:|--:|--:|",
        *(f"| {r['pass']} | {r['seconds']:.2f} | {table[0]['seconds'] / r['seconds']:.2f} | {r['peak_gb']:.2f} |" for r in table),
        "", "Checkpointed is `optimizer.checkpoint_gradients = true`; it is off unless asked for.",
    ]  # fmt: skip


def turns(turn: dict[str, Any]) -> list[str]:
    """A whole turn both ways."""
    (quick, plain), (fast, slow) = turn["seconds"].values(), turn["parts"].values()
    words = (
        "the same words"
        if turn["same"]
        else "not the same words: rounding tipped a draw, so that lengths differ a little"
    )
    return [
        "## A whole turn of self-play", "",
        f"Client, reply, both readings of the judge, correction, four candidates judged, {turn['steps']} of two steps "
        "(quickstart); the plain turn is the same role by role, sample by sample, with full padded sequences. "
        f"Both said {words}.", "",
        "| part | as it is | plain | times |", "|---|--:|--:|--:|",
        *(f"| {part} | {fast[part]:.2f} | {slow[part]:.2f} | {slow[part] / fast[part]:.1f} |" for part in fast),
        f"| whole | {quick:.2f} | {plain:.2f} | {plain / quick:.1f} |",
    ]  # fmt: skip


def machine() -> str:
    """Processor, cores, memory and arithmetic, in words."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return f"{_processor()}, {cores} cores, {memory:.0f} GB of memory, {platform.system()}, {device_name()}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor() or platform.machine()
    named = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if line.startswith("model name")]
    return named[0] if named else platform.machine()


def command(asked: argparse.Namespace) -> str:
    """As it was called; where the peers' environments stand is nobody's business."""
    said = ["python benchmarks/training.py"]
    said += ["--peers DIR"] if asked.peers else []
    said += [
        f"--prompts {' '.join(map(str, asked.prompts))}",
        f"--repeats {asked.repeats}",
        f"--new-tokens {asked.new_tokens}",
    ]
    return " ".join(said)


def spread(lengths: Sequence[int]) -> str:
    return str(lengths[0]) if len(set(lengths)) == 1 else f"{min(lengths)}-{max(lengths)}"
