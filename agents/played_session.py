"""Sessions of icarus/Session-v0 in 5-tuple form, whoever plays the therapist.

    Turn(t) = (tau^C, U^C, M^T, Gamma || Omega, U^T)        (paper 240)

    tau^C, U^C     the client's, as the environment tells them (envs/voice.py)
    M^T            the therapist's: its own words, or what the environment holds for its beliefs, in sentences of the tables
    Gamma, Omega   the therapist's, thought before it speaks
    U^T            the therapist's words, which the client hears

Nothing is filled in. A session in which one component is missing is left out whole, with the reason. Labels are what the run
knows: what it does not know (the school, the focus of the work, other replies, spans) is absent.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, TypeVar

import gymnasium as gym
import numpy as np
from gymnasium.error import InvalidAction
from pydantic import ValidationError

from agents.lm.five_tuple import Maker, Origin, Phase, Session, TherapistReasoning, Turn
from agents.lm.session_file import GrowingSessions
from agents.prompts import believed
from client_graph.catalog import Catalog
from client_graph.personhood import Person
from envs.session import SessionEnv
from envs.text import UnicodeText, therapist_words
from envs.treatment import TreatmentEnv
from envs.types import ClientFailed, JudgeFailed
from judges.protocol import Turn as Said

ENVIRONMENT = "icarus/Session-v0"
T = TypeVar("T")
DEFENCES, HIGH = "defense_organization", 5.0  # the domain, and from where on the tables' high sentence is the true one


@dataclass(frozen=True)
class Moment:
    """What a therapist may know when it answers; nothing of the client's truth.

    observation: the environment's (`client`, `turn`, `session`, `stage`, `stance`, `beliefs`). history: the turns before, oldest
    first, with its own reasoning. believed: its beliefs in words of the tables. seed: 63 bits, from which all follows that is
    drawn for this answer.
    """

    observation: dict[str, Any]
    history: tuple[Said, ...]
    believed: str
    seed: int


@dataclass(frozen=True)
class Reply:
    """The therapist's three components of a turn. therapist_model: `Moment.believed` where it has no words of its own."""

    therapist_model: str
    gco: str
    omo: str
    utterance: str

    def fault(self) -> str | None:
        """What keeps it from being a turn, in words; None for a whole one."""
        parts = {"therapist_model": self.therapist_model, "gco": self.gco, "omo": self.omo, "utterance": self.utterance}
        if wrong := [name for name, words in parts.items() if not isinstance(words, str) or not words.strip()]:
            return f"it gave no {', '.join(wrong)}"
        try:
            heard = therapist_words(self.action, UnicodeText())
        except InvalidAction as error:
            return str(error)
        if heard != (self.reasoning, self.utterance.strip()):
            return "its words hold a mark of unspoken thinking, so that the client would hear another part of them"
        return None

    @property
    def reasoning(self) -> str:
        """Gamma || Omega (paper 240)."""
        return f"{self.gco.strip()}\n\n{self.omo.strip()}"

    @property
    def action(self) -> str:
        """What the environment is told: the judge reads the reasoning, the client hears the words."""
        return f"<think>{self.reasoning}</think>{self.utterance.strip()}"


@dataclass(frozen=True)
class TherapistFailure:
    """There is no answer to this moment, and why: the session is left out, never filled in."""

    reason: str


class TherapistBackend(Protocol):
    """Whoever answers clients: a model (agents/noting.py), a script, a program behind an interface.

    maker: what is kept of it in each session. The same moment gives the same answer.
    """

    @property
    def maker(self) -> Maker: ...

    def answer(self, moment: Moment) -> Reply | TherapistFailure: ...


@dataclass(frozen=True)
class LeftOut:
    """A session that could not be played to its end, and why."""

    seed: int
    reason: str


