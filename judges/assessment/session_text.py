"""A session told in plain words, by rules: each sentence follows from scores and turns, and no model is asked.

c_t = mean of the twelve scores of judged turn t
turned at k:  the k that makes n_1 n_2 (mean(c_k ..) - mean(c_1 .. c_k-1))^2 / (n_1 + n_2) largest (least squares)
wavering = mean_t |c_t+1 - c_t|, from one judged turn to the next (von Neumann 1941): a steady climb does not waver much
rupture at t:  (attunement_t + safety_t) / 2 < 3.5, as the stance has it (client_graph/stance.py)
mended at u > t:  before the next rupture, repair_u >= 6.5 and (attunement_u + safety_u) / 2 >= 6.5
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from client_graph.names import DIMENSIONS
from judges.protocol import Exchange, JudgeFailure, Judgement
from judges.rubric import rubric
from judges.screening.screen import load_screen_tables

HELPS, HARMS = 6.5, 3.5  # above helps, below harms the client (paper 349)
RUPTURE_IS = 3.5  # client_graph.stance.RUPTURE, which would bring numba along (a test holds them equal)
TURNED = 1.0  # points between the means before and after a turning point; less is within what a judge errs by (design)
SIDE = 2  # least turns on each side of a turning point: one turn is a moment and no course (design)
SUSTAINED, ERRATIC = 0.75, 1.5  # wavering up to which quality is sustained, from which it is erratic (design)
GREW = 1.0  # points from first to last turn that are told of a dimension (design)
QUOTED = 120  # most characters of a quotation
GRAVE = 0.25  # weight of violations from which a turn is no good moment, whatever its scores
NAMED = 2  # dimensions that are named as strongest, as weakest and as what to work on
_ATTUNEMENT, _SAFETY, _REPAIR = (DIMENSIONS.index(name) for name in ("attunement", "safety", "repair"))


@dataclass(frozen=True)
class Sentence:
    """One statement. topic: what it is about. turns: the turns that it names, counted from 1."""

    topic: str
    text: str
    turns: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Course:
    """The judged part of a session. number: (judged,) each one's turn, from 1. scores: (judged, 12) in [0, 10]."""

    turns: Sequence[Exchange]
    judged: Sequence[Judgement]
    number: tuple[int, ...]

    @cached_property
    def scores(self) -> np.ndarray:
        return np.stack([judgement.scores for judgement in self.judged])

    @cached_property
    def broken(self) -> frozenset[int]:
        """Places of the judged turns in which the screen found what is no mere guess or slip."""
        weights = load_screen_tables().weights
        return frozenset(
            k
            for k, judgement in enumerate(self.judged)
            if sum(found.share * weights[found.kind] for found in judgement.violations) >= GRAVE
        )

    @cached_property
    def composite(self) -> np.ndarray:
        """(judged,) in [0, 10]."""
        mean: np.ndarray = self.scores.mean(axis=1)
        return mean

    @cached_property
    def contact(self) -> np.ndarray:
        """(judged,) mean of attunement and safety, what a rupture is read from."""
        mean: np.ndarray = 0.5 * (self.scores[:, _ATTUNEMENT] + self.scores[:, _SAFETY])
        return mean

    def quoted(self, place: int) -> str:
        """The therapist's words of a judged turn, short, on one line."""
        words = " ".join("".join(c if c.isprintable() else " " for c in self._reply(place)).split())
        return f"“{words[: QUOTED - 1].rstrip()}…”" if len(words) > QUOTED else f"“{words}”" if words else "(no words)"

    def _reply(self, place: int) -> str:
        return self.turns[self.number[place] - 1].therapist


def sentences(turns: Sequence[Exchange], judgements: Sequence[Judgement | JudgeFailure]) -> tuple[Sentence, ...]:
    """The session in words: `judgements` one for each of `turns`, in order, at least one of them no failure."""
    places = [i for i, found in enumerate(judgements) if isinstance(found, Judgement)]
    judged = [found for found in judgements if isinstance(found, Judgement)]
    course = Course(turns, judged, tuple(i + 1 for i in places))
    told = (_scope, _taken_together, _course, _evenness, _moments, _dimensions, _ruptures, _violations, _to_work_on)
    return tuple(sentence for tell in told for sentence in tell(course))


def turning_point(values: np.ndarray) -> tuple[int, float, float] | None:
    """(place, mean before it, mean from it on) of the change that explains most, or None where it is below TURNED."""
    best: tuple[float, int, float, float] | None = None
    for k in range(SIDE, len(values) - SIDE + 1):
        before, after = float(values[:k].mean()), float(values[k:].mean())
        weight = k * (len(values) - k) / len(values) * (after - before) ** 2
        if best is None or weight > best[0]:
            best = (weight, k, before, after)
    if best is None or abs(best[3] - best[2]) < TURNED:
        return None
    return best[1:]


