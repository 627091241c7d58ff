"""A run as one picture: losses, reconstruction, kurtosis of every layer as lines and as a map, where it moved, recaps.

A stage of the paper's is shaded where the rule of dapt/stages.py found it, and nowhere else.
"""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, ScalarFormatter

from dapt.probe import PLACES, SIDES
from dapt.run_log import RunLog
from dapt.stages import Stage
from dapt.watching import FEATURES, counted

INK, QUIET, FAINT = "#222222", "#777777", "#D3E4F3"
COLOURS = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#999999",
)  # Okabe and Ito 2008: told apart without red or green
MARKS = dict(zip(PLACES, ("first windows: no history", "later windows", "slots of the history"), strict=True))


def png(run: RunLog) -> bytes:
    """The picture; the same bytes for the same run."""
    data = io.BytesIO()
    figure(run).savefig(data, format="png", dpi=100, metadata={"Software": ""})
    return data.getvalue()


def figure(run: RunLog) -> Figure:
    """Four rows of two panels; those of kurtosis say so where nothing was measured."""
    made = Figure(figsize=(13, 17), layout="constrained", facecolor="white")
    FigureCanvasAgg(made)
    axes = made.subplots(4, 2)
    last = len(run.windows)
    seen = run.stages
    _losses(axes[0, 0], run, seen[0])
    _reconstruction(axes[0, 1], run, seen[1])
    for i, side in enumerate(SIDES):
        _lines(made, axes[1, i], run, side)
        _map(made, axes[2, i], run, side)
    _places(axes[3, 0], run, seen[2])
    _recaps(axes[3, 1], run)
    for one in axes.flat:
        one.set_xlim(-0.01 * last, 1.01 * last)
        one.xaxis.set_major_locator(MaxNLocator(integer=True))
    return made


def _losses(axes: Axes, run: RunLog, stage: Stage) -> None:
    x = np.arange(1, len(run.windows) + 1)
    axes.plot(x, _numbers(run.windows, "loss"), ".", color=QUIET, alpha=0.45, ms=4, label="a window")
    ends = np.cumsum([line["windows"] for line in run.steps])
    axes.plot(ends, _numbers(run.steps, "loss"), color=COLOURS[0], lw=1, alpha=0.8, label="a step: its whole sample")
    if run.probes:
        axes.plot(run.at, run.measured("loss"), "o-", color=COLOURS[1], ms=4, lw=1.6, label="held-out text")
    axes.set(xlabel="windows read", ylabel="nats a token")
    _shaded(axes, stage)
    _dressed(axes, "Loss by window, by step, and held out")


def _reconstruction(axes: Axes, run: RunLog, stage: Stage) -> None:
    x = np.arange(1, len(run.windows) + 1)
    axes.plot(
        x,
        _numbers(run.windows, "reconstruction"),
        ".",
        color=QUIET,
        alpha=0.45,
        ms=4,
        label="a window, before its step",
    )
    if run.probes:
        axes.plot(run.at, run.measured("reconstruction"), "o-", color=COLOURS[1], ms=4, lw=1.6, label="held-out text")
    axes.set(xlabel="windows read", ylabel="reconstruction loss")
    _shaded(axes, stage)
    _dressed(axes, "What the compressor loses")


def _lines(made: Figure, axes: Axes, run: RunLog, side: str) -> None:
    """A line a layer, dark at the bottom of the model; thick where it is adapted."""
    layers, colours = run.kurtosis("later", side), colormaps["viridis"]
    for i, line in enumerate(layers):
        axes.plot(run.at, line, color=colours(i / max(1, len(layers) - 1)), lw=1.8 if i in run.adapted else 0.7)
    if layers.size and np.nanmax(layers) > 8 * np.nanmin(layers):
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter(ScalarFormatter())
    axes.axhline(3.0, color=QUIET, lw=0.8, ls=":")
    axes.set(
        xlabel="windows read (dark: low layers, yellow: high; thick: adapted; dotted: a Gaussian)", ylabel="kurtosis"
    )
    _dressed(axes, f"Kurtosis of {side} in later windows, by layer")
    _none(axes, layers)