class SessionsLeftOut(RuntimeError):
    """Fewer sessions were recorded than asked for."""

    def __init__(self, left: Sequence[LeftOut], asked: int, path: Path) -> None:
        first = left[0]
        where = f"the other {asked - len(left)} are in {path}" if len(left) < asked else f"{path} is as it was"
        super().__init__(
            f"{len(left)} of {asked} sessions were left out, the first with seed {first.seed}: {first.reason}. Nothing is made up: "
            f"{where}. Try other seeds, or another model"
        )


class _Failed(Exception):
    """A turn that is none."""


@dataclass(frozen=True)
class Recorder:
    """Plays sessions and keeps them. A session follows from its seed alone, whatever was played before (but for rounding in a model
    that keeps what it has read).

    env: icarus/Session-v0, wrapped or not; TypeError for another, in which a session is something else, and ValueError for a
    client without words. client: what is kept of who speaks for it; none: the voice's name. wishes: stage, strategy and
    concern of every client, None to draw them; of a wish that nobody fulfils the environment's ValueError passes through.
    """

    env: gym.Env[Any, Any]
    therapist: TherapistBackend
    client: Maker | None = None
    wishes: Mapping[str, str | int | None] = field(default_factory=dict)

    def __post_init__(self) -> None:
        inner: Any = self.env.unwrapped
        if not isinstance(inner, SessionEnv) or isinstance(inner, TreatmentEnv):
            raise TypeError(f"found {inner}; expected {ENVIRONMENT}, whose episode is one session")
        if inner.voice.name == "silent":
            raise ValueError("found a client without words; expected a voice: authored, or one of agents/client.py")

    @property
    def session_env(self) -> SessionEnv:
        """The environment itself, without wrappers."""
        inner = self.env.unwrapped
        assert isinstance(inner, SessionEnv)
        return inner

    @cached_property
    def _origin(self) -> dict[str, Any]:
        """What is kept of how a session is made, but for its seed and who wrote the model of the client."""
        inner = self.session_env
        asked = {"max_turns": inner.max_turns, "stage": inner.stage, **self.wishes}
        return {
            "simulated": True,
            "environment": ENVIRONMENT,
            "arguments": {name: told for name, told in asked.items() if told is not None}
            | inner.settings.model_dump(exclude_defaults=True),
            "tables": inner.catalog.hash(),
            "client": self.client or Maker(name=inner.voice.name),
            "therapist": self.therapist.maker,
            "judge": inner.judge.name,
        }

    def id_of(self, seed: int) -> str:
        """The id of the session with that seed: another way of making it has another id."""
        plain = {name: _plain(value) for name, value in self._origin.items()}
        digest = hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
        return f"simulated-{digest[:12]}-seed-{seed}"

    def play(self, seed: int, on_turn: Callable[[], None] = lambda: None) -> Session | LeftOut:
        """The session with that seed (>= 0); on_turn is called after each turn.

        What fails in client, judge or therapist leaves the session out; TypeError where the therapist broke its protocol, and
        what it raises passes through.
        """
        origin = Origin(**self._origin, seed=seed, therapist_model="written")  # refused before anything is played
        try:
            return self._played(origin, on_turn)
        except (JudgeFailed, ClientFailed, _Failed) as failure:
            return LeftOut(seed, str(failure))

    def _played(self, origin: Origin, on_turn: Callable[[], None]) -> Session:
        seed = origin.seed
        observation, info = self.env.reset(seed=seed, options=dict(self.wishes))
        known = _known(info["person"], info["levels"], observation, self.session_env.catalog)
        turns: list[Turn] = []
        phases: list[Phase] = []
        all_beliefs, over = True, False
        while not over:
            moment = Moment(
                observation,
                self.session_env.history,
                believed(observation["beliefs"], self.session_env.catalog),
                _turn_seed(seed, len(turns)),
            )
            reply = self._answered(moment, len(turns) + 1)
            heard, kept, phase = observation["client"], info["client_reasoning"], info["phase"]
            observation, _, terminated, truncated, info = self.env.step(reply.action)
            turns.append(_whole(lambda: _turn(heard, kept, reply, info)))  # noqa: B023  called at once
            phases.append(phase)
            all_beliefs &= reply.therapist_model == moment.believed
            over = terminated or truncated
            on_turn()
        if all_beliefs:
            origin = origin.model_copy(update={"therapist_model": "beliefs"})
        made = {
            "id": self.id_of(seed),
            "turns": tuple(turns),
            "session_phases": tuple(phases),
            "origin": origin,
            **known,
        }
        return _whole(lambda: Session(**made))

    def _answered(self, moment: Moment, turn: int) -> Reply:
        """The therapist's answer. Raises _Failed where there is none."""
        name = self.therapist.maker.name
        found = self.therapist.answer(moment)
        if isinstance(found, TherapistFailure):
            raise _Failed(f"turn {turn}: the therapist {name} failed: {found.reason}")
        if not isinstance(found, Reply):
            raise TypeError(
                f"the therapist {name} returned a {type(found).__name__}; expected a Reply or a TherapistFailure"
            )
        if fault := found.fault():
            raise _Failed(f"turn {turn}: the therapist {name} gave no whole turn: {fault}")
        return found


