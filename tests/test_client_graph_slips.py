"""What a catalog may hold and is hardly meant: each slip with its line, and what is no slip."""

from typing import Any

import pytest

from client_graph.catalog import load_catalog
from client_graph.slips import silences, slips
from client_graph.testing import plain

CATALOG = load_catalog()
SPOKEN = {"opening": "A", "ordinary": "ABCD", "moved": "ABCD", "hurt": "ABCD", "mended": "ABCD", "closing": "AD"}
PAIR = "expected one row, since a paired edge leads both ways. Keep one"
NEVER = "which can never hold; expected one that can"


def line(phase: str, moment: str, concern: str = "any", coherence: str = "balanced", stage: str = "any") -> Any:
    words = f"In {stage}, {phase}, {moment}, {concern}, {coherence}."
    return plain.row("voice", stage=stage, phase=phase, coherence=coherence, moment=moment, concern=concern, line=words)


def concern(name: str) -> Any:
    return plain.row("concerns", name=name, opening="Something is on my mind.", history="It began a while ago.")


def criterion(before: int, after: int, measure: str, relation: str, value: float, sessions: int = 2) -> Any:
    return plain.row(
        "stage_criteria", stage_from=before, stage_to=after, measure=measure, relation=relation, value=value, sessions=sessions
    )  # fmt: skip


def threshold(stage: int, step: str, value: float) -> Any:
    return plain.row("phase_thresholds", stage=stage, phase_from=step[0], phase_to=step[1], threshold=value)


EVERY_LINE = [line(phase, moment) for moment, phases in SPOKEN.items() for phase in phases]
SMALL = plain.plain_catalog([plain.node("bond"), plain.node("hope")], voice=EVERY_LINE)


def found(**tables: list[Any]) -> list[str]:
    """The slips when `tables` stand in a small catalog without any, their rows numbered from line 2 on."""
    rows = dict(SMALL.rows)
    for table, entries in tables.items():
        rows[table] = tuple(entry.model_copy() for entry in entries)
        for number, entry in enumerate(rows[table], start=2):
            object.__setattr__(entry, "read_at", number)
    return list(slips(rows))


def test_neither_the_shipped_tables_nor_the_small_ones_have_a_slip() -> None:
    assert list(slips(CATALOG.rows)) == found() == []


def test_a_pair_turned_round_is_told_with_the_first() -> None:
    pairs = [plain.edge(*ends) for ends in (("bond", "paired", "hope"), ("hope", "suppressive", "bond"),
                                            ("hope", "paired", "bond"), ("bond", "paired", "hope"))]  # fmt: skip
    assert found(edges=pairs) == [
        f"edges.csv:4: found hope, bond again, first at edges.csv:2; {PAIR}",
        f"edges.csv:5: found bond, hope again, first at edges.csv:2; {PAIR}",
    ]


def test_a_threshold_that_nothing_or_everything_passes_is_told() -> None:
    rows = [threshold(1, "AB", 0.0), threshold(2, "BC", -0.2), threshold(1, "BA", 0.0), threshold(2, "DC", 0.25),
            threshold(3, "CD", 0.01), threshold(3, "CB", -0.01)]  # fmt: skip
    assert found(phase_thresholds=rows) == [
        "phase_thresholds.csv:2: threshold: found 0 for the step forward AB; expected a number above 0",
        "phase_thresholds.csv:3: threshold: found -0.2 for the step forward BC; expected a number above 0",
        "phase_thresholds.csv:4: threshold: found 0 for the step back BA; expected a number below 0",
        "phase_thresholds.csv:5: threshold: found 0.25 for the step back DC; expected a number below 0",
    ]


def test_a_criterion_that_can_never_hold_is_told() -> None:
    rows = [
        criterion(1, 2, "adaptive_mean", "above", 1.0),
        criterion(2, 3, "coiling", "below", 0.0),
        criterion(3, 4, "adaptive_mean", "at_least", 1.0),
        criterion(2, 1, "adaptive_mean", "above", 0.0),
        criterion(3, 2, "coiling", "below", 1.0),
        criterion(4, 3, "core_sessions", "above", 1.0),
        criterion(4, 3, "completed_sessions", "below", 0.0),
    ]
    assert found(stage_criteria=rows) == [
        f"stage_criteria.csv:2: value: found adaptive_mean above 1, {NEVER}",
        f"stage_criteria.csv:3: value: found coiling below 0, {NEVER}",
    ]


