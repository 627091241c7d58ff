"""Therapists to measure against: random, constant, single-minded, linear, a clinician who reads the client, and those who are told.

A policy looks at observations (N, 10) and answers with emphasis (N, 12) in [0, 1]; `phase` (N,) is the truth, which only
who is told it uses.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from client_graph.names import DIMENSIONS
from envs.skills import observation as see
from envs.skills.response import Moment, ResponseModel, ResponseSettings

A, STEADY = 0, 0
_TABLES = ResponseModel().tables


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
# What gets more, and what gets less, when the client does something that cannot wait. In the order of skills_markers.csv.
ANSWERS: dict[str, tuple[str, str]] = {
    "steady": ("", ""),
    "reaching": (
        "attunement tenderness validation",
        "boundaries clinical_wisdom thoughtfulness parallel_thinking repair",
    ),
    "withdrawing": (
        "repair pacing parallel_thinking",
        "tenderness clinical_wisdom thoughtfulness artfulness validation",
    ),
    "confronting": ("non_reactivity repair boundaries validation", "tenderness pacing clinical_wisdom artfulness"),
    "flooded": ("safety non_reactivity pacing", "clinical_wisdom thoughtfulness artfulness parallel_thinking repair"),
    "distancing": ("attunement parallel_thinking artfulness", "thoughtfulness non_reactivity pacing validation"),
    "wondering": ("clinical_wisdom thoughtfulness artfulness", "safety pacing validation boundaries"),
}
# How clients of a stage and phase usually show when nothing passes, level points, in the order of names.SIGNALS; from 1,200
# sessions of the therapist who knows the needs. C and D of stage 1 are too rare there and stand as a clinician would guess.
USUAL = np.array(
    [
        [[3.0, 2.0, 6.4, 5.8, 0.4], [5.1, 4.0, 4.7, 3.9, 0.2], [9.0, 8.2, 3.3, 2.4, 0.0], [9.2, 8.2, 2.6, 1.8, 0.0]],
        [[4.2, 3.2, 5.1, 4.4, 0.0], [6.9, 6.1, 3.6, 2.9, 0.0], [10.3, 9.9, 2.5, 1.9, 0.0], [10.3, 9.6, 1.9, 1.3, 0.0]],
        [[5.4, 4.4, 3.1, 2.6, 0.0], [8.3, 7.8, 2.2, 1.7, 0.0], [11.8, 12.0, 1.4, 1.0, 0.0], [11.3, 10.9, 1.1, 0.7, 0.0]],
        [[6.2, 5.3, 1.6, 1.2, 0.0], [9.4, 9.3, 1.1, 0.7, 0.0], [12.7, 13.8, 0.7, 0.3, 0.0], [11.8, 12.0, 0.5, 0.2, 0.0]],
    ]
)  # fmt: skip
UNSURE = np.array([0.9, 1.1, 0.7, 0.7, 0.7])  # standard deviation of what is seen about that: clients differ, and noise
TURNED = 0.6  # how much more or less a marker makes it
BUDGET = ResponseSettings().budget


def emphasis_on(priorities: str) -> np.ndarray:
    """(12,) emphasis on up to five dimensions, in order."""
    emphasis = np.zeros(len(DIMENSIONS))
    for name, share in zip(priorities.split(), SHARES, strict=False):
        emphasis[DIMENSIONS.index(name)] = share
    return emphasis


def answer(usual: str, marker: str) -> np.ndarray:
    """(12,) emphasis: what is `usual` at this stage and phase, and more and less of what the marker asks for."""
    more, less = (names.split() for names in ANSWERS[marker])
    turned = np.array([float(name in more) - float(name in less) for name in DIMENSIONS])
    emphasis = np.clip(emphasis_on(usual) + TURNED * turned, 0.0, 1.0)
    return emphasis * min(1.0, BUDGET / emphasis.sum())


_ANSWERS = np.array(  # (4, 4, markers, 12) by stage, phase and marker
    [[[answer(usual, marker) for marker in ANSWERS] for usual in PRIORITIES[stage]] for stage in (1, 2, 3, 4)]
)


@dataclass(frozen=True)
class Clinician:
    """Reads stage and signals, weighs which phase and which marker they speak of, and does what that asks for, in proportion.

    p(phase, marker) ∝ odds of skills_markers.csv · exp(-½ Σ_s ((seen_s - usual_s - marker_s) / unsure_s)²),   phase A at turn 0
    emphasis = Σ p(phase, marker) · answer(stage, phase, marker)

    reads_stage: without it the clinician thinks of every client as in stage 2.
    reads_markers: without it the clinician takes all that is seen for phase.
    knows_phase: is told the phase.
    marker: a function that tells what each client does, (N,) places in skills_markers.csv; None where it is weighed.
    """

    name: str = "clinician"
    reads_stage: bool = True
    reads_markers: bool = True
    knows_phase: bool = False
    marker: Callable[[], np.ndarray] | None = None

    def act(self, observations: np.ndarray, phase: np.ndarray) -> np.ndarray:
        """(N, 12) emphasis."""
        weight = self.weigh(observations, phase if self.knows_phase else None)
        answers = _ANSWERS[self._stage(observations)]
        emphasis: np.ndarray = np.einsum("npm,npmd->nd", weight, answers)
        return np.clip(emphasis, 0.0, 1.0)

    def weigh(self, observations: np.ndarray, phase: np.ndarray | None = None) -> np.ndarray:
        """(N, 4, markers) how likely each phase and marker are, 1 in all; `phase` (N,) where it is known."""
        usual = USUAL[self._stage(observations)][:, :, None, :] + _TABLES.marker_signs
        far = (observations[:, None, None, : see.FELT] - usual) / UNSURE
        likely = np.log(np.diff(_TABLES.odds, axis=1, prepend=0.0) + 1e-12) - 0.5 * (far**2).sum(axis=-1)
        known = np.where(observations[:, see.TURN] == 0, A, -1) if phase is None else phase
        likely[(known[:, None] >= 0) & (known[:, None] != np.arange(4))] = -np.inf
        if self.marker is not None:
            other = self.marker()[:, None] != np.arange(len(ANSWERS))
            likely = np.where(other[:, None, :], -np.inf, likely)
        if not self.reads_markers:
            likely[:, :, STEADY + 1 :] = -np.inf
        weight = np.exp(likely - likely.max(axis=(1, 2), keepdims=True))
        return weight / weight.sum(axis=(1, 2), keepdims=True)

    def _stage(self, observations: np.ndarray) -> np.ndarray:
        stage: np.ndarray = observations[:, see.STAGE].astype(np.int64) - 1
        return stage if self.reads_stage else np.ones_like(stage)


@dataclass(frozen=True)
class LinearPolicy:
    """A linear map of what is seen, one for each stage, cut to [0, 1]."""

    weights: np.ndarray  # (4, rows, 12): by stage; the first rows of `columns`, of which the first is 1, count
    name: str = "linear"

    @staticmethod
    def columns(observations: np.ndarray) -> np.ndarray:
        """(N, 8) one, the five signals, how the last turn felt, the turn; near [-1, 1]."""
        seen = observations.astype(np.float64)
        ones = np.ones((len(seen), 1))
        return np.concatenate([ones, seen[:, : see.FELT + 1] / 5.0 - 1.0, seen[:, see.TURN, None] / 10.0 - 1.0], axis=1)

    def act(self, observations: np.ndarray, phase: np.ndarray) -> np.ndarray:
        """(N, 12) emphasis."""
        maps = self.weights[observations[:, see.STAGE].astype(np.int64) - 1]
        columns = self.columns(observations)[:, None, : maps.shape[1]]
        emphasis: np.ndarray = np.clip((columns @ maps)[:, 0], 0.0, 1.0)
        return emphasis


# Found by envs.skills.evaluation.best_linear from maps of one row, that is, four constants, one a stage, which see nothing else;
# 30 generations of 64 candidates on 16 new clients a stage, from the best constant for all stages on; as they are cut to [0, 1].
FOUR_CONSTANTS = LinearPolicy(
    np.array(
        [
            [[0.78, 0.67, 0.92, 0.18, 0.81, 0.48, 0.11, 0.00, 0.00, 0.22, 0.00, 0.00]],
            [[1.00, 0.57, 0.51, 0.45, 0.47, 0.31, 1.00, 0.00, 0.17, 0.70, 0.13, 0.00]],
            [[0.81, 0.41, 0.54, 0.30, 0.38, 0.26, 0.30, 0.39, 0.65, 1.00, 0.25, 0.00]],
            [[1.00, 0.62, 0.23, 0.69, 0.61, 0.70, 0.46, 0.00, 0.00, 0.15, 0.36, 0.00]],
        ]
    ),
    "four constants",
)


def told(marker: Callable[[], np.ndarray]) -> Clinician:
    """The clinician who is told the phase and, by `marker`, what each client does: nothing is left to be read."""
    return Clinician("clinician told phase and marker", knows_phase=True, marker=marker)


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
