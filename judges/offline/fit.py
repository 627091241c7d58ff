"""Fit the embedding judge's scores to the authored examples (and to the same replies given to the wrong client).

    x = [layers 1 to 6 of the reply, counted features, relevance to the client], standardised;  c the client's vector
    k(x, y) = x y + a exp(-g |x - y|^2) + b exp(-g |l - l'|^2) max(c c', 0)^2        x with the layers 2, 4, 6 alone, l these
    p_d     = sum_i k(x, x_i) A_id + bias                  A by kernel ridge on the logits of the scores
    level   = (1 - w) mean_d p_d + w v x                   each in standard deviations; v by judges/offline/ranking.py
    score_d = 10 sigmoid(level + p_d - mean p)             equated, dimension by dimension

In k the first term is what holds for every reply, the second what holds for replies like this one, the third what holds for
replies like this one to a client like this one. The ridge says which dimensions a reply is strong in and about how good it is;
the ranking says better which of two replies to one client is the better. Constants: benchmarks/judge_fit.py, by leaving
clients out.
"""

import hashlib
import logging
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np

from client_graph.names import DIMENSIONS
from judges.offline.blas import one_thread
from judges.offline.examples import EXAMPLES, Examples, example_files, read_examples
from judges.offline.features import FEATURES, features
from judges.offline.fit_cache import alone, load_arrays, save_arrays
from judges.offline.minilm import READ, WIDTH, SentenceEncoder
from judges.offline.ranking import better_and_worse, bradley_terry, ranked_unseen
from judges.offline.relevance import RELEVANCE, relevance
from judges.offline.ridge import Ridge, kernel_ridge
from judges.protocol import Exchange

_log = logging.getLogger(__name__)
# Least score a fit aims at: the logit of 0 is minus infinity. 0.3 is nearer to 0 than to any other authored score.
EDGE = 0.3
BIAS = 100.0  # a kernel of that size everywhere is hardly penalised: the mean is free
FARTHEST = 3.0  # no column goes beyond three standard deviations: no score is earned by extrapolating
LAYER_WEIGHT = 3.0 / np.sqrt(WIDTH)  # a layer's 384 columns together weigh as much as nine counted features
LIKE_IN = (2, 4, 6)  # the layers by which replies are alike
LINEAR, LIKE, LIKE_CLIENT = 0.3, 20.0, 20.0  # the kernel's three weights
NARROW = 0.3  # g, in units of 1 / (median squared length of the rows)
PENALTY = 10.0
RANKED, RANK_PENALTY, FOLDS = 0.7, 25.0, 5  # w; lambda of the ranking; its folds for replies it has not seen
COUNTED_IN_RANKING = 0.5  # of the weight that counted columns have in the kernel
GOOD = 6.0  # mean score from which a reply is also shown with a wrong client,
PARTICULAR = (
    1.5  # where it answers its own client by so many standard deviations more than others: "Go on." fits anybody
)
# At most this much is left of a good reply that answers somebody else (design; in the order of DIMENSIONS).
MISMATCH = np.array([1.0, 3.5, 3.5, 5.5, 1.0, 5.5, 2.0, 1.0, 1.0, 2.0, 2.5, 2.5])
MISMATCH_STEP = 17  # the wrong client is so many clients further in the tables


# The columns of x that the kernel compares: three layers of the six, and all that is counted.
IN_KERNEL = np.concatenate(
    [np.arange((layer - 1) * WIDTH, layer * WIDTH) for layer in LIKE_IN]
    + [np.arange(len(READ) * WIDTH, len(READ) * WIDTH + len(FEATURES) + len(RELEVANCE))]
)

IN_RANKING = np.concatenate([np.ones(len(READ) * WIDTH), np.full(len(FEATURES) + len(RELEVANCE), COUNTED_IN_RANKING)])


