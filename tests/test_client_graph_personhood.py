"""Who is drawn: stage odds, attachment strategies, the paper's stage ranges, a person who reads well and comes back the same."""

import json
import os
import re
from collections import Counter
from dataclasses import asdict, replace

import numpy as np
import pytest

from client_graph.arrival import CONCERN_GRIP, LEVEL_SPREAD, STAGE_ODDS, newcomers
from client_graph.catalog import Catalog, load_catalog
from client_graph.names import STAGE_NAMES, STAGES
from client_graph.personhood import Person, draw
from client_graph.session import measure
from client_graph.settings import ClientSettings
from client_graph.strengths import WITHIN_REACH, Strength, is_extremely_narcissistic, within_reach

CATALOG = load_catalog()
STRATEGIES = {row.name: row for row in CATALOG.rows["strategies"]}
CONCERNS = {row.name: row for row in CATALOG.rows["concerns"]}
DRAWS = 400 if os.environ.get("HYPOTHESIS_PROFILE") == "mutants" else 4000  # plain Python draws slowly
STATE, PEOPLE = draw(CATALOG, np.random.default_rng(20), DRAWS)


def start(stage: int, node: str) -> float:
    return float(CATALOG.start[stage - 1, CATALOG.node(node)])


# What is drawn


def test_stages_come_35_45_20_0() -> None:  # paper 1564
    assert STAGE_ODDS == (0.35, 0.45, 0.20, 0.0)
    count = Counter(person.stage for person in PEOPLE)
    for stage, odds in zip(STAGES, STAGE_ODDS, strict=True):
        deviation = np.sqrt(odds * (1 - odds) / DRAWS)
        assert count[stage] / DRAWS == pytest.approx(odds, abs=4 * deviation), stage
    np.testing.assert_array_equal(STATE.stage + 1, [person.stage for person in PEOPLE])


def test_stage_4_comes_when_asked_for() -> None:
    _, people = draw(CATALOG, np.random.default_rng(0), 20, stage=4)
    assert {person.stage for person in people} == {4}


@pytest.mark.many
def test_each_of_the_22_strategies_and_each_concern_is_drawn_about_as_often() -> None:  # paper 1688-1691
    expected = {f"A{k}" for k in range(1, 9)} | {f"B{k}" for k in range(6)} | {f"C{k}" for k in range(1, 9)}
    for drawn, known in (
        (Counter(person.strategy for person in PEOPLE), expected),
        (Counter(person.concern for person in PEOPLE), set(CONCERNS)),
    ):
        assert set(drawn) == known
        share = DRAWS / len(known)
        assert min(drawn.values()) > 0.6 * share
        assert max(drawn.values()) < 1.4 * share


@pytest.mark.many
def test_each_strength_is_somebodys_own() -> None:
    found = {strength.name for person in PEOPLE for strength in person.strengths}
    assert found == {row.name for row in CATALOG.rows["strengths"]}
    assert {len(person.strengths) for person in PEOPLE} == {5}


@pytest.mark.parametrize("stage", STAGES)
def test_strengths_within_reach_by_stage(stage: int) -> None:  # paper 1503-1506
    state, people = draw(CATALOG, np.random.default_rng(stage), 200, stage=stage)
    fewest, most = WITHIN_REACH[stage - 1]
    found = {sum(strength.state == "accessible" for strength in person.strengths) for person in people}
    assert found <= {fewest, most}
    for person, levels in zip(people, state.levels, strict=True):
        names = [row.name for row in CATALOG.rows["strengths"] if row.name in {s.name for s in person.strengths}]
        assert person.strengths == within_reach(names, levels, stage, CATALOG)


# Coherence (paper 1692-1697, 1281-1304)


def test_odd_even_and_balanced_are_where_the_paper_has_them() -> None:
    for name, row in STRATEGIES.items():
        expected = "balanced" if name[0] == "B" else "odd" if int(name[1]) % 2 else "even"
        assert (row.family, row.coherence) == (name[0], expected), name


