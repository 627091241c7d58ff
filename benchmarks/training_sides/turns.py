"""A whole turn of self-play, and the same turn role by role and sample by sample; one JSON object on standard output.

    python benchmarks/training_sides/turns.py < TOLD     TOLD: {"folder": of the model, "repeats"}

The plain turn writes, judges and compares one text at a time, each with a prefill of its own, and learns by full padded sequences.
Both begin at one snapshot of client and learner with one key, so that they sample and score the same; the quickstart's settings,
but for the correction, which is always learned from, so that there are two steps.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent))

from agents import judge
from agents.lm.device import mx

# isort: split
import mlx.nn as nn
import numpy as np

from agents.client import ChosenVoice
from agents.lm.generate import Completion, generate
from agents.lm.logprob import naive_response_logprobs
from agents.lm.models import LoadedModel, load_model
from agents.self_play import Stopwatch, TurnResult, play_turn
from agents.settings import GenerationPart, read_settings
from agents.therapist import whole_sentences
from agents.trainer import TBNRLTrainer
from benchmarks.training_sides.naive import naive_learning
from envs.session import SessionEnv

QUICKSTART = Path(__file__).resolve().parent.parent.parent / "configs" / "quickstart.toml"


@contextmanager
def naive_turn(env: SessionEnv) -> Iterator[None]:
    """`play_turn` in `env` without batches and without caches."""
    evaluate = env.evaluate

    def one_by_one(actions: Sequence[str]) -> list[Any]:
        return [evaluate([action])[0] for action in actions]

    with ExitStack() as stack:
        stack.enter_context(naive_learning())
        stack.enter_context(patch.object(env, "evaluate", one_by_one))
        stack.enter_context(patch("agents.therapist.speak", _speak_alone))
        stack.enter_context(patch("agents.judge.mean_logprobs", partial(_likely_alone, judge.mean_logprobs)))
        stack.enter_context(patch("agents.client.response_logprobs", _line_by_line))
        yield


def _speak_alone(
    loaded: LoadedModel, prompts: list[list[int]], temperatures: Sequence[float], key: mx.array, settings: GenerationPart,
    prefixes: Any = None,
) -> list[Completion]:  # fmt: skip
    said = [
        generate(
            loaded, [prompt], temperatures=[temperature], keys=[own], max_tokens=settings.max_tokens, min_p=settings.min_p,
            top_p=settings.top_p,
        )[0]
        for prompt, temperature, own in zip(prompts, temperatures, mx.random.split(key, len(prompts)), strict=True)
    ]  # fmt: skip
    return [whole_sentences(one, loaded.tokenizer) for one in said]


def _likely_alone(
    likely: Callable[..., np.ndarray], loaded: Any, tree: Any, prompts: Sequence[str], replies: Sequence[str]
) -> np.ndarray:
    found = []
    for prompt, reply in zip(prompts, replies, strict=True):
        tree.clear()
        found.append(likely(loaded, tree, [prompt], [reply])[0])
    return np.array(found)


def _line_by_line(model: nn.Module, prompt: list[int], lines: list[list[int]]) -> tuple[mx.array, mx.array]:
    most, rows = max(map(len, lines)), []
    for line in lines:
        found = naive_response_logprobs(model, prompt, [line])
        mx.eval(found)
        rows.append([mx.pad(a, [(0, 0), (0, most - len(line))]) for a in found])
    logp, mask = zip(*rows, strict=True)
    return mx.concatenate(logp), mx.concatenate(mask)


def measured(folder: str, repeats: int) -> dict[str, Any]:
    """Median seconds of the turn both ways, by part, and whether both said the same."""
    with tempfile.TemporaryDirectory() as runs:
        settings = read_settings(QUICKSTART, {"run.folder": runs, "model.name": folder})
        trainer = TBNRLTrainer(load_model(folder), settings)
        env, learner = trainer.env, trainer.learner
        env.reset(seed=1)
        observation = env.step("I'm glad you came. What was this week like?")[0]  # and what is made once has been made
        begun, learned = env.snapshot(), learner.remember()
        turns: dict[str, list[TurnResult]] = {"as it is": [], "plain": []}
        for _ in range(repeats):
            for name, found in turns.items():
                with naive_turn(env) if name == "plain" else nullcontext(), patch.dict(_lines_known(env)):
                    found.append(_play(trainer, observation))
                observation = env.restore(begun)
                learner.go_back(learned)
    said = {name: [c.tokens for c in (t[0].reply, t[0].corrected, *t[0].candidates)] for name, t in turns.items()}
    return {
        "seconds": {name: statistics.median(sum(t.seconds.values()) for t in found) for name, found in turns.items()},
        "parts": {name: _parts([t.seconds for t in found]) for name, found in turns.items()},
        "same": said["as it is"] == said["plain"],
        "steps": min((t.rlaif is not None) + (t.grpo is not None) for found in turns.values() for t in found),
    }


def _play(trainer: TBNRLTrainer, observation: dict[str, Any]) -> TurnResult:
    with patch("agents.self_play.why_no_rlaif", _only_if_empty):
        return play_turn(
            trainer.env,
            trainer.therapist,
            trainer.learner,
            observation,
            mx.random.key(1),
            trainer.settings,
            Stopwatch(),
        )


def _only_if_empty(reply: Completion, outcome: Any, corrected: Completion, *others: Any) -> str | None:
    return None if reply.tokens and corrected.tokens else "an empty reply"


def _lines_known(env: SessionEnv) -> dict[str, float]:
    """What the client's voice keeps between turns: both ways begin with the same."""
    voice = env.conduct.voice
    return voice._likely_anywhere if isinstance(voice, ChosenVoice) else {}


def _parts(turns: Sequence[dict[str, float]]) -> dict[str, float]:
    return {part: statistics.median(turn.get(part, 0.0) for turn in turns) for part in turns[0]}


if __name__ == "__main__":
    print(json.dumps(measured(**json.loads(sys.stdin.readline()))))
