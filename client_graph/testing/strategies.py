"""Hypothesis strategies: scores, catalogs of any person, and states, batches and turns of them."""

from dataclasses import dataclass, fields
from functools import cache
from itertools import permutations, product
from typing import Any

import numpy as np
from hypothesis import strategies as st

from client_graph.catalog import Catalog
from client_graph.names import AXES, DIMENSIONS, DIRECTIONS, EDGE_TYPES, LOA_DIMENSIONS, PHASES, SIGNALS, STAGES
from client_graph.settings import ClientSettings
from client_graph.state import ASSESSMENTS, WINDOW, ClientState
from client_graph.tables import Row
from client_graph.testing import plain

SCORE_EDGES = (0.0, 3.5, 6.5, 10.0)  # where the drive begins and ends
NAMES = tuple("abcdefghij")
DISTINCT = 16  # values drawn for a field of a state; a longer one repeats them
WORD = 65_535

seeds = st.integers(0, 2**32 - 1)


@cache
def _bytes(count: int) -> st.SearchStrategy[bytes]:
    """Many numbers in one draw: far quicker than one draw each, and each still shrinks on its own, toward 0."""
    return st.binary(min_size=count, max_size=count)


def _hundredths(draw: st.DrawFn, count: int) -> list[float]:
    """`count` numbers in [0, 1] with two decimals, as people write tables."""
    return [byte % 101 / 100 for byte in draw(_bytes(count))]


def _signed(draw: st.DrawFn, count: int) -> list[float]:
    """`count` numbers in [-1, 1] with two decimals."""
    return [(byte % 101) * (-1 if byte > 100 else 1) / 100 for byte in draw(_bytes(count))]


