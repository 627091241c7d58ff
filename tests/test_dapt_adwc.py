"""ADWC: every window of every length, forward where it is odd and backward where it is even, numbered and never written out."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_dapt_uhd import corpora, hostile_session, plain

from agents.lm.five_tuple import FORWARD, REVERSE, Session
from dapt.adwc import Windows
from dapt.markup import Stretch
from dapt.parsing import parse

quick = settings(max_examples=40, deadline=None)


def slowly(session: Session) -> list[Stretch]:
    """The samples of one session as the paper's sentences say them, one after the other."""
    n = len(session.turns)
    found = []
    for k in range(1, n + 1):
        starts = range(n - k + 1)
        for start in starts if k % 2 == 1 else reversed(starts):
            found.append(Stretch(session, start, k, FORWARD if k % 2 == 1 else REVERSE))
    for length in range(1, n + 1):
        found += [Stretch(session, 0, length, FORWARD), Stretch(session, 0, length, REVERSE)]
    return found


@quick
@given(corpora)
def test_samples_are_those_of_the_papers_sentences_in_their_order(corpus: list[Session]) -> None:
    windows = Windows(corpus)
    expected = [sample for session in corpus for sample in slowly(session)]
    assert [windows[i] for i in range(len(windows))] == expected == list(windows)


@quick
@given(corpora)
def test_numbers_are_the_inverse(corpus: list[Session]) -> None:
    windows = Windows(corpus)
    for s, session in enumerate(corpus):
        n = len(session.turns)
        for k in range(1, n + 1):
            for first in range(n - k + 1):
                found = windows[windows.number(s, first, k)]
                assert (found.session.id, found.first, found.length) == (session.id, first, k)
            for reverse in (False, True):
                found = windows[windows.expanding(s, k, reverse)]
                assert (found.first, found.length, found.header) == (0, k, REVERSE if reverse else FORWARD)


@quick
@given(st.integers(1, 14))
def test_every_turn_stands_in_every_temporal_place(turns: int) -> None:
    """Each turn is read at each place from first to last of a forward sample and of a reverse one, as far as its session allows."""
    windows = Windows([plain("s", turns)])
    seen: dict[str, set[tuple[int, int]]] = {FORWARD: set(), REVERSE: set()}
    for sample in windows:
        for position, place in enumerate(sample.places):
            seen[sample.header].add((place, position))
    assert {(place, position) for place, position in seen[FORWARD]} >= {(p, q) for p in range(turns) for q in [0, p]}
    assert all(position <= place for place, position in seen[FORWARD])
    assert all(position <= turns - 1 - place for place, position in seen[REVERSE])
    # Expanding samples alone: from "just spoken" to "distant past".
    behind = {(sample.length - 1 - place) for sample in windows for place in sample.places if sample.first == 0}
    assert behind == set(range(turns))


@quick
@given(st.integers(1, 40))
def test_counts(turns: int) -> None:
    windows = Windows([plain("s", turns)])
    lengths = Counter(sample.length for sample in windows)
    assert len(windows) == turns * (turns + 1) // 2 + 2 * turns
    assert lengths == {k: turns - k + 1 + 2 for k in range(1, turns + 1)}
    assert all((sample.header == FORWARD) == (sample.length % 2 == 1) for sample in list(windows)[: -2 * turns])


@quick
@given(hostile_session, st.data())
def test_a_window_reads_back_word_for_word(session: Session, data: st.DataObject) -> None:
    windows = Windows([session])
    sample = windows[data.draw(st.integers(0, len(windows) - 1))]
    found = parse(sample.text())
    assert found.header == sample.header
    assert found.turns == sample.turns
    assert found.numbers == tuple(place + 1 for place in sample.places)


def test_the_markers_are_the_papers() -> None:
    windows = Windows([plain("s", 3)])
    forward, reverse = windows[windows.number(0, 1, 1)].text(), windows[windows.number(0, 1, 2)].text()
    assert forward.startswith("[ADWC: FORWARD TEMPORAL ORDER]\n[T+0] Turn 2 Client\n")
    assert reverse.startswith("[ADWC: REVERSE TEMPORAL ORDER]\n[T-0] Turn 3 Client\n")
    assert "\n[T-1] Turn 2 Therapist\n" in reverse


def test_a_marker_that_does_not_fit_is_named() -> None:
    text = Windows([plain("s", 3)])[3].text().replace("[T-1] Turn 2 Client", "[T-1] Turn 1 Client")
    with pytest.raises(ValueError, match=r"found '\[T-1\] Turn 1 Client', expected '\[T-1\] Turn 2 Client'"):
        parse(text)


def test_a_hundred_and_eighty_thousand_samples_cost_no_text() -> None:
    """As many as the paper's corpus (paper 246): one number a session is kept."""
    windows = Windows([plain(f"s{i}", 30) for i in range(350)])
    assert len(windows) == 350 * (465 + 60)
    assert len(windows._starts) == 351
    assert windows[183_749] == Stretch(windows.sessions[349], 0, 30, REVERSE)


def test_what_is_out_of_range_is_told() -> None:
    windows = Windows([plain("a", 2)])
    with pytest.raises(IndexError, match="window of 2 turns from turn 1 of session 0, expected 1 to 2 turns"):
        windows.number(0, 1, 2)
    with pytest.raises(IndexError, match="prefix length 3"):
        windows.expanding(0, 3, False)
    with pytest.raises(IndexError, match="session 1"):
        windows.number(1, 0, 1)
