"""What follows a turn: its reward, whether the session ends, and what the therapist sees of the client now.

The reward is that of rewards.parts, compiled for speed; a test holds both equal.
"""

from typing import NamedTuple

import numpy as np

from client_graph.compiled import LANES, gather
from client_graph.names import DIMENSIONS, SIGNALS, STAGES
from client_graph.stance import client_signals
from client_graph.state import ClientState
from client_graph.therapist_model import bell, random_word
from client_graph.turn import TurnReport
from envs.endings import COLLAPSE, INTEGRATION, TURNS_TO_CLOSE
from envs.skills.compiled import compiled
from envs.skills.observation import COLUMNS, NO_TURN_YET, SEEN_HIGH, SEEN_LOW
from envs.skills.response import DIMENSION_COUNT, WORDS_A_TURN, marker_of
from rewards.parts import RewardParts
from rewards.settings import RewardSettings
from rewards.tables import RewardTables, load_reward_tables

GOES_ON, LEFT, CLOSED_WELL, TURN_LIMIT = range(4)
ENDINGS = (None, "left", "closed_well", "turn_limit")  # what a code of `ending` says

PARTS = RewardParts._fields
COMPOSITE, MODIFIERS, PHASE, STAGE_TRANSITION, TREND, TRANSFORMATION, EVENTS, ATTUNEMENT, ENDING, VIOLATIONS = range(
    len(PARTS)
)
SCALES = (
    "composite", "modifiers", "phase_forward", "phase_regression", "taie", "transformation", "adaptation_event", "attunement",
    "closed_well", "broken_off",
)  # fmt: skip
AT_COMPOSITE, AT_MODIFIERS, AT_FORWARD, AT_REGRESSION, AT_TAIE, AT_TRANSFORMATION, AT_EVENT, AT_ATTUNEMENT = range(8)
AT_CLOSED_WELL, AT_BROKEN_OFF = 8, 9
SIGNS = len(SIGNALS)
MODIFIER = np.dtype([("above", "i8"), ("threshold", "f8"), ("reward", "f8"), ("count", "i8")])


class Running(NamedTuple):
    """N sessions beside their clients, changed in place."""

    chance: np.ndarray  # (N,) uint64: all noise of the session is a function of it and of the turn
    alliance_at_start: np.ndarray  # (N,) in [0, 1]
    in_integration: np.ndarray  # (N,) int64: turns in phase D up to now, without a break
    signals: np.ndarray  # (N, 5) in [0, 10]: what truly shows of the client now
    composite: np.ndarray  # (N,) in [0, 10] of the last turn; -1 before the first
    alliance: np.ndarray  # (N,) in [0, 1] now
    over: np.ndarray  # (N,) bool


class Rewarding(NamedTuple):
    """The reward's facts and scales as compiled code reads them."""

    weights: np.ndarray  # (4, 12) by stage and dimension
    weight_sums: np.ndarray  # (4,)
    modifiers: np.ndarray  # records, sorted by stage
    looked_at: np.ndarray  # (modifiers, 12) int64: the first `count` places of a row are the dimensions it looks at
    stage_start: np.ndarray  # (5,) where those of each stage begin
    scales: np.ndarray  # (10,) points, in the order of SCALES


class Client(NamedTuple):
    """The fields of N clients that are looked at after a turn: of the state, then of the report."""

    levels: np.ndarray
    phase: np.ndarray
    stage: np.ndarray
    turn: np.ndarray
    stance: np.ndarray
    session: np.ndarray
    signals: np.ndarray
    phase_step: np.ndarray
    axis_trend: np.ndarray
    adaptation_events: np.ndarray
    transformation_change: np.ndarray
    attunement_change: np.ndarray


def looked_at(state: ClientState, report: TurnReport) -> Client:
    """Those fields: numba unpacks what it is given at every call, which a single session would feel."""
    return Client(
        state.levels, state.phase, state.stage, state.turn, state.stance, state.session, report.signals, report.phase_step,
        report.axis_trend, report.adaptation_events, report.transformation_change, report.attunement_change,
    )  # fmt: skip


class Seeing(NamedTuple):
    """How blurred the therapist's view is, and how long a session lasts."""

    signal_noise: float  # standard deviation, in level points
    felt_noise: float  # standard deviation, in score points
    max_turns: int
    markers: bool  # whether they show
    odds: np.ndarray  # (4, markers), as in ResponseTables
    marker_signs: np.ndarray  # (markers, 5), as in ResponseTables
    offset: np.ndarray  # (5,) of the signals, as in client_graph.stance.client_signals
    factor: np.ndarray  # (5, 4) of the signals, by phase
    shows: np.ndarray  # records of (signal, node, weight)


