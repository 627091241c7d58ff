"""The command `icarus judge`: a transcript, scored by any judge, as a sheet for a reader."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from client_graph.files import write_whole
from client_graph.names import DIMENSIONS

if TYPE_CHECKING:
    from rich.console import Console

    from agents.judges import Chosen
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
        help="embedding (offline; the default), self, anthropic, or a model folder",
    )
    judge.add_argument("--model", metavar="NAME", help="the model of self (a folder or hub name) or of anthropic")
    judge.add_argument("--json", type=Path, metavar="OUT", help="also write every number and text as JSON")
    judge.add_argument(
        "--calibration", type=Path, metavar="DIR", help="where calibrate-judge --write kept what is known of it"
    )
    judge.set_defaults(run=run_judge)


def run_judge(asked: argparse.Namespace) -> int:
    """Print the sheet of every session in the file; 0. Raises JudgeUnavailable where no turn at all was judged."""
    from rich.console import Console

    from judges.protocol import JudgeUnavailable
    from judges.transcript import TranscriptError

    if asked.json and not asked.json.parent.is_dir():
        raise TranscriptError(
            [f"{asked.json}: found no folder {asked.json.parent}; make it, or name another: --json OUT"]
        )
    transcripts = read_any(asked.transcript)  # before the judge, which takes longer
    from agents import judges

    chosen = judges.choose_judge(asked.judge, asked.model)
    console = Console()
    answers = [chosen.judge.judge(transcript.exchanges()) for transcript in transcripts]
    sessions = [_whole(chosen, one, found) for one, found in zip(transcripts, answers, strict=True)]
    _print(console, chosen, asked, list(zip(transcripts, answers, sessions, strict=True)))
    if asked.json:
        write_json(asked.json, chosen.judge.name, list(zip(transcripts, answers, sessions, strict=True)))
        console.print(f"written: {asked.json}", highlight=False)
    if not any(sessions):
        raise JudgeUnavailable(
            f"{chosen.judge.name} judged no turn of {asked.transcript}; why stands above. Try another --judge"
        )
    return 0


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


def write_json(path: Path, judge: str, judged: list[tuple[Any, Any, Any]]) -> None:
    """Everything of the sheet as JSON, whole or not at all."""
    told = {
        "judge": judge,
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
