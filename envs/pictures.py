"""A session as a picture of 960 x 540 pixels: the same bytes for the same state, and no state of pyplot touched."""

from collections.abc import Iterator, Sequence
from functools import cache, lru_cache

import numpy as np
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.colors import to_rgb
from matplotlib.font_manager import FontProperties, findfont
from matplotlib.ft2font import FT2Font

from client_graph.client import ClientGraph
from client_graph.drawing import COILING, FAINT, INK, PART_COLOURS, QUIET, toward_health
from client_graph.names import DIMENSIONS, PHASE_NAMES, PHASES, STAGE_NAMES
from client_graph.personhood import Person
from envs.rendering import NOTICE, plain, printable
from judges.protocol import Turn

WIDTH, HEIGHT = 960, 540  # pixels
_DPI = 100
_FONT = "DejaVu Sans"  # comes with matplotlib, so every machine draws the same
_PALE = "#E8E8E8"
_DOWN, _UP = "#D55E00", "#0072B2"  # Okabe and Ito 2008: told apart without red or green
_LEFT, _MIDDLE, _RIGHT = 24, 500, 936  # where the two halves stand
_MOVED = 7
_LONGEST = 200  # characters of one line: more would not fit the page
_MARGIN = 2  # pixels around a line of text, into which a letter may lean
Colour = str | tuple[float, float, float, float]


def session_picture(view: ClientGraph, person: Person | None, history: tuple[Turn, ...], words: str) -> np.ndarray:
    """(540, 960, 3) uint8: phase, reservoirs, axes, what the last turn moved, the last words (or, without, the scores).

    Characters that the font lacks are drawn as an empty box.
    """
    page = _Page()
    _draw_standing(page, view, person)
    _draw_measures(page, view)
    _draw_reservoirs(page, view)
    _draw_axes(page, view)
    _draw_moved(page, view)
    if history or words:
        _draw_talk(page, history, words)
    else:
        _draw_scores(page, view)
    return page.pixels


class _Page:
    """A white page that is drawn on by whole pixels, y downward."""

    def __init__(self) -> None:
        self.pixels = np.full((HEIGHT, WIDTH, 3), 255, dtype=np.uint8)

    def box(self, x: float, y: float, width: float, height: float, colour: Colour) -> None:
        self.pixels[round(y) : round(y + height), round(x) : round(x + width)] = _bytes(colour)

    def text(
        self,
        x: float,
        y: float,
        text: str,
        size: float = 7.5,
        colour: Colour = INK,
        ha: str = "left",
        bold: bool = False,
    ) -> None:
        """One line of text whose small letters are centred on y; what would stand over the page's edge is left out."""
        ink = _ink(_drawable(text)[:_LONGEST], size, bold)
        left = round(x - {"left": 0.0, "center": 0.5, "right": 1.0}[ha] * (ink.shape[1] - 2 * _MARGIN)) - _MARGIN
        top = round(y) - ink.shape[0] // 2
        here = self.pixels[max(0, top) : top + ink.shape[0], max(0, left) : left + ink.shape[1]]
        ink = ink[max(0, -top) :, max(0, -left) :][: here.shape[0], : here.shape[1], None].astype(np.int64)
        here[:] = (here * (255 - ink) + np.array(_bytes(colour)) * ink + 127) // 255

    def bar(self, x: float, y: float, width: float, share: float, colour: Colour, height: float = 8) -> None:
        """A bar for a number in [0, 1] around the line y."""
        self.box(x, y - height / 2, width, height, _PALE)
        self.box(x, y - height / 2, width * min(1.0, max(0.0, share)), height, colour)

    def title(self, x: float, y: float, text: str, to_x: float) -> None:
        self.text(x, y, text, 7.5, QUIET, bold=True)
        self.box(x, y + 9, to_x - x, 1, _PALE)


def _draw_standing(page: _Page, view: ClientGraph, person: Person | None) -> None:
    who = view.who if person is None else f"{person.name} · {plain(person.concern)} · attachment {person.strategy}"
    session, turn = int(view.state.session[view.index]) + 1, int(view.state.turn[view.index])
    page.text(_LEFT, 22, who, 11, bold=True)
    where = f"session {session}, turn {turn} · stage {view.stage} {STAGE_NAMES[view.stage - 1]} · asks for {plain(view.stance)}"
    page.text(_LEFT, 42, where, 8.5, QUIET)
    page.text(_RIGHT, HEIGHT - 12, NOTICE, 6.5, QUIET, ha="right")
    places = np.linspace(_MIDDLE + 30, _RIGHT - 40, len(PHASES))
    page.box(places[0], 23, places[-1] - places[0], 2, FAINT)
    for x, letter, name in zip(places, PHASES, PHASE_NAMES, strict=True):
        here = letter == view.phase
        page.box(x - 9, 15, 18, 18, _UP if here else _PALE)
        page.text(x, 24, letter, 8.5, "white" if here else QUIET, ha="center", bold=here)
        page.text(x, 44, name, 8, INK if here else QUIET, ha="center", bold=here)


