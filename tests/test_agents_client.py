"""The frozen model as the client."""

import numpy as np
import pytest
from fakes import tiny_llama

from agents.client import ChosenVoice, WrittenVoice, client_fault
from agents.lm.adapters import AdapterSets
from agents.lm.device import mx
from agents.lm.lora import LoraSettings, fresh, inject
from client_graph.catalog import load_catalog
from client_graph.client import ClientGraph
from client_graph.personhood import draw
from envs.voice import SpeakingTurn, Utterance, VoiceFailure
from judges.protocol import Turn

CATALOG = load_catalog()


def speaking(
    seed: int = 0, history: tuple[Turn, ...] = (Turn("I don't know.", "", "What is it like?"),)
) -> SpeakingTurn:
    state, people = draw(CATALOG, np.random.default_rng(seed))
    return SpeakingTurn(ClientGraph(state, CATALOG), people[0], "ordinary", history, np.random.default_rng(seed))


def parts() -> tuple[object, AdapterSets]:
    loaded = tiny_llama()
    inject(loaded.model, LoraSettings(attention_rank=2, mlp_rank=2), mx.random.key(0))
    sets = AdapterSets(loaded.model)
    sets.add("therapist", fresh(loaded.model, mx.random.key(0)))
    sets.add("frozen", fresh(loaded.model, mx.random.key(0)), frozen=True)
    sets.activate("therapist")
    return loaded, sets


def test_the_chosen_line_is_one_that_the_client_could_say_and_the_same_again() -> None:
    loaded, sets = parts()
    turn = speaking()
    lines = ChosenVoice(CATALOG, loaded, sets, "frozen")._authored.fresh_lines(turn)  # type: ignore[arg-type]
    first, second = (ChosenVoice(CATALOG, loaded, sets, "frozen").speak([speaking()])[0] for _ in range(2))  # type: ignore[arg-type]
    assert isinstance(first, Utterance)
    assert first.text in lines
    assert first == second
    assert sets.active == "therapist"


def test_the_choice_depends_on_what_the_therapist_said() -> None:
    loaded, sets = parts()
    voice = ChosenVoice(CATALOG, loaded, sets, "frozen")  # type: ignore[arg-type]
    turn, other = speaking(), speaking(history=(Turn("I don't know.", "", "Your mother, then: was she ever kind?"),))
    lines = voice._authored.fresh_lines(turn)[:4]
    assert not np.allclose(voice._fit(turn, lines), voice._fit(other, lines))


def test_a_model_that_cannot_write_a_client_is_a_failure_with_reasons() -> None:
    loaded, sets = parts()
    found = WrittenVoice(loaded, sets, "frozen", max_tokens=6).speak([speaking()])[0]  # type: ignore[arg-type]
    assert isinstance(found, VoiceFailure)
    assert "does not end" in found.reason


@pytest.mark.parametrize(
    ("text", "finished", "fault"),
    [
        ("", True, "empty"),
        ("I can't generate this response.", True, "a refusal"),
        ("Client: I am tired.\nTherapist: Rest.", True, "speaks in roles, or for the therapist"),
        ("And then and then", False, "does not end"),
        ("I said that.", True, "repeats itself"),
        ("I can't say it out loud yet.", True, None),
    ],
)
def test_what_is_not_a_clients_speech(text: str, finished: bool, fault: str | None) -> None:
    assert client_fault(text, finished, ["I said that."]) == fault
