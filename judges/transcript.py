"""A dialogue from a file: who said what, in turns that a judge can be given.

.json         a list of {"client", "therapist", "reasoning"?}, or an object with such a list under "turns"
.csv          these columns, a turn a row
.txt, .md     lines "Client: ..." and "Therapist: ...", with "Reasoning: ..." before the therapist's words where it is known;
              a line without a speaker goes on with the one before

In lines, a turn is all that the client says until the therapist speaks, and all that the therapist thinks and says until the client
speaks again: a further speech is joined by a line break, and noted. In rows an empty reply is judged as one, and noted.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from judges.protocol import Exchange, Turn

KINDS = (".json", ".csv", ".txt", ".md")
MOST_TOLD = 20  # mistakes that one error prints
_FIELDS = ("client", "therapist", "reasoning")
_NAMES = {"client": "client", "c": "client", "therapist": "therapist", "t": "therapist", "reasoning": "reasoning"}
_SPEAKER = re.compile(r"^\s*(?:[-*>#]+\s+)?(?:\*\*|__)?([A-Za-z]+)(?:\*\*|__)?\s*:\s*(?:\*\*|__)?\s*(.*)$")
_FORM = 'expected lines "Client: ..." and "Therapist: ..."'


class TranscriptError(ValueError):
    """A transcript that cannot be judged. `problems` lists every mistake, each with its place."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        rest = [f"and {count - MOST_TOLD} more"] if count > MOST_TOLD else []
        head = [] if count == 1 else [f"{count} problems in the transcript; nothing was judged:"]
        super().__init__("\n  - ".join((*head, *self.problems[:MOST_TOLD], *rest)))


@dataclass(frozen=True)
class Transcript:
    """title: what it was read from. turns: in order. notes: speeches that were left out, joined or empty, each with its place."""

    title: str
    turns: tuple[Turn, ...]
    notes: tuple[str, ...] = ()

    def exchanges(self) -> list[Exchange]:
        """One for each turn, with the turns before it as its history."""
        return [
            Exchange(turn.client, turn.reasoning, turn.therapist, self.turns[:i]) for i, turn in enumerate(self.turns)
        ]


def read_transcript(path: Path) -> Transcript:
    """The transcript of a file. Raises TranscriptError with every mistake of it, OSError where it cannot be read."""
    kind = path.suffix.lower()
    if kind not in KINDS:
        raise TranscriptError([f"{path}: found a file that ends in {kind or 'nothing'}; expected {', '.join(KINDS)}"])
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise TranscriptError(
            [f"{path}: not UTF-8 text ({error.reason} at byte {error.start}); save it as UTF-8"]
        ) from None
    if kind == ".json":
        return _of_rows(path, _json_rows(path, text))
    if kind == ".csv":
        return _of_rows(path, _csv_rows(path, text))
    return _of_lines(path, text)


