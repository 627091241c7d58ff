"""What moves the therapist's adapters, and what must not."""

import numpy as np
import pytest
from fakes import tiny_llama

from agents.learner import FROZEN, THERAPIST, BadGradients, Learner
from agents.lm.adapters import AdapterSets, FrozenSetChanged
from agents.lm.architecture import KINDS
from agents.lm.device import mx
from agents.lm.lora import LoraSettings, fresh, inject
from agents.lm.step import kind_of
from agents.settings import GrpoPart, OptimizerPart, RlaifPart

PROMPT = list(b"I can't sleep since she left.")
CANDIDATES = [list(b"That is a long night."), list(b"Sleep more."), list(b"What comes at night?"), list(b"Hm.")]


def learner(**changes: float) -> Learner:
    loaded = tiny_llama()
    inject(loaded.model, LoraSettings(attention_rank=4, mlp_rank=2), mx.random.key(0))
    sets = AdapterSets(loaded.model)
    start = fresh(loaded.model, mx.random.key(0))
    sets.add(THERAPIST, start)
    sets.add(FROZEN, dict(start), frozen=True)
    sets.activate(THERAPIST)
    return Learner(sets, loaded.model, OptimizerPart(**{"learning_rate": 1e-2, **changes}))  # type: ignore[arg-type]


def bytes_of(found: Learner, name: str) -> dict[str, bytes]:
    return {path: np.array(array).tobytes() for path, array in found.sets.get(name).items()}


@pytest.mark.parametrize("step", ["rlaif", "grpo"])
def test_a_gradient_reaches_all_seven_kinds_of_module(step: str) -> None:
    found = learner()
    before = bytes_of(found, THERAPIST)
    for _ in range(2):  # at the first step B is zero, so A gets no gradient yet
        if step == "rlaif":
            report = found.rlaif_step(PROMPT, CANDIDATES[0], CANDIDATES[1], 1.0, RlaifPart())
        else:
            report = found.grpo_step(PROMPT, CANDIDATES, [6.0, 3.0, 7.0, 1.0], GrpoPart()).step
    assert set(KINDS) == set(report.norms)
    assert all(norm > 0.0 for norm in report.norms.values()), report.norms
    after = bytes_of(found, THERAPIST)
    assert [name for name in before if before[name] == after[name]] == []


def test_checkpointed_gradients_take_the_same_steps() -> None:
    ends = []
    for again in (False, True):
        found = learner(checkpoint_gradients=again)
        found.rlaif_step(PROMPT, CANDIDATES[0], CANDIDATES[1], 1.0, RlaifPart())
        found.grpo_step(PROMPT, CANDIDATES, [6.0, 3.0, 7.0, 1.0], GrpoPart())
        found.expect_frozen()
        ends.append(found.sets.get(THERAPIST))
    plain, checkpointed = ends
    # Adam divides by the gradient's size: where that is next to nothing, rounding alone is a step of the learning rate.
    apart = [float(mx.abs(plain[name] - checkpointed[name]).mean()) for name in plain]
    assert max(apart) < 1e-4


def test_the_frozen_set_does_not_move() -> None:
    found = learner()
    before = bytes_of(found, FROZEN)
    found.grpo_step(PROMPT, CANDIDATES, [6.0, 3.0, 7.0, 1.0], GrpoPart())
    assert bytes_of(found, FROZEN) == before
    found.expect_frozen()


def test_a_frozen_set_that_changed_is_noticed() -> None:
    found = learner()
    name = next(iter(found.sets.get(FROZEN)))
    found.sets._sets[FROZEN][name] = found.sets._sets[FROZEN][name] + 1.0
    with pytest.raises(FrozenSetChanged, match="frozen"):
        found.expect_frozen()


def test_kl_is_zero_before_the_first_step_and_grows() -> None:
    found = learner()
    kl = [found.grpo_step(PROMPT, CANDIDATES, [6.0, 3.0, 7.0, 1.0], GrpoPart()).kl for _ in range(3)]
    assert kl[0] == pytest.approx(0.0, abs=1e-6)
    assert kl[2] > kl[1] > 1e-6


def test_the_better_candidate_becomes_likelier() -> None:
    from agents.lm.logprob import response_logprobs
    from agents.losses import sequence_logprob

    found = learner(learning_rate=3e-3)

    def margin() -> float:
        logp = sequence_logprob(*response_logprobs(found.model, PROMPT, CANDIDATES))
        return float(np.array(logp[2] - logp[3]))

    before = margin()
    for _ in range(5):
        found.grpo_step(PROMPT, CANDIDATES, [5.0, 5.0, 9.0, 1.0], GrpoPart())
    assert margin() > before + 0.5


