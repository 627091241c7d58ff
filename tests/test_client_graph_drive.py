"""Which scores are let in and how a refusal reads; what a score asks of the client, by hand (paper 333, 348)."""

import numpy as np
import pytest

from client_graph.drive import ScoreError, checked_scores, drive, drives


def refusal(scores: object, clients: int) -> str:
    with pytest.raises(ScoreError) as caught:
        checked_scores(scores, clients)  # type: ignore[arg-type]
    return str(caught.value)


@pytest.mark.parametrize("kind", ["int64", "uint8", "float32"])
def test_scores_of_another_number_type_become_the_turns_own(kind: str) -> None:
    found = checked_scores(np.full((2, 12), 7, dtype=kind), 2)
    assert found.dtype == np.float64
    assert found.tolist() == [[7.0] * 12] * 2


def test_the_bad_entries_and_no_others_are_named() -> None:
    """Beside them stand both ends of the scale and 0.5, which are scores."""
    judged = np.full((2, 12), 5.0)
    judged[0, :4] = [0.0, 10.0, 0.5, 10.5]
    judged[1, 0] = np.nan
    assert refusal(judged, 2).startswith("found non_reactivity of client 0 is 10.5, attunement of client 1 is nan; exp")
    judged[0, 3], judged[1, 0] = 0.0, 10.0
    np.testing.assert_array_equal(checked_scores(judged, 2), judged)


@pytest.mark.parametrize(("clients", "more"), [(4, "is 11.0; expected"), (5, "is 11.0 and 12 more; expected")])
def test_forty_eight_bad_entries_are_named_and_the_rest_counted(clients: int, more: str) -> None:
    told = refusal(np.full((clients, 12), 11.0), clients)
    assert told.count(" of client ") == 48
    assert more in told


def test_rows_of_unequal_length_are_answered_with_the_shape_that_is_asked_for() -> None:
    assert "expected (2, 12) numbers" in refusal([[5.0] * 12, [5.0] * 11], 2)


@pytest.mark.parametrize(
    ("score", "excess", "literal"),
    [
        (0.0, (0.0, 10.0), (0.0, 0.0)), (1.75, (0.0, 5.0), (0.0, 1.75)), (3.5, (0.0, 0.0), (0.0, 0.0)),
        (6.5, (0.0, 0.0), (0.0, 0.0)), (8.25, (5.0, 0.0), (8.25, 0.0)), (10.0, (10.0, 0.0), (10.0, 0.0)),
    ],
)  # fmt: skip
def test_help_and_harm_by_hand(score: float, excess: tuple[float, float], literal: tuple[float, float]) -> None:
    assert drive(score, False) == excess
    assert drive(score, True) == literal


@pytest.mark.parametrize("kind", ["usual", "read-only", "by column", "every second"])
def test_scores_come_out_as_the_compiled_turn_reads_them(kind: str) -> None:
    """Row by row and writable: another layout would compile the turn anew."""
    judged = np.arange(24.0).reshape(2, 12) / 2.5
    given = {"usual": judged, "read-only": judged.copy(), "by column": np.asfortranarray(judged),
             "every second": np.repeat(judged, 2, axis=0)[::2]}[kind]  # fmt: skip
    given.setflags(write=kind != "read-only")
    found = checked_scores(given, 2)
    assert (found.dtype, found.flags.c_contiguous, found.flags.writeable) == (np.float64, True, True)
    assert found.tolist() == judged.tolist()


def test_each_lane_gets_its_own_clients_drives() -> None:
    """Two lanes from the second client on: what helps and harms the third and the fourth place."""
    scores = np.full((4, 12), 5.0)
    scores[:, 1] = [10.0, 8.25, 1.75, 0.0]
    scores[:, 2] = [0.0, 6.5, 10.0, 3.5]
    helping, harming = np.empty((2, 12, 2))
    drives(scores, 1, False, helping, harming)
    assert helping[:3].tolist() == [[0.0, 0.0], [5.0, 0.0], [0.0, 10.0]]
    assert harming[:3].tolist() == [[0.0, 0.0], [0.0, 5.0], [0.0, 0.0]]
    assert not helping[3:].any()
    assert not harming[3:].any()
