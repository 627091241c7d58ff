"""Prompts are files with {places}; each is filled once, and what stands in a value is never filled again."""

import re
from collections.abc import Mapping


def filled(template: str, values: Mapping[str, str]) -> str:
    """`template` with every {name} replaced by values[name], in one pass. Raises KeyError for a name without a value."""
    return re.sub(r"\{(\w+)\}", lambda place: values[place[1]], template)
