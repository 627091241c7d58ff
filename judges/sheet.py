"""A judged session as a sheet for a reader: each turn with scores, bars and reasons, then the session as a whole."""

import re
from collections.abc import Iterator, Sequence

import numpy as np
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from client_graph.names import DIMENSIONS
from judges.assessment.session import SessionEvaluation
from judges.offline.explain import STRONG, WEAK
from judges.protocol import Exchange, JudgeFailure, Judgement
from judges.screening.screen import ViolationRow

WORDS = 230  # characters of a speech that are shown
REASON = 300  # of a reason
BAR = 8  # cells of a bar
SPARKS, ASCII_SPARKS = "▁▂▃▄▅▆▇█", "_.-=+*#@"
NOTICE = "Research software: a program's view of some words. A score is no measure of a person, and this is not for clinical use."
LEGEND = f"Bars: 0 to 10; below {WEAK} a reply may harm, above {STRONG} it may help."
ERROR = (
    "±: the probable error as the judge itself states it (the offline judge: from replies to clients it had not learned from); "
    "half of the misses are larger. The composite's is as if all twelve missed together."
)
NO_ERROR = "This judge states no error of its scores."


def print_sheet(
    console: Console,
    exchanges: Sequence[Exchange],
    judgements: Sequence[Judgement | JudgeFailure],
    session: SessionEvaluation | None,
    violations: Sequence[ViolationRow] = (),
) -> None:
    """Turn by turn, then the session where there is one. `violations`: what each kind means, in words."""
    means = {row.kind: row.description for row in violations}
    for number, (exchange, answer) in enumerate(zip(exchanges, judgements, strict=True), start=1):
        console.print(Rule(f"turn {number}", align="left", style="dim", characters=_marks(console, "─", "-")))
        console.print(_talk(exchange))
        if isinstance(answer, JudgeFailure):
            console.print(Text(f"no score: {cut(answer.reason, REASON)}\n", style="yellow"))
        else:
            console.print(_turn(answer, means, console))
    if session is not None:
        console.print(Rule("the session", align="left", style="dim", characters=_marks(console, "─", "-")))
        console.print(_session(session, console))
    console.print(Text(f"{LEGEND} {_of_errors(judgements)}".rstrip(), style="dim"))


def _of_errors(judgements: Sequence[Judgement | JudgeFailure]) -> str:
    """What the sheet says of the errors it shows, or that it shows none; nothing where no turn was judged."""
    errors = [answer.error for answer in judgements if isinstance(answer, Judgement)]
    if not errors:
        return ""
    return NO_ERROR if all(error is None for error in errors) else ERROR


def _talk(exchange: Exchange) -> Table:
    talk = _grid(9)
    talk.add_row("client", Text(cut(exchange.client), style="cyan"))
    talk.add_row("therapist", Text(cut(exchange.therapist) or "(nothing)", style="green"))
    return talk


def _turn(judgement: Judgement, means: dict[str, str], console: Console) -> Group:
    best, weakest = int(np.argmax(judgement.scores)), int(np.argmin(judgement.scores))
    facts = _grid(9)
    for violation in judgement.violations:
        told = f"{means.get(violation.kind, violation.kind.replace('_', ' '))} Found: {violation.evidence}"
        facts.add_row(Text("violation", style="red"), Text(told))
    if moment := critical_moment(judgement):
        facts.add_row("moment", Text(cut(moment)))
    facts.add_row("best", _reason(best, judgement.kind.reasons[best]))
    facts.add_row("weakest", _reason(weakest, judgement.harsh.reasons[weakest]))
    return Group(_composite(judgement), _bars(judgement, console), facts, Text())


def _composite(judgement: Judgement) -> Text:
    line = Text(f"composite {judgement.composite:.1f}", style="bold")
    line.append(f"{_error(judgement)}   kind {judgement.kind.scores.mean():.1f}   ", style="not bold")
    line.append(f"harsh {judgement.harsh.scores.mean():.1f}", style="not bold")
    if judgement.digit_mass is not None:
        line.append(f"   digit mass, least {judgement.digit_mass.min():.2f}", style="not bold dim")
    return line


