"""How many bytes keys and values take: exact, the arithmetic of mlx-lm's caches and of ours.

A layer keeps of each token what its key and value projections give: heads x width twice, and of latent attention one latent and one
rotary part for all heads, which is why GLM-4.7 Flash keeps an eighteenth of what its heads would.
"""

from __future__ import annotations

import mlx.nn as nn
from mlx_lm.models.cache import KVCache, make_prompt_cache

from agents.lm.architecture import layers_of, modules_by_kind
from agents.lm.generate import PREFILL

STEP = KVCache.step  # slots that a cache grows by


def kept_values(model: nn.Module) -> list[int]:
    """Numbers that each layer keeps of one token: the outputs of its key and value projections (one may make both)."""
    present = dict(model.named_modules())
    kinds = [modules_by_kind(model, i) for i in range(len(layers_of(model)))]
    return [sum(outputs(present[path]) for path in dict.fromkeys([*each["k"], *each["v"]])) for each in kinds]


def outputs(module: nn.Module) -> int:
    """Numbers that a linear module makes of one token, adapted or not, quantised or not."""
    base = module.get("linear", module)
    return int(base.weight.shape[-2])


def windows(model: nn.Module) -> list[int | None]:
    """Of each layer, the newest tokens that it keeps; None where it keeps all."""
    return [getattr(cache, "max_size", None) for cache in make_prompt_cache(model)]


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
    """Slots of each row of a batch after `steps` tokens were forwarded on a prompt's copy: P' = P or min(P, W).

    P' + 256 ⌈n / 256⌉, within the window
    """
    start = tokens if window is None else min(tokens, window)
    grown = start + STEP * -(-steps // STEP)
    return grown if window is None else min(grown, max(window, start))


def prompt_cache_bytes(model: nn.Module, tokens: int, item: int) -> int:
    """Bytes of the cache of one prompt that was forwarded from nothing: Σ layers slots · kept values · item.

    item: bytes of a number. Where the beginning was taken from a kept prompt, a layer may hold up to 255 slots more.
    """
    each = zip(kept_values(model), windows(model), strict=True)
    return item * sum(prompt_slots(tokens, window) * kept for kept, window in each)


def batch_cache_bytes(model: nn.Module, rows: int, tokens: int, longest: int, item: int) -> int:
    """Bytes of the cache of `rows` replies to one prompt, each as long as it may be: K Σ layers slots · kept values · item.

    longest: tokens of a reply; the last one is drawn and not forwarded.
    """
    each = zip(kept_values(model), windows(model), strict=True)
    return rows * item * sum(batch_slots(tokens, longest - 1, window) * kept for kept, window in each)


def trunk_bytes(model: nn.Module, tokens: int, item: int) -> int:
    """Bytes of what a prompt tree keeps of its trunk: every token in every layer, also where a window slides."""
    return item * tokens * sum(kept_values(model))
