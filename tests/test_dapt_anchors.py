"""Anchors: factor labels stand in the text and are read back exactly; no words pass for one, and without them nothing changes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_dapt_dfr import labelled, one_span
from test_dapt_uhd import plain

from agents.lm.five_tuple import REVERSE, Session, Span, Turn
from dapt.adwc import Windows
from dapt.anchors import LABELS, SPANS, Part, anchored, literal, unanchored
from dapt.curriculum import Curriculum
from dapt.dfr import PLACES, marks
from dapt.markup import Stretch, written
from dapt.parsing import parse
from dapt.uhd import Samples

quick = settings(max_examples=100, deadline=None)


def in_order(session: Session, at: int) -> tuple[Span, ...]:
    """The spans of a turn in the order of reading: the outer of two first, as its list has them where both are the same words."""
    found = sorted(marks(session, at), key=lambda m: (PLACES.index(m.place), m.start, -m.end, m.number))
    return tuple((session.turns[at].spans or ())[m.number] for m in found)


def read_back(session: Session, at: int) -> Turn:
    """A turn as its text tells it: without what no text shows."""
    spans = in_order(session, at) or None
    return session.turns[at].model_copy(update={"spans": spans, "misstep": None, "counterfactual": None})


@quick
@given(labelled(), st.data())
def test_spans_phases_and_labels_are_read_back(session: Session, data: st.DataObject) -> None:
    windows = Windows([session])
    sample = windows[data.draw(st.integers(0, len(windows) - 1))]
    found = parse(sample.text(anchors=True), anchors=True)
    assert found.turns == tuple(read_back(session, at) for at in sample.places)
    assert found.numbers == tuple(at + 1 for at in sample.places)
    phases = session.session_phases
    assert found.phases == (() if phases is None else tuple(phases[at] for at in sample.places))
    known = {name: getattr(session, name) for name in LABELS if name != "session_phases" and getattr(session, name)}
    assert found.labels == {n: tuple(map(str, v)) if isinstance(v, tuple) else (str(v),) for n, v in known.items()}


@quick
@given(labelled())
def test_without_anchors_the_text_is_that_of_the_words_alone(session: Session) -> None:
    bare = session.model_copy(
        update={"turns": tuple(t.model_copy(update={"spans": None}) for t in session.turns), "session_phases": None}
    )
    assert [s.text() for s in Samples([session])] == [s.text() for s in Samples([bare])]


@quick
@given(labelled(), st.booleans(), st.data())
def test_components_stand_where_they_are_said_to(session: Session, anchors: bool, data: st.DataObject) -> None:
    """From the first character of the words to the end of the closing tag; what is read back there are the words."""
    windows = Windows([session])
    sample = windows[data.draw(st.integers(0, len(windows) - 1))]
    text, parts = written(sample, anchors)
    assert text == sample.text(anchors)
    named = [part for part in parts if part.name in PLACES]
    assert [part.name for part in named] == list(PLACES) * sample.length
    for i, part in enumerate(named):
        words, tag = text[part.start : part.end].rsplit("\n", 1)
        assert tag.startswith("</")
        assert (text[part.start - 1], text[part.end]) == ("\n", "\n")
        alone = Samples([plain("s", 1)])[0].text().replace("s says 1", words)
        found = parse(alone, anchors).turns[0].client_utterance
        assert found == session.turns[sample.places[i // 6]].words(part.name)  # type: ignore[arg-type]


@quick
@given(labelled())
def test_spans_stand_where_they_are_said_to(session: Session) -> None:
    """Without anchors: a span's part holds its words, and of what was put among them only a backslash before a line."""
    (sample,) = Samples([session.model_copy(update={"turns": session.turns[:1], "session_phases": None})])
    text, parts = written(sample)
    found = [part for part in parts if part.name not in PLACES]
    assert len(found) == len(session.turns[0].spans or ())
    for component in (part for part in parts if part.name in PLACES):
        # Each character of the component's words, and where it stands in the text.
        stands, at = list[int](), component.start
        words = session.turns[0].words(component.name)  # type: ignore[arg-type]
        for line in words.split("\n"):
            at += len(text[at:].split("\n", 1)[0]) - len(line)
            stands += range(at, at + len(line) + 1)
            at += len(line) + 1
        inside = [part for part in found if component.start <= part.start < component.end]
        marked = [m for m in marks(session, 0) if m.place == component.name]
        assert [[i for i, at in enumerate(stands[:-1]) if p.start <= at < p.end] for p in inside] == [
            list(range(m.start, m.end)) for m in marked
        ]


@quick
@given(labelled())
def test_anchored_spans_and_labels_stand_between_their_anchors(session: Session) -> None:
    text, parts = written(Samples([session])[-1], anchors=True)
    for part in parts:
        if part.name not in PLACES:
            label = (SPANS | LABELS)[part.name]
            assert text[: part.start].endswith(f"<FAC:{label}>")
            assert text[: part.end].endswith(f"</FAC:{label}>")


