"""ClientGraph: one client, by name, for notebooks, transcripts and prompts. Nothing here changes a client in place."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from client_graph import personhood
from client_graph.catalog import Catalog, load_catalog
from client_graph.difference import Difference, difference
from client_graph.drive import ScoreError
from client_graph.explain import Explanation, explain
from client_graph.graph import tightness
from client_graph.names import (
    AXES,
    DIMENSIONS,
    LOA_DIMENSIONS,
    PHASE_NAMES,
    PHASES,
    SIGNALS,
    STAGE_NAMES,
    STAGES,
    STANCES,
)
from client_graph.session import Measures, SessionReport, end_session, measure
from client_graph.settings import ClientSettings
from client_graph.stance import begin_arc
from client_graph.state import ClientState, read_only
from client_graph.turn import TurnReport, advance

if TYPE_CHECKING:  # a notebook pays for networkx and matplotlib when it asks for them
    import networkx as nx
    from matplotlib.figure import Figure


OWN = 3.0  # how much louder a person's own trouble speaks than what is usual at their stage (design)


@dataclass(frozen=True, repr=False, eq=False)
class ClientGraph:
    """Client `index` of a batch, by name, and what the last turn did to it.

    Raises ValueError where the state is not of the catalog's size, or has no such client. `before`, `scores` and `report`
    are the last turn's, each with the batch axis of `state`; `after` sets all three, and `explain` needs them.
    """

    state: ClientState
    catalog: Catalog
    report: TurnReport | None = None
    index: int = 0
    person: personhood.Person | None = None
    settings: ClientSettings = field(default_factory=ClientSettings)
    before: ClientState | None = None
    scores: np.ndarray | None = None  # (N, 12)
    ended: SessionReport | None = None  # the session before, where this is the start of the next one

    def __post_init__(self) -> None:
        found, expected = self.state.levels.shape, len(self.catalog.nodes)
        if len(found) != 2 or found[1] != expected:
            raise ValueError(f"found levels of shape {found}; expected (clients, {expected}) for this catalog")
        if not 0 <= self.index < found[0]:
            raise ValueError(f"found client index {self.index}; expected 0 to {found[0] - 1}")
        if self.report is not None and len(self.report.direct) != found[0]:
            raise ValueError(
                f"found a report with changes by node for {len(self.report.direct)} clients; expected {found[0]}: "
                "advance() makes one, and advance_in_place() fills empty_report(..., by_node=True)"
            )

    @classmethod
    def draw(
        cls,
        seed: int | np.random.Generator,
        *,
        stage: int | None = None,
        strategy: str | None = None,
        concern: str | None = None,
        catalog: Catalog | Path | str | None = None,
        settings: ClientSettings | None = None,
    ) -> "ClientGraph":
        """A new client as they arrive: the same seed, the same client. What is not asked for is drawn."""
        if seed is None:
            raise TypeError(
                "found no seed; expected a whole number or a numpy Generator, so that the client can be met again"
            )
        facts, gains = _catalog(catalog), settings or ClientSettings()
        state, people = personhood.draw(
            facts, np.random.default_rng(seed), stage=stage, strategy=strategy, concern=concern, settings=gains
        )
        return cls(read_only(state), facts, person=people[0], settings=gains)

    @property
    def levels(self) -> dict[str, float]:
        """True level of every node, in [0, 10]."""
        return dict(zip(self.catalog.node_names, self.state.levels[self.index].tolist(), strict=True))

    @property
    def tightness(self) -> dict[str, float]:
        """How far from health every node is, in [0, 1]."""
        return dict(zip(self.catalog.node_names, self._tightness().tolist(), strict=True))

    @property
    def beliefs(self) -> dict[str, float]:
        """What the therapist believes each level is, in [0, 10]."""
        return dict(zip(self.catalog.node_names, self.state.tmog[self.index].tolist(), strict=True))

    @property
    def buckets(self) -> dict[str, float]:
        """Affective reservoirs, in [0, 1]."""
        return dict(zip(self.catalog.bucket_names, self.state.buckets[self.index].tolist(), strict=True))

    @property
    def loa(self) -> dict[str, float]:
        """Levels of Adaptation, in [-10, 10]."""
        return dict(zip(LOA_DIMENSIONS, self.state.loa[self.index].tolist(), strict=True))

    @property
    def axes(self) -> dict[str, float]:
        """TAIE axes, in [-10, 10]."""
        return dict(zip(AXES, self.state.axes[self.index].tolist(), strict=True))

    @property
    def signals(self) -> dict[str, float]:
        """What shows of the client after the last turn, in [0, 10]; empty before the first."""
        if self.report is None:
            return {}
        return dict(zip(SIGNALS, self.report.signals[self.index].tolist(), strict=True))

    @property
    def rupture(self) -> bool | None:
        """Whether the last turn was a rupture, the sixth signal of the stance; None before the first turn."""
        return None if self.report is None else bool(self.report.rupture[self.index])

    @property
    def phase(self) -> str:
        """A, B, C or D."""
        return PHASES[self.state.phase[self.index]]

    @property
    def stage(self) -> int:
        """1..4."""
        return STAGES[self.state.stage[self.index]]

    @property
    def stance(self) -> str:
        """The stance the therapist should take."""
        return STANCES[self.state.stance[self.index]]

    @property
    def arc(self) -> int:
        """Turns left of an intervention that is under way; 0 where none is."""
        return int(self.state.arc[self.index])

    @property
    def attunement(self) -> float:
        """How near the therapist's beliefs are to the truth, in [0, 1]."""
        return float(self.state.attunement[self.index])

    @property
    def coiling(self) -> float:
        """Weighted mean distance from health, in [0, 1]."""
        return float(self._measures().coiling[0])

    @property
    def alliance(self) -> float:
        """Mean of the alliance's core nodes, in [0, 1]."""
        return float(self._measures().alliance[0])

    @property
    def guidance(self) -> str:
        """What the stage and phase ask of the therapist."""
        return self.catalog.guidance(int(self.state.stage[self.index]), int(self.state.phase[self.index]))

    def matters_now(self, count: int = 5) -> list[str]:
        """The `count` nodes that speak loudest now, loudest first.

        voice_n = weight_n · (phase weight_n · coiling_n + OWN · max(0, coiling_n - what is typical of the stage))

        How tight a node is, as far as the phase lets it speak, and how much tighter than most people's: without the second
        part every new client would speak of the alliance alone, whatever brought them.
        """
        if count < 0:
            raise ValueError(f"found count {count}; expected 0 or more")
        stage, phase = int(self.state.stage[self.index]), int(self.state.phase[self.index])
        tight, typical = self._tightness(), tightness(self.catalog.start[stage], self.catalog.tables)
        let_through = self.catalog.phase_weight[phase] * tight + OWN * np.maximum(0.0, tight - typical)
        voice = self.catalog.tables.nodes["share"] * let_through
        return [self.catalog.node_names[n] for n in np.argsort(-voice, kind="stable")[:count]]

    def worst_misread(self, count: int = 5) -> list[tuple[str, float]]:
        """Nodes where belief and truth differ most, with belief minus truth (paper 458)."""
        error = self.state.tmog[self.index] - self.state.levels[self.index]
        return [
            (self.catalog.node_names[n], float(error[n])) for n in np.argsort(-np.abs(error), kind="stable")[:count]
        ]

    def after(self, scores: Mapping[str, float] | Sequence[float] | np.ndarray) -> "ClientGraph":
        """This client after a turn that was judged `scores`: all twelve by dimension name, or (12,), each in [0, 10].

        A client of its own (a batch of one), as the batch would have moved it; this one stays as it is. Raises ScoreError.
        """
        judged = _row_of(scores)[None]
        before = read_only(self.state.take([self.index]))
        state, report = advance(before, judged, self.catalog, self.settings)
        judged.setflags(write=False)
        return ClientGraph(
            read_only(state), self.catalog, read_only(report), 0, self.person, self.settings, before, judged
        )

    def with_arc(self, steps: int) -> "ClientGraph":
        """This client with an intervention of `steps` turns under way, 0 to end one. Raises StateError in another stance."""
        return replace(self, state=read_only(begin_arc(self.state, steps, [self.index])))

    def next_session(self) -> "ClientGraph":
        """This client as they arrive at their next session: gains settled, stage assessed, defended again.

        `ended` of the new one is what the session showed: the step of the stage and the measures it was held against.
        """
        state, ended = end_session(self.state.take([self.index]), self.catalog)
        return ClientGraph(read_only(state), self.catalog, person=self.person, settings=self.settings, ended=ended)

    def explain(self, node: str) -> Explanation:
        """Why the last turn changed a node: judge's scores, edges and buckets, in parts that add up to the change."""
        self.catalog.node(node)
        if self.report is None:
            raise ValueError(
                f"no turn yet to explain {node}: this client has no last turn; explain what after() returns"
            )
        if self.before is None or self.scores is None:
            raise ValueError(
                f"the last turn's report is here, but to explain {node} its scores and the state before it are needed; "
                "keep the client before the turn and explain client.after(scores), or give before= and scores="
            )
        return explain(node, self.before, self.scores, self.report, self.catalog, self.settings, self.index)

    def diff(self, other: "ClientGraph") -> Difference:
        """What is different in `other`: nodes, buckets, axes, phase, stance; each as other minus this."""
        if not isinstance(other, ClientGraph):
            raise TypeError(f"found {type(other).__name__}; expected another ClientGraph, such as after() returns")
        return difference(self, other)

    def to_networkx(self) -> "nx.MultiDiGraph":
        """The client and its nodes' and edges' facts as a graph: see client_graph/exchange.py for its attributes."""
        from client_graph.exchange import to_networkx

        return to_networkx(self)

    @classmethod
    def from_networkx(
        cls, graph: "nx.MultiDiGraph", *, like: "ClientGraph | None" = None, catalog: Catalog | Path | str | None = None
    ) -> "ClientGraph":
        """The client of a graph, edited or not: nodes, sensitivities, edges, levels and beliefs are the graph's.

        The tables that a graph does not hold come from `catalog` (or that of `like`, or the default one). Phase, reservoirs
        and history come from the graph's `client` attribute or, where an editor dropped it, from `like`. Raises TableError
        with every mistake.
        """
        from client_graph.exchange import from_networkx

        return from_networkx(graph, like, _catalog(catalog) if like is None or catalog is not None else like.catalog)

    def to_graphml(self, path: Path | str) -> Path:
        """Write the graph as GraphML, whole or not at all; Gephi, yEd and networkx open it."""
        from client_graph.exchange import write_graphml

        return write_graphml(self, Path(path))

    @classmethod
    def from_graphml(
        cls, path: Path | str, *, like: "ClientGraph | None" = None, catalog: Catalog | Path | str | None = None
    ) -> "ClientGraph":
        """The client of a GraphML file; see `from_networkx`."""
        from client_graph.exchange import read_graphml

        return cls.from_networkx(read_graphml(Path(path)), like=like, catalog=catalog)

    def plot(self, focus: str | None = None, clear: int = 12) -> "Figure":
        """The nodes by domain, coloured by coiling, and the edges by type; `focus` shows one node's edges alone.

        The `clear` heaviest edges of each type are drawn clearly, the others faintly.
        """
        from client_graph.drawing import plot_client

        return plot_client(self, focus, clear)

    def plot_change(self, count: int = 24) -> "Figure":
        """The `count` nodes that the last turn moved most, and through what: scores, edges or buckets."""
        from client_graph.drawing import plot_change

        return plot_change(self, count)

    def __repr__(self) -> str:
        levels = self.levels
        now = ", ".join(f"{name} {levels[name]:.1f}" for name in self.matters_now(4))
        lines = [
            f"ClientGraph: {self.who}",
            f"  stage {self.stage} {STAGE_NAMES[self.stage - 1]}, phase {self.phase} "
            f"{PHASE_NAMES[PHASES.index(self.phase)]}, session {self.state.session[self.index] + 1}, "
            f"turn {self.state.turn[self.index]}, stance {self.stance.replace('_', ' ')}"
            + (f" ({self.arc} turns of an intervention to go)" if self.arc else ""),
            f"  coiling {self.coiling:.3f}, alliance {self.alliance:.2f}, attunement {self.attunement:.3f}",
            f"  matters now: {now}",
        ]
        return "\n".join([*lines, *self._last_turn()])

    @property
    def who(self) -> str:
        """Name, concern and attachment strategy, or the place in the batch where no person is known."""
        if self.person is None:
            return f"client {self.index} of {self.state.clients}"
        return f"{self.person.name}, {self.person.concern.replace('_', ' ')}, attachment {self.person.strategy}"

    def _last_turn(self) -> list[str]:
        if self.ended is not None:
            step = int(self.ended.stage_step[0])
            return [
                "  last session: the stage " + ("stayed" if step == 0 else "was gained" if step > 0 else "was lost")
            ]
        if self.before is None:
            return []
        change = self.state.levels[self.index] - self.before.levels[self.index]
        most = np.argsort(-np.abs(change), kind="stable")[:4]
        moved = ", ".join(f"{self.catalog.node_names[n]} {change[n]:+.3f}" for n in most if change[n] != 0.0)
        return [f"  last turn moved: {moved or 'no level'}"]

    def _tightness(self) -> np.ndarray:
        """(n,) in [0, 1]: (10 - l)/10, l/10 or |l - 5|/5 by direction."""
        return tightness(np.ascontiguousarray(self.state.levels[self.index]), self.catalog.tables)

    def _measures(self) -> Measures:
        """Of this client alone: a batch is not summed up to read one of it."""
        return measure(self.state.take([self.index]), self.catalog)


