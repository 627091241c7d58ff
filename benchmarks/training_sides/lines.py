"""What the sides of benchmarks/training.py have in common: each is a process that reads JSON lines and answers with JSON lines.

The first line is what every side is told, answered with {"name", "trainable": adapter parameters}. Every further line is
{"prompts": [{"messages", "tokens"}, ...], "new_tokens"}, answered after one GRPO step on K replies to each with
{"generate": seconds, null for replies that were given, "learn": seconds, "replies": [length of each], "resident_gb": the most that
the process has held}. The peers' files are run by interpreters that have none of this project's packages, so this one needs the
standard library only.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

KEYS = (
    "folder",
    "blas",
    "layers",
    "attention_rank",
    "mlp_rank",
    "scale",
    "group",
    "temperature",
    "min_p",
    "kl_weight",
    "learning_rate",
)
ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
MLP = ("gate_proj", "up_proj", "down_proj")


class Side(Protocol):
    """A trainer with the model loaded. name: with versions. trainable: number of parameters that are learned."""

    name: str
    trainable: int

    def step(self, prompts: list[dict[str, Any]], new_tokens: int) -> dict[str, Any]:
        """One GRPO step; {"generate", "learn", "replies"}."""


class Watch:
    """Seconds between marks."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


class Endless:
    """A tokenizer without end tokens: every reply is as long as it may be."""

    eos_token_ids: frozenset[int] = frozenset()

    def __init__(self, own: Any) -> None:
        self._own = own

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)


def rewards(count: int) -> list[float]:
    """Rewards that differ within each group, so that there is something to learn; what they are costs nothing."""
    return [float((7 * i) % 5) for i in range(count)]


def load_blas(file: str) -> None:
    """Put a fast BLAS in the place of the one in MLX's wheel; before the first `import mlx.core`. "" leaves it as it is."""
    if file:
        ctypes.CDLL(file, mode=ctypes.RTLD_GLOBAL)


def serve(make: Callable[[dict[str, Any]], Side]) -> None:
    """Answer the lines on standard input; what libraries print goes to standard error."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    told = json.loads(sys.stdin.readline())
    if missing := [key for key in KEYS if key not in told]:
        raise SystemExit(f"the first line: {', '.join(missing)} missing; expected what benchmarks/training.py sends")
    side = make(told)
    _answer(answers, {"name": side.name, "trainable": side.trainable})
    for line in sys.stdin:
        _answer(answers, {**side.step(**json.loads(line)), "resident_gb": resident_gb()})


def resident_gb() -> float:
    """The process's largest resident size so far, in GB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e9 if sys.platform == "darwin" else 1e6)


def _answer(answers: Any, found: dict[str, Any]) -> None:
    answers.write(json.dumps(found) + "\n")
    answers.flush()
