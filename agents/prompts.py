"""What each role is told, from configs/agents/prompts.toml. Each text is filled once and never expanded again."""

import tomllib
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np

from client_graph.catalog import Catalog
from client_graph.graph import tightness
from client_graph.names import CONFIGS, DIMENSIONS, STAGE_NAMES, STANCES
from client_graph.personhood import Person
from judges.protocol import Judgement, Turn
from judges.templates import fenced

Messages = list[dict[str, str]]

BELIEFS_SAID = 3  # as many as the client's own reasoning tells of (envs/voice.py)


@cache
def _texts() -> dict[str, Any]:
    return tomllib.loads((CONFIGS / "agents" / "prompts.toml").read_text(encoding="utf-8"))


def _message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def strongest_beliefs(beliefs: np.ndarray, catalog: Catalog, count: int) -> list[str]:
    """Names of the nodes that the therapist believes furthest from health, by weight; beliefs (n,) in [0, 10]."""
    return [catalog.node_names[n].replace("_", " ") for n in _strongest(beliefs, catalog, count)]


def _strongest(beliefs: np.ndarray, catalog: Catalog, count: int) -> list[int]:
    order = np.argsort(-tightness(beliefs, catalog.tables) * catalog.tables.nodes["share"], kind="stable")
    return [int(n) for n in order[:count]]


def believed(beliefs: np.ndarray, catalog: Catalog, count: int = BELIEFS_SAID) -> str:
    """The `count` strongest beliefs as the therapist would say them: number and the tables' sentence of each; (n,) in [0, 10]."""
    told = _texts()["notes"]
    sentences = []
    for n in _strongest(beliefs, catalog, count):
        row = catalog.nodes[n]
        sentences.append(
            told["believed_node"].format(
                name=row.name.replace("_", " ").capitalize(),
                level=beliefs[n],
                sentence=row.high if beliefs[n] >= 5.0 else row.low,
            )
        )
    return str(told["believed"].format(sentences=" ".join(sentences)))


def note_form(fields: Sequence[str]) -> tuple[str, ...]:
    """What stands before each note of `fields`: JSON up to the quotation mark after which its words begin."""
    first, *later = (f'"{_texts()["notes"]["fields"][field][0]}": "' for field in fields)
    return ("{" + first, *('", ' + opening for opening in later))


def note_prompt(observation: dict[str, Any], history: tuple[Turn, ...], said: str, fields: Sequence[str]) -> str:
    """What the therapist is asked before it answers: notes for `fields`, after all that was said in the session.

    said: its model of the client in words (`believed`). What client and therapist said is fenced.
    """
    told = _texts()["notes"]
    lines = [
        told[who].format(words=fenced(words))
        for turn in history
        for who, words in (("client", turn.client), ("therapist", turn.therapist))
    ]
    asked = [f'- "{name}": {ask}' for name, ask in (told["fields"][field] for field in fields)]
    return str(
        told["ask"].format(
            stage=STAGE_NAMES[int(observation["stage"]) - 1].lower(),
            session=int(observation["session"]),
            stance=_texts()["therapist"]["stance"][STANCES[int(observation["stance"])]],
            believed=said,
            said=told["said"].format(lines="\n".join(lines)) if lines else "",
            client=fenced(observation["client"]),
            fields="\n".join(asked),
        )
    )


def with_thought(messages: Messages, gco: str, omo: str) -> Messages:
    """The therapist's chat, in which it has thought both chains of its reasoning before it answers."""
    told, *rest = messages
    return [_message("system", told["content"] + _texts()["notes"]["thought"].format(gco=gco, omo=omo)), *rest]


def therapist_messages(
    observation: dict[str, Any], history: tuple[Turn, ...], catalog: Catalog, remembered: int, beliefs_shown: int
) -> Messages:
    """The chat in which the therapist answers: what it may know of the client, an example of the form, the last turns."""
    told = _texts()["therapist"]
    named = strongest_beliefs(observation["beliefs"], catalog, beliefs_shown)
    system = told["system"].format(
        stage=STAGE_NAMES[int(observation["stage"]) - 1].lower(),
        stance=told["stance"][STANCES[int(observation["stance"])]],
        beliefs=told["beliefs"].format(names=", ".join(named)) if named else "",
    )
    messages = [_message("system", system)]
    messages += [_message("user", told["example"]["client"]), _message("assistant", told["example"]["therapist"])]
    for turn in history[max(0, len(history) - remembered) :]:
        messages += [_message("user", turn.client), _message("assistant", turn.therapist)]
    return [*messages, _message("user", observation["client"])]


def correction_messages(messages: Messages, reply: str, judgement: Judgement) -> Messages:
    """The same chat, in which the therapist has been told both supervisors' view of its reply (paper 420)."""
    notes = _texts()["correction"]["notes"].format(
        reply=reply,
        strengths=", ".join(_named(judgement.kind.scores, 2, best=True)) + ".",
        kind=" ".join(judgement.kind.recommendations[:2]),
        harsh=f"weakest in {', '.join(_named(judgement.harsh.scores, 2, best=False))}.",
    )
    told, *rest = messages
    return [_message("system", told["content"] + notes), *rest]


def _named(scores: np.ndarray, count: int, *, best: bool) -> list[str]:
    order = np.argsort(-scores if best else scores, kind="stable")[:count]
    return [DIMENSIONS[d].replace("_", " ") for d in order]


def any_client_messages() -> Messages:
    """A chat in which somebody, anybody, is a client: what a line is compared with to see what the dialogue adds."""
    told = _texts()["client"]
    return [_message("system", told["anyone"]), _message("user", told["invitation"])]


def client_messages(
    person: Person, phase: str, moment: str, history: tuple[Turn, ...], inner: str = "", remembered: int = 4
) -> Messages:
    """The chat in which the model is the client: roles turned, so that its own words are the assistant's.

    moment: how the last reply landed (envs/voice.py). inner: what is true of the client and not said aloud.
    """
    told = _texts()["client"]
    system = told["system"].format(
        name=person.name,
        concern=person.concern.replace("_", " "),
        history=person.history,
        manner=person.manner,
        phase=told["phase"][phase],
        moment=told["moment"][moment],
        inner=told["inner"].format(truth=inner) if inner else "",
    )
    messages = [_message("system", system), _message("user", told["invitation"])]
    for turn in history[-remembered:]:
        messages += [_message("assistant", turn.client), _message("user", turn.therapist)]
    return messages
