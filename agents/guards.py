"""When a run pauses by itself: what a person who watched it would call the end of the talk, as numbers over the last turns.

Reward is not among them. A score that rises while these fall is how a judge is talked into marks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from agents.self_play import TurnResult
from agents.settings import GuardPart
from envs.types import Outcome
from judges.protocol import JudgeFailure

GARBLED = ("garbled", "empty")  # kinds of the screen's violations


@dataclass(frozen=True)
class Seen:
    """What the guards keep of a turn. kl, entropy: None where no GRPO step was taken. spoken: replies and candidates, of which
    `garbled`; judged: judgements asked for, of which `failed`.
    """

    reply: str
    kl: float | None
    entropy: float | None
    spoken: int
    garbled: int
    judged: int
    failed: int
    broken: bool = False  # the divergence was no number: e^-Δ past what a float holds

    @classmethod
    def of(cls, turn: TurnResult) -> Seen:
        """What a turn showed."""
        said = [turn.reply, *turn.candidates]
        found: list[Outcome | JudgeFailure] = [turn.outcome, turn.corrected_outcome, *turn.candidate_outcomes]
        heard = [turn.outcome, *turn.candidate_outcomes]
        return cls(
            reply=turn.reply.text,
            kl=finite(turn.grpo.kl) if turn.grpo else None,
            entropy=finite(turn.grpo.entropy) if turn.grpo else None,
            broken=turn.grpo is not None and not math.isfinite(turn.grpo.kl),
            spoken=len(said),
            garbled=sum(
                not one.text.strip() or (isinstance(o, Outcome) and is_garbled(o))
                for one, o in zip(said, heard, strict=True)
            ),
            judged=len(found),
            failed=sum(isinstance(each, JudgeFailure) for each in found),
        )


def is_garbled(outcome: Outcome) -> bool:
    """Whether the screen found the reply garbled or empty."""
    return any(found.kind in GARBLED for found in outcome.judgement.violations)


def finite(value: float) -> float | None:
    """The number, or None for one that is none: JSON has no NaN, and a record must not fail for it."""
    return value if math.isfinite(value) else None


class Guard:
    """The last turns of a run, and whether they are an alarm."""

    def __init__(self, settings: GuardPart) -> None:
        self._settings = settings
        self._turns: list[Seen] = []

    def alarm(self, turn: Seen) -> str | None:
        """Why the run should pause after this turn, or None. After an alarm the window begins anew, so a run can go on."""
        self._turns = [*self._turns, turn][-self._settings.window :]
        if len(self._turns) < self._settings.window:
            return None
        reasons = [
            f"{what}: found {found:.3g} over the last {self._settings.window} turns, {bound} {limit:g} is allowed; {cure}"
            for what, found, bound, limit, cure in self._measures()
            if (found > limit if bound == "at most" else found < limit)
        ]
        if not reasons:
            return None
        self._turns = []
        return "; and ".join(reasons) + ". Read the last replies in turns.jsonl before going on"

    def _measures(self) -> Iterator[tuple[str, float, str, float, str]]:
        """(what, found, bound, limit, what to try) of every guard that is on and has something to look at."""
        s, turns = self._settings, self._turns
        kl = [seen.kl for seen in turns if seen.kl is not None]
        entropy = [seen.entropy for seen in turns if seen.entropy is not None]
        slower = "lower optimizer.learning_rate or raise grpo.kl_weight in the run folder's settings.toml"
        if s.most_kl is not None and (kl or any(seen.broken for seen in turns)):
            mean = math.inf if any(seen.broken for seen in turns) else float(np.mean(kl))
            yield "divergence from the reference, nats a reply", mean, "at most", s.most_kl, slower
        if s.least_entropy is not None and entropy:
            yield "entropy, nats a token", float(np.mean(entropy)), "at least", s.least_entropy, slower
        pairs = distinct([seen.reply for seen in turns], 2)
        if s.least_distinct is not None and pairs is not None:
            yield "different word pairs of the replies", pairs, "at least", s.least_distinct, slower
        garbled = sum(seen.garbled for seen in turns) / sum(seen.spoken for seen in turns)
        if s.most_garbled is not None:
            yield "garbled or empty replies", garbled, "at most", s.most_garbled, "lower the temperatures, or " + slower
        failed = sum(seen.failed for seen in turns) / sum(seen.judged for seen in turns)
        if s.most_unjudged is not None:
            yield "judgements that failed", failed, "at most", s.most_unjudged, "see to the judge"

    def state(self) -> list[dict[str, Any]]:
        """For JSON: all that going on needs."""
        return [asdict(seen) for seen in self._turns]

    def restore(self, state: list[dict[str, Any]]) -> None:
        """Go on where `state` was taken."""
        self._turns = [Seen(**seen) for seen in state]


def distinct(texts: list[str] | tuple[str, ...], n: int) -> float | None:
    """Different n-grams of words over all n-grams of `texts`, in [0, 1]; None where there is none."""
    grams = [
        tuple(words[i : i + n]) for text in texts for words in [text.lower().split()] for i in range(len(words) - n + 1)
    ]
    return len(set(grams)) / len(grams) if grams else None
