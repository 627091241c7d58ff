"""The closed forms against plain refits, and the cache that is whole or absent."""

import os
from pathlib import Path

import numpy as np
import pytest

from judges.offline.features import FEATURES
from judges.offline.fit import kernel, logit, sigmoid
from judges.offline.fit_cache import load_arrays, save_arrays
from judges.offline.minilm import READ, WIDTH
from judges.offline.relevance import RELEVANCE
from judges.offline.ridge import kernel_ridge

NAMES = frozenset(["a", "b"])
ARRAYS = {"a": np.arange(6.0).reshape(2, 3), "b": np.array([1, 2])}


def test_left_out_errors_equal_refits() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 7)), rng.normal(size=(20, 3))
    groups = [np.array([0, 3, 4]), np.arange(5, 12), np.array([19])]
    gram = x @ x.T + 1.5
    for rows, error in zip(groups, kernel_ridge(gram, y, 0.7, groups).left_out, strict=True):
        kept = np.setdiff1d(np.arange(20), rows)
        duals = kernel_ridge(gram[np.ix_(kept, kept)], y[kept], 0.7, []).duals
        np.testing.assert_allclose(error, y[rows] - gram[np.ix_(rows, kept)] @ duals, atol=1e-10)


def test_kernel_ridge_solves_the_normal_equations() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(12, 4)), rng.normal(size=(12, 2))
    weights = x.T @ kernel_ridge(x @ x.T, y, 2.0, []).duals
    np.testing.assert_allclose((x.T @ x + 2.0 * np.eye(4)) @ weights, x.T @ y, atol=1e-10)


def test_a_kernel_by_hand() -> None:
    """One column a layer, so that the numbers can be followed: two exchanges with themselves and with each other."""
    columns = len(READ) * WIDTH + len(FEATURES) + len(RELEVANCE)
    rows = np.zeros((2, columns))
    rows[0, 0], rows[1, 1], rows[1, -1] = 1.0, 2.0, 1.0
    clients = np.zeros((2, WIDTH))
    clients[0, 0], clients[1, :2] = 1.0, (0.6, 0.8)
    found = kernel(rows, clients, rows, clients, np.array([2.0, 3.0]))
    apart = 1 + 5  # squared distance of the rows; of their layers 1 + 4
    across = 20 * np.exp(-0.3 / 2 * apart) + 20 * np.exp(-0.3 / 3 * 5) * 0.6**2
    np.testing.assert_allclose(found, [[0.3 + 40, across], [across, 0.3 * 5 + 40]])


def test_scores_and_logits_are_inverse_within_the_edges() -> None:
    scores = np.array([0.3, 1, 5, 9, 9.7])
    np.testing.assert_allclose(10 * sigmoid(logit(scores)), scores)
    assert np.isfinite(logit(np.array([0.0, 10.0]))).all()
    assert sigmoid(np.array([-1e308, 1e308])).tolist() == [0.0, 1.0]


def test_arrays_come_back_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "new" / "fit.safetensors"
    assert save_arrays(path, ARRAYS)
    loaded = load_arrays(path, NAMES)
    assert loaded is not None
    assert all(
        np.array_equal(loaded[name], ARRAYS[name]) and loaded[name].dtype == ARRAYS[name].dtype for name in NAMES
    )
    assert [file.name for file in path.parent.iterdir()] == ["fit.safetensors"]


def test_no_altered_byte_is_used(tmp_path: Path) -> None:
    path = tmp_path / "fit.safetensors"
    save_arrays(path, ARRAYS)
    whole = path.read_bytes()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        loaded = load_arrays(path, NAMES)
        # A flipped bit in the padding of the header may leave the arrays as they were; never other arrays.
        assert loaded is None or all(loaded[name].tobytes() == ARRAYS[name].tobytes() for name in NAMES)
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        assert load_arrays(path, NAMES) is None


def test_other_names_or_no_file_are_no_fit(tmp_path: Path) -> None:
    path = tmp_path / "fit.safetensors"
    assert load_arrays(path, NAMES) is None
    save_arrays(path, ARRAYS)
    assert load_arrays(path, frozenset(["a"])) is None


def test_a_folder_that_cannot_be_written_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    assert not save_arrays(tmp_path / "file" / "fit.safetensors", ARRAYS)


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "fit.safetensors"
    save_arrays(path, ARRAYS)
    whole = path.read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    assert not save_arrays(path, {**ARRAYS, "b": np.array([3, 4])})
    assert path.read_bytes() == whole
    assert len(list(tmp_path.iterdir())) == 1
