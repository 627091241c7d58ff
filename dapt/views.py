"""A curriculum as a view of its sessions: sample number -> stretch of a session, with nothing written out or copied.

Samples are numbered session by session. Finding one costs O(log sessions); what a view keeps is one number a session.
"""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate

from agents.lm.five_tuple import Session
from dapt.markup import Stretch, described


class View(ABC):
    """All samples of some sessions. A kind of view says how many a session of N turns has, and which its number i is."""

    def __init__(self, sessions: Iterable[Session]) -> None:
        self.sessions = tuple(sessions)
        # _starts[s] is the number of the first sample of session s; the last entry is the number of samples.
        self._starts = [0, *accumulate(self.of_session(len(session.turns)) for session in self.sessions)]

    @abstractmethod
    def of_session(self, turns: int) -> int:
        """How many samples a session of so many turns has."""

    @abstractmethod
    def stretch(self, session: Session, number: int) -> Stretch:
        """Sample `number` of one session, from 0; O(1)."""

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, number: int) -> Stretch:
        """Sample `number`; -1 is the last. Raises IndexError out of range, TypeError for a slice."""
        session, inside = self.place(number)
        return self.stretch(self.sessions[session], inside)

    def __iter__(self) -> Iterator[Stretch]:
        for session in self.sessions:
            for inside in range(self.of_session(len(session.turns))):
                yield self.stretch(session, inside)

    def place(self, number: int) -> tuple[int, int]:
        """(index of the session, number of the sample in it, from 0); `number` may count from the end as in a list."""
        if isinstance(number, slice):
            raise TypeError("found a slice, expected one sample number; try [samples[i] for i in range(start, stop)]")
        number, count = operator.index(number), len(self)
        if not -count <= number < count:
            raise IndexError(f"found sample number {number}, expected {described(-count, count - 1, 'samples')}")
        number %= count
        session = bisect_right(self._starts, number) - 1
        return session, number - self._starts[session]

    def session(self, index: int) -> Session:
        """Session `index`, from 0. Raises IndexError."""
        if not 0 <= index < len(self.sessions):
            last = len(self.sessions) - 1
            raise IndexError(f"found session {index}, expected {described(0, last, 'sessions')}")
        return self.sessions[index]

    def start(self, session: int) -> int:
        """Number of the first sample of a session."""
        return self._starts[session]
