"""Put a judge through its calibration: the held-out pairs, repeats, other punctuation, other clients, left-out examples.

    icarus calibrate-judge        prints it; judges/calibration/measures.py has the mathematics

No judge learns from the pairs. What the measures cannot tell: whether the people who wrote the pairs were right.
"""

import re
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import numpy as np

from client_graph.names import DIMENSIONS
from judges.calibration.measures import (
    Accuracy,
    Agreement,
    Discrimination,
    LengthBias,
    Share,
    Swap,
    accuracy,
    agreement,
    correlation,
    coverage,
    discrimination,
    gap_matrix,
    length_bias,
    mean_off_diagonal,
    spread,
    swap,
)
from judges.calibration.mined_table import write_examples
from judges.offline.examples import EXAMPLES, Examples, read_examples
from judges.pairs import Pair, held_out
from judges.protocol import Exchange, Judge, JudgeFailure, Judgement

SWAP_STEP = 17  # the other client is so many pairs further on, of another dimension than this one
REPEATS, REPEATED = 3, 24  # how often the same is asked again, and of how many replies
QUICK = 3  # a quick calibration takes every third pair
FOLDS = 3
BLOCK = 16  # replies at once: a local model holds all of them in memory
MakeWithExamples = Callable[[Path, Path], Judge]  # (table of examples, folder for a cache) -> a judge that learned them


@dataclass(frozen=True, eq=False)
class Calibration:
    """All that is known of one judge.

    composites, words: (2, n) of the better and the worse replies, NaN where it failed. persona_gap, retest, punctuation:
    (12,) points. gaps, correlation: (12, 12). digit_mass: (least, mean), None where no digits are read. left_out: None
    where the judge learns from no examples or gives no error. seconds: for each reply. failures: of all that was asked.
    """

    judge: str
    pairs: int
    composites: np.ndarray
    words: np.ndarray
    accuracy: Accuracy
    discrimination: Discrimination
    gaps: np.ndarray
    correlation: np.ndarray
    length: LengthBias
    swap: Swap
    persona_gap: np.ndarray
    retest: np.ndarray
    punctuation: np.ndarray
    digit_mass: tuple[float, float] | None
    left_out: "LeftOut | None"
    seconds: float
    failures: Share
    why: str = ""


@dataclass(frozen=True, eq=False)
class LeftOut:
    """On authored examples whose clients the judge had not met: probable_error (12,), the median miss in points, and how many
    of the authored scores lie within the error that the judge states; None where it states none. authored_correlation: mean r
    between dimensions of the authored scores themselves, which a judge that learned from them can hardly undercut."""

    examples: int
    probable_error: np.ndarray
    coverage: tuple[Share, ...] | None
    authored_correlation: float


