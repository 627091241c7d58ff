"""What a game of `envs.play` says, as lines of text: the beginning, why a turn came out so, a trial, the end."""

import difflib
from collections.abc import Iterator, Sequence

import numpy as np

from client_graph.client import ClientGraph
from client_graph.names import DIMENSIONS, PHASE_NAMES, PHASES, STAGE_NAMES
from client_graph.personhood import Person
from envs.play_files import Played
from envs.rendering import COLUMNS, Moved, bar, labelled, most_moved, plain, said_by, wrapped
from envs.trace import composite_trace
from envs.types import Outcome
from judges.assessment.session import summarise_scores
from judges.protocol import Violation
from rewards.sentence import reward_sentence

HARMS, HELPS = 3.5, 6.5  # scores below harm and above help (paper 349); between them nothing is asked of anybody

NOTICE = """\
Icarus is research software: a simulator of a client in treatment. It is not for clinical use, and nobody is treated here. \
The client is invented, and the scores are a program's reading of words, not a measure of you. If something here stirs up \
what is yours, stop and talk to somebody you trust. In distress or danger call your local emergency number or a crisis line: \
findahelpline.com lists them by country."""

# What the offline client and judge cannot do, by their names; a model's need no such warning here.
LIMITS = {
    "authored": "The offline client's lines are chosen by how your reply was judged to land, not by what you asked or said.",
    "embedding": "The offline judge is a floor: it tells decent replies from poor ones, and is often wrong about a single one.",
}

HELP = (
    ("(any words)", "what you say to the client; end a line with \\ to go on in the next one"),
    ("<think>…</think>", "before the words: your own thinking, which the judge reads and the client does not hear"),
    ("/silent", "say nothing, on purpose; the offline judge gives that 0 of 10, which harms"),
    ("/who", "the letter of referral"),
    ("/hint", "what the stage and the phase ask of a therapist"),
    ("/try TEXT", "what TEXT would do, without saying it; again with other words, and the two are compared"),
    ("/why", "where the last turn's reward came from, and the judge's words"),
    ("/why NAME", "the same for one node, such as /why shame core, or one dimension, such as /why pacing"),
    ("/state", "the truth about the client, which no therapist sees"),
    ("/undo", "back one turn, as often as you like"),
    ("/next", "after the end: the same client's next session"),
    ("/save [FILE]", "keep the transcript (FILE.jsonl) and the game (FILE.json; icarus play --resume FILE goes on)"),
    ("/quit", "leave; Ctrl-D does the same"),
)


def limits_of(client: str, judge: str) -> str:
    """What the player has to know of the voice and the judge of these names, in a sentence each; "" where nothing."""
    return " ".join(LIMITS[name] for name in (client, judge) if name in LIMITS)


def opening_lines(person: Person, view: ClientGraph, turns: int | None) -> Iterator[str]:
    """Who comes in, as far as a therapist is told beforehand."""
    session = int(view.state.session[view.index]) + 1
    yield ""
    told = f"{person.name} comes back for session {session}."
    if session == 1:
        told = f"You are the therapist. {person.name} comes to you: {plain(person.concern)}. {person.history}"
    told += f" Treatment is at stage {view.stage} of 4 ({STAGE_NAMES[view.stage - 1]})."
    told += f" There is time for {turns} turns." if turns else ""
    yield from wrapped(told, COLUMNS)
    yield "Type what you would say. /help lists the commands."


def help_lines() -> Iterator[str]:
    for command, meaning in HELP:
        yield f"  {command:<18}{meaning}"


def turn_line(played: Played, turn: int, turns: int | None) -> str:
    """What is shown of a turn without asking: what a learner would get, and no more."""
    of = f" of {turns}" if turns else ""
    after = played.record["after"]
    notes = []
    if after["phase_step"]:
        way = "deeper" if after["phase_step"] > 0 else "back"
        notes.append(f"a step {way}: {PHASE_NAMES[PHASES.index(after['phase'])]}")
    if after["rupture"]:
        notes.append("a rupture")
    if ending := played.parts.get("ending"):
        notes.append(f"{ending:+.1f} of it for the turns not held")
    if found := played.judgement.violations:
        cost = played.parts["violations"]
        notes.append(f"{cost:+.1f} of it for {', '.join(plain(each.kind) for each in found)}: /why shows it")
    extra = f" · {', '.join(notes)}" if notes else ""
    return f"turn {turn}{of} · judge {played.composite:.1f} of 10 · reward {played.reward:+.1f}{extra}"


