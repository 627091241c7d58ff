"""Read a CSV table into checked rows; every mistake of a file, or of a folder of files, in one error."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError


class TableError(ValueError):
    """One or more tables hold something that was not expected. `problems` lists every mistake found."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        head = f"{count} problem{'s' if count != 1 else ''} in the tables; none was loaded:"
        super().__init__("\n  - ".join((head, *self.problems)))


class Row(BaseModel):
    """A row of a table: each column is a field with its meaning, each fact has its source."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    source: str = Field(min_length=3, description="Where the fact comes from: a paper line, a finding, or design.")


R = TypeVar("R", bound=Row)


def read_table(path: Path, row_type: type[R], problems: list[str]) -> list[R]:
    """Rows of `path` in file order. Mistakes are appended to `problems`, so that a caller can report all files at once."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        problems.append(f"{path}: no such table; expected a CSV file with columns {', '.join(row_type.model_fields)}")
        return []
    except UnicodeDecodeError as error:
        problems.append(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save the table as UTF-8")
        return []
    reader = csv.DictReader(text.splitlines(), strict=True)
    found, expected = list(reader.fieldnames or ()), list(row_type.model_fields)
    if set(found) != set(expected) or len(found) != len(expected):
        problems.append(f"{path}:1: found columns {', '.join(found)}; expected {', '.join(expected)}")
        return []
    rows: list[R] = []
    try:
        for cells in reader:
            place = f"{path}:{reader.line_num}"
            if None in cells or None in cells.values():
                problems.append(f"{place}: found a row of another length than its header; quote cells that hold commas")
                continue
            try:
                rows.append(row_type.model_validate({name: cell.strip() for name, cell in cells.items()}))
            except ValidationError as error:
                for mistake in error.errors():
                    column = ".".join(str(part) for part in mistake["loc"]) or "row"
                    problems.append(f"{place}: {column}: found {mistake['input']!r}; {mistake['msg']}")
    except csv.Error as error:
        problems.append(f"{path}:{reader.line_num}: not a CSV row ({error})")
    return rows
