"""The client's own stream of chance, and what attunement means."""

import numpy as np
import pytest

from client_graph.therapist_model import attunement, next_normal, next_uniform


def test_the_stream_is_splitmix64() -> None:
    """Outputs for seed 0 from the published reference code (Vigna 2015)."""
    stream = np.zeros(1, dtype=np.uint64)
    for bits in (0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F):
        assert next_uniform(stream, 0) == ((bits >> 11) + 0.5) / 2**53


def test_normal_draws_are_standard() -> None:
    stream = np.array([7], dtype=np.uint64)
    drawn = np.array([next_normal(stream, 0) for _ in range(4_000)])
    assert abs(drawn.mean()) < 0.05
    assert abs(drawn.std() - 1) < 0.04
    assert 0.03 < (np.abs(drawn) > 2).mean() < 0.06


@pytest.mark.parametrize(
    ("beliefs", "levels", "expected"),
    [((3, 7), (3, 7), 1.0), ((0, 10), (10, 0), 0.0), ((4, 5), (5, 8), 0.8)],
)
def test_attunement_by_hand(beliefs: tuple[float, ...], levels: tuple[float, ...], expected: float) -> None:
    found = attunement(np.array(beliefs, dtype=float), np.array(levels, dtype=float))
    assert found == pytest.approx(expected)