def record(
    recorder: Recorder,
    file: GrowingSessions,
    seeds: Iterable[int],
    on_turn: Callable[[], None] = lambda: None,
    on_session: Callable[[Session | LeftOut], None] = lambda found: None,
) -> list[LeftOut]:
    """Play a session with each seed and write it when it is whole; returns those that were left out.

    Stopped at any time, by an exception, Ctrl-C or a kill, the file holds the whole sessions so far. Raises SessionFileError,
    before anything is played, where the file holds one of these sessions already.
    """
    seeds = list(seeds)
    file.expect_free([recorder.id_of(seed) for seed in seeds])
    left = []
    for seed in seeds:
        found = recorder.play(seed, on_turn)
        if isinstance(found, LeftOut):
            left.append(found)
        else:
            file.add(found)
        on_session(found)
    return left


def _known(person: Person, levels: np.ndarray, observation: dict[str, Any], catalog: Catalog) -> dict[str, Any]:
    """The labels that the environment knows when a session begins; levels (n,) in [0, 10], the client's true ones."""
    return {
        # A client who is met in the middle of a treatment has had sessions that nobody counted.
        "session_number": int(observation["session"]) if observation["stage"] == 1 else None,
        "client_profile": person.describe(assessed=False),  # strategy and strengths are labels to learn
        "treatment_stage": int(observation["stage"]),
        "attachment_strategy": person.strategy,
        "defenses": tuple(
            _spaced(row.name)
            for row, level in zip(catalog.nodes, levels, strict=True)
            if row.domain == DEFENCES and row.direction == "decrease" and level >= HIGH
        ),
        "issues": (_spaced(person.concern),),
        "strengths": tuple(_spaced(strength.name) for strength in person.strengths),
    }


def _whole(make: Callable[[], T]) -> T:
    """What is made; raises _Failed where its words are no text, those of a client's own voice among them."""
    try:
        return make()
    except ValidationError as error:
        raise _Failed("; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())) from error


def _turn(heard: str, kept: str, reply: Reply, after: dict[str, Any]) -> Turn:
    """heard, kept: the client's words and reasoning that the reply answers. after: the info of the step that it made."""
    return Turn(
        client_reasoning=kept,
        client_utterance=heard,
        therapist_model=reply.therapist_model.strip(),
        therapist_reasoning=TherapistReasoning(gco=reply.gco.strip(), omo=reply.omo.strip()),
        therapist_utterance=reply.utterance.strip(),
        # Not False elsewhere: that a reply did no harm does not make it right.
        misstep=True if after["rupture"] or after["violations"] else None,
    )


def _turn_seed(seed: int, turn: int) -> int:
    return int(np.random.SeedSequence((seed, turn)).generate_state(1, np.uint64)[0] >> 1)


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json") if isinstance(value, Maker) else value


def _spaced(name: str) -> str:
    return name.replace("_", " ")
