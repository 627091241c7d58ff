"""The offline voice: nobody is without words, the stage of treatment is heard, and an answer answers."""

from collections import Counter
from itertools import product
from typing import Any

import numpy as np
import pytest

from client_graph.catalog import Catalog, load_catalog
from client_graph.client import ClientGraph
from client_graph.names import PHASES, STAGES
from client_graph.personhood import draw
from client_graph.rows import VoiceRow
from client_graph.testing import plain
from envs.session import SessionEnv
from envs.voice import AuthoredVoice, SpeakingTurn, Utterance
from judges.protocol import Turn
from judges.scripted import ScriptedJudge

CATALOG = load_catalog()
VOICE = AuthoredVoice(CATALOG)
ROWS: dict[str, VoiceRow] = {row.line: row for row in CATALOG.rows["voice"]}
CONCERNS = {row.name: row for row in CATALOG.rows["concerns"]}
WAYS = ("odd", "even", "balanced")
STRATEGY = {"odd": "A3", "even": "C4", "balanced": "B3"}
MOMENTS = ("opening", "ordinary", "moved", "hurt", "mended", "closing")


def asked(
    moment: str, said: tuple[str, ...] = (), *, stage: int = 2, phase: str = "A", way: str = "odd",
    concern: str = "panic", session: int = 1, seed: int = 0, catalog: Catalog = CATALOG, strategy: str | None = None,
) -> SpeakingTurn:  # fmt: skip
    state, (person,) = draw(
        catalog, np.random.default_rng(seed), stage=stage, strategy=strategy or STRATEGY[way], concern=concern
    )
    state.phase[:], state.session[:] = PHASES.index(phase), session
    history = tuple(Turn(line, "", "Go on.") for line in said)
    return SpeakingTurn(ClientGraph(state, catalog), person, moment, history, np.random.default_rng(seed))


def words(turn: SpeakingTurn, voice: AuthoredVoice = VOICE) -> str:
    said = voice.speak([turn])[0]
    assert isinstance(said, Utterance)
    return said.text


def session_of(stage: int, way: str, seed: int, score: float = 8.0) -> list[str]:
    """All that the client says in a session, the goodbye included."""
    env = SessionEnv(judge=ScriptedJudge(lambda _: [score] * 12), catalog=CATALOG, max_turns=10)
    observation, _ = env.reset(seed=seed, options={"stage": stage, "strategy": STRATEGY[way]})
    said, over = [observation["client"]], False
    while not over:
        observation, _, terminated, truncated, _ = env.step("I'm listening.")
        said.append(observation["client"])
        over = terminated or truncated
    return said


@pytest.mark.parametrize("stage", STAGES)
def test_nobody_is_without_words(stage: int) -> None:
    for way, concern in product(WAYS, CONCERNS):
        turn = asked("ordinary", stage=stage, way=way, concern=concern)
        for phase, moment in product(range(4), MOMENTS):
            turn.view.state.phase[:] = phase
            assert VOICE.fitting(turn, moment), (stage, PHASES[phase], way, moment, concern)


@pytest.mark.parametrize(("stage", "way"), list(product(STAGES, WAYS)))
def test_what_is_said_fits_stage_coherence_and_concern(stage: int, way: str) -> None:
    for seed in range(4):
        said = session_of(stage, way, seed)
        concerns = {ROWS[line].concern for line in said if line in ROWS} - {"any"}
        assert len(concerns) <= 1, said
        for line in said[stage == 1 :]:
            assert stage in ROWS[line].stages
            assert ROWS[line].coherence in (way, "any")


def test_the_stage_is_heard() -> None:
    """Of ten answers about four are written for the stage, or for it and one beside it; near the end five."""
    share = {}
    for stage in STAGES:
        said = [line for seed, way in product(range(10), WAYS) for line in session_of(stage, way, seed)[1:]]
        share[stage] = np.mean([len(ROWS[line].stages) <= 2 for line in said])
        assert len(set(said)) / len(said) > 0.25  # and they do not all say the same
    assert min(share.values()) > 0.35, share
    assert share[4] > 0.45, share


