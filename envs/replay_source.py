"""What a replay is made from: a recording of RecordTurns, or the turns.jsonl that a training run wrote."""

import json
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gymnasium.error import InvalidAction
from pydantic import ValidationError

from client_graph.names import STANCES
from envs.recording import TORN, RecordingError, mistake, read_recording
from envs.text import UnicodeText, therapist_words
from envs.turn_record import MISREAD, TurnRecord, plain

TURNS = "turns.jsonl"  # as a training run names it
EXPECTED = "expected a recording (.jsonl, as /save and RecordTurns write it) or the folder of a training run"
LESS = (
    "A training run keeps less than a recording: each reply's thought and words, the judges, the reward's parts and the client "
    "after every turn are here; what moved a node (scores, edges, reservoirs) and the sums behind the phase score are not. "
    "To see those, wrap the environment in envs.recording.RecordTurns."
)


@dataclass(frozen=True)
class Replay:
    """The turns in the order they were played, and what a reader must be told about their source."""

    turns: tuple[TurnRecord, ...]
    notes: tuple[str, ...] = ()


def read_replay(run: Path | str) -> Replay:
    """The turns of a recording (a file) or of a training run (its folder, or its turns.jsonl).

    Raises RecordingError with every mistake, or with what to name instead.
    """
    path = Path(run)
    try:
        found = _read(path)
    except OSError as error:
        raise RecordingError([f"{path}: could not be read ({error.strerror}); {EXPECTED}{_beside(path)}"]) from error
    if not found.turns:
        raise RecordingError([f"{path}: found no turn; {EXPECTED}{_beside(path)}"])
    return found


def _beside(path: Path) -> str:
    """The transcript that lies beside a saved game, or beside a name without its ending."""
    transcript = path.with_suffix(".jsonl")
    return f": try {transcript}" if path.name and transcript != path and transcript.is_file() else ""


def _read(path: Path) -> Replay:
    if path.is_dir():
        if not (path / TURNS).is_file():
            raise RecordingError([f"{path}: found no {TURNS}; {EXPECTED}"])
        path = path / TURNS
    with open(path, "rb") as file:
        first = file.readline()
    if b'"total_turn"' in first and b'"form"' not in first:
        return _training_run(path)
    found = read_recording(path)
    return Replay(found.turns, (found.torn,) if found.torn else ())


def _training_run(path: Path) -> Replay:
    *lines, last = path.read_bytes().split(b"\n")
    problems: list[str] = []
    turns: list[TurnRecord] = []
    previous: dict[str, Any] | None = None
    people: list[Any] = []
    for number, line in enumerate(lines, start=1):
        try:
            saved = json.loads(line)
            if not people or saved["person"] != people[-1]:
                people.append(saved["person"])
            goes_on = previous is not None and (saved["session"], saved["turn"]) == (
                previous["session"],
                previous["turn"] + 1,
            )
            turns.append(TurnRecord(**plain(_from_training(saved, previous if goes_on else None, len(people)))))
            previous = saved
        except ValidationError as error:
            problems += [f"{path}:{number}: {mistake(dict(found))}" for found in error.errors()]
        except KeyError as error:
            problems.append(f"{path}:{number}: {error.args[0]}: missing; expected this key of a training run's turn")
        except (ValueError, TypeError, AttributeError, IndexError, RecursionError, InvalidAction) as error:
            problems.append(f"{path}:{number}: found no turn of a training run ({str(error)[:80]})")
    if problems:
        raise RecordingError(problems)
    torn = (TORN.format(f"{path}:{len(lines) + 1}, {len(last)} bytes"),) if last else ()
    return Replay(tuple(turns), (LESS, *torn))


def _from_training(saved: dict[str, Any], previous: dict[str, Any] | None, treatment: int) -> dict[str, Any]:
    """A line of a training run as a TurnRecord; `previous` is the turn before in the same session, if there is one."""
    after, judged = saved["after"], saved["judgement"]
    earlier = _standing(previous["after"]) if previous else None
    reasoning, utterance = therapist_words(_heard(saved["therapist"]["text"]), UnicodeText())
    return {
        "treatment": treatment,
        "session": saved["session"],
        "turn": saved["turn"],
        "person": saved["person"],
        "client": saved["client"],
        "client_reasoning": previous["after"]["client_reasoning"] if previous else None,
        "therapist_model": _model(previous["after"]) if previous else None,
        "therapist_reasoning": reasoning,
        "therapist": utterance,
        "judgement": {name: judged[name] for name in ("composite", "kind", "harsh")}
        | {"violations": judged.get("violations", [])},  # kept since there is a screen
        "reward": saved["reward"],
        "reward_parts": saved["reward_parts"],
        "before": earlier,
        "after": _standing(after)
        | {name: after[name] for name in ("client", "client_reasoning", "phase_score", "phase_step", "rupture")}
        | {name: after[name] for name in ("transformation", "signals", "ending", "stage_step", "session_measures")},
        "moved": None,
        "trace": None,
    }


def _heard(text: str) -> str:
    """A completion as the environment was given it: without control characters."""
    return "".join(c for c in text if c in "\n\t" or unicodedata.category(c)[0] != "C").strip()


def _standing(after: dict[str, Any]) -> dict[str, Any]:
    names = ("phase", "stage", "coiling", "alliance", "attunement", "levels", "buckets", "axes", "loa")
    return {name: after[name] for name in names} | {"stance": STANCES[after["stance"]]}


def _model(after: dict[str, Any]) -> dict[str, Any]:
    beliefs, levels = after["beliefs"], after["levels"]
    most = sorted(beliefs, key=lambda node: -abs(beliefs[node] - levels[node]))[:MISREAD]
    misread = [{"node": node, "belief": beliefs[node], "truth": levels[node]} for node in most]
    return {"beliefs": beliefs, "worst_misread": misread, "attunement": after["attunement"]}


def sessions_of(turns: Iterable[TurnRecord]) -> list[list[TurnRecord]]:
    """The turns by session; a turn that does not follow the one before (a restored snapshot) begins a part of its own."""
    parts: list[list[TurnRecord]] = []
    for turn in turns:
        if parts and _place(parts[-1][-1], 1) == _place(turn, 0):
            parts[-1].append(turn)
        else:
            parts.append([turn])
    return parts


def _place(turn: TurnRecord, ahead: int) -> tuple[int, int, int, str]:
    return turn.treatment, turn.session, turn.turn + ahead, turn.person["name"]
