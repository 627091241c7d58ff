"""The client's turn as others would write it: what client_graph's compiled turn is measured against (client_graph.py here).

LoopClient     one client as a networkx graph, a loop over its edges
NumpyCrowd     N clients as NumPy arrays: matrix products instead of loops
JaxCrowd       the same function under jax.jit, in 64 bits; needs jax, which is no dependency of this project

All three do everything that client_graph.turn.advance_in_place does, the belief noise from each client's own stream included,
and equal it within rounding (tests/test_benchmarks_client_peers.py). They trust their input: scores are not checked.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import networkx as nx
import numpy as np

from client_graph.catalog import Catalog
from client_graph.names import AXES, DIMENSIONS, EDGE_TYPES, LOA_DIMENSIONS, PHASES, SIGNALS, STAGES
from client_graph.settings import ClientSettings, Dynamics
from client_graph.state import ClientState
from client_graph.turn import TurnReport

ATTUNEMENT, SAFETY = DIMENSIONS.index("attunement"), DIMENSIONS.index("safety")
OPENNESS, DISCLOSURE, RESISTANCE, DEFENSIVENESS, OVERWHELM = range(5)
STEP, MIX_1, MIX_2, LOW_64 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 2**64 - 1  # SplitMix64


# ---------------------------------------------------------------- networkx, one client


class LoopClient:
    """One client: levels and beliefs are attributes of a graph's nodes, facts attributes of nodes and edges."""

    def __init__(
        self, catalog: Catalog, state: ClientState, index: int, settings: ClientSettings | None = None
    ) -> None:
        self.rules = (settings or ClientSettings()).dynamics
        self.rows = rows = catalog.rows
        self.graph = nx.MultiDiGraph()
        for n, row in enumerate(rows["nodes"]):
            self.graph.add_node(
                row.name, level=float(state.levels[index, n]), belief=float(state.tmog[index, n]), senses=[], pours=[],
                direction=row.direction, share=row.weight / sum(each.weight for each in rows["nodes"]),
                resistance=[getattr(row, f"bq_{stage}") for stage in STAGES],
                responsive=[getattr(row, f"phase_{phase.lower()}") for phase in PHASES],
            )  # fmt: skip
        for row in rows["sensitivities"]:
            self.graph.nodes[row.node]["senses"].append((DIMENSIONS.index(row.dimension), row.high, row.low))
        for row in rows["bucket_nodes"]:
            self.graph.nodes[row.node]["pours"].append((row.bucket, row.coefficient))
        for row in rows["edges"]:
            gates = [getattr(row, f"gate_{stage}") for stage in STAGES]
            self.graph.add_edge(
                row.edge_from, row.edge_to, key=row.type, weight=row.weight, threshold=row.threshold, gates=gates
            )
        self.core = [row.node for row in rows["roles"] if row.role == "alliance"]
        self.engagement = next(row.node for row in rows["roles"] if row.role == "engagement")
        self.thresholds = {
            (row.stage - 1, row.phase_from + row.phase_to): row.threshold for row in rows["phase_thresholds"]
        }
        self.signals = sorted(rows["signals"], key=lambda row: SIGNALS.index(row.name))
        self.facts: dict[str, Any] = {name: array[index].tolist() for name, array in state._asdict().items()}
        names = [row.name for row in rows["buckets"]]
        self.buckets = dict(zip(names, self.facts["buckets"], strict=True))

    def turn(self, scores: list[float]) -> dict[str, Any]:
        """Take one turn judged `scores` (12,); what it did, by the names of TurnReport."""
        facts, rules = self.facts, self.rules
        stage, phase = facts["stage"], facts["phase"]
        drives = [_drive(score, rules.literal_drive) for score in scores]
        helping, harming = [drive[0] for drive in drives], [drive[1] for drive in drives]
        report: dict[str, Any] = {"buckets": self._fill(helping, harming)}
        report |= self._adapt(helping, harming) | self._orient(helping, harming)

        nodes = self.graph.nodes
        bond = sum(nodes[name]["level"] for name in self.core) / 10.0 / len(self.core)
        direct = self._move(self._asked(helping, harming, stage, phase))
        arrived = self._move(self._arriving(direct, bond, stage))
        poured = self._move(
            {name: sum(c * report["buckets"][b] for b, c in node["pours"]) for name, node in nodes.items()}
        )
        attunement = self._believe(helping[ATTUNEMENT], harming[ATTUNEMENT])
        tight = sum(node["share"] * _coiling(node["level"], node["direction"]) for node in nodes.values())
        mood = self._mood()
        score = (
            0.4 * rules.phase_mood_gain * (mood - facts["phase_mood"])
            + 0.6 * rules.phase_coiling_gain * (facts["phase_coiling"] - tight)
        ) * (0.7 + 0.6 * bond)
        step = self._phase_step(stage, phase, score)
        if step:
            phase += step
            facts.update(phase=phase, phase_mood=mood, phase_coiling=tight)
            facts["deepest_phase"] = max(facts["deepest_phase"], phase)
        facts["turn"] += 1
        signals = self._show(phase)
        rupture = (scores[ATTUNEMENT] + scores[SAFETY]) / 2.0 < 3.5 or step < 0
        facts["recent_attunement"] = [*facts["recent_attunement"][1:], scores[ATTUNEMENT]]
        facts["recent_resistance"] = [*facts["recent_resistance"][1:], signals[RESISTANCE]]
        before, facts["stance"] = facts["stance"], self._stance(signals, rupture)
        facts["arc"] = self._arc(before)
        report |= {
            "direct": list(direct.values()), "through_edges": list(arrived.values()),
            "through_buckets": list(poured.values()), "attunement_change": attunement - facts["attunement"],
            "coiling": tight, "alliance": bond, "phase_score": score, "phase_step": step, "signals": signals,
            "rupture": rupture,
        }  # fmt: skip
        facts["attunement"] = attunement
        report["buckets"] = list(report["buckets"].values())
        return report

    def state(self) -> dict[str, Any]:
        """The client as it stands, by the names of ClientState."""
        nodes = self.graph.nodes.values()
        return self.facts | {
            "levels": [node["level"] for node in nodes], "tmog": [node["belief"] for node in nodes],
            "buckets": list(self.buckets.values()),
        }  # fmt: skip

    def _fill(self, helping: list[float], harming: list[float]) -> dict[str, float]:
        asked = dict.fromkeys(self.buckets, 0.0)
        for row in self.rows["bucket_scores"]:
            d = DIMENSIONS.index(row.dimension)
            asked[row.bucket] += (helping[d] * row.high + harming[d] * row.low) / 10.0
        moved = {}
        for row in self.rows["buckets"]:
            before = self.buckets[row.name]
            self.buckets[row.name] = min(1.0, max(0.0, before + row.volatility * asked[row.name]))
            moved[row.name] = self.buckets[row.name] - before
        return moved

    def _adapt(self, helping: list[float], harming: list[float]) -> dict[str, Any]:
        asked = dict.fromkeys(LOA_DIMENSIONS, 0.0)
        for row in self.rows["loa_scores"]:
            d = DIMENSIONS.index(row.dimension)
            asked[row.loa] += (helping[d] - harming[d]) / 10.0 * row.weight
        before = self.facts["loa"]
        after = [
            min(10.0, max(-10.0, level + self.rules.loa_rate * asked[name]))
            for name, level in zip(LOA_DIMENSIONS, before, strict=True)
        ]
        self.facts["loa"] = after
        thresholds = [row.threshold for row in self.rows["loa_thresholds"]]
        pairs = list(zip(before, after, strict=True))
        return {
            "loa": [b - a for a, b in pairs],
            "adaptation_events": [sum((b >= t) - (a >= t) for t in thresholds) for a, b in pairs],
        }

    def _orient(self, helping: list[float], harming: list[float]) -> dict[str, Any]:
        asked = dict.fromkeys(AXES, 0.0)
        for row in self.rows["axis_scores"]:
            d = DIMENSIONS.index(row.dimension)
            asked[row.axis] += (helping[d] - harming[d]) / 10.0 * row.weight
        before, origin, after = self.facts["axes"], self.facts["axes_start"], []
        for name, axis, start in zip(AXES, before, origin, strict=True):
            distance = min(10.0, max(0.0, abs(axis) - self.rules.axis_rate * asked[name]))
            after.append(-distance if axis < 0.0 or (axis == 0.0 and start < 0.0) else distance)
        size, whole, last = (sum(map(abs, axes)) for axes in (after, origin, before))
        window = [*self.facts["axes_window"][1:], size]
        now, was = (max(0.0, min(1.0, 1.0 - s / whole)) if whole else 0.0 for s in (size, last))
        drift = window[-1] - window[0]
        self.facts.update(axes=after, axes_window=window)
        return {
            "axes": [b - a for a, b in zip(before, after, strict=True)], "transformation": now,
            "transformation_change": now - was,
            "axis_trend": int(drift < -self.rules.axis_tolerance) - int(drift > self.rules.axis_tolerance),
        }  # fmt: skip

    def _asked(self, helping: list[float], harming: list[float], stage: int, phase: int) -> dict[str, float]:
        felt = self.graph.nodes[self.engagement]["level"] / 10.0
        engagement = self.rules.node_gain * max(self.rules.engagement_floor, felt)
        return {
            name: sum(helping[d] * high + harming[d] * low for d, high, low in node["senses"])
            * engagement * node["responsive"][phase] / (1.0 + node["resistance"][stage])
            for name, node in self.graph.nodes.items()
        }  # fmt: skip

    def _arriving(self, direct: dict[str, float], bond: float, stage: int) -> dict[str, float]:
        arrived = dict.fromkeys(direct, 0.0)
        nodes, damping = self.graph.nodes, self.rules.source_damping * self.rules.target_damping
        for source, target, kind, edge in self.graph.edges(keys=True, data=True):
            change, weight = direct[source], damping * edge["weight"]
            if kind == "paired":
                arrived[source] += weight * direct[target]
            elif kind == "suppressive":
                change = -change
            elif kind == "protective":
                change = -change if bond > 0.5 else change
            elif kind == "compensatory":
                change = max(change, 0.0)
            elif kind == "prerequisite":
                change = change if nodes[source]["level"] >= edge["threshold"] else 0.0
            elif kind == "gated":
                change *= edge["gates"][stage]
            elif kind == "paradoxical":
                change = -change if stage < 2 else change
            arrived[target] += weight * change
        return arrived

    def _move(self, asked: dict[str, float]) -> dict[str, float]:
        moved = {}
        for name, node in self.graph.nodes.items():
            before = node["level"]
            if node["direction"] == "bipolar":
                distance = min(5.0, max(0.0, abs(before - 5.0) - asked[name]))
                node["level"] = 5.0 + distance if before >= 5.0 else 5.0 - distance
                moved[name] = abs(before - 5.0) - abs(node["level"] - 5.0)
            else:
                node["level"] = min(10.0, max(0.0, before + asked[name]))
                moved[name] = node["level"] - before
        return moved

    def _believe(self, helped: float, harmed: float) -> float:
        rules, nodes = self.rules, self.graph.nodes
        rate = min(1.0, (rules.tmog_steady_rate + rules.tmog_good_rate * 0.1 * helped) * (1.0 - 0.1 * harmed))
        blur, stream, error = rules.tmog_noise * 0.1 * harmed, self.facts["stream"], 0.0
        for n, node in enumerate(nodes.values()):
            belief = node["belief"]
            if blur > 0.0:
                belief += blur * _bell((stream + (n + 1) * STEP) & LOW_64)
            belief += rate * (node["level"] - belief)
            node["belief"] = min(10.0, max(0.0, belief))
            error += abs(node["belief"] - node["level"])
        if blur > 0.0:
            self.facts["stream"] = (stream + len(nodes) * STEP) & LOW_64
        return 1.0 - error / (10.0 * len(nodes))

    def _mood(self) -> float:
        well = [
            1.0 - self.buckets[row.name] if row.falls else self.buckets[row.name]
            for row in self.rows["buckets"]
            if row.kind == "adaptive"
        ]
        ill = [self.buckets[row.name] for row in self.rows["buckets"] if row.kind == "maladaptive"]
        return sum(well) / len(well) - sum(ill) / len(ill)

    def _phase_step(self, stage: int, phase: int, score: float) -> int:
        here = PHASES[phase]
        if phase < 3 and score >= self.thresholds[stage, here + PHASES[phase + 1]]:
            return 1
        return -1 if phase > 0 and score <= self.thresholds[stage, here + PHASES[phase - 1]] else 0

    def _show(self, phase: int) -> list[float]:
        total = {row.name: row.offset for row in self.signals}
        for row in self.rows["signal_nodes"]:
            total[row.signal] += row.weight * self.graph.nodes[row.node]["level"]
        name = f"phase_{PHASES[phase].lower()}"
        return [min(10.0, max(0.0, total[row.name] * getattr(row, name))) for row in self.signals]

    def _stance(self, signals: list[float], rupture: bool) -> int:
        facts = self.facts
        if facts["turn"] < self.rules.stance_lock_turns or rupture:
            return 0
        if signals[DEFENSIVENESS] >= 5.0 or signals[OVERWHELM] >= 3.0:
            held = facts["stance"] == 2 and facts["arc"] > 0 and signals[RESISTANCE] < 7.0 and signals[OVERWHELM] < 3.0
            return 2 if held else int(max(0, facts["stance"] - 1))
        ready = _mean(facts["recent_attunement"]) >= 5.5 and _mean(facts["recent_resistance"]) <= 5.5
        up = ready and max(signals[DISCLOSURE], signals[OPENNESS]) >= 5.0
        return int(min(2, facts["stance"] + up))

    def _arc(self, before: int) -> int:
        facts = self.facts
        if facts["stance"] != 2:
            return 0
        return max(0, facts["arc"] - 1) if before == 2 else self.rules.arc_steps


