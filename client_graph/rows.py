"""The columns of every table under configs/client/: type, range and meaning of each cell."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from client_graph.names import AXES, DIMENSIONS, LOA_DIMENSIONS
from client_graph.tables import Row


def _one_of(*names: str) -> BeforeValidator:
    def check(value: object) -> object:
        if value not in names:
            raise ValueError(f"expected one of {', '.join(names)}")
        return value

    return BeforeValidator(check)


def _empty_is_none(value: object) -> object:
    return None if value == "" else value


Dimension = Annotated[str, _one_of(*DIMENSIONS)]
Level = Annotated[float, Field(ge=0, le=10)]
Unit = Annotated[float, Field(ge=0, le=1)]
Loading = Annotated[float, Field(ge=-1, le=1)]
Adaptation = Annotated[float, Field(ge=-10, le=10)]
Phase = Literal["A", "B", "C", "D"]
Stage = Annotated[int, Field(ge=1, le=4)]
Gate = Annotated[Annotated[float, Field(ge=0, le=2)] | None, BeforeValidator(_empty_is_none)]
Threshold = Annotated[Level | None, BeforeValidator(_empty_is_none)]
YesNo = Annotated[bool, _one_of("yes", "no")]
Coherence = Literal["odd", "even", "balanced"]


class DomainRow(Row):
    name: str
    meaning: str = Field(min_length=10)


class NodeRow(Row):
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    domain: str
    direction: Literal["increase", "decrease", "bipolar"]
    low: str = Field(min_length=10, description="What a low level means, in a sentence.")
    high: str = Field(min_length=10, description="What a high level means, in a sentence.")
    weight: Unit = Field(description="Importance in composite metrics (paper 328).")
    bq_1: Level
    bq_2: Level
    bq_3: Level
    bq_4: Level
    load_x: Loading = Field(description="Where the node's trouble pushes X: + porosity, - rigidity.")
    load_y: Loading = Field(description="... Y: - wounded, + inflated self-esteem.")
    load_z: Loading = Field(description="... Z: - estrangement, + cherishment sought at any price.")
    phase_a: Unit
    phase_b: Unit
    phase_c: Unit
    phase_d: Unit
    start_1: Level
    start_2: Level
    start_3: Level
    start_4: Level


class SensitivityRow(Row):
    node: str
    dimension: Dimension
    high: float = Field(ge=-1, le=1, description="Level change per unit of help (paper 333).")
    low: float = Field(ge=-1, le=1, description="Level change per unit of harm (paper 333).")


class EdgeRow(Row):
    edge_from: str
    type: Literal[
        "reinforcing", "protective", "compensatory", "suppressive", "prerequisite", "paired", "gated", "paradoxical"
    ]
    edge_to: str
    weight: float = Field(gt=0, le=1)
    threshold: Threshold = Field(description="Level of the source that a prerequisite asks for; else empty.")
    gate_1: Gate
    gate_2: Gate
    gate_3: Gate
    gate_4: Gate
    why: str = Field(min_length=10)


class RoleRow(Row):
    role: Literal["alliance", "engagement"]
    node: str


class BucketRow(Row):
    name: str
    kind: Literal["maladaptive", "adaptive"]
    falls: YesNo = Field(description="Whether it falls as therapy goes well.")
    start_1: Unit
    start_2: Unit
    start_3: Unit
    start_4: Unit
    volatility: Unit = Field(description="Bucket change of one turn at full drive and mapping 1.")
    session_decay: Unit = Field(description="Share of the progress that is lost between sessions.")


class BucketScoreRow(Row):
    dimension: Dimension
    bucket: str
    high: Loading
    low: Loading


class BucketNodeRow(Row):
    bucket: str
    node: str
    coefficient: float = Field(ge=-10, le=10, description="Level points per full bucket.")


class LoaRow(Row):
    name: Annotated[str, _one_of(*LOA_DIMENSIONS)]
    low: str
    high: str
    start_1: Adaptation
    start_2: Adaptation
    start_3: Adaptation
    start_4: Adaptation


class LoaScoreRow(Row):
    dimension: Dimension
    loa: Annotated[str, _one_of(*LOA_DIMENSIONS)]
    weight: Loading


class LoaThresholdRow(Row):
    threshold: Adaptation


class AxisRow(Row):
    name: Annotated[str, _one_of(*AXES)]
    low: str
    high: str


class AxisScoreRow(Row):
    dimension: Dimension
    axis: Annotated[str, _one_of(*AXES)]
    weight: Loading


class PhaseThresholdRow(Row):
    stage: Stage
    phase_from: Phase
    phase_to: Phase
    threshold: float


class StageCriterionRow(Row):
    stage_from: Stage
    stage_to: Stage
    measure: Literal["adaptive_mean", "maladaptive_mean", "coiling", "core_sessions", "completed_sessions"]
    relation: Literal["above", "below", "at_least"]
    value: float
    sessions: int = Field(ge=1, description="Sessions in a row that must show it.")


class SignalRow(Row):
    name: Literal["openness", "disclosure", "resistance", "defensiveness", "overwhelm"]
    offset: float
    phase_a: float = Field(ge=0)
    phase_b: float = Field(ge=0)
    phase_c: float = Field(ge=0)
    phase_d: float = Field(ge=0)


class SignalNodeRow(Row):
    signal: str
    node: str
    weight: float


class GuidanceRow(Row):
    stage: Stage
    phase: Phase
    text: str = Field(min_length=40)


class StrategyRow(Row):
    name: str = Field(pattern=r"^(A[1-8]|B[0-5]|C[1-8])$")
    family: Literal["A", "B", "C"]
    coherence: Coherence
    voice: str


class StrategyNodeRow(Row):
    strategy: str
    node: str
    shift: Adaptation


class ConcernRow(Row):
    name: str
    opening: str = Field(min_length=10)
    history: str = Field(min_length=10)


class ConcernNodeRow(Row):
    concern: str
    node: str
    shift: Adaptation


class NameRow(Row):
    name: str


class VoiceRow(Row):
    stage: str = Field(
        pattern=r"^(any|[1-4]|1-2|1-3|2-3|2-4|3-4)$", description="Stages of treatment it is written for: any, 4, 2-3."
    )
    phase: Phase
    coherence: Literal["odd", "even", "balanced", "any"]
    moment: Literal["ordinary", "moved", "hurt", "mended", "opening", "closing"]
    concern: str
    line: str = Field(min_length=3)

    @property
    def stages(self) -> tuple[int, ...]:
        """The stages, 1..4, in which the line may be said."""
        if self.stage == "any":
            return (1, 2, 3, 4)
        return tuple(range(int(self.stage[0]), int(self.stage[-1]) + 1))


Distortion = Annotated[Annotated[str, Field(pattern=r"^They .+\.$")] | None, BeforeValidator(_empty_is_none)]


class StrengthRow(Row):
    name: str = Field(pattern=r"^[a-z][a-z_-]*$")
    virtue: Literal["wisdom", "courage", "humanity", "justice", "temperance", "transcendence"]
    relevance: float = Field(gt=0, le=1, description="Odds of being one of a person's own strengths.")
    accessible: str = Field(pattern=r"^They .+\.$", description="How it shows when it is genuine (paper 1309).")
    blocked: str = Field(pattern=r"^They .+\.$", description="... when it is longed for and feared (paper 1310).")
    shadow: str = Field(pattern=r"^They .+\.$", description="... when it serves a defence (paper 1311).")
    lever: str = Field(min_length=40, description="Where a therapist can begin, without praise (paper 1312, 1318).")
    repair: str = Field(min_length=40, description="How a person with this strength mends a break (paper 1313).")
    distortion: Distortion = Field(
        description="The shadow under extreme narcissism; empty: not prone (paper 1320-1326)."
    )
    accessible_1: Unit
    accessible_2: Unit
    accessible_3: Unit
    accessible_4: Unit
    blocked_1: Unit
    blocked_2: Unit
    blocked_3: Unit
    blocked_4: Unit
    shadow_1: Unit
    shadow_2: Unit
    shadow_3: Unit
    shadow_4: Unit


class StrengthNodeRow(Row):
    strength: str
    leans_on: str = Field(description="A node of nodes.csv.")
    weight: float = Field(gt=0, le=1)
    feeds: Literal["blocked", "shadow"] = Field(description="What becomes of the strength when the node is in trouble.")
    why: str = Field(min_length=10)


class NarcissismNodeRow(Row):
    shown_by: str = Field(description="A node of nodes.csv.")
    end: Literal["low", "high"] = Field(description="Which end of the node's range shows narcissism.")
    why: str = Field(min_length=10)


TABLES: dict[str, type[Row]] = {
    "domains": DomainRow,
    "nodes": NodeRow,
    "sensitivities": SensitivityRow,
    "edges": EdgeRow,
    "roles": RoleRow,
    "buckets": BucketRow,
    "bucket_scores": BucketScoreRow,
    "bucket_nodes": BucketNodeRow,
    "loa": LoaRow,
    "loa_scores": LoaScoreRow,
    "loa_thresholds": LoaThresholdRow,
    "axes": AxisRow,
    "axis_scores": AxisScoreRow,
    "phase_thresholds": PhaseThresholdRow,
    "stage_criteria": StageCriterionRow,
    "signals": SignalRow,
    "signal_nodes": SignalNodeRow,
    "guidance": GuidanceRow,
    "strategies": StrategyRow,
    "strategy_nodes": StrategyNodeRow,
    "concerns": ConcernRow,
    "concern_nodes": ConcernNodeRow,
    "names": NameRow,
    "voice": VoiceRow,
    "strengths": StrengthRow,
    "strength_nodes": StrengthNodeRow,
    "narcissism_nodes": NarcissismNodeRow,
}
