"""UHD: N expanding prefixes of an N-turn session, numbered without writing any out, and a text that loses nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.lm.five_tuple import Session, TherapistReasoning, Turn
from dapt.uhd import Samples, parse_turns

quick = settings(max_examples=40, deadline=None)

# Words that try to pass for the markers and tags of the text.
ours = st.sampled_from(
    [
        "[UHD: SESSION]",
        "[T+0] Turn 1 Client",
        "[T+1] Turn 2 Therapist",
        "<GCO>",
        "</OMO>",
        "<TMoC>",
        "</UTTERANCE>",
        "[pause]",
    ]
)
hostile_line = st.builds(
    lambda slashes, line, end: "\\" * slashes + line + end, st.integers(0, 2), ours, st.sampled_from(["", " ", "\r"])
)
words = (st.lists(hostile_line | st.text(max_size=8), min_size=1, max_size=4).map("\n".join)).filter(str.strip)


def turn(text: tuple[str, ...]) -> Turn:
    reasoning = TherapistReasoning(gco=text[3], omo=text[4])
    return Turn(
        client_reasoning=text[0],
        client_utterance=text[1],
        therapist_model=text[2],
        therapist_reasoning=reasoning,
        therapist_utterance=text[5],
    )


def plain(name: str, turns: int) -> Session:
    parts = ("reasons", "says", "model", "gco", "omo", "answers")
    return Session(
        id=name, turns=tuple(turn(tuple(f"{name} {part} {n}" for part in parts)) for n in range(1, turns + 1))
    )


hostile_session = st.builds(
    Session,
    id=st.just("s"),
    turns=st.lists(st.tuples(*[words] * 6).map(turn), min_size=1, max_size=3).map(tuple),
    client_profile=st.none() | words,
    treatment_stage=st.none() | st.integers(1, 4),
    session_number=st.none() | st.integers(1, 99),
)
corpora = st.lists(st.integers(1, 12), max_size=8).map(lambda sizes: [plain(f"s{i}", n) for i, n in enumerate(sizes)])


@quick
@given(corpora)
def test_a_session_of_n_turns_gives_n_samples(corpus: list[Session]) -> None:
    samples = Samples(corpus)
    assert len(samples) == sum(len(session.turns) for session in corpus) == len(list(samples))


@quick
@given(corpora)
def test_samples_come_session_by_session_shortest_first(corpus: list[Session]) -> None:
    samples = Samples(corpus)
    expected = [(session.id, session.turns[:n]) for session in corpus for n in range(1, len(session.turns) + 1)]
    assert [(samples[i].session.id, samples[i].turns) for i in range(len(samples))] == expected
    assert list(samples) == [samples[i] for i in range(len(samples))]


@quick
@given(corpora)
def test_locate_and_number_are_inverse(corpus: list[Session]) -> None:
    samples = Samples(corpus)
    assert [samples.number(*samples.locate(i)) for i in range(len(samples))] == list(range(len(samples)))
    for s, session in enumerate(corpus):
        for length in range(1, len(session.turns) + 1):
            assert samples.locate(samples.number(s, length)) == (s, length)


@quick
@given(corpora.filter(bool))
def test_each_turn_is_in_every_prefix_from_just_spoken_to_distant_past(corpus: list[Session]) -> None:
    samples = list(Samples(corpus))
    for session in corpus:
        n = len(session.turns)
        for position, spoken in enumerate(session.turns):
            held = [sample.turns for sample in samples if spoken in sample.turns]
            assert len(held) == n - position
            assert [len(turns) - 1 - turns.index(spoken) for turns in held] == list(range(n - position))


@quick
@given(corpora)
def test_negative_numbers_count_from_the_end(corpus: list[Session]) -> None:
    samples = Samples(corpus)
    assert [samples[i - len(samples)] for i in range(len(samples))] == list(samples)


def test_what_is_out_of_range_is_told_with_the_range() -> None:
    samples = Samples([plain("a", 2), plain("b", 3)])
    for number in (5, -6):
        with pytest.raises(IndexError, match=f"sample number {number}, expected -5 to 4"):
            samples[number]
    with pytest.raises(IndexError, match="none: there are no samples"):
        Samples([])[0]
    for session in (2, -1):
        with pytest.raises(IndexError, match=f"session {session}, expected 0 to 1"):
            samples.number(session, 1)
    for length in (0, 4):
        with pytest.raises(IndexError, match=f"prefix length {length} of session 1, expected 1 to 3"):
            samples.number(1, length)


def test_slices_and_fractions_are_refused() -> None:
    samples = Samples([plain("a", 2)])
    with pytest.raises(TypeError, match="slice"):
        samples[0:1]  # type: ignore[index]
    with pytest.raises(TypeError):
        samples[0.0]  # type: ignore[index]


def test_the_index_holds_one_number_a_session() -> None:
    session = plain("long", 1000)
    samples = Samples([session] * 1000)
    assert len(samples) == 1_000_000
    assert samples.locate(999_999) == (999, 1000)
    assert len(samples._starts) == 1001
    assert samples[123_456].session is session


def test_text_word_for_word() -> None:
    session = plain("a", 2).model_copy(
        update={"treatment_stage": 2, "session_number": 7, "client_profile": "Two lines\nlong."}
    )
    assert (
        Samples([session])[1].text()
        == """\