def _drive(score: float, literal: bool) -> tuple[float, float]:
    if literal:
        return (score if score > 6.5 else 0.0), (score if score < 3.5 else 0.0)
    return max(0.0, 10.0 * (score - 6.5) / 3.5), max(0.0, 10.0 * (3.5 - score) / 3.5)


def _coiling(level: float, direction: str) -> float:
    if direction == "bipolar":
        return abs(level - 5.0) / 5.0
    return level / 10.0 if direction == "decrease" else (10.0 - level) / 10.0


def _bell(z: int) -> float:
    z = ((z ^ (z >> 30)) * MIX_1) & LOW_64
    z = ((z ^ (z >> 27)) * MIX_2) & LOW_64
    z ^= z >> 31
    return 3.0**0.5 * ((sum((z >> shift) & 0xFFFF for shift in (0, 16, 32, 48)) + 2.0) / 65536.0 - 2.0)


def _mean(window: list[float]) -> float:
    known = [value for value in window if not math.isnan(value)]
    return sum(known) / len(known)


# ---------------------------------------------------------------- arrays, N clients


class Matrices(NamedTuple):
    """The facts as matrix products read them. n nodes, f edge features, B buckets."""

    ask: Any  # (24, n + B + 7 + 3): drives (help, then harm) -> nodes, buckets, LOA dimensions, axes
    top: Any  # (n,) 10, or 5 for a bipolar node, whose coordinate is its nearness to 5
    bipolar: Any  # (bipolar nodes,) their indices
    yielding: Any  # (16, n) phase weight / (1 + BQ) at 4 · stage + phase
    core: Any  # (n,) sums to 0.1 over the core nodes of the alliance
    engagement: int
    protective: Any  # sources of the protective edges, each once; and so on
    compensatory: Any
    prerequisite: Any  # sources, once for each threshold ...
    threshold: Any
    needed_column: Any  # those among them that are bipolar
    needed_bipolar: Any  # ... and their places in `bipolar`
    gated: Any  # sources, once for each row of gates ...
    gates: Any  # (4, gated features)
    paradoxical: Any
    carry: Any  # (f, n): edge features -> what arrives at the nodes, damping included
    couple: Any  # (B, n)
    tight: Any  # (n,) coiling = coordinate @ tight + tight_offset
    tight_offset: float
    mood: Any  # (B,) adaptive minus maladaptive mean = buckets @ mood + mood_offset
    mood_offset: float
    loa_thresholds: Any
    phase_forward: Any  # (4, 4) by stage and phase, infinite where there is no such step
    phase_back: Any  # (4, 4)
    show: Any  # (n, 5)
    show_offset: Any  # (5,)
    show_phase: Any  # (4, 5)


