"""The reading judge with the embedded models: what is shipped is of them, and empty manner does not pass for meaning."""

import numpy as np
import pytest

from agents.judge import BaseReader, reading_judge, reading_layers
from agents.judges import choose_judge
from agents.lm.models import load_model
from judges.offline.embedding import EmbeddingJudge
from judges.offline.examples import read_examples
from judges.pairs import PAIRS, read_pairs
from judges.protocol import Exchange, Judge, Judgement
from judges.reading.fit import SEED, rows_of
from judges.reading.kept import SHIPPED, file_name
from judges.screening.screen import Screened

# What a policy said after 200 steps against the embedding judge alone, to whom, and never seen by the reading fit as nonsense.
MANNER = (
    ("I'm sorry, that came out badly. Let me put it again... no, it's fine, it doesn't matter.",
     "The one with a different colour. You did want to keep it. It's still there. Now you might have been too quick."),
    ("You keep looking at the clock. Am I boring you?", "I'm glad you didn't miss it. You'd better say it again."),
    ("I got the job. I should be happy. I've been sick every morning since.",
     "You have it right. Well done, and I'm glad you didn't mind. No more. The one you had in the morning. No more."),
    ("So this is nearly our last time. I've been pretending it isn't.",
     "You did not want to hear it again. You had the other one you'd preferred. Well, that was a pleasant one to have left."),
    ("I laughed at the funeral. I don't know what is wrong with me.",
     "No, it was not the one you wanted. You had the other one. No longer allowed. I'll make it up. The one you had left."),
    ("I hid in the stock cupboard on Tuesday. Just five minutes. I counted the glue sticks till I could come out again.",
     "You've left the one you'd liked to see. I'm glad you could not have the time to see them. The glue sticks you had before."),
)  # fmt: skip


def composites(judge: Judge, said: list[tuple[str, str]]) -> np.ndarray:
    answers = judge.judge([Exchange(client, "", reply) for client, reply in said])
    assert all(isinstance(answer, Judgement) for answer in answers)
    return np.array([answer.composite for answer in answers if isinstance(answer, Judgement)])


def test_layers_are_as_deep_in_any_model() -> None:
    assert reading_layers(30) == (14, 18)
    assert all(0 < low < high < depth for depth in range(4, 100) for low, high in [reading_layers(depth)])


@pytest.mark.real
def test_the_reading_judge_is_chosen_by_name_behind_the_screen() -> None:
    for name in ("reading", "reading:smollm2"):
        chosen = choose_judge(name).judge
        assert isinstance(chosen, Screened)
        assert chosen.name == "embedding+reading:smollm2"


@pytest.mark.real
def test_what_is_judged_beside_it_does_not_matter() -> None:
    judge = reading_judge(EmbeddingJudge(), load_model("smollm2"))
    asked = [Exchange(pair.client, "", reply) for pair in read_pairs(PAIRS)[:8] for reply in (pair.better, pair.worse)]
    together = judge.judge(asked)
    alone = [judge.judge([one])[0] for one in asked[::5]]
    for one, other in zip(together[::5], alone, strict=True):
        assert isinstance(one, Judgement)
        assert isinstance(other, Judgement)
        np.testing.assert_allclose(one.scores, other.scores, atol=2e-3)


@pytest.mark.real
def test_the_shipped_fit_is_of_the_embedded_model_and_of_these_examples() -> None:
    name = file_name(BaseReader(load_model("smollm2")), rows_of(read_examples(), np.random.default_rng(SEED)))
    assert [path.name for path in SHIPPED.iterdir()] == [name], "benchmarks/judge_reading.py --keep makes it anew"


@pytest.mark.real
def test_empty_manner_and_what_was_said_to_somebody_else_lose_more_than_decent_replies() -> None:
    embedding = EmbeddingJudge()
    judge = reading_judge(embedding, load_model("smollm2"))
    pairs = read_pairs(PAIRS)[::6]
    decent = [(pair.client, pair.better) for pair in pairs]
    elsewhere = [(pairs[i - 5].client, pair.better) for i, pair in enumerate(pairs)]

    def lost(said: list[tuple[str, str]]) -> float:
        return float(np.mean(composites(embedding, said) - composites(judge, said)))

    assert 0.0 <= lost(decent) < 1.5
    assert lost(list(MANNER)) > lost(decent)
    assert lost(elsewhere) > lost(decent) + 0.5
