"""The pictures: everything is drawn, at its true size, and inside the figure."""

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, Wedge
from matplotlib.text import Text

from client_graph import DIMENSIONS, ClientGraph, draw, load_catalog
from client_graph.drawing import COILING, EDGE_COLOURS, Drawing, toward_health, words
from client_graph.names import EDGE_TYPES

CATALOG = load_catalog()
EDGES = CATALOG.rows["edges"]
CLIENT = ClientGraph.draw(7, stage=1)
TURN = CLIENT.after(dict.fromkeys(DIMENSIONS, 8.5) | {"pacing": 1.0})


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def test_every_node_and_domain_is_named_with_its_level() -> None:
    said = set(texts(CLIENT.plot()))
    for name, level in CLIENT.levels.items():
        assert {f"{words(name)}  {level:.1f}", f"{level:.1f}  {words(name)}"} & said, name
    for row in CATALOG.rows["domains"]:
        assert words(row.name).replace(" ", "\n", 1) in said
    assert any(CLIENT.who in text for text in said)


def test_nothing_is_cut_off_at_the_rim() -> None:
    for figure in (CLIENT.plot(), CLIENT.plot(focus="shame_core")):
        figure.draw_without_rendering()
        width, height = figure.bbox.size
        for text in figure.findobj(Text):
            if text.get_text() and text.get_visible():
                box = text.get_window_extent()
                assert box.x0 >= 0, text
                assert box.y0 >= 0, text
                assert box.x1 <= width, text
                assert box.y1 <= height, text


def test_nodes_are_coloured_by_coiling_and_domains_by_their_mean() -> None:
    (axes, *_) = CLIENT.plot().axes
    (nodes,) = (c for c in axes.collections if isinstance(c, PathCollection) and c.get_array() is not None)
    assert sorted(nodes.get_array()) == sorted(CLIENT.tightness.values())
    wedges = [patch for patch in axes.patches if isinstance(patch, Wedge)]
    assert len(wedges) == 16
    first = [row for row in CATALOG.nodes if row.domain == CATALOG.rows["domains"][0].name]
    mean = sum(row.weight * CLIENT.tightness[row.name] for row in first) / sum(row.weight for row in first)
    assert wedges[0].get_facecolor() == pytest.approx(COILING(mean))


@pytest.mark.parametrize("clear", [0, 12, 10_000])
def test_every_edge_is_drawn_clearly_or_faintly(clear: int) -> None:
    (axes, *_) = CLIENT.plot(clear=clear).axes
    drawn = [c for c in axes.collections if isinstance(c, PathCollection) and c.get_array() is None]
    assert sum(len(c.get_paths()) for c in drawn) == len(EDGES)
    bright = sum(len(c.get_paths()) for c in drawn if (c.get_alpha() or 0) > 0.5)
    assert bright == sum(min(clear, sum(edge.type == kind for edge in EDGES)) for kind in EDGE_TYPES)


def test_every_edge_type_has_a_colour_of_its_own() -> None:
    assert set(EDGE_COLOURS) == set(EDGE_TYPES)
    assert len(set(EDGE_COLOURS.values())) == len(EDGE_TYPES)


def test_focus_draws_that_nodes_edges_alone() -> None:
    (axes, *_) = CLIENT.plot(focus="shame_core").axes
    arrows = [patch for patch in axes.patches if isinstance(patch, FancyArrowPatch)]
    assert len(arrows) == sum("shame_core" in (edge.edge_from, edge.edge_to) for edge in EDGES)
    row = CATALOG.nodes[CATALOG.node("shame_core")]
    sentence = row.high if CLIENT.levels["shame_core"] >= 5 else row.low
    assert any(sentence in text.replace("\n", " ") for text in texts(CLIENT.plot(focus="shame_core")))


def test_a_wish_that_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(KeyError, match="shame_core"):
        CLIENT.plot(focus="shame_cor")
    with pytest.raises(ValueError, match="clear -1"):
        CLIENT.plot(clear=-1)
    with pytest.raises(ValueError, match="no turn yet"):
        CLIENT.plot_change()
    with pytest.raises(ValueError, match="count 0"):
        TURN.plot_change(count=0)


