"""A talk with the therapist: a person says what a client would, and no simulated client stands behind the words."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from agents.lm.adapters import adapter_settings, load_adapter
from agents.lm.device import mx
from agents.lm.lora import inject, set_trainable
from agents.lm.models import LoadedModel
from agents.settings import GenerationPart
from agents.therapist import Therapist, spoken
from client_graph.catalog import Catalog
from client_graph.stance import RAPPORT
from envs.text import UnicodeText, therapist_words
from judges.protocol import Turn

NOTICE = """You speak with a language model that was trained against a simulated client. It is not a therapist, it does not know \
you, and nothing that it says has been shown to help anybody. It keeps nothing once you leave. In distress or danger call your \
local emergency number or a crisis line: findahelpline.com lists them by country."""
HELP = "/undo takes the last exchange back, /quit leaves (so do Ctrl-D and Ctrl-C), // begins words with a slash."


class Screen(Protocol):
    """Where a talk is shown."""

    def say(self, words: str) -> None:
        """The therapist's words."""

    def note(self, text: str) -> None:
        """Anything else."""

    def waiting(self) -> AbstractContextManager[Any]:
        """A sign of life while the therapist thinks."""


class Chat:
    """One talk. The same seed, the same model and the same lines give the same words.

    The therapist is told what it is told in the environment (agents/prompts.py), with an observation in which nobody is
    simulated: as for the held-out clients of agents/probe.py the stance is to build rapport, since nothing here reads how the
    client does, and no beliefs are named, since there is no client to hold any about. `stage` (1 to 4) is what is asked for.
    """

    def __init__(
        self, loaded: LoadedModel, catalog: Catalog, settings: GenerationPart, *, stage: int = 1, seed: int = 0
    ) -> None:
        self._therapist = Therapist(loaded, catalog, settings.model_copy(update={"beliefs_shown": 0}))
        self._observation = {"stage": stage, "stance": RAPPORT, "beliefs": catalog.start[0]}
        self._key = mx.random.key(seed)
        self.history: tuple[Turn, ...] = ()

    def answer(self, words: str) -> str:
        """What the therapist says to `words`, without its thinking. A call that is stopped leaves the talk as it was."""
        prompt = self._therapist.prompt({**self._observation, "client": words}, self.history)
        following, key = mx.random.split(self._key)
        thought, said = therapist_words(spoken(self._therapist.reply(prompt, key)), UnicodeText())
        self._key = following  # also after /undo: the same words then get another answer
        self.history = (*self.history, Turn(words, thought, said))
        return said

    def undo(self) -> Turn | None:
        """Take the last exchange back; None where there is none."""
        if not self.history:
            return None
        *kept, last = self.history
        self.history = tuple(kept)
        return last


def put_adapter(loaded: LoadedModel, folder: Path) -> None:
    """Put an adapter folder's arrays into a plain base. Raises AdapterMismatch where it is not this base's."""
    inject(loaded.model, adapter_settings(folder), mx.random.key(0))
    set_trainable(loaded.model, load_adapter(folder, loaded.model, loaded.base_hash))


def talk(chat: Chat, lines: Iterable[str], screen: Screen) -> None:
    """Until the lines end, /quit is typed, or Ctrl-C is pressed where a line is waited for; elsewhere it stops the answer."""
    waiting = iter(lines)
    while True:
        try:
            line = next(waiting).strip()
        except (StopIteration, KeyboardInterrupt):
            return
        if line == "/quit":
            return
        try:
            _take(chat, line, screen)
        except KeyboardInterrupt:
            screen.note("Stopped; what you said was not heard.")


def _take(chat: Chat, line: str, screen: Screen) -> None:
    if not line:
        screen.note("An empty line says nothing. " + HELP)
    elif line == "/undo":
        taken = chat.undo()
        screen.note(f'Taken back: "{taken.client}"' if taken else "There is nothing to take back.")
    elif line.startswith("/") and not line.startswith("//"):
        screen.note(("" if line == "/help" else f"no command {line.split()[0]}; ") + HELP)
    elif fault := UnicodeText().fault(line):
        screen.note(f"{fault}; it was not heard.")
    else:
        with screen.waiting():
            said = chat.answer(line.removeprefix("/") if line.startswith("//") else line)
        screen.say(said)
