"""A dialogue from a file: the same turns from every form, and all mistakes in one error."""

import json
from pathlib import Path

import pytest

from judges.protocol import Turn
from judges.transcript import TranscriptError, read_transcript

TURNS = (Turn("I can't sleep.", "", "How long has it been?"), Turn("Weeks.", "slow down", "Weeks of it."))


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_every_form_gives_the_same_turns(tmp_path: Path) -> None:
    rows = [{"client": t.client, "reasoning": t.reasoning, "therapist": t.therapist} for t in TURNS]
    lines = "# A session\n\nClient: I can't sleep.\n\nTherapist: How long\nhas it been?\nClient: Weeks.\n"
    files = [
        written(tmp_path, "a.json", json.dumps(rows)),
        written(tmp_path, "b.json", json.dumps({"about": "x", "turns": rows})),
        written(
            tmp_path,
            "c.csv",
            'Client,Therapist,Reasoning\nI can\'t sleep.,How long has it been?,\nWeeks.,"Weeks of it.",slow down\n',
        ),
        written(tmp_path, "d.txt", lines + "Reasoning: slow down\nTherapist: Weeks of it.\n"),
        written(
            tmp_path, "e.md", lines.replace("Client:", "**Client:**") + "Reasoning: slow down\n- T: Weeks of it.\n"
        ),
    ]
    for file in files:
        assert read_transcript(file).turns == TURNS, file.name


def test_each_exchange_has_the_turns_before_it(tmp_path: Path) -> None:
    first, second = read_transcript(written(tmp_path, "a.txt", "C: one\nT: two\nC: three\nT: four")).exchanges()
    assert first.history == ()
    assert second.history == (Turn("one", "", "two"),)
    assert (second.client, second.therapist) == ("three", "four")


def test_words_without_an_answer_are_left_out_and_noted(tmp_path: Path) -> None:
    found = read_transcript(written(tmp_path, "a.txt", "T: Hello.\nC: Hi.\nT: Come in.\nC: Thanks."))
    assert found.turns == (Turn("Hi.", "", "Come in."),)
    assert len(found.notes) == 2
    assert "line 1" in found.notes[0]


@pytest.mark.parametrize(
    ("text", "turns", "notes"),
    [
        ("C: a\nC: b\nT: c", [Turn("a\nb", "", "c")], ["line 2: client again"]),
        ("C: a\nR: r\nC: b\nT: c", [Turn("a\nb", "r", "c")], ["line 3: client again"]),
        ("C: a\nR: r\nR: s\nT: c", [Turn("a", "r\ns", "c")], ["line 3: reasoning again"]),
        ("R: r\nC: a\nR: s\nT: c", [Turn("a", "r\ns", "c")], ["line 3: reasoning again"]),
        ("C: a\nT: b\nT: c\nC: d\nT: e", [Turn("a", "", "b\nc"), Turn("d", "", "e")], ["line 3: therapist again"]),
        ("C: a\nR: r\nT: b\nR: s\nT: c", [Turn("a", "r\ns", "b\nc")], ["line 5: therapist, with reasoning, again"]),
        ("C: a\nT: b\nR: s\nC: c\nT: d", [Turn("a", "", "b"), Turn("c", "s", "d")], []),
        ("T: x\nT: y\nC: a\nT: b", [Turn("a", "", "b")], ["line 1: therapist before", "line 2: therapist before"]),
        ("R: r\nT: x\nC: a\nT: b", [Turn("a", "", "b")], ["line 2: therapist, with reasoning, before any client"]),
        ("C: a\nT: b\nC: c\nR: r", [Turn("a", "", "b")], ["the last words (client and reasoning)"]),
        ("C: a\nT: b\nR: r", [Turn("a", "", "b")], ["the last words (reasoning)"]),
        ("C: a\nb\nT: c\n\nd", [Turn("a b", "", "c d")], []),
    ],
)  # fmt: skip
def test_speeches_that_do_not_alternate_are_kept_and_noted(
    tmp_path: Path, text: str, turns: list[Turn], notes: list[str]
) -> None:
    found = read_transcript(written(tmp_path, "a.txt", text.replace("R:", "Reasoning:")))
    assert list(found.turns) == turns
    assert len(found.notes) == len(notes)
    for note, told in zip(found.notes, notes, strict=True):
        assert note.startswith(told)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.json", '[{"client": "a", "therapist": ""}, {"client": "b", "therapist": "c"}]'),
        ("a.csv", "client,therapist\na,\nb,c\n"),
        ("b.csv", "client,therapist\na,,,\nb,c,,\n"),
    ],
)
def test_in_rows_an_empty_reply_is_a_turn_and_noted(tmp_path: Path, name: str, text: str) -> None:
    found = read_transcript(written(tmp_path, name, text))
    assert found.turns == (Turn("a", "", ""), Turn("b", "", "c"))
    assert found.notes == ("turn 1: the therapist says nothing; judged as an empty reply",)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.json", '[{"client": "x"}, {"client": 3, "therapist": "y"}]', ["turn 1: therapist: found", "turn 2: client: found 3"]),
        ("a.json", "{", ["found no JSON"]),
        ("a.json", '{"talk": []}', ["an object without turns"]),
        ("a.json", "[]", ["found no turn"]),
        ("a.json", '["x", {"client": " ", "therapist": "\\ud800"}]', ["found 'x'", "client: found no words", "lone surrogate"]),
        ("a.csv", "who,what\n1,2\n", ["found columns who, what"]),
        ("a.csv", 'client,therapist\n"x,y\n', ["not a CSV row"]),
        ("a.json", '[{"client": "a", "client": "b", "therapist": "c"}]', ["turn 1: client: found ['a', 'b']"]),
        ("a.json", '[{"client": "a"}, {"client": "b", "therapist": "c"}]', ["turn 1: therapist: found nothing"]),
        ("a.json", '[{"client": "", "therapist": "c"}]', ["turn 1: client: found no words", "to the turn before"]),
        ("a.csv", "client,Client,therapist\na,b,c\n", [":1: found columns client more than once"]),
        ("a.csv", "client,therapist\na, b,c\nd,e,\n", [":2: found 1 cells too many; put a text that holds a comma"]),
        ("a.csv", "client,therapist\na\n,c\n", [":2: therapist: found nothing", ":3: client: found no words"]),
        ("a.txt", "Hello there\nNarrator: once\nC: x\nT: y", [":1: found 'Hello there'", ":2: found speaker 'Narrator'"]),
        ("a.txt", "C: \nT: y", ["client: found no words"]),
        ("a.txt", "", ["found no client"]),
        ("a.doc", "x", ["ends in .doc"]),
    ],
)  # fmt: skip
def test_all_mistakes_at_once(tmp_path: Path, name: str, text: str, told: list[str]) -> None:
    with pytest.raises(TranscriptError) as error:
        read_transcript(written(tmp_path, name, text))
    for part in told:
        assert part in str(error.value)


def test_not_utf8(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"C: \xff\nT: y")
    with pytest.raises(TranscriptError, match="not UTF-8"):
        read_transcript(tmp_path / "a.txt")
