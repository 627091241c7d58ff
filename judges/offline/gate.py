"""The language gate: how far a reply is language at all, and its own, and addressed to the client.

    gate = product of the factors below, each 1 up to `clean` and 0 from `lost` on, straight in between

It multiplies every score, because a reply that repeats itself or talks to the judge is not a somewhat less tender one:
a policy was seen to talk an ungated judge into full marks by warm repetition within eight minutes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from judges.offline.features import FEATURES


@dataclass(frozen=True)
class Limit:
    """One factor. `finding` says in words what was seen; {value} is the feature's value."""

    feature: str
    clean: float
    lost: float
    finding: str


# `clean` lies above what the decent authored examples show (a test pins it), `lost` where no reply is left.
LIMITS = (
    Limit("repetition", 0.15, 0.36, "it repeats itself: {value:.0%} of its word pairs have been used before"),
    Limit("own_echo", 0.25, 0.80, "it repeats an earlier turn: {value:.0%} of its word triples stand there"),
    Limit("client_echo", 0.45, 0.90, "it echoes the client: {value:.0%} of its word triples are the client's"),
    Limit("unknown_words", 0.18, 0.55, "{value:.0%} of its words are not words of everyday English"),
    Limit("broken_grammar", 0.04, 0.12, "it is garbled: {value:.0%} of its words stand where they cannot stand"),
    Limit(
        "meta",
        0.0,
        2.0,
        "it talks to the judge or about itself, or is a page and not speech ({value:.0f} kinds of signs)",
    ),
    Limit("foreign", 0.02, 0.30, "{value:.0%} of its characters are not of the script the judge can read"),
    Limit("stock_phrases", 1.0, 5.0, "it strings {value:.0f} phrases of comfort together that anybody could be told"),
    Limit("unfinished", 0.0, 8.0, "it does not end as a sentence does"),
)
FEWEST_WORDS = 1  # "No." can be a good reply; what is no word at all is none


def language_gate(row: np.ndarray) -> float:
    """The gate in [0, 1] for one row of features (18,)."""
    return float(np.prod([factor(limit, row) for limit in LIMITS])) * _said_something(row)


def factor(limit: Limit, row: np.ndarray) -> float:
    """One factor of the gate in [0, 1]: 1 where the feature is clean, 0 where all is lost."""
    return float(np.clip((limit.lost - _value(limit.feature, row)) / (limit.lost - limit.clean), 0.0, 1.0))


def findings(row: np.ndarray) -> list[str]:
    """What closed the gate, the worst first, as clauses for a reader."""
    seen = sorted((factor(limit, row), limit.finding.format(value=_value(limit.feature, row))) for limit in LIMITS)
    empty = ["it says next to nothing"] if _said_something(row) < 1 else []
    return empty + [finding for open_, finding in seen if open_ < 1]


def gates(rows: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """(n,) float64 in [0, 1]: the gate of each row."""
    return np.array([language_gate(row) for row in rows], dtype=np.float64)


def _value(feature: str, row: np.ndarray) -> float:
    return float(row[FEATURES.index(feature)])


def _said_something(row: np.ndarray) -> float:
    return min(1.0, round(float(np.expm1(_value("length", row)))) / FEWEST_WORDS)
