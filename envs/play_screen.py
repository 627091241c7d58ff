"""Where a game of `envs.play` meets the player: lines that are typed come in, lines of text go out."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from rich.console import Console

from envs.rendering import COLUMNS, labelled, printable, wrapped


class Screen:
    """A console, and what is typed at it, one line at a time.

    lines: raises KeyboardInterrupt or ends where the player wants to leave.
    """

    def __init__(self, lines: Iterable[str], console: Console) -> None:
        self.console = console
        self._lines: Iterator[str] = iter(lines)

    def read(self) -> str | None:
        """One input, its lines joined where they end with a backslash; None where the player wants to leave."""
        gathered: list[str] = []
        try:
            while True:
                line = next(self._lines)
                if not line.endswith("\\"):
                    break
                gathered.append(line[:-1])
        except (StopIteration, KeyboardInterrupt):
            self.show([""])
            return None
        text = "\n".join([*gathered, line]).strip()
        if not self.console.is_terminal:  # where the keyboard does not show what was typed, the page does
            self.show(labelled("you", text or "(an empty line)"), "green")
        return text

    def show(self, lines: Iterable[str], style: str = "") -> None:
        """Lines as they are, but for characters that would move the cursor."""
        for line in lines:
            self.console.print(printable(line), style=style, markup=False, emoji=False, highlight=False, soft_wrap=True)

    def paragraph(self, text: str, style: str = "") -> None:
        """Text broken into lines."""
        self.show(wrapped(text, min(COLUMNS, self.console.width)), style)

    def spoken(self, name: str, words: str) -> None:
        """What the client says."""
        width = min(COLUMNS, max(40, self.console.width))
        self.show(["", *labelled(name[:10], words or "(says nothing)", width), ""], "cyan")

    def waiting(self, what: str) -> AbstractContextManager[Any]:
        """A sign of life where somebody watches: the first turn may compile for half a minute, a model may think."""
        return self.console.status(what) if self.console.is_terminal else nullcontext()
