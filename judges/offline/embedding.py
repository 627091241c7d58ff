"""The default judge: sentence vectors and counted features against authored examples, gated by language.

    kind  = gate 10 sigmoid(z + u)        z = fitted logits (judges/offline/fit.py)
    harsh = gate 10 sigmoid(z - u - e)    u = doubt x left-out error x (1 + strangeness),  e = harsh_extra

The two personas are the two ends of what the judge does not know: kind gives the benefit of the doubt and harsh gives
none, so the gap is wide where the reply is unlike every example. It reads words, not people: it can be deceived, and it
reads no reasoning, so parallel_thinking rests on the reply alone. Research only.
"""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import platformdirs
from pydantic import BaseModel, ConfigDict, Field

from judges.offline.blas import one_thread, steady_rows
from judges.offline.examples import EXAMPLES
from judges.offline.explain import assessment, evidence_of
from judges.offline.features import features
from judges.offline.fit import cached_fit, sigmoid
from judges.offline.gate import findings, language_gate
from judges.offline.minilm import SentenceEncoder
from judges.protocol import Exchange, JudgeFailure, Judgement

ABREAST = 24  # rows that are compared with the examples at once


class EmbeddingJudgeConfig(BaseModel):
    """Settings of the embedding judge."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    examples: Path = Field(
        default=EXAMPLES, description="The table, or folder of tables, of authored replies with their scores."
    )
    cache_folder: Path = Field(
        default_factory=lambda: Path(platformdirs.user_cache_dir("icarus")),
        description="Where the fit is kept between runs; where it cannot be written it is computed each time.",
    )
    doubt: float = Field(
        default=0.6745,
        ge=0,
        le=3,
        description="How many left-out errors each persona moves the score; 0.6745 is the probable error: half the "
        "judge's misses are larger.",
    )
    harsh_extra: float = Field(
        default=0.3, ge=0, le=3, description="How much more the harsh persona takes off, logits."
    )


class EmbeddingJudge:
    """Judges with no language model. Deterministic; a judgement does not depend on what is judged beside it.

    Raises JudgeUnavailable where the encoder's wheel is missing and TableError where a table is wrong.
    """

    name = "embedding"

    def __init__(self, config: EmbeddingJudgeConfig | None = None, encoder: SentenceEncoder | None = None) -> None:
        self.config = config or EmbeddingJudgeConfig()
        self._encoder = encoder or SentenceEncoder()
        self._vocabulary = self._encoder.vocabulary()
        self.fit, self.examples = cached_fit(self._encoder, self.config.cache_folder, self.config.examples)

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement | JudgeFailure]:
        """One Judgement for each exchange, in order; a JudgeFailure where a text is no text."""
        faults = [_unreadable(exchange) for exchange in exchanges]
        readable = [exchange for exchange, fault in zip(exchanges, faults, strict=True) if not fault]
        judged = iter(self._judged(readable))
        return [JudgeFailure(fault) if fault else next(judged) for fault in faults]

    def _judged(self, exchanges: Sequence[Exchange]) -> list[Judgement]:
        if not exchanges:
            return []
        layers = self._encoder.layers([e.client for e in exchanges] + [e.therapist for e in exchanges])
        clients, replies = np.ascontiguousarray(layers[: len(exchanges), -1]), layers[len(exchanges) :]
        counted = np.stack([features(exchange, self._vocabulary) for exchange in exchanges])
        steady = steady_rows(ABREAST)

        def abreast(start: int) -> list[Judgement]:
            """Always so many, each at a place where it has the bits that it has alone: a product of another shape has others."""
            many = min(len(steady), len(exchanges) - start)
            places = np.full(ABREAST, start)
            places[steady[:many]] += np.arange(many)
            columns = self.fit.columns(clients[places], replies[places], counted[places])
            likeness = self.fit.likeness(columns, clients[places])
            strange = self._strangeness(np.ascontiguousarray(replies[places, -1]))
            return [
                self._judgement(likeness[row], columns[row], float(strange[row]), counted[places[row]])
                for row in steady[:many]
            ]

        with one_thread(), ThreadPoolExecutor(os.cpu_count()) as threads:
            return [one for part in threads.map(abreast, range(0, len(exchanges), len(steady))) for one in part]

    def _judgement(
        self, likeness: np.ndarray, columns: np.ndarray, strangeness: float, counted: np.ndarray
    ) -> Judgement:
        z, u = self.fit.logits(likeness, columns), self.config.doubt * self.fit.error * (1.0 + strangeness)
        gate = language_gate(counted)
        evidence = evidence_of(self.fit, likeness, gate, findings(counted))
        kind = 10 * gate * sigmoid(z + u)
        harsh = 10 * gate * sigmoid(z - u - self.config.harsh_extra)
        return Judgement(
            kind=assessment("kind", kind, evidence, self.examples),
            harsh=assessment("harsh", harsh, evidence, self.examples),
            error=10 * gate * (sigmoid(z + u) - sigmoid(z - u)) / 2,
        )

    def _strangeness(self, replies: np.ndarray) -> np.ndarray:
        """(q,) how much farther than usual the nearest example is, in [0, 1]: 0 as near as the median, 1 unlike all."""
        typical = float(self.fit.novelty[0])
        return np.clip((self.fit.distance(replies) - typical) / (1.0 - typical), 0.0, 1.0)


def _unreadable(exchange: Exchange) -> str:
    """What makes an exchange impossible to read, or nothing."""
    texts: list[tuple[str, object]] = [("client", exchange.client), ("therapist", exchange.therapist)]
    texts += [(f"history[{i}].therapist", turn.therapist) for i, turn in enumerate(exchange.history)]
    for place, text in texts:
        if not isinstance(text, str):
            return f"{place} is a {type(text).__name__}; expected text"
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as error:
            return f"{place} holds half a character (a lone surrogate) at {error.start}; expected whole Unicode text"
    return ""
