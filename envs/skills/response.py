"""What a therapist's emphasis is worth at this moment with this client: twelve scores, as a judge would give them."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from client_graph.arrival import uniform
from client_graph.compiled import LANES, gather, scatter
from client_graph.names import DIMENSIONS, PHASES, SIGNALS
from client_graph.spread import spread
from client_graph.therapist_model import bell, random_word
from envs.skills.compiled import compiled
from envs.skills.rows import SIGNS, ResponseRows, read_response_rows

DIMENSION_COUNT = len(DIMENSIONS)
MISSED = SIGNS.index("missed")
# Words of a session's chance: the first is for the day, then each turn has its own: the scores' noise, then that of what the
# therapist sees (outcome.py), then the marker.
DAY = 0
WORDS_A_TURN = 19

SHIFT = np.dtype([("sign", "i8"), ("dimension", "i8"), ("above", "f8"), ("slope", "f8")])
SPILL = np.dtype([("dimension", "i8"), ("onto", "i8"), ("cost", "f8")])


class ResponseSettings(BaseModel):
    """The scale of the response model; what the moment asks for stands in configs/envs/skills_*.csv instead."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    budget: float = Field(
        4.0, gt=0, le=12, description="Most emphasis in all, over twelve dimensions of at most 1 each."
    )
    plain: float = Field(6.0, ge=0, le=10, description="Score of a dimension that is neither asked for nor dwelt on.")
    met: float = Field(5.5, ge=0, description="Score points per unit of emphasis that meets a need.")
    unmet: float = Field(4.5, ge=0, description="Score points lost per unit of need that is not met.")
    excess: float = Field(1.5, ge=0, description="Scale of the costs of emphasis beyond the need (both tables).")
    score_noise: float = Field(0.5, ge=0, description="Standard deviation of a score, in points.")
    day_spread: float = Field(
        0.7,
        ge=0,
        description="Standard deviation between sessions of how well anything lands that day, in points of all twelve scores.",
    )
    markers: bool = Field(
        True, description="Whether a client's passing moves (skills_markers.csv) move needs and signals."
    )


class Scale(NamedTuple):
    """`ResponseSettings` as the compiled functions read them."""

    budget: float
    plain: float
    met: float
    unmet: float
    excess: float
    score_noise: float
    day_spread: float
    markers: bool


class ResponseTables(NamedTuple):
    """The facts as arrays, read-only."""

    needs: np.ndarray  # (4, 4, 12) in [0, 1], by stage, phase and dimension
    shifts: np.ndarray  # records
    excess: np.ndarray  # (4, 12) score points per unit of emphasis, by phase and dimension
    spill: np.ndarray  # records
    odds: np.ndarray  # (4, markers) summed up, by phase; the last is 1
    marker_needs: np.ndarray  # (markers, 12)
    marker_signs: np.ndarray  # (markers, 5) level points


@compiled
def marker_of(chance, turn, phase, odds):  # type: ignore[no-untyped-def]
    """What the client does at this moment, a place in skills_markers.csv: chance alone, by the odds of the phase."""
    u = uniform(random_word(chance, WORDS_A_TURN * (turn + 1)))
    marker = 0
    while marker < odds.shape[1] - 1 and u >= odds[phase, marker]:
        marker += 1
    return marker


@compiled
def _needs_block(first, moment, tables, scale, need):  # type: ignore[no-untyped-def]
    """Write what the moment asks for, `need` (12, lanes) in [0, 1], of the clients from `first` on.

    n_d = clip(table_stage,phase,d + marker_d + Σ_signs slope · max(0, sign - above), 0, 1)
    missed = 10 - last attunement score, 0 before a first turn
    """
    lanes = need.shape[1]
    signs = np.empty((MISSED + 1, lanes))
    last = moment.attuned.shape[1] - 1
    for k in range(lanes):
        i = first + k
        stage, phase, attuned = moment.stage[i], moment.phase[i], moment.attuned[i, last]
        for s in range(MISSED):
            signs[s, k] = moment.signals[i, s]
        signs[MISSED, k] = 0.0 if np.isnan(attuned) else 10.0 - attuned
        for d in range(need.shape[0]):
            need[d, k] = tables.needs[stage, phase, d]
        if scale.markers:
            marker = marker_of(moment.chance[i], moment.turn[i], phase, tables.odds)
            for d in range(need.shape[0]):
                need[d, k] += tables.marker_needs[marker, d]
    for row in tables.shifts:
        s, d, above, slope = row.sign, row.dimension, row.above, row.slope
        for k in range(lanes):
            need[d, k] += slope * max(0.0, signs[s, k] - above)
    for d in range(need.shape[0]):
        for k in range(lanes):
            need[d, k] = min(1.0, max(0.0, need[d, k]))


