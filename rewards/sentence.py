"""The parts of a reward as a sentence that a clinician understands."""

from collections.abc import Mapping, Sequence

LEAST = 0.05  # points: less prints as 0.0

# What a part says where it adds, and where it takes; in the order of RewardParts.
_SAYS = {
    "composite": ("the judge's scores, weighted for the stage",) * 2,
    "modifiers": ("bonuses of the stage", "penalties of the stage"),
    "phase_transition": ("the client stepped a phase deeper", "the client stepped back a phase"),
    "stage_transition": ("a stage of treatment was gained", "a stage of treatment was lost"),
    "taie_trend": ("the axes turned toward their healthy middle", "the axes turned away from their healthy middle"),
    "transformation": (
        "the axes came nearer to their middle than at intake",
        "the axes went further from their middle",
    ),
    "adaptation_events": ("levels of adaptation rose past a threshold", "levels of adaptation fell past a threshold"),
    "attunement_change": (
        "the therapist's picture of the client grew truer",
        "the therapist's picture of the client grew falser",
    ),
    "ending": ("the turns that were not needed any more", "the turns that were not held"),
    "violations": ("the reply broke the frame",) * 2,
}


def reward_sentence(
    parts: Mapping[str, float],
    *,
    stage_composite: float | None = None,
    stage: int | None = None,
    modifiers: Mapping[str, float] | None = None,
    violations: Sequence[str] = (),
) -> str:
    """A reward in words: its sum, then what counted, the largest first.

        "-21.2: the client stepped back a phase (-30), a composite of 6.3 of 10 at stage 1 (+6.3), the alliance bonus (+2.5)"

    parts: points by name, as RewardParts.of gives them. What adds or takes less than 0.05 points is left out by itself and told
    as one sum where there is more of it. Where they are known, name also: stage_composite in [0, 10] and stage 1..4; modifiers,
    the points of each bonus and penalty that applied, which add up to the part; violations, the kinds that were found.
    """
    told = [
        each
        for name, points in parts.items()
        for each in _told(name, points, stage_composite, stage, modifiers, violations)
    ]
    large = sorted((each for each in told if abs(each[1]) >= LEAST), key=lambda each: -abs(each[1]))
    rest = sum(points for _, points in told if abs(points) < LEAST)
    if abs(rest) >= LEAST:
        large.append(("small changes together", rest))
    said = ", ".join(f"{words} ({_signed(points)})" for words, points in large) or "nothing that counts"
    return f"{sum(parts.values()) + 0.0:+.1f}: {said}".replace("-0.0:", "+0.0:")


def _told(
    name: str,
    points: float,
    stage_composite: float | None,
    stage: int | None,
    modifiers: Mapping[str, float] | None,
    violations: Sequence[str],
) -> list[tuple[str, float]]:
    """(words, points) of a part, or of each bonus and penalty by its name."""
    if name == "modifiers" and modifiers:
        return [(f"the {_plain(each)}", each_points) for each, each_points in modifiers.items()]
    if name == "composite" and stage_composite is not None:
        at = f" at stage {stage}" if stage is not None else ""
        return [(f"a composite of {stage_composite:.1f} of 10{at}", points)]
    words = _SAYS[name][points < 0] if name in _SAYS else _plain(name)
    if name == "violations" and violations:
        words += f": {', '.join(map(_plain, violations))}"
    return [(words, points)]


def _signed(points: float) -> str:
    return f"{points:+.1f}".removesuffix(".0")


def _plain(name: str) -> str:
    return name.replace("_", " ")
