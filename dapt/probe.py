"""What a run is watched by: one text that is never learned from, read the same way each time, so that its numbers compare.

Kurtosis stands in three places, since the paper could not tell whether its compressor or its model made it fall (511-513):

    first     tokens of each session's first window: no history has been read, so only the adapters can move it
    later     tokens of the windows after it, read with their compressed history: the "2+W" of the paper's tables (481, 497), as we
              read that; in layers below the first adapted one only the compressor can move it
    history   the slots that those windows were read with: what the compressor made
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from agents.lm.device import mx
from agents.lm.models import LoadedModel
from dapt.compressor import Compressor
from dapt.kurtosis import Moments
from dapt.rolling import Read, read_on
from dapt.watching import finite

Place = Literal["first", "later", "history"]
PLACES: tuple[Place, ...] = ("first", "later", "history")
SIDES = ("keys", "values")


class Probe(NamedTuple):
    """One measurement. loss: nats a token. reconstruction: the compressor's loss, mean over windows. kurtosis: place -> side ->
    (layers,); a place that no window has is absent."""

    loss: float
    reconstruction: float
    kurtosis: dict[Place, dict[str, np.ndarray]]

    def record(self) -> dict[str, Any]:
        """As a line of a log takes it; a number that is none becomes null."""
        return {
            "loss": finite(self.loss),
            "reconstruction": finite(self.reconstruction),
            "kurtosis": {
                place: {side: [finite(k) for k in found.tolist()] for side, found in sides.items()}
                for place, sides in self.kurtosis.items()
            },
        }


def probe(loaded: LoadedModel, compressor: Compressor, texts: Sequence[list[list[int]]], slots: int) -> Probe | None:
    """Read texts (windows of tokens each) with the model as it is; None where there is nothing to read. Changes nothing."""
    nats, tokens, losses = 0.0, 0, list[float]()
    moments: dict[tuple[Place, str], Moments] = {}
    for windows in texts:
        for read in read_on(loaded, compressor, windows, slots):
            nats -= float(read.logp.sum())
            tokens += read.logp.size
            losses.append(float(compressor.loss(*read.history, slots)))
            for at, found in _moments(read).items():
                moments[at] = moments[at] + found if at in moments else found
            mx.clear_cache()
    if not tokens:
        return None
    seen = [place for place in PLACES if (place, "keys") in moments]
    kurtosis = {place: {side: moments[place, side].kurtosis for side in SIDES} for place in seen}
    return Probe(nats / tokens, sum(losses) / len(losses), kurtosis)


def _moments(read: Read) -> dict[tuple[Place, str], Moments]:
    """Of a window's own tokens, and of the slots that it was read with, where there are any."""
    found: dict[tuple[Place, str], Moments] = {}
    for i, side in enumerate(SIDES):
        layers = [item[i] for item in read.history.items]
        found["later" if read.slots else "first", side] = Moments.of([layer[:, :, read.slots :] for layer in layers])
        if read.slots:
            found["history", side] = Moments.of([layer[:, :, : read.slots] for layer in layers])
    return found
