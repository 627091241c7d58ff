"""The facts of a catalog as the compiled turn reads them: one array of records a table, indices instead of names."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from client_graph.names import AXES, DIMENSIONS, DIRECTIONS, EDGE_TYPES, LOA_DIMENSIONS, PHASES, SIGNALS, STAGES

NODE = np.dtype([("direction", "i8"), ("share", "f8")])  # 0 increase, 1 decrease, 2 bipolar; weight / sum of weights
SENSITIVITY = np.dtype([("node", "i8"), ("dimension", "i8"), ("high", "f8"), ("low", "f8")])
EDGE = np.dtype([("source", "i8"), ("target", "i8"), ("weight", "f8"), ("threshold", "f8"), ("gate", "f8", (4,))])
BUCKET = np.dtype([("adaptive", "i8"), ("falls", "i8"), ("volatility", "f8"), ("decay", "f8")])
BUCKET_SCORE = np.dtype([("bucket", "i8"), ("dimension", "i8"), ("high", "f8"), ("low", "f8")])
BUCKET_NODE = np.dtype([("bucket", "i8"), ("node", "i8"), ("coefficient", "f8")])
LOA_SCORE = np.dtype([("loa", "i8"), ("dimension", "i8"), ("weight", "f8")])
AXIS_SCORE = np.dtype([("axis", "i8"), ("dimension", "i8"), ("weight", "f8")])
SIGNAL = np.dtype([("offset", "f8"), ("phase", "f8", (4,))])
SIGNAL_NODE = np.dtype([("signal", "i8"), ("node", "i8"), ("weight", "f8")])


class Tables(NamedTuple):
    """n nodes, B buckets; records as above unless a shape is given. Read-only."""

    nodes: np.ndarray
    yielding: np.ndarray  # (n, 16) phase weight / (1 + BQ) at 4 · stage + phase: how far a node gives way
    sensitivities: np.ndarray  # sorted by node
    alliance_nodes: np.ndarray  # (core nodes of the alliance,)
    engagement_node: np.ndarray  # (1,)
    edges: np.ndarray  # sorted by type; threshold 0 and gates 1 where the type has none
    edge_start: np.ndarray  # (9,) where each edge type begins
    buckets: np.ndarray
    bucket_scores: np.ndarray  # DIM_TO_BUCKET, sorted by bucket
    bucket_nodes: np.ndarray  # sorted by node
    loa_scores: np.ndarray  # DIM_TO_LOA, sorted by LOA dimension
    loa_thresholds: np.ndarray  # (thresholds,) rising
    axis_scores: np.ndarray  # sorted by axis
    phase_forward: np.ndarray  # (4, 3) A->B, B->C, C->D by stage
    phase_back: np.ndarray  # (4, 3) B->A, C->B, D->C by stage
    signals: np.ndarray  # in the order of SIGNALS
    signal_nodes: np.ndarray  # sorted by signal


def tables_of(rows: Mapping[str, Sequence[Any]]) -> Tables:
    """The arrays of checked rows, by table. Records are sorted: sums, and so bits, do not depend on the order of the rows."""
    nodes, buckets = rows["nodes"], rows["buckets"]
    node = {row.name: i for i, row in enumerate(nodes)}
    bucket = {row.name: i for i, row in enumerate(buckets)}
    dimension = {name: i for i, name in enumerate(DIMENSIONS)}
    total = sum(row.weight for row in nodes)
    resistance = np.array([[getattr(row, f"bq_{stage}") for stage in STAGES] for row in nodes])
    responsive = np.array([[getattr(row, f"phase_{phase.lower()}") for phase in PHASES] for row in nodes])
    edges = sorted(
        (EDGE_TYPES.index(e.type), node[e.edge_from], node[e.edge_to], e.weight, e.threshold or 0.0, _gates(e))
        for e in rows["edges"]
    )
    by_type = Counter(edge[0] for edge in edges)
    steps = {(row.stage, row.phase_from + row.phase_to): row.threshold for row in rows["phase_thresholds"]}
    signals = sorted(rows["signals"], key=lambda row: SIGNALS.index(row.name))
    return Tables(
        nodes=_records(NODE, ((DIRECTIONS.index(row.direction), row.weight / total) for row in nodes)),
        yielding=_frozen((responsive[:, None, :] / (1.0 + resistance[:, :, None])).reshape(-1, 16)),
        sensitivities=_records(
            SENSITIVITY, sorted((node[s.node], dimension[s.dimension], s.high, s.low) for s in rows["sensitivities"])
        ),
        alliance_nodes=_frozen(sorted(node[row.node] for row in rows["roles"] if row.role == "alliance"), np.int64),
        engagement_node=_frozen([node[row.node] for row in rows["roles"] if row.role == "engagement"], np.int64),
        edges=_records(EDGE, (edge[1:] for edge in edges)),
        edge_start=_frozen(np.cumsum([0, *(by_type[kind] for kind in range(len(EDGE_TYPES)))]), np.int64),
        buckets=_records(
            BUCKET, ((row.kind == "adaptive", row.falls, row.volatility, row.session_decay) for row in buckets)
        ),
        bucket_scores=_records(
            BUCKET_SCORE,
            sorted((bucket[s.bucket], dimension[s.dimension], s.high, s.low) for s in rows["bucket_scores"]),
        ),
        bucket_nodes=_records(
            BUCKET_NODE,
            sorted(
                ((bucket[c.bucket], node[c.node], c.coefficient) for c in rows["bucket_nodes"]), key=lambda c: c[1::-1]
            ),
        ),
        loa_scores=_records(
            LOA_SCORE,
            sorted((LOA_DIMENSIONS.index(s.loa), dimension[s.dimension], s.weight) for s in rows["loa_scores"]),
        ),
        loa_thresholds=_frozen(sorted(row.threshold for row in rows["loa_thresholds"])),
        axis_scores=_records(
            AXIS_SCORE, sorted((AXES.index(s.axis), dimension[s.dimension], s.weight) for s in rows["axis_scores"])
        ),
        phase_forward=_frozen([[steps[stage, step] for step in ("AB", "BC", "CD")] for stage in STAGES]),
        phase_back=_frozen([[steps[stage, step] for step in ("BA", "CB", "DC")] for stage in STAGES]),
        signals=_records(
            SIGNAL, ((row.offset, (row.phase_a, row.phase_b, row.phase_c, row.phase_d)) for row in signals)
        ),
        signal_nodes=_records(
            SIGNAL_NODE, sorted((SIGNALS.index(row.signal), node[row.node], row.weight) for row in rows["signal_nodes"])
        ),
    )


def _gates(edge: Any) -> tuple[float, ...]:
    return tuple(1.0 if (gate := getattr(edge, f"gate_{stage}")) is None else gate for stage in STAGES)


def _records(kind: np.dtype[Any], rows: Iterable[tuple[Any, ...]]) -> np.ndarray:
    records = np.array(list(rows), dtype=kind).view(np.recarray)
    records.setflags(write=False)
    return records


def _frozen(values: Any, dtype: type = np.float64) -> np.ndarray:
    array: np.ndarray = np.ascontiguousarray(values, dtype=dtype)
    array.setflags(write=False)
    return array


def columns(rows: Sequence[Any], prefix: str, suffixes: Iterable[Any]) -> np.ndarray:
    """(suffixes, rows) the columns `prefix`_suffix of a table, read-only."""
    return _frozen([[getattr(row, f"{prefix}_{suffix}") for row in rows] for suffix in suffixes])
