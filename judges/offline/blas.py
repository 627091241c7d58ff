"""One BLAS thread for small products.

The products of a sentence are too small to share: on two busy cores NumPy's OpenBLAS was measured at 15 ms a text with
one thread and 520 ms with two, which wait for each other. One thread also keeps the bits independent of the cores.
"""

import ctypes
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import numpy as np

PREFIX, SUFFIX = "scipy_openblas_", "64_"  # how NumPy's wheels name their own copy
PANELS = (1, 4, 6, 8, 12, 16, 24)
SHAPES = ((384, 1152), (1536, 384))  # inner size and columns of two of the encoder's products


_lock = threading.Lock()
_inside: list[int] = []  # the number of threads to go back to, once for each block that is running


@contextmanager
def one_thread() -> Iterator[None]:
    """Run the block with one OpenBLAS thread; the last block to end puts the number back. Nothing where NumPy has another BLAS.

    The number is the process's: blocks of several threads may overlap.
    """
    control = _openblas()
    if control is None:
        yield
        return
    get, put = control
    with _lock:
        _inside.append(_inside[0] if _inside else get())
        put(1)
    try:
        yield
    finally:
        with _lock:
            before = _inside.pop()
            if not _inside:
                put(before)


@cache
def row_panel() -> int | None:
    """The rows by which NumPy's BLAS goes through a product: whole panels have the same bits whatever stands before and after them.

    1 where any two rows or more have, as on processors with AVX-512; 12 on some with AVX2. Measured once a process, on products as
    the sentence encoder has them; None where no panel in PANELS keeps its bits, or the BLAS cannot be held to one thread.
    """
    if _openblas() is None:
        return None
    with one_thread():
        return next((rows for rows in PANELS if all(_keeps(rows, *shape) for shape in SHAPES)), None)


@cache
def steady_rows(rows: int) -> np.ndarray:
    """The places in a product of so many rows at which a row has the bits that it has at the first; at least the first.

    All of them on some processors; on others the halves of a panel add in another order. Measured once a process.
    """
    rng = np.random.default_rng(0)
    with one_thread():
        products = [
            np.repeat(rng.normal(size=(1, inner)), rows, axis=0).astype(np.float32)
            @ rng.normal(size=(inner, columns)).astype(np.float32)
            for inner, columns in SHAPES
        ]
    steady = np.all([(product == product[:1]).all(axis=1) for product in products], axis=0)
    return np.flatnonzero(steady)


def _keeps(rows: int, inner: int, columns: int) -> bool:
    """Whether every run of whole panels has the bits that it has in a longer product."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(max(6 * rows, 40), inner)).astype(np.float32)
    y = rng.normal(size=(inner, columns)).astype(np.float32)
    x = x[: len(x) // rows * rows]
    whole, least = x @ y, max(rows, 2)
    runs = ((start, stop) for start in range(0, len(x), rows) for stop in range(start + least, len(x) + 1, rows))
    return all(np.array_equal(x[start:stop] @ y, whole[start:stop]) for start, stop in runs)


@cache
def _openblas() -> tuple[Callable[[], int], Callable[[int], object]] | None:
    package = Path(np.__file__).parent
    for path in [*package.parent.glob("numpy.libs/*openblas*"), *package.glob(".dylibs/*openblas*")]:
        try:
            library = ctypes.CDLL(str(path))
            return library[f"{PREFIX}get_num_threads{SUFFIX}"], library[f"{PREFIX}set_num_threads{SUFFIX}"]
        except (OSError, AttributeError):
            continue
    return None
