"""Forms: only what may stand in a text is written, each row as if it were alone, and greedy is the model's own choice."""

from __future__ import annotations

import fakes
import numpy as np
import pytest

from agents.lm.constrained import FieldWriter, _repeating, _whole
from agents.lm.device import mx
from agents.lm.generate import chat_tokens
from agents.lm.models import LoadedModel

PROMPTS = ["Judge: warm.", "Judge: cold and long.", "Something else"]
OPENINGS = [['{"a": "', '", "b": "'], ['{"aa": "', '", "b": "'], ['{"a": "', '", "long name": "']]
MOST = [[12, 9], [12, 9], [12, 9]]


def by_full_sequences(loaded: LoadedModel, prompt: str, openings: list[str], most: list[int]) -> list[list[int]]:
    """The same, one row and one full pass for each token: the slow, plain way."""
    tokens, texts = chat_tokens(loaded.tokenizer, [{"role": "user", "content": prompt}]), []
    allowed = [t for t in range(32, 127) if t != ord("\\")] + [ord("\n"), fakes.END]
    for opening, bound in zip(openings, most, strict=True):
        tokens = tokens + list(opening.encode())
        text: list[int] = []
        while len(text) < bound:
            logits = np.array(loaded.model(mx.array([tokens]))[0, -1])
            logits[[t for t in range(len(logits)) if t not in allowed or t in _repeating(text)]] = -np.inf
            token = int(logits.argmax())
            if token in (ord('"'), ord("\n"), fakes.END):
                break
            text.append(token)
            tokens = [*tokens, token]
        texts.append(text)
    return texts


@pytest.mark.parametrize("model_type", sorted(fakes.CONFIGS))
def test_texts_are_those_of_each_row_alone(model_type: str) -> None:
    loaded = fakes.tiny(model_type)
    found = FieldWriter(loaded).fill(PROMPTS, OPENINGS, MOST)
    for row, (prompt, openings, most) in enumerate(zip(PROMPTS, OPENINGS, MOST, strict=True)):
        alone = by_full_sequences(loaded, prompt, openings, most)
        assert found[row] == tuple(_whole(bytes(t).decode(), len(t) == m) for t, m in zip(alone, most, strict=True))


def test_no_text_holds_what_would_end_it() -> None:
    loaded = fakes.tiny_llama(3)
    for text in FieldWriter(loaded).fill(PROMPTS * 7, OPENINGS * 7, [[40, 40]] * 21, mx.random.key(0)):
        assert all(part.isprintable() and part.isascii() and not set(part) & {'"', "\\"} for part in text)


def test_a_key_draws_and_the_same_key_draws_the_same() -> None:
    writer = FieldWriter(fakes.tiny_llama())
    one, same, other, greedy = (
        writer.fill(PROMPTS, OPENINGS, MOST, key)
        for key in (mx.random.key(1), mx.random.key(1), mx.random.key(2), None)
    )
    assert one == same
    assert len({tuple(one), tuple(other), tuple(greedy)}) == 3


def test_a_free_text_is_bounded_and_no_run_stands_twice() -> None:
    writer = FieldWriter(fakes.tiny_llama(1))
    text = writer.write("Say something.", 60)
    assert 0 < len(text) <= 60
    runs = [text[i : i + 4] for i in range(len(text) - 3)]
    assert len(set(runs)) == len(runs)


def test_a_text_that_was_cut_ends_with_its_last_sentence() -> None:
    assert _whole(" It heard. It then", True) == "It heard."
    assert _whole("It heard. It then ", False) == "It heard. It then"
    assert _whole("It then", True) == "It then"


def test_mistakes_are_refused() -> None:
    writer = FieldWriter(fakes.tiny_llama())
    with pytest.raises(ValueError, match="equally long"):
        writer.fill(PROMPTS, OPENINGS[:2], MOST)
    with pytest.raises(ValueError, match="equally long"):
        writer.fill(PROMPTS[:1], [["a"]], [[1, 2]])
    with pytest.raises(ValueError, match=r"bounds \[0\]"):
        writer.fill(PROMPTS[:1], [["a"]], [[0]])
    with pytest.raises(ValueError, match="most_tokens 0"):
        writer.write("a", 0)
    assert writer.fill([], [], []) == []
