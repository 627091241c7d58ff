"""Two pictures of a client: the whole graph, and what one turn changed. Colours are told apart without red or green.

Nothing of pyplot's global state is touched: each call makes a Figure of its own, which a notebook shows and savefig writes.
"""

from collections.abc import Iterator
from io import BytesIO
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PathCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, Wedge
from matplotlib.path import Path

from client_graph.names import DIMENSIONS, PHASE_NAMES, PHASES, STAGE_NAMES

if TYPE_CHECKING:
    from client_graph.client import ClientGraph
    from client_graph.rows import EdgeRow

# Okabe and Ito 2008, with a grey for their yellow, which is lost on white.
EDGE_COLOURS = {
    "reinforcing": "#0072B2",
    "protective": "#E69F00",
    "compensatory": "#56B4E9",
    "suppressive": "#D55E00",
    "prerequisite": "#000000",
    "paired": "#009E73",
    "gated": "#8C8C8C",
    "paradoxical": "#CC79A7",
}
PART_COLOURS = {"judge's scores": "#0072B2", "edges": "#E69F00", "buckets": "#009E73"}
COILING = colormaps["magma_r"]  # light: at health; dark: coiled tight
INK, QUIET, FAINT = "#222222", "#777777", "#AAAAAA"
GAP = 1.4  # empty places between two domains on the ring


class Drawing(Figure):
    """A Figure that a notebook shows whether or not pyplot has been set up there."""

    def _repr_png_(self) -> bytes:
        png = BytesIO()
        self.savefig(png, format="png", dpi=100)
        return png.getvalue()


def words(name: str) -> str:
    """A name of the tables as people write it."""
    return name.replace("_", " ")


def plot_client(client: "ClientGraph", focus: str | None = None, clear: int = 12) -> Figure:
    """The nodes on a ring, a sector a domain, coloured by coiling and sized by weight; edges by type through the middle."""
    if focus is not None:
        client.catalog.node(focus)
    if clear < 0:
        raise ValueError(f"found clear {clear}; expected how many edges of each type are drawn clearly, 0 or more")
    figure = Drawing(figsize=(14, 14), facecolor="white")
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set(xlim=(-1.46, 1.46), ylim=(-1.46, 1.46), aspect="equal")
    axes.axis("off")
    angles = _angles(client)
    edges: list[EdgeRow] = list(client.catalog.rows["edges"])
    if focus is None:
        _draw_edges(axes, edges, angles, clear)
        spoken = set(angles)
    else:
        edges = [edge for edge in edges if focus in (edge.edge_from, edge.edge_to)]
        _draw_arrows(axes, edges, angles)
        spoken = {focus, *(edge.edge_from for edge in edges), *(edge.edge_to for edge in edges)}
    _draw_domains(axes, client, angles)
    _draw_nodes(axes, client, angles, spoken, focus)
    _draw_keys(figure, axes, client, edges, focus, clear)
    return figure


def _angles(client: "ClientGraph") -> dict[str, float]:
    """Where each node stands, in radians: clockwise from the top, domains in the order of the tables, a gap between two."""
    place, found = GAP / 2, {}
    slots = _slots(client)
    for domain in _filled_domains(client):
        for row in client.catalog.nodes:
            if row.domain == domain:
                found[row.name] = np.pi / 2 - 2 * np.pi * (place + 0.5) / slots
                place += 1.0
        place += GAP
    return found


def _filled_domains(client: "ClientGraph") -> list[str]:
    homes = {row.domain for row in client.catalog.nodes}
    return [row.name for row in client.catalog.rows["domains"] if row.name in homes]


def _slots(client: "ClientGraph") -> float:
    """Places on the ring: one for each node, a gap for each domain that has nodes."""
    return len(client.catalog.nodes) + GAP * len(_filled_domains(client))


def _point(angle: float, radius: float) -> tuple[float, float]:
    return float(radius * np.cos(angle)), float(radius * np.sin(angle))


