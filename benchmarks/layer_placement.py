"""Where adapters learn more: on the middle third of the layers or on the latter one, at equal trainable parameters (paper 317).

    python benchmarks/layer_placement.py [--steps 40] [--seeds 0 1 2] [--model smollm2|tiny] [--folder DIR] [--write]

The paper's middle layers lowered the loss 1.4 and 2.0 times as much as the latter ones (488-497), in one run each and on other
numbers of layers: 21 beside 30 and 33. Here both have ten layers of SmolLM2's thirty, the same ranks, the same first A, the same
samples in the same order (checked), the same keys for recaps; only the place differs. Both are run by the code of `icarus dapt`
with the windows of configs/dapt_quickstart.toml.

Measured: loss on whole sessions that are never learned from, before and after; the mean kurtosis of keys and values in later
windows (dapt/probe.py), and by layer; the classes of the recaps. A seed draws the order of samples, A and the recaps; the
held-out sessions are the same for all. Differences are within a seed; their 95 % interval is Student's over seeds, and of two
or three seeds it is wide. Reported as it comes out.

A run of 40 steps reads some 130 windows and looks twice at four held-out sessions (200 windows without learning). By arithmetic,
not yet measured, 5 s and 1 s each on two idle cores: 15 minutes a run, an hour and a half for three seeds of both. The time of
a window is printed after each run. `--model tiny --steps 4` takes the same way in three minutes and proves nothing. `--write`
writes docs/layer_placement.md and .png after every seed.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a neighbour has the name of a package

import numpy as np

from agents.lm.device import device_name
from agents.lm.lora import LoraSettings, trainable
from agents.lm.models import LoadedModel, load_model
from client_graph.files import write_whole
from dapt.run_log import RunLog, read_run
from dapt.settings import CorpusPart, DaptSettings, WatchPart, read_dapt_settings
from dapt.trainer import DaptTrainer

# isort: split
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parent.parent
PLACEMENTS = ("middle-third", "latter-third")
COLOURS = dict(zip(PLACEMENTS, ("#0072B2", "#D55E00"), strict=True))
# Student's t, two sides of 95 %, by degrees of freedom.
T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


@dataclass(frozen=True)
class Run:
    """One placement of one seed. loss, kurtosis: (before, after); by_layer: (layers,) change of kurtosis in later windows."""

    placement: str
    seed: int
    parameters: int
    loss: tuple[float, float]
    kurtosis: tuple[float, float]
    by_layer: np.ndarray
    recaps: dict[str, int]
    features: dict[str, float]
    log: RunLog

    @property
    def loss_change(self) -> float:
        """Percent."""
        return 100.0 * (self.loss[1] / self.loss[0] - 1.0)

    @property
    def kurtosis_change(self) -> float:
        """Percent."""
        return 100.0 * (self.kurtosis[1] / self.kurtosis[0] - 1.0)

    @property
    def good(self) -> float:
        """Share of recaps that are good."""
        return self.recaps["good"] / max(1, sum(self.recaps.values()))


MEASURES: dict[str, tuple[Callable[[Run], float], str]] = {
    "held-out loss, change": (lambda run: run.loss_change, "{:+.2f} %"),
    "kurtosis in later windows, change": (lambda run: run.kurtosis_change, "{:+.2f} %"),
    "good recaps": (lambda run: 100.0 * run.good, "{:.1f} %"),
    "garbage recaps": (lambda run: 100.0 * run.recaps["garbage"] / max(1, sum(run.recaps.values())), "{:.1f} %"),
}


def told(steps: int, seed: int, placement: str, folder: Path, model: str) -> DaptSettings:
    """The quickstart's settings with one thing changed between placements."""
    base = read_dapt_settings(ROOT / "configs" / "dapt_quickstart.toml")
    tiny = model == "tiny"  # a byte tokenizer: four times as many tokens
    run = base.run.model_copy(
        update={"steps": steps, "seed": seed, "folder": str(folder), "name": placement, "checkpoint_every": 10**6}
    )
    most = base.corpus.most_tokens or 900
    corpus = CorpusPart(
        sessions=str(ROOT / "configs" / "sessions"), held_out=1 if tiny else 4, most_tokens=3 * most if tiny else most
    )
    return base.model_copy(
        update={
            "run": run,
            "lora": LoraSettings(layers=placement),  # type: ignore[arg-type]
            "corpus": corpus,
            "watch": WatchPart(every=15, windows=3),
        }
    )


