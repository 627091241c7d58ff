"""What the three TAIE axes and the realms of a person's life mean, and what is recommended: configs/judges/taie_*.csv."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from pydantic import Field

from client_graph.names import AXES, DOMAINS
from client_graph.tables import Row, TableError, read_table
from judges.rubric import JUDGE_CONFIGS

TRENDS = ("away_from_zero", "stable", "toward_zero")  # paper 374; at place axis_trend + 1


class RegionRow(Row):
    """A stretch of an axis. low <= position < high; the last one of an axis holds its end."""

    axis: str = Field(description="One of AXES.")
    low: float = Field(ge=-10, le=10)
    high: float = Field(ge=-10, le=10)
    name: str = Field(min_length=3, description="How a client there is, to go on after 'they are'.")
    meaning: str = Field(min_length=10, description="What that is like, to go on after a colon.")
    recommendation: str = Field(min_length=10, description="What it asks of the therapist, a sentence.")


class RealmRow(Row):
    """A realm of a person's life: a domain of the client graph."""

    domain: str = Field(description="A domain of the client tables: each of DOMAINS, and any of one's own.")
    far_from: float = Field(gt=0, le=1, description="Coiling from which the realm is far from health.")
    stuck: str = Field(min_length=10, description="What it means that nothing moves here, to go on after a colon.")
    recommendation: str = Field(min_length=10, description="What that asks of the therapist, a sentence.")


class TrendRow(Row):
    """A direction over the last three assessments."""

    trend: str = Field(description="One of TRENDS.")
    meaning: str = Field(min_length=10, description="What it says of the client, a clause.")
    recommendation: str = Field(min_length=10, description="What it asks of the therapist, a sentence.")


@dataclass(frozen=True)
class TaieTables:
    """regions: by axis in the order of AXES, each from -10 to 10. realms: by domain. trends: by name."""

    regions: tuple[tuple[RegionRow, ...], ...]
    realms: dict[str, RealmRow]
    trends: dict[str, TrendRow]

    def region(self, axis: int, position: float) -> RegionRow:
        """The region of axis 0..2 that `position` in [-10, 10] lies in."""
        rows = self.regions[axis]
        return next((row for row in rows if position < row.high), rows[-1])


@cache
def taie_tables(folder: Path = JUDGE_CONFIGS) -> TaieTables:
    """The three tables of a folder. Raises TableError with every mistake: gaps and overlaps of regions, missing names."""
    problems: list[str] = []
    paths = [folder / f"taie_{name}.csv" for name in ("regions", "realms", "trends")]
    regions = read_table(paths[0], RegionRow, problems)
    realms = read_table(paths[1], RealmRow, problems)
    trends = read_table(paths[2], TrendRow, problems)
    if not problems:
        by_axis = [[row for row in regions if row.axis == axis] for axis in AXES]
        problems += _names(paths[0], "axis", sorted({row.axis for row in regions}), sorted(AXES))
        problems += [
            f"{paths[0]}: {axis}: {fault}" for axis, rows in zip(AXES, by_axis, strict=True) for fault in _gaps(rows)
        ]
        own = sorted({row.domain for row in realms} - set(DOMAINS))  # of a researcher's own client tables
        problems += _names(paths[1], "domain", sorted(row.domain for row in realms), sorted((*DOMAINS, *own)))
        problems += _names(paths[2], "trend", sorted(row.trend for row in trends), sorted(TRENDS))
    if problems:
        raise TableError(problems)
    return TaieTables(
        tuple(tuple(rows) for rows in by_axis),
        {row.domain: row for row in realms},
        {row.trend: row for row in trends},
    )


def _names(path: Path, column: str, found: list[str], expected: list[str]) -> list[str]:
    if found == expected:
        return []
    return [f"{path}: {column}: found {', '.join(found) or 'none'}; expected each once: {', '.join(expected)}"]


def _gaps(rows: list[RegionRow]) -> list[str]:
    """Where the regions of an axis do not follow one another from -10 to 10."""
    starts, ends = [*(row.low for row in rows), 10.0], [-10.0, *(row.high for row in rows)]
    return [
        f"a region ends at {end:g} and the next begins at {start:g}; expected regions in order, from -10 to 10 without gaps"
        for start, end in zip(starts, ends, strict=True)
        if start != end
    ] + [
        f"{row.name}: found {row.low:g} to {row.high:g}; expected the lower end first"
        for row in rows
        if row.low >= row.high
    ]
