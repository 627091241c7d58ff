"""The facts about a person, from configs/client/*.csv to frozen arrays; one error lists everything that is wrong."""

import difflib
import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from client_graph import rows as r
from client_graph.arrays import Tables, columns, tables_of
from client_graph.names import CONFIGS, LOA_DIMENSIONS, PHASES, STAGES
from client_graph.rules import broken_rules
from client_graph.tables import Row, TableError, read_bytes, rows_of, table_folder


@dataclass(frozen=True)
class Catalog:
    """All tables: rows for people to read, `tables` for the compiled turn, `rows` by table name."""

    folder: Path
    rows: Mapping[str, tuple[Any, ...]]
    tables: Tables
    phase_weight: np.ndarray  # (4, n) in [0, 1], by phase: how responsive a node is
    start: np.ndarray  # (4, n) typical level at intake, by stage
    bucket_start: np.ndarray  # (4, B)
    loa_start: np.ndarray  # (4, 7)
    loading: np.ndarray  # (3, n) TAIE loadings

    def __deepcopy__(self, memo: dict[int, Any]) -> "Catalog":
        """Itself: nothing in it can be changed. Gymnasium copies what an environment was made with."""
        return self

    @property
    def nodes(self) -> tuple[r.NodeRow, ...]:
        """The nodes in the order of every (..., n) array."""
        return self.rows["nodes"]

    @cached_property
    def node_names(self) -> tuple[str, ...]:
        """Names in the order of every (..., n) array."""
        return tuple(row.name for row in self.nodes)

    @cached_property
    def bucket_names(self) -> tuple[str, ...]:
        """Names in the order of every (..., B) array."""
        return tuple(row.name for row in self.rows["buckets"])

    @cached_property
    def strategy_shift(self) -> np.ndarray:
        """(strategies, n) by how much each attachment strategy shifts each level at stage 1."""
        return self._shifts("strategies", "strategy_nodes", "strategy")

    @cached_property
    def concern_shift(self) -> np.ndarray:
        """(concerns, n) by how much each concern shifts each level at stage 1."""
        return self._shifts("concerns", "concern_nodes", "concern")

    def _shifts(self, kinds: str, shifts: str, column: str) -> np.ndarray:
        place = {row.name: i for i, row in enumerate(self.rows[kinds])}
        found = np.zeros((len(place), len(self.nodes)))
        for row in self.rows[shifts]:
            found[place[getattr(row, column)], self.node(row.node)] += row.shift
        found.setflags(write=False)
        return found

    @cached_property
    def _place(self) -> dict[str, int]:
        return {name: n for n, name in enumerate(self.node_names)}

    def node(self, name: str) -> int:
        """Index of a node; an unknown name is answered with the nearest known ones."""
        if name not in self._place:
            near = difflib.get_close_matches(name, self.node_names)
            raise KeyError(f"no node named {name!r}" + (f"; did you mean {', '.join(near)}?" if near else ""))
        return self._place[name]

    def guidance(self, stage: int, phase: int) -> str:
        """What the matrix says for a stage (0..3) and a phase (0..3)."""
        for row in self.rows["guidance"]:
            if (row.stage - 1, PHASES.index(row.phase)) == (stage, phase):
                return str(row.text)
        raise KeyError(f"no guidance for stage {stage}, phase {phase}; expected each in 0 to 3")

    def hash(self, but: Collection[str] = ()) -> str:
        """SHA-256 of the facts, in hexadecimal, without the tables named in `but`: equal facts, equal hash."""
        digest = hashlib.sha256()
        for name in sorted(set(self.rows) - set(but)):
            digest.update(name.encode())
            for row in self.rows[name]:
                digest.update(row.model_dump_json().encode())
        return digest.hexdigest()


def load_catalog(folder: Path | str | None = None) -> Catalog:
    """Read, check and freeze the tables of `folder` (default: configs/client). Raises TableError with every mistake."""
    path = table_folder(folder if folder is not None else CONFIGS / "client")
    return _load(path, tuple(read_bytes(path / f"{name}.csv") for name in r.TABLES))


@lru_cache(maxsize=8)
def _load(
    folder: Path, files: tuple[bytes | str, ...]
) -> Catalog:  # keyed by what was read: a changed table is read anew
    problems: list[str] = []
    rows: dict[str, tuple[Any, ...]] = {}
    whole: set[str] = set()  # tables without a bad cell: only they can say that a name is missing
    for (name, kind), data in zip(r.TABLES.items(), files, strict=True):
        before = len(problems)
        rows[name] = tuple(rows_of(folder / f"{name}.csv", data, kind, problems))
        if len(problems) == before:
            whole.add(name)
    return _checked(folder, rows, whole, problems)


def catalog_of(rows: Mapping[str, Iterable[Row]]) -> Catalog:
    """A catalog of rows that were made in memory, one entry for each table of `rows.TABLES`. Raises TableError."""
    absent = [
        f"no table {name}; expected rows of {kind.__name__}" for name, kind in r.TABLES.items() if name not in rows
    ]
    if absent:
        raise TableError(absent)
    return _checked(Path("in memory"), {name: tuple(rows[name]) for name in r.TABLES}, set(r.TABLES), [])


def _checked(folder: Path, rows: dict[str, tuple[Any, ...]], whole: set[str], problems: list[str]) -> Catalog:
    problems.extend(f"{folder}/{problem}" for problem in broken_rules(rows, whole))
    if problems:
        raise TableError(problems)
    loa = sorted(rows["loa"], key=lambda row: LOA_DIMENSIONS.index(row.name))
    return Catalog(
        folder=folder,
        rows=MappingProxyType(rows),
        tables=tables_of(rows),
        phase_weight=columns(rows["nodes"], "phase", "abcd"),
        start=columns(rows["nodes"], "start", STAGES),
        bucket_start=columns(rows["buckets"], "start", STAGES),
        loa_start=columns(loa, "start", STAGES),
        loading=columns(rows["nodes"], "load", "xyz"),
    )
