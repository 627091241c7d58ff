"""Therapists to measure against: random, constant, single-minded, a clinician who reads the client, one who cannot.

A policy looks at observations (N, 10) and answers with emphasis (N, 12) in [0, 1]; `phase` (N,) is the truth, which only
the oracle uses.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from client_graph.names import DIMENSIONS
from envs.skills import observation as see
from envs.skills.response import Moment, ResponseModel

A = 0


class Policy(Protocol):
    """A therapist of numbers."""

    @property
    def name(self) -> str: ...

    def act(self, observations: np.ndarray, phase: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class RandomPolicy:
    """Uniform in the action space."""

    rng: np.random.Generator
    name: str = "random"

    def act(self, observations: np.ndarray, phase: np.ndarray) -> np.ndarray:
        """(N, 12) emphasis."""
        return self.rng.random((len(observations), len(DIMENSIONS)))


@dataclass(frozen=True)
class ConstantPolicy:
    """The same emphasis, whoever sits there."""

    emphasis: np.ndarray  # (12,)
    name: str = "constant"

    def act(self, observations: np.ndarray, phase: np.ndarray) -> np.ndarray:
        """(N, 12) emphasis."""
        return np.tile(self.emphasis, (len(observations), 1))


def single_minded(dimension: str) -> ConstantPolicy:
    """All on one dimension: a therapist with one virtue."""
    return ConstantPolicy(np.array([float(name == dimension) for name in DIMENSIONS]), f"only {dimension}")


# What a clinician who has read the sixteen cells of guidance.csv would put first, by stage and phase.
PRIORITIES: dict[int, tuple[str, str, str, str]] = {
    1: (
        "safety pacing boundaries validation attunement",
        "attunement tenderness validation parallel_thinking pacing",
        "safety pacing non_reactivity boundaries parallel_thinking",
        "boundaries validation repair thoughtfulness tenderness",
    ),
    2: (
        "repair pacing attunement safety thoughtfulness",
        "attunement clinical_wisdom parallel_thinking pacing tenderness",
        "attunement non_reactivity tenderness parallel_thinking clinical_wisdom",
        "repair thoughtfulness clinical_wisdom artfulness validation",
    ),
    3: (
        "clinical_wisdom non_reactivity parallel_thinking repair attunement",
        "clinical_wisdom thoughtfulness parallel_thinking artfulness attunement",
        "parallel_thinking tenderness non_reactivity safety attunement",
        "artfulness thoughtfulness parallel_thinking clinical_wisdom validation",
    ),
    4: (
        "boundaries pacing non_reactivity validation tenderness",
        "validation attunement tenderness non_reactivity boundaries",
        "tenderness attunement pacing boundaries non_reactivity",
        "artfulness repair tenderness thoughtfulness validation",
    ),
}
SHARES = (1.0, 0.9, 0.8, 0.7, 0.6)  # emphasis on the first to the fifth priority: 4 in all
# openness + disclosure - resistance - defensiveness, as seen, from which on the client is taken to be in B and in C, by stage.
OPENING: dict[int, tuple[float, float]] = {1: (-3.5, 6.0), 2: (1.5, 11.0), 3: (7.5, 15.0), 4: (12.5, 17.5)}
FLOODED = "safety pacing non_reactivity attunement boundaries"
MISSED = "repair attunement safety pacing validation"
OVERWHELMED = 3.5  # seen overwhelm from which on nothing but ground is offered
FELT_BADLY = 3.5  # felt score of the last turn under which repair comes first


def emphasis_on(priorities: str) -> np.ndarray:
    """(12,) emphasis on up to five dimensions, in order."""
    emphasis = np.zeros(len(DIMENSIONS))
    for name, share in zip(priorities.split(), SHARES, strict=True):
        emphasis[DIMENSIONS.index(name)] = share
    return emphasis


_BY_MOMENT = np.array([[emphasis_on(PRIORITIES[stage][phase]) for phase in range(4)] for stage in (1, 2, 3, 4)])
_OPENING = np.array([OPENING[stage] for stage in (1, 2, 3, 4)])


@dataclass(frozen=True)
class Clinician:
    """Reads stage and signals, guesses the phase, and does what the guidance for that moment puts first.

    reads_stage, reads_phase: a clinician without one of them does the mean of what it would do in each case.
    knows_phase: the oracle, who is told.
    """

    name: str = "clinician"
    reads_stage: bool = True
    reads_phase: bool = True
    knows_phase: bool = False

    def act(self, observations: np.ndarray, phase: np.ndarray) -> np.ndarray:
        """(N, 12) emphasis."""
        stage = observations[:, see.STAGE].astype(np.int64) - 1
        guess = phase if self.knows_phase else self.guess(observations)
        if self.reads_stage and self.reads_phase:
            emphasis = _BY_MOMENT[stage, guess]
        elif self.reads_stage:
            emphasis = _BY_MOMENT.mean(axis=1)[stage]
        else:
            emphasis = _BY_MOMENT.mean(axis=0)[guess]
        missed = (observations[:, see.FELT] < FELT_BADLY) & (observations[:, see.TURN] > 0)
        emphasis = np.where(missed[:, None], emphasis_on(MISSED), emphasis)
        if not self.reads_phase:
            return emphasis
        flooded = observations[:, see.OVERWHELM] > OVERWHELMED
        return np.where(flooded[:, None], emphasis_on(FLOODED), emphasis)

    def guess(self, observations: np.ndarray) -> np.ndarray:
        """(N,) phase that the signals speak of, A to C; without a stage the clinician thinks of a client in stage 2.

        Who is past the core looks much like who is at it, and leaving it too early costs more: so it never guesses D.
        """
        stage = observations[:, see.STAGE].astype(np.int64) - 1 if self.reads_stage else np.ones(len(observations), int)
        signs = observations[:, [see.OPENNESS, see.DISCLOSURE, see.RESISTANCE, see.DEFENSIVENESS]].astype(np.float64)
        opening = signs[:, 0] + signs[:, 1] - signs[:, 2] - signs[:, 3]
        guess: np.ndarray = (opening[:, None] >= _OPENING[stage]).sum(axis=1)
        return np.where(observations[:, see.TURN] == 0, A, guess)  # every session begins defended


CLINICIANS = (
    Clinician(),
    Clinician("blind to stage", reads_stage=False),
    Clinician("blind to phase", reads_phase=False),
    Clinician("oracle of phase", knows_phase=True),
)


@dataclass(frozen=True)
class Knowing:
    """Knows the tables and the true client, and meets the largest needs first: what one turn at a time could reach at best."""

    response: ResponseModel
    moment: Callable[[], Moment]
    weights: np.ndarray = field(repr=False)  # (4, 12) of the stages' composites
    name: str = "knows the needs"

    def act(self, observations: np.ndarray, phase: np.ndarray) -> np.ndarray:
        """(N, 12) emphasis."""
        moment = self.moment()
        needs = self.response.needs(moment)
        order = np.argsort(-needs - 0.01 * self.weights[moment.stage], axis=1, kind="stable")
        ordered = np.take_along_axis(needs, order, axis=1)
        left = np.maximum(0.0, self.response.settings.budget - (np.cumsum(ordered, axis=1) - ordered))
        emphasis = np.zeros_like(needs)
        np.put_along_axis(emphasis, order, np.minimum(ordered, left), axis=1)
        return emphasis
