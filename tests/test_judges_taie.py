"""TAIE in full: the words follow from axes and realms, what is stuck stands still and far, and a writer that fails is named."""

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client_graph.catalog import load_catalog
from client_graph.client import ClientGraph
from client_graph.names import AXES, DOMAINS
from client_graph.personhood import draw
from client_graph.state import ClientState
from client_graph.tables import TableError
from client_graph.testing import node, plain_catalog, scores, states
from client_graph.turn import advance
from judges.assessment.taie import (
    ADVISED,
    LATEST,
    STILL,
    TaieAssessment,
    assess_client,
    assess_taie,
    taie_prompt,
    with_writing,
)
from judges.assessment.taie_tables import TRENDS, taie_tables
from judges.protocol import Exchange, JudgeFailure
from judges.rubric import JUDGE_CONFIGS

CATALOG = load_catalog()
TEXTS = taie_tables()


def course(score: float, turns: int = 3, clients: int = 2, stage: int = 1) -> list[ClientState]:
    """The states after each of `turns` turns that were all judged `score`."""
    state, _ = draw(CATALOG, np.random.default_rng(4), clients, stage=stage)
    found = []
    for _ in range(turns):
        state, _ = advance(state, np.full((clients, 12), score), CATALOG)
        found.append(state)
    return found


def coiling(state: ClientState, client: int, domain: str) -> float:
    """Weighted mean distance from health of a domain, once more and plainly."""
    total = weight = 0.0
    for row, level in zip(CATALOG.nodes, state.levels[client].tolist(), strict=True):
        if row.domain == domain:
            far = {"increase": 10 - level, "decrease": level, "bipolar": 2 * abs(level - 5)}[row.direction] / 10
            total, weight = total + row.weight * far, weight + row.weight
    return total / weight


@pytest.mark.parametrize("score", [2.0, 5.0, 7.0, 8.0, 9.5])
def test_stuck_is_what_stands_still_and_far_from_health(score: float) -> None:
    window = course(score)
    for client, found in enumerate(assess_taie(window, CATALOG)):
        expected = {}
        for domain in DOMAINS:
            course_of = [coiling(state, client, domain) for state in window]
            if max(course_of) - min(course_of) <= STILL and course_of[-1] >= TEXTS.realms[domain].far_from:
                expected[domain] = course_of[-1]
        assert {realm.domain: realm.coiling for realm in found.stuck_realms} == pytest.approx(expected)
        beyond = [realm.coiling - TEXTS.realms[realm.domain].far_from for realm in found.stuck_realms]
        assert beyond == sorted(beyond, reverse=True)


def test_turns_that_do_nothing_leave_a_new_client_stuck_and_good_ones_do_not() -> None:
    idle, good, settled = (assess_taie(course(*given), CATALOG)[0] for given in ((5.0,), (9.5,), (5.0, 3, 1, 4)))
    assert len(idle.stuck_realms) > 5
    assert len(good.stuck_realms) < 3
    assert settled.stuck_realms == ()
    assert "No realm is both far from health and standing still." in settled.narrative


def test_too_few_assessments_call_nothing_stuck_and_say_so() -> None:
    window = course(5.0)
    for count in (1, 2):
        found = assess_taie(window[-count:], CATALOG)[0]
        assert found.stuck_realms == ()
        assert f"it takes 3 assessments, and there are {count}." in found.narrative
        assert found.assessments == count


def test_repair_comes_first_where_the_structure_moves_away() -> None:
    found = assess_taie(course(1.0), CATALOG)[0]
    assert found.trend == "away_from_zero"
    assert found.recommendations[0] == TEXTS.trends["away_from_zero"].recommendation
    assert "Ground is being lost most in" in found.narrative
    better = assess_taie(course(9.0), CATALOG)[0]
    assert better.trend == "toward_zero"
    assert better.recommendations[-1] == TEXTS.trends["toward_zero"].recommendation
    assert "Most has moved toward health in" in better.narrative


def test_a_client_in_full() -> None:
    """As a reader gets it, after three good turns."""
    client = ClientGraph.draw(seed=11, stage=1)
    window = []
    for score in (8.0, 8.0, 8.0):
        client = client.after(np.full(12, score))
        window.append(client)
    found = assess_client(*window)
    x, y, z = (TEXTS.region(a, found.axes[a]) for a in range(3))
    assert found.narrative.startswith(
        f"On rigidity and porosity they are {x.name} ({found.axes[0]:z.1f}): {x.meaning}."
    )
    assert (
        f"On self-esteem they are {y.name} ({found.axes[1]:z.1f}): {y.meaning}. Since intake that is" in found.narrative
    )
    assert f"On cherishment and estrangement they are {z.name} ({found.axes[2]:z.1f}): {z.meaning}." in found.narrative
    assert f"{found.transformation:.0%} lies behind them; over the last three assessments" in found.narrative
    assert found == assess_taie([c.state for c in window], CATALOG)[0]
    assert assess_client(client).assessments == 1


