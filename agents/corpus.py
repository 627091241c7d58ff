"""What sessions teach: replies to learn, and pairs of replies to prefer among, each in the chat that it stands in.

A misstep is never learned from; where the session names a better reply in its place, that one is. A pair is a turn whose session
names another reply: the better of the two is chosen.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from agents.learner import Batch
from agents.lm.five_tuple import FORWARD, REVERSE, UHD, Session, SessionFileError, read_sessions
from agents.lm.generate import chat_tokens, without_special
from agents.prompts import Messages, therapist_messages
from client_graph.catalog import Catalog
from client_graph.names import CONFIGS
from judges.protocol import Turn

SHIPPED = CONFIGS / "sessions"
STANCE_OF = {"A": 0, "B": 1, "C": 2, "D": 2}
"""The stance that fits a phase where a session names phases; its first three turns build rapport (paper 414)."""
SETTLING = 3
_TOLD = re.compile(r"\([^()]*\)")


class View(NamedTuple):
    """Turns that are read before turn `turn` is answered, and in which order of time they stand."""

    turn: int
    before: tuple[int, ...]
    marker: str


@dataclass(frozen=True)
class Example:
    """One reply, or a pair of replies, in its chat. prompt, chosen, rejected: token ids; replies end with the stop token."""

    session: str
    turn: int
    system: str
    prompt: list[int]
    chosen: list[int]
    rejected: list[int] | None = None


def sessions_of(place: str | None) -> tuple[Session, ...]:
    """The sessions of a file or folder, or those that ship. Raises SessionFileError with every mistake, OSError."""
    path = SHIPPED if place is None else Path(place)
    found = read_sessions(path)
    problems = [
        f"{path}: session {session.id}: found no treatment_stage; expected one, since the therapist is told it"
        for session in found
        if session.treatment_stage is None
    ]
    if not found:
        problems.append(f"{path}: found no session; expected at least one")
    if problems:
        raise SessionFileError(problems, "read")
    return found


def digest(sessions: Sequence[Session]) -> str:
    """SHA-256 of the sessions, so that a run notices when they change."""
    return hashlib.sha256("\n".join(s.model_dump_json(exclude_none=True) for s in sessions).encode()).hexdigest()


def replies(sessions: Sequence[Session], chat: Chat) -> list[Example]:
    """What the therapists said, and what they should have said at a misstep where the session tells."""
    return [
        chat.example(session, within_session(t), said, None)
        for session in sessions
        for t, turn in enumerate(session.turns)
        if (said := _good(turn)) is not None
    ]


def pairs(sessions: Sequence[Session], chat: Chat, longest_window: int | None) -> list[Example]:
    """Every pair in its session (longest_window None: method A), or in every view of the curriculum (method B)."""
    found = []
    for session in sessions:
        for t, turn in enumerate(session.turns):
            if turn.counterfactual is None:
                continue
            said, other = turn.therapist_utterance, turn.counterfactual.therapist_utterance
            chosen, rejected = (other, said) if turn.counterfactual.better else (said, other)
            views = [within_session(t)] if longest_window is None else curriculum(t, len(session.turns), longest_window)
            found += [chat.example(session, view, chosen, rejected) for view in views]
    return found


def within_session(turn: int) -> View:
    """The turn after all that came before it."""
    return View(turn, tuple(range(turn)), "")


def curriculum(turn: int, turns: int, longest: int) -> Iterator[View]:
    """The views in which the curriculum shows a turn: UHD's expanding prefix (paper 285), and ADWC's windows that it ends.

    A window of odd length k runs forward, T - k + 1 ... T; one of even length backward, T + k - 1 ... T (paper 2096-2099).
    """
    yield View(turn, tuple(range(turn)), UHD)
    for k in range(1, longest + 1):
        if k % 2 == 1 and turn - k + 1 >= 0:
            yield View(turn, tuple(range(turn - k + 1, turn)), FORWARD)
        if k % 2 == 0 and turn + k - 1 < turns:
            yield View(turn, tuple(range(turn + k - 1, turn, -1)), REVERSE)


class Chat:
    """Puts a turn of a session into the chat that the therapist answers in self-play (agents/prompts.py).

    The numbers of the therapist's model of the client are not part of a session, so no beliefs are named.
    """

    def __init__(self, tokenizer: Any, catalog: Catalog, remembered: int) -> None:
        self._tokenizer, self._catalog, self._remembered = tokenizer, catalog, remembered
        self._stop = _stop_token(tokenizer)

    def example(self, session: Session, view: View, chosen: str, rejected: str | None) -> Example:
        """The turn's chat up to where the therapist speaks, and the reply or the pair."""
        messages = self.messages(session, view)
        return Example(
            session.id,
            view.turn,
            messages[0]["content"],
            chat_tokens(self._tokenizer, messages),
            self._reply(chosen),
            None if rejected is None else self._reply(rejected),
        )

    def messages(self, session: Session, view: View) -> Messages:
        """As in self-play; a view of the curriculum says what it is in the system message, with the session's header."""
        phases, at = session.session_phases, view.turn
        observation = {
            "client": heard(session.turns[at].client_utterance),
            "stage": session.treatment_stage,
            "stance": 0 if phases is None or at < SETTLING else STANCE_OF[phases[at]],
            "beliefs": self._catalog.start[0],
        }
        history = tuple(
            Turn(heard(session.turns[i].client_utterance), "", heard(session.turns[i].therapist_utterance))
            for i in view.before
        )
        remembered = len(history) if view.marker else self._remembered
        told, *rest = therapist_messages(observation, history, self._catalog, remembered, 0)
        if view.marker:
            head = [view.marker, f"Session number: {session.session_number}", session.client_profile]
            told = {**told, "content": "\n".join([str(line) for line in head if line] + [told["content"]])}
        return [told, *rest]

    def _reply(self, words: str) -> list[int]:
        plain = without_special(heard(words), self._tokenizer)
        return [*self._tokenizer.encode(plain, add_special_tokens=False), self._stop]


