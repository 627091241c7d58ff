"""A language model as judge: the expected value over the digits it would write, dimension by dimension.

    score = sum over s = 0..10 of s P(s | prompt) / digit mass,      digit mass = sum over s of P(s | prompt)

One prefix (the exchange) is shared by 24 suffixes (persona, dimension, anchors), so that a reader can hold its cache. A
number read this way cannot be malformed; where the model would rather not write a number the digit mass is small, and
the exchange is refused. For models that can judge: a 135M model was measured to be at chance.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from client_graph.names import DIMENSIONS
from judges.protocol import Assessment, Exchange, JudgeError, JudgeFailure, Judgement, Turn
from judges.rubric import PERSONAS, persona, prompt_text, rubric

LEAST_DIGIT_MASS = 0.5  # below this the model mostly meant to write something other than a score (design)
STRONG, ADVICE = 6.5, 3


class DigitReader(Protocol):
    """A model that says which score it would write after a prompt."""

    def expected_scores(self, prefix: str, suffixes: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """For each of n suffixes after the one prefix: the expected score in [0, 10] and the digit mass in [0, 1]."""


class LanguageModelJudge:
    """Asks a DigitReader for the twelve scores of both personas."""

    def __init__(self, reader: DigitReader, name: str, least_digit_mass: float = LEAST_DIGIT_MASS) -> None:
        self.name = name
        self._reader = reader
        self._least = least_digit_mass

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement | JudgeFailure]:
        """One answer for each exchange, in order; JudgeFailure where the digit mass is too small or a score is none."""
        return [self._judge(exchange) for exchange in exchanges]

    def _judge(self, exchange: Exchange) -> Judgement | JudgeFailure:
        try:
            scores, mass = self._reader.expected_scores(prefix(exchange), suffixes())
            return self._judgement(np.asarray(scores), np.asarray(mass))
        except (JudgeError, FloatingPointError) as error:
            return JudgeFailure(str(error))

    def _judgement(self, scores: np.ndarray, mass: np.ndarray) -> Judgement:
        shape = (len(PERSONAS) * len(DIMENSIONS),)
        if scores.shape != shape or mass.shape != shape:
            raise JudgeError(f"{self.name} returned shapes {scores.shape} and {mass.shape}; expected {shape} twice")
        # Written so that NaN is refused too.
        weak = [i for i in range(len(mass)) if not self._least <= mass[i] <= 1 + 1e-6]
        if weak:
            which = ", ".join(f"{PERSONAS[i // 12]} {DIMENSIONS[i % 12]} {mass[i]:.2f}" for i in weak)
            raise JudgeError(
                f"{self.name} did not mean to write a score: digit mass {which}; expected {self._least:g} to 1. "
                "Try another judge model, or the embedding judge"
            )
        kind, harsh = (_assessment(name, scores[i * 12 : i * 12 + 12]) for i, name in enumerate(PERSONAS))
        return Judgement(kind, harsh)


def prefix(exchange: Exchange) -> str:
    """The shared prompt: the exchange, each text in a fence that nothing inside it can close."""
    return _fill(
        prompt_text("prompt"),
        {
            "history": fenced("\n".join(_past(turn) for turn in exchange.history)),
            "client": fenced(exchange.client),
            "reasoning": fenced(exchange.reasoning),
            "therapist": fenced(exchange.therapist),
        },
    )


def suffixes() -> list[str]:
    """The 24 questions: the kind persona's twelve in the order of DIMENSIONS, then the harsh one's."""
    question = prompt_text("question")
    return [
        _fill(question, {"persona": persona(name).strip(), **dimension.model_dump()}).rstrip() + " "
        for name in PERSONAS
        for dimension in rubric()
    ]


def fenced(text: str) -> str:
    """The text between two lines of backticks, one longer than any run of backticks inside."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text}\n{fence}"


def _past(turn: Turn) -> str:
    return f"Client: {turn.client}\nTherapist: {turn.therapist}"


def _fill(template: str, values: Mapping[str, str]) -> str:
    """Fill {name} once, in one pass: what stands in a value is never filled again."""
    return re.sub(r"\{(\w+)\}", lambda match: values[match[1]], template)


def _assessment(name: str, scores: np.ndarray) -> Assessment:
    order = np.argsort(scores, kind="stable")
    weak, strong = (
        ", ".join(DIMENSIONS[i] for i in order[:ADVICE]),
        ", ".join(DIMENSIONS[i] for i in order[: -ADVICE - 1 : -1]),
    )
    helped = [DIMENSIONS[i] for i in range(len(scores)) if scores[i] > STRONG]
    return Assessment(
        scores=scores,
        reasons=tuple(
            f"{row.name} {score:.1f}: {row.anchor(score)}" for row, score in zip(rubric(), scores, strict=True)
        ),
        narrative=f"{name}: mean {scores.mean():.1f} of 10; strongest in {strong}; weakest in {weak}.",
        critical_moments=(f"may help (above {STRONG}): {', '.join(helped)}",) if helped else (),
        recommendations=tuple(rubric()[i].recommendation for i in order[:ADVICE]),
    )
