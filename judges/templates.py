"""Prompts are files with {places}; each is filled once, and what stands in a value is never filled again.

What a client or a policy wrote goes in fenced: between fences longer than any run of backticks inside, so that nothing it
says can end the quotation.
"""

import re
from collections.abc import Mapping


def filled(template: str, values: Mapping[str, str]) -> str:
    """`template` with every {name} replaced by values[name], in one pass. Raises KeyError for a name without a value."""
    return re.sub(r"\{(\w+)\}", lambda place: values[place[1]], template)


def fenced(text: str) -> str:
    """The text between two lines of backticks, one longer than any run of backticks inside; lone surrogates become "?"."""
    text = text.encode("utf-8", "replace").decode("utf-8")  # no tokenizer takes them
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"
