"""The reward of one turn as named parts (paper 388-402, 469). Every part is (N,); the reward is their sum."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from client_graph.names import DIMENSIONS
from client_graph.turn import TurnReport
from rewards.sentence import reward_sentence
from rewards.settings import RewardSettings
from rewards.tables import RewardTables, load_reward_tables

MOST_TOLD = 20  # clients of a batch that str() tells of


class RewardParts(NamedTuple):
    """What each signal adds; (N,) each, in reward points. str() tells it in words, a line a client."""

    composite: np.ndarray  # of the stage composite: the scores' mean, weighted for the stage
    modifiers: np.ndarray
    phase_transition: np.ndarray
    stage_transition: np.ndarray
    taie_trend: np.ndarray
    transformation: np.ndarray
    adaptation_events: np.ndarray
    attunement_change: np.ndarray
    ending: np.ndarray  # what the turns that were not held count for
    violations: np.ndarray  # what a reply costs that broke the frame

    @property
    def total(self) -> np.ndarray:
        """(N,) the reward."""
        return sum(self, np.zeros_like(self.composite))  # part by part: the same bits alone and in a batch

    def of(self, client: int) -> dict[str, float]:
        """The parts of one client by name."""
        return {name: float(part[client]) for name, part in zip(self._fields, self, strict=True)}

    def sentence(
        self,
        client: int = 0,
        *,
        stage_composite: float | None = None,
        stage: int | None = None,
        modifiers: Mapping[str, float] | None = None,
        violations: Sequence[str] = (),
    ) -> str:
        """The reward of one client in words; see rewards.sentence.reward_sentence for what may be named."""
        return reward_sentence(
            self.of(client), stage_composite=stage_composite, stage=stage, modifiers=modifiers, violations=violations
        )

    def __str__(self) -> str:
        count = len(self.composite)
        if count == 1:
            return self.sentence()
        lines = [f"{client}: {self.sentence(client)}" for client in range(min(count, MOST_TOLD))]
        return "\n".join([*lines, *([f"and {count - MOST_TOLD} more"] if count > MOST_TOLD else [])])


def stage_composite(scores: np.ndarray, stage: np.ndarray, tables: RewardTables | None = None) -> np.ndarray:
    """C_stage, (N,) in [0, 10]; scores (N, 12), stage (N,) int in 0..3 (paper 392). The plain mean of the twelve, which the
    paper calls the composite (408), is Judgement.composite.

    C_stage = Σ_d w_sd · score_d / Σ_d w_sd
    """
    weights = (tables or load_reward_tables()).weights[stage]
    return np.einsum("nd,nd->n", weights, scores) / weights.sum(axis=1)


def stage_modifiers(scores: np.ndarray, stage: np.ndarray, tables: RewardTables | None = None) -> dict[str, np.ndarray]:
    """Each bonus or penalty of the clients' stages by name, (N,) points, 0 where it does not apply (paper 396-399)."""
    found = {}
    for row in (tables or load_reward_tables()).modifiers:
        value = scores[:, [DIMENSIONS.index(name) for name in row.dimensions]].mean(axis=1)
        meets = value > row.threshold if row.relation == "above" else value < row.threshold
        found[row.name] = np.where((stage == row.stage - 1) & meets, row.reward, 0.0)
    return found


def turn_reward(
    scores: np.ndarray,
    stage: np.ndarray,
    report: TurnReport,
    settings: RewardSettings | None = None,
    tables: RewardTables | None = None,
) -> RewardParts:
    """The parts of a turn's reward; `stage` (N,) int in 0..3 is the stage in which the turn was taken."""
    scale = settings or RewardSettings()
    zero = np.zeros(len(scores))
    return RewardParts(
        composite=scale.composite * stage_composite(scores, stage, tables),
        modifiers=scale.modifiers * sum(stage_modifiers(scores, stage, tables).values(), zero),
        phase_transition=_steps(report.phase_step, scale.phase_forward, scale.phase_regression),
        stage_transition=zero,
        taie_trend=scale.taie * report.axis_trend.astype(np.float64),
        transformation=scale.transformation * report.transformation_change,
        adaptation_events=scale.adaptation_event * report.adaptation_events.sum(axis=1).astype(np.float64),
        attunement_change=scale.attunement * report.attunement_change,
        ending=zero,
        violations=zero,
    )


def with_violations(parts: RewardParts, charge: np.ndarray, settings: RewardSettings | None = None) -> RewardParts:
    """`parts` of a turn whose replies broke the frame: violations = violation · charge.

    charge (N,) in [0, 1]: the sum of weight times share of what was found in each reply, at most 1; 0 where it found nothing.
    The scores, and all that follows from them, stay as the judge gave them: what is charged is told, never rescored. Raises
    ValueError naming every charge that is no number in [0, 1].
    """
    charge = np.asarray(charge, dtype=np.float64)
    if charge.shape != parts.composite.shape:
        raise ValueError(
            f"found charges of shape {charge.shape}; expected one for each client: {parts.composite.shape}"
        )
    if wrong := [f"{c} at place {i}" for i, c in enumerate(charge.tolist()) if not 0.0 <= c <= 1.0]:
        raise ValueError(f"found charges {', '.join(wrong[:10])}; expected numbers in [0, 1]")
    scale = settings or RewardSettings()
    return parts._replace(violations=scale.violation * charge + 0.0)  # + 0.0: nothing charged is 0, not -0


def with_stage_transition(
    parts: RewardParts, stage_step: np.ndarray, settings: RewardSettings | None = None
) -> RewardParts:
    """`parts` of the session's last turn with the reward of a stage gained or lost at its end."""
    scale = settings or RewardSettings()
    return parts._replace(stage_transition=_steps(stage_step, scale.stage_forward, scale.stage_regression))


def with_ending(
    parts: RewardParts, way: np.ndarray, turns_not_held: np.ndarray, settings: RewardSettings | None = None
) -> RewardParts:
    """`parts` of the last turn, settled: what an early end means. `way` (N,) 1 done, -1 broken off, 0 neither; turns (N,).

    ending = closed_well · turns not held   if done,    broken_off · turns not held   if broken off

    An episode that ends early earns nothing more, so an unsettled reward pays for keeping whoever is well and for losing
    whoever suffers: the bias of absorbing states (Kostrikov et al. 2019). The paper ends no episode and is silent.
    """
    scale = settings or RewardSettings()
    settled = _steps(way, scale.closed_well, scale.broken_off) * turns_not_held
    return parts._replace(ending=parts.ending + settled)


def _steps(step: np.ndarray, forward: float, regression: float) -> np.ndarray:
    return np.where(step > 0, forward, np.where(step < 0, regression, 0.0))
