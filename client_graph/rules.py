"""What every catalog must keep and no single cell can show; without it the engine would mean nothing or divide by zero."""

import difflib
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

from client_graph.names import AXES, LOA_DIMENSIONS, PHASES, SIGNALS, STAGES
from client_graph.tables import Row, line_of

Rows = Mapping[str, tuple[Any, ...]]

LARGEST = 100.0  # of any number in a table: a larger one is a slip, and products of such numbers could overflow

_NAMED_IN = {
    "edge_from": "nodes", "edge_to": "nodes", "node": "nodes", "domain": "domains", "bucket": "buckets",
    "signal": "signals", "strategy": "strategies", "concern": "concerns",
    "strength": "strengths", "leans_on": "nodes", "shown_by": "nodes",
}  # fmt: skip
# What makes a row of a table one fact. For a table that is not named here: all of its cells but the source.
_KEYS = {
    "domains": ("name",), "nodes": ("name",), "buckets": ("name",), "strategies": ("name",), "concerns": ("name",),
    "sensitivities": ("node", "dimension"), "edges": ("edge_from", "type", "edge_to"), "roles": ("role", "node"),
    "bucket_scores": ("dimension", "bucket"), "bucket_nodes": ("bucket", "node"), "loa": ("name",), "axes": ("name",),
    "loa_scores": ("dimension", "loa"), "loa_thresholds": ("threshold",), "axis_scores": ("dimension", "axis"),
    "phase_thresholds": ("stage", "phase_from", "phase_to"), "guidance": ("stage", "phase"), "voice": ("line",),
    "stage_criteria": ("stage_from", "stage_to", "measure"), "signals": ("name",), "signal_nodes": ("signal", "node"),
    "strategy_nodes": ("strategy", "node"), "concern_nodes": ("concern", "node"), "names": ("name",),
    "strengths": ("name",), "strength_nodes": ("strength", "leans_on"), "narcissism_nodes": ("shown_by",),
}  # fmt: skip
FORWARD = tuple(a + b for a, b in pairwise(PHASES))
BACK = tuple(b + a for a, b in pairwise(PHASES))


def broken_rules(rows: Rows, whole: set[str]) -> Iterable[str]:
    """Every broken rule as "table.csv:line: found ...; expected ...". `whole` are the tables without a bad row."""
    yield from _unknown_names(rows, whole)
    yield from _doubles(rows)
    yield from _empty_or_huge(rows)
    yield from _strange_or_missing_rows(rows, whole)
    yield from _too_few_or_many(rows, whole)
    yield from _broken_nodes(rows, whole)
    if {"strengths", "strength_nodes"} <= whole:
        yield from _broken_strengths(rows)
    for table, rule in _OF_A_ROW.items():
        for row in rows[table]:
            yield from (f"{place(table, row)}: {mistake}" for mistake in rule(row))


def place(table: str, row: Row) -> str:
    """Where a row stands: table.csv:line, or table.csv for a row made in memory."""
    line = line_of(row)
    return f"{table}.csv" if line is None else f"{table}.csv:{line}"


def _unknown_names(rows: Rows, whole: set[str]) -> Iterable[str]:
    known = {home: [row.name for row in rows[home]] for home in set(_NAMED_IN.values()) & whole}
    for table, entries in rows.items():
        for row in entries:
            for column, home in _NAMED_IN.items():
                name = getattr(row, column, None)
                if name is None or home not in known or name in known[home] or (table == "voice" and name == "any"):
                    continue
                near = ", ".join(difflib.get_close_matches(name, known[home]))
                cure = f"did you mean {near}?" if near else f"name one that stands there, or add it to {home}.csv"
                yield f"{place(table, row)}: {column}: {home}.csv has no {name!r}; {cure}"


def _doubles(rows: Rows) -> Iterable[str]:
    for table, entries in rows.items():
        first: dict[tuple[Any, ...], Row] = {}
        for row in entries:
            key = _key(table, row)
            if key in first:
                yield (
                    f"{place(table, row)}: {_plain(key)} stands more than once, first at {place(table, first[key])}; "
                    "expected one row. Keep the one that is meant"
                )
            first.setdefault(key, row)


def _key(table: str, row: Row) -> tuple[Any, ...]:
    columns = _KEYS.get(table) or tuple(name for name in type(row).model_fields if name != "source")
    return tuple(getattr(row, column) for column in columns)


def _empty_or_huge(rows: Rows) -> Iterable[str]:
    for table, entries in rows.items():
        for row in entries:
            for column, value in row:
                if value == "":
                    yield f"{place(table, row)}: {column}: found an empty cell; expected text"
                if isinstance(value, float) and not abs(value) <= LARGEST:  # a NaN is not either
                    yield f"{place(table, row)}: {column}: found {value:g}; expected at most {LARGEST:g} in size"


