"""A run on one page, RUN/report.html: the picture, the paper's stages, where kurtosis moved, the recaps and what they are worth.

The page needs no network and runs no script; what a model wrote is text in it and never markup.
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agents.lm.files import write_whole
from dapt.picture import MARKS, png
from dapt.probe import PLACES, SIDES
from dapt.run_log import RunLog, read_run
from dapt.watching import FEATURES, counted

PAGE, PICTURE = "report.html", "report.png"
SHOWN = 60  # recaps on the page, evenly spread over the run; all stand in windows.jsonl
NOTICE = (
    "Icarus is research software: a simulator of a client in treatment. It is not for clinical use. Its sessions are written by "
    "hand or played in the simulator, and nothing on this page says that a therapist was made."
)
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 75rem; margin: 2rem auto; padding: 0 1rem }
table { border-collapse: collapse; margin: .6rem 0 1.4rem } th, td { padding: .2rem .7rem; text-align: left; vertical-align: top }
th { border-bottom: 1px solid #999 } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums } img { max-width: 100% }
.notice { background: #f4f0e4; padding: .6rem 1rem } .quiet { color: #666 }
"""


def write_report(path: Path | str) -> Path:
    """Write report.html and report.png into a run's folder, each whole or not at all; returns the page.

    Raises RunFolderError where the folder holds no run that has read a window, OSError where it cannot be written.
    """
    run = read_run(path)
    picture = png(run)
    write_whole(run.path / PICTURE, picture)
    write_whole(run.path / PAGE, page(run, picture))
    return run.path / PAGE


def page(run: RunLog, picture: bytes) -> str:
    """The page as text."""
    name = html.escape(run.path.name)
    parts = [
        f"<!doctype html>\n<html lang=en><meta charset=utf-8><title>{name}</title><style>{_STYLE}</style>",
        f"<h1>Pre-training: {name}</h1><p class=notice>{NOTICE}</p>",
        *_facts(run),
        f'<img alt="losses, kurtosis, recaps" src="data:image/png;base64,{base64.b64encode(picture).decode()}">',
        *_stages(run),
        *_kurtosis(run),
        *_recaps(run),
        *_transcript(run),
    ]
    return "\n".join(parts) + "\n</html>\n"


def _facts(run: RunLog) -> Iterable[str]:
    settings, summary = run.settings, run.summary or {}
    done = "done" if run.summary else "not done: stopped, or still going"
    facts = [
        f"{len(run.steps)} of {settings.run.steps} steps, {len(run.windows)} windows ({done})",
        f"model {summary.get('model', settings.model.name)}{', ' + summary['device'] if 'device' in summary else ''}; "
        f"adapters on layers {_ranges(run.adapted)}",
        f"windows of {settings.window.size} tokens, {settings.window.slots} slots of history; seed {settings.run.seed}",
    ]
    if refused := sum(line["norm"] is None for line in run.steps):
        facts.append(f"{refused} step(s) refused: a gradient that was not finite")
    if given := sum(line["learned"] == 0 for line in run.windows):
        facts.append(f"{given} window(s) all given: nothing was learned from them")
    yield f"<p>{html.escape('. '.join(facts))}.</p>"
    looks = [look for look in summary.get("looks", []) if "loss" in look]
    if looks:
        yield "<p>Loss on whole held-out sessions, nats a token; of what is learned, where that is not all; of each component.</p>"
        names = [name for name in ("loss", "learned") if name in looks[0]]
        parts = list(looks[0].get("components", {}))
        rows = [
            (
                look["step"],
                *(f"{nats:.4f}" for nats in (*(look[n] for n in names), *(look["components"][n] for n in parts))),
            )
            for look in looks
        ]
        yield _table(("after step", *names, *parts), rows)


def _stages(run: RunLog) -> Iterable[str]:
    yield "<h2>The paper's three stages</h2><p>By the rule in dapt/stages.py; the paper calls them a developing hypothesis.</p>"
    rows = [
        (one.name, f"windows {one.span[0]} to {one.span[1]}" if one.span else "not seen", one.why) for one in run.stages
    ]
    yield _table(("stage", "seen", "what was found"), rows, numbers=False)


