"""One client, by name: for notebooks, transcripts, prompts and networkx."""

from dataclasses import dataclass

import networkx as nx
import numpy as np

from client_graph.catalog import Catalog
from client_graph.graph import tightness
from client_graph.names import AXES, LOA_DIMENSIONS, PHASE_NAMES, PHASES, SIGNALS, STAGE_NAMES, STAGES, STANCES
from client_graph.session import measure
from client_graph.state import ClientState
from client_graph.turn import TurnReport


@dataclass(frozen=True)
class ClientView:
    """Named, read-only access to client `index` of a state, and to what the last turn did to it."""

    state: ClientState
    catalog: Catalog
    report: TurnReport | None = None
    index: int = 0

    @property
    def levels(self) -> dict[str, float]:
        """True level of every node, in [0, 10]."""
        return dict(zip(self.catalog.node_names, self.state.levels[self.index].tolist(), strict=True))

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
    def attunement(self) -> float:
        """How near the therapist's beliefs are to the truth, in [0, 1]."""
        return float(self.state.attunement[self.index])

    @property
    def coiling(self) -> float:
        """Weighted mean distance from health, in [0, 1]."""
        return float(measure(self.state, self.catalog).coiling[self.index])

    @property
    def alliance(self) -> float:
        """Mean of the alliance's core nodes, in [0, 1]."""
        return float(measure(self.state, self.catalog).alliance[self.index])

    @property
    def guidance(self) -> str:
        """What the stage and phase ask of the therapist."""
        return self.catalog.guidance(int(self.state.stage[self.index]), int(self.state.phase[self.index]))

    def matters_now(self, count: int = 5) -> list[str]:
        """The tightest nodes by weight and by how far the phase lets them speak, tightest first."""
        tables, i = self.catalog.tables, self.index
        voice = tightness(self.state.levels[i], tables) * tables.weight * tables.phase_weight[self.state.phase[i]]
        return [self.catalog.node_names[n] for n in np.argsort(-voice, kind="stable")[:count]]

    def worst_misread(self, count: int = 5) -> list[tuple[str, float]]:
        """Nodes where belief and truth differ most, with belief minus truth (paper 458)."""
        error = self.state.tmog[self.index] - self.state.levels[self.index]
        return [
            (self.catalog.node_names[n], float(error[n])) for n in np.argsort(-np.abs(error), kind="stable")[:count]
        ]

    def explain(self, node: str) -> dict[str, float]:
        """How the last turn changed a node: directly, through edges, through buckets; bipolar nodes count nearness to 5."""
        n = self.catalog.node(node)
        if self.report is None:
            raise ValueError(f"no turn yet to explain {node}; give the report that advance() returned")
        return {
            "direct": float(self.report.direct[self.index, n]),
            "edges": float(self.report.through_edges[self.index, n]),
            "buckets": float(self.report.through_buckets[self.index, n]),
        }

    def to_networkx(self) -> nx.MultiDiGraph:
        """The graph with levels on the nodes and type, weight and reason on the edges."""
        graph = nx.MultiDiGraph()
        for row, level in zip(self.catalog.nodes, self.state.levels[self.index], strict=True):
            graph.add_node(row.name, level=float(level), domain=row.domain, direction=row.direction, weight=row.weight)
        for edge in self.catalog.rows["edges"]:
            graph.add_edge(edge.edge_from, edge.edge_to, key=edge.type, weight=edge.weight, why=edge.why)
        return graph

    def __repr__(self) -> str:
        phase, stage = self.state.phase[self.index], self.state.stage[self.index]
        return (
            f"ClientView(stage {self.stage} {STAGE_NAMES[stage]}, phase {self.phase} {PHASE_NAMES[phase]}, "
            f"session {self.state.session[self.index] + 1}, turn {self.state.turn[self.index]}, "
            f"coiling {self.coiling:.3f}, alliance {self.alliance:.2f}, attunement {self.attunement:.3f}; "
            f"now: {', '.join(self.matters_now(3))})"
        )