def ruptures(course: Course) -> list[tuple[int, int | None]]:
    """(place of a rupture, place where it was mended or None) of each rupture, in order."""
    torn = [k for k, contact in enumerate(course.contact) if contact < RUPTURE_IS]
    ends = [*torn[1:], len(course.number)]  # where the next one, or nothing, comes
    return [
        (here, next((k for k in range(here + 1, ends[i]) if _mends(course, k)), None)) for i, here in enumerate(torn)
    ]


def _mends(course: Course, place: int) -> bool:
    return bool(course.scores[place, _REPAIR] >= HELPS and course.contact[place] >= HELPS)


def _scope(course: Course) -> Iterator[Sentence]:
    missing = tuple(n for n in range(1, len(course.turns) + 1) if n not in course.number)
    if missing:
        are = "has no score and is" if len(missing) == 1 else "have no score and are"
        told = f"{_count(len(course.number), 'turn')} of {len(course.turns)} could be judged; {_turns(missing)} {are}"
        yield Sentence("scope", f"{told} left out of what follows.", missing)


def _taken_together(course: Course) -> Iterator[Sentence]:
    mean = float(course.composite.mean())
    what = (
        "helping"
        if mean >= HELPS
        else "doing harm"
        if mean < HARMS
        else "neither helping much nor harming, as in many real hours"
    )
    yield Sentence("together", f"Taken together, the replies are scored as {what} (composite {mean:.1f} of 10).")


def _course(course: Course) -> Iterator[Sentence]:
    if len(course.number) == 1:
        yield Sentence("course", "One judged turn shows no course.")
        return
    first, last = course.number[0], course.number[-1]
    yield Sentence(
        "course",
        f"The session began at {course.composite[0]:.1f} in turn {first} and ended at {course.composite[-1]:.1f} in turn {last}.",
        (first, last),
    )
    turned = turning_point(course.composite)
    if turned is None:
        if len(course.number) >= 2 * SIDE:
            yield Sentence("turning", "No turn parts it into a better and a worse stretch.")
        return
    place, before, after = turned
    yield Sentence(
        "turning",
        f"Its scores {'rose' if after > before else 'fell'} at turn {course.number[place]}: the turns before had a mean of "
        f"{before:.1f}, from there on {after:.1f}.",
        (course.number[place],),
    )


def _evenness(course: Course) -> Iterator[Sentence]:
    if len(course.number) < 3:
        return
    wavering = float(np.abs(np.diff(course.composite)).mean())
    kind = "sustained" if wavering <= SUSTAINED else "erratic" if wavering >= ERRATIC else "uneven in places"
    yield Sentence(
        "evenness",
        f"Its quality was {kind}: from one judged turn to the next the composite moved by {wavering:.2f} points on average.",
    )


def _moments(course: Course) -> Iterator[Sentence]:
    whole = [k for k in range(len(course.number)) if k not in course.broken]
    best = max(whole, key=lambda k: course.composite[k]) if whole else None
    worst = int(course.composite.argmin())
    if best is None:
        yield Sentence("moments", "No turn kept the frame, so none is named as the best.", course.number)
        return
    if f"{course.composite[best]:.1f}" == f"{course.composite[worst]:.1f}":
        if len(course.number) > 1:
            yield Sentence("moments", f"No moment stands out: every judged turn is at {course.composite[best]:.1f}.")
        return
    if course.composite[best] < HARMS:
        yield Sentence("moments", f"No turn reached {HARMS}, so none is named as the best.")
    named = (("best", best), ("weakest", worst)) if course.composite[best] >= HARMS else (("weakest", worst),)
    for what, place in named:
        number = course.number[place]
        yield Sentence(
            "moments",
            f"The {what} moment was turn {number} ({course.composite[place]:.1f}): {course.quoted(place)}.",
            (number,),
        )


def _dimensions(course: Course) -> Iterator[Sentence]:
    mean = course.scores.mean(axis=0)
    order = np.argsort(-mean, kind="stable")
    if mean[order[0]] - mean[order[-1]] >= 0.05:
        strong, weak = _scored(order[:NAMED], mean), _scored(order[::-1][:NAMED], mean)
        begun = (
            f"Strongest over the session were {strong}; weakest"
            if mean[order[0]] >= HARMS
            else "Weakest over the session"
        )
        yield Sentence("dimensions", f"{begun} were {weak}.")
    if len(course.number) < 2:
        return
    held = [d for d in order if course.scores[:, d].min() >= HELPS]
    if held:
        yield Sentence("held", f"Never below {HELPS} {_were(len(held))} {_listed(_plain(d) for d in held)}.")
    change = course.scores[-1] - course.scores[0]
    for word, by in (("grew", np.argsort(-change, kind="stable")), ("fell", np.argsort(change, kind="stable"))):
        moved = [d for d in by[:NAMED] if (change[d] if word == "grew" else -change[d]) >= GREW]
        if moved:
            points = _listed(f"{_plain(d)} by {abs(change[d]):.1f}" for d in moved)
            yield Sentence(f"dimensions_{word}", f"From the first judged turn to the last, what {word} most: {points}.")


