"""The authored facts of the response model: what each moment of treatment asks of a therapist (configs/envs/skills_*.csv)."""

from functools import cache
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import Field

from client_graph.names import CONFIGS, DIMENSIONS, SIGNALS, STAGES
from client_graph.rows import Dimension, Stage, Unit, _one_of
from client_graph.tables import Row, TableError, read_table

# What the needs of a moment are shifted by: the five signals of the client, and how badly the last turn missed.
SIGNS = (*SIGNALS, "missed")
Swing = Annotated[float, Field(ge=-5, le=5)]
Cost = Annotated[float, Field(ge=0, le=10)]
R = TypeVar("R", bound=Row)


class NeedRow(Row):
    """How much emphasis on a dimension a moment asks for, by phase A..D."""

    stage: Stage
    dimension: Dimension
    phase_a: Unit
    phase_b: Unit
    phase_c: Unit
    phase_d: Unit


class ShiftRow(Row):
    """How a sign of the client moves a need: nothing up to `above`, the whole `shift` at 10, a straight line between."""

    sign: Annotated[str, _one_of(*SIGNS)]
    dimension: Dimension
    above: Annotated[float, Field(ge=0, lt=10, description="Sign, in [0, 10], from which on the need moves.")]
    shift: Annotated[float, Field(ge=-1, le=1, description="Change of the need, in emphasis, where the sign is 10.")]


class ExcessRow(Row):
    """What emphasis beyond the need costs the dimension itself, in score points per unit of emphasis, by phase A..D."""

    dimension: Dimension
    phase_a: Cost
    phase_b: Cost
    phase_c: Cost
    phase_d: Cost


class SpillRow(Row):
    """What emphasis beyond the need costs another dimension, in score points per unit of emphasis."""

    dimension: Dimension
    onto: Dimension
    cost: Cost


class MarkerRow(Row):
    """What a client does at a moment: its odds in each phase, and what it adds to what shows of the client, in level points."""

    marker: Annotated[str, Field(min_length=3)]
    phase_a: Unit
    phase_b: Unit
    phase_c: Unit
    phase_d: Unit
    openness: Swing
    disclosure: Swing
    resistance: Swing
    defensiveness: Swing
    overwhelm: Swing


class MarkerNeedRow(Row):
    """How a marker moves a need while it lasts, which is one turn."""

    marker: str
    dimension: Dimension
    shift: Annotated[float, Field(ge=-1, le=1, description="Change of the need, in emphasis.")]


class ResponseRows(NamedTuple):
    """The rows of the six tables, in file order."""

    needs: tuple[NeedRow, ...]
    shifts: tuple[ShiftRow, ...]
    excess: tuple[ExcessRow, ...]
    spill: tuple[SpillRow, ...]
    markers: tuple[MarkerRow, ...]
    marker_needs: tuple[MarkerNeedRow, ...]


def read_response_rows(folder: Path | str | None = None) -> ResponseRows:
    """Read and check the tables of `folder` (default: configs/envs). Raises TableError with every mistake of all of them."""
    return _read(Path(folder) if folder is not None else CONFIGS / "envs")


@cache
def _read(folder: Path) -> ResponseRows:
    problems: list[str] = []

    def rows_of(name: str, kind: type[R]) -> tuple[R, ...]:
        return tuple(read_table(folder / f"skills_{name}.csv", kind, problems))

    rows = ResponseRows(
        rows_of("needs", NeedRow),
        rows_of("need_shifts", ShiftRow),
        rows_of("excess", ExcessRow),
        rows_of("spill", SpillRow),
        rows_of("markers", MarkerRow),
        rows_of("marker_needs", MarkerNeedRow),
    )
    if not problems:
        _check_once("skills_needs.csv", [(n.stage, n.dimension) for n in rows.needs], _MOMENTS, problems)
        _check_once("skills_excess.csv", [e.dimension for e in rows.excess], DIMENSIONS, problems)
        _check_once("skills_need_shifts.csv", [(s.sign, s.dimension) for s in rows.shifts], None, problems)
        _check_once("skills_spill.csv", [(s.dimension, s.onto) for s in rows.spill], None, problems)
        problems.extend(
            f"skills_spill.csv: {row.dimension} onto itself; expected another dimension (skills_excess.csv has its own cost)"
            for row in rows.spill
            if row.dimension == row.onto
        )
        _check_markers(rows, problems)
    if problems:
        raise TableError(problems)
    return rows


_MOMENTS = tuple((stage, name) for stage in STAGES for name in DIMENSIONS)


def _check_once(file: str, found: list[Any], expected: tuple[Any, ...] | None, problems: list[str]) -> None:
    """Each key stands at most once, and where `expected` is given each of those stands."""
    for key in sorted({key for key in found if found.count(key) > 1}):
        problems.append(f"{file}: {key} stands more than once; expected one row")
    for key in expected or ():
        if key not in found:
            problems.append(f"{file}: no row for {key}; expected one")


def _check_markers(rows: ResponseRows, problems: list[str]) -> None:
    """Each marker stands once, the odds of each phase sum to 1, and needs are moved only by markers that exist."""
    known = [row.marker for row in rows.markers]
    _check_once("skills_markers.csv", known, None, problems)
    _check_once("skills_marker_needs.csv", [(m.marker, m.dimension) for m in rows.marker_needs], None, problems)
    for phase in ("phase_a", "phase_b", "phase_c", "phase_d"):
        total = sum(getattr(row, phase) for row in rows.markers)
        if abs(total - 1.0) > 1e-9:
            problems.append(f"skills_markers.csv: odds of {phase} sum to {total:g}; expected 1")
    problems.extend(
        f"skills_marker_needs.csv: marker {row.marker!r} does not exist; expected one of {known}"
        for row in rows.marker_needs
        if row.marker not in known
    )
