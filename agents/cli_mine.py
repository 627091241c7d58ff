"""The command `icarus mine-judge`: a policy's high-scored poor replies, for a person to score."""

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from judges.calibration.mining import Said, Similarity

TURNS = "turns.jsonl"
WRONG_INPUT = 2


def add_mine(commands: Any) -> None:
    """`mine-judge` among the subcommands."""
    mine = commands.add_parser(
        "mine-judge",
        help="collect a policy's high-scored poor replies as examples for a person to score",
        description="Collect replies that a judge scored high and that other evidence calls poor. Nothing is scored here.",
        epilog='RUN: the folder of a training run, or a JSON list of {"client", "reply", "score", and, if known, '
        '"likelihood", "earlier", "violations"}.',
    )
    mine.add_argument("runs", type=Path, nargs="*", metavar="RUN", help="where the replies are")
    mine.add_argument("--top", type=int, default=20, metavar="N", help="at most so many rows (20)")
    mine.add_argument(
        "--least", type=float, default=6.5, metavar="SCORE", help="a high score begins here (6.5, where it helps)"
    )
    mine.add_argument("--out", type=Path, default=Path("mined.csv"), metavar="FILE", help="the table (mined.csv)")
    mine.add_argument(
        "--check", type=Path, metavar="FILE", help="say what is still missing in a table, and do nothing else"
    )
    mine.set_defaults(run=run_mine)


def run_mine(asked: argparse.Namespace) -> int:
    """Write the table and say what to do with it; 0. With --check 2 while something is missing. Raises TranscriptError."""
    from judges.transcript import TranscriptError

    if asked.check:
        return _check(asked.check)
    if not asked.runs:
        raise TranscriptError(["found no run; expected the folder of a training run or a JSON list, or --check FILE"])
    if asked.out.exists():
        raise TranscriptError([f"{asked.out}: holds something already, perhaps scores; name another table: --out FILE"])
    said = read_said(asked.runs)  # before the encoder, which takes longer
    from judges.calibration.mined_table import write_finds
    from judges.calibration.mining import mine
    from judges.offline.examples import read_examples
    from judges.offline.minilm import SentenceEncoder
    from judges.screening.screen import Screen

    encoder = SentenceEncoder()
    finds = mine(
        said, Screen(encoder.vocabulary()), _likeness(encoder), read_examples().replies, asked.top, asked.least
    )
    if not finds:
        high = sum(one.score >= asked.least for one in said)
        unread = (
            "" if any(one.likelihood is not None for one in said) else "; the base's likelihood is on record of none"
        )
        print(
            f"{len(said)} replies, {high} of them scored {asked.least:g} or more; nothing speaks against one of these that is not "
            f"nearly the same as a reply among the examples{unread}. Nothing was written."
        )
        return 0
    write_finds(asked.out, finds)
    for find in finds:
        print(f"{find.said.score:4.1f}  {find.said.reply[:60]!r}: {'; '.join(find.evidence)}")
    print(
        f"{len(finds)} of {len(said)} replies are in {asked.out}. Give each its twelve scores, numbers from 0 to 10, and "
        f"say in why what is wrong with it; icarus mine-judge --check {asked.out} says what is missing. Then put the table "
        "into configs/judges/examples."
    )
    return 0


def _check(path: Path) -> int:
    from judges.calibration.mined_table import unscored

    missing = unscored(path)
    for line in missing:
        print(line, file=sys.stderr)
    if missing:
        print(f"icarus: {len(missing)} cell(s) are missing in {path}", file=sys.stderr)
        return WRONG_INPUT
    print(f"{path}: nothing is missing; put it into configs/judges/examples")
    return 0


def _likeness(encoder: Any) -> "Similarity":
    """Cosines of the sentence vectors; those of the whole run are worked out once."""
    kept: dict[str, np.ndarray] = {}

    def vectors(texts: Sequence[str]) -> np.ndarray:
        new = [text for text in dict.fromkeys(texts) if text not in kept]
        kept.update(zip(new, encoder.encode(new) if new else (), strict=True))
        return np.stack([kept[text] for text in texts])

    def likeness(a: Sequence[str], b: Sequence[str]) -> np.ndarray:
        cosines: np.ndarray = vectors(a) @ vectors(b).T
        return cosines

    return likeness


