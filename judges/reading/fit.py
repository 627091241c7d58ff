"""Fit whether a reply means anything to this client, from what a frozen model's states say while it reads.

    x     = mean state over the tokens of the reply, read after the client's words, of two layers; standardised
    s     = u x + u_0                       logistic ridge: decent authored replies against nonsense and replies to somebody else
    P     = sigmoid(SLOPE (s - middle))     middle: below it lies a small share of decent replies to clients that a fit has not seen
    score = P 10 sigmoid(logit(judged) + start) + (1 - P) NOTHING      start: decent replies keep their mean

A causal model reads the reply word by word with the client's words before it, so a sentence that leads nowhere leaves other states
than one that says something; sentence vectors are means over words and hardly tell them apart. How good a reply is, is left to the
judge beside it: a line through these states that ranks replies ranks empty manner high as well (LOG.md). u is a line, small and
quick to ship; no row of the examples travels with it.
"""

import hashlib
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Protocol

import numpy as np

from judges.offline.blas import one_thread
from judges.offline.examples import Examples
from judges.offline.fit import logit, sigmoid
from judges.protocol import Exchange
from judges.reading.nonsense import KINDS, Nonsense

_log = logging.getLogger(__name__)
GOOD = 6.0  # mean score from which nonsense is made of a reply, and it is shown to somebody else
MEANT = 4.0  # mean score from which a reply counts as meant for its client
EVERY = 2  # half of the clients are read, which takes half as long
SWAP_STEP = 34  # the wrong client is so many clients further in the tables
PENALTY = 300.0  # of the squared weights
SLOPE, DOUBTED = 2.0, 0.07  # of P; the share of decent replies to unseen clients that lies below the middle
NOTHING = 1.0  # what a reply earns that surely means nothing (design)
DECENT = 5.5  # mean score of the replies that keep their mean
FARTHEST = 3.0  # no column goes beyond three standard deviations: no score is earned by extrapolating
FOLDS = 4
ABREAST = 8  # clients whose replies are read in one call
STEPS = 8  # Newton's
SEED = 0
HALVINGS = 60  # of the interval in which start lies
SHUT, OPEN = (
    0.002,
    0.05,
)  # shares of decent replies to unseen clients below which the gate is shut, and from which it is open


class Reader(Protocol):
    """A frozen model that reads replies."""

    def states(self, exchanges: Sequence[Exchange]) -> np.ndarray:
        """(n, width) mean state over the tokens of each reply after the client's words; NaN for a reply of no tokens."""


@dataclass(frozen=True)
class Rows:
    """What is read. kinds: "own" as authored, "swapped" said to somebody else, or a kind of nonsense; examples: (n,) the row of the
    tables that each is or is made of; clients and replies: texts."""

    clients: tuple[str, ...]
    replies: tuple[str, ...]
    kinds: np.ndarray
    examples: np.ndarray


@dataclass(frozen=True, eq=False)
class ReadingFit:
    """mean, sd (width,) before standardising; sense (width + 1,) u and u_0; middle and start (1,), logits."""

    mean: np.ndarray
    sd: np.ndarray
    sense: np.ndarray
    middle: np.ndarray
    start: np.ndarray

    def meant(self, states: np.ndarray) -> np.ndarray:
        """(n,) P in [0, 1] of states (n, width): that the reply means something to this client."""
        return probability(_line(standardised(states, self.mean, self.sd), self.sense), float(self.middle[0]))

    def held(self, scores: np.ndarray, meant: float | np.ndarray) -> np.ndarray:
        """The judge's scores in [0, 10], held against `meant`; shapes that broadcast."""
        return held_against(scores, meant, float(self.start[0]))


def probability(sense: np.ndarray, middle: float) -> np.ndarray:
    """P of sense logits."""
    return sigmoid(SLOPE * (sense - middle))


def held_against(scores: np.ndarray, meant: float | np.ndarray, start: float) -> np.ndarray:
    """The score to expect of a reply that means something with probability `meant`; below NOTHING nothing is added."""
    held: np.ndarray = meant * 10.0 * sigmoid(logit(scores) + start) + (1.0 - meant) * np.minimum(scores, NOTHING)
    return held


def rows_of(examples: Examples, rng: np.random.Generator, every: int = EVERY) -> Rows:
    """The authored replies to every so manyth client; good ones also turned into nonsense, half of them said to somebody else."""
    means, names = examples.scores.mean(axis=1), list(dict.fromkeys(examples.clients))
    place = {name: i for i, name in enumerate(names)}
    good: dict[str, list[str]] = {}
    for client, reply, mean in zip(examples.clients, examples.replies, means, strict=True):
        if mean >= GOOD:
            good.setdefault(client, []).append(reply)
    nonsense = Nonsense(good)
    rows: list[tuple[str, str, str, int]] = []
    for i, (client, reply) in enumerate(zip(examples.clients, examples.replies, strict=True)):
        if place[client] % every:
            continue
        rows.append((client, reply, "own", i))
        if means[i] < GOOD:
            continue
        if i % 2 == 0:
            rows.append((names[(place[client] + SWAP_STEP) % len(names)], reply, "swapped", i))
        kind = KINDS[len(rows) % len(KINDS)]
        rows.append((client, nonsense(kind, client, rng), kind, i))
    clients, replies, kinds, of = zip(*rows, strict=True)
    return Rows(clients, replies, np.array(kinds), np.array(of))