def _kurtosis(run: RunLog) -> Iterable[str]:
    yield "<h2>Kurtosis of keys and values</h2>"
    if not run.probes:
        yield "<p>Nothing was measured: no session was held out.</p>"
        return
    yield (
        "<p>Plain (3 for a Gaussian), on one held-out text. First windows read no history: only the adapters move them. In layers "
        "below the first adapted one only the compressor moves anything.</p>"
    )
    rows = []
    for place in PLACES:
        keys, values = (run.kurtosis(place, side) for side in SIDES)
        for named, group in _groups(run, len(keys)):
            rows.append((MARKS[place], named, *_change(keys[group]), *_change(values[group])))
    yield _table(
        ("where", "layers", "keys at the start", "at the end", "change", "values at the start", "at the end", "change"),
        rows,
    )


def _groups(run: RunLog, layers: int) -> list[tuple[str, list[int]]]:
    """All layers, and those below, with and above the adapters, where there are any."""
    if not layers:
        return []
    low, high = min(run.adapted), max(run.adapted)
    groups = {
        "all": list(range(layers)),
        "below the adapters": list(range(low)),
        "adapted": run.adapted,
        "above": list(range(high + 1, layers)),
    }
    return [(name, group) for name, group in groups.items() if group]


def _recaps(run: RunLog) -> Iterable[str]:
    """Classes and features by thirds of the run, and what the next window cost after each class."""
    yield "<h2>How good the recaps are</h2>"
    made = [line for line in run.windows if line["quality"]]
    if not made:
        yield "<p>The run has made no recap.</p>"
        return
    rows = []
    for named, part in zip(("first third", "second", "last"), np.array_split(np.arange(len(made)), 3), strict=True):
        qualities = [made[i]["quality"] for i in part]
        if qualities:
            counts = [sum(q["kind"] == kind for q in qualities) for kind in ("good", "poor", "garbage")]
            means = [f"{np.mean([counted(q, name) for q in qualities]):.2f}" for name in (*FEATURES, "words")]
            rows.append((named, len(qualities), *counts, *means))
    yield _table(("of the run", "recaps", "good", "poor", "garbage", *FEATURES, "words"), rows)
    yield "<p>The window that is read with a recap, by the recap's class (a harder window may also make a worse recap):</p>"
    after: dict[str, list[float]] = {}
    for line, following in zip(run.windows, run.windows[1:], strict=False):
        if line["quality"] and following["loss"] is not None:
            after.setdefault(line["quality"]["kind"], []).append(following["loss"])
    yield _table(
        ("recap", "windows", "mean loss"), [(kind, len(seen), f"{np.mean(seen):.3f}") for kind, seen in after.items()]
    )


def _transcript(run: RunLog) -> Iterable[str]:
    made = [line for line in run.windows if line["recap"] is not None]
    if not made:
        return
    shown = [made[i] for i in np.unique(np.linspace(0, len(made) - 1, min(SHOWN, len(made))).round().astype(int))]
    yield f"<h2>Recaps</h2><p>{len(shown)} of {len(made)}, evenly spread; no score chose them.</p>"
    rows = [
        (
            line["step"],
            f"{line['window']}/{line['of']}",
            line["quality"]["kind"],
            *(f"{counted(line['quality'], name):.2f}" for name in FEATURES),
            " ".join(line["recap"].split()),
        )
        for line in shown
    ]
    yield _table(("step", "window", "class", *FEATURES, "recap"), rows)


def _change(layers: np.ndarray) -> tuple[str, str, str]:
    """Of the mean over layers (layers, probes): first, last, and the change."""
    mean = layers.mean(axis=0)
    return f"{mean[0]:.2f}", f"{mean[-1]:.2f}", f"{100 * (mean[-1] / mean[0] - 1):+.1f} %"


def _ranges(numbers: Sequence[int]) -> str:
    """10-19 for ten in a row; none for none."""
    if not numbers:
        return "that no measurement tells"
    whole = list(numbers) == list(range(numbers[0], numbers[-1] + 1))
    return f"{numbers[0]}-{numbers[-1]}" if whole and len(numbers) > 1 else ", ".join(map(str, numbers))


def _table(heads: Sequence[str], rows: Sequence[Sequence[Any]], numbers: bool = True) -> str:
    """Cells are text; a column whose cells are numbers stands to the right."""
    right = [numbers and all(_is_number(row[i]) for row in rows) for i in range(len(heads))]

    def line(cells: Sequence[Any], tag: str) -> str:
        marked = (f"<{tag}{' class=n' * r}>{html.escape(str(c))}</{tag}>" for c, r in zip(cells, right, strict=True))
        return f"<tr>{''.join(marked)}</tr>"

    return f"<table>{line(heads, 'th')}{''.join(line(row, 'td') for row in rows)}</table>"


def _is_number(cell: Any) -> bool:
    try:
        float(str(cell).removesuffix(" %"))
    except ValueError:
        return False
    return True