def test_the_person_has_the_coherence_and_manner_of_their_strategy() -> None:
    assert {person.coherence for person in PEOPLE} == {"odd", "even", "balanced"}
    for person in PEOPLE[:300]:
        row = STRATEGIES[person.strategy]
        assert (person.coherence, person.manner) == (row.coherence, row.voice)


def test_a_strategy_shifts_its_nodes_less_as_treatment_goes_on() -> None:
    """C8 lowers trust by 3 before grip; all else of the two draws is equal."""

    def trust(stage: int, strategy: str) -> float:
        state, _ = draw(CATALOG, np.random.default_rng(1), 40, stage=stage, strategy=strategy, concern="panic")
        return float(state.levels[:, CATALOG.node("trust_capacity")].mean())

    lowered = [trust(stage, "B3") - trust(stage, "C8") for stage in STAGES]
    assert lowered == sorted(lowered, reverse=True)
    assert lowered[-1] > 0


def test_a_concern_shifts_its_nodes_as_the_table_says() -> None:
    def mean(concern: str) -> np.ndarray:
        state, _ = draw(CATALOG, np.random.default_rng(1), 100, stage=2, strategy="B3", concern=concern)
        return np.asarray(state.levels.mean(axis=0))

    expected = np.zeros(len(CATALOG.nodes))
    for row in CATALOG.rows["concern_nodes"]:
        shift = CONCERN_GRIP[1] * row.shift
        expected[CATALOG.node(row.node)] += {"panic": shift, "emptiness": -shift}.get(row.concern, 0.0)
    np.testing.assert_allclose(mean("panic") - mean("emptiness"), expected, atol=0.1)


# The ranges of paper 1564, for the start typical of a stage

DYSREGULATION = (
    "anxiety_level", "affective_instability", "trigger_reactivity", "emotional_reactivity", "arousal_regulation",
)  # fmt: skip


@pytest.mark.parametrize("node", DYSREGULATION)
def test_dysregulation_falls_from_5_10_to_0_1(node: str) -> None:
    bipolar = CATALOG.nodes[CATALOG.node(node)].direction == "bipolar"
    first, last = (2 * abs(start(stage, node) - 5) if bipolar else start(stage, node) for stage in (1, 4))
    assert 5 <= first <= 10
    assert 0 <= last <= 1


@pytest.mark.parametrize(
    ("node", "first", "last"),
    [
        ("trust_capacity", (0, 2), (4, 8)),
        ("self_defeating_humor", (5, 10), (0, 5)),
        ("aggressive_humor", (5, 10), (0, 5)),
        ("mentalization", (0, 3), (9, 10)),
        ("affiliative_humor", (0, 6), (6, 10)),
        ("self_enhancing_humor", (0, 6), (6, 10)),
    ],
)
def test_the_papers_ranges_at_stages_1_and_4(node: str, first: tuple[int, int], last: tuple[int, int]) -> None:
    assert first[0] <= start(1, node) <= first[1]
    assert last[0] <= start(4, node) <= last[1]


@pytest.mark.many
def test_people_of_a_stage_are_around_its_typical_levels() -> None:
    for stage in STAGES:
        state, _ = draw(CATALOG, np.random.default_rng(5), 300, stage=stage)
        for node in ("mentalization", "self_defeating_humor"):
            mean = state.levels[:, CATALOG.node(node)].mean()
            assert mean == pytest.approx(start(stage, node), abs=0.5), (stage, node)


@pytest.mark.many
def test_people_of_one_kind_differ_by_the_stated_spread_and_stay_in_range() -> None:
    state, _ = draw(CATALOG, np.random.default_rng(5), 600, stage=2, strategy="B3", concern="panic")
    inside = (state.levels.min(axis=0) > 0) & (state.levels.max(axis=0) < 10)
    np.testing.assert_allclose(state.levels.std(axis=0)[inside], LEVEL_SPREAD, atol=0.08)
    assert inside.sum() > 100
    for values, low, high in ((STATE.levels, 0, 10), (STATE.tmog, 0, 10), (STATE.buckets, 0, 1), (STATE.loa, -10, 10)):
        assert values.min() >= low
        assert values.max() <= high
    assert STATE.levels.min() == 0.0  # C8 at stage 1 trusts less than the scale can say


