"""One turn of self-play, from the client's words to two optimizer steps, in the paper's order (417-431, 459-471)."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from agents.learner import THERAPIST, GrpoReport, Learner, StepReport
from agents.lm.device import mx
from agents.lm.generate import Completion
from agents.settings import Settings
from agents.therapist import Therapist, spoken
from envs.session import SessionEnv
from envs.types import Outcome
from judges.protocol import JudgeFailure


@dataclass
class TurnResult:
    """All that happened in a turn. `rlaif` and `grpo` are None where the step was left out, with the reason beside it."""

    client: str
    reply: Completion
    outcome: Outcome
    corrected: Completion
    corrected_outcome: Outcome | JudgeFailure
    rlaif: StepReport | None
    rlaif_skipped: str | None
    candidates: list[Completion]
    candidate_outcomes: list[Outcome | JudgeFailure]
    grpo: GrpoReport | None
    grpo_skipped: str | None
    modifier: float
    observation: dict[str, Any]
    reward: float
    terminated: bool
    truncated: bool
    info: dict[str, Any]
    seconds: dict[str, float] = field(default_factory=dict)


class Stopwatch:
    """Seconds by name of what a turn spends its time on."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


GRAVE = 0.25  # share of the full charge from which a reply is never preferred: a lexicon's guess costs less


class TurnUnjudged(RuntimeError):
    """The reply that the client should hear has no score, also on a second try; nothing was changed."""


def play_turn(
    env: SessionEnv,
    therapist: Therapist,
    learner: Learner,
    observation: dict[str, Any],
    key: mx.array,
    settings: Settings,
    watch: Stopwatch,
) -> TurnResult:
    """Play one turn in `env` and learn from it; the environment is stepped once, with the reply."""
    therapist.forget()  # the last turn has moved the policy
    reply_key, correction_key, candidates_key = mx.random.split(key, 3)
    prompt = therapist.prompt(observation, env.history)

    with learner.sets.role(THERAPIST), watch("reply"):
        reply = therapist.reply(prompt, reply_key)
    with watch("judge"):
        outcome = env.evaluate([spoken(reply)])[0]
    if isinstance(outcome, JudgeFailure):
        raise TurnUnjudged(f"judge {env.judge.name} gave no score: {outcome.reason}")

    # RLAIF: both judges' feedback, a second attempt, and a step from the first toward the second.
    with learner.sets.role(THERAPIST), watch("correction"):
        corrected = therapist.corrected(
            prompt, spoken(reply), outcome.judgement, settings.rlaif.temperature, correction_key
        )
    with watch("judge"):
        corrected_outcome = env.evaluate([spoken(corrected)])[0]
    modifier = treatment_modifier(outcome)
    rlaif, rlaif_skipped = None, why_no_rlaif(reply, outcome, corrected, corrected_outcome, settings)
    if rlaif_skipped is None:
        with learner.sets.role(THERAPIST), watch("rlaif step"):
            rlaif = learner.rlaif_step(prompt.tokens, corrected.response, reply.response, modifier, settings.rlaif)
        therapist.forget()
    elif learner.idle_step().applied:  # what other ranks have learned
        therapist.forget()

    # GRPO: K candidates of the policy as it now is, judged against the same client, and a step toward the better ones.
    with learner.sets.role(THERAPIST), watch("candidates"):
        candidates = therapist.candidates(prompt, settings.grpo.temperatures, candidates_key)
    with watch("judge"):
        judged = env.evaluate([spoken(candidate) for candidate in candidates])
    grpo, grpo_skipped = None, why_no_grpo(candidates, judged, settings)
    if grpo_skipped is None:
        scores = [_score(found, settings.grpo.score) for found in judged]
        with learner.sets.role(THERAPIST), watch("grpo step"):
            said = [candidate.response for candidate in candidates]
            barred = [breaks_frame(found, settings) for found in judged]
            grpo = learner.grpo_step(prompt.tokens, said, scores, settings.grpo, barred)
    else:
        for _ in range(settings.grpo.iterations):
            learner.idle_step()

    learner.expect_frozen()  # nothing above may have touched client, judge or reference
    with watch("client"):
        following, reward, terminated, truncated, info = env.step(spoken(reply))
    return TurnResult(
        client=prompt.client, reply=reply, outcome=outcome, corrected=corrected, corrected_outcome=corrected_outcome,
        rlaif=rlaif, rlaif_skipped=rlaif_skipped, candidates=candidates, candidate_outcomes=judged, grpo=grpo,
        grpo_skipped=grpo_skipped, modifier=modifier, observation=following, reward=reward, terminated=terminated,
        truncated=truncated, info=info, seconds=watch.seconds,
    )  # fmt: skip


def treatment_modifier(outcome: Outcome) -> float:
    """How urgent the correction is, in [0.5, 1.5] (paper 450 names phase shift and attunement delta, and no formula).

    m = 1 - 0.5 · phase step - 5 · attunement change, kept in range: a reply that set the client back makes its correction
    weigh more, one that opened the client makes it weigh less.
    """
    m = 1.0 - 0.5 * float(outcome.report.phase_step[0]) - 5.0 * float(outcome.report.attunement_change[0])
    return min(1.5, max(0.5, m))


def why_no_rlaif(
    reply: Completion, outcome: Outcome, corrected: Completion, judged: Outcome | JudgeFailure, settings: Settings
) -> str | None:
    """Why the RLAIF step is left out, or None."""
    if settings.rlaif.weight == 0.0:
        return "weight 0"
    if not reply.tokens or not corrected.tokens:
        return "an empty reply"
    if reply.tokens == corrected.tokens:
        return "the correction is the reply"
    if isinstance(judged, JudgeFailure):
        return f"the correction has no score: {judged.reason}"
    if breaks_frame(judged, settings):
        return f"the correction breaks the frame: {', '.join(found.kind for found in judged.judgement.violations)}"
    if settings.rlaif.only_if_better and _score(judged, "composite") <= _score(outcome, "composite"):
        return "the correction is not better"
    return None


def breaks_frame(found: Outcome | JudgeFailure, settings: Settings) -> bool:
    """Whether the screen is sure that a reply is garbled, empty or breaks the frame: it is never preferred to anything."""
    return isinstance(found, Outcome) and float(found.parts.violations[0]) < GRAVE * settings.reward.violation


def why_no_grpo(
    candidates: Sequence[Completion], judged: Sequence[Outcome | JudgeFailure], settings: Settings
) -> str | None:
    """Why the GRPO step is left out, or None. A group with an invalid score is masked as a whole."""
    if settings.grpo.weight == 0.0:
        return "weight 0"
    if not all(candidate.tokens for candidate in candidates):
        return "an empty candidate"
    failed = [found.reason for found in judged if isinstance(found, JudgeFailure)]
    if failed:
        return f"a candidate has no score: {failed[0]}"
    if settings.grpo.drop_equal and len({_score(found, settings.grpo.score) for found in judged}) == 1:
        return "all candidates have one score"
    return None


def _score(found: Outcome | JudgeFailure, by: str) -> float:
    """What ranks a reply: the whole reward, or the stage-weighted composite less what violations cost."""
    assert not isinstance(found, JudgeFailure)
    return found.reward if by == "reward" else found.stage_composite + float(found.parts.violations[0])
