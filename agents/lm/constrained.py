"""Texts in a form whose structure is forced: the model writes only inside the quotation marks.

A form is opening, text, opening, text, ... The openings are put there; a text is written token by token from those that
hold no quotation mark, backslash, line break, control or special character, and ends where the model would rather write
a token that begins with a quotation mark, a line break or its end token, or at its bound. Greedy unless a key is given. The
rows of a batch share their prompts' prefill (agents/lm/prompt_tree.py), and nothing is padded. No pass forwards more tokens
than the tree's budget, no batch holds more keys of its own than `held`, and nothing is written beyond the model's context.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from agents.lm.architecture import head
from agents.lm.device import mx
from agents.lm.generate import chat_tokens, without_special
from agents.lm.models import LoadedModel
from agents.lm.prompt_tree import Places, PromptTree, grown, laid_out, placed_states, slot_caches

ROWS = 16  # texts written at once: bounds the logits
HELD = 4096  # tokens of a batch beside those that all its rows begin with: bounds the keys
REPEAT = 4  # no run of so many tokens stands twice in a text: small models go in circles when greedy


class TooLong(ValueError):
    """A prompt that leaves no room for its answer in the model's context."""


class FieldWriter:
    """Writes texts under the adapter set that is active."""

    def __init__(self, loaded: LoadedModel, tree: PromptTree | None = None, held: int = HELD) -> None:
        """held: tokens whose keys the rows of a batch hold beside those that all begin with; a row that needs more is written
        alone."""
        self.loaded, self.tree, self.held = loaded, tree or PromptTree(loaded.model), held
        self._kinds: dict[str, npt.NDArray[np.bool_]] = {}

    def fill(
        self,
        prompts: Sequence[str],
        openings: Sequence[Sequence[str]],
        most_tokens: Sequence[Sequence[int]],
        key: mx.array | None = None,
    ) -> list[tuple[str, ...]]:
        """The texts of each row: one after each of its openings, in answer to its prompt, a user's message.

        most_tokens: the bound of each text. key: draw from the whole distribution instead of taking the likeliest token.
        A row is () where prompt, openings and texts at their bounds are longer than `tree.context` tokens: nothing of it is
        written, and the other rows are. Raises ValueError unless all rows have equally many openings and bounds of at least
        one token.
        """
        _expect(prompts, openings, most_tokens)
        asked = [self._asked(*row) for row in zip(prompts, openings, most_tokens, strict=True)]
        fitting = [i for i, row in enumerate(asked) if len(row.start) + row.added <= self.tree.context]
        found: list[tuple[str, ...]] = [()] * len(asked)
        for run in _runs([asked[i] for i in fitting], self.held):
            sub = None if key is None else mx.random.split(key, run.start + 1)[-1]
            for i, texts in zip(fitting[run], self._fill([asked[i] for i in fitting[run]], sub), strict=True):
                found[i] = texts
        return found

    def write(self, prompt: str, most_tokens: int, key: mx.array | None = None) -> str:
        """A free text in answer to a prompt: quotation marks and line breaks are allowed, and the model's end ends it.

        Raises TooLong where the prompt and `most_tokens` are more than `tree.context` tokens, ValueError for no token to write.
        """
        if most_tokens < 1:
            raise ValueError(f"found most_tokens {most_tokens}; expected at least 1")
        start = self._start(prompt)
        if len(start) + most_tokens > self.tree.context:
            raise TooLong(
                f"found a prompt of {len(start)} tokens and {most_tokens} to write; expected at most {self.tree.context} "
                f"together, the context of {self.loaded.name!r}. Shorten the prompt, or take a model with a longer context"
            )
        rows = _Rows(self.loaded, self.tree, [start])
        written = self._texts(rows, [most_tokens], free=True, key=key)
        return _whole(self.loaded.tokenizer.decode(written[0]), len(written[0]) == most_tokens)

    def _asked(self, prompt: str, openings: Sequence[str], most: Sequence[int]) -> _Asked:
        first, *later = map(self._encode, openings)
        return _Asked([*self._start(prompt), *first], later, most)

    def _fill(self, asked: Sequence[_Asked], key: mx.array | None) -> list[tuple[str, ...]]:
        rows = _Rows(self.loaded, self.tree, [row.start for row in asked])
        texts: list[list[str]] = [[] for _ in asked]
        for field in range(len(asked[0].most)):
            if field:
                rows.put([row.openings[field - 1] for row in asked])
            key, sub = (None, None) if key is None else mx.random.split(key)
            bounds = [row.most[field] for row in asked]
            for row, tokens in enumerate(self._texts(rows, bounds, free=False, key=sub)):
                texts[row].append(_whole(self.loaded.tokenizer.decode(tokens), len(tokens) == bounds[row]))
        return [tuple(text) for text in texts]

    def _texts(self, rows: _Rows, most: Sequence[int], *, free: bool, key: mx.array | None) -> list[list[int]]:
        """One text of each row, as tokens; the rows stand behind them afterwards."""
        written: list[list[int]] = [[] for _ in most]
        live = list(range(len(most)))
        while live:
            key, sub = (None, None) if key is None else mx.random.split(key)
            chosen = self._choose(rows.logits(live), [written[r] for r in live], free, sub)
            live = [r for r, token in zip(live, chosen, strict=True) if token is not None]
            following = dict(zip(live, (t for t in chosen if t is not None), strict=True))
            for row, token in following.items():
                written[row].append(token)
            rows.put([[following[r]] if r in following else [] for r in range(len(most))])
            live = [r for r in live if len(written[r]) < most[r]]
        return written

    def _choose(
        self, logits: mx.array, written: Sequence[list[int]], free: bool, key: mx.array | None
    ) -> list[int | None]:
        """The next token of each row, from logits (rows, vocabulary); None where the text ends."""
        kinds = self._vocabulary(int(logits.shape[-1]))
        ends = kinds["stops"] if free else kinds["ends"]
        allowed = ends | (kinds["known"] if free else kinds["plain"])
        open_ = np.repeat(allowed[None], len(written), axis=0)
        for row, tokens in enumerate(written):
            open_[row, _repeating(tokens)] = False
        masked = mx.where(mx.array(open_), logits, -mx.inf)
        drawn: Any = (mx.argmax(masked, axis=-1) if key is None else mx.random.categorical(masked, key=key)).tolist()
        return [None if ends[token] else token for token in drawn]

    def _vocabulary(self, size: int) -> dict[str, npt.NDArray[np.bool_]]:
        """(vocabulary,) bool each. stops: end tokens. ends: those and what begins with a mark that closes the text. plain:
        what may stand in a text. known: what may stand in a free text."""
        if not self._kinds:
            texts = [_text_of(self.loaded.tokenizer, token) for token in range(size)]
            stops = np.isin(np.arange(size), list(self.loaded.tokenizer.eos_token_ids))
            closing = np.array([text.lstrip(" ")[:1] in ('"', "\n") for text in texts]) & np.array(
                [t != "" for t in texts]
            )
            known = np.array([bool(text) and "\ufffd" not in text for text in texts]) & ~stops
            plain = known & np.array([text.isprintable() and not set(text) & {'"', "\\"} for text in texts])
            self._kinds = {"stops": stops, "ends": stops | closing, "plain": plain, "known": known}
        return self._kinds

    def _start(self, prompt: str) -> list[int]:
        return chat_tokens(self.loaded.tokenizer, [{"role": "user", "content": prompt}])

    def _encode(self, text: str) -> list[int]:
        plain = without_special(text, self.loaded.tokenizer)
        return list(self.loaded.tokenizer.encode(plain, add_special_tokens=False))