@dataclass(frozen=True, eq=False)
class Fit:
    """What the fit leaves behind: n examples of k clients, and m >= n rows, first the examples, then the wrong pairs.

    rows (m, likeness columns): what was fitted; clients (m, 384): to whom it was said; duals (m, 12): the coefficient of each
    row; bias (12,): what every p_d starts from; width (2,): the median squared length of the rows and of their layers.
    direction (columns,): v. level (3,): of mean p, of v x and of 1, so that they add up to the level in logits; stretch and
    shift (12,): the equating.
    replies (m,) int64: the example whose reply stands in the row; scores (m, 12): what the row aims at, in [0, 10].
    mean, sd (columns,) before standardising; vectors (n, 384) of the replies; bank (k, 384) of the clients.
    error (12,) in logits and error_points (12,) in points of ten: root mean square, each example judged by a fit
    without its client. unseen (n, 12): the equated logits of those fits.
    novelty (1,): median distance 1 - cos of an example to the nearest reply to another client.
    """

    rows: np.ndarray
    clients: np.ndarray
    duals: np.ndarray
    bias: np.ndarray
    width: np.ndarray
    direction: np.ndarray
    level: np.ndarray
    stretch: np.ndarray
    shift: np.ndarray
    replies: np.ndarray
    scores: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    vectors: np.ndarray
    bank: np.ndarray
    unseen: np.ndarray
    error: np.ndarray
    error_points: np.ndarray
    novelty: np.ndarray

    def columns(self, clients: np.ndarray, replies: np.ndarray, counted: np.ndarray) -> np.ndarray:
        """(q, columns) x of q exchanges; clients (q, 384), replies (q, 6, 384), counted (q, 18)."""
        return _standardised(_seen(clients, replies, counted, self.bank), self.mean, self.sd)

    @cached_property
    def _lengths(self) -> tuple[np.ndarray, np.ndarray]:
        """The squared lengths of the rows and of their layers, (m,) each."""
        return _squares(self.rows), _squares(self.rows[:, : len(LIKE_IN) * WIDTH])

    def likeness(self, columns: np.ndarray, clients: np.ndarray) -> np.ndarray:
        """(q, m) float32: k of q exchanges with every row. The same bits need the same q: a product is cut by its shape."""
        return kernel(
            columns[:, IN_KERNEL].astype(np.float32), clients, self.rows, self.clients, self.width, self._lengths
        )

    def distance(self, replies: np.ndarray) -> np.ndarray:
        """(q,) 1 - cos to the nearest example; replies (q, 384)."""
        nearest: np.ndarray = 1.0 - (replies @ self.vectors.T).max(axis=1)
        return nearest

    @cached_property
    def _duals_by_dimension(self) -> np.ndarray:
        """(12, m), rows one after another in memory: a search along them is ten times as quick."""
        return np.ascontiguousarray(self.duals.T)

    def contributions(self, likeness: np.ndarray) -> np.ndarray:
        """(12, m) that each row adds to the p of one exchange whose `likeness` to the rows is (m,)."""
        return likeness * self._duals_by_dimension

    def logits(self, likeness: np.ndarray, columns: np.ndarray) -> np.ndarray:
        """(12,) of one exchange with `likeness` (m,) and `columns` (columns,)."""
        p = likeness.astype(np.float64) @ self.duals + self.bias
        return equated(p[None], np.array([columns @ self.direction]), self.level, self.stretch, self.shift)[0]


