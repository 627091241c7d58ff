"""What can be counted of a recap, and what it gates."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dapt.recap import GATES, Gate, assess, terms
from dapt.watching import FEATURES

CONTENT = (
    "She said the kitchen still smells of him. Margaret rang on 3 May and asked about the funeral. "
    "We sat with the anger at the hospital."
)
GOOD = "Stays with anger at the hospital and grief in the kitchen; her sister Margaret asked about a funeral on 3 May."


def test_a_recap_of_its_window_is_good() -> None:
    found = assess(GOOD, CONTENT)
    assert found.kind == "good"
    assert (found.garble, found.repetition, found.drift, found.strangers) == (0.0, 0.0, 0.0, 0.0)
    assert found.gate == Gate(1.0, 1.2)


@pytest.mark.parametrize(
    ("recap", "kind", "feature"),
    [
        ("", "garbage", "words"),
        ("I see. I see. I see. I see. I see. I see. I see.", "garbage", "repetition"),
        ("xq7z bnkrt wrd4s clnt \ufffd\ufffd kjhgf the", "garbage", "garble"),
        ("The client spoke of Robert and of Chicago and of 1974, and of grief.", "poor", "strangers"),
        ("The client is here. The client is sad. The client is tired now.", "poor", "repetition"),
        ("good.THOUGHT> <CLI> She said the hospital [RECAP]", "garbage", "garble"),
    ],
)
def test_what_is_wrong_with_a_recap_is_seen(recap: str, kind: str, feature: str) -> None:
    found = assess(recap, CONTENT)
    assert found.kind == kind
    plain = assess(GOOD, CONTENT)
    assert getattr(found, feature) != getattr(plain, feature)


ASKED = "[RECAP] In two sentences, what matters about this client so far:"


def test_a_recap_that_says_the_last_one_again_is_poor() -> None:
    found = assess(GOOD, CONTENT, before=GOOD)
    assert (found.copied, found.kind) == (1.0, "poor")
    on = "Margaret asked about the funeral, and the anger at the hospital is nearer than the grief in the kitchen."
    assert assess(on, CONTENT, before=GOOD).kind == "good"


def test_the_instruction_is_no_recap() -> None:
    found = assess("In two sentences, what matters about this client so far", CONTENT, instruction=ASKED)
    assert (found.asked, found.kind) == (1.0, "garbage")
    assert assess(GOOD, CONTENT, instruction=ASKED).kind == "good"


def test_terms_that_are_dropped_are_drift() -> None:
    before = "Shame about the drinking, the brother's silence, the promise at the harbour."
    assert assess("Weather, buses and the price of onions were spoken about.", "Onions and buses.", before).drift == 1.0
    assert (
        assess("The promise at the harbour, and his brother's silence about drinking.", "Shame.", before).drift == 0.0
    )
    assert terms("grieving about grieve hospitals hospital") == {"grievi", "grieve", "hospit"}


def test_the_gates_are_the_papers() -> None:
    assert GATES == {"good": (1.0, 1.2), "poor": (0.6, 0.5), "garbage": (0.0, 0.0)}


@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=80))
def test_any_text_has_a_class_and_shares(recap: str, content: str, before: str) -> None:
    found = assess(recap, content, before)
    assert found.kind in GATES
    assert all(0.0 <= getattr(found, name) <= 1.0 for name in FEATURES)


def test_clinical_english_is_no_garble() -> None:
    import json
    from pathlib import Path

    folder = Path(__file__).resolve().parent.parent / "configs" / "sessions"
    sessions = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    found = [assess(turn["therapist_model"], turn["therapist_model"]).kind for s in sessions for turn in s["turns"]]
    assert found.count("good") / len(found) > 0.97