def matrices(catalog: Catalog, rules: Dynamics) -> Matrices:
    """The facts of a catalog, dense: at this size a matrix product beats gathers and segment sums."""
    t = catalog.tables
    n, b = len(catalog.nodes), len(catalog.bucket_names)
    ask = np.zeros((24, n + b + 10))
    np.add.at(ask, (t.sensitivities.dimension, t.sensitivities.node), t.sensitivities.high)
    np.add.at(ask, (12 + t.sensitivities.dimension, t.sensitivities.node), t.sensitivities.low)
    volatility = 0.1 * t.buckets.volatility[t.bucket_scores.bucket]
    np.add.at(ask, (t.bucket_scores.dimension, n + t.bucket_scores.bucket), volatility * t.bucket_scores.high)
    np.add.at(ask, (12 + t.bucket_scores.dimension, n + t.bucket_scores.bucket), volatility * t.bucket_scores.low)
    for column, dimension, weight in (
        (n + b + t.loa_scores.loa, t.loa_scores.dimension, 0.1 * rules.loa_rate * t.loa_scores.weight),
        (n + b + 7 + t.axis_scores.axis, t.axis_scores.dimension, 0.1 * rules.axis_rate * t.axis_scores.weight),
    ):
        np.add.at(ask, (dimension, column), weight)
        np.add.at(ask, (12 + dimension, column), -weight)
    parts, bipolar = _edge_features(catalog, rules), np.flatnonzero(t.nodes.direction == 2)
    needed = np.flatnonzero(np.isin(parts["prerequisite"], bipolar))
    core, couple, show = np.zeros(n), np.zeros((b, n)), np.zeros((n, 5))
    core[t.alliance_nodes] = 0.1 / len(t.alliance_nodes)
    np.add.at(couple, (t.bucket_nodes.bucket, t.bucket_nodes.node), t.bucket_nodes.coefficient)
    np.add.at(show, (t.signal_nodes.node, t.signal_nodes.signal), t.signal_nodes.weight)
    share, good = t.nodes.share, t.buckets.adaptive == 1
    inverted = good & (t.buckets.falls == 1)
    never = np.full((4, 1), np.inf)
    return Matrices(
        ask=ask, top=np.where(t.nodes.direction == 2, 5.0, 10.0), bipolar=bipolar, needed_column=needed,
        needed_bipolar=np.searchsorted(bipolar, parts["prerequisite"][needed]),
        yielding=np.ascontiguousarray(t.yielding.T), core=core, engagement=int(t.engagement_node[0]), couple=couple,
        tight=share * np.choose(t.nodes.direction, [-0.1, 0.1, -0.2]), tight_offset=float(share[t.nodes.direction != 1].sum()),
        mood=np.where(good, np.where(inverted, -1.0, 1.0) / good.sum(), -1.0 / max(1, (~good).sum())),
        mood_offset=float(inverted.sum() / good.sum()), loa_thresholds=t.loa_thresholds,
        phase_forward=np.hstack([t.phase_forward, never]), phase_back=np.hstack([-never, t.phase_back]),
        show=show, show_offset=t.signals.offset, show_phase=t.signals.phase.T, **parts,
    )  # fmt: skip