def _draw_measures(page: _Page, view: ClientGraph) -> None:
    for i, (name, value) in enumerate(
        (("coiling", view.coiling), ("alliance", view.alliance), ("attunement", view.attunement))
    ):
        x = _LEFT + i * 152
        page.text(x, 74, f"{name}  {value:.3f}", 8)
        page.bar(x, 87, 132, value, COILING(0.75) if name == "coiling" else _UP)


def _draw_reservoirs(page: _Page, view: ClientGraph) -> None:
    rows = list(zip(view.catalog.rows["buckets"], view.buckets.values(), _bucket_moves(view), strict=True))
    for column, kind, told in ((0, "maladaptive", "down is better"), (1, "adaptive", "up is better (* down)")):
        x = _LEFT + column * 232
        page.title(x, 116, f"{kind}: {told}", x + 212)
        shown = [row for row in rows if row[0].kind == kind]
        step = min(23.0, 196.0 / max(1, len(shown)))
        for i, (row, level, change) in enumerate(shown):
            y = 138 + i * step
            page.text(x, y, plain(row.name) + ("*" if kind == "adaptive" and row.falls else ""))
            page.bar(x + 94, y, 50, level, COILING(0.65) if row.falls else _UP)
            page.text(x + 150, y, f"{level:.2f}")
            if abs(change) >= 0.0005:
                better = (change < 0) == row.falls
                page.text(x + 214, y, f"{change:+.3f}", 6.5, _UP if better else _DOWN, ha="right")


def _bucket_moves(view: ClientGraph) -> Sequence[float]:
    return view.report.buckets[view.index].tolist() if view.report is not None else [0.0] * len(view.buckets)


def _draw_axes(page: _Page, view: ClientGraph) -> None:
    page.title(_LEFT, 338, "axes, -10 to 10; 0 is the middle", _LEFT + 444)
    left, width = _LEFT + 166, 234.0
    for i, row in enumerate(view.catalog.rows["axes"]):
        y, value = 362 + i * 54, view.axes[row.name]
        page.text(_LEFT, y, plain(row.name), 8)
        page.box(left, y - 1.5, width, 3, _PALE)
        page.box(left + width / 2, y - 6, 1, 12, QUIET)
        at = left + width * (min(10.0, max(-10.0, value)) + 10.0) / 20.0
        page.box(at - 4, y - 6, 8, 12, INK)
        page.text(_LEFT + 444, y, f"{value:+.2f}", 8, ha="right")
        for line, (text, x, ha) in enumerate(((row.low, left, "left"), (row.high, left + width, "right"))):
            page.text(x, y + 15 + 12 * line, text, 6.5, QUIET, ha=ha)


def _draw_moved(page: _Page, view: ClientGraph) -> None:
    """Bars stacked from scores, edges and buckets, toward health to the right of the middle."""
    page.title(_MIDDLE, 74, "what the last turn moved; toward health to the right", _RIGHT)
    if view.report is None:
        page.text(_MIDDLE, 96, "nothing yet: no turn has been taken", 8, QUIET)
        return
    parts = toward_health(view)
    total = parts.sum(axis=0)
    most = [int(n) for n in np.argsort(-np.abs(total), kind="stable")[:_MOVED] if total[n] != 0.0]
    if not most:
        page.text(_MIDDLE, 96, "no level: nothing helped and nothing harmed", 8, QUIET)
        return
    reach = max(
        float(np.abs(np.where(parts[:, most] * side > 0, parts[:, most], 0.0)).sum(axis=0).max()) for side in (1, -1)
    )
    middle, half = _MIDDLE + 272.0, 100.0
    for i, n in enumerate(most):
        y = 96 + i * 19
        page.text(_MIDDLE, y, f"{plain(view.catalog.node_names[n])}")
        for x, width, colour in _stacked(parts[:, n] / reach * half):
            page.box(middle + x, y - 5, width, 10, colour)
        page.text(_RIGHT, y, f"{total[n]:+.3f}", 7, _UP if total[n] > 0 else _DOWN, ha="right")
    page.box(middle, 88, 1, len(most) * 19 - 2, QUIET)
    for i, (name, colour) in enumerate(PART_COLOURS.items()):
        page.box(_MIDDLE + 150 + i * 95, 234, 8, 8, colour)
        page.text(_MIDDLE + 162 + i * 95, 238, name, 6.5, QUIET)


def _stacked(values: np.ndarray) -> Iterator[tuple[float, float, str]]:
    """(x, width, colour) of each part: those toward health side by side to the right, the others to the left."""
    ahead, behind = 0.0, 0.0
    for value, colour in zip(values.tolist(), PART_COLOURS.values(), strict=True):
        if value >= 0:
            yield ahead, value, colour
            ahead += value
        else:
            yield behind + value, -value, colour
            behind += value


