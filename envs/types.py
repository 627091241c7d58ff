"""What an environment is made of besides the client: outcomes, the running session, snapshots, typed failures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import gymnasium as gym
import numpy as np

from client_graph.course import Course
from client_graph.personhood import Person
from client_graph.session import Measures, SessionReport
from client_graph.state import ClientState
from client_graph.turn import TurnReport
from envs.equality import first_difference
from judges.protocol import Judgement, Turn
from rewards.parts import RewardParts


class SessionsFailed(gym.error.Error):
    """A turn could not be taken, by the fault of a model outside. No session was changed; nothing was filled in.

    failures: what happened, by the session's place in what was asked (0 in a single environment).
    """

    def __init__(self, message: str, failures: Mapping[int, str] | None = None, who: str = "") -> None:
        super().__init__(message)
        self.failures = dict(failures or {})
        self.who = who

    @classmethod
    def of(cls, who: str, failures: Mapping[int, str], count: int) -> Self:
        """`who` failed at these places of `count`; one place of one is not named."""
        if count == 1:
            return cls(f"{who} {next(iter(failures.values()))}. The client was not changed", failures, who)
        each = "; ".join(f"{place}: {reason}" for place, reason in failures.items())
        return cls(
            f"{who} failed in {len(failures)} of {count} sessions ({each}). No client was changed", failures, who
        )

    def at(self, places: Sequence[int] | np.ndarray, count: int) -> Self:
        """The same failure where the sessions asked are those at `places` of `count` sub-environments."""
        named = {int(places[place]): reason for place, reason in self.failures.items()}
        return type(self).of(self.who, dict(sorted(named.items())), count)


class JudgeFailed(SessionsFailed):
    """The judge gave no score, also when asked again. What it did score is kept: the next try asks for the rest."""


class ClientFailed(SessionsFailed):
    """The client's voice gave no words."""


class _ToTheBit:
    """Equal is equal to the bit; arrays have no single truth to compare by."""

    def __eq__(self, other: object) -> bool:
        return first_difference(self, other) is None if type(other) is type(self) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # what it holds are arrays


@dataclass(frozen=True, eq=False)
class Week(_ToTheBit):
    """What would follow a session of a treatment: its course a week later and the client who would come."""

    course: Course
    arriving: ClientState
    ending: str | None  # "planned", "dropped_out", "left", "session_limit"; None where a next session begins


@dataclass(frozen=True, eq=False)
class Outcome(_ToTheBit):
    """What one reply would do to the client as it is now, and what `step` would pay for it: nothing has been changed yet.

    Where the reply ends the session, `parts` hold what that is worth: a stage gained or lost, the turns that are not held, and
    in a treatment the sessions that are not held. What the screen found in it is in `judgement` and charged in `parts`. Only
    the client's next words are not known. Arrays are of one client (1, ...).
    """

    reasoning: str
    utterance: str
    judgement: Judgement
    state: ClientState
    report: TurnReport
    parts: RewardParts
    stage_composite: float  # the scores' mean, weighted for the stage, in [0, 10], whatever the reward's scales
    measures: Measures  # of the client after the reply
    turns_in_integration: int  # up to this reply and with it, without a break
    ending: str | None = None  # "left", "closed_well", "turn_limit"; None while the session goes on
    next_state: ClientState | None = None  # the client at their next session, and
    ended: SessionReport | None = None  # what this one showed as a whole, where it would be over
    week: Week | None = None  # in a treatment, where the session would be over

    @property
    def composite(self) -> float:
        """`stage_composite` by its older name. The plain mean of the twelve, the paper's composite, is `judgement.composite`."""
        return self.stage_composite

    @property
    def reward(self) -> float:
        """The sum of the reward parts: to the bit what `step` pays for this reply."""
        return float(self.parts.total[0])


@dataclass(eq=False)
class SessionState(_ToTheBit):
    """A running session: the client, the words so far, the counters. Replaced as a whole by a step, never half."""

    state: ClientState
    person: Person
    words: str  # the client's latest words
    reasoning: str  # and what it kept to itself
    alliance_at_start: float
    history: tuple[Turn, ...] = ()
    before: ClientState | None = None  # the client before the last turn, which `report` tells of
    report: TurnReport | None = None
    scores: tuple[tuple[float, ...], ...] = ()  # the judge's, a row a turn
    turns_in_integration: int = 0
    over: bool = False
    next_state: ClientState | None = None
    course: Course | None = None  # of the treatment that the session is part of; None for a session alone
    tried: dict[str, Outcome] = field(default_factory=dict)  # replies already judged at this very turn


@dataclass(frozen=True, eq=False)
class Snapshot(_ToTheBit):
    """A session and the environment's generator, as they stood. Equal to another that holds the same bits."""

    session: SessionState
    chance: Any  # the state of numpy's bit generator
