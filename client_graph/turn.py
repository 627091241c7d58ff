"""One turn of therapy, in the paper's order (459-467), for N clients at once."""

from typing import NamedTuple

import numpy as np

from client_graph.buckets import bucket_means, couple_buckets_to_nodes, update_buckets
from client_graph.catalog import Catalog
from client_graph.compiled import LANES, compiled, gather, scatter
from client_graph.drive import checked_scores, drives
from client_graph.graph import alliance, apply_changes, coiling, direct_changes, engagement
from client_graph.loa import update_loa
from client_graph.names import DIMENSIONS
from client_graph.phase_shift import next_phase, phase_score
from client_graph.propagation import propagate
from client_graph.settings import ClientSettings
from client_graph.spread import spread
from client_graph.stance import RESISTANCE, client_signals, mean_so_far, next_arc, next_stance, remember, ruptured
from client_graph.state import ClientState, StateError, check_state
from client_graph.taie import axes_size, axis_trend, transformation, update_axes
from client_graph.therapist_model import attunement, update_tmog

ATTUNEMENT = DIMENSIONS.index("attunement")
SAFETY = DIMENSIONS.index("safety")
_DEFAULT = ClientSettings().dynamics


class TurnReport(NamedTuple):
    """What one turn did, with a leading batch axis. Node changes are counted as edges read them (bipolar: nearness to 5)."""

    direct: np.ndarray  # (N, n) from the judge's scores
    through_edges: np.ndarray  # (N, n) from other nodes
    through_buckets: np.ndarray  # (N, n) from the reservoirs
    buckets: np.ndarray  # (N, B) change of each reservoir
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


def empty_report(clients: int, catalog: Catalog, *, by_node: bool) -> TurnReport:
    """A report to be filled; without `by_node` the three node arrays have no rows, which saves nine tenths of its memory."""
    nodes, buckets = len(catalog.nodes), len(catalog.bucket_names)
    rows = clients if by_node else 0
    return TurnReport(
        direct=np.zeros((rows, nodes)),
        through_edges=np.zeros((rows, nodes)),
        through_buckets=np.zeros((rows, nodes)),
        buckets=np.zeros((clients, buckets)),
        loa=np.zeros((clients, 7)),
        adaptation_events=np.zeros((clients, 7), dtype=np.int64),
        axes=np.zeros((clients, 3)),
        transformation=np.zeros(clients),
        transformation_change=np.zeros(clients),
        axis_trend=np.zeros(clients, dtype=np.int64),
        attunement_change=np.zeros(clients),
        coiling=np.zeros(clients),
        alliance=np.zeros(clients),
        phase_score=np.zeros(clients),
        phase_step=np.zeros(clients, dtype=np.int64),
        signals=np.zeros((clients, 5)),
        rupture=np.zeros(clients, dtype=np.bool_),
    )


def _check_report(report: TurnReport, clients: int, catalog: Catalog) -> None:
    nodes, found = len(catalog.nodes), report.direct.shape
    if len(report.rupture) != clients or found not in ((clients, nodes), (0, nodes)):
        raise StateError(
            f"found a report for {len(report.rupture)} clients, {found} of them by node; expected one for {clients} clients and "
            f"{nodes} nodes: empty_report({clients}, catalog, by_node=...)"
        )


