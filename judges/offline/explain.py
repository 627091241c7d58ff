"""Say how a calculated score came about, in sentences: nearest examples, the gate's findings, the rubric's advice.

Nothing here is written by a model, and nothing the policy wrote is quoted: only authored texts and numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from client_graph.names import DIMENSIONS
from judges.offline.examples import Examples
from judges.offline.fit import Fit
from judges.protocol import Assessment
from judges.rubric import rubric

QUOTED = 70  # characters of an example that are quoted
WEAK, STRONG = 3.5, 6.5  # where a score begins to harm and to help (paper line 349)
ADVICE = 3  # recommendations: the weakest dimensions


@dataclass(frozen=True, eq=False)
class Evidence:
    """What the scores were calculated from: for each dimension the fitted row that raised it most and the one that lowered it
    most, (12,) each; the same for the mean; gate in [0, 1], and the findings that closed it, the worst first.

    replies (m,) the example in each fitted row; scores (m, 12) its aim.
    """

    raised: np.ndarray
    lowered: np.ndarray
    spoke_for: int
    against: int
    replies: np.ndarray
    scores: np.ndarray
    gate: float
    findings: tuple[str, ...]


def evidence_of(fit: Fit, likeness: np.ndarray, gate: float, found: Sequence[str]) -> Evidence:
    """The evidence of an exchange whose likeness to the fitted rows is (m,)."""
    added = fit.contributions(likeness)
    overall = added.sum(axis=0)
    return Evidence(
        added.argmax(axis=1), added.argmin(axis=1), int(overall.argmax()), int(overall.argmin()), fit.replies, fit.scores, gate,
        tuple(found),
    )  # fmt: skip


def assessment(persona: str, scores: np.ndarray, evidence: Evidence, examples: Examples) -> Assessment:
    """The persona's scores (12,) with the reasons, narrative, moments and advice that belong to them."""
    return Assessment(
        scores=scores,
        reasons=tuple(_reason(i, scores[i], evidence, examples) for i in range(len(DIMENSIONS))),
        narrative=_narrative(persona, scores, evidence, examples),
        critical_moments=_moments(persona, scores, evidence),
        recommendations=_advice(scores),
    )


def _reason(dimension: int, score: float, evidence: Evidence, examples: Examples) -> str:
    raised, lowered = (
        _like(int(rows[dimension]), dimension, evidence, examples) for rows in (evidence.raised, evidence.lowered)
    )
    pulled = f"; pulled down to {evidence.gate:.0%} because {evidence.findings[0]}" if evidence.findings else ""
    return f"{DIMENSIONS[dimension]} {score:.1f}: raised by its likeness to {raised}, lowered by {lowered}{pulled}."


def _like(row: int, dimension: int, evidence: Evidence, examples: Examples) -> str:
    reply, given = _quote(examples.replies[int(evidence.replies[row])]), evidence.scores[row, dimension]
    return f"{reply} (given {given:g}: {_why(row, evidence, examples)})"


def _why(row: int, evidence: Evidence, examples: Examples) -> str:
    if row >= len(examples.replies):
        return "said to a client it was not meant for"
    return examples.whys[int(evidence.replies[row])]


def _narrative(persona: str, scores: np.ndarray, evidence: Evidence, examples: Examples) -> str:
    order = np.argsort(scores, kind="stable")
    best, worst = (_names(order[::-1][:3], scores), _names(order[:3], scores))
    spoke_for, against = (_why(row, evidence, examples) for row in (evidence.spoke_for, evidence.against))
    likeness = f"Likeness that spoke for it: {spoke_for}; against it: {against}."
    view = f"Given the benefit of the doubt: strongest in {best}; next to grow, {worst}."
    if persona == "harsh":
        view = f"Given no benefit of the doubt: it fails first in {worst}; it holds best in {best}."
    language = f" As language: {'; '.join(evidence.findings)}." if evidence.findings else ""
    return f"Mean {scores.mean():.1f} of 10. {view} {likeness}{language}"


def _moments(persona: str, scores: np.ndarray, evidence: Evidence) -> tuple[str, ...]:
    harm = [name for name, score in zip(DIMENSIONS, scores, strict=True) if score < WEAK]
    good = [name for name, score in zip(DIMENSIONS, scores, strict=True) if score > STRONG]
    moments = [f"language: {finding}" for finding in evidence.findings]
    moments += [f"the {persona} reader sees harm (below {WEAK}) in {_all_or(harm)}"] if harm else []
    moments += [f"the {persona} reader sees help (above {STRONG}) in {_all_or(good)}"] if good else []
    return tuple(moments)


def _all_or(names: Sequence[str]) -> str:
    """The names, or that they are all; of more than half, what is missing is shorter to read."""
    missing = [name for name in DIMENSIONS if name not in names]
    if not missing:
        return f"all {len(DIMENSIONS)} dimensions"
    listed = ", ".join(name.replace("_", " ") for name in (missing if len(missing) < len(names) else names))
    return f"all but {listed}" if len(missing) < len(names) else listed


def _advice(scores: np.ndarray) -> tuple[str, ...]:
    weakest = np.argsort(scores, kind="stable")[:ADVICE]
    return tuple(rubric()[i].recommendation for i in weakest)


def _names(dimensions: Sequence[int] | np.ndarray, scores: np.ndarray) -> str:
    return ", ".join(f"{DIMENSIONS[i]} ({scores[i]:.1f})" for i in dimensions)


def _quote(text: str) -> str:
    if len(text) <= QUOTED:
        return f'"{text}"'
    return f'"{text[:QUOTED].rsplit(" ", 1)[0]} ..."'
