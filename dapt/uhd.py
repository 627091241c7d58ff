"""Which samples a session gives under Universal Hierarchical Direction (UHD).

Expanding prefixes only: "for a session with N turns, UHD generates N samples of progressively increasing length (turns 1,
turns 1-2, turns 1-3, ..., turns 1-N)" (paper 285). The samples are a view of the sessions: nothing is copied or written.
"""

from __future__ import annotations

from agents.lm.five_tuple import UHD, Session, Turn
from dapt.markup import Stretch, described
from dapt.parsing import parse
from dapt.views import View


class Samples(View):
    """All UHD samples of `sessions`: session by session, shortest prefix first. Length is the sum of their turns."""

    def of_session(self, turns: int) -> int:
        """N samples."""
        return turns

    def stretch(self, session: Session, number: int) -> Stretch:
        """The first number + 1 turns."""
        return Stretch(session, 0, number + 1, UHD)

    def locate(self, number: int) -> tuple[int, int]:
        """(index of the session, length of the prefix) of sample `number`, which may count from the end as in a list."""
        session, inside = self.place(number)
        return session, inside + 1

    def number(self, session: int, length: int) -> int:
        """The sample that holds the first `length` turns of session `session`: the inverse of `locate`.

        Raises IndexError if there is no such session (counted from 0) or no such prefix (1 to N turns).
        """
        turns = len(self.session(session).turns)
        if not 1 <= length <= turns:
            raise IndexError(
                f"found prefix length {length} of session {session}, expected {described(1, turns, 'turns')}"
            )
        return self.start(session) + length - 1


def parse_turns(text: str) -> tuple[Turn, ...]:
    """The turns of a sample's text, exactly as they were. Raises ValueError at the first line that does not fit."""
    return parse(text).turns
