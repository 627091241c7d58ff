"""The frozen model as the client: choosing among authored lines, or writing its own."""

import re
from collections.abc import Sequence

import numpy as np

from agents.lm.adapters import AdapterSets
from agents.lm.device import mx
from agents.lm.generate import chat_tokens, generate
from agents.lm.logprob import response_logprobs
from agents.lm.models import LoadedModel
from agents.losses import sequence_logprob
from agents.prompts import Messages, any_client_messages, client_messages
from client_graph.catalog import Catalog
from envs.voice import AuthoredVoice, SpeakingTurn, Utterance, VoiceFailure, private_reasoning

MOST_LINES = 12  # lines that are compared in one pass: cost grows with their tokens
CHOICE_TEMPERATURE = 0.5
ATTEMPTS = 3
MOST_TOKENS = 80  # that a client writes at a time


class ChosenVoice:
    """Authored words, chosen by the frozen model: the client answers this therapist, in lines a clinician wrote.

    A model too small to write a client can still tell which line answers the last reply. Lines are compared by how much the
    dialogue raises their mean log-probability, so that a line is not preferred for being likely everywhere:

        s_i = log π(line_i | dialogue) / |line_i| - log π(line_i | any client) / |line_i|;   drawn from softmax(s / 0.5)
    """

    name = "chosen"

    def __init__(self, catalog: Catalog, loaded: LoadedModel, sets: AdapterSets, role: str) -> None:
        self._authored = AuthoredVoice(catalog)
        self._loaded, self._sets, self._role = loaded, sets, role
        self._likely_anywhere: dict[str, float] = {}  # by line; it is the frozen set's, so it never changes

    def speak(self, turns: Sequence[SpeakingTurn]) -> list[Utterance | VoiceFailure]:
        """One line each. Before the first reply there is nothing to answer: the authored voice opens."""
        return [self._answer(turn) if turn.history else self._authored.speak([turn])[0] for turn in turns]

    def _answer(self, turn: SpeakingTurn) -> Utterance | VoiceFailure:
        lines = self._authored.fresh_lines(turn)
        if not lines:
            return self._authored.speak([turn])[0]
        if len(lines) > MOST_LINES:
            lines = [lines[i] for i in np.sort(turn.rng.choice(len(lines), MOST_LINES, replace=False))]
        fit = self._fit(turn, lines)
        odds = np.exp((fit - fit.max()) / CHOICE_TEMPERATURE)
        chosen = int(turn.rng.choice(len(lines), p=odds / odds.sum()))
        return Utterance(lines[chosen], private_reasoning(turn.view))

    def _fit(self, turn: SpeakingTurn, lines: list[str]) -> np.ndarray:
        unknown = [line for line in lines if line not in self._likely_anywhere]
        if unknown:
            self._likely_anywhere |= zip(unknown, self._likely(any_client_messages(), unknown), strict=True)
        here = self._likely(client_messages(turn.person, turn.view.phase, turn.moment, turn.history), lines)
        return here - np.array([self._likely_anywhere[line] for line in lines])

    def _likely(self, messages: Messages, lines: list[str]) -> np.ndarray:
        """Mean log-probability of a token of each line, (lines,), after the chat `messages`."""
        tokenizer = self._loaded.tokenizer
        tokens = [tokenizer.encode(line, add_special_tokens=False) for line in lines]
        with self._sets.role(self._role) as model:
            likely = sequence_logprob(*response_logprobs(model, chat_tokens(tokenizer, messages), tokens), True)
            mx.eval(likely)
        return np.asarray(likely, dtype=np.float64)


class WrittenVoice:
    """The frozen model writes the client's words itself; for models that can (a 135M one cannot).

    What is not a client's speech is not passed on: empty words, a refusal, speaking as or for the therapist, an endless or
    repeated line. After three attempts it is a VoiceFailure with the reason.
    """

    name = "written"

    def __init__(self, loaded: LoadedModel, sets: AdapterSets, role: str, max_tokens: int = MOST_TOKENS) -> None:
        self._loaded, self._sets, self._role, self._max_tokens = loaded, sets, role, max_tokens

    def speak(self, turns: Sequence[SpeakingTurn]) -> list[Utterance | VoiceFailure]:
        """One utterance each, written in the first person."""
        return [self._write(turn) for turn in turns]

    def _write(self, turn: SpeakingTurn) -> Utterance | VoiceFailure:
        inner = private_reasoning(turn.view)
        messages = client_messages(turn.person, turn.view.phase, turn.moment, turn.history, inner)
        prompt = chat_tokens(self._loaded.tokenizer, messages)
        keys = [mx.random.key(int(turn.rng.integers(2**63))) for _ in range(ATTEMPTS)]
        faults = []
        with self._sets.role(self._role):
            for key in keys:
                written = generate(self._loaded, [prompt], temperatures=[0.7], keys=[key], max_tokens=self._max_tokens)[
                    0
                ]
                text = written.text.strip()
                fault = client_fault(text, written.finished, [past.client for past in turn.history])
                if fault is None:
                    return Utterance(text, inner)
                faults.append(fault)
        return VoiceFailure(f"{ATTEMPTS} attempts, none a client's speech: {'; '.join(faults)}")


def client_voice(
    name: str, catalog: Catalog, loaded: LoadedModel, sets: AdapterSets, role: str
) -> ChosenVoice | WrittenVoice | str:
    """The client's voice of that name, for the environment: of the model with adapter set `role`; "authored" stays a name."""
    if name == "chosen":
        return ChosenVoice(catalog, loaded, sets, role)
    return WrittenVoice(loaded, sets, role) if name == "written" else name


_REFUSAL = re.compile(
    r"\b(as an ai|language model|i can(?:no|')t (?:generate|roleplay|create|write|assist))", re.IGNORECASE
)
_OTHER_ROLE = re.compile(r"(?:^|\n)\s*(?:therapist|client|counsell?or|assistant)\s*:", re.IGNORECASE)


def client_fault(text: str, finished: bool, said: Sequence[str]) -> str | None:
    """What makes `text` something other than a client's next words, or None (RELIABILITY: client model)."""
    if not text:
        return "empty"
    if _REFUSAL.search(text):
        return "a refusal"
    if _OTHER_ROLE.search(text):
        return "speaks in roles, or for the therapist"
    if not finished:
        return "does not end"
    if text in said:
        return "repeats itself"
    return None
