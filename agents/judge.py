"""Judging by the frozen model itself (paper 443): scores, texts and likelihoods with the frozen adapter set active.

The therapist's adapters never judge, and a key-value cache never crosses adapters: what is kept between calls is forgotten
when the set's arrays are other ones than those that filled it.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from agents.lm.adapters import AdapterSets
from agents.lm.architecture import layers_of
from agents.lm.constrained import FieldWriter
from agents.lm.digits import DigitReader
from agents.lm.likelihood import mean_logprobs, mean_states
from agents.lm.lora import without_adapters
from agents.lm.models import LoadedModel
from agents.lm.prompt_tree import PromptTree
from judges.language_model import LanguageModelJudge
from judges.likelihood import likelihood_prompt
from judges.offline.embedding import EmbeddingJudge
from judges.protocol import Exchange, Judge
from judges.reading.judge import WithReading
from judges.reading.kept import cached_reading, reader_fingerprint
from judges.rubric import prompt_text
from judges.writer import Form


class FrozenTree:
    """A prompt tree under one adapter set: what several readers share, so that a rubric is forwarded once for all."""

    def __init__(self, loaded: LoadedModel, sets: AdapterSets, role: str) -> None:
        self.loaded, self.tree = loaded, PromptTree(loaded.model)
        self._sets, self._role = sets, role
        self._filled_by: dict[str, Any] = {}

    @contextmanager
    def active(self) -> Iterator[PromptTree]:
        """The tree, with the set in the model."""
        arrays = self._sets.get(self._role)
        if any(arrays[name] is not self._filled_by.get(name) for name in arrays):
            self.tree.clear()
            self._filled_by = arrays
        with self._sets.role(self._role):
            yield self.tree


class FrozenDigits:
    """`judges.language_model` reads its scores through this."""

    def __init__(self, loaded: LoadedModel, sets: AdapterSets, role: str, frozen: FrozenTree | None = None) -> None:
        self.frozen = frozen or FrozenTree(loaded, sets, role)
        self._reader = DigitReader(loaded, chat=True, tree=self.frozen.tree)

    def expected_scores(self, prompts: Sequence[str], questions: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """(scores (n, q) in [0, 10], digit mass (n, q) in [0, 1]) of q questions on each of n prompts."""
        with self.frozen.active():
            return self._reader.expected_scores(prompts, questions)


class FrozenWriter:
    """The judge's texts, greedy: `judges.writer.FormWriter` and `Writer`. Give it the FrozenTree of the FrozenDigits."""

    def __init__(self, loaded: LoadedModel, sets: AdapterSets, role: str, frozen: FrozenTree | None = None) -> None:
        self.frozen = frozen or FrozenTree(loaded, sets, role)
        self._writer = FieldWriter(loaded, self.frozen.tree)

    def fill(self, prompts: Sequence[str], forms: Sequence[Form]) -> list[tuple[str, ...]]:
        """The texts of each form after its prompt."""
        with self.frozen.active():
            return self._writer.fill(prompts, [form.openings for form in forms], [form.most_tokens for form in forms])

    def write(self, prompt: str, most_tokens: int) -> str:
        """A free text in answer to a prompt."""
        with self.frozen.active():
            return self._writer.write(prompt, most_tokens)


class FrozenLikelihood:
    """How likely the base finds a reply: `judges.likelihood.Likelihood`."""

    def __init__(self, loaded: LoadedModel, sets: AdapterSets, role: str) -> None:
        self.frozen = FrozenTree(loaded, sets, role)

    def mean_logprobs(self, exchanges: Sequence[Exchange]) -> np.ndarray:
        """(n,) nats for each token of the reply after the client's words; NaN where the reply has no token."""
        prompts = [likelihood_prompt(exchange) for exchange in exchanges]
        with self.frozen.active() as tree:
            return mean_logprobs(self.frozen.loaded, tree, prompts, [exchange.therapist for exchange in exchanges])


class BaseReader:
    """The base itself, without any adapter, reading replies: `judges.reading.kept.NamedReader`."""

    def __init__(self, loaded: LoadedModel) -> None:
        self._loaded = loaded
        layers = reading_layers(len(layers_of(loaded.model)))
        self.name = loaded.name
        self._tree = PromptTree(loaded.model, layers=layers)
        self.fingerprint = reader_fingerprint(loaded.base_hash, layers, prompt_text("likelihood"))

    def states(self, exchanges: Sequence[Exchange]) -> np.ndarray:
        """(n, 2 width) mean states over the tokens of each reply after the client's words; NaN where there are none to be had."""
        prompts = [likelihood_prompt(exchange) for exchange in exchanges]
        with without_adapters(self._loaded.model):
            return mean_states(self._loaded, self._tree, prompts, [exchange.therapist for exchange in exchanges])


def reading_layers(depth: int) -> tuple[int, int]:
    """The layers whose inputs are read: 14 and 18 of SmolLM2's 30 (LOG.md), and as deep in another model."""
    return max(1, depth * 14 // 30), max(2, depth * 18 // 30)


def reading_judge(embedding: EmbeddingJudge, loaded: LoadedModel) -> WithReading:
    """The embedding judge, held against what the base reads. The fit of the reading is read, or made where there is none."""
    reader = BaseReader(loaded)
    return WithReading(embedding, reader, cached_reading(reader, embedding.examples))


def local_judge(name: str, loaded: LoadedModel, sets: AdapterSets, role: str) -> Judge:
    """The judge of that name that needs no key: "embedding", "reading" (held against what the base reads) or "self", the model with
    adapter set `role`."""
    if name == "self":
        return LanguageModelJudge(FrozenDigits(loaded, sets, role), f"self:{loaded.name}")
    embedding = EmbeddingJudge()
    return reading_judge(embedding, loaded) if name == "reading" else embedding
