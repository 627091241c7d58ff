"""Where two values differ, to the bit: arrays by dtype, shape and bytes, numbers by type and bits, containers by their parts."""

import struct
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np


def first_difference(found: Any, expected: Any, where: str = "") -> str | None:
    """In words, where `found` first differs from `expected`; None where they hold the same bits.

    A value of a kind that is not known here is compared with ==, and where that says nothing, by its repr.
    """
    if type(found) is not type(expected):
        return f"{where}: found a {type(found).__name__}, expected a {type(expected).__name__}"
    if isinstance(found, np.ndarray):
        return _array_difference(found, expected, where)
    if isinstance(found, dict):
        return _dict_difference(found, expected, where)
    if isinstance(found, list | tuple):
        if len(found) != len(expected):
            return f"{where}: found {len(found)} entries, expected {len(expected)}"
        pairs = enumerate(zip(found, expected, strict=True))
        return _first(first_difference(a, b, f"{where}[{i}]") for i, (a, b) in pairs)
    if is_dataclass(found) and not isinstance(found, type):
        parts = (part.name for part in fields(found))
        return _first(first_difference(getattr(found, p), getattr(expected, p), f"{where}.{p}") for p in parts)
    return None if _same_value(found, expected) else f"{where}: found {found!r}, expected {expected!r}"


def _first(differences: Iterator[str | None]) -> str | None:
    return next((each for each in differences if each is not None), None)


def _dict_difference(found: dict[Any, Any], expected: dict[Any, Any], where: str) -> str | None:
    ours, theirs = _named(found), _named(expected)
    if ours.keys() != theirs.keys():
        return f"{where}: found keys {sorted(map(_told, found))}, expected {sorted(map(_told, expected))}"
    return _first(
        first_difference(found[key], expected[theirs[name]], f"{where}[{key!r}]") for name, key in ours.items()
    )


def _named(keys: Iterable[Any]) -> dict[tuple[type, str, int], Any]:
    """Keys by type, words and how many of these came before: a NaN is found again, though it equals nothing."""
    named: dict[tuple[type, str, int], Any] = {}
    seen: Counter[tuple[type, str]] = Counter()
    for key in keys:
        name = type(key), _told(key)
        named[*name, seen[name]] = key
        seen[name] += 1
    return named


def _array_difference(found: np.ndarray, expected: np.ndarray, where: str) -> str | None:
    if (found.dtype, found.shape) != (expected.dtype, expected.shape):
        return f"{where}: found {found.dtype} {found.shape}, expected {expected.dtype} {expected.shape}"
    if found.dtype == object:
        return first_difference(found.tolist(), expected.tolist(), where)
    if found.tobytes() == expected.tobytes():
        return None
    flat, other = found.reshape(-1), expected.reshape(-1)
    place = next(i for i in range(flat.size) if flat[i].tobytes() != other[i].tobytes())
    return f"{where} at place {place}: found {flat[place]!r}, expected {other[place]!r}"


def _same_value(found: Any, expected: Any) -> bool:
    if isinstance(found, np.generic):
        return bool(found.tobytes() == expected.tobytes())
    if isinstance(found, float):
        return struct.pack("d", found) == struct.pack("d", expected)
    if type(found).__eq__ is object.__eq__:  # == would ask whether it is the same object, and twins have one each
        return True if found is expected else _told(found) == _told(expected)
    return bool(found == expected)


def _told(value: Any) -> str:
    """What a value says of itself, without its address."""
    told = repr(value)
    return type(value).__qualname__ if " at 0x" in told else told
