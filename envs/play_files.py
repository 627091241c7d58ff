"""What a game of `envs.play` leaves on the disk: a transcript as JSON lines, and the game itself, to be gone on with."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from client_graph.client import ClientGraph
from client_graph.files import write_whole
from envs import snapshot as env_snapshot
from envs.turn_record import TurnRecord, plain, turn_facts
from envs.types import Snapshot
from judges.protocol import Assessment, Judgement, Violation
from rewards.settings import RewardSettings

FORM = "icarus-play-1"
_MOVED = 12  # nodes of a turn that the transcript tells with what moved them
_KEYS = {"form", "catalog", "made_of", "start", "now", "turns", "first", "unsaid", "ending"}


class SavedGameError(ValueError):
    """A saved game that cannot be gone on with: what was found, and what to do."""


@dataclass(frozen=True)
class Played:
    """One turn of a game, as it is told afterwards."""

    client: str
    therapist: str
    judgement: Judgement
    composite: float  # the stage composite: weighted for the stage, in [0, 10]
    reward: float
    parts: dict[str, float]  # of the reward, by name
    record: dict[str, Any]  # envs.turn_record.TurnRecord


def record_of(
    before: ClientGraph,
    client: tuple[str, str | None],
    therapist: tuple[str, str],
    step: tuple[Mapping[str, Any], float, Mapping[str, Any]],
    reward_settings: RewardSettings,
) -> dict[str, Any]:
    """The transcript's line of a turn. client, therapist: (words, reasoning). step: (observation, reward, info)."""
    observation, reward, info = step
    assert before.person is not None
    facts = turn_facts(before, before.after(info["scores"]), observation, info, reward_settings, _MOVED)
    words = {
        "client": client[0],
        "client_reasoning": client[1],
        "therapist": therapist[0],
        "therapist_reasoning": therapist[1],
    }
    place = {"treatment": 1, "session": int(before.state.session[0]) + 1, "turn": int(before.state.turn[0]) + 1}
    record = TurnRecord(**plain(facts | words | place | {"person": asdict(before.person), "reward": reward}))
    line: dict[str, Any] = json.loads(
        json.dumps(record.model_dump(), allow_nan=False)
    )  # as it comes back from the disk
    return line


def files_of(name: Path | str) -> tuple[Path, Path]:
    """(transcript, saved game) of the name a player gave: talk, talk.jsonl or talk.json are one name."""
    path = Path(name).expanduser()
    stem = path.with_suffix("") if path.suffix in (".json", ".jsonl") else path
    return stem.with_name(stem.name + ".jsonl"), stem.with_name(stem.name + ".json")


def write_game(name: Path | str, turns: tuple[Played, ...], game: dict[str, Any]) -> tuple[Path, Path]:
    """Write both files, each whole or not at all. Raises OSError."""
    transcript, saved = files_of(name)
    transcript.parent.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(turn.record, allow_nan=False, ensure_ascii=False) + "\n" for turn in turns)
    write_whole(transcript, "".join(lines).encode("utf-8", "backslashreplace"))
    write_whole(saved, json.dumps(game, allow_nan=False, ensure_ascii=False).encode("utf-8", "backslashreplace"))
    return transcript, saved


def game_of(
    *, start: Snapshot, now: Snapshot, turns: tuple[Played, ...], first: int, unsaid: str | None, ending: str | None,
    catalog: str, made_of: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """A game as JSON values. first: where the present session begins in `turns`; catalog: the tables' SHA-256.

    unsaid: what goes with the client's latest words; made_of: what the environment was made with, for whoever makes it again.
    """
    return {
        "form": FORM, "catalog": catalog, "made_of": made_of, "start": env_snapshot.to_json(start),
        "now": env_snapshot.to_json(now), "turns": [asdict_of(turn) for turn in turns], "first": first, "unsaid": unsaid,
        "ending": ending,
    }  # fmt: skip


def read_game(name: Path | str) -> dict[str, Any]:
    """The saved game of `name` (the .json beside a transcript). Raises SavedGameError."""
    path = files_of(name)[1]
    try:
        game = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SavedGameError(
            f"{path}: could not be read ({error.strerror}); expected a saved game: name one that /save or --save wrote"
        ) from error
    except ValueError as error:
        raise SavedGameError(f"{path}: found no JSON ({str(error)[:80]}); expected a game that /save wrote") from error
    if not isinstance(game, dict) or game.get("form") != FORM or set(game) != _KEYS:
        found = sorted(game) if isinstance(game, dict) else type(game).__name__
        raise SavedGameError(f"{path}: found {str(found)[:120]}; expected a game that /save wrote, of form {FORM}")
    return game


def asdict_of(turn: Played) -> dict[str, Any]:
    """A turn as JSON values, its scores to the bit."""
    views = {"kind": turn.judgement.kind, "harsh": turn.judgement.harsh}
    judged: dict[str, Any] = {
        who: {
            "scores": view.scores.tolist(), "reasons": view.reasons, "narrative": view.narrative,
            "critical_moments": view.critical_moments, "recommendations": view.recommendations,
        }
        for who, view in views.items()
    }  # fmt: skip
    names = ("client", "therapist", "composite", "reward", "parts", "record")
    found = turn.judgement
    judged |= {
        "violations": [asdict(each) for each in found.violations],
        "error": None if found.error is None else found.error.tolist(),
        "digit_mass": None if found.digit_mass is None else found.digit_mass.tolist(),
    }
    return {name: getattr(turn, name) for name in names} | {"judgement": judged}


def played_of(saved: dict[str, Any]) -> Played:
    """The turn that `asdict_of` wrote, or that it wrote before there was a screen."""
    told = saved["judgement"]
    views = {who: Assessment(**told[who]) for who in ("kind", "harsh")}
    found = tuple(Violation(**each) for each in told.get("violations", ()))
    judgement = Judgement(**views, violations=found, error=told.get("error"), digit_mass=told.get("digit_mass"))
    return Played(**{**saved, "judgement": judgement})