def batches(examples: Sequence[Example], size: int, rng: np.random.Generator | None) -> list[Batch]:
    """Batches of at most `size` replies or half as many pairs, each of one system message; drawn in a new order by `rng`."""
    order = np.arange(len(examples)) if rng is None else rng.permutation(len(examples))
    alike: dict[str, list[Example]] = {}
    for i in order.tolist():
        alike.setdefault(examples[i].system, []).append(examples[i])
    many = max(1, size // 2) if examples and examples[0].rejected is not None else size
    found = [one[i : i + many] for one in alike.values() for i in range(0, len(one), many)]
    if rng is not None:
        found = [found[i] for i in rng.permutation(len(found)).tolist()]
    return [batch(one) for one in found]


def batch(examples: Sequence[Example]) -> Batch:
    """The examples on what their prompts share; of pairs, all chosen replies first, then all rejected."""
    prompts = [one.prompt for one in examples]
    shared = _shared(prompts)
    said = [one.chosen for one in examples]
    if rejected := [one.rejected for one in examples if one.rejected is not None]:
        prompts, said = prompts * 2, said + rejected
    rest = [prompt[shared:] for prompt in prompts]
    return Batch(
        examples[0].prompt[:shared],
        [r + s for r, s in zip(rest, said, strict=True)],
        [len(r) for r in rest],
    )


def heard(words: str) -> str:
    """What can be heard of a line: without what is told in brackets, "(A long pause.)"; the line itself where nothing else is."""
    return " ".join(_TOLD.sub(" ", words).split()) or words


def _stop_token(tokenizer: Any) -> int:
    """The token that ends the assistant's turn: the one that the chat template writes after its words, else the tokenizer's end."""
    user, said = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
    before = len(tokenizer.apply_chat_template([user], add_generation_prompt=True, tokenize=True))
    whole = list(tokenizer.apply_chat_template([user, said], add_generation_prompt=False, tokenize=True))
    written = [token for token in whole[before:] if token in set(tokenizer.eos_token_ids)]
    return int(written[0] if written else tokenizer.eos_token_id)


def _shared(prompts: list[list[int]]) -> int:
    """How many tokens all prompts begin with."""
    least, most = min(prompts), max(prompts)
    limit = min(map(len, prompts))
    return next((i for i in range(limit) if least[i] != most[i]), limit)


def _good(turn: Any) -> str | None:
    if not turn.misstep:
        return str(turn.therapist_utterance)
    other = turn.counterfactual
    return str(other.therapist_utterance) if other is not None and other.better else None
