"""Judges by name, each with the screen before it: what `icarus judge` and `icarus calibrate-judge` ask."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from judges.api.errors import BudgetSpent
from judges.api.settings import AnthropicJudgeConfig
from judges.assessment.session import Evaluate, written_by
from judges.calibration.run import MakeWithExamples
from judges.offline.embedding import EmbeddingJudge, EmbeddingJudgeConfig
from judges.offline.minilm import SentenceEncoder
from judges.protocol import Exchange, Judge, JudgeFailure, Judgement, JudgeUnavailable
from judges.screening.screen import Screened

if TYPE_CHECKING:
    from judges.api.judge import AnthropicJudge

NAMES = "embedding, reading, self, anthropic, or a model folder"


@dataclass(frozen=True)
class Chosen:
    """A judge and what goes with it. evaluate: writes of a whole session, where the judge can write. learner: makes the same
    judge from other examples, where it learns from examples."""

    judge: Judge
    evaluate: Evaluate | None = None
    learner: MakeWithExamples | None = None


@dataclass(frozen=True)
class Paid:
    """How the judge behind the API is asked. batch: all at once, by the Message Batches API. sent: the id of a batch to go on
    with. on_batch: is told each batch's id."""

    config: AnthropicJudgeConfig
    batch: bool = False
    sent: str | None = None
    on_batch: Callable[[str], None] | None = None


class PaidJudge:
    """The judge behind the API, asked as `paid` says. Where the budget ends on the way, an `unpaid` Failure stands for what is
    missing; BudgetSpent is raised only where nothing at all was judged."""

    def __init__(self, judge: "AnthropicJudge", paid: Paid) -> None:
        self.judging, self._paid, self.name = judge, paid, judge.name

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement | JudgeFailure]:
        """One answer for each exchange, in order. Raises what the judge raises."""
        try:
            if self._paid.batch or self._paid.sent is not None:
                return self.judging.judge_batch(exchanges, self._paid.sent, self._paid.on_batch)
            return self.judging.judge(exchanges)
        except BudgetSpent as spent:
            if not any(isinstance(answer, Judgement) for answer in spent.answers):
                raise
            return spent.filled()


def choose_judge(name: str, model: str | None = None, texts: bool = True, paid: Paid | None = None) -> Chosen:
    """The judge of that name; `model` is its model, where it has one. texts: a local model also writes its reasons, slowly.
    paid: for the judge behind the API.

    "self" and "reading" take the embedded SmolLM2 where no model is named, and a model folder is judged by as "self" with that
    model; "self:MODEL", "reading:MODEL" and "anthropic:MODEL" name both in one word. Raises JudgeUnavailable for a name or a
    key that is not there.
    """
    kind, _, named = name.partition(":")
    if model and named:
        raise JudgeUnavailable(
            f"found the models {named} and {model} for the judge {kind}; expected one: leave out --model"
        )
    if Path(name).is_dir():
        kind, named = "self", name
    if kind not in ("embedding", "reading", "self", "anthropic"):
        raise JudgeUnavailable(f"found judge {name!r}; expected {NAMES}")
    if kind == "embedding" and (model or named):
        raise JudgeUnavailable(f"found model {model or named} for the embedding judge, which has its own; leave it out")
    found = _anthropic(model or named or None, paid) if kind == "anthropic" else None
    if kind == "self":
        found = _local(model or named or "smollm2", texts)
    encoder = SentenceEncoder()  # last: its vocabulary is the screen's, and it takes seconds
    if kind == "reading":
        found = _reading(model or named or "smollm2", encoder)
    found = found or Chosen(EmbeddingJudge(encoder=encoder), learner=_refitted(encoder))
    return Chosen(Screened(found.judge, encoder.vocabulary()), found.evaluate, found.learner)


def _refitted(encoder: SentenceEncoder) -> MakeWithExamples:
    return lambda table, folder: EmbeddingJudge(EmbeddingJudgeConfig(examples=table, cache_folder=folder), encoder)


def _reading(model: str, encoder: SentenceEncoder) -> Chosen:
    from agents.judge import reading_judge
    from agents.lm.models import load_model

    return Chosen(reading_judge(EmbeddingJudge(encoder=encoder), load_model(model)))


def _local(model: str, texts: bool) -> Chosen:
    from agents.judge import FrozenDigits, FrozenWriter
    from agents.learner import FROZEN
    from agents.lm.adapters import AdapterSets
    from agents.lm.models import load_model
    from agents.settings import Settings
    from agents.training import starting_adapters
    from judges.language_model import LanguageModelJudge

    loaded = load_model(model)
    _, start = starting_adapters(loaded, Settings())
    sets = AdapterSets(loaded.model)
    sets.add(FROZEN, dict(start), frozen=True)
    reader = FrozenDigits(loaded, sets, FROZEN)
    writer = FrozenWriter(loaded, sets, FROZEN, reader.frozen) if texts else None
    judge = LanguageModelJudge(reader, f"self:{loaded.name}", writer=writer)
    return Chosen(judge, written_by(writer) if writer else None)


def _anthropic(model: str | None, paid: Paid | None) -> Chosen:
    from judges.api.judge import AnthropicJudge

    config = paid.config if paid else AnthropicJudgeConfig()
    if model and config.model != model and (config.prices or "model" in config.model_fields_set):
        raise JudgeUnavailable(
            f"found the models {model} and, in the settings with its prices, {config.model}; expected one: leave out --model"
        )
    judge = AnthropicJudge(config.model_copy(update={"model": model}) if model else config)
    return Chosen(PaidJudge(judge, paid) if paid else judge, judge.holistic)
