"""The fit of a reader: shipped for the embedded model, kept in the cache folder for another, made where there is none."""

import hashlib
import logging
from dataclasses import fields
from pathlib import Path
from typing import Protocol

import numpy as np
import platformdirs

from judges.offline.examples import Examples
from judges.offline.fit_cache import alone, load_arrays, save_arrays
from judges.protocol import JudgeUnavailable
from judges.reading.fit import NAMES, SEED, Reader, ReadingFit, Rows, fit, fit_digest, read, rows_of
from judges.rubric import JUDGE_CONFIGS

_log = logging.getLogger(__name__)
SHIPPED = JUDGE_CONFIGS / "reading"


class NamedReader(Reader, Protocol):
    """name: of the model. fingerprint: changes with the weights, the layers and the prompt."""

    @property
    def name(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...


def cached_reading(reader: NamedReader, examples: Examples, cache: Path | None = None) -> ReadingFit:
    """The fit to `examples` by this reader, made where it is neither shipped nor kept; of several processes one makes it.

    Where one is shipped for this reader and the examples have changed since, it is used and that is said: to read them all again
    takes minutes to an hour, and what sounds like nonsense hardly depends on some more examples. cache: platformdirs' folder of
    "icarus" when None. Raises JudgeUnavailable where the reader cannot read the examples.
    """
    cache = cache or Path(platformdirs.user_cache_dir("icarus"))
    rows = rows_of(examples, np.random.default_rng(SEED))
    name = file_name(reader, rows)
    for path in (SHIPPED / name, cache / name):
        if (arrays := load_arrays(path, NAMES)) is not None:
            return ReadingFit(**arrays)
    for path in sorted(SHIPPED.glob(f"{reader.fingerprint[:16]}-*.safetensors")):
        if (arrays := load_arrays(path, NAMES)) is not None:
            _log.warning(
                "the shipped fit of the reading judge (%s) was made of other examples than these; "
                "python benchmarks/judge_reading.py --keep reads these", path.name,
            )  # fmt: skip
            return ReadingFit(**arrays)
    with alone(cache / name):
        if (arrays := load_arrays(cache / name, NAMES)) is not None:
            return ReadingFit(**arrays)
        _log.warning(
            "%s reads %d replies, once for each version of model and examples (minutes); the fit is kept in %s",
            reader.name, len(rows.clients), cache,
        )  # fmt: skip
        try:
            made, _ = fit(rows, read(reader, rows), examples)
        except ValueError as error:
            raise JudgeUnavailable(f"the reading judge cannot be fitted to {reader.name}: {error}") from error
        save_fit(cache / name, made)
        return made


def save_fit(path: Path, made: ReadingFit) -> bool:
    """Write it, whole or not at all; False where the folder does not let us."""
    return save_arrays(path, {field.name: getattr(made, field.name) for field in fields(ReadingFit)})


def file_name(reader: NamedReader, rows: Rows) -> str:
    """Of the fit by a reader to these rows."""
    return f"{reader.fingerprint[:16]}-{fit_digest(rows)}.safetensors"


def reader_fingerprint(*parts: object) -> str:
    """SHA-256 of what a reader is made of, in hexadecimal."""
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()