def test_an_equal_group_moves_nothing_before_there_is_a_divergence() -> None:
    found = learner()
    before = bytes_of(found, THERAPIST)
    report = found.grpo_step(PROMPT, CANDIDATES, [4.0, 4.0, 4.0, 4.0], GrpoPart(kl_weight=0.0))
    assert report.advantages == [0.0] * 4
    assert report.step.norm == 0.0
    assert bytes_of(found, THERAPIST) == before


def test_each_step_is_scaled_then_clipped() -> None:
    found = learner(clip_norm=1e-3, learning_rate=1e-2)
    plain = found.rlaif_step(PROMPT, CANDIDATES[0], CANDIDATES[1], 1.0, RlaifPart(weight=0.4))
    again = learner().rlaif_step(PROMPT, CANDIDATES[0], CANDIDATES[1], 1.5, RlaifPart(weight=0.4))
    assert again.norm == pytest.approx(1.5 * plain.norm, rel=1e-4)


def test_gradients_that_are_not_finite_change_nothing_and_stop_the_run_in_the_end() -> None:
    found = learner(stop_after_bad=3)
    found.grpo_step(PROMPT, CANDIDATES, [6.0, 3.0, 7.0, 1.0], GrpoPart())
    before, moments = bytes_of(found, THERAPIST), str(found.optimizer.state)
    for _ in range(2):
        report = found.grpo_step(PROMPT, CANDIDATES, [float("inf"), 3.0, 7.0, 1.0], GrpoPart()).step
        assert not report.applied
    with pytest.raises(BadGradients, match="3 steps in a row"):
        found.grpo_step(PROMPT, CANDIDATES, [float("nan"), 3.0, 7.0, 1.0], GrpoPart())
    assert bytes_of(found, THERAPIST) == before
    assert str(found.optimizer.state) == moments


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("model.layers.3.self_attn.q_proj.lora_a", "q"),
        ("model.layers.3.self_attn.q_a_proj.lora_a", "q"),
        ("model.layers.3.self_attn.kv_a_proj_with_mqa.lora_b", "k"),
        ("model.layers.3.mlp.switch_mlp.gate_proj.lora_b", "gate"),
        ("model.layers.3.self_attn.o_proj.lora_b", "o"),
    ],
)
def test_kind_of_a_module(name: str, kind: str) -> None:
    assert kind_of(name) == kind


def test_the_first_step_of_adam_has_the_size_of_the_learning_rate() -> None:
    """Bias-corrected, as Kingma and Ba have it; without, MLX's first steps are several times as large."""
    found = learner(learning_rate=1e-3)
    before = {name: np.array(array) for name, array in found.sets.get(THERAPIST).items()}
    found.rlaif_step(PROMPT, CANDIDATES[0], CANDIDATES[1], 1.0, RlaifPart())
    largest = max(np.abs(np.array(array) - before[name]).max() for name, array in found.sets.get(THERAPIST).items())
    assert largest == pytest.approx(1e-3, rel=0.05)


def test_a_barred_candidate_is_never_preferred_whatever_the_others_are() -> None:
    found = learner()
    report = found.grpo_step(PROMPT, CANDIDATES, [9.0, 3.0, 4.0, 4.0], GrpoPart(), [True, False, False, False])
    plain = learner().grpo_step(PROMPT, CANDIDATES, [9.0, 3.0, 4.0, 4.0], GrpoPart())
    assert plain.advantages[0] > 1.0
    assert report.advantages[0] == 0.0
    assert report.advantages[1:] == plain.advantages[1:]
    worst = learner().grpo_step(PROMPT, CANDIDATES, [1.0, 3.0, 4.0, 4.0], GrpoPart(), [True, False, False, False])
    assert worst.advantages[0] < -1.0


def test_several_steps_on_one_group_move_further_and_clipped_ones_stop() -> None:
    scores = [6.0, 3.0, 7.0, 1.0]
    moved = {}
    for name, told in {
        "one": GrpoPart(kl_weight=0.0),
        "four": GrpoPart(kl_weight=0.0, iterations=4),
        "clipped": GrpoPart(kl_weight=0.0, iterations=4, clip_ratio=(1e-6, 1e-6)),
    }.items():
        found = learner()
        report = found.grpo_step(PROMPT, CANDIDATES, scores, told)
        assert report.kl == 0.0  # before the first step the policy is the reference
        assert report.entropy > 0.0
        start, now = found.sets.get(FROZEN), found.sets.get(THERAPIST)
        moved[name] = sum(float(((now[n] - start[n]) ** 2).sum()) for n in now)
    assert moved["one"] < moved["clipped"] < moved["four"]
