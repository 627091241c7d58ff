"""Expected digit scores equal the probabilities of full sequences, worked out one by one."""

from __future__ import annotations

from unittest.mock import Mock

import fakes
import numpy as np
import pytest

from agents.lm.device import mx
from agents.lm.digits import DigitReader
from agents.lm.models import LoadedModel

PREFIX, SUFFIXES = "client: I am fine.", ["warmth: ", "pacing of the session: ", ""]


def by_full_sequences(loaded: LoadedModel, text: str) -> tuple[float, float]:
    """Score and mass from one full pass per text: the slow, plain way."""
    tokens = loaded.tokenizer.encode(text)

    def next_p(tokens: list[int]) -> list[float]:
        return mx.softmax(loaded.model(mx.array([tokens]))[0, -1]).tolist()

    first, second = next_p(tokens), next_p([*tokens, ord("1")])
    p = [first[ord(str(d))] for d in range(10)]
    ten = p[1] * second[ord("0")]
    mass = sum(p)
    return (sum(d * q for d, q in enumerate(p)) - ten + 10 * ten) / mass, mass


@pytest.mark.parametrize("model_type", sorted(fakes.CONFIGS))
def test_scores_equal_full_sequences(model_type: str) -> None:
    loaded = fakes.tiny(model_type)
    scores, mass = DigitReader(loaded).expected_scores(PREFIX, SUFFIXES)
    expected = [by_full_sequences(loaded, PREFIX + s) for s in SUFFIXES]
    np.testing.assert_allclose(scores, [s for s, _ in expected], atol=1e-4)
    np.testing.assert_allclose(mass, [m for _, m in expected], atol=1e-6)


def test_probabilities_make_the_score() -> None:
    reader = DigitReader(fakes.tiny_llama())
    first, second = np.zeros((3, fakes.VOCABULARY)), np.zeros((3, fakes.VOCABULARY))
    first[0, ord("7")] = 0.5
    first[1, [ord("1"), ord("x")]] = 0.8, 0.2
    second[1, ord("0")] = 0.75
    first[2, [ord("2"), ord("4")]] = 0.1, 0.3
    scores, mass = reader._scores(first, second, 3)
    np.testing.assert_allclose(scores, [7.0, 0.75 * 10 + 0.25 * 1, 3.5])
    np.testing.assert_allclose(mass, [0.5, 0.8, 0.4])


def test_broken_output_gives_no_score() -> None:
    reader = DigitReader(fakes.tiny_llama())
    p = np.zeros((1, fakes.VOCABULARY))
    for bad in (p, p * np.nan):
        with pytest.raises(FloatingPointError, match="digit masses"):
            reader._scores(bad, p, 1)


def test_empty_input_and_unfit_tokenizers_are_refused() -> None:
    loaded = fakes.tiny_llama()
    with pytest.raises(ValueError, match="at least one"):
        DigitReader(loaded).expected_scores(PREFIX, [])
    with pytest.raises(ValueError, match="at least one"):
        DigitReader(loaded).expected_scores("", SUFFIXES)
    loaded.tokenizer = Mock(
        encode=lambda text, add_special_tokens: [1, 2], all_special_tokens=(), added_tokens_decoder={}
    )
    with pytest.raises(ValueError, match="not one token each"):
        DigitReader(loaded)
