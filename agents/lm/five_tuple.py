"""What a session of training data holds: 5-tuple turns with their factors, read from and written to JSON lines.

Turn(t) = (tau_t^C, U_t^C, M_t^T, Theta_t^T, U_t^T),    Theta_t = Gamma_t || Omega_t        (paper 240)

One session a line; fine-tuning, preferences and pre-training read the same file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from agents.lm.files import write_whole

AttachmentStrategy = Literal[
    "A1", "A2", "A3", "A4", "A5", "A6", "A7", "A8",
    "B0", "B1", "B2", "B3", "B4", "B5",
    "C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8",
]  # fmt: skip
"""The 22 strategies of Crittenden's Dynamic-Maturational Model (paper 1688-1691)."""

Phase = Literal["A", "B", "C", "D"]
"""In-session phases: Defended, Opening, Core Access, Integration (paper 378-379)."""


School = Literal[
    "person_centred", "emotion_focused", "psychodynamic", "cognitive_behavioural", "acceptance_commitment",
    "dialectical_behavioural", "schema", "mentalization_based", "trauma_phase_oriented", "existential",
]  # fmt: skip
"""Ten schools of psychotherapy; the paper's own list of ontologies is not printed."""

UHD, FORWARD, REVERSE = "[UHD: SESSION]", "[ADWC: FORWARD TEMPORAL ORDER]", "[ADWC: REVERSE TEMPORAL ORDER]"
"""The first line of a sample: an expanding prefix, or a window in one direction of time (paper 2099-2105)."""


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("expected words; the paper's turn carries all of its components")
    if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
        raise ValueError("found half a character (a lone surrogate), which no file holds; expected whole ones")
    return text


def _not_empty(turns: tuple[Turn, ...]) -> tuple[Turn, ...]:
    # Not Field(min_length=1): that would also call turns empty where one of them is mistaken.
    if not turns:
        raise ValueError("expected at least one turn")
    return turns