def _floats(draw: st.DrawFn, count: int, low: float, high: float, *favoured: float) -> list[float]:
    """`count` numbers in [low, high] that few decimals do not write; every third or so is a `favoured` one or an end."""
    often, drawn = (*favoured, low, high), draw(_bytes(2 * count))
    words = [first + 256 * second for first, second in zip(drawn[::2], drawn[1::2], strict=True)]
    return [
        often[word // 8 % len(often)] if word % 8 < 3 else low + (high - low) * (word / WORD) for word in words
    ]  # fmt: skip


BESIDE = (float(np.nextafter(3.5, 0)), float(np.nextafter(6.5, 10)))  # the least harm and the least help


@st.composite
def scores(draw: st.DrawFn, clients: int = 1) -> np.ndarray:
    """(clients, 12) valid scores; the edges 0, 3.5, 6.5 and 10 come often, and the numbers next to them."""
    rows = [_floats(draw, len(DIMENSIONS), 0.0, 10.0, *SCORE_EDGES, *BESIDE) for _ in range(clients)]
    return np.array(rows).reshape(clients, len(DIMENSIONS))


def score_sequences(clients: int = 1, longest: int = 12) -> st.SearchStrategy[list[np.ndarray]]:
    """The scores of one to `longest` turns, each (clients, 12)."""
    return st.lists(scores(clients), min_size=1, max_size=longest)


@st.composite
def client_settings(draw: st.DrawFn) -> ClientSettings:
    """Any rates, gains and dampings within a few times the usual ones; without noise of beliefs."""
    node, floor, source, target, loa, axis, tolerance, steady, good, mood, coiling = _hundredths(draw, 11)
    return ClientSettings(
        drive=draw(st.sampled_from(("excess", "literal"))), node_gain=5 * node + 0.01, engagement_floor=max(floor, 0.01),
        source_damping=source, target_damping=target, loa_rate=3 * loa + 0.01, axis_rate=3 * axis + 0.01,
        axis_tolerance=max(tolerance, 0.01), tmog_steady_rate=steady, tmog_good_rate=good, tmog_noise=0.0,
        phase_mood_gain=20 * mood + 0.01, phase_coiling_gain=20 * coiling + 0.01,
        stance_lock_turns=draw(st.integers(0, 5)), arc_steps=draw(st.integers(0, 5)),
    )  # fmt: skip


def _node(draw: st.DrawFn, name: str) -> Row:
    """A node of any direction, weight (above 0), resistance, loadings (none 0), phase weights and start."""
    weight, *rest = _hundredths(draw, 13)
    names = [f"bq_{s}" for s in STAGES] + [f"start_{s}" for s in STAGES] + [f"phase_{p.lower()}" for p in PHASES]
    cells = {
        cell: value if cell.startswith("phase") else round(10 * value, 1)
        for cell, value in zip(names, rest, strict=True)
    }
    loads = {f"load_{axis}": value or 0.1 for axis, value in zip("xyz", _signed(draw, 3), strict=True)}
    return plain.node(name, draw(_DIRECTION), weight=max(weight, 0.01), **cells, **loads)


_DIRECTION, _KIND = st.sampled_from(DIRECTIONS), st.sampled_from(EDGE_TYPES)


@st.composite
def edges(draw: st.DrawFn, source: str, target: str, kind: str | None = None) -> Row:
    """An edge of any type, weight, threshold and gates from `source` to `target`."""
    return _edge(draw, source, target, kind or draw(_KIND))


def _edge(draw: st.DrawFn, source: str, target: str, kind: str) -> Row:
    weight, threshold, *gates = _hundredths(draw, 6)
    one, two, three, four = (round(2 * gate, 2) for gate in gates)
    return plain.edge(source, kind, target, max(weight, 0.01), round(10 * threshold, 1), (one, two, three, four))


def health_sign(entry: Any) -> int:
    """1 where more of a node (bipolar: nearness to 5) or bucket is health, -1 where less is."""
    if hasattr(entry, "direction"):
        return -1 if entry.direction == "decrease" else 1
    return 1 if entry.kind == "adaptive" and not entry.falls else -1


def _help_and_harm(draw: st.DrawFn, sign: int | None) -> tuple[float, float]:
    """(high, low) of any sign; with `sign` help leads that way, and harm the other way and not less far."""
    if sign is None:
        high, low = _signed(draw, 2)
        return high, low
    help_, more = _hundredths(draw, 2)
    return sign * help_, -sign * min(1.0, help_ + more)


@cache
def _some(*parts: tuple[Any, ...], most: int, fewest: int = 0) -> st.SearchStrategy[list[tuple[Any, ...]]]:
    """`fewest` to `most` distinct combinations of one of each of `parts`."""
    return st.lists(st.sampled_from(tuple(product(*parts))), min_size=fewest, max_size=most, unique=True)


PROSE = ("source", "why", "meaning", "domain")


@dataclass(frozen=True, repr=False)
class DrawnCatalog(Catalog):
    """A catalog that shows itself, in a failing example, as the rows that were drawn."""

    def __repr__(self) -> str:
        usual = plain.plain_catalog([plain.node("a")]).rows
        lines = []
        for table, rows in self.rows.items():
            for row in rows if rows != usual[table] else ():
                cells = {
                    k: v for k, v in row if v is not None and k not in PROSE and (table, type(v)) != ("nodes", str)
                }
                name = f" {row.name} {row.direction}" if table == "nodes" else ""
                lines.append(f"{table}{name}: " + ", ".join(f"{k} {v}" for k, v in cells.items()))
        return "\n".join((f"a catalog of {len(self.nodes)} nodes:", *lines))

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        """As Hypothesis and IPython ask for it; else they would print every field."""
        printer.text(repr(self))


@st.composite
def catalogs(
    draw: st.DrawFn, fewest: int = 3, most: int = 8, most_edges: int = 12, couplings: bool = True, lawful: bool = False,
    kinds: tuple[str, ...] = EDGE_TYPES,
) -> Catalog:  # fmt: skip
    """Any valid catalog, made in memory: `fewest` to `most` (at most 10) nodes named a, b, c, ..., and all other tables.

    Sensitivities and mappings have any sign and size; in a `lawful` one help leads to health, harm away from it and not less
    far, and a bucket that heals heals its nodes. `kinds` are the edge types, several of which may join the same two nodes.
    """
    names = NAMES[: draw(st.integers(fewest, most))]
    people = [_node(draw, name) for name in names]
    reservoirs = _buckets(draw)
    sign = {entry.name: health_sign(entry) if lawful else None for entry in (*people, *reservoirs)}  # type: ignore[attr-defined]
    ends = tuple(permutations(names, 2))
    made = plain.plain_catalog(
        people,
        buckets=reservoirs,
        edges=[
            _edge(draw, source, target, kind) for (source, target), kind in draw(_some(ends, kinds, most=most_edges))
        ],
        roles=_roles(draw, names),
        sensitivities=_sensitivities(draw, names, sign),
        bucket_nodes=_couplings(draw, reservoirs, people, lawful) if couplings else (),
        bucket_scores=_bucket_scores(draw, reservoirs, sign),
        **_trackers(draw, lawful),
        **_thresholds(draw),
        **_signals(draw, names),
    )
    return DrawnCatalog(**{field.name: getattr(made, field.name) for field in fields(made)})


def _roles(draw: st.DrawFn, names: tuple[str, ...]) -> list[Row]:
    (engaged,), *core = draw(_some(names, most=1, fewest=1)) + draw(_some(names, most=3, fewest=1))
    return [plain.row("roles", role="engagement", node=engaged)] + [
        plain.row("roles", role="alliance", node=name) for (name,) in core
    ]


def _sensitivities(draw: st.DrawFn, names: tuple[str, ...], sign: dict[str, int | None]) -> list[Row]:
    found = []
    for name in names:
        for (dimension,) in draw(_some(DIMENSIONS, most=3, fewest=1)):
            found.append(plain.sensitivity(name, dimension, *_help_and_harm(draw, sign[name])))
    return found


def _buckets(draw: st.DrawFn) -> list[Row]:
    """At least one of each kind; adaptive ones rise or fall."""
    kinds = ("maladaptive", "adaptive", *draw(_MORE_BUCKETS))
    found = []
    for name, kind in zip(NAMES, kinds, strict=False):
        falls = kind == "maladaptive" or draw(st.booleans())
        start, volatility, decay = _hundredths(draw, 3)
        found.append(plain.bucket(f"bucket_{name}", kind, falls=falls, start=start, volatility=volatility, decay=decay))
    return found


_MORE_BUCKETS = st.lists(st.sampled_from(("maladaptive", "adaptive")), max_size=3)


def _bucket_scores(draw: st.DrawFn, reservoirs: list[Row], sign: dict[str, int | None]) -> list[Row]:
    names = tuple(entry.name for entry in reservoirs)  # type: ignore[attr-defined]
    found = []
    for dimension, name in draw(_some(DIMENSIONS, names, most=8)):
        high, low = _help_and_harm(draw, sign[name])
        found.append(plain.row("bucket_scores", dimension=dimension, bucket=name, high=high, low=low))
    return found


def _couplings(draw: st.DrawFn, reservoirs: list[Row], people: list[Row], lawful: bool) -> list[Row]:
    known: dict[str, Any] = {entry.name: entry for entry in (*reservoirs, *people)}  # type: ignore[attr-defined]
    ends = (tuple(entry.name for entry in group) for group in (reservoirs, people))  # type: ignore[attr-defined]
    found = []
    for name, of in draw(_some(*ends, most=6)):
        size = round(10 * _signed(draw, 1)[0], 1)
        size = abs(size) * health_sign(known[name]) * health_sign(known[of]) if lawful else size
        found.append(plain.row("bucket_nodes", bucket=name, node=of, coefficient=size))
    return found


def _trackers(draw: st.DrawFn, lawful: bool) -> dict[str, list[Row]]:
    weights = _hundredths if lawful else _signed
    toward_loa, toward_axes = draw(_some(DIMENSIONS, LOA_DIMENSIONS, most=5)), draw(_some(DIMENSIONS, AXES, most=5))
    return {
        "loa_scores": [
            plain.row("loa_scores", dimension=dimension, loa=name, weight=weight)
            for (dimension, name), weight in zip(toward_loa, weights(draw, len(toward_loa)), strict=True)
        ],
        "loa_thresholds": [
            plain.row("loa_thresholds", threshold=threshold)
            for threshold in sorted({round(10 * value, 1) for value in _signed(draw, 3)})
        ],
        "axis_scores": [
            plain.row("axis_scores", dimension=dimension, axis=name, weight=weight)
            for (dimension, name), weight in zip(toward_axes, weights(draw, len(toward_axes)), strict=True)
        ],
    }


MEASURES = ("adaptive_mean", "maladaptive_mean", "coiling", "core_sessions", "completed_sessions")
RELATIONS = ("above", "below", "at_least")


def _thresholds(draw: st.DrawFn) -> dict[str, list[Row]]:
    """Of phases and stages, low enough to be crossed within a few turns or sessions."""
    criteria = []
    for (start, end), measure in draw(_some(((1, 2), (2, 3), (3, 4), (2, 1), (3, 2), (4, 3)), MEASURES, most=4)):
        (share,) = _hundredths(draw, 1)
        value = round(3 * share) if measure.endswith("sessions") else share
        rest = {"relation": draw(st.sampled_from(RELATIONS)), "value": value, "sessions": draw(st.integers(1, 3))}
        criteria.append(plain.row("stage_criteria", measure=measure, stage_from=start, stage_to=end, **rest))
    steps = [(stage, *step) for stage in STAGES for step in plain.FORWARD + plain.BACK]
    return {
        "phase_thresholds": [
            plain.row("phase_thresholds", stage=stage, phase_from=a, phase_to=b, threshold=threshold)
            for (stage, a, b), threshold in zip(steps, _signed(draw, len(steps)), strict=True)
        ],
        "stage_criteria": criteria,
    }


def _signals(draw: st.DrawFn, names: tuple[str, ...]) -> dict[str, list[Row]]:
    shown, found = draw(_some(SIGNALS, names, most=6)), []
    for name in SIGNALS:
        offset, *factors = _signed(draw, 1) + _hundredths(draw, len(PHASES))
        cells = {f"phase_{p.lower()}": round(2 * factor, 2) for p, factor in zip(PHASES, factors, strict=True)}
        found.append(plain.row("signals", name=name, offset=round(10 * offset, 1), **cells))
    return {
        "signals": found,
        "signal_nodes": [
            plain.row("signal_nodes", signal=signal, node=name, weight=weight)
            for (signal, name), weight in zip(shown, _signed(draw, len(shown)), strict=True)
        ],
    }


def _field(draw: st.DrawFn, clients: int, count: int, low: float, high: float, *favoured: float) -> np.ndarray:
    """(clients, count) of [low, high]; from DISTINCT values a client on, its values come again."""
    few = min(count, DISTINCT)
    rows = [(_floats(draw, few, low, high, *favoured) * (count // few + 1))[:count] for _ in range(clients)]
    return np.array(rows).reshape(clients, count)


def _whole(draw: st.DrawFn, clients: int, high: int) -> np.ndarray:
    """(clients,) of 0 to `high`."""
    return np.array([byte % (high + 1) for byte in draw(_bytes(clients))], dtype=np.int64)


@st.composite
def states(
    draw: st.DrawFn, catalog: Catalog, clients: int = 1, stage: int | None = None, phase: int | None = None
) -> ClientState:
    """Any state of `clients` clients of `catalog`; `stage` (1..4) and `phase` (0..3) when asked for.

    Levels and beliefs lie anywhere in [0, 10], often at its ends and at exactly 5; axes are often zero; the windows are as
    full as the session is old; what follows from other fields (attunement, deepest phase) does.
    """
    count, reservoirs = len(catalog.nodes), len(catalog.bucket_names)
    at_thresholds = (row.threshold for row in catalog.rows["loa_thresholds"][:3])
    levels, tmog = (_field(draw, clients, count, 0.0, 10.0, 5.0) for _ in range(2))
    phases = _whole(draw, clients, 3) if phase is None else np.full(clients, phase, dtype=np.int64)
    sessions, turns = _whole(draw, clients, 12), _whole(draw, clients, 20)
    too_young = np.arange(WINDOW) < WINDOW - turns[:, None]
    stances = _whole(draw, clients, 2)
    stages = _whole(draw, clients, 3) if stage is None else np.full(clients, stage - 1, dtype=np.int64)
    return ClientState(
        levels=levels,
        tmog=tmog,
        buckets=_field(draw, clients, reservoirs, 0.0, 1.0),
        buckets_start=_field(draw, clients, reservoirs, 0.0, 1.0),
        loa=_field(draw, clients, len(LOA_DIMENSIONS), -10.0, 10.0, 0.0, *at_thresholds),
        axes=_field(draw, clients, len(AXES), -10.0, 10.0, 0.0),
        axes_start=_field(draw, clients, len(AXES), -10.0, 10.0, 0.0),
        axes_window=_field(draw, clients, ASSESSMENTS, 0.0, 30.0),
        attunement=1.0 - np.abs(tmog - levels).sum(axis=1) / 10.0 / count,
        phase=phases,
        phase_mood=_field(draw, clients, 1, -1.0, 1.0, 0.0)[:, 0],
        phase_coiling=_field(draw, clients, 1, 0.0, 1.0)[:, 0],
        deepest_phase=np.maximum(phases, _whole(draw, clients, 3)),
        stage=stages,
        stage_ahead=_whole(draw, clients, 2),
        stage_behind=_whole(draw, clients, 2),
        core_sessions=np.minimum(sessions, _whole(draw, clients, 12)),
        session=sessions,
        turn=turns,
        stance=stances,
        arc=np.where(stances == 2, _whole(draw, clients, 4), 0),
        recent_attunement=np.where(too_young, np.nan, _field(draw, clients, WINDOW, 0.0, 10.0)),
        recent_resistance=np.where(too_young, np.nan, _field(draw, clients, WINDOW, 0.0, 10.0)),
        stream=np.frombuffer(draw(_bytes(8 * clients)), dtype="<u8").astype(np.uint64),
    )


@st.composite
def crowds(draw: st.DrawFn, catalog: Catalog, longest: int = 40) -> tuple[ClientState, np.ndarray]:
    """(state, scores) of 1 to `longest` clients of `catalog`: a few different ones and a few rows of scores, mixed."""
    few = draw(st.integers(1, 4))
    state, judged = draw(states(catalog, few)), draw(scores(few))
    count = draw(st.integers(1, longest))
    members, rows = (np.frombuffer(draw(_bytes(count)), dtype=np.uint8) % few for _ in range(2))
    return state.take(members), judged[rows]
