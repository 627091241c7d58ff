"""Fit whether a reply means anything to this client, from what a frozen model's states say while it reads.

    x = mean state over the tokens of the reply, read after the client's words, of two layers; standardised
    s = u x + u_0                         logistic ridge: authored replies against nonsense and replies to somebody else
    t = v x + v_0                         the same against what a small model and policies trained on it said
    g = (s - shut) / (open - shut)        in [0, 1]; of s and of t, the lesser; open for three quarters and nine tenths of decent
                                          replies to clients that a fit has not seen
    A = s - mean of s after the words of others      how much more it means to this client than to anybody; manner cancels
    c = PLAIN + (10 - PLAIN) A / answering           in [PLAIN, 10]; answering is the median A of good replies
    score = NOTHING + g min(1, (c - NOTHING) / (composite - NOTHING)) (judged - NOTHING)      where the judge gave more than NOTHING

A causal model reads the reply word by word with the client's words before it, so a sentence that leads nowhere leaves other states
than one that says something; sentence vectors are means over words and hardly tell them apart. It can only doubt: how good a reply
is, is left to the judge beside it, since a line through these states that ranks replies ranks empty manner high as well (LOG.md).
Two lines, since s alone holds what a small model says to be more meant than what people say (LOG.md): it breaks no sentence.
u and v are lines, small and quick to ship; no row of the examples travels with them.

Clients are dealt into folds. Nonsense is made of replies to clients of its own fold and said to one of them, so that a fit
which has not seen a fold has seen no sentence of it.
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
from judges.protocol import Exchange
from judges.reading.manner import MANNER, SAID, read_empty
from judges.reading.nonsense import KINDS, Nonsense

_log = logging.getLogger(__name__)
GOOD = 6.0  # mean score from which a reply is also shown to somebody else: what is poor fits anybody
MEANT = 4.0  # mean score from which a reply counts as meant, and nonsense is made of it: below, some are no language
DECENT = 5.5  # mean score of the replies for most of which the gate is open
EVERY = 2  # half of the clients are read, which takes half as long
FOLDS = 4
SWAP_STEP = 4 * EVERY * FOLDS  # the wrong client is so many clients further in the tables, in the same fold
PENALTY = 300.0  # of the squared weights
# Shares of decent replies to unseen clients at which the gates of s and of t are shut and open. t is the surer.
SHUT, OPEN = (0.03, 0.01), (0.25, 0.10)
NOTHING = 1.0  # what a reply keeps that surely means nothing (design)
PLAIN = 5.5  # the composite that a reply can reach which anybody could have been told: "I'm listening." (docs/judges.md, the scale)
FARTHEST = 3.0  # no column goes beyond three standard deviations: no score is earned by extrapolating
ABREAST = 8  # clients whose replies are read in one call
STEPS = 8  # Newton's
SEED = 0


class Reader(Protocol):
    """A frozen model that reads replies."""

    def states(self, exchanges: Sequence[Exchange]) -> np.ndarray:
        """(n, width) mean state over the tokens of each reply after the client's words; NaN for a reply of no tokens."""


@dataclass(frozen=True)
class Rows:
    """What is read. kinds: "own" as authored, "swapped" said to somebody else, a kind of nonsense, "manner", or "said" by a model;
    examples: (n,) the row of the tables that each is or is made of, of the last two the client's first; clients, replies: texts."""

    clients: tuple[str, ...]
    replies: tuple[str, ...]
    kinds: np.ndarray
    examples: np.ndarray