def _curve(one: float, other: float, radius: float = 0.865) -> Path:
    """A quadratic curve inside the ring: near neighbours keep to the rim, opposite nodes pass near the middle."""
    start, end = np.array(_point(one, radius)), np.array(_point(other, radius))
    apart = np.linalg.norm(end - start) / (2 * radius)
    middle = (start + end) / 2
    length = np.linalg.norm(middle)
    bend = middle / length * radius * (1 - apart) ** 0.8 * 0.9 if length > 1e-9 else middle
    return Path([tuple(start), tuple(bend), tuple(end)], [Path.MOVETO, Path.CURVE3, Path.CURVE3])


def _draw_edges(axes: Axes, edges: "list[EdgeRow]", angles: dict[str, float], clear: int) -> None:
    """The `clear` heaviest of each type above the faint rest: rare types would be lost under the common ones."""
    for kind, colour in EDGE_COLOURS.items():
        heaviest = sorted((edge for edge in edges if edge.type == kind), key=lambda edge: -edge.weight)
        for chosen, layer, alpha, width in ((heaviest[:clear], 2, 0.75, 2.2), (heaviest[clear:], 1, 0.2, 0.9)):
            axes.add_collection(
                PathCollection(
                    [_curve(angles[edge.edge_from], angles[edge.edge_to]) for edge in chosen], facecolors="none",
                    edgecolors=colour, linewidths=[width * edge.weight for edge in chosen], alpha=alpha, zorder=layer,
                )
            )  # fmt: skip


def _draw_arrows(axes: Axes, edges: "list[EdgeRow]", angles: dict[str, float]) -> None:
    for edge in edges:
        axes.add_patch(
            FancyArrowPatch(
                path=_curve(angles[edge.edge_from], angles[edge.edge_to]),
                arrowstyle="<|-|>" if edge.type == "paired" else "-|>", mutation_scale=13,
                linewidth=0.8 + 2.2 * edge.weight, color=EDGE_COLOURS[edge.type], alpha=0.85, zorder=2,
            )
        )  # fmt: skip


def _draw_domains(axes: Axes, client: "ClientGraph", angles: dict[str, float]) -> None:
    """An arc for each domain, coloured by its weighted mean coiling, with its name inside."""
    tight, half_slot = client.tightness, np.pi / _slots(client)
    for domain in client.catalog.rows["domains"]:
        nodes = [row for row in client.catalog.nodes if row.domain == domain.name]
        if not nodes:
            continue
        first, last = angles[nodes[0].name] + half_slot, angles[nodes[-1].name] - half_slot
        weight = sum(row.weight for row in nodes) or 1.0
        mean = sum(row.weight * tight[row.name] for row in nodes) / weight
        axes.add_patch(
            Wedge((0, 0), 0.972, np.degrees(last), np.degrees(first), width=0.014, color=COILING(mean), zorder=3)
        )
        middle = (first + last) / 2
        turn = np.degrees(middle) - 90
        upside_down = np.sin(middle) < 0
        axes.text(
            *_point(middle, 0.917), words(domain.name).replace(" ", "\n", 1), color=INK, fontsize=9, fontweight="bold",
            rotation=turn + (180 if upside_down else 0), rotation_mode="anchor", ha="center", va="center", zorder=4,
        )  # fmt: skip


def _draw_nodes(
    axes: Axes, client: "ClientGraph", angles: dict[str, float], spoken: set[str], focus: str | None
) -> None:
    levels, tight = client.levels, client.tightness
    weight = {row.name: row.weight for row in client.catalog.nodes}
    points = np.array([_point(angle, 1.0) for angle in angles.values()])
    axes.scatter(
        points[:, 0], points[:, 1], s=[25 + 75 * weight[name] for name in angles], c=[tight[name] for name in angles],
        cmap=COILING, vmin=0.0, vmax=1.0, edgecolors=INK, linewidths=0.5, zorder=5,
    )  # fmt: skip
    for name, angle in angles.items():
        left = np.cos(angle) < 0
        axes.text(
            *_point(angle, 1.028), f"{levels[name]:.1f}  {words(name)}" if not left else f"{words(name)}  {levels[name]:.1f}",
            rotation=np.degrees(angle) + (180 if left else 0), rotation_mode="anchor", ha="right" if left else "left",
            va="center", fontsize=8, color=INK if name in spoken else FAINT,
            fontweight="bold" if focus is not None and name == focus else "normal", zorder=5,
        )  # fmt: skip