def arriving_with(levels: np.ndarray) -> np.ndarray:
    """The axes (3,) of somebody who arrives with just these levels (n,)."""
    catalog = replace(
        CATALOG, start=np.stack([levels] * 4), rows=CATALOG.rows | {"strategy_nodes": (), "concern_nodes": ()}
    )
    state = newcomers(catalog, np.zeros(1, dtype=np.uint64), settings=ClientSettings(tmog_start_noise=0.0))
    noise = state.levels[0] - levels
    at_ends = (noise != 0.0).mean() < 0.75  # half of the noise leads out of the range and is clipped away
    assert at_ends
    return np.asarray(state.axes[0])


def test_the_axes_at_intake_are_the_loadings_of_the_nodes_in_trouble() -> None:
    """axis_a = 10 · Σ loading · coiling / Σ |loading|, by hand for many clients; all in trouble is far, all well is near 0."""
    direction = np.array([node.direction for node in CATALOG.nodes])
    for levels, axes in zip(STATE.levels[:50], STATE.axes[:50], strict=True):
        trouble = np.where(direction == "increase", 10 - levels, levels)
        coiling = np.where(direction == "bipolar", 2 * abs(levels - 5), trouble) / 10
        np.testing.assert_allclose(axes, 10 * CATALOG.loading @ coiling / np.abs(CATALOG.loading).sum(axis=1))
    np.testing.assert_array_equal(STATE.axes, STATE.axes_start)
    well = np.array([{"increase": 10.0, "decrease": 0.0, "bipolar": 5.0}[way] for way in direction])
    ill = np.where(direction == "bipolar", 10.0, 10.0 - well)
    assert np.abs(arriving_with(well)).max() < 0.4
    assert np.abs(arriving_with(ill)[1:]).min() > 7.0


# The person


def test_history_concern_and_opening_are_those_of_the_concern() -> None:
    for person in PEOPLE[:200]:
        row = CONCERNS[person.concern]
        assert (person.opening, person.history) == (row.opening, row.history)
        assert person.name in {name.name for name in CATALOG.rows["names"]}


def test_the_same_seed_is_the_same_person_and_another_seed_another() -> None:
    one, other = (draw(CATALOG, np.random.default_rng(9), 3) for _ in range(2))
    assert one[1] == other[1]
    assert all(a.tobytes() == b.tobytes() for a, b in zip(one[0], other[0], strict=True))
    assert draw(CATALOG, np.random.default_rng(10), 3)[1] != one[1]


def test_a_client_is_a_function_of_one_word_whoever_else_comes() -> None:
    words = np.random.default_rng(4).integers(0, 2**64, size=150, dtype=np.uint64)
    together = newcomers(CATALOG, words, stage=2)
    for i in (0, 71, 72, 149):
        alone = newcomers(CATALOG, words[i : i + 1], stage=2)
        assert alone.same_as(together.take([i]))
    state, people = draw(CATALOG, np.random.default_rng(4), 150, stage=2)
    assert state.same_as(together)
    rng = np.random.default_rng(4)
    for i in range(3):
        one, person = draw(CATALOG, rng, 1, stage=2)
        assert one.same_as(together.take([i]))
        assert person[0] == people[i]


def test_a_wish_shifts_no_other_draw() -> None:
    asked, people = draw(CATALOG, np.random.default_rng(20), 50, concern="panic")
    for person, other in zip(people, PEOPLE[:50], strict=True):
        assert (person.name, person.stage, person.strategy) == (other.name, other.stage, other.strategy)
        assert person.concern == "panic"
    assert asked.stream.tolist() == STATE.stream[:50].tolist()


@pytest.mark.many
def test_no_two_clients_share_chance() -> None:
    assert len(np.unique(STATE.stream)) == DRAWS
    noise = STATE.tmog - STATE.levels
    assert abs(np.corrcoef(noise[:, 0], noise[:, 1])[0, 1]) < 0.08
    assert abs(np.corrcoef(STATE.stage, STATE.levels[:, 3] - CATALOG.start[STATE.stage, 3])[0, 1]) < 0.35


