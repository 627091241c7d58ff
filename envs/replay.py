"""One HTML file of a run: the dialogue beside phase, reservoirs, axes, reward and what moved. It needs no network.

The parts lie in configs/envs/replay: page.html, style.css, page.js. Each session is packed by itself (JSON, gzip, base64) and
is unpacked when it is opened, so that a run of thousands of turns opens as quickly as one session; words that were said never
become markup, and are there as plain text for a reader without scripts. A content-security policy lets the page load nothing
and run nothing else.
"""

import base64
import gzip
import hashlib
import html
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template
from typing import Any

from client_graph.files import write_whole
from client_graph.names import CONFIGS, DIMENSIONS, PHASE_NAMES, PHASES, STAGE_NAMES
from envs.replay_source import read_replay, sessions_of
from envs.turn_record import BucketTrace, Judged, Moved, TurnRecord, View

PARTS = CONFIGS / "envs" / "replay"
NODES = 8  # moved nodes of a turn that the page tells
DIGITS = 4  # decimals that the page keeps
_LEFT_OUT = {
    "person",
    "form",
    "treatment",
    "session",
    "therapist_model",
    "before",
    "after",
    "judgement",
    "moved",
    "trace",
}


def write_replay(run: Path | str, page: Path | str) -> None:
    """Write the page of a recording or of a training run's folder, whole or not at all.

    Raises RecordingError where `run` holds something else or cannot be read, OSError where `page` cannot be written.
    """
    found = read_replay(run)
    write_whole(Path(page), replay_page(found.turns, found.notes).encode())


def replay_page(turns: Sequence[TurnRecord], notes: Iterable[str] = (), title: str | None = None) -> str:
    """The page, as text that UTF-8 can hold. `notes` are told at its top. Raises ValueError where there is no turn."""
    if not turns:
        raise ValueError("found no turn; expected at least one to make a page of")
    sessions = sessions_of(turns)
    contents = {
        "dimensions": DIMENSIONS,
        "phases": dict(zip(PHASES, PHASE_NAMES, strict=True)),
        "stages": STAGE_NAMES,
        "notes": list(notes),
        "sessions": [_heading(session) | {"packed": _pack([_turn(turn) for turn in session])} for session in sessions],
    }
    style, script = _part("style.css"), _part("page.js")
    return Template(_part("page.html")).substitute(
        title=_as_html(title or _title(sessions)),
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
        dialogue="\n".join(_said(session) for session in sessions),
        contents=_json_in_html(contents),
    )


def _title(sessions: list[list[TurnRecord]]) -> str:
    names = list(dict.fromkeys(turn.person["name"] for session in sessions for turn in session[:1]))
    who = names[0] if len(names) == 1 else f"{len(names)} clients"
    return f"Icarus replay: {who}, {len(sessions)} session{'s' if len(sessions) > 1 else ''}"


def _said(session: list[TurnRecord]) -> str:
    """What was said in a session, for a reader without scripts: a few hundredths of the page."""
    last = session[-1]
    words = [line for turn in session for line in ((turn.person["name"], turn.client), ("Therapist", turn.therapist))]
    words.append((last.person["name"], last.after.client))
    title = f"{last.person['name']}, treatment {last.treatment}, session {last.session}"
    title += f", from turn {session[0].turn}" if session[0].turn > 1 else ""
    said = (f"<p><b>{_as_html(who)}</b> {_as_html(text) or '(says nothing)'}</p>" for who, text in words)
    return "\n".join((f"<h2>{_as_html(title)}</h2>", *said))


def _as_html(text: str) -> str:
    return html.escape(_plain_text(text))


def _heading(session: list[TurnRecord]) -> dict[str, Any]:
    """What the page shows of a session before it is opened: who, how it ended, and the curves of its course."""
    first, last = session[0], session[-1]
    return _short(
        {
            "person": first.person,
            "treatment": first.treatment,
            "session": first.session,
            "stage": (first.before or first.after).stage,
            "turns": [turn.turn for turn in session],
            "ending": last.after.ending,
            "treatment_ending": last.after.treatment_ending,
            "stage_step": last.after.stage_step,
            "phase": [turn.after.phase for turn in session],
            "alliance": [turn.after.alliance for turn in session],
            "coiling": [turn.after.coiling for turn in session],
            "reward": [turn.reward for turn in session],
        }
    )


def _turn(turn: TurnRecord) -> dict[str, Any]:
    """A turn as the page reads it: everything but the hundred nodes that did not stand out."""
    told = turn.model_dump(exclude=_LEFT_OUT)
    told["before"] = turn.before and turn.before.model_dump(exclude={"levels"})
    told["after"] = turn.after.model_dump(exclude={"levels", "session_measures"})
    told["judgement"] = _judged(turn.judgement)
    told["misread"] = turn.therapist_model and [
        list(m.model_dump().values()) for m in turn.therapist_model.worst_misread
    ]
    told["moved"] = [_moved(node) for node in turn.moved[:NODES]] if turn.moved is not None else _differing(turn)
    told["traced"] = turn.moved is not None
    told["trace"] = turn.trace and turn.trace.model_dump(exclude={"buckets"}) | {
        "buckets": {name: _bucket(found) for name, found in turn.trace.buckets.items()}
    }
    return dict(_short(told))


def _judged(judged: Judged) -> dict[str, Any]:
    return judged.model_dump(exclude={"kind", "harsh"}) | {"kind": _view(judged.kind), "harsh": _view(judged.harsh)}


def _view(view: View) -> dict[str, Any]:
    return view.model_dump() | {
        "scores": [view.scores.get(name) for name in DIMENSIONS],
        "reasons": [view.reasons.get(name) for name in DIMENSIONS],
    }


def _moved(node: Moved) -> dict[str, Any]:
    causes = [list(cause.model_dump().values()) for cause in node.causes or ()]
    return node.model_dump(exclude={"causes"}) | {"causes": causes}


def _bucket(found: BucketTrace) -> list[Any]:
    return [found.parts, found.clipped, found.phase_points]


def _differing(turn: TurnRecord) -> list[dict[str, Any]] | None:
    """The nodes that moved most, from the levels alone; None where the turn before is not known."""
    levels = (turn.before.levels if turn.before else None), turn.after.levels
    if levels[0] is None or levels[1] is None:
        return None
    pairs = {name: (was, levels[1].get(name)) for name, was in levels[0].items()}
    known = {
        name: (was, now) for name, (was, now) in pairs.items() if was is not None and now is not None and was != now
    }
    most = sorted(known, key=lambda name: -abs(known[name][1] - known[name][0]))[:NODES]
    return [{"node": name, "before": known[name][0], "after": known[name][1]} for name in most]


def _short(value: Any) -> Any:
    """Numbers at the page's precision, which is finer than it prints."""
    if isinstance(value, float):
        return round(value, DIGITS) + 0.0
    if isinstance(value, dict):
        return {key: _short(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_short(inner) for inner in value]
    return value


def _pack(value: Any) -> str:
    data = json.dumps(value, allow_nan=False, separators=(",", ":"))  # ASCII: half a character stays an escape
    return base64.b64encode(gzip.compress(data.encode(), mtime=0)).decode()


def _json_in_html(value: Any) -> str:
    """JSON that no HTML parser can take for markup: < > & are escapes, and everything is ASCII."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _plain_text(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _part(name: str) -> str:
    return (PARTS / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"
