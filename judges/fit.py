"""Fit the embedding judge's scores to the authored examples (and to the same replies given to the wrong client).

    x = [a_r r,  a_i sqrt(384) c * r,  a_f (cos(c, r), counted features),  bias]        c, r unit vectors
    score = 10 sigmoid(x W)                                                             W by ridge on the logits

The product c * r carries relevance: what makes a reply right for this client and wrong for another. The penalty and the
block scales a are those with the least leave-one-client-out error.
"""

import hashlib
from dataclasses import dataclass, fields
from itertools import product
from pathlib import Path

import numpy as np

from client_graph.names import DIMENSIONS
from judges.blas import one_thread
from judges.examples import EXAMPLES, Examples, read_examples
from judges.features import FEATURES, features
from judges.fit_cache import load_arrays, save_arrays
from judges.minilm import WIDTH, SentenceEncoder
from judges.protocol import Exchange
from judges.ridge import left_out_errors, ridge_duals

# Least score a fit aims at: the logit of 0 is minus infinity. 0.3 is nearer to 0 than to any other authored score.
EDGE = 0.3
BIAS = 10.0  # a large column is hardly penalised: the mean is free
FARTHEST = 3.0  # counted features stop at three standard deviations: no score is earned by extrapolating
PENALTIES = (0.3, 1.0, 3.0, 10.0)
BLOCK_SCALES = tuple(product((1.0,), (0.1, 0.25, 0.5), (0.3, 0.6, 1.0)))  # reply, interaction, features
EXCELLENT = 7.5  # mean score from which a reply is also shown with a wrong client
# At most this much is left of an excellent reply that answers somebody else (design; in the order of DIMENSIONS).
MISMATCH = np.array([1.0, 4.0, 4.0, 6.0, 1.0, 6.0, 2.0, 1.0, 1.0, 2.0, 3.0, 3.0])
MISMATCH_STEPS = (1, 7)  # the wrong client is so many clients further in the table


@dataclass(frozen=True, eq=False)
class Fit:
    """What the fit leaves behind: n examples, and m >= n rows, first the examples, then the wrong pairs.

    rows (m, 788): what was fitted; duals (m, 12): the coefficient of each row, equated;
    weights (788, 12): rows^T duals, and the equating's shift in the bias.
    replies (m,) int64: the example whose reply stands in the row; scores (m, 12): what the row aims at, in [0, 10].
    scales (3,) of the blocks; feature_mean, feature_sd (19,); penalty (1,); vectors (n, 384) of the replies.
    error (12,) in logits and error_points (12,) in points of ten: root mean square, each example judged by a fit
    without its client. novelty (1,): median distance 1 - cos of an example to the nearest reply to another client.
    """

    rows: np.ndarray
    duals: np.ndarray
    weights: np.ndarray
    replies: np.ndarray
    scores: np.ndarray
    scales: np.ndarray
    feature_mean: np.ndarray
    feature_sd: np.ndarray
    penalty: np.ndarray
    vectors: np.ndarray
    error: np.ndarray
    error_points: np.ndarray
    novelty: np.ndarray

    def columns(self, client: np.ndarray, reply: np.ndarray, counted: np.ndarray) -> np.ndarray:
        """(788,) for one exchange; client and reply (384,), counted (18,)."""
        seen = _seen(client[None], reply[None], counted[None])
        return _columns(client[None], reply[None], (seen - self.feature_mean) / self.feature_sd, self.scales)[0]

    def logits(self, columns: np.ndarray) -> np.ndarray:
        """(12,) logits of one exchange. One at a time, so that its bits do not depend on others."""
        logits: np.ndarray = columns @ self.weights
        return logits

    def contributions(self, columns: np.ndarray) -> np.ndarray:
        """(m, 12): what each fitted row adds to the logits through its likeness; the bias, common to all, left out."""
        likeness = self.rows[:, :-1] @ columns[:-1]
        return np.where(likeness > 0, likeness, 0.0)[:, None] * self.duals


def cached_fit(encoder: SentenceEncoder, folder: Path, path: Path = EXAMPLES) -> tuple[Fit, Examples]:
    """The fit to the examples at `path`: read from `folder` where it is there and whole, else computed and kept."""
    examples = read_examples(path)
    file = folder / f"embedding-judge-{_key(encoder, path)}.safetensors"
    arrays = load_arrays(file, frozenset(field.name for field in fields(Fit)))
    if arrays is None:
        with one_thread():
            made = fit(encoder, examples)
        arrays = {field.name: getattr(made, field.name) for field in fields(Fit)}
        save_arrays(file, arrays)
    return Fit(**arrays), examples


