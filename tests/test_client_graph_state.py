"""The state: what is taken from it, and what is refused before compiled code could read beside an array."""

import multiprocessing

import numpy as np
import pytest

from client_graph.catalog import load_catalog
from client_graph.compiled import LANES
from client_graph.personhood import draw
from client_graph.session import end_session, measure
from client_graph.settings import ClientSettings
from client_graph.spread import spread
from client_graph.state import ClientState, StateError, check_state, misshapen, out_of_range, read_only
from client_graph.testing.plain import node, plain_catalog
from client_graph.turn import advance, advance_in_place, empty_report

CATALOG = load_catalog()
SMALL = plain_catalog([node(name) for name in "abc"])


def some(clients: int = 3) -> ClientState:
    return draw(CATALOG, np.random.default_rng(1), clients)[0]


def test_clients_are_taken_by_place_or_by_mask() -> None:
    state = some(4)
    state.turn[:] = [10, 11, 12, 13]
    assert state.take([3, 0, 3]).turn.tolist() == [13, 10, 13]
    assert state.take(state.turn > 11).turn.tolist() == [12, 13]
    assert state.take([]).clients == 0
    assert state.take(np.array([2], dtype=np.uint8)).turn.tolist() == [12]


@pytest.mark.parametrize("found", [[-1], [4], [0.5], [[0, 1]], [True, False], "first"])
def test_places_that_no_client_has_are_refused(found: object) -> None:
    with pytest.raises(StateError, match="expected"):
        some(4).take(found)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("phase", np.zeros(1, dtype=np.int64), r"phase: found shape \(1,\); expected \(3,\)"),
        ("levels", np.zeros((3, 5)), r"levels: found shape \(3, 5\); expected \(3, 142\)"),
        ("stage", np.array([0, 7, 0]), r"stage: found 7; expected numbers in \[0, 3\]"),
        ("phase", np.array([0, 0, -1]), r"phase: found -1; expected numbers in \[0, 3\]"),
        ("stance", np.array([3, 0, 0]), r"stance: found 3; expected numbers in \[0, 2\]"),
    ],
)
def test_a_state_that_compiled_code_could_not_read_is_refused(field: str, value: np.ndarray, said: str) -> None:
    state = some()._replace(**{field: value})
    scores = np.full((3, 12), 8.0)
    with pytest.raises(StateError, match=said):
        advance(state, scores, CATALOG)
    for work in (measure, end_session):
        with pytest.raises(StateError, match=said):
            work(state, CATALOG)


def test_every_field_of_another_catalogs_state_is_named_and_nothing_changes() -> None:
    state, _ = draw(SMALL, np.random.default_rng(0), 2)
    kept = state.snapshot()
    with pytest.raises(StateError, match=r"levels.*tmog.*for this catalog"):
        advance_in_place(state, np.full((2, 12), 8.0), CATALOG)
    assert state.same_as(kept)


def test_a_report_of_another_size_is_refused() -> None:
    state = some()
    kept = state.snapshot()
    for report in (empty_report(5, CATALOG, by_node=False), empty_report(3, SMALL, by_node=True)):
        with pytest.raises(StateError, match="expected one for 3 clients and 142 nodes"):
            advance_in_place(state, np.full((3, 12), 8.0), CATALOG, report=report)
    assert state.same_as(kept)


def test_a_read_only_state_is_not_changed_in_place() -> None:
    with pytest.raises(StateError, match="read-only"):
        advance_in_place(read_only(some()), np.full((3, 12), 8.0), CATALOG)


def test_read_only_scores_are_scores() -> None:
    scores = np.full((3, 12), 8.0)
    scores.setflags(write=False)
    assert advance(some(), scores, CATALOG)[0].same_as(advance(some(), scores.copy(), CATALOG)[0])


def test_what_lies_outside_its_range_is_named() -> None:
    state = some()
    assert out_of_range(state) == []
    state.levels[1, 4], state.axes[2, 0], state.recent_attunement[0, 3], state.turn[0] = 10.5, np.nan, np.nan, 1
    state.phase[0], state.core_sessions[1] = 2, 4
    told = "; ".join(out_of_range(state))
    for part in (
        "levels: found 10.5", "axes: found nan", "recent_attunement: found nan", "recent_resistance: found nan",
        "deepest_phase is less than phase", "session is less than core_sessions",
    ):  # fmt: skip
        assert part in told, told
    assert len(out_of_range(state)) == 6


def test_a_copy_of_the_settings_has_its_own_gains() -> None:
    settings = ClientSettings()
    assert settings.dynamics.node_gain == 1.0
    assert settings.model_copy(update={"node_gain": 2.0}).dynamics.node_gain == 2.0


def test_the_tables_of_a_loaded_catalog_cannot_be_exchanged() -> None:
    with pytest.raises(TypeError):
        CATALOG.rows["names"] = ()  # type: ignore[index]


@pytest.mark.parametrize("place", [(-1, 0), (0, -1), (4, 0), (0, 4)])
def test_guidance_of_no_stage_or_phase_is_refused(place: tuple[int, int]) -> None:
    with pytest.raises(KeyError, match="expected each in 0 to 3"):
        CATALOG.guidance(*place)


@pytest.mark.parametrize("clients", [0, -1])
def test_nobody_cannot_be_drawn(clients: int) -> None:
    with pytest.raises(ValueError, match="expected at least 1"):
        draw(CATALOG, np.random.default_rng(0), clients)


