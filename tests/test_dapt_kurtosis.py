"""Kurtosis by hand and by NumPy, whole and in parts; the paper's three stages in series that have them and that lack one."""

from __future__ import annotations

import numpy as np
import pytest
from fakes import tiny
from hypothesis import given, settings
from hypothesis import strategies as st
from test_agents_lm_lora import SMALL, noisy

from agents.lm.device import mx
from agents.lm.lora import inject, set_trainable, trainable
from agents.lm.models import LoadedModel
from dapt.compressor import Compressor
from dapt.kurtosis import Moments
from dapt.probe import PLACES, SIDES, probe
from dapt.rra import cache_shapes
from dapt.stages import NAMES, stages

TOKENS = [(i * 37) % 250 for i in range(60)]
WINDOWS = [TOKENS[:20], TOKENS[20:40], TOKENS[40:]]


def of(x: np.ndarray) -> Moments:
    return Moments.of([mx.array(x.astype(np.float32))])


@pytest.mark.parametrize(
    ("entries", "expected"),
    [
        ([-1.0, 1.0], 1.0),  # (1 + 1)/2 over ((1 + 1)/2)^2
        ([5.0, 7.0, 5.0, 7.0], 1.0),  # where it lies does not matter
        ([0.0, 0.0, 0.0, 4.0], 7 / 3),  # about its mean 1: (3 · 1 + 81)/4 over ((3 · 1 + 9)/4)^2 = 21/9
        ([0.0] * 9 + [10.0], 73 / 9),  # about 1: (9 + 6561)/10 over ((9 + 81)/10)^2 = 657/81
        ([-2.0, -1.0, 0.0, 1.0, 2.0], 1.7),  # (16 + 1 + 0 + 1 + 16)/5 over 2^2
    ],
)
def test_kurtosis_by_hand(entries: list[float], expected: float) -> None:
    assert of(np.array(entries)).kurtosis == pytest.approx([expected], rel=1e-5)


def test_three_for_a_gaussian_and_more_where_one_dimension_carries_the_variance() -> None:
    rng = np.random.default_rng(0)
    gaussian = rng.normal(size=(1, 4, 500, 16))
    assert of(gaussian).kurtosis[0] == pytest.approx(3.0, abs=0.1)
    peaked = gaussian * np.where(np.arange(16) == 3, 8.0, 1.0)
    variances = np.where(np.arange(16) == 3, 64.0, 1.0)
    assert of(peaked).kurtosis[0] == pytest.approx(3 * (variances**2).mean() / variances.mean() ** 2, rel=0.1)
    assert np.isnan(of(np.full(6, 2.5)).kurtosis[0])
    with pytest.raises(ValueError, match="no entries"):
        Moments.of([mx.zeros((1, 2, 0, 4))])


@given(
    parts=st.lists(st.lists(st.integers(-9, 9), min_size=1, max_size=12), min_size=1, max_size=5),
    shift=st.integers(-20, 20),
)
@settings(max_examples=60, deadline=None)
def test_parts_add_up_to_the_whole(parts: list[list[int]], shift: int) -> None:
    arrays = [np.array(part) + shift for part in parts]
    found = of(arrays[0])
    for array in arrays[1:]:
        found = found + of(array)
    x = np.concatenate(arrays).astype(np.float64)
    apart = x - x.mean()
    assert found.count.tolist() == [len(x)]
    assert found.mean[0] == pytest.approx(x.mean(), abs=1e-4)
    for p, sums in ((2, found.second), (3, found.third), (4, found.fourth)):
        assert sums[0] == pytest.approx((apart**p).sum(), rel=1e-3, abs=1e-2)
    if x.std() > 0.1:
        assert found.kurtosis[0] == pytest.approx((apart**4).mean() / x.var() ** 2, rel=1e-3)
        assert found.kurtosis[0] >= 0.999


def adapted(model_type: str = "llama") -> LoadedModel:
    loaded = tiny(model_type)
    inject(loaded.model, SMALL, mx.random.key(0))
    return loaded