def _json_rows(path: Path, text: str) -> list[tuple[str, Any]]:
    try:
        found = json.loads(text, object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise TranscriptError([f"{path}: found no JSON ({str(error)[:80]}); expected a list of turns"]) from None
    rows = found.get("turns") if isinstance(found, dict) else found
    if not isinstance(rows, list):
        what = "an object without turns" if isinstance(found, dict) else f"a {type(found).__name__}"
        raise TranscriptError([f'{path}: found {what}; expected a list of {{"client", "therapist", "reasoning"?}}'])
    return [(f"{path}: turn {i}", row) for i, row in enumerate(rows, start=1)]


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; a name that it holds twice has both values, which is no text and is refused as such."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        found[name] = [found[name], value] if name in found else value
    return found


def _csv_rows(path: Path, text: str) -> list[tuple[str, Any]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        columns = [(name or "").strip().lower() for name in reader.fieldnames or ()]
        if not {"client", "therapist"} <= set(columns):
            told = ", ".join(columns) or "nothing"
            raise TranscriptError(
                [f"{path}:1: found columns {told}; expected client, therapist and, if known, reasoning"]
            )
        if twice := [name for name in _FIELDS if columns.count(name) > 1]:
            raise TranscriptError([f"{path}:1: found columns {', '.join(twice)} more than once; expected each once"])
        reader.fieldnames = columns
        return [(f"{path}:{reader.line_num}", row) for row in reader]
    except csv.Error as error:
        place = f"{path}:{reader.line_num + 1}"
        raise TranscriptError([f"{place}: not a CSV row ({error}); close every quotation mark"]) from None


def _of_rows(path: Path, rows: Sequence[tuple[str, Any]]) -> Transcript:
    problems = [f"{place}: {problem}" for place, row in rows for problem in _row_problems(row)]
    if not rows:
        problems.append(f"{path}: found no turn; expected at least one")
    if problems:
        raise TranscriptError(problems)
    turns = tuple(Turn(row["client"], row.get("reasoning") or "", row["therapist"]) for _, row in rows)
    silent = [i for i, turn in enumerate(turns, start=1) if not turn.therapist.strip()]
    return Transcript(
        path.name, turns, tuple(f"turn {i}: the therapist says nothing; judged as an empty reply" for i in silent)
    )


def _row_problems(row: Any) -> Iterator[str]:
    if not isinstance(row, dict):
        yield f'found {repr(row)[:60]}; expected {{"client", "therapist", "reasoning"?}}'
        return
    if any(cell.strip() for cell in row.get(None, ())):  # where csv puts cells that have no column
        yield f"found {len(row[None])} cells too many; put a text that holds a comma in quotation marks"
    for name in _FIELDS:
        found = row.get(name)
        if name == "reasoning" and found is None:
            continue
        if not isinstance(found, str):
            yield f"{name}: found {'nothing' if found is None else repr(found)[:60]}; expected text"
        elif wrong := _unwritable(found):
            yield f"{name}: {wrong}"
        elif name == "client" and not found.strip():
            yield "client: found no words; expected what the client said; where the therapist spoke on, add it to the turn before"


def _unwritable(text: str) -> str:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"found half a character (a lone surrogate) at {error.start}; expected whole Unicode text"
    return ""


def _of_lines(path: Path, text: str) -> Transcript:
    """Turns from speeches; those that nobody answers or that answer nobody are left out. Raises TranscriptError."""
    problems: list[str] = []
    turns: list[Turn] = []
    notes: list[str] = []
    said: dict[str, str] = {}  # by client and reasoning, since the therapist last spoke
    for number, speaker, words in _speeches(path, text, problems):
        if speaker != "therapist":
            if speaker in said:
                notes.append(f"line {number}: {speaker} again before the therapist speaks; joined to what stood before")
            said[speaker] = _joined(said.get(speaker, ""), words)
            continue
        thought = said.get("reasoning", "")
        what = "therapist, with reasoning," if thought else "therapist"
        if "client" in said:
            turns.append(Turn(said["client"], thought, words))
        elif turns:
            notes.append(f"line {number}: {what} again before the client speaks; joined to the reply before")
            last = turns[-1]
            turns[-1] = replace(
                last, reasoning=_joined(last.reasoning, thought), therapist=_joined(last.therapist, words)
            )
        else:
            notes.append(f"line {number}: {what} before any client; answers nobody, not judged")
        said = {}
    if said:
        notes.append(f"the last words ({' and '.join(said)}) have no reply; not judged")
    if not turns and not problems:
        problems.append(f"{path}: found no client whom a therapist answers; {_FORM}")
    if problems:
        raise TranscriptError(problems)
    return Transcript(path.name, tuple(turns), tuple(notes))


def _joined(before: str, words: str) -> str:
    return "\n".join(filter(None, (before, words)))


def _speeches(path: Path, text: str, problems: list[str]) -> list[tuple[int, str, str]]:
    """(line, speaker, words); lines without a speaker are joined to the speech before them."""
    found: list[tuple[int, str, str]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        label = _SPEAKER.match(line)
        speaker, words = (_NAMES.get(label[1].lower(), ""), label[2].strip()) if label else ("", line.strip())
        if label and not speaker:
            problems.append(f"{path}:{number}: found speaker {label[1]!r}; {_FORM}")
        elif speaker:
            found.append((number, speaker, words))
        elif found:
            found[-1] = (*found[-1][:2], f"{found[-1][2]} {words}".strip())
        elif words and not line.startswith(("#", "---")):
            problems.append(f"{path}:{number}: found {words[:60]!r} before anybody speaks; {_FORM}")
    problems += [f"{path}:{number}: {speaker}: found no words" for number, speaker, words in found if not words]
    return found
