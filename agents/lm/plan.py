"""The memory that a run needs, by arithmetic alone: no weight is loaded. All figures are bytes.

A is one adapter set. What is held, and when:

    between turns   base + 2 A (therapist, frozen) + 2 A (Adam's two moments) + what a judge keeps of its prompt
    speaking        and 3 A: the turn keeps therapist and moments as they were, to take it back    + prompt caches + K rows
    RLAIF, GRPO     the same, with the backward pass in place of the rows
    update          in place of the backward pass: its gradients twice (as they come, and scaled), and the therapist once more

Base, adapters, moments and caches are exact: tests hold them to what loaded models take. The passes are estimates, `agents.lm.
activations` says of what. Beside all this stands the process itself: half a gigabyte of Python, MKL and the offline judge.
"""

from __future__ import annotations

from dataclasses import dataclass

from agents.lm.activations import FLOAT, Load, Step, activation_bytes, pass_bytes
from agents.lm.blueprint import Config, adapted
from agents.lm.cache_sizes import batch_cache_bytes, prompt_cache_bytes, trunk_bytes
from agents.lm.generate import PREFILL
from agents.lm.lora import LoraSettings
from agents.lm.shapes import Shapes, shapes_of

COUNTERS = 12  # bytes: Adam's step and learning rate
LOGIT_COPIES = 4  # rows of logits that a draw makes: as they are, kept, tempered, with noise
PARTS = {  # name -> whether it is exact
    "base weights": True, "adapters": True, "Adam's moments": True, "readers' prompts": True, "turn to take back": True,
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
    """What a run needs, moment by moment, in a model of these shapes. checkpoint: gradients are checkpointed."""

    shapes: Shapes
    lengths: Lengths
    moments: tuple[Moment, ...]
    checkpoint: bool = False

    @property
    def peak(self) -> Moment:
        """The moment that needs most."""
        return max(self.moments, key=lambda moment: moment.total)


def plan_memory(
    config: Config, lora: LoraSettings, lengths: Lengths, *, cpu: bool = False, checkpoint: bool = False
) -> Plan:
    """The plan of a run with the model of this config.json. Raises what `blueprint.adapted` raises."""
    return plan_shapes(shapes_of(adapted(config, lora, cpu=cpu)), lengths, checkpoint)


def plan_shapes(shapes: Shapes, lengths: Lengths, checkpoint: bool = False) -> Plan:
    """The same for shapes that are known: another turn of the same run."""
    return Plan(shapes, lengths, moments(shapes, lengths, checkpoint), checkpoint)


def adam_bytes(shapes: Shapes) -> int:
    """Bytes of Adam's state: two moments of each adapter array, its step and its learning rate."""
    return 2 * shapes.adapter + COUNTERS


def moments(shapes: Shapes, lengths: Lengths, checkpoint: bool = False) -> tuple[Moment, ...]:
    """What is held when. RLAIF learns from two responses, GRPO from `rows`; each may end in a stop token."""
    one, kept = shapes.adapter, trunk_bytes(shapes, lengths.judge + lengths.kept)
    held = {"base weights": sum(shapes.base.values()), "adapters": 2 * one, "Adam's moments": adam_bytes(shapes)}
    held |= {"readers' prompts": kept} if kept else {}
    prompts = prompt_cache_bytes(shapes, lengths.prompt) + prompt_cache_bytes(shapes, lengths.correction)
    caches, back = {"prompt caches": prompts}, {"turn to take back": 3 * one}
    found = [Moment("between turns", held), Moment("speaking", held | back | caches | _speaking(shapes, lengths))]
    if lengths.judge:
        found.append(Moment("judging", held | back | caches | _judging(shapes, lengths)))
    for name, rows, before in (("RLAIF step", 2, {}), ("GRPO step", lengths.rows, back)):
        layers, head = activation_bytes(shapes, Step(lengths.prompt, rows, lengths.reply), checkpoint)
        passing = {"layers for backward": layers, "logits and gradients": head}
        found.append(Moment(name, held | before | caches | passing))
    return (*found, Moment("update", held | back | caches | {"gradients and update": 3 * one}))


def _speaking(shapes: Shapes, lengths: Lengths) -> dict[str, int]:
    """Candidates at their last token and what a draw makes, or a chunk of their prompt before there are any: the larger."""
    chunk = min(PREFILL, lengths.prompt)
    prefill = pass_bytes(shapes, Load(chunk, lengths.prompt, chunk * lengths.prompt))
    draw = LOGIT_COPIES * lengths.rows * shapes.vocabulary * FLOAT
    rows = batch_cache_bytes(shapes, lengths.rows, lengths.prompt, lengths.reply)
    return {"a pass": prefill} if prefill > rows + draw else {"candidates' caches": rows, "a pass": draw}


def _judging(shapes: Shapes, lengths: Lengths) -> dict[str, int]:
    """A tree's branches stand in one row beside a copy of its trunk in every layer; one layer works at a time."""
    keys = lengths.judge + lengths.asked
    load = Load(lengths.asked, keys, lengths.asked * keys)
    return {"a pass": trunk_bytes(shapes, keys) + pass_bytes(shapes, load)}
