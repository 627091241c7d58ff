"""The paper's own examples and figures for the person, and where a catalog departs from them."""

from collections.abc import Iterable
from typing import Any

from client_graph.rules import Rows, place

BUCKETS = {  # paper 354; dissociation stands among the adaptive ones and falls
    **dict.fromkeys(
        ("shame", "fear", "rage", "grief", "abandonment", "worthlessness", "helplessness", "distrust"), ("maladaptive", True)
    ),
    **dict.fromkeys(("self_compassion", "safety", "agency", "connection", "trust", "hope", "worth"), ("adaptive", False)),
    "dissociation": ("adaptive", True),
}  # fmt: skip
# Odd patterns inhibit, even ones excite (paper 1692-1695); B strategies are balanced.
COHERENCE = {
    **{f"{family}{k}": "odd" if k % 2 else "even" for family in "AC" for k in range(1, 9)},
    **{f"B{k}": "balanced" for k in range(6)},
}
# The VIA strengths (paper 1490-1497), and those that narcissism bends most (paper 1320-1326).
STRENGTHS = (
    "creativity", "curiosity", "judgment", "love_of_learning", "perspective", "bravery", "perseverance", "honesty", "zest", "love",
    "kindness", "social_intelligence", "teamwork", "fairness", "leadership", "forgiveness", "humility", "prudence",
    "self-regulation", "appreciation_of_beauty", "gratitude", "hope", "humor", "spirituality",
)  # fmt: skip
PRONE = ("honesty", "perspective", "leadership", "kindness", "judgment", "humility")
# (table, which row, its cells as the paper has them, paper line)
FACTS: tuple[tuple[str, dict[str, Any], dict[str, Any], str], ...] = (
    ("nodes", {"name": "attachment_security"}, {"bq_1": 8, "bq_4": 2}, "330"),
    ("nodes", {"name": "attachment_security"}, {"phase_a": 0.4, "phase_d": 1.0}, "334"),
    ("nodes", {"name": "self_worth"}, {"direction": "increase"}, "331"),
    ("nodes", {"name": "shame_core"}, {"direction": "decrease"}, "331"),
    ("nodes", {"name": "emotional_reactivity"}, {"direction": "bipolar"}, "331"),
    ("sensitivities", {"node": "trust_capacity", "dimension": "attunement"}, {"high": 0.02, "low": -0.05}, "333"),
    ("edges", {"edge_from": "trust_capacity", "type": "reinforcing", "edge_to": "attachment_security"}, {}, "337"),
    ("edges", {"edge_from": "shame_core", "type": "suppressive", "edge_to": "self_compassion"}, {}, "340"),
    (
        "edges", {"edge_from": "trust_capacity", "type": "prerequisite", "edge_to": "intimacy_tolerance"},
        {"threshold": 3.0}, "341",
    ),
    ("phase_thresholds", {"stage": 1, "phase_from": "A", "phase_to": "B"}, {"threshold": 0.35}, "382"),
    ("phase_thresholds", {"stage": 1, "phase_from": "B", "phase_to": "C"}, {"threshold": 0.60}, "382"),
    ("phase_thresholds", {"stage": 3, "phase_from": "A", "phase_to": "B"}, {"threshold": 0.15}, "382"),
    ("phase_thresholds", {"stage": 3, "phase_from": "B", "phase_to": "C"}, {"threshold": 0.30}, "382"),
    ("phase_thresholds", {"stage": 1, "phase_from": "B", "phase_to": "A"}, {"threshold": -0.25}, "383"),
    ("phase_thresholds", {"stage": 3, "phase_from": "B", "phase_to": "A"}, {"threshold": -0.45}, "383"),
)  # fmt: skip
# (stage before, stage after, measure): (relation, value), all of them and no others (paper 385)
CRITERIA = {
    (1, 2, "adaptive_mean"): ("above", 0.5),
    (1, 2, "core_sessions"): ("at_least", 1),
    (2, 3, "coiling"): ("below", 0.4),
    (2, 3, "maladaptive_mean"): ("below", 0.3),
    (2, 3, "adaptive_mean"): ("above", 0.7),
    (3, 4, "coiling"): ("below", 0.2),
    (3, 4, "completed_sessions"): ("at_least", 10),
}
# (table, which row, column, sign, paper line)
SIGNS: tuple[tuple[str, dict[str, Any], str, int, str], ...] = (
    ("bucket_scores", {"dimension": "attunement", "bucket": "trust"}, "high", 1, "355"),
    ("bucket_scores", {"dimension": "safety", "bucket": "fear"}, "low", 1, "355"),
    ("bucket_scores", {"dimension": "validation", "bucket": "worth"}, "high", 1, "355"),
    ("bucket_scores", {"dimension": "boundaries", "bucket": "distrust"}, "low", 1, "355"),
    ("bucket_nodes", {"bucket": "shame", "node": "shame_core"}, "coefficient", 1, "356"),
    ("bucket_nodes", {"bucket": "shame", "node": "self_compassion"}, "coefficient", -1, "356"),
    ("axis_scores", {"dimension": "boundaries", "axis": "rigidity_porosity"}, "weight", 1, "372"),
    ("axis_scores", {"dimension": "validation", "axis": "self_esteem"}, "weight", 1, "372"),
    ("axis_scores", {"dimension": "attunement", "axis": "cherishment_estrangement"}, "weight", 1, "372"),
)
# Where a client of stage 1 or 4 typically stands (paper 1564), for the nodes that name what the paper names.
RANGES: tuple[tuple[str, str, tuple[tuple[float, float], ...]], ...] = (
    ("trust_capacity", "start_1", ((0, 2), (8, 10))),
    ("trust_capacity", "start_4", ((4, 8),)),
    ("mentalization", "start_1", ((0, 3),)),
    ("mentalization", "start_4", ((9, 10),)),
    ("self_defeating_humor", "start_1", ((5, 10),)),
    ("aggressive_humor", "start_1", ((5, 10),)),
    ("affiliative_humor", "start_4", ((6, 10),)),
    ("self_enhancing_humor", "start_4", ((6, 10),)),
)
QUOTATIONS = {  # paper 387
    (1, "C"): "UNUSUAL and potentially destabilizing—prioritize containment",
    (2, "C"): "EXPECTED—match depth, witness without rescuing",
    (4, "D"): "metabolizing the therapeutic relationship itself",
}


