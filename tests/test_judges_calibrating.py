"""A judge of known leanings is found out; tables, files and picture of a calibration."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from client_graph.names import DIMENSIONS
from judges.calibration.file import file_name, known_error, write_calibration
from judges.calibration.measures import Share
from judges.calibration.picture import write_picture
from judges.calibration.run import Calibration, LeftOut, agreements, calibrate
from judges.calibration.tables import tables
from judges.pairs import Pair, read_pairs
from judges.protocol import Assessment, Exchange, JudgeFailure, Judgement
from judges.scripted import ScriptedJudge


def judgement(scores: np.ndarray) -> Judgement:
    kind, harsh = (Assessment(s, ("because",) * 12, "n") for s in (scores, scores - 1))
    return Judgement(kind, harsh, digit_mass=np.full((2, 12), 0.9))


class Leaning:
    """Prefers the better replies by `lead`, in the pair's own dimension by one more; fails on one reply."""

    def __init__(self, name: str, pairs: tuple[Pair, ...], lead: float, fails: str = "") -> None:
        self.name, self._lead, self._fails = name, lead, fails
        self._own = {p.better: (p.client, DIMENSIONS.index(p.dimension)) for p in pairs}

    def judge(self, exchanges: list[Exchange]) -> list[Judgement | JudgeFailure]:
        return [self._one(exchange) for exchange in exchanges]

    def _one(self, exchange: Exchange) -> Judgement | JudgeFailure:
        if exchange.therapist == self._fails:
            return JudgeFailure("it would not")
        scores = np.full(12, 5.0)
        if exchange.therapist in self._own:
            client, own = self._own[exchange.therapist]
            scores += self._lead * (client == exchange.client)
            scores[own] += 1.0
        return judgement(scores)


def learned(table: Path, folder: Path) -> ScriptedJudge:
    """Learned nothing from the table."""
    return ScriptedJudge(lambda _: 5.0)


@pytest.fixture(scope="module")
def calibrations() -> list[Calibration]:
    pairs = read_pairs()
    judges = Leaning("one", pairs, 2.0), Leaning("two:a/b", pairs, -1.0, fails=pairs[0].better)
    return [calibrate(judges[0], pairs, learned), calibrate(judges[1], pairs)]  # type: ignore[arg-type]


def test_a_judge_of_known_leanings_is_found_out(calibrations: list[Calibration]) -> None:
    one, two = calibrations
    n = one.pairs
    assert one.accuracy.composite == one.accuracy.own == Share(n, n)
    assert one.discrimination.among_top == Share(n, n)
    assert one.swap.falls == Share(n, n)
    assert one.swap.mean_fall == pytest.approx(2.0)
    assert one.persona_gap == pytest.approx(np.ones(12))
    assert not one.retest.any()
    assert one.punctuation.any()  # it knows replies by their letters
    assert one.digit_mass == pytest.approx((0.9, 0.9))
    assert one.left_out is not None
    assert one.left_out.coverage is None
    assert two.accuracy.composite == Share(0, n - 1)  # minus one, and a twelfth for the own dimension
    assert two.failures.count >= 2  # once with its client, once with another's
    assert two.why == "it would not"
    assert agreements(calibrations)["one", "two:a/b"].bias > 0


def test_the_tables_fit_eighty_columns(calibrations: list[Calibration]) -> None:
    out = io.StringIO()
    console = Console(file=out, width=80)
    for table in tables(calibrations[:1]):
        console.print(table.rich())
    text = out.getvalue()
    assert max(map(len, text.split("\n"))) <= 80
    assert text.count("parallel_thinking") == 2  # whole, in both tables
    assert "0 (deterministic)" in text
    assert "…" not in text
    page = "\n".join(table.markdown() for table in tables(calibrations))
    assert "| one - two:a/b |" in page
    assert "nan" not in page


def test_what_the_sheet_says_of_a_judge(calibrations: list[Calibration], tmp_path: Path) -> None:
    unknown = known_error("one", tmp_path)
    assert "not calibrated here" in unknown
    assert "error" not in unknown  # which the judge may state itself
    path = write_calibration(tmp_path, calibrations[0])
    told = known_error("one", tmp_path)
    assert "ranks 100% of 168 held-out pairs rightly" in told
    assert "2.0 points less" in told
    kept = json.loads(path.read_text())
    assert kept["accuracy"]["composite"]["count"] == calibrations[0].pairs
    path.write_text(json.dumps(kept | {"tables": "other"}))
    assert "measure it anew" in known_error("one", tmp_path)
    path.write_text("{")
    assert "cannot be read" in known_error("one", tmp_path)
    assert file_name("self:/a/folder/of mine") == "self-of-mine.json"


def test_a_picture_of_one_and_of_two(calibrations: list[Calibration], tmp_path: Path) -> None:
    for found in (calibrations[:1], calibrations):
        write_picture(tmp_path / "a.png", found)
        assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_left_out_error_is_the_median_miss(calibrations: list[Calibration]) -> None:
    left = calibrations[0].left_out
    assert isinstance(left, LeftOut)
    assert left.examples > 100
    assert ((left.probable_error > 0) & (left.probable_error < 5)).all()
