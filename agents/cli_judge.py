"""The command `icarus judge`: a transcript, scored by any judge, as a sheet for a reader."""

import argparse
import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from client_graph.files import write_whole
from client_graph.names import DIMENSIONS

if TYPE_CHECKING:
    from rich.console import Console

    from agents.judges import Chosen, Paid
    from judges.api.ledger import Spending
    from judges.assessment.session import SessionEvaluation
    from judges.protocol import Assessment, JudgeFailure, Judgement
    from judges.transcript import Transcript


def add_judge(commands: Any) -> None:
    """`judge` among the subcommands."""
    judge = commands.add_parser(
        "judge",
        help="score a transcript: twelve dimensions a turn, with reasons, and the session as a whole",
        description="Score a transcript, turn by turn and as a session. Research software: a score is no measure of a person.",
        epilog='FILE: .json (a list of {"client", "therapist", "reasoning"?}), .csv with these columns, .txt or .md with lines '
        '"Client: ..." and "Therapist: ...", a recording (.jsonl), or the folder of a training run.',
    )
    judge.add_argument("transcript", type=Path, metavar="FILE", help="what was said")
    judge.add_argument(
        "--judge",
        default="embedding",
        metavar="NAME",
        help="embedding (offline; the default), reading, self, anthropic, or a model folder",
    )
    judge.add_argument("--model", metavar="NAME", help="the model of self (a folder or hub name) or of anthropic")
    judge.add_argument("--json", type=Path, metavar="OUT", help="also write every number and text as JSON")
    judge.add_argument(
        "--calibration", type=Path, metavar="DIR", help="where calibrate-judge --write kept what is known of it"
    )
    paid = judge.add_argument_group("with --judge anthropic", "It costs money: docs/judges_api.md.")
    paid.add_argument(
        "--api-settings", type=Path, metavar="FILE", help="its settings as TOML: model, prices, budgets, deadlines, ..."
    )
    paid.add_argument("--cache", metavar="FILE", help="keep judgements in this SQLite file; none is paid for twice")
    paid.add_argument(
        "--money-budget", type=float, metavar="AMOUNT", help="spend no more than this; needs [prices] in --api-settings"
    )
    ways = paid.add_mutually_exclusive_group()
    ways.add_argument("--batch", action="store_true", help="judge all turns as one batch: cheaper, may take a day")
    ways.add_argument("--resume-batch", metavar="ID", help="go on with a batch that was sent for this file")
    ways.add_argument("--cancel-batch", metavar="ID", help="end a batch, judge nothing; what was answered is charged")
    judge.set_defaults(run=run_judge)


def run_judge(asked: argparse.Namespace) -> int:
    """Print the sheet of every session in the file, and what it cost; 0, or 130 where Ctrl-C has left a batch under way.

    Raises JudgeUnavailable where no turn at all was judged, BudgetSpent where the budget ended before the last turn.
    """
    from rich.console import Console

    from judges.api.errors import BatchInterrupted
    from judges.api.ledger import spending_of
    from judges.transcript import TranscriptError

    if asked.json and not asked.json.parent.is_dir():
        raise TranscriptError(
            [f"{asked.json}: found no folder {asked.json.parent}; make it, or name another: --json OUT"]
        )
    console = Console()
    paid = _paid(asked, console)
    if paid is not None and asked.cancel_batch is not None:
        return _cancel(asked.cancel_batch, paid, console)
    transcripts = read_any(asked.transcript)  # before the judge, which takes longer
    from agents import judges

    chosen = judges.choose_judge(asked.judge, asked.model, paid=paid)
    try:
        _judge(chosen, asked, transcripts, console)
    except BatchInterrupted as stopped:
        from agents.cli import INTERRUPTED

        print(
            f"icarus: stopped; {stopped}. To go on, the same command with --resume-batch {stopped.batch}; to end it, "
            f"with --cancel-batch {stopped.batch}",
            file=sys.stderr,
        )
        return INTERRUPTED
    finally:
        if spent := spending_of(chosen.judge):
            console.print(f"spent: {spent}", highlight=False)
    return 0