@compiled
def _advance_block(state, scores, tables, dynamics, report, first, lanes):  # type: ignore[no-untyped-def]
    """The turn of clients `first` to `first + lanes`; `state` and `report` are changed in place."""
    nodes = state.levels.shape[1]
    clients = slice(first, first + lanes)
    by_node = report.direct.shape[0] > 0
    stage, phase = state.stage[clients], state.phase[clients]

    helping, harming = np.empty((scores.shape[1], lanes)), np.empty((scores.shape[1], lanes))
    drives(scores, first, dynamics.literal_drive, helping, harming)

    buckets, poured = np.empty((state.buckets.shape[1], lanes)), np.empty((state.buckets.shape[1], lanes))
    gather(state.buckets, first, buckets)
    update_buckets(buckets, helping, harming, tables, poured)
    scatter(buckets, state.buckets, first)
    scatter(poured, report.buckets, first)

    loa, adapted = np.empty((state.loa.shape[1], lanes)), np.empty((state.loa.shape[1], lanes))
    events = np.empty((state.loa.shape[1], lanes), dtype=np.int64)
    gather(state.loa, first, loa)
    update_loa(loa, helping, harming, tables, dynamics, adapted, events)
    scatter(loa, state.loa, first)
    scatter(adapted, report.loa, first)
    scatter(events, report.adaptation_events, first)

    axes, axes_start, turned = np.empty((3, lanes)), np.empty((3, lanes)), np.empty((3, lanes))
    gather(state.axes, first, axes)
    gather(state.axes_start, first, axes_start)
    size_start, size_before, size = np.empty(lanes), np.empty(lanes), np.empty(lanes)
    axes_size(axes_start, size_start)
    axes_size(axes, size_before)
    update_axes(axes, axes_start, helping, harming, tables, dynamics, turned)
    axes_size(axes, size)
    scatter(axes, state.axes, first)
    scatter(turned, report.axes, first)
    for k in range(lanes):
        i, window = first + k, state.axes_window[first + k]
        remember(window, size[k])
        report.transformation[i] = transformation(size[k], size_start[k])
        report.transformation_change[i] = report.transformation[i] - transformation(size_before[k], size_start[k])
        report.axis_trend[i] = axis_trend(window, dynamics.axis_tolerance)

    levels, changes, direct = np.empty((nodes, lanes)), np.empty((nodes, lanes)), np.empty((nodes, lanes))
    bond, engaged, tight, error = np.empty(lanes), np.empty(lanes), np.empty(lanes), np.empty(lanes)
    gather(state.levels, first, levels)
    alliance(levels, tables, bond)
    engagement(levels, tables, dynamics.engagement_floor, engaged)
    direct_changes(helping, harming, phase, stage, engaged, tables, dynamics.node_gain, direct)
    apply_changes(levels, direct, tables)
    propagate(levels, direct, bond, stage, tables, dynamics, changes)
    if by_node:
        scatter(direct, report.direct, first)
        scatter(changes, report.through_edges, first)
    couple_buckets_to_nodes(levels, poured, tables, changes)
    if by_node:
        scatter(changes, report.through_buckets, first)
    scatter(levels, state.levels, first)

    update_tmog(state.tmog, first, levels, helping[ATTUNEMENT], harming[ATTUNEMENT], dynamics, state.stream, error)
    coiling(levels, tables, tight)
    well, ill, signals = np.empty(lanes), np.empty(lanes), np.empty((report.signals.shape[1], lanes))
    bucket_means(buckets, tables, well, ill)
    forward, back = tables.phase_forward, tables.phase_back
    for k in range(lanes):
        i = first + k
        before = state.attunement[i]
        state.attunement[i] = attunement(error[k], nodes)
        report.attunement_change[i] = state.attunement[i] - before

        mood = well[k] - ill[k]
        score = phase_score(mood - state.phase_mood[i], state.phase_coiling[i] - tight[k], bond[k], dynamics)
        after = next_phase(phase[k], score, forward[stage[k]], back[stage[k]])
        report.alliance[i], report.coiling[i] = bond[k], tight[k]
        report.phase_score[i], report.phase_step[i] = score, after - phase[k]
        if after != phase[k]:
            state.phase[i], state.phase_mood[i], state.phase_coiling[i] = after, mood, tight[k]
            state.deepest_phase[i] = max(state.deepest_phase[i], after)
        state.turn[i] += 1

    client_signals(levels, phase, tables, signals)  # `phase` is a view: the phase that the turn has led to
    scatter(signals, report.signals, first)
    for k in range(lanes):
        i = first + k
        report.rupture[i] = ruptured(scores[i, ATTUNEMENT], scores[i, SAFETY], report.phase_step[i])
        remember(state.recent_attunement[i], scores[i, ATTUNEMENT])
        remember(state.recent_resistance[i], signals[RESISTANCE, k])
        before_stance = state.stance[i]
        state.stance[i] = next_stance(
            before_stance, state.arc[i], state.turn[i], signals[:, k], report.rupture[i],
            mean_so_far(state.recent_attunement[i]), mean_so_far(state.recent_resistance[i]), dynamics.stance_lock_turns,
        )  # fmt: skip
        state.arc[i] = next_arc(before_stance, state.stance[i], state.arc[i], dynamics.arc_steps)


@compiled
def _advance(state, scores, tables, dynamics, report, first, last):  # type: ignore[no-untyped-def]
    for start in range(first, last, LANES):
        _advance_block(state, scores, tables, dynamics, report, start, min(LANES, last - start))


def advance(
    state: ClientState, scores: np.ndarray, catalog: Catalog, settings: ClientSettings | None = None
) -> tuple[ClientState, TurnReport]:
    """The clients after a turn that was judged `scores` (N, 12) in [0, 10], and what the turn did.

    Pure: `state` is left as it was; the only chance is each client's own stream, part of the state. Raises ScoreError, StateError.
    Cost: proportional to N; see benchmarks/client_graph.py.
    """
    after, report = state.snapshot(), empty_report(state.clients, catalog, by_node=True)
    advance_in_place(after, scores, catalog, settings, report=report)
    return after, report


def advance_in_place(
    state: ClientState,
    scores: np.ndarray,
    catalog: Catalog,
    settings: ClientSettings | None = None,
    *,
    report: TurnReport | None = None,
    threads: int = 1,
) -> TurnReport:
    """`advance` without copies, for long runs of many clients: `state` is changed, and `report` too where one is given.

    A report made by `empty_report(..., by_node=False)` leaves out the changes by node (the default here). The clients are
    spread over `threads`; their bits do not depend on how. Raises ScoreError or StateError before anything is changed.
    """
    check_state(state, len(catalog.nodes), len(catalog.bucket_names))
    if not state.levels.flags.writeable:
        raise StateError(
            "found a read-only state; expected one that may be changed: use advance(), or state.snapshot()"
        )
    judged = checked_scores(scores, state.clients)
    filled = report if report is not None else empty_report(state.clients, catalog, by_node=False)
    _check_report(filled, state.clients, catalog)
    dynamics = _DEFAULT if settings is None else settings.dynamics
    spread(
        lambda first, last: _advance(state, judged, catalog.tables, dynamics, filled, first, last),
        state.clients,
        threads,
    )
    return filled
