"""Record an environment's turns as JSON lines, and read them back: one line a turn, the paper's 5-tuple with its numbers.

The schema of a line is `envs.turn_record.TurnRecord`. Most of a line is what moved which nodes (`moved` bounds it), the judges'
words, and every level and belief. A line is written whole or taken back, flushed at once, and made safe on the disk when a
session ends and on close().
"""

import json
import os
import re
import warnings
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
from pydantic import ValidationError

from client_graph.client import ClientGraph
from envs.session import SessionEnv
from envs.text import therapist_words
from envs.turn_record import TurnRecord, plain, turn_facts
from envs.types import Snapshot

MOST_TOLD = 20  # mistakes that one error prints
TORN = "the last line was torn (the writer was stopped in it) and is left out: {}"


class RecordingError(ValueError):
    """A recording that cannot be read or gone on with. `problems` lists every mistake, each with file:line."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        if count == 1:
            super().__init__(self.problems[0])
            return
        rest = [f"and {count - MOST_TOLD} more"] if count > MOST_TOLD else []
        head = f"{count} problems in the recording; no turn was read:"
        super().__init__("\n  - ".join((head, *self.problems[:MOST_TOLD], *rest)))


@dataclass(frozen=True)
class Recording:
    """The turns of a file in file order; `torn` says so where its last line was not whole."""

    turns: tuple[TurnRecord, ...]
    torn: str | None = None


class RecordTurns(gym.Wrapper[Any, Any, Any, Any], gym.utils.RecordConstructorArgs):
    """Writes every turn that is stepped through this wrapper to `path`; the environment behaves as without it.

    Args:
        env: icarus/Session-v0 or icarus/Treatment-v0 as gymnasium.make returns it: this wrapper goes innermost, those that
            change actions, observations or rewards outside it. One file for one environment. Raises TypeError for another
            environment, in which nothing is said.
        path: the file; its folder is made. Raises RecordingError where it holds turns already, unless `append`.
        moved: how many nodes of a turn are told with what moved them; the largest bound on a line's size.
        append: go on with a file, numbering treatments on from its last.
    """

    def __init__(self, env: gym.Env[Any, Any], path: Path | str, moved: int = 12, append: bool = False) -> None:
        gym.utils.RecordConstructorArgs.__init__(self, path=str(path), moved=moved, append=append)
        gym.Wrapper.__init__(self, env)
        if not isinstance(env.unwrapped, SessionEnv):
            raise TypeError(
                f"found {env.unwrapped}, which has no dialogue to record; expected icarus/Session-v0 or icarus/Treatment-v0"
            )
        if moved < 0:
            raise ValueError(f"found moved {moved}; expected 0 or more nodes")
        self.path, self.moved = Path(path), moved
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._treatment = _last_treatment(self.path, append)
        self._heard: tuple[Any, str, str | None] | None = None  # the client's state, words and reasoning, as last seen

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """As the environment's; a reset without `same_client` begins the next treatment of the recording."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._treatment += not (options or {}).get("same_client", False)
        self._hear(observation, info)
        return observation, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """As the environment's; the turn is in the file when this returns.

        A step that raises is no turn, also where the disk is full or Ctrl-C comes: the client stands where they stood and
        the file ends where it ended. Only a wrapper that counts steps beneath this one, such as TimeLimit, has counted it.
        """
        inner: Any = self.unwrapped
        before: ClientGraph = inner.client_view  # refused before reset, as the step itself would be
        mark, size = inner.snapshot(), _size(self.path)
        try:
            observation, reward, terminated, truncated, info = self.env.step(action)
            facts = turn_facts(
                before, before.after(info["scores"]), observation, info, inner.reward_settings, self.moved
            )
            reasoning, utterance = therapist_words(action, inner.action_space)
            record = (
                facts
                | self._said_before(before, mark)
                | {
                    "treatment": self._treatment,
                    "session": int(before.state.session[0]) + 1,
                    "turn": int(before.state.turn[0]) + 1,
                    "person": asdict(mark.session.person),
                    "therapist_reasoning": reasoning,
                    "therapist": utterance,
                    "reward": float(reward),
                }
            )
            _append(self.path, _line(TurnRecord(**plain(record))), safely=facts["after"]["ending"] is not None)
        except BaseException:
            if not inner.client_view.state.same_as(before.state):
                inner.restore(mark)
            if _size(self.path) > size:
                os.truncate(self.path, size)
            raise
        self._hear(observation, info)
        return observation, reward, terminated, truncated, info

    def close(self) -> None:
        """Make the recording safe on the disk, and close the environment."""
        if self.path.exists():
            with open(self.path, "rb") as file:
                os.fsync(file.fileno())
        super().close()

    def _hear(self, observation: Any, info: dict[str, Any]) -> None:
        inner: Any = self.unwrapped
        self._heard = inner.client_view.state, str(observation["client"]), info["client_reasoning"]

    def _said_before(self, before: ClientGraph, mark: Snapshot) -> dict[str, str | None]:
        """What is being answered; from the session itself where it was restored beneath this wrapper."""
        if self._heard is not None and self._heard[0].same_as(before.state):
            return {"client": self._heard[1], "client_reasoning": self._heard[2]}
        return {"client": mark.session.words, "client_reasoning": mark.session.reasoning}


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _append(path: Path, line: bytes, safely: bool) -> None:
    """Add `line` without a buffer, which would be written when the file is closed, whatever had happened."""
    with open(path, "ab", buffering=0) as file:
        rest = memoryview(line)
        while rest:  # on a disk that fills, part of a line is written before the rest is refused
            rest = rest[file.write(rest) :]
        if safely:
            os.fsync(file.fileno())


