"""Read a CSV table into checked rows; every mistake of a file, or of a folder of files, in one error."""

import csv
import io
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

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
    __slots__ = (
        "read_at",
    )  # where it was read; no field, so that equal facts are equal rows, and a changed copy has none

    source: str = Field(min_length=3, description="Where the fact comes from: a paper line, a finding, or design.")


R = TypeVar("R", bound=Row)

_BREAK = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # would break a line of a prompt, a log or a terminal


def line_of(row: Row) -> int | None:
    """The line of its file that a row was read from; None for a row that was made in memory."""
    return getattr(row, "read_at", None)


def table_folder(folder: Path | str) -> Path:
    """`folder` in full, its links followed. Raises TableError where there is no such folder."""
    path = Path(folder)
    if not path.is_dir():
        kind = "a file" if path.exists() else "nothing"
        raise TableError(
            [
                f"{path}: found {kind} there (from {Path.cwd()}); expected a folder of CSV tables. "
                "Copy configs/client and edit that"
            ]
        )
    return path.resolve()


def read_table(path: Path, row_type: type[R], problems: list[str]) -> list[R]:
    """Rows of `path` in file order. Mistakes are appended to `problems`, so that a caller can report all files at once."""
    return rows_of(path, read_bytes(path), row_type, problems)


def read_bytes(path: Path) -> bytes | str:
    """The bytes of a table's file, or what keeps it from being read, in words.

    A link is followed, since tools that keep data elsewhere leave links; what is no regular file (a pipe, a device) is
    refused, since reading it may never end.
    """
    if not path.exists():
        return "no such table; expected a CSV file"
    if not path.is_file():
        return "found no regular file; expected a CSV file, or a link to one"
    try:
        return path.read_bytes()
    except OSError as error:
        return f"cannot be read ({error.strerror}); expected a CSV file that you may read"


def rows_of(path: Path, data: bytes | str, row_type: type[R], problems: list[str]) -> list[R]:
    """Rows of what `read_bytes` gave for `path`. A byte order mark and any line endings are read as spreadsheets write them."""
    expected = list(row_type.model_fields)
    if isinstance(data, str):
        problems.append(f"{path}: {data} with columns {', '.join(expected)}")
        return []
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        problems.append(f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save the table as UTF-8")
        return []
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    rows: list[R] = []
    line = 0  # the last one that was read whole
    try:
        found = [(name or "").strip() for name in reader.fieldnames or ()]
        if sorted(found) != sorted(expected):
            problems.append(f"{path}:1: {_wrong_columns(found, expected)}")
            return []
        reader.fieldnames = found
        line = reader.line_num
        for cells in reader:
            line = reader.line_num
            problems.extend(f"{path}:{line}: {mistake}" for mistake in _add(rows, row_type, cells, line))
    except csv.Error as error:
        problems.append(
            f"{path}:{line + 1}: not a CSV row ({error}); expected cells between commas. Close every quotation mark, "
            'and write one inside a quoted cell twice ("")'
        )
    return rows


def _wrong_columns(found: list[str], expected: list[str]) -> str:
    if not found:
        return f"found an empty file; expected columns {', '.join(expected)}"
    wrong = {
        "missing": [name for name in expected if name not in found],
        "unknown": [name or "a nameless one" for name in dict.fromkeys(found) if name not in expected],
        "doubled": [name for name in expected if found.count(name) > 1],
    }
    told = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in wrong.items() if names)
    cure = ". Save with commas between cells" if len(found) == 1 and set(";\t") & set(found[0]) else ""
    return f"found columns {', '.join(found)}; expected {', '.join(expected)} ({told}){cure}"


def _add(rows: list[R], row_type: type[R], cells: dict[Any, Any], line: int) -> list[str]:
    """Append the row, or say what is wrong with it."""
    if None in cells or None in cells.values():
        return ["found a row of another length than its header; quote cells that hold commas"]
    if strange := [name for name, cell in cells.items() if _BREAK.search(cell.strip())]:
        return [f"{name}: found a line break or control character; expected one line of text" for name in strange]
    try:
        row = row_type.model_validate({name: cell.strip() for name, cell in cells.items()})
    except ValidationError as error:
        return [
            f"{'.'.join(str(part) for part in mistake['loc']) or 'row'}: found {mistake['input']!r}; {mistake['msg']}"
            for mistake in error.errors()
        ]
    object.__setattr__(row, "read_at", line)
    rows.append(row)
    return []
