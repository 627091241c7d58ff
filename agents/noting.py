"""A therapist who thinks first: the model writes its notes in a forced form, then speaks with them in mind.

Γ, Ω  ~ π(. | all that was said, what it believes)        the two chains of its reasoning (paper 240)
U     ~ π(. | its usual chat, Γ, Ω)                       what the client hears
"""

from collections.abc import Sequence
from typing import Literal

from gymnasium.error import InvalidAction

from agents.lm.adapters import AdapterSets
from agents.lm.constrained import FieldWriter
from agents.lm.device import mx
from agents.lm.five_tuple import Maker
from agents.lm.generate import chat_tokens
from agents.lm.models import LoadedModel
from agents.played_session import Moment, Reply, TherapistFailure
from agents.prompts import note_form, note_prompt, therapist_messages, with_thought
from agents.settings import GenerationPart
from agents.therapist import Prompt, Therapist, spoken
from client_graph.catalog import Catalog
from envs.text import UnicodeText, therapist_words

ATTEMPTS = 3  # at a turn's notes and words
NOTE_TOKENS = 80  # of one note at most


class NotingTherapist:
    """The model with adapter set `role`, as `agents.played_session.TherapistBackend`; the set is not trained meanwhile.

    Notes are the likeliest words, where those are none, drawn ones; what it says is drawn as `settings` ask for. A thought of
    its own (<think>) on the way to its words is not kept: its notes are the reasoning. tmoc: whether the model of the client
    is "beliefs", as the environment holds them, or "written", a note of its own.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        sets: AdapterSets,
        role: str,
        catalog: Catalog,
        settings: GenerationPart,
        *,
        adapter: bool,
        tmoc: Literal["beliefs", "written"] = "beliefs",
        note_tokens: int = NOTE_TOKENS,
    ) -> None:
        """adapter: whether the set is a trained one, whose hash is told; a fresh one is the base itself."""
        self._loaded, self._sets, self._role = loaded, sets, role
        self._catalog, self._settings, self._note_tokens = catalog, settings, note_tokens
        self._fields = ("therapist_model", "gco", "omo") if tmoc == "written" else ("gco", "omo")
        self._writer = FieldWriter(loaded)
        self._therapist = Therapist(loaded, catalog, settings)
        self.maker = Maker(
            name="noting",
            model=loaded.name,
            base=loaded.base_hash,
            adapter=sets.hash(role) if adapter else None,
            settings={**settings.model_dump(), "tmoc": tmoc, "note_tokens": note_tokens},
        )

    def answer(self, moment: Moment) -> Reply | TherapistFailure:
        """Notes, then words. What is empty or cannot be said is tried again, three times in all."""
        if moment.observation["turn"] == 0:  # what was read in another session changes the last bits of this one
            self._writer.tree.clear()
            self._therapist.forget()
        faults = []
        with self._sets.role(self._role):
            for attempt, key in enumerate(mx.random.split(mx.random.key(moment.seed), ATTEMPTS)):
                note_key, reply_key = mx.random.split(key)
                notes = self._notes(moment, note_key if attempt else None)
                if not notes:
                    return TherapistFailure(
                        f"the session is longer than the {self._writer.tree.context} tokens that {self._loaded.name} reads; try "
                        "fewer turns (--max-turns), or a model with a longer context"
                    )
                found = self._reply(moment, dict(zip(self._fields, notes, strict=True)), reply_key)
                if isinstance(found, Reply):
                    return found
                faults.append(found)
        return TherapistFailure(f"{ATTEMPTS} attempts, none a whole turn: {'; '.join(faults)}")

    def _notes(self, moment: Moment, key: mx.array | None) -> tuple[str, ...]:
        """A text for each field, greedy without a key; () where the session is too long for the model."""
        prompt = note_prompt(moment.observation, moment.history, moment.believed, self._fields)
        bounds: Sequence[int] = [self._note_tokens] * len(self._fields)
        return self._writer.fill([prompt], [note_form(self._fields)], [bounds], key)[0]

    def _reply(self, moment: Moment, notes: dict[str, str], key: mx.array) -> Reply | str:
        """The turn, or what is wrong with it."""
        if empty := [name for name, words in notes.items() if not words.strip()]:
            return f"it wrote no {', '.join(empty)}"
        told = self._settings
        messages = with_thought(
            therapist_messages(
                moment.observation, moment.history, self._catalog, told.remembered_turns, told.beliefs_shown
            ),
            notes["gco"],
            notes["omo"],
        )
        prompt = Prompt(messages, chat_tokens(self._loaded.tokenizer, messages), moment.observation["client"])
        try:
            _, said = therapist_words(spoken(self._therapist.reply(prompt, key)), UnicodeText())
        except InvalidAction as error:
            return str(error)
        reply = Reply(notes.get("therapist_model", moment.believed), notes["gco"], notes["omo"], said)
        return reply.fault() or reply
