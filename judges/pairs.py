"""The held-out pairs that a judge is tested on: one client, two replies, and which is better in one dimension."""

from collections.abc import Iterator
from pathlib import Path

from pydantic import Field, field_validator

from client_graph.names import DIMENSIONS
from client_graph.tables import Row, TableError, line_of, read_table
from judges.rubric import JUDGE_CONFIGS

# The subtle set: both replies may be kind and fluent, and a trained ear is needed to part them.
PAIRS = JUDGE_CONFIGS / "pairs.csv"
# The plain set: a decent reply against one that any supervisor would mark down at once.
DECENT_POOR = JUDGE_CONFIGS / "pairs_decent_poor.csv"


class Pair(Row):
    """`better` is plainly the better reply in `dimension`; in `worse` that dimension is what is chiefly wrong.

    No judge learns from these rows. A judge is right on a pair where score[dimension] of better exceeds that of worse.
    """

    dimension: str = Field(description="One of client_graph.names.DIMENSIONS.")
    client: str = Field(min_length=1, description="What the client said.")
    better: str = Field(min_length=1, description="The reply that is better in this dimension.")
    worse: str = Field(min_length=1, description="The reply that fails in this dimension.")
    why: str = Field(min_length=3, description="What is wrong with the worse one, in a clause.")

    @field_validator("dimension")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in DIMENSIONS:
            raise ValueError(f"expected one of {', '.join(DIMENSIONS)}")
        return name


def read_pairs(path: Path = PAIRS) -> tuple[Pair, ...]:
    """The pairs in file order. Raises TableError listing every mistake, repeated clients and replies included."""
    problems: list[str] = []
    rows = read_table(path, Pair, problems)
    problems.extend(_repeats(path, rows))
    if problems:
        raise TableError(problems)
    return tuple(rows)


def _repeats(path: Path, rows: list[Pair]) -> Iterator[str]:
    """A client or a reply that stands in the table twice would count twice in the test."""
    clients: dict[str, Pair] = {}
    replies: dict[str, Pair] = {}
    for row in rows:
        if _same(row.better) == _same(row.worse):
            yield f"{path}:{line_of(row)}: better and worse: found one text, {row.better[:60]!r}; expected two replies"
        for text, seen, kind in (
            (row.client, clients, "client"),
            (row.better, replies, "reply"),
            (row.worse, replies, "reply"),
        ):
            first = seen.setdefault(_same(text), row)
            if first is not row:
                yield (
                    f"{path}:{line_of(row)}: {kind}: found {text[:60]!r}, as in line {line_of(first)}; "
                    f"expected each {kind} once"
                )


def _same(text: str) -> str:
    """The text without what a reader would overlook: case and spacing."""
    return " ".join(text.casefold().split())


def held_out() -> tuple[Pair, ...]:
    """Both sets, the subtle one first."""
    return (*read_pairs(PAIRS), *read_pairs(DECENT_POOR))
