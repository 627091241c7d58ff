"""A tree of sequences gives the hidden states of each sequence alone, whatever the passes it is cut into."""

from __future__ import annotations

from typing import Any

import fakes
import numpy as np
import pytest

from agents.lm.architecture import hidden_states, layers_of
from agents.lm.device import mx
from agents.lm.prompt_tree import PromptTree, grown

TEXTS = [
    "the rubric, then Ann: I am tired. kind, safety: ",
    "the rubric, then Ann: I am tired. kind, tenderness: ",
    "the rubric, then Ann: I am tired. harsh, safety: ",
    "the rubric, then Ann: I am tired.",
    "the rubric, then Bob said something much longer than that. kind, safety: ",
    "the rubric, then Bob said something much longer than that. kind, safety: ",
]
SEQUENCES = [list(text.encode()) for text in TEXTS]


@pytest.mark.parametrize("model_type", sorted(fakes.CONFIGS))
@pytest.mark.parametrize("budget", [8, 40, 512])
def test_states_are_those_of_each_sequence_alone(model_type: str, budget: int) -> None:
    model = fakes.tiny(model_type).model
    wanted = [2, 5, 1, 12, 3, 60]
    found = PromptTree(model, budget).states(SEQUENCES, wanted)
    for tokens, states, count in zip(SEQUENCES, found, wanted, strict=True):
        alone = hidden_states(model, mx.array([tokens]))[0, -count:]
        np.testing.assert_allclose(np.array(states), np.array(alone), atol=1e-4)


def test_what_is_shared_is_forwarded_once_and_kept() -> None:
    tree = PromptTree(fakes.tiny_llama().model)
    tree.states(SEQUENCES, [1] * len(SEQUENCES))
    assert tree.forwarded == grown(SEQUENCES).size < sum(map(len, SEQUENCES)) / 2
    before = tree.forwarded
    longer = [*SEQUENCES[0][: len("the rubric, then ")], *b"Cleo."]
    tree.states([longer], [1])
    assert tree.forwarded - before == len("Cleo.")


def test_a_kept_trunk_gives_the_same_states_as_none() -> None:
    model = fakes.tiny("gemma3_text").model
    tree = PromptTree(model)
    tree.states(SEQUENCES[4:], [1, 1])
    again = tree.states(SEQUENCES[:2], [2, 2])
    fresh = PromptTree(model).states(SEQUENCES[:2], [2, 2])
    for one, other in zip(again, fresh, strict=True):
        np.testing.assert_allclose(np.array(one), np.array(other), atol=1e-5)


def test_the_model_is_as_it_was_afterwards() -> None:
    model = fakes.tiny_llama().model
    before = [layer.self_attn.rope for layer in model.model.layers]
    PromptTree(model).states(SEQUENCES, [1] * len(SEQUENCES))
    assert all(layer.self_attn.rope is rope for layer, rope in zip(model.model.layers, before, strict=True))


def test_a_state_that_is_not_there_is_refused() -> None:
    tree = PromptTree(fakes.tiny_llama().model)
    with pytest.raises(ValueError, match=r"sequences \[1\]"):
        tree.states([[1, 2], [3]], [1, 2])
    assert tree.states([], []) == []


@pytest.mark.parametrize("model_type", sorted(fakes.CONFIGS))
@pytest.mark.parametrize("budget", [8, 512])
def test_states_that_enter_layers_are_those_of_a_model_that_ends_there(model_type: str, budget: int) -> None:
    model = fakes.tiny(model_type).model
    found = PromptTree(model, budget, layers=(1, 3)).states(SEQUENCES, [2] * len(SEQUENCES))
    layers = layers_of(model)
    whole = list(layers)
    for tokens, states in zip(SEQUENCES, found, strict=True):
        alone = [_entering(model, layers, whole, depth, tokens)[-2:] for depth in (1, 3)]
        np.testing.assert_allclose(np.array(states), np.concatenate(alone, axis=-1), atol=1e-4)
    assert list(layers) == whole


def _entering(model: Any, layers: list[Any], whole: list[Any], depth: int, tokens: list[int]) -> np.ndarray:
    """What enters layer `depth`, seen by a layer that stands in its place and in all above."""
    seen: list[mx.array] = []

    class Watch:
        def __init__(self, layer: Any) -> None:
            self._layer = layer

        def __call__(self, hidden: mx.array, mask: Any = None, cache: Any = None) -> mx.array:
            seen.append(hidden)
            return hidden

        def __getattr__(self, name: str) -> Any:
            return getattr(self.__dict__["_layer"], name)

    layers[depth:] = [Watch(layer) for layer in whole[depth:]]
    try:
        hidden_states(model, mx.array([tokens]))
    finally:
        layers[:] = whole
    return np.array(seen[0][0])
