"""Forms: only what may stand in a text is written, each row as if it were alone, and greedy is the model's own choice."""

from __future__ import annotations

from typing import Any

import fakes
import numpy as np
import pytest

from agents.lm import constrained
from agents.lm.constrained import HELD, FieldWriter, TooLong, _repeating, _whole
from agents.lm.device import mx
from agents.lm.generate import chat_tokens
from agents.lm.models import LoadedModel
from agents.lm.prompt_tree import BUDGET, Places, PromptTree

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


@pytest.mark.parametrize(("budget", "held"), [(BUDGET, HELD), (2, HELD), (40, 70)])
@pytest.mark.parametrize("model_type", sorted(fakes.CONFIGS))
def test_texts_are_those_of_each_row_alone(model_type: str, budget: int, held: int) -> None:
    loaded = fakes.tiny(model_type)
    found = FieldWriter(loaded, PromptTree(loaded.model, budget), held).fill(PROMPTS, OPENINGS, MOST)
    for row, (prompt, openings, most) in enumerate(zip(PROMPTS, OPENINGS, MOST, strict=True)):
        alone = by_full_sequences(loaded, prompt, openings, most)
        assert found[row] == tuple(_whole(bytes(t).decode(), len(t) == m) for t, m in zip(alone, most, strict=True))


class Passes:
    """Counts, in place of `placed_states`, the tokens of each pass and the keys that each batch holds beside its trunk's."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.tokens: list[int] = []
        self.trunks: list[int] = []
        self.own: list[int] = []
        self._states, self._batch = constrained.placed_states, object()
        monkeypatch.setattr(constrained, "placed_states", self)

    def __call__(self, model: Any, tokens: list[int], caches: list[Any], places: Places) -> mx.array:
        if caches is not self._batch:
            self._batch = caches
            self.trunks.append(len(places.slots))
            self.own.append(0)
        self.tokens.append(len(tokens))
        self.own[-1] += len(tokens)
        return self._states(model, tokens, caches, places)


def test_no_pass_is_larger_than_the_budget_and_no_batch_holds_more_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, passes = fakes.tiny_llama(), Passes(monkeypatch)
    prompts = [f"Rubric. {i}" + " and on" * 20 * (i == 3) for i in range(9)]
    writer = FieldWriter(loaded, PromptTree(loaded.model, 16), held=130)
    assert len(writer.fill(prompts, [['{"a": "', '", "b": "']] * 9, [[12, 9]] * 9)) == 9
    assert max(passes.tokens) == 16
    assert max(passes.own) <= 130
    # Three or four rows of some 40 tokens beside "Rubric. "; the long one is a batch of its own, nearly all of it trunk.
    assert 3 <= len(passes.own) <= 5
    assert max(passes.trunks) > 140


def test_a_row_longer_than_the_context_is_not_written_and_spoils_no_other() -> None:
    loaded = fakes.tiny_llama()
    writer, form, most = FieldWriter(loaded), ['{"a": "', '", "b": "'], [12, 9]
    assert writer.tree.context == 512
    room = 512 - len(chat_tokens(loaded.tokenizer, [{"role": "user", "content": ""}])) - len("".join(form)) - sum(most)
    prompts = ["a" * room, "a" * (room + 1), "b"]
    found = writer.fill(prompts, [form] * 3, [most] * 3)
    assert found[1] == ()
    assert [found[0], found[2]] == [writer.fill([p], [form], [most])[0] for p in (prompts[0], prompts[2])]
    assert all(len(found[i]) == 2 for i in (0, 2))
    assert writer.fill([prompts[1]], [form], [most]) == [()]


def test_a_free_text_beyond_the_context_is_refused() -> None:
    writer = FieldWriter(fakes.tiny_llama())
    room = 512 - len(writer._start(""))
    assert isinstance(writer.write("a" * (room - 8), 8), str)
    with pytest.raises(TooLong, match=r"a prompt of 505 tokens and 8 to write; expected at most 512 .*'tiny-llama'"):
        writer.write("a" * (room - 7), 8)


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