def base_model(model: str) -> LoadedModel:
    if model == "tiny":
        from tests.fakes import tiny_llama

        return tiny_llama(layers=9)
    return load_model(model)


def run(steps: int, seed: int, placement: str, folder: Path, model: str) -> Run:
    """One whole run, by the code of the command."""
    trainer = DaptTrainer(base_model(model), told(steps, seed, placement, folder, model))
    trainer.begin()
    try:
        summary = trainer.train()
    finally:
        trainer.close()
    assert summary is not None
    return _measured(placement, seed, trainer, summary)


def _measured(placement: str, seed: int, trainer: DaptTrainer, summary: dict[str, Any]) -> Run:
    log = read_run(trainer.folder.path)
    mean = log.mean_kurtosis("later")
    layers = (log.kurtosis("later", "keys") + log.kurtosis("later", "values")) / 2
    qualities = [line["quality"] for line in log.windows if line["quality"]]
    recaps = {kind: sum(q["kind"] == kind for q in qualities) for kind in ("good", "poor", "garbage")}
    features = {
        name: float(np.mean([q[name] for q in qualities])) for name in ("garble", "repetition", "drift", "strangers")
    }
    seconds = np.median([line["seconds"] for line in log.windows])
    print(f"{placement}, seed {seed}: {len(log.windows)} windows, {seconds:.1f} s each", flush=True)
    return Run(
        placement,
        seed,
        sum(a.size for a in trainable(trainer.loaded.model).values()),
        (summary["looks"][0]["loss"], summary["looks"][-1]["loss"]),
        (float(mean[0]), float(mean[-1])),
        100.0 * (layers[:, -1] / layers[:, 0] - 1.0),
        recaps,
        features,
        log,
    )


def expect_alike(first: Run, second: Run) -> None:
    """Raises ValueError unless only the place differs."""
    if first.parameters != second.parameters:
        raise ValueError(f"found {first.parameters} and {second.parameters} trainable parameters; expected as many")
    samples = [[line["sample"] for line in one.log.windows] for one in (first, second)]
    if samples[0] != samples[1]:
        raise ValueError(
            f"seed {first.seed}: the placements read other samples, or in another order; expected the same"
        )
    if first.loss[0] != second.loss[0]:
        raise ValueError(f"seed {first.seed}: found losses of {first.loss[0]} and {second.loss[0]} before any step")


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """(mean, and its 95 % interval by Student's t over seeds; nan of one seed)."""
    x = np.array(values)
    if len(x) < 2:
        return float(x.mean()), float("nan"), float("nan")
    t = T[len(x) - 2] if len(x) - 2 < len(T) else 1.96
    half = t * x.std(ddof=1) / np.sqrt(len(x))
    return float(x.mean()), float(x.mean() - half), float(x.mean() + half)


HEAD = (
    "| seed | adapters on | held-out loss, nats | change | kurtosis, later windows | change | recaps good / poor / garbage "
    "| garble | repetition | drift | strangers |\n|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|"
)


def row(one: Run) -> str:
    loss, kurtosis = (f"{a:.3f} to {b:.3f}" for a, b in (one.loss, one.kurtosis))
    counts = " / ".join(map(str, one.recaps.values()))
    features = " | ".join(f"{value:.2f}" for value in one.features.values())
    return (
        f"| {one.seed} | {one.placement} | {loss} | {one.loss_change:+.2f} % | {kurtosis} | {one.kurtosis_change:+.2f} % "
        f"| {counts} | {features} |"
    )


def comparison(runs: Sequence[Run]) -> list[str]:
    """Means of each placement and the difference within seeds."""
    by = {place: [one for one in runs if one.placement == place] for place in PLACEMENTS}
    lines = ["| over seeds | middle third | latter third | middle less latter |", "|---|--:|--:|--:|"]
    for name, (of, form) in MEASURES.items():
        cells = [_told(interval([of(one) for one in by[place]]), form) for place in PLACEMENTS]
        apart = [of(a) - of(b) for a, b in zip(*by.values(), strict=True)]
        cells.append(_told(interval(apart), form.replace("{:.1f}", "{:+.1f}").replace(" %", "")))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _told(found: tuple[float, float, float], form: str) -> str:
    mean, low, high = (form.format(value) for value in found)
    return mean if np.isnan(found[1]) else f"{mean} ({low} to {high})"


