"""Judging by the frozen model itself (paper 443): digit scores read with the frozen adapter set active."""

import numpy as np

from agents.lm.adapters import AdapterSets
from agents.lm.digits import DigitReader
from agents.lm.models import LoadedModel


class FrozenDigits:
    """`judges.language_model` reads its scores through this; the therapist's adapters never judge."""

    def __init__(self, loaded: LoadedModel, sets: AdapterSets, role: str) -> None:
        self._reader, self._sets, self._role = DigitReader(loaded, chat=True), sets, role

    def expected_scores(self, prefix: str, suffixes: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """(scores (n,) in [0, 10], digit mass (n,) in [0, 1]) of n questions on one prompt."""
        with self._sets.role(self._role):
            return self._reader.expected_scores(prefix, suffixes)
