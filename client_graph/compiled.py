"""The one way this package compiles a function, and the width of the blocks in which it takes clients."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import platformdirs
from numba import njit
from numba.core import config

F = TypeVar("F", bound=Callable[..., Any])

# Clients are taken in blocks: within a block every array is (rows, lanes), a lane a client, so that one instruction serves
# several clients. 72: a multiple of 8, and no power of two, whose rows would all fall on the same lines of the cache.
LANES = 72


def _sources_hash() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        source = path.read_bytes()
        if b"@compiled" in source or b"(NamedTuple)" in source or path.name in ("compiled.py", "names.py"):
            digest.update(source)
    return digest.hexdigest()[:16]


# numba's cache looks at the file of the outermost function alone: a change in a function that it calls from another file
# would go unseen, and so would two fields of a named tuple that changed places. The folder is named after all such sources.
_CACHE = str(Path(platformdirs.user_cache_dir("icarus")) / "numba" / _sources_hash())


def compiled(function: F) -> F:
    """Compile `function` with numba, cached on disk. No fast-math: the same arithmetic gives the same bits at every N."""
    before = config.CACHE_DIR  # type: ignore[attr-defined]
    config.CACHE_DIR = _CACHE  # type: ignore[attr-defined]
    try:
        return njit(cache=True, error_model="numpy", nogil=True)(function)  # type: ignore[return-value]
    finally:
        config.CACHE_DIR = before  # type: ignore[attr-defined]


@compiled
def gather(values, first, block):  # type: ignore[no-untyped-def]
    """Copy clients `first`, first + 1, ... of `values` (N, rows) into the lanes of `block` (rows, lanes)."""
    for k in range(block.shape[1]):
        for n in range(block.shape[0]):
            block[n, k] = values[first + k, n]


@compiled
def scatter(block, values, first):  # type: ignore[no-untyped-def]
    """Copy the lanes of `block` (rows, lanes) back to clients `first`, first + 1, ... of `values` (N, rows)."""
    for k in range(block.shape[1]):
        for n in range(block.shape[0]):
            values[first + k, n] = block[n, k]