def _edge_features(catalog: Catalog, rules: Dynamics) -> dict[str, Any]:
    """Edges that read the same number of the same source share a feature: a row of `carry`."""
    t = catalog.tables
    n, kinds = len(catalog.nodes), len(EDGE_TYPES)
    kind = np.repeat(np.arange(kinds), np.diff(t.edge_start))
    of = {name: np.flatnonzero(kind == k) for k, name in enumerate(EDGE_TYPES)}
    weight = rules.source_damping * rules.target_damping * t.edges.weight
    plain = np.zeros((n, n))
    for name, sign in (("reinforcing", 1.0), ("paired", 1.0), ("suppressive", -1.0)):
        np.add.at(plain, (t.edges.source[of[name]], t.edges.target[of[name]]), sign * weight[of[name]])
    np.add.at(plain, (t.edges.target[of["paired"]], t.edges.source[of["paired"]]), weight[of["paired"]])
    carry, parts = [plain], {}
    for name, extra in (
        ("protective", None), ("compensatory", None), ("prerequisite", t.edges.threshold[:, None]), ("gated", t.edges.gate),
        ("paradoxical", None),
    ):  # fmt: skip
        key = t.edges.source[:, None] if extra is None else np.column_stack([t.edges.source, extra])
        features, row = np.unique(key[of[name]], axis=0, return_inverse=True)
        block = np.zeros((len(features), n))
        np.add.at(block, (row.ravel(), t.edges.target[of[name]]), weight[of[name]])
        carry.append(block)
        parts[name] = features[:, 0].astype(np.int64)
        if name == "prerequisite":
            parts["threshold"] = features[:, 1]
        if name == "gated":
            parts["gates"] = np.ascontiguousarray(features[:, 1:].T)
    return parts | {"carry": np.concatenate(carry)}


