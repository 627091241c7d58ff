"""Before and after: the same held-out clients, answered by the starting and by the trained adapters.

A score that rises proves nothing by itself (a policy can talk an embedding judge into it), so language measures that no
judge made stand beside it: the frozen base's likelihood of what was said, and how little it repeats.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from agents.guards import distinct
from agents.learner import FROZEN
from agents.lm.adapters import AdapterSets
from agents.lm.device import mx
from agents.lm.generate import Completion, chat_tokens
from agents.lm.logprob import response_logprobs
from agents.lm.models import LoadedModel
from agents.losses import sequence_logprob
from agents.prompts import therapist_messages
from agents.settings import GenerationPart
from agents.therapist import speak, spoken
from client_graph.catalog import Catalog
from client_graph.names import CONFIGS
from client_graph.tables import Row, TableError, read_table
from envs.text import UnicodeText, therapist_words
from judges.protocol import Exchange, Judge, JudgeFailure, Judgement


class ProbeRow(Row):
    client: str


@dataclass(frozen=True)
class Probe:
    """Means over the held-out clients; None where there is nothing to measure. `unscored` replies are not in `composite`."""

    composite: float | None  # unweighted mean of the twelve, in [0, 10]
    kind_harsh_gap: float | None
    base_logprob: float | None  # mean log-probability of a token under the frozen base, in nats
    distinct_2: float | None  # different word pairs / word pairs over all replies, in [0, 1]
    words: float | None  # words a reply
    finished: float | None  # share of replies that came to an end
    unscored: int
    replies: tuple[dict[str, Any], ...]  # client, reply, and score: the mean of the twelve, None where unscored


def held_out_clients() -> list[str]:
    """What the held-out clients say (configs/agents/probe.csv); none of them is met in training."""
    problems: list[str] = []
    rows = read_table(CONFIGS / "agents" / "probe.csv", ProbeRow, problems)
    if problems:
        raise TableError(problems)
    return [row.client for row in rows]


def probe(
    loaded: LoadedModel,
    sets: AdapterSets,
    role: str,
    judge: Judge | None,
    catalog: Catalog,
    settings: GenerationPart,
    seed: int,
) -> Probe:
    """Answer each held-out client once with adapter set `role`, and measure; equal seeds draw with equal keys.

    judge: None where nobody judges; then nothing is scored, and nothing counts as unscored.
    """
    clients = held_out_clients()
    beliefs = catalog.start[0]
    prompts = [
        chat_tokens(
            loaded.tokenizer,
            therapist_messages({"client": said, "stage": 1, "stance": 0, "beliefs": beliefs}, (), catalog, 0, 0),
        )
        for said in clients
    ]
    with sets.role(role):
        replies = speak(loaded, prompts, [settings.temperature] * len(prompts), mx.random.key(seed), settings)
    exchanges = [
        Exchange(said, *therapist_words(spoken(reply), UnicodeText()))
        for said, reply in zip(clients, replies, strict=True)
    ]
    found = [None] * len(exchanges) if judge is None else judge.judge(exchanges)
    judged = [j for j in found if isinstance(j, Judgement)]
    return Probe(
        composite=_mean([j.composite for j in judged]),
        kind_harsh_gap=_mean([float(j.gap.mean()) for j in judged]),
        base_logprob=_base_logprob(loaded, sets, prompts, replies),
        distinct_2=distinct(tuple(reply.text for reply in replies), 2),
        words=_mean([len(reply.text.split()) for reply in replies]),
        finished=_mean([float(reply.finished) for reply in replies]),
        unscored=sum(isinstance(j, JudgeFailure) for j in found),
        replies=tuple(
            {"client": said, "reply": spoken(reply), "score": j.composite if isinstance(j, Judgement) else None}
            for said, reply, j in zip(clients, replies, found, strict=True)
        ),
    )


def _base_logprob(
    loaded: LoadedModel, sets: AdapterSets, prompts: list[list[int]], replies: list[Completion]
) -> float | None:
    with sets.role(FROZEN) as model:
        each = [
            float(np.asarray(sequence_logprob(*response_logprobs(model, prompt, [reply.tokens]), True))[0])
            for prompt, reply in zip(prompts, replies, strict=True)
            if reply.tokens
        ]
    return _mean(each)


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None
