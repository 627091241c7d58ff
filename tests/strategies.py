"""What only the project's own tests need: edited copies of the default tables.

Strategies for scores, catalogs and clients are in `client_graph.testing`.
"""

import csv
from collections.abc import Callable, Iterable
from pathlib import Path

from client_graph.names import CONFIGS

Edit = Callable[[list[dict[str, str]]], Iterable[dict[str, str]]]


def copied_tables(folder: Path, **edits: Edit | None) -> Path:
    """The default tables written to `folder`, each named one passed through its edit, or left out where that is None."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted((CONFIGS / "client").glob("*.csv")):
        edit = edits.get(path.stem, lambda rows: rows)
        if edit is None:
            continue
        with path.open(encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines)
            columns, rows = list(reader.fieldnames or ()), list(reader)
        rows = list(edit(rows))
        with (folder / path.name).open("w", encoding="utf-8", newline="") as out:
            writer = csv.DictWriter(out, list(rows[0]) if rows else columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    return folder
