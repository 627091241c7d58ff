"""The sentence encoder: published likenesses, bits that depend on the text alone, a plain word when it cannot start."""

import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest

from judges.offline.blas import one_thread
from judges.offline.minilm import MOST_TOKENS, SentenceEncoder, _gelu
from judges.protocol import JudgeUnavailable

# The likenesses the model's own page shows for "That is a happy person" (all-MiniLM-L6-v2).
PUBLISHED = {"That is a happy dog": 0.695, "That is a very happy person": 0.943, "Today is a sunny day": 0.257}


@pytest.fixture(scope="module")
def encoder() -> SentenceEncoder:
    return SentenceEncoder()


@pytest.mark.real
def test_the_published_likenesses(encoder: SentenceEncoder) -> None:
    happy, *others = encoder.encode(["That is a happy person", *PUBLISHED])
    assert [round(float(happy @ other), 3) for other in others] == pytest.approx(list(PUBLISHED.values()), abs=0.001)


@pytest.mark.real
def test_a_text_has_the_same_bits_in_any_company(encoder: SentenceEncoder) -> None:
    texts = ["", "Yes.", "I miss her.", "a " * 400, "It's been a year and I still pick up the phone.", "🙂 été ​"]
    alone = [SentenceEncoder().encode([text])[0].tobytes() for text in texts[:2]]
    alone += [encoder.encode([text])[0].tobytes() for text in texts[2:]]
    encoder._cache.clear()
    together = encoder.encode([*texts[::-1], *texts])
    assert [vector.tobytes() for vector in together[len(texts) :]] == alone
    assert together.dtype == np.float32
    assert together.shape == (12, 384)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-6)


@pytest.mark.real
def test_a_long_text_is_cut_where_it_says(encoder: SentenceEncoder) -> None:
    kept = "word " * (MOST_TOKENS - 2)  # the start and end marks take two
    a, b, shorter = encoder.encode([kept, kept + "another thing entirely", kept[:-10]])
    assert a.tobytes() == b.tobytes()
    assert a.tobytes() != shorter.tobytes()


@pytest.mark.real
def test_nothing_is_encoded_to_nothing_and_the_cache_cannot_be_written(encoder: SentenceEncoder) -> None:
    assert encoder.encode([]).shape == (0, 384)
    first = encoder.encode(["kept"])
    first[0, 0] = 9
    assert encoder.encode(["kept"])[0, 0] != 9


def test_gelu_is_exact_to_a_millionth_and_adds_the_bias() -> None:
    x = np.linspace(-12, 12, 9601, dtype=np.float32).reshape(-1, 1)
    bias = np.array([0.25], dtype=np.float32)
    exact = np.array([0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in (x + bias).astype(float).ravel()])
    _gelu(x, bias)
    np.testing.assert_allclose(x.ravel(), exact, rtol=1e-6, atol=1e-6)


@pytest.mark.real
def test_the_fingerprint_changes_with_the_tokenizer(encoder: SentenceEncoder, tmp_path: Path) -> None:
    for name in ("model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_bytes((encoder._folder / name).read_bytes())
    assert SentenceEncoder(tmp_path).fingerprint() == encoder.fingerprint()
    other = (tmp_path / "tokenizer.json").read_text()
    (tmp_path / "tokenizer.json").write_text(other + "\n")
    assert SentenceEncoder(tmp_path).fingerprint() != encoder.fingerprint()


def test_a_missing_wheel_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(JudgeUnavailable, match=r"not installed.*expected MiniLM.*make install"):
        SentenceEncoder()


def test_missing_and_damaged_files_are_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(JudgeUnavailable, match=r"model\.safetensors"):
        SentenceEncoder(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{}      ")
    with pytest.raises(JudgeUnavailable, match="another model"):
        SentenceEncoder(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(JudgeUnavailable, match="cannot be read"):
        SentenceEncoder(tmp_path)


def test_the_number_of_threads_is_put_back() -> None:
    from judges.offline.blas import _openblas

    control = _openblas()
    if control is None:
        pytest.skip("NumPy has another BLAS here")
    get, _ = control
    before = get()

    def fail_inside() -> None:
        with one_thread():
            assert get() == 1
            raise RuntimeError("inside")

    with pytest.raises(RuntimeError, match="inside"):
        fail_inside()
    assert get() == before