class Result(NamedTuple):
    """What a turn gave; filled by `conclude`."""

    parts: np.ndarray  # (10, N) points, in the order of PARTS
    reward: np.ndarray  # (N,) points: their sum
    ending: np.ndarray  # (N,) int8: a place in ENDINGS
    observation: np.ndarray  # (N, 10) float32


def empty_result(clients: int) -> Result:
    """Arrays to be filled."""
    return Result(
        parts=np.empty((len(PARTS), clients)),
        reward=np.empty(clients),
        ending=np.empty(clients, dtype=np.int8),
        observation=np.empty((clients, len(COLUMNS)), dtype=np.float32),
    )


def rewarding(settings: RewardSettings, tables: RewardTables | None = None) -> Rewarding:
    """The reward of `settings` over the tables (default: configs/rewards)."""
    facts = tables or load_reward_tables()
    modifiers = sorted(facts.modifiers, key=lambda row: row.stage)
    stage_start = np.searchsorted([row.stage for row in modifiers], [*STAGES, STAGES[-1] + 1])
    records = np.zeros(len(modifiers), dtype=MODIFIER).view(np.recarray)
    places = np.zeros((len(modifiers), DIMENSION_COUNT), dtype=np.int64)
    for record, looked_at, row in zip(records, places, modifiers, strict=True):
        record.above = row.relation == "above"
        record.threshold, record.reward, record.count = row.threshold, row.reward, len(row.dimensions)
        looked_at[: len(row.dimensions)] = [DIMENSIONS.index(name) for name in row.dimensions]
    records.setflags(write=False)
    scales = np.array([getattr(settings, name) for name in SCALES])
    return Rewarding(facts.weights, facts.weights.sum(axis=1), records, places, stage_start, scales)


@compiled
def _reward_parts(i, scores, client, facts, parts):  # type: ignore[no-untyped-def]
    """Write the parts of one client's turn; returns the stage-weighted composite in [0, 10]. `scores` (12,)."""
    stage, scales = client.stage[i], facts.scales
    weighted = 0.0
    for d in range(DIMENSION_COUNT):
        weighted += facts.weights[stage, d] * scores[i, d]
    composite = weighted / facts.weight_sums[stage]
    modified = 0.0
    for m in range(facts.stage_start[stage], facts.stage_start[stage + 1]):
        row = facts.modifiers[m]
        total = 0.0
        for k in range(row.count):
            total += scores[i, facts.looked_at[m, k]]
        value = total / row.count
        if value > row.threshold if row.above == 1 else value < row.threshold:
            modified += row.reward
    events = 0
    for a in range(client.adaptation_events.shape[1]):
        events += client.adaptation_events[i, a]
    step = client.phase_step[i]
    parts[COMPOSITE, i] = scales[AT_COMPOSITE] * composite
    parts[MODIFIERS, i] = scales[AT_MODIFIERS] * modified
    parts[PHASE, i] = scales[AT_FORWARD] if step > 0 else scales[AT_REGRESSION] if step < 0 else 0.0
    parts[STAGE_TRANSITION, i] = 0.0
    parts[TREND, i] = scales[AT_TAIE] * client.axis_trend[i]
    parts[TRANSFORMATION, i] = scales[AT_TRANSFORMATION] * client.transformation_change[i]
    parts[EVENTS, i] = scales[AT_EVENT] * events
    parts[ATTUNEMENT, i] = scales[AT_ATTUNEMENT] * client.attunement_change[i]
    parts[ENDING, i] = 0.0
    parts[VIOLATIONS, i] = 0.0  # numbers break no frame
    return composite


@compiled
def _alliance(i, levels, nodes):  # type: ignore[no-untyped-def]
    """As client_graph.graph.alliance, of one client; `levels` (N, n)."""
    total = 0.0
    for n in nodes:
        total += levels[i, n]
    return total / (10.0 * nodes.shape[0])