@dataclass(frozen=True, eq=False)
class ReadingFit:
    """mean, sd (width,) before standardising; lines (2, width + 1): u and u_0, v and v_0; gate (2, 2): shut and open of s, of t;
    answering (1,)."""

    mean: np.ndarray
    sd: np.ndarray
    lines: np.ndarray
    gate: np.ndarray
    answering: np.ndarray

    def kept(self, own: np.ndarray, others: np.ndarray, composites: np.ndarray) -> np.ndarray:
        """(n,) in [0, 1]: what is left of the points above NOTHING. own (n, width): states after this client's words; others
        (k, n, width) after those of k others; composites (n,) of the judge."""
        along, elsewhere = (
            along_lines(standardised(states, self.mean, self.sd), self.lines) for states in (own, others)
        )
        answers = along[:, 0] - elsewhere[..., 0].mean(axis=0)
        return gates(along, self.gate) * caps(answers, float(self.answering[0]), composites)


def gates(along: np.ndarray, gate: np.ndarray) -> np.ndarray:
    """(n,) g of logits (n, 2), s and t."""
    shut, opened = gate.T
    each: np.ndarray = np.clip((along - shut) / (opened - shut), 0.0, 1.0)
    lesser: np.ndarray = each.min(axis=1)
    return lesser


def caps(answers: np.ndarray, answering: float, composites: np.ndarray) -> np.ndarray:
    """(n,) in [0, 1] by which composites (n,) shrink to c where they are above it; answers (n,) A."""
    highest = PLAIN + (10.0 - PLAIN) * np.clip(answers / answering, 0.0, 1.0)
    return np.minimum(1.0, (highest - NOTHING) / np.maximum(composites - NOTHING, 1e-9))


def held_against(scores: np.ndarray, kept: float | np.ndarray) -> np.ndarray:
    """Scores in [0, 10] of which `kept` in [0, 1] is left; shapes broadcast. No score rises, none falls below NOTHING by it."""
    held: np.ndarray = np.where(scores > NOTHING, NOTHING + kept * (scores - NOTHING), scores)
    return held


def rows_of(examples: Examples, rng: np.random.Generator, every: int = EVERY) -> Rows:
    """The authored replies to every so manyth client; two of three that are meant also turned into nonsense, and half of the good
    ones said to somebody else; then the empty manner written by hand, and what models said."""
    means, names = examples.scores.mean(axis=1), list(dict.fromkeys(examples.clients))
    place = {name: i for i, name in enumerate(names)}
    nonsense = _nonsense_by_fold(examples, means, place)
    rows: list[tuple[str, str, str, int]] = []
    for i, (client, reply) in enumerate(zip(examples.clients, examples.replies, strict=True)):
        at = place[client]
        if at % every:
            continue
        rows.append((client, reply, "own", i))
        if means[i] >= GOOD and i % 2 == 0 and (other := _same_fold(names, at)) != client:
            rows.append((other, reply, "swapped", i))
        if means[i] >= MEANT and i % 3:
            kind = KINDS[len(rows) % len(KINDS)]
            rows.append((client, nonsense[_fold(at)](kind, client, rng), kind, i))
    first = {client: i for i, client in reversed(list(enumerate(examples.clients))) if place[client] % every == 0}
    for kind, path in (("manner", MANNER), ("said", SAID)):
        rows += [(row.client, row.reply, kind, first[row.client]) for row in read_empty(path) if row.client in first]
    clients, replies, kinds, of = zip(*rows, strict=True)
    return Rows(clients, replies, np.array(kinds), np.array(of))


def _fold(place: int) -> int:
    """Of the client at that place in the order of the tables; two neighbours are in one fold."""
    return place // EVERY % FOLDS


def _same_fold(names: Sequence[str], place: int) -> str:
    """Another client of the fold, SWAP_STEP further on; near the end, from the beginning, where few clients may meet themselves."""
    other = place + SWAP_STEP
    return names[other if other < len(names) else place % SWAP_STEP]


def _nonsense_by_fold(examples: Examples, means: np.ndarray, place: dict[str, int]) -> list[Nonsense]:
    meant: list[dict[str, list[str]]] = [{} for _ in range(FOLDS)]
    for client, reply, mean in zip(examples.clients, examples.replies, means, strict=True):
        if mean >= MEANT:
            meant[_fold(place[client])].setdefault(client, []).append(reply)
    return [Nonsense(part) for part in meant]


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
            _log.warning("read the replies to %d of %d clients, about %.0f s left", start, len(groups), left)
    states = np.concatenate(parts)
    found = np.empty_like(states)
    found[places] = states
    return found