def verdict(runs: Sequence[Run]) -> str:
    """What the numbers say of the paper's claim, and no more."""
    by = {place: [one.loss_change for one in runs if one.placement == place] for place in PLACEMENTS}
    middle, latter = (float(np.mean(changes)) for changes in by.values())
    apart = [a - b for a, b in zip(*by.values(), strict=True)]
    _, low, high = interval(apart)
    times = f", {middle / latter:.2f} times as deep (the paper: 1.4 and 2.0)" if max(middle, latter) < 0.0 else ""
    if len(apart) < 2:
        sure = "One seed says nothing of another."
    elif low <= 0.0 <= high:
        sure = "The interval of the difference holds zero: none is shown."
    else:
        sure = "The interval of the difference leaves out zero."
    return (
        f"The loss changed by {middle:+.2f} % with adapters on the middle third and by {latter:+.2f} % on the latter{times}; the "
        f"middle third did better in {sum(one < 0 for one in apart)} of {len(apart)} seeds. {sure}"
    )


def report(runs: Sequence[Run], model: str, steps: int) -> str:
    parts = [
        "# Middle third or latter third",
        "",
        f"Made by `benchmarks/layer_placement.py --model {model} --steps {steps}`, whose first lines say how, on {device_name()}.",
        f"A simulator. {runs[0].parameters:,} trainable parameters in each; the same samples in the same order.",
        "",
        HEAD,
        *[row(one) for one in runs],
        "",
        verdict(runs),
        "",
        *comparison(runs),
        "",
        "Means and 95 % intervals (Student's, over seeds). Differences in percentage points.",
    ]
    return "\n".join(parts) + "\n"


def picture(runs: Sequence[Run], path: Path) -> None:
    """Thin lines are seeds; bars are means over them."""
    figure, axes = plt.subplots(1, 4, figsize=(17, 3.6), layout="constrained")
    for one in runs:
        of = {"color": COLOURS[one.placement], "linewidth": 1.2, "alpha": 0.8}
        first = one.seed == runs[0].seed
        mean = one.log.mean_kurtosis("later")
        axes[0].plot(one.log.at, one.log.measured("loss"), label=one.placement if first else None, **of)
        axes[1].plot(one.log.at, 100.0 * (mean / mean[0] - 1.0), **of)
        axes[2].plot(one.by_layer, marker=".", **of)
    for i, place in enumerate(PLACEMENTS):
        mine = [one for one in runs if one.placement == place]
        layers = mine[0].log.adapted
        axes[2].axvspan(layers[0] - 0.5, layers[-1] + 0.5, color=COLOURS[place], alpha=0.08)
        shares = [np.mean([one.recaps[k] / max(1, sum(one.recaps.values())) for one in mine]) for k in mine[0].recaps]
        axes[3].bar(np.arange(3) + 0.38 * (i - 0.5), shares, 0.36, color=COLOURS[place], label=place)
    axes[3].set_xticks(range(3), ["good", "poor", "garbage"])
    told = (
        ("held-out text, nats a token", "windows read"),
        ("kurtosis in later windows: change, percent", "windows read"),
        ("the same by layer, at the end (shaded: adapted)", "layer"),
        ("recaps, share", ""),
    )
    for axis, (title, below) in zip(axes, told, strict=True):
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_xlabel(below)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].legend(frameon=False, fontsize=9)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40, help="samples to learn from in each run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--model", default="smollm2", help='"smollm2", "tiny" (random, to try the script), or a folder')
    parser.add_argument("--folder", type=Path, help="keep the run folders here, e.g. for icarus dapt --report")
    parser.add_argument("--write", action="store_true", help="write docs/layer_placement.*")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="where --write writes")
    asked = parser.parse_args()
    runs: list[Run] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.folder or Path(temporary)
        for seed in asked.seeds:
            both = [run(asked.steps, seed, place, folder, asked.model) for place in PLACEMENTS]
            expect_alike(*both)
            runs += both
            if asked.write:
                write_whole(asked.docs / "layer_placement.md", report(runs, asked.model, asked.steps).encode())
                picture(runs, asked.docs / "layer_placement.png")
    print(report(runs, asked.model, asked.steps))


if __name__ == "__main__":
    main()
