"""Icarus' own GRPO step (agents/learner.py), shared and naive; run by benchmarks/training.py in a process of its own.

Replies to all prompts are sampled in one batch; then a step is taken on each prompt's group, as a run does, where the peers take
one step on all. `--naive` learns by full padded sequences (naive.py), from tokens of the prompt: it would generate in the same way.
"""

from __future__ import annotations

import dataclasses
import sys
from contextlib import nullcontext
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from agents.learner import FROZEN, THERAPIST, Learner
from agents.lm.adapters import AdapterSets
from agents.lm.device import mx
from agents.lm.generate import generate
from agents.lm.lora import LoraSettings, fresh, inject, trainable
from agents.lm.models import LoadedModel, load_model
from agents.settings import GrpoPart, OptimizerPart
from benchmarks.training_sides.lines import Endless, Watch, rewards, serve
from benchmarks.training_sides.naive import naive_learning


class Icarus:
    """A learner with its two adapter sets on one model."""

    def __init__(self, told: dict[str, Any], naive: bool = False) -> None:
        self.told, self.naive = told, naive
        self.name = f"Icarus{', naive' if naive else ''} on MLX {version('mlx')}"
        self.loaded, self.learner = learner(told)
        self.trainable = sum(array.size for array in trainable(self.loaded.model).values())
        self.endless = dataclasses.replace(self.loaded, tokenizer=Endless(self.loaded.tokenizer))
        self.key = mx.random.key(0)

    def step(self, prompts: list[dict[str, Any]], new_tokens: int) -> dict[str, Any]:
        """Generate once, then Learner.grpo_step on each group."""
        watch, group = Watch(), self.told["group"]
        with self.learner.sets.role(THERAPIST):
            replies = self._copied(prompts, new_tokens) if self.naive else self._sampled(prompts, new_tokens, watch)
            with watch("learn"), naive_learning() if self.naive else nullcontext():
                for i, prompt in enumerate(prompts):
                    own = replies[i * group : (i + 1) * group]
                    kl = GrpoPart(kl_weight=self.told["kl_weight"])
                    self.learner.grpo_step(prompt["tokens"], own, rewards(group), kl)
        return {"generate": None, **watch.seconds, "replies": [len(reply) for reply in replies]}

    def _sampled(self, prompts: list[dict[str, Any]], new_tokens: int, watch: Watch) -> list[list[int]]:
        asked = [prompt["tokens"] for prompt in prompts for _ in range(self.told["group"])]
        self.key, own = mx.random.split(self.key)
        with watch("generate"):
            replies = generate(
                self.endless, asked, temperatures=[self.told["temperature"]] * len(asked),
                keys=list(mx.random.split(own, len(asked))), max_tokens=new_tokens, min_p=self.told["min_p"],
            )  # fmt: skip
        return [reply.response for reply in replies]

    def _copied(self, prompts: list[dict[str, Any]], new_tokens: int) -> list[list[int]]:
        return [prompt["tokens"][i : i + new_tokens] for prompt in prompts for i in range(self.told["group"])]


def learner(told: dict[str, Any]) -> tuple[LoadedModel, Learner]:
    """The model with adapters and the learner of `told`."""
    loaded = load_model(told["folder"])
    lora = LoraSettings(
        layers=told["layers"], attention_rank=told["attention_rank"], mlp_rank=told["mlp_rank"], scale=told["scale"]
    )
    inject(loaded.model, lora, mx.random.key(0))
    sets, start = AdapterSets(loaded.model), fresh(loaded.model, mx.random.key(0))
    sets.add(THERAPIST, start)
    sets.add(FROZEN, dict(start), frozen=True)
    sets.activate(THERAPIST)
    return loaded, Learner(sets, loaded.model, OptimizerPart(learning_rate=told["learning_rate"]))


if __name__ == "__main__":
    sys.exit(serve(partial(Icarus, naive="--naive" in sys.argv[1:])))
