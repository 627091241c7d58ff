"""A file of sessions that grows by whole sessions: what lies on the disk can be read at every moment.

Each session that is added writes the file anew, whole or not at all. The work grows with the file; a session takes longer to
make than its file to write, up to some thousands of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from agents.lm.files import write_whole
from agents.lm.five_tuple import Session, SessionFileError, read_sessions, session_line

DONE = "recorded"


class GrowingSessions:
    """A JSON-lines file to which sessions are added, one at a time. Nothing is written before the first one.

    append: go on behind what a file holds, which stays as it is; without it a file that is there is refused. Raises
    SessionFileError for that, for a folder, for a folder that is not there, and for a file that `read_sessions` refuses.
    """

    def __init__(self, path: Path | str, append: bool = False) -> None:
        self.path = Path(path)
        self._data, self._ids = b"", set[str]()
        if self.path.is_dir():
            raise self._refused("is a folder; expected the name of a file, such as sessions.jsonl")
        if not self.path.parent.is_dir():
            raise self._refused(f"found no folder {self.path.parent}; make it, or name another file")
        if self.path.exists():
            if not append:
                raise self._refused("is there already; name another file, or go on behind what it holds: --append")
            self._ids |= {session.id for session in read_sessions(self.path)}
            self._data = self.path.read_bytes()
            if self._data and not self._data.endswith(b"\n"):
                self._data += b"\n"
        self._seen = self._mark()

    def expect_free(self, ids: Iterable[str]) -> None:
        """Raise SessionFileError where a session of one of these ids stands in the file already."""
        if taken := [name for name in ids if name in self._ids]:
            raise self._refused(
                f"holds {taken[0]!r}{f' and {len(taken) - 1} more of these' if len(taken) > 1 else ''} already; begin at another "
                "--seed, or name another file"
            )

    def add(self, session: Session) -> None:
        """Write the file with one session more. Raises SessionFileError for an id that stands in it, and where somebody else has
        written to it meanwhile; OSError where the disk refuses. What was there is there then."""
        self.expect_free([session.id])
        if self._mark() != self._seen:
            raise self._refused("was changed meanwhile by somebody else, whose work is left alone; name another file")
        data = self._data + session_line(session).encode()
        write_whole(self.path, data)
        self._data, self._seen = data, self._mark()
        self._ids.add(session.id)

    def _mark(self) -> tuple[int, int, int] | None:
        """What tells one writing of the file from another; None where there is none."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns

    def _refused(self, why: str) -> SessionFileError:
        return SessionFileError([f"{self.path}: {why}"], DONE)