def _draw_keys(
    figure: Figure, axes: Axes, client: "ClientGraph", edges: "list[EdgeRow]", focus: str | None, clear: int
) -> None:
    figure.text(0.02, 0.98, _heading(client), va="top", fontsize=12, color=INK, linespacing=1.5)
    if focus is not None:
        figure.text(0.02, 0.918, _meaning(client, focus), va="top", fontsize=10, color=QUIET, linespacing=1.4)
    kinds = [kind for kind in EDGE_COLOURS if any(edge.type == kind for edge in edges)]
    handles = [
        Line2D([], [], color=EDGE_COLOURS[kind], linewidth=2.5, label=f"{kind} ({sum(e.type == kind for e in edges)})")
        for kind in kinds
    ]
    title = f"edges of {words(focus)}" if focus is not None else "edges"
    axes.legend(
        handles=handles, title=title, loc="upper right", frameon=False, fontsize=10, title_fontsize=10,
        bbox_to_anchor=(0.985, 0.985), alignment="left",
    )  # fmt: skip
    scale = figure.add_axes((0.02, 0.045, 0.17, 0.012))
    bar = figure.colorbar(ScalarMappable(Normalize(0, 1), COILING), cax=scale, orientation="horizontal")
    bar.set_ticks([0.0, 0.5, 1.0], labels=["0", "0.5", "1"], fontsize=9, color=INK)
    bar.outline.set_visible(False)
    scale.set_title("coiling: distance from health", loc="left", fontsize=10, color=INK)
    drawn = f"clear edges: the {clear} heaviest of each type; " if focus is None else ""
    marks = "size: weight; arc: mean of the domain; a simulated client, not for clinical use"
    figure.text(
        0.98, 0.02, f"{drawn}numbers: levels, 0-10\n{marks}", ha="right", fontsize=9, color=QUIET, linespacing=1.5,
    )  # fmt: skip


def _heading(client: "ClientGraph") -> str:
    return (
        f"{client.who}\nstage {client.stage} {STAGE_NAMES[client.stage - 1]}, phase {client.phase} "
        f"{PHASE_NAMES[PHASES.index(client.phase)]}\ncoiling {client.coiling:.2f}, alliance {client.alliance:.2f}"
    )


def _meaning(client: "ClientGraph", node: str) -> str:
    """What the node's level means for this client, in the table's sentence."""
    row, level = client.catalog.nodes[client.catalog.node(node)], client.levels[node]
    return fill(f"{words(node)} {level:.1f}: {row.high if level >= 5.0 else row.low}", 38)


def plot_change(client: "ClientGraph", count: int = 24) -> Figure:
    """Bars of the nodes that the last turn moved most, toward health to the right; beside them scores and reservoirs.

    Each bar is stacked from what came of the judge's scores, through edges and through buckets, as the turn reported it.
    Raises ValueError before the first turn, for a turn that moved nothing, and for a count below 1.
    """
    if client.report is None:
        raise ValueError("no turn yet to draw: plot_change draws what after() returns")
    if count < 1:
        raise ValueError(f"found count {count}; expected at least 1")
    parts = toward_health(client)
    total = parts.sum(axis=0)
    most = [int(n) for n in np.argsort(-np.abs(total), kind="stable")[:count] if total[n] != 0.0]
    if not most:
        raise ValueError("nothing to draw: the last turn moved no node, as when all scores lie between 3.5 and 6.5")
    figure = Drawing(figsize=(14, max(6.5, 1.8 + 0.3 * len(most))), facecolor="white", layout="constrained")
    figure.suptitle(_heading(client).replace("\n", "; "), x=0.01, ha="left", fontsize=12, color=INK)
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(1.9, 1), wspace=0.03)[0]
    _draw_moves(left.subplots(), client, parts[:, most], most)
    above, below = right.subplots(2, 1, height_ratios=(12, 16))
    _draw_scores(above, client)
    _draw_buckets(below, client)
    return figure


