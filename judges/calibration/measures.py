"""What is known of a judge's error: the mathematics, from arrays of scores alone. Classical test theory in twelve columns.

Scores are points of ten, (n, 12) in the order of DIMENSIONS; a row of NaN is an exchange that the judge failed on, and
is left out. `better` and `worse` are the two replies of n pairs, `own` (n,) the dimension in which each pair differs.
"""

from dataclasses import dataclass

import numpy as np

from client_graph.names import DIMENSIONS

Z95 = 1.959964  # standard normal quantile of 0.975
TOP = 3  # a pair's own dimension should be among so many of the largest gaps


@dataclass(frozen=True)
class Share:
    """`count` of `of`."""

    count: int
    of: int

    @property
    def value(self) -> float:
        """In [0, 1]; NaN of none."""
        return self.count / self.of if self.of else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of Wilson (1927), which stays within [0, 1]; the whole range where nothing was counted.

        (p + z^2 / 2n  -+  z sqrt(p (1 - p) / n + z^2 / 4n^2)) / (1 + z^2 / n)
        """
        if not self.of:
            return 0.0, 1.0
        n, p, z = self.of, self.value, Z95
        middle, half = p + z * z / (2 * n), z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        scale = 1 + z * z / n
        return max(0.0, float((middle - half) / scale)), min(1.0, float((middle + half) / scale))


def share(hits: np.ndarray) -> Share:
    """How many are true."""
    return Share(int(np.count_nonzero(hits)), len(hits))


@dataclass(frozen=True, eq=False)
class Accuracy:
    """Pairs ranked rightly: by the composite, and by the pair's own dimension; a tie is wrong."""

    composite: Share
    own: Share
    composite_by: tuple[Share, ...]
    own_by: tuple[Share, ...]


def accuracy(better: np.ndarray, worse: np.ndarray, own: np.ndarray) -> Accuracy:
    """Over all pairs that were judged, and (…_by) over those of each dimension."""
    judged, own = _judged(better, worse), own[_judged(better, worse)]
    gaps = (better - worse)[judged]
    by_all, by_own = gaps.mean(axis=1) > 0, gaps[np.arange(len(gaps)), own] > 0
    of = range(len(DIMENSIONS))
    return Accuracy(
        share(by_all),
        share(by_own),
        tuple(share(by_all[own == d]) for d in of),
        tuple(share(by_own[own == d]) for d in of),
    )


def gap_matrix(better: np.ndarray, worse: np.ndarray, own: np.ndarray) -> np.ndarray:
    """(12, 12): row d is the mean of better - worse over the pairs of dimension d; NaN without pairs."""
    judged = _judged(better, worse)
    gaps, of = (better - worse)[judged], own[judged]
    found = [
        gaps[of == d].mean(axis=0) if np.any(of == d) else np.full(len(DIMENSIONS), np.nan)
        for d in range(len(DIMENSIONS))
    ]
    return np.stack(found)


@dataclass(frozen=True)
class Discrimination:
    """Whether a score falls in the dimension that is wrong: own gap above the mean of the others; among the TOP largest."""

    above_others: Share
    among_top: Share


def discrimination(better: np.ndarray, worse: np.ndarray, own: np.ndarray) -> Discrimination:
    """By chance the first is about 1/2 and the second 3/12; a judge of one number for all twelve has neither."""
    judged = _judged(better, worse)
    gaps, of = (better - worse)[judged], own[judged]
    rows = np.arange(len(gaps))
    mine = gaps[rows, of]
    others = (gaps.sum(axis=1) - mine) / (len(DIMENSIONS) - 1)
    larger = (gaps >= mine[:, None]).sum(axis=1)  # itself and its ties included: a tie is no distinction
    return Discrimination(share(mine > others), share(larger <= TOP))


def correlation(scores: np.ndarray) -> np.ndarray:
    """(12, 12) Pearson's r between dimensions; NaN where one does not vary."""
    kept = scores[~np.isnan(scores).any(axis=1)]
    centred = kept - kept.mean(axis=0)
    covariance, spread = centred.T @ centred, np.sqrt((centred**2).sum(axis=0))
    with np.errstate(invalid="ignore", divide="ignore"):
        return covariance / np.outer(spread, spread)


