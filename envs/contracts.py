"""What judges and voices have agreed to return: one answer for each question, of the kinds that their protocols name."""

from collections.abc import Sequence
from typing import Any

from envs.voice import Utterance, VoiceFailure


def answers_fault(answers: Any, count: int, kinds: tuple[type, ...]) -> str | None:
    """What is wrong with what a model outside returned for `count` questions, in words."""
    expected = f"expected a list of {count}, each a {' or '.join(kind.__name__ for kind in kinds)}"
    if not isinstance(answers, list | tuple):
        return f"a {type(answers).__name__}; {expected}"
    wrong = [f"a {type(each).__name__} at place {i}" for i, each in enumerate(answers) if not isinstance(each, kinds)]
    if len(answers) != count:
        return f"{len(answers)} answers; {expected}"
    return f"{', '.join(wrong)}; {expected}" if wrong else None


def words_fault(said: Sequence[Utterance | VoiceFailure]) -> str | None:
    """Utterances that hold something else than text."""
    wrong = [
        f"an Utterance whose {name} is a {type(found).__name__} at place {i}"
        for i, words in enumerate(said)
        if isinstance(words, Utterance)
        for name, found in (("text", words.text), ("reasoning", words.reasoning))
        if not isinstance(found, str)
    ]
    return f"{', '.join(wrong)}; expected texts" if wrong else None
