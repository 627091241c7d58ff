"""The fast BLAS is in place before MLX, or it says that it came too late."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from agents.lm import device
from agents.lm.device import mx

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux wheels bring the slow BLAS")


def run(code: str, **environment: str) -> str:
    ended = subprocess.run(
        [sys.executable, "-W", "always", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **environment},
    )
    return ended.stdout + ended.stderr


@LINUX
@pytest.mark.parametrize("module", ["agents.lm.models", "agents.lm.lora", "agents.lm.files"])
def test_any_module_of_ours_loads_the_blas_before_mlx(module: str) -> None:
    if not any(device._loads(file) for _, file in device._candidates()):
        pytest.skip("no fast BLAS on this machine")
    shown = run(f"import {module}; from agents.lm.device import BLAS; print(BLAS)")
    assert shown.strip() in ("MKL", "OpenBLAS")


@LINUX
def test_mlx_imported_first_is_told() -> None:
    shown = run("import mlx.core; from agents.lm.device import BLAS; print(BLAS)")
    assert "Import agents.lm first" in shown
    assert device.SLOW in shown


@LINUX
def test_the_slow_one_can_be_asked_for() -> None:
    assert (
        run("from agents.lm.device import device_name; print(device_name())", ICARUS_BLAS="none")
        .strip()
        .endswith(device.SLOW)
    )


def test_dtype_follows_the_device() -> None:
    on_cpu = device.on_cpu()
    assert device.default_dtype(mx.bfloat16) == (mx.float32 if on_cpu else mx.bfloat16)
    assert ("CPU" in device.device_name()) is on_cpu
