"""What the roles are told."""

import numpy as np
import pytest

from agents.prompts import client_messages, correction_messages, therapist_messages
from client_graph.catalog import load_catalog
from client_graph.names import DIMENSIONS
from client_graph.personhood import draw
from judges.protocol import Assessment, Judgement, Turn

CATALOG = load_catalog()
HISTORY = tuple(Turn(f"client {i}", "", f"therapist {i}") for i in range(20))


@pytest.mark.parametrize("past", range(21))
@pytest.mark.parametrize("remembered", [0, 3, 20])
def test_the_therapist_remembers_the_last_turns(past: int, remembered: int) -> None:
    observation = {"client": "now", "stage": 1, "stance": 0, "beliefs": CATALOG.start[0]}
    found = therapist_messages(observation, HISTORY[:past], CATALOG, remembered, 0)
    shown = [message["content"] for message in found if message["content"].startswith("client ")]
    assert shown == [turn.client for turn in HISTORY[max(0, past - remembered) : past]]
    assert found[-1] == {"role": "user", "content": "now"}
    assert [m["role"] for m in found[1:]] == ["user", "assistant"] * (len(found) // 2 - 1) + ["user"]


def test_the_client_is_told_how_the_last_words_landed_and_what_is_true_of_it() -> None:
    _, people = draw(CATALOG, np.random.default_rng(0))
    hurt = client_messages(people[0], "A", "hurt", HISTORY[:2], inner="They are ashamed.")[0]["content"]
    plain = client_messages(people[0], "A", "ordinary", HISTORY[:2])[0]["content"]
    assert "missed or hurt you" in hurt
    assert "They are ashamed." in hurt
    assert "missed or hurt" not in plain
    assert "{" not in hurt + plain


def test_the_correction_tells_strengths_advice_and_what_is_weak() -> None:
    kind, harsh = np.arange(12.0) / 2, np.arange(12.0)[::-1] / 2
    view = {"reasons": ("because",) * 12, "narrative": "plain", "recommendations": ("Slow down.", "Ask once.", "Rest.")}
    judgement = Judgement(Assessment(kind, **view), Assessment(harsh, **view))  # type: ignore[arg-type]
    before = therapist_messages(
        {"client": "now", "stage": 1, "stance": 0, "beliefs": CATALOG.start[0]}, HISTORY[:1], CATALOG, 3, 0
    )
    told, *rest = correction_messages(before, "Cheer up.", judgement)
    assert rest == before[1:]
    notes = told["content"].removeprefix(before[0]["content"])
    strong, weak = ([DIMENSIONS[d].replace("_", " ") for d in order] for order in ((11, 10), (11, 10)))
    assert "Cheer up." in notes
    assert all(name in notes for name in (*strong, *weak))
    assert "Slow down. Ask once." in notes
    assert "Rest." not in notes
    assert "{" not in notes