@compiled
def look(places, client, running, seeing, out):  # type: ignore[no-untyped-def]
    """Write what the therapist sees of the clients at `places` (k,), rows of `out` (N, 10), as often as one likes.

    seen_s = max(0, factor_s,phase · (offset_s + Σ_nodes weight · level)) + what the marker adds + noise · ε_s

    Not capped at 10, as the truth of a signal is: a client who is wide open can still be seen to open. Kept in each column's range.
    """
    chance, draw = np.empty(LANES, dtype=np.uint64), np.empty(LANES, dtype=np.int64)
    noise, shown = np.empty((SIGNS + 1, LANES)), np.empty(SIGNS)
    for start in range(0, places.shape[0], LANES):
        lanes = min(LANES, places.shape[0] - start)
        for k in range(lanes):
            i = places[start + k]
            chance[k], draw[k] = running.chance[i], WORDS_A_TURN * client.turn[i] + DIMENSION_COUNT + 1
        for s in range(SIGNS + 1):
            for k in range(lanes):
                noise[s, k] = bell(random_word(chance[k], draw[k] + s))
        for k in range(lanes):
            i = places[start + k]
            phase = client.phase[i]
            for s in range(SIGNS):
                shown[s] = seeing.offset[s]
            for row in seeing.shows:
                shown[row.signal] += row.weight * client.levels[i, row.node]
            for s in range(SIGNS):
                shown[s] = max(0.0, shown[s] * seeing.factor[s, phase]) + seeing.signal_noise * noise[s, k]
            if seeing.markers:
                marker = marker_of(chance[k], client.turn[i], phase, seeing.odds)
                for s in range(SIGNS):
                    shown[s] += seeing.marker_signs[marker, s]
            for s in range(SIGNS):
                out[i, s] = min(SEEN_HIGH, max(SEEN_LOW, shown[s]))
            felt = running.composite[i] + seeing.felt_noise * noise[SIGNS, k]
            out[i, SIGNS] = min(10.0, max(0.0, felt)) if running.composite[i] >= 0.0 else NO_TURN_YET
            out[i, SIGNS + 1] = client.stage[i] + 1
            out[i, SIGNS + 2] = client.turn[i]
            out[i, SIGNS + 3] = client.stance[i]
            out[i, SIGNS + 4] = client.session[i] + 1


@compiled
def conclude(client, scores, running, alliance_nodes, facts, seeing, result, places):  # type: ignore[no-untyped-def]
    """After the turn of clients at `places` (k,): fill `result`, move `running` on. Ends as in Session-v0.

    A session that was over before gives nothing; its row of the observation is for whoever begins anew there.
    """
    for i in places:  # alone: what it reads lies far apart, and waits for many clients can overlap
        running.alliance[i] = _alliance(i, client.levels, alliance_nodes)
    for i in places:
        if running.over[i]:
            result.parts[:, i] = 0.0
            result.reward[i], result.ending[i] = 0.0, GOES_ON
            continue
        running.composite[i] = _reward_parts(i, scores, client, facts, result.parts)
        running.in_integration[i] = running.in_integration[i] + 1 if client.phase[i] == INTEGRATION else 0
        ending = GOES_ON
        turns_not_held = seeing.max_turns - client.turn[i]
        if running.alliance[i] < COLLAPSE * running.alliance_at_start[i]:
            ending = LEFT
            result.parts[ENDING, i] = facts.scales[AT_BROKEN_OFF] * turns_not_held
        elif running.in_integration[i] >= TURNS_TO_CLOSE:
            ending = CLOSED_WELL
            result.parts[ENDING, i] = facts.scales[AT_CLOSED_WELL] * turns_not_held
        elif client.turn[i] >= seeing.max_turns:
            ending = TURN_LIMIT
        result.ending[i], running.over[i] = ending, ending != GOES_ON
        reward = 0.0
        for p in range(len(PARTS)):
            reward += result.parts[p, i]
        result.reward[i] = reward
        for s in range(SIGNS):
            running.signals[i, s] = client.signals[i, s]
    look(places, client, running, seeing, result.observation)


@compiled
def open_sessions(places, client, running, tables, seeing, observation):  # type: ignore[no-untyped-def]
    """Clients at `places` (k,) have arrived: move `running` to the start of their sessions and write their `observation`."""
    level, signals = np.empty((client.levels.shape[1], 1)), np.empty((SIGNS, 1))
    for i in places:
        running.alliance[i] = _alliance(i, client.levels, tables.alliance_nodes)
        running.alliance_at_start[i] = running.alliance[i]
        running.in_integration[i] = 0
        running.composite[i] = NO_TURN_YET
        running.over[i] = False
        gather(client.levels, i, level)
        client_signals(level, client.phase[i : i + 1], tables, signals)
        for s in range(SIGNS):
            running.signals[i, s] = signals[s, 0]
    look(places, client, running, seeing, observation)
