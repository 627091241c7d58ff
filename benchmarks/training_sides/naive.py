"""The same learning without what makes it quick: every reply a full padded sequence, the head on every position, nothing shared."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import agents.lm  # noqa: F401  a fast BLAS, before MLX

# isort: split
import mlx.nn as nn

from agents.lm.device import mx
from agents.lm.logprob import naive_response_logprobs


@contextmanager
def every_layer_in_every_pass() -> Iterator[None]:
    """The learner's steps without recorded lower states."""
    with patch("agents.learner.record_lower", lambda *args: None):
        yield


@contextmanager
def naive_learning() -> Iterator[None]:
    """The learner's steps with `naive_response_logprobs`."""
    with every_layer_in_every_pass(), patch("agents.learner.response_logprobs", _logprobs):
        yield


def _logprobs(
    model: nn.Module, prompt: list[int], responses: list[list[int]], **sharing: Any
) -> tuple[mx.array, mx.array]:
    assert not any(sharing.get("given") or ()), "branches that carry a part of their prompt have no naive pass"
    return naive_response_logprobs(model, prompt, responses)
