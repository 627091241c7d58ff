"""What a judge's score asks of the client: help above 6.5, harm below 3.5, nothing between (paper 333, 348)."""

import numpy as np

from client_graph.compiled import compiled
from client_graph.names import DIMENSIONS

HIGH = 6.5
LOW = 3.5
MOST_NAMED = 48  # bad scores that one error names: all of four clients'


class ScoreError(ValueError):
    """Scores that no judge may give: wrong shape, not finite, or outside [0, 10]."""


def checked_scores(scores: np.ndarray, clients: int) -> np.ndarray:
    """`scores` as a C-contiguous (N, 12) float64 array; every bad entry is named. Nothing is clamped."""
    if _is_plain(scores, clients) and _all_valid(scores):
        return scores
    try:
        values = np.asarray(scores)
    except ValueError as error:
        raise ScoreError(
            f"found scores that are no array ({error}); expected ({clients}, {len(DIMENSIONS)}) numbers"
        ) from error
    if values.dtype == bool or not np.issubdtype(values.dtype, np.number) or np.iscomplexobj(values):
        raise ScoreError(f"found scores of type {values.dtype}; expected numbers in [0, 10]")
    values = np.require(values, dtype=np.float64, requirements=["C", "W"])
    if values.shape != (clients, len(DIMENSIONS)):
        raise ScoreError(
            f"found scores of shape {values.shape}; expected ({clients}, {len(DIMENSIONS)}): a row a client, a column a dimension"
        )
    if not _all_valid(values):
        bad = np.argwhere(~((values >= 0.0) & (values <= 10.0)))
        found = ", ".join(f"{DIMENSIONS[d]} of client {n} is {values[n, d]}" for n, d in bad[:MOST_NAMED])
        more = f" and {len(bad) - MOST_NAMED} more" if len(bad) > MOST_NAMED else ""
        raise ScoreError(f"found {found}{more}; expected finite scores in [0, 10]")
    return values


def _is_plain(scores: object, clients: int) -> bool:
    """Whether `scores` are as the turn reads them: a read-only array, or one in another order, would compile it anew."""
    if type(scores) is not np.ndarray or scores.dtype != np.float64 or scores.shape != (clients, len(DIMENSIONS)):
        return False
    return bool(scores.flags.c_contiguous and scores.flags.writeable)


@compiled
def _all_valid(values):  # type: ignore[no-untyped-def]
    valid = 0
    for value in values.flat:
        valid += int(0.0 <= value <= 10.0)
    return valid == values.size


@compiled
def drive(score, literal):  # type: ignore[no-untyped-def]
    """(help, harm), each in [0, 10], of one score in [0, 10].

    excess:   help = 10 (s - 6.5) / 3.5 if s > 6.5 else 0,   harm = 10 (3.5 - s) / 3.5 if s < 3.5 else 0
    literal:  help = s if s > 6.5 else 0,                    harm = s if s < 3.5 else 0
    """
    if score > HIGH:
        return (score if literal else 10.0 * (score - HIGH) / (10.0 - HIGH)), 0.0
    if score < LOW:
        return 0.0, (score if literal else 10.0 * (LOW - score) / LOW)
    return 0.0, 0.0


@compiled
def drives(scores, first, literal, helping, harming):  # type: ignore[no-untyped-def]
    """Write `helping` and `harming` (12, lanes) of the clients from `first` on; `scores` (N, 12)."""
    for k in range(helping.shape[1]):
        for d in range(helping.shape[0]):
            helping[d, k], harming[d, k] = drive(scores[first + k, d], literal)
