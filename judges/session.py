"""A session as a whole: what single turns cannot show (paper line 410).

Computed from the turns that were judged; a turn whose judge failed has no score and is left out, and counted.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from judges.protocol import JudgeError, JudgeFailure, Judgement


@dataclass(frozen=True, eq=False)
class SessionAssessment:
    """Each array (12,) float64 in the order of DIMENSIONS, read-only.

    mean, least, greatest: in [0, 10]. trend: last judged turn minus first, in [-10, 10]. trajectory: (turns,) composite
    of each judged turn. steadiness: its standard deviation, points; 0 is steady. failures: turns without a score.
    """

    mean: np.ndarray
    least: np.ndarray
    greatest: np.ndarray
    trend: np.ndarray
    trajectory: np.ndarray
    steadiness: float
    failures: int

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SessionAssessment):
            return NotImplemented
        mine, theirs = vars(self), vars(other)
        return all(np.array_equal(mine[name], theirs[name]) for name in mine)

    def __hash__(self) -> int:
        return hash((self.trajectory.tobytes(), self.failures))

    @property
    def composite(self) -> float:
        """The unweighted mean of the twelve means."""
        return float(self.mean.mean())


def summarise_session(judgements: Sequence[Judgement | JudgeFailure]) -> SessionAssessment:
    """The session's assessment, turns in order. Raises JudgeError where no turn was judged."""
    judged = [turn for turn in judgements if isinstance(turn, Judgement)]
    if not judged:
        raise JudgeError(f"found {len(judgements)} turns and no judgement; a session needs at least one judged turn")
    return summarise_scores(np.stack([turn.scores for turn in judged]), len(judgements) - len(judged))


def summarise_scores(scores: np.ndarray, failures: int = 0) -> SessionAssessment:
    """The same from the scores (turns, 12) alone, at least one turn; `failures` turns had none."""
    trajectory = scores.mean(axis=1)
    return SessionAssessment(
        mean=_frozen(scores.mean(axis=0)),
        least=_frozen(scores.min(axis=0)),
        greatest=_frozen(scores.max(axis=0)),
        trend=_frozen(scores[-1] - scores[0]),
        trajectory=_frozen(trajectory),
        steadiness=float(trajectory.std()),
        failures=failures,
    )


def _frozen(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array
