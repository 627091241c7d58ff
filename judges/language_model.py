"""A language model as judge: the expected value over the digits it would write, dimension by dimension.

    score = sum over s = 0..10 of s P(s | prompt) / digit mass,      digit mass = sum over s of P(s | prompt)

A prompt begins with what never changes (personas, rubric), goes on with what a turn's candidates share (history, client) and
ends with the reply; 24 short questions (persona, dimension) follow it. A reader that forwards shared beginnings once so
pays for the reply and 24 x a few tokens. A number read this way cannot be malformed; where the model would rather not
write a number the digit mass is small, and the exchange is refused. For models that can judge: a 135M model was measured to
be at chance.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Protocol

import numpy as np
from pydantic import Field

from client_graph.names import DIMENSIONS
from client_graph.tables import Row
from judges.protocol import Assessment, Exchange, JudgeError, JudgeFailure, Judgement, Turn
from judges.rubric import JUDGE_CONFIGS, PERSONAS, persona, prompt_text, rows_in_order, rubric
from judges.templates import fenced, filled
from judges.writer import Form, FormWriter

LEAST_DIGIT_MASS = 0.5  # below this the model mostly meant to write something other than a score (design)
STRONG, ADVICE = 6.5, 3
READERS = {"kind": "kind supervisor", "harsh": "harsh client"}
FIELDS = ("narrative", "critical_moment", "recommendation")
UNWRITTEN = "The model wrote no text: the exchange and its form are longer than it can read."


class FormField(Row):
    """One text that the model writes of a reply."""

    field: str = Field(description="One of FIELDS.")
    beginning: str = Field(min_length=1, description="Its first words, which are given: the text is read with them.")
    most_tokens: int = Field(ge=1, description="Bound of what the model adds, tokens.")


@cache
def form_fields(path: Path = JUDGE_CONFIGS / "form_fields.csv") -> tuple[FormField, ...]:
    """The fields in the order of FIELDS. Raises TableError listing every mistake of the file."""
    return rows_in_order(path, FormField, "field", FIELDS)


class DigitReader(Protocol):
    """A model that says which score it would write."""

    def expected_scores(self, prompts: Sequence[str], questions: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """For each of q questions after each of n prompts: the expected score in [0, 10] and the digit mass in [0, 1], both
        (n, q); NaN where the model's output is broken or the prompt too long. A question is the beginning of the answer, up
        to the number."""


class LanguageModelJudge:
    """Asks a DigitReader for the twelve scores of both personas, and a FormWriter, where one is given, for the texts.

    Without a writer the texts are the rubric's own: the anchor of each score and the advice for the weakest dimensions.
    """

    def __init__(
        self,
        reader: DigitReader,
        name: str,
        least_digit_mass: float = LEAST_DIGIT_MASS,
        *,
        writer: FormWriter | None = None,
    ) -> None:
        self.name = name
        self._reader, self._writer = reader, writer
        self._least = least_digit_mass

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement | JudgeFailure]:
        """One answer for each exchange, in order; JudgeFailure where the digit mass is too small or a score is none.

        All exchanges are read together; an answer depends on its own exchange alone (but for rounding).
        """
        if not exchanges:
            return []
        try:
            scores, mass = self._read([prompt(exchange) for exchange in exchanges])
        except (JudgeError, FloatingPointError) as error:
            return [JudgeFailure(str(error)) for _ in exchanges]
        judged = [self._judged(*row) for row in zip(scores, mass, strict=True)]
        return self._written(exchanges, judged) if self._writer else judged

    def _read(self, prompts: list[str]) -> tuple[np.ndarray, np.ndarray]:
        """(scores, digit mass), each (n, 2, 12)."""
        scores, mass = (np.asarray(a) for a in self._reader.expected_scores(prompts, questions()))
        shape = (len(prompts), len(PERSONAS) * len(DIMENSIONS))
        if scores.shape != shape or mass.shape != shape:
            raise JudgeError(f"{self.name} returned shapes {scores.shape} and {mass.shape}; expected {shape} twice")
        split = (len(prompts), len(PERSONAS), len(DIMENSIONS))
        return scores.reshape(split), mass.reshape(split)

    def _judged(self, scores: np.ndarray, mass: np.ndarray) -> Judgement | JudgeFailure:
        try:
            self._expect_digits(mass)
            kind, harsh = (_assessment(name, row) for name, row in zip(PERSONAS, scores, strict=True))
            return Judgement(kind, harsh, digit_mass=np.minimum(mass, 1.0))
        except JudgeError as error:
            return JudgeFailure(str(error))

    def _expect_digits(self, mass: np.ndarray) -> None:
        if np.isnan(mass).all():
            raise JudgeError(
                f"{self.name} gave no number: its output is not finite, or the exchange with its history is longer than it "
                "can read. Shorten the session, or try another judge"
            )
        # Written so that NaN is refused too.
        weak = [(p, d) for p, d in np.ndindex(*mass.shape) if not self._least <= mass[p, d] <= 1 + 1e-6]
        if weak:
            which = ", ".join(f"{PERSONAS[p]} {DIMENSIONS[d]} {mass[p, d]:.2f}" for p, d in weak)
            raise JudgeError(
                f"{self.name} did not mean to write a score: digit mass {which}; expected {self._least:g} to 1. "
                "Try a larger or an instruction-tuned judge model, or the embedding judge"
            )

    def _written(
        self, exchanges: Sequence[Exchange], judged: list[Judgement | JudgeFailure]
    ) -> list[Judgement | JudgeFailure]:
        """The same with the writer's texts; scores stay as they are."""
        assert self._writer is not None
        asked = [i for i, found in enumerate(judged) if isinstance(found, Judgement)]
        views = [(i, name, getattr(judged[i], name)) for i in asked for name in PERSONAS]
        forms = [form(name, view.scores) for _, name, view in views]
        texts = self._writer.fill([prompt(exchanges[i]) for i, _, _ in views], forms) if views else []
        new = {(i, name): _with_texts(view, text) for (i, name, view), text in zip(views, texts, strict=True)}
        return [
            Judgement(new[i, PERSONAS[0]], new[i, PERSONAS[1]], digit_mass=found.digit_mass)
            if isinstance(found, Judgement)
            else found
            for i, found in enumerate(judged)
        ]


