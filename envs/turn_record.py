"""One recorded turn: the schema of a line of a recording, and the line of one step.

The five components of the paper's turn (paper 240) are `client_reasoning`, `client`, `therapist_model`, `therapist_reasoning`
and `therapist`; beside them stand the judge's view, the reward, and the client before and after. `TurnRecord` lists every
field with its range; `TurnRecord.model_json_schema()` is the same as a JSON Schema. A value that is no finite number is null.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from client_graph.client import ClientGraph
from client_graph.names import DIMENSIONS, PHASES
from envs.trace import bucket_trace, composite_trace, modifier_trace, moved_nodes, phase_trace
from judges.protocol import Assessment, Judgement
from rewards.settings import RewardSettings

LONGEST = 8_000  # characters of any one text of a record, as in the environment's own spaces
MISREAD = 10  # nodes of `worst_misread`
DIGITS = 6  # decimals that a record keeps

Number = float | None
Levels = dict[str, Number]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Misread(_Part):
    """A node that the therapist saw otherwise than it was."""

    node: str
    belief: Number = Field(description="What the therapist believed, in [0, 10].")
    truth: Number = Field(description="What was true, in [0, 10].")


class TherapistModel(_Part):
    """M^T, what the therapist believed of the client when they replied."""

    beliefs: Levels = Field(description="Believed level of every node, in [0, 10].")
    worst_misread: tuple[Misread, ...] = Field(description="Where belief and truth differed most, most first.")
    attunement: Number = Field(description="How near belief was to truth, in [0, 1].")


class View(_Part):
    """One persona's view of the reply."""

    scores: Levels = Field(description="In [0, 10], by dimension.")
    reasons: dict[str, str] = Field(description="A sentence for each score.")
    narrative: str
    critical_moments: tuple[str, ...]
    recommendations: tuple[str, ...]


class Broken(_Part):
    """Something a reply must not do, found by the screen; it is charged by the reward part `violations`."""

    kind: str = Field(description="A kind of configs/judges/violations.csv.")
    evidence: str = Field(description="The words or the count that show it.")
    share: float = Field(1.0, ge=0, le=1, description="How much of the kind's weight it has.")


class Judged(_Part):
    """Both personas' views; the score that is used is their mean."""

    composite: Number = Field(description="The stage composite: the mean score, weighted for the stage, in [0, 10].")
    violations: tuple[Broken, ...] = Field((), description="What the screen found; none where the source kept none.")
    kind: View
    harsh: View


class Standing(_Part):
    """The client as they stood; null where the source did not keep it."""

    phase: str = Field(description="A, B, C or D.")
    stage: int = Field(ge=1, le=4, description="Stage of treatment.")
    stance: str = Field(description="The stance that the client asks for.")
    coiling: Number = Field(description="Weighted mean distance from health, in [0, 1].")
    alliance: Number = Field(description="In [0, 1].")
    attunement: Number = Field(description="In [0, 1].")
    levels: Levels | None = Field(description="Every node, in [0, 10].")
    buckets: Levels = Field(description="Affective reservoirs, in [0, 1].")
    axes: Levels = Field(description="TAIE axes, in [-10, 10].")
    loa: Levels = Field(description="Levels of Adaptation, in [-10, 10].")


class After(Standing):
    """The client after the turn, and what the turn came to."""

    client: str = Field(description="The client's answer; where the session ended, the farewell.")
    client_reasoning: str | None = Field(description="What goes with them and is not said.")
    phase_score: Number = Field(description="What was held against the thresholds of the phase.")
    phase_step: int = Field(ge=-1, le=1)
    rupture: bool
    transformation: Number = Field(description="In [0, 1].")
    signals: Levels = Field(description="What shows of the client, in [0, 10].")
    ending: str | None = Field(
        description="How the session ended: left, closed_well, turn_limit; null while it goes on."
    )
    treatment_ending: str | None = Field(None, description="How a treatment ended, in the turn that ended it.")
    stage_step: int | None = Field(None, description="What the session's end did to the stage: -1, 0, 1.")
    session_measures: Levels | None = Field(None, description="What the stage criteria were held against.")


class Cause(_Part):
    """What one judge dimension, edge or bucket did."""

    source: str
    type: str = Field(description="direct, one of the eight edge types, or bucket.")
    contribution: Number = Field(description="In the level points of the node.")
    how: str
    why: str


class Moved(_Part):
    """A node that the turn moved: before + causes + other_edges + clipped = after, in level points, to rounding."""

    node: str
    domain: str
    direction: str
    before: Number = Field(description="In [0, 10].")
    after: Number = Field(description="In [0, 10].")
    toward_health: Number = Field(description="How much less tight the node became, in [-1, 1].")
    phase_points: Number = Field(description="What that added to the phase score.")
    phase_weight: Number = Field(None, description="How far the phase let the judge's scores through, in [0, 1].")
    engagement: Number = Field(None, description="In (0, 1].")
    bq: Number = Field(None, description="In [0, 10]; resistance is 1 / (1 + bq).")
    causes: tuple[Cause, ...] | None = Field(None, description="Scores, the largest edges, buckets.")
    other_edges: Number = Field(None, description="All smaller edges together, in level points.")
    other_edges_count: int | None = None
    clipped: Number = Field(None, description="What the bounds took, in level points.")


class BucketTrace(_Part):
    """A reservoir that the turn moved: the parts and `clipped` add up to after - before."""

    before: Number
    after: Number
    parts: Levels = Field(description="By judge dimension.")
    clipped: Number
    phase_points: Number = Field(description="What the change added to the phase score.")


