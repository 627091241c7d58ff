"""explain: the parts are the rows' own numbers, and add up to what the level did."""

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client_graph import (
    DIMENSIONS,
    Catalog,
    ClientGraph,
    ClientSettings,
    Explanation,
    advance,
    catalog_of,
    draw,
    load_catalog,
)
from client_graph.explain import Part, explain
from client_graph.testing import plain

CATALOG = load_catalog()
CLOSE = 1e-9
edges_of_drive = st.sampled_from([0.0, 2.0, 3.5, 5.0, 6.5, 8.0, 10.0])
all_scores = st.lists(edges_of_drive | st.floats(0.0, 10.0), min_size=12, max_size=12).map(np.array)
gains = st.builds(
    ClientSettings,
    drive=st.sampled_from(["excess", "literal"]),
    node_gain=st.sampled_from([1.0, 40.0]),  # at 40 many levels run into a bound, and bipolar ones into 5
    source_damping=st.sampled_from([0.3, 1.0]),
)


def anywhere(seed: int, stage: int, gain: ClientSettings | None = None, catalog: Catalog | None = None) -> ClientGraph:
    """A client whose levels lie anywhere, bounds and 5 included, in any phase."""
    client = ClientGraph.draw(seed, stage=stage, settings=gain, catalog=catalog)
    rng = np.random.default_rng(seed)
    levels = np.round(rng.uniform(-2.0, 12.0, client.state.levels.shape).clip(0.0, 10.0), 1)
    levels[rng.random(levels.shape) < 0.1] = 5.0
    phase = client.state.phase + rng.integers(4)
    return ClientGraph(client.state._replace(levels=levels, phase=phase), client.catalog, settings=client.settings)


@given(seed=st.integers(0, 2**32 - 1), stage=st.integers(1, 4), scores=all_scores, gain=gains)
@settings(max_examples=25, deadline=None)
def test_the_parts_add_up_to_what_the_level_did(
    seed: int, stage: int, scores: np.ndarray, gain: ClientSettings
) -> None:
    client = anywhere(seed, stage, gain)
    after = client.after(scores)
    report = after.report
    assert report is not None
    for n, row in enumerate(CATALOG.nodes):
        why = after.explain(row.name)
        assert why.before == client.levels[row.name]
        assert why.after == pytest.approx(after.levels[row.name], abs=CLOSE)
        assert why.total == pytest.approx(after.levels[row.name] - client.levels[row.name], abs=CLOSE)
        if row.direction == "bipolar":
            continue
        steps = {"direct": why.direct.values(), "edges": why.edges, "buckets": why.buckets.values()}
        reported = (report.direct[0, n], report.through_edges[0, n], report.through_buckets[0, n])
        for (step, parts), moved in zip(steps.items(), reported, strict=True):
            told = sum(part.contribution for part in parts) + why.clipped.get(step, 0.0)
            assert told == pytest.approx(moved, abs=CLOSE), (row.name, step)


@given(seed=st.integers(0, 2**32 - 1), stage=st.integers(1, 4), scores=all_scores)
@settings(max_examples=10, deadline=None)
def test_every_edge_that_arrives_is_told_or_held(seed: int, stage: int, scores: np.ndarray) -> None:
    after = anywhere(seed, stage).after(scores)
    assert after.report is not None
    moved = dict(zip(CATALOG.node_names, after.report.direct[0].tolist(), strict=True))
    for node in CATALOG.node_names[::7]:
        why = after.explain(node)
        arriving = Counter((e.edge_from, e.type) for e in CATALOG.rows["edges"] if e.edge_to == node)
        arriving += Counter(
            (e.edge_to, e.type) for e in CATALOG.rows["edges"] if e.edge_from == node and e.type == "paired"
        )
        told = Counter((part.source, part.type) for part in (*why.edges, *why.held))
        assert told == Counter({key: count for key, count in arriving.items() if moved[key[0]] != 0.0})
        assert all(part.contribution != 0.0 for part in why.edges)


def one_edge(kind: str, threshold: float | None = None, gate: float | None = None) -> Catalog:
    """The default tables with one edge, trust_capacity -> intimacy_tolerance."""
    row = CATALOG.rows["edges"][0]
    gates = dict.fromkeys(("gate_1", "gate_2", "gate_3", "gate_4"), gate)
    ends = {"edge_from": "trust_capacity", "edge_to": "intimacy_tolerance", "type": kind, "weight": 0.5}
    edge = row.model_copy(update=ends | gates | {"threshold": threshold, "why": "one edge to look at"})
    return catalog_of(dict(CATALOG.rows) | {"edges": (edge,)})


