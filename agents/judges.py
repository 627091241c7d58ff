"""Judges by name, each with the screen before it: what `icarus judge` and `icarus calibrate-judge` ask."""

from dataclasses import dataclass
from pathlib import Path

from judges.assessment.session import Evaluate, written_by
from judges.calibration.run import MakeWithExamples
from judges.offline.embedding import EmbeddingJudge, EmbeddingJudgeConfig
from judges.offline.minilm import SentenceEncoder
from judges.protocol import Judge, JudgeUnavailable
from judges.screening.screen import Screened

NAMES = "embedding, self, anthropic, or a model folder"


@dataclass(frozen=True)
class Chosen:
    """A judge and what goes with it. evaluate: writes of a whole session, where the judge can write. learner: makes the same
    judge from other examples, where it learns from examples."""

    judge: Judge
    evaluate: Evaluate | None = None
    learner: MakeWithExamples | None = None


def choose_judge(name: str, model: str | None = None, texts: bool = True) -> Chosen:
    """The judge of that name; `model` is its model, where it has one. texts: a local model also writes its reasons, slowly.

    "self" is the embedded SmolLM2 where no model is named, and a model folder is judged by as "self" with that model;
    "self:MODEL" and "anthropic:MODEL" name both in one word. Raises JudgeUnavailable for a name or a key that is not there.
    """
    kind, _, named = name.partition(":")
    if model and named:
        raise JudgeUnavailable(
            f"found the models {named} and {model} for the judge {kind}; expected one: leave out --model"
        )
    if Path(name).is_dir():
        kind, named = "self", name
    if kind not in ("embedding", "self", "anthropic"):
        raise JudgeUnavailable(f"found judge {name!r}; expected {NAMES}")
    if kind == "embedding" and (model or named):
        raise JudgeUnavailable(f"found model {model or named} for the embedding judge, which has its own; leave it out")
    found = _anthropic(model or named or None) if kind == "anthropic" else None
    if kind == "self":
        found = _local(model or named or "smollm2", texts)
    encoder = SentenceEncoder()  # last: its vocabulary is the screen's, and it takes seconds
    found = found or Chosen(EmbeddingJudge(encoder=encoder), learner=_refitted(encoder))
    return Chosen(Screened(found.judge, encoder.vocabulary()), found.evaluate, found.learner)


def _refitted(encoder: SentenceEncoder) -> MakeWithExamples:
    return lambda table, folder: EmbeddingJudge(EmbeddingJudgeConfig(examples=table, cache_folder=folder), encoder)


def _local(model: str, texts: bool) -> Chosen:
    from agents.judge import FrozenDigits, FrozenWriter
    from agents.learner import FROZEN
    from agents.lm.adapters import AdapterSets
    from agents.lm.models import load_model
    from agents.settings import Settings
    from agents.trainer import starting_adapters
    from judges.language_model import LanguageModelJudge

    loaded = load_model(model)
    _, start = starting_adapters(loaded, Settings())
    sets = AdapterSets(loaded.model)
    sets.add(FROZEN, dict(start), frozen=True)
    reader = FrozenDigits(loaded, sets, FROZEN)
    writer = FrozenWriter(loaded, sets, FROZEN, reader.frozen) if texts else None
    judge = LanguageModelJudge(reader, f"self:{loaded.name}", writer=writer)
    return Chosen(judge, written_by(writer) if writer else None)


def _anthropic(model: str | None) -> Chosen:
    from judges.api.judge import AnthropicJudge
    from judges.api.settings import AnthropicJudgeConfig

    judge = AnthropicJudge(AnthropicJudgeConfig(model=model) if model else None)
    return Chosen(judge, judge.holistic)
