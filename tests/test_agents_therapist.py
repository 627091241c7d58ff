"""What is heard of a completion, and what is learned from it."""

import pytest
from fakes import END, ByteTokenizer

from agents.lm.generate import Completion
from agents.therapist import spoken, whole_sentences


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("You came. That is hard to", "You came."),
        ("You came.", "You came."),
        ('She said "stay." And then', 'She said "stay."'),
        ("What is it like? Tell", "What is it like?"),
        ("no end at all", "no end at all"),
    ],
)
def test_a_cut_reply_goes_back_to_its_last_whole_sentence(text: str, kept: str) -> None:
    found = whole_sentences(Completion(list(text.encode()), text, None), ByteTokenizer())
    assert (found.text.strip(), bytes(found.tokens).decode()) == (kept, found.text)


def test_a_reply_that_ended_is_left_alone_and_its_end_is_learned() -> None:
    said = Completion(list(b"Stay with"), "Stay with", END)
    assert whole_sentences(said, ByteTokenizer()) is said
    assert said.response == [*b"Stay with", END]
    assert Completion([1], "x", None).response == [1]


def test_control_characters_are_not_heard() -> None:
    assert spoken(Completion([0], "a\0b\x1b[31m\u200b é\n ", None)) == "ab[31m é"
