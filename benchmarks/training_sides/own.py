"""What benchmarks/training.py measures of Icarus alone: one JSON object on standard output.

    python benchmarks/training_sides/own.py < TOLD       TOLD: {"told", "prompt": tokens, "new_tokens", "repeats"}

gradients: largest difference between the shared pass and full padded sequences, absolute and relative to the largest gradient.
reference: its log-probabilities beside a policy pass forward and backward. switch: of adapter sets. lower: RLAIF and GRPO step with
the layers below the first adapter computed once, and in every pass. checkpoint: loss and backward with less memory.
"""

from __future__ import annotations

import dataclasses
import json
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from agents.learner import FROZEN, THERAPIST, Learner
from agents.lm.device import mx

# isort: split
import mlx.nn as nn
from mlx.utils import tree_flatten

from agents.lm.generate import generate
from agents.lm.logprob import naive_response_logprobs, record_lower, response_logprobs
from agents.lm.lora import set_trainable, trainable
from agents.losses import group_advantages, grpo_loss
from agents.settings import GrpoPart, RlaifPart
from benchmarks.training_sides.icarus import learner
from benchmarks.training_sides.lines import Endless, rewards
from benchmarks.training_sides.naive import every_layer_in_every_pass

Scored = Callable[[], tuple[mx.array, mx.array]]


class Group:
    """One prompt with its K replies, and a policy that has moved: with B at zero, A would have no gradient."""

    def __init__(self, told: dict[str, Any], prompt: list[int], new_tokens: int) -> None:
        self.told, self.prompt = told, prompt
        self.loaded, self.learner = learner(told)
        self.model, self.sets = self.loaded.model, self.learner.sets
        set_trainable(self.model, moved(trainable(self.model)))
        many = told["group"]
        said = generate(
            dataclasses.replace(self.loaded, tokenizer=Endless(self.loaded.tokenizer)), [prompt] * many,
            temperatures=[told["temperature"]] * many, keys=list(mx.random.split(mx.random.key(1), many)),
            max_tokens=new_tokens, min_p=told["min_p"],
        )  # fmt: skip
        self.replies = [one.response for one in said]
        self.lower = record_lower(self.model, prompt, self.replies, self.learner.first_layer)
        self.reference = self.refer()

    def refer(self) -> mx.array:
        """(K, T) of the frozen set, as the learner has them."""
        with self.sets.role(FROZEN):
            logp = response_logprobs(self.model, self.prompt, self.replies, lower=self.lower)[0]
            mx.eval(logp)
        return logp

    def naive(self) -> tuple[mx.array, mx.array]:
        return naive_response_logprobs(self.model, self.prompt, self.replies)

    def shared(self, **keywords: Any) -> Scored:
        return lambda: response_logprobs(self.model, self.prompt, self.replies, **keywords)

    def gradients(self, scored: Scored) -> dict[str, mx.array]:
        """Of the GRPO loss, evaluated."""
        advantages = group_advantages(mx.array(rewards(len(self.replies))))

        def loss() -> mx.array:
            return grpo_loss(*scored(), advantages, self.reference, self.told["kl_weight"])

        before = trainable(self.model)
        _, found = nn.value_and_grad(self.model, loss)()
        mx.eval(found)
        set_trainable(self.model, before)
        return dict(tree_flatten(found))


def moved(flat: dict[str, mx.array]) -> dict[str, mx.array]:
    keys = mx.random.split(mx.random.key(2), len(flat))
    return {n: a + 0.01 * mx.random.normal(a.shape, key=k) for (n, a), k in zip(flat.items(), keys, strict=True)}


def seconds(work: Callable[[], Any], repeats: int) -> float:
    """Median of `repeats` times."""
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def measured(told: dict[str, Any], prompt: list[int], new_tokens: int, repeats: int) -> dict[str, Any]:
    """All of it."""
    group = Group(told, prompt, new_tokens)
    lower = group.lower
    passes: dict[str, Scored] = {
        "full padded sequences": group.naive,
        "prompt shared, head on replies": group.shared(),
        "and the lower layers known": group.shared(lower=lower),
        "the same, checkpointed": group.shared(lower=lower, checkpoint=True),
    }
    table, found = [], {}
    for name, scored in passes.items():
        mx.clear_cache()
        mx.reset_peak_memory()
        took = seconds(lambda n=name, s=scored: found.update({n: group.gradients(s)}), repeats)
        table.append({"pass": name, "seconds": took, "peak_gb": mx.get_peak_memory() / 1e9})
    exact, *others = found.values()
    largest = max(float(mx.abs(g).max()) for g in exact.values())
    apart = max(float(mx.abs(other[n] - g).max()) for other in others for n, g in exact.items())
    return {
        "gradients": {"largest": apart, "relative": apart / largest},
        "reference": {"policy": table[2]["seconds"], "reference": seconds(group.refer, max(3, repeats))},
        "switch": switch(group.learner),
        "lower": both_steps(group, repeats),
        "checkpoint": table,
    }


def switch(learner: Learner) -> float:
    """Median seconds of putting one adapter set in the place of the other."""
    roles = iter((FROZEN, THERAPIST) * 100)
    return seconds(lambda: learner.sets.activate(next(roles)), 200)


def both_steps(group: Group, repeats: int) -> dict[str, float]:
    """Seconds of an RLAIF and a GRPO step, alternated: as they are, and with the lower layers in every pass."""
    learner, told = group.learner, GrpoPart(kl_weight=group.told["kl_weight"])

    def steps() -> None:
        with learner.sets.role(THERAPIST):
            learner.rlaif_step(group.prompt, group.replies[0], group.replies[1], 1.0, RlaifPart())
            learner.grpo_step(group.prompt, group.replies, rewards(len(group.replies)), told)

    ways: dict[str, Callable[[], AbstractContextManager[Any]]] = {
        "once": nullcontext, "every_pass": every_layer_in_every_pass
    }  # fmt: skip
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            with way():
                found[name].append(seconds(steps, 1))
    return {name: statistics.median(times) for name, times in found.items()}


if __name__ == "__main__":
    print(json.dumps(measured(**json.loads(sys.stdin.readline()))))