@given(data=st.data())
def test_whatever_the_client_the_words_are_true_of_the_numbers(data: st.DataObject) -> None:
    catalog = CATALOG
    state = data.draw(states(catalog, 2))
    window = [state]
    for _ in range(2):
        window.append(advance(window[-1], data.draw(scores(2)), catalog)[0])
    kept = [one.snapshot() for one in window]
    together = assess_taie(window, catalog)
    assert all(one.same_as(other) for one, other in zip(window, kept, strict=True))
    for i, found in enumerate(together):
        assert found == assess_taie([one.take([i]) for one in window], catalog)[0]
        assert found.axes == tuple(window[-1].axes[i].tolist())
        drift = window[-1].axes_window[i, 2] - window[-1].axes_window[i, 0]
        assert found.trend == TRENDS[1 if abs(drift) <= 0.05 else 0 if drift > 0 else 2]
        for a, name in enumerate(("rigidity and porosity", "self-esteem", "cherishment and estrangement")):
            (told,) = re.findall(rf"On {name} they are ([a-z -]+) \(-?[\d.]+\)", found.narrative)
            region = next(row for row in TEXTS.regions[a] if row.name == told)
            assert region.low <= found.axes[a] <= region.high
        assert 1 <= len(found.recommendations) <= ADVISED + 1
        assert len(set(found.recommendations)) == len(found.recommendations)
        advised = set(found.recommendations)
        assert advised >= {realm.recommendation for realm in found.stuck_realms[:ADVISED]}
        assert {realm.domain for realm in found.stuck_realms} <= {row.domain for row in catalog.nodes}
        assert f"{found.transformation:.0%} lies behind" in found.narrative
        assert "  " not in found.narrative
        assert "nan" not in found.narrative.split()


def test_windows_that_are_none_are_refused() -> None:
    window = course(5.0)
    for wrong in ([], [*window, window[-1]]):
        with pytest.raises(ValueError, match="expected those of the last 1 to 3"):
            assess_taie(wrong, CATALOG)
    with pytest.raises(ValueError, match="expected the same clients in each state"):
        assess_taie([window[0].take([0]), window[1]], CATALOG)
    with pytest.raises(ValueError, match="found states of different clients"):
        assess_taie([window[0], window[1].take([1, 0])], CATALOG)
    small = plain_catalog([node("a")])
    with pytest.raises(ValueError, match="says nothing; add a row for each"):
        assess_taie([draw(small, np.random.default_rng(0))[0]], small)
    with pytest.raises(ValueError, match="found no client"):
        assess_client()


class Fake:
    """A writer that answers, or raises."""

    def __init__(self, answer: str | Exception) -> None:
        self.answer, self.asked = answer, ""

    def write(self, prompt: str, most_tokens: int) -> str:
        self.asked = prompt
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer[:most_tokens]


def assessed() -> TaieAssessment:
    return assess_taie(course(5.0), CATALOG)[0]


def test_a_writer_is_given_the_measurements_and_the_latest_turns_in_fences() -> None:
    turns = [Exchange(f"client {n}", "", "``` {turns} {measured}") for n in range(1, LATEST + 3)]
    found, writer = assessed(), Fake(" A picture.\n")
    written = with_writing(found, turns, writer)
    assert written.written == "A picture."
    assert (written.narrative, written.recommendations) == (found.narrative, found.recommendations)
    assert writer.asked == taie_prompt(found, turns)
    assert writer.asked.count(found.narrative) == 1
    assert writer.asked.count("````\n``` {turns} {measured}\n````") == LATEST
    assert "Turn 2." not in writer.asked
    assert f"Turn {LATEST + 2}." in writer.asked
    assert "(none: the session begins)" in taie_prompt(found, [])


@pytest.mark.parametrize(
    ("answer", "said"),
    [("", "the writer wrote nothing"), (RuntimeError("no memory"), "the writer failed (RuntimeError: no memory)")],
)
def test_a_writer_that_fails_is_named_and_what_is_calculated_stays(answer: str | Exception, said: str) -> None:
    found = assessed()
    written = with_writing(found, [], Fake(answer))
    assert written.written == JudgeFailure(said)
    assert (written.narrative, written.stuck_realms) == (found.narrative, found.stuck_realms)


def test_every_position_has_one_region_and_every_domain_a_realm() -> None:
    for a in range(len(AXES)):
        for position in np.linspace(-10, 10, 201):
            region = TEXTS.region(a, float(position))
            assert region.low <= position <= region.high
        assert "steady" in TEXTS.region(1, 0.0).name
    assert set(TEXTS.realms) == set(DOMAINS)
    advice = [row.recommendation for row in TEXTS.realms.values()]
    assert len(set(advice)) == len(advice)


@pytest.mark.parametrize(
    ("table", "change", "told"),
    [
        (
            "regions",
            lambda rows: rows[:3] + rows[4:],
            "rigidity_porosity: a region ends at -1 and the next begins at 1",
        ),
        ("regions", lambda rows: rows[:-1], "cherishment_estrangement: a region ends at 5 and the next begins at 10"),
        ("regions", lambda rows: [{**row, "axis": "x"} for row in rows], "axis: found x; expected each once"),
        ("realms", lambda rows: rows[1:], "domain: found adaptive_humor"),
        ("realms", lambda rows: [{**row, "far_from": "1.5"} for row in rows], "far_from: found '1.5'"),
        ("trends", lambda rows: rows[:2], "expected each once: away_from_zero, stable, toward_zero"),
    ],
)
def test_tables_with_gaps_are_refused_and_name_them(table: str, change: object, told: str, tmp_path: Path) -> None:
    for name in ("regions", "realms", "trends"):
        with (JUDGE_CONFIGS / f"taie_{name}.csv").open(encoding="utf-8", newline="") as lines:
            rows = list(csv.DictReader(lines))
        kept = change(rows) if name == table else rows  # type: ignore[operator]
        with (tmp_path / f"taie_{name}.csv").open("w", encoding="utf-8", newline="") as out:
            writer = csv.DictWriter(out, list(rows[0]))
            writer.writeheader()
            writer.writerows(kept)
    with pytest.raises(TableError, match=re.escape(told)):
        taie_tables(tmp_path)
