"""What a person sees of a run: a bar with an estimate, a line a turn, a table at the end."""

from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from agents.corpus_trainer import CorpusProgress
from agents.lm.five_tuple import Session
from agents.played_session import LeftOut
from agents.self_play import TurnResult
from agents.trainer import Progress as Standing
from client_graph.names import PHASE_NAMES, PHASES
from judges.api.ledger import Spending


class _Bar:
    """A bar with an estimate, on a terminal."""

    def __init__(self, console: Console, what: str, units: str, total: int) -> None:
        self._console = console
        self._bar = Progress(
            TextColumn(what), BarColumn(), MofNCompleteColumn(), TextColumn(units),
            TimeRemainingColumn(elapsed_when_finished=True), TimeElapsedColumn(), console=console, transient=True,
            disable=not console.is_terminal,
        )  # fmt: skip
        self._task = self._bar.add_task(what, total=total)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


class CorpusReport(_Bar):
    """Learning from sessions: a bar, and now and then a line with the means since the last one."""

    EVERY = 5

    def __init__(self, console: Console, method: str, steps: int) -> None:
        what = {"sft": "fine-tuning", "A": "DPO in sessions", "B": "DPO through the curriculum"}[method]
        super().__init__(console, what, "steps", steps)
        self._what, self._steps = what, steps
        self._lines: list[dict[str, Any]] = []

    def resume_at(self, standing: CorpusProgress) -> None:
        """Start the bar where a stopped run goes on."""
        self._bar.update(self._task, completed=standing.step)

    def step(self, line: dict[str, Any], standing: CorpusProgress) -> None:
        """What a step showed."""
        self._bar.update(self._task, completed=standing.step)
        self._lines.append(line)
        if standing.step % self.EVERY and standing.step != self._steps:
            return
        names = ("loss", "accuracy", "chosen", "rejected")
        seen = {name: [one[name] for one in self._lines if one.get(name) is not None] for name in names}
        means = "  ".join(f"{name} {sum(found) / len(found):.3f}" for name, found in seen.items() if found)
        seconds = sum(one["seconds"] for one in self._lines)
        rate = sum(one["tokens"] for one in self._lines) / seconds
        self._console.print(
            f"[bold]{self._what}[/] step {standing.step} of {self._steps}  {means}  {rate:.0f} tokens/s",
            highlight=False,
        )
        self._lines = []


class LiveReport(_Bar):
    """A bar with an estimate (on a terminal) over one line a turn (everywhere)."""

    def __init__(self, console: Console, sessions: int, max_turns: int) -> None:
        super().__init__(console, "training", "turns, left at most", sessions * max_turns)
        self._sessions, self._max_turns = sessions, max_turns

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


class RecordReport(_Bar):
    """Recording sessions: a bar over turns (on a terminal) above one line a session (everywhere)."""

    def __init__(self, console: Console, sessions: int, max_turns: int) -> None:
        super().__init__(console, "recording", "turns, left at most", sessions * max_turns)
        self._sessions, self._max_turns = sessions, max_turns
        self.seen = self.kept = self.turns = 0  # sessions played; those in the file; the turns of these

    def turn(self) -> None:
        """A turn was played."""
        self._bar.advance(self._task)

    def session(self, found: Session | LeftOut) -> None:
        """A session is in the file, or was left out."""
        self.seen += 1
        what = f"session {self.seen} of {self._sessions}"
        if isinstance(found, LeftOut):
            told, style = f"{what}, seed {found.seed}, left out: {found.reason}", "yellow"
        else:
            self.kept, self.turns = self.kept + 1, self.turns + len(found.turns)
            slips = sum(bool(turn.misstep) for turn in found.turns)
            told = (
                f"{what}: {len(found.turns)} turns, {slips} of them missteps; stage {found.treatment_stage}, "
                f"attachment {found.attachment_strategy}, {', '.join(found.issues or ())}"
            )
            style = ""
        self._console.print(told, style=style, highlight=False, markup=False)
        ahead = (self._sessions - self.seen) * self._max_turns
        self._bar.update(self._task, total=self._bar.tasks[self._task].completed + ahead)


def corpus_table(summary: dict[str, Any]) -> Table:
    """What the held-out sessions showed at each look, and that a lower loss is not yet a better therapist."""
    held_out = summary["held_out"]
    table = Table(
        title=f"{held_out['examples']} replies of {held_out['sessions']} sessions that were not learned from",
        title_justify="left",
    )
    names = [name for name in summary["looks"][0] if name != "step"]
    for name in ("step", *names):
        table.add_column(
            {"loss": "loss, nats a token" if summary["method"] == "sft" else "loss"}.get(name, name), justify="right"
        )
    for look in summary["looks"]:
        table.add_row(str(look["step"]), *(measured(look[name]) for name in names))
    return table


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
