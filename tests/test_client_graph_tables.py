"""Reading a table: what spreadsheet programs write, what is refused, and where a row stood."""

import os
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import model_validator

from client_graph.rows import LoaThresholdRow, NameRow, _one_of
from client_graph.tables import Row, TableError, line_of, read_table, table_folder


def read(path: Path, data: str | bytes) -> tuple[list[NameRow], list[str]]:
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    problems: list[str] = []
    return read_table(path, NameRow, problems), [problem.removeprefix(f"{path}") for problem in problems]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return tmp_path / "names.csv"


@pytest.mark.parametrize(
    "data",
    [
        "name,source\nZoë,a test\nKim,a test\n",
        "\ufeffname,source\r\nZoë,a test\r\nKim,a test\r\n",
        "name,source\rZoë,a test\rKim,a test",
        'source , name\n"a test"," Zoë "\n\na test,Kim',
    ],
    ids=["plain", "byte order mark and CRLF", "CR", "other order, quotes, spaces and an empty line"],
)
def test_what_programs_write_is_read(table: Path, data: str) -> None:
    rows, problems = read(table, data)
    assert problems == []
    assert [row.name for row in rows] == ["Zoë", "Kim"]


def test_a_row_knows_its_line_and_a_changed_copy_does_not(table: Path) -> None:
    rows, _ = read(table, "name,source\n\nAda,a test\nbad\nKim,a test\n")
    assert [line_of(row) for row in rows] == [3, 5]
    assert line_of(rows[0].model_copy(update={"name": "Lee"})) is None
    assert rows[0] == NameRow(name="Ada", source="a test")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("", ":1: found an empty file"),
        ("name\nAda\n", "missing: source"),
        ("name,source,mood\nAda,a test,up\n", "unknown: mood"),
        ("name,source,\nAda,a test,\n", "unknown: a nameless one"),
        ("name,name,source\nAda,Ada,a test\n", "doubled: name"),
        ("name;source\nAda;a test\n", "Save with commas"),
        ("name,source\nAda,a test, and more\n", ":2: found a row of another length"),
        ("name,source\nAda\n", ":2: found a row of another length"),
        ('name,source\n"Ada,a test\n', "Close every quotation mark"),
        ('name,source\n"A"da,a test\n', ":2: not a CSV row"),
        ('name,source\n"A\nda",a test\n', ":3: name: found a line break"),
        ("name,source\nA\x1b[31mda,a test\n", ":2: name: found a line break or control character"),
        ("name,source\nAda,\n", ":2: source: found ''"),
        ("name,source\nZoë,a test\n".encode("latin-1"), ": not UTF-8 text"),
        ("name,source\nZoë,a test\n".encode("utf-16"), ": not UTF-8 text"),
    ],
)
def test_what_is_no_table_says_where_and_what_to_try(table: Path, data: str | bytes, told: str) -> None:
    rows, problems = read(table, data)
    assert rows == []
    assert len(problems) == 1
    assert told in problems[0]


@pytest.mark.parametrize("number", ["nan", "inf", "-infinity", "0,5", "half", "", "1e400", "11"])
def test_what_is_no_number_in_range_is_refused(tmp_path: Path, number: str) -> None:
    path = tmp_path / "loa_thresholds.csv"
    path.write_text(f'threshold,source\n"{number}",a test\n2.0,a test\n')
    problems: list[str] = []
    rows = read_table(path, LoaThresholdRow, problems)
    assert [row.threshold for row in rows] == [2.0]
    assert len(problems) == 1
    assert f"{path}:2: threshold: found {number!r}" in problems[0]


