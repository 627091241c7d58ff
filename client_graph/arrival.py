"""New clients from random words: who comes, and the state in which each arrives. A client is a function of one 64-bit word."""

import difflib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from client_graph.catalog import Catalog
from client_graph.compiled import compiled
from client_graph.graph import coiling_of
from client_graph.names import STAGES
from client_graph.session import arrive
from client_graph.settings import ClientSettings
from client_graph.state import ASSESSMENTS, WINDOW, ClientState
from client_graph.therapist_model import attunement, bell, random_word

STAGE_ODDS = (0.35, 0.45, 0.20, 0.0)  # paper 1564: stage 4 has to be asked for
STRATEGY_GRIP = (1.0, 0.75, 0.45, 0.2)  # how far a strategy still shifts levels, by stage; loosens as treatment goes
CONCERN_GRIP = (1.0, 0.8, 0.5, 0.25)  # likewise of a concern: what brought someone is what the work has been about
LEVEL_SPREAD = 0.6  # standard deviation between clients of one kind, in level points
BUCKET_SPREAD = 0.05
LOA_SPREAD = 0.8

# Which word of a client's own stream is for what. What is asked for is drawn too, so that a wish does not shift other draws.
STAGE, STRATEGY, CONCERN, NAME, STRENGTHS, STREAM, FIRST = 1, 2, 3, 4, 5, 6, 16
_ODDS = np.cumsum(STAGE_ODDS)
_GRIPS = np.array([STRATEGY_GRIP, CONCERN_GRIP])


class Kind(NamedTuple):
    """Who each of N clients is, as places in tables; (N,) int64 each."""

    stage: np.ndarray  # 0..3
    strategy: np.ndarray  # row of strategies.csv
    concern: np.ndarray  # row of concerns.csv
    name: np.ndarray  # row of names.csv


@compiled
def uniform(word):  # type: ignore[no-untyped-def]
    """u in [0, 1): the upper 53 bits of a word."""
    return np.float64(word >> np.uint64(11)) * 2.0**-53


@compiled
def _kinds(words, asked, odds, sizes, out):  # type: ignore[no-untyped-def]
    for i in range(words.shape[0]):
        for kind in range(4):
            u = uniform(random_word(words[i], kind + 1))
            drawn = int(u * sizes[kind])
            if kind == 0:
                drawn = 0
                while drawn < 3 and u >= odds[drawn]:
                    drawn += 1
            out[kind, i] = asked[kind] if asked[kind] >= 0 else drawn


def kinds(
    catalog: Catalog,
    words: np.ndarray,
    *,
    stage: int | None = None,
    strategy: str | None = None,
    concern: str | None = None,
) -> Kind:
    """Who comes for each of `words` (N,) uint64. Stages by STAGE_ODDS, all else with equal odds; what is asked for is given.

    Raises ValueError for a stage, strategy or concern that does not exist.
    """
    tables = [catalog.rows[name] for name in ("strategies", "concerns", "names")]
    asked = [
        -1 if stage is None else _stage(stage) - 1,
        _place(tables[0], strategy, "attachment strategy"),
        _place(tables[1], concern, "concern"),
        -1,
    ]
    out = np.empty((4, len(words)), dtype=np.int64)
    _kinds(words, np.array(asked), _ODDS, np.array([4, *map(len, tables)]), out)
    return Kind(*out)


def _stage(stage: int) -> int:
    if isinstance(stage, bool) or not isinstance(stage, int | np.integer) or stage not in STAGES:
        raise ValueError(f"found stage {stage!r}; expected one of {STAGES}")
    return int(stage)


def _place(rows: Sequence[Any], name: str | None, what: str) -> int:
    known = [row.name for row in rows]
    if name is None:
        return -1
    if name not in known:
        near = difflib.get_close_matches(str(name), known, 1, cutoff=0.4) or [
            row for row in known if str(name).lower() in row.lower()
        ]
        cure = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"found {what} {name!r}{cure}; expected one of {', '.join(known)}")
    return known.index(name)


@compiled
def _clip(value, low, high):  # type: ignore[no-untyped-def]
    return min(high, max(low, value))


