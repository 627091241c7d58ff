"""docs/paper_map.md says where each mechanism of the paper lives: what it names has to be there."""

import ast
import csv
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MAP = (ROOT / "docs" / "paper_map.md").read_text(encoding="utf-8")
WITH_TESTS = range(
    323, 424
)  # the lines of the person, the rewards, the judges, the stance and RLAIF: each row names its test
CODE = re.compile(r"`([\w./-]+/[\w.-]+\.(?:py|csv|toml))(?:: ([^`]+))?`")
TEST = re.compile(r"\b(test_\w+\.py)::(test_\w+|Test\w+)")


def rows() -> list[list[str]]:
    """The cells of every row of what is implemented, without heads and rules."""
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in MAP.splitlines() if line.startswith("| ")
    ]
    return [row for row in cells if row[0] not in ("paper line", "mechanism") and not set(row[0]) <= {"-"}]


@cache
def names_in(path: Path) -> frozenset[str]:
    """Functions, classes, constants, fields and methods that a Python file defines."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                found |= {name.id for name in ast.walk(target) if isinstance(name, ast.Name)}
    return frozenset(found)


def test_every_file_and_name_of_the_map_exists() -> None:
    missing = []
    for path, names in CODE.findall(MAP):
        if not (ROOT / path).is_file():
            missing.append(f"{path}: no such file")
        elif path.endswith(".py"):
            wanted = re.split(r", ?", names) if names else []
            missing += [f"{path}: no {name}" for name in wanted if name not in names_in(ROOT / path)]
    assert not missing, "\n".join(missing)


def test_counts_of_rows_are_true() -> None:
    said = re.findall(r"`configs/([\w/]+\.csv)` \((\d+) rows", MAP)
    assert len(said) > 10
    with_rows = {path: len(list(csv.reader((ROOT / "configs" / path).open(encoding="utf-8")))) - 1 for path, _ in said}
    assert [(path, int(count)) for path, count in said] == [(path, with_rows[path]) for path, _ in said]


def test_every_test_of_the_map_exists() -> None:
    missing = [
        f"{file}::{name}"
        for file, name in TEST.findall(MAP)
        if not (ROOT / "tests" / file).is_file() or name not in names_in(ROOT / "tests" / file)
    ]
    assert not missing, "\n".join(missing)


@pytest.mark.parametrize(
    "row", [row for row in rows() if re.match(r"[34]\d\d", row[0])], ids=lambda row: f"{row[0]}: {row[1][:40]}"
)
def test_each_row_names_a_test(row: list[str]) -> None:
    lines = [int(number) for number in re.findall(r"\d{3,4}", row[0])]
    if lines[0] in WITH_TESTS:
        assert TEST.search(row[-1]) or "not implemented" in " ".join(row), f"{row[0]}: {row[1]}: found {row[-1]!r}"
