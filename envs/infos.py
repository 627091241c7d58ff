"""What is told of sessions: observations and infos, as columns over sessions, for one environment or a vector of them.

A column is an array (N, ...), a list of N objects, or a dict of columns. `row` makes of it what a single environment tells,
`spread` what Gymnasium's vector environments tell: arrays over all sub-environments, a mask `_name` beside each.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Discrete

from client_graph.catalog import Catalog
from client_graph.names import PHASES, SIGNALS, STANCES
from client_graph.state import ClientState
from envs.conduct import Begun, Turned
from envs.text import UnicodeText
from envs.types import SessionState
from judges.assessment.session import summarise_scores

MOST_SESSIONS = 10_000
MISREADS = 5

Columns = dict[str, Any]


def observation_space(catalog: Catalog, max_turns: int) -> Dict:
    """What a therapist could know of a session of at most `max_turns` turns."""
    return Dict(
        client=UnicodeText(),
        turn=Discrete(max_turns + 1),
        session=Discrete(MOST_SESSIONS, start=1),
        stage=Discrete(4, start=1),
        stance=Discrete(len(STANCES)),
        beliefs=Box(0.0, 10.0, (len(catalog.nodes),), np.float64),
    )


def observed(sessions: Sequence[SessionState]) -> Columns:
    """The observations of `sessions`."""
    states = [session.state for session in sessions]
    return {
        "client": [session.words for session in sessions],
        "turn": np.concatenate([state.turn for state in states]),
        "session": np.concatenate([state.session for state in states]) + 1,
        "stage": np.concatenate([state.stage for state in states]) + 1,
        "stance": np.concatenate([state.stance for state in states]),
        "beliefs": np.concatenate([state.tmog for state in states]),
    }


def truth(told: Begun | Turned, catalog: Catalog) -> Columns:
    """The true clients, as they are now."""
    state = told.state
    return {
        "person": [session.person for session in told.sessions],
        "client_reasoning": [session.reasoning for session in told.sessions],
        "levels": state.levels.copy(),
        "buckets": state.buckets.copy(),
        "loa": state.loa.copy(),
        "axes": state.axes.copy(),
        "phase": [PHASES[phase] for phase in state.phase],
        "deepest_phase": [PHASES[phase] for phase in state.deepest_phase],
        "coiling": told.measures.coiling.copy(),
        "alliance": told.measures.alliance.copy(),
        "attunement": state.attunement.copy(),
        "guidance": _guidance(state, catalog),
        "worst_misread": worst_misreads(state, catalog),
    }


def turn_told(turned: Turned) -> Columns:
    """What the turn did, beside the truth that it led to."""
    report, outcomes = turned.report, turned.outcomes
    return {
        "judgement": [outcome.judgement for outcome in outcomes],
        "scores": turned.scores.copy(),
        "violations": [outcome.judgement.violations for outcome in outcomes],
        "stage_composite": np.array([outcome.stage_composite for outcome in outcomes]),
        "composite": np.array([outcome.stage_composite for outcome in outcomes]),  # the same by its older name
        "reward_parts": {name: part.copy() for name, part in turned.parts._asdict().items()},
        "phase_score": report.phase_score.copy(),
        "phase_step": report.phase_step.copy(),
        "rupture": report.rupture.copy(),
        "transformation": report.transformation.copy(),
        "signals": {name: report.signals[:, i].copy() for i, name in enumerate(SIGNALS)},
        "ending": list(turned.endings),
    }


def end_told(turned: Turned) -> Columns:
    """Of the sessions in `turned.closed` alone: what the session showed as a whole."""
    ended = turned.ended
    if ended is None:
        return {}
    return {
        "stage_step": ended.stage_step.copy(),
        "session_assessment": [summarise_scores(np.array(turned.sessions[i].scores)) for i in turned.closed],
        "session_measures": {name: value.astype(np.float64) for name, value in ended.measures._asdict().items()},
    }


def _guidance(state: ClientState, catalog: Catalog) -> list[str]:
    pairs = list(zip(state.stage.tolist(), state.phase.tolist(), strict=True))
    texts = {pair: catalog.guidance(*pair) for pair in set(pairs)}
    return [texts[pair] for pair in pairs]


def worst_misreads(state: ClientState, catalog: Catalog, count: int = MISREADS) -> list[list[tuple[str, float]]]:
    """`ClientGraph.worst_misread` of each client: nodes where belief and truth differ most, with belief minus truth."""
    error = state.tmog - state.levels
    worst = np.argsort(-np.abs(error), axis=1, kind="stable")[:, :count]
    names = np.array(catalog.node_names, dtype=object)[worst].tolist()
    return list(map(list, map(zip, names, np.take_along_axis(error, worst, axis=1).tolist())))


def taken(columns: Columns, places: np.ndarray) -> Columns:
    """The columns of the sessions at `places` alone."""
    return {name: _taken(column, places) for name, column in columns.items()}


def _taken(column: Any, places: np.ndarray) -> Any:
    if isinstance(column, dict):
        return taken(column, places)
    return [column[i] for i in places] if isinstance(column, list) else column[places]


def row(columns: Columns, place: int) -> dict[str, Any]:
    """Session `place` as a dict of its own: numbers are Python's, arrays are copies."""
    return {name: _cell(column, place) for name, column in columns.items()}


def _cell(column: Any, place: int) -> Any:
    if isinstance(column, dict):
        return row(column, place)
    if isinstance(column, list):
        return column[place]
    return column.item(place) if column.ndim == 1 else column[place].copy()


def observation_row(columns: Columns, place: int) -> dict[str, Any]:
    """The observation of session `place`: numbers are NumPy's, as their spaces sample them."""
    return {
        name: column[place].copy() if isinstance(column, np.ndarray) and column.ndim > 1 else column[place]
        for name, column in columns.items()
    }


def spread(columns: Columns, places: Sequence[int] | np.ndarray, count: int, into: dict[str, Any]) -> dict[str, Any]:
    """Put `columns` into the infos of a vector environment of `count`, at `places`, by Gymnasium's convention; returns `into`."""
    for name, column in columns.items():
        if isinstance(column, dict):
            into[name] = spread(column, places, count, into.get(name, {}))
        else:
            if name not in into:
                into[name] = _blank(column, count)
            _fill(into[name], column, places)
        mask = into.setdefault(f"_{name}", np.zeros(count, dtype=np.bool_))
        mask[places] = True
    return into


def _blank(column: Any, count: int) -> np.ndarray:
    if isinstance(column, list):
        return np.full(count, None, dtype=object)
    return np.zeros((count, *column.shape[1:]), dtype=column.dtype)


def _fill(target: np.ndarray, column: Any, places: Sequence[int] | np.ndarray) -> None:
    if isinstance(column, np.ndarray):
        target[places] = column
        return
    for place, value in zip(places, column, strict=True):  # one by one: NumPy would take a list of lists apart
        target[place] = value