def test_a_link_is_followed_and_what_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kept_elsewhere.csv").write_text("name,source\nAda,a test\n")
    linked, pipe, folder, dangling = (tmp_path / f"{name}.csv" for name in ("linked", "pipe", "folder", "dangling"))
    linked.symlink_to("kept_elsewhere.csv")
    os.mkfifo(pipe)  # reading it would wait for ever
    folder.mkdir()
    dangling.symlink_to("nowhere.csv")
    problems: list[str] = []
    assert [row.name for row in read_table(linked, NameRow, problems)] == ["Ada"]
    assert problems == []
    for path, told in ((pipe, "found no regular file"), (folder, "found no regular file"), (dangling, "no such table")):
        assert read_table(path, NameRow, problems) == []
        assert told in problems.pop()


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name, found in (("file", "found a file"), ("nowhere", "found nothing")):
        with pytest.raises(TableError, match=found):
            table_folder(tmp_path / name)
    (tmp_path / "link").symlink_to(tmp_path)
    assert table_folder(tmp_path / "link") == tmp_path.resolve()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ("", ":1: found an empty file; expected columns source, name"),
        ("name,mood,hue\n", ":1: found columns name, mood, hue; expected source, name (missing: source; unknown: mood, hue)"),
        (
            "name;source\nAda;a test\n",
            ":1: found columns name;source; expected source, name (missing: source, name; unknown: name;source)"
            ". Save with commas between cells",
        ),
        (
            "name\tsource\nAda\ta test\n",
            ":1: found columns name\tsource; expected source, name (missing: source, name; unknown: name\tsource)"
            ". Save with commas between cells",
        ),
        ("aXe\n", ":1: found columns aXe; expected source, name (missing: source, name; unknown: aXe)"),
        (
            "name;mood,source\n",
            ":1: found columns name;mood, source; expected source, name (missing: name; unknown: name;mood)",
        ),
        (
            '"na"me,source\nAda,a test\n',
            ":1: not a CSV row (',' expected after '\"'); expected cells between commas. Close every quotation mark, "
            'and write one inside a quoted cell twice ("")',
        ),
        (
            "name,source\nZoë,a test\n".encode("latin-1"),
            ": not UTF-8 text (invalid continuation byte at byte 14); save the table as UTF-8",
        ),
        ("name,source\nAda,a test,b\n", ":2: found a row of another length than its header; quote cells that hold commas"),
        ("name,source\nA\x07da,a test\n", ":2: name: found a line break or control character; expected one line of text"),
        ("name,source\nAda,ab\n", ":2: source: found 'ab'; String should have at least 3 characters"),
    ],
)  # fmt: skip
def test_a_refusal_reads_in_full(table: Path, data: str | bytes, told: str) -> None:
    assert read(table, data) == ([], [told])


def test_a_file_that_cannot_be_read_is_told_with_the_columns_to_write(tmp_path: Path) -> None:
    folder, absent = tmp_path / "folder.csv", tmp_path / "absent.csv"
    folder.mkdir()
    problems: list[str] = []
    for path in (folder, absent):
        assert read_table(path, NameRow, problems) == []
    assert problems == [
        f"{folder}: found no regular file; expected a CSV file, or a link to one with columns source, name",
        f"{absent}: no such table; expected a CSV file with columns source, name",
    ]


class Pair(Row):
    """A row with a rule over its cells."""

    low: int
    high: int

    @model_validator(mode="after")
    def _in_order(self) -> "Pair":
        if self.low > self.high:
            raise ValueError("expected low before high")
        return self


def test_a_rule_over_the_whole_row_is_told_of_the_row(tmp_path: Path) -> None:
    path = tmp_path / "pairs.csv"
    path.write_text("low,high,source\n1,2,a test\n2,1,a test\nx,y,a test\n")
    problems: list[str] = []
    assert [(row.low, row.high) for row in read_table(path, Pair, problems)] == [(1, 2)]
    assert problems[0].startswith(f"{path}:3: row: found {{")
    assert problems[0].endswith("; Value error, expected low before high")
    assert [problem.partition(": found")[0] for problem in problems[1:]] == [f"{path}:4: low", f"{path}:4: high"]


def test_a_cell_that_names_one_of_a_few_is_refused_with_the_few(tmp_path: Path) -> None:
    class MoodRow(Row):
        mood: Annotated[str, _one_of("calm", "tense")]

    path = tmp_path / "moods.csv"
    path.write_text("mood,source\ntense,a test\nup,a test\ncalm,a test\n")
    problems: list[str] = []
    assert [row.mood for row in read_table(path, MoodRow, problems)] == ["tense", "calm"]
    assert problems == [f"{path}:3: mood: found 'up'; Value error, expected one of calm, tense"]


@pytest.mark.parametrize(
    ("problems", "told"),
    [
        (["a"], "1 problem in the tables; none was loaded:\n  - a"),
        (["a", "b"], "2 problems in the tables; none was loaded:\n  - a\n  - b"),
        ([], "0 problems in the tables; none was loaded:"),
    ],
)
def test_a_table_error_counts_and_lists(problems: list[str], told: str) -> None:
    error = TableError(iter(problems))
    assert str(error) == told
    assert error.problems == tuple(problems)


def test_a_folder_that_is_none_is_told_with_where_it_was_looked_for(tmp_path: Path) -> None:
    path = tmp_path / "nowhere"
    with pytest.raises(TableError) as caught:
        table_folder(str(path))
    assert caught.value.problems == (
        f"{path}: found nothing there (from {Path.cwd()}); expected a folder of CSV tables. Copy configs/client and edit that",
    )