def told_of(name: str, played: Played, view: ClientGraph) -> Iterator[str]:
    """/why: the last turn as a whole, or one of its dimensions or nodes. Raises LookupError, with the nearest names."""
    wanted = name.lower().replace(" ", "_").replace("-", "_")
    if not wanted:
        return why_lines(played, view, played.record["turn"])
    if wanted in DIMENSIONS:
        return reason_lines(played, wanted)
    if wanted in view.catalog.node_names:
        row = view.catalog.nodes[view.catalog.node(wanted)]
        return iter([f"low: {row.low}", f"high: {row.high}", *repr(view.explain(wanted)).split("\n")])
    known = [*view.catalog.node_names, *DIMENSIONS]
    near = difflib.get_close_matches(wanted, known, 3, cutoff=0.4) or [n for n in known if wanted in n][:3]
    cure = f" Did you mean {' or '.join(plain(n) for n in near)}?" if near else ""
    raise LookupError(f"no node or dimension {name!r}.{cure} /state shows the nodes that moved.")


def why_lines(played: Played, view: ClientGraph, turn: int) -> Iterator[str]:
    """The reward in parts, each dimension with what it added and which node it moved most, the judge in words."""
    stage = played.record["before"]["stage"]
    yield f"Turn {turn}: reward {played.reward:+.2f}"
    for name, added in played.parts.items():
        if added:
            yield f"  {plain(name):<20}{added:+8.2f}   {_PART_MEANINGS.get(name, '')}".rstrip()
    yield ""
    yield from wrapped(reward_told(played), COLUMNS)
    yield from broken_lines(played.judgement.violations)
    yield ""
    yield "Scores in [0, 10]: above 6.5 helps, below 3.5 harms. Points are what a score adds to the composite."
    yield f"  {'':<20}{'score':>5}  {'kind':>5} {'harsh':>5}  {'points':>6}  moved most (level points)"
    scores, kind, harsh = played.judgement.scores, played.judgement.kind.scores, played.judgement.harsh.scores
    points = composite_trace(scores, stage, played.parts["composite"])
    moved = most_moved(view, 24)
    for d, name in enumerate(DIMENSIONS):
        yield (
            f"  {plain(name):<20}{scores[d]:>5.1f}  {kind[d]:>5.1f} {harsh[d]:>5.1f}  {points[name]:>6.2f}  "
            f"{_moved_by(name, moved, view)}"
        )
    yield ""
    yield "The client moved (level points of 10; ▲ toward health, ▼ away):"
    yield from (_moved_line(one) for one in moved[:6])
    if not moved:
        yield "  no level: no score was above 6.5 or below 3.5"
    yield ""
    for who, seen in (("kind", played.judgement.kind), ("harsh", played.judgement.harsh)):
        yield from labelled(who, seen.narrative)
    if played.judgement.kind.recommendations:
        yield from labelled("to try", " ".join(played.judgement.kind.recommendations))
    example = moved[0].name if moved else "working_alliance"
    yield f"/why {plain(example)} tells where that node's change came from; /why pacing tells the judge's reason."


def reward_told(played: Played) -> str:
    """The turn's reward as a sentence, each bonus and penalty by its name where the record kept them."""
    trace = played.record["trace"]
    return reward_sentence(
        played.parts,
        stage_composite=played.composite,
        stage=played.record["before"]["stage"],
        modifiers=trace["modifiers"] if trace else None,
        violations=[found.kind for found in played.judgement.violations],
    )


def broken_lines(violations: Sequence[Violation]) -> Iterator[str]:
    """What the screen found in a reply, each with what shows it."""
    for found in violations:
        yield from labelled("  screen", f"{plain(found.kind)}: {found.evidence}")


_PART_MEANINGS = {
    "composite": "mean of the twelve scores, weighted for the stage",
    "modifiers": "bonuses and penalties of the stage",
    "phase_transition": "a step deeper or back in the session",
    "stage_transition": "a stage of treatment gained or lost at the session's end",
    "taie_trend": "axes turning toward or away from the middle",
    "transformation": "how far the axes have come",
    "adaptation_events": "levels of adaptation that crossed a threshold",
    "ending": "for the turns not held: not needed any more (+), or broken off (-)",
    "attunement_change": "the therapist's picture of the client grew truer or falser",
    "violations": "what a reply must not do, found by the screen; the scores stay as they were judged",
}


def _moved_by(dimension: str, moved: Sequence[Moved], view: ClientGraph) -> str:
    found = [(one.name, view.explain(one.name).direct.get(dimension)) for one in moved]
    parts = [(name, part.contribution) for name, part in found if part is not None]
    if not parts:
        return "-"
    name, points = max(parts, key=lambda pair: abs(pair[1]))
    return f"{plain(name)} {points:+.3f}"