def fit(rows: Rows, states: np.ndarray, examples: Examples) -> tuple[ReadingFit, np.ndarray]:
    """The fit to states (n, width) of `rows`, and the logits (n, 2), s and t, of fits which have not seen a row's fold.

    Raises ValueError where a state is not finite, where nothing was said by a model, or where good replies mean no more to their
    client than to another.
    """
    if broken := np.flatnonzero(~np.isfinite(states).all(axis=1)).tolist():
        raise ValueError(
            f"rows {broken[:10]}: found states that are not finite, of {rows.replies[broken[0]]!r}; expected a reply of words, "
            "and a model whose output is whole"
        )
    means = examples.scores.mean(axis=1)[rows.examples]
    own, said = rows.kinds == "own", rows.kinds == "said"
    if not said.any():
        raise ValueError("found no row that a model said; expected replies to clients of the examples in said.csv")
    meant = own & (means >= MEANT)
    mean, spread = states.mean(axis=0, dtype=np.float64), states.std(axis=0, dtype=np.float64)
    sd = np.where(spread > 0, spread, 1.0)
    columns, used = standardised(states, mean, sd), (meant | ~(own | said), meant | said)

    def lines(kept: np.ndarray) -> np.ndarray:
        return np.stack([
            logistic_ridge(columns[kept & mine], meant[kept & mine].astype(np.float64), PENALTY) for mine in used
        ])  # fmt: skip

    place = {name: i for i, name in enumerate(dict.fromkeys(examples.clients))}
    folds = np.array([_fold(place[client]) for client in rows.clients])
    unseen = np.empty((len(states), len(used)))
    with one_thread():
        for f in range(FOLDS):
            unseen[folds == f] = along_lines(columns[folds == f], lines(folds != f))
        found = lines(np.ones(len(states), dtype=bool))
    decent = unseen[own & (means >= DECENT)]
    gate = np.array(
        [np.quantile(along, shares) for along, shares in zip(decent.T, zip(SHUT, OPEN, strict=True), strict=True)]
    )
    return ReadingFit(mean, sd, found, gate, np.array([_answering(rows, unseen[:, 0])])), unseen


def _answering(rows: Rows, unseen: np.ndarray) -> float:
    """The median A of good replies, held against the one other client to whom they are said."""
    own = {
        i: s for i, s, kind in zip(rows.examples.tolist(), unseen.tolist(), rows.kinds, strict=True) if kind == "own"
    }
    swapped = np.flatnonzero(rows.kinds == "swapped")
    found = float(np.median([own[rows.examples[j]] - unseen[j] for j in swapped]))
    if not found > 0:
        raise ValueError(
            f"good replies mean {found:.2f} more to their own client than to another, in logits; expected more than 0: this "
            "model does not read whom a reply is said to. Try a larger model or other layers"
        )
    return found


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


def fit_digest(rows: Rows) -> str:
    """Changes with the texts that are read and with the constants that make a fit of what was read."""
    constants = (MEANT, DECENT, FOLDS, PENALTY, SHUT, OPEN, FARTHEST, STEPS, sorted(NAMES))
    digest = hashlib.sha256(repr(constants).encode())
    for texts in (rows.clients, rows.replies, rows.kinds.tolist(), map(str, rows.examples.tolist())):
        digest.update("\n".join(texts).encode())
    return digest.hexdigest()[:16]


def along_lines(columns: np.ndarray, lines: np.ndarray) -> np.ndarray:
    """(..., 2) logits s and t of columns (..., width) by lines (2, width + 1)."""
    along: np.ndarray = columns @ lines[:, :-1].T + lines[:, -1]
    return along


NAMES = frozenset(field.name for field in fields(ReadingFit))
