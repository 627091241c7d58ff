"""Expected digit scores equal the probabilities of full sequences, worked out one by one."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import fakes
import numpy as np
import pytest

from agents.lm.device import mx
from agents.lm.digits import DigitReader, NoDigits, Place, expected
from agents.lm.generate import chat_tokens
from agents.lm.models import LoadedModel

PROMPTS = ["client: I am fine. ", "client: I am fine. Really. Please leave it. ", "nothing in common "]
QUESTIONS = ["warmth: ", "pacing of the session: ", ""]
DIGITS = Place([], [ord(str(d)) for d in range(10)], ord("0"), None)


def by_full_sequences(loaded: LoadedModel, tokens: list[int]) -> tuple[float, float]:
    """Score and mass from one full pass per text: the slow, plain way."""

    def next_p(tokens: list[int]) -> Any:
        return mx.softmax(loaded.model(mx.array([tokens]))[0, -1]).tolist()

    first, second = next_p(tokens), next_p([*tokens, ord("1")])
    p = [first[ord(str(d))] for d in range(10)]
    ten = p[1] * second[ord("0")]
    mass = sum(p)
    return (sum(d * q for d, q in enumerate(p)) - ten + 10 * ten) / mass, mass


@pytest.mark.parametrize("chat", [False, True])
@pytest.mark.parametrize("model_type", sorted(fakes.CONFIGS))
def test_scores_equal_full_sequences(model_type: str, chat: bool) -> None:
    loaded = fakes.tiny(model_type)

    def tokens(prompt: str, question: str) -> list[int]:
        if not chat:
            return loaded.tokenizer.encode(prompt + question)
        return chat_tokens(loaded.tokenizer, [{"role": "user", "content": prompt}]) + list(question.encode())

    scores, mass = DigitReader(loaded, chat=chat).expected_scores(PROMPTS, QUESTIONS)
    alone = np.array([[by_full_sequences(loaded, tokens(p, q)) for q in QUESTIONS] for p in PROMPTS])
    np.testing.assert_allclose(scores, alone[..., 0], atol=1e-4)
    np.testing.assert_allclose(mass, alone[..., 1], atol=1e-6)


def test_a_score_does_not_depend_on_what_is_read_beside_it_or_before() -> None:
    reader = DigitReader(fakes.tiny_llama(), chat=True)
    together, _ = reader.expected_scores([*PROMPTS, PROMPTS[0]], QUESTIONS)
    apart = np.concatenate([reader.expected_scores([p], QUESTIONS)[0] for p in PROMPTS])
    np.testing.assert_allclose(together[:3], apart, atol=1e-4)
    np.testing.assert_array_equal(together[0], together[3])


def test_probabilities_make_the_score() -> None:
    first, second = np.zeros((3, fakes.VOCABULARY)), np.zeros((3, fakes.VOCABULARY))
    first[0, ord("7")] = 0.5
    first[1, [ord("1"), ord("x")]] = 0.8, 0.2
    second[1, ord("0")] = 0.75
    first[2, [ord("2"), ord("4")]] = 0.1, 0.3
    scores, mass = expected(first, second, [DIGITS] * 3)
    np.testing.assert_allclose(scores, [7.0, 0.75 * 10 + 0.25 * 1, 3.5])
    np.testing.assert_allclose(mass, [0.5, 0.8, 0.4])


def test_a_ten_of_one_token_counts() -> None:
    first = np.zeros((1, fakes.VOCABULARY))
    first[0, [ord("2"), ord("X")]] = 0.25, 0.25
    scores, mass = expected(first, first, [Place([], DIGITS.digits, ord("0"), ord("X"))])
    np.testing.assert_allclose([scores[0], mass[0]], [6.0, 0.5])


def test_broken_output_gives_no_score_and_spoils_no_other() -> None:
    p = np.zeros((3, fakes.VOCABULARY))
    p[1] = np.nan
    p[2, ord("3")] = 1.0
    scores, mass = expected(p, p, [DIGITS] * 3)
    assert np.isnan(scores[:2]).all()
    assert np.isnan(mass[:2]).all()
    assert scores[2] == 3.0


@pytest.mark.parametrize("model_type", ["llama", "gemma3"])
def test_a_prompt_longer_than_the_model_reads_has_no_score_and_spoils_no_other(model_type: str) -> None:
    reader = DigitReader(fakes.tiny(model_type))
    assert reader.tree.context == 512
    scores, mass = reader.expected_scores(["a" * 488, "a" * 489, "b"], ["warmth: ", "pacing of the session: "])
    assert np.isnan(scores[1]).all()
    assert np.isnan(mass[1]).all()
    assert np.isfinite(scores[[0, 2]]).all()


class SpacedDigits(fakes.ByteTokenizer):
    """Joins the space before a digit to it, as some tokenizers do: " 7" is the byte 200 + 7."""

    def encode(self, text: str, add_special_tokens: bool = True) -> list[int]:
        tokens: list[int] = []
        for token in super().encode(text):
            if tokens and tokens[-1] == ord(" ") and ord("0") <= token <= ord("9"):
                tokens[-1] = 200 + token - ord("0")
            else:
                tokens.append(token)
        return tokens


def test_a_space_that_belongs_to_the_digit_is_read_with_it() -> None:
    loaded = fakes.tiny_llama()
    loaded.tokenizer = SpacedDigits()
    place = DigitReader(loaded)._place("a: ")
    assert bytes(place.before) == b"a:"
    assert place.digits == list(range(200, 210))
    assert place.zero == ord("0")


def test_empty_input_and_unfit_tokenizers_are_refused() -> None:
    loaded = fakes.tiny_llama()
    with pytest.raises(ValueError, match="at least one"):
        DigitReader(loaded).expected_scores(PROMPTS, [])
    with pytest.raises(ValueError, match="at least one"):
        DigitReader(loaded).expected_scores([""], QUESTIONS)
    assert DigitReader(loaded).expected_scores([], QUESTIONS)[0].shape == (0, 3)
    loaded.tokenizer = Mock(
        encode=lambda text, add_special_tokens: list(text.encode()) + [1] * (text[-1] == "7"),
        all_special_tokens=(),
        added_tokens_decoder={},
    )
    with pytest.raises(NoDigits, match="digits 7 are not one token each"):
        DigitReader(loaded)
