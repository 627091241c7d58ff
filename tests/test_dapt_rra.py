"""Windows with a compressed history: positions, gradients through the history, the compressor's loss, a flat memory."""

from __future__ import annotations

import fakes
import mlx.nn as nn
import mlx.optimizers as optim
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlx.utils import tree_flatten
from test_agents_lm_lora import SMALL, noisy

from agents.lm.architecture import layers_of
from agents.lm.device import mx
from agents.lm.logprob import naive_response_logprobs
from agents.lm.lora import inject, set_trainable, trainable
from dapt.compressor import Compressor, LayerCompressor, merged, reconstruction, segments
from dapt.memory import History, Memory, Plain, at_positions, without_positions
from dapt.rra import SHORTEST, Window, borders, cache_shapes, compressed, history_of, pass_window, window_loss

TOKENS = [(i * 37) % 250 for i in range(48)]
KINDS = sorted(fakes.CONFIGS)


def adapted(model_type: str) -> nn.Module:
    model = fakes.tiny(model_type).model
    inject(model, SMALL, mx.random.key(0))
    set_trainable(model, noisy(model))
    return model


def memory_of(model: nn.Module, tokens: list[int], slots: int) -> tuple[Memory, History]:
    window = Window([], tokens)
    history = history_of(model, None, window, pass_window(model, None, window).caches)
    return compressed(model, Compressor(cache_shapes(model)), history, slots), history


@given(length=st.integers(0, 200), size=st.integers(2, 50))
@settings(max_examples=60, deadline=None)
def test_windows_hold_every_token_once_in_order(length: int, size: int) -> None:
    found = [range(*edges) for edges in borders(length, size)]
    assert [token for one in found for token in one] == list(range(length))
    assert all(len(one) == size for one in found[:-1])
    assert all(2 <= len(one) < size + max(2, SHORTEST * size) for one in found) or length == 1
    assert all(len(one) >= SHORTEST * size for one in found[1:])
    with pytest.raises(ValueError, match="found windows of 1 tokens"):
        borders(2, 1)


@pytest.mark.parametrize("model_type", KINDS)
def test_positions_are_taken_off_and_put_on_again(model_type: str) -> None:
    """Un-rotated and rotated at the same places, a cache is what it was; at other places, it is as if the tokens stood there."""
    model = fakes.tiny(model_type).model
    window = Window([], TOKENS[:7])
    for layer, cache in zip(layers_of(model), pass_window(model, None, window).caches, strict=True):
        assert cache.keys is not None
        assert cache.values is not None
        plain = without_positions(layer, cache.keys, cache.values, 0)
        back = at_positions(layer, plain, 0)
        assert mx.allclose(back.keys, cache.keys, atol=1e-5)
        assert mx.allclose(back.values, cache.values, atol=1e-5)
        moved = at_positions(layer, plain, 5)
        again = without_positions(layer, moved.keys, moved.values, 5)
        assert mx.allclose(again.keys, plain.keys, atol=1e-5)
        assert mx.allclose(again.values, plain.values, atol=1e-5)
        assert not mx.allclose(moved.keys, cache.keys, atol=1e-3) or not mx.allclose(
            moved.values, cache.values, atol=1e-3
        )


@pytest.mark.parametrize("model_type", KINDS)
def test_as_many_slots_as_tokens_lose_nothing(model_type: str) -> None:
    """Where each token has a slot of its own, the window after it reads what the whole sequence would have read."""
    model = adapted(model_type)
    memory, _ = memory_of(model, TOKENS[:6], 6)  # within the fakes' sliding window of 8
    found = pass_window(model, memory, Window([], TOKENS[6:8])).logp
    whole, _ = naive_response_logprobs(model, TOKENS[:7], [TOKENS[7:8]])
    assert found.shape == (1,)
    assert mx.allclose(found, whole[0], atol=1e-4)


@pytest.mark.parametrize("model_type", ["llama", "gemma3_text", "glm4_moe_lite"])
def test_gradients_through_compressed_history_are_those_of_finite_differences(model_type: str) -> None:
    model = adapted(model_type)
    memory, _ = memory_of(model, TOKENS[:20], 4)
    window = Window(TOKENS[20:24], TOKENS[24:34])

    def loss(m: nn.Module) -> mx.array:
        return window_loss(m, memory, window)

    _, gradients = nn.value_and_grad(model, loss)(model)
    flat = dict(tree_flatten(gradients))
    start = trainable(model)
    direction = {name: mx.random.normal(a.shape, key=mx.random.key(i)) for i, (name, a) in enumerate(start.items())}
    length = np.sqrt(sum(float((d**2).sum()) for d in direction.values()))
    step = 1e-2

    def at(t: float) -> float:
        set_trainable(model, {name: a + (t / length) * direction[name] for name, a in start.items()})
        return float(loss(model))

    # Five points: the error of the difference is of the fourth order, below float32's own at this step.
    measured = (8 * (at(step) - at(-step)) - (at(2 * step) - at(-2 * step))) / (12 * step)
    set_trainable(model, start)
    expected = sum(float((flat[name] * direction[name]).sum()) for name in start) / length
    assert expected == pytest.approx(measured, rel=2e-2, abs=2e-4)
    assert abs(expected) > 1e-4
    # The history is read: the same window without it has another gradient.
    _, other = nn.value_and_grad(model, lambda m: window_loss(m, None, window))(model)
    assert any(not mx.allclose(dict(tree_flatten(other))[name], flat[name], atol=1e-6) for name in start)


