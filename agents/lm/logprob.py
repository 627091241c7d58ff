"""Log-probabilities of responses to one prompt, differentiable, with the prompt forwarded once.

    log pi(y_t | x, y_<t) = z_t[y_t] - logsumexp(z_t),   z_t = head(h_t)

The K responses share the prompt x: its keys and values are computed once inside the loss and broadcast to the K
branches, so gradients flow back through it (a detached prefix is wrong by 1e-2). The head, a third of a forward pass,
runs on response positions only. Layers below the first adapter are frozen: their output can be recorded once
(`record_lower`) and serve several losses and the reference policy.

With `checkpoint` a layer's inside is not kept for the backward pass but computed again. mlx-lm's grad_checkpoint does that
wrongly as soon as there is a cache: keys and values that a layer leaves in it are no outputs of the checkpointed function,
so their gradients are lost. Here they are inputs and outputs, and gradients are those of the plain pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import mlx.nn as nn

from agents.lm.architecture import head, hidden_states, layers_of
from agents.lm.depth import Checkpointed, Skip, Tap, layers_replaced
from agents.lm.device import mx
from agents.lm.functional_cache import functional_caches


@dataclass
class LowerStates:
    """Hidden states entering layer `first`, the first adapted one.

    prompt: (1, P, width). branches: (K, T - 1, width), None if every response is one token long. They depend on the
    base alone, so they are right for every adapter set whose first layer is not below `first`.
    """

    first: int
    prompt: mx.array
    branches: mx.array | None

    def take(self, rows: list[int], time: int) -> LowerStates:
        """Those of some responses, the longest of them `time` tokens long."""
        branches = None if self.branches is None or time < 2 else self.branches[mx.array(rows), : time - 1]
        return LowerStates(self.first, self.prompt, branches)


def response_logprobs(
    model: nn.Module,
    prompt: list[int],
    responses: list[list[int]],
    *,
    lower: LowerStates | None = None,
    given: Sequence[int] | None = None,
    checkpoint: bool = False,
) -> tuple[mx.array, mx.array]:
    """(log-probabilities (K, T) in float32, mask (K, T) of 0 and 1 in float32); where the mask is 0, so is the number.

    Differentiable in the adapters inside `nn.value_and_grad`; outside it, a reference pass. T is the longest response.
    lower: from `record_lower` with the same prompt and responses.
    given: (K,) how many of each response's first tokens are read and not scored: what a branch adds to the shared prompt.
    checkpoint: compute each layer again on the way back, for a longer prompt in the same memory. Nothing but time changes.
    Raises ValueError for an empty prompt, no responses, or a response with nothing to score.
    """
    given = [0] * len(responses) if given is None else list(given)
    _expect(prompt, responses, given)
    first = 0 if lower is None else lower.first
    above = range(first, len(layers_of(model))) if checkpoint else ()
    replaced: dict[int, Skip] = {i: Checkpointed() for i in above}
    if lower is not None and first > 0:
        stored = [lower.prompt] if lower.branches is None else [lower.prompt, lower.branches]
        replaced |= _replaying(first, stored)
    with layers_replaced(model, replaced):
        hidden = _response_hidden(model, prompt, responses)
    return _token_logprobs(model, hidden, responses, given)


def naive_response_logprobs(
    model: nn.Module, prompt: list[int], responses: list[list[int]]
) -> tuple[mx.array, mx.array]:
    """The same by K full sequences with the head on every position: the plain reference that tests compare with."""
    none = [0] * len(responses)
    _expect(prompt, responses, none)
    time = max(map(len, responses))
    tokens = mx.array([prompt + r + [0] * (time - len(r)) for r in responses])
    logits = model(tokens[:, :-1]).astype(mx.float32)
    targets = tokens[:, 1:, None]
    every = mx.take_along_axis(logits, targets, axis=-1)[..., 0] - mx.logsumexp(logits, axis=-1)
    mask = _mask(responses, time, none)
    return every[:, len(prompt) - 1 :] * mask, mask


def record_lower(model: nn.Module, prompt: list[int], responses: list[list[int]], first: int) -> LowerStates:
    """Run the layers below `first` once, without gradient, on the prompt and the branches."""
    _expect(prompt, responses, [0] * len(responses))
    tap = Tap()
    above = {i: Skip() for i in range(first + 1, len(layers_of(model)))}
    with layers_replaced(model, {first: tap, **above}):
        _response_hidden(model, prompt, responses)
    states = [mx.stop_gradient(h) for h in tap.seen]
    mx.eval(states)
    return LowerStates(first, states[0], states[1] if len(states) > 1 else None)


def _response_hidden(model: nn.Module, prompt: list[int], responses: list[list[int]]) -> mx.array:
    """Hidden states (K, T, width) that predict each response token: the prompt's last one, then the branches'."""
    caches = functional_caches(model)
    last = hidden_states(model, mx.array([prompt]), caches)[:, -1:]
    k, time = len(responses), max(map(len, responses))
    last = mx.broadcast_to(last, (k, 1, last.shape[-1]))
    if time == 1:
        return last
    branches = hidden_states(model, _padded(responses, time)[:, :-1], [c.broadcast(k) for c in caches])
    return mx.concatenate([last, branches], axis=1)


def _token_logprobs(
    model: nn.Module, hidden: mx.array, responses: list[list[int]], given: list[int]
) -> tuple[mx.array, mx.array]:
    """z[y] - logsumexp(z) on the positions that hold a token to score, put back into (K, T)."""
    k, time = hidden.shape[:2]
    scored = [(i, t) for i, r in enumerate(responses) for t in range(given[i], len(r))]
    places = mx.array([i * time + t for i, t in scored])
    targets = mx.array([responses[i][t] for i, t in scored])
    logits = head(model, hidden.reshape(k * time, -1)[places])
    found = mx.take_along_axis(logits, targets[:, None], axis=-1)[:, 0] - mx.logsumexp(logits, axis=-1)
    return mx.zeros(k * time).at[places].add(found).reshape(k, time), _mask(responses, time, given)


def _padded(responses: list[list[int]], time: int) -> mx.array:
    return mx.array([r + [0] * (time - len(r)) for r in responses])


def _mask(responses: list[list[int]], time: int, given: list[int]) -> mx.array:
    return mx.array(
        [[0.0] * g + [1.0] * (len(r) - g) + [0.0] * (time - len(r)) for r, g in zip(responses, given, strict=True)]
    )


def _expect(prompt: list[int], responses: list[list[int]], given: list[int]) -> None:
    empty = [i for i, (r, g) in enumerate(zip(responses, given, strict=True)) if len(r) <= g]
    if not prompt or not responses or empty:
        raise ValueError(
            f"found a prompt of {len(prompt)} tokens and {len(responses)} responses, of which {empty} hold no token to "
            "score; expected at least one token in each"
        )


class _Replay(Skip):
    """A layer whose outputs are already known, call by call."""

    def __init__(self, outputs: list[mx.array]) -> None:
        super().__init__()
        self.outputs = iter(outputs)

    def __call__(self, hidden: mx.array, mask: Any = None, cache: Any = None) -> mx.array:
        output = next(self.outputs)
        if output.shape[:2] != hidden.shape[:2]:
            raise ValueError(
                f"lower states are for (batch, time) {output.shape[:2]}, the pass has {hidden.shape[:2]}; "
                "record them with the same prompt and responses"
            )
        return super().__call__(output, mask, cache)


def _replaying(first: int, stored: list[mx.array]) -> dict[int, Skip]:
    return {**{i: Skip() for i in range(first - 1)}, first - 1: _Replay(stored)}
