"""What `icarus check-catalog` prints: what a catalog holds and where it is loosest, or what is wrong with it, by file."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from textwrap import TextWrapper

from client_graph.catalog import Catalog
from client_graph.names import DIMENSIONS, DIRECTIONS, EDGE_TYPES
from client_graph.paper_rules import reach
from client_graph.rules import Rows

WIDTH = 120  # of a line, in characters


def inventory(catalog: Catalog) -> str:
    """One line a topic: counts, then the least of each kind by name."""
    rows = catalog.rows
    facts = sum(map(len, rows.values()))
    parts = (
        ("tables", f"{len(rows)} with {facts} facts, in {catalog.folder}"),
        ("nodes", _counted(Counter(row.domain for row in rows["nodes"]), (row.name for row in rows["domains"]))),
        ("directions", _counted(Counter(row.direction for row in rows["nodes"]), DIRECTIONS)),
        ("sensitivities", _counted(Counter(row.dimension for row in rows["sensitivities"]), DIMENSIONS)),
        ("edges", _counted(Counter(row.type for row in rows["edges"]), EDGE_TYPES)),
        ("buckets", _counted(Counter(row.kind for row in rows["buckets"]), ("maladaptive", "adaptive"))),
        ("bucket facts", _sizes(rows, {"bucket_scores": "from dimensions", "bucket_nodes": "to nodes"})),
        ("levels of adaptation", _sizes(rows, {"loa": "dimensions", "loa_scores": "weights", "loa_thresholds": "thresholds"})),
        ("phases and stages", _sizes(rows, {"phase_thresholds": "thresholds", "stage_criteria": "criteria", "guidance": "cells"})),
        ("strategies", _counted(Counter(row.coherence for row in rows["strategies"]), ("odd", "even", "balanced"))),
        ("concerns", _sizes(rows, {"concerns": "concerns", "concern_nodes": "shifts"})),
        ("strengths", _sizes(rows, {"strengths": "strengths", "strength_nodes": "leanings on nodes"})),
        ("voice lines", _counted(Counter(row.moment for row in rows["voice"]), _in_order(row.moment for row in rows["voice"]))),
        *_loosest(rows),
        *_unread(catalog.folder, rows),
    )  # fmt: skip
    column = max(len(topic) for topic, _ in parts) + 2
    wrapper = TextWrapper(WIDTH, subsequent_indent=" " * column, break_long_words=False, break_on_hyphens=False)
    return "\n".join(wrapper.fill(f"{topic:<{column}}{told}") for topic, told in parts)


def by_file(problems: Iterable[str], folder: Path) -> str:
    """Problems under the name of their file, each with its line; problems of no file come first, as they are."""
    files: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for problem in problems:
        found = _PLACE.match(problem.removeprefix(f"{folder}/"))
        name, line, told = found.groups() if found else ("", None, problem)
        files[name].append((int(line or 0), told))
    lines = []
    for name in sorted(files):
        lines += [name] if name else []
        lines += [f"  line {line}: {told}" if line else f"  {told}" for line, told in sorted(files[name])]
    return "\n".join(lines)


_PLACE = re.compile(r"([^:/]+\.csv)(?::(\d+))?: (.*)", re.DOTALL)


def _counted(counts: Mapping[str, int], order: Iterable[str]) -> str:
    """The sum, then each name with its count; with more than two names also the least and the most."""
    names = list(order)
    told = ", ".join(f"{name} {counts.get(name, 0)}" for name in names)
    spread = ""
    if len(names) > 2:
        least, most = (pick(names, key=lambda name: counts.get(name, 0)) for pick in (min, max))
        spread = f"; least {least}, most {most}"
    return f"{sum(counts.values())}: {told}{spread}"


def _sizes(rows: Rows, named: dict[str, str]) -> str:
    return ", ".join(f"{len(rows[table])} {what}" for table, what in named.items())


def _in_order(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))


def _loosest(rows: Rows) -> Iterable[tuple[str, str]]:
    """Where a client of these tables hangs by the thinnest thread."""
    nodes = [row.name for row in rows["nodes"]]
    reached, reaching = reach(rows)
    moved = Counter(row.node for row in rows["sensitivities"] if row.high or row.low)
    yield "least reached", _least(reached, nodes, "edge")
    yield "least reaching", _least(reaching, nodes, "edge")
    yield "least moved", _least(moved, nodes, "dimension")
    yield "faintest edge", _faintest(rows)


def _least(counts: Mapping[str, int], names: list[str], what: str) -> str:
    least = min(counts.get(name, 0) for name in names)
    found = [name for name in names if counts.get(name, 0) == least]
    return f"{_some(found)}: {least} {what}{'' if least == 1 else 's'}"


def _faintest(rows: Rows) -> str:
    if not rows["edges"]:
        return "no edge"
    row = min(rows["edges"], key=lambda edge: edge.weight)
    return f"{row.edge_from} {row.type} {row.edge_to}: weight {row.weight:g}"


def _some(names: list[str], most: int = 5) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return (", ".join(names[:most]) + more) or "none"


def _unread(folder: Path, rows: Rows) -> Iterable[tuple[str, str]]:
    """Files that look like tables and are none: a misspelt name would otherwise go unseen."""
    strange = sorted(path.name for path in folder.glob("*.csv") if path.stem not in rows)
    if strange:
        yield "not read", f"{_some(strange)}: no table has such a name"