def toward_health(client: "ClientGraph") -> np.ndarray:
    """(3, n) level points that the last turn moved each node toward health: by scores, through edges, through buckets."""
    report, i = client.report, client.index
    assert report is not None
    sign = np.array([-1.0 if row.direction == "decrease" else 1.0 for row in client.catalog.nodes])
    return np.stack([report.direct[i], report.through_edges[i], report.through_buckets[i]]) * sign


def _draw_moves(axes: Axes, client: "ClientGraph", parts: np.ndarray, nodes: list[int]) -> None:
    rows = np.arange(len(nodes))
    ahead, behind = np.zeros(len(nodes)), np.zeros(len(nodes))
    for (what, colour), values in zip(PART_COLOURS.items(), parts, strict=True):
        start = np.where(values >= 0, ahead, behind)
        axes.barh(rows, values, left=start, height=0.62, color=colour, label=what)
        ahead, behind = ahead + np.maximum(values, 0), behind + np.minimum(values, 0)
    axes.plot(parts.sum(axis=0), rows, linestyle="none", marker="D", markersize=5, color="white",
              markeredgecolor=INK, label="in all")  # fmt: skip
    axes.set_yticks(rows, labels=list(_moved_names(client, nodes)))
    axes.set_ylim(len(nodes) - 0.4, -0.6)
    _plain(axes, "level points, toward health to the right")
    axes.legend(frameon=False, fontsize=10, loc="best")
    axes.set_title(f"the {len(nodes)} nodes that moved most", loc="left", fontsize=11, color=INK)


def _moved_names(client: "ClientGraph", nodes: list[int]) -> Iterator[str]:
    for n in nodes:
        now = client.state.levels[client.index, n]
        was = f"{client.before.levels[client.index, n]:.2f} to " if client.before is not None else ""
        yield f"{words(client.catalog.node_names[n])}  {was}{now:.2f}"


def _draw_scores(axes: Axes, client: "ClientGraph") -> None:
    axes.set_title("judge's scores", loc="left", fontsize=11, color=INK)
    rows = np.arange(len(DIMENSIONS))
    axes.set_yticks(rows, labels=[words(name) for name in DIMENSIONS])
    axes.set(xlim=(-0.2, 10.2), ylim=(len(DIMENSIONS) - 0.5, -0.5))
    axes.set_xticks([0, 3.5, 6.5, 10])
    axes.axvspan(3.5, 6.5, color="#EEEEEE", zorder=0)
    if client.scores is None:
        axes.text(5, 5.5, "not known here", ha="center", va="center", color=QUIET, fontsize=10)
    else:
        scores = client.scores[client.index]
        axes.plot(scores, rows, linestyle="none", marker="o", markersize=6, color=PART_COLOURS["judge's scores"])
    _plain(axes, "harm below 3.5, help above 6.5")


def _draw_buckets(axes: Axes, client: "ClientGraph") -> None:
    axes.set_title("reservoirs", loc="left", fontsize=11, color=INK)
    assert client.report is not None
    moved = client.report.buckets[client.index]
    toward = moved * np.array([-1.0 if row.falls else 1.0 for row in client.catalog.rows["buckets"]])
    rows = np.arange(len(toward))
    axes.barh(rows, toward, height=0.62, color=PART_COLOURS["buckets"])
    labels = [
        f"{words(name)}  {now - by:.3f} to {now:.3f}"
        for (name, now), by in zip(client.buckets.items(), moved, strict=True)
    ]
    axes.set_yticks(rows, labels=labels)
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.locator_params(axis="x", nbins=4)
    _plain(axes, "toward health to the right")


def _plain(axes: Axes, label: str) -> None:
    axes.set_xlabel(label, fontsize=10, color=QUIET)
    axes.tick_params(length=0, labelsize=9.5, labelcolor=INK)
    axes.grid(axis="x", color="#E5E5E5", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.axvline(0, color=QUIET, linewidth=0.8)
    for side in ("top", "right", "left", "bottom"):
        axes.spines[side].set_visible(False)