@compiled
def _arrivals(words, kind, starts, shifts, grips, spreads, tables, state):  # type: ignore[no-untyped-def]
    level_start, bucket_start, loa_start, loading = starts
    strategy_shift, concern_shift = shifts
    level_spread, bucket_spread, loa_spread, tmog_spread = spreads
    nodes, buckets, dimensions = state.levels.shape[1], state.buckets.shape[1], state.loa.shape[1]
    for i in range(words.shape[0]):
        word, stage = words[i], kind.stage[i]
        draw, error = FIRST, 0.0
        tilt, weight = np.zeros(3), np.zeros(3)
        for n in range(nodes):
            level = level_start[stage, n] + grips[0, stage] * strategy_shift[kind.strategy[i], n]
            level += grips[1, stage] * concern_shift[kind.concern[i], n]
            level = _clip(level + level_spread * bell(random_word(word, draw + n)), 0.0, 10.0)
            belief = _clip(level + tmog_spread * bell(random_word(word, draw + nodes + n)), 0.0, 10.0)
            state.levels[i, n], state.tmog[i, n] = level, belief
            error += abs(belief - level)
            tight = coiling_of(level, tables.nodes[n].direction)
            for a in range(3):
                tilt[a] += loading[a, n] * tight
                weight[a] += abs(loading[a, n])
        draw += 2 * nodes
        for b in range(buckets):
            noise = bucket_spread * bell(random_word(word, draw + b))
            state.buckets[i, b] = _clip(bucket_start[stage, b] + noise, 0.0, 1.0)
            state.buckets_start[i, b] = state.buckets[i, b]
        draw += buckets
        for d in range(dimensions):
            noise = loa_spread * bell(random_word(word, draw + d))
            state.loa[i, d] = _clip(loa_start[stage, d] + noise, -10.0, 10.0)
        for a in range(3):
            state.axes[i, a] = 10.0 * tilt[a] / weight[a] if weight[a] > 0.0 else 0.0
            state.axes_start[i, a] = state.axes[i, a]
        state.axes_window[i, :] = abs(state.axes[i, 0]) + abs(state.axes[i, 1]) + abs(state.axes[i, 2])
        state.attunement[i] = attunement(error, nodes)
        state.stage[i] = stage
        state.stream[i] = random_word(word, STREAM)


def newcomers(
    catalog: Catalog,
    words: np.ndarray,
    *,
    stage: int | None = None,
    strategy: str | None = None,
    concern: str | None = None,
    settings: ClientSettings | None = None,
) -> ClientState:
    """The state in which the client of each of `words` (N,) uint64 arrives; N at once are N alone, bit for bit. Pure.

    level = start at the stage + grip · strategy shift + grip · concern shift + 0.6 ε,   kept in [0, 10]
    belief = level + tmog_start_noise · ε,   kept in [0, 10]
    axis_a = 10 · Σ_n loading_an · coiling_n / Σ_n |loading_an|,   coiling_n the node's distance from health in [0, 1]
    ε nearly normal, of variance 1 (`therapist_model.bell`). About 5 microseconds a client.
    """
    kind = kinds(catalog, words, stage=stage, strategy=strategy, concern=concern)
    return arrivals(catalog, words, kind, settings)


def arrivals(catalog: Catalog, words: np.ndarray, kind: Kind, settings: ClientSettings | None = None) -> ClientState:
    """`newcomers` of a known kind."""
    state = _blank(len(words), len(catalog.nodes), len(catalog.bucket_names))
    _arrivals(
        words,
        kind,
        (catalog.start, catalog.bucket_start, catalog.loa_start, catalog.loading),
        (catalog.strategy_shift, catalog.concern_shift),
        _GRIPS,
        (LEVEL_SPREAD, BUCKET_SPREAD, LOA_SPREAD, (settings or ClientSettings()).tmog_start_noise),
        catalog.tables,
        state,
    )
    return arrive(state, catalog)


def _blank(clients: int, nodes: int, buckets: int) -> ClientState:
    whole = [np.zeros(clients, dtype=np.int64) for _ in range(10)]
    return ClientState(
        levels=np.empty((clients, nodes)), tmog=np.empty((clients, nodes)),
        buckets=np.empty((clients, buckets)), buckets_start=np.empty((clients, buckets)),
        loa=np.empty((clients, 7)), axes=np.empty((clients, 3)), axes_start=np.empty((clients, 3)),
        axes_window=np.empty((clients, ASSESSMENTS)), attunement=np.empty(clients),
        phase=whole[0], phase_mood=np.zeros(clients), phase_coiling=np.zeros(clients), deepest_phase=whole[1],
        stage=whole[2], stage_ahead=whole[3], stage_behind=whole[4], core_sessions=whole[5], session=whole[6],
        turn=whole[7], stance=whole[8], arc=whole[9],
        recent_attunement=np.full((clients, WINDOW), np.nan), recent_resistance=np.full((clients, WINDOW), np.nan),
        stream=np.empty(clients, dtype=np.uint64),
    )  # fmt: skip
