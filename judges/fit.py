"""Fit the embedding judge's scores to the authored examples (and to the same replies given to the wrong client).

    x = [layers 2, 4, 6 of the reply, counted features, relevance to the client, bias]      score = 10 sigmoid(x W)

W by ridge on the logits; the penalty is the one with the least leave-one-client-out error. What a reply is worth to this
client and not to another comes in by its relevance alone (judges/relevance.py): products of the two sentence vectors were
tried and added nothing (benchmarks/judge_features.py).
"""

import hashlib
from dataclasses import dataclass, fields
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np

from client_graph.names import DIMENSIONS
from judges.blas import one_thread
from judges.examples import EXAMPLES, Examples, example_files, read_examples
from judges.features import FEATURES, features
from judges.fit_cache import load_arrays, save_arrays
from judges.minilm import READ, WIDTH, SentenceEncoder
from judges.protocol import Exchange
from judges.relevance import RELEVANCE, relevance
from judges.ridge import left_out_errors, ridge_duals

# Least score a fit aims at: the logit of 0 is minus infinity. 0.3 is nearer to 0 than to any other authored score.
EDGE = 0.3
BIAS = 10.0  # a large column is hardly penalised: the mean is free
FARTHEST = 3.0  # no column goes beyond three standard deviations: no score is earned by extrapolating
LAYER_WEIGHT = 3.0 / np.sqrt(WIDTH)  # a layer's 384 columns together weigh as much as nine counted features
PENALTIES = (10.0, 30.0, 100.0)
GOOD = 6.0  # mean score from which a reply is also shown with a wrong client,
PARTICULAR = (
    1.5  # where it answers its own client by so many standard deviations more than others: "Go on." fits anybody
)
# At most this much is left of a good reply that answers somebody else (design; in the order of DIMENSIONS).
MISMATCH = np.array([1.0, 3.5, 3.5, 5.5, 1.0, 5.5, 2.0, 1.0, 1.0, 2.0, 2.5, 2.5])
MISMATCH_STEPS = (1, 17)  # the wrong client is so many clients further in the tables


@dataclass(frozen=True, eq=False)
class Fit:
    """What the fit leaves behind: n examples of k clients, and m >= n rows, first the examples, then the wrong pairs.

    rows (m, columns): what was fitted; duals (m, 12): the coefficient of each row, equated;
    weights (columns, 12): rows^T duals, and the equating's shift in the bias.
    replies (m,) int64: the example whose reply stands in the row; scores (m, 12): what the row aims at, in [0, 10].
    mean, sd (columns - 1,) before standardising; penalty (1,); vectors (n, 384) of the replies; bank (k, 384) of the clients.
    error (12,) in logits and error_points (12,) in points of ten: root mean square, each example judged by a fit
    without its client. novelty (1,): median distance 1 - cos of an example to the nearest reply to another client.
    """

    rows: np.ndarray
    duals: np.ndarray
    weights: np.ndarray
    replies: np.ndarray
    scores: np.ndarray
    mean: np.ndarray
    sd: np.ndarray
    penalty: np.ndarray
    vectors: np.ndarray
    bank: np.ndarray
    error: np.ndarray
    error_points: np.ndarray
    novelty: np.ndarray

    def columns(self, client: np.ndarray, reply: np.ndarray, counted: np.ndarray) -> np.ndarray:
        """(columns,) for one exchange; client (384,), reply (3, 384), counted (18,)."""
        seen = np.concatenate([reply.ravel(), counted, relevance(reply[-1], client, self.bank)])
        return _standardised(seen[None], self.mean, self.sd)[0]

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
    """Choose the penalty by leave-one-client-out error, fit all examples, equate the scale."""
    data = _Data(encoder, examples)
    gram = data.rows @ data.rows.T
    left_out = {penalty: data.errors(gram, penalty) for penalty in PENALTIES}
    penalty = min(PENALTIES, key=lambda choice: float(np.mean(left_out[choice] ** 2)))
    target = data.targets[: data.authored]
    plain = target - left_out[penalty][: data.authored]
    # Linear equating (Kolen & Brennan 2014): a ridge shrinks, and the paper's thresholds (3.5, 6.5, 8) speak of a full
    # scale, so unseen replies get back the mean and the spread of the authored scores.
    stretch = target.std(axis=0) / plain.std(axis=0)
    shift = target.mean(axis=0) - stretch * plain.mean(axis=0)
    equated = shift + stretch * plain
    duals = ridge_duals(data.rows, data.targets, penalty) * stretch
    weights = data.rows.T @ duals
    weights[-1] += shift / BIAS
    return Fit(
        rows=data.rows,
        duals=duals,
        weights=weights,
        replies=data.reply_of,
        scores=data.scores,
        mean=data.mean,
        sd=data.sd,
        penalty=np.array([penalty]),
        vectors=data.vectors,
        bank=data.bank,
        error=np.sqrt(np.mean((target - equated) ** 2, axis=0)),
        error_points=np.sqrt(np.mean((10 * sigmoid(target) - 10 * sigmoid(equated)) ** 2, axis=0)),
        novelty=np.array([data.novelty()]),
    )