def test_a_cell_that_no_stage_can_be_drawn_for_needs_asking() -> None:
    words = np.array([2**64 - 1, 0, 1], dtype=np.uint64)
    assert newcomers(CATALOG, words, stage=4).stage.tolist() == [3, 3, 3]
    assert newcomers(CATALOG, np.arange(3000, dtype=np.uint64)).stage.max() == 2


def test_strengths_are_drawn_last_and_shift_nothing() -> None:
    bare = without_strengths(CATALOG)
    state, people = draw(CATALOG, np.random.default_rng(2), 4)
    bare_state, bare_people = draw(bare, np.random.default_rng(2), 4)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(state, bare_state, strict=True))
    assert tuple(replace(person, strengths=()) for person in people) == bare_people
    assert bare_people[0].describe().endswith(".")


def without_strengths(catalog: Catalog) -> Catalog:
    return replace(catalog, rows=catalog.rows | dict.fromkeys(("strengths", "strength_nodes", "narcissism_nodes"), ()))


def test_a_person_comes_back_from_json_the_same() -> None:
    for person in PEOPLE[:50]:
        back = Person(**json.loads(json.dumps(asdict(person))))
        assert back == person
        assert hash(back) == hash(person)
        assert all(isinstance(strength, Strength) for strength in back.strengths)
        assert back.describe() == person.describe()


def test_a_person_saved_before_strengths_were_drawn_still_loads() -> None:
    saved = asdict(PEOPLE[0])
    del saved["strengths"]
    assert Person(**saved).strengths == ()


# The description


@pytest.mark.parametrize("stage", STAGES)
def test_the_description_reads(stage: int) -> None:
    _, people = draw(CATALOG, np.random.default_rng(stage), 60, stage=stage)
    for person in people:
        told = person.describe()
        assert "  " not in told
        assert "_" not in told
        assert "\n" not in told
        assert told.endswith(".")
        assert not re.search(r"[.,:;]{2}| [.,:;]", told.replace(f'"{person.opening}"', "")), told
        assert f"stage {stage} ({STAGE_NAMES[stage - 1]})" in told
        for part in (person.name, person.concern.replace("_", " "), person.opening, person.history, person.strategy):
            assert part in told
        assert person.manner[1:] in told
        for strength in person.strengths:
            assert f"Their {strength.name.replace('_', ' ')} " in told
            assert strength.words[1:] in told


def test_the_description_says_in_which_state_a_strength_is() -> None:
    told = replace(
        PEOPLE[0], stage=1,
        strengths=(
            Strength("hope", "accessible", "They plan."), Strength("love", "blocked", "They wait."),
            Strength("kindness", "shadow", "They give."),
        ),
    )  # fmt: skip
    assert told.describe().endswith(
        "Their hope comes within reach at moments: they plan. Their love is there and held back: they wait. "
        "Their kindness shows mostly as protection: they give."
    )
    for stage, said in ((2, "comes within reach at moments"), (3, "is within reach"), (4, "is within reach")):
        assert f"Their hope {said}: they plan." in replace(told, stage=stage).describe()


# Around the start


def test_a_strategy_shifts_its_nodes_by_a_worked_number() -> None:
    """Stage 2 holds 0.75 of a shift: blame_attribution 0.75 · 4.8 for C8; trust_capacity 0.75 · -1.8, and 0.75 · 1.6 for B3."""
    blame, trust = (CATALOG.node(name) for name in ("blame_attribution", "trust_capacity"))
    one, other = (
        draw(CATALOG, np.random.default_rng(1), stage=2, strategy=name, concern="panic")[0].levels[0]
        for name in ("C8", "B3")
    )
    assert one[blame] - other[blame] == pytest.approx(3.6)
    assert one[trust] - other[trust] == pytest.approx(-2.55)


