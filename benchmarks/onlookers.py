"""What looks on while a policy is trained, and takes no part: what a reader would ask of its replies, as numbers.

answers = 1/T (log p(reply | client) - mean over three other clients of log p(reply | other))      nats a token, frozen base
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from agents.guards import distinct
from agents.judge import FrozenLikelihood
from agents.learner import FROZEN
from agents.lm.adapters import AdapterSets
from agents.lm.models import LoadedModel
from benchmarks.intervals import interval
from judges.calibration.referee import Referee
from judges.likelihood import WithLikelihood
from judges.memory import Memory, WithMemory
from judges.offline.minilm import SentenceEncoder
from judges.pairs import PAIRS, read_pairs
from judges.protocol import Exchange, Judge, Judgement
from judges.screening.screen import Screen, Screened
from rewards.settings import RewardSettings

OTHERS = (5, 11, 17)  # the other clients are so many further on


@dataclass(frozen=True)
class Scored:
    """One reply: what it earned (None where the judge failed), the violations' kinds."""

    client: str
    reply: str
    score: float | None
    violations: tuple[str, ...] = ()


@dataclass(frozen=True)
class Look:
    """A policy on clients never trained on; means over the replies, and each reply's numbers for who compares them."""

    step: int
    reward: float  # as in training, points
    referee: float  # the second judge's, 0 to 10
    base_logprob: float  # nats a token under the frozen base
    answers: float  # nats a token that this client's words add, beside other clients'
    distinct_2: float  # different word pairs over one reply to each client, in [0, 1]
    alike: float  # mean cosine between replies to different clients: 1 says the same to everybody
    charged: float  # share of replies in which the screen finds a violation; stencils and the unlikely are none of its
    words: float
    replies: tuple[Scored, ...]
    each: dict[str, list[float]]  # of each reply: reward (nan where unscored), referee, base_logprob, answers, charged


class Onlookers:
    """The judge that rewards, with its screen and the frozen base's likelihood; and the referee, who never does.

    base: the adapter set of `sets` whose likelihood is asked for.
    """

    def __init__(
        self, judge: Judge, loaded: LoadedModel, sets: AdapterSets, encoder: SentenceEncoder, base: str = FROZEN
    ) -> None:
        self._encoder = encoder
        self._likelihood = FrozenLikelihood(loaded, sets, base)
        self._screen = Screen(encoder.vocabulary())
        self.memory = Memory()  # of what is said in training: it tells what is said to everybody
        forgetful = WithLikelihood(Screened(judge, screen=self._screen), self._likelihood)
        self._judge: Judge = WithMemory(forgetful, self.memory)
        self._referee = Referee()
        self._charge = RewardSettings().violation
        self.accuracy = self._referee.accuracy()

    def scored(self, exchanges: Sequence[Exchange]) -> list[Scored]:
        """What each reply earns: the mean of the twelve scores, less what violations cost."""
        return [
            self._earned(e, a) if isinstance(a, Judgement) else Scored(e.client, e.therapist, None)
            for e, a in zip(exchanges, self._judge.judge(exchanges), strict=True)
        ]

    def _earned(self, exchange: Exchange, judgement: Judgement) -> Scored:
        worth = judgement.composite + self._charge * self._screen.weight(judgement.violations)
        kinds = tuple(violation.kind for violation in judgement.violations)
        return Scored(exchange.client, exchange.therapist, worth, kinds)

    def look(self, step: int, exchanges: Sequence[Exchange]) -> Look:
        """All of it, for one reply to each of some clients, or as many rounds of them as there are, one after another."""
        scored = self.scored(exchanges)
        clients = len({exchange.client for exchange in exchanges})
        replies = [exchange.therapist for exchange in exchanges]
        vectors = self._encoder.encode(replies).astype(np.float64)
        others = np.array([[a.client != b.client for b in exchanges] for a in exchanges])
        own, answers = self.answers(exchanges)
        each = {
            "reward": [float("nan") if one.score is None else one.score for one in scored],
            "referee": self._referee.scores(replies).astype(float).tolist(),
            "base_logprob": own.tolist(),
            "answers": answers.tolist(),
            "charged": [float(bool(self._screen(exchange))) for exchange in exchanges],
        }
        return Look(
            step=step,
            reward=float(np.nanmean(each["reward"])),
            referee=float(np.mean(each["referee"])),
            base_logprob=float(np.nanmean(each["base_logprob"])),
            answers=float(np.nanmean(each["answers"])),
            # Round by round: what is said to one client twice may be alike.
            distinct_2=float(
                np.mean([distinct(replies[i : i + clients], 2) or 0.0 for i in range(0, len(replies), clients)])
            ),
            alike=float((vectors @ vectors.T)[others].mean()),
            charged=float(np.mean(each["charged"])),
            words=float(np.mean([len(reply.split()) for reply in replies])),
            replies=tuple(scored),
            each=each,
        )

    def answers(self, exchanges: Sequence[Exchange]) -> tuple[np.ndarray, np.ndarray]:
        """Of each reply (n,), nats a token: its likelihood after its own client's words, and what these add beside OTHERS of the
        exchanges."""
        n = len(exchanges)
        asked = [
            Exchange(exchanges[(i + step) % n].client, "", exchanges[i].therapist)
            for step in (0, *OTHERS)
            for i in range(n)
        ]
        found = self._likelihood.mean_logprobs(asked).astype(float).reshape(1 + len(OTHERS), n)
        return found[0], found[0] - found[1:].mean(axis=0)


def change(pairs: Sequence[tuple[Look, Look]], name: str, rng: np.random.Generator) -> tuple[float, float, float]:
    """(mean of after - before, and its 95 % interval) of one of `each`, for pairs of looks (before, after) at the same clients in
    the same order: a bootstrap over the pairs, and over the clients in each."""
    rows = []
    for before, after in pairs:
        apart = np.array(after.each[name]) - np.array(before.each[name])
        rows.append(np.nanmean(apart.reshape(-1, len({one.client for one in before.replies})), axis=0))  # over rounds
    by_pair = np.array(rows)
    return float(np.nanmean(by_pair)), *interval(by_pair, rng)


def authored(many: int) -> list[Exchange]:
    """So many decent replies by people, of the held-out pairs."""
    pairs = read_pairs(PAIRS)
    return [Exchange(pair.client, "", pair.better) for pair in pairs[:: len(pairs) // many][:many]]


COLUMNS = (
    "reward", "referee", "base nats a token", "answers", "different word pairs", "alike", "against the screen", "words"
)  # fmt: skip


def cells(look: Look) -> str:
    """A row of a table with COLUMNS."""
    return (
        f"{look.reward:.2f} | {look.referee:.2f} | {look.base_logprob:.2f} | {look.answers:.2f} | {look.distinct_2:.2f} "
        f"| {look.alike:.2f} | {look.charged:.0%} | {look.words:.0f} |"
    )