class _Data:
    """The authored rows first, then the mismatched ones."""

    def __init__(self, encoder: SentenceEncoder, examples: Examples) -> None:
        self.names = list(dict.fromkeys(examples.clients))
        place = {name: i for i, name in enumerate(self.names)}
        said_to = np.array([place[client] for client in examples.clients])
        layers = encoder.layers(examples.replies)
        self.bank, self.vectors = encoder.encode(self.names), np.ascontiguousarray(layers[:, -1])
        own = np.stack([relevance(v, self.bank[k], self.bank) for v, k in zip(self.vectors, said_to, strict=True)])
        answers = own[:, RELEVANCE.index("answers")]
        meant = np.flatnonzero((examples.scores.mean(axis=1) >= GOOD) & (answers >= PARTICULAR))
        wrong = np.array(list(product(meant, MISMATCH_STEPS)), dtype=np.int64).reshape(-1, 2)
        self.authored = len(said_to)
        self.reply_of = np.concatenate([np.arange(self.authored), wrong[:, 0]])
        self._shown = np.concatenate([said_to, (said_to[wrong[:, 0]] + wrong[:, 1]) % len(self.names)])
        self._meant_for = said_to[self.reply_of]
        self.scores = np.concatenate([examples.scores, np.minimum(examples.scores[wrong[:, 0]], MISMATCH)])
        self.targets = logit(self.scores)
        seen = self._seen(encoder.vocabulary(), examples, layers)
        self.mean, spread = seen.mean(axis=0), seen.std(axis=0)
        self.sd = np.where(spread > 0, spread, 1.0)  # a feature no example shows earns weight 0
        self.rows = _standardised(seen, self.mean, self.sd)

    def _seen(self, vocabulary: frozenset[str], examples: Examples, layers: np.ndarray) -> np.ndarray:
        return np.stack(
            [
                np.concatenate(
                    [
                        layers[reply].ravel(),
                        features(Exchange(self.names[client], "", examples.replies[reply]), vocabulary),
                        relevance(layers[reply, -1], self.bank[client], self.bank),
                    ]
                )
                for client, reply in zip(self._shown, self.reply_of, strict=True)
            ]
        )

    @cached_property
    def _groups(self) -> list[np.ndarray]:
        """The rows of each client, as the speaker or as the one the reply was meant for: left out together."""
        clients = range(len(self.names))
        return [np.flatnonzero((self._shown == i) | (self._meant_for == i)) for i in clients]

    def errors(self, gram: np.ndarray, penalty: float) -> np.ndarray:
        """Target minus prediction in logits, for every row by the fit that left its client out, (rows, 12)."""
        left_out = left_out_errors(gram, self.targets, penalty, self._groups)
        errors = np.full_like(self.targets, np.nan)
        for client, (rows, error) in enumerate(zip(self._groups, left_out, strict=True)):
            heard = self._shown[rows] == client
            errors[rows[heard]] = error[heard]
        return errors

    def novelty(self) -> float:
        close = self.vectors @ self.vectors.T
        said_to = self._shown[: self.authored]
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


def _standardised(seen: np.ndarray, mean: np.ndarray, sd: np.ndarray) -> np.ndarray:
    """(n, columns): each column in standard deviations within FARTHEST, the layers' scaled down, the bias last."""
    rows = np.clip((seen - mean) / sd, -FARTHEST, FARTHEST)
    rows[:, : len(READ) * WIDTH] *= LAYER_WEIGHT
    return np.concatenate([rows, np.full((len(rows), 1), BIAS)], axis=1)


def _key(encoder: SentenceEncoder, path: Path) -> str:
    """Changes with the examples, with the code that fits them, with numpy and with the encoder's weights."""
    folder = Path(__file__).resolve().parent
    code = [
        folder / f"{name}.py" for name in ("fit", "ridge", "features", "lexicon", "minilm", "examples", "relevance")
    ]
    digest = hashlib.sha256(f"{encoder.fingerprint()} {np.__version__} {DIMENSIONS} {FEATURES}".encode())
    for file in (*example_files(path), *code):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:32]
