"""One BLAS thread inside the block, and the number from before after the last block, whoever ends it."""

import threading

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
