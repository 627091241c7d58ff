"""Which samples a session gives under the Alternating Direction Window Curriculum (ADWC).

    d_k = +1 if the window length k is odd (forward sweep), -1 if it is even (backward sweep)          (paper 2096-2098)

"For each window length, the system generates windows with starting indices swept either forward (0, 1, 2, ...) or backward
(..., 2, 1, 0)" (2098): N - k + 1 windows of each length k = 1 ... N. After them, the expanding samples "in both forward and
reverse temporal order" (paper 285): 2 N. A window that is swept backward is read backward too, as its markers say (2100).

These are the overlapping windows of recomposition (2092): every stretch of every length, one turn apart. Windows of one length and
stride are among them, and were what overfitted before (285), so there is no view of those alone.

Sample i of a session of N turns, in O(1): the windows of lengths below k are s(k) = (k - 1) N - (k - 1)(k - 2) / 2, so k is the
largest with s(k) <= i.
"""

from __future__ import annotations

from math import isqrt

from agents.lm.five_tuple import FORWARD, REVERSE, Session
from dapt.markup import Stretch, described
from dapt.views import View


class Windows(View):
    """All ADWC samples of `sessions`: session by session, windows by length, then the expanding samples, forward before reverse."""

    def of_session(self, turns: int) -> int:
        """N (N + 1) / 2 windows and 2 N expanding samples."""
        return turns * (turns + 1) // 2 + 2 * turns

    def stretch(self, session: Session, number: int) -> Stretch:
        """Sample `number` of one session, from 0."""
        n = len(session.turns)
        windows = n * (n + 1) // 2
        if number >= windows:
            length, backward = divmod(number - windows, 2)
            return Stretch(session, 0, length + 1, REVERSE if backward else FORWARD)
        k = _length(n, number)
        swept = number - _before(n, k)
        forward = k % 2 == 1
        return Stretch(session, swept if forward else n - k - swept, k, FORWARD if forward else REVERSE)

    def number(self, session: int, first: int, length: int) -> int:
        """The number of the window of `length` turns that begins with turn `first` (from 0): the inverse of `[]`.

        Raises IndexError if there is no such session or window.
        """
        n = len(self.session(session).turns)
        if not 1 <= length <= n or not 0 <= first <= n - length:
            raise IndexError(
                f"found a window of {length} turns from turn {first} of session {session}, expected 1 to {n} turns, the first "
                f"of them {described(0, n - max(1, length), 'turns')}"
            )
        swept = first if length % 2 == 1 else n - length - first
        return self.start(session) + _before(n, length) + swept

    def expanding(self, session: int, length: int, reverse: bool) -> int:
        """The number of the expanding sample of the first `length` turns. Raises IndexError."""
        n = len(self.session(session).turns)
        if not 1 <= length <= n:
            raise IndexError(f"found prefix length {length} of session {session}, expected {described(1, n, 'turns')}")
        return self.start(session) + n * (n + 1) // 2 + 2 * (length - 1) + reverse


def _before(n: int, k: int) -> int:
    """Windows of lengths below k in a session of n turns."""
    return (k - 1) * n - (k - 1) * (k - 2) // 2


def _length(n: int, i: int) -> int:
    """The length of window i of n (n + 1) / 2. Counted from the last: the j + 1 longest lengths hold (j + 1)(j + 2) / 2 windows."""
    left = n * (n + 1) // 2 - 1 - i  # windows after this one
    j = (isqrt(8 * left + 1) - 1) // 2
    return n - j
