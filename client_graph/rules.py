"""What no single cell of a catalog can show: names that do not exist, rows that stand twice, facts that are missing."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from client_graph.names import AXES, LOA_DIMENSIONS, PHASES, SIGNALS, STAGES
from client_graph.rows import EdgeRow

_NAMED_IN = {
    "edge_from": "nodes", "edge_to": "nodes", "node": "nodes", "domain": "domains", "bucket": "buckets",
    "signal": "signals", "strategy": "strategies", "concern": "concerns",
}  # fmt: skip


def broken_rules(rows: dict[str, tuple[Any, ...]], whole: set[str]) -> Iterable[str]:
    """What no single cell can show: names that do not exist, rows that stand twice, facts that are missing."""
    for table, entries in rows.items():
        for number, row in enumerate(entries, start=2):
            place = f"{table}.csv:{number}" if table in whole else f"{table}.csv"  # dropped rows would shift the count
            for column, home in _NAMED_IN.items():
                name = getattr(row, column, None)
                if name is None or home not in whole or (table == "voice" and name == "any"):
                    continue
                if all(name != known.name for known in rows[home]):
                    yield f"{place}: {column}: {home}.csv has no {name!r}"
    keys = {
        "domains": ("name",), "nodes": ("name",), "buckets": ("name",), "strategies": ("name",), "concerns": ("name",),
        "sensitivities": ("node", "dimension"), "edges": ("edge_from", "type", "edge_to"), "roles": ("role", "node"),
        "bucket_scores": ("dimension", "bucket"), "bucket_nodes": ("bucket", "node"), "loa": ("name",), "axes": ("name",),
        "loa_scores": ("dimension", "loa"), "axis_scores": ("dimension", "axis"), "signals": ("name",),
        "phase_thresholds": ("stage", "phase_from", "phase_to"), "guidance": ("stage", "phase"), "voice": ("line",),
        "stage_criteria": ("stage_from", "stage_to", "measure"), "signal_nodes": ("signal", "node"),
        "strategy_nodes": ("strategy", "node"), "concern_nodes": ("concern", "node"), "names": ("name",),
    }  # fmt: skip
    for table, key in keys.items():
        for twice in _duplicates(tuple(getattr(row, column) for column in key) for row in rows[table]):
            yield f"{table}.csv: {', '.join(map(str, twice))} stands more than once; expected one row"
    yield from _broken_edges(rows["edges"])
    yield from _missing_rows(rows, whole)
    if set(rows) == whole:
        yield from _too_few_or_many(rows)


def _broken_edges(edges: tuple[EdgeRow, ...]) -> Iterable[str]:
    for number, row in enumerate(edges, start=2):
        gates = (row.gate_1, row.gate_2, row.gate_3, row.gate_4)
        if row.edge_from == row.edge_to:
            yield f"edges.csv:{number}: an edge from {row.edge_from} to itself"
        if (row.type == "prerequisite") != (row.threshold is not None):
            yield f"edges.csv:{number}: prerequisite edges, and no others, have a threshold; found {row.type}, {row.threshold}"
        if any((row.type == "gated") != (gate is not None) for gate in gates):
            yield f"edges.csv:{number}: gate_1..gate_4 belong to gated edges, and each has four; found {row.type}, {gates}"


def _missing_rows(rows: dict[str, tuple[Any, ...]], whole: set[str]) -> Iterable[str]:
    expected: dict[str, tuple[str, set[Any], set[Any]]] = {
        "loa": ("name", set(LOA_DIMENSIONS), {row.name for row in rows["loa"]}),
        "axes": ("name", set(AXES), {row.name for row in rows["axes"]}),
        "signals": ("name", set(SIGNALS), {row.name for row in rows["signals"]}),
        "roles": ("role", {"alliance", "engagement"}, {row.role for row in rows["roles"]}),
        "guidance": (
            "stage, phase",
            {(stage, phase) for stage in STAGES for phase in PHASES},
            {(row.stage, row.phase) for row in rows["guidance"]},
        ),
        "phase_thresholds": (
            "stage, step",
            {(stage, step) for stage in STAGES for step in ("AB", "BC", "CD", "BA", "CB", "DC")},
            {(row.stage, row.phase_from + row.phase_to) for row in rows["phase_thresholds"]},
        ),
        "sensitivities": (
            "node",
            {row.name for row in rows["nodes"]},
            {row.node for row in rows["sensitivities"]},
        ),
    }
    for table, (column, wanted, found) in expected.items():
        if not {table, "nodes"} <= whole:
            continue
        for missing in sorted(wanted - found, key=str):
            yield f"{table}.csv: no row for {column} {missing}"
        for strange in sorted(found - wanted, key=str):
            yield f"{table}.csv: found {column} {strange}, which has no meaning here"


def _too_few_or_many(rows: dict[str, tuple[Any, ...]]) -> Iterable[str]:
    for name in ("names", "strategies", "concerns", "nodes", "loa_thresholds"):
        if not rows[name]:
            yield f"{name}.csv: found no row; expected at least one"
    kinds = {row.kind for row in rows["buckets"]}
    for missing in sorted({"maladaptive", "adaptive"} - kinds):
        yield f"buckets.csv: found no {missing} bucket; expected at least one of each kind"
    engagement = [row.node for row in rows["roles"] if row.role == "engagement"]
    if len(engagement) > 1:
        yield f"roles.csv: found {len(engagement)} engagement nodes ({', '.join(engagement)}); expected one"


def _duplicates(values: Iterable[Any]) -> list[Any]:
    return [value for value, count in Counter(values).items() if count > 1]
