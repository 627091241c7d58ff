"""A client as a calm page of text for a terminal: plain characters, 96 columns, no colour and no control codes."""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from rich.cells import cell_len, chop_cells, set_cell_size

from client_graph.client import ClientGraph
from client_graph.explain import Part
from client_graph.graph import tightness
from client_graph.names import DIMENSIONS, PHASE_NAMES, PHASES, STAGE_NAMES
from client_graph.personhood import Person
from judges.protocol import Turn

COLUMNS = 96
_NAME = 26  # columns of a name in the wide tables
_BAR = 20
_EXCHANGES = 2  # of the talk, before the client's latest words
NOTICE = "Icarus · a simulated client · research software, not for clinical use"


def dashboard(view: ClientGraph, person: Person, history: tuple[Turn, ...], words: str) -> str:
    """Who, where in treatment, how full the reservoirs are, what the last turn moved and why, the last exchanges.

    Without `history` and `words`, as in a numeric environment, the talk is left out. Lines are at most 96 columns wide.
    """
    return _page([*_standing(view, person), *_client(view), *_talk(history, words)])


def skills_dashboard(view: ClientGraph, scores: Sequence[float] | None, emphasis: Sequence[float] | None) -> str:
    """The same for a client that says nothing, with what the therapist stressed and the scores that came of it.

    scores: (12,) in [0, 10], or None before the first turn. emphasis: (12,) >= 0 in any unit, or None.
    """
    return _page([*_standing(view, view.person), *_skills(scores, emphasis), *_client(view)])


@dataclass(frozen=True)
class Moved:
    """A node that the last turn moved."""

    name: str
    before: float  # level, in [0, 10]
    after: float
    toward_health: float  # level points nearer to health; negative: further from it
    largest: (
        Part | None
    )  # the judge's dimension, edge or bucket that did most; None where the turn is not known in parts


def most_moved(view: ClientGraph, count: int) -> list[Moved]:
    """The `count` nodes that the last turn moved most, largest first; fewer where fewer moved."""
    if view.before is None:
        return []
    levels = [np.ascontiguousarray(state.levels[view.index]) for state in (view.before, view.state)]
    tight = [tightness(of, view.catalog.tables) for of in levels]
    found = []
    for n in np.argsort(-np.abs(levels[1] - levels[0]), kind="stable")[:count]:
        row, before, after = view.catalog.nodes[n], float(levels[0][n]), float(levels[1][n])
        if before != after:
            reach = 5.0 if row.direction == "bipolar" else 10.0
            nearer = float(tight[0][n] - tight[1][n]) * reach
            found.append(Moved(row.name, before, after, nearer, _largest_part(view, row.name)))
    return found


def _largest_part(view: ClientGraph, node: str) -> Part | None:
    if view.scores is None or view.report is None:
        return None
    return max(view.explain(node).parts, key=lambda part: abs(part.contribution), default=None)


def said_by(part: Part) -> str:
    """What a part is, in a few words."""
    source = plain(part.source)
    return (
        f"reservoir {source}"
        if part.type == "bucket"
        else source
        if part.type == "direct"
        else f"{source} ({part.type})"
    )


def bar(share: float, width: int = _BAR) -> str:
    """A bar for a number in [0, 1]."""
    filled = round(min(1.0, max(0.0, share)) * width)
    return "█" * filled + "·" * (width - filled)


def plain(name: str) -> str:
    """A name of the tables as people write it."""
    return name.replace("_", " ")


def printable(text: str) -> str:
    """`text` without what a terminal would obey: control characters, lone surrogates and marks that turn the writing round."""
    return "".join(" " if c == "\t" else c if c == "\n" or _shown(c) else "�" for c in text)


def _shown(character: str) -> bool:
    turns_round = "\u202a" <= character <= "\u202e" or "\u2066" <= character <= "\u2069"
    return unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp") and not turns_round


