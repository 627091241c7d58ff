"""Tables of examples that are still to be scored: written with empty score cells, and asked what is missing in them."""

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from client_graph.files import write_whole
from client_graph.names import DIMENSIONS
from judges.calibration.mining import Find
from judges.offline.examples import Examples

COLUMNS = ("client", "reply", *DIMENSIONS, "why", "source")
COPY = "design: a copy"


def write_finds(path: Path, finds: Sequence[Find]) -> None:
    """A table of the finds with empty score cells. Raises OSError where it cannot be written; an older file then stays."""
    rows = [
        [_line(find.said.client), _line(find.said.reply), *[""] * len(DIMENSIONS), "; ".join(map(_line, find.evidence)),
         f"mined: {find.said.source}, scored {find.said.score:.1f}"]
        for find in finds
    ]  # fmt: skip
    _write(path, rows)


def write_examples(path: Path, examples: Examples, rows: np.ndarray) -> None:
    """Some rows of a table of examples as a table of their own."""
    cells = [
        [examples.clients[i], examples.replies[i], *(f"{score:g}" for score in examples.scores[i]), examples.whys[i], COPY]
        for i in rows
    ]  # fmt: skip
    _write(path, cells)


def unscored(path: Path) -> list[str]:
    """What a person has still to do before `read_examples` takes the table, a line each; nothing where it is done."""
    try:
        reader = csv.DictReader(io.StringIO(path.read_bytes().decode("utf-8-sig"), newline=""), strict=True)
        rows, columns = [(reader.line_num, row) for row in reader], reader.fieldnames or ()
    except (UnicodeDecodeError, csv.Error) as error:
        return [f"{path}: cannot be read as a table ({error}); save it as UTF-8 with commas between cells"]
    if missing := [name for name in COLUMNS if name not in columns]:
        return [f"{path}:1: found no column {', '.join(missing)}; expected those of configs/judges/examples"]
    return [f"{path}:{line}: {told}" for line, row in rows for told in _missing(row)]


def _missing(row: dict[str, str | None]) -> Iterator[str]:
    cells = {name: (row[name] or "").strip() for name in COLUMNS}
    if empty := [name for name in DIMENSIONS if not cells[name]]:
        which = "no score at all" if len(empty) == len(DIMENSIONS) else f"no score for {', '.join(empty)}"
        yield f"{which}: {cells['reply'][:50]!r}"
    for name in DIMENSIONS:
        if cells[name] and not _is_score(cells[name]):
            yield f"{name}: found {cells[name][:20]!r}; expected a number from 0 to 10"
    for name in ("client", "reply", "why", "source"):
        if len(cells[name]) < (1 if name in ("client", "reply") else 3):
            yield f"{name}: found {cells[name]!r}; expected words"


def _is_score(cell: str) -> bool:
    try:
        return 0.0 <= float(cell) <= 10.0  # false for NaN
    except ValueError:
        return False


def _line(text: str) -> str:
    """One line without control characters, as a table's cell has to be."""
    return " ".join("".join(mark if mark.isprintable() else " " for mark in text).split())


def _write(path: Path, rows: Sequence[Sequence[str]]) -> None:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *rows])
    write_whole(path, text.getvalue().encode())
