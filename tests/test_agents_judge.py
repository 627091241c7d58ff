"""The frozen model as judge: the therapist's adapters never judge, and nothing that is kept crosses adapters."""

from __future__ import annotations

from contextlib import nullcontext

import fakes
import numpy as np
import pytest
from test_agents_lm_lora import noisy

from agents.judge import BaseReader, FrozenDigits, FrozenLikelihood, FrozenTree, FrozenWriter
from agents.lm.adapters import AdapterSets
from agents.lm.device import mx
from agents.lm.lora import LoraSettings, inject, off, slots
from agents.lm.models import LoadedModel
from judges import language_model
from judges.language_model import LanguageModelJudge
from judges.likelihood import Likelihood
from judges.protocol import Exchange, JudgeFailure, Judgement, Turn
from judges.writer import Writer

EXCHANGES = [
    Exchange("I am tired.", "stay", reply, (Turn("Hello.", "", "Good day."),))
    for reply in ("You came all the same.", "What is heaviest?", "Shut up.")
]


@pytest.fixture(autouse=True)
def short_prompts(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rubric is 6 000 tokens long for a tokenizer of bytes."""

    def short(exchange: Exchange) -> str:
        return f"Rubric and personas. Client: {exchange.client} Therapist: {exchange.therapist}"

    monkeypatch.setattr(language_model, "prompt", short)


@pytest.fixture
def set_of_two() -> tuple[LoadedModel, AdapterSets]:
    loaded = fakes.tiny_llama(layers=4)
    inject(loaded.model, LoraSettings(), mx.random.key(0))
    sets = AdapterSets(loaded.model)
    sets.add("frozen", off(loaded.model), frozen=True)
    sets.add("therapist", noisy(loaded.model))
    return loaded, sets


def judgements(judge: LanguageModelJudge, exchanges: list[Exchange]) -> np.ndarray:
    found = judge.judge(exchanges)
    assert all(isinstance(answer, Judgement) for answer in found), found
    return np.stack([answer.scores for answer in found if isinstance(answer, Judgement)])


def test_the_therapists_adapters_do_not_judge(set_of_two: tuple[LoadedModel, AdapterSets]) -> None:
    loaded, sets = set_of_two
    judge = LanguageModelJudge(FrozenDigits(loaded, sets, "frozen"), "self", 0.0)
    alone = judgements(judge, EXCHANGES)
    sets.activate("therapist")
    np.testing.assert_array_equal(judgements(judge, EXCHANGES), alone)
    assert sets.active == "therapist"
    other = LanguageModelJudge(FrozenDigits(loaded, sets, "therapist"), "other", 0.0)
    assert np.abs(judgements(other, EXCHANGES) - alone).max() > 1e-3


def test_a_candidate_is_judged_the_same_beside_others(set_of_two: tuple[LoadedModel, AdapterSets]) -> None:
    judge = LanguageModelJudge(FrozenDigits(*set_of_two, "frozen"), "self", 0.0)
    together = judgements(judge, EXCHANGES)
    apart = np.concatenate([judgements(judge, [exchange]) for exchange in EXCHANGES])
    np.testing.assert_allclose(together, apart, atol=1e-4)


def test_training_the_set_that_judges_forgets_what_was_kept(set_of_two: tuple[LoadedModel, AdapterSets]) -> None:
    loaded, sets = set_of_two
    judge = LanguageModelJudge(FrozenDigits(loaded, sets, "therapist"), "other", 0.0)
    judgements(judge, EXCHANGES[:1])
    with sets.role("therapist"):
        for module, leaf in slots(loaded.model).values():
            module[leaf] = module[leaf] + 0.05
    fresh = LanguageModelJudge(FrozenDigits(loaded, sets, "therapist"), "other", 0.0)
    np.testing.assert_allclose(judgements(judge, EXCHANGES), judgements(fresh, EXCHANGES), atol=1e-4)


def test_scores_and_texts_share_one_prefill(set_of_two: tuple[LoadedModel, AdapterSets]) -> None:
    loaded, sets = set_of_two
    frozen = FrozenTree(loaded, sets, "frozen")
    digits, writer = FrozenDigits(loaded, sets, "frozen", frozen), FrozenWriter(loaded, sets, "frozen", frozen)
    plain, written = LanguageModelJudge(digits, "self", 0.0), LanguageModelJudge(digits, "self", 0.0, writer=writer)
    first = judgements(plain, EXCHANGES)
    forwarded = frozen.tree.forwarded
    found = written.judge(EXCHANGES)
    assert frozen.tree.forwarded - forwarded < forwarded
    for answer, scores in zip(found, first, strict=True):
        assert isinstance(answer, Judgement)
        np.testing.assert_allclose(answer.scores, scores, atol=1e-4)
        assert answer.kind.narrative.startswith("This reply ")


def test_a_digit_mass_below_the_limit_is_a_failure_and_never_a_number(
    set_of_two: tuple[LoadedModel, AdapterSets],
) -> None:
    answers = LanguageModelJudge(FrozenDigits(*set_of_two, "frozen"), "self").judge(EXCHANGES)
    assert all(isinstance(answer, JudgeFailure) and "digit mass" in answer.reason for answer in answers)


def test_the_other_readers_work_under_the_frozen_set(set_of_two: tuple[LoadedModel, AdapterSets]) -> None:
    likelihood: Likelihood = FrozenLikelihood(*set_of_two, "frozen")
    before = likelihood.mean_logprobs(EXCHANGES)
    set_of_two[1].activate("therapist")
    np.testing.assert_array_equal(likelihood.mean_logprobs(EXCHANGES), before)
    writer: Writer = FrozenWriter(*set_of_two, "frozen")
    assert isinstance(writer.write("Say something.", 8), str)


def test_the_base_reads_without_any_adapter(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = fakes.tiny_llama(layers=4)
    inject(loaded.model, LoraSettings(layers="all"), mx.random.key(0))
    sets = AdapterSets(loaded.model)
    sets.add("therapist", noisy(loaded.model))
    sets.activate("therapist")
    plain = BaseReader(fakes.tiny_llama(layers=4)).states(EXCHANGES)
    np.testing.assert_allclose(BaseReader(loaded).states(EXCHANGES), plain, atol=1e-5)
    assert sets.active == "therapist"
    monkeypatch.setattr("agents.judge.without_adapters", lambda model: nullcontext())
    assert np.abs(BaseReader(loaded).states(EXCHANGES) - plain).max() > 1e-3


def test_what_has_no_state_is_told_apart(set_of_two: tuple[LoadedModel, AdapterSets]) -> None:
    reader = BaseReader(set_of_two[0])
    asked = [Exchange("I am tired.", "", "  "), Exchange("I am tired.", "", "long " * 200), EXCHANGES[0]]
    found = reader.states(asked)
    assert np.isnan(found[:2]).all()
    np.testing.assert_allclose(found[2], reader.states(EXCHANGES[:1])[0], atol=1e-5)
