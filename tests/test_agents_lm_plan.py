"""Planned bytes are what loaded models take: exact for weights, adapters, optimizer and caches; a factor for a backward pass."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import fakes
import mlx.nn as nn
import pytest
from mlx.utils import tree_flatten
from mlx_lm.utils import load_model as mlx_lm_load_model
from mlx_lm.utils import quantize_model

from agents.learner import FROZEN, THERAPIST, Learner
from agents.lm import generate as generation
from agents.lm.activations import Step, activation_bytes
from agents.lm.adapters import AdapterSets
from agents.lm.architecture import UnknownArchitecture
from agents.lm.blueprint import BadDescription, adapted, blueprint
from agents.lm.cache_sizes import batch_cache_bytes, batch_slots, prompt_cache_bytes, prompt_slots, trunk_bytes
from agents.lm.device import mx
from agents.lm.generate import PrefixCache, generate
from agents.lm.logprob import record_lower, response_logprobs
from agents.lm.lora import LoraSettings, flatten, fresh, inject
from agents.lm.models import LoadedModel, _ready
from agents.lm.plan import Lengths, Plan, adam_bytes, plan_memory
from agents.lm.prompt_tree import PromptTree
from agents.lm.shapes import shapes_of
from agents.settings import GrpoPart, OptimizerPart, RlaifPart

LORA = LoraSettings(attention_rank=4, mlp_rank=2)
TYPES = sorted(fakes.CONFIGS)
CANDIDATES = 4


# Groups of 32 and of 64 divide these; in a training step the activations stand out from all else.
WIDE = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16, "vocab_size": 2000}


def wide(model_type: str) -> dict[str, Any]:
    if model_type == "gemma3":
        return {"text_config": fakes.CONFIGS["gemma3"]["text_config"] | WIDE, "vocab_size": WIDE["vocab_size"]}
    return WIDE | ({"moe_intermediate_size": 32} if "glm4" in model_type else {})


def config_of(model_type: str, **changes: Any) -> dict[str, Any]:
    return {"model_type": model_type, "torch_dtype": "float32", **fakes.CONFIGS[model_type], **changes}


def folder_of(tmp_path: Path, model_type: str, bits: int | None) -> tuple[Path, dict[str, Any]]:
    """A tiny model as mlx_lm.convert leaves one: Gemma's has no head of its own."""
    changes = wide(model_type)
    config, model = config_of(model_type, **changes), fakes.tiny(model_type, **changes).model
    if "gemma3" in model_type:
        getattr(model, "language_model", model).sanitize({})
    if bits:
        model, config = quantize_model(model, config, 32, bits)
    mx.save_safetensors(str(tmp_path / "model.safetensors"), flatten(model.parameters()))
    (tmp_path / "config.json").write_text(json.dumps(config))
    return tmp_path, json.loads((tmp_path / "config.json").read_text())


def nbytes(arrays: Any) -> int:
    return sum(array.nbytes for _, array in tree_flatten(arrays))


def learner_of(loaded: LoadedModel, lora: LoraSettings = LORA) -> Learner:
    inject(loaded.model, lora, mx.random.key(0))
    sets, start = AdapterSets(loaded.model), fresh(loaded.model, mx.random.key(0))
    sets.add(THERAPIST, start)
    sets.add(FROZEN, dict(start), frozen=True)
    sets.activate(THERAPIST)
    return Learner(sets, loaded.model, OptimizerPart(learning_rate=1e-3))


@pytest.mark.parametrize("bits", [None, 4, 8])
@pytest.mark.parametrize("model_type", TYPES)
def test_the_base_is_what_mlx_lm_loads(model_type: str, bits: int | None, tmp_path: Path) -> None:
    folder, config = folder_of(tmp_path, model_type, bits)
    loaded, _ = mlx_lm_load_model(folder)
    planned = shapes_of(adapted(config, LORA))
    assert sum(planned.base.values()) == nbytes(loaded.parameters())
    plain = blueprint({key: value for key, value in config.items() if key != "quantization"})
    assert planned.parameters == sum(array.size for _, array in tree_flatten(plain.parameters()))
    on_cpu = shapes_of(adapted(config, LORA, cpu=True))
    assert sum(on_cpu.base.values()) == nbytes(_ready(loaded).parameters())


@pytest.mark.parametrize("model_type", TYPES)
def test_adapters_and_optimizer_are_what_a_learner_holds(model_type: str) -> None:
    found, planned = learner_of(fakes.tiny(model_type)), shapes_of(adapted(config_of(model_type), LORA))
    assert planned.adapter == nbytes(found.sets.get(THERAPIST)) == nbytes(found.sets.get(FROZEN))
    assert adam_bytes(planned) == nbytes(found.optimizer.state)


# (type, window, P, longest reply): one chunk, a lone last token, three chunks; windows long passed, and reached while speaking.
CACHES = [
    *((kind, None, tokens, 12) for kind in TYPES if "gemma3" not in kind for tokens in (20, 513)),
    *(("gemma3_text", window, tokens, 12) for window in (8, 700) for tokens in (20, 513, 1025)),
    ("llama", None, 20, 259),
    ("gemma3_text", 700, 690, 20),
]


