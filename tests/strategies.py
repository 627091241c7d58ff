"""Hypothesis strategies: scores, clients, small catalogs."""

import csv
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from client_graph.catalog import Catalog, load_catalog
from client_graph.names import CONFIGS, DIMENSIONS, EDGE_TYPES
from client_graph.personhood import draw
from client_graph.state import ClientState

EDGES = (0.0, 3.5, 6.5, 10.0)  # where the drive begins and ends

one_score = st.sampled_from(EDGES) | st.floats(0.0, 10.0)
one_row = st.lists(one_score, min_size=len(DIMENSIONS), max_size=len(DIMENSIONS))
stages = st.integers(1, 4)
seeds = st.integers(0, 2**32 - 1)


def scores(clients: int = 1) -> st.SearchStrategy[np.ndarray]:
    """(clients, 12) valid scores."""
    return st.lists(one_row, min_size=clients, max_size=clients).map(np.array)


def score_sequences(clients: int = 1, longest: int = 12) -> st.SearchStrategy[list[np.ndarray]]:
    """The scores of several turns."""
    return st.lists(scores(clients), min_size=1, max_size=longest)


@st.composite
def states(
    draw_: st.DrawFn, clients: int = 1, catalog: Catalog | None = None, levels_anywhere: bool = True
) -> ClientState:
    """Clients as personhood draws them; sometimes moved to any level, bound included, and to a later phase."""
    stage, seed = draw_(stages), draw_(seeds)
    rng = np.random.default_rng(seed)
    state, _ = draw(catalog or load_catalog(), rng, clients, stage=stage)
    if levels_anywhere and draw_(st.booleans()):
        state.levels[:] = np.round(rng.uniform(-2.0, 12.0, state.levels.shape).clip(0.0, 10.0), 1)
    state.phase[:] = draw_(st.integers(0, 3))
    return state


Edit = Callable[[list[dict[str, str]]], Iterable[dict[str, str]]]


def copied_tables(folder: Path, **edits: Edit | None) -> Path:
    """The default tables written to `folder`, each named one passed through its edit, or left out where that is None."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted((CONFIGS / "client").glob("*.csv")):
        edit = edits.get(path.stem, lambda rows: rows)
        if edit is None:
            continue
        with path.open(encoding="utf-8", newline="") as lines:
            reader = csv.DictReader(lines)
            columns, rows = list(reader.fieldnames or ()), list(reader)
        rows = list(edit(rows))
        with (folder / path.name).open("w", encoding="utf-8", newline="") as out:
            writer = csv.DictWriter(out, list(rows[0]) if rows else columns, lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    return folder


SOURCE, TARGET, BOND = "trust_capacity", "intimacy_tolerance", "session_engagement"


def small_catalog(
    folder: Path, kind: str = "reinforcing", weight: float = 0.5, source: str = "increase", target: str = "increase",
    threshold: float = 3.0, gates: tuple[float, float, float, float] = (0.2, 0.6, 1.0, 1.6),
) -> Catalog:  # fmt: skip
    """Three nodes, SOURCE -> TARGET by one edge, and BOND, which is alliance and engagement.

    Only attunement moves anything, and only SOURCE: high 0.1, low -0.1. No bucket feeds a node.
    """
    directions = {SOURCE: source, TARGET: target, BOND: "increase"}

    def nodes(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        return [row | {"direction": directions[row["name"]]} for row in rows if row["name"] in directions]

    def edges(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        gate = {f"gate_{s}": str(gates[s - 1]) if kind == "gated" else "" for s in (1, 2, 3, 4)}
        rest = {"threshold": str(threshold) if kind == "prerequisite" else "", "why": "one edge to look at"}
        return [rows[0] | {"edge_from": SOURCE, "type": kind, "edge_to": TARGET, "weight": str(weight)} | gate | rest]

    def sensitivities(_: list[dict[str, str]]) -> list[dict[str, str]]:
        size = {SOURCE: 0.1, TARGET: 0.0, BOND: 0.0}
        return [
            {"node": name, "dimension": "attunement", "high": str(s), "low": str(-s), "source": "test"}
            for name, s in size.items()
        ]

    def roles(_: list[dict[str, str]]) -> list[dict[str, str]]:
        return [{"role": role, "node": BOND, "source": "test"} for role in ("alliance", "engagement")]

    nothing: Edit = lambda rows: []  # noqa: E731
    return load_catalog(
        copied_tables(
            folder, nodes=nodes, edges=edges, sensitivities=sensitivities, roles=roles, bucket_nodes=nothing,
            signal_nodes=nothing, strategy_nodes=nothing, concern_nodes=nothing, voice=lambda rows: rows[:3],
        )
    )  # fmt: skip


@st.composite
def small_catalogs(draw_: st.DrawFn) -> Catalog:
    """Any small catalog: every edge type, direction and weight."""
    directions = st.sampled_from(["increase", "decrease", "bipolar"])
    with tempfile.TemporaryDirectory() as folder:
        return small_catalog(
            Path(folder), draw_(st.sampled_from(EDGE_TYPES)), draw_(st.floats(0.01, 1.0)),
            draw_(directions), draw_(directions), draw_(st.floats(0.0, 10.0)),
        )  # fmt: skip


catalogs = st.just(None).map(load_catalog) | small_catalogs()
