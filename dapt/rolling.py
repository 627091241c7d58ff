"""One sample, window by window: what is learned from each, and what the next is read with (paper 286-301).

At each window: the loss of its content after the compressed history and the recap, its gradient gated by the recap's quality and
added up; a step of the compressor; the new history; the next recap, by the model as it is. After the last one the caller divides by
the number of windows and takes one step. All of it stands in `Rolling`, so a run can stop at any window's border.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import mlx.nn as nn
import mlx.optimizers as optim
from mlx.utils import tree_map

from agents.lm.architecture import head, hidden_states
from agents.lm.device import mx
from agents.lm.functional_cache import FunctionalCache
from agents.lm.generate import draw
from agents.lm.lora import flatten
from agents.lm.models import LoadedModel
from agents.lm.ranks import Ranks
from agents.lm.step import norms_of
from dapt.compressor import Compressor
from dapt.memory import History, Memory
from dapt.recap import Gate, Quality, assess
from dapt.rra import Window, compressed, history_of, loss_of, pass_window
from dapt.settings import WindowPart

ASKED = "\n[RECAP] In two sentences, what matters about this client so far:"
"""What the model goes on from to make a recap; the recap stands after it in the next window."""
FIRST = Gate(1.0, 1.0)
"""Of a window that is read with no recap: nothing is known of one, and nothing is held against it."""


@dataclass
class Rolling:
    """Where a sample stands: what the next window is read with, and what has been added up. recap: its words' tokens.

    nats, tokens: of the loss so far, over scored tokens.
    """

    window: int = 0
    memory: Memory | None = None
    recap: list[int] = field(default_factory=list)
    quality: Quality | None = None
    gradients: dict[str, mx.array] = field(default_factory=dict)  # the sum over windows of gate · ∇L, by name
    nats: float = 0.0
    tokens: int = 0


class WindowReport(NamedTuple):
    """One window. loss: nats a token that carries it, before any step; norm: of its gradient, before the gate; both None where no
    token does. tokens: of the content; learned: those that carry the loss. reconstruction: the compressor's before its step, None
    where skipped."""

    loss: float | None
    tokens: int
    learned: int
    norm: float | None
    gate: Gate
    reconstruction: float | None
    recap: str | None
    quality: Quality | None


def read_window(
    loaded: LoadedModel,
    compressor: Compressor,
    optimizer: optim.Optimizer,
    rolling: Rolling,
    content: list[int],
    part: WindowPart,
    key: mx.array | None,
    ranks: Ranks,
    learned: list[bool] | None = None,
) -> WindowReport:
    """Learn from one window and move `rolling` on; key: of the next recap, None where no window follows.

    ranks: other processes that take the compressor's steps too, each from a window of its own. learned: which content tokens carry
    the loss; None: all. Where none does, the window is read, compressed and recapped, and adds nothing to the gradient, whose mean
    is over this window too.
    """
    model, tokenizer = loaded.model, loaded.tokenizer
    asked = tokenizer.encode(ASKED, add_special_tokens=False) if rolling.recap else []
    window = Window([*asked, *rolling.recap], content, learned)
    scored = len(window.scored)
    gate = FIRST if rolling.quality is None else rolling.quality.gate

    def loss(m: nn.Module) -> tuple[mx.array, list[tuple[mx.array | None, mx.array | None]]]:
        passed = pass_window(m, rolling.memory, window)
        return loss_of(passed), [(cache.keys, cache.values) for cache in passed.caches]

    (value, held), gradients = nn.value_and_grad(model, loss)(model) if scored else (loss(model), None)
    if gradients is not None and gate.adapters > 0.0:
        total = rolling.gradients
        scaled = {name: gate.adapters * g for name, g in flatten(gradients).items()}
        rolling.gradients = {name: total[name] + g if total else g for name, g in scaled.items()}
    mx.eval(value, held, rolling.gradients)  # or the graphs of all windows would stay alive
    nats, norm = (float(value), norms_of(gradients).whole) if scored else (None, None)
    del gradients
    if nats is not None and math.isfinite(nats):
        rolling.nats, rolling.tokens = rolling.nats + scored * nats, rolling.tokens + scored
    caches = [FunctionalCache(*(mx.stop_gradient(a) for a in one if a is not None)) for one in held]
    for cache in caches:
        cache.offset = (0 if rolling.memory is None else rolling.memory.slots) + len(window.recap) + len(content)
        cache.n_mem = 0 if rolling.memory is None else rolling.memory.slots

    history = history_of(model, rolling.memory, window, caches)
    reconstruction = compressor_step(compressor, optimizer, history, part.slots, gate, ranks)
    rolling.memory = compressed(model, compressor, history, part.slots)
    mx.eval(rolling.memory.keys, rolling.memory.values)
    rolling.window += 1
    said, quality = None, None
    if key is not None and part.recap_tokens > 0:
        tokens = recap_tokens(loaded, caches, part, key)
        said, before = tokenizer.decode(tokens).strip(), tokenizer.decode(rolling.recap)
        quality = assess(said, tokenizer.decode(content), before, ASKED)
        rolling.recap, rolling.quality = tokens, quality
    return WindowReport(nats, len(content), scored, norm, gate, reconstruction, said, quality)


def compressor_step(
    compressor: Compressor, optimizer: optim.Optimizer, history: History | None, slots: int, gate: Gate, ranks: Ranks
) -> float | None:
    """A step on gate · ∇L_recon (Adam keeps its direction), a mean over the ranks that have one; gives the loss before it.

    A rank has none, and None comes back, where it has no window left (history None), where the gate is shut, and where loss or
    gradient is not finite. So all ranks keep one compressor; where none has a gradient, nothing moves.
    """
    value, weight, gradients = None, 0.0, None
    if history is not None and gate.compressor > 0.0:
        loss, found = nn.value_and_grad(compressor, lambda c: c.loss(*history, slots))(compressor)
        mx.eval(loss, found)
        if mx.isfinite(loss).item() and all(mx.isfinite(g).all().item() for g in flatten(found).values()):
            value, weight, gradients = float(loss), 1.0, tree_map(lambda g: gate.compressor * g, found)
    if gradients is None and ranks.size == 1:
        return None
    mean, weights = ranks.mean(gradients or tree_map(mx.zeros_like, compressor.trainable_parameters()), weight)
    if weights > 0.0:
        optimizer.update(compressor, mean)
        mx.eval(compressor.parameters(), optimizer.state)
    return value


def recap_tokens(loaded: LoadedModel, caches: list[FunctionalCache], part: WindowPart, key: mx.array) -> list[int]:
    """The model goes on after the window and ASKED, until it ends or a line ends; the caches are used up."""
    model, tokenizer = loaded.model, loaded.tokenizer
    stops, temperature = set(tokenizer.eos_token_ids), mx.array([part.recap_temperature])
    step, said = tokenizer.encode(ASKED, add_special_tokens=False), list[int]()
    while len(said) < part.recap_tokens:
        logits = head(model, hidden_states(model, mx.array([step]), caches)[:, -1])
        key, drawn = mx.random.split(key)
        token = int(draw(logits, temperature, drawn[None], part.min_p, 1.0))
        if token in stops or (said and "\n" in tokenizer.decode([token])):
            break
        said.append(token)
        step = [token]
    return said


class Read(NamedTuple):
    """One window that was read and not learned from. logp: (C,) of its scored tokens. slots: how many of the history's items are
    slots that it was read with; the others are its own tokens."""

    logp: mx.array
    history: History
    slots: int


def read_on(loaded: LoadedModel, compressor: Compressor, windows: Iterable[list[int]], slots: int) -> Iterator[Read]:
    """A sample read window by window with its compressed history, without recaps; nothing is learned.

    A window of a lone token is passed over: it has nothing to score.
    """
    memory = None
    for content in windows:
        if len(content) < 2:
            continue
        window = Window([], content)
        passed = pass_window(loaded.model, memory, window)
        history = history_of(loaded.model, memory, window, passed.caches)
        yield Read(passed.logp, history, 0 if memory is None else memory.slots)
        memory = compressed(loaded.model, compressor, history, slots)
        mx.eval(memory.keys, memory.values)