@dataclass(frozen=True)
class _Asked:
    """A row in tokens. start: prompt and first opening. openings: those after it. most: the bound of each text."""

    start: list[int]
    openings: list[list[int]]
    most: Sequence[int]

    @property
    def added(self) -> int:
        """Tokens that follow `start` at most."""
        return sum(map(len, self.openings)) + sum(self.most)


def _runs(rows: Sequence[_Asked], held: int) -> Iterator[slice]:
    """Neighbours that are written together: at most ROWS, with at most `held` tokens beside those that all begin with."""
    start = 0
    for stop in range(1, len(rows) + 1):
        if stop in (len(rows), start + ROWS) or _own(rows[start : stop + 1]) > held:
            yield slice(start, stop)
            start = stop


def _own(rows: Sequence[_Asked]) -> int:
    tree = grown([row.start for row in rows])
    return tree.size - len(tree.tokens) + sum(row.added for row in rows)


class _Rows:
    """Sequences that grow side by side on one set of keys and values."""

    def __init__(self, loaded: LoadedModel, tree: PromptTree, sequences: Sequence[list[int]]) -> None:
        self._model, self._budget = loaded.model, tree.budget
        trunk = tree.trunk(sequences, min(map(len, sequences)) - 1)
        tokens, places, branches = laid_out(len(trunk.tokens), [grown(sequences, len(trunk.tokens))])
        self._caches, self._slots = slot_caches(trunk), places.slots
        hidden = self._append(tokens, places.positions, places.seen)
        last = [_end(branches, i, len(sequence)) for i, sequence in enumerate(sequences)]
        self._seen = places.seen[last]  # (rows, slots)
        self._lengths = [len(sequence) for sequence in sequences]
        self._hidden = hidden[mx.array(last)]

    def logits(self, rows: Sequence[int]) -> mx.array:
        """(len(rows), vocabulary) of each row's next token."""
        return head(self._model, self._hidden[mx.array(list(rows))])

    def put(self, following: Sequence[Sequence[int]]) -> None:
        """Append so many tokens to each row; none leaves a row as it is."""
        owner = np.array([row for row, tokens in enumerate(following) for _ in tokens], dtype=np.int64)
        if not len(owner):
            return
        positions = np.concatenate([self._lengths[r] + np.arange(len(t)) for r, t in enumerate(following)])
        own = owner[:, None] == owner[None]
        seen = np.concatenate([self._seen[owner], own & np.tri(len(owner), dtype=bool)], axis=1)
        hidden = self._append([t for tokens in following for t in tokens], positions.astype(np.int32), seen)
        mine = np.arange(len(following))[:, None] == owner[None]
        self._seen = np.concatenate([self._seen, mine], axis=1)
        self._lengths = [length + len(t) for length, t in zip(self._lengths, following, strict=True)]
        last = np.cumsum([len(t) for t in following]) - 1
        both = mx.concatenate([self._hidden, hidden])
        rows = [len(following) + int(last[r]) if t else r for r, t in enumerate(following)]
        self._hidden = both[mx.array(rows)]
        mx.eval(self._hidden)

    def _append(self, tokens: Sequence[int], positions: np.ndarray, seen: np.ndarray) -> mx.array:
        """Hidden states (n, width) of n tokens, parents first, each of which sees some of slots + n keys: seen (n, slots + n) bool.
        Their own are among the keys afterwards."""
        held, found = len(self._slots), []
        self._slots = np.concatenate([self._slots, positions])
        for start in range(0, len(tokens), self._budget):
            part = slice(start, start + self._budget)
            places = Places(self._slots[: held + start], positions[part], seen[part, : held + part.stop])
            found.append(placed_states(self._model, tokens[part], self._caches, places))
            mx.eval(found[-1], [(cache.keys, cache.values) for cache in self._caches])
        return mx.concatenate(found)