def _catalog(given: Catalog | Path | str | None) -> Catalog:
    return given if isinstance(given, Catalog) else load_catalog(given)


def _row_of(scores: Mapping[str, float] | Sequence[float] | np.ndarray) -> np.ndarray:
    """(12,) float64 in the order of DIMENSIONS; names and shape are checked here, values where the turn is taken."""
    if isinstance(scores, Mapping):
        _check_names(scores)
        scores = [scores[name] for name in DIMENSIONS]
    elif not isinstance(scores, np.ndarray) and any(isinstance(score, bool) for score in scores):
        raise ScoreError("found True or False among the scores; expected twelve numbers in [0, 10]")
    try:
        row = np.array(scores)
    except ValueError as error:
        raise ScoreError(f"found scores that are no array ({error}); expected ({len(DIMENSIONS)},) numbers") from error
    if row.shape != (len(DIMENSIONS),):
        raise ScoreError(
            f"found scores of shape {row.shape}; expected ({len(DIMENSIONS)},), in the order {', '.join(DIMENSIONS)}"
        )
    return row


def _check_names(scores: Mapping[Any, Any]) -> None:
    missing = [name for name in DIMENSIONS if name not in scores]
    unknown = [repr(name) for name in scores if name not in DIMENSIONS]
    if not missing and not unknown:
        return
    bad = [f"{name} is {value!r}" for name, value in scores.items() if name in DIMENSIONS and not _in_range(value)]
    told = [
        *([f"no score for {', '.join(missing)}"] if missing else []),
        *([f"scores for {', '.join(unknown)}, which no judge gives"] if unknown else []),
        *bad,
    ]
    raise ScoreError(f"found {'; '.join(told)}; expected a score in [0, 10] for each of {', '.join(DIMENSIONS)}")


def _in_range(value: Any) -> bool:
    try:
        return math.isfinite(value) and 0.0 <= value <= 10.0
    except TypeError:
        return False
