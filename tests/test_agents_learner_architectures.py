"""Every architecture takes every step of a turn: a reply, a step from it toward another, candidates, a step toward the better."""

import fakes
import numpy as np
import pytest

from agents.learner import FROZEN, THERAPIST, Learner
from agents.lm.adapters import AdapterSets
from agents.lm.architecture import KINDS
from agents.lm.device import mx
from agents.lm.generate import PrefixCache, generate
from agents.lm.lora import LoraSettings, fresh, inject
from agents.settings import GrpoPart, OptimizerPart, RlaifPart

PROMPT = list(b"I can't sleep since she left.")
SCORES = [6.0, 3.0, 7.0, 1.0]
MOVED = {"glm4_moe_lite": set(KINDS) - {"v"}}  # latent attention makes keys and values by one projection, counted as k


def bytes_of(found: Learner, name: str) -> dict[str, bytes]:
    return {path: np.array(array).tobytes() for path, array in found.sets.get(name).items()}


@pytest.mark.parametrize("model_type", sorted(fakes.CONFIGS))
def test_a_turn_of_every_architecture(model_type: str) -> None:
    loaded = fakes.tiny(model_type)
    inject(loaded.model, LoraSettings(attention_rank=4, mlp_rank=2), mx.random.key(0))
    sets, start = AdapterSets(loaded.model), fresh(loaded.model, mx.random.key(0))
    sets.add(THERAPIST, start)
    sets.add(FROZEN, dict(start), frozen=True)
    sets.activate(THERAPIST)
    found, prefixes = Learner(sets, loaded.model, OptimizerPart(learning_rate=1e-2)), PrefixCache(THERAPIST)
    frozen = bytes_of(found, FROZEN)

    def said(count: int, seed: int) -> list[list[int]]:
        keys = list(mx.random.split(mx.random.key(seed), count))
        prompts, warm = [PROMPT] * count, [0.9] * count
        replies = generate(
            loaded, prompts, temperatures=warm, keys=keys, max_tokens=12, min_p=0.0, prefixes=prefixes
        )  # fmt: skip
        return [reply.response for reply in replies]

    expected = MOVED.get(model_type, set(KINDS))
    for turn in range(2):  # at the very first step B is zero, so A gets no gradient yet
        before = bytes_of(found, THERAPIST)
        (reply,), (corrected,) = said(1, 3 * turn), said(1, 3 * turn + 1)
        rlaif = found.rlaif_step(PROMPT, corrected, reply, 1.0, RlaifPart())
        prefixes.clear()
        between = bytes_of(found, THERAPIST)
        grpo = found.grpo_step(PROMPT, said(len(SCORES), 3 * turn + 2), SCORES, GrpoPart())
        prefixes.clear()
        for step in (rlaif, grpo.step):
            assert step.applied
            assert np.isfinite([step.loss, step.norm]).all()
            assert {kind for kind, norm in step.norms.items() if norm > 0.0} == expected
        assert before != between != bytes_of(found, THERAPIST)
        assert grpo.kl > 0.0  # the RLAIF step has moved the therapist away from the reference
    assert bytes_of(found, FROZEN) == frozen
    found.expect_frozen()