def wrapped(text: str, width: int) -> list[str]:
    """Lines of at most `width` columns; a word that is longer is broken. Wide characters count as two columns."""
    lines = [""]
    for i, paragraph in enumerate(printable(text).split("\n")):
        if i:
            lines.append("")
        for word in paragraph.split():
            joined = f"{lines[-1]} {word}" if lines[-1] else word
            if cell_len(joined) <= width:
                lines[-1] = joined
                continue
            pieces = chop_cells(word, width)
            lines = [*lines, *pieces] if lines[-1] else [*lines[:-1], *pieces]
    return lines


def labelled(label: str, text: str, width: int = COLUMNS) -> list[str]:
    """`text` beside a label of 11 columns, wrapped under itself."""
    return [f"{label if i == 0 else '':<11}{line}".rstrip() for i, line in enumerate(wrapped(text, width - 11))]


def _page(lines: Sequence[str]) -> str:
    return "\n".join(line.rstrip() for line in lines)


def _cell(text: str, width: int) -> str:
    return set_cell_size(text, width)


def _rule(title: str, remark: str = "") -> str:
    left, right = f"── {title} ", f" {remark} ──" if remark else ""
    return left + "─" * (COLUMNS - cell_len(left) - cell_len(right)) + right


def _standing(view: ClientGraph, person: Person | None) -> Iterator[str]:
    """Who, and where in treatment."""
    session, turn = int(view.state.session[view.index]) + 1, int(view.state.turn[view.index])
    yield NOTICE
    yield "─" * COLUMNS
    who = f"client {view.index + 1} of {view.state.clients}"
    if person is not None:
        who = f"{person.name} · {plain(person.concern)} · attachment {person.strategy}"
    where = f"session {session} · turn {turn}"
    yield _cell(printable(who), COLUMNS - len(where)) + where
    yield f"stage {view.stage} {STAGE_NAMES[view.stage - 1]} · asks for {plain(view.stance)}"
    yield ""
    yield from _phase_lines(view)
    for name, value, meaning in (
        ("coiling", view.coiling, "distance from health"),
        ("alliance", view.alliance, "bond, goals and tasks shared"),
        ("attunement", view.attunement, "how true the therapist's picture is"),
    ):
        yield f"{name:<12}{bar(value, 30)} {value:6.3f}  {meaning}"


def _phase_lines(view: ClientGraph) -> Iterator[str]:
    names = [f"[{letter} {name}]" if letter == view.phase else f"{letter} {name}"
             for letter, name in zip(PHASES, PHASE_NAMES, strict=True)]  # fmt: skip
    yield f"{'phase':<11}{' ── '.join(names)}"
    if view.report is not None:
        yield f"{'':<11}{_phase_score(view)}"


def _phase_score(view: ClientGraph) -> str:
    """The score that the last turn held against the thresholds, and what came of it."""
    assert view.report is not None
    told = f"score {float(view.report.phase_score[view.index]):+.2f}"
    step = int(view.report.phase_step[view.index])
    if step:
        told += ": one phase deeper" if step > 0 else ": one phase back"
    else:
        ahead = [
            row.threshold
            for row in view.catalog.rows["phase_thresholds"]
            if (row.stage, row.phase_from) == (view.stage, view.phase) and row.phase_to > view.phase
        ]
        told += f", the next phase opens at {ahead[0]:+.2f}" if ahead else ""
    return told + (" · a rupture" if view.report.rupture[view.index] else "")


def _client(view: ClientGraph) -> Iterator[str]:
    yield ""
    yield from _reservoirs(view)
    yield ""
    yield from _axes(view)
    yield ""
    yield from _what_moved(view)


