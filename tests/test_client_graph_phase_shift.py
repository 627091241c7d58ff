"""A phase changes at its own threshold, that number included, and by one step (paper 380-383)."""

import numpy as np
import pytest

from client_graph.phase_shift import next_phase

FORWARD = np.array([1.0, 2.0, 3.0])  # A->B, B->C, C->D
BACK = np.array([-1.0, -2.0, -3.0])  # B->A, C->B, D->C


@pytest.mark.parametrize(
    ("phase", "score", "after"),
    [
        (0, 0.99, 0), (0, 1.0, 1), (0, 9.0, 1), (0, -9.0, 0),
        (1, 1.99, 1), (1, 2.0, 2), (1, -0.99, 1), (1, -1.0, 0),
        (2, 2.99, 2), (2, 3.0, 3), (2, -1.99, 2), (2, -2.0, 1),
        (3, 9.0, 3), (3, -2.99, 3), (3, -3.0, 2),
    ],
)  # fmt: skip
def test_each_step_has_its_own_threshold(phase: int, score: float, after: int) -> None:
    assert next_phase(phase, score, FORWARD, BACK) == after