def through_one_edge(
    kind: str, score: float = 9.0, stage: int = 1, threshold: float | None = None, gate: float | None = None
) -> tuple[Explanation, float]:
    """(what the target's explanation says, what the source moved)."""
    client = ClientGraph.draw(1, stage=stage, catalog=one_edge(kind, threshold, gate))
    after = client.after(np.full(12, score))
    assert after.report is not None
    return after.explain("intimacy_tolerance"), float(after.report.direct[0, client.catalog.node("trust_capacity")])


@pytest.mark.parametrize(
    ("kind", "given", "factor", "told"),
    [
        ("reinforcing", {}, 1.0, "same direction"),
        ("suppressive", {}, -1.0, "opposite direction"),
        ("protective", {}, 1.0, "tightens"),
        ("protective", {"stage": 4}, -1.0, "softens"),
        ("compensatory", {}, 1.0, "the source rose"),
        ("prerequisite", {"threshold": 0.5}, 1.0, "asks for 0.50"),
        ("paired", {}, 1.0, "moves with it"),
        ("gated", {"gate": 1.5}, 1.5, "gate 1.5 at stage 1"),
        ("paradoxical", {"stage": 2}, -1.0, "reversed at stage 2"),
        ("paradoxical", {"stage": 3}, 1.0, "normal at stage 3"),
    ],
)
def test_what_an_edge_carried_and_how(kind: str, given: dict[str, float], factor: float, told: str) -> None:
    why, moved = through_one_edge(kind, **given)  # type: ignore[arg-type]
    (part,) = why.edges
    assert (part.source, part.type, part.why) == ("trust_capacity", kind, "one edge to look at")
    assert part.contribution == pytest.approx(0.3 * 0.5 * 0.5 * factor * moved, rel=1e-12)
    assert part.how.partition(";")[0].endswith(told)
    assert "one edge to look at" in repr(why)


@pytest.mark.parametrize(
    ("kind", "given", "told"),
    [
        ("prerequisite", {"threshold": 9.9}, "asks for 9.90"),
        ("compensatory", {"score": 1.0}, "dormant"),
        ("gated", {"gate": 0.0}, "gate 0 at stage 1"),
    ],
)
def test_an_edge_that_lets_nothing_through_is_told_with_what_held_it(
    kind: str, given: dict[str, float], told: str
) -> None:
    why, moved = through_one_edge(kind, **given)  # type: ignore[arg-type]
    (part,) = why.held
    assert moved != 0.0
    assert (why.edges, part.contribution) == ((), 0.0)
    assert told in part.how
    assert "held back: trust_capacity" in repr(why)


def test_direct_parts_are_the_sensitivities_by_dimension() -> None:
    client = ClientGraph.draw(2, stage=1)
    scores = dict.fromkeys(DIMENSIONS, 5.0) | {"attunement": 10.0, "safety": 0.0}
    why = client.after(scores).explain("trust_capacity")
    row = CATALOG.nodes[CATALOG.node("trust_capacity")]
    facts = {fact.dimension: fact for fact in CATALOG.rows["sensitivities"] if fact.node == "trust_capacity"}
    (engaged,) = (role.node for role in CATALOG.rows["roles"] if role.role == "engagement")
    scale = row.phase_a * client.levels[engaged] / 10 / (1 + row.bq_1)
    assert set(why.direct) == {"attunement", "safety"}
    assert why.direct["attunement"].contribution == pytest.approx(10 * facts["attunement"].high * scale, rel=1e-12)
    assert why.direct["safety"].contribution == pytest.approx(10 * facts["safety"].low * scale, rel=1e-12)
    assert (why.phase, why.phase_weight, why.bq) == ("A", row.phase_a, row.bq_1)


def test_buckets_are_told_with_their_change() -> None:
    client = ClientGraph.draw(2, stage=1)
    after = client.after(np.full(12, 9.0))
    why = after.explain("shame_core")
    couplings = {row.bucket: row.coefficient for row in CATALOG.rows["bucket_nodes"] if row.node == "shame_core"}
    for name, part in why.buckets.items():
        change = after.buckets[name] - client.buckets[name]
        assert part.contribution == pytest.approx(couplings[name] * change, abs=1e-12)
    assert "shame" in why.buckets