def _paid(asked: argparse.Namespace, console: "Console") -> "Paid | None":
    """What the command line says of the judge behind the API, None for another judge. Raises JudgeUnavailable."""
    from judges.protocol import JudgeUnavailable

    names = ("api_settings", "cache", "money_budget", "batch", "resume_batch", "cancel_batch")
    given = [
        "--" + name.replace("_", "-")
        for name in names
        if (said := getattr(asked, name)) is not None and said is not False
    ]
    if asked.judge.partition(":")[0] != "anthropic":
        if given:
            raise JudgeUnavailable(
                f"found {', '.join(given)} for the judge {asked.judge}, which costs nothing and takes no batch; expected "
                "--judge anthropic beside it: add that, or leave it out"
            )
        return None
    from agents.judges import Paid
    from judges.api.settings import read_api_settings

    over = {"cache": asked.cache, "money_budget": asked.money_budget}
    config = read_api_settings(asked.api_settings, {name: value for name, value in over.items() if value is not None})
    told = "batch {0} is under way at the service, also if this program ends; --resume-batch {0} goes on with it"
    return Paid(config, asked.batch, asked.resume_batch, lambda name: console.print(told.format(name), highlight=False))


def _cancel(batch: str, paid: "Paid", console: "Console") -> int:
    from judges.api.judge import AnthropicJudge
    from judges.protocol import JudgeUnavailable

    failure = AnthropicJudge(paid.config).cancel_batch(batch)
    if failure is not None:
        raise JudgeUnavailable(f"{failure.reason}. It may go on: try again")
    console.print(f"batch {batch} is being ended; what was answered before is charged", highlight=False)
    return 0


def _judge(chosen: "Chosen", asked: argparse.Namespace, transcripts: "list[Transcript]", console: "Console") -> None:
    """Judge, print, write; raises what run_judge raises."""
    from judges.api.ledger import spending_of
    from judges.protocol import JudgeUnavailable

    waits = asked.batch or asked.resume_batch is not None
    with console.status("waiting for the batch") if waits else nullcontext():
        found = chosen.judge.judge(list(chain.from_iterable(one.exchanges() for one in transcripts)))
    rest = iter(found)
    answers = [list(islice(rest, len(one.turns))) for one in transcripts]
    sessions = [_whole(chosen, one, part) for one, part in zip(transcripts, answers, strict=True)]
    judged = list(zip(transcripts, answers, sessions, strict=True))
    _print(console, chosen, asked, judged)
    if asked.json:
        write_json(asked.json, chosen.judge.name, judged, spending_of(chosen.judge))
        console.print(f"written: {asked.json}", highlight=False)
    _expect_paid(found)
    if not any(sessions):
        raise JudgeUnavailable(
            f"{chosen.judge.name} judged no turn of {asked.transcript}; why stands above. Try another --judge"
        )


def _expect_paid(answers: "Sequence[Judgement | JudgeFailure]") -> None:
    """Raises BudgetSpent where the budget ended before the last turn."""
    from judges.api.errors import BudgetSpent, Failure

    unpaid = [answer for answer in answers if isinstance(answer, Failure) and answer.kind == "unpaid"]
    if unpaid:
        raise BudgetSpent(
            f"{len(unpaid)} of {len(answers)} turns were not judged: {unpaid[0].reason}. With --cache FILE what was judged "
            "is not paid for again"
        )


def read_any(path: Path) -> "list[Transcript]":
    """The sessions of a transcript, a recording or a training run. Raises TranscriptError, RecordingError, OSError."""
    from judges.protocol import Turn
    from judges.transcript import Transcript, read_transcript

    if not path.is_dir() and path.suffix.lower() != ".jsonl":
        return [read_transcript(path)]
    from envs.replay_source import read_replay, sessions_of

    found = read_replay(path)
    return [
        Transcript(
            f"{path.name}, session {part[0].session} with {part[0].person['name']}",
            tuple(Turn(turn.client, turn.therapist_reasoning, turn.therapist) for turn in part),
        )
        for part in sessions_of(found.turns)
    ]


