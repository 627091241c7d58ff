"""The memory of a run of these settings: how long its prompts become, what it needs then, and what would change it.

A prompt's length follows from the texts that fill it, every reply as long as allowed: with a tokenizer not at hand, a token is
CHARACTERS of text. Sessions grow, so a plan is for one turn, the last unless told otherwise.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from agents.client import MOST_TOKENS
from agents.descriptions import config_of, siblings
from agents.lm.adapters import adapter_settings
from agents.lm.lora import LoraSettings
from agents.lm.plan import Lengths, Plan, plan_memory, plan_shapes
from agents.prompts import Messages, correction_messages, therapist_messages
from agents.settings import Settings
from client_graph.catalog import Catalog, load_catalog
from client_graph.names import DIMENSIONS
from judges.language_model import prompt as judge_prompt
from judges.language_model import questions
from judges.likelihood import likelihood_prompt
from judges.protocol import Assessment, Exchange, Judgement
from judges.rubric import rubric

CHARACTERS = (
    3.25  # of a token, chat template included: SmolLM2's tokenizer on these prompts; a larger vocabulary needs fewer
)
TEMPLATE = 6  # tokens that a chat template puts around a message
BUDGET = 4096  # tokens of branches in one pass of a prompt tree on a GPU (agents/lm/prompt_tree.py)
WORTH = 0.99  # of the peak: a change that leaves more is not named


@dataclass(frozen=True)
class RunPlan:
    """A plan with what it is for. source: where the model's shapes are from. turn: of a session, from 1."""

    model: str
    source: str
    lora: LoraSettings
    turn: int
    cpu: bool
    plan: Plan


@dataclass(frozen=True)
class Change:
    """Settings that need less, in words, and the bytes of their peak."""

    what: str
    peak: int


def plan_run(
    settings: Settings, *, turn: int | None = None, prompt_tokens: int | None = None, cpu: bool = False
) -> RunPlan:
    """The plan of a run at a turn of a session, the last one by default; cpu: weights expanded to float32.

    prompt_tokens wins over the estimate of the therapist's prompt. Raises NoDescription, BadDescription, UnknownArchitecture,
    NoSuchLayers, AdapterMismatch, TableError.
    """
    config, source = config_of(settings.model.name)
    lora = settings.lora if settings.model.adapter is None else adapter_settings(settings.model.adapter)
    turn = turn or settings.environment.max_turns
    lengths = lengths_of(settings, load_catalog(settings.environment.catalog), turn, prompt_tokens)
    again = settings.optimizer.checkpoint_gradients
    plan = plan_memory(config, lora, lengths, cpu=cpu, checkpoint=again)
    return RunPlan(settings.model.name, source, lora, turn, cpu, plan)


def lengths_of(settings: Settings, catalog: Catalog, turn: int, prompt_tokens: int | None = None) -> Lengths:
    """Tokens of a turn, from 1, where every reply before it was as long as allowed."""
    told, environment, reply = settings.generation, settings.environment, settings.generation.max_tokens
    client = MOST_TOKENS if environment.client == "written" else _longest_line(catalog)
    exchange = client + reply + 2 * TEMPLATE
    observation = {"client": "x" * round(client * CHARACTERS), "stage": 1, "stance": 0, "beliefs": catalog.start[0]}
    messages = therapist_messages(observation, (), catalog, 0, told.beliefs_shown)
    past = min(told.remembered_turns, turn - 1)
    prompt = prompt_tokens or _tokens(_text(messages)) + past * exchange
    notes = _text(correction_messages(messages, "x" * round(reply * CHARACTERS), _longest_notes()))
    asked = Exchange(str(observation["client"]), "", "x" * round(reply * CHARACTERS))
    lengths = Lengths(
        prompt, prompt + _tokens(notes) - _tokens(_text(messages)), reply, len(settings.grpo.temperatures)
    )
    if environment.least_logprob is not None or environment.judge == "reading":
        lengths = replace(lengths, kept=_tokens(likelihood_prompt(asked)) + reply)
    if environment.judge != "self":
        return lengths
    each = reply + sum(_tokens(question) + 1 for question in questions())
    history = (turn - 1) * exchange
    return replace(
        lengths, judge=_tokens(judge_prompt(asked)) + history, asked=min(BUDGET, len(settings.grpo.temperatures) * each)
    )


