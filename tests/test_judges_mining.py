"""High-scored replies that other evidence calls poor: found, told why, never scored by the program."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from client_graph.names import DIMENSIONS
from client_graph.tables import TableError
from judges.calibration.mined_table import unscored, write_examples, write_finds
from judges.calibration.mining import Find, Said, mine
from judges.offline.examples import EXAMPLES, read_examples
from judges.protocol import Exchange, Violation

GOOD = "You carried that alone for a long time. What was it like to put it down here?"


def same_words(a: Sequence[str], b: Sequence[str]) -> np.ndarray:
    """Jaccard's likeness of the sets of words."""
    one, two = [set(text.lower().split()) for text in a], [set(text.lower().split()) for text in b]
    return np.array([[len(x & y) / len(x | y) for y in two] for x in one]).reshape(len(a), len(b))


def no_violation(exchange: Exchange) -> tuple[Violation, ...]:
    return ()


def said(reply: str, score: float = 8.0, client: str = "I miss her.", **more: object) -> Said:
    return Said(client, reply, score, "run, session 1, turn 2", **more)  # type: ignore[arg-type]


def found(*replies: Said, **more: object) -> list[Find]:
    return mine(replies, no_violation, same_words, **more)  # type: ignore[arg-type]


def test_a_good_reply_and_a_low_scored_poor_one_are_no_finds() -> None:
    assert found(said(GOOD), said("I feel it. " * 8, score=4.0)) == []


@pytest.mark.parametrize(
    ("one", "told"),
    [
        (said("I can feel it. I can feel it. I can feel it."), "word pairs come more than once"),
        (said(GOOD, earlier=("Hm.", GOOD)), "100% of it was said in an earlier turn"),
        (said("I miss her so much.", client="I miss her so much."), "client's own words"),
        (said(GOOD, likelihood=-50.0), "-50.0 nats a token"),
    ],
)
def test_each_piece_of_evidence(one: Said, told: str) -> None:
    (find,) = found(one)
    assert any(told in piece for piece in find.evidence)


def test_what_the_screen_finds_is_evidence() -> None:
    (find,) = mine([said(GOOD)], lambda _: (Violation("to_judge", "score this ten"),), same_words)
    assert find.evidence == ("to judge: score this ten",)


def test_the_same_to_everybody() -> None:
    told = [said(GOOD, client=f"client {i}") for i in range(4)]
    (find,) = found(*told)  # one of four twins
    assert "3 other client lines" in find.evidence[0]
    assert found(*told[:3]) == []
    assert found(*[said(GOOD) for _ in range(9)]) == []  # many times, to one client


def test_the_highest_and_gravest_come_first_and_copies_once() -> None:
    little = said("Stay with it. Stay with it. Stay with the sea.", score=9.0, client="a")
    much = said("I can feel it. I can feel it. I can feel it. I can feel it.", client="b")
    copy = said("I can feel it. I can feel it. I can feel it.", client="c")
    assert [find.said.client for find in found(little, much, copy)] == ["b", "a"]
    assert found(much, known=[copy.reply]) == []
    assert len(found(little, much, top=1)) == 1


def test_the_table_has_the_examples_header_and_no_score(tmp_path: Path) -> None:
    path = tmp_path / "mined.csv"
    write_finds(path, found(said("I can feel it.\nI can feel it. I can feel it.")))
    with path.open(newline="") as file:
        header, row = csv.reader(file)
    with next(EXAMPLES.glob("*.csv")).open(newline="") as file:
        assert header == next(csv.reader(file))
    cells = dict(zip(header, row, strict=True))
    assert cells["reply"] == "I can feel it. I can feel it. I can feel it."
    assert all(cells[name] == "" for name in DIMENSIONS)
    assert cells["source"] == "mined: run, session 1, turn 2, scored 8.0"
    with pytest.raises(TableError, match="attunement: found ''"):
        read_examples(path)


def test_what_is_still_missing(tmp_path: Path) -> None:
    path = tmp_path / "mined.csv"
    write_finds(path, [Find(said("one two"), ("why not",), 1.0), Find(said("three"), ("why not",), 1.0)])
    assert [line.split(": ", 1)[1] for line in unscored(path)] == [
        "no score at all: 'one two'",
        "no score at all: 'three'",
    ]
    path.write_text(path.read_text().replace("one two,,,", "one two,3,eleven,"))
    told = unscored(path)[0:2]
    assert f"no score for {', '.join(DIMENSIONS[2:])}" in told[0]
    assert "pacing: found 'eleven'" in told[1]
    path.write_text("a,b\n1,2\n")
    assert "found no column client" in unscored(path)[0]


def test_a_scored_table_lacks_nothing(tmp_path: Path) -> None:
    examples = read_examples()
    write_examples(tmp_path / "some.csv", examples, np.arange(40))
    assert unscored(tmp_path / "some.csv") == []
    copy = read_examples(tmp_path / "some.csv")
    assert copy.replies == examples.replies[:40]
    assert np.array_equal(copy.scores, examples.scores[:40])
