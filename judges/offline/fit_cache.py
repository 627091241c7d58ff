"""Arrays kept between runs: a safetensors file with its own digest, written whole or not at all.

A file that is missing, torn or altered is not used; a folder that cannot be written is done without. What is kept can
always be computed again, so neither is an error.
"""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from client_graph.files import write_whole


def load_arrays(path: Path, names: frozenset[str]) -> dict[str, np.ndarray] | None:
    """The arrays of `path`, or None unless it holds exactly `names` with the digest it was written with."""
    try:
        with safe_open(path, framework="numpy") as file:
            digest = (file.metadata() or {}).get("sha256")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
    except (OSError, SafetensorError):
        return None
    return arrays if frozenset(arrays) == names and digest == _digest(arrays) else None


def save_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> bool:
    """Write `arrays` to `path`; True where it was done, False where the folder does not let us."""
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    content = save(whole, metadata={"sha256": _digest(whole)})
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content)
    except OSError:
        return False
    return True


@contextmanager
def alone(file: Path) -> Iterator[None]:
    """One process at a time; where the folder cannot be written each fits for itself."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(file.with_suffix(".lock"))
        lock.acquire()
    except OSError:
        yield
        return
    try:
        yield
    finally:
        lock.release()


def _digest(arrays: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype} {array.shape};".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