def mean_off_diagonal(matrix: np.ndarray) -> float:
    """The mean of what stands beside the diagonal, NaN left out."""
    beside = matrix[~np.eye(len(matrix), dtype=bool)]
    return float(np.nanmean(beside)) if np.isfinite(beside).any() else float("nan")


@dataclass(frozen=True)
class LengthBias:
    """Points of the composite for each e-fold of the words: among the better replies, the worse ones, and both together
    with quality held constant (its two levels as a column of their own)."""

    better: float
    worse: float
    partial: float


def length_bias(better: np.ndarray, worse: np.ndarray, words_better: np.ndarray, words_worse: np.ndarray) -> LengthBias:
    """Composites (n,) of the pairs on log words: composite = a + b good + slope log(words), by least squares."""
    y = np.concatenate([better, worse])
    good = np.repeat([1.0, 0.0], [len(better), len(worse)])
    length = np.log(np.concatenate([words_better, words_worse]))
    kept = ~np.isnan(y)
    first, second = kept & (good == 1), kept & (good == 0)
    return LengthBias(
        _slope(y[first], length[first]), _slope(y[second], length[second]), _slope(y[kept], length[kept], good[kept])
    )


def _slope(y: np.ndarray, x: np.ndarray, *held: np.ndarray) -> float:
    columns = np.stack([x, np.ones_like(x), *held], axis=1)
    if len(y) < columns.shape[1] or np.ptp(x) == 0:
        return float("nan")
    return float(np.linalg.lstsq(columns, y, rcond=None)[0][0])


def spread(repeats: np.ndarray) -> np.ndarray:
    """(12,) the pooled standard deviation of one exchange's scores over r repeats, (r, n, 12): sqrt of the mean variance.

    A repeat that failed is left out of its exchange; an exchange with fewer than two repeats is left out.
    """
    there = ~np.isnan(repeats).any(axis=2)
    kept = there.sum(axis=0) >= 2
    if not kept.any():
        return np.full(repeats.shape[2], np.nan)
    return np.asarray(np.sqrt(np.nanvar(repeats[:, kept], axis=0, ddof=1).mean(axis=0)))


@dataclass(frozen=True)
class Swap:
    """The same reply under another client's words: how often its composite falls, and by how many points on average."""

    falls: Share
    mean_fall: float
    median_fall: float


def swap(own: np.ndarray, swapped: np.ndarray) -> Swap:
    """Composites (n,) under the client who was answered, and under another."""
    fall = (own - swapped)[~np.isnan(own - swapped)]
    return (
        Swap(share(fall > 0), float(fall.mean()), float(np.median(fall)))
        if len(fall)
        else Swap(Share(0, 0), np.nan, np.nan)
    )


def coverage(scores: np.ndarray, truth: np.ndarray, error: np.ndarray) -> tuple[Share, ...]:
    """For each dimension: how many authored scores lie within the stated error. Half, where a probable error is honest."""
    kept = ~np.isnan(scores).any(axis=1)
    within = np.abs(scores - truth)[kept] <= error[kept]
    return tuple(share(column) for column in within.T)


@dataclass(frozen=True)
class Agreement:
    """Two judges of the same replies. bias: mean of a - b; low, high: bias -+ 1.96 sd (Bland and Altman 1986)."""

    spearman: float
    bias: float
    low: float
    high: float


def agreement(a: np.ndarray, b: np.ndarray) -> Agreement:
    """Of composites (n,); those that one of them lacks are left out. NaN below three."""
    kept = ~np.isnan(a - b)
    if kept.sum() < 3:
        return Agreement(np.nan, np.nan, np.nan, np.nan)
    difference = (a - b)[kept]
    bias, half = float(difference.mean()), Z95 * float(difference.std(ddof=1))
    return Agreement(spearman(a[kept], b[kept]), bias, bias - half, bias + half)


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's r of the ranks, ties sharing their mean rank; NaN where one side does not vary."""
    x, y = (ranks - ranks.mean() for ranks in (_ranks(a), _ranks(b)))
    size = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / size) if size > 0 else float("nan")


def _ranks(values: np.ndarray) -> np.ndarray:
    below = (values[None, :] < values[:, None]).sum(axis=1)
    level = (values[None, :] == values[:, None]).sum(axis=1)
    return np.asarray(below + (level + 1) / 2)


def _judged(better: np.ndarray, worse: np.ndarray) -> np.ndarray:
    return np.asarray(~(np.isnan(better) | np.isnan(worse)).any(axis=1))