def array_turn(
    xp: Any, blurred: Callable[..., tuple[Any, Any]], crossed: Callable[..., Any],
    state: ClientState, scores: Any, m: Matrices, rules: Dynamics, by_node: bool,
) -> tuple[ClientState, TurnReport]:  # fmt: skip
    """One turn of N clients in the array namespace `xp`; pure.

    `blurred(belief, blur, stream)` adds the noise, `crossed(thresholds, levels)` counts the thresholds at or below.
    """
    n, b = state.levels.shape[1], state.buckets.shape[1]
    if rules.literal_drive:
        helping, harming = xp.where(scores > 6.5, scores, 0.0), xp.where(scores < 3.5, scores, 0.0)
    else:
        helping, harming = (
            xp.maximum(scores - 6.5, 0.0) * (10.0 / 3.5),
            xp.maximum(3.5 - scores, 0.0) * (10.0 / 3.5),
        )
    asked = xp.concatenate([helping, harming], axis=1) @ m.ask
    stage, phase = state.stage, state.phase

    buckets = xp.clip(state.buckets + asked[:, n : n + b], 0.0, 1.0)
    poured = buckets - state.buckets
    loa = xp.clip(state.loa + asked[:, n + b : n + b + 7], -10.0, 10.0)
    events = crossed(m.loa_thresholds, loa) - crossed(m.loa_thresholds, state.loa)
    distance = xp.clip(xp.abs(state.axes) - asked[:, n + b + 7 :], 0.0, 10.0)
    negative = (state.axes < 0.0) | ((state.axes == 0.0) & (state.axes_start < 0.0))
    axes = xp.where(negative, -distance, distance)
    size, whole = distance.sum(axis=1), xp.abs(state.axes_start).sum(axis=1)
    window = xp.concatenate([state.axes_window[:, 1:], size[:, None]], axis=1)
    unmoved = whole == 0.0
    whole = xp.where(unmoved, 1.0, whole)
    now = xp.where(unmoved, 0.0, xp.clip(1.0 - size / whole, 0.0, 1.0))
    was = xp.where(unmoved, 0.0, xp.clip(1.0 - xp.abs(state.axes).sum(axis=1) / whole, 0.0, 1.0))
    drift = window[:, -1] - window[:, 0]

    # Nodes: bipolar ones by their nearness to 5 until all has arrived; `above` says on which side each lies.
    bond = state.levels @ m.core
    off = state.levels[:, m.bipolar] - 5.0
    above = off >= 0.0
    place = _put(xp, state.levels, m.bipolar, 5.0 - xp.abs(off))
    engagement = rules.node_gain * xp.maximum(rules.engagement_floor, 0.1 * state.levels[:, m.engagement])
    after = xp.clip(place + asked[:, :n] * engagement[:, None] * m.yielding[4 * stage + phase], 0.0, m.top)
    direct, place = after - place, after
    above = above | (place[:, m.bipolar] >= 5.0)
    needed = _levels(xp, place[:, m.prerequisite], m.needed_column, above[:, m.needed_bipolar])
    features = (
        direct,
        xp.where(bond > 0.5, -1.0, 1.0)[:, None] * direct[:, m.protective],
        xp.maximum(direct[:, m.compensatory], 0.0),
        xp.where(needed >= m.threshold, direct[:, m.prerequisite], 0.0),
        m.gates[stage] * direct[:, m.gated],
        xp.where(stage < 2, -1.0, 1.0)[:, None] * direct[:, m.paradoxical],
    )
    after = xp.clip(place + xp.concatenate(features, axis=1) @ m.carry, 0.0, m.top)
    arrived, place = after - place, after
    above = above | (place[:, m.bipolar] >= 5.0)
    after = xp.clip(place + poured @ m.couple, 0.0, m.top)
    filled, place = after - place, after
    above = above | (place[:, m.bipolar] >= 5.0)
    levels = _levels(xp, place, m.bipolar, above)

    helped, harmed = 0.1 * helping[:, ATTUNEMENT], 0.1 * harming[:, ATTUNEMENT]
    rate = xp.minimum(1.0, (rules.tmog_steady_rate + rules.tmog_good_rate * helped) * (1.0 - harmed))
    belief, stream = blurred(state.tmog, rules.tmog_noise * harmed, state.stream)
    belief = xp.clip(belief + rate[:, None] * (levels - belief), 0.0, 10.0)
    attunement = 1.0 - xp.abs(belief - levels).sum(axis=1) / (10.0 * n)

    tight, mood = place @ m.tight + m.tight_offset, buckets @ m.mood + m.mood_offset
    score = 0.4 * rules.phase_mood_gain * (mood - state.phase_mood)
    score = (score + 0.6 * rules.phase_coiling_gain * (state.phase_coiling - tight)) * (0.7 + 0.6 * bond)
    forward = score >= m.phase_forward[stage, phase]
    step = forward.astype(xp.int64) - (~forward & (score <= m.phase_back[stage, phase]))
    stepped, phase, turn = step != 0, phase + step, state.turn + 1

    signals = xp.clip((levels @ m.show + m.show_offset) * m.show_phase[phase], 0.0, 10.0)
    rupture = (0.5 * (scores[:, ATTUNEMENT] + scores[:, SAFETY]) < 3.5) | (step < 0)
    attuned = xp.concatenate([state.recent_attunement[:, 1:], scores[:, ATTUNEMENT, None]], axis=1)
    resisted = xp.concatenate([state.recent_resistance[:, 1:], signals[:, RESISTANCE, None]], axis=1)
    known = ~xp.isnan(attuned)
    known_turns = known.sum(axis=1)
    ready = (xp.where(known, attuned, 0.0).sum(axis=1) / known_turns >= 5.5) & (
        xp.where(known, resisted, 0.0).sum(axis=1) / known_turns <= 5.5
    )
    up = ready & (xp.maximum(signals[:, DISCLOSURE], signals[:, OPENNESS]) >= 5.0)
    alarmed = (signals[:, DEFENSIVENESS] >= 5.0) | (signals[:, OVERWHELM] >= 3.0)
    held = (state.stance == 2) & (state.arc > 0) & (signals[:, RESISTANCE] < 7.0) & (signals[:, OVERWHELM] < 3.0)
    alarmed, up = alarmed & ~held, up & ~alarmed
    stance = xp.clip(state.stance + xp.where(alarmed, -1, up.astype(xp.int64)), 0, 2)
    stance = xp.where((turn < rules.stance_lock_turns) | rupture, 0, stance)
    left = xp.where(state.stance == 2, xp.maximum(state.arc - 1, 0), rules.arc_steps)

    moved = state._replace(
        levels=levels, tmog=belief, buckets=buckets, loa=loa, axes=axes, axes_window=window, attunement=attunement,
        phase=phase, phase_mood=xp.where(stepped, mood, state.phase_mood),
        phase_coiling=xp.where(stepped, tight, state.phase_coiling),
        deepest_phase=xp.maximum(state.deepest_phase, xp.where(stepped, phase, 0)), turn=turn, stance=stance,
        arc=xp.where(stance == 2, left, 0),
        recent_attunement=attuned, recent_resistance=resisted, stream=stream,
    )  # fmt: skip
    rows = slice(None) if by_node else slice(0)
    return moved, TurnReport(
        direct=direct[rows], through_edges=arrived[rows], through_buckets=filled[rows], buckets=poured,
        loa=loa - state.loa, adaptation_events=events, axes=axes - state.axes, transformation=now,
        transformation_change=now - was,
        axis_trend=(drift < -rules.axis_tolerance).astype(xp.int64) - (drift > rules.axis_tolerance),
        attunement_change=attunement - state.attunement, coiling=tight, alliance=bond, phase_score=score,
        phase_step=step, signals=signals, rupture=rupture,
    )  # fmt: skip


