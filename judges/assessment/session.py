"""A session as a whole: what single turns cannot show (paper line 410).

Computed from the turns that were judged; a turn whose judge failed has no score and is left out, and counted.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from judges.assessment.session_text import Sentence, sentences
from judges.protocol import Exchange, JudgeError, JudgeFailure, Judgement
from judges.rubric import prompt_text
from judges.templates import fenced, filled
from judges.writer import Writer

MOST_TOKENS = 400  # of a written evaluation: five to ten sentences

# A whole session, turns in order -> its evaluation in words, or why there is none.
Evaluate = Callable[[Sequence[Exchange]], str | JudgeFailure]


@dataclass(frozen=True, eq=False)
class SessionAssessment:
    """Each array (12,) float64 in the order of DIMENSIONS, read-only.

    mean, least, greatest: in [0, 10]. trend: last judged turn minus first, in [-10, 10]. trajectory: (turns,) composite
    of each judged turn. steadiness: its standard deviation, points; 0 is steady. failures: turns without a score.
    violations: (kind, how many) of what the screen found, by kind.
    """

    mean: np.ndarray
    least: np.ndarray
    greatest: np.ndarray
    trend: np.ndarray
    trajectory: np.ndarray
    steadiness: float
    failures: int
    violations: tuple[tuple[str, int], ...] = ()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SessionAssessment):
            return NotImplemented
        arrays = ("mean", "least", "greatest", "trend", "trajectory")
        same = all(np.array_equal(getattr(self, name), getattr(other, name)) for name in arrays)
        return same and (self.failures, self.violations) == (other.failures, other.violations)

    def __hash__(self) -> int:
        return hash((self.trajectory.tobytes(), self.failures, self.violations))

    @property
    def composite(self) -> float:
        """The unweighted mean of the twelve means."""
        return float(self.mean.mean())


@dataclass(frozen=True)
class SessionEvaluation:
    """A session in numbers and in words.

    sentences: calculated from numbers and turns, each true of them. written: a model's evaluation, JudgeFailure with the
    reason where it gave none, None where none was asked for. What is calculated stands in either case.
    """

    assessment: SessionAssessment
    sentences: tuple[Sentence, ...]
    written: str | JudgeFailure | None = None

    @property
    def text(self) -> str:
        """The calculated sentences as one text."""
        return " ".join(sentence.text for sentence in self.sentences)

    def __str__(self) -> str:
        if self.written is None:
            return self.text
        if isinstance(self.written, JudgeFailure):
            return f"{self.text}\n\nNo evaluation was written: {self.written.reason}"
        return f"{self.text}\n\nAs the model reads it:\n{self.written}"


def judge_full_session(
    turns: Sequence[Exchange],
    judgements: Sequence[Judgement | JudgeFailure],
    evaluate: Evaluate | None = None,
) -> SessionEvaluation:
    """The session's assessment in numbers and words (paper 410): one judgement for each of `turns`, in order.

    evaluate: writes an evaluation of its own beside the calculated one: `written_by(writer)`, or an Anthropic judge's
    `holistic`. Whatever it raises becomes a named failure, so that a finished session is never lost for want of a text.
    Raises JudgeError where no turn was judged, or turns and judgements are not equally many.
    """
    if len(turns) != len(judgements):
        raise JudgeError(f"found {len(turns)} turns and {len(judgements)} judgements; expected one for each turn")
    assessment = summarise_session(judgements)
    written = None if evaluate is None else _evaluated(turns, evaluate)
    return SessionEvaluation(assessment, sentences(turns, judgements), written)


def written_by(writer: Writer, most_tokens: int = MOST_TOKENS) -> Evaluate:
    """`evaluate` of `judge_full_session` by any model that writes: the session is given to it fenced, turn by turn."""
    return lambda turns: writer.write(session_prompt(turns), most_tokens)


def session_prompt(turns: Sequence[Exchange]) -> str:
    """What a writer is asked: each text of the session in a fence that nothing inside it can close."""
    template = prompt_text("session_turn").strip()
    told = [
        filled(template, {"number": str(number)} | {name: fenced(getattr(turn, name)) for name in _TEXTS})
        for number, turn in enumerate(turns, 1)
    ]
    return filled(prompt_text("session"), {"turns": "\n\n".join(told)})


_TEXTS = ("client", "reasoning", "therapist")


def _evaluated(turns: Sequence[Exchange], evaluate: Evaluate) -> str | JudgeFailure:
    try:
        found = evaluate(turns)
    except Exception as error:  # of a network, a budget or a model: the numbers of the session must outlive it
        return JudgeFailure(f"the writer failed ({type(error).__name__}: {error})")
    if isinstance(found, JudgeFailure):
        return found
    if not isinstance(found, str) or not found.strip():
        return JudgeFailure("the writer wrote nothing")
    return found.strip()


def summarise_session(judgements: Sequence[Judgement | JudgeFailure]) -> SessionAssessment:
    """The session's numbers, turns in order. Raises JudgeError where no turn was judged."""
    judged = [turn for turn in judgements if isinstance(turn, Judgement)]
    if not judged:
        raise JudgeError(f"found {len(judgements)} turns and no judgement; a session needs at least one judged turn")
    kinds = Counter(violation.kind for turn in judged for violation in turn.violations)
    scores = np.stack([turn.scores for turn in judged])
    return summarise_scores(scores, len(judgements) - len(judged), tuple(sorted(kinds.items())))


def summarise_scores(
    scores: np.ndarray, failures: int = 0, violations: tuple[tuple[str, int], ...] = ()
) -> SessionAssessment:
    """The same from the scores (turns, 12) alone, at least one turn; `failures` turns had none."""
    trajectory = scores.mean(axis=1)
    return SessionAssessment(
        mean=_frozen(scores.mean(axis=0)),
        least=_frozen(scores.min(axis=0)),
        greatest=_frozen(scores.max(axis=0)),
        trend=_frozen(scores[-1] - scores[0]),
        trajectory=_frozen(trajectory),
        steadiness=float(trajectory.std()),
        failures=failures,
        violations=violations,
    )


def _frozen(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array