def read_said(paths: Sequence[Path]) -> "list[Said]":
    """Every scored reply of runs and lists. Raises TranscriptError with every mistake of every file, OSError."""
    from judges.transcript import TranscriptError

    problems: list[str] = []
    said = [one for path in paths for one in (_of_run(path, problems) if path.is_dir() else _of_list(path, problems))]
    if not said and not problems:
        problems.append(f"{', '.join(map(str, paths))}: found no scored reply")
    if problems:
        raise TranscriptError(problems)
    return said


def _of_list(path: Path, problems: list[str]) -> "Iterator[Said]":
    from judges.calibration.mining import Said
    from judges.protocol import Violation

    try:
        rows = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        problems.append(f"{path}: found no JSON ({str(error)[:80]}); expected a list of replies")
        return
    if not isinstance(rows, list):
        problems.append(f"{path}: found a {type(rows).__name__}; expected a list of replies")
        return
    for i, row in enumerate(rows, start=1):
        wrong = _mistakes(row)
        problems += [f"{path}: reply {i}: {told}" for told in wrong]
        if not wrong and row["score"] is not None:
            yield Said(
                row["client"],
                row["reply"],
                float(row["score"]),
                f"{path.name}, reply {i}",
                tuple(str(text) for text in row.get("earlier") or ()),
                row.get("likelihood"),
                violations=tuple(Violation(kind, "on record") for kind in row.get("violations") or ()),
            )


def _mistakes(row: Any) -> list[str]:
    if not isinstance(row, dict):
        return [f'found {repr(row)[:50]}; expected {{"client", "reply", "score"}}']
    wrong = [
        f"{name}: found {repr(row.get(name))[:50]}; expected text"
        for name in ("client", "reply")
        if not isinstance(row.get(name), str)
    ]
    if row.get("score", "nothing") is not None and not _number(row.get("score")):
        wrong.append(f"score: found {repr(row.get('score'))[:50]}; expected a number, or null where the judge failed")
    kinds = row.get("violations") or []
    if not isinstance(kinds, list) or not all(isinstance(kind, str) for kind in kinds):
        wrong.append(f"violations: found {repr(kinds)[:50]}; expected a list of kinds")
    if row.get("likelihood") is not None and not _number(row["likelihood"]):
        wrong.append(f"likelihood: found {repr(row['likelihood'])[:50]}; expected nats a token, or null")
    return wrong


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and bool(np.isfinite(value))


def _of_run(folder: Path, problems: list[str]) -> "Iterator[Said]":
    """The replies and the candidates of a training run; what was said before in the same session stands beside each."""
    path = folder / TURNS
    if not path.is_file():
        problems.append(f"{folder}: found no {TURNS}; expected the folder of a run that icarus train has made")
        return
    session, earlier = 0, tuple[str, ...]()
    for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], start=1):  # a torn last line is no turn
        try:
            turn = json.loads(line)
            if turn["session"] != session:
                session, earlier = turn["session"], ()
            yield from _of_turn(turn, earlier, folder.name)
            earlier = (*earlier, _words(turn["therapist"]["text"])[1])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            problems.append(
                f"{path}:{number}: found no turn of a training run ({type(error).__name__}: {str(error)[:60]})"
            )


def _of_turn(turn: dict[str, Any], earlier: tuple[str, ...], run: str) -> "Iterator[Said]":
    from judges.calibration.mining import Said
    from judges.protocol import Violation

    place = f"{run}, session {turn['session']}, turn {turn['turn']}"
    spoken = [(place, turn["therapist"], turn["judgement"])]
    spoken += [(f"{place}, candidate {i}", one, one["judgement"]) for i, one in enumerate(turn["candidates"], start=1)]
    for source, said, judged in spoken:
        reasoning, reply = _words(said["text"])
        if reply and "failure" not in judged:
            found = tuple(Violation(**each) for each in judged.get("violations", ()))
            yield Said(turn["client"], reply, _score(judged), source, earlier, None, reasoning, found)


def _score(judged: dict[str, Any]) -> float:
    """The plain mean of both personas' scores: the record's own composite is weighted for the stage."""
    return float(np.mean([list(judged[persona]["scores"].values()) for persona in ("kind", "harsh")]))


def _words(text: str) -> tuple[str, str]:
    """(reasoning, reply) of a completion."""
    from envs.text import UnicodeText, therapist_words

    heard = "".join(mark if mark.isprintable() or mark in "\n\t" else " " for mark in text).strip()
    return therapist_words(heard, UnicodeText()) if heard else ("", "")
