"""One turn of therapy, in the paper's order (459-467), for N clients at once."""

from typing import NamedTuple

import numpy as np

from client_graph.buckets import adaptive_mean, couple_buckets_to_nodes, maladaptive_mean, update_buckets
from client_graph.catalog import Catalog
from client_graph.compiled import compiled
from client_graph.drive import checked_scores, drive
from client_graph.graph import alliance, apply_changes, coiling, direct_changes
from client_graph.loa import update_loa
from client_graph.names import DIMENSIONS
from client_graph.phase_shift import next_phase, phase_score
from client_graph.propagation import propagate
from client_graph.settings import ClientSettings
from client_graph.stance import client_signals, next_stance, ruptured
from client_graph.state import ClientState
from client_graph.taie import axis_trend, transformation, update_axes
from client_graph.therapist_model import attunement, update_tmog

ATTUNEMENT = DIMENSIONS.index("attunement")
SAFETY = DIMENSIONS.index("safety")


class TurnReport(NamedTuple):
    """What one turn did, with a leading batch axis. Node changes are counted as edges read them (bipolar: nearness to 5)."""

    direct: np.ndarray  # (N, n) from the judge's scores
    through_edges: np.ndarray  # (N, n) from other nodes
    through_buckets: np.ndarray  # (N, n) from the reservoirs
    buckets: np.ndarray  # (N, 16) change of each reservoir
    loa: np.ndarray  # (N, 7) change of each LOA dimension
    adaptation_events: np.ndarray  # (N, 7) int64: thresholds crossed upward minus downward
    axes: np.ndarray  # (N, 3) change of each axis
    transformation: np.ndarray  # (N,) in [0, 1], as it stands now
    transformation_change: np.ndarray  # (N,) in [-1, 1]
    axis_trend: np.ndarray  # (N,) int64: 1 toward zero, 0 stable, -1 away
    attunement_change: np.ndarray  # (N,)
    coiling: np.ndarray  # (N,) in [0, 1], as it stands now
    alliance: np.ndarray  # (N,) in [0, 1], before the turn's change, as the turn used it
    phase_score: np.ndarray  # (N,) what was held against the thresholds
    phase_step: np.ndarray  # (N,) int64: 1 forward, 0, -1 regression
    signals: np.ndarray  # (N, 5) in [0, 10]: openness, disclosure, resistance, defensiveness, overwhelm
    rupture: np.ndarray  # (N,) bool


def _empty_report(clients: int, nodes: int, buckets: int) -> TurnReport:
    shapes = {"direct": (nodes,), "through_edges": (nodes,), "through_buckets": (nodes,), "buckets": (buckets,)}
    shapes |= {"loa": (7,), "adaptation_events": (7,), "axes": (3,), "signals": (5,)}
    kinds: dict[str, type] = {
        "adaptation_events": np.int64,
        "axis_trend": np.int64,
        "phase_step": np.int64,
        "rupture": np.bool_,
    }
    return TurnReport(
        **{
            name: np.zeros((clients, *shapes.get(name, ())), dtype=kinds.get(name, np.float64))
            for name in TurnReport._fields
        }
    )


@compiled
def _advance(state, scores, tables, dynamics, report):  # type: ignore[no-untyped-def]
    """`state` (a private copy) and `report` are changed in place; one client after the other, each on its own rows."""
    dimensions = scores.shape[1]
    helping, harming = np.empty(dimensions), np.empty(dimensions)
    scratch = np.empty(state.levels.shape[1])
    for i in range(state.levels.shape[0]):
        levels, stage, phase = state.levels[i], state.stage[i], state.phase[i]
        direct = report.direct[i]
        for d in range(dimensions):
            helping[d], harming[d] = drive(scores[i, d], dynamics.literal_drive)

        update_buckets(state.buckets[i], helping, harming, tables, report.buckets[i])
        update_loa(state.loa[i], helping, harming, tables, dynamics, report.loa[i], report.adaptation_events[i])
        transformed = transformation(state.axes[i], state.axes_start[i])
        update_axes(
            state.axes[i], state.axes_start[i], state.axes_window[i], helping, harming, tables, dynamics, report.axes[i]
        )
        report.transformation[i] = transformation(state.axes[i], state.axes_start[i])
        report.transformation_change[i] = report.transformation[i] - transformed
        report.axis_trend[i] = axis_trend(state.axes_window[i], dynamics.axis_tolerance)

        bond = alliance(levels, tables)
        direct_changes(levels, helping, harming, phase, stage, tables, dynamics, scratch)
        apply_changes(levels, scratch, tables, direct)
        propagate(levels, direct, bond, stage, tables, dynamics, scratch, report.through_edges[i])
        couple_buckets_to_nodes(levels, report.buckets[i], tables, scratch, report.through_buckets[i])
        report.alliance[i] = bond

        before = state.attunement[i]
        update_tmog(state.tmog[i], levels, helping[ATTUNEMENT], harming[ATTUNEMENT], dynamics, state.stream, i)
        state.attunement[i] = attunement(state.tmog[i], levels)
        report.attunement_change[i] = state.attunement[i] - before

        mood = adaptive_mean(state.buckets[i], tables) - maladaptive_mean(state.buckets[i], tables)
        tightness = coiling(levels, tables)
        score = phase_score(mood - state.phase_mood[i], state.phase_coiling[i] - tightness, bond, dynamics)
        state.phase[i] = next_phase(phase, score, stage, tables)
        report.coiling[i], report.phase_score[i], report.phase_step[i] = tightness, score, state.phase[i] - phase
        if state.phase[i] != phase:
            state.phase_mood[i], state.phase_coiling[i] = mood, tightness
            state.deepest_phase[i] = max(state.deepest_phase[i], state.phase[i])
        state.turn[i] += 1

        signals = report.signals[i]
        client_signals(levels, state.phase[i], tables, signals)
        report.rupture[i] = ruptured(scores[i, ATTUNEMENT], scores[i, SAFETY], report.phase_step[i])
        steady, resisting = state.recent_attunement[i], state.recent_resistance[i]
        steady[:-1], resisting[:-1] = steady[1:].copy(), resisting[1:].copy()
        steady[-1], resisting[-1] = scores[i, ATTUNEMENT], signals[2]
        state.stance[i] = next_stance(
            state.stance[i], state.turn[i], signals, report.rupture[i],
            np.nanmean(steady), np.nanmean(resisting), dynamics.stance_lock_turns,
        )  # fmt: skip


def advance(
    state: ClientState, scores: np.ndarray, catalog: Catalog, settings: ClientSettings | None = None
) -> tuple[ClientState, TurnReport]:
    """The clients after a turn that was judged `scores` (N, 12) in [0, 10], and what the turn did.

    Pure: `state` is left as it was; the only chance is each client's own stream, part of the state. Raises ScoreError.
    Cost: about 1 µs per thousand node and edge updates; grows with N · (nodes · dimensions + edges).
    """
    judged = checked_scores(scores, state.clients)
    after = state.snapshot()
    report = _empty_report(state.clients, state.levels.shape[1], state.buckets.shape[1])
    _advance(after, judged, catalog.tables, (settings or ClientSettings()).dynamics(), report)
    return after, report