def _whole(
    chosen: "Chosen", transcript: "Transcript", answers: "Sequence[Judgement | JudgeFailure]"
) -> "SessionEvaluation | None":
    from judges.assessment.session import judge_full_session
    from judges.protocol import Judgement

    if not any(isinstance(answer, Judgement) for answer in answers):
        return None
    return judge_full_session(transcript.exchanges(), answers, chosen.evaluate)


def _print(console: "Console", chosen: "Chosen", asked: argparse.Namespace, judged: list[tuple[Any, Any, Any]]) -> None:
    from rich.text import Text

    from client_graph.tables import read_table
    from judges.calibration.file import SHIPPED, known_error
    from judges.rubric import JUDGE_CONFIGS
    from judges.screening.screen import ViolationRow
    from judges.sheet import NOTICE, print_sheet

    console.print(Text(NOTICE, style="dim"))
    console.print(Text(f"Judged by {known_error(chosen.judge.name, asked.calibration or SHIPPED)}", style="dim"))
    kinds = read_table(JUDGE_CONFIGS / "violations.csv", ViolationRow, [])
    for transcript, answers, session in judged:
        console.print(Text(f"\n{transcript.title}: {len(transcript.turns)} turns", style="bold"))
        for note in transcript.notes:
            console.print(Text(note, style="yellow"))
        print_sheet(console, transcript.exchanges(), answers, session, kinds)


def write_json(path: Path, judge: str, judged: list[tuple[Any, Any, Any]], spending: "Spending | None" = None) -> None:
    """Everything of the sheet as JSON, whole or not at all."""
    told = {
        "judge": judge,
        "spending": asdict(spending) if spending else None,
        "sessions": [
            {
                "title": transcript.title,
                "turns": [
                    asdict(turn) | judgement_json(answer)
                    for turn, answer in zip(transcript.turns, answers, strict=True)
                ],
                "session": _session_json(session),
            }
            for transcript, answers, session in judged
        ],
    }
    write_whole(path, (json.dumps(told, indent=1, allow_nan=False) + "\n").encode())


def judgement_json(answer: "Judgement | JudgeFailure") -> dict[str, Any]:
    """A judgement's scores by name, its texts and what is known of its error; or the failure."""
    from judges.protocol import JudgeFailure

    if isinstance(answer, JudgeFailure):
        return {"failure": answer.reason}
    return {
        "composite": answer.composite,
        "scores": _named(answer.scores),
        "error": None if answer.error is None else _named(answer.error),
        "digit_mass": None if answer.digit_mass is None else answer.digit_mass.tolist(),
        "violations": [asdict(violation) for violation in answer.violations],
        "kind": _view(answer.kind),
        "harsh": _view(answer.harsh),
    }


def _view(view: "Assessment") -> dict[str, Any]:
    texts = {
        "narrative": view.narrative,
        "critical_moments": view.critical_moments,
        "recommendations": view.recommendations,
    }
    return {"scores": _named(view.scores), "reasons": dict(zip(DIMENSIONS, view.reasons, strict=True)), **texts}


def _session_json(session: "SessionEvaluation | None") -> dict[str, Any] | None:
    if session is None:
        return None
    found = session.assessment
    by_name = {name: _named(getattr(found, name)) for name in ("mean", "least", "greatest", "trend")}
    rest = {"trajectory": found.trajectory.tolist(), "failures": found.failures, "text": str(session)}
    return {**by_name, **rest, "violations": dict(found.violations)}


def _named(values: np.ndarray) -> dict[str, float]:
    return dict(zip(DIMENSIONS, values.tolist(), strict=True))
