"""What a model makes of a reply: how likely it finds it, and its states while it reads it.

    L = 1/T sum_t log p(y_t | x, y_<t)      nats; T tokens of reply y after prompt x
    h = 1/T sum_t h_t                       h_t the states, of the layers that the tree was made for, at token t

Prompts and replies are one prompt tree, so that replies to the same client share its prefill.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from agents.lm.architecture import head
from agents.lm.device import mx
from agents.lm.generate import chat_tokens, without_special
from agents.lm.models import LoadedModel
from agents.lm.prompt_tree import PromptTree

HEAD_ROWS = 128  # rows of logits at once: 128 x 50 000 float32 are 25 MB


def mean_logprobs(
    loaded: LoadedModel, tree: PromptTree, prompts: Sequence[str], replies: Sequence[str]
) -> npt.NDArray[np.float64]:
    """(n,) L of each reply to its prompt, a user's message; NaN where the reply has no token or both are longer than the tree's
    context. Raises FloatingPointError where the model's output is not finite."""
    starts, targets = answers(loaded, prompts, replies)
    asked = [i for i, target in enumerate(targets) if target and len(starts[i]) + len(target) <= tree.context]
    states = tree.states([[*starts[i], *targets[i][:-1]] for i in asked], [len(targets[i]) for i in asked])
    found = np.full(len(targets), np.nan)
    for i, hidden in zip(asked, states, strict=True):
        found[i] = _mean(loaded, hidden, targets[i])
    if broken := [i for i in asked if not np.isfinite(found[i])]:
        raise FloatingPointError(
            f"replies {broken}: log-probabilities that are not finite. The model's output is broken"
        )
    return found


def mean_states(
    loaded: LoadedModel, tree: PromptTree, prompts: Sequence[str], replies: Sequence[str]
) -> npt.NDArray[np.float32]:
    """(n, width) mean over the tokens of each reply to its prompt of the states that `tree` gives; not finite where the reply has
    no token, where both are longer than the tree's context, and where the model's output is broken."""
    starts, targets = answers(loaded, prompts, replies)
    asked = [i for i, target in enumerate(targets) if target and len(starts[i]) + len(target) <= tree.context]
    states = tree.states([[*starts[i], *targets[i]] for i in asked], [len(targets[i]) for i in asked])
    means = [np.array(mx.mean(hidden.astype(mx.float32), axis=0)) for hidden in states]
    found = np.full((len(targets), len(means[0]) if means else 1), np.nan, dtype=np.float32)
    for i, mean in zip(asked, means, strict=True):
        found[i] = mean
    return found


def answers(
    loaded: LoadedModel, prompts: Sequence[str], replies: Sequence[str]
) -> tuple[list[list[int]], list[list[int]]]:
    """(tokens up to where each answer begins, tokens of each reply): a prompt is a user's message, a reply what is said to it."""
    tokenizer = loaded.tokenizer
    spoken = [reply.strip().encode("utf-8", "replace").decode("utf-8") for reply in replies]  # no lone surrogates
    targets = [list(tokenizer.encode(without_special(r, tokenizer), add_special_tokens=False)) for r in spoken]
    starts = {p: chat_tokens(tokenizer, [{"role": "user", "content": p}]) for p in dict.fromkeys(prompts)}
    return [starts[prompt] for prompt in prompts], targets


def _mean(loaded: LoadedModel, hidden: mx.array, target: list[int]) -> float:
    total = 0.0
    for start in range(0, len(target), HEAD_ROWS):
        part = mx.array(target[start : start + HEAD_ROWS])[:, None]
        logits = head(loaded.model, hidden[start : start + HEAD_ROWS])
        total += float(mx.sum(mx.take_along_axis(logits, part, axis=-1)[:, 0] - mx.logsumexp(logits, axis=-1)))
    return total / len(target)
