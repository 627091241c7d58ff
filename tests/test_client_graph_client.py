"""ClientGraph: one client by name, branched without being changed; and what importing the package costs."""

import json
import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

import client_graph
from client_graph import DIMENSIONS, ClientGraph, ClientSettings, ScoreError, advance, draw, load_catalog
from client_graph.graph import tightness
from client_graph.names import CONFIGS

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
