"""A whole catalog from the few rows that matter: the rest is the plainest that the checks accept."""

from collections.abc import Iterable
from functools import cache
from typing import Any

from client_graph import rows as r
from client_graph.catalog import Catalog, catalog_of
from client_graph.names import AXES, LOA_DIMENSIONS, PHASES, SIGNALS, STAGES
from client_graph.tables import Row

SOURCE = "design: made for a test"
FORWARD, BACK = ("AB", "BC", "CD"), ("BA", "CB", "DC")


def row(table: str, **cells: Any) -> Row:
    """A row of `table`, its cells checked as a file's would be."""
    return r.TABLES[table].model_validate({"source": SOURCE} | cells)


def node(name: str, direction: str = "increase", **cells: Any) -> Row:
    """A node: weight 1, no resistance, fully awake in every phase, starting at 5; `cells` say otherwise."""
    usual: dict[str, Any] = {"low": "as low as it goes", "high": "as high as it goes", "weight": 1.0}
    usual |= {f"bq_{stage}": 0.0 for stage in STAGES} | {f"start_{stage}": 5.0 for stage in STAGES}
    usual |= {f"phase_{phase.lower()}": 1.0 for phase in PHASES} | {f"load_{axis}": 0.5 for axis in "xyz"}
    return row("nodes", **(usual | {"name": name, "domain": "whole", "direction": direction} | cells))


def sensitivity(name: str, dimension: str = "attunement", high: float = 0.0, low: float = 0.0) -> Row:
    """How a judge dimension moves a node; not at all unless told."""
    return row("sensitivities", node=name, dimension=dimension, high=high, low=low)


def edge(
    source: str, kind: str, target: str, weight: float = 0.5, threshold: float = 3.0,
    gates: tuple[float, float, float, float] = (0.2, 0.6, 1.0, 1.6),
) -> Row:  # fmt: skip
    """An edge; `threshold` is for prerequisite ones and `gates` for gated ones."""
    cells: dict[str, Any] = {
        f"gate_{s}": gate if kind == "gated" else "" for s, gate in zip(STAGES, gates, strict=True)
    }
    cells |= {"threshold": threshold if kind == "prerequisite" else "", "why": "an edge to look at"}
    return row("edges", edge_from=source, type=kind, edge_to=target, weight=weight, **cells)


@cache
def _usual() -> dict[str, tuple[Row, ...]]:
    steps = [(stage, *step, 0.3 if step in FORWARD else -0.3) for stage in STAGES for step in FORWARD + BACK]
    return {
        "domains": (row("domains", name="whole", meaning="the whole of a small person"),),
        "buckets": (
            bucket("trouble", "maladaptive", falls=True, start=0.5),
            bucket("ease", "adaptive", falls=False, start=0.5),
        ),
        "loa": tuple(
            row("loa", name=name, low="least", high="most", **{f"start_{stage}": 0.0 for stage in STAGES})
            for name in LOA_DIMENSIONS
        ),
        "loa_thresholds": (row("loa_thresholds", threshold=2.0),),
        "axes": tuple(row("axes", name=name, low="one end", high="the other end") for name in AXES),
        "phase_thresholds": tuple(
            row("phase_thresholds", stage=stage, phase_from=a, phase_to=b, threshold=threshold)
            for stage, a, b, threshold in steps
        ),
        "signals": tuple(
            row("signals", name=name, offset=5.0, **{f"phase_{phase.lower()}": 1.0 for phase in PHASES})
            for name in SIGNALS
        ),
        "guidance": tuple(
            row("guidance", stage=stage, phase=phase, text=f"What stage {stage} and phase {phase} ask of a therapist.")
            for stage in STAGES
            for phase in PHASES
        ),
        "strategies": (row("strategies", name="B3", family="B", coherence="balanced", voice="Plain and open."),),
        "concerns": (
            row("concerns", name="a_worry", opening="Something is on my mind.", history="It began a while ago."),
        ),
        "names": (row("names", name="Kim"),),
        "voice": (
            row(
                "voice",
                stage="any",
                phase="A",
                coherence="balanced",
                moment="ordinary",
                concern="any",
                line="It is all right.",
            ),
        ),
    }


def bucket(
    name: str, kind: str, *, falls: bool, start: float = 0.5, volatility: float = 0.1, decay: float = 0.2
) -> Row:
    """An affective reservoir that starts at `start` in every stage."""
    cells = {f"start_{stage}": start for stage in STAGES} | {"volatility": volatility, "session_decay": decay}
    return row("buckets", name=name, kind=kind, falls="yes" if falls else "no", **cells)


def plain_catalog(nodes: Iterable[Row], **tables: Iterable[Row]) -> Catalog:
    """A catalog of `nodes`; the first is alliance and engagement, nothing moves any of them, unless `tables` say so.

    `tables` are named as the files are. A node that `sensitivities` leave out gets a row of zeros. Raises TableError.
    """
    people = tuple(nodes)
    rows: dict[str, tuple[Row, ...]] = dict.fromkeys(r.TABLES, ())
    rows |= _usual() | {"nodes": people}
    rows["roles"] = tuple(row("roles", role=role, node=people[0].name) for role in ("alliance", "engagement"))  # type: ignore[attr-defined]
    rows |= {name: tuple(entries) for name, entries in tables.items()}
    moved = {entry.node for entry in rows["sensitivities"]}  # type: ignore[attr-defined]
    rows["sensitivities"] += tuple(sensitivity(each.name) for each in people if each.name not in moved)  # type: ignore[attr-defined]
    return catalog_of(rows)


def with_rows(catalog: Catalog, **tables: Iterable[Row]) -> Catalog:
    """`catalog` with the named tables replaced. Raises TableError."""
    return catalog_of(dict(catalog.rows) | {name: tuple(entries) for name, entries in tables.items()})
