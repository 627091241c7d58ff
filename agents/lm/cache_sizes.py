"""How many bytes keys and values take: exact, the arithmetic of mlx-lm's caches and of ours.

A layer keeps of each token what its key and value projections make: heads x width twice, and of latent attention one latent and one
rotary part for all heads, which is why GLM-4.7 Flash keeps an eighteenth of what its heads would.
"""

from __future__ import annotations

from mlx_lm.models.cache import KVCache

from agents.lm.generate import PREFILL
from agents.lm.shapes import Shapes

STEP: int = KVCache.step  # slots that a cache grows by


def prompt_slots(tokens: int, window: int | None) -> int:
    """Slots of a cache that a prompt was forwarded into, in chunks of PREFILL.

    all kept:  256 ⌈P / 256⌉        window W:  s <- min(s, W - 1) + chunk, the first chunk whole; a lone last token in place
    """
    if window is None:
        return STEP * -(-tokens // STEP)
    slots = done = 0
    while done < tokens:
        chunk = min(PREFILL, tokens - done)
        if chunk == 1:
            slots = min(slots + min(STEP, window - done) if slots < window else slots, window)
        else:
            slots = (min(slots, window - 1) if slots else 0) + chunk
        done += chunk
    return slots


def batch_slots(tokens: int, steps: int, window: int | None) -> int:
    """Slots of each row of a batch after `steps` tokens were forwarded on a prompt's copy, within the window.

    P + 256 ⌈n / 256⌉        window W:  min(W, min(P, W) + 256 ⌈n / 256⌉)
    """
    grown = STEP * -(-steps // STEP)
    return tokens + grown if window is None else min(window, min(tokens, window) + grown)


def prompt_cache_bytes(shapes: Shapes, tokens: int) -> int:
    """Bytes of the cache of one prompt that was forwarded from nothing: item Σ layers slots · kept.

    Where the beginning was taken from a kept prompt, a layer may hold up to 255 slots more.
    """
    return shapes.item * sum(prompt_slots(tokens, layer.window) * layer.kept for layer in shapes.layers)


def batch_cache_bytes(shapes: Shapes, rows: int, tokens: int, longest: int) -> int:
    """Bytes of the cache of `rows` replies to one prompt, each `longest` tokens: item K Σ layers slots · kept.

    The last token is drawn and not forwarded. Rows that end sooner leave, so this is the most.
    """
    slots = [batch_slots(tokens, longest - 1, layer.window) * layer.kept for layer in shapes.layers]
    return shapes.item * rows * sum(slots)


def trunk_bytes(shapes: Shapes, tokens: int) -> int:
    """Bytes of what a prompt tree keeps of its trunk: every token in every layer, also where a window slides."""
    return shapes.item * tokens * sum(layer.kept for layer in shapes.layers)