@pytest.mark.parametrize("threads", [1, 2, 3, 7])
@pytest.mark.parametrize("clients", [1, LANES, 3 * LANES + 1, 10 * LANES])
def test_every_client_is_worked_on_once_and_blocks_stay_whole(clients: int, threads: int) -> None:
    parts: list[tuple[int, int]] = []
    spread(lambda first, last: parts.append((first, last)), clients, threads)
    parts.sort()
    assert [place for first, last in parts for place in range(first, last)] == list(range(clients))
    assert all(first % LANES == 0 for first, _ in parts)
    assert len(parts) == min(threads, -(-clients // LANES))


def test_a_part_that_fails_is_told_after_all_have_ended() -> None:
    ended: list[int] = []

    def work(first: int, last: int) -> None:
        if first == LANES:
            raise ArithmeticError("the second part")
        ended.append(first)

    with pytest.raises(ArithmeticError, match="the second part"):
        spread(work, 3 * LANES, 3)
    assert sorted(ended) == [0, 2 * LANES]


def test_no_thread_is_refused() -> None:
    with pytest.raises(ValueError, match="expected at least 1"):
        spread(lambda first, last: None, 10, 0)


def _forked(results: "multiprocessing.Queue[bytes]", state: ClientState, scores: np.ndarray) -> None:
    advance_in_place(state, scores, CATALOG, threads=2)
    results.put(state.levels.tobytes())


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_has_threads_of_its_own() -> None:
    if "fork" not in multiprocessing.get_all_start_methods():
        pytest.skip("no fork here")
    state, scores = some(2).take(np.arange(2 * LANES) % 2), np.full((2 * LANES, 12), 8.0)
    before = state.snapshot()
    advance_in_place(state, scores, CATALOG, threads=2)  # the parent's pool is there before the fork
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=_forked, args=(results, before, scores))
    child.start()
    found = results.get(timeout=60)
    child.join(timeout=60)
    assert child.exitcode == 0
    assert found == state.levels.tobytes()


def test_a_turn_that_was_is_known_and_one_that_was_not_may_be_unknown() -> None:
    """After one turn the last place of the window is filled; after two, the last two; after five, all four."""
    state = some(1)
    for turns, known in ((1, 1), (2, 2), (5, 4)):
        state.turn[:] = turns
        for filled in range(5):
            for window in (state.recent_attunement, state.recent_resistance):
                window[0] = np.where(np.arange(4) >= 4 - filled, 5.0, np.nan)
            assert bool(out_of_range(state)) == (filled < known), (turns, filled)


@pytest.mark.parametrize(
    ("field", "value", "refused"),
    [
        ("attunement", 1 + 1e-13, False), ("attunement", 1 + 1e-11, True), ("phase_mood", -1 - 1e-13, False),
        ("phase_coiling", -1e-11, True), ("phase_coiling", -1e-13, False),
        ("levels", 10.0, False), ("levels", 10 + 1e-13, True), ("loa", -10.0, False),
    ],
)  # fmt: skip
def test_only_means_may_leave_their_range_and_only_by_rounding(field: str, value: float, refused: bool) -> None:
    state = some(1)
    getattr(state, field)[:] = value
    assert [told.partition(":")[0] for told in out_of_range(state)] == [field] * refused


def test_batches_are_stacked_in_order() -> None:
    one, other = some(2), some(3)
    one.turn[:], other.turn[:] = [1, 2], [3, 4, 5]
    both = ClientState.stack([other, one])
    assert both.turn.tolist() == [3, 4, 5, 1, 2]
    assert both.take([3, 4]).same_as(one)
    assert both.take([0, 1, 2]).same_as(other)


def test_the_last_stage_phase_and_stance_exist_and_no_other_does() -> None:
    state = some(1)
    for field, last in (("stage", 3), ("phase", 3), ("stance", 2)):
        for value, refused in ((0, False), (last, False), (-1, True), (last + 1, True)):
            changed = state._replace(**{field: np.array([value])})
            if refused:
                with pytest.raises(StateError) as caught:
                    check_state(changed, 142, 16)
                assert (
                    f"{field}: found {value}; expected numbers in [0, {last}]"
                    in str(caught.value).split("; deepest")[0]
                )
            else:
                check_state(changed, 142, 16)


def test_all_that_is_wrong_is_told_in_one_error() -> None:
    state = some()
    wrong = state._replace(stage=np.array([0, 7, 0]), stance=np.array([3, 0, 0]))
    with pytest.raises(StateError) as caught:
        check_state(wrong, 142, 16)
    assert str(caught.value) == (
        "stage: found 7; expected numbers in [0, 3]; stance: found 3; expected numbers in [0, 2]"
    )
    with pytest.raises(StateError) as caught:
        check_state(state._replace(tmog=np.zeros((3, 5)), axes=np.zeros((3, 2))), 142, 15)
    assert str(caught.value) == (
        "tmog: found shape (3, 5); expected (3, 142); buckets: found shape (3, 16); expected (3, 15); "
        "buckets_start: found shape (3, 16); expected (3, 15); axes: found shape (3, 2); expected (3, 3) for this catalog"
    )


def test_levels_of_no_client_are_of_none() -> None:
    told = misshapen(SMALL_ONE._replace(levels=np.array(5.0)), 3, 2)
    assert told[0] == "levels: found shape (); expected (0, 3)"
    assert "turn: found shape (1,); expected (0,)" in told


SMALL_ONE = draw(SMALL, np.random.default_rng(0), 1)[0]


@pytest.mark.parametrize(
    ("places", "told"),
    [
        ([-1, 2], "found clients from -1 to 2; expected 0 to 3"),
        ([0, 4], "found clients from 0 to 4; expected 0 to 3"),
        ([0.5], "found clients float64 of shape (1,); expected whole numbers, or (4,) bool"),
    ],
)
def test_a_refused_place_is_told_with_those_there_are(places: list[float], told: str) -> None:
    with pytest.raises(StateError) as caught:
        some(4).take(places)  # type: ignore[arg-type]
    assert str(caught.value) == told