def test_a_recap_is_read_and_not_learned() -> None:
    model = adapted("llama")
    passed = pass_window(model, None, Window(TOKENS[:5], TOKENS[5:12]))
    whole, _ = naive_response_logprobs(model, TOKENS[:5], [TOKENS[5:12]])
    assert mx.allclose(passed.logp, whole[0], atol=1e-5)
    assert passed.logp.shape == (7,)
    other = pass_window(model, None, Window(TOKENS[6:11], TOKENS[5:12]))
    assert not mx.allclose(passed.logp, other.logp, atol=1e-3)
    with pytest.raises(ValueError, match="0 content and 3 recap"):
        pass_window(model, None, Window(TOKENS[:3], []))


def test_the_recap_is_no_part_of_the_history() -> None:
    model = adapted("llama")
    memory, _ = memory_of(model, TOKENS[:8], 4)
    window = Window(TOKENS[8:13], TOKENS[13:20])
    history = history_of(model, memory, window, pass_window(model, memory, window).caches)
    assert {one.keys.shape[2] for one in history.items} == {4 + 7}
    assert history.counts == (2, 2, 2, 2, *[1] * 7)


def test_a_history_of_any_length_has_as_many_slots() -> None:
    """Window after window: the memory is what it was in bytes, however much was read."""
    model = adapted("llama")
    compressor = Compressor(cache_shapes(model))
    memory, sizes = None, []
    tokens = TOKENS * 4
    for a, b in borders(len(tokens), 16):
        window = Window([], tokens[a:b])
        history = history_of(model, memory, window, pass_window(model, memory, window).caches)
        memory = compressed(model, compressor, history, 6)
        mx.eval(memory.keys, memory.values)
        sizes.append(sum(a.nbytes for side in (memory.keys, memory.values) for a in side))
        assert all(one.keys.shape[2] <= 6 + 16 for one in history.items)
    assert max(sizes) == sizes[0]  # a slot may stay empty; there is never one more
    assert len(sizes) == 12


def test_the_reconstruction_loss_by_hand() -> None:
    """Two items of one head of width two become one slot, their mean."""
    keys = mx.array([[[[1.0, 0.0], [3.0, 0.0]]]])
    values = mx.array([[[[0.0, 2.0], [0.0, 2.0]]]])
    made = LayerCompressor((1, 2), (1, 2))
    kept = made(Plain(keys, values), (1, 1), 1)
    assert kept.keys.tolist() == [[[[2.0, 0.0]]]]
    # Means are equal. Variances over order and width: keys 1.5 and 1, values 1 and 1. Directions are equal.
    assert float(reconstruction(Plain(keys, values), kept, (1, 1), 1)) == pytest.approx(0.5 * (1.5 - 1.0) ** 2)
    moved = Plain(kept.keys + mx.array([0.0, 2.0]), kept.values)
    # mean of squares (0, 2): 2; variance of (2, 2) is 0 beside 1.5; cosine of (2, 2) to (2, 0)
    expected = 2.0 + 0.5 * 1.5**2 + 0.5 * (1 - np.sqrt(0.5))
    assert float(reconstruction(Plain(keys, values), moved, (1, 1), 1)) == pytest.approx(expected, rel=1e-5)


def test_the_compressor_learns_to_keep_what_a_mean_loses() -> None:
    model = adapted("llama")
    _, history = memory_of(model, TOKENS, 6)
    compressor = Compressor(cache_shapes(model))
    optimizer = optim.Adam(1e-2)
    first = float(compressor.loss(*history, 6))
    for _ in range(40):
        _, gradients = nn.value_and_grad(compressor, lambda c: c.loss(*history, 6))(compressor)
        optimizer.update(compressor, gradients)
        mx.eval(compressor.parameters(), optimizer.state)
    assert float(compressor.loss(*history, 6)) < 0.7 * first
    assert any(float(mx.abs(layer.query).max()) > 0.0 for layer in compressor.layers)


@given(counts=st.lists(st.integers(1, 5), min_size=1, max_size=40), slots=st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_a_fresh_compressor_takes_the_mean_of_the_tokens_of_each_stretch(counts: list[int], slots: int) -> None:
    """Each item stands for its tokens: as if it stood there so many times."""
    items = len(counts)
    x = np.random.default_rng(items * 100 + slots).normal(size=(1, 2, items, 3)).astype(np.float32)
    found = np.array(LayerCompressor((2, 3), (2, 3))(Plain(mx.array(x), mx.array(-x)), counts, slots).keys)
    edges = segments(counts, slots)
    assert [i for a, b in edges for i in range(a, b)] == list(range(items))
    assert len(edges) <= slots
    expected = np.stack([np.average(x[:, :, a:b], axis=2, weights=counts[a:b]) for a, b in edges], axis=2)
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_after_many_windows_each_has_an_equal_share_of_the_slots() -> None:
    """The history is of all windows: not of the last, with a trace of the others."""
    counts: tuple[int, ...] = ()
    slots, size = 64, 1024
    for window in range(1, 9):
        counts = merged((*counts, *[1] * size), slots)
        assert sum(counts) == window * size
        assert 0.9 * slots <= len(counts) <= slots
        assert max(counts) <= 2.1 * window * size / slots