def prompt(exchange: Exchange) -> str:
    """The whole prompt: personas and rubric, then the exchange, each text in a fence that nothing inside it can close."""
    return filled(
        prompt_text("prompt"),
        {name: persona(name).strip() for name in PERSONAS}
        | {
            "rubric": _rubric(),
            "history": "\n".join(_past(turn) for turn in exchange.history) or "(none: this is the first)",
            "client": fenced(exchange.client),
            "reasoning": fenced(exchange.reasoning),
            "therapist": fenced(exchange.therapist),
        },
    )


def questions() -> list[str]:
    """The 24 questions: the kind persona's twelve in the order of DIMENSIONS, then the harsh one's."""
    text = prompt_text("question")
    return [
        filled(text, {"persona": READERS[name], "name": dimension}).rstrip() + " "
        for name in PERSONAS
        for dimension in DIMENSIONS
    ]


def form(name: str, scores: np.ndarray) -> Form:
    """What a persona that gave these scores (12,) has still to write: FIELDS, one after another."""
    order = np.argsort(scores, kind="stable")
    opening = filled(
        prompt_text("form_opening"),
        {
            "persona": READERS[name],
            "strongest": _named(order[: -ADVICE - 1 : -1], scores),
            "weakest": _named(order[:ADVICE], scores),
        },
    ).rstrip()
    fields = form_fields()
    asked = [f', "{row.field}": "{row.beginning}' for row in fields]
    return Form((opening + asked[0], *('"' + text for text in asked[1:])), tuple(row.most_tokens for row in fields))


@cache
def _rubric() -> str:
    text = prompt_text("dimension")
    return "\n".join(filled(text, row.model_dump()).strip() for row in rubric())


def _named(dimensions: np.ndarray, scores: np.ndarray) -> str:
    return ", ".join(f"{DIMENSIONS[d]} {scores[d]:.0f}" for d in dimensions)


def _past(turn: Turn) -> str:
    return f"The client said:\n{fenced(turn.client)}\nThe therapist replied:\n{fenced(turn.therapist)}"


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


def _with_texts(view: Assessment, texts: Sequence[str]) -> Assessment:
    """The view with the model's own narrative, critical moment and recommendation; where it wrote none, the rubric's stay. Where it
    could not read the form, the narrative says so."""
    if not texts:
        return replace(view, narrative=f"{view.narrative} {UNWRITTEN}")
    if len(texts) != len(FIELDS):
        raise JudgeError(f"found {len(texts)} texts; expected {len(FIELDS)}: {', '.join(FIELDS)}")
    narrative, moment, advice = (
        f"{row.beginning} {text.strip()}" if text.strip() else ""
        for row, text in zip(form_fields(), texts, strict=True)
    )
    return Assessment(
        scores=view.scores,
        reasons=view.reasons,
        narrative=narrative or view.narrative,
        critical_moments=(moment,) if moment else view.critical_moments,
        recommendations=(advice, *view.recommendations) if advice else view.recommendations,
    )
