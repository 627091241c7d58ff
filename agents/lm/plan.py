"""The memory that a run needs, by arithmetic alone: no weight is loaded. All figures are bytes.

A is one adapter set. What is held, and when:

    between turns   base + 2 A (therapist, frozen) + 2 A (Adam's two moments) + what a judge keeps of its prompt
    speaking        and 3 A: the turn keeps therapist and moments as they were, to take it back    + prompt caches + K rows
    RLAIF, GRPO     the same, with the backward pass in place of the rows
    update          in place of the backward pass: its gradients twice (as they come, and scaled), and the therapist once more

Base, adapters, moments and caches are exact: tests hold them to what loaded models take. The passes are estimates, `agents.lm.
activations` says of what. Beside all this stands the process itself: about 0.7 GB of Python, MKL and the offline judge.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import mlx.nn as nn

from agents.lm.activations import FLOAT, Load, Step, activation_bytes, pass_bytes, vocabulary
from agents.lm.architecture import layers_of
from agents.lm.blueprint import Config, activation_dtype, adapted, blueprint
from agents.lm.cache_sizes import batch_cache_bytes, kept_values, prompt_cache_bytes, trunk_bytes
from agents.lm.generate import PREFILL
from agents.lm.lora import LEAVES, LoraSettings, adapted_layers, flatten, trainable

COUNTERS = 12  # bytes: Adam's step and learning rate
LOGIT_COPIES = 4  # rows of logits that a draw makes: as they are, kept, tempered, with noise
PARTS = {  # name -> whether it is exact
    "base weights": True, "adapters": True, "Adam's moments": True, "judge's prompt": True, "turn to take back": True,
    "prompt caches": True, "candidates' caches": True, "a pass": False, "layers for backward": False,
    "logits and gradients": False, "gradients and update": True,
}  # fmt: skip


@dataclass(frozen=True)
class Lengths:
    """Tokens of the turn that is planned for. prompt, correction: what the therapist is told before reply and second attempt.
    reply: longest. rows: candidates of a group. judge: a prompt of a judge that is the model itself, 0 for another judge; asked:
    what comes after it in one pass. kept: other prompts that frozen readers keep."""

    prompt: int
    correction: int
    reply: int
    rows: int
    judge: int = 0
    asked: int = 0
    kept: int = 0


@dataclass(frozen=True)
class Moment:
    """A time of a turn: bytes by part, in the order of PARTS."""

    name: str
    parts: dict[str, int]

    @property
    def total(self) -> int:
        return sum(self.parts.values())


@dataclass(frozen=True)
class Plan:
    """What a run needs. parameters: of the base, counted before it was quantised; trained: of one adapter set. base: bytes of its
    parts. layers: adapted ones."""

    parameters: int
    trained: int
    base: dict[str, int]
    layers: list[int]
    depth: int
    lengths: Lengths
    moments: tuple[Moment, ...] = field(default=())

    @property
    def peak(self) -> Moment:
        return max(self.moments, key=lambda moment: moment.total)


def plan_memory(config: Config, lora: LoraSettings, lengths: Lengths, *, cpu: bool = False) -> Plan:
    """The plan of a run with a model of this config.json. Raises what `blueprint` and `adapted_layers` raise."""
    model = adapted(config, lora, cpu=cpu)
    whole = flatten(blueprint(config, quantised=False).parameters())
    return Plan(
        parameters=sum(array.size for array in whole.values()),
        trained=sum(array.size for array in trainable(model).values()),
        base=base_bytes(model),
        layers=adapted_layers(len(layers_of(model)), lora),
        depth=len(layers_of(model)),
        lengths=lengths,
        moments=moments(model, lengths),
    )


def base_bytes(model: nn.Module) -> dict[str, int]:
    """Bytes of the frozen base by part; adapters left out. With b bits in groups of g, each with a scale and a bias of s bytes:

    quantised  size (b / 8 + 2 s / g)        else  size · item
    """
    found = dict.fromkeys(("embedding", "attention", "experts", "other units", "head", "norms and routers"), 0)
    for name, array in flatten(model.parameters()).items():
        if name.rpartition(".")[2] not in LEAVES:
            found[_part(name)] += array.nbytes
    return {part: size for part, size in found.items() if size}


_NAMES: dict[str, Callable[[str], bool]] = {
    "embedding": lambda name: "embed_tokens." in name,
    "head": lambda name: "lm_head." in name,
    "experts": lambda name: ".switch_mlp." in name,
    "norms and routers": lambda name: "norm." in name or ".gate." in name or "e_score_correction_bias" in name,
    "attention": lambda name: ".self_attn." in name,
}


def _part(name: str) -> str:
    return next((part for part, fits in _NAMES.items() if fits(name)), "other units")


def adapter_bytes(model: nn.Module) -> int:
    """Bytes of one set: 4 Σ r (inputs + outputs), times the experts where a module holds them all."""
    return sum(array.nbytes for array in trainable(model).values())


def adam_bytes(model: nn.Module) -> int:
    """Bytes of Adam's state: two moments of each adapter array, its step and its learning rate."""
    return 2 * adapter_bytes(model) + COUNTERS


def moments(model: nn.Module, lengths: Lengths) -> tuple[Moment, ...]:
    """What is held when. RLAIF learns from two responses, GRPO from `rows`; each may end in a stop token."""
    item, one = activation_dtype(model).size, adapter_bytes(model)
    kept = trunk_bytes(model, lengths.judge + lengths.kept, item)
    held = {"base weights": sum(base_bytes(model).values()), "adapters": 2 * one, "Adam's moments": adam_bytes(model)}
    held |= {"judge's prompt": kept} if kept else {}
    prompts = prompt_cache_bytes(model, lengths.prompt, item) + prompt_cache_bytes(model, lengths.correction, item)
    caches, back = {"prompt caches": prompts}, {"turn to take back": 3 * one}
    found = [Moment("between turns", held), Moment("speaking", held | back | caches | _speaking(model, lengths, item))]
    if lengths.judge:
        found.append(Moment("judging", held | back | caches | _judging(model, lengths, item)))
    for name, rows, before in (("RLAIF step", 2, {}), ("GRPO step", lengths.rows, back)):
        layers, head = activation_bytes(model, Step(lengths.prompt, rows, lengths.reply), item)
        passing = {"layers for backward": layers, "logits and gradients": head}
        found.append(Moment(name, held | before | caches | passing))
    return (*found, Moment("update", held | back | caches | {"gradients and update": 3 * one}))


def _speaking(model: nn.Module, lengths: Lengths, item: int) -> dict[str, int]:
    """Candidates at their last token, or the last chunk of their prompt: K rows grow while one layer works at a time."""
    rows = batch_cache_bytes(model, lengths.rows, lengths.prompt, lengths.reply, item)
    chunk = min(PREFILL, lengths.prompt)
    prefill = pass_bytes(model, Load(chunk, lengths.prompt, chunk * lengths.prompt), item)
    draw = LOGIT_COPIES * lengths.rows * vocabulary(model) * FLOAT
    return {"candidates' caches": rows, "a pass": max(prefill, draw)}


def _judging(model: nn.Module, lengths: Lengths, item: int) -> dict[str, int]:
    """A tree's branches stand in one row beside a copy of its trunk in every layer; one layer works at a time."""
    keys = lengths.judge + lengths.asked
    copies = keys * sum(kept_values(model)) * item
    return {"a pass": copies + pass_bytes(model, Load(lengths.asked, keys, lengths.asked * keys), item)}
