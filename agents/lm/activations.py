"""What backward has to keep of a training step with a shared prompt: an estimate from the architecture's shapes.

K responses of T tokens after P tokens of prompt pass the layers as n = P + K (T - 1) tokens. From the first adapted layer up, a
layer's keys, values and softmax are kept for

    contexts  P + K (P + T - 1)  keys        scores  P² + K (T - 1) (P + T - 1)  for each head

since MLX differentiates attention unfused, on every device, and K copies of the prompt's keys stand beside the branches'. What
is kept of a token was counted on random models of every architecture by evaluating a loss and holding its gradient back; what
the counts leave out (masks, rotary tables, scalars of norms) is a hundredth. MLX frees and reuses in an order of its own, so the
peak is an estimate: docs/memory.md has it beside measurements.

    peak = states + Σ layers from the first adapted one + max(logits, 3 scores of the top layer, the top layer once more)

The head's backward ends before a layer's begins, so only the larger of what they need for themselves counts.

Where gradients are checkpointed (agents/lm/depth.py) a layer keeps what entered it and its keys and values, and makes the rest once
more when its turn comes:

    peak = states + Σ layers (n width + contexts kept) + the largest layer + max(logits, 3 scores, that layer once more)

The layer is made while the head's arrays are not yet freed: without them the peak would be a third lower than measured where logits
are most of it. Latent attention keeps more score arrays alive than three: its peak is up to a half higher, the longer the prompt.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from agents.lm.shapes import Layer, Shapes

FLOAT = 4  # bytes: adapters, their products, logits and a router's scores are float32 in every model
SCORES_AT_ONCE = 3  # further arrays like one layer's softmax that its own backward makes


@dataclass(frozen=True)
class Load:
    """What passes a layer. tokens: n. contexts: keys, each row's counted. scores: queries times keys, for one head."""

    tokens: int
    contexts: int
    scores: int


@dataclass(frozen=True)
class Step:
    """A training step. prompt: P. rows: K responses. longest: T tokens of the longest response, the stop among them."""

    prompt: int
    rows: int
    longest: int

    @property
    def load(self) -> Load:
        """The prompt's tokens and the branches', whose last tokens are only predicted."""
        branch, keys = self.longest - 1, self.prompt + self.longest - 1
        contexts = self.prompt + self.rows * keys * (branch > 0)
        return Load(self.prompt + self.rows * branch, contexts, self.prompt**2 + self.rows * branch * keys)


def layer_bytes(layer: Layer, load: Load, item: int) -> int:
    """Bytes that backward needs of one layer; item: bytes of a number of the model.

    n · (token · item + router · 4 + ranks · 4 + inputs of adapters) + (contexts · context + heads · scores) · item

    An adapter is float32. In a float32 model its input is an array that others read as well; in another each adapted module
    keeps a float32 copy of its own.
    """
    shared = {which: inputs for inputs, which, _ in layer.adapters}
    inputs = sum(shared.values()) if item == FLOAT else sum(inputs for inputs, _, _ in layer.adapters)
    ranks = sum(rank for _, _, rank in layer.adapters)
    each = layer.token * item + FLOAT * (layer.router + ranks + inputs)
    return load.tokens * each + (load.contexts * layer.context + layer.heads * load.scores) * item


def logit_bytes(shapes: Shapes, step: Step) -> int:
    """Bytes of logits and their gradients at once: K T V (3 · 4), and twice in the model's own type where that is another."""
    own = 0 if shapes.item == FLOAT else 2 * shapes.item
    return step.rows * step.longest * shapes.vocabulary * (3 * FLOAT + own)


def activation_bytes(shapes: Shapes, step: Step, checkpoint: bool = False) -> tuple[int, int]:
    """(bytes of states and layers, bytes of what the head or a layer needs beside them) at the peak of a step's backward.

    states: what entered the first adapted layer, once for all losses. Adapters and their gradients are not among them.
    checkpoint: as in `response_logprobs`.
    """
    load, adapted = step.load, shapes.layers[shapes.first :]
    layers = [layer_bytes(layer, load, shapes.item) for layer in adapted]
    states = load.tokens * shapes.width * shapes.item if shapes.first else 0
    scores = SCORES_AT_ONCE * shapes.layers[-1].heads * load.scores * shapes.item
    if not checkpoint:
        return states + sum(layers), max(logit_bytes(shapes, step), scores, layers[-1])
    kept = [(load.tokens * shapes.width + load.contexts * layer.kept) * shapes.item for layer in adapted]
    most = max(layers)
    return states + sum(kept), most + max(logit_bytes(shapes, step), scores, most)


def pass_bytes(shapes: Shapes, load: Load) -> int:
    """Bytes that one layer makes for itself in a pass without gradients, at most: what its backward would keep, adapters aside."""
    return max(layer_bytes(replace(layer, adapters=()), load, shapes.item) for layer in shapes.layers)
