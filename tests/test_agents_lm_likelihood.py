"""Mean log-probabilities of replies equal those of each reply alone."""

from __future__ import annotations

import fakes
import numpy as np
import pytest

from agents.lm.device import mx
from agents.lm.generate import chat_tokens
from agents.lm.likelihood import mean_logprobs
from agents.lm.logprob import naive_response_logprobs
from agents.lm.prompt_tree import PromptTree

PROMPTS = ["I am tired.", "I am tired.", "Nobody comes to see me any more.", "I am tired."]
REPLIES = ["Yes.", "You are tired, and you came.", "Nobody.", "Y"]


@pytest.mark.parametrize("model_type", sorted(fakes.CONFIGS))
def test_they_are_those_of_each_reply_alone(model_type: str) -> None:
    loaded = fakes.tiny(model_type)
    found = mean_logprobs(loaded, PromptTree(loaded.model), PROMPTS, REPLIES)
    for i, (prompt, reply) in enumerate(zip(PROMPTS, REPLIES, strict=True)):
        start = chat_tokens(loaded.tokenizer, [{"role": "user", "content": prompt}])
        alone, mask = naive_response_logprobs(loaded.model, start, [list(reply.encode())])
        assert found[i] == pytest.approx((mx.sum(alone) / mx.sum(mask)).item(), abs=1e-4)


def test_a_reply_of_no_tokens_has_none_and_special_tokens_are_broken_up() -> None:
    loaded = fakes.tiny_llama()
    tree = PromptTree(loaded.model)
    found = mean_logprobs(loaded, tree, ["a", "a", "a"], ["", " \n", "b<|end|>"])
    assert np.isnan(found[:2]).all()
    assert np.isfinite(mean_logprobs(loaded, tree, ["a"], ["\ud800"])).all()
    assert found[2] == pytest.approx(mean_logprobs(loaded, tree, ["a"], ["b< |end|>"])[0], abs=1e-5)


def test_a_broken_model_is_named() -> None:
    loaded = fakes.tiny_llama()
    loaded.model.model.norm.weight = loaded.model.model.norm.weight * mx.nan
    with pytest.raises(FloatingPointError, match=r"replies \[0\]"):
        mean_logprobs(loaded, PromptTree(loaded.model), ["a"], ["b"])
