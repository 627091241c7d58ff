"""What means nothing though it is language: empty manner, written by hand, and what a small model and its policies said.

A chain of words (judges/reading/nonsense.py) breaks at every third word; a trained policy does not. The replies of manner.csv are
whole sentences, quiet and plain, and say nothing to the client they are said to. Those of said.csv were sampled, from the base and
from policies that were trained against earlier judges; of 120 such replies that two large language models read blind none was found
plain and decent (docs/blind_reading/). Clients are those of the examples.
"""

from pathlib import Path

from pydantic import Field

from client_graph.tables import Row, TableError, line_of, read_table
from judges.rubric import JUDGE_CONFIGS

MANNER = JUDGE_CONFIGS / "manner.csv"
SAID = JUDGE_CONFIGS / "said.csv"


class EmptyRow(Row):
    """A reply that means nothing."""

    client: str = Field(min_length=1, description="What the client said: a client of the examples.")
    reply: str = Field(min_length=1, description="What was replied, and means nothing.")
    source: str = Field(
        min_length=3, description="Who wrote it, and after what; of what was said, which policy said it."
    )


def read_empty(path: Path = MANNER) -> tuple[EmptyRow, ...]:
    """The rows in file order. Raises TableError listing every mistake, the same said twice to a client included."""
    problems: list[str] = []
    rows = read_table(path, EmptyRow, problems)
    seen: dict[tuple[str, str], EmptyRow] = {}
    for row in rows:
        if (first := seen.setdefault((row.client, row.reply), row)) is not row:
            found = f"{row.reply[:60]!r}, as in line {line_of(first)}"
            problems.append(f"{path}:{line_of(row)}: found {found}; expected each reply to a client once")
    if problems:
        raise TableError(problems)
    return tuple(rows)
