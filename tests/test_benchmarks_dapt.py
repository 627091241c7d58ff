"""The benchmarks of pre-training, but for their models: what they hold alike, their intervals, what they say of memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.dapt_memory import Sample, measure, verdict
from benchmarks.layer_placement import PLACEMENTS, Run, comparison, expect_alike, interval
from benchmarks.layer_placement import verdict as placed
from dapt.rra import borders
from dapt.run_log import RunLog
from dapt.settings import CorpusPart, DaptSettings, WindowPart


def placement(place: str, seed: int, after: float, **changes: Any) -> Run:
    samples = [{"sample": number} for number in (4, 2, 7)]
    log = RunLog(Path("run"), DaptSettings(corpus=CorpusPart(sessions="s")), samples, [], [], None)
    recaps = {"good": 1, "poor": 2, "garbage": 1}
    told = {"parameters": 10, "loss": (4.0, after), "kurtosis": (20.0, 19.0), "log": log, "recaps": recaps} | changes
    return Run(place, seed, by_layer=np.zeros(3), features={}, **told)


def test_an_interval_by_hand() -> None:
    """Mean 2, standard deviation 1, t of two degrees of freedom 4.303: 2 -+ 4.303 / sqrt 3."""
    assert interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, 2.0 - 2.4844, 2.0 + 2.4844), abs=1e-3)
    assert np.isnan(interval([1.0])[1])


def test_placements_differ_in_the_place_alone() -> None:
    first = placement("middle-third", 0, 3.0)
    expect_alike(first, placement("latter-third", 0, 3.5))
    other = RunLog(Path("run"), first.log.settings, first.log.windows[::-1], [], [], None)
    for changes, what in (
        ({"parameters": 11}, "trainable parameters"),
        ({"log": other}, "other samples"),
        ({"loss": (4.1, 3.0)}, "before any step"),
    ):
        with pytest.raises(ValueError, match=what):
            expect_alike(first, placement("latter-third", 0, 3.5, **changes))


def test_what_is_said_of_placements_is_what_came_out() -> None:
    losses = ((3.0, 3.5), (3.1, 3.5), (2.9, 3.4))
    runs = [
        placement(place, i, after)
        for i, pair in enumerate(losses)
        for place, after in zip(PLACEMENTS, pair, strict=True)
    ]
    told = placed(runs)
    assert "-25.00 % with adapters on the middle third and by -13.33 % on the latter, 1.88 times as deep" in told
    assert "3 of 3 seeds" in told
    assert "leaves out zero" in told
    assert "| good recaps | 25.0 % (25.0 % to 25.0 %) |" in "\n".join(comparison(runs))
    assert "holds zero" in placed([placement(place, i, 3.0 + 0.1 * i) for i in range(3) for place in PLACEMENTS])
    assert "times as deep" not in placed([placement(place, 0, 4.5) for place in PLACEMENTS])


def sample(tokens: int, peak: float) -> Sample:
    windows = tokens // 100
    flat = [peak] * windows
    return Sample.of(
        {
            "tokens": tokens,
            "read": tokens,
            "whole": True,
            "slots": 8,
            "size": 100,
            "peak": flat,
            "resident": flat,
            "seconds": flat,
        }
    )


def test_memory_is_flat_within_a_twentieth_or_is_said_not_to_be() -> None:
    assert ": within 5%" in verdict([sample(1000, 100.0), sample(9000, 104.0)])
    assert "NOT within 5%" in verdict([sample(1000, 100.0), sample(9000, 106.0)])


def test_a_sample_is_measured_window_by_window() -> None:
    found = Sample.of(measure("tiny", 1500, WindowPart(size=256, slots=8, recap_tokens=2), float("inf")))
    assert found.whole
    assert found.read == found.tokens >= 1500
    assert len(found.peak) == len(found.resident) == len(found.seconds) == len(borders(found.tokens, 256))
    assert (found.peak > 0).all()
    assert 0.5 < found.drift("peak") < 1.5
    cut = Sample.of(measure("tiny", 1500, WindowPart(size=256, slots=8, recap_tokens=2), 0.0))
    assert not cut.whole
    assert cut.read == 256
