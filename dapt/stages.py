"""The paper's three stages of a run, found in its measurements by a rule, or said not to be there (paper 511-514).

    1 surface acquisition             the held-out loss falls, then lies flat; kurtosis stays where it was
    2 compression refinement          the reconstruction loss falls, then lies flat: after the first stage, overlapping it
    3 representational reorganization kurtosis enters a sustained decline once both lie flat

The paper draws them by eye in one run and calls them a developing hypothesis (514). The rule, with limits from its numbers:

- a series has *fallen* by F = first - lowest where F is at least FALL of the first value;
- it *lies flat* from the first measurement that has made FLAT of F (the paper's loss has made 97 % of its fall, 2.104 to 1.26 of
  1.237, where it says "plateau"), if at least REST of the run is left after that: else it was still falling when the run ended;
- kurtosis is *stable* while within STABLE of its first value (the paper calls -6.2 % stable and -16.6 % a decline) and in *decline*
  where it ends lower by more than STABLE than it was when both losses lay flat, and the median of the last third of what follows
  (three measurements at least) is so, too: one low measurement is no decline.

A stage that these do not find was not seen. A short run, or a run whose learning rate never lets it settle, has none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

FALL, FLAT, REST, STABLE = 0.02, 0.95, 0.2, 0.10
FEWEST = 5  # measurements, below which nothing can be said
NAMES = ("surface acquisition", "compression refinement", "representational reorganization")


@dataclass(frozen=True)
class Stage:
    """One stage. span: windows from and to, None where it was not seen; why: what the rule found, in words."""

    name: str
    span: tuple[int, int] | None
    why: str


def stages(windows: np.ndarray, loss: np.ndarray, reconstruction: np.ndarray, kurtosis: np.ndarray) -> list[Stage]:
    """The three stages of measurements at `windows` (n,) ascending; the other series (n,) are those of dapt/probe.py.

    kurtosis: a mean over layers. A measurement that is not finite is left out of all.
    """
    whole = np.isfinite(loss) & np.isfinite(reconstruction) & np.isfinite(kurtosis)
    at, series = windows[whole], (loss[whole], reconstruction[whole], kurtosis[whole])
    if len(at) < FEWEST:
        why = f"{len(at)} measurement(s) are too few to tell; expected at least {FEWEST} (settings: watch.every)"
        return [Stage(name, None, why) for name in NAMES]
    first, flat_loss = _falling(NAMES[0], "held-out loss", at, series[0])
    second, flat_reconstruction = _falling(NAMES[1], "reconstruction loss", at, series[1])
    return [first, second, _reorganization(at, series[2], flat_loss, flat_reconstruction)]


def lies_flat(windows: np.ndarray, series: np.ndarray) -> int | None:
    """Index of the measurement from which a series that has fallen lies flat; None where it has not fallen, or falls on."""
    fall = series[0] - series.min()
    if series[0] <= 0.0 or fall < FALL * series[0]:
        return None
    at = int(np.argmax(series <= series[0] - FLAT * fall))
    left = (windows[-1] - windows[at]) / max(1, windows[-1] - windows[0])
    return at if left >= REST else None


def _falling(name: str, what: str, windows: np.ndarray, series: np.ndarray) -> tuple[Stage, int | None]:
    """The stage in which a loss falls, from the last measurement before it has made 5 % of its fall, and the index of its end."""
    fall = series[0] - series.min()
    told = f"{what} {series[0]:.3f} to {series.min():.3f} at its lowest, {series[-1]:.3f} at the end"
    at = lies_flat(windows, series)
    if at is not None:
        begins = int(np.argmax(series < series[0] - (1.0 - FLAT) * fall)) - 1
        span = (int(windows[max(0, begins)]), int(windows[at]))
        return Stage(name, span, f"{told}; flat from window {windows[at]}"), at
    if series[0] <= 0.0 or fall < FALL * series[0]:
        return Stage(name, None, f"{told}: a fall of less than {FALL:.0%}"), None
    return Stage(name, None, f"{told}: still falling in the last {REST:.0%} of the run"), None


def _reorganization(windows: np.ndarray, kurtosis: np.ndarray, *flat: int | None) -> Stage:
    moved = kurtosis / kurtosis[0] - 1.0
    told = f"kurtosis {kurtosis[0]:.2f} to {kurtosis[-1]:.2f} ({moved[-1]:+.1%})"
    settled = [at for at in flat if at is not None]
    if len(settled) < len(flat):
        return Stage(NAMES[2], None, f"{told}; the losses did not both lie flat, so nothing can come after that")
    at = max(settled)
    before = f"{told}, {moved[at]:+.1%} when both losses lay flat at window {windows[at]}"
    if abs(moved[at]) > STABLE:
        return Stage(NAMES[2], None, f"{before}: it moved by more than {STABLE:.0%} before that")
    after = kurtosis[at:]
    limit = (1.0 - STABLE) * kurtosis[at]
    if after[-1] > limit or np.median(after[-max(3, len(after) // 3) :]) > limit:
        return Stage(NAMES[2], None, f"{before}: no sustained decline of more than {STABLE:.0%} after it")
    begins = at + int(np.flatnonzero(after >= after[0]).max())  # the last time it was as high
    return Stage(NAMES[2], (int(windows[begins]), int(windows[-1])), before)