def _end(branches: Sequence[tuple[Any, int]], sequence: int, length: int) -> int:
    """The row in which the last token of a sequence was laid out."""
    return next(
        start + length - 1 - b.depth
        for b, start in branches
        if sequence in b.sequences and b.depth < length == b.depth + len(b.tokens)
    )


def _text_of(tokenizer: Any, token: int) -> str:
    """What a token adds to a text; "" for special tokens and those beyond the tokenizer's own."""
    try:
        return str(tokenizer.decode([token], skip_special_tokens=True))
    except (KeyError, IndexError, ValueError, OverflowError, TypeError):
        return ""


def _repeating(tokens: list[int]) -> list[int]:
    """The tokens that would make a run of REPEAT tokens stand a second time."""
    if len(tokens) < REPEAT:
        return []
    run = tokens[-(REPEAT - 1) :]
    return [tokens[i + REPEAT - 1] for i in range(len(tokens) - REPEAT + 1) if tokens[i : i + REPEAT - 1] == run]


def _whole(text: str, cut: bool) -> str:
    """The text up to its last whole sentence where it was cut at its bound; all of it where it has no such end."""
    text = text.strip()
    ends = max(text.rfind(mark) for mark in ".!?")
    return text[: ends + 1] if cut and ends > 0 else text


def _expect(prompts: Sequence[str], openings: Sequence[Sequence[str]], most: Sequence[Sequence[int]]) -> None:
    counts = {len(row) for row in (*openings, *most)}
    if not len(prompts) == len(openings) == len(most) or len(counts) > 1 or 0 in counts:
        raise ValueError(
            f"found {len(prompts)} prompts, {len(openings)} and {len(most)} rows of {sorted(counts)} openings and bounds; "
            "expected one row for each prompt, all equally long"
        )
    if wrong := [bound for row in most for bound in row if bound < 1]:
        raise ValueError(f"found bounds {wrong}; expected at least one token for each text")
