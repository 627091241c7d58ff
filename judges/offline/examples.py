"""The authored replies the embedding judge learns from: a client's words, a reply, twelve scores, and why."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import Field, create_model

from client_graph.names import DIMENSIONS
from client_graph.tables import Row, TableError, read_table
from judges.rubric import JUDGE_CONFIGS

EXAMPLES = JUDGE_CONFIGS / "examples"


class _Texts(Row):
    client: str = Field(min_length=1, description="What the client said.")
    reply: str = Field(min_length=1, description="What the therapist replied.")
    why: str = Field(min_length=3, description="Why it has these scores, in a clause.")


# One column for each dimension: the names live in client_graph.names alone.
_ExampleRow = create_model(
    "_ExampleRow",
    __base__=_Texts,
    **{name: (float, Field(ge=0, le=10, description=f"Score of {name}.")) for name in DIMENSIONS},  # type: ignore[call-overload]
)


@dataclass(frozen=True, eq=False)
class Examples:
    """The table in columns. scores: (n, 12) float64 in [0, 10]; the texts are tuples of length n."""

    clients: tuple[str, ...]
    replies: tuple[str, ...]
    whys: tuple[str, ...]
    scores: np.ndarray


def example_files(path: Path = EXAMPLES) -> tuple[Path, ...]:
    """The tables at `path`: the file itself, or every .csv of a folder in the order of their names."""
    return tuple(sorted(path.glob("*.csv"))) if path.is_dir() else (path,)


def read_examples(path: Path = EXAMPLES) -> Examples:
    """The authored examples of a table or of a folder of tables. Raises TableError listing every mistake."""
    problems: list[str] = []
    rows: list[_Texts] = []
    seen: set[tuple[str, str]] = set()
    for file in example_files(path):
        for row in read_table(file, _ExampleRow, problems):
            if (row.client, row.reply) in seen:
                problems.append(f"{file}: found twice: {row.reply[:60]!r}; expected each reply to a client once")
            seen.add((row.client, row.reply))
            rows.append(row)
    if not problems and len({row.client for row in rows}) < 2:
        problems.append(f"{path}: found fewer than two clients; the judge checks itself by leaving one client out")
    if problems:
        raise TableError(problems)
    return Examples(
        clients=tuple(row.client for row in rows),
        replies=tuple(row.reply for row in rows),
        whys=tuple(row.why for row in rows),
        scores=np.array([[getattr(row, name) for name in DIMENSIONS] for row in rows]),
    )
