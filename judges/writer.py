"""What a judge asks of a model that writes: a free text, or texts for the fields of a form whose structure is given."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Writer(Protocol):
    """Writes a text."""

    def write(self, prompt: str, most_tokens: int) -> str:
        """The answer to a user's message, at most `most_tokens` tokens long; it may be empty. Raises ValueError where message and
        answer are longer than the model can read."""


@dataclass(frozen=True)
class Form:
    """An answer whose structure is given: openings[0], a text, openings[1], a text, and so on.

    openings: what stands before each text; each but the first begins by closing the text before it. most_tokens: the bound of
    each text, as many as openings.
    """

    openings: tuple[str, ...]
    most_tokens: tuple[int, ...]


class FormWriter(Protocol):
    """Fills forms."""

    def fill(self, prompts: Sequence[str], forms: Sequence[Form]) -> list[tuple[str, ...]]:
        """The texts of forms[i] after the user's message prompts[i]: no quotation mark, line break or control character in
        them; one may be empty. () where message and form are longer than the model can read. All forms have equally many
        fields."""
