"""What a turn does to many treatments at once: a turn of their sessions and, where one is over, what comes after it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from client_graph.course import ENDINGS, GOING_ON, PLANNED, Course, begin_course, go_on
from client_graph.personhood import Person
from client_graph.settings import CourseSettings
from client_graph.state import ClientState, read_only
from envs.conduct import Begun, Conduct, Turned, rows, stacked, unchanged_on_failure
from envs.types import SessionState
from rewards.parts import with_ending

SESSION_LIMIT = "session_limit"


@dataclass(frozen=True)
class Treated:
    """What a turn did to N treatments. `turned` tells of the turn; where a next session began, `begun` tells of that."""

    sessions: list[SessionState]  # the sessions that run now, or the last ones of treatments that are over
    turned: Turned
    begun: Begun | None
    goes_on: np.ndarray  # (G,) int64, the places of those in `begun`
    endings: list[str | None]  # "planned", "dropped_out", "left", "session_limit"; None while the treatment goes on
    terminated: np.ndarray  # (N,) bool
    truncated: np.ndarray  # (N,) bool

    @property
    def batches(self) -> tuple[Begun | Turned, ...]:
        """Whose clients speak after the turn: the farewells first, then the next sessions' first words."""
        return (self.turned,) if self.begun is None else (self.turned, self.begun)


@dataclass(frozen=True)
class Treatments:
    """What treatments are conducted with: sessions, the weeks between them, and how many sessions are agreed on."""

    conduct: Conduct
    max_sessions: int = 26
    settings: CourseSettings = field(default_factory=CourseSettings)

    def begin(
        self, states: Sequence[ClientState], people: Sequence[Person], chances: Sequence[np.random.Generator]
    ) -> Begun:
        """First sessions of these clients. Raises ClientFailed with the generators as they were."""
        with unchanged_on_failure(chances):
            begun = self.arrive(states, people, chances)
            self.conduct.speak(begun)
        return begun

    def arrive(
        self, states: Sequence[ClientState], people: Sequence[Person], chances: Sequence[np.random.Generator]
    ) -> Begun:
        """`begin` but for the words."""
        words = np.array([rng.integers(0, 2**64, dtype=np.uint64) for rng in chances], dtype=np.uint64)
        begun = self.conduct.arrive(states, people, chances)
        for session, course in zip(begun.sessions, rows(read_only(begin_course(words, self.settings))), strict=True):
            session.course = course
        return begun

    def turn(
        self, sessions: Sequence[SessionState], actions: Sequence[str], chances: Sequence[np.random.Generator]
    ) -> Treated:
        """One turn of each treatment; a session that is over is followed, a week later, by the next one's first words.

        Raises InvalidAction, JudgeFailed or ClientFailed with sessions and generators as they were.
        """
        with unchanged_on_failure(chances):
            treated = self.land(sessions, actions, chances)
            self.conduct.speak(*treated.batches)
        return treated

    def land(
        self, sessions: Sequence[SessionState], actions: Sequence[str], chances: Sequence[np.random.Generator]
    ) -> Treated:
        """`turn` but for the clients' words."""
        turned = self.conduct.land(sessions, actions, chances)
        count = len(turned.sessions)
        for session, before in zip(turned.sessions, sessions, strict=True):
            session.course = before.course
        endings: list[str | None] = [None] * count
        terminated, truncated = np.zeros(count, dtype=np.bool_), np.zeros(count, dtype=np.bool_)
        closed = turned.closed
        if not len(closed):
            return Treated(turned.sessions, turned, None, closed, endings, terminated, truncated)

        arriving, course = self._week(turned, closed)
        held = arriving.session
        over, limit = course.ending != GOING_ON, held >= self.max_sessions
        for k, (i, each) in enumerate(zip(closed.tolist(), rows(read_only(course)), strict=True)):
            turned.sessions[i].course = each
            endings[i] = ENDINGS[course.ending[k]] if over[k] else SESSION_LIMIT if limit[k] else None
        terminated[closed], truncated[closed] = over, limit & ~over

        way, turns = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
        way[closed] = np.where(course.ending == PLANNED, 1, np.where(over, -1, 0))
        turns[closed] = np.maximum(0, self.max_sessions - held) * self.conduct.max_turns
        turned = replace(turned, parts=read_only(with_ending(turned.parts, way, turns, self.conduct.reward)))

        next_ones = np.flatnonzero(~over & ~limit)
        goes_on = closed[next_ones]
        begun = self._next_sessions(turned, goes_on, arriving.take(next_ones), chances) if len(goes_on) else None
        running = list(turned.sessions)
        for i, session in zip(goes_on.tolist(), begun.sessions if begun else (), strict=True):
            running[i] = session
        return Treated(running, turned, begun, goes_on, endings, terminated, truncated)

    def _week(self, turned: Turned, closed: np.ndarray) -> tuple[ClientState, Course]:
        """The clients of sessions that are over as they arrive a week later, and their courses."""
        ended = [turned.sessions[i] for i in closed]
        return go_on(
            turned.state.take(closed),
            stacked([_known(session.next_state) for session in ended]),
            stacked([_known(session.course) for session in ended]),
            self.conduct.catalog,
            self.settings,
            left=np.array([turned.endings[i] == "left" for i in closed]),
            hurt=turned.report.rupture[closed],
            last=turned.state.session[closed] + 1 >= self.max_sessions,
        )

    def _next_sessions(
        self, turned: Turned, places: np.ndarray, arriving: ClientState, chances: Sequence[np.random.Generator]
    ) -> Begun:
        before = [turned.sessions[i] for i in places]
        begun = self.conduct.arrive(
            rows(arriving), [session.person for session in before], [chances[i] for i in places]
        )
        for session, last in zip(begun.sessions, before, strict=True):
            session.course = last.course
        return begun


def _known(value: Any) -> Any:
    assert value is not None, "a session that is over has a next state, and one of a treatment a course"
    return value