Words = Annotated[str, AfterValidator(_not_blank)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class TherapistReasoning(_Strict):
    """Theta = Gamma || Omega, the therapist's chain-of-thought: two chains, the first before the second (paper 240)."""

    gco: Words = Field(
        description="Gamma, General Context Orientation: session-level reasoning, formulation, strategy."
    )
    omo: Words = Field(
        description="Omega, Ontologically-guided Modality Orientation: theoretically grounded intervention ideas."
    )


Place = Literal["client_reasoning", "client_utterance", "therapist_model", "gco", "omo", "therapist_utterance"]
"""Where words stand in a turn; the therapist's reasoning is two places (paper 240)."""


class Span(_Strict):
    """Words of a turn that say something about it: a text-span factor (paper 2088)."""

    kind: Literal["insight", "framework", "intervention"] = Field(
        description="A key assessment insight, a reference to a theory, or an intervention's marker (paper 2088)."
    )
    place: Place = Field(description="The component that the words stand in.")
    text: Words = Field(description="The words, as they stand there.")


class Counterfactual(_Strict):
    """Another reply at the same moment, and why it would have served this client better or worse (paper 163, 275)."""

    therapist_utterance: Words = Field(description="What the therapist might have said.")
    better: bool = Field(description="Whether it is better than what was said; nearly always it is not.")
    reason: Words = Field(description="Why, as a supervisor would say it.")


class Turn(_Strict):
    """One turn, its five components in the paper's order (paper 240). No component may be blank (paper 241)."""

    client_reasoning: Words = Field(description="tau^C, the client's chain-of-thought.")
    client_utterance: Words = Field(description="U^C, what the client says.")
    therapist_model: Words = Field(description="M^T, the therapist's model of the client (TMoC).")
    therapist_reasoning: TherapistReasoning = Field(description="Theta^T, the therapist's chain-of-thought.")
    therapist_utterance: Words = Field(description="U^T, what the therapist says.")
    misstep: bool | None = Field(
        None, description="What the therapist says is a mistake that the session shows as one; not to be imitated."
    )
    counterfactual: Counterfactual | None = Field(None, description="Another reply at this moment (paper 163, 275).")
    spans: tuple[Span, ...] | None = Field(None, description="Text-span factors (paper 2088).")

    def words(self, place: Place) -> str:
        """The words of one component."""
        return str(getattr(self.therapist_reasoning if place in ("gco", "omo") else self, place))

    @model_validator(mode="after")
    def _spans_stand_in_the_turn(self) -> Turn:
        lost = [
            f"{span.text!r} in {span.place}" for span in self.spans or () if span.text not in self.words(span.place)
        ]
        if lost:
            raise ValueError(f"spans that are not there word for word: {'; '.join(lost)}")
        return self


Told = bool | int | float | str
"""A plain value that a program was told."""

SHA256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Maker(_Strict):
    """Who spoke for one side of a session that programs played."""

    name: Words = Field(description="What it is called, such as authored, chosen or written for a client.")
    model: Words | None = Field(None, description="The language model behind it; absent where none took part.")
    base: SHA256 | None = Field(None, description="SHA-256 of that model's weights.")
    adapter: SHA256 | None = Field(None, description="SHA-256 of the adapter's arrays; absent for the bare model.")
    settings: dict[str, Told] | None = Field(None, description="What it was told to speak with.")


class Origin(_Strict):
    """How a session was made that was played in the simulator: no word of it was said by a person, or to one.

    The same origin gives the same session, on the same machine and release.
    """

    simulated: Literal[True] = Field(description="Always true: a session of people has no origin of this kind.")
    environment: Words = Field(description="The environment's name.")
    arguments: dict[str, Told] = Field(description="What it was made and begun with; what was left open is absent.")
    tables: SHA256 = Field(description="SHA-256 of the client tables.")
    seed: int = Field(ge=0, description="Everything that was drawn in the session follows from it.")
    client: Maker = Field(description="Who wrote client_reasoning and client_utterance.")
    therapist: Maker = Field(description="Who wrote gco, omo and therapist_utterance.")
    therapist_model: Literal["beliefs", "written"] = Field(
        description="Who wrote therapist_model. beliefs: the numbers that the environment holds for the therapist's beliefs, in "
        "sentences of its tables; written: the therapist, in one turn at least."
    )
    judge: Words = Field(description="Whose scores moved the client; no word of the session is the judge's.")


class Session(_Strict):
    """A session of at least one turn, with what the UHD header shows (paper 2105) and the multiclass factors (paper 2086).

    A label that is not known is absent; none has a default.
    """

    id: Words = Field(description="Unique in its file.")
    turns: Annotated[tuple[Turn, ...], AfterValidator(_not_empty)] = Field(
        description="The turns in the order they were spoken."
    )
    session_number: int | None = Field(None, ge=1, description="Which session of the treatment, from 1 (paper 2105).")
    client_profile: Words | None = Field(None, description="Client profile summary (paper 2105).")
    treatment_stage: int | None = Field(None, ge=1, le=4, description="Treatment stage, 1 to 4 (paper 2086).")
    attachment_strategy: AttachmentStrategy | None = Field(
        None, description="The paper's 'attachment style (22 DMM categories)' (paper 2086, 1688)."
    )
    school: School | None = Field(None, description="The therapist's school, from which its interventions come.")
    defenses: tuple[Words, ...] | None = Field(None, description="Active defences (paper 2087).")
    focus: tuple[Words, ...] | None = Field(None, description="Working focus areas (paper 2087).")
    issues: tuple[Words, ...] | None = Field(None, description="Probable issues (paper 2087).")
    strengths: tuple[Words, ...] | None = Field(None, description="Character strengths (paper 2087).")
    session_phases: tuple[Phase, ...] | None = Field(
        None,
        description="The paper's 'session phase', one a turn: a session moves through its phases (paper 379, 2086).",
    )
    origin: Origin | None = Field(
        None, description="How it was made, where it was played in the simulator; nothing that learns reads it."
    )

    @model_validator(mode="after")
    def _a_phase_for_each_turn(self) -> Session:
        if self.session_phases is not None and len(self.session_phases) != len(self.turns):
            raise ValueError(f"session_phases holds {len(self.session_phases)}, expected {len(self.turns)}: one a turn")
        return self


class SessionFileError(ValueError):
    """Lines of a session file are not sessions. `problems` lists every mistake, each with file:line."""

    def __init__(self, problems: Iterable[str], done: str) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        head = f"{count} problem{'s' if count != 1 else ''} in the sessions; none was {done}:"
        super().__init__("\n  - ".join((head, *self.problems)))


def read_sessions(path: Path | str) -> tuple[Session, ...]:
    """The sessions of a JSON-lines file, in file order, or of a folder with one session in each .json, by name.

    An empty file or folder holds none. Raises SessionFileError listing every mistake, OSError if it cannot be read.
    """
    path = Path(path)
    sessions, problems = _parse_folder(path) if path.is_dir() else _parse(path.read_bytes(), path)
    if problems:
        raise SessionFileError(problems, "read")
    return sessions


def split(sessions: Sequence[Session], held_out: int) -> tuple[list[Session], list[Session]]:
    """(to learn from, held out), both in the order given: those are held out whose id has the lowest SHA-256.

    The same sessions for every seed and every way of training, or one would learn from what tells another what it has learned.
    Raises SessionFileError if nothing is left to learn from.
    """
    if held_out >= len(sessions):
        problem = f"corpus.held_out = {held_out} of {len(sessions)} sessions; expected some left to learn from"
        raise SessionFileError([problem], "learned from")
    out = set(sorted((s.id for s in sessions), key=lambda name: hashlib.sha256(name.encode()).digest())[:held_out])
    return [s for s in sessions if s.id not in out], [s for s in sessions if s.id in out]


def write_sessions(path: Path | str, sessions: Iterable[Session]) -> None:
    """Write one session a line, whole or not at all; what `read_sessions` would refuse is not written.

    Raises SessionFileError (line numbers as they would have been), OSError if the disk refuses.
    """
    data = "".join(map(session_line, sessions)).encode()
    _, problems = _parse(data, path)
    if problems:
        raise SessionFileError(problems, "written")
    write_whole(path, data)


def session_line(session: Session) -> str:
    """The session as a line of a JSON-lines file, with its end; what is not known has no key."""
    return session.model_dump_json(exclude_none=True) + "\n"


def _parse(data: bytes, path: Path | str) -> tuple[tuple[Session, ...], list[str]]:
    """(sessions, mistakes). Lines end at \\n only: U+2028 and its like are words inside a JSON string."""
    sessions: list[Session] = []
    problems: list[str] = []
    first_line: dict[str, int] = {}
    for number, line in enumerate(data.removesuffix(b"\n").split(b"\n") if data else (), start=1):
        session, mistakes = _session(line)
        problems += [f"{path}:{number}: {mistake}" for mistake in mistakes]
        if session is None:
            continue
        first = first_line.setdefault(session.id, number)
        if first != number:
            problems.append(
                f"{path}:{number}: id: found {session.id!r} again, first at line {first}; give each its own"
            )
        sessions.append(session)
    return tuple(sessions), problems


def _parse_folder(folder: Path) -> tuple[tuple[Session, ...], list[str]]:
    """As `_parse`, from files of one session each, which may run over lines."""
    sessions: list[Session] = []
    problems: list[str] = []
    first: dict[str, Path] = {}
    for file in sorted(folder.glob("*.json")):
        session, mistakes = _session(file.read_bytes())
        problems += [f"{file}: {mistake}" for mistake in mistakes]
        if session is None:
            continue
        if (seen := first.setdefault(session.id, file)) != file:
            problems.append(f"{file}: id: found {session.id!r} again, first in {seen.name}; give each its own")
        sessions.append(session)
    return tuple(sessions), problems


def _session(line: bytes) -> tuple[Session | None, list[str]]:
    """The session of one line, or None, and every mistake of the line."""
    if not line.strip():
        return None, ["found nothing but white space, expected a session as a JSON object; remove it"]
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return None, [f"not UTF-8 text ({error.reason} at byte {error.start} of the line); save the file as UTF-8"]
    try:
        session = Session.model_validate_json(text)
    except ValidationError as error:
        mistakes = [_mistake(dict(found)) for found in error.errors()]
        broken = error.errors()[0]["type"] == "json_invalid"
        return None, mistakes if broken else mistakes + _repeated_keys(text)
    return session, _repeated_keys(text)


def _mistake(error: dict[str, Any]) -> str:
    """One of pydantic's errors as: place, what was found, what was expected. Long words are cut."""
    place = ".".join(str(part) for part in error["loc"]) or "session"
    if error["type"] == "json_invalid":
        return f"found no JSON ({error['msg']}); expected one session as a JSON object"
    if error["type"] == "missing":
        return f"{place}: missing; expected this key"
    if error["type"] == "extra_forbidden":
        return f"{place}: unknown key; remove it or correct its spelling"
    message = error["msg"].removeprefix("Value error, ")
    if not error["loc"] and error["type"] == "value_error":
        return f"session: {message}"
    shown = repr(error["input"])
    return f"{place}: found {shown if len(shown) <= 60 else shown[:57] + '...'}; {message}"


def _repeated_keys(text: str) -> list[str]:
    """A key given twice in one object, of which JSON readers silently keep the last."""
    mistakes: list[str] = []

    def check(pairs: list[tuple[str, object]]) -> None:
        keys = [key for key, _ in pairs]
        mistakes.extend(
            f"{key}: key given {keys.count(key)} times in one object"
            for key in dict.fromkeys(keys)
            if keys.count(key) > 1
        )

    # Numbers stay text: an integer of thousands of digits is pydantic's to refuse, not int()'s.
    json.loads(text, object_pairs_hook=check, parse_int=str, parse_float=str)
    return mistakes
