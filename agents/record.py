"""A turn as one line of turns.jsonl, and as TensorBoard scalars: every number of every turn."""

import dataclasses
import math
from typing import Any

import numpy as np

from agents.guards import distinct, finite
from agents.learner import StepReport
from agents.lm.device import mx
from agents.lm.generate import Completion
from agents.self_play import TurnResult
from client_graph.catalog import Catalog
from client_graph.names import AXES, DIMENSIONS, LOA_DIMENSIONS
from envs.types import Outcome
from judges.api.ledger import Spending
from judges.protocol import Assessment, JudgeFailure


def turn_record(result: TurnResult, session: int, turn: int, total: int, catalog: Catalog) -> dict[str, Any]:
    """The line; its times stand alone under "seconds", the only part that two equal runs may differ in."""
    info, report = result.info, result.outcome.report
    return {
        "session": session,
        "turn": turn,
        "total_turn": total,
        "person": dataclasses.asdict(info["person"]),
        "client": result.client,
        "therapist": _completion(result.reply),
        "judgement": _judged(result.outcome),
        "reward": result.reward,
        "reward_parts": info["reward_parts"],
        "corrected": {**_completion(result.corrected), "judgement": _judged(result.corrected_outcome)},
        "rlaif": _step(result.rlaif, result.rlaif_skipped) | {"modifier": result.modifier},
        "candidates": [
            {**_completion(said), "judgement": _judged(found, with_reasons=False)}
            for said, found in zip(result.candidates, result.candidate_outcomes, strict=True)
        ],
        "grpo": _step(result.grpo.step if result.grpo else None, result.grpo_skipped)
        | (
            {
                "advantages": [finite(a) for a in result.grpo.advantages],
                "kl": finite(result.grpo.kl),
                "entropy": finite(result.grpo.entropy),
            }
            if result.grpo
            else {}
        ),
        "after": {
            "client": result.observation["client"],
            "client_reasoning": info["client_reasoning"],
            "phase": info["phase"],
            "deepest_phase": info["deepest_phase"],
            "phase_score": info["phase_score"],
            "phase_step": info["phase_step"],
            "stage": int(result.observation["stage"]),
            "stance": int(result.observation["stance"]),
            "coiling": info["coiling"],
            "alliance": info["alliance"],
            "attunement": info["attunement"],
            "worst_misread": info["worst_misread"],
            "transformation": info["transformation"],
            "rupture": info["rupture"],
            "signals": info["signals"],
            "beliefs": dict(zip(catalog.node_names, result.observation["beliefs"].tolist(), strict=True)),
            "change": {
                "buckets": dict(zip(catalog.bucket_names, report.buckets[0].tolist(), strict=True)),
                "loa": dict(zip(LOA_DIMENSIONS, report.loa[0].tolist(), strict=True)),
                "adaptation_events": dict(zip(LOA_DIMENSIONS, report.adaptation_events[0].tolist(), strict=True)),
                "axes": dict(zip(AXES, report.axes[0].tolist(), strict=True)),
                "axis_trend": int(report.axis_trend[0]),
                "attunement": float(report.attunement_change[0]),
                "transformation": float(report.transformation_change[0]),
            },
            "levels": dict(zip(catalog.node_names, info["levels"].tolist(), strict=True)),
            "buckets": dict(zip(catalog.bucket_names, info["buckets"].tolist(), strict=True)),
            "loa": dict(zip(LOA_DIMENSIONS, info["loa"].tolist(), strict=True)),
            "axes": dict(zip(AXES, info["axes"].tolist(), strict=True)),
            "ending": info["ending"],
            "stage_step": info.get("stage_step"),
            "session_measures": info.get("session_measures"),
        },
        "seconds": result.seconds,
    }


