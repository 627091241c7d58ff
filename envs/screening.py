"""The judge of a text environment behind the screen: asked once, held to its protocol, what the screen found weighed."""

import warnings
from collections.abc import Sequence
from functools import cache

import numpy as np

from envs.contracts import answers_fault
from judges.protocol import Exchange, Judge, JudgeFailure, Judgement, JudgeUnavailable
from judges.screening.screen import Screen, Screened


def screened(judge: Judge) -> Screened:
    """`judge` behind the screen, exactly once: one that is screened already keeps its own screen.

    What it returns is looked at first: TypeError where it broke its protocol.
    """
    if isinstance(judge, Screened):
        return Screened(_Checked(judge.judging, judge.screen), screen=judge.screen)
    return Screened(_Checked(judge, default_screen()), screen=default_screen())


def charges(screen: Screen, judgements: Sequence[Judgement]) -> np.ndarray:
    """(n,) float64 in [0, 1]: which share of the full charge the violations of each reply come to."""
    return np.array([screen.weight(judgement.violations) for judgement in judgements], dtype=np.float64)


@cache
def default_screen() -> Screen:
    """One for all environments of a process; it reads the embedding judge's list of words and loads no weights."""
    from judges.offline.minilm import known_words  # only who judges loads a tokenizer

    try:
        return Screen(known_words())
    except JudgeUnavailable as error:
        warnings.warn(f"the screen has no list of words and finds no invented ones: {error}", stacklevel=2)
        return Screen()


class _Checked:
    """A judge whose answers are as many as it was asked for, of the right kinds, with violations that have a weight."""

    def __init__(self, judge: Judge, screen: Screen) -> None:
        self._judge, self._known = judge, screen.tables.weights

    @property
    def name(self) -> str:
        return self._judge.name

    def judge(self, exchanges: Sequence[Exchange]) -> list[Judgement | JudgeFailure]:
        answers = self._judge.judge(exchanges)
        fault = answers_fault(answers, len(exchanges), (Judgement, JudgeFailure)) or self._unknown(answers)
        if fault is not None:
            raise TypeError(f"judge {self.name} returned {fault}, in order. Nothing was changed")
        return answers

    def _unknown(self, answers: Sequence[Judgement | JudgeFailure]) -> str | None:
        """Violations that no table weighs."""
        wrong = [
            f"a violation of kind {violation.kind!r} at place {i}"
            for i, answer in enumerate(answers)
            if isinstance(answer, Judgement)
            for violation in answer.violations
            if violation.kind not in self._known
        ]
        known = f"expected kinds of violations.csv ({', '.join(self._known)})"
        return f"{', '.join(wrong[:10])}; {known}" if wrong else None
