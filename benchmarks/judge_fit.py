"""Which kernel the embedding judge should have: each choice judged on clients that were left out, exactly and without refits.

    python benchmarks/judge_fit.py [--quick]

    right      share of pairs of replies to one client, two points apart in the authored mean, that are ranked rightly
    own        the same by dimension, for scores three points apart
    miss       root mean square of target minus prediction, points
    swapped    share of good replies that score lower under another client's words

No held-out pair is read here: they are for the last look. Cost: one inverse of (rows, rows) a choice, 2 n^3 operations.
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
    LAYER_WEIGHT,
    LIKE,
    LIKE_CLIENT,
    LINEAR,
    NARROW,
    PENALTY,
    TrainingData,
    kernel,
    sigmoid,
)
from judges.offline.minilm import READ, WIDTH, SentenceEncoder
from judges.offline.ridge import kernel_ridge

Choice = dict[str, float]
SHIPPED: Choice = {
    "linear": LINEAR, "like": LIKE, "like_client": LIKE_CLIENT, "narrow": NARROW, "penalty": PENALTY, "layers": LAYER_WEIGHT,
}  # fmt: skip
# Each changes the shipped choice in one or two places.
CHOICES: dict[str, Choice] = {
    "shipped": {},
    "linear alone": {"like": 0.0, "like_client": 0.0, "linear": 1.0, "penalty": 100.0},
    "no client in the kernel": {"like_client": 0.0},
    "client only": {"like": 0.0, "like_client": 40.0},
    "more client": {"like_client": 40.0},
    "narrower": {"narrow": 0.45},
    "wider": {"narrow": 0.2},
    "penalty 5": {"penalty": 5.0},
    "penalty 20": {"penalty": 20.0},
    "layers x 1.5": {"layers": 1.5 * LAYER_WEIGHT},
    "layers x 0.7": {"layers": 0.7 * LAYER_WEIGHT},
    "little linear": {"linear": 0.1},
}


def predicted(data: TrainingData, choice: Choice) -> np.ndarray:
    """(rows, 12) scores, each row by the fit without its client."""
    names = {"LINEAR": "linear", "LIKE": "like", "LIKE_CLIENT": "like_client", "NARROW": "narrow"}
    rows = data.rows.copy()
    rows[:, : len(READ) * WIDTH] *= choice["layers"] / LAYER_WEIGHT
    lengths = [np.einsum("nd,nd->n", part, part) for part in (rows, rows[:, : len(READ) * WIDTH])]
    before = {name: getattr(fitting, name) for name in names}
    try:
        for name, key in names.items():
            setattr(fitting, name, choice[key])
        gram = kernel(rows, data.clients, rows, data.clients, np.median(lengths, axis=1)) + BIAS
    finally:
        for name, value in before.items():
            setattr(fitting, name, value)
    ridge = kernel_ridge(gram, data.targets, choice["penalty"], data.groups)
    scores: np.ndarray = 10 * sigmoid(data.targets - data.errors(ridge))
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
    print(f"{data.authored} authored rows of {len(data.names)} clients, {len(data.rows)} with the wrong pairs\n")
    print("| choice | right | own | miss | swapped | s |\n|---|--:|--:|--:|--:|--:|")
    for name, change in list(CHOICES.items())[: 4 if few else None]:
        began = time.perf_counter()
        with one_thread():
            found = measures(data, predicted(data, SHIPPED | change))
        right, own, miss, swapped = found
        print(
            f"| {name} | {right:.3f} | {own:.3f} | {miss:.2f} | {swapped:.3f} | {time.perf_counter() - began:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