def _draw_scores(page: _Page, view: ClientGraph) -> None:
    page.title(_MIDDLE, 264, "scores, 0 to 10: below 3.5 harms, above 6.5 helps", _RIGHT)
    if view.scores is None:
        page.text(_MIDDLE, 286, "not known here", 8, QUIET)
        return
    left, width = _MIDDLE + 130, 260.0
    page.box(left + 0.35 * width, 276, 0.3 * width, 12 * 19.5, "#F4F4F4")
    for d, (name, score) in enumerate(zip(DIMENSIONS, view.scores[view.index].tolist(), strict=True)):
        y = 287 + d * 19.5
        page.text(_MIDDLE, y, plain(name))
        page.box(left, y, width, 1, _PALE)
        colour = _DOWN if score < 3.5 else _UP if score > 6.5 else QUIET
        page.box(left + width * score / 10 - 4, y - 4, 8, 8, colour)
        page.text(_RIGHT, y, f"{score:.1f}", 7.5, colour, ha="right")


def _draw_talk(page: _Page, history: tuple[Turn, ...], words: str) -> None:
    """The latest words at the bottom, and before them as much as there is room for."""
    page.title(_MIDDLE, 264, "the last words", _RIGHT)
    said: list[tuple[str, str]] = []
    for turn in history[-2:]:
        said += [("client", turn.client), ("therapist", turn.therapist or "(says nothing)")]
    said.append(("client", words or "(says nothing)"))
    room = 15.0
    blocks: list[tuple[str, list[str]]] = []
    for who, text in reversed(said):
        lines = _wrapped(text, _RIGHT - _MIDDLE - 62, 8)
        most = int(room if not blocks else min(room, 6))
        lines = lines if len(lines) <= most else [*lines[: most - 1], f"{lines[most - 1][:-1]}…"] if most > 1 else []
        if not lines:
            break
        blocks.append((who, lines))
        room -= len(lines) + 0.5
    y = 284.0
    for who, lines in reversed(blocks):
        page.text(_MIDDLE, y, who, 7.5, QUIET)
        for line in lines:
            page.text(_MIDDLE + 62, y, line, 8, INK if who == "client" else _UP)
            y += 15
        y += 6


@cache
def _bytes(colour: Colour) -> tuple[int, int, int]:
    red, green, blue = (round(255 * part) for part in to_rgb(colour))
    return red, green, blue


@cache
def _letters(size: float, bold: bool = False) -> FontProperties:
    return FontProperties(family=_FONT, size=size, weight="bold" if bold else "normal")


@cache
def _font() -> FT2Font:
    return FT2Font(findfont(_letters(10.0)))


def _drawable(text: str) -> str:
    """One line of `text` in characters that the font has."""
    return "".join(c if _font().get_char_index(ord(c)) else "\u25af" for c in " ".join(printable(text).split()))


@lru_cache(4096)
def _wide(text: str, size: float, bold: bool = False) -> float:
    """Width in pixels."""
    return float(RendererAgg(1, 1, _DPI).get_text_width_height_descent(text, _letters(size, bold), False)[0])


@lru_cache(2048)
def _ink(text: str, size: float, bold: bool = False) -> np.ndarray:
    """How much of each pixel a line of text covers, (h, w) uint8, with a margin; small letters stand in the middle.

    Straight through matplotlib's Agg renderer and kept: labels are the same in every frame, and letters are what takes time.
    """
    height = 2 * round(size * _DPI / 72) + 2
    renderer = RendererAgg(int(_wide(text, size, bold)) + 2 * _MARGIN + 1, height, _DPI)
    baseline = height // 2 + 0.36 * size * _DPI / 72
    renderer.draw_text(renderer.new_gc(), _MARGIN, round(baseline), text, _letters(size, bold), 0.0)
    ink = np.asarray(renderer.buffer_rgba())[:, :, 3].copy()
    ink.setflags(write=False)
    return ink


def _wrapped(text: str, width: float, size: float) -> list[str]:
    """Lines of at most `width` pixels; a word that is longer is broken."""
    space = _wide("a a", size) - _wide("aa", size)
    lines, used = [""], 0.0
    for word in _drawable(text).split():
        wide = _wide(word, size)
        if lines[-1] and used + space + wide <= width:
            lines[-1], used = f"{lines[-1]} {word}", used + space + wide
            continue
        pieces = [word] if wide <= width else list(_broken(word, width, size))
        lines = [*lines, *pieces] if lines[-1] else [*lines[:-1], *pieces]
        used = _wide(lines[-1], size)
    return lines


def _broken(word: str, width: float, size: float) -> Iterator[str]:
    fits = max(1, int(width / _wide("W", size)))
    return (word[i : i + fits] for i in range(0, len(word), fits))