def scalars(result: TurnResult) -> dict[str, float]:
    """What TensorBoard draws over the turns."""
    info = result.info
    found = {
        "score/composite": result.outcome.stage_composite,
        "score/mean": result.outcome.judgement.composite,
        "score/violations": float(len(result.outcome.judgement.violations)),
        "score/kind_harsh_gap": float(result.outcome.judgement.gap.mean()),
        "reward/total": result.reward,
        **{f"reward/{name}": value for name, value in info["reward_parts"].items()},
        **{f"dimension/{name}": float(s) for name, s in zip(DIMENSIONS, info["scores"], strict=True)},
        "client/coiling": info["coiling"],
        "client/alliance": info["alliance"],
        "client/attunement": info["attunement"],
        "client/phase": float("ABCD".index(info["phase"])),
        "client/transformation": info["transformation"],
        "talk/tokens": float(len(result.reply.tokens)),
        "talk/finished": float(result.reply.finished),
        "time/turn_seconds": sum(result.seconds.values()),
        "time/tokens_a_second": _tokens(result) / max(sum(result.seconds.values()), 1e-9),
    }
    if (different := distinct([result.reply.text], 2)) is not None:
        found["talk/distinct_pairs"] = different
    if result.rlaif:
        found |= {"rlaif/loss": result.rlaif.loss, "rlaif/norm": result.rlaif.norm}
    if result.grpo:
        found |= {"grpo/loss": result.grpo.step.loss, "grpo/norm": result.grpo.step.norm, "grpo/kl": result.grpo.kl}
        found["grpo/entropy"] = result.grpo.entropy
        found |= {f"grpo_norm/{kind}": norm for kind, norm in result.grpo.step.norms.items()}
        spread = [o.stage_composite for o in result.candidate_outcomes if isinstance(o, Outcome)]
        found["grpo/score_spread"] = float(np.std(spread))
    return {name: value for name, value in found.items() if math.isfinite(value)}


def spending_scalars(spent: Spending | None) -> dict[str, float]:
    """What the judge has cost the run so far, as TensorBoard draws it; nothing where it costs nothing."""
    if spent is None:
        return {}
    found = {"judge/tokens": float(spent.used.tokens), "judge/lost_tokens": float(spent.lost.tokens)}
    return found if spent.cost is None else found | {"judge/cost": spent.cost}


def _tokens(result: TurnResult) -> int:
    """Tokens that the therapist spoke in a turn."""
    return sum(len(said.response) for said in (result.reply, result.corrected, *result.candidates))


def memory_scalars() -> dict[str, float]:
    """What MLX holds, in GB: active now, and the most since the last turn."""
    found = {"memory/active_gb": mx.get_active_memory() / 1e9, "memory/peak_gb": mx.get_peak_memory() / 1e9}
    mx.reset_peak_memory()
    return found


def _completion(said: Completion) -> dict[str, Any]:
    return {"text": said.text, "tokens": said.tokens, "stop": said.stop}


def _step(step: StepReport | None, skipped: str | None) -> dict[str, Any]:
    if step is None:
        return {"skipped": skipped}
    return {
        "loss": finite(step.loss),
        "norm": finite(step.norm),
        "norms": {kind: finite(norm) for kind, norm in step.norms.items()},
        "applied": step.applied,
    }


def _judged(found: Outcome | JudgeFailure, with_reasons: bool = True) -> dict[str, Any]:
    if isinstance(found, JudgeFailure):
        return {"failure": found.reason}
    return {
        "composite": found.stage_composite,
        "mean": found.judgement.composite,
        "violations": [dataclasses.asdict(each) for each in found.judgement.violations],
        "reward": found.reward,
        "reward_parts": found.parts.of(0),
        "kind": _assessment(found.judgement.kind, with_reasons),
        "harsh": _assessment(found.judgement.harsh, with_reasons),
    }


def _assessment(view: Assessment, with_reasons: bool) -> dict[str, Any]:
    scores = {"scores": dict(zip(DIMENSIONS, view.scores.tolist(), strict=True))}
    return (
        scores
        if not with_reasons
        else {
            **scores,
            "reasons": dict(zip(DIMENSIONS, view.reasons, strict=True)),
            "narrative": view.narrative,
            "critical_moments": list(view.critical_moments),
            "recommendations": list(view.recommendations),
        }
    )
