"""One BLAS thread inside the block, and the number from before after the last block, whoever ends it."""

import threading

import numpy as np
import pytest

from judges.offline import blas


def test_blocks_of_two_threads_may_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [4]
    monkeypatch.setattr(blas, "_openblas", lambda: (lambda: now[0], lambda n: now.__setitem__(0, n)))
    entered, leave = threading.Event(), threading.Event()

    def other() -> None:
        with blas.one_thread():
            entered.set()
            leave.wait(5)

    with blas.one_thread():
        thread = threading.Thread(target=other)
        thread.start()
        entered.wait(5)
        assert now == [1]
    assert now == [1]  # the other is still inside
    leave.set()
    thread.join()
    assert now == [4]


def test_a_block_that_fails_puts_the_number_back(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [3]
    monkeypatch.setattr(blas, "_openblas", lambda: (lambda: now[0], lambda n: now.__setitem__(0, n)))
    with pytest.raises(ValueError, match="no"), blas.one_thread():
        raise ValueError("no")
    assert now == [3]


def test_whole_panels_of_rows_keep_their_bits() -> None:
    panel = blas.row_panel()
    if panel is None:
        pytest.skip("this BLAS has no panel that keeps its bits; texts run one by one")
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(20 * panel, 384)).astype(np.float32), rng.normal(size=(384, 100)).astype(np.float32)
    with blas.one_thread():
        whole = x @ y
        for start, stop in ((0, 2), (3, 5), (7, 20), (10, 13)):
            part = slice(start * panel, stop * panel)
            np.testing.assert_array_equal(x[part] @ y, whole[part])


def test_another_blas_has_no_panel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blas, "_openblas", lambda: None)
    blas.row_panel.cache_clear()
    try:
        assert blas.row_panel() is None
    finally:
        blas.row_panel.cache_clear()


def test_a_row_has_the_bits_of_the_first_at_every_steady_place() -> None:
    steady = blas.steady_rows(24)
    assert steady[0] == 0
    rng = np.random.default_rng(4)
    rows, y = rng.normal(size=(24, 384)).astype(np.float32), rng.normal(size=(384, 500)).astype(np.float32)
    with blas.one_thread():
        together = rows @ y
        for place in steady:
            moved = rows.copy()
            moved[0] = rows[place]
            np.testing.assert_array_equal((moved @ y)[0], together[place])
