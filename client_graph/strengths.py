"""Which of a client's strengths are within reach now: free, longed for, or at work for a defence (paper 1305-1327, 1501-1506)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from client_graph.catalog import Catalog
from client_graph.graph import tightness
from client_graph.names import STAGES
from client_graph.tables import Row

STATES = ("accessible", "blocked", "shadow")  # paper 1309-1311
RELIEF = np.array([1.0, -1.0, -1.0])  # what a healthier node does to each state
WITHIN_REACH = ((0, 1), (1, 2), (2, 3), (3, 4))  # paper 1503-1506: fewest and most accessible strengths, by stage
SIGNATURES = 5  # Peterson and Seligman 2004: people have between three and seven
# Mean over the nodes that show it, in [0, 10]. Design: reached by about two clients in a hundred, nearly all
# of strategies C5 and C7 (Zimmerman, Rothschild and Chelminski 2005: 2.3 % of outpatients have the personality disorder).
EXTREME_NARCISSISM = 5.5
DISTORTED = np.array([0.5, 1.0, 1.6])  # paper 1327: accessible x 0.5, shadow x 1.6


class Strength(NamedTuple):
    """One strength of one person, as it stands."""

    name: str
    state: str  # one of STATES
    words: str  # how it shows, in full sentences that begin with "They"


def weights(levels: np.ndarray, stage: int, catalog: Catalog) -> np.ndarray:
    """(strengths, 3) pull toward each of STATES, in [0, 1], of a client with node levels (n,) at `stage` 1..4.

    accessible = base + ease,   blocked = base - ease_blocked,   shadow = base - ease_shadow,   kept in [0, 1]
    ease = Σ w_n (coiling of n typical of the stage - coiling_n) / Σ w_n over the nodes that the strength leans on;
    ease_blocked and ease_shadow over those of them that feed that state. The strengths that are prone to it are
    multiplied by DISTORTED where narcissism is extreme.
    """
    _check(levels, stage, catalog)
    base = np.array([_base(row, stage) for row in catalog.rows["strengths"]]).reshape(-1, len(STATES))
    typical = tightness(catalog.start[stage - 1], catalog.tables)
    easier = typical - tightness(levels, catalog.tables)  # (n,) share of the range by which a node is healthier
    pull = base + _shifts(easier, catalog)
    if is_extremely_narcissistic(levels, catalog):
        prone = np.array([bool(row.distortion) for row in catalog.rows["strengths"]], dtype=np.bool_)
        pull[prone] = pull[prone].clip(0.0, 1.0) * DISTORTED
    return pull.clip(0.0, 1.0)


def is_extremely_narcissistic(levels: np.ndarray, catalog: Catalog) -> bool:
    """Whether narcissism, shown by the nodes of narcissism_nodes.csv, is extreme in a client with levels (n,).

    mean over those nodes of level (where the high end shows it) or 10 - level >= EXTREME_NARCISSISM;   no nodes, no
    """
    high = {row.shown_by: row.end == "high" for row in catalog.rows["narcissism_nodes"]}
    nodes = [n for n, name in enumerate(catalog.node_names) if name in high]
    shown = [levels[n] if high[catalog.node_names[n]] else 10.0 - levels[n] for n in nodes]
    return bool(shown) and bool(sum(shown) / len(shown) >= EXTREME_NARCISSISM)


def signature(catalog: Catalog, rng: np.random.Generator) -> tuple[str, ...]:
    """The strengths that are this person's own, SIGNATURES of the catalog's (all, where it has fewer), in its order.

    Drawn without replacement, odds ∝ relevance: the largest u^(1/relevance), u ~ U(0, 1) (Efraimidis and Spirakis 2006).
    """
    rows = catalog.rows["strengths"]
    key = rng.random(len(rows)) ** (1.0 / np.array([row.relevance for row in rows]))
    chosen = np.sort(np.argsort(-key, kind="stable")[:SIGNATURES])
    return tuple(rows[i].name for i in chosen)


def within_reach(names: Sequence[str], levels: np.ndarray, stage: int, catalog: Catalog) -> tuple[Strength, ...]:
    """The state of each of a person's strengths now, accessible ones first; `levels` (n,), `stage` 1..4. Pure.

    A strength is accessible where that pull is the greatest of its three, but never fewer nor more than WITHIN_REACH.
    The others are in the stronger of the two remaining states. An unknown name raises KeyError.
    """
    rows = {row.name: row for row in catalog.rows["strengths"]}
    if unknown := [name for name in names if name not in rows]:
        raise KeyError(f"found strength {', '.join(map(repr, unknown))}; expected names from strengths.csv")
    pulls = dict(zip(rows, weights(levels, stage, catalog), strict=True))
    distorted = is_extremely_narcissistic(levels, catalog)
    fewest, most = WITHIN_REACH[stage - 1]
    lead = {name: pulls[name][0] - pulls[name][1:].max() for name in names}
    nearest = sorted(names, key=lambda name: -lead[name])
    free = nearest[: min(most, max(fewest, sum(lead[name] > 0 for name in names)))]
    held = [name for name in names if name not in free]
    return (
        *(Strength(name, STATES[0], rows[name].accessible) for name in free),
        *(_held(rows[name], pulls[name], distorted) for name in held),
    )


def _check(levels: np.ndarray, stage: int, catalog: Catalog) -> None:
    if stage not in STAGES:
        raise ValueError(f"found stage {stage!r}; expected one of {STAGES}")
    expected = (len(catalog.nodes),)
    if levels.shape != expected:
        raise ValueError(f"found levels of shape {levels.shape}; expected {expected}, for one client")
    if len(bad := np.flatnonzero(~((levels >= 0) & (levels <= 10)))):  # a NaN is in no range
        found = ", ".join(f"{catalog.node_names[n]} {levels[n]}" for n in bad)
        raise ValueError(f"found levels {found}; expected values in [0, 10]")


def _base(row: Row, stage: int) -> list[float]:
    return [getattr(row, f"{state}_{stage}") for state in STATES]


def _shifts(easier: np.ndarray, catalog: Catalog) -> np.ndarray:
    """(strengths, 3) change of each pull by weighted means of `easier` (n,); 0 where a strength leans on no node."""
    strength = {row.name: s for s, row in enumerate(catalog.rows["strengths"])}
    node = {name: n for n, name in enumerate(catalog.node_names)}
    ease = np.zeros((len(strength), len(STATES)))
    total = np.zeros_like(ease)
    for row in catalog.rows["strength_nodes"]:
        s, n = strength[row.strength], node[row.leans_on]
        for state in (0, STATES.index(row.feeds)):
            ease[s, state] += row.weight * easier[n]
            total[s, state] += row.weight
    return np.divide(ease, total, out=np.zeros_like(ease), where=total > 0) * RELIEF


def _held(row: Any, pull: np.ndarray, distorted: bool) -> Strength:
    state = STATES[1 + int(pull[2] > pull[1])]
    words = row.distortion if distorted and row.distortion and state == "shadow" else getattr(row, state)
    return Strength(row.name, state, words)