def placed(node: str, level: float, score: float, gain: float = 40.0) -> tuple[Explanation, ClientGraph]:
    """`node` put at `level` and then treated strongly, well or badly."""
    client = ClientGraph.draw(5, stage=1, settings=ClientSettings(node_gain=gain))
    levels = client.state.levels.copy()
    levels[0, CATALOG.node(node)] = level
    after = ClientGraph(client.state._replace(levels=levels), CATALOG, settings=client.settings).after(
        np.full(12, score)
    )
    return after.explain(node), after


@pytest.mark.parametrize(
    ("node", "level", "score", "sign"),
    [
        ("trust_capacity", 9.99, 10.0, -1),  # rises into 10
        ("trust_capacity", 0.01, 0.0, 1),  # falls into 0
        ("shame_core", 0.001, 10.0, 1),
        ("emotional_reactivity", 5.01, 10.0, 1),  # falls into 5 and stops there
        ("emotional_reactivity", 4.99, 10.0, -1),  # rises into 5
        ("emotional_reactivity", 9.99, 0.0, -1),
        ("emotional_reactivity", 0.01, 0.0, 1),
    ],
)
def test_what_a_bound_took_is_told(node: str, level: float, score: float, sign: int) -> None:
    why, after = placed(node, level, score)
    assert why.clipped["direct"] * sign > 0.0
    assert why.after == pytest.approx(after.levels[node], abs=CLOSE)
    assert why.total == pytest.approx(why.change, abs=CLOSE)
    assert "given back" in repr(why)


def test_nothing_is_clipped_in_an_ordinary_turn() -> None:
    why, _ = placed("shame_core", 6.0, 8.0, gain=1.0)
    assert why.clipped == {}
    assert "given back" not in repr(why)


def test_another_turns_report_is_refused() -> None:
    client = ClientGraph.draw(1, stage=1)
    kind, harsh = client.after(np.full(12, 9.0)), client.after(np.full(12, 1.0))
    assert kind.scores is not None
    assert harsh.report is not None
    with pytest.raises(ValueError, match="trust_capacity, direct: the report says"):
        explain("trust_capacity", client.state, kind.scores, harsh.report, CATALOG)
    assert kind.report is not None
    with pytest.raises(ValueError, match="give the state before the turn"):
        explain("trust_capacity", client.state, kind.scores, kind.report, CATALOG, ClientSettings(node_gain=2.0))


def test_one_client_of_a_batch_is_explained_from_the_batchs_report() -> None:
    state, _ = draw(CATALOG, np.random.default_rng(1), 3)
    scores = np.random.default_rng(2).uniform(0, 10, (3, 12))
    after, report = advance(state, scores, CATALOG)
    client = ClientGraph(after, CATALOG, report, index=2, before=state, scores=scores)
    alone = ClientGraph(state, CATALOG, index=2).after(scores[2])
    assert client.explain("self_worth") == alone.explain("self_worth")


def test_an_explanation_is_plain_values_too() -> None:
    why, _ = placed("shame_core", 6.0, 8.0, gain=1.0)
    plain = why.as_dict()
    assert json.loads(json.dumps(plain))["change"] == why.change
    assert plain["edges"][0]["source"] == why.edges[0].source
    sizes = [abs(part.contribution) for part in why.edges]
    assert sizes == sorted(sizes, reverse=True)


# A small person, reckoned by hand: gain 1, dampings 0.3 and 0.5, phase weight 0.5, engagement 5 / 10, resistance 1 / (1 + 1).
SMALL = plain.plain_catalog(
    [
        plain.node("bond"),
        plain.node("self_worth", bq_1=1.0, phase_a=0.5),
        plain.node("calm", "bipolar"),
        plain.node("shame", "decrease"),
    ],
    sensitivities=[
        plain.sensitivity("self_worth", "attunement", high=0.02, low=-0.05),
        plain.sensitivity("self_worth", "safety", high=0.01, low=-0.04),
        plain.sensitivity("calm", "pacing", high=0.03, low=-0.06),
        plain.sensitivity("shame", "attunement", high=-0.05, low=0.08),
    ],
    edges=[
        plain.edge("calm", "reinforcing", "self_worth", 0.4),
        plain.edge("shame", "suppressive", "self_worth", 0.8),
        plain.edge("shame", "compensatory", "self_worth"),
        plain.edge("shame", "protective", "self_worth"),
        plain.edge("calm", "gated", "self_worth", gates=(0.0, 0.6, 1.0, 1.6)),
    ],
    bucket_scores=[
        plain.row("bucket_scores", dimension="attunement", bucket="trouble", high=-0.5, low=0.5),
        plain.row("bucket_scores", dimension="attunement", bucket="ease", high=0.5, low=-0.5),
    ],
    bucket_nodes=[
        plain.row("bucket_nodes", bucket="trouble", node="self_worth", coefficient=-2.0),
        plain.row("bucket_nodes", bucket="ease", node="self_worth", coefficient=0.0),
    ],
)
QUIET = dict.fromkeys(DIMENSIONS, 5.0)
MIXED = QUIET | {"attunement": 10.0, "safety": 0.0, "pacing": 10.0}


