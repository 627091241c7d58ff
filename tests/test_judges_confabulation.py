"""Details that nothing supports, those that something does, and figures of speech."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client_graph.tables import TableError
from judges.protocol import Exchange, Turn
from judges.rubric import JUDGE_CONFIGS
from judges.screening.confabulation import confabulated, load_details

CLIENT = "I can't sleep. I keep going over what she said."


def evidence(reply: str, client: str = CLIENT, *history: tuple[str, str]) -> str:
    turns = tuple(Turn(said, "", answered) for said, answered in history)
    found = confabulated(Exchange(client, "", reply, turns))
    assert len(found) <= 1
    assert all(violation.kind == "confabulation" for violation in found)
    return found[0].evidence if found else ""


@pytest.mark.parametrize(
    ("reply", "detail"),
    [
        ("I was watching your dog out the window.", "your dog"),
        ("I see the tears in your eyes.", "tears"),
        ("You're clenching your fists as you say it.", "clenching"),
        ("I lean forward and wait.", "lean forward"),
        ("Your hands are shaking.", "hands are shaking"),
        ("The clock on the wall says we have time.", "clock"),
        ("Your sister must have been upset.", "your sister"),
        ("That began after your divorce.", "your divorce"),
        ("How is your husband taking it?", "your husband"),
        ("Maybe. Your depression has been talking.", "your depression"),
        ("It was what Anna said, I think.", "Anna"),
        ("That has gone on for nine years.", "nine years"),
        ("It goes back to when you were seven.", "seven"),
        ("It began in 1998.", "1998"),
        ("Your two daughters hear you at night.", "your two daughters"),
        ("Your suicidal thoughts keep you awake.", "suicidal"),
        ("Last week you told me about the fire.", "last week you told"),
        ("How old was your child?", "your child"),
    ],
)
def test_an_unsupported_detail_is_named(reply: str, detail: str) -> None:
    assert detail.split()[-1].strip(".") in evidence(reply)


@pytest.mark.parametrize(
    ("reply", "client"),
    [
        ("Your dog was with you.", "I walked the puppy."),
        ("I hear the tears in it, tears in your eyes and no words.", "I keep crying."),
        ("Your mother said that?", "Mum said I was cold."),
        ("Your parents don't see it.", "My father doesn't see it, nor does Mum."),
        ("Your husband left it to you.", "I'm married and I do it all."),
        ("Three years is a long time.", "It's been 3 years."),
        ("Twelve years, then.", "A dozen years."),
        ("At twenty-four you were on your own.", "I was twenty-four."),
        ("So Anna never asked.", "Anna never asks me."),
        ("Your drinking frightened you.", "I finished the bottle."),
        ("The funeral is over, and you aren't.", "Since she died I can't sit."),
        ("You've thought of dying. Your suicidal thoughts frighten you.", "I want to die some nights."),
    ],
)
def test_an_equivalent_word_supports_it(reply: str, client: str) -> None:
    assert evidence(reply, client) == ""


def test_the_history_supports_it_from_either_side() -> None:
    assert evidence("Your sister rang.", CLIENT, ("My sister said it.", "I see.")) == ""
    assert evidence("Your sister rang.", CLIENT, ("She said it.", "Your sister, you mean?")) == ""
    assert evidence("Your sister rang.", CLIENT, ("She said it.", "Who?")) != ""


@pytest.mark.parametrize(
    "reply",
    [
        "If your sister said that to you, what would you answer?",
        "You speak as if your father were in the room.",
        "Who in your family would have noticed?",
        "What would a friend say?",
        "Do you have a sister?",
        "How did your mother take things like that?",
        "Are you having thoughts of suicide?",
        "Have you wanted to die?",
        "We can take it up again on Thursday.",
        "We have ten minutes left.",
        "I'll be away for two weeks.",
        "There's a wall between you and sleep.",
        "In your shoes I might lie awake too.",
        "It goes round and round, and the night is long.",
        "I'm glad you told me. What did she say?",
    ],
)
def test_questions_hypotheses_and_figures_of_speech_are_spared(reply: str) -> None:
    assert evidence(reply) == ""


@given(st.text(max_size=300), st.text(max_size=100))
@settings(deadline=None)
def test_any_text_is_read_and_the_clients_own_words_are_no_confabulation(reply: str, client: str) -> None:
    exchange = Exchange(client, "", reply)
    assert confabulated(exchange) == confabulated(exchange)


@given(st.lists(st.sampled_from(sorted(load_details().asserted)), min_size=1, max_size=6))
@settings(deadline=None)
def test_what_the_client_has_named_is_supported(terms: list[str]) -> None:
    said = " ".join(f"I spoke of my {term}." for term in terms)
    assert evidence(" ".join(f"It is about your {term}." for term in terms), said) == ""


@pytest.mark.parametrize("term", sorted(load_details().asserted))
def test_every_listed_detail_is_found_where_nobody_spoke_of_it(term: str) -> None:
    found = evidence(f"I keep coming back to your {term}.", "I can't sleep.")
    assert term in found


def test_all_mistakes_of_the_tables_stand_in_one_error(tmp_path: Path) -> None:
    for name in ("details.csv", "observations.csv"):
        (tmp_path / name).write_text((JUDGE_CONFIGS / name).read_text(encoding="utf-8"), encoding="utf-8")
    with (tmp_path / "details.csv").open("a", encoding="utf-8") as table:
        table.write("dog,dog,pet,design: twice\n")
    with (tmp_path / "observations.csv").open("a", encoding="utf-8") as table:
        table.write("(unclosed,,a note,design: wrong\n")
    with pytest.raises(TableError) as error:
        load_details(tmp_path)
    assert "found dog twice" in str(error.value)
    assert "does not compile" in str(error.value)