@quick
@given(st.text("ab\\<>/:FACINSGHTOER\n", max_size=40) | st.text(max_size=10), st.data())
def test_anchored_words_are_read_back(words: str, data: st.DataObject) -> None:
    edges = sorted(data.draw(st.sets(st.integers(0, len(words)), max_size=4)))
    parts = [Part("insight", a, b) for a, b in zip(edges[::2], edges[1::2], strict=False)]
    text, found = anchored(words, parts)
    assert unanchored(text) == (words, tuple(parts))
    for part, shown in zip(parts, found, strict=True):
        inside = text[shown.start : shown.end].removesuffix("</FAC:INSIGHT>")
        assert inside.startswith(words[part.start : part.end][:1]) or inside.startswith("\\")


def test_what_passes_for_an_anchor_gets_a_backslash() -> None:
    assert (
        literal(r"a <FAC:STAGE> \<FAC:PHASE> <FAC:OTHER> <FAC>") == r"a \<FAC:STAGE> \\\<FAC:PHASE> <FAC:OTHER> <FAC>"
    )
    text = anchored("a\\b", [Part("insight", 2, 3)]).text
    assert text == r"a\\<FAC:INSIGHT>b</FAC:INSIGHT>"
    assert unanchored(text) == ("a\\b", (Part("insight", 2, 3),))


def test_text_word_for_word() -> None:
    session = one_span("I tell her it was traffic.", "it was traffic", kind="framework").model_copy(
        update={
            "attachment_strategy": "A3",
            "session_phases": ("B",),
            "strengths": ("wit", "two\nlines"),
            "treatment_stage": 1,
        }
    )
    text = Samples([session])[0].text(anchors=True)
    assert "<UTTERANCE>\nI tell her <FAC:FRAMEWORK>it was traffic</FAC:FRAMEWORK>.\n</UTTERANCE>\n" in text
    assert text.endswith(
        """\
s answers 1
</UTTERANCE>
<FAC:PHASE>B</FAC:PHASE>
<FAC:STAGE>1</FAC:STAGE>
<FAC:ATTACH>A3</FAC:ATTACH>
<FAC:STRENGTH>wit</FAC:STRENGTH>
<FAC:STRENGTH>two
lines</FAC:STRENGTH>
"""
    )
    assert text.startswith("[UHD: SESSION]\nTreatment stage: 1\n[T+0] Turn 1 Client\n")


@pytest.mark.parametrize(
    ("broken", "told"),
    [
        (("</FAC:INSIGHT>", ""), r"line 7: found the end, expected </FAC:INSIGHT>"),
        (("<FAC:INSIGHT>", ""), r"line 7: found </FAC:INSIGHT>, expected one that opens"),
        (("</FAC:INSIGHT>", "</FAC:FRAMEWORK>"), r"line 7: found </FAC:FRAMEWORK>, expected </FAC:INSIGHT>"),
        (("INSIGHT>", "STAGE>"), r"line 7: found <FAC:STAGE> in client_utterance, expected one of a span"),
        (("</FAC:PHASE>\n", "</FAC:PHASE>\nmore\n"), r"line 25: found 'more', expected"),
        (("<FAC:PHASE>A", "<FAC:PHASE>A</FAC:PHASE> and <FAC:PHASE>B"), r"expected labels alone"),
        (("</FAC:STAGE>\n", "</FAC:STAGE>\nmore\n"), r"found '\\nmore', expected labels alone"),
    ],
)
def test_an_anchor_that_does_not_fit_is_named_with_its_line(broken: tuple[str, str], told: str) -> None:
    session = one_span("it was traffic", "traffic").model_copy(update={"treatment_stage": 2, "session_phases": ("A",)})
    text = Samples([session])[0].text(anchors=True).removeprefix("[UHD: SESSION]\nTreatment stage: 2\n")
    with pytest.raises(ValueError, match=told):
        parse(("[UHD: SESSION]\n" + text).replace(*broken), anchors=True)


@quick
@given(labelled())
def test_lengths_of_a_curriculum_count_the_anchors(session: Session) -> None:
    made = Curriculum([Samples([session]), Windows([session])], lambda text: text.count("\n"), anchors=True)
    assert made.tokens.tolist() == [made[i].text(anchors=True).count("\n") for i in range(len(made))]


def test_a_backward_window_has_its_phases_in_the_order_of_reading() -> None:
    session = plain("s", 3).model_copy(update={"session_phases": ("A", "B", "C")})
    assert parse(Stretch(session, 0, 3, REVERSE).text(anchors=True), anchors=True).phases == ("C", "B", "A")
