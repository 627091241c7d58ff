"""Sessions of 5-tuple turns are read strictly, written whole, and every mistake of a file is told at once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from agents.lm import files
from agents.lm.five_tuple import (
    AttachmentStrategy,
    Phase,
    Session,
    SessionFileError,
    TherapistReasoning,
    Turn,
    read_sessions,
    write_sessions,
)

words = st.text(min_size=1).filter(str.strip)


@st.composite
def sessions(draw: st.DrawFn, name: str) -> Session:
    turns = draw(st.lists(st.tuples(*[words] * 6), min_size=1, max_size=3))
    return Session(
        id=name,
        turns=tuple(
            Turn(
                client_reasoning=t[0],
                client_utterance=t[1],
                therapist_model=t[2],
                therapist_reasoning=TherapistReasoning(gco=t[3], omo=t[4]),
                therapist_utterance=t[5],
            )
            for t in turns
        ),
        session_number=draw(st.none() | st.integers(1, 200)),
        client_profile=draw(st.none() | words),
        treatment_stage=draw(st.none() | st.integers(1, 4)),
        attachment_strategy=draw(st.none() | st.sampled_from(get_args(AttachmentStrategy))),
        session_phases=draw(st.none() | st.tuples(*[st.sampled_from(get_args(Phase))] * len(turns))),
    )


def plain(**changes: Any) -> dict[str, Any]:
    """A session as JSON gives it."""
    turn = {
        "client_reasoning": "If I say it, she will look away.",
        "client_utterance": "It was fine, mostly.",
        "therapist_model": "'Mostly' leaves a door open.",
        "therapist_reasoning": {"gco": "Early; safety first.", "omo": "Stay with the word."},
        "therapist_utterance": "Mostly?",
    }
    return {"id": "s1", "turns": [turn], **changes}


def refused(path: Path, *lines: str | bytes | dict[str, Any]) -> tuple[str, ...]:
    """The problems of a file with these lines, without its name."""
    data = [json.dumps(x).encode() if isinstance(x, dict) else x.encode() if isinstance(x, str) else x for x in lines]
    path.write_bytes(b"\n".join(data) + b"\n")
    with pytest.raises(SessionFileError) as error:
        read_sessions(path)
    assert all(problem in str(error.value) for problem in error.value.problems)
    assert all(problem.startswith(f"{path}:") for problem in error.value.problems)
    return tuple(problem.removeprefix(f"{path}:") for problem in error.value.problems)


def test_there_are_22_attachment_strategies() -> None:
    assert len(get_args(AttachmentStrategy)) == len(set(get_args(AttachmentStrategy))) == 22  # paper 1688


def test_a_turn_has_the_papers_five_components_in_order() -> None:
    assert list(Turn.model_fields)[:5] == [
        "client_reasoning",
        "client_utterance",
        "therapist_model",
        "therapist_reasoning",
        "therapist_utterance",
    ]
    assert list(TherapistReasoning.model_fields) == ["gco", "omo"]


def test_a_session_is_frozen() -> None:
    session = Session.model_validate_json(json.dumps(plain()))
    with pytest.raises(ValidationError, match="frozen"):
        session.turns[0].client_utterance = "other"  # type: ignore[misc]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    written = tuple(data.draw(sessions(f"s{i}")) for i in range(data.draw(st.integers(0, 3))))
    path = tmp_path_factory.getbasetemp() / "sessions.jsonl"
    write_sessions(path, written)
    assert read_sessions(path) == written
    assert path.read_bytes().count(b"\n") == len(written)


def test_line_separators_of_unicode_stay_inside_a_line(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_bytes(json.dumps(plain(client_profile="a\u2028b\x85c"), ensure_ascii=False).encode())
    assert read_sessions(path)[0].client_profile == "a\u2028b\x85c"


def test_all_mistakes_of_a_file_come_in_one_error(tmp_path: Path) -> None:
    silent, short, twice = plain(id="s2"), plain(id="s3"), json.dumps(plain(id="s4"))
    silent["turns"][0]["client_utterance"] = " \n"
    del short["turns"][0]["therapist_reasoning"]["omo"]
    short["mood"] = "low"
    problems = refused(
        tmp_path / "s.jsonl",
        plain(),
        silent,
        short,
        twice[:-1] + ', "id": "s5"}',
        "",
        b'{"id": "\xff"}',
        "{",
        "[]",
        plain(),
    )
    assert [problem.split(": ")[:2] for problem in problems] == [
        ["2", "turns.0.client_utterance"],
        ["3", "turns.0.therapist_reasoning.omo"],
        ["3", "mood"],
        ["4", "id"],
        ["5", "found nothing but white space, expected a session as a JSON object; remove it"],
        ["6", "not UTF-8 text (invalid start byte at byte 8 of the line); save the file as UTF-8"],
        ["7", problems[6].split(": ")[1]],
        ["8", "session"],
        ["9", "id"],
    ]
    assert "expected words" in problems[0]
    assert "missing" in problems[1]
    assert "unknown key" in problems[2]
    assert "given 2 times" in problems[3]
    assert "found no JSON" in problems[6]
    assert problems[8] == "9: id: found 's1' again, first at line 1; give each its own"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"turns": []}, "turns: found []"),
        ({"id": ""}, "id: found ''"),
        ({"treatment_stage": 5}, "treatment_stage: found 5"),
        ({"treatment_stage": True}, "treatment_stage: found True"),
        ({"treatment_stage": "2"}, "treatment_stage: found '2'"),
        ({"session_number": 0}, "session_number: found 0"),
        ({"session_number": 1.5}, "session_number: found 1.5"),
        ({"attachment_strategy": "B6"}, "attachment_strategy: found 'B6'"),
        ({"session_phases": ["E"]}, "session_phases.0: found 'E'"),
        ({"session_phases": ["A", "B"]}, "1: session: session_phases holds 2, expected 1: one a turn"),
        ({"client_profile": "\t"}, "client_profile: found '\\t'"),
        ({"id": "\ud800"}, "found no JSON"),
        ({"turns": [[], "x", None]}, "turns.0: "),
    ],
)
def test_a_wrong_value_is_refused(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    problems = refused(tmp_path / "s.jsonl", plain(**change))
    assert len(problems) == (3 if "turns.0: " in told else 1)
    assert told in problems[0]


def test_a_number_of_thousands_of_digits_is_a_mistake_not_a_crash(tmp_path: Path) -> None:
    line = json.dumps(plain(session_number=7)).replace("7", "7" * 5000)
    assert len(refused(tmp_path / "s.jsonl", line)[0]) < 400


def test_a_repeated_key_is_told_beside_other_mistakes(tmp_path: Path) -> None:
    line = json.dumps(plain(treatment_stage=5))[:-1] + ', "id": "s2"}'
    problems = refused(tmp_path / "s.jsonl", line)
    assert [problem.split(": ")[1] for problem in problems] == ["treatment_stage", "id"]


def test_hostile_nesting_is_a_mistake_not_a_crash(tmp_path: Path) -> None:
    assert "found no JSON" in refused(tmp_path / "s.jsonl", "[" * 100_000)[0]


def test_a_long_value_is_cut_in_the_error(tmp_path: Path) -> None:
    assert len(refused(tmp_path / "s.jsonl", plain(attachment_strategy="x" * 10_000))[0]) < 400


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_sessions(tmp_path / "none.jsonl")


def test_writing_refuses_what_reading_would(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text("old")
    session = Session.model_validate_json(json.dumps(plain()))
    with pytest.raises(SessionFileError, match=r"none was written(.|\n)*:2: id: found 's1' again, first at line 1"):
        write_sessions(path, [session, session])
    with pytest.raises(SessionFileError, match=r":1: treatment_stage: found 9"):
        write_sessions(path, [session.model_copy(update={"treatment_stage": 9})])
    assert path.read_text() == "old"


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files, "_sync", full)
    with pytest.raises(OSError, match="No space"):
        write_sessions(path, [Session.model_validate_json(json.dumps(plain()))])
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["s.jsonl"]


def test_a_span_stands_in_its_turn_word_for_word() -> None:
    turn = {
        "client_reasoning": "a", "client_utterance": "b", "therapist_model": "c",
        "therapist_reasoning": {"gco": "d", "omo": "wait with her"}, "therapist_utterance": "e",
        "spans": [{"kind": "intervention", "place": "omo", "text": "wait with"}],
    }  # fmt: skip
    assert Turn.model_validate(turn, strict=False).spans[0].text == "wait with"  # type: ignore[index]
    turn["spans"][0]["text"] = "wait with him"  # type: ignore[index]
    with pytest.raises(ValidationError, match="not there word for word: 'wait with him' in omo"):
        Turn.model_validate(turn, strict=False)
