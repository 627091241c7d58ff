"""Nonsense is made of good replies: the same words, for three at a time in their order, and it is no reply of theirs."""

import numpy as np
import pytest

from judges.reading.nonsense import FEWEST, KINDS, MOST, Nonsense

REPLIES = {
    "I moved the photo.": ("What made you move the photo now? I would like to hear it slowly.",),
    "She left.": (
        "She left, and the house is quiet. What is the quiet like for you?",
        "The quiet is what you hear now.",
    ),
    "I slept in my car.": ("The car again. What was it like to wake up there, in the cold?",),
    "Nobody came.": ("You waited, and nobody came. What did you tell yourself? I would like to know it.",),
}


def triples(text: str) -> set[tuple[str, ...]]:
    words = text.replace("?", " ?").replace(".", " .").replace(",", " ,").split()
    return set(zip(words, words[1:], words[2:], strict=False))


def test_the_same_generator_makes_the_same_and_another_makes_another() -> None:
    nonsense = Nonsense(REPLIES)
    made = [[nonsense(kind, "She left.", np.random.default_rng(seed)) for kind in KINDS] for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]


def test_three_words_in_a_row_are_somebodys() -> None:
    nonsense, rng = Nonsense(REPLIES), np.random.default_rng(0)
    known = set().union(*(triples(reply) for said in REPLIES.values() for reply in said))
    for _ in range(50):
        made = nonsense("chain", "She left.", rng)
        assert triples(made) <= known
        assert len(made.split()) <= MOST


def test_about_takes_up_the_clients_words() -> None:
    client = "My budgerigar has stopped whistling since the move."
    rng, nonsense = np.random.default_rng(0), Nonsense(REPLIES)
    named = sum("budgerigar" in nonsense("about", client, rng) for _ in range(60))
    assert named > 5
    assert not any("budgerigar" in nonsense("chain", client, rng) for _ in range(60))


def test_mixed_sentences_are_whole_and_were_said_to_others() -> None:
    nonsense, rng = Nonsense(REPLIES), np.random.default_rng(0)
    others = " ".join(reply for client, said in REPLIES.items() if client != "She left." for reply in said)
    for _ in range(30):
        made = nonsense("mixed", "She left.", rng)
        assert all(sentence.strip(" ?.") in others for sentence in made.replace("?", ".").split("."))
        assert "quiet" not in made


def test_most_are_as_long_as_a_reply() -> None:
    nonsense, rng = Nonsense(REPLIES), np.random.default_rng(0)
    lengths = [len(nonsense("chain", "She left.", rng).split()) for _ in range(50)]
    assert np.mean(np.array(lengths) >= FEWEST - 2) > 0.9  # marks count as words and are written to the word before


def test_what_cannot_be_mixed_is_refused() -> None:
    with pytest.raises(ValueError, match="at least three"):
        Nonsense({"a": ("b.",), "c": ("d.",)})
    with pytest.raises(KeyError):
        Nonsense(REPLIES)("poem", "She left.", np.random.default_rng(0))