def read_recording(path: Path | str) -> Recording:
    """The turns of a recording. Raises RecordingError with every mistake of the file, OSError where it cannot be read.

    A last line without its end is what a stopped writer leaves: it is left out, and `torn` says so.
    """
    data = Path(path).read_bytes()
    *lines, last = data.split(b"\n")
    problems: list[str] = []
    turns = [_turn(line, f"{path}:{number}", problems) for number, line in enumerate(lines, start=1)]
    if not data:
        problems.append(f"{path}: found an empty file; expected a turn a line")
    if problems:
        raise RecordingError(problems)
    torn = TORN.format(f"{path}:{len(lines) + 1}, {len(last)} bytes") if last else None
    return Recording(tuple(turn for turn in turns if turn is not None), torn)


def read_turns(path: Path | str) -> tuple[TurnRecord, ...]:
    """The turns of a recording; as `read_recording`, with a warning where the last line was torn."""
    found = read_recording(path)
    if found.torn:
        warnings.warn(found.torn, stacklevel=2)
    return found.turns


def dapt_sessions(turns: Iterable[TurnRecord], chains: str = "\n\n") -> list[dict[str, Any]]:
    """The sessions as dapt's JSON, for agents.lm.five_tuple.Session.model_validate: domain-adaptive training on what was played.

    dapt's turn has two chains of therapist's reasoning, Γ and then Ω (paper 240); a reasoning is parted at the first
    `chains`. Raises RecordingError naming every turn that lacks a component: nothing is made up.
    """
    sessions: dict[str, dict[str, Any]] = {}
    problems: list[str] = []
    for turn in turns:
        name = f"treatment {turn.treatment}, session {turn.session}"
        gco, _, omo = (part.strip() for part in turn.therapist_reasoning.partition(chains))
        model = turn.therapist_model and _in_words(turn.therapist_model.beliefs)
        parts = {
            "client's reasoning": turn.client_reasoning, "client's words": turn.client, "therapist's model": model,
            "first chain of the therapist's reasoning": gco, "second chain of the therapist's reasoning": omo,
            "therapist's words": turn.therapist,
        }  # fmt: skip
        problems += [
            f"{name}, turn {turn.turn}: found no {part}; dapt's turn has it"
            for part, text in parts.items()
            if not (text or "").strip()
        ]
        session = sessions.setdefault(
            name,
            {
                "id": name, "turns": [], "session_number": turn.session, "session_phases": [],
                "treatment_stage": (turn.before or turn.after).stage, "attachment_strategy": turn.person["strategy"],
            },
        )  # fmt: skip
        session["session_phases"].append((turn.before or turn.after).phase)
        session["turns"].append(
            {
                "client_reasoning": turn.client_reasoning, "client_utterance": turn.client, "therapist_model": model,
                "therapist_reasoning": {"gco": gco, "omo": omo}, "therapist_utterance": turn.therapist,
            }
        )  # fmt: skip
    if problems:
        raise RecordingError(problems)
    return list(sessions.values())


def _in_words(beliefs: dict[str, float | None], count: int = 12) -> str:
    """The beliefs that lie farthest from the middle of the scale, in words: what the therapist thinks stands out."""
    known = [(name, value) for name, value in beliefs.items() if value is not None]
    most = sorted(known, key=lambda pair: -abs(pair[1] - 5.0))[:count]
    return (
        "The therapist believes: "
        + ", ".join(f"{name.replace('_', ' ')} {value:.1f} of 10" for name, value in most)
        + "."
    )


def _line(record: TurnRecord) -> bytes:
    value = record.model_dump(mode="python")
    try:
        return (json.dumps(value, allow_nan=False, ensure_ascii=False) + "\n").encode()
    except UnicodeEncodeError:  # half a character from a client's or judge's own code: JSON can escape it, UTF-8 cannot
        return (json.dumps(value, allow_nan=False) + "\n").encode()


def _turn(line: bytes, place: str, problems: list[str]) -> TurnRecord | None:
    try:
        return TurnRecord.model_validate(json.loads(line))
    except ValidationError as error:
        problems += [f"{place}: {mistake(dict(found))}" for found in error.errors()]
    except (ValueError, RecursionError) as error:
        problems.append(f"{place}: found no JSON object ({str(error)[:80]}); expected a turn: cut the line out")
    return None


def mistake(error: dict[str, Any]) -> str:
    """One of pydantic's errors as: field, what was found, what was expected."""
    field = ".".join(str(part) for part in error["loc"]) or "the line"
    if error["type"] == "missing":
        return f"{field}: missing; expected this key"
    if error["type"] == "extra_forbidden":
        return f"{field}: unknown key; remove it or correct its spelling"
    return f"{field}: found {repr(error['input'])[:60]}; {error['msg']}"


def _last_treatment(path: Path, append: bool) -> int:
    """How many treatments a file holds. Raises RecordingError where it may not, or cannot, be gone on with."""
    if not path.exists() or path.stat().st_size == 0:
        return 0
    if not append:
        raise RecordingError([f"{path}: holds turns already; name a new file, or go on with it by append=True"])
    data = path.read_bytes()
    if not data.endswith(b"\n"):
        raise RecordingError([f"{path}: its last line was torn; remove that line before the recording goes on"])
    found = re.findall(rb'"treatment": (\d+)', data)
    if not found:
        raise RecordingError([f"{path}: found lines without a treatment; expected a recording of RecordTurns"])
    return max(int(number) for number in found)