class PhaseTrace(_Part):
    """The phase score: earlier + buckets + nodes = score."""

    score: Number
    earlier: Number = Field(description="Points of the turns before, since the phase was entered.")
    buckets: Number = Field(description="Points of this turn through the reservoirs.")
    nodes: Number = Field(description="Points of this turn through the nodes' coiling.")
    alliance_factor: Number = Field(description="0.7 + 0.6 alliance, already in the points.")
    forward_at: Number = Field(description="The score that leads on; null in phase D.")
    back_at: Number = Field(description="The score that leads back; null in phase A.")


class Trace(_Part):
    """Where the points of the turn came from, beside `moved`."""

    composite: Levels = Field(description="Reward points by judge dimension; they add up to reward_parts.composite.")
    modifiers: Levels = Field(description="Reward points by name of the stage's bonus or penalty.")
    buckets: dict[str, BucketTrace] = Field(description="Reservoirs that moved.")
    phase: PhaseTrace


class TurnRecord(_Part):
    """One turn, whole. Fields that a poorer source does not keep are null; a recording keeps them all."""

    form: Literal["icarus-turn-1"] = Field("icarus-turn-1", description="The schema of this line.")
    treatment: int = Field(ge=1, description="Which client of the recording, from 1.")
    session: int = Field(ge=1, description="Which session of the treatment, from 1.")
    turn: int = Field(ge=1, description="Which turn of the session, from 1.")
    person: dict[str, Any] = Field(description="Who the client is: client_graph.personhood.Person.")
    client: str = Field(description="U^C, what the client had said.")
    client_reasoning: str | None = Field(description="tau^C; null where the source does not keep it.")
    therapist_model: TherapistModel | None
    therapist_reasoning: str = Field(description="Theta^T, unspoken; it may be empty.")
    therapist: str = Field(description="U^T, what the therapist said.")
    judgement: Judged
    reward: Number = Field(description="As the recorded environment gave it, in points.")
    reward_parts: Levels = Field(description="By name, in points.")
    before: Standing | None
    after: After
    moved: tuple[Moved, ...] | None = Field(description="The nodes that moved most, most first.")
    trace: Trace | None


def plain(value: Any) -> Any:
    """JSON values of a record: numbers to DIGITS decimals, null for what is none; texts over LONGEST are cut, and say so."""
    if isinstance(value, str):
        return value if len(value) <= LONGEST else f"{value[:LONGEST]} [cut here: {len(value)} characters]"
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return round(value, DIGITS) + 0.0 if math.isfinite(value) else None
    return value


def standing(view: ClientGraph) -> dict[str, Any]:
    """The fields of `Standing`."""
    names = ("phase", "stage", "stance", "coiling", "alliance", "attunement", "levels", "buckets", "axes", "loa")
    return {name: getattr(view, name) for name in names}


def therapist_model(view: ClientGraph) -> dict[str, Any]:
    """The fields of `TherapistModel`."""
    misread = [
        {"node": node, "belief": view.beliefs[node], "truth": view.levels[node]}
        for node, _ in view.worst_misread(MISREAD)
    ]
    return {"beliefs": view.beliefs, "worst_misread": misread, "attunement": view.attunement}


def judged(judgement: Judgement, composite: float) -> dict[str, Any]:
    """The fields of `Judged`; `composite` is the stage composite."""
    return {
        "composite": composite,
        "violations": [asdict(found) for found in judgement.violations],
        "kind": _view(judgement.kind),
        "harsh": _view(judgement.harsh),
    }


def _view(view: Assessment) -> dict[str, Any]:
    return {
        "scores": dict(zip(DIMENSIONS, view.scores.tolist(), strict=True)),
        "reasons": dict(zip(DIMENSIONS, view.reasons, strict=True)),
        "narrative": view.narrative,
        "critical_moments": view.critical_moments,
        "recommendations": view.recommendations,
    }


def turn_facts(
    before: ClientGraph,
    after: ClientGraph,
    answer: Mapping[str, Any],
    info: Mapping[str, Any],
    reward: RewardSettings,
    moved: int,
) -> dict[str, Any]:
    """The fields of `TurnRecord` that follow from the client and the step's info; `after` is `before.after(scores)`."""
    report = after.report
    assert report is not None
    ended = info.get("session_ended", info)  # a treatment goes on in the same step: its info tells of the next session
    trace = {
        "composite": composite_trace(info["scores"], before.stage, info["reward_parts"]["composite"]),
        "modifiers": modifier_trace(info["scores"], before.stage, reward),
        "buckets": bucket_trace(after),
        "phase": phase_trace(after),
    }
    then = standing(after) | {
        "client": str(ended.get("farewell", answer["client"])),
        "client_reasoning": ended.get("farewell_reasoning", info["client_reasoning"]),
        "phase": PHASES[after.state.phase[0]],
        "phase_score": float(report.phase_score[0]),
        "phase_step": int(report.phase_step[0]),
        "rupture": bool(report.rupture[0]),
        "transformation": float(report.transformation[0]),
        "signals": after.signals,
        "treatment_ending": info.get("treatment_ending"),
        **{name: ended.get(name) for name in ("ending", "stage_step", "session_measures")},
    }
    return {
        "therapist_model": therapist_model(before),
        "judgement": judged(info["judgement"], info["stage_composite"]),
        "reward_parts": info["reward_parts"],
        "before": standing(before),
        "after": then,
        "moved": moved_nodes(after, moved),
        "trace": trace,
    }
