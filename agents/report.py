"""What a person sees of a run: a bar with an estimate, a line a turn, a table at the end."""

from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from agents.self_play import TurnResult
from agents.trainer import Progress as Standing
from client_graph.names import PHASE_NAMES, PHASES
from judges.api.ledger import Spending


class LiveReport:
    """A bar with an estimate (on a terminal) over one line a turn (everywhere)."""

    def __init__(self, console: Console, sessions: int, max_turns: int) -> None:
        self._console, self._sessions, self._max_turns = console, sessions, max_turns
        self._bar = Progress(
            TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("turns, left at most"),
            TimeRemainingColumn(elapsed_when_finished=True), TimeElapsedColumn(), console=console, transient=True,
            disable=not console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task("training", total=sessions * max_turns)

    def __enter__(self) -> "LiveReport":
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def resume_at(self, standing: Standing) -> None:
        """Start the bar where a stopped run goes on."""
        self._bar.update(self._task, completed=standing.total_turns, total=self._total(standing))

    def turn(self, result: TurnResult, standing: Standing) -> None:
        """The live line: who said what, and where the client stands."""
        info = result.info
        steps = "+".join(name for name, done in (("RLAIF", result.rlaif), ("GRPO", result.grpo)) if done) or "no step"
        self._console.print(
            f"[bold]session {standing.session + 1} turn {standing.turn}[/]  composite {result.outcome.stage_composite:.2f}  "
            f"phase {info['phase']} {PHASE_NAMES[PHASES.index(info['phase'])]}  coiling {info['coiling']:.3f}  "
            f"attunement {info['attunement']:.3f}  reward {result.reward:+.1f}  {steps}  {sum(result.seconds.values()):.1f} s",
            highlight=False,
        )
        self._console.print(f"  client     {escape(result.client)}", style="cyan", highlight=False)
        self._console.print(
            f"  therapist  {escape(' '.join(result.reply.text.split()))}", style="green", highlight=False
        )
        for found in result.outcome.judgement.violations:
            told = f"  screen     {found.kind.replace('_', ' ')}: {found.evidence}"
            self._console.print(escape(told), style="yellow", highlight=False)
        self._bar.update(self._task, completed=standing.total_turns, total=self._total(standing))

    def session(self, summary: dict[str, Any]) -> None:
        """How a session ended."""
        if summary["ending"] == "failed":
            self._console.print(f"session {summary['session']} cut short: {escape(summary['reason'])}", style="yellow")
            return
        step = {1: ", a stage gained", -1: ", a stage lost"}.get(summary["stage_step"], "")
        who = f"{summary['person']} ({summary['strategy']}, {summary['concern'].replace('_', ' ')})"
        self._console.print(
            f"[bold]session {summary['session']} over[/] after {summary['turns']} turns: "
            f"{summary['ending'].replace('_', ' ')}; {who} stage {summary['stage']}{step}",
            highlight=False,
        )
        if spent := summary.get("spent_so_far"):
            self._console.print(f"the judge has spent so far: {Spending.of(spent)}", style="dim", highlight=False)

    def _total(self, standing: Standing) -> int:
        ahead = self._sessions - standing.session
        return standing.total_turns + ahead * self._max_turns - (standing.turn if standing.running else 0)


# What is printed of a probe: label -> its field.
MEASURES = {
    "training judge, mean of the twelve (0-10)": "composite",
    "kind minus harsh": "kind_harsh_gap",
    "log-probability a token before training": "base_logprob",
    "different word pairs (0-1)": "distinct_2",
    "words a reply": "words",
    "replies that stop by themselves (0-1)": "finished",
}


def closing_table(summary: dict[str, Any]) -> Table:
    """Held-out clients before and after. The judge's score is the one that was trained on; the others no judge made."""
    table = Table(
        title=f"{len(summary['before']['replies'])} held-out client lines, one reply to each", title_justify="left"
    )
    for column in ("", "before", "after"):
        table.add_column(column, justify="left" if not column else "right")
    for label, name in MEASURES.items():
        table.add_row(label, *(measured(summary[when][name]) for when in ("before", "after")))
    if spent := summary["spending"]:
        table.caption = f"the judge has spent: {Spending.of(spent)}"
    return table


def measured(value: float | None) -> str:
    """A measure as it is printed."""
    return "none" if value is None else f"{value:.3f}"