def fit(encoder: SentenceEncoder, examples: Examples) -> Fit:
    """Choose the penalty and the block scales by leave-one-client-out error, fit all examples, equate the scale."""
    data = _Data(encoder, examples)
    best = min(product(BLOCK_SCALES, PENALTIES), key=lambda choice: float(np.mean(data.errors(*choice) ** 2)))
    target = data.targets[: data.authored]
    plain = target - data.errors(*best)[: data.authored]
    # Linear equating (Kolen & Brennan 2014): a ridge shrinks, and the paper's thresholds (3.5, 6.5, 8) speak of a full
    # scale, so unseen replies get back the mean and the spread of the authored scores.
    stretch = target.std(axis=0) / plain.std(axis=0)
    shift = target.mean(axis=0) - stretch * plain.mean(axis=0)
    equated = shift + stretch * plain
    rows = data.columns(best[0])
    duals = ridge_duals(rows, data.targets, best[1]) * stretch
    weights = rows.T @ duals
    weights[-1] += shift / BIAS
    return Fit(
        rows=rows,
        duals=duals,
        weights=weights,
        replies=data.reply_of,
        scores=data.scores,
        scales=np.array(best[0]),
        feature_mean=data.mean,
        feature_sd=data.sd,
        penalty=np.array([best[1]]),
        vectors=data.replies[: data.authored],
        error=np.sqrt(np.mean((target - equated) ** 2, axis=0)),
        error_points=np.sqrt(np.mean((10 * sigmoid(target) - 10 * sigmoid(equated)) ** 2, axis=0)),
        novelty=np.array([data.novelty()]),
    )


class _Data:
    """The authored rows first, then the mismatched ones."""

    def __init__(self, encoder: SentenceEncoder, examples: Examples) -> None:
        names = list(dict.fromkeys(examples.clients))
        said_to = [names.index(client) for client in examples.clients]
        shown, replies, scores = list(said_to), list(range(len(said_to))), [examples.scores]
        for row, step in product(np.flatnonzero(examples.scores.mean(axis=1) >= EXCELLENT), MISMATCH_STEPS):
            shown.append((said_to[row] + step) % len(names))
            replies.append(int(row))
            scores.append(np.minimum(examples.scores[row], MISMATCH)[None])
        self.authored = len(said_to)
        self.scores = np.concatenate(scores)
        self.targets = logit(self.scores)
        self.reply_of = np.array(replies)
        vocabulary = encoder.vocabulary()
        texts = [(names[client], examples.replies[reply]) for client, reply in zip(shown, replies, strict=True)]
        self.clients = encoder.encode([client for client, _ in texts])
        self.replies = encoder.encode([reply for _, reply in texts])
        counted = np.stack([features(Exchange(client, "", reply), vocabulary) for client, reply in texts])
        self._seen = _seen(self.clients, self.replies, counted)
        self.mean = self._seen.mean(axis=0)
        spread = self._seen.std(axis=0)
        self.sd = np.where(spread > 0, spread, 1.0)  # a feature no example shows earns weight 0
        self._shown = np.array(shown)
        owner = np.array([said_to[reply] for reply in replies])
        # A client is left out with every row it touches, as the speaker or as the one the reply was meant for.
        self._groups = [np.flatnonzero((self._shown == i) | (owner == i)) for i in range(len(names))]

    def columns(self, scales: tuple[float, ...]) -> np.ndarray:
        return _columns(self.clients, self.replies, (self._seen - self.mean) / self.sd, np.array(scales))

    def errors(self, scales: tuple[float, ...], penalty: float) -> np.ndarray:
        """Target minus prediction in logits, for every row by the fit that left its client out, (rows, 12)."""
        x = self.columns(scales)
        left_out = left_out_errors(x @ x.T, self.targets, penalty, self._groups)
        errors = np.full_like(self.targets, np.nan)
        for client, (rows, error) in enumerate(zip(self._groups, left_out, strict=True)):
            heard = self._shown[rows] == client
            errors[rows[heard]] = error[heard]
        return errors

    def novelty(self) -> float:
        replies = self.replies[: self.authored]
        close = replies @ replies.T
        for group in self._groups:
            own = group[group < self.authored]
            close[np.ix_(own, own)] = -1.0
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


def _seen(clients: np.ndarray, replies: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """(n, 19): the cosine of client and reply, then the counted features."""
    cosine = np.sum(clients.astype(np.float64) * replies, axis=1, keepdims=True)
    return np.concatenate([cosine, counted], axis=1)


def _columns(clients: np.ndarray, replies: np.ndarray, seen: np.ndarray, scales: np.ndarray) -> np.ndarray:
    interaction = np.sqrt(WIDTH) * clients.astype(np.float64) * replies
    bounded = np.clip(seen, -FARTHEST, FARTHEST)
    bias = np.full((len(clients), 1), BIAS)
    return np.concatenate([scales[0] * replies, scales[1] * interaction, scales[2] * bounded, bias], axis=1)


def _key(encoder: SentenceEncoder, path: Path) -> str:
    """Changes with the examples, with the code that fits them, with numpy and with the encoder's weights."""
    folder = Path(__file__).resolve().parent
    code = [folder / f"{name}.py" for name in ("fit", "ridge", "features", "lexicon", "minilm", "examples")]
    digest = hashlib.sha256(f"{encoder.fingerprint()} {np.__version__} {DIMENSIONS} {FEATURES}".encode())
    for file in (path, *code):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:32]