@pytest.mark.parametrize(("model_type", "window", "tokens", "longest"), CACHES)
def test_caches_are_what_generation_fills(
    model_type: str, window: int | None, tokens: int, longest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = fakes.tiny(model_type, **({"sliding_window": window} if window else {}))
    inject(loaded.model, LORA, mx.random.key(0))
    loaded.tokenizer.eos_token_ids = set()
    planned, prompt = shapes_of(loaded.model), [(i * 37) % 250 for i in range(tokens)]
    run, filled = generation._Batch.run, []

    def spy(batch: Any, *arguments: Any) -> Any:
        sampled = run(batch, *arguments)
        filled.append(sum(cache.nbytes for cache in batch.caches))
        return sampled

    monkeypatch.setattr(generation._Batch, "run", spy)
    kept = PrefixCache("base")
    generate(
        loaded, [prompt] * 3, temperatures=[1.0] * 3, keys=[mx.random.key(i) for i in range(3)], max_tokens=longest,
        prefixes=kept,
    )  # fmt: skip
    assert sum(cache.nbytes for cache in kept._kept[tuple(prompt)]) == prompt_cache_bytes(planned, tokens)
    assert filled == [batch_cache_bytes(planned, 3, tokens, longest)]


@pytest.mark.parametrize("model_type", TYPES)
def test_a_trunk_is_what_a_prompt_tree_keeps(model_type: str) -> None:
    loaded = fakes.tiny(model_type)
    inject(loaded.model, LORA, mx.random.key(0))
    tree, prompt = PromptTree(loaded.model), [(i * 37) % 250 for i in range(30)]
    trunk = tree.trunk([[*prompt, 1], [*prompt, 2]], 30)
    found = sum(layer.keys.nbytes + layer.values.nbytes for layer in trunk.layers)  # type: ignore[union-attr]
    assert found == trunk_bytes(shapes_of(loaded.model), 30)


# (P, T, K): a long prompt, long replies, many replies.
STEPS = [(128, 33, 4), (32, 97, 4), (64, 16, 8)]


def tokens_of(count: int, seed: int) -> list[int]:
    return [(i * 37 + seed * 11) % 250 for i in range(count)]


# How far what is kept may be off: masks and rotary tables are left out, and in bfloat16 a CPU's norms keep copies in float32.
# Experts run in float32 alone there.
KEPT = [
    *((kind, mx.float32, 0.06) for kind in TYPES),
    *((kind, mx.bfloat16, 0.17) for kind in ("llama", "gemma3_text")),
]


class Measured(NamedTuple):
    """Of one backward pass, bytes: what it keeps once the loss is known, and its peak, each with what is planned."""

    kept: int
    planned_kept: int
    peak: int
    planned_peak: int


def measured(learner: Learner, step: Step, checkpoint: bool) -> Measured:
    """The states below the first adapter are there before, and not counted."""
    prompt, said = tokens_of(step.prompt, 9), [tokens_of(step.longest, seed) for seed in range(step.rows)]
    lower, shapes = record_lower(learner.model, prompt, said, learner.first_layer), shapes_of(learner.model)

    def loss(model: nn.Module) -> mx.array:
        return response_logprobs(model, prompt, said, lower=lower, checkpoint=checkpoint)[0].sum()

    layers, beside = activation_bytes(shapes, step, checkpoint)
    layers -= shapes.width * step.load.tokens * shapes.item
    mx.clear_cache()
    before = mx.get_active_memory()
    value, gradients = nn.value_and_grad(learner.model, loss)(learner.model)
    mx.eval(value)
    kept = mx.get_active_memory() - before
    del value, gradients
    peak = peak_of(lambda: mx.eval(nn.value_and_grad(learner.model, loss)(learner.model)))
    return Measured(kept, layers + step.rows * step.longest * shapes.vocabulary * 4, peak, layers + beside)


@pytest.mark.parametrize(("model_type", "dtype", "off"), KEPT)
def test_what_backward_keeps_and_its_peak(model_type: str, dtype: mx.Dtype, off: float) -> None:
    """The peak is within 20 %, in MLX's own order of freeing."""
    loaded = fakes.tiny(model_type, **wide(model_type))
    loaded.model.set_dtype(dtype)
    learner = learner_of(loaded)
    for prompt, longest, rows in STEPS:
        found = measured(learner, Step(prompt, rows, longest), checkpoint=False)
        assert found.kept == pytest.approx(found.planned_kept, rel=off)
        assert found.peak == pytest.approx(found.planned_peak, rel=0.2)


@pytest.mark.parametrize("model_type", TYPES)
def test_what_checkpointed_gradients_keep_and_their_peak(model_type: str) -> None:
    """What is kept is within 7 % and the peak within 25 %; latent attention makes more of a long prompt than its shapes say."""
    learner, latent = learner_of(fakes.tiny(model_type, **wide(model_type))), model_type == "glm4_moe_lite"
    for prompt, longest, rows in [*STEPS, (512, 33, 4)]:
        step = Step(prompt, rows, longest)
        found = measured(learner, step, checkpoint=True)
        assert found.kept == pytest.approx(found.planned_kept, rel=0.15 if latent else 0.07)
        assert found.peak == pytest.approx(found.planned_peak, rel=0.45 if latent and prompt == 512 else 0.25)
        shapes = shapes_of(learner.model)
        assert sum(activation_bytes(shapes, step, checkpoint=True)) < sum(activation_bytes(shapes, step))


def peak_of(work: Callable[[], object]) -> int:
    mx.clear_cache()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    work()
    return int(mx.get_peak_memory() - before)


@pytest.mark.parametrize("model_type", TYPES)
def test_a_turn_holds_what_is_planned_of_adapters(model_type: str) -> None:
    """With large adapters and few tokens the peaks of both steps are the planned sets, to a tenth (a module at a time)."""
    lora = LoraSettings(layers="all", attention_rank=128, mlp_rank=128)
    loaded = fakes.tiny(model_type)
    found, prompt = learner_of(loaded, lora), tokens_of(4, 0)
    said = [tokens_of(3, seed) for seed in range(CANDIDATES)]
    found.grpo_step(prompt, said, [1.0, 2.0, 3.0, 4.0], GrpoPart())  # from here the two sets are two
    found.sets.get(THERAPIST)
    shapes = shapes_of(loaded.model)
    plan = plan_memory(config_of(model_type), lora, Lengths(len(prompt), len(prompt), 3, CANDIDATES))
    between, update = plan.moments[0].parts, plan.moments[-1].parts
    assert nbytes(found.sets.get(THERAPIST)) + nbytes(found.sets.get(FROZEN)) == between["adapters"]
    remembered = found.remember()
    first = peak_of(lambda: found.rlaif_step(prompt, said[0], said[1], 1.0, RlaifPart()))
    second = peak_of(lambda: found.grpo_step(prompt, said, [1.0, 2.0, 3.0, 4.0], GrpoPart()))
    assert remembered
    assert first == pytest.approx(5 * shapes.adapter, rel=0.1)  # gradients twice; a new set and moments beside the old
    assert second == pytest.approx(update["gradients and update"], rel=0.1)


def test_nothing_is_computed_and_no_generator_moves() -> None:
    from agents.descriptions import config_of as described

    config, _ = described("mlx-community/MiniMax-M2-4bit")
    state, before = mx.random.state[0].tolist(), mx.get_active_memory()
    mx.reset_peak_memory()
    shapes = shapes_of(adapted(config, LoraSettings()))
    assert shapes.parameters > 228e9
    assert mx.get_peak_memory() - before < 1e6
    assert mx.random.state[0].tolist() == state


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("meta-llama/Llama-3.1-8B-Instruct", 8_030_261_248), ("smollm2", 134_515_008)],
)
def test_published_counts(name: str, parameters: int) -> None:
    from agents.descriptions import config_of as described

    assert shapes_of(adapted(described(name)[0], LoraSettings())).parameters == parameters


