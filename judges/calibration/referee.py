"""A second judge that takes no part in training: fitted to the held-out pairs, which the judge in use has never seen.

    P(better) = sigmoid(w (x_better - x_worse))        Bradley & Terry 1952; x the odd layers of the reply, standardised
    score     = 10 sigmoid(w (x - mean x))             0 to 10; only differences mean anything

It knows other clients, other replies, other layers and nothing of the counted features: what fools the judge in use need
not fool it. It is weaker than that judge, and knows no client: accuracy on left-out pairs says how far to believe it.
"""

from collections.abc import Sequence

import numpy as np

from judges.offline.fit import sigmoid
from judges.offline.minilm import SentenceEncoder
from judges.offline.ranking import bradley_terry
from judges.pairs import Pair, held_out

LAYERS = (1, 3, 5)
PENALTY = 30.0  # of the squared weights of standardised columns


class Referee:
    """Scores replies by the held-out pairs alone. Deterministic."""

    def __init__(self, pairs: Sequence[Pair] | None = None, encoder: SentenceEncoder | None = None) -> None:
        self.pairs = tuple(pairs or held_out())
        self._encoder = encoder or SentenceEncoder(read=LAYERS)
        self._better = self._columns([pair.better for pair in self.pairs])
        self._worse = self._columns([pair.worse for pair in self.pairs])
        both = np.concatenate([self._better, self._worse])
        self._mean, self._sd = both.mean(axis=0), both.std(axis=0)
        self._weights = bradley_terry((self._better - self._worse) / self._sd, PENALTY)

    def scores(self, replies: Sequence[str]) -> np.ndarray:
        """(n,) float64 in [0, 10]."""
        return 10.0 * sigmoid((self._columns(replies) - self._mean) / self._sd @ self._weights)

    def accuracy(self, folds: int = 8) -> float:
        """Share of pairs ranked rightly by a fit without them, in [0, 1]; the folds are every eighth pair."""
        apart = (self._better - self._worse) / self._sd
        fold = np.arange(len(apart)) % folds
        right = [apart[fold == f] @ bradley_terry(apart[fold != f], PENALTY) > 0 for f in range(folds)]
        return float(np.concatenate(right).mean())

    def _columns(self, replies: Sequence[str]) -> np.ndarray:
        return self._encoder.layers(replies).reshape(len(replies), -1).astype(np.float64)
