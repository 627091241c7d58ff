"""Judgements kept in one SQLite file, so that no answer is paid for twice. Never a failure: only what was parsed.

Several processes may use the file at once (WAL). Each row carries the SHA-256 of its text, so that a flipped byte is
found. A damaged file is put aside as FILE.damaged-1, with a warning, and a new one begun.
"""

import hashlib
import sqlite3
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

from judges.api.parsing import parse_assessment, write_assessment
from judges.protocol import Assessment, JudgeUnavailable

APPLICATION = 0x49434152  # "ICAR": tells this file from another program's
PATIENCE = 30.0  # seconds to wait for another process's write
DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
TABLE = (
    "CREATE TABLE IF NOT EXISTS judgements "
    "(key TEXT PRIMARY KEY, model TEXT NOT NULL, sha256 TEXT NOT NULL, text TEXT NOT NULL) WITHOUT ROWID"
)

_T = TypeVar("_T")


class JudgementCache:
    """A dictionary from a request's key to an Assessment, on disk.

    Raises JudgeUnavailable where the file cannot be used at the start; later trouble warns and loses nothing but money.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._renew(deep=False)
        except (OSError, sqlite3.Error) as error:
            raise JudgeUnavailable(
                f"{path}: cannot keep judgements here ({error}); expected a file that can be written. Name another as "
                "cache in the judge's settings, or leave it out"
            ) from error

    def get(self, key: str) -> Assessment | None:
        """What was kept under the key; None where nothing was, or where it is damaged."""

        def read(base: sqlite3.Connection) -> tuple[str, str] | None:
            row: tuple[str, str] | None = base.execute(
                "SELECT sha256, text FROM judgements WHERE key = ?", (key,)
            ).fetchone()
            return row

        row = self._tried("read", read)
        if row is None:
            return None
        found = parse_assessment(row[1]) if _digest(row[1]) == row[0] else None
        if isinstance(found, Assessment):
            return found
        warnings.warn(f"{self._path}: a kept judgement is damaged and is asked for again", stacklevel=2)
        return None

    def put(self, key: str, model: str, assessment: Assessment) -> None:
        """Keep a judgement. The last one under a key stays."""
        text = write_assessment(assessment)
        row = (key, model, _digest(text), text)
        self._tried("written", lambda base: base.execute("INSERT OR REPLACE INTO judgements VALUES (?, ?, ?, ?)", row))

    def __len__(self) -> int:
        """Judgements kept."""
        count = self._tried("read", lambda base: base.execute("SELECT COUNT(*) FROM judgements").fetchone())
        return int(count[0]) if count else 0

    def _tried(self, verb: str, action: Callable[[sqlite3.Connection], _T]) -> _T | None:
        """An answer that was paid for is not thrown away because the file cannot be used."""
        try:
            return self._mended(action)
        except (OSError, sqlite3.Error) as error:
            warnings.warn(f"{self._path}: cannot be {verb} ({error}); the judge goes on without", stacklevel=3)
            return None

    def _mended(self, action: Callable[[sqlite3.Connection], _T]) -> _T:
        """Do it; where the file turns out damaged, put it aside, begin a new one, and do it there."""
        try:
            return self._done(action)
        except sqlite3.DatabaseError as error:
            if not (_is_damage(error) or "no such table" in str(error)):  # the file was taken away while in use
                raise
        self._renew(deep=True)
        return self._done(action)

    def _renew(self, deep: bool) -> None:
        """Make the file ready, put aside first where it is damaged; `deep` reads all of it to find out."""
        # One process at a time: another may just have mended it.
        with FileLock(f"{self._path}.lock", timeout=PATIENCE):
            if not self._sound("PRAGMA quick_check" if deep else "PRAGMA schema_version"):
                self._put_aside()
            self._done(self._prepare)

    def _done(self, action: Callable[[sqlite3.Connection], _T]) -> _T:
        with self._open() as base, base:
            return action(base)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        # One connection for each use: it may cross neither threads nor forks.
        with closing(sqlite3.connect(self._path, timeout=PATIENCE)) as base:
            base.execute("PRAGMA synchronous = NORMAL")  # with WAL: a power cut may lose the last rows, never the file
            yield base

    def _prepare(self, base: sqlite3.Connection) -> None:
        mark = base.execute("PRAGMA application_id").fetchone()[0]
        if mark != APPLICATION:
            if base.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()[0]:
                raise sqlite3.OperationalError("it is a database of another program")
            base.execute(f"PRAGMA application_id = {APPLICATION}")
        base.execute(TABLE)
        base.commit()
        base.execute("PRAGMA journal_mode = WAL")

    def _sound(self, question: str) -> bool:
        try:
            answer = self._done(lambda base: base.execute(question).fetchone()[0])
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            return False
        return isinstance(answer, int) or answer == "ok"

    def _put_aside(self) -> None:
        places = (self._path.with_name(f"{self._path.name}.damaged-{n}") for n in range(1, 10_000))
        aside = next(place for place in places if not place.exists())
        for tail in ("-wal", "-shm"):
            self._path.with_name(self._path.name + tail).unlink(missing_ok=True)
        self._path.rename(aside)
        warnings.warn(f"{self._path}: damaged, put aside as {aside.name}; a new one is begun", stacklevel=4)


def _is_damage(error: sqlite3.Error) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in DAMAGE


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
