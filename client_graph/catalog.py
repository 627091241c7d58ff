"""The facts about a person, from configs/client/*.csv to frozen arrays; one error lists everything that is wrong."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from client_graph import rows as r
from client_graph.names import (
    AXES,
    CONFIGS,
    DIMENSIONS,
    DIRECTIONS,
    EDGE_TYPES,
    LOA_DIMENSIONS,
    PHASES,
    SIGNALS,
    STAGES,
)
from client_graph.rules import broken_rules
from client_graph.tables import Row, TableError, read_table, table_folder, tables_hash


class Tables(NamedTuple):
    """The facts as the compiled turn reads them. n nodes, E edges, B buckets; float64, int64 or bool; read-only."""

    direction: np.ndarray  # (n,) 0 increase, 1 decrease, 2 bipolar
    weight: np.ndarray  # (n,) in [0, 1]
    weight_sum: np.ndarray  # (1,)
    yielding: np.ndarray  # (n, 16) phase weight / (1 + BQ) at 4 · stage + phase: how far a node gives way
    sense_node: np.ndarray  # (sensitivities,) sorted by node
    sense_dimension: np.ndarray  # (sensitivities,)
    sense_high: np.ndarray  # (sensitivities,) level change per unit of help
    sense_low: np.ndarray  # (sensitivities,) level change per unit of harm
    alliance_nodes: np.ndarray  # (core nodes of the alliance,)
    engagement_node: np.ndarray  # (1,)
    edge_start: np.ndarray  # (9,) where each edge type begins
    edge_source: np.ndarray  # (E,)
    edge_target: np.ndarray  # (E,)
    edge_weight: np.ndarray  # (E,) in (0, 1]
    edge_threshold: np.ndarray  # (E,) 0 where none
    edge_gate: np.ndarray  # (E, 4) by stage, 1 where none
    bucket_adaptive: np.ndarray  # (B,) bool
    bucket_falls: np.ndarray  # (B,) bool
    bucket_volatility: np.ndarray  # (B,)
    bucket_decay: np.ndarray  # (B,)
    pour_bucket: np.ndarray  # (bucket scores,) sorted by bucket
    pour_dimension: np.ndarray  # (bucket scores,)
    pour_high: np.ndarray  # (bucket scores,)
    pour_low: np.ndarray  # (bucket scores,)
    couple_bucket: np.ndarray  # (couplings,)
    couple_node: np.ndarray  # (couplings,)
    couple_coefficient: np.ndarray  # (couplings,)
    adapt_loa: np.ndarray  # (LOA scores,) sorted by LOA dimension
    adapt_dimension: np.ndarray  # (LOA scores,)
    adapt_weight: np.ndarray  # (LOA scores,)
    loa_thresholds: np.ndarray  # (thresholds,)
    turn_axis: np.ndarray  # (axis scores,) sorted by axis
    turn_dimension: np.ndarray  # (axis scores,)
    turn_weight: np.ndarray  # (axis scores,)
    phase_forward: np.ndarray  # (4, 3) A->B, B->C, C->D by stage
    phase_back: np.ndarray  # (4, 3) B->A, C->B, D->C by stage
    signal_of: np.ndarray  # (signal nodes,)
    signal_node: np.ndarray  # (signal nodes,)
    signal_weight: np.ndarray  # (signal nodes,)
    signal_offset: np.ndarray  # (5,)
    signal_phase: np.ndarray  # (4, 5)


@dataclass(frozen=True)
class Catalog:
    """All tables: rows for people to read, `tables` for the compiled turn, `rows` by table name."""

    folder: Path
    rows: dict[str, tuple[Any, ...]]
    tables: Tables
    phase_weight: np.ndarray  # (4, n) in [0, 1], by phase: how responsive a node is
    start: np.ndarray  # (4, n) typical level at intake, by stage
    bucket_start: np.ndarray  # (4, B)
    loa_start: np.ndarray  # (4, 7)
    loading: np.ndarray  # (3, n) TAIE loadings

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
        """Names in the order of every (..., 16) array."""
        return tuple(row.name for row in self.rows["buckets"])

    def node(self, name: str) -> int:
        """Index of a node; an unknown name is answered with the nearest known ones."""
        return _index(name, self.node_names, "node")

    def guidance(self, stage: int, phase: int) -> str:
        """What the matrix says for a stage (0..3) and a phase (0..3)."""
        for row in self.rows["guidance"]:
            if (row.stage, row.phase) == (STAGES[stage], PHASES[phase]):
                return str(row.text)
        raise KeyError((stage, phase))


def _index(name: str, names: tuple[str, ...], what: str) -> int:
    import difflib

    if name in names:
        return names.index(name)
    near = difflib.get_close_matches(name, names)
    raise KeyError(f"no {what} named {name!r}" + (f"; did you mean {', '.join(near)}?" if near else ""))


def load_catalog(folder: Path | str | None = None) -> Catalog:
    """Read, check and freeze the tables of `folder` (default: configs/client). Raises TableError with every mistake."""
    path = table_folder(folder if folder is not None else CONFIGS / "client")
    return _load(path, tables_hash(path, r.TABLES))


@lru_cache(maxsize=8)
def _load(folder: Path, content: str) -> Catalog:  # content: the hash of the bytes; a changed table is read anew
    problems: list[str] = []
    rows: dict[str, tuple[Any, ...]] = {}
    whole: set[str] = set()  # tables without a bad cell: only they can say that a name is missing
    for name, kind in r.TABLES.items():
        before = len(problems)
        rows[name] = tuple(read_table(folder / f"{name}.csv", kind, problems))
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
    return _freeze(folder, rows)


def _frozen(values: Any, dtype: type = np.float64) -> np.ndarray:
    array: np.ndarray = np.ascontiguousarray(values, dtype=dtype)
    array.setflags(write=False)
    return array


def _columns(entries: tuple[Any, ...], prefix: str, suffixes: Iterable[Any]) -> np.ndarray:
    return _frozen([[getattr(row, f"{prefix}_{suffix}") for row in entries] for suffix in suffixes])


def _freeze(folder: Path, rows: dict[str, tuple[Any, ...]]) -> Catalog:
    nodes, buckets = rows["nodes"], rows["buckets"]
    node = {row.name: i for i, row in enumerate(nodes)}
    bucket = {row.name: i for i, row in enumerate(buckets)}
    dimension = {name: i for i, name in enumerate(DIMENSIONS)}
    # A fixed order of the edges makes the sums, and so the bits, independent of the order of the file's rows.
    edges = sorted(rows["edges"], key=lambda e: (EDGE_TYPES.index(e.type), node[e.edge_from], node[e.edge_to]))
    by_type = Counter(edge.type for edge in edges)
    steps = {(row.stage, row.phase_from + row.phase_to): row.threshold for row in rows["phase_thresholds"]}
    signals = sorted(rows["signals"], key=lambda row: SIGNALS.index(row.name))
    # ... and so does a fixed order of the judge's mappings.
    senses = sorted(rows["sensitivities"], key=lambda s: (node[s.node], dimension[s.dimension]))
    pours = sorted(rows["bucket_scores"], key=lambda s: (bucket[s.bucket], dimension[s.dimension]))
    couples = sorted(rows["bucket_nodes"], key=lambda c: (node[c.node], bucket[c.bucket]))
    adapts = sorted(rows["loa_scores"], key=lambda s: (LOA_DIMENSIONS.index(s.loa), dimension[s.dimension]))
    turns = sorted(rows["axis_scores"], key=lambda s: (AXES.index(s.axis), dimension[s.dimension]))
    shows = sorted(rows["signal_nodes"], key=lambda s: (SIGNALS.index(s.signal), node[s.node]))
    resistance = np.array([[getattr(row, f"bq_{stage}") for stage in STAGES] for row in nodes])
    responsive = np.array([[getattr(row, f"phase_{phase.lower()}") for phase in PHASES] for row in nodes])
    tables = Tables(
        direction=_frozen([DIRECTIONS.index(row.direction) for row in nodes], np.int64),
        weight=_frozen([row.weight for row in nodes]),
        weight_sum=_frozen([sum(row.weight for row in nodes)]),
        yielding=_frozen((responsive[:, None, :] / (1.0 + resistance[:, :, None])).reshape(-1, 16)),
        sense_node=_frozen([node[s.node] for s in senses], np.int64),
        sense_dimension=_frozen([dimension[s.dimension] for s in senses], np.int64),
        sense_high=_frozen([s.high for s in senses]),
        sense_low=_frozen([s.low for s in senses]),
        alliance_nodes=_frozen(sorted(node[row.node] for row in rows["roles"] if row.role == "alliance"), np.int64),
        engagement_node=_frozen([node[row.node] for row in rows["roles"] if row.role == "engagement"][:1], np.int64),
        edge_start=_frozen(np.cumsum([0, *(by_type[kind] for kind in EDGE_TYPES)]), np.int64),
        edge_source=_frozen([node[e.edge_from] for e in edges], np.int64),
        edge_target=_frozen([node[e.edge_to] for e in edges], np.int64),
        edge_weight=_frozen([e.weight for e in edges]),
        edge_threshold=_frozen([e.threshold or 0.0 for e in edges]),
        edge_gate=_frozen(
            np.reshape(
                [1.0 if (gate := getattr(e, f"gate_{s}")) is None else gate for e in edges for s in STAGES], (-1, 4)
            )
        ),
        bucket_adaptive=_frozen([row.kind == "adaptive" for row in buckets], np.bool_),
        bucket_falls=_frozen([row.falls for row in buckets], np.bool_),
        bucket_volatility=_frozen([row.volatility for row in buckets]),
        bucket_decay=_frozen([row.session_decay for row in buckets]),
        pour_bucket=_frozen([bucket[s.bucket] for s in pours], np.int64),
        pour_dimension=_frozen([dimension[s.dimension] for s in pours], np.int64),
        pour_high=_frozen([s.high for s in pours]),
        pour_low=_frozen([s.low for s in pours]),
        couple_bucket=_frozen([bucket[row.bucket] for row in couples], np.int64),
        couple_node=_frozen([node[row.node] for row in couples], np.int64),
        couple_coefficient=_frozen([row.coefficient for row in couples]),
        adapt_loa=_frozen([LOA_DIMENSIONS.index(s.loa) for s in adapts], np.int64),
        adapt_dimension=_frozen([dimension[s.dimension] for s in adapts], np.int64),
        adapt_weight=_frozen([s.weight for s in adapts]),
        loa_thresholds=_frozen(sorted(row.threshold for row in rows["loa_thresholds"])),
        turn_axis=_frozen([AXES.index(s.axis) for s in turns], np.int64),
        turn_dimension=_frozen([dimension[s.dimension] for s in turns], np.int64),
        turn_weight=_frozen([s.weight for s in turns]),
        phase_forward=_frozen([[steps[stage, step] for step in ("AB", "BC", "CD")] for stage in STAGES]),
        phase_back=_frozen([[steps[stage, step] for step in ("BA", "CB", "DC")] for stage in STAGES]),
        signal_of=_frozen([SIGNALS.index(row.signal) for row in shows], np.int64),
        signal_node=_frozen([node[row.node] for row in shows], np.int64),
        signal_weight=_frozen([row.weight for row in shows]),
        signal_offset=_frozen([row.offset for row in signals]),
        signal_phase=_columns(tuple(signals), "phase", "abcd"),
    )
    loa = sorted(rows["loa"], key=lambda row: LOA_DIMENSIONS.index(row.name))
    return Catalog(
        folder=folder,
        rows=rows,
        tables=tables,
        phase_weight=_columns(nodes, "phase", "abcd"),
        start=_columns(nodes, "start", STAGES),
        bucket_start=_columns(buckets, "start", STAGES),
        loa_start=_columns(tuple(loa), "start", STAGES),
        loading=_columns(nodes, "load", "xyz"),
    )