def _levels(xp: Any, place: Any, bipolar: Any, above: Any) -> Any:
    """Levels of nodes whose bipolar columns hold nearness to 5."""
    near = place[:, bipolar]
    return _put(xp, place, bipolar, xp.where(above, 10.0 - near, near))


def _put(xp: Any, values: Any, columns: Any, new: Any) -> Any:
    """`values` with some columns replaced."""
    if hasattr(values, "at"):  # jax
        return values.at[:, columns].set(new)
    values = values.copy()
    values[:, columns] = new
    return values


def _bells(xp: Any, stream: Any, nodes: int) -> Any:
    """(N, nodes) nearly normal numbers, the next ones of each stream (N,)."""
    word = xp.uint64
    z = stream[:, None] + xp.arange(1, nodes + 1, dtype=xp.uint64) * word(STEP)
    z = (z ^ (z >> word(30))) * word(MIX_1)
    z = (z ^ (z >> word(27))) * word(MIX_2)
    z = z ^ (z >> word(31))
    low = word(0xFFFF)
    total = (z & low) + ((z >> word(16)) & low) + ((z >> word(32)) & low) + (z >> word(48))
    return 3.0**0.5 * ((total.astype(xp.float64) + 2.0) / 65536.0 - 2.0)


def _used(nodes: int) -> int:
    return (nodes * STEP) & LOW_64


