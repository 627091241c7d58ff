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


def known_blas() -> bool:
    """Whether NumPy multiplies with its own OpenBLAS, whose rows do not depend on their neighbours (judges/offline/minilm.py)."""
    return _openblas() is not None


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