def _reservoirs(view: ClientGraph) -> Iterator[str]:
    """Two columns by kind; `change` is the last turn's."""
    kinds: dict[str, list[str]] = {"maladaptive": [], "adaptive": []}
    moved = view.report.buckets[view.index] if view.report is not None else np.zeros(len(view.buckets))
    adaptive_that_falls = [row.name for row in view.catalog.rows["buckets"] if row.kind == "adaptive" and row.falls]
    for row, level, change in zip(view.catalog.rows["buckets"], view.buckets.values(), moved, strict=True):
        mark = "*" if row.name in adaptive_that_falls else ""
        kinds[row.kind].append(f"{_cell(plain(row.name) + mark, 16)}{bar(level, 14)} {level:.2f} {_change(change, 3)}")
    yield _rule("reservoirs, 0 to 1")
    yield f"{'maladaptive: down is better':<50}adaptive: up is better"
    for left, right in zip_longest(kinds["maladaptive"], kinds["adaptive"], fillvalue=""):
        yield f"{_cell(left, 50)}{right}"
    if adaptive_that_falls:
        yield f"{'':<50}* listed as adaptive; down is better"


def _change(value: float, digits: int) -> str:
    """A signed change, empty where it rounds to nothing."""
    told = f"{value:+.{digits}f}"
    return told if float(told) != 0.0 else ""


def _axes(view: ClientGraph) -> Iterator[str]:
    """Each axis in [-10, 10], 0 in the middle, toward which change is healing (paper 373); the poles in the table's words."""
    yield _rule("axes, -10 to 10", "0 is health")
    for row in view.catalog.rows["axes"]:
        value = view.axes[row.name]
        place = round((min(10.0, max(-10.0, value)) + 10.0) / 20.0 * 40)
        line = ["─"] * 41
        line[20] = "┼"
        line[place] = "●"
        yield f"{_cell(plain(row.name), _NAME)}{''.join(line)}  {value:+.2f}"
        yield from (f"{'':<4}{line}" for line in wrapped(f"{row.low} ↔ {row.high}", COLUMNS - 4))


def _what_moved(view: ClientGraph) -> Iterator[str]:
    moved = most_moved(view, 6)
    yield _rule("what the last turn moved, in level points", "▲ toward health  ▼ away" if moved else "")
    if not moved:
        yield (
            "nothing yet: no turn has been taken"
            if view.before is None
            else "no level: nothing helped and nothing harmed"
        )
    for one in moved:
        mark = "▲" if one.toward_health > 0 else "▼" if one.toward_health < 0 else "·"
        levels = f"{one.before:5.2f} → {one.after:5.2f}  {mark} {one.after - one.before:+.3f}"
        why = ""
        if one.largest is not None:
            why = f"   most by {said_by(one.largest)} {one.largest.contribution:+.3f}"
        yield _cell(f"{_cell(plain(one.name), _NAME + 2)}{levels}{why}", COLUMNS)


def _skills(scores: Sequence[float] | None, emphasis: Sequence[float] | None) -> Iterator[str]:
    yield ""
    yield _rule("what the therapist stressed, and the scores that came of it")
    if scores is None and emphasis is None:
        yield "nothing yet: no turn has been taken"
        return
    most = max((float(value) for value in emphasis), default=0.0) if emphasis is not None else 0.0
    for d, name in enumerate(DIMENSIONS):
        stressed = (
            f"{bar(emphasis[d] / most if most > 0 else 0.0, 16)} {emphasis[d]:6.2f}" if emphasis is not None else ""
        )
        scored = f"{bar(scores[d] / 10.0, 16)} {scores[d]:5.2f} {_bearing(scores[d])}" if scores is not None else ""
        yield f"{plain(name):<20}{stressed:<28}{scored}"


def _bearing(score: float) -> str:
    return "helps" if score > 6.5 else "harms" if score < 3.5 else ""


def _talk(history: tuple[Turn, ...], words: str) -> Iterator[str]:
    if not history and not words:
        return
    yield ""
    yield _rule("the last words")
    for turn in history[-_EXCHANGES:]:
        yield from labelled("client", turn.client or "(says nothing)")
        yield from labelled("therapist", turn.therapist or "(says nothing)")
    yield from labelled("client", words or "(says nothing)")