class NumpyCrowd:
    """N clients in NumPy."""

    def __init__(
        self, catalog: Catalog, state: ClientState, settings: ClientSettings | None = None, by_node: bool = False
    ) -> None:
        self.rules, self.by_node, self.state = (settings or ClientSettings()).dynamics, by_node, state
        self.matrices = matrices(catalog, self.rules)

    def turn(self, scores: np.ndarray) -> TurnReport:
        """Take one turn judged `scores` (N, 12)."""
        self.state, report = array_turn(
            np, _blurred, _crossed, self.state, scores, self.matrices, self.rules, self.by_node
        )
        return report


def _crossed(thresholds: np.ndarray, levels: np.ndarray) -> np.ndarray:
    return np.searchsorted(thresholds, levels, side="right")


def _blurred(belief: np.ndarray, blur: np.ndarray, stream: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    unsure = np.flatnonzero(blur > 0.0)
    if len(unsure):
        belief = belief.copy()
        belief[unsure] += blur[unsure, None] * _bells(np, stream[unsure], belief.shape[1])
        stream = stream.copy()
        stream[unsure] += np.uint64(_used(belief.shape[1]))
    return belief, stream


class JaxCrowd:
    """N clients under jax.jit, in 64 bits. Switches 64 bits on in this process. ImportError without jax."""

    def __init__(
        self, catalog: Catalog, state: ClientState, settings: ClientSettings | None = None, by_node: bool = False
    ) -> None:
        import jax  # type: ignore[import-not-found]
        import jax.numpy as jnp  # type: ignore[import-not-found]

        jax.config.update("jax_enable_x64", True)
        rules = (settings or ClientSettings()).dynamics
        facts = Matrices._make(
            jnp.array(fact) if isinstance(fact, np.ndarray) else fact for fact in matrices(catalog, rules)
        )

        def crossed(thresholds: Any, levels: Any) -> Any:
            return (levels[..., None] >= thresholds).sum(axis=-1)

        def blurred(belief: Any, blur: Any, stream: Any) -> tuple[Any, Any]:
            nodes = belief.shape[1]
            return jax.lax.cond(
                (blur > 0.0).any(),
                lambda: (
                    belief + blur[:, None] * _bells(jnp, stream, nodes),
                    stream + jnp.where(blur > 0.0, jnp.uint64(_used(nodes)), jnp.uint64(0)),
                ),
                lambda: (belief, stream),
            )

        def turn(state: ClientState, scores: Any) -> tuple[ClientState, TurnReport]:
            return array_turn(jnp, blurred, crossed, state, scores, facts, rules, by_node)

        self._turn = jax.jit(turn, donate_argnums=0)
        self._wait = jax.block_until_ready
        self.state = jax.tree.map(jnp.array, state)

    def turn(self, scores: np.ndarray) -> TurnReport:
        """Take one turn judged `scores` (N, 12), and wait for it."""
        self.state, report = self._turn(self.state, scores)
        self._wait(report)
        return report