def _strange_or_missing_rows(rows: Rows, whole: set[str]) -> Iterable[str]:
    """Tables that must hold a row for each of a set of things, and for nothing else."""
    expected: dict[str, tuple[str, list[Any], list[Any]]] = {
        "loa": ("name", list(LOA_DIMENSIONS), [row.name for row in rows["loa"]]),
        "axes": ("name", list(AXES), [row.name for row in rows["axes"]]),
        "signals": ("name", list(SIGNALS), [row.name for row in rows["signals"]]),
        "roles": ("role", ["alliance", "engagement"], [row.role for row in rows["roles"]]),
        "guidance": (
            "stage, phase",
            [(stage, phase) for stage in STAGES for phase in PHASES],
            [(row.stage, row.phase) for row in rows["guidance"]],
        ),
        "phase_thresholds": (
            "stage, step",
            [(stage, step) for stage in STAGES for step in (*FORWARD, *BACK)],
            [(row.stage, row.phase_from + row.phase_to) for row in rows["phase_thresholds"]],
        ),
        "sensitivities": ("node", [row.name for row in rows["nodes"]], [row.node for row in rows["sensitivities"]]),
    }
    for table, (column, wanted, found) in expected.items():
        if table in whole:
            for missing in dict.fromkeys(wanted):
                if missing not in found:
                    yield f"{table}.csv: no row for {column} {_plain(missing)}; expected one for each. Add it"
        if table == "sensitivities":
            continue  # an unknown node is told as such
        for row, key in zip(rows[table], found, strict=True):
            if key not in wanted:
                yield (
                    f"{place(table, row)}: found {column} {_plain(key)}, which has no meaning here; expected one of "
                    f"{'; '.join(map(_plain, wanted))}"
                )


def _plain(key: Any) -> str:
    return ", ".join(map(str, key)) if isinstance(key, tuple) else str(key)


def _too_few_or_many(rows: Rows, whole: set[str]) -> Iterable[str]:
    for name in ("names", "strategies", "concerns", "nodes", "loa_thresholds"):
        if name in whole and not rows[name]:
            yield f"{name}.csv: found no row; expected at least one"
    if "buckets" in whole:
        for missing in sorted({"maladaptive", "adaptive"} - {row.kind for row in rows["buckets"]}):
            yield f"buckets.csv: found no {missing} bucket; expected at least one of each kind, since means are taken of each"
    engagement = [row for row in rows["roles"] if row.role == "engagement"]
    for row in engagement[1:]:
        names = ", ".join(other.node for other in engagement)
        yield f"{place('roles', row)}: found {len(engagement)} engagement nodes ({names}); expected one. Keep the one that is meant"


def _broken_nodes(rows: Rows, whole: set[str]) -> Iterable[str]:
    nodes = rows["nodes"]
    if "nodes" not in whole or not nodes:
        return
    if not any(row.weight for row in nodes):
        yield "nodes.csv: weight: found 0 for every node; expected one above 0 at least, since coiling is a weighted mean"
    for column in ("load_x", "load_y", "load_z"):
        if not any(getattr(row, column) for row in nodes):
            yield (
                f"nodes.csv: {column}: found 0 for every node; expected another number for one at least, since an axis begins "
                "as the weighted mean of its loadings"
            )


def _broken_edge(row: Any) -> Iterable[str]:
    gates = (row.gate_1, row.gate_2, row.gate_3, row.gate_4)
    if row.edge_from == row.edge_to:
        yield f"found an edge from {row.edge_from} to itself; expected two nodes"
    if (row.type == "prerequisite") != (row.threshold is not None):
        found = "none" if row.threshold is None else f"{row.threshold:g}"
        yield f"threshold: prerequisite edges, and no others, have one; found type {row.type}, threshold {found}"
    if any((row.type == "gated") != (gate is not None) for gate in gates):
        told = ", ".join("none" if gate is None else f"{gate:g}" for gate in gates)
        yield f"gate_1..gate_4 belong to gated edges, and each of these has four; found type {row.type}, gates {told}"


def _broken_bucket(row: Any) -> Iterable[str]:
    if row.kind == "maladaptive" and not row.falls:
        yield f"falls: found no for the maladaptive bucket {row.name}; expected yes, since it drains as therapy works"


def _broken_stage_criterion(row: Any) -> Iterable[str]:
    if abs(row.stage_to - row.stage_from) != 1:
        yield f"found a step from stage {row.stage_from} to {row.stage_to}; expected neighbours, such as 1 to 2 or 3 to 2"
    if row.measure in ("core_sessions", "completed_sessions"):
        if row.value < 0 or row.value != int(row.value):
            yield f"value: found {row.value:g} {row.measure}; expected a whole number of sessions"
    elif not 0.0 <= row.value <= 1.0:
        yield f"value: found {row.value:g} for {row.measure}; expected a number in [0, 1], as the measure is"


def _broken_strategy(row: Any) -> Iterable[str]:
    if not row.name.startswith(row.family):
        yield f"family: found {row.family} for strategy {row.name}; expected {row.name[0]}"


def _broken_concern(row: Any) -> Iterable[str]:
    if row.name == "any":
        yield "name: found a concern named any; expected another name, since any in voice.csv means all of them"


_OF_A_ROW = {
    "edges": _broken_edge,
    "buckets": _broken_bucket,
    "stage_criteria": _broken_stage_criterion,
    "strategies": _broken_strategy,
    "concerns": _broken_concern,
}


def _broken_strengths(rows: Rows) -> Iterable[str]:
    """What a table of strengths lacks. Ask only when strengths.csv and strength_nodes.csv have no bad cell."""
    for name in sorted({row.name for row in rows["strengths"]} - {row.strength for row in rows["strength_nodes"]}):
        yield f"strength_nodes.csv: no row for strength {name}; expected the nodes it leans on"
    for row in rows["strengths"]:
        for stage in STAGES[:2]:  # paper 1319
            if (shadow := getattr(row, f"shadow_{stage}")) <= (free := getattr(row, f"accessible_{stage}")):
                yield (
                    f"{place('strengths', row)}: {row.name}: found shadow_{stage} {shadow} and accessible_{stage} {free}; "
                    "expected the shadow to weigh more in stages 1 and 2"
                )