@pytest.mark.parametrize(("phase", "way"), list(product("ABCD", WAYS)))
def test_a_goodbye_near_the_end_is_one_of_its_own(phase: str, way: str) -> None:
    last, others = (
        {
            line
            for stage in stages
            for line in VOICE.fitting(asked("closing", stage=stage, phase=phase, way=way), "closing")
        }
        for stages in ((4,), (1, 2, 3))
    )
    assert len(last) >= 4
    assert len(others) >= 4
    assert {ROWS[line].stage for line in last} == {"4"}
    assert not last & others


@pytest.mark.parametrize(("stage", "concern"), list(product(STAGES, CONCERNS)))
def test_the_first_words_name_the_concern_as_it_is_at_the_stage(stage: int, concern: str) -> None:
    first = {words(asked("opening", stage=stage, concern=concern, way=way, session=0)) for way in WAYS}
    if stage == 1:
        assert first == {CONCERNS[concern].opening}
    else:
        assert [(ROWS[line].stage, ROWS[line].concern) for line in first] == [(str(stage), concern)]


@pytest.mark.parametrize(("stage", "way"), list(product(STAGES, WAYS)))
def test_who_comes_again_does_not_introduce_themselves(stage: int, way: str) -> None:
    returns = {words(asked("opening", stage=stage, way=way, session=3, seed=seed)) for seed in range(12)}
    assert {ROWS[line].concern for line in returns} == {"any"}
    assert len(returns) >= 4


@pytest.mark.parametrize(("phase", "way"), list(product("ABCD", WAYS)))
def test_who_is_understood_after_a_hurt_says_that_it_was_mended(phase: str, way: str) -> None:
    turn = asked("moved", phase=phase, way=way)
    hurt, moved, mended = (VOICE.fitting(turn, moment)[0] for moment in ("hurt", "moved", "mended"))
    for other in "ABCD":  # the hurt may have thrown them back a phase
        assert ROWS[words(asked("moved", (hurt,), phase=other, way=way))].moment == "mended"
    assert ROWS[words(asked("moved", (hurt, mended), phase=phase, way=way))].moment == "ordinary"
    assert ROWS[words(asked("moved", (moved,), phase=phase, way=way))].moment == "ordinary"
    assert ROWS[words(asked("hurt", (hurt,), phase=phase, way=way))].moment == "ordinary"
    assert ROWS[words(asked("hurt", (moved,), phase=phase, way=way))].moment == "hurt"
    assert ROWS[words(asked("ordinary", (hurt,), phase=phase, way=way))].moment == "ordinary"


def test_without_a_line_for_what_was_mended_they_are_moved() -> None:
    fits = asked("moved")
    all_mended = tuple(VOICE.fitting(fits, "mended"))
    hurt = VOICE.fitting(fits, "hurt")[0]
    assert ROWS[words(asked("moved", (*all_mended, hurt)))].moment == "moved"


def test_the_odds_of_lines() -> None:
    """4 for a line of one or two stages, 3 for one of the concern, 1 for the others."""

    def line(text: str, **cells: str) -> Any:
        usual = {"stage": "any", "phase": "A", "coherence": "balanced", "moment": "ordinary", "concern": "any"}
        return plain.row("voice", line=text, **(usual | cells))

    lines = [line("Four.", stage="2-3"), line("Concern.", concern="a_worry"), line("Three stages.", stage="1-3"),
             line("Another stage.", stage="4"), line("Any."), line("All.", coherence="any"),
             line("Odd.", coherence="odd")]  # fmt: skip
    catalog = plain.plain_catalog([plain.node("bond"), plain.node("hope")], voice=lines)
    turn = asked("ordinary", stage=2, concern="a_worry", strategy="B3", catalog=catalog)
    voice = AuthoredVoice(catalog)
    assert voice.fresh_lines(turn) == ["Four.", "Concern.", "Three stages.", "Any.", "All."]
    heard = Counter(words(turn, voice) for _ in range(4_000))
    for text, odds in {"Four.": 4, "Concern.": 3, "Three stages.": 1, "Any.": 1, "All.": 1}.items():
        assert heard[text] == pytest.approx(4_000 * odds / 10, rel=0.15), heard


def test_the_same_chance_says_the_same_and_one_line_takes_none() -> None:
    assert words(asked("moved", seed=5)) == words(asked("moved", seed=5))
    only = asked("opening", session=0)
    before = only.rng.bit_generator.state
    words(only)
    assert only.rng.bit_generator.state == before