def departures(rows: Rows) -> Iterable[str]:
    """Where the tables differ from what the paper says in so many words, as "table.csv:line: found ...; expected ..."."""
    yield from _facts(rows)
    yield from _signs(rows)
    yield from _stage_criteria(rows)
    yield from _names_of_buckets(rows)
    yield from _strategies(rows)
    yield from _strengths(rows)
    yield from _ranges(rows)
    yield from _quotations(rows)


def _row(rows: Rows, table: str, which: dict[str, Any]) -> Any | None:
    return next((row for row in rows[table] if all(getattr(row, name) == value for name, value in which.items())), None)


def _absent(table: str, which: dict[str, Any], line: str) -> str:
    return f"{table}.csv: found no row {', '.join(map(str, which.values()))}; expected one (paper {line})"


def _facts(rows: Rows) -> Iterable[str]:
    for table, which, cells, line in FACTS:
        row = _row(rows, table, which)
        if row is None:
            yield _absent(table, which, line)
            continue
        for column, expected in cells.items():
            if getattr(row, column) != expected:
                named = ", ".join(map(str, which.values()))
                yield f"{place(table, row)}: {column}: found {getattr(row, column)} for {named}; expected {expected} (paper {line})"


def _signs(rows: Rows) -> Iterable[str]:
    for table, which, column, sign, line in SIGNS:
        row = _row(rows, table, which)
        if row is None:
            yield _absent(table, which, line)
        elif getattr(row, column) * sign <= 0:
            side = "above" if sign > 0 else "below"
            found, named = f"{getattr(row, column):g}", ", ".join(map(str, which.values()))
            yield f"{place(table, row)}: {column}: found {found} for {named}; expected one {side} 0 (paper {line})"


