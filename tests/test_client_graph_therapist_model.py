"""The therapist's beliefs: the client's own chance, and attunement."""

import numpy as np
import pytest

from client_graph.therapist_model import attunement, bell, random_word


def test_the_stream_is_splitmix64() -> None:
    """The first words of the reference implementation from seed 0 (Steele, Lea and Flood 2014; Vigna's splitmix64.c)."""
    words = [int(random_word(np.uint64(0), draw)) for draw in (1, 2, 3)]
    assert words == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


def test_the_words_of_a_stream_are_those_of_the_stream_moved_on() -> None:
    step = 0x9E3779B97F4A7C15
    later = np.uint64((12345 + 7 * step) % 2**64)
    assert random_word(np.uint64(12345), 10) == random_word(later, 3)


def test_bell_draws_are_nearly_normal() -> None:
    draws = np.array([bell(np.uint64(random_word(np.uint64(7), draw))) for draw in range(1, 20001)])
    assert draws.mean() == pytest.approx(0.0, abs=0.03)
    assert draws.var() == pytest.approx(1.0, abs=0.03)
    assert (draws**3).mean() == pytest.approx(0.0, abs=0.06)
    assert (draws**4).mean() == pytest.approx(2.7, abs=0.1)  # of a normal: 3


def test_bell_at_its_ends_and_middle() -> None:
    assert bell(np.uint64(0)) == pytest.approx(3**0.5 * (2 / 65536 - 2), abs=1e-15)
    assert bell(np.uint64(2**64 - 1)) == pytest.approx(-bell(np.uint64(0)), abs=1e-12)
    assert bell(np.uint64(0x8000800080008000)) == pytest.approx(3**0.5 * 2 / 65536, abs=1e-15)


@pytest.mark.parametrize(
    ("error", "nodes", "expected"), [(0.0, 3, 1.0), (30.0, 3, 0.0), (3.0, 2, 0.85)], ids=["exact", "worst", "between"]
)
def test_attunement_by_hand(error: float, nodes: int, expected: float) -> None:
    assert attunement(error, nodes) == pytest.approx(expected, abs=1e-15)
