"""The judges' tables and prompts: whole, in order, and refused with every mistake named."""

from pathlib import Path

import numpy as np
import pytest

from client_graph.names import DIMENSIONS
from client_graph.tables import TableError
from judges.offline.examples import EXAMPLES, read_examples
from judges.rubric import JUDGE_CONFIGS, PERSONAS, persona, prompt_text, rubric


def test_the_rubric_holds_the_twelve_in_order() -> None:
    assert tuple(row.name for row in rubric()) == DIMENSIONS
    texts = [
        text for row in rubric() for text in (row.question, row.poor, row.adequate, row.excellent, row.recommendation)
    ]
    assert len(set(texts)) == 60


@pytest.mark.parametrize(
    ("score", "band"), [(0, "poor"), (3.9, "poor"), (4, "adequate"), (6.9, "adequate"), (7, "excellent")]
)
def test_a_score_finds_its_anchor(score: float, band: str) -> None:
    assert rubric()[0].anchor(score) == getattr(rubric()[0], band)


def test_the_personas_differ_and_no_third_exists() -> None:
    assert len({persona(name) for name in PERSONAS}) == 2
    with pytest.raises(TableError, match="kind, harsh"):
        persona("cruel")
    with pytest.raises(TableError, match="no such prompt"):
        prompt_text("missing")


def test_a_rubric_out_of_order_is_refused(tmp_path: Path) -> None:
    lines = (JUDGE_CONFIGS / "dimensions.csv").read_text(encoding="utf-8").splitlines()
    wrong = tmp_path / "dimensions.csv"
    wrong.write_text("\n".join([lines[0], lines[2], lines[1], *lines[3:]]), encoding="utf-8")
    with pytest.raises(TableError, match="in order"):
        rubric(wrong)


def test_the_examples_are_many_and_their_profiles_differ() -> None:
    examples = read_examples()
    assert len(examples.replies) >= 130
    assert len(set(examples.clients)) >= 24
    assert examples.scores.min() == 0
    assert examples.scores.max() == 10
    correlation = np.corrcoef(examples.scores.T)
    assert np.linalg.matrix_rank(examples.scores - examples.scores.mean(axis=1, keepdims=True)) == 11
    assert correlation[~np.eye(12, dtype=bool)].min() < 0.8
    assert np.mean(np.ptp(examples.scores, axis=1) >= 3) > 0.5


def test_excellent_examples_are_of_speakable_length() -> None:
    examples = read_examples()
    lengths = [
        len(reply.split())
        for reply, scores in zip(examples.replies, examples.scores, strict=True)
        if scores.mean() >= 8
    ]
    assert len(lengths) >= 40
    assert max(lengths) <= 75
    assert 10 <= np.median(lengths) <= 30


def test_every_mistake_in_the_examples_is_named_at_once(tmp_path: Path) -> None:
    lines = (EXAMPLES / "first.csv").read_text(encoding="utf-8").splitlines()
    wrong = tmp_path / "examples.csv"
    bad = f'"c","another reply",11,nan,True,{",".join("5" * 9)},why it is,design'
    wrong.write_text("\n".join([*lines, lines[1], bad]), encoding="utf-8")
    with pytest.raises(TableError) as caught:
        read_examples(wrong)
    message = str(caught.value)
    assert "found twice" in message
    assert all(name in message for name in ("attunement", "pacing", "safety"))
