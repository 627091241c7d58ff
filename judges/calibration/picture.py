"""A calibration as a picture: accuracy by dimension, gaps, correlations, and length (or, of two judges, their agreement)."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from client_graph.files import write_whole
from client_graph.names import DIMENSIONS
from judges.calibration.measures import agreement
from judges.calibration.run import Calibration

INK, QUIET, FAINT = "#222222", "#777777", "#E8E8E8"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")  # Okabe and Ito 2008: told apart without red or green
AIM = 0.9  # the share of pairs that the offline judge must rank rightly
_BELOW: dict[str, Any] = {
    "loc": "upper center", "bbox_to_anchor": (0.5, -0.12), "ncols": 2, "fontsize": 9, "frameon": False,
}  # fmt: skip
NAMES = [name.replace("_", " ") for name in DIMENSIONS]


def write_picture(path: Path, found: Sequence[Calibration]) -> None:
    """A PNG of four panels; the maps are of the first judge. The same bytes for the same calibrations."""
    data = io.BytesIO()
    _figure(found).savefig(data, format="png", dpi=110, metadata={"Software": ""}, bbox_inches="tight")
    write_whole(path, data.getvalue())


def _figure(found: Sequence[Calibration]) -> Figure:
    figure = Figure(figsize=(13, 10.5), layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 2)
    _accuracy(axes[0, 0], found)
    _map(
        figure,
        axes[0, 1],
        found[0].gaps,
        f"Better minus worse, points: {_short(found[0])}",
        "score in",
        "pairs of",
        None,
    )
    _map(
        figure, axes[1, 0], found[0].correlation, f"Correlation between scores: {_short(found[0])}", "", "", (-1.0, 1.0)
    )
    if len(found) > 1:
        _agreement(axes[1, 1], found[0], found[1])
    else:
        _length(axes[1, 1], found[0])
    return figure


def _accuracy(axes: Axes, found: Sequence[Calibration]) -> None:
    """The own dimension's accuracy with its interval; the composite's as a hollow mark."""
    step = 0.8 / len(found)
    for k, (one, colour) in enumerate(zip(found, COLOURS * len(found), strict=False)):
        y = np.arange(len(DIMENSIONS)) + (k - (len(found) - 1) / 2) * step
        shares = one.accuracy.own_by
        value = np.array([share.value for share in shares])
        ends = np.array([share.interval for share in shares]).T
        axes.errorbar(
            value,
            y,
            xerr=np.abs(ends - value),
            fmt="o",
            color=colour,
            ms=6,
            lw=1.3,
            label=f"{_short(one)}: own dimension, 95 %",
        )
        axes.plot(
            [share.value for share in one.accuracy.composite_by],
            y + 0.3 * step,
            "D",
            mfc="white",
            color=colour,
            ms=5,
            label=f"{_short(one)}: composite",
        )
    axes.axvline(AIM, color=QUIET, lw=1, ls=(0, (4, 3)))
    axes.set_yticks(range(len(DIMENSIONS)), NAMES)
    axes.invert_yaxis()
    axes.set(xlim=(0, 1.02), xlabel=f"share of held-out pairs ranked rightly (dashed: {AIM:.0%})")
    axes.legend(**_BELOW)
    _dressed(axes, "Which of two replies is better")


def _map(
    figure: Figure,
    axes: Axes,
    values: np.ndarray,
    title: str,
    below: str,
    beside: str,
    span: tuple[float, float] | None,
) -> None:
    low, high = span or (-float(np.nanmax(np.abs(values))), float(np.nanmax(np.abs(values))))
    image = axes.imshow(values, cmap="PuOr_r", vmin=low, vmax=high, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        if np.isfinite(value):
            dark = abs(value) > 0.65 * high
            weight: Any = "bold" if row == column and span is None else "normal"
            axes.text(
                column,
                row,
                _told(value, span),
                ha="center",
                va="center",
                fontsize=8,
                color="white" if dark else INK,
                weight=weight,
            )
    axes.set_xticks(range(len(DIMENSIONS)), NAMES, rotation=40, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(DIMENSIONS)), NAMES)
    axes.set(xlabel=below, ylabel=beside)
    figure.colorbar(image, ax=axes, shrink=0.8, pad=0.02).outline.set_visible(False)
    _dressed(axes, title)
    axes.spines[:].set_visible(False)


def _length(axes: Axes, one: Calibration) -> None:
    """Composite over words, better and worse replies apart, each with its own least-squares line."""
    for row, name, colour, slope in (
        (0, "better", COLOURS[0], one.length.better),
        (1, "worse", COLOURS[1], one.length.worse),
    ):
        kept = ~np.isnan(one.composites[row])
        x, y = one.words[row][kept], one.composites[row][kept]
        axes.plot(
            x,
            y,
            "o",
            color=colour,
            ms=4,
            alpha=0.6,
            label=f"{name}: {slope:+.2f} points for e times the words",
        )
        if np.isfinite(slope):
            ends = np.array([x.min(), x.max()])
            axes.plot(ends, y.mean() + slope * (np.log(ends) - np.log(x).mean()), color=colour, lw=2)
    axes.set_xscale("log")
    axes.set_xticks([2, 5, 10, 20, 50, 100], ["2", "5", "10", "20", "50", "100"])
    axes.minorticks_off()
    axes.set(ylim=(0, 10), xlabel="words of the reply", ylabel="composite, 0 to 10")
    axes.legend(**_BELOW)
    _dressed(axes, f"Does length buy points: {_short(one)}")


def _agreement(axes: Axes, a: Calibration, b: Calibration) -> None:
    x, y = a.composites.ravel(), b.composites.ravel()
    found = agreement(x, y)
    for row, name in ((0, "better replies"), (1, "worse replies")):
        mean, difference = (a.composites[row] + b.composites[row]) / 2, a.composites[row] - b.composites[row]
        axes.plot(mean, difference, "o", color=COLOURS[row], ms=4, alpha=0.6, label=name)
    for level, style in ((found.bias, "-"), (found.low, "--"), (found.high, "--")):
        axes.axhline(level, color=INK, lw=1, ls=style)
    axes.set(
        xlim=(0, 10),
        xlabel=f"mean of the two composites (dashed: 95 % of differences, {found.low:+.1f} to {found.high:+.1f})",
        ylabel=f"{_short(a)} - {_short(b)}, points",
    )
    axes.legend(**_BELOW)
    _dressed(
        axes,
        f"Agreement: Spearman {found.spearman:.2f}, bias {found.bias:+.1f}",
    )


def _told(value: float, span: tuple[float, float] | None) -> str:
    """A correlation with two decimals and without its 0; points with one."""
    return f"{value:.1f}" if span is None else f"{value:.2f}".replace("0.", ".")


def _dressed(axes: Axes, title: str) -> None:
    axes.set_title(title, loc="left", fontsize=11, color=INK, fontweight="bold")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=9, colors=INK, length=0)
    axes.set_axisbelow(True)


def _short(one: Calibration) -> str:
    kind, _, model = one.judge.partition(":")
    return f"{kind} ({Path(model).name})" if model else kind
