"""A treatment as a course of sessions: a week of life between two of them, who comes back, and when it has ended.

The paper describes sessions and the stages they add up to (384-385); it is silent on life outside and on drop-out. Both are
added here as gains that benchmarks/clinic.py calibrates against published figures; set to 0 they leave the paper's course.
"""

from typing import NamedTuple

import numpy as np

from client_graph.arrival import uniform
from client_graph.catalog import Catalog
from client_graph.compiled import compiled
from client_graph.graph import DECREASE, alliance, move
from client_graph.session import arrive
from client_graph.settings import CourseSettings
from client_graph.state import ClientState
from client_graph.therapist_model import attunement, bell, random_word

GOING_ON, PLANNED, DROPPED_OUT, LEFT = range(4)
ENDINGS = ("going_on", "planned", "dropped_out", "left")
TERMINATION = 3  # stage 4: the work of parting

_FORTUNE, _COMES, _WEEK = 1, 2, 3  # which word of the stream is for what; fortune is drawn once, at the beginning
_STEP = np.uint64(2 * 0x9E3779B97F4A7C15 % 2**64)  # past the two words that a week has used


class Course(NamedTuple):
    """What a treatment knows beside the client; (N,) each."""

    ending: np.ndarray  # int64, place in ENDINGS
    fortune: np.ndarray  # luck a week beyond the average that life outside holds for this client, in level points
    farewells: np.ndarray  # int64: completed sessions of stage 4
    stream: np.ndarray  # uint64: the course's own random stream, apart from the client's

    def snapshot(self) -> "Course":
        """A copy that shares no memory."""
        return Course(*(array.copy() for array in self))

    def take(self, clients: np.ndarray) -> "Course":
        """The courses at the places `clients`, as a batch of their own."""
        return Course(*(array[clients] for array in self))

    def same_as(self, other: "Course") -> bool:
        """Whether both hold the same bits."""
        return all(a.dtype == b.dtype and a.tobytes() == b.tobytes() for a, b in zip(self, other, strict=True))


def begin_course(words: np.ndarray, settings: CourseSettings | None = None) -> Course:
    """The course of each of `words` (N,) uint64 at its beginning; N at once are N alone, bit for bit.

    fortune = fortune_spread · ε
    """
    spread = (settings or CourseSettings()).fortune_spread
    whole = np.zeros(len(words), dtype=np.int64)
    return Course(whole, spread * _chances(words, _FORTUNE), whole.copy(), words.copy())


@compiled
def _chances(streams, draw):  # type: ignore[no-untyped-def]
    """(N,) ε, one for each stream."""
    out = np.empty(streams.shape[0])
    for i in range(streams.shape[0]):
        out[i] = bell(random_word(streams[i], draw))
    return out


@compiled
def odds_of_stopping(bond, hurt, base, slope, rupture):  # type: ignore[no-untyped-def]
    """P(no next session), in (0, 1): log-odds = log-odds(base) + slope · (0.5 - alliance) + rupture · hurt.

    Drop-out goes with a weak alliance (Sharf, Primavera and Diener 2010, d = 0.55) and with ruptures that were not repaired.
    """
    odds = base / (1.0 - base) * np.exp(slope * (0.5 - bond) + rupture * hurt)
    return odds / (1.0 + odds)


@compiled
def _stops(levels, hurt, streams, base, slope, rupture, tables, out):  # type: ignore[no-untyped-def]
    bond, level = np.empty(1), np.empty((levels.shape[1], 1))
    for i in range(levels.shape[0]):
        level[:, 0] = levels[i]
        alliance(level, tables, bond)
        out[i] = uniform(random_word(streams[i], _COMES)) < odds_of_stopping(bond[0], hurt[i], base, slope, rupture)


@compiled
def _week(state, luck, tables):  # type: ignore[no-untyped-def]
    levels, buckets = state.levels, state.buckets
    bond = np.zeros(levels.shape[1], dtype=np.bool_)
    bond[tables.alliance_nodes] = True  # what is between the two rests while they do not meet
    for i in range(levels.shape[0]):
        if luck[i] == 0.0:
            continue  # also no rounding
        error = 0.0
        for n in range(levels.shape[1]):
            if not bond[n]:
                direction = tables.nodes[n].direction
                toward = -luck[i] if direction == DECREASE else luck[i]
                levels[i, n] = move(levels[i, n], toward * tables.yielding[n, 4 * state.stage[i]], direction)
            error += abs(state.tmog[i, n] - levels[i, n])
        state.attunement[i] = attunement(error, levels.shape[1])  # what the therapist believes has not moved
        for b in range(buckets.shape[1]):
            bucket = tables.buckets[b]
            filling = bucket.adaptive and not bucket.falls
            change = luck[i] * bucket.volatility
            buckets[i, b] = min(1.0, max(0.0, buckets[i, b] + (change if filling else -change)))


def go_on(
    ended: ClientState,
    after: ClientState,
    course: Course,
    catalog: Catalog,
    settings: CourseSettings | None = None,
    *,
    left: np.ndarray,
    hurt: np.ndarray,
    last: np.ndarray | None = None,
) -> tuple[ClientState, Course]:
    """The clients as they arrive a week later, and the course as it stands then. Pure.

    `ended`: the clients as their session left them; `after`: what `session.end_session` made of them. `left` (N,) bool: who
    walked out; `hurt` (N,) bool: whose last turn was a rupture; `last` (N,) bool: whose session was the last that was agreed
    on (none where it is not given). In order: who walked out has left; farewell_sessions
    completed sessions of stage 4 are a planned ending; who stops coming before the last session has dropped out; the others
    live a week:

    luck = weekly_recovery + fortune + weekly_spread · ε
    node n moves toward health by luck · phase weight (A) / (1 + BQ), but for those of the alliance; bucket b by luck · volatility_b
    """
    gains = settings or CourseSettings()
    course = course.snapshot()
    course.farewells[:] += ended.stage == TERMINATION
    stops = np.empty(ended.clients, dtype=np.bool_)
    _stops(
        ended.levels,
        hurt,
        course.stream,
        gains.dropout,
        gains.dropout_alliance,
        gains.dropout_rupture,
        catalog.tables,
        stops,
    )
    if last is not None:
        stops &= ~last
    planned = course.farewells >= gains.farewell_sessions
    ending = np.select([left, planned, stops], [LEFT, PLANNED, DROPPED_OUT], GOING_ON)
    course.ending[:] = np.where(course.ending == GOING_ON, ending, course.ending)
    luck = gains.weekly_recovery + course.fortune + gains.weekly_spread * _chances(course.stream, _WEEK)
    arriving = after.snapshot()
    luck[course.ending != GOING_ON] = 0.0
    _week(arriving, luck, catalog.tables)
    course.stream[:] += _STEP
    return arrive(arriving, catalog), course
