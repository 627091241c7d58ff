"""Between sessions: assess the stage of treatment, let gains settle, arrive defended again (paper 354-356, 379, 384-385)."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from client_graph import buckets as b
from client_graph.catalog import Catalog
from client_graph.compiled import LANES, compiled, gather
from client_graph.graph import alliance, coiling
from client_graph.state import ClientState, check_state

CORE_ACCESS = 2  # phase C


class Measures(NamedTuple):
    """What the stage criteria and the reports speak of, each (N,)."""

    adaptive_mean: np.ndarray  # in [0, 1]
    maladaptive_mean: np.ndarray  # in [0, 1]
    coiling: np.ndarray  # in [0, 1]
    alliance: np.ndarray  # in [0, 1]
    core_sessions: np.ndarray  # int64
    completed_sessions: np.ndarray  # int64


class SessionReport(NamedTuple):
    """What the end of a session did."""

    stage_step: np.ndarray  # (N,) int64: 1 forward, 0, -1 regression
    measures: Measures  # as the stage criteria saw them


@compiled
def _measure(levels, buckets, tables, out):  # type: ignore[no-untyped-def]
    for first in range(0, levels.shape[0], LANES):
        lanes = min(LANES, levels.shape[0] - first)
        level, bucket = np.empty((levels.shape[1], lanes)), np.empty((buckets.shape[1], lanes))
        gather(levels, first, level)
        gather(buckets, first, bucket)
        here = slice(first, first + lanes)
        b.bucket_means(bucket, tables, out[0, here], out[1, here])
        coiling(level, tables, out[2, here])
        alliance(level, tables, out[3, here])


def measure(state: ClientState, catalog: Catalog) -> Measures:
    """The summary measures of N clients as they stand. Raises StateError where the state does not fit the catalog."""
    check_state(state, len(catalog.nodes), len(catalog.bucket_names))
    out = np.empty((4, state.clients))
    _measure(state.levels, state.buckets, catalog.tables, out)
    return Measures(out[0], out[1], out[2], out[3], state.core_sessions.copy(), state.session.copy())


@compiled
def _erode(buckets, start, tables):  # type: ignore[no-untyped-def]
    for i in range(buckets.shape[0]):
        b.erode(buckets[i], start[i], tables)


_HOLDS: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "above": lambda found, value: found > value,
    "below": lambda found, value: found < value,
    "at_least": lambda found, value: found >= value,
}


def _met(state: ClientState, measures: Measures, catalog: Catalog, step: int) -> tuple[np.ndarray, np.ndarray]:
    """(criteria for stage + step hold now, sessions in a row that are asked for), each (N,).

    Forward needs every criterion of the pair of stages, regression any one of them.
    """
    combine = np.logical_and if step > 0 else np.logical_or
    holds = np.full(state.clients, step > 0)
    asked = np.zeros(state.clients, dtype=np.int64)
    for row in catalog.rows["stage_criteria"]:
        if row.stage_to - row.stage_from != step:
            continue
        here = state.stage == row.stage_from - 1
        found = _HOLDS[row.relation](getattr(measures, row.measure), row.value)
        holds[here] = combine(holds[here], found[here])
        asked[here] = np.maximum(asked[here], row.sessions)
    return holds & (asked > 0), asked


def end_session(state: ClientState, catalog: Catalog) -> tuple[ClientState, SessionReport]:
    """The clients as they arrive at their next session, and what the ended one showed. Pure: `state` is left as it was."""
    after = state.snapshot()
    after.session[:] += 1
    after.core_sessions[:] += state.deepest_phase >= CORE_ACCESS
    measures = measure(after, catalog)
    ahead, ahead_asked = _met(after, measures, catalog, 1)
    behind, behind_asked = _met(after, measures, catalog, -1)
    after.stage_ahead[:] = np.where(ahead, after.stage_ahead + 1, 0)
    after.stage_behind[:] = np.where(behind, after.stage_behind + 1, 0)
    forward = ahead & (after.stage_ahead >= ahead_asked)
    back = behind & (after.stage_behind >= behind_asked)
    step = forward.astype(np.int64) - back.astype(np.int64)
    after.stage[:] += step
    after.stage_ahead[step != 0] = 0
    after.stage_behind[step != 0] = 0
    _erode(after.buckets, after.buckets_start, catalog.tables)
    return arrive(after, catalog), SessionReport(step, measures)


def arrive(state: ClientState, catalog: Catalog) -> ClientState:
    """`state` at the start of a session: phase A, stance rapport_building, shifts counted from here. Changed in place."""
    now = measure(state, catalog)
    state.phase[:] = 0
    state.deepest_phase[:] = 0
    state.phase_mood[:] = now.adaptive_mean - now.maladaptive_mean
    state.phase_coiling[:] = now.coiling
    state.turn[:] = 0
    state.stance[:] = 0
    state.arc[:] = 0
    state.recent_attunement[:] = np.nan
    state.recent_resistance[:] = np.nan
    return state