def _moved_line(one: Moved) -> str:
    mark = "▲" if one.toward_health > 0 else "▼" if one.toward_health < 0 else "·"
    why = f"   most by {said_by(one.largest)} {one.largest.contribution:+.3f}" if one.largest else ""
    return f"  {plain(one.name):<28}{one.before:5.2f} → {one.after:5.2f} {mark} {one.after - one.before:+.3f}{why}"


def reason_lines(played: Played, dimension: str) -> Iterator[str]:
    """What both personas said about one dimension."""
    d = DIMENSIONS.index(dimension)
    yield f"{plain(dimension)}: {played.judgement.scores[d]:.1f} of 10"
    for who, seen in (("kind", played.judgement.kind), ("harsh", played.judgement.harsh)):
        yield from labelled(who, seen.reasons[d])


_WOULD_END = {
    "left": "the client would leave",
    "closed_well": "the session would close well",
    "turn_limit": "the session would be over: it is its last turn",
}


def trial_lines(text: str, outcome: Outcome, now: ClientGraph, last: tuple[str, Outcome] | None) -> Iterator[str]:
    """What a reply would do; beside the last one that was tried at this turn."""
    after = outcome_view(outcome, now)
    yield f"If you said that: judge {outcome.composite:.1f} of 10, reward {outcome.reward:+.2f}. Nothing has been said or changed."
    scores = outcome.judgement.scores
    order = np.argsort(-scores, kind="stable")
    yield f"  strongest: {_named(scores, order[:3])};  weakest: {_named(scores, order[::-1][:3])}"
    if after.phase != now.phase:
        yield f"  the session would go from {now.phase} to {after.phase} ({PHASE_NAMES[PHASES.index(after.phase)]})"
    if outcome.report.rupture[0]:
        yield "  it would be a rupture"
    if cost := float(outcome.parts.violations[0]):
        yield f"  {cost:+.1f} of the reward for what a reply must not do:"
    yield from broken_lines(outcome.judgement.violations)
    if outcome.ending is not None:
        cost = float(outcome.parts.ending[0])
        yield f"  {_WOULD_END[outcome.ending]}" + (
            f": {cost:+.1f} of the reward for the turns not held" if cost else ""
        )
    yield from (_moved_line(one) for one in most_moved(after, 4))
    if last is None or last[0] == text:
        return
    there = outcome_view(last[1], now)
    yield ""
    yield from wrapped(f"Beside the one you tried before: “{_short(last[0])}”", COLUMNS)
    better = outcome.reward - last[1].reward
    yield f"  judge {outcome.composite - last[1].composite:+.1f}, reward {better:+.2f} for the new one"
    if found := there.diff(after):
        yield f"  {'where they differ most':<28}{'before':>7} {'new':>7}"
        yield from (
            f"  {plain(one.name):<28}{one.here:7.2f} {one.there:7.2f}  {one.difference:+.3f}" for one in found.nodes[:4]
        )
    else:
        yield "  the client would be the same after either"


def outcome_view(outcome: Outcome, now: ClientGraph) -> ClientGraph:
    """The client as an evaluated reply would leave them."""
    return ClientGraph(
        outcome.state, now.catalog, outcome.report, person=now.person, settings=now.settings, before=now.state,
        scores=outcome.judgement.scores[None],
    )  # fmt: skip


def _named(values: np.ndarray, order: np.ndarray) -> str:
    return ", ".join(f"{plain(DIMENSIONS[d])} {values[d]:.1f}" for d in order)


def _short(text: str, most: int = 70) -> str:
    flat = " ".join(text.split())
    return (flat if len(flat) <= most else f"{flat[: most - 1]}…") or "(silence)"


def summary_lines(
    person: Person, start: ClientGraph, now: ClientGraph, turns: Sequence[Played], ending: str | None
) -> Iterator[str]:
    """The session as a whole: what went well by the judge, what moved, what was misread. `turns`: at least one."""
    yield from wrapped(_ended(person, len(turns), ending), COLUMNS)
    yield ""
    yield from _judged(turns)
    yield ""
    yield from _changed(start, now, turns)
    yield ""
    yield from _misread(person, now)
    yield ""
    yield from wrapped(_last_word(person, turns, ending), COLUMNS)


