"""Each edge type's own law on a client of three nodes, and how one node moves."""

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import BOND, SOURCE, TARGET, small_catalog

from client_graph.catalog import load_catalog
from client_graph.drive import drive
from client_graph.graph import BIPOLAR, DECREASE, INCREASE, change_between, coiling_of, move
from client_graph.names import DIMENSIONS
from client_graph.personhood import draw
from client_graph.propagation import prerequisite
from client_graph.session import arrive
from client_graph.turn import advance

DAMPED = 0.5 * 0.3 * 0.5  # weight, source, target (paper 345)
HELPED, HURT = 10.0, 0.0
GATES = (0.2, 0.6, 1.0, 1.6)


def travelled(
    folder: Path, kind: str, attunement: float, *, bond: float = 8.0, stage: int = 1, source: float = 5.0
) -> tuple[float, float, float]:
    """(direct change of the source, what reached the target, what reached the source) in one turn."""
    catalog = small_catalog(folder, kind, gates=GATES)
    state, _ = draw(catalog, np.random.default_rng(0), stage=stage)
    for name, level in ((SOURCE, source), (TARGET, 5.0), (BOND, bond)):
        state.levels[0, catalog.node(name)] = level
    judged = np.full((1, 12), 5.0)
    judged[0, DIMENSIONS.index("attunement")] = attunement
    _, report = advance(arrive(state, catalog), judged, catalog)
    s, t = catalog.node(SOURCE), catalog.node(TARGET)
    assert report.direct[0, s] * (attunement - 5) > 0
    return report.direct[0, s], report.through_edges[0, t], report.through_edges[0, s]


@pytest.mark.parametrize(
    ("kind", "attunement", "where", "factor"),
    [
        ("reinforcing", HELPED, {}, 1),
        ("reinforcing", HURT, {}, 1),
        ("protective", HELPED, {"bond": 5.1}, -1),
        ("protective", HELPED, {"bond": 5.0}, 1),  # strong means above 0.5
        ("protective", HURT, {"bond": 9.0}, -1),
        ("protective", HURT, {"bond": 2.0}, 1),
        ("compensatory", HELPED, {}, 1),
        ("compensatory", HURT, {}, 0),
        ("suppressive", HELPED, {}, -1),
        ("suppressive", HURT, {}, -1),
        ("prerequisite", HELPED, {"source": 2.0}, 0),
        ("prerequisite", HELPED, {"source": 3.0}, 1),
        ("prerequisite", HELPED, {"source": 2.99}, 1),  # the level after its direct change
        ("prerequisite", HURT, {"source": 3.0}, 0),
        ("paired", HELPED, {}, 1),
        ("paired", HURT, {}, 1),
        *(("gated", HELPED, {"stage": stage}, GATES[stage - 1]) for stage in (1, 2, 3, 4)),
        ("gated", HURT, {"stage": 4}, 1.6),
        *(("paradoxical", HELPED, {"stage": stage}, -1 if stage < 3 else 1) for stage in (1, 2, 3, 4)),
        ("paradoxical", HURT, {"stage": 2}, -1),
    ],
)
def test_law_of_each_edge_type(
    tmp_path: Path, kind: str, attunement: float, where: dict[str, float], factor: float
) -> None:
    direct, reached, _ = travelled(tmp_path, kind, attunement, **where)  # type: ignore[arg-type]
    assert reached == pytest.approx(direct * DAMPED * factor, abs=1e-15)


def test_a_prerequisite_is_met_at_its_threshold() -> None:
    assert prerequisite(1.5, 3.0, 3.0) == 1.5
    assert prerequisite(1.5, 2.999, 3.0) == 0.0


