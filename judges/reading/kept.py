"""The fit of a reader: shipped for the embedded model, kept in the cache folder for another, made where there is none."""

import hashlib
import logging
from dataclasses import fields
from pathlib import Path
from typing import Protocol

import numpy as np
import platformdirs

from judges.offline.examples import Examples
from judges.offline.fit_cache import load_arrays, save_arrays
from judges.reading.fit import NAMES, SEED, Reader, ReadingFit, fit, read, rows_of, tables_digest
from judges.rubric import JUDGE_CONFIGS

_log = logging.getLogger(__name__)
SHIPPED = JUDGE_CONFIGS / "reading"


class NamedReader(Reader, Protocol):
    """fingerprint: changes with the weights, the layers and the prompt."""

    @property
    def fingerprint(self) -> str: ...


def cached_reading(
    reader: NamedReader, examples: Examples, judged: np.ndarray, cache: Path | None = None
) -> ReadingFit:
    """The fit to `examples` by this reader. judged: as `fit` takes it. cache: platformdirs' folder of "icarus" when None.

    A shipped fit to other examples is used and said to be: to make one anew reads ten thousand replies.
    """
    cache = cache or Path(platformdirs.user_cache_dir("icarus"))
    name = file_name(reader.fingerprint, tables_digest(examples))
    for path in (SHIPPED / name, cache / name):
        if (arrays := load_arrays(path, NAMES)) is not None:
            return ReadingFit(**arrays)
    for path in sorted(SHIPPED.glob(file_name(reader.fingerprint, "*"))):
        if (arrays := load_arrays(path, NAMES)) is not None:
            _log.warning(
                "%s was fitted to other examples; benchmarks/judge_reading.py --keep fits it to these", path.name
            )
            return ReadingFit(**arrays)
    rows = rows_of(examples, np.random.default_rng(SEED))
    _log.warning(
        "the reading model reads %d replies, once for each version; its fit is kept in %s", len(rows.clients), cache
    )
    made, _ = fit(rows, read(reader, rows), examples, judged)
    save_fit(cache / name, made)
    return made


def save_fit(path: Path, made: ReadingFit) -> bool:
    """Write it, whole or not at all; False where the folder does not let us."""
    return save_arrays(path, {field.name: getattr(made, field.name) for field in fields(ReadingFit)})


def file_name(fingerprint: str, tables: str) -> str:
    """Of the fit by a reader to tables with that digest."""
    return f"{fingerprint[:16]}-{tables}.safetensors"


def reader_fingerprint(*parts: object) -> str:
    """SHA-256 of what a reader is made of, in hexadecimal."""
    return hashlib.sha256("\n".join(map(str, parts)).encode()).hexdigest()