def _map(made: Figure, axes: Axes, run: RunLog, side: str) -> None:
    """Change since the first measurement, in percent; a bar at the left where layers are adapted."""
    layers = run.kurtosis("later", side)
    _dressed(axes, f"Kurtosis of {side} in later windows: change")
    axes.set(xlabel="windows read (bar at the left: adapted layers)", ylabel="layer")
    _none(axes, layers)
    if not layers.size:
        return
    change = 100.0 * (layers / layers[:, :1] - 1.0)
    most = max(1.0, float(np.nanmax(np.abs(change))))
    edges = np.append(run.at, max(run.at[-1] + 1, len(run.windows)))  # a measurement holds until the next one
    image = axes.pcolormesh(edges, np.arange(len(layers) + 1) - 0.5, change, cmap="PuOr_r", vmin=-most, vmax=most)
    made.colorbar(image, ax=axes, pad=0.02, label="percent").outline.set_visible(False)
    for i in run.adapted:
        axes.plot([0, 0], [i - 0.45, i + 0.45], color=INK, lw=4, clip_on=False)
    axes.yaxis.set_major_locator(MaxNLocator(integer=True))


def _places(axes: Axes, run: RunLog, stage: Stage) -> None:
    drawn = np.zeros(0)
    for place, colour in zip(PLACES, COLOURS, strict=False):
        mean = run.mean_kurtosis(place)
        if len(mean) and np.isfinite(mean[0]):
            drawn = mean
            told = f"{MARKS[place]}: {mean[0]:.2f} to {mean[-1]:.2f}"
            axes.plot(run.at, 100.0 * (mean / mean[0] - 1.0), "o-", ms=3.5, color=colour, label=told)
    axes.axhline(0.0, color=QUIET, lw=0.8)
    axes.set(xlabel="windows read", ylabel="change of the mean over layers, percent")
    _shaded(axes, stage)
    _dressed(axes, "Where kurtosis moved")
    _none(axes, drawn)


def _recaps(axes: Axes, run: RunLog) -> None:
    """Features as running means over a tenth of the run, and each recap's class as a tick at the top."""
    made = [(i, line["quality"]) for i, line in enumerate(run.windows, start=1) if line["quality"]]
    _dressed(axes, "Recaps: what is counted in them, and their class")
    axes.set(xlabel="windows read", ylabel="share, running mean (at the top: class)", ylim=(-0.02, 1.18))
    _none(axes, np.array(made, object), "the run makes no recaps")
    if not made:
        return
    x = np.array([i for i, _ in made])
    wide = max(1, len(made) // 10)
    for name, colour in zip(FEATURES, COLOURS, strict=True):
        values = np.array([counted(quality, name) for _, quality in made])
        axes.plot(x, _running(values, wide), color=colour, label=name)
    for kind, colour, height in (("good", COLOURS[2], 1.06), ("poor", "#E69F00", 1.10), ("garbage", INK, 1.14)):
        mine = [i for i, quality in made if quality["kind"] == kind]
        axes.plot(mine, [height] * len(mine), "|", color=colour, ms=6, label=f"{kind}: {len(mine)}")
    axes.legend(fontsize=8, frameon=False, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.13))


def _running(values: np.ndarray, wide: int) -> np.ndarray:
    """Mean over the last `wide` values, or as many as there are."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - wide)
    means: np.ndarray = (sums[ends] - sums[starts]) / (ends - starts)
    return means


def _numbers(lines: Sequence[dict[str, float | None]], name: str) -> np.ndarray:
    """Null, which is no number, leaves a gap."""
    return np.array([line[name] for line in lines], np.float64)


def _shaded(axes: Axes, stage: Stage) -> None:
    if stage.span is not None:
        axes.axvspan(*stage.span, color=FAINT, zorder=0, label=f"stage seen: {stage.name}")


def _none(axes: Axes, found: np.ndarray, why: str = "nothing was measured: no later window of held-out text") -> None:
    if not found.size:
        axes.text(0.5, 0.5, why, transform=axes.transAxes, ha="center", color=QUIET)


def _dressed(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, color=INK, fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9, colors=INK)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, frameon=False)
