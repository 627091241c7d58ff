"""The held-out pairs: whole, balanced so that no count of words decides them, and refused with every mistake named."""

import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from client_graph.names import DIMENSIONS
from client_graph.tables import TableError
from judges.pairs import DECENT_POOR, PAIRS, Pair, read_pairs

HEADER = "dimension,client,better,worse,why,source"
both_sets = pytest.mark.parametrize("path", [PAIRS, DECENT_POOR], ids=["subtle", "plain"])


def write(folder: Path, *rows: str) -> Path:
    path = folder / "pairs.csv"
    path.write_text("\n".join((HEADER, *rows)) + "\n", encoding="utf-8")
    return path


def words(texts: list[str]) -> np.ndarray:
    return np.array([len(text.split()) for text in texts])


def texts(pair: Pair) -> tuple[str, str, str]:
    return pair.client, pair.better, pair.worse


def echo(pair: Pair, reply: str) -> int:
    """Words of four letters or more that the reply takes from the client."""
    return len(set(re.findall(r"[a-z]{4,}", reply.lower())) & set(re.findall(r"[a-z]{4,}", pair.client.lower())))


@both_sets
def test_every_dimension_is_tested_by_at_least_ten_pairs(path: Path) -> None:
    counts = Counter(pair.dimension for pair in read_pairs(path))
    assert set(counts) == set(DIMENSIONS)
    assert min(counts.values()) >= 10


@both_sets
def test_length_does_not_decide(path: Path) -> None:
    pairs = read_pairs(path)
    better, worse = words([pair.better for pair in pairs]), words([pair.worse for pair in pairs])
    assert better.mean() == pytest.approx(worse.mean(), rel=0.15)
    assert 0.4 <= (better > worse).mean() <= 0.6


@both_sets
@pytest.mark.parametrize("mark", ["?", "!"])
def test_punctuation_does_not_decide(path: Path, mark: str) -> None:
    """A judge that prefers the reply with more (or fewer) of the marks, and guesses at a tie, is near chance."""
    pairs = read_pairs(path)
    difference = np.array([pair.better.count(mark) - pair.worse.count(mark) for pair in pairs])
    assert 0.4 <= (difference > 0).mean() + (difference == 0).mean() / 2 <= 0.6


@both_sets
def test_question_marks_are_about_as_many(path: Path) -> None:
    pairs = read_pairs(path)
    better = sum(pair.better.count("?") for pair in pairs)
    worse = sum(pair.worse.count("?") for pair in pairs)
    assert better == pytest.approx(worse, rel=0.15)


@both_sets
def test_short_and_good_and_long_and_bad_are_both_there(path: Path) -> None:
    pairs = read_pairs(path)
    assert (words([pair.better for pair in pairs]) <= 10).mean() >= 0.2
    assert (words([pair.worse for pair in pairs]) >= 25).mean() >= 0.2


def test_the_plain_set_has_twelve_pairs_for_each_dimension() -> None:
    assert Counter(pair.dimension for pair in read_pairs(DECENT_POOR)) == dict.fromkeys(DIMENSIONS, 12)


def test_the_two_sets_share_no_client_and_no_reply() -> None:
    """A pair in both sets would be counted twice, and two results would look like two confirmations."""
    subtle, plain = (
        {text.casefold() for pair in read_pairs(path) for text in texts(pair)} for path in (PAIRS, DECENT_POOR)
    )
    assert not subtle & plain


def test_echoing_the_client_does_not_decide() -> None:
    """In the plain set, a judge that prefers the reply with more of the client's own words is near chance."""
    difference = np.array([echo(pair, pair.better) - echo(pair, pair.worse) for pair in read_pairs(DECENT_POOR)])
    assert 0.4 <= (difference > 0).mean() + (difference == 0).mean() / 2 <= 0.6


def test_rows_keep_the_order_of_the_file(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "pacing,Not now.,We can wait.,Why not?,presses,design: x",
        "safety,Help.,I am here.,Calm down.,cold,design: x",
    )
    assert read_pairs(path) == (
        Pair(
            dimension="pacing",
            client="Not now.",
            better="We can wait.",
            worse="Why not?",
            why="presses",
            source="design: x",
        ),
        Pair(
            dimension="safety",
            client="Help.",
            better="I am here.",
            worse="Calm down.",
            why="cold",
            source="design: x",
        ),
    )


def test_every_mistake_is_listed(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "pacing,Not now.,We can wait.,Why not?,presses,design: x",
        "warmth,Hello.,Good morning.,Yes?,curt,design: x",
        "safety,NOT  now.,I am here.,Calm down.,cold,design: x",
        "safety,Help.,we can wait.,Breathe.,cold,design: x",
        "repair,You lied.,I did.,I  did.,same,design: x",
    )
    with pytest.raises(TableError) as caught:
        read_pairs(path)
    problems = caught.value.problems
    for line, part in (
        (3, "dimension: found 'warmth'"),
        (4, "client: found 'NOT  now.', as in line 2"),
        (5, "reply: found 'we can wait.', as in line 2"),
        (6, "better and worse: found one text"),
    ):
        assert any(f":{line}: {part}" in problem for problem in problems), (line, part)
    assert len(problems) == 4
    assert "attunement" in problems[0]


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="no such table"):
        read_pairs(tmp_path / "none.csv")


def test_the_table_lies_beside_the_rubric() -> None:
    assert PAIRS.parent.name == DECENT_POOR.parent.name == "judges"
    assert (PAIRS.parent / "dimensions.csv").is_file()
