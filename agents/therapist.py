"""The therapist: a prompt from what it may know, a reply, a corrected reply, candidates."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from agents.lm.device import mx
from agents.lm.generate import Completion, PrefixCache, chat_tokens, generate
from agents.lm.models import LoadedModel
from agents.prompts import Messages, correction_messages, therapist_messages
from agents.settings import GenerationPart
from client_graph.catalog import Catalog
from judges.protocol import Judgement, Turn

_SENTENCE_END = re.compile(r"""[.!?…]["'”’)]*\s*$""")


@dataclass(frozen=True)
class Prompt:
    """The chat and its tokens, tokenised once."""

    messages: Messages
    tokens: list[int]
    client: str


def spoken(said: Completion) -> str:
    """What can be heard of a completion: its text without control characters; the tokens stay as they were sampled."""
    return "".join(c for c in said.text if c in "\n\t" or unicodedata.category(c)[0] != "C").strip()


def speak(
    loaded: LoadedModel,
    prompts: list[list[int]],
    temperatures: Sequence[float],
    key: mx.array,
    settings: GenerationPart,
    prefixes: PrefixCache | None = None,
) -> list[Completion]:
    """One reply to each prompt, cut back to whole sentences where it ran out of tokens."""
    said = generate(
        loaded,
        prompts,
        temperatures=temperatures,
        keys=list(mx.random.split(key, len(prompts))),
        max_tokens=settings.max_tokens,
        min_p=settings.min_p,
        top_p=settings.top_p,
        prefixes=prefixes,
    )
    return [whole_sentences(one, loaded.tokenizer) for one in said]


def whole_sentences(said: Completion, tokenizer: Any) -> Completion:
    """A reply that ran out of tokens, back to the end of its last whole sentence; as it was if there is none.

    The tokens are cut with the text, so that only what was said is learned from.
    """
    if said.finished:
        return said
    for count in range(len(said.tokens), 0, -1):
        text = tokenizer.decode(said.tokens[:count])
        if _SENTENCE_END.search(text):
            return Completion(said.tokens[:count], text, None)
    return said


class Therapist:
    """Speaks with whatever adapter set is active in the model."""

    def __init__(self, loaded: LoadedModel, catalog: Catalog, settings: GenerationPart) -> None:
        self._loaded, self._catalog, self._settings = loaded, catalog, settings
        self._prefixes = PrefixCache("therapist", capacity=2)  # reply and candidates have one prompt

    def forget(self) -> None:
        """Drop cached prompts: they belong to the adapters that filled them, so call it after every step."""
        self._prefixes.clear()

    def prompt(self, observation: dict[str, Any], history: tuple[Turn, ...]) -> Prompt:
        """What the therapist is told before it answers."""
        s = self._settings
        messages = therapist_messages(observation, history, self._catalog, s.remembered_turns, s.beliefs_shown)
        return Prompt(messages, chat_tokens(self._loaded.tokenizer, messages), observation["client"])

    def reply(self, prompt: Prompt, key: mx.array) -> Completion:
        """The reply that the client will hear."""
        return self._say(prompt.tokens, (self._settings.temperature,), key)[0]

    def corrected(
        self, prompt: Prompt, reply: str, judgement: Judgement, temperature: float, key: mx.array
    ) -> Completion:
        """The reply again, after both judges' feedback."""
        messages = correction_messages(prompt.messages, reply, judgement)
        return self._say(chat_tokens(self._loaded.tokenizer, messages), (temperature,), key)[0]

    def candidates(self, prompt: Prompt, temperatures: tuple[float, ...], key: mx.array) -> list[Completion]:
        """One reply at each temperature, on one prefill."""
        return self._say(prompt.tokens, temperatures, key)

    def _say(self, tokens: list[int], temperatures: tuple[float, ...], key: mx.array) -> list[Completion]:
        return speak(self._loaded, [tokens] * len(temperatures), temperatures, key, self._settings, self._prefixes)
