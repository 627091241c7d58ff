"""Empty manner, written by hand: what a policy says that has learned how a good reply sounds and not what one is.

A chain of words (judges/reading/nonsense.py) breaks at every third word; a trained policy does not. These replies are whole
sentences, quiet and plain, and say nothing to the client they are said to. Clients are those of the examples.
"""

from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from client_graph.tables import Row, TableError, line_of, read_table
from judges.rubric import JUDGE_CONFIGS

MANNER = JUDGE_CONFIGS / "manner.csv"


class MannerRow(Row):
    """A reply that sounds like one."""

    client: str = Field(min_length=1, description="What the client said: a client of the examples.")
    reply: str = Field(min_length=1, description="What was replied, and means nothing.")
    source: str = Field(min_length=3, description="Who wrote it, and after what.")


def read_manner(clients: Sequence[str], path: Path = MANNER) -> tuple[MannerRow, ...]:
    """The rows whose client is one of `clients`, in file order. Raises TableError listing every mistake, a reply twice included."""
    problems: list[str] = []
    rows = read_table(path, MannerRow, problems)
    seen: dict[str, MannerRow] = {}
    for row in rows:
        if (first := seen.setdefault(row.reply, row)) is not row:
            found = f"{row.reply[:60]!r}, as in line {line_of(first)}"
            problems.append(f"{path}:{line_of(row)}: found {found}; expected each reply once")
    if problems:
        raise TableError(problems)
    known = set(clients)
    return tuple(row for row in rows if row.client in known)
