"""What a therapist's emphasis is worth at this moment with this client: twelve scores, as a judge would give them."""

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from client_graph.compiled import LANES, gather, scatter
from client_graph.names import DIMENSIONS, PHASES
from client_graph.spread import spread
from client_graph.therapist_model import bell, random_word
from envs.skills.compiled import compiled
from envs.skills.rows import SIGNS, ResponseRows, read_response_rows

DIMENSION_COUNT = len(DIMENSIONS)
MISSED = SIGNS.index("missed")
# Words of a session's chance that one turn uses: the scores' noise, then that of what the therapist sees (observation.py).
WORDS_A_TURN = 18

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


class Scale(NamedTuple):
    """`ResponseSettings` as the compiled functions read them."""

    budget: float
    plain: float
    met: float
    unmet: float
    excess: float
    score_noise: float


class ResponseTables(NamedTuple):
    """The facts as arrays, read-only."""

    needs: np.ndarray  # (4, 4, 12) in [0, 1], by stage, phase and dimension
    shifts: np.ndarray  # records
    excess: np.ndarray  # (4, 12) score points per unit of emphasis, by phase and dimension
    spill: np.ndarray  # records


@compiled
def _needs_block(first, stage, phase, signals, attuned, tables, need):  # type: ignore[no-untyped-def]
    """Write what the moment asks for, `need` (12, lanes) in [0, 1], of the clients from `first` on.

    n_d = clip(table_stage,phase,d + Σ_signs slope · max(0, sign - above), 0, 1)
    missed = 10 - last attunement score, 0 before a first turn
    """
    lanes = need.shape[1]
    signs = np.empty((MISSED + 1, lanes))
    last = attuned.shape[1] - 1
    for k in range(lanes):
        i = first + k
        for s in range(MISSED):
            signs[s, k] = signals[i, s]
        signs[MISSED, k] = 0.0 if np.isnan(attuned[i, last]) else 10.0 - attuned[i, last]
        for d in range(need.shape[0]):
            need[d, k] = tables.needs[stage[i], phase[i], d]
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
          + Σ_k spill_kd · max(0, e_k - n_k)) + noise · ε_d,   kept in [0, 10]
    """
    need, spent = np.empty((DIMENSION_COUNT, lanes)), np.empty((DIMENSION_COUNT, lanes))
    beyond, lost = np.empty((DIMENSION_COUNT, lanes)), np.empty((DIMENSION_COUNT, lanes))
    _needs_block(first, moment.stage, moment.phase, moment.signals, moment.attuned, tables, need)
    gather(emphasis, first, spent)
    share = np.zeros(lanes)
    for d in range(DIMENSION_COUNT):
        for k in range(lanes):
            share[k] += spent[d, k]
    for k in range(lanes):
        share[k] = scale.budget / max(scale.budget, share[k])
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
            lost[d, k] = min(10.0, max(0.0, score + scale.score_noise * noise))
    scatter(lost, scores, first)


@compiled
def _respond(emphasis, moment, tables, scale, scores, first, last):  # type: ignore[no-untyped-def]
    for start in range(first, last, LANES):
        _respond_block(emphasis, moment, tables, scale, scores, start, min(LANES, last - start))


@compiled
def _all_needs(moment, tables, needs):  # type: ignore[no-untyped-def]
    for start in range(0, needs.shape[0], LANES):
        need = np.empty((DIMENSION_COUNT, min(LANES, needs.shape[0] - start)))
        _needs_block(start, moment.stage, moment.phase, moment.signals, moment.attuned, tables, need)
        scatter(need, needs, start)


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

    def needs(self, moment: Moment) -> np.ndarray:
        """(N, 12) in [0, 1]: the emphasis on each dimension that the moment asks for. For researchers; nobody can see it."""
        needs = np.empty((len(moment.stage), DIMENSION_COUNT))
        _all_needs(moment, self.tables, needs)
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
    for array in (needs, excess):
        array.setflags(write=False)
    return ResponseTables(needs, _records(SHIFT, shifts), excess, _records(SPILL, spill))


def _records(kind: "np.dtype[np.void]", rows: Iterable[tuple[float, ...]]) -> np.ndarray:
    records = np.array(list(rows), dtype=kind).view(np.recarray)
    records.setflags(write=False)
    return records
