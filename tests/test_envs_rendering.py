"""The dashboard and the picture: they fit, they say what is true, they obey nobody's control codes, one state one picture."""

import warnings
from dataclasses import replace
from typing import cast

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from client_graph.client import ClientGraph
from client_graph.names import DIMENSIONS, PHASE_NAMES
from client_graph.personhood import Person
from envs import pictures
from envs.pictures import HEIGHT, WIDTH, session_picture
from envs.rendering import COLUMNS, dashboard, most_moved, plain, printable, skills_dashboard, wrapped
from judges.protocol import Turn

FRESH = ClientGraph.draw(7)
HELPED = FRESH.after([9.0] * 12)
HURT = FRESH.after([1.0] * 12)
PERSON = cast(Person, FRESH.person)
TALK = (Turn("It is heavy.", "", "I am here."), Turn("Is it?", "a thought", "Yes."), Turn("Hm.", "", "Take your time."))

any_text = st.text(st.characters(), max_size=300)


def test_the_page_names_who_and_where() -> None:
    page = dashboard(HELPED, PERSON, TALK, "Well.")
    for told in (PERSON.name, plain(PERSON.concern), PERSON.strategy, f"stage {HELPED.stage}", "session 1 · turn 1"):
        assert told in page
    assert f"{HELPED.coiling:.3f}" in page
    assert f"{HELPED.alliance:.3f}" in page
    for name, level in HELPED.buckets.items():
        assert plain(name) in page
        assert f"{level:.2f}" in page
    for row in HELPED.catalog.rows["axes"]:
        assert row.low in page
        assert row.high in page
        assert f"{HELPED.axes[row.name]:+.2f}" in page


@pytest.mark.parametrize("phase", range(4))
def test_the_phase_that_is_is_the_one_marked(phase: int) -> None:
    view = replace(FRESH, state=FRESH.state._replace(phase=np.array([phase])))
    (line,) = (line for line in dashboard(view, PERSON, (), "").splitlines() if line.startswith("phase "))
    assert [name for name in PHASE_NAMES if f"{name}]" in line] == [PHASE_NAMES[phase]]


def test_what_moved_is_told_with_its_largest_part() -> None:
    page = dashboard(HURT, PERSON, (), "")
    first = most_moved(HURT, 1)[0]
    why = HURT.explain(first.name)
    largest = max(why.parts, key=lambda part: abs(part.contribution))
    (line,) = (line for line in page.splitlines() if line.startswith(plain(first.name)))
    assert f"{first.after - first.before:+.3f}" in line
    assert "▼" in line
    assert f"most by {plain(largest.source)} {largest.contribution:+.3f}" in line


def test_a_bipolar_node_is_nearer_to_health_when_nearer_to_five() -> None:
    row = next(row for row in FRESH.catalog.nodes if row.direction == "bipolar")
    n = FRESH.catalog.node(row.name)
    levels = FRESH.state.levels.copy()
    levels[0, n] = 8.0
    before = FRESH.state._replace(levels=levels)
    after = levels.copy()
    after[0, n] = 6.5
    moved = most_moved(replace(FRESH, state=before._replace(levels=after), before=before), 3)
    assert [one.name for one in moved] == [row.name]
    assert moved[0].toward_health == pytest.approx(1.5)
    assert moved[0].largest is None


def test_before_the_first_turn_nothing_has_moved() -> None:
    assert "nothing yet: no turn has been taken" in dashboard(FRESH, PERSON, (), "Hello.")
    assert "no level: nothing helped" in dashboard(FRESH.after([5.0] * 12), PERSON, (), "")


def test_without_words_there_is_no_talk() -> None:
    assert "the last words" not in dashboard(HELPED, PERSON, (), "")
    page = dashboard(HELPED, PERSON, TALK, "")
    assert page.splitlines()[-1] == "client     (says nothing)"
    assert "It is heavy." not in page  # two exchanges back and no further
    assert "Is it?" in page


