"""Which kernel the embedding judge should have: each choice judged on clients that were left out, exactly and without refits.

    python benchmarks/judge_fit.py [--quick]

    right      share of pairs of replies to one client, two points apart in the authored mean, that are ranked rightly
    own        the same by dimension, for scores three points apart
    miss       root mean square of target minus prediction, points
    swapped    share of good replies that score lower under another client's words

No held-out pair is read here: they are for the last look. Cost: one inverse of (rows, rows) a choice, 2 n^3 operations,
and the ranking's folds once: about a quarter of an hour on one core.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a neighbour has the name of a package

import numpy as np

import judges.offline.fit as fitting
from judges.offline.blas import one_thread
from judges.offline.examples import read_examples
from judges.offline.fit import (
    BIAS,
    FOLDS,
    IN_RANKING,
    LIKE,
    LIKE_CLIENT,
    LINEAR,
    NARROW,
    PENALTY,
    RANK_PENALTY,
    RANKED,
    TrainingData,
    equated,
    equating,
    kernel,
    sigmoid,
)
from judges.offline.minilm import SentenceEncoder
from judges.offline.ranking import ranked_unseen
from judges.offline.ridge import kernel_ridge

Choice = dict[str, float]
SHIPPED: Choice = {"linear": LINEAR, "like": LIKE, "like_client": LIKE_CLIENT, "narrow": NARROW, "ranked": RANKED}
# Each changes the shipped choice in one or two places.
CHOICES: dict[str, Choice] = {
    "shipped": {},
    "no ranking": {"ranked": 0.0},
    "half ranking": {"ranked": 0.5},
    "ranking alone": {"ranked": 1.0},
    "no kernel but a line": {"like": 0.0, "like_client": 0.0, "linear": 1.0},
    "no client in the kernel": {"like_client": 0.0},
    "twice the client": {"like_client": 2 * LIKE_CLIENT},
    "narrower": {"narrow": 1.5 * NARROW},
    "wider": {"narrow": 0.7 * NARROW},
}


def predicted(data: TrainingData, choice: Choice, ranked: np.ndarray) -> np.ndarray:
    """(rows, 12) scores, each row by fits without its client; `ranked` (rows,) is what the ranking says of rows unseen."""
    names = {"LINEAR": "linear", "LIKE": "like", "LIKE_CLIENT": "like_client", "NARROW": "narrow"}
    before = {name: getattr(fitting, name) for name in names}
    try:
        for name, key in names.items():
            setattr(fitting, name, choice[key])
        gram = kernel(data.likeness_rows, data.clients, data.likeness_rows, data.clients, data.width) + BIAS
    finally:
        for name, value in before.items():
            setattr(fitting, name, value)
    p = data.targets - data.errors(kernel_ridge(gram, data.targets, PENALTY, data.groups))
    n = data.authored
    level, stretch, shift = equating(p[:n], ranked[:n], data.targets[:n], choice["ranked"])
    scores: np.ndarray = 10 * sigmoid(equated(p, ranked, level, stretch, shift))
    return scores


def measures(data: TrainingData, scores: np.ndarray) -> list[float]:
    """(right, own, miss, swapped)."""
    n = data.authored
    mean, target = scores[:n].mean(axis=1), data.scores[:n].mean(axis=1)
    right, own = [], []
    for rows in _by_client(data):
        apart = target[rows][:, None] - target[rows] > 2
        right += (mean[rows][:, None] > mean[rows])[apart].tolist()
        wide = data.scores[rows][:, None] - data.scores[rows] > 3
        own += (scores[rows][:, None] > scores[rows])[wide].tolist()
    miss = float(np.sqrt(np.mean((scores[:n] - data.scores[:n]) ** 2)))
    swapped = float(np.mean(scores[n:].mean(axis=1) < mean[data.reply_of[n:]]))
    return [float(np.mean(right)), float(np.mean(own)), miss, swapped]


def _by_client(data: TrainingData) -> Sequence[np.ndarray]:
    return [group[(group < data.authored) & (data.shown[group] == i)] for i, group in enumerate(data.groups)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the first four choices only")
    few = parser.parse_args().quick
    data = TrainingData(SentenceEncoder(), read_examples())
    with one_thread():
        ranked = ranked_unseen(data.rows * IN_RANKING, data.pairs, data.meant_for, RANK_PENALTY, FOLDS)
    print(f"{data.authored} authored rows of {len(data.names)} clients, {len(data.rows)} with the wrong pairs\n")
    print("| choice | right | own | miss | swapped | s |\n|---|--:|--:|--:|--:|--:|")
    for name, change in list(CHOICES.items())[: 4 if few else None]:
        began = time.perf_counter()
        with one_thread():
            found = measures(data, predicted(data, SHIPPED | change, ranked))
        right, own, miss, swapped = found
        print(
            f"| {name} | {right:.3f} | {own:.3f} | {miss:.2f} | {swapped:.3f} | {time.perf_counter() - began:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
