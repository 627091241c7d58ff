"""What a turn does to many treatments at once: a turn of their sessions and, where one is over, what comes after it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from client_graph.course import ENDINGS, GOING_ON, PLANNED, begin_course, go_on
from client_graph.personhood import Person
from client_graph.settings import CourseSettings
from client_graph.state import ClientState, read_only
from envs.conduct import Begun, Conduct, Turned, rows, stacked, unchanged_on_failure
from envs.types import Outcome, SessionState, Week
from judges.protocol import JudgeFailure
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
        outcomes = self.conduct.all_judged(self.outcomes(list(zip(sessions, actions, strict=True))))
        turned = self.conduct.landed(sessions, outcomes, chances)
        weeks = [outcome.week for outcome in outcomes]
        goes_on = [i for i, week in enumerate(weeks) if week is not None and week.ending is None]
        begun = self._next_sessions(turned, goes_on, chances) if goes_on else None
        running = list(turned.sessions)
        for i, session in zip(goes_on, begun.sessions if begun else (), strict=True):
            running[i] = session
        endings = [week.ending if week else None for week in weeks]
        return Treated(
            running,
            turned,
            begun,
            np.array(goes_on, dtype=np.int64),
            endings,
            terminated=np.array([ending not in (None, SESSION_LIMIT) for ending in endings]),
            truncated=np.array([ending == SESSION_LIMIT for ending in endings]),
        )

    def outcomes(self, asked: Sequence[tuple[SessionState, str]]) -> list[Outcome | JudgeFailure]:
        """`Conduct.outcomes`, and where a session would be over what comes after it: the week, and the treatment settled."""
        found = self.conduct.outcomes(asked)
        open_ = {
            (id(session), action): (session, action, outcome)
            for (session, action), outcome in zip(asked, found, strict=True)
            if isinstance(outcome, Outcome) and outcome.ending is not None and outcome.week is None
        }
        if not open_:
            return found
        ended = list(open_.values())
        for (session, action, _), settled in zip(ended, self._settled(ended), strict=True):
            session.tried[action] = settled
        return [
            session.tried[action] if isinstance(outcome, Outcome) else outcome
            for (session, action), outcome in zip(asked, found, strict=True)
        ]

    def _settled(self, ended: Sequence[tuple[SessionState, str, Outcome]]) -> list[Outcome]:
        """The outcomes of replies that end their sessions, with the week after them; and what the treatment's end is worth.

        ending = closed_well · turns not held   if planned,    broken_off · turns not held   if left or dropped out

        over max_turns for each session that was agreed on and is not held.
        """
        outcomes = [outcome for *_, outcome in ended]
        after = stacked([_known(outcome.next_state) for outcome in outcomes])
        limit = after.session >= self.max_sessions
        arriving, course = go_on(
            stacked([outcome.state for outcome in outcomes]),
            after,
            stacked([_known(session.course) for session, *_ in ended]),
            self.conduct.catalog,
            self.settings,
            left=np.array([outcome.ending == "left" for outcome in outcomes]),
            hurt=np.concatenate([outcome.report.rupture for outcome in outcomes]),
            last=limit,
        )
        over = course.ending != GOING_ON
        way = np.where(course.ending == PLANNED, 1, np.where(over, -1, 0))
        turns = np.maximum(0, self.max_sessions - after.session) * self.conduct.max_turns
        parts = with_ending(stacked([outcome.parts for outcome in outcomes]), way, turns, self.conduct.reward)
        settled = []
        each = zip(rows(read_only(arriving)), rows(read_only(course)), rows(read_only(parts)), strict=True)
        for i, (client, own, points) in enumerate(each):
            ending = ENDINGS[course.ending[i]] if over[i] else SESSION_LIMIT if limit[i] else None
            settled.append(replace(outcomes[i], parts=points, week=Week(own, client, ending)))
        return settled

    def _next_sessions(self, turned: Turned, places: list[int], chances: Sequence[np.random.Generator]) -> Begun:
        before = [turned.sessions[i] for i in places]
        arriving = [_known(turned.outcomes[i].week).arriving for i in places]
        begun = self.conduct.arrive(arriving, [session.person for session in before], [chances[i] for i in places])
        for session, last in zip(begun.sessions, before, strict=True):
            session.course = last.course
        return begun


def _known(value: Any) -> Any:
    assert value is not None, "a session that is over has a next state, and one of a treatment a course"
    return value