@settings(max_examples=25)
@given(any_text, any_text)
def test_any_words_stay_inside_the_page_and_give_no_orders(said: str, heard: str) -> None:
    page = dashboard(HELPED, PERSON, (Turn(said, "", heard),), heard)
    assert max(cell_len(line) for line in page.split("\n")) <= COLUMNS
    assert printable(page) == page
    page.encode()


def test_control_codes_and_turned_writing_are_shown_not_obeyed() -> None:
    assert printable("a\x1b[31mb\x07\u202ec\ud800\td\ne") == "a�[31mb��c� d\ne"


def test_a_long_word_is_broken_and_a_wide_one_counted_twice() -> None:
    assert wrapped("x" * 25, 10) == ["x" * 10, "x" * 10, "x" * 5]
    assert wrapped("日" * 7, 10) == ["日" * 5, "日" * 2]
    assert wrapped("to be or not", 5) == ["to be", "or", "not"]
    assert wrapped("one\n\ntwo", 9) == ["one", "", "two"]


def test_the_skills_page_shows_emphasis_and_scores() -> None:
    emphasis = [0.0, 3.0, *[0.5] * 10]
    page = skills_dashboard(HELPED, [9.0, 2.0, *[5.0] * 10], emphasis)
    table = page.split("the scores that came of it")[1].splitlines()
    lines = {name: next(row for row in table if row.startswith(plain(name))) for name in DIMENSIONS[:3]}
    assert lines["attunement"].endswith("helps")
    assert lines["pacing"].endswith("harms")
    assert lines["safety"].rstrip().endswith("5.00")
    assert lines["pacing"].count("█") > lines["safety"].count("█")
    assert max(map(cell_len, page.splitlines())) <= COLUMNS
    assert "nothing yet" in skills_dashboard(FRESH, None, None)
    assert "0.00" in skills_dashboard(FRESH, None, [0.0] * 12)


def forget_letters() -> None:
    for kept in (pictures._letters, pictures._wide, pictures._ink, pictures._font):
        kept.cache_clear()


def test_the_picture_is_of_its_size_and_the_same_for_the_same_state() -> None:
    first = session_picture(HELPED, PERSON, TALK, "Well.")
    assert (first.shape, first.dtype) == ((HEIGHT, WIDTH, 3), np.uint8)
    assert first.tobytes() == session_picture(FRESH.after([9.0] * 12), PERSON, TALK, "Well.").tobytes()
    forget_letters()
    assert first.tobytes() == session_picture(HELPED, PERSON, TALK, "Well.").tobytes()
    first[:] = 0  # a frame belongs to whoever asked for it
    assert session_picture(HELPED, PERSON, TALK, "Well.").any()


def test_what_is_different_looks_different() -> None:
    pictures = [
        session_picture(view, PERSON, TALK[:turns], words)
        for view, turns, words in (
            (HELPED, 1, "Well."),
            (HURT, 1, "Well."),
            (HELPED, 1, "No."),
            (HELPED, 0, ""),
            (FRESH, 0, ""),
        )
    ]
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)


def test_the_picture_asks_nothing_of_the_users_settings() -> None:
    wanted = session_picture(HELPED, PERSON, TALK, "Well.")
    with matplotlib.rc_context(
        {"font.family": "serif", "font.size": 30, "axes.facecolor": "black", "text.usetex": True}
    ):
        forget_letters()
        assert session_picture(HELPED, PERSON, TALK, "Well.").tobytes() == wanted.tobytes()


@settings(max_examples=15)
@given(any_text)
def test_any_words_can_be_drawn(words: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert session_picture(FRESH, PERSON, (Turn(words, "", words),), words).shape == (HEIGHT, WIDTH, 3)


def test_words_stay_on_the_page_however_many() -> None:
    """A margin of the picture's right and lower edge stays white but for the notice."""
    long = "word " * 900 + "x" * 400
    picture = session_picture(HELPED, PERSON, (Turn(long, "", long), Turn(long, "", long)), long)
    assert (picture[:, WIDTH - 12 :] == 255).all()
    assert (picture[HEIGHT - 22 : HEIGHT - 18, 500:] == 255).all()