def _ruptures(course: Course) -> Iterator[Sentence]:
    found = ruptures(course)
    if not found:
        yield Sentence("ruptures", "The scores show no rupture.")
    last, told = len(course.number) - 1, list[Sentence]()
    for torn, mended in found:
        if mended is not None:
            both = (course.number[torn], course.number[mended])
            text = f"The contact broke at turn {both[0]} ({_contact(course, [torn])}) and was mended at turn {both[1]}."
            told.append(Sentence("ruptures", text, both))
    if left := [torn for torn, mended in found if mended is None and torn != last]:
        turns = tuple(course.number[torn] for torn in left)
        it = "it" if len(left) == 1 else "any of it"
        text = f"The contact broke at {_turns(turns)} ({_contact(course, left)})"
        told.append(
            Sentence("ruptures", f"{text}, and no judged turn mended {it} before the next break or the end.", turns)
        )
    if any(torn == last for torn, _ in found):
        text = f"The contact broke at turn {course.number[last]} ({_contact(course, [last])}), the last judged turn"
        told.append(Sentence("ruptures", f"{text}: what came of it is not in this session.", (course.number[last],)))
    yield from sorted(told, key=lambda sentence: sentence.turns[0])


def _contact(course: Course, places: list[int]) -> str:
    return f"attunement and safety {_listed(f'{course.contact[k]:.1f}' for k in places)} in the mean"


def _violations(course: Course) -> Iterator[Sentence]:
    by_kind: Counter[str] = Counter()
    where: dict[str, list[int]] = {}
    for number, judgement in zip(course.number, course.judged, strict=True):
        for violation in judgement.violations:
            by_kind[violation.kind] += 1
            where.setdefault(violation.kind, []).append(number)
    if by_kind:
        kinds = sorted(by_kind, key=lambda kind: (-by_kind[kind], kind))
        turns = {kind: tuple(sorted(set(where[kind]))) for kind in kinds}
        told = _listed(f"{kind.replace('_', ' ')} {_times(by_kind[kind])} ({_turns(turns[kind])})" for kind in kinds)
        named = tuple(sorted({number for numbers in turns.values() for number in numbers}))
        yield Sentence("violations", f"The screen found {told}.", named)


def _to_work_on(course: Course) -> Iterator[Sentence]:
    if course.broken:
        numbers = tuple(course.number[k] for k in sorted(course.broken))
        yield Sentence("work", f"To work on before all else: {_turns(numbers)}, where the frame was broken.", numbers)
    still_open = [course.number[torn] for torn, mended in ruptures(course) if mended is None]
    if still_open:
        yield Sentence(
            "work",
            f"To work on first: {_turns(still_open)}, where the contact broke and was not mended. {_advice(_REPAIR)}",
            tuple(still_open),
        )
    mean = course.scores.mean(axis=0)
    weak = [int(d) for d in np.argsort(mean, kind="stable") if mean[d] < HELPS and not (still_open and d == _REPAIR)]
    for d in weak[:NAMED]:
        yield Sentence("work", f"To work on: {_plain(d)} ({mean[d]:.1f}). {_advice(d)}")
    if not weak and not still_open:
        least = int(mean.argmin())
        yield Sentence(
            "work", f"No dimension fell below what helps; least strong was {_plain(least)} ({mean[least]:.1f})."
        )


def _advice(dimension: int) -> str:
    return rubric()[dimension].recommendation


def _plain(dimension: int) -> str:
    return DIMENSIONS[dimension].replace("_", " ")


def _scored(dimensions: Iterable[int], mean: np.ndarray) -> str:
    return _listed(f"{_plain(d)} ({mean[d]:.1f})" for d in dimensions)


def _listed(words: Iterable[str]) -> str:
    several = list(words)
    return several[0] if len(several) == 1 else f"{', '.join(several[:-1])} and {several[-1]}"


def _turns(numbers: Sequence[int]) -> str:
    return f"turn{'s' if len(numbers) > 1 else ''} {_listed(map(str, numbers))}"


def _count(count: int, what: str) -> str:
    return f"{count} {what}{'s' if count != 1 else ''}"


def _were(count: int) -> str:
    return "was" if count == 1 else "were"


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")