def test_the_stacked_bars_are_what_the_level_moved_toward_health() -> None:
    total = toward_health(TURN).sum(axis=0)
    coiling = np.array(list(CLIENT.tightness.values())) - np.array(list(TURN.tightness.values()))
    scale = np.array([5.0 if row.direction == "bipolar" else 10.0 for row in CATALOG.nodes])
    np.testing.assert_allclose(total, coiling * scale, atol=1e-12)


def test_one_turns_change_shows_the_largest_first() -> None:
    figure = TURN.plot_change(count=10)
    total = toward_health(TURN).sum(axis=0)
    most = [CATALOG.node_names[n] for n in np.argsort(-np.abs(total), kind="stable")[:10]]
    (moves, scores, buckets) = figure.subfigs[0].axes + figure.subfigs[1].axes
    labels = [label.get_text() for label in moves.get_yticklabels()]
    for name, label in zip(most, labels, strict=True):
        assert label == f"{words(name)}  {CLIENT.levels[name]:.2f} to {TURN.levels[name]:.2f}"
    widths = np.array([bar.get_width() for bar in moves.patches]).reshape(3, 10)
    np.testing.assert_allclose(widths.sum(axis=0), [total[CATALOG.node(name)] for name in most], atol=1e-12)
    assert [label.get_text() for label in scores.get_yticklabels()] == [words(name) for name in DIMENSIONS]
    assert TURN.scores is not None
    assert np.array_equal(scores.lines[0].get_xdata(), TURN.scores[0])
    trust = TURN.buckets["trust"] - CLIENT.buckets["trust"]
    shown = dict(zip(CATALOG.bucket_names, (bar.get_width() for bar in buckets.patches), strict=True))
    assert shown["trust"] == pytest.approx(trust, abs=1e-12)
    shame = TURN.buckets["shame"] - CLIENT.buckets["shame"]
    assert shown["shame"] == pytest.approx(-shame, abs=1e-12)  # draining is toward health


def test_what_helped_and_what_harmed_are_stacked_on_their_own_sides() -> None:
    mixed = CLIENT.after([9.0] * 6 + [1.0] * 6)
    moves = mixed.plot_change(count=len(CATALOG.nodes)).subfigs[0].axes[0]
    bars = np.array([(bar.get_x(), bar.get_width()) for bar in moves.patches]).reshape(3, -1, 2)
    widths, ends = bars[..., 1], np.stack([bars[..., 0], bars.sum(axis=2)])
    assert ((widths > 0).any(axis=0) & (widths < 0).any(axis=0)).any()  # a node that was helped and harmed at once
    np.testing.assert_allclose(ends.max(axis=(0, 1)), np.maximum(widths, 0).sum(axis=0), atol=1e-12)
    np.testing.assert_allclose(ends.min(axis=(0, 1)), np.minimum(widths, 0).sum(axis=0), atol=1e-12)


def test_a_turn_whose_scores_are_not_known_is_drawn_without_them() -> None:
    figure = ClientGraph(TURN.state, CATALOG, TURN.report).plot_change()
    assert "not known here" in texts(figure)


def test_a_turn_that_moved_nothing_is_not_drawn() -> None:
    with pytest.raises(ValueError, match="moved no node"):
        CLIENT.after(np.full(12, 5.0)).plot_change()


def test_one_client_of_a_batch_is_drawn() -> None:
    state, _ = draw(CATALOG, np.random.default_rng(0), 2)
    client = ClientGraph(state, CATALOG, index=1)
    assert any("client 1 of 2" in text for text in texts(client.plot()))


def test_a_notebook_gets_a_picture_without_pyplot() -> None:
    figure = TURN.plot_change(count=3)
    assert isinstance(figure, Drawing)
    assert isinstance(figure, Figure)
    assert figure._repr_png_().startswith(b"\x89PNG")