def _stage_criteria(rows: Rows) -> Iterable[str]:
    forward = {(r.stage_from, r.stage_to, r.measure): r for r in rows["stage_criteria"] if r.stage_to > r.stage_from}
    for key, (relation, value) in CRITERIA.items():
        if key not in forward:
            yield f"stage_criteria.csv: found no row {_step(key)}; expected {relation} {value:g} (paper 385)"
        elif (forward[key].relation, forward[key].value) != (relation, value):
            found = f"{forward[key].relation} {forward[key].value:g}"
            yield f"{place('stage_criteria', forward[key])}: found {_step(key)} {found}; expected {relation} {value:g} (paper 385)"
    for key, row in forward.items():
        if key not in CRITERIA:
            yield f"{place('stage_criteria', row)}: found {_step(key)}; expected no such criterion (paper 385)"


def _step(key: tuple[int, int, str]) -> str:
    return f"{key[0]} to {key[1]} {key[2]}"


def _names_of_buckets(rows: Rows) -> Iterable[str]:
    found = {row.name: row for row in rows["buckets"]}
    if set(found) != set(BUCKETS):
        yield f"buckets.csv: {difference(found, BUCKETS)} (paper 354)"
    for name, row in found.items():
        if name in BUCKETS and (row.kind, row.falls) != BUCKETS[name]:
            kind, falls = BUCKETS[name]
            yield (
                f"{place('buckets', row)}: found {name} as {row.kind}, falls {_yes(row.falls)}; expected {kind}, falls "
                f"{_yes(falls)} (paper 354)"
            )


def _yes(value: bool) -> str:
    return "yes" if value else "no"


def _strategies(rows: Rows) -> Iterable[str]:
    found = {row.name: row for row in rows["strategies"]}
    if set(found) != set(COHERENCE):
        yield f"strategies.csv: {difference(found, COHERENCE)} (paper 1691)"
    for name, row in found.items():
        expected = COHERENCE.get(name, row.coherence)
        if row.coherence != expected:
            yield f"{place('strategies', row)}: coherence: found {row.coherence} for {name}; expected {expected} (paper 1692-1695)"


def _strengths(rows: Rows) -> Iterable[str]:
    found = [row.name for row in rows["strengths"]]
    if set(found) != set(STRENGTHS):
        yield f"strengths.csv: {difference(found, STRENGTHS)} (paper 1490-1497)"
    bent = [row.name for row in rows["strengths"] if row.distortion]
    if set(bent) != set(PRONE):
        yield f"strengths.csv: distortion: {difference(bent, PRONE)} (paper 1320-1326)"


def _ranges(rows: Rows) -> Iterable[str]:
    for name, column, ranges in RANGES:
        row = _row(rows, "nodes", {"name": name})
        if row is None:
            yield _absent("nodes", {"name": name}, "1564")
        elif not any(low <= getattr(row, column) <= high for low, high in ranges):
            told = " or ".join(f"{low:g} to {high:g}" for low, high in ranges)
            yield f"{place('nodes', row)}: {column}: found {getattr(row, column):g} for {name}; expected {told} (paper 1564)"


def _quotations(rows: Rows) -> Iterable[str]:
    for row in rows["guidance"]:
        quotation = QUOTATIONS.get((row.stage, row.phase), "")
        if quotation not in row.text:
            yield f"{place('guidance', row)}: text: expected the words {quotation!r} (paper 387); found {row.text!r}"


def difference(found: Iterable[str], expected: Iterable[str]) -> str:
    """What is missing and what is too much, in words."""
    missing, strange = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    return f"missing: {', '.join(missing) or 'none'}; not expected: {', '.join(strange) or 'none'}"