def _tokens(text: str) -> int:
    return math.ceil(len(text) / CHARACTERS)


def _text(messages: Messages) -> str:
    return "".join(message["content"] for message in messages)


def _longest_line(catalog: Catalog) -> int:
    return max(_tokens(row.line) for row in catalog.rows["voice"])


def _longest_notes() -> Judgement:
    """What supervisors recommend at most."""
    longest = sorted((row.recommendation for row in rubric()), key=len)[-2:]
    view = Assessment(np.full(len(DIMENSIONS), 5.0), ("",) * len(DIMENSIONS), "", (), tuple(longest))
    return Judgement(view, view)


def changes(settings: Settings, planned: RunPlan, memory: int | None = None) -> list[Change]:
    """What would need less, least first; memory in bytes: the most remembered turns that fit it are looked for."""
    told = [Change(what, _peak(other, planned)) for what, other in _smaller(settings)]
    fewer = _fewer_turns(settings, planned, memory)
    found = [*told, *([fewer] if fewer else [])]
    return sorted((c for c in found if c.peak < WORTH * planned.plan.peak.total), key=lambda change: change.peak)


def _smaller(settings: Settings) -> Iterator[tuple[str, Settings]]:
    """One setting changed at a time."""
    lora, told, grpo = settings.lora, settings.generation, settings.grpo
    if not settings.optimizer.checkpoint_gradients:
        yield "optimizer.checkpoint_gradients = true", _with(settings, "optimizer", checkpoint_gradients=True)
    if settings.model.adapter is None:
        if lora.layers != "latter-third":
            yield 'lora.layers = "latter-third"', _with(settings, "lora", layers="latter-third")
        if lora.mlp_rank > 1:
            yield f"lora.mlp_rank = {lora.mlp_rank // 2}", _with(settings, "lora", mlp_rank=lora.mlp_rank // 2)
    if told.max_tokens > 1:
        half = told.max_tokens // 2
        yield f"generation.max_tokens = {half}", _with(settings, "generation", max_tokens=half)
    if len(grpo.temperatures) > 2:
        yield "two candidates in grpo.temperatures", _with(settings, "grpo", temperatures=grpo.temperatures[:2])
    if other := siblings(settings.model.name):
        yield f"model.name = {other!r}", _with(settings, "model", name=other)


def _with(settings: Settings, part: str, **values: object) -> Settings:
    return settings.model_copy(update={part: getattr(settings, part).model_copy(update=values)})


def _peak(settings: Settings, like: RunPlan) -> int:
    """Of the same turn; the shapes are those that are known where model and adapters are the same."""
    if settings.model.name != like.model or settings.lora != like.lora:
        return plan_run(settings, turn=like.turn, cpu=like.cpu).plan.peak.total
    lengths = lengths_of(settings, load_catalog(settings.environment.catalog), like.turn)
    return plan_shapes(like.plan.shapes, lengths, settings.optimizer.checkpoint_gradients).peak.total


def _fewer_turns(settings: Settings, planned: RunPlan, memory: int | None) -> Change | None:
    """The most remembered turns that fit; none where even no turn does, or half of them where no memory is told."""
    now = min(settings.generation.remembered_turns, planned.turn - 1)
    if not now:
        return None
    catalog = load_catalog(settings.environment.catalog)

    def needed(turns: int) -> int:
        fewer = _with(settings, "generation", remembered_turns=turns)
        lengths = lengths_of(fewer, catalog, planned.turn)
        return plan_shapes(planned.plan.shapes, lengths, planned.plan.checkpoint).peak.total

    tried = range(now - 1, -1, -1) if memory is not None else [now // 2]
    turns = next((n for n in tried if memory is None or needed(n) <= memory), 0)
    return Change(f"generation.remembered_turns = {turns}", needed(turns))
