"""Batched sampling: equal prompts share one prefill, and each sequence has its own key.

A token is drawn from softmax(z / T) over the tokens that min_p and top_p keep; both look at the untempered
distribution, as mlx-lm's samplers do. min_p keeps the tokens with p >= min_p max p. The draw of sequence i uses keys
split from its own key alone, so that it does not matter which other sequences are in the batch.
"""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mlx_lm.models.cache import can_trim_prompt_cache, make_prompt_cache, trim_prompt_cache

from agents.lm.architecture import head, hidden_states
from agents.lm.device import mx
from agents.lm.models import LoadedModel

PREFILL = 512  # prompt tokens forwarded at once: bounds the memory of a long prompt


@dataclass(frozen=True)
class Completion:
    """What was sampled. tokens: ids without the stop token (never re-tokenise text). stop: the stop token, None if none came."""

    tokens: list[int]
    text: str
    stop: int | None

    @property
    def finished(self) -> bool:
        """Whether it came to an end by itself."""
        return self.stop is not None

    @property
    def response(self) -> list[int]:
        """What a loss learns from: the tokens and, where one came, the stop token, or the policy never learns to end."""
        return self.tokens if self.stop is None else [*self.tokens, self.stop]


def chat_tokens(tokenizer: Any, messages: list[dict[str, str]]) -> list[int]:
    """Token ids of a chat ({"role", "content"} each) up to where the assistant speaks.

    Special tokens written out in a message ("<|im_end|>") are broken up by a space, so that no text can end its own
    turn.
    """
    plain = [{**m, "content": without_special(m["content"], tokenizer)} for m in messages]
    return list(tokenizer.apply_chat_template(plain, add_generation_prompt=True, tokenize=True))


def without_special(text: str, tokenizer: Any) -> str:
    """`text` with every special token that is written out in it broken up by a space."""
    added = getattr(tokenizer, "added_tokens_decoder", {})
    special = {*tokenizer.all_special_tokens, *(token.content for token in added.values() if token.special)}
    for token in sorted((t for t in special if len(t) > 1), key=len, reverse=True):
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


class PrefixCache:
    """Prompt caches kept between calls for ONE adapter set: a KV cache never crosses adapters.

    adapter: name or hash of the set. A prompt that begins like a stored one forwards only what is new. Clear it
    whenever the set has been trained. capacity: prompts kept; the one used longest ago goes first.
    """

    def __init__(self, adapter: str, capacity: int = 8) -> None:
        self.adapter, self.capacity = adapter, capacity
        self._kept: OrderedDict[tuple[int, ...], list[Any]] = OrderedDict()

    def clear(self) -> None:
        """Forget everything: needed after an optimizer step on the set."""
        self._kept.clear()

    def take(self, model: Any, tokens: list[int]) -> tuple[list[Any], int]:
        """(a cache of our own to write into, number of `tokens` it holds already, at most len(tokens) - 1)."""
        best, shared = None, 0
        for kept, cache in self._kept.items():
            common = min(common_length(kept, tokens), len(tokens) - 1)
            if common > shared and (common == len(kept) or can_trim_prompt_cache(cache)):
                best, shared = kept, common
        if best is None:
            return make_prompt_cache(model), 0
        self._kept.move_to_end(best)
        cache = copy.deepcopy(self._kept[best])
        if len(best) > shared:
            trim_prompt_cache(cache, len(best) - shared)
        return cache, shared

    def keep(self, tokens: list[int], cache: list[Any]) -> None:
        """Store the cache of a prompt; it must not be written to afterwards."""
        self._kept[tuple(tokens)] = cache
        self._kept.move_to_end(tuple(tokens))
        while len(self._kept) > self.capacity:
            self._kept.popitem(last=False)


def common_length(a: Sequence[int], b: Sequence[int]) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def generate(
    loaded: LoadedModel,
    prompts: Sequence[list[int]],
    *,
    temperatures: Sequence[float],
    keys: Sequence[mx.array],
    max_tokens: int,
    min_p: float = 0.1,
    top_p: float = 1.0,
    prefixes: PrefixCache | None = None,
) -> list[Completion]:
    """Continue each prompt with its own temperature (0 is greedy) and key; result i does not depend on the others.

    Equal prompts are forwarded once. Stops at the tokenizer's end tokens or after max_tokens.
    min_p 0.1 keeps the openings of a small model whole; 0 and top_p 1 sample the whole vocabulary.
    Raises ValueError for an empty prompt, lengths that differ, or settings out of range.
    """
    _expect(prompts, temperatures, keys, max_tokens, min_p, top_p)
    if not prompts:
        return []
    filled = {tuple(p): _prefill(loaded.model, list(p), prefixes) for p in dict.fromkeys(map(tuple, prompts))}
    each = [filled[tuple(p)] for p in prompts]
    batch = _Batch(
        loaded.model,
        [layer[0].merge(list(layer)) for layer in zip(*(cache for cache, _ in each), strict=True)],
        mx.array(list(temperatures), dtype=mx.float32),
        mx.stack(list(keys)),
        min_p,
        top_p,
    )
    sampled = batch.run(mx.concatenate([logits for _, logits in each]), max_tokens, set(loaded.tokenizer.eos_token_ids))
    return [Completion(tokens, loaded.tokenizer.decode(tokens), stop) for tokens, stop in sampled]


