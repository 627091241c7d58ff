"""The twelve dimensions with their anchors, and the two personas, as the paper defines them (lines 406-408, 419)."""

from functools import cache
from pathlib import Path
from typing import TypeVar

from pydantic import Field

from client_graph.names import CONFIGS, DIMENSIONS
from client_graph.tables import Row, TableError, read_table

R = TypeVar("R", bound=Row)
JUDGE_CONFIGS = CONFIGS / "judges"
PERSONAS = ("kind", "harsh")
POOR_BELOW, EXCELLENT_FROM = 4.0, 7.0  # paper line 408: 0-3 poor, 4-6 adequate, 7-10 excellent


class Dimension(Row):
    """One dimension of the rubric."""

    name: str = Field(description="One of DIMENSIONS.")
    question: str = Field(min_length=10, description="The question the dimension asks of a reply.")
    poor: str = Field(min_length=10, description="Anchor of the scores 0-3.")
    adequate: str = Field(min_length=10, description="Anchor of the scores 4-6.")
    excellent: str = Field(min_length=10, description="Anchor of the scores 7-10.")
    recommendation: str = Field(min_length=10, description="One concrete sentence to a therapist who is weak here.")

    def anchor(self, score: float) -> str:
        """The anchor of the band that `score` in [0, 10] falls in."""
        if score < POOR_BELOW:
            return self.poor
        return self.adequate if score < EXCELLENT_FROM else self.excellent


@cache
def rubric(path: Path = JUDGE_CONFIGS / "dimensions.csv") -> tuple[Dimension, ...]:
    """The twelve dimensions in the order of DIMENSIONS. Raises TableError listing every mistake of the file."""
    return rows_in_order(path, Dimension, "name", DIMENSIONS)


def rows_in_order(path: Path, row: type[R], column: str, expected: tuple[str, ...]) -> tuple[R, ...]:
    """The rows of a table whose `column` holds just `expected`, in that order. Raises TableError listing every mistake."""
    problems: list[str] = []
    rows = read_table(path, row, problems)
    found = tuple(getattr(one, column) for one in rows)
    if not problems and found != expected:
        problems.append(f"{path}: found {column}s {', '.join(found)}; expected, in order, {', '.join(expected)}")
    if problems:
        raise TableError(problems)
    return tuple(rows)


@cache
def prompt_text(name: str, folder: Path = JUDGE_CONFIGS) -> str:
    """The prompt file `name`.txt of the judges, as it stands. Raises TableError where it is missing or empty."""
    path = folder / f"{name}.txt"
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError) as error:
        raise TableError([f"{path}: no such prompt in UTF-8 ({error}); expected a text file"]) from error
    if not text.strip():
        raise TableError([f"{path}: the prompt is empty; expected a text"])
    return text


def persona(name: str) -> str:
    """The text of a persona: kind or harsh."""
    if name not in PERSONAS:
        raise TableError([f"found persona {name!r}; expected one of {', '.join(PERSONAS)}"])
    return prompt_text(f"personas/{name}")