@pytest.mark.parametrize(
    ("tokens", "window", "slots"),
    [(1, None, 256), (256, None, 256), (257, None, 512), (20, 8, 20), (600, 8, 95), (1, 8, 8), (513, 1024, 768),
     (1025, 1024, 1024)],
)  # fmt: skip
def test_slots_of_a_prompt(tokens: int, window: int | None, slots: int) -> None:
    assert prompt_slots(tokens, window) == slots


def test_slots_of_a_row() -> None:
    assert batch_slots(20, 1, None) == 276
    assert batch_slots(20, 257, None) == 532
    assert batch_slots(20, 30, 8) == 8
    assert batch_slots(20, 30, 100) == 100


def test_the_peak_is_the_largest_moment() -> None:
    plan = plan_memory(config_of("llama"), LORA, Lengths(100, 120, 20, 4, judge=200, asked=50, kept=10))
    assert isinstance(plan, Plan)
    assert plan.peak.total == max(moment.total for moment in plan.moments)
    assert [moment.name for moment in plan.moments] == [
        "between turns", "speaking", "judging", "RLAIF step", "GRPO step", "update",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"torch_dtype": None}, r"torch_dtype"),
        ({"torch_dtype": "float3"}, r"float3"),
        ({"quantization_config": {"quant_method": "awq"}}, r"awq.*mlx_lm.convert"),
    ],
)
def test_a_config_that_says_too_little(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(BadDescription, match=told):
        blueprint(config_of("llama", **changes))


def test_a_config_without_a_width() -> None:
    config = config_of("llama")
    del config["hidden_size"], config["vocab_size"]
    with pytest.raises(BadDescription, match=r"hidden_size, vocab_size"):
        blueprint(config)


@pytest.mark.parametrize("model_type", ["perceptron", "mamba"])
def test_an_architecture_without_a_map(model_type: str) -> None:
    with pytest.raises((UnknownArchitecture, BadDescription)):
        blueprint({"model_type": model_type, "torch_dtype": "float32"})