def test_each_quantity_has_noise_of_its_own_around_the_start() -> None:
    """Mean 0, and the stated spread both between clients and within one: no two quantities share a draw."""
    middle = replace(
        CATALOG, start=np.full_like(CATALOG.start, 5.0), bucket_start=np.full_like(CATALOG.bucket_start, 0.5),
        loa_start=np.zeros_like(CATALOG.loa_start), rows=CATALOG.rows | {"strategy_nodes": (), "concern_nodes": ()},
    )  # fmt: skip
    state, _ = draw(middle, np.random.default_rng(3), 400, settings=ClientSettings(tmog_start_noise=0.5))
    for noise, spread in (
        (state.levels - 5.0, 0.6), (state.buckets - 0.5, 0.05), (state.loa, 0.8), (state.tmog - state.levels, 0.5),
    ):  # fmt: skip
        assert noise.mean() == pytest.approx(0.0, abs=0.1 * spread)
        assert noise.std(axis=0).mean() == pytest.approx(spread, rel=0.05)
        assert noise.std(axis=1, ddof=1).mean() == pytest.approx(spread, rel=0.1)


def test_whoever_starts_at_an_end_of_a_range_stays_inside_it() -> None:
    for end, name in ((0, "min"), (1, "max")):
        at = replace(
            CATALOG, start=np.full_like(CATALOG.start, 10.0 * end), loa_start=np.full_like(CATALOG.loa_start, 20.0 * end - 10),
            bucket_start=np.full_like(CATALOG.bucket_start, float(end)),
            rows=CATALOG.rows | {"strategy_nodes": (), "concern_nodes": ()},
        )  # fmt: skip
        state, _ = draw(at, np.random.default_rng(3), 20)
        found = [float(getattr(getattr(state, field), name)()) for field in ("levels", "tmog", "buckets", "loa")]
        assert found == ([10.0, 10.0, 1.0, 10.0] if end else [0.0, 0.0, 0.0, -10.0])


def test_a_therapist_who_knows_the_truth_is_fully_attuned_and_the_trend_begins_flat() -> None:
    state, _ = draw(CATALOG, np.random.default_rng(3), 2, settings=ClientSettings(tmog_start_noise=0.0))
    assert state.attunement.tolist() == [1.0, 1.0]
    sums = np.abs(state.axes).sum(axis=1)
    np.testing.assert_array_equal(state.axes_window, np.stack([sums] * 3, axis=1))


# What is refused


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"strategy": "Z9"}, r"^found attachment strategy 'Z9'.*; expected one of .*A1, A2, A3, "),
        ({"concern": "xyzzy"}, r"^found concern 'xyzzy'; expected one of [a-z_]+, [a-z_]+, "),
        ({"stage": True}, "^found stage True; expected one of"),
        ({"stage": 2.0}, r"^found stage 2\.0; expected one of"),
        ({"stage": 5}, "^found stage 5; expected one of"),
    ],
)
def test_a_wish_that_cannot_be_met_is_named(asked: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        draw(CATALOG, np.random.default_rng(0), **asked)  # type: ignore[arg-type]


@pytest.mark.many
def test_what_people_come_with_is_what_the_paper_map_says() -> None:
    """Mean coiling and alliance at intake by stage, the axes of new clients, how many are extremely narcissistic."""
    narcissistic, coiling = [], []
    for stage in (1, 2, 3, 4):
        state, _ = draw(CATALOG, np.random.default_rng(0), 400, stage=stage)
        found = measure(state, CATALOG)
        coiling.append(float(found.coiling.mean()))
        narcissistic.append(np.mean([is_extremely_narcissistic(levels, CATALOG) for levels in state.levels]))
        if stage == 1:
            assert found.alliance.mean() == pytest.approx(0.37, abs=0.02)
            assert state.axes.mean(axis=0)[1:] == pytest.approx([-5.7, -5.9], abs=0.2)
    assert coiling == pytest.approx([0.59, 0.45, 0.27, 0.13], abs=0.01)
    assert 0.01 < np.dot(STAGE_ODDS, narcissistic) < 0.035