[UHD: SESSION]
Treatment stage: 2
Session number: 7
Client profile summary: Two lines
long.
[T+0] Turn 1 Client
<CHAIN-OF-THOUGHT>
a reasons 1
</CHAIN-OF-THOUGHT>
<UTTERANCE>
a says 1
</UTTERANCE>
[T+0] Turn 1 Therapist
<TMoC>
a model 1
</TMoC>
<CHAIN-OF-THOUGHT>
<GCO>
a gco 1
</GCO>
<OMO>
a omo 1
</OMO>
</CHAIN-OF-THOUGHT>
<UTTERANCE>
a answers 1
</UTTERANCE>
[T+1] Turn 2 Client
<CHAIN-OF-THOUGHT>
a reasons 2
</CHAIN-OF-THOUGHT>
<UTTERANCE>
a says 2
</UTTERANCE>
[T+1] Turn 2 Therapist
<TMoC>
a model 2
</TMoC>
<CHAIN-OF-THOUGHT>
<GCO>
a gco 2
</GCO>
<OMO>
a omo 2
</OMO>
</CHAIN-OF-THOUGHT>
<UTTERANCE>
a answers 2
</UTTERANCE>
"""
    )


def test_what_is_not_known_of_a_session_has_no_header_line() -> None:
    assert Samples([plain("a", 1)])[0].text().startswith("[UHD: SESSION]\n[T+0] Turn 1 Client\n")


def test_words_stay_as_they_are_unless_a_line_passes_for_a_marker() -> None:
    said = "[pause] <sigh>\n\\n\n<GCO>\nI <UTTERANCE> it"
    session = plain("a", 1)
    changed = session.model_copy(update={"turns": (session.turns[0].model_copy(update={"client_utterance": said}),)})
    text = Samples([changed])[0].text()
    assert "<UTTERANCE>\n[pause] <sigh>\n\\n\n\\<GCO>\nI <UTTERANCE> it\n</UTTERANCE>\n" in text
    assert parse_turns(text) == changed.turns


def test_a_profile_cannot_pass_for_the_first_turn() -> None:
    session = plain("a", 1).model_copy(update={"client_profile": "Terse.\n[T+0] Turn 1 Client\n<GCO>"})
    text = Samples([session])[0].text()
    assert "Client profile summary: Terse.\n\\[T+0] Turn 1 Client\n\\<GCO>\n[T+0] Turn 1 Client\n" in text
    assert parse_turns(text) == session.turns


@quick
@given(hostile_session)
def test_the_text_loses_nothing_whatever_the_words(session: Session) -> None:
    for sample in Samples([session]):
        assert parse_turns(sample.text()) == sample.turns


@quick
@given(hostile_session)
def test_a_shorter_text_begins_the_longer_one(session: Session) -> None:
    texts = [sample.text() for sample in Samples([session])]
    for i in range(1, len(texts)):
        assert texts[i].startswith(texts[i - 1])


def test_a_text_that_does_not_fit_is_refused_with_its_line() -> None:
    text = Samples([plain("a", 2)])[1].text()
    with pytest.raises(ValueError, match=r"line 5: found '</CHAIN-OF-THOUGHTS>'|line 5: found '<UTTERANCE>'"):
        parse_turns(text.replace("</CHAIN-OF-THOUGHT>\n", "", 1))
    with pytest.raises(ValueError, match=r"found '\[T\+1\] Turn 3 Client', expected '\[T\+1\] Turn 2 Client'"):
        parse_turns(text.replace("[T+1] Turn 2 Client", "[T+1] Turn 3 Client"))
    with pytest.raises(ValueError, match="found 'the end'"):
        parse_turns(text.removesuffix("</UTTERANCE>\n"))
    with pytest.raises(ValueError, match="expected a whole sample"):
        parse_turns(text[1:])
    with pytest.raises(ValueError, match="expected words"):
        parse_turns(text.replace("a says 2\n", ""))
