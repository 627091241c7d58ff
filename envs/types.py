"""What an environment is made of besides the client: outcomes, the running session, snapshots, typed failures."""

from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym

from client_graph.personhood import Person
from client_graph.state import ClientState
from client_graph.turn import TurnReport
from judges.protocol import Judgement, Turn
from rewards.parts import RewardParts


class JudgeFailed(gym.error.Error):
    """The judge gave no score, also when asked again. The client was not changed; nothing was filled in."""


class ClientFailed(gym.error.Error):
    """The client's voice gave no words. The client was not changed; nothing was filled in."""


@dataclass(frozen=True)
class Outcome:
    """What one reply would do to the client as it is now: nothing has been changed yet."""

    reasoning: str
    utterance: str
    judgement: Judgement
    state: ClientState
    report: TurnReport
    parts: RewardParts
    composite: float  # the stage-weighted composite, in [0, 10], whatever the reward's scales

    @property
    def reward(self) -> float:
        """The sum of the reward parts."""
        return float(self.parts.total[0])


@dataclass
class SessionState:
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
    tried: dict[str, Outcome] = field(default_factory=dict)  # replies already judged at this very turn


@dataclass(frozen=True)
class Snapshot:
    """A session and the environment's generator, as they stood."""

    session: SessionState
    chance: Any  # the state of numpy's bit generator
