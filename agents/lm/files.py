"""Files written whole or not at all, and folders that know what belongs in them."""

from __future__ import annotations

import contextlib
import ctypes
import glob
import hashlib
import json
import os
import secrets
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agents.lm.device import mx

MANIFEST = "manifest.json"


class BrokenFolder(ValueError):
    """A folder whose contents are not what its manifest says. The message lists every mistake."""


def sha256_file(path: Path | str) -> str:
    """SHA-256 of a file's bytes, in hexadecimal. Raises OSError if it cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_whole(path: Path | str, data: bytes | str) -> None:
    """Write `data` to `path` whole or not at all: temporary file beside it, fsync, rename, fsync of the folder.

    Text is written as UTF-8. A failure (disk full, read-only folder) raises OSError, leaves an older `path` as it was
    and no temporary file behind.
    """
    path = Path(path)
    temporary = _sibling(path)
    try:
        with open(temporary, "xb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            _sync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def save_arrays(path: Path | str, arrays: dict[str, mx.array], metadata: dict[str, str] | None = None) -> None:
    """Write a safetensors file. Raises OSError on a full disk, where `mx.save_safetensors(path)` is silent."""
    with open(path, "wb") as file:
        mx.save_safetensors(file, arrays, metadata or {})
        file.flush()


def load_arrays(path: Path | str) -> dict[str, mx.array]:
    """Read a safetensors file into memory."""
    loaded: Any = mx.load(str(path))
    mx.eval(loaded)
    return dict(loaded)


@contextmanager
def whole_folder(path: Path | str, *, keep_existing: bool = False) -> Iterator[Path]:
    """Yield a new sibling folder to fill; on success it gets a SHA-256 manifest and becomes `path` in one step.

    On an exception the sibling is removed and `path` is as it was. An older folder at `path` is exchanged and removed;
    with keep_existing a sound one that appeared meanwhile wins, which makes concurrent first calls harmless.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    recover_folder(path)
    _sweep(path)
    temporary = _sibling(path)
    temporary.mkdir()
    try:
        yield temporary
        _seal(temporary)
        if not (keep_existing and _is_sound(path)):
            _put_in_place(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _sync_folder(path.parent)


def verify_folder(path: Path | str) -> None:
    """Check a folder against its manifest. Raises BrokenFolder listing every file that is missing or changed."""
    path = Path(path)
    recover_folder(path)
    listed = _read_manifest(path)
    wrong = [mistake for name, digest in sorted(listed.items()) if (mistake := _mistake(path, name, digest))]
    if wrong:
        raise BrokenFolder(
            f"{path}: {len(wrong)} of {len(listed)} files are not as its {MANIFEST} says: {'; '.join(wrong)}. "
            "Try an older copy; this one cannot be repaired."
        )


def recover_folder(path: Path | str) -> None:
    """Bring back the older folder if a process died between moving it aside and moving the new one in."""
    path = Path(path)
    aside = _aside(path)
    if aside.is_dir() and not path.exists():
        # Another process that recovers at the same time may win the rename.
        with contextlib.suppress(OSError):
            aside.rename(path)


def _read_manifest(path: Path) -> dict[str, str]:
    """{relative file name: SHA-256}. Raises BrokenFolder if there is none or it cannot be read."""
    try:
        listed = json.loads((path / MANIFEST).read_text("utf-8"))["files"]
        if not all(isinstance(k, str) and isinstance(v, str) for k, v in listed.items()):
            raise ValueError("names and hashes must be text")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BrokenFolder(
            f"{path}: found no readable {MANIFEST} ({type(error).__name__}: {error}), expected one that lists "
            "every file. Try an older copy; a folder is complete only with its manifest."
        ) from error
    return dict(listed)


def _mistake(folder: Path, name: str, digest: str) -> str | None:
    """What is wrong with one listed file, or None."""
    relative = Path(name)
    if relative.is_absolute() or ".." in relative.parts:
        return f"{name}: leaves the folder"
    file = folder / relative
    if file.is_symlink() or not file.is_file():
        return f"{name}: missing"
    found = sha256_file(file)
    return None if found == digest else f"{name}: SHA-256 {found[:12]}..., expected {digest[:12]}..."


def _is_sound(path: Path) -> bool:
    try:
        verify_folder(path)
    except BrokenFolder:
        return False
    return True


def _seal(folder: Path) -> None:
    """Sync every file to the disk, write the manifest, sync the folders."""
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    listed = {p.relative_to(folder).as_posix(): sha256_file(p) for p in files}
    for file in files:
        with open(file, "rb+") as handle:
            _sync(handle.fileno())
    write_whole(folder / MANIFEST, json.dumps({"files": listed}, indent=1))
    for inner in [p for p in folder.rglob("*") if p.is_dir()]:
        _sync_folder(inner)
    _sync_folder(folder)


def _put_in_place(new: Path, path: Path) -> None:
    """Make `new` the folder at `path`, in one step where the system can exchange two names."""
    if not path.exists():
        try:
            new.rename(path)
            return
        except OSError:
            if not path.exists():
                raise
    if _exchange(new, path):
        return  # the older folder now has the temporary name and is removed with it
    aside = _aside(path)
    shutil.rmtree(aside, ignore_errors=True)
    path.rename(aside)
    new.rename(path)
    shutil.rmtree(aside, ignore_errors=True)


def _exchange(a: Path, b: Path) -> bool:
    """Exchange two names atomically: renameat2 on Linux, renamex_np on macOS. False where neither works."""
    libc = ctypes.CDLL(None)
    first, second, swap = os.fsencode(a.absolute()), os.fsencode(b.absolute()), 2
    if sys.platform == "darwin" and hasattr(libc, "renamex_np"):
        return bool(libc.renamex_np(first, second, ctypes.c_uint(swap)) == 0)
    if sys.platform == "linux" and hasattr(libc, "renameat2"):
        here = ctypes.c_int(-100)  # AT_FDCWD; ignored, the paths are absolute
        return bool(libc.renameat2(here, first, here, second, ctypes.c_uint(swap)) == 0)
    return False


def _sibling(path: Path) -> Path:
    """A new temporary name in the same folder, so that a rename stays on one file system."""
    return path.parent / f".{path.name}.tmp-{os.getpid()}-{secrets.token_hex(4)}"


def _sweep(path: Path) -> None:
    """Remove what writers of `path` left when they were killed an hour ago or earlier."""
    for left in path.parent.glob(f".{glob.escape(path.name)}.tmp-*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > 3600:
                shutil.rmtree(left) if left.is_dir() else left.unlink()


def _aside(path: Path) -> Path:
    return path.parent / f".{path.name}.old"


def _sync(descriptor: int) -> None:
    """To the disk itself: on macOS fsync stops at the drive's cache, F_FULLFSYNC does not."""
    if sys.platform == "darwin":
        import fcntl

        fcntl.fcntl(descriptor, fcntl.F_FULLFSYNC)
    else:
        os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