@pytest.mark.parametrize("model_type", ["llama", "gemma3_text", "glm4_moe_lite"])
def test_a_probe_tells_what_adapters_and_what_the_compressor_moved(model_type: str) -> None:
    """First windows move with the adapters alone, layers below the adapters with the compressor alone; nothing else is touched."""
    loaded = adapted(model_type)
    compressor = Compressor(cache_shapes(loaded.model))
    before = probe(loaded, compressor, [WINDOWS], 4)
    again = probe(loaded, compressor, [WINDOWS], 4)
    assert before is not None
    assert again is not None
    assert before.record() == again.record()
    layers = len(compressor.layers)
    assert set(before.kurtosis) == set(PLACES)
    assert all(before.kurtosis[place][side].shape == (layers,) for place in PLACES for side in SIDES)

    start = trainable(loaded.model)
    set_trainable(loaded.model, noisy(loaded.model))
    moved = probe(loaded, compressor, [WINDOWS], 4)
    set_trainable(loaded.model, start)
    assert moved is not None
    lowest = layers // 3  # SMALL adapts the middle third; the lowest one makes its keys and values from what lies below
    for place in PLACES:
        for side in SIDES:
            same = np.isclose(moved.kurtosis[place][side], before.kurtosis[place][side], rtol=1e-5)
            assert same[:lowest].all(), (place, side)
    assert not np.isclose(moved.kurtosis["first"]["values"], before.kurtosis["first"]["values"], rtol=1e-5).all()

    for layer in compressor.layers:
        layer.mix_values = 1.5 * layer.mix_values + 0.1
    other = probe(loaded, compressor, [WINDOWS], 4)
    assert other is not None
    for side in SIDES:
        np.testing.assert_array_equal(other.kurtosis["first"][side], before.kurtosis["first"][side])
    assert not np.allclose(other.kurtosis["history"]["values"], before.kurtosis["history"]["values"], rtol=1e-4)
    assert not np.allclose(other.kurtosis["later"]["values"][1:], before.kurtosis["later"]["values"][1:], rtol=1e-6)
    assert other.reconstruction != pytest.approx(before.reconstruction)


def test_a_probe_of_nothing_and_of_one_window() -> None:
    loaded = adapted()
    compressor = Compressor(cache_shapes(loaded.model))
    assert probe(loaded, compressor, [], 4) is None
    one = probe(loaded, compressor, [WINDOWS[:1]], 4)
    assert one is not None
    assert set(one.kurtosis) == {"first"}


AT = np.arange(0, 2100, 50)


def papers() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The paper's run 8.2 as it tells it (511-512): loss 2.10 to 1.24 by 1200, reconstruction 2.99 to 0.5 by 1600, kurtosis -6.2 %
    at 1641 and -16.6 % about 350 steps later, at 17.59."""
    loss = np.interp(AT, [0, 300, 1200, 2050], [2.104, 1.5, 1.25, 1.237])
    reconstruction = np.interp(AT, [0, 200, 1600, 2050], [2.99, 2.9, 0.55, 0.5])
    kurtosis = np.interp(AT, [0, 1200, 1641, 1900, 2050], 17.59 / 0.834 * np.array([1, 0.96, 0.938, 0.834, 0.834]))
    return loss, reconstruction, kurtosis


def test_the_papers_run_has_its_three_stages() -> None:
    first, second, third = stages(AT, *papers())
    assert [one.name for one in (first, second, third)] == list(NAMES)
    assert first.span is not None
    assert second.span is not None
    assert third.span is not None
    assert first.span[0] == 0
    assert 1000 <= first.span[1] <= 1200
    assert 150 <= second.span[0] <= 350
    assert 1500 <= second.span[1] <= 1600
    assert 1500 <= third.span[0] <= 1700
    assert third.span[1] == AT[-1]


@pytest.mark.parametrize(
    ("changed", "series", "stage", "why"),
    [
        ("loss", np.linspace(2.1, 1.2, len(AT)), 0, "still falling"),
        ("loss", np.full(len(AT), 2.1), 0, "less than 2%"),
        ("reconstruction", np.linspace(3.0, 0.5, len(AT)), 1, "still falling"),
        ("reconstruction", np.linspace(3.0, 0.5, len(AT)), 2, "did not both lie flat"),
        ("kurtosis", np.full(len(AT), 20.0), 2, "no sustained decline"),
        ("kurtosis", np.append(np.full(len(AT) - 1, 20.0), 10.0), 2, "no sustained decline"),
        ("kurtosis", np.linspace(20.0, 12.0, len(AT)), 2, "before that"),
        ("kurtosis", np.linspace(20.0, 26.0, len(AT)), 2, "before that"),
    ],
)
def test_a_stage_that_the_data_lack_is_not_seen(changed: str, series: np.ndarray, stage: int, why: str) -> None:
    named = dict(zip(("loss", "reconstruction", "kurtosis"), papers(), strict=True)) | {changed: series}
    found = stages(AT, **named)[stage]
    assert found.span is None
    assert why in found.why


def test_few_measurements_tell_nothing() -> None:
    loss, reconstruction, kurtosis = papers()
    assert all(one.span is None for one in stages(AT[:4], loss[:4], reconstruction[:4], kurtosis[:4]))
    loss[4:] = np.nan
    assert "too few" in stages(AT, loss, reconstruction, kurtosis)[0].why
