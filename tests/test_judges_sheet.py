"""The sheet: everything a reader needs, at 80 columns, without colour where it is piped."""

import io

import numpy as np
from rich.console import Console

from client_graph.names import DIMENSIONS
from judges.assessment.session import judge_full_session
from judges.protocol import Assessment, Exchange, JudgeFailure, Judgement, Turn, Violation
from judges.screening.screen import ViolationRow
from judges.sheet import cut, print_sheet, spark

TALK = [
    Exchange("I ring his phone to hear the message.", "", "You still hear him laugh."),
    Exchange("Yes.", "", "\x1b[31mDelete it.", (Turn("I ring.", "", "You still."),)),
    Exchange("Oh.", "", ""),
]
KINDS = [ViolationRow(kind="boundary", description="It breaks the frame.", weight=1.0, source="test")]


def judgement(scores: np.ndarray, **more: object) -> Judgement:
    reasons = tuple(f"{name} {score:.1f}: because of {name}" for name, score in zip(DIMENSIONS, scores, strict=True))
    views = [Assessment(s, reasons, "n", (f"{who} moment",)) for who, s in (("kind", scores), ("harsh", scores - 1))]
    return Judgement(*views, **more)  # type: ignore[arg-type]


def printed(width: int = 80, answers: list[Judgement | JudgeFailure] | None = None, **how: object) -> str:
    out = io.StringIO()
    answers = answers or [
        judgement(np.linspace(4, 9.5, 12), error=np.full(12, 0.7)),
        judgement(np.linspace(1, 3, 12), violations=(Violation("boundary", "delete"),)),
        JudgeFailure("the service said no"),
    ]
    console = Console(file=out, width=width, **how)  # type: ignore[arg-type]
    print_sheet(console, TALK, answers, judge_full_session(TALK, answers, lambda _: "Calm.\x1b[2J\nAnd slow."), KINDS)
    return out.getvalue()


def test_the_sheet_says_what_a_reader_needs() -> None:
    text = " ".join(printed().split())
    for told in (
        "composite 6.2 ±0.7 kind 6.8 harsh 5.8",
        "It breaks the frame. Found: delete",
        "moment kind moment",
        "moment harsh moment",
        "best artfulness: because of artfulness",
        "weakest attunement: because of attunement",
        "no score: the service said no",
        "1 turns have no score",
        "half of the misses are larger",
        "the session",
        "Calm. [2J And slow.",
    ):
        assert told in text, told


def test_an_error_is_shown_and_explained_only_where_the_judge_states_one() -> None:
    failure, known = JudgeFailure("no"), judgement(np.full(12, 5.0), error=np.full(12, 0.7))
    texts = [
        " ".join(printed(answers=[first, judgement(np.full(12, 5.0)), failure]).split())
        for first in (known, judgement(np.full(12, 5.0)))
    ]
    assert "as the judge itself states it" in texts[0]
    assert texts[0].count("±0.7") == 13  # the composite and twelve dimensions of one turn
    assert "states no error" not in texts[0]
    assert "±" not in texts[1]
    assert "This judge states no error of its scores." in texts[1]


def test_eighty_columns_without_colour_or_terminal_commands() -> None:
    lines = printed().split("\n")
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in "".join(lines)
    assert sum("parallel thinking" in line for line in lines) >= 3  # two turns and the session


def test_the_bars_are_as_long_as_the_scores() -> None:
    line = next(line for line in printed().split("\n") if "attunement" in line)
    assert line.split()[1] == "███·····"  # 3.5 of 10 in eight cells: kind 4, harsh 3


def test_a_spark_line_and_a_cut() -> None:
    assert spark(np.array([0.0, 5.0, 10.0])) == "▁▅█"
    assert cut("one\ntwo \x07three") == "one two three"
    assert cut("word " * 100, 20) == "word word word ..."
