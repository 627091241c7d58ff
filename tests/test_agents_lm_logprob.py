"""The shared prefix is exact: values and gradients equal those of full sequences."""

from __future__ import annotations

from collections.abc import Callable

import fakes
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten
from test_agents_lm_lora import SMALL, noisy

from agents.lm.device import mx
from agents.lm.logprob import naive_response_logprobs, record_lower, response_logprobs
from agents.lm.lora import inject, set_trainable, trainable

PROMPT = [(i * 37) % 250 for i in range(20)]  # longer than the fakes' sliding window of 8
RESPONSES = [[5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15], [100, 101], [200]]


def adapted(model_type: str) -> nn.Module:
    model = fakes.tiny(model_type).model
    inject(model, SMALL, mx.random.key(0))
    set_trainable(model, noisy(model))
    return model


def value_and_gradients(
    model: nn.Module, logprobs: Callable[[nn.Module], tuple[mx.array, mx.array]]
) -> tuple[mx.array, dict[str, mx.array]]:
    def loss(m: nn.Module) -> mx.array:
        lp, _ = logprobs(m)
        weights = mx.random.normal(lp.shape, key=mx.random.key(3))
        return (weights * lp).sum()

    value, gradients = nn.value_and_grad(model, loss)(model)
    return value, dict(tree_flatten(gradients))


@pytest.mark.parametrize("responses", [RESPONSES, RESPONSES[:1], [[3], [4]]], ids=["ragged", "one", "single-token"])
@pytest.mark.parametrize("model_type", sorted(fakes.CONFIGS))
def test_shared_prefix_and_recorded_lower_layers_equal_full_sequences(
    model_type: str, responses: list[list[int]]
) -> None:
    model = adapted(model_type)
    naive, mask = naive_response_logprobs(model, PROMPT, responses)
    shared, shared_mask = response_logprobs(model, PROMPT, responses)
    lower = record_lower(model, PROMPT, responses, first=2)
    replayed, _ = response_logprobs(model, PROMPT, responses, lower=lower)
    assert shared.shape == naive.shape == (len(responses), max(map(len, responses)))
    assert shared.dtype == mx.float32
    assert mx.array_equal(mask, shared_mask)
    assert mx.allclose(shared, naive, atol=1e-5, rtol=0)
    assert mx.array_equal(replayed, shared)
    _, expected = value_and_gradients(model, lambda m: naive_response_logprobs(m, PROMPT, responses))
    for keywords in ({}, {"lower": lower}, {"checkpoint": True}, {"lower": lower, "checkpoint": True}):
        _, found = value_and_gradients(model, lambda m, k=keywords: response_logprobs(m, PROMPT, responses, **k))
        largest = max(mx.abs(g).max().item() for g in expected.values())
        worst = max(mx.abs(found[n] - g).max().item() for n, g in expected.items())
        assert worst <= 1e-5 * max(1.0, largest)


@pytest.mark.parametrize("model_type", ["llama", "gemma3_text"])
def test_checkpointed_layers_forget_their_inside_and_leave_adapters_and_gradients_as_they_are(model_type: str) -> None:
    model = adapted(model_type)
    prompt = [(i * 37) % 250 for i in range(400)]
    before, layers = trainable(model), list(model.layers)
    gradients, peaks = [], []
    for checkpoint in (False, True):
        mx.clear_cache()
        mx.reset_peak_memory()
        held = mx.get_active_memory()
        _, found = value_and_gradients(
            model, lambda m, c=checkpoint: response_logprobs(m, prompt, RESPONSES, checkpoint=c)
        )
        mx.eval(found)
        peaks.append(mx.get_peak_memory() - held)
        gradients.append(found)
        set_trainable(model, before)  # what value_and_grad leaves in the model are its own arrays
    plain, again = gradients
    largest = max(mx.abs(g).max().item() for g in plain.values())
    assert max(mx.abs(again[n] - g).max().item() for n, g in plain.items()) <= 1e-5 * max(1.0, largest)
    assert peaks[1] < 0.7 * peaks[0]
    logp, _ = response_logprobs(model, prompt, RESPONSES, checkpoint=True)
    assert mx.allclose(logp, response_logprobs(model, prompt, RESPONSES)[0], atol=1e-6)
    assert all(array is before[name] for name, array in trainable(model).items())
    assert all(a is b for a, b in zip(model.layers, layers, strict=True))


def test_mask_and_padding() -> None:
    lp, mask = response_logprobs(fakes.tiny_llama().model, PROMPT, RESPONSES)
    assert mask.sum(axis=1).tolist() == [11, 2, 1]
    assert mx.array_equal(lp * mask, lp)
    assert mx.all(mx.where(mask == 1, lp < 0, lp == 0)).item()


def test_probabilities_of_all_continuations_sum_to_one() -> None:
    model = fakes.tiny_llama().model
    lp, _ = response_logprobs(model, PROMPT, [[t] for t in range(fakes.VOCABULARY)])
    assert mx.exp(lp).sum().item() == pytest.approx(1.0, abs=1e-5)


def test_part_of_recorded_states() -> None:
    model = adapted("llama")
    lower = record_lower(model, PROMPT, RESPONSES, first=2).take([1, 2], 2)
    part, _ = response_logprobs(model, PROMPT, RESPONSES[1:], lower=lower)
    assert mx.allclose(part, response_logprobs(model, PROMPT, RESPONSES[1:])[0], atol=1e-6)


def test_recorded_states_of_another_prompt_are_refused_and_the_layers_come_back() -> None:
    model = adapted("llama")
    before = list(model.layers)
    lower = record_lower(model, PROMPT[1:], RESPONSES, first=2)
    with pytest.raises(ValueError, match="same prompt"):
        response_logprobs(model, PROMPT, RESPONSES, lower=lower)
    assert all(a is b for a, b in zip(model.layers, before, strict=True))


@pytest.mark.parametrize(("prompt", "responses"), [([], [[1]]), ([1], []), ([1], [[1], []])])
def test_empty_inputs_are_refused(prompt: list[int], responses: list[list[int]]) -> None:
    with pytest.raises(ValueError, match="at least one token"):
        response_logprobs(fakes.tiny_llama().model, prompt, responses)


def test_what_a_branch_adds_to_the_prompt_is_read_and_not_scored() -> None:
    """Branches that carry the rest of their prompts give what each whole prompt gives alone, and the same gradients."""
    model = adapted("llama")
    rests, replies = [[9, 8, 7], [6]], [[100, 101, 102], [103, 104]]
    branches = [rest + reply for rest, reply in zip(rests, replies, strict=True)]
    given = [3, 1]

    def together(m: nn.Module) -> tuple[mx.array, mx.array]:
        lower = record_lower(m, PROMPT, branches, 2)
        return response_logprobs(m, PROMPT, branches, lower=lower, given=given)

    found, mask = together(model)
    assert mask.tolist() == [[0, 0, 0, 1, 1, 1], [0, 1, 1, 0, 0, 0]]
    for row, (rest, reply) in enumerate(zip(rests, replies, strict=True)):
        alone, _ = naive_response_logprobs(model, PROMPT + rest, [reply])
        assert mx.allclose(found[row, given[row] : given[row] + len(reply)], alone[0], atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="hold no token to score"):
        response_logprobs(model, PROMPT, branches, given=[3, 3])
