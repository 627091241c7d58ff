"""The one way this package compiles a function."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import platformdirs
from numba import njit
from numba.core import config

F = TypeVar("F", bound=Callable[..., Any])


def _sources_hash() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


# numba's cache looks at the file of the outermost function alone: a change in a function that it calls from another file
# would go unseen. A folder named after all sources makes stale machine code impossible.
_CACHE = str(Path(platformdirs.user_cache_dir("icarus")) / "numba" / _sources_hash())


def compiled(function: F) -> F:
    """Compile `function` with numba, cached on disk. No fast-math: the same arithmetic gives the same bits at every N."""
    before = config.CACHE_DIR  # type: ignore[attr-defined]
    config.CACHE_DIR = _CACHE  # type: ignore[attr-defined]
    try:
        return njit(cache=True, error_model="numpy")(function)  # type: ignore[return-value]
    finally:
        config.CACHE_DIR = before  # type: ignore[attr-defined]
