"""The peers that the client's turn is measured against do the same turn: equal within rounding, noise included."""

from collections.abc import Iterator

import numpy as np
import pytest

from benchmarks.client_peers import JaxCrowd, LoopClient, NumpyCrowd
from client_graph.catalog import load_catalog
from client_graph.names import DIMENSIONS
from client_graph.personhood import draw
from client_graph.settings import ClientSettings
from client_graph.state import ClientState
from client_graph.turn import TurnReport, advance_in_place, empty_report

CATALOG = load_catalog()
CLIENTS = 12
TREATMENT = 9 * ["good"] + 5 * ["poor"] + 4 * ["mixed"]
SETTINGS = [ClientSettings(), ClientSettings(drive="literal", phase_mood_gain=25.0, stance_lock_turns=1)]
ATTUNEMENT = DIMENSIONS.index("attunement")


def crowd() -> ClientState:
    """Clients of every stage and phase, some of whose bipolar nodes and axes lie exactly in the middle."""
    rng = np.random.default_rng(5)
    parts = [draw(CATALOG, rng, CLIENTS // 4, stage=stage)[0] for stage in (1, 2, 3, 4)]
    state = ClientState.stack(parts)
    state.phase[:] = rng.integers(0, 4, CLIENTS)
    state.levels[::3, CATALOG.tables.nodes.direction == 2] = 5.0
    state.axes[1::3] = 0.0
    return state


def judged() -> Iterator[np.ndarray]:
    """(CLIENTS, 12) scores, turn by turn: a good time, a poor one, a mixed one."""
    rng = np.random.default_rng(6)
    for kind in TREATMENT:
        low, high = {"good": (6.0, 10.0), "poor": (0.0, 4.0), "mixed": (0.0, 10.0)}[kind]
        yield rng.uniform(low, high, (CLIENTS, 12))


def assert_same(found: dict, wanted: ClientState | TurnReport, which: int | slice = slice(None)) -> None:
    for name, value in wanted._asdict().items():
        if name == "stream":
            np.testing.assert_array_equal(np.asarray(found[name], np.uint64), value[which], err_msg=name)
        else:
            np.testing.assert_allclose(
                np.asarray(found[name], np.float64), value[which], rtol=0, atol=1e-9, err_msg=name
            )


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("peer", [NumpyCrowd, JaxCrowd])
def test_an_array_peer_takes_the_same_turns(peer: type, settings: ClientSettings) -> None:
    if peer is JaxCrowd:
        pytest.importorskip("jax")
    state = crowd()
    other = peer(CATALOG, state.snapshot(), settings, by_node=True)
    steps: set[int] = set()
    stances: set[int] = set()
    for scores in judged():
        report = advance_in_place(state, scores, CATALOG, settings, report=empty_report(CLIENTS, CATALOG, by_node=True))
        assert_same(other.turn(scores)._asdict(), report)
        assert_same(other.state._asdict(), state)
        steps, stances = steps | {*report.phase_step.tolist()}, stances | {*state.stance.tolist()}
    if settings.drive == "excess":  # the raw score of a poor turn is small: under `literal` nobody closes so soon
        assert steps == {-1, 0, 1}, "the comparison has not seen every step"
    assert len(stances) > 1, "the comparison has seen one stance only"


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_loop_peer_takes_the_same_turns(settings: ClientSettings) -> None:
    state = crowd()
    others = [LoopClient(CATALOG, state, i, settings) for i in range(CLIENTS)]
    for scores in judged():
        report = advance_in_place(state, scores, CATALOG, settings, report=empty_report(CLIENTS, CATALOG, by_node=True))
        for i, other in enumerate(others):
            assert_same(other.turn(scores[i].tolist()), report, i)
            assert_same(other.state(), state, i)


def test_a_peer_may_leave_out_the_changes_by_node() -> None:
    other = NumpyCrowd(CATALOG, crowd())
    assert other.turn(next(judged())).direct.shape == (0, len(CATALOG.nodes))