def _ended(person: Person, turns: int, ending: str | None) -> str:
    count = f"{turns} turn{'s' if turns != 1 else ''}"
    return {
        "left": f"{person.name} left after {count}: the alliance had fallen too far below where it began.",
        "closed_well": f"The session closed well after {count}: {person.name} had time to take in what was reached.",
        "turn_limit": f"Time is up after {count}.",
        "planned": f"The treatment has ended as planned, with a session of {count}.",
        "dropped_out": f"{person.name} did not come back after this session of {count}.",
        "session_limit": f"The sessions that were agreed on are over; the last had {count}.",
    }.get(ending or "", f"You stopped after {count}.")


def _judged(turns: Sequence[Played]) -> Iterator[str]:
    found = summarise_scores(np.array([turn.judgement.scores for turn in turns]))
    order = np.argsort(-found.mean, kind="stable")
    well, ill = [d for d in order if found.mean[d] > HELPS], [d for d in order[::-1] if found.mean[d] < HARMS]
    yield "By the judge, as means of the turns (above 6.5 helps, below 3.5 harms):"
    if well:
        yield from labelled("  helped", _named(found.mean, np.array(well[:4])))
    else:
        yield from labelled("  helped", f"nothing reached 6.5; nearest were {_named(found.mean, order[:2])}")
    yield from labelled("  harmed", _named(found.mean, np.array(ill[:4])) if ill else "nothing fell below 3.5")
    yield from labelled("  by turn", " ".join(f"{turn.composite:.1f}" for turn in turns))
    best, worst = max(turns, key=lambda turn: turn.composite), min(turns, key=lambda turn: turn.composite)
    yield from labelled(
        "  best", f"turn {turns.index(best) + 1}, {best.composite:.1f}: “{_short(best.therapist, 120)}”"
    )
    if worst is not best:
        yield from labelled(
            "  hardest", f"turn {turns.index(worst) + 1}, {worst.composite:.1f}: “{_short(worst.therapist, 120)}”"
        )


def _changed(start: ClientGraph, now: ClientGraph, turns: Sequence[Played]) -> Iterator[str]:
    """What moved from the session's start to its end, as the judge's scores moved it."""
    deepest = max(turn.record["after"]["phase"] for turn in turns)
    yield f"What moved in the client (deepest phase reached: {deepest} {PHASE_NAMES[PHASES.index(deepest)]}):"
    for name in ("alliance", "coiling", "attunement"):
        was, is_now = getattr(start, name), getattr(now, name)
        yield f"  {name:<28}{bar(is_now)} {was:5.2f} → {is_now:5.2f}  {is_now - was:+.3f}"
    found = start.diff(now)
    nearer = {name: start.tightness[name] - tight for name, tight in now.tightness.items()}
    for one in found.nodes[:5]:
        mark = "▲" if nearer[one.name] > 0 else "▼"
        yield f"  {plain(one.name):<28}{one.here:5.2f} → {one.there:5.2f} {mark} {one.difference:+.3f}"
    for bucket in found.buckets[:3]:
        yield f"  reservoir {plain(bucket.name):<18}{bucket.here:5.2f} → {bucket.there:5.2f}   {bucket.difference:+.3f}"


def _misread(person: Person, now: ClientGraph) -> Iterator[str]:
    yield from wrapped(
        f"The picture of {person.name} that the simulator keeps for you (true to {now.attunement:.0%}) was furthest off in:",
        COLUMNS,
    )
    beliefs, levels = now.beliefs, now.levels
    for name, error in now.worst_misread(3):
        if abs(error) < 0.005:
            continue
        way = "high" if error > 0 else "low"
        row = now.catalog.nodes[now.catalog.node(name)]
        truth = row.high if levels[name] >= 5.0 else row.low
        yield from labelled(
            "", f"{plain(name)}: taken for {beliefs[name]:.1f}, was {levels[name]:.1f} (too {way}). {truth}"
        )


def _last_word(person: Person, turns: Sequence[Played], ending: str | None) -> str:
    mean = float(np.mean([turn.composite for turn in turns]))
    told = "As the judge reads it, "
    if mean > HELPS:
        told += "what you said helped, taken together."
    elif mean < HARMS:
        told += f"what you said was hard on {person.name}, taken together. /why shows where, of the last turn."
    else:
        told += "what you said neither helped much nor harmed, taken together; many real hours are like that."
    if ending == "left":
        told += " Clients leave careful therapists too. /undo goes back to before it, and an apology is a reply."
    if any(turn.record["after"]["rupture"] for turn in turns) and ending != "left":
        told += " There was a rupture; what was done about it counts for more than that it happened."
    return told + " The judge reads words and can be wrong."
