"""DFR: turns, components and segments that hold a session's every word once, and give it back in whatever order they come."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_dapt_uhd import hostile_line, plain, turn

from agents.lm.five_tuple import Counterfactual, Session, Span, Turn, read_sessions
from dapt.dfr import PLACES, Level, Unit, decompose, marks, recompose, unplaced
from dapt.uhd import Samples

quick = settings(max_examples=60, deadline=None)
LEVELS: list[Level] = ["turn", "component", "segment"]

# Words that try to pass for anchors, with backslashes before them, beside those that try to pass for markers.
anchor = st.sampled_from(
    ["<FAC:INSIGHT>", "</FAC:INSIGHT>", "<FAC:STAGE>", "</FAC:PHASE>", "<FAC:OTHER>", "<FAC:", "\\"]
)
inline = st.lists(anchor | st.text("ab \\<>", max_size=4), min_size=1, max_size=5).map("".join)
words = st.lists(hostile_line | inline | st.text(max_size=6), min_size=1, max_size=3).map("\n".join).filter(str.strip)
kinds = st.sampled_from(["insight", "framework", "intervention"])


@st.composite
def turns(draw: st.DrawFn) -> Turn:
    """A turn with spans in any order, some within others, each of one certain place."""
    made = turn(draw(st.tuples(*[words] * 6)))
    spans: list[Span] = []
    for place in PLACES:
        said, taken = made.words(place), list[tuple[int, int]]()
        for _ in range(draw(st.integers(0, 3))):
            a, b = sorted(draw(st.tuples(*[st.integers(0, len(said))] * 2)))
            once = said[a:b].strip() and said.find(said[a:b], said.find(said[a:b]) + 1) < 0
            if once and not any(c < a < d < b or a < c < b < d for c, d in taken):
                taken.append((a, b))
                spans.append(Span(kind=draw(kinds), place=place, text=said[a:b]))
    other = st.builds(Counterfactual, therapist_utterance=words, better=st.booleans(), reason=words)
    said_of = {
        "spans": draw(st.permutations(spans).map(tuple) | st.just(tuple(spans))) or draw(st.sampled_from([None, ()]))
    }
    return made.model_copy(
        update=said_of | {"misstep": draw(st.none() | st.booleans()), "counterfactual": draw(st.none() | other)}
    )


@st.composite
def labelled(draw: st.DrawFn) -> Session:
    """A session of one to three such turns, with any of the labels."""
    spoken = tuple(draw(st.lists(turns(), min_size=1, max_size=3)))
    some = st.none() | st.lists(words, max_size=2).map(tuple)
    phases = st.none() | st.tuples(*[st.sampled_from("ABCD")] * len(spoken))
    return Session(
        id="s",
        turns=spoken,
        session_phases=draw(phases),
        treatment_stage=draw(st.none() | st.integers(1, 4)),
        attachment_strategy=draw(st.sampled_from([None, "A3", "C8"])),
        client_profile=draw(st.none() | words),
        **{name: draw(some) for name in ("defenses", "focus", "issues", "strengths")},
    )


def one_span(said: str, *texts: str, kind: str = "insight") -> Session:
    """A session of one turn that says something, with spans in it."""
    spans = tuple(Span.model_validate({"kind": kind, "place": "client_utterance", "text": text}) for text in texts)
    spoken = plain("s", 1).turns[0].model_copy(update={"client_utterance": said, "spans": spans})
    return plain("s", 1).model_copy(update={"turns": (spoken,)})


@quick
@given(labelled(), st.sampled_from(LEVELS), st.randoms(use_true_random=False))
def test_units_give_their_session_back_in_any_order(session: Session, level: Level, shuffled: random.Random) -> None:
    units = decompose(session, level)
    shuffled.shuffle(units)
    found = recompose(units)
    assert found == session
    assert found.model_dump_json() == session.model_dump_json()


@quick
@given(labelled())
def test_units_hold_every_word_once_in_the_order_of_reading(session: Session) -> None:
    spoken = [(at, place, t.words(place)) for at, t in enumerate(session.turns) for place in PLACES]
    for level in LEVELS:
        said: dict[tuple[int, str], str] = {}
        for unit in decompose(session, level):
            for piece in unit.pieces:
                assert piece.start == len(said.get((unit.turn, piece.place), ""))
                said[unit.turn, piece.place] = said.get((unit.turn, piece.place), "") + piece.words
        assert [(*key, words) for key, words in said.items()] == spoken


@quick
@given(labelled())
def test_counts_and_levels(session: Session) -> None:
    n = len(session.turns)
    assert [unit.turn for unit in decompose(session, "turn")] == list(range(n))
    assert [(u.turn, u.pieces[0].place) for u in decompose(session, "component")] == [
        (at, place) for at in range(n) for place in PLACES
    ]
    for unit in decompose(session, "segment"):
        (piece,) = unit.pieces
        assert all(m.place == piece.place and m.start <= piece.start and piece.end <= m.end for m in unit.marks)


@quick
@given(labelled(), st.data())
def test_levels_may_be_mixed(session: Session, data: st.DataObject) -> None:
    units: list[Unit] = []
    for at in range(len(session.turns)):
        level = data.draw(st.sampled_from(LEVELS))
        units += [unit for unit in decompose(session, level) if unit.turn == at]
    assert recompose(units) == session


@quick
@given(labelled(), st.sampled_from(LEVELS), st.data())
def test_a_unit_less_or_twice_is_refused(session: Session, level: Level, data: st.DataObject) -> None:
    units = decompose(session, level)
    i = data.draw(st.integers(0, len(units) - 1))
    for broken in (units[:i] + units[i + 1 :], [*units, units[i]]):
        with pytest.raises(ValueError, match="expected"):
            recompose(broken)


def test_segments_are_cut_where_spans_begin_and_end() -> None:
    session = one_span("I tell her it was traffic, as ever.", "it was traffic", "traffic")
    found = [u for u in decompose(session, "segment") if u.pieces[0].place == "client_utterance"]
    assert [(u.pieces[0].start, u.pieces[0].words, [m.number for m in u.marks]) for u in found] == [
        (0, "I tell her ", []),
        (11, "it was ", [0]),
        (18, "traffic", [0, 1]),
        (25, ", as ever.", []),
    ]
    assert found[2].factors == {"spans": ("insight", "insight")}


def test_a_unit_carries_the_factors_of_its_turn() -> None:
    session = plain("s", 2).model_copy(
        update={"session_phases": ("A", "B"), "treatment_stage": 2, "strengths": ("wit", "loyalty")}
    )
    assert [unit.factors for unit in decompose(session, "turn")] == [
        {"treatment_stage": 2, "session_phases": phase, "strengths": ("wit", "loyalty"), "spans": ()} for phase in "AB"
    ]


def test_the_shipped_sessions_come_apart_and_together() -> None:
    sessions = read_sessions(Path("configs/sessions"))
    assert not unplaced(sessions, anchors=True)
    assert all(recompose(decompose(session, level)) == session for session in sessions for level in LEVELS)
    named = [unit for session in sessions for unit in decompose(session, "segment") if unit.marks]
    assert len(named) == sum(len(t.spans or ()) for session in sessions for t in session.turns) > 200


def test_a_span_of_no_certain_place_is_named() -> None:
    session = one_span("no, no, I said", "no")
    with pytest.raises(
        ValueError, match=r"session 's', turn 1, spans.0: found 'no' more than once in client_utterance"
    ):
        marks(session, 0)
    with pytest.raises(ValueError, match="more than once"):
        decompose(session, "turn")
    assert len(unplaced([session, session], anchors=False)) == 2


def test_spans_that_cross_have_places_and_no_anchors() -> None:
    session = one_span("a b c", "a b", "b c")
    assert recompose(decompose(session, "segment")) == session
    assert not unplaced([session], anchors=False)
    (problem,) = unplaced([session], anchors=True)
    told = "session 's', turn 1, client_utterance: found spans that cross, insight 'a b' and insight 'b c'"
    assert problem.startswith(told)
    with pytest.raises(ValueError, match=told):
        Samples([session])[0].text(anchors=True)


def test_what_is_missing_or_mixed_is_told() -> None:
    one, other = decompose(plain("s", 2), "component"), decompose(plain("t", 2), "component")
    for units, told in (
        ([], "found no units"),
        ([one[0], other[1]], "units of session 's' and of session 't'|of session 's' and of 't'"),
        (one[:6], r"session 's': found turns \[1\], expected 1 to 2"),
        (one[:-1], r"session 's', turn 2, therapist_utterance: found 0 characters"),
        ([dataclasses.replace(one[0], labels={"misstep": True}), *one[1:]], "turn 1: found units with other labels"),
        ([dataclasses.replace(unit, spans=1) for unit in one], r"turn 1: found spans \[\], expected 1 from 0"),
    ):
        with pytest.raises(ValueError, match=told):
            recompose(units)
    with pytest.raises(ValueError, match="found level 'word', expected one of turn, component, segment"):
        decompose(plain("s", 1), "word")  # type: ignore[arg-type]