def test_only_a_paired_edge_leads_back(tmp_path: Path) -> None:
    def both(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        return [row | ({"high": "0.1", "low": "-0.1"} if row["node"] == TARGET else {}) for row in rows]

    for kind, leads_back in (("paired", True), ("reinforcing", False)):
        folder = tmp_path / kind
        small_catalog(folder, kind)
        rewrite(folder / "sensitivities.csv", both)
        second = tmp_path / f"{kind}_both"
        folder.rename(second)  # a folder is read once, so the edited tables need a name of their own
        catalog = load_catalog(second)
        state, _ = draw(catalog, np.random.default_rng(0), stage=2)
        state.levels[:] = 5.0
        _, report = advance(state, np.full((1, 12), 10.0), catalog)
        s, t = catalog.node(SOURCE), catalog.node(TARGET)
        assert report.direct[0, t] > 0
        expected = report.direct[0, t] * DAMPED if leads_back else 0.0
        assert report.through_edges[0, s] == pytest.approx(expected, abs=1e-15)


def rewrite(path: Path, edit: Callable[[list[dict[str, str]]], list[dict[str, str]]]) -> None:
    with path.open(encoding="utf-8", newline="") as lines:
        rows = edit(list(csv.DictReader(lines)))
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_a_change_travels_one_hop_a_turn(tmp_path: Path) -> None:
    """What an edge brought does not go on in the same turn: with a chain, the third node waits."""
    catalog = small_catalog(tmp_path / "one")

    def chain(rows: list[dict[str, str]]) -> list[dict[str, str]]:
        return [*rows, rows[0] | {"edge_from": TARGET, "edge_to": BOND}]

    rewrite(catalog.folder / "edges.csv", chain)
    catalog.folder.rename(tmp_path / "two")
    catalog = load_catalog(tmp_path / "two")
    state, _ = draw(catalog, np.random.default_rng(0), stage=2)
    state.levels[:] = 5.0
    _, report = advance(state, np.full((1, 12), 10.0), catalog)
    assert report.through_edges[0, catalog.node(TARGET)] > 0
    assert report.through_edges[0, catalog.node(BOND)] == 0


LEVELS = st.floats(0, 10)
CHANGES = st.floats(-20, 20)


@given(level=LEVELS, change=CHANGES, direction=st.sampled_from([INCREASE, DECREASE, BIPOLAR]))
def test_a_move_stays_in_range_and_reports_what_it_did(level: float, change: float, direction: int) -> None:
    after = move(level, change, direction)
    assert 0 <= after <= 10
    moved = change_between(level, after, direction)
    assert abs(moved) <= abs(change) + 1e-12
    assert moved * change >= 0
    if direction != BIPOLAR:
        assert moved == after - level


@given(level=LEVELS, help_=st.floats(0, 20))
def test_help_brings_a_bipolar_node_nearer_to_five_and_never_across(level: float, help_: float) -> None:
    after = move(level, help_, BIPOLAR)
    assert (after - 5) * (level - 5) >= 0
    assert abs(after - 5) <= abs(level - 5)
    assert coiling_of(after, BIPOLAR) <= coiling_of(level, BIPOLAR)


@pytest.mark.parametrize(
    ("level", "change", "after"),
    [
        (7, 1, 6),
        (7, 3, 5),
        (3, 1, 4),
        (3, 5, 5),
        (7, -1, 8),
        (3, -1, 2),
        (5, -1, 6),
        (5, 1, 5),
        (9, -4, 10),
        (1, -4, 0),
    ],
)
def test_bipolar_moves_by_hand(level: float, change: float, after: float) -> None:
    assert move(float(level), float(change), BIPOLAR) == after


@pytest.mark.parametrize(
    ("level", "direction", "tight"),
    [(2, INCREASE, 0.8), (2, DECREASE, 0.2), (2, BIPOLAR, 0.6), (5, BIPOLAR, 0), (10, BIPOLAR, 1)],
)
def test_coiling_is_the_distance_from_health(level: float, direction: int, tight: float) -> None:
    assert coiling_of(float(level), direction) == pytest.approx(tight)


@pytest.mark.parametrize(
    ("score", "excess", "literal"),
    [
        (10.0, (10, 0), (10, 0)), (8.25, (5, 0), (8.25, 0)), (6.5, (0, 0), (0, 0)), (5.0, (0, 0), (0, 0)),
        (3.5, (0, 0), (0, 0)), (1.75, (0, 5), (0, 1.75)), (0.0, (0, 10), (0, 0)),
    ],
)  # fmt: skip
def test_drive_by_hand(score: float, excess: tuple[float, float], literal: tuple[float, float]) -> None:
    assert drive(score, False) == pytest.approx(excess)
    assert drive(score, True) == pytest.approx(literal)


@given(a=LEVELS, b=LEVELS)
def test_excess_drive_is_monotone(a: float, b: float) -> None:
    low, high = sorted((a, b))
    assert drive(low, False)[0] <= drive(high, False)[0]
    assert drive(low, False)[1] >= drive(high, False)[1]