@compiled
def _respond_block(emphasis, moment, tables, scale, scores, first, lanes):  # type: ignore[no-untyped-def]
    """Write `scores` (N, 12) in [0, 10] of the clients `first` up to `first + lanes`.

    e = a · min(1, budget / Σ a)
    s_d = plain + met · min(e_d, n_d) - unmet · max(0, n_d - e_d) - excess · (cost_d · max(0, e_d - n_d)
          + Σ_k spill_kd · max(0, e_k - n_k)) + day + noise · ε_d,   kept in [0, 10]
    day = day_spread · ε of the session
    """
    need, spent = np.empty((DIMENSION_COUNT, lanes)), np.empty((DIMENSION_COUNT, lanes))
    beyond, lost = np.empty((DIMENSION_COUNT, lanes)), np.empty((DIMENSION_COUNT, lanes))
    _needs_block(first, moment, tables, scale, need)
    gather(emphasis, first, spent)
    share, day = np.zeros(lanes), np.empty(lanes)
    for d in range(DIMENSION_COUNT):
        for k in range(lanes):
            share[k] += spent[d, k]
    for k in range(lanes):
        share[k] = scale.budget / max(scale.budget, share[k])
        day[k] = scale.day_spread * bell(random_word(moment.chance[first + k], DAY))
    for k in range(lanes):
        for d in range(DIMENSION_COUNT):
            lost[d, k] = tables.excess[moment.phase[first + k], d]
    for d in range(DIMENSION_COUNT):
        for k in range(lanes):
            spent[d, k] *= share[k]
            beyond[d, k] = max(0.0, spent[d, k] - need[d, k])
            lost[d, k] *= beyond[d, k]
    for row in tables.spill:
        source, onto, cost = row.dimension, row.onto, row.cost
        for k in range(lanes):
            lost[onto, k] += cost * beyond[source, k]
    for d in range(DIMENSION_COUNT):
        for k in range(lanes):
            met = min(spent[d, k], need[d, k])
            noise = bell(random_word(moment.chance[first + k], WORDS_A_TURN * moment.turn[first + k] + d + 1))
            score = scale.plain + scale.met * met - scale.unmet * (need[d, k] - met) - scale.excess * lost[d, k]
            lost[d, k] = min(10.0, max(0.0, score + day[k] + scale.score_noise * noise))
    scatter(lost, scores, first)


@compiled
def _respond(emphasis, moment, tables, scale, scores, first, last):  # type: ignore[no-untyped-def]
    for start in range(first, last, LANES):
        _respond_block(emphasis, moment, tables, scale, scores, start, min(LANES, last - start))


@compiled
def _all_needs(moment, tables, scale, needs):  # type: ignore[no-untyped-def]
    for start in range(0, needs.shape[0], LANES):
        need = np.empty((DIMENSION_COUNT, min(LANES, needs.shape[0] - start)))
        _needs_block(start, moment, tables, scale, need)
        scatter(need, needs, start)


@compiled
def _all_markers(chance, turn, phase, odds, markers):  # type: ignore[no-untyped-def]
    for i in range(markers.shape[0]):
        markers[i] = marker_of(chance[i], turn[i], phase[i], odds)


class Moment(NamedTuple):
    """What the response depends on besides emphasis: N clients as they are before the turn."""

    stage: np.ndarray  # (N,) int64 in 0..3
    phase: np.ndarray  # (N,) int64 in 0..3
    turn: np.ndarray  # (N,) int64: completed turns of the session
    signals: np.ndarray  # (N, 5) in [0, 10]: what truly shows of the client
    attuned: np.ndarray  # (N, 4) attunement scores of the last turns, oldest first; NaN where there was none
    chance: np.ndarray  # (N,) uint64: the session's own chance


