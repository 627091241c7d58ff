"""What a model makes of sessions that it does not learn from: nats a token, over all, over what is learned, and by component."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from agents.lm.models import LoadedModel
from dapt.compressor import Compressor
from dapt.masks import Sample
from dapt.rolling import read_on
from dapt.settings import WindowPart


def held_out_losses(
    loaded: LoadedModel, compressor: Compressor, samples: Iterable[Sample], part: WindowPart
) -> dict[str, Any]:
    """{"loss": over all tokens, "learned": over those that a run of these settings learns, "components": {place: ...}}.

    Means over the tokens of all samples, read in windows with their compressed history and no recap; the first token of a window
    has nothing before it and counts nowhere. What has no token has no entry.
    """
    nats: dict[str, float] = {}
    count: dict[str, int] = {}
    for sample in samples:
        windows = [one for one in sample.windows(part.size) if len(one.tokens) > 1]
        contents = (one.tokens.tolist() for one in windows)
        for window, read in zip(windows, read_on(loaded, compressor, contents, part.slots), strict=True):
            logp = np.array(read.logp, np.float64)
            masks = {"loss": np.ones(len(window.tokens), np.bool_), **window.components}
            if window.learned is not None:
                masks["learned"] = window.learned
            for name, mask in masks.items():
                chosen = mask[1:]
                nats[name] = nats.get(name, 0.0) - float(logp[chosen].sum())
                count[name] = count.get(name, 0) + int(chosen.sum())
    means = {name: nats[name] / count[name] for name in nats if count[name]}
    found: dict[str, Any] = {name: means.pop(name) for name in ("loss", "learned") if name in means}
    return {**found, "components": means} if means else found