def calibrate(
    judge: Judge, pairs: Sequence[Pair] | None = None, learner: MakeWithExamples | None = None
) -> Calibration:
    """Everything of one judge. `learner` makes the same judge from other examples, for the left-out errors; None: not asked."""
    pairs = held_out() if pairs is None else pairs
    asked = _Asked(judge)
    began = time.perf_counter()
    better = asked([Exchange(pair.client, "", pair.better) for pair in pairs])
    worse = asked([Exchange(pair.client, "", pair.worse) for pair in pairs])
    seconds = (time.perf_counter() - began) / max(1, 2 * len(pairs))
    swapped = asked([Exchange(_other(pairs, i).client, "", pair.better) for i, pair in enumerate(pairs)])
    some = [Exchange(pair.client, "", pair.better) for pair in pairs[:: max(1, len(pairs) // REPEATED)]]
    repeats = np.stack([asked(some) for _ in range(REPEATS)])
    written = np.stack([repeats[0], *(asked([_said(one, change) for one in some]) for change in REWRITTEN)])
    own = np.array([DIMENSIONS.index(pair.dimension) for pair in pairs])
    composites, words = np.stack([better, worse]).mean(axis=2), _words(pairs)
    return Calibration(
        judge=judge.name,
        pairs=len(pairs),
        composites=composites,
        words=words,
        accuracy=accuracy(better, worse, own),
        discrimination=discrimination(better, worse, own),
        gaps=gap_matrix(better, worse, own),
        correlation=correlation(np.concatenate([better, worse])),
        length=length_bias(*composites, *words),
        swap=swap(composites[0], swapped.mean(axis=1)),
        persona_gap=np.mean(asked.gaps, axis=0) if asked.gaps else np.full(len(DIMENSIONS), np.nan),
        retest=spread(repeats),
        punctuation=spread(written),
        digit_mass=_mass(asked.masses),
        left_out=None if learner is None else left_out(learner),
        seconds=seconds,
        failures=Share(len(asked.failures), asked.count),
        why=asked.failures[0] if asked.failures else "",
    )


def agreements(found: Sequence[Calibration]) -> dict[tuple[str, str], Agreement]:
    """Every two judges on all the replies of the pairs."""
    return {
        (a.judge, b.judge): agreement(a.composites.ravel(), b.composites.ravel()) for a, b in combinations(found, 2)
    }


def left_out(learner: MakeWithExamples, path: Path = EXAMPLES, folds: int = FOLDS) -> LeftOut:
    """Each example judged by a judge that learned none of that client's. Raises TableError where a table is wrong."""
    examples = read_examples(path)
    clients = list(dict.fromkeys(examples.clients))
    fold_of = {client: i % folds for i, client in enumerate(clients)}
    of = np.array([fold_of[client] for client in examples.clients])
    scores, errors = np.full(examples.scores.shape, np.nan), np.full(examples.scores.shape, np.nan)
    for fold in range(folds):
        judged = _judged_without(learner, examples, of == fold)
        for i, found in zip(np.flatnonzero(of == fold), judged, strict=True):
            if isinstance(found, Judgement):
                scores[i] = found.scores
                errors[i] = np.nan if found.error is None else found.error
    states = not np.isnan(errors).all()
    return LeftOut(
        examples=len(scores),
        probable_error=np.nanmedian(np.abs(scores - examples.scores), axis=0),
        coverage=coverage(scores, examples.scores, errors) if states else None,
        authored_correlation=mean_off_diagonal(correlation(examples.scores)),
    )


def _judged_without(learner: MakeWithExamples, examples: Examples, out: np.ndarray) -> list[Judgement | JudgeFailure]:
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "examples.csv"
        write_examples(table, examples, np.flatnonzero(~out))
        judge = learner(table, Path(folder))
    return judge.judge([Exchange(examples.clients[i], "", examples.replies[i]) for i in np.flatnonzero(out)])


class _Asked:
    """A judge's scores as arrays, and what it said of itself on the way."""

    def __init__(self, judge: Judge) -> None:
        self._judge = judge
        self.gaps: list[np.ndarray] = []
        self.masses: list[np.ndarray] = []
        self.failures: list[str] = []
        self.count = 0

    def __call__(self, exchanges: Sequence[Exchange]) -> np.ndarray:
        """(n, 12); NaN where it failed."""
        blocks = [exchanges[i : i + BLOCK] for i in range(0, len(exchanges), BLOCK)]
        answers = [answer for block in blocks for answer in self._judge.judge(block)]
        self.count += len(answers)
        self.failures += [answer.reason for answer in answers if isinstance(answer, JudgeFailure)]
        judged = [answer for answer in answers if isinstance(answer, Judgement)]
        self.gaps += [judgement.gap for judgement in judged]
        self.masses += [judgement.digit_mass for judgement in judged if judgement.digit_mass is not None]
        nothing = np.full(len(DIMENSIONS), np.nan)
        return np.stack([answer.scores if isinstance(answer, Judgement) else nothing for answer in answers])


def _curly(text: str) -> str:
    return re.sub(r'"([^"]*)"', "“\\1”", text.replace("'", "’"))


def _spelled_out(text: str) -> str:
    for short, long in ((r"\b(I)'m\b", "am"), (r"(\w)'re\b", "are"), (r"(\w)'ve\b", "have"), (r"(\w)'ll\b", "will")):
        text = re.sub(short, rf"\1 {long}", text)
    return text


def _spaced(text: str) -> str:
    return re.sub(r"([.?!]) ", r"\1  ", text) + "  "


REWRITTEN: tuple[Callable[[str], str], ...] = (_curly, _spelled_out, _spaced)  # the same reply to any reader


def _said(exchange: Exchange, change: Callable[[str], str]) -> Exchange:
    return replace(exchange, therapist=change(exchange.therapist))


def _other(pairs: Sequence[Pair], i: int) -> Pair:
    return pairs[(i + SWAP_STEP) % len(pairs)]


def _words(pairs: Sequence[Pair]) -> np.ndarray:
    return np.array(
        [[len(pair.better.split()) for pair in pairs], [len(pair.worse.split()) for pair in pairs]], dtype=float
    )


def _mass(masses: list[np.ndarray]) -> tuple[float, float] | None:
    return (float(np.min(masses)), float(np.mean(masses))) if masses else None
