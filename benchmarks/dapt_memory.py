"""Is the memory of pre-training flat? One sample of 10,000 to 500,000 tokens, read window by window by the code of `icarus dapt`.

    python benchmarks/dapt_memory.py [--model tiny|smollm2] [--lengths 10000 ... 500000] [--minutes 60] [--write]

The sample is one session of the shipped sessions' turns, one after the other, again from the first when they end. Each length is a
process of its own and a whole step: tokens, windows with recaps, the compressor's steps, checkpoints at window borders, the
optimizer's step. Measured from after the model was loaded: what MLX held at most (mx.get_peak_memory), what the process had
resident at most (Linux: VmHWM, set back; elsewhere ru_maxrss, which loading may hide), and the time of a window. Ratios are to
the shortest sample; within the longest one, the last tenth of its windows to the first tenth.

`--minutes` bounds the whole: the sample that is being read when they are over is left at a window's border, and what it had read is
reported. The tiny model (random, a byte a token) took 0.6 s a window on a busy machine: some 900 windows, nine minutes. SmolLM2
reads two samples, 10,000 tokens and as much of 500,000 as is left of an hour, at 10 to 20 s a window of 1024 (an estimate).
`--write` writes docs/dapt_memory.md and .png (with the model's name behind it, but for the tiny one).
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a neighbour has the name of a package

import numpy as np

from agents.lm.device import device_name, mx
from agents.lm.five_tuple import Session, read_sessions, write_sessions
from agents.lm.models import LoadedModel, load_model
from client_graph.files import write_whole
from dapt.markup import turn_text
from dapt.settings import CorpusPart, DaptSettings, RunPart, WindowPart
from dapt.trainer import DaptTrainer

# isort: split
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parent.parent
LENGTHS = {"tiny": (10_000, 20_000, 50_000, 100_000, 200_000, 500_000)}
OTHERS = (10_000, 500_000)  # of a real model: the measure, and as far as time allows
STATUS = Path("/proc/self/status")
TOLERANCE = 0.05


@dataclass(frozen=True)
class Sample:
    """What one process measured. peak, resident: bytes after each window (n,); seconds (n,). whole: whether it came to its step."""

    tokens: int
    read: int
    whole: bool
    slots: int
    size: int
    peak: np.ndarray
    resident: np.ndarray
    seconds: np.ndarray

    @classmethod
    def of(cls, told: dict[str, Any]) -> "Sample":
        arrays = {name: np.array(told[name], np.float64) for name in ("peak", "resident", "seconds")}
        return cls(**{**told, **arrays})

    def drift(self, name: str) -> float:
        """The median of the last tenth of the windows over that of the first tenth.

        The first window, which has no history, and the last, which has more or fewer tokens, are left out.
        """
        series = getattr(self, name)[1:-1]
        part = max(1, len(series) // 10)
        return float(np.median(series[-part:]) / np.median(series[:part]))


class Long(DaptTrainer):
    """Reads the longest sample that there is."""

    def sample(self, step: int) -> int:
        return len(self.curriculum) - 1


def long_session(loaded: LoadedModel, tokens: int) -> Session:
    """At least so many tokens of turns."""
    shipped = [turn for session in read_sessions(ROOT / "configs" / "sessions") for turn in session.turns]
    turns, held = [], 0
    for i in count():
        turns.append(shipped[i % len(shipped)])
        text = turn_text(Session(id="one", turns=(turns[-1],)), 0)
        held += len(loaded.tokenizer.encode(text, add_special_tokens=False))
        if held >= tokens:
            return Session(id="long", turns=tuple(turns))
    raise AssertionError


def base_model(model: str) -> LoadedModel:
    if model == "tiny":
        from tests.fakes import tiny_llama

        return tiny_llama()
    return load_model(model)


def resident_at_most() -> int:
    """Bytes that were resident at most since `forget_resident`, or since the process began."""
    if STATUS.exists():
        line = next(line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def forget_resident() -> None:
    if STATUS.exists():
        Path("/proc/self/clear_refs").write_text("5")  # man 5 proc: sets VmHWM back to what is resident now


def measure(model: str, tokens: int, window: WindowPart, deadline: float) -> dict[str, Any]:
    """Read one sample in this process, until it is done or `deadline` (time.time()) is past."""
    loaded = base_model(model)
    found: dict[str, list[float]] = {"peak": [], "resident": [], "seconds": []}
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / "sessions.jsonl"
        write_sessions(corpus, [long_session(loaded, tokens)])
        settings = DaptSettings(
            run=RunPart(folder=folder, steps=1, checkpoint_every=25),
            corpus=CorpusPart(sessions=str(corpus), held_out=0, views=("uhd",)),
            window=window,
        )
        trainer = Long(loaded, settings)
        trainer.begin()
        mx.clear_cache()
        mx.reset_peak_memory()
        forget_resident()

        def on_window(line: dict[str, Any]) -> None:
            found["peak"].append(mx.get_peak_memory())
            found["resident"].append(resident_at_most())
            found["seconds"].append(line["seconds"])
            trainer.stop = time.time() > deadline
            mx.reset_peak_memory()
            if line["window"] % 50 == 0:
                print(f"  window {line['window']} of {line['of']}", file=sys.stderr, flush=True)

        trainer.on_window = on_window
        summary = trainer.train()
        trainer.close()
        found["peak"][-1] = max(found["peak"][-1], mx.get_peak_memory())  # with the optimizer's step
        found["resident"][-1] = resident_at_most()
        whole = int(trainer.curriculum.tokens[-1])
    read = whole if summary else min(whole, len(found["seconds"]) * window.size)
    return {
        "tokens": whole,
        "read": read,
        "whole": summary is not None,
        "slots": window.slots,
        "size": window.size,
        **found,
    }


def apart(model: str, tokens: int, window: WindowPart, deadline: float) -> Sample:
    """The same in a process of its own, so that no sample finds what another left."""
    command = [sys.executable, __file__, "--model", model, "--one", str(tokens), "--deadline", str(deadline)]
    command += ["--window", str(window.size), "--slots", str(window.slots), "--recap", str(window.recap_tokens)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return Sample.of(json.loads(done.stdout.splitlines()[-1]))


HEAD = (
    "| tokens | read | windows | MLX at most, MB | to the first | resident at most, MB | to the first | s a window | to the first "
    "| last tenth over first: MLX | time |\n|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
)


def row(one: Sample, first: Sample) -> str:
    peak, resident, seconds = one.peak.max(), one.resident.max(), float(np.median(one.seconds))
    return (
        f"| {one.tokens:,} | {one.read:,}{'' if one.whole else ' (time was over)'} | {len(one.seconds)} "
        f"| {peak / 1e6:.1f} | {peak / first.peak.max():.3f} | {resident / 1e6:.1f} | {resident / first.resident.max():.3f} "
        f"| {seconds:.3f} | {seconds / np.median(first.seconds):.2f} | {one.drift('peak'):.3f} | {one.drift('seconds'):.2f} |"
    )


def verdict(samples: Sequence[Sample]) -> str:
    first, last = samples[0], samples[-1]
    peak, resident = (getattr(last, name).max() / getattr(first, name).max() for name in ("peak", "resident"))
    held = "within" if max(peak, resident) <= 1.0 + TOLERANCE else "NOT within"
    return (
        f"{last.read:,} tokens in one sample take {peak:.3f} times the MLX memory and {resident:.3f} times the resident memory of "
        f"{first.read:,}: {held} {TOLERANCE:.0%}."
    )


def report(samples: Sequence[Sample], model: str) -> str:
    parts = [
        "# The memory of one long sample",
        "",
        f"Made by `benchmarks/dapt_memory.py --model {model}`, whose first lines say how, on {device_name()}; windows of",
        f"{samples[0].size} tokens, {samples[0].slots} slots. Ratios count, times do not; nothing else should have run meanwhile.",
        "",
        HEAD,
        *[row(one, samples[0]) for one in samples],
        "",
        verdict(samples),
    ]
    return "\n".join(parts) + "\n"


def picture(samples: Sequence[Sample], path: Path) -> None:
    """Memory by the length of the sample, beside what is flat within 5 %; time by where in the longest sample a window stands."""
    figure, axes = plt.subplots(1, 3, figsize=(15, 3.8), layout="constrained")
    read = [one.read for one in samples]
    for axis, name, title in (
        (axes[0], "peak", "MLX at most, MB"),
        (axes[1], "resident", "resident at most, MB"),
    ):
        values = np.array([getattr(one, name).max() for one in samples]) / 1e6
        axis.fill_between(
            read, values[0] * (1 - TOLERANCE), values[0] * (1 + TOLERANCE), color="#D3E4F3", label="within 5 %"
        )
        axis.plot(read, values, "o-", color="#0072B2")
        axis.set(xscale="log", ylim=(0, 1.3 * values.max()), xlabel="tokens in one sample")
        axis.set_title(title, fontsize=10, loc="left")
        axis.legend(frameon=False, fontsize=9)
    longest = samples[-1]
    at = np.arange(1, len(longest.seconds) + 1) * longest.size
    axes[2].plot(at, longest.seconds, ".", color="#777777", ms=3)
    axes[2].set(ylim=(0, 2.0 * float(np.median(longest.seconds))), xlabel="tokens read")
    axes[2].set_title(f"seconds a window, in the sample of {longest.tokens:,} tokens", fontsize=10, loc="left")
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="tiny", help='"tiny" (random), "smollm2", or a folder')
    parser.add_argument("--lengths", type=int, nargs="+", help="tokens of each sample, ascending")
    parser.add_argument("--minutes", type=float, default=60.0, help="of everything")
    parser.add_argument("--window", type=int, default=1024)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--recap", type=int, default=16, help="longest recap, tokens")
    parser.add_argument("--write", action="store_true", help="write docs/dapt_memory.*")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where --write writes")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--deadline", type=float, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    window = WindowPart(size=asked.window, slots=asked.slots, recap_tokens=asked.recap)
    if asked.one:
        print(json.dumps(measure(asked.model, asked.one, window, asked.deadline)))
        return
    deadline, samples = time.time() + 60.0 * asked.minutes, list[Sample]()
    print(HEAD)
    for tokens in asked.lengths or LENGTHS.get(asked.model, OTHERS):
        if time.time() > deadline:
            print(f"left out {tokens:,} tokens and what is longer: {asked.minutes:g} minutes are over")
            break
        samples.append(apart(asked.model, tokens, window, deadline))
        print(row(samples[-1], samples[0]), flush=True)
        if asked.write:
            stem = "dapt_memory" if asked.model == "tiny" else f"dapt_memory_{Path(asked.model).name}"
            write_whole(asked.docs / f"{stem}.md", report(samples, asked.model).encode())
            picture(samples, asked.docs / f"{stem}.png")
    print(verdict(samples))


if __name__ == "__main__":
    main()