def read(reader: Reader, rows: Rows) -> np.ndarray:
    """(n, width) float32 states of all rows, client by client; says how far it is, since it takes minutes."""
    order = sorted(range(len(rows.clients)), key=lambda i: rows.clients[i])
    groups = [list(group) for _, group in groupby(order, key=lambda i: rows.clients[i])]
    parts, places, began = [], [], time.monotonic()
    for start in range(0, len(groups), ABREAST):
        together = [i for group in groups[start : start + ABREAST] for i in group]
        parts.append(reader.states([Exchange(rows.clients[i], "", rows.replies[i]) for i in together]))
        places += together
        if start and start % (20 * ABREAST) == 0:
            left = (time.monotonic() - began) / start * (len(groups) - start)
            _log.info("read the replies to %d of %d clients, about %.0f s left", start, len(groups), left)
    states = np.concatenate(parts)
    found = np.empty_like(states)
    found[places] = states
    return found


def fit(rows: Rows, states: np.ndarray, examples: Examples, judged: np.ndarray) -> tuple[ReadingFit, np.ndarray]:
    """The fit to states (n, width) of `rows`, and the sense logits (n,) that fits give which have not seen a row's client.

    judged: (examples, 12) logits that the judge beside it gives to examples it has not seen.
    """
    means = examples.scores.mean(axis=1)[rows.examples]
    own = rows.kinds == "own"
    meant = own & (means >= MEANT)
    mean, spread = states.mean(axis=0, dtype=np.float64), states.std(axis=0, dtype=np.float64)
    sd = np.where(spread > 0, spread, 1.0)
    columns, used = standardised(states, mean, sd), meant | ~own

    def line(kept: np.ndarray) -> np.ndarray:
        return logistic_ridge(columns[kept & used], meant[kept & used].astype(np.float64), PENALTY)

    unseen = np.empty(len(states))
    folds = folds_of(rows, examples)
    with one_thread():
        for f in range(FOLDS):
            left = folds[:, 0] == f
            unseen[left] = _line(columns[left], line((folds != f).all(axis=1)))
        sense = line(np.ones(len(states), dtype=bool))
    middle = float(np.quantile(unseen[meant], DOUBTED))
    decent = own & (means >= DECENT)
    scores = 10.0 * sigmoid(judged[rows.examples[decent]].mean(axis=1))
    start = _start(scores, probability(unseen[decent], middle))
    return ReadingFit(mean, sd, sense, np.array([middle]), np.array([start])), unseen


def folds_of(rows: Rows, examples: Examples) -> np.ndarray:
    """(n, 2) of the client to whom a row is said and of the one whose reply it is made of: a fit with either has seen it."""
    number = {name: i for i, name in enumerate(dict.fromkeys(examples.clients))}
    said_to = [number[client] for client in rows.clients]
    meant_for = [number[examples.clients[i]] for i in rows.examples]
    return np.stack([said_to, meant_for], axis=1) // EVERY % FOLDS


def _start(scores: np.ndarray, meant: np.ndarray) -> float:
    """The logit by which scores (n,) have to rise so that, held against `meant`, their mean is what it was; by halving.

    Raises ValueError where no rise is enough: the reader then doubts decent replies so much that it is no reader.
    """
    low, high = 0.0, 5.0
    if held_against(scores, meant, high).mean() < scores.mean():
        raise ValueError(
            f"the reader gives decent replies to unseen clients a probability of {meant.mean():.2f} on average that they mean "
            "something, expected near 1: it cannot tell them from nonsense. Try a larger model, other layers or more examples"
        )
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        low, high = (middle, high) if held_against(scores, meant, middle).mean() < scores.mean() else (low, middle)
    return low


def logistic_ridge(x: np.ndarray, y: np.ndarray, penalty: float) -> np.ndarray:
    """(columns + 1,) weights and intercept of P(y = 1) = sigmoid(u x + u_0), argmin -sum log P + penalty |u|^2 / 2, by Newton's
    method; x (n, columns) float64, y (n,) of 0 and 1. Costs STEPS n columns^2."""
    wide = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    penalties = np.append(np.full(x.shape[1], penalty), 1e-6)  # the intercept is free
    u = np.zeros(wide.shape[1])
    for _ in range(STEPS):
        p = 0.5 * (1.0 + np.tanh(0.5 * (wide @ u)))
        curvature = np.maximum(p * (1.0 - p), 1e-4)
        hessian = (wide * curvature[:, None]).T @ wide + np.diag(penalties)
        u = u + np.linalg.solve(hessian, wide.T @ (y - p) - penalties * u)
    return u


def standardised(states: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """(n, width) float64: each column in standard deviations, within FARTHEST."""
    return np.clip((states.astype(np.float64) - mean) / sd, -FARTHEST, FARTHEST)


def tables_digest(examples: Examples) -> str:
    """Changes with the examples that a fit was made from."""
    digest = hashlib.sha256(examples.scores.tobytes())
    for texts in (examples.clients, examples.replies):
        digest.update("\n".join(texts).encode())
    return digest.hexdigest()[:16]


def _line(columns: np.ndarray, weights: np.ndarray) -> np.ndarray:
    along: np.ndarray = columns @ weights[:-1] + weights[-1]
    return along


NAMES = frozenset(field.name for field in fields(ReadingFit))
