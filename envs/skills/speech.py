"""Words for a client of numbers: what a voice makes of the sessions, for `info` and for people. They change nothing."""

from typing import Any

import numpy as np

from client_graph.catalog import Catalog
from client_graph.client import ClientGraph
from client_graph.names import DIMENSIONS
from envs.skills.outcome import ENDINGS
from envs.skills.sessions import Sessions, Turned
from envs.skills.snapshot import Talk, set_chance
from envs.text import UnicodeText
from envs.types import ClientFailed
from envs.voice import AuthoredVoice, ClientVoice, SpeakingTurn, Utterance, VoiceFailure, moment_of
from judges.protocol import Turn

_TEXT = UnicodeText()  # what a client may say


class Speech:
    """One session's talk. The voice has a generator of its own, so that words do not shift the client's chance."""

    def __init__(self, voice: ClientVoice) -> None:
        self.voice = voice
        self.history: tuple[Turn, ...] = ()
        self._said = ""
        self._rng = np.random.default_rng(0)

    def begin(self, sessions: Sessions) -> dict[str, Any]:
        """What the client opens with. Their talk is a function of the session's chance, so no two sessions are talked alike."""
        self.history, self._rng = (), np.random.default_rng(int(sessions.running.chance[0]))
        return self._speak(sessions.view(0), "opening")

    def answer(self, sessions: Sessions, turned: Turned, emphasis: np.ndarray) -> dict[str, Any]:
        """What the client says to a turn of this `emphasis` (1, 12)."""
        spent = sessions.response.within_budget(emphasis[0])
        told = ", ".join(f"{name} {share:.1f}" for name, share in zip(DIMENSIONS, spent, strict=True) if share >= 0.05)
        self.history = (*self.history, Turn(self._said, "", f"[emphasis: {told or 'none'}]"))
        ending = ENDINGS[turned.result.ending[0]]
        if ending is None:
            moment = moment_of(sessions.report, float(turned.scores[0].mean()))
        else:
            moment = "hurt" if ending == "left" else "closing"
        return self._speak(sessions.view(0), moment)

    def keep(self) -> Talk:
        """The talk as it stands, for `restore`."""
        return Talk(self.history, self._said, self._rng.bit_generator.state)

    def restore(self, talk: Talk) -> None:
        """Back to what `keep` gave. Raises ValueError for the state of another kind of generator, with all as it was."""
        rng = np.random.default_rng(0)
        set_chance([rng], [talk.chance])
        self.history, self._said, self._rng = talk.history, talk.said, rng

    def _speak(self, view: ClientGraph, moment: str) -> dict[str, Any]:
        assert view.person is not None
        said = self.voice.speak([SpeakingTurn(view, view.person, moment, self.history, self._rng)])
        if not isinstance(said, list | tuple) or len(said) != 1 or not isinstance(said[0], Utterance | VoiceFailure):
            raise TypeError(
                f"client voice {self.voice.name} returned {said!r:.200}; expected a list of one Utterance or VoiceFailure"
            )
        words = said[0]
        if isinstance(words, VoiceFailure):
            raise self._failed(f"gave no words: {words.reason}")
        if (fault := _TEXT.fault(words.text)) is not None:
            raise self._failed(f"said what is no text of ours: {fault}")
        self._said = words.text
        return {"client": words.text, "client_reasoning": words.reasoning}

    def _failed(self, reason: str) -> ClientFailed:
        return ClientFailed.of(f"client voice {self.voice.name}", {0: reason}, 1)


def speech_of(client: Any, catalog: Catalog) -> Speech | None:
    """The talk of a client "silent" (none), "authored" or a ClientVoice."""
    if isinstance(client, str):
        return Speech(AuthoredVoice(catalog)) if client == "authored" else None
    return Speech(client)
