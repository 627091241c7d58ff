"""Fit what a frozen model's states say of a reply: whether it means anything to this client, and how good it is.

    x     = mean state over the tokens of the reply, read after the client's words, of two layers; standardised
    sense = sigmoid(u x + u_0)      u by logistic ridge: decent authored replies against nonsense and replies to somebody else
    level = a v x + b               v by Bradley & Terry over replies to one client; nonsense and swapped replies are the worse ones

A causal model reads the reply word by word with the client's words before it, so a sentence that leads nowhere leaves other states
than one that says something; sentence vectors are means over words and hardly tell them apart. u and v are lines: small,
quick to ship, and no row of the examples travels with them. Every measure is of clients that a fit has not seen.
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
from judges.offline.fit import logit
from judges.offline.ranking import better_and_worse, bradley_terry
from judges.protocol import Exchange
from judges.reading.nonsense import KINDS, Nonsense

_log = logging.getLogger(__name__)
GOOD = 6.0  # mean score from which nonsense is made of a reply, and it is shown to somebody else
MEANT = 4.0  # mean score from which a reply counts as meant for its client
EVERY = 2  # half of the clients are read, which takes half as long
SWAP_STEP = 34  # the wrong client is so many clients further in the tables
SENSE_PENALTY, LEVEL_PENALTY = 1000.0, 300.0
FARTHEST = 3.0  # no column goes beyond three standard deviations: no score is earned by extrapolating
FOLDS = 4
ABREAST = 8  # clients whose replies are read in one call
STEPS = 8  # Newton's
SEED = 0
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
    """mean, sd (width,) before standardising; sense (width + 1,) u and u_0; direction (width,) v; level (2,) a and b.

    gate (2,): logits of sense at which the gate is shut and open. mixing (2,): slope and start of the level that the two judges share.
    """

    mean: np.ndarray
    sd: np.ndarray
    sense: np.ndarray
    direction: np.ndarray
    level: np.ndarray
    gate: np.ndarray
    mixing: np.ndarray

    def columns(self, states: np.ndarray) -> np.ndarray:
        """(n, width) float64 x of states (n, width)."""
        return standardised(states, self.mean, self.sd)

    def sense_logits(self, columns: np.ndarray) -> np.ndarray:
        """(n,) u x + u_0."""
        return _line(columns, self.sense)

    def levels(self, columns: np.ndarray) -> np.ndarray:
        """(n,) how good a reply is, as the mean logit of its twelve scores."""
        levels: np.ndarray = self.level[0] * (columns @ self.direction) + self.level[1]
        return levels

    def gates(self, columns: np.ndarray) -> np.ndarray:
        """(n,) in [0, 1]: what is left of the scores of a reply that hardly means anything to this client."""
        shut, opened = self.gate
        return np.clip((self.sense_logits(columns) - shut) / (opened - shut), 0.0, 1.0)

    def shared(self, judged: np.ndarray, read: np.ndarray) -> np.ndarray:
        """(n,) the level that a judge's own (n,) and the read one (n,) come to: the lower of the two, on the authored scale."""
        shared: np.ndarray = self.mixing[0] * np.minimum(judged, read) + self.mixing[1]
        return shared


@dataclass(frozen=True, eq=False)
class Unseen:
    """What fits say of rows whose clients they have not seen: sense logits and levels, (n,) each."""

    sense: np.ndarray
    level: np.ndarray


def rows_of(examples: Examples, rng: np.random.Generator, every: int = EVERY) -> Rows:
    """The authored replies to every so manyth client; each good one also turned into nonsense, every second said to another client."""
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


def fit(rows: Rows, states: np.ndarray, examples: Examples, judged: np.ndarray) -> tuple[ReadingFit, Unseen]:
    """The fit to states (n, width) of `rows`, and what it says of clients left out.

    judged: (examples, 12) logits that the judge which it stands beside gives to examples it has not seen.
    """
    problem = _Problem(rows, states, examples)
    with one_thread():
        unseen = problem.unseen()
        sense, direction = problem.sense(np.ones(len(states), dtype=bool)), problem.direction(problem.pairs)
    own, target = rows.kinds == "own", logit(examples.scores).mean(axis=1)
    of = rows.examples[own]
    level = _equated(unseen.level[own], target[of])
    read = level[0] * unseen.level + level[1]
    decent = unseen.sense[problem.meant]
    mixing = _equated(np.minimum(judged.mean(axis=1)[of], read[own]), target[of])
    made = ReadingFit(
        mean=problem.mean, sd=problem.sd, sense=sense, direction=direction, level=level,
        gate=np.quantile(decent, [SHUT, OPEN]), mixing=mixing,
    )  # fmt: skip
    return made, Unseen(unseen.sense, read)


class _Problem:
    """The rows as columns, who is better than whom, and which fold leaves a row out."""

    def __init__(self, rows: Rows, states: np.ndarray, examples: Examples) -> None:
        means = examples.scores.mean(axis=1)
        own = rows.kinds == "own"
        self.mean, spread = states.mean(axis=0, dtype=np.float64), states.std(axis=0, dtype=np.float64)
        self.sd = np.where(spread > 0, spread, 1.0)
        self.columns = standardised(states, self.mean, self.sd)
        self.meant = own & (means[rows.examples] >= MEANT)
        self.used = self.meant | ~own
        names = {name: i for i, name in enumerate(dict.fromkeys(examples.clients))}
        said_to = np.array([names[client] for client in rows.clients])
        meant_for = np.array([names[examples.clients[i]] for i in rows.examples])
        self.fold = said_to % FOLDS
        # A row that was made of a reply to a client of this fold has been seen by a fit with that reply: it is left out as well.
        self.folds = np.stack([self.fold, meant_for % FOLDS], axis=1)
        at = np.full(len(means), -1)
        at[rows.examples[own]] = np.flatnonzero(own)
        places = np.flatnonzero(own)
        ranked = places[better_and_worse(means[rows.examples[own]], said_to[own])]
        made = np.flatnonzero(~own)
        self.pairs = np.concatenate([ranked, np.stack([at[rows.examples[made]], made], axis=1)])

    def sense(self, kept: np.ndarray) -> np.ndarray:
        """(width + 1,) u and u_0 by the rows `kept` (n,) bool."""
        use = kept & self.used
        return logistic_ridge(self.columns[use], self.meant[use].astype(np.float64), SENSE_PENALTY)

    def direction(self, pairs: np.ndarray) -> np.ndarray:
        """(width,) v by the pairs (p, 2) of places, better first."""
        return bradley_terry(self.columns[pairs[:, 0]] - self.columns[pairs[:, 1]], LEVEL_PENALTY)

    def unseen(self) -> Unseen:
        sense, level = np.empty(len(self.columns)), np.empty(len(self.columns))
        for f in range(FOLDS):
            kept = (self.folds != f).all(axis=1)
            left, pairs = self.fold == f, self.pairs[kept[self.pairs].all(axis=1)]
            sense[left] = _line(self.columns[left], self.sense(kept))
            level[left] = self.columns[left] @ self.direction(pairs)
        return Unseen(sense, level)


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


def _equated(found: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(2,) slope and start that give `found` (n,) mean and spread of `target` (n,): linear equating (Kolen & Brennan 2014)."""
    slope = target.std() / found.std()
    return np.array([slope, target.mean() - slope * found.mean()])


NAMES = frozenset(field.name for field in fields(ReadingFit))