def small(gain: ClientSettings | None = None, **levels: float) -> ClientGraph:
    client = ClientGraph.draw(1, stage=1, catalog=SMALL, settings=gain)
    placed = {"bond": 5.0, "self_worth": 4.0, "calm": 3.0, "shame": 6.0} | levels
    levels_ = np.array([[placed[name] for name in SMALL.node_names]])
    state = client.state._replace(levels=levels_, buckets=np.full((1, 2), 0.5))
    return ClientGraph(state, SMALL, settings=client.settings)


def test_a_small_persons_turn_is_told_in_full() -> None:
    """0.02 · 10 · 0.125 and -0.04 · 10 · 0.125; 0.15 · 0.8 · 0.25, -0.15 · 0.5 · 0.25 and 0.15 · 0.4 · 0.15; -2 · -0.05."""
    told = repr(small().after(MIXED).explain("self_worth"))
    assert told.splitlines() == [
        "self worth: 4.000 -> 4.095 (+0.0953; health is 10)",
        "-0.0250  from the judge's scores (phase A lets 0.5 through, engagement 0.50, resistance 1/(1 + 1))",
        "    -0.0500  safety                       score 0.0 harms: drive 10.0 of 10 x -0.040 x 0.125",
        "    +0.0250  attunement                   score 10.0 helps: drive 10.0 of 10 x +0.020 x 0.125",
        "+0.0202  through edges",
        "    +0.0300  shame                        suppressive, opposite direction; source -0.2500",
        "              an edge to look at",
        "    -0.0187  shame                        protective, alliance 0.50: tightens; source -0.2500",
        "              an edge to look at",
        "    +0.0090  calm                         reinforcing, same direction; source +0.1500 toward 5",
        "              an edge to look at",
        "   held back: shame (compensatory: dormant while the source falls; source -0.2500); "
        "calm (gated: gate 0 at stage 1; source +0.1500 toward 5)",
        "+0.1000  through buckets",
        "    +0.1000  trouble                      bucket -0.0500 x -2",
    ]


def test_a_turn_in_which_nothing_was_asked_says_so() -> None:
    assert repr(small().after(QUIET).explain("self_worth")).splitlines() == [
        "self worth: 4.000 -> 4.000 (+0.0000; health is 10)",
        "+0.0000  from the judge's scores (phase A lets 0.5 through, engagement 0.50, resistance 1/(1 + 1))",
        "    no dimension that bears on self worth scored above 6.5 or below 3.5: between them nothing is asked of anybody",
        "+0.0000  through edges",
        "+0.0000  through buckets",
    ]


def test_parts_name_their_source_kind_and_reason() -> None:
    why = small().after(MIXED).explain("self_worth")
    assert (why.domain, why.direction, why.engagement) == ("whole", "increase", 0.5)
    assert list(why.direct.values()) == [
        Part("safety", "direct", pytest.approx(-0.05), "score 0.0 harms: drive 10.0 of 10 x -0.040 x 0.125",
             "design: made for a test"),
        Part("attunement", "direct", pytest.approx(0.025), "score 10.0 helps: drive 10.0 of 10 x +0.020 x 0.125",
             "design: made for a test"),
    ]  # fmt: skip
    assert why.buckets == {
        "trouble": Part("trouble", "bucket", pytest.approx(0.1), "bucket -0.0500 x -2", "design: made for a test")
    }


def test_what_leads_a_bipolar_node_to_5_takes_from_a_level_above_it() -> None:
    """0.03 · 10 · 0.5 toward 5, which is down from 7; the fact of the table is told as it stands there."""
    why = small(calm=7.0).after(MIXED).explain("calm")
    assert why.direct == {
        "pacing": Part("pacing", "direct", pytest.approx(-0.15), "score 10.0 helps: drive 10.0 of 10 x +0.030 x 0.500",
                       "design: made for a test")
    }  # fmt: skip
    assert why.after == pytest.approx(6.85)
    assert repr(why).startswith("calm: 7.000 -> 6.850 (-0.1500; health is 5, where a + of the tables leads)\n")


