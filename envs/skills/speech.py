"""Words for a client of numbers: what a voice makes of the sessions, for `info` and for people. They change nothing."""

from typing import Any

import numpy as np

from client_graph.catalog import Catalog
from client_graph.client import ClientGraph
from client_graph.names import DIMENSIONS
from envs.skills.outcome import ENDINGS
from envs.skills.sessions import Sessions, Turned
from envs.types import ClientFailed
from envs.voice import AuthoredVoice, ClientVoice, SpeakingTurn, VoiceFailure, moment_of
from judges.protocol import Turn


class Speech:
    """One session's talk. The voice has a generator of its own, so that words do not shift the client's chance."""

    def __init__(self, voice: ClientVoice) -> None:
        self.voice = voice
        self.history: tuple[Turn, ...] = ()
        self._said = ""
        self._rng = np.random.default_rng(0)

    def begin(self, sessions: Sessions) -> dict[str, Any]:
        """What the client opens with."""
        self.history, self._rng = (), np.random.default_rng(int(sessions.words[0]))
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

    def _speak(self, view: ClientGraph, moment: str) -> dict[str, Any]:
        assert view.person is not None
        said = self.voice.speak([SpeakingTurn(view, view.person, moment, self.history, self._rng)])[0]
        if isinstance(said, VoiceFailure):
            raise ClientFailed(f"client voice {self.voice.name} gave no words: {said.reason}")
        self._said = said.text
        return {"client": said.text, "client_reasoning": said.reasoning}


def speech_of(client: Any, catalog: Catalog) -> Speech | None:
    """The talk of a client "silent" (none), "authored" or a ClientVoice. Raises ValueError."""
    if client == "silent":
        return None
    if client == "authored":
        return Speech(AuthoredVoice(catalog))
    if isinstance(client, str) or not callable(getattr(client, "speak", None)):
        raise ValueError(f'found client {client!r}; expected "silent", "authored", or a ClientVoice')
    return Speech(client)
