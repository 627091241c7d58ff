"""Blind reading: a sheet tells nothing of the step, and scores go back to the look they came from."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest

from benchmarks.blind_reading import checked, dealt, report, scores_of, sheet

STEPS, CLIENTS, ROUNDS = (-1, 0, 60), 5, 3


def rows() -> list[dict[str, Any]]:
    return [
        {"step": s, "client": f"client {c}", "reply": f"{s} to {c}, {r}", "score": float(s), "referee": 5.0 + c}
        for s in STEPS
        for r in range(ROUNDS)
        for c in range(CLIENTS)
    ]


def scored(path: Path, **changes: str) -> Path:
    """A reader who likes what was said later: 2, 3 and 4 points by step."""
    table = list(csv.DictReader(io.StringIO(sheet(rows()))))
    for row in table:
        row["score"] = str(2 + STEPS.index(int(row["reply"].split()[0])))
    table[0] |= changes
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ("client", "reply", "score"))
        writer.writeheader()
        writer.writerows(table)
    return path


def test_every_client_of_every_look_is_dealt_once_without_step_and_score() -> None:
    table = list(csv.DictReader(io.StringIO(sheet(rows()))))
    assert list(table[0]) == ["client", "reply", "score"]
    assert len(table) == len(STEPS) * CLIENTS
    assert {row["score"] for row in table} == {""}
    steps = [row["reply"].split()[0] for row in table]
    assert steps != sorted(steps)
    assert sheet(rows()) == sheet(rows())


def test_the_scores_go_back_to_their_looks(tmp_path: Path) -> None:
    given = scores_of(scored(tmp_path / "a.csv"), rows())
    page = report(rows(), [given, given], "two tests")
    assert "| authored | 5 | 2.00 | 2.00 | 2.00 |" in page
    assert "| 60 | 5 | 4.00 | 4.00 | 4.00 |" in page
    assert "after 60 steps less the start, same clients: +1.00 (+1.00 to +1.00)" in page
    assert "Readers: two tests" in page


@pytest.mark.parametrize("wrong", ["", "eleven", "11", "-1", "nan"])
def test_a_score_that_is_none_is_told_with_its_line(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(ValueError, match=r"a\.csv:2: found score .* expected a number from 0 to 10"):
        scores_of(scored(tmp_path / "a.csv", score=wrong), rows())


def test_another_sheet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="1 dealt replies are missing and 1 were not dealt"):
        scores_of(scored(tmp_path / "a.csv", reply="0 somebody else wrote this"), rows())


def test_a_reply_said_at_two_steps_is_dealt_once_and_counts_for_both() -> None:
    same = [row | {"reply": "I'm listening."} for row in rows()]
    assert len(list(csv.DictReader(io.StringIO(sheet(same))))) == CLIENTS
    assert [len(part) for part in dealt(same).values()] == [CLIENTS] * len(STEPS)


def test_agreement_is_within_a_look_and_clients_are_paired_by_name(tmp_path: Path) -> None:
    """Readers like client 4 best, reward client 4 too, within every look; over looks both rise, which is no agreement."""
    said = [row | {"score": row["score"] + int(row["client"][-1])} for row in rows()]
    later = [row for row in said if row["step"] == 60][::-1]
    mixed = [row for row in said if row["step"] != 60] + later
    given = {(row["client"], row["reply"]): float(row["client"][-1]) for row in mixed}
    page = report(mixed, [given], "a test")
    assert "the reward with the readers' mean: 1.00 (1.00, 1.00)" in page
    assert "after 60 steps less the start, same clients: +0.00 (+0.00 to +0.00)" in page


def test_a_reply_that_was_not_scored_has_no_points() -> None:
    unscored = [row | {"score": None if row["step"] == 60 and row["client"] == "client 0" else 1.0} for row in rows()]
    given = {(row["client"], row["reply"]): 9.0 - int(row["client"][-1]) for row in unscored}
    assert "reward none: *client 0*" in report(unscored, [given], "a test")


@pytest.mark.parametrize("lacking", ["step", "referee"])
def test_replies_of_another_kind_are_refused(lacking: str) -> None:
    broken = [{k: v for k, v in row.items() if k != lacking} for row in rows()]
    with pytest.raises(ValueError, match="45 of them without"):
        checked(broken, Path("x.json"))
    with pytest.raises(ValueError, match="against a, b"):
        checked([row | {"judge": "ab"[i % 2]} for i, row in enumerate(rows())], Path("x.json"))