def equated(p: np.ndarray, ranked: np.ndarray, level: np.ndarray, stretch: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """(n, 12) logits from p (n, 12) and v x (n,), by what `equating` found."""
    mean = p.mean(axis=1)
    overall = level[0] * mean + level[1] * ranked + level[2]
    logits: np.ndarray = shift + stretch * (overall[:, None] + p - mean[:, None])
    return logits


def kernel(
    rows: np.ndarray,
    clients: np.ndarray,
    others: np.ndarray,
    their_clients: np.ndarray,
    width: np.ndarray,
    lengths: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """(q, m): k of `rows` (q, columns) said to `clients` (q, 384) with `others` (m, columns) said to theirs (m, 384).

    lengths: the squared lengths of `others` and of their layers, (m,) each, where they are known.
    """
    layers = len(LIKE_IN) * WIDTH
    product_of_layers = rows[:, :layers] @ others[:, :layers].T
    product = product_of_layers + rows[:, layers:] @ others[:, layers:].T
    theirs, in_layers = lengths or (_squares(others), _squares(others[:, :layers]))
    near = _near(product, _squares(rows), theirs, width[0])
    near_layers = _near(product_of_layers, _squares(rows[:, :layers]), in_layers, width[1])
    same_client = np.maximum(clients @ their_clients.T, 0.0) ** 2
    alike: np.ndarray = LINEAR * product + LIKE * near + LIKE_CLIENT * near_layers * same_client
    return alike


def _squares(rows: np.ndarray) -> np.ndarray:
    squares: np.ndarray = np.einsum("nd,nd->n", rows, rows)
    return squares


def _near(product: np.ndarray, lengths: np.ndarray, theirs: np.ndarray, width: float) -> np.ndarray:
    distance = lengths[:, None] + theirs - 2.0 * product
    near: np.ndarray = np.exp(-NARROW / float(width) * np.maximum(distance, 0.0))
    return near


def cached_fit(encoder: SentenceEncoder, folder: Path, path: Path = EXAMPLES) -> tuple[Fit, Examples]:
    """The fit to the examples at `path`: read from `folder` where it is there and whole, else computed and kept."""
    examples = read_examples(path)
    file = folder / f"embedding-judge-{_key(encoder, path)}.safetensors"
    arrays = load_arrays(file, frozenset(field.name for field in fields(Fit)))
    if arrays is None:
        arrays = _fitted(encoder, examples, file)
    return Fit(**arrays), examples


def _fitted(encoder: SentenceEncoder, examples: Examples, file: Path) -> dict[str, np.ndarray]:
    """The arrays of a new fit, kept in `file` where its folder lets us; of several processes one fits and the others wait."""
    names = frozenset(field.name for field in fields(Fit))
    with alone(file):
        arrays = load_arrays(file, names)
        if arrays is not None:
            return arrays
        _log.warning(
            "fitting the embedding judge to %d examples: about two minutes, once for each version; it is kept in %s",
            len(examples.replies),
            file.parent,
        )
        with one_thread():
            made = fit(encoder, examples)
        # As they come back from the file: a product of the same numbers in another order of memory has other bits.
        arrays = {name: np.ascontiguousarray(getattr(made, name)) for name in names}
        save_arrays(file, arrays)
        return arrays


def fit(encoder: SentenceEncoder, examples: Examples) -> Fit:
    """Fit all examples, measure the error on clients left out, equate the scale."""
    data = TrainingData(encoder, examples)
    gram = kernel(data.likeness_rows, data.clients, data.likeness_rows, data.clients, data.width) + BIAS
    ridge = kernel_ridge(gram, data.targets, PENALTY, data.groups)
    unseen = (data.targets - data.errors(ridge))[: data.authored]
    columns = data.rows * IN_RANKING
    ranked = ranked_unseen(columns, data.pairs, data.meant_for, RANK_PENALTY, FOLDS)[: data.authored]
    target = data.targets[: data.authored]
    level, stretch, shift = equating(unseen, ranked, target)
    logits = equated(unseen, ranked, level, stretch, shift)
    return Fit(
        rows=data.likeness_rows.astype(np.float32),
        clients=data.clients.astype(np.float32),
        duals=ridge.duals,
        bias=BIAS * ridge.duals.sum(axis=0),
        width=data.width,
        direction=IN_RANKING * bradley_terry(columns[data.pairs[:, 0]] - columns[data.pairs[:, 1]], RANK_PENALTY),
        level=level,
        stretch=stretch,
        shift=shift,
        replies=data.reply_of,
        scores=data.scores,
        mean=data.mean,
        sd=data.sd,
        vectors=data.vectors,
        bank=data.bank,
        unseen=logits,
        error=_rms(target - logits),
        error_points=_rms(10 * sigmoid(target) - 10 * sigmoid(logits)),
        novelty=np.array([data.novelty()]),
    )


def equating(
    p: np.ndarray, ranked: np.ndarray, target: np.ndarray, weight: float = RANKED
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(level (3,), stretch (12,), shift (12,)) from what fits said of replies (n,) they had not seen; p, target (n, 12).

    Linear equating (Kolen & Brennan 2014): a ridge shrinks, and the paper's thresholds (3.5, 6.5, 8) speak of a full scale, so
    unseen replies get back the mean and the spread of the authored scores.
    """
    mean, goal = p.mean(axis=1), target.mean(axis=1)
    shares = np.array([(1 - weight) / mean.std(), weight / ranked.std()])
    mixed = shares[0] * mean + shares[1] * ranked
    shares *= goal.std() / mixed.std()
    start = goal.mean() - shares[0] * mean.mean() - shares[1] * ranked.mean()
    plain = (shares[0] * mean + shares[1] * ranked + start - mean)[:, None] + p
    stretch = target.std(axis=0) / plain.std(axis=0)
    return np.array([*shares, start]), stretch, target.mean(axis=0) - stretch * plain.mean(axis=0)


def _rms(errors: np.ndarray) -> np.ndarray:
    root: np.ndarray = np.sqrt(np.mean(errors**2, axis=0))
    return root


class TrainingData:
    """The authored rows first, then the mismatched ones."""

    def __init__(self, encoder: SentenceEncoder, examples: Examples) -> None:
        self.names = list(dict.fromkeys(examples.clients))
        place = {name: i for i, name in enumerate(self.names)}
        said_to = np.array([place[client] for client in examples.clients])
        layers = encoder.layers(examples.replies)
        self.bank, self.vectors = encoder.encode(self.names), np.ascontiguousarray(layers[:, -1])
        answers = relevance(self.vectors, self.bank[said_to], self.bank)[:, RELEVANCE.index("answers")]
        meant = np.flatnonzero((examples.scores.mean(axis=1) >= GOOD) & (answers >= PARTICULAR))
        self.authored = len(said_to)
        self.reply_of = np.concatenate([np.arange(self.authored), meant])
        self.shown = np.concatenate([said_to, (said_to[meant] + MISMATCH_STEP) % len(self.names)])
        self.meant_for = said_to[self.reply_of]
        self.scores = np.concatenate([examples.scores, np.minimum(examples.scores[meant], MISMATCH)])
        self.targets = logit(self.scores)
        self.clients = self.bank[self.shown].astype(np.float64)
        counted = np.stack(self._counted(encoder.vocabulary(), examples))
        seen = _seen(self.bank[self.shown], layers[self.reply_of], counted, self.bank)
        self.mean, spread = seen.mean(axis=0), seen.std(axis=0)
        self.sd = np.where(spread > 0, spread, 1.0)  # a feature no example shows earns weight 0
        self.rows = _standardised(seen, self.mean, self.sd)
        self.likeness_rows = self.rows[:, IN_KERNEL]
        parts = (self.likeness_rows, self.likeness_rows[:, : len(LIKE_IN) * WIDTH])
        self.width = np.median([np.einsum("nd,nd->n", part, part) for part in parts], axis=1)
        swapped = np.stack([meant, np.arange(self.authored, len(self.shown))], axis=1)
        # A good reply is better said to whom it was meant for. A quarter of these: more of them teach the ranking nothing else.
        self.pairs = np.concatenate([better_and_worse(examples.scores.mean(axis=1), said_to), swapped[::4]])

    def _counted(self, vocabulary: frozenset[str], examples: Examples) -> list[np.ndarray]:
        return [
            features(Exchange(self.names[client], "", examples.replies[reply]), vocabulary)
            for client, reply in zip(self.shown, self.reply_of, strict=True)
        ]

    @cached_property
    def groups(self) -> list[np.ndarray]:
        """The rows of each client, as the speaker or as the one the reply was meant for: left out together."""
        clients = range(len(self.names))
        return [np.flatnonzero((self.shown == i) | (self.meant_for == i)) for i in clients]

    def errors(self, ridge: Ridge) -> np.ndarray:
        """Target minus prediction in logits, for every row by the fit that left its client out, (rows, 12)."""
        errors = np.full_like(self.targets, np.nan)
        for client, (rows, error) in enumerate(zip(self.groups, ridge.left_out, strict=True)):
            heard = self.shown[rows] == client
            errors[rows[heard]] = error[heard]
        return errors

    def novelty(self) -> float:
        close = self.vectors @ self.vectors.T
        said_to = self.shown[: self.authored]
        close[said_to[:, None] == said_to] = -1.0
        return float(np.median(1.0 - close.max(axis=1)))


def logit(scores: np.ndarray) -> np.ndarray:
    """log(s / (10 - s)) of scores in [0, 10], which are first moved EDGE inside the range."""
    inside = np.clip(scores, EDGE, 10 - EDGE)
    logits: np.ndarray = np.log(inside / (10 - inside))
    return logits


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """1 / (1 + exp(-z)), written so that no exp overflows."""
    shares: np.ndarray = 0.5 * (1.0 + np.tanh(0.5 * logits))
    return shares


def _seen(clients: np.ndarray, replies: np.ndarray, counted: np.ndarray, bank: np.ndarray) -> np.ndarray:
    """(q, columns) before standardising; clients (q, 384), replies (q, 6, 384), counted (q, 18), bank (k, 384)."""
    flat = replies.reshape(len(replies), -1)
    return np.concatenate([flat, counted, relevance(replies[:, -1], clients, bank)], axis=1)


def _standardised(seen: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """(n, columns): each column in standard deviations within FARTHEST, the layers' scaled down."""
    rows = np.clip((seen - mean) / sd, -FARTHEST, FARTHEST)
    rows[:, : len(READ) * WIDTH] *= LAYER_WEIGHT
    return rows


def _key(encoder: SentenceEncoder, path: Path) -> str:
    """Changes with the examples, with the code that fits them, with numpy and with the encoder's weights and tokenizer."""
    folder = Path(__file__).resolve().parent
    code = [
        folder / f"{name}.py"
        for name in ("fit", "ridge", "features", "lexicon", "minilm", "blas", "examples", "relevance", "ranking")
    ]
    digest = hashlib.sha256(f"{encoder.fingerprint()} {np.__version__} {DIMENSIONS} {FEATURES}".encode())
    for file in (*example_files(path), *code):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:32]