def _expect(
    prompts: Sequence[list[int]],
    temperatures: Sequence[float],
    keys: Sequence[mx.array],
    max_tokens: int,
    min_p: float,
    top_p: float,
) -> None:
    wrong = []
    if not len(prompts) == len(temperatures) == len(keys):
        wrong.append(
            f"{len(prompts)} prompts, {len(temperatures)} temperatures, {len(keys)} keys; expected as many of each"
        )
    if empty := [i for i, p in enumerate(prompts) if not p]:
        wrong.append(f"prompts {empty} are empty; expected at least one token")
    if cold := [t for t in temperatures if not (t >= 0 and math.isfinite(t))]:
        wrong.append(f"temperatures {cold}; expected finite numbers from 0")
    if max_tokens < 1 or not 0 <= min_p <= 1 or not 0 < top_p <= 1:
        wrong.append(f"max_tokens {max_tokens}, min_p {min_p}, top_p {top_p}; expected >= 1, in [0, 1], in (0, 1]")
    if wrong:
        raise ValueError("; ".join(wrong))


def _prefill(model: Any, tokens: list[int], prefixes: PrefixCache | None) -> tuple[list[Any], mx.array]:
    """(the prompt's cache, logits (1, vocabulary) of the token after it)."""
    cache, start = prefixes.take(model, tokens) if prefixes else (make_prompt_cache(model), 0)
    while len(tokens) - start > PREFILL:
        hidden_states(model, mx.array([tokens[start : start + PREFILL]]), cache)
        mx.eval([c.state for c in cache])
        start += PREFILL
    logits = head(model, hidden_states(model, mx.array([tokens[start:]]), cache)[:, -1])
    mx.eval(logits)
    if prefixes:
        prefixes.keep(tokens, cache)  # merging copies it: what is decoded later never writes into it
    return cache, logits


class _Batch:
    """Sequences that are decoded together, one row each; rows leave when they end."""

    def __init__(
        self, model: Any, caches: list[Any], temperatures: mx.array, keys: mx.array, min_p: float, top_p: float
    ) -> None:
        self.model, self.caches = model, caches
        self.temperatures, self.keys = temperatures, keys
        self.min_p, self.top_p = min_p, top_p

    def run(self, logits: mx.array, max_tokens: int, stops: set[int]) -> list[tuple[list[int], int | None]]:
        """[(tokens, stop token or None) for each row], from the logits (rows, vocabulary) of the first token."""
        sampled: list[list[int]] = [[] for _ in range(logits.shape[0])]
        stopped: list[int | None] = [None] * len(sampled)
        rows = list(range(len(sampled)))
        drawn = self._draw(logits)
        for step in range(max_tokens):
            # The next step is started before this one's tokens are read, so that a GPU is never idle.
            following = self._step(drawn) if step + 1 < max_tokens else drawn
            live = []
            tokens: Any = drawn.tolist()
            for place, (row, token) in enumerate(zip(rows, tokens, strict=True)):
                if token in stops:
                    stopped[row] = token
                else:
                    sampled[row].append(token)
                    live.append(place)
            if not live or step + 1 == max_tokens:
                break
            drawn = following
            if len(live) < len(rows):
                drawn = self._keep(live, drawn)
                rows = [rows[i] for i in live]
        return list(zip(sampled, stopped, strict=True))

    def _step(self, tokens: mx.array) -> mx.array:
        logits = head(self.model, hidden_states(self.model, tokens[:, None], self.caches)[:, -1])
        drawn = self._draw(logits)
        mx.async_eval(drawn, self.keys)
        return drawn

    def _keep(self, places: list[int], drawn: mx.array) -> mx.array:
        kept = mx.array(places)
        for cache in self.caches:
            cache.filter(kept)
        self.temperatures, self.keys = self.temperatures[kept], self.keys[kept]
        return drawn[kept]

    def _draw(self, logits: mx.array) -> mx.array:
        """One token id for each row of logits (rows, vocabulary), which are float32."""
        split = mx.vmap(mx.random.split)(self.keys)
        self.keys = split[:, 0]
        return draw(logits, self.temperatures, split[:, 1], self.min_p, self.top_p)


def draw(logits: mx.array, temperatures: mx.array, keys: mx.array, min_p: float, top_p: float) -> mx.array:
    """(rows,) token ids: one for each row of logits (rows, vocabulary), with a temperature and a key of its own; 0 is greedy."""
    cold = temperatures == 0
    tempered = _kept(logits, min_p, top_p) / mx.where(cold, 1.0, temperatures)[:, None]
    return mx.where(cold, mx.argmax(logits, axis=-1), mx.vmap(_categorical)(tempered, keys))


def _categorical(logits: mx.array, key: mx.array) -> mx.array:
    return mx.random.categorical(logits, key=key)


def _kept(logits: mx.array, min_p: float, top_p: float) -> mx.array:
    """Logits with the tokens that min_p or top_p drops at -inf."""
    if min_p > 0:
        floor = mx.max(logits, axis=-1, keepdims=True) + math.log(min_p)
        logits = mx.where(logits < floor, -mx.inf, logits)
    if top_p < 1:
        # Keep a token while the mass strictly above it is under top_p.
        order = mx.argsort(-logits, axis=-1)
        p = mx.softmax(mx.take_along_axis(logits, order, axis=-1), axis=-1, precise=True)
        above = mx.cumsum(p, axis=-1) - p
        ranked = mx.where(above < top_p, mx.take_along_axis(logits, order, axis=-1), -mx.inf)
        logits = mx.put_along_axis(logits, order, ranked, axis=-1)
    return logits
