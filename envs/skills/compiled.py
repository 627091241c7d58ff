"""How this package compiles a function: as client_graph does, in a cache folder named after the sources of both."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from numba import njit
from numba.core import config

from client_graph import compiled as engine

F = TypeVar("F", bound=Callable[..., Any])


def _sources_hash() -> str:
    digest = hashlib.sha256()
    folder = Path(__file__).parent
    for path in [*sorted(folder.glob("*.py")), folder.parent / "endings.py"]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


# As in client_graph.compiled: numba sees no change in a function, a constant or a tuple of another file.
_CACHE = str(Path(engine._CACHE) / f"skills-{_sources_hash()}")


def compiled(function: F) -> F:
    """Compile `function` with numba, cached on disk. No fast-math: the same arithmetic gives the same bits at every N."""
    before = config.CACHE_DIR  # type: ignore[attr-defined]
    config.CACHE_DIR = _CACHE  # type: ignore[attr-defined]
    try:
        return njit(cache=True, error_model="numpy", nogil=True)(function)  # type: ignore[return-value]
    finally:
        config.CACHE_DIR = before  # type: ignore[attr-defined]
