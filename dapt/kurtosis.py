"""How heavy the tails of keys and values are, layer by layer: the paper's "KV embedding kurtosis" (paper 17-18, 498-514).

    Kurt = E (x - E x)^4 / (E (x - E x)^2)^2        over all heads, tokens and dimensions of a layer's keys, or of its values

3 for a Gaussian and 1 at the least: the plain fourth standardised moment, nothing subtracted. The paper writes no formula, and its
numbers (17.59 after a fall of 16.6 %, 511) fit plain and excess. Plain, since it never says "excess", reports percentages of a
number that goes toward the Gaussian (18), where an excess would go to 0 and its percentages would mean nothing, and cites He et
al. 2024 and Bondarenko et al. 2023 (501), whose kurtosis subtracts nothing. Over the entries of a layer at once, so that a few
dimensions which carry most of the variance raise it (18) as rare tokens do: where dimension d is Gaussian with variance s_d it is
3 E s_d^2 / (E s_d)^2, three times the kurtosis over neurons' norms of He et al.

Keys are taken without their positions (dapt/memory.py): a rotation mixes pairs of dimensions, and with them their tails. In latent
attention "keys" are the latent vectors and "values" the rotary part, as the cache has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agents.lm.device import mx


@dataclass(frozen=True)
class Moments:
    """Sums over the entries of each layer, from which parts read one after the other add up to the whole.

    All (layers,) float64. count: entries of the layer. second, third, fourth: M_p = Σ (x - mean)^p.
    """

    count: np.ndarray
    mean: np.ndarray
    second: np.ndarray
    third: np.ndarray
    fourth: np.ndarray

    @classmethod
    def of(cls, layers: Sequence[mx.array]) -> Moments:
        """An array of any shape for each layer; sums are taken in float32. Raises ValueError for an empty one, or for none."""
        if not layers or any(layer.size == 0 for layer in layers):
            raise ValueError("found no entries; expected keys or values of at least one token in at least one layer")
        found = []
        for layer in layers:
            x = layer.astype(mx.float32).reshape(-1)
            mean = x.mean()
            apart = x - mean
            square = apart.square()
            found.append(mx.stack([mean, square.sum(), (square * apart).sum(), square.square().sum()]))
        return cls(np.array([float(layer.size) for layer in layers]), *np.asarray(mx.stack(found, axis=1), np.float64))

    def __add__(self, other: Moments) -> Moments:
        """Of both parts together (Pébay 2008): with n = a + b, d = mean_b - mean_a,

        M_2 = M_2a + M_2b + d^2 ab/n
        M_3 = M_3a + M_3b + d^3 ab(a - b)/n^2 + 3 d (a M_2b - b M_2a)/n
        M_4 = M_4a + M_4b + d^4 ab(a^2 - ab + b^2)/n^3 + 6 d^2 (a^2 M_2b + b^2 M_2a)/n^2 + 4 d (a M_3b - b M_3a)/n
        """
        a, b = self.count, other.count
        n, d = a + b, other.mean - self.mean
        return Moments(
            count=n,
            mean=self.mean + d * b / n,
            second=self.second + other.second + d**2 * (a * b / n),
            third=self.third
            + other.third
            + d**3 * (a * b * (a - b) / n**2)
            + 3 * d * (a * other.second - b * self.second) / n,
            fourth=self.fourth
            + other.fourth
            + d**4 * (a * b * (a * a - a * b + b * b) / n**3)
            + 6 * d**2 * (a * a * other.second + b * b * self.second) / n**2
            + 4 * d * (a * other.third - b * self.third) / n,
        )

    @property
    def kurtosis(self) -> np.ndarray:
        """(layers,) Kurt above, 1 or more; nan for a layer whose entries are all equal."""
        with np.errstate(invalid="ignore", divide="ignore"):
            found: np.ndarray = np.where(self.second > 0.0, self.count * self.fourth / self.second**2, np.nan)
        return found
