"""What the engine takes without complaint and is hardly meant: shown by `icarus check-catalog`, not refused at load."""

from collections import defaultdict
from collections.abc import Iterable
from itertools import product
from typing import Any

from client_graph.names import STAGES
from client_graph.rules import BACK, FORWARD, Rows, place

# The phases in which lines of a moment are spoken: a session opens defended, a goodbye is guarded or at rest.
SPOKEN = {"opening": "A", "ordinary": "ABCD", "moved": "ABCD", "hurt": "ABCD", "mended": "ABCD", "closing": "AD"}


def slips(rows: Rows) -> Iterable[str]:
    """Every slip as "table.csv:line: found ...; expected ..."."""
    yield from _pairs_turned_round(rows)
    yield from _phase_thresholds(rows)
    yield from _stage_criteria(rows)
    yield from _voice(rows)


def _pairs_turned_round(rows: Rows) -> Iterable[str]:
    pairs: dict[frozenset[str], Any] = {}
    for row in rows["edges"]:
        if row.type == "paired":
            first: Any = pairs.setdefault(frozenset((row.edge_from, row.edge_to)), row)
            if first is not row:
                yield (
                    f"{place('edges', row)}: found {row.edge_from}, {row.edge_to} again, first at {place('edges', first)}; "
                    "expected one row, since a paired edge leads both ways. Keep one"
                )


def _phase_thresholds(rows: Rows) -> Iterable[str]:
    """A phase begins at score 0: a threshold on the wrong side of it is passed by nothing at all."""
    for row in rows["phase_thresholds"]:
        step = row.phase_from + row.phase_to
        here = f"{place('phase_thresholds', row)}: threshold: found {row.threshold:g}"
        if step in FORWARD and row.threshold <= 0.0:
            yield f"{here} for the step forward {step}; expected a number above 0"
        if step in BACK and row.threshold >= 0.0:
            yield f"{here} for the step back {step}; expected a number below 0"


def _stage_criteria(rows: Rows) -> Iterable[str]:
    """Criteria of one step are counted together: of two numbers of sessions the smaller is never read."""
    steps: dict[tuple[int, int], list[Any]] = defaultdict(list)
    for row in rows["stage_criteria"]:
        steps[row.stage_from, row.stage_to].append(row)
        if (row.relation, row.value) in (("above", 1.0), ("below", 0.0)) and not row.measure.endswith("sessions"):
            yield (
                f"{place('stage_criteria', row)}: value: found {row.measure} {row.relation} {row.value:g}, which can never hold; "
                "expected one that can"
            )
    for (before, after), criteria in steps.items():
        most = max(criteria, key=lambda row: row.sessions)
        for row in criteria:
            if row.sessions != most.sessions:
                yield (
                    f"{place('stage_criteria', row)}: sessions: found {row.sessions} where {place('stage_criteria', most)} has "
                    f"{most.sessions}; expected one number for the whole step from stage {before} to {after}"
                )


def _voice(rows: Rows) -> Iterable[str]:
    """Every line is spoken somewhere, and no client is without words."""
    for row in rows["voice"]:
        if row.phase not in SPOKEN[row.moment]:
            yield (
                f"{place('voice', row)}: found a line for {row.moment} in phase {row.phase}, which is never spoken; expected "
                f"{' or '.join(SPOKEN[row.moment])}"
            )
    for (stage, phase, coherence, moment), concerns in silences(rows).items():
        told = "any concern" if len(concerns) == len(rows["concerns"]) else ", ".join(concerns)
        told += "" if stage == "any" else f" in stage {stage}"
        yield (
            f"voice.csv: found no line for phase {phase}, {coherence}, {moment}, {told}; expected one or more, since a client "
            "without words ends the session"
        )


def silences(rows: Rows) -> dict[tuple[str, str, str, str], list[str]]:
    """The concerns with which a client of these tables would have nothing to say, by stage, phase, coherence and moment.

    The stage is "any" where it is the same concerns in all four.
    """
    coherences = sorted({row.coherence for row in rows["strategies"]})
    lines = {
        (row.phase, coherence, row.moment, row.concern, stage)
        for row in rows["voice"]
        for coherence in (coherences if row.coherence == "any" else [row.coherence])
        for stage in row.stages
    }
    found: dict[tuple[str, str, str, str], list[str]] = {}
    for moment, phases in SPOKEN.items():
        for cell in product(phases, coherences, [moment]):
            silent = [
                [row.name for row in rows["concerns"] if not lines & {(*cell, "any", stage), (*cell, row.name, stage)}]
                for stage in STAGES
            ]
            by_stage = (
                [("any", silent[0])]
                if silent == silent[:1] * len(STAGES)
                else zip(map(str, STAGES), silent, strict=True)
            )
            found |= {(stage, *cell): concerns for stage, concerns in by_stage if concerns}
    return found