def test_criteria_of_one_step_that_ask_for_other_numbers_of_sessions_are_told() -> None:
    """Each against the largest of its own step; another step may ask for another number."""
    rows = [
        criterion(1, 2, "coiling", "below", 0.5, 2),
        criterion(1, 2, "adaptive_mean", "above", 0.5, 4),
        criterion(2, 3, "coiling", "below", 0.4, 3),
        criterion(1, 2, "core_sessions", "at_least", 1.0, 3),
        criterion(2, 1, "coiling", "above", 0.7, 1),
    ]
    one = "expected one number for the whole step from stage 1 to 2"
    assert found(stage_criteria=rows) == [
        f"stage_criteria.csv:2: sessions: found 2 where stage_criteria.csv:3 has 4; {one}",
        f"stage_criteria.csv:5: sessions: found 3 where stage_criteria.csv:3 has 4; {one}",
    ]


@pytest.mark.parametrize(
    ("phase", "moment", "phases"), [("B", "opening", "A"), ("C", "closing", "A or D"), ("B", "closing", "A or D")]
)
def test_a_line_of_a_phase_in_which_it_is_never_spoken_is_told(phase: str, moment: str, phases: str) -> None:
    assert found(voice=[*EVERY_LINE, line(phase, moment)]) == [
        f"voice.csv:{len(EVERY_LINE) + 2}: found a line for {moment} in phase {phase}, which is never spoken; expected {phases}"
    ]


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        ([], "any concern"),
        (["panic"], "a_worry, grief"),
        (["panic", "grief"], "a_worry"),
        (["panic", "grief", "a_worry"], None),
        (["any"], None),
    ],
)
def test_concerns_without_words_are_told(kept: list[str], told: str | None) -> None:
    """Nobody speaks in phase B when hurt, but those who are kept."""
    lines = [entry for entry in EVERY_LINE if (entry.phase, entry.moment) != ("B", "hurt")]
    assert found(
        concerns=[concern(name) for name in ("a_worry", "panic", "grief")],
        voice=[*lines, *(line("B", "hurt", name) for name in kept)],
    ) == [
        f"voice.csv: found no line for phase B, balanced, hurt, {told}; expected one or more, since a client without words ends "
        "the session"
    ] * (told is not None)  # fmt: skip


def test_every_coherence_of_the_strategies_needs_its_words() -> None:
    odd = plain.row("strategies", name="A1", family="A", coherence="odd", voice="Quiet and quick.")
    rows = dict(SMALL.rows) | {"strategies": (*SMALL.rows["strategies"], odd)}
    assert silences(rows) == {
        ("any", phase, "odd", moment): ["a_worry"] for moment, phases in SPOKEN.items() for phase in phases
    }
    assert (
        silences(rows | {"voice": (*EVERY_LINE, *(line(e.phase, e.moment, coherence="odd") for e in EVERY_LINE))}) == {}
    )


@pytest.mark.parametrize(
    ("kept", "silent"),
    [
        ({"any": "1-3"}, {"4": ["a_worry", "panic"]}),
        ({"any": "2-3", "panic": "1-2"}, {"1": ["a_worry"], "4": ["a_worry", "panic"]}),
        ({"any": "1-2", "panic": "3-4", "a_worry": "2-4"}, {}),
        ({"panic": "any"}, {"any": ["a_worry"]}),
    ],
)
def test_a_stage_without_words_is_told(kept: dict[str, str], silent: dict[str, list[str]]) -> None:
    """Who is silent when hurt in phase B, by stage; "any" where all four are alike."""
    lines = [entry for entry in EVERY_LINE if (entry.phase, entry.moment) != ("B", "hurt")]
    lines += [line("B", "hurt", concern=name, stage=stage) for name, stage in kept.items()]
    rows = dict(SMALL.rows) | {"voice": tuple(lines), "concerns": (concern("a_worry"), concern("panic"))}
    assert silences(rows) == {(stage, "B", "balanced", "hurt"): names for stage, names in silent.items()}
    told = [problem.split("; ")[0] for problem in slips(rows)]
    assert told == [
        f"voice.csv: found no line for phase B, balanced, hurt, {'any concern' if len(names) == 2 else ', '.join(names)}"
        + ("" if stage == "any" else f" in stage {stage}")
        for stage, names in silent.items()
    ]


def test_a_line_for_any_coherence_is_everybodys() -> None:
    odd = plain.row("strategies", name="A1", family="A", coherence="odd", voice="Quiet and quick.")
    rows = dict(SMALL.rows) | {"strategies": (*SMALL.rows["strategies"], odd)}
    assert silences(rows | {"voice": tuple(line(e.phase, e.moment, coherence="any") for e in EVERY_LINE)}) == {}


@pytest.mark.parametrize(("stage", "stages"), [("any", (1, 2, 3, 4)), ("3", (3,)), ("1-3", (1, 2, 3)), ("3-4", (3, 4))])
def test_the_stages_of_a_line(stage: str, stages: tuple[int, ...]) -> None:
    assert line("A", "hurt", stage=stage).stages == stages
