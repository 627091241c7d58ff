"""A client from one word, once more in plain Python: which word of its stream is for what, and what it becomes."""

import numpy as np
import pytest

from client_graph.arrival import CONCERN_GRIP, STAGE_ODDS, STRATEGY_GRIP, kinds, newcomers, uniform
from client_graph.catalog import load_catalog
from client_graph.settings import ClientSettings

CATALOG = load_catalog()
MASK = 2**64 - 1
WORDS = np.random.default_rng(8).integers(0, 2**64, size=40, dtype=np.uint64)


def word(stream: int, draw: int) -> int:
    """SplitMix64, by the paper of Steele, Lea and Flood."""
    z = (stream + draw * 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def bell(bits: int) -> float:
    """The sum of four uniforms out of 16 bits each, of mean 0 and variance 1."""
    pieces = [(bits >> shift) & 0xFFFF for shift in (0, 16, 32, 48)]
    return float(3**0.5 * ((sum(pieces) + 2.0) / 65536.0 - 2.0))


def u(stream: int, draw: int) -> float:
    return float((word(stream, draw) >> 11) * 2.0**-53)


def test_who_comes_is_read_from_the_first_four_words() -> None:
    found = kinds(CATALOG, WORDS)
    for i, stream in enumerate(WORDS.tolist()):
        stage = int(np.searchsorted(np.cumsum(STAGE_ODDS)[:3], u(stream, 1), side="right"))
        assert found.stage[i] == min(stage, 2)
        for name, table, draw in (("strategy", "strategies", 2), ("concern", "concerns", 3), ("name", "names", 4)):
            assert getattr(found, name)[i] == int(u(stream, draw) * len(CATALOG.rows[table])), name
    assert uniform(np.uint64(MASK)) < 1.0
    assert uniform(np.uint64(0)) == 0.0


def test_what_is_asked_for_comes_and_settings_are_heard() -> None:
    asked = newcomers(
        CATALOG, WORDS, stage=2, strategy="C8", concern="panic", settings=ClientSettings(tmog_start_noise=0)
    )
    assert set(asked.stage.tolist()) == {1}
    np.testing.assert_array_equal(asked.tmog, asked.levels)
    other = newcomers(CATALOG, WORDS, stage=2, strategy="B3", concern="panic")
    third = newcomers(CATALOG, WORDS, stage=2, strategy="C8", concern="emptiness")
    assert (asked.levels != other.levels).any()
    assert (asked.levels != third.levels).any()
    assert (other.tmog != other.levels).any()


@pytest.mark.parametrize("stage", [None, 4])
def test_a_client_by_hand(stage: int | None) -> None:
    state = newcomers(CATALOG, WORDS, stage=stage, settings=ClientSettings(tmog_start_noise=1.5))
    kind = kinds(CATALOG, WORDS, stage=stage)
    nodes, buckets = len(CATALOG.nodes), len(CATALOG.bucket_names)
    for i, stream in enumerate(WORDS[:12].tolist()):
        s = int(kind.stage[i])
        noise = [bell(word(stream, 16 + k)) for k in range(2 * nodes + buckets + 7)]
        typical = CATALOG.start[s] + STRATEGY_GRIP[s] * CATALOG.strategy_shift[kind.strategy[i]]
        typical = typical + CONCERN_GRIP[s] * CATALOG.concern_shift[kind.concern[i]]
        levels = np.clip(typical + 0.6 * np.array(noise[:nodes]), 0, 10)
        beliefs = np.clip(levels + 1.5 * np.array(noise[nodes : 2 * nodes]), 0, 10)
        at = 2 * nodes
        np.testing.assert_allclose(state.levels[i], levels, atol=1e-12)
        np.testing.assert_allclose(state.tmog[i], beliefs, atol=1e-12)
        filled = np.clip(CATALOG.bucket_start[s] + 0.05 * np.array(noise[at : at + buckets]), 0, 1)
        np.testing.assert_allclose(state.buckets[i], filled, atol=1e-12)
        np.testing.assert_array_equal(state.buckets_start[i], state.buckets[i])
        adapted = np.clip(CATALOG.loa_start[s] + 0.8 * np.array(noise[at + buckets :]), -10, 10)
        np.testing.assert_allclose(state.loa[i], adapted, atol=1e-12)
        assert state.attunement[i] == pytest.approx(1 - np.abs(beliefs - levels).mean() / 10, abs=1e-12)
        way = np.array([row.direction for row in CATALOG.nodes])
        ill = np.where(way == "increase", 10 - levels, np.where(way == "decrease", levels, 2 * abs(levels - 5))) / 10
        axes = 10 * CATALOG.loading @ ill / np.abs(CATALOG.loading).sum(axis=1)
        np.testing.assert_allclose(state.axes[i], axes, atol=1e-12)
        np.testing.assert_array_equal(state.axes_start[i], state.axes[i])
        np.testing.assert_allclose(state.axes_window[i], np.abs(axes).sum(), atol=1e-12)
        assert int(state.stream[i]) == word(stream, 6)
    for name in (
        "turn",
        "session",
        "core_sessions",
        "stage_ahead",
        "stage_behind",
        "phase",
        "deepest_phase",
        "stance",
        "arc",
    ):
        assert not getattr(state, name).any(), name
    assert np.isnan(state.recent_attunement).all()
    assert np.isnan(state.recent_resistance).all()


def listed(table: str) -> str:
    return ", ".join(row.name for row in CATALOG.rows[table])


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"stage": 5}, "found stage 5; expected one of (1, 2, 3, 4)"),
        ({"stage": True}, "found stage True; expected one of (1, 2, 3, 4)"),
        ({"stage": 2.0}, "found stage 2.0; expected one of (1, 2, 3, 4)"),
        ({"strategy": "Z9"}, f"found attachment strategy 'Z9'; expected one of {listed('strategies')}"),
        ({"strategy": "B33"}, f"found attachment strategy 'B33' (did you mean B3?); expected one of {listed('strategies')}"),
        ({"concern": "xyzzy"}, f"found concern 'xyzzy'; expected one of {listed('concerns')}"),
        ({"concern": "pannic"}, f"found concern 'pannic' (did you mean panic?); expected one of {listed('concerns')}"),
        ({"concern": "DIVORCE"}, f"found concern 'DIVORCE' (did you mean after_divorce?); expected one of {listed('concerns')}"),
        ({"concern": 3}, f"found concern 3; expected one of {listed('concerns')}"),
    ],
)  # fmt: skip
def test_a_wish_that_cannot_be_met_is_named_with_what_was_meant(asked: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match="found") as caught:
        newcomers(CATALOG, WORDS, **asked)  # type: ignore[arg-type]
    assert str(caught.value) == said


def test_every_place_of_a_table_can_be_asked_for() -> None:
    for what, table in (("strategy", "strategies"), ("concern", "concerns")):
        for place, row in enumerate(CATALOG.rows[table]):
            found = kinds(CATALOG, WORDS[:2], **{what: row.name})  # type: ignore[arg-type]
            assert getattr(found, what).tolist() == [place, place]
    assert kinds(CATALOG, WORDS[:1], stage=np.int64(3)).stage.tolist() == [2]  # type: ignore[arg-type]


def test_every_field_has_its_kind_of_number() -> None:
    state = newcomers(CATALOG, WORDS)
    whole = {
        "phase",
        "deepest_phase",
        "stage",
        "stage_ahead",
        "stage_behind",
        "core_sessions",
        "session",
        "turn",
        "stance",
        "arc",
    }
    for name, array in state._asdict().items():
        expected = np.uint64 if name == "stream" else np.int64 if name in whole else np.float64
        assert array.dtype == expected, name
        assert len(array) == len(WORDS)
    assert (state.recent_attunement.shape, state.axes_window.shape) == ((40, 4), (40, 3))