class ResponseModel:
    """From emphasis to scores. A judge of numbers: `Skills-v0` asks it where `Session-v0` asks a judge of words.

    Args:
        settings: the scale of the model.
        folder: tables in the form of configs/envs/skills_*.csv, or None for those.
    """

    name = "response"

    def __init__(self, settings: ResponseSettings | None = None, folder: Path | str | None = None) -> None:
        self.settings = settings or ResponseSettings()
        self.rows = read_response_rows(folder)
        self.tables = _tables_of(self.rows)
        self._scale = Scale(**self.settings.model_dump())

    def scores(
        self, emphasis: np.ndarray, moment: Moment, out: np.ndarray | None = None, threads: int = 1
    ) -> np.ndarray:
        """(N, 12) scores in [0, 10] of `emphasis` (N, 12) in [0, 1], float64; N at once are N alone, bit for bit.

        Emphasis of more than the budget in all is scaled down to it, in proportion; less is left as it is. Nothing is
        checked here: the environments do that.
        """
        scores = np.empty((len(emphasis), DIMENSION_COUNT)) if out is None else out

        def work(first: int, last: int) -> None:
            _respond(emphasis, moment, self.tables, self._scale, scores, first, last)

        spread(work, len(emphasis), threads)
        return scores

    @property
    def markers(self) -> tuple[str, ...]:
        """Names of the markers; the first is that of a moment with nothing in particular."""
        return tuple(row.marker for row in self.rows.markers)

    def marker(self, moment: Moment) -> np.ndarray:
        """(N,) int64: what each client does at this moment, a place in `markers`. For researchers; nobody can see it."""
        marker = np.zeros(len(moment.stage), dtype=np.int64)
        if self.settings.markers:
            _all_markers(moment.chance, moment.turn, moment.phase, self.tables.odds, marker)
        return marker

    def needs(self, moment: Moment) -> np.ndarray:
        """(N, 12) in [0, 1]: the emphasis on each dimension that the moment asks for. For researchers; nobody can see it."""
        needs = np.empty((len(moment.stage), DIMENSION_COUNT))
        _all_needs(moment, self.tables, self._scale, needs)
        return needs

    def within_budget(self, emphasis: np.ndarray) -> np.ndarray:
        """(..., 12) `emphasis` as it counts: scaled down to the budget where it is more in all."""
        total = emphasis.sum(axis=-1, keepdims=True)
        return emphasis * np.minimum(1.0, self.settings.budget / np.maximum(total, self.settings.budget))


def _tables_of(rows: ResponseRows) -> ResponseTables:
    place = {name: d for d, name in enumerate(DIMENSIONS)}
    needs, excess = np.zeros((4, 4, DIMENSION_COUNT)), np.zeros((4, DIMENSION_COUNT))
    for p, phase in enumerate(PHASES):
        column = f"phase_{phase.lower()}"
        for need in rows.needs:
            needs[need.stage - 1, p, place[need.dimension]] = getattr(need, column)
        for cost in rows.excess:
            excess[p, place[cost.dimension]] = getattr(cost, column)
    shifts = sorted((SIGNS.index(s.sign), place[s.dimension], s.above, s.shift / (10.0 - s.above)) for s in rows.shifts)
    spill = sorted((place[s.dimension], place[s.onto], s.cost) for s in rows.spill)
    markers = [row.marker for row in rows.markers]
    odds = np.cumsum([[getattr(row, f"phase_{phase.lower()}") for row in rows.markers] for phase in PHASES], axis=1)
    signs = np.array([[getattr(row, name) for name in SIGNALS] for row in rows.markers])
    moved = np.zeros((len(markers), DIMENSION_COUNT))
    for move in rows.marker_needs:
        moved[markers.index(move.marker), place[move.dimension]] = move.shift
    for array in (needs, excess, odds, moved, signs):
        array.setflags(write=False)
    return ResponseTables(needs, _records(SHIFT, shifts), excess, _records(SPILL, spill), odds, moved, signs)


def _records(kind: "np.dtype[np.void]", rows: Iterable[tuple[float, ...]]) -> np.ndarray:
    records = np.array(list(rows), dtype=kind).view(np.recarray)
    records.setflags(write=False)
    return records