def test_a_bipolar_source_stands_where_its_change_left_it() -> None:
    """From 7 toward 5 by 0.15, and from 3 likewise."""
    asks = plain.edge("calm", "prerequisite", "self_worth", threshold=3.1)
    catalog = plain.with_rows(SMALL, edges=[asks])
    for level, stands in ((7.0, "6.85"), (3.0, "3.15")):
        before = small(calm=level)
        (told,) = ClientGraph(before.state, catalog).after(MIXED).explain("self_worth").edges
        assert told.how == f"source at {stands}, asks for 3.10; source +0.1500 toward 5"


def test_the_literal_drive_is_the_score_itself() -> None:
    why = small(ClientSettings(drive="literal")).after(MIXED | {"safety": 2.0}).explain("self_worth")
    assert why.direct["safety"].contribution == pytest.approx(-0.04 * 2.0 * 0.125)
    assert why.direct["safety"].how == "score 2.0 harms: drive 2.0 of 10 x -0.040 x 0.125"


@pytest.mark.parametrize(
    ("node", "level", "bound"),
    [("self_worth", 9.99, "a bound of [0, 10]"), ("calm", 4.95, "a bound or the healthy middle")],
)
def test_what_was_given_back_is_told_with_its_bound_and_step(node: str, level: float, bound: str) -> None:
    """Asked for: 0.125 · (0.2 + 0.1) and 0.5 · 0.3; there was room for 0.01 and 0.05."""
    why = small(**{node: level}).after(QUIET | {"attunement": 10.0, "safety": 10.0, "pacing": 10.0}).explain(node)
    taken = {"self_worth": 0.01 - 0.0375, "calm": 0.05 - 0.15}[node]
    assert f"{taken:+.4f}  given back at {bound} (step: direct)" in repr(why).splitlines()


def part(source: str, contribution: float) -> Part:
    return Part(source, "paired", contribution, "moves with it", f"because of {source}")


@pytest.mark.parametrize("count", [12, 14])
def test_twelve_edges_are_printed_and_the_rest_summed(count: int) -> None:
    parts = tuple(part(f"source_{k}", 0.5) for k in range(count))
    why = Explanation(
        node="self_worth", domain="whole", direction="decrease", before=2.0, after=2.0 + 0.5 * count, phase="C",
        phase_weight=0.75, engagement=0.4, bq=2.5, direct={}, edges=parts, buckets={}, held=(), clipped={},
    )  # fmt: skip
    told = repr(why).splitlines()
    assert told[0] == f"self worth: 2.000 -> {2 + 0.5 * count:.3f} ({0.5 * count:+.4f}; health is 0)"
    assert told[1] == (
        "+0.0000  from the judge's scores (phase C lets 0.75 through, engagement 0.40, resistance 1/(1 + 2.5))"
    )
    assert sum("because of" in line for line in told) == 12
    assert told[4:6] == [
        "    +0.5000  source_0                     paired, moves with it",
        "              because of source_0",
    ]
    assert told[28:-1] == (["    +1.0000  through 2 smaller edges (all are in .edges)"] if count == 14 else [])


@pytest.mark.parametrize("wide", ["levels", "direct", "buckets", "scores"])
def test_what_belongs_to_another_catalog_is_refused(wide: str) -> None:
    """A column too many could be read under a wrong name."""
    client = small()
    after = client.after(MIXED)
    assert after.report is not None
    assert after.scores is not None

    def widened(array: np.ndarray, name: str) -> np.ndarray:
        return np.hstack([array, array[:, :1]]) if name == wide else array

    before = client.state._replace(levels=widened(client.state.levels, "levels"))
    report = after.report._replace(
        direct=widened(after.report.direct, "direct"), buckets=widened(after.report.buckets, "buckets")
    )
    with pytest.raises(ValueError, match="longer"):
        explain("self_worth", before, widened(after.scores, "scores"), report, SMALL)


def test_a_report_of_another_turn_says_what_to_give() -> None:
    client = small()
    kind, harsh = client.after([9.0] * 12), client.after([1.0] * 12)
    assert kind.scores is not None
    assert harsh.report is not None
    with pytest.raises(ValueError, match="shame, direct") as caught:
        explain("shame", client.state, kind.scores, harsh.report, SMALL)
    assert str(caught.value) == (
        "shame, direct: the report says +0.285714, and these levels, scores and settings give -0.178571; "
        "give the state before the turn, its scores, the report that advance() returned for them, and its settings"
    )