def _error(judgement: Judgement) -> str:
    """The composite's probable error, where the judge states one."""
    return "" if judgement.error is None else f" ±{judgement.error.mean():.1f}"


def critical_moment(judgement: Judgement) -> str:
    """The first critical moment of the persona that is right to be heard: the harsh one of a poor reply, the kind one else."""
    order = (
        (judgement.harsh, judgement.kind)
        if judgement.composite < (WEAK + STRONG) / 2
        else (judgement.kind, judgement.harsh)
    )
    return next((view.critical_moments[0] for view in order if view.critical_moments), "")


def _bars(judgement: Judgement, console: Console) -> Padding:
    """Twelve bars in two columns, in the order of DIMENSIONS down the first."""
    half = len(DIMENSIONS) // 2
    table = Table.grid(padding=(0, 1))
    for left in range(half):
        table.add_row(*_bar(judgement, left, console), "", *_bar(judgement, left + half, console))
    return Padding(table, (0, 0, 0, 1))


def _bar(judgement: Judgement, d: int, console: Console) -> Iterator[RenderableType]:
    score = float(judgement.scores[d])
    style = "red" if score < WEAK else "blue" if score > STRONG else "none"
    filled = round(BAR * score / 10)
    yield DIMENSIONS[d].replace("_", " ")
    yield Text(_marks(console, "█", "#") * filled + _marks(console, "·", ".") * (BAR - filled), style=style)
    yield Text(f"{score:.1f}", justify="right")
    yield Text("" if judgement.error is None else f"±{judgement.error[d]:.1f}", style="dim")


def _reason(dimension: int, reason: str) -> Text:
    """A persona's reason without the score before it: the bar shows the mean of two personas, which is another number."""
    name = DIMENSIONS[dimension]
    return Text(cut(f"{name.replace('_', ' ')}: {re.sub(rf'^{name}( [0-9.]+)?: ', '', reason)}", REASON))


def _session(session: SessionEvaluation, console: Console) -> Group:
    found = session.assessment
    line = Text("composite over the turns  ")
    line.append(spark(found.trajectory, ASCII_SPARKS if _plain(console) else SPARKS), style="blue")
    line.append(f"  {found.trajectory[0]:.1f} to {found.trajectory[-1]:.1f}, mean {found.composite:.1f}")
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("dimension")
    for name in ("mean", "least", "greatest", "last - first"):
        table.add_column(name, justify="right")
    for d in np.argsort(-found.mean, kind="stable"):
        numbers = (
            f"{found.mean[d]:.1f}",
            f"{found.least[d]:.1f}",
            f"{found.greatest[d]:.1f}",
            f"{found.trend[d]:+.1f}",
        )
        table.add_row(DIMENSIONS[d].replace("_", " "), *numbers)
    failed = [Text(f"{found.failures} turns have no score and are left out", style="yellow")] if found.failures else []
    return Group(line, Text(), table, Text(), *failed, Text(_lines(str(session))), Text())


def spark(values: np.ndarray, marks: str = SPARKS) -> str:
    """One mark for each value in [0, 10]."""
    return "".join(marks[min(len(marks) - 1, int(value / 10 * len(marks)))] for value in values)


def _lines(text: str) -> str:
    """The text without what a terminal would obey; a model may have written it."""
    return "".join(mark if mark.isprintable() or mark == "\n" else " " for mark in text)


def cut(text: str, most: int = WORDS) -> str:
    """One printable line of at most `most` cells, cut at a blank."""
    line = " ".join("".join(mark if mark.isprintable() else " " for mark in text).split())
    if cell_len(line) <= most:
        return line
    return line[: most - 4].rsplit(" ", 1)[0] + " ..."


def _grid(width: int) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=width, style="dim")
    grid.add_column()
    return grid


def _plain(console: Console) -> bool:
    return console.options.ascii_only


def _marks(console: Console, nice: str, plain: str) -> str:
    return plain if _plain(console) else nice
