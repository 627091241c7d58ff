"""ClientGraph: one client by name, branched without being changed; and what importing the package costs."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from strategies import copied_tables

import client_graph
from client_graph import DIMENSIONS, Catalog, ClientGraph, ClientSettings, ScoreError, advance, draw, load_catalog
from client_graph.graph import tightness
from client_graph.names import CONFIGS
from client_graph.testing.plain import node, plain_catalog, row, sensitivity

CATALOG = load_catalog()
KIND = dict.fromkeys(DIMENSIONS, 8.5)
HARSH = dict.fromkeys(DIMENSIONS, 1.5)


def a_client(seed: int = 7) -> ClientGraph:
    return ClientGraph.draw(seed, stage=1)


def test_importing_is_free_and_pictures_and_networkx_come_when_asked_for() -> None:
    steps = (
        "import client_graph",
        "c = client_graph.ClientGraph.draw(seed=1); k = c.after([8.0] * 12); repr(k), k.explain('shame_core'), k.diff(c)",
        "c.plot(), k.plot_change()",
        "c.to_networkx()",
    )
    heavy = ("numba", "matplotlib", "matplotlib.pyplot", "networkx")
    program = "import sys\n" + "".join(f"{step}\nprint(*[m for m in {heavy} if m in sys.modules])\n" for step in steps)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=CONFIGS.parent
    )
    assert [line.split() for line in done.stdout.splitlines()] == [
        [], ["numba"], ["numba", "matplotlib"], ["numba", "matplotlib", "networkx"]
    ]  # fmt: skip


def test_every_public_name_is_there_and_no_other() -> None:
    assert set(client_graph.__all__) <= set(dir(client_graph))
    for name in client_graph.__all__:
        assert getattr(client_graph, name) is not None
    with pytest.raises(AttributeError, match="ClientVeiw"):
        client_graph.ClientVeiw  # noqa: B018


def test_a_seed_is_a_client() -> None:
    one, same = a_client(), ClientGraph.draw(np.random.default_rng(7), stage=1, catalog=CATALOG)
    state, people = draw(CATALOG, np.random.default_rng(7), stage=1)
    assert one.state.same_as(same.state)
    assert one.state.same_as(state)
    assert one.person == same.person == people[0]
    asked = ClientGraph.draw(7, stage=3, strategy="B3", concern="panic", catalog=CONFIGS / "client")
    assert asked.stage == 3
    assert asked.person is not None
    assert (asked.person.strategy, asked.person.concern) == ("B3", "panic")
    with pytest.raises(TypeError, match="no seed"):
        ClientGraph.draw(None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="stage 5"):
        ClientGraph.draw(7, stage=5)


def test_tightness_is_what_coiling_is_the_mean_of() -> None:
    client = a_client()
    weight = {row.name: row.weight for row in CATALOG.nodes}
    mean = sum(weight[name] * tight for name, tight in client.tightness.items()) / sum(weight.values())
    assert client.coiling == pytest.approx(mean, abs=1e-12)
    assert min(client.tightness.values()) >= 0.0
    assert max(client.tightness.values()) <= 1.0


def test_what_matters_now_is_tight_heavy_and_let_through_by_the_phase() -> None:
    client = a_client()
    usual = tightness(CATALOG.start[client.stage - 1], CATALOG.tables)  # of the stage: a person is told from it
    voice = {
        row.name: row.weight
        * (row.phase_a * client.tightness[row.name] + 3 * max(0, client.tightness[row.name] - usual[n]))
        for n, row in enumerate(CATALOG.nodes)
    }
    assert client.matters_now(5) == sorted(voice, key=lambda name: -voice[name])[:5]


def test_after_is_the_batchs_turn_and_changes_nothing() -> None:
    state, people = draw(CATALOG, np.random.default_rng(3), 4)
    kept, scores = state.snapshot(), np.random.default_rng(4).uniform(0, 10, (4, 12))
    batch, report = advance(state, scores, CATALOG)
    for index in range(4):
        client = ClientGraph(state, CATALOG, index=index, person=people[index])
        next_one = client.after(scores[index])
        assert next_one.state.same_as(batch.take([index]))
        assert next_one.report is not None
        assert np.array_equal(next_one.report.direct[0], report.direct[index])
        assert client.after(dict(zip(DIMENSIONS, scores[index].tolist(), strict=True))).state.same_as(next_one.state)
        assert next_one.person == people[index]
    assert state.same_as(kept)


def test_branches_share_the_client_and_nothing_else() -> None:
    client = a_client()
    kept = client.state.snapshot()
    kind, harsh = client.after(KIND), client.after(HARSH)
    assert client.state.same_as(kept)
    assert client.after(KIND).state.same_as(kind.state)
    assert kind.alliance > client.alliance > harsh.alliance
    with pytest.raises(ValueError, match="read-only"):
        kind.state.levels[0, 0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        client.state.levels[0, 0] = 1.0


def test_the_clients_own_settings_move_it() -> None:
    calm = ClientGraph.draw(7, stage=1, settings=ClientSettings(node_gain=0.5))
    client = a_client()
    moved = [np.abs(one.after(KIND).state.levels - one.state.levels).sum() for one in (calm, client)]
    assert 0.0 < moved[0] < moved[1]
    assert calm.after(KIND).settings == calm.settings


MISSING = {name: 5.0 for name in DIMENSIONS if name not in ("repair", "tenderness")}


@pytest.mark.parametrize(
    ("scores", "told"),
    [
        (MISSING, ["no score for repair, tenderness"]),
        (MISSING | {"warmth": 5.0, "pacing": 11.0, "safety": float("nan"), "artfulness": "high"},
         ["repair, tenderness", "'warmth'", "pacing is 11.0", "safety is nan", "artfulness is 'high'"]),
        (KIND | {"pacing": -0.1, "safety": float("inf")}, ["pacing of client 0 is -0.1", "safety of client 0 is inf"]),
        (KIND | {"pacing": "high"}, ["expected numbers in"]),
        (np.full(11, 5.0), ["(11,)", "(12,)"]),
        (np.full((1, 12), 5.0), ["(1, 12)"]),
        ([[5.0], [5.0, 5.0]], ["no array"]),
        (KIND | {"pacing": [5.0, 6.0]}, ["no array"]),
        (np.full(12, np.nan), ["attunement of client 0 is nan", "artfulness of client 0 is nan"]),
    ],
)  # fmt: skip
def test_bad_scores_are_refused_whole_and_change_nothing(scores: object, told: list[str]) -> None:
    client = a_client()
    kept = client.state.snapshot()
    with pytest.raises(ScoreError) as caught:
        client.after(scores)  # type: ignore[arg-type]
    for part in told:
        assert part in str(caught.value)
    assert client.state.same_as(kept)
    assert client.report is None


def test_a_state_of_another_catalog_or_batch_is_refused() -> None:
    state, _ = draw(CATALOG, np.random.default_rng(0), 2)
    for index in (-1, 2):
        with pytest.raises(ValueError, match=f"index {index}"):
            ClientGraph(state, CATALOG, index=index)
    with pytest.raises(ValueError, match=r"\(2, 141\)"):
        ClientGraph(state._replace(levels=state.levels[:, 1:]), CATALOG)


def test_the_next_session_begins_defended() -> None:
    client = a_client()
    later = client.after(KIND).next_session()
    assert (later.phase, later.state.session[0], later.state.turn[0]) == ("A", 1, 0)
    assert later.person == client.person
    assert later.report is None


def test_the_repr_tells_who_where_and_what_matters() -> None:
    client = a_client()
    told = repr(client)
    assert client.person is not None
    for part in (client.person.name, client.person.strategy, "stage 1 Foundation", "phase A Defended", "coiling",
                 "alliance", *client.matters_now(3)):  # fmt: skip
        assert part in told
    assert "last turn" not in told
    kind = client.after(KIND)
    most = max(kind.levels, key=lambda name: abs(kind.levels[name] - client.levels[name]))
    assert f"last turn moved: {most} {kind.levels[most] - client.levels[most]:+.3f}" in repr(kind)
    assert "client 1 of 2" in repr(ClientGraph(draw(CATALOG, np.random.default_rng(0), 2)[0], CATALOG, index=1))


def test_diff_names_what_differs_largest_first() -> None:
    client = a_client()
    kind, harsh = client.after(KIND), client.after(HARSH)
    found = kind.diff(harsh)
    for pair in found.nodes:
        assert (pair.here, pair.there) == (kind.levels[pair.name], harsh.levels[pair.name])
        assert pair.difference == pair.there - pair.here
    sizes = [abs(pair.difference) for pair in found.nodes]
    assert sizes == sorted(sizes, reverse=True)
    assert {p.name for p in found.nodes} == {n for n, level in kind.levels.items() if level != harsh.levels[n]}
    plain = found.as_dict()
    assert plain["buckets"]["trust"] == (kind.buckets["trust"], harsh.buckets["trust"])
    assert plain["axes"]["self_esteem"] == (kind.axes["self_esteem"], harsh.axes["self_esteem"])
    assert json.dumps(plain)
    assert found.nodes[0].name in repr(found)
    assert [pair.difference for pair in harsh.diff(kind).nodes] == [-pair.difference for pair in found.nodes]
    assert client.diff(kind).labels == {"turn": (0, 1)}


def test_diff_tells_another_stage_and_phase() -> None:
    one = a_client()
    other = ClientGraph(one.state._replace(phase=one.state.phase + 2, stage=one.state.stage + 1), CATALOG)
    assert one.diff(other).labels == {"phase": ("A", "C"), "stage": (1, 2)}
    assert "phase: A here, C there" in repr(one.diff(other))


def test_a_client_does_not_differ_from_itself() -> None:
    client = a_client()
    assert not client.diff(a_client())
    assert repr(client.diff(client)) == "no difference"


def without_turn(client: ClientGraph) -> ClientGraph:
    return client


def with_report_alone(client: ClientGraph) -> ClientGraph:
    kind = client.after(KIND)
    return ClientGraph(kind.state, kind.catalog, kind.report)


@pytest.mark.parametrize(
    ("given", "told"), [(without_turn, "no turn yet"), (with_report_alone, "the state before it are needed")]
)
def test_explaining_without_a_turn_says_what_is_needed(given: Callable[[ClientGraph], ClientGraph], told: str) -> None:
    client = given(a_client())
    with pytest.raises(ValueError, match=told):
        client.explain("shame_core")
    with pytest.raises(KeyError, match="shame_core"):
        client.explain("shame_cor")


# A person of five nodes, whom the plain tables call Kim: one good turn moves three of them.
SMALL_NODES = [node("bond"), node("self_worth"), node("calm", "bipolar"), node("shame", "decrease"), node("hope")]
SMALL_MOVES = [
    sensitivity("self_worth", "attunement", high=0.04, low=-0.05),
    sensitivity("calm", "attunement", high=0.01, low=-0.05),
    sensitivity("shame", "attunement", high=-0.02, low=0.05),
]
SMALL = plain_catalog(SMALL_NODES, sensitivities=SMALL_MOVES)
QUIET = dict.fromkeys(DIMENSIONS, 5.0)


def small(catalog: Catalog = SMALL, **levels: float) -> ClientGraph:
    """Kim at the levels that are told, 5 elsewhere; the therapist believes 5 of every node."""
    client = ClientGraph.draw(1, stage=1, catalog=catalog)
    placed = np.array([[levels.get(name, 5.0) for name in catalog.node_names]])
    nearness = 1.0 - np.abs(5.0 - placed).mean(axis=1) / 10.0
    state = client.state._replace(levels=placed, tmog=np.full(placed.shape, 5.0), attunement=nearness)
    return ClientGraph(state, catalog, person=client.person, settings=client.settings)


def test_a_small_client_is_told_in_full() -> None:
    """Coiling (0.5 + 0.6 + 0.4 + 0.9 + 0.5) / 5, alliance 5 / 10, beliefs wrong by (1 + 2 + 4) / 5; voices 2.1, 1.6, 0.9, 0.5.

    A turn at engagement 0.5 moves a node by 10 · 0.5 · high.
    """
    kim = small(self_worth=4.0, calm=3.0, shame=9.0)
    told = [
        "ClientGraph: Kim, a worry, attachment B3",
        "  stage 1 Foundation, phase A Defended, session 1, turn 0, stance rapport building",
        "  coiling 0.580, alliance 0.50, attunement 0.860",
        "  matters now: shame 9.0, calm 3.0, self_worth 4.0, bond 5.0",
    ]
    assert repr(kim).splitlines() == told
    moved = repr(kim.after(QUIET | {"attunement": 10.0})).splitlines()
    assert moved[4:] == ["  last turn moved: self_worth +0.200, shame -0.100, calm +0.050"]
    assert repr(kim.after(QUIET)).splitlines()[4:] == ["  last turn moved: no level"]
    later = kim.next_session().next_session()
    assert repr(later).splitlines()[1].split(", ")[2] == "session 3"
    assert repr(later).splitlines()[4:] == ["  last session: the stage stayed"]


@pytest.mark.parametrize(("before", "after", "told"), [(1, 2, "was gained"), (2, 1, "was lost")])
def test_a_stage_that_was_gained_or_lost_is_told(before: int, after: int, told: str) -> None:
    criterion = row(
        "stage_criteria", stage_from=before, stage_to=after, measure="adaptive_mean", relation="above", value=0.1, sessions=1
    )  # fmt: skip
    catalog = plain_catalog([node("bond")], stage_criteria=[criterion])
    later = ClientGraph.draw(1, stage=before, catalog=catalog).next_session()
    assert later.stage == after
    assert later.ended is not None
    assert later.ended.stage_step.tolist() == [after - before]
    assert repr(later).endswith(f"\n  last session: the stage {told}")


def test_what_comes_after_keeps_the_settings_and_can_be_written_by_nobody() -> None:
    calm = ClientGraph.draw(7, stage=1, settings=ClientSettings(node_gain=0.5, drive="literal"))
    kind = calm.after(KIND)
    assert kind.scores is not None
    assert not kind.scores.flags.writeable
    assert calm.next_session().settings == calm.settings
    assert kind.explain("shame_core").before == calm.levels["shame_core"]  # by the gains the turn was taken with


def like_each_other(count: int = 40) -> Catalog:
    """Nodes of two kinds in turn; nothing but their place tells those of a kind apart."""
    high = {f"node_{k}": 0.04 if k % 2 == 0 else 0.02 for k in range(count)}
    return plain_catalog(
        [node(name) for name in high], sensitivities=[sensitivity(name, high=high[name], low=-0.05) for name in high]
    )


def test_of_nodes_alike_the_first_of_the_tables_are_named() -> None:
    catalog = like_each_other()
    names = [f"node_{k}" for k in (*range(0, 40, 2), *range(1, 40, 2))]
    client = small(catalog, **dict.fromkeys(names[:20], 4.0))
    wrong = np.where(np.arange(40) % 2 == 0, 1.0, 0.5)
    misread = ClientGraph(client.state._replace(tmog=client.state.levels + wrong), catalog)
    assert client.matters_now(40) == names
    assert misread.worst_misread(40) == [(name, 1.0) for name in names[:20]] + [(name, 0.5) for name in names[20:]]
    moved = repr(small(catalog).after(QUIET | {"attunement": 10.0})).splitlines()[-1]
    assert moved == "  last turn moved: " + ", ".join(f"{name} +0.200" for name in names[:4])


def test_a_client_is_drawn_from_the_tables_and_by_the_settings_that_were_given(tmp_path: Path) -> None:
    folder = copied_tables(tmp_path, names=lambda rows: [{"name": "Zoë", "source": "a test"}])
    for given in (folder, str(folder)):
        client = ClientGraph.draw(7, catalog=given, settings=ClientSettings(tmog_start_noise=0.0))
        assert client.person is not None
        assert client.person.name == "Zoë"
        assert client.beliefs == client.levels


def test_five_are_named_unless_told_otherwise() -> None:
    client = small(like_each_other())
    assert len(client.matters_now()) == len(client.worst_misread()) == 5
    assert client.matters_now(0) == []
    with pytest.raises(ValueError, match=r"^found count -1; expected 0 or more$"):
        client.matters_now(-1)


def test_the_worst_misread_is_belief_minus_truth_largest_first() -> None:
    client = small(bond=5.5, self_worth=8.0, calm=1.0)
    assert client.worst_misread(3) == [("calm", 4.0), ("self_worth", -3.0), ("bond", -0.5)]


def test_a_refusal_names_every_bad_score_and_no_good_one() -> None:
    """0, 0.5 and 10 are scores."""
    good = QUIET | {"attunement": 0.0, "validation": 0.5, "boundaries": 10.0}
    scores = {name: score for name, score in good.items() if name not in ("repair", "tenderness")}
    asked = f"expected a score in [0, 10] for each of {', '.join(DIMENSIONS)}"
    for given, told in (
        (scores, "no score for repair, tenderness"),
        (good | {"warmth": 5.0, "joy": 5.0}, "scores for 'warmth', 'joy', which no judge gives"),
        (
            scores | {"warmth": 5.0, "pacing": 10.5},
            "no score for repair, tenderness; scores for 'warmth', which no judge gives; pacing is 10.5",
        ),
    ):
        with pytest.raises(ScoreError) as caught:
            small().after(given)
        assert str(caught.value) == f"found {told}; {asked}"


@pytest.mark.parametrize(
    ("scores", "told"),
    [
        ([5.0] * 11 + [True], "found True or False among the scores; expected twelve numbers in [0, 10]"),
        ([5.0] * 11, f"found scores of shape (11,); expected (12,), in the order {', '.join(DIMENSIONS)}"),
    ],
)
def test_what_are_no_twelve_numbers_is_told_in_full(scores: list[float], told: str) -> None:
    with pytest.raises(ScoreError) as caught:
        small().after(scores)
    assert str(caught.value) == told


def test_other_refusals_are_told_in_full() -> None:
    kim = small()
    pair, people = draw(SMALL, np.random.default_rng(0), 2)
    after, report = advance(pair, np.full((2, 12), 9.0), SMALL)
    kind = kim.after(KIND)
    for refused, told in (
        (lambda: ClientGraph(pair, SMALL, index=2), "found client index 2; expected 0 to 1"),
        (lambda: ClientGraph(kim.state, CATALOG), "found levels of shape (1, 5); expected (clients, 142) for this catalog"),
        (
            lambda: ClientGraph(kim.state._replace(levels=np.full(5, 5.0)), SMALL),
            "found levels of shape (5,); expected (clients, 5) for this catalog",
        ),
        (
            lambda: ClientGraph(kim.state, SMALL, report),
            "found a report with changes by node for 2 clients; expected 1: advance() makes one, and advance_in_place() fills "
            "empty_report(..., by_node=True)",
        ),
        (
            lambda: ClientGraph(kind.state, SMALL, kind.report, before=kim.state).explain("shame"),
            "the last turn's report is here, but to explain shame its scores and the state before it are needed; "
            "keep the client before the turn and explain client.after(scores), or give before= and scores=",
        ),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=r"found|is here") as caught:
            refused()
        assert str(caught.value) == told
    with pytest.raises(TypeError) as mistaken:
        kim.diff({"shame": 5.0})  # type: ignore[arg-type]
    assert str(mistaken.value) == "found dict; expected another ClientGraph, such as after() returns"
    with pytest.raises(TypeError) as seedless:
        ClientGraph.draw(None)  # type: ignore[arg-type]
    assert str(seedless.value) == (
        "found no seed; expected a whole number or a numpy Generator, so that the client can be met again"
    )
    assert [ClientGraph(after, SMALL, report, k, people[k]).index for k in (0, 1)] == [0, 1]


def test_graphs_and_files_are_of_the_catalog_that_was_given(tmp_path: Path) -> None:
    """The tables that a graph does not hold: of `catalog`, else of `like`, else the default ones."""
    kim = small(shame=9.0)
    graph, path = kim.to_networkx(), kim.to_graphml(str(tmp_path / "kim.graphml"))
    for back in (
        ClientGraph.from_networkx(graph, catalog=SMALL),
        ClientGraph.from_networkx(graph, like=kim),
        ClientGraph.from_networkx(graph, like=a_client(), catalog=SMALL),
        ClientGraph.from_graphml(str(path), catalog=SMALL),
        ClientGraph.from_graphml(path, like=kim),
    ):
        assert back.state.same_as(kim.state)
        assert back.catalog.bucket_names == SMALL.bucket_names
        assert back.person == kim.person
    with pytest.raises(ValueError):  # noqa: PT011  (what is wrong is exchange's to tell)
        ClientGraph.from_networkx(graph)


def test_pictures_are_drawn_as_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Twelve edges of a type drawn clearly, and 24 changes, unless told otherwise."""
    from client_graph import drawing

    asked: list[tuple[object, ...]] = []
    monkeypatch.setattr(drawing, "plot_client", lambda *given: asked.append(("client", *given)))
    monkeypatch.setattr(drawing, "plot_change", lambda *given: asked.append(("change", *given)))
    kim = small()
    kim.plot()
    kim.plot("shame", clear=3)
    kim.plot_change()
    kim.plot_change(7)
    assert [(what, client is kim, *given) for what, client, *given in asked] == [
        ("client", True, None, 12), ("client", True, "shame", 3), ("change", True, 24), ("change", True, 7),
    ]  # fmt: skip
