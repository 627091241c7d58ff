"""From characters to tokens: exact where a tokenizer trims what it says, where it falls back to bytes, where it says nothing."""

from __future__ import annotations

from functools import cache
from itertools import accumulate
from typing import Any

import pytest
from fakes import ByteTokenizer
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx_lm.tokenizer_utils import TokenizerWrapper
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from dapt.token_places import TokenPlaces

quick = settings(max_examples=60, deadline=None)
CORPUS = [
    "<UTTERANCE>\nHello there, my dear.\n</UTTERANCE>\n  I see.  You\nsee <FAC:INSIGHT>it</FAC:INSIGHT>",
    "é🙂 漢字",
] * 3
# As in GPT-2, and as in Llama 3, where a full stop and the line's end after it are one token.
SPLITS = {
    "gpt2": r"'s|'t| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "llama3": r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
}
texts = st.lists(
    st.sampled_from(["<UTTERANCE>", "\n", " ", "  ", "Hello", " there", ".", "é", "🙂", "漢字", "x", "</UTTERANCE>\n"]),
    max_size=12,
).map("".join)


@cache
def byte_level(split: str, trim: bool) -> Any:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(SPLITS[split]), "isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    made.post_processor = processors.ByteLevel(trim_offsets=trim)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    made.train_from_iterator(
        CORPUS, trainers.BpeTrainer(vocab_size=330, initial_alphabet=alphabet, show_progress=False)
    )
    return TokenizerWrapper(PreTrainedTokenizerFast(tokenizer_object=made))


@cache
def falls_back() -> Any:
    """As in Gemma: spaces are a letter, and what is in no token is its bytes."""
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    made.normalizer = normalizers.Replace(" ", "▁")
    special = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    made.train_from_iterator(
        CORPUS[:1], trainers.BpeTrainer(vocab_size=330, special_tokens=special, show_progress=False)
    )
    return TokenizerWrapper(PreTrainedTokenizerFast(tokenizer_object=made))


def sizes(tokenizer: Any, tokens: list[int]) -> list[int]:
    """Bytes of each token, by its letters."""
    found = []
    for token in tokenizer.convert_ids_to_tokens(tokens):
        letters = token.replace("▁", " ")
        byte_level = tokenizer.backend_tokenizer.pre_tokenizer is not None
        found.append(len(token) if byte_level else 1 if token.startswith("<0x") else len(letters.encode()))
    return found


def slowly(text: str, widths: list[int], ranges: list[tuple[int, int]]) -> list[bool]:
    """Whether a byte of a token is one of a character of a range."""
    owner = [i for i, character in enumerate(text) for _ in character.encode()]
    assert sum(widths) == len(owner)
    ends = list(accumulate(widths))
    wanted = {i for start, end in ranges for i in range(start, end)}
    return [any(owner[b] in wanted for b in range(end - width, end)) for end, width in zip(ends, widths, strict=True)]


@st.composite
def asked(draw: st.DrawFn) -> tuple[str, list[tuple[int, int]]]:
    text = draw(texts)
    edge = st.integers(0, len(text))
    return text, [tuple(sorted(draw(st.tuples(edge, edge)))) for _ in range(draw(st.integers(0, 3)))]  # type: ignore[misc]


MADE = {
    "gpt2": lambda: byte_level("gpt2", False),
    "gpt2, trimmed": lambda: byte_level("gpt2", True),
    "llama3, trimmed": lambda: byte_level("llama3", True),
    "bytes where no token": falls_back,
}


@pytest.mark.parametrize("kind", MADE)
@quick
@given(case=asked())
def test_a_token_is_learned_that_holds_a_character_of_a_range(
    kind: str, case: tuple[str, list[tuple[int, int]]]
) -> None:
    text, ranges = case
    tokenizer = MADE[kind]()
    tokens = list(tokenizer.encode(text, add_special_tokens=False))
    found = places(kind).masks(text, tokens, {"all": [(0, len(text))], "some": ranges})
    assert found == {"all": [True] * len(tokens), "some": slowly(text, sizes(tokenizer, tokens), ranges)}


@cache
def places(kind: str) -> TokenPlaces:
    made = TokenPlaces(MADE[kind]())
    assert made._fast is not None
    return made


@quick
@given(asked())
def test_a_tokenizer_without_places_is_asked_for_beginnings(case: tuple[str, list[tuple[int, int]]]) -> None:
    text, ranges = case
    tokens = ByteTokenizer().encode(text, add_special_tokens=False)
    found = TokenPlaces(ByteTokenizer()).masks(text, tokens, {"some": ranges})
    assert found == {"some": slowly(text, [1] * len(tokens), ranges)}


def test_a_token_across_an_edge_is_learned_on_both_sides() -> None:
    class Pairs:
        """A token for every two characters."""

        def encode(self, text: str, add_special_tokens: bool = False) -> list[int]:
            return [sum(map(ord, text[i : i + 2])) for i in range(0, len(text), 2)]

    tokens = Pairs().encode("abcdefgh")
    found = TokenPlaces(Pairs()).masks("abcdefgh", tokens, {"to 3": [(0, 3)], "from 3": [(3, 6)], "none": [(4, 4)]})
    assert found == {
        "to 3": [True, True, False, False],
        "from 3": [False, True, True, False],
        "none": [False] * 4,
    }


def test_the_tokenizer_that_is_asked_stays_as_it_was() -> None:
    tokenizer = byte_level("gpt2", True)
    before = tokenizer.backend_tokenizer.to_str()
    TokenPlaces(tokenizer).masks("a  b", list(tokenizer.encode("a  b", add_special_tokens=False)), {"x": [(1, 2)]})
    assert tokenizer.backend_tokenizer.to_str() == before
