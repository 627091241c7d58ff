"""Which arithmetic, on which device: the one place that knows. Import `mx` from here, never from `mlx.core`.

On Linux the mlx-cpu wheel brings a reference BLAS (2-6 GFLOPS in float32). A BLAS that is already in the process with its
symbols global is used in its place, so a fast one is loaded before the first `import mlx.core`: MKL, which the project
installs (160 GFLOPS on two cores here), else a system OpenBLAS. MKL goes first because its matrix-vector product, which
decodes a single sequence, is three times OpenBLAS's.
"""

from __future__ import annotations

import ctypes
import os
import sys
import warnings
from pathlib import Path

SLOW = "the reference BLAS in the wheel (slow)"
MKL_FOLDERS = (Path(sys.prefix) / "lib", Path(sys.base_prefix) / "lib")


def _candidates() -> list[tuple[str, str]]:
    """(human name, file for dlopen), quickest first; see benchmarks for the measurement."""
    mkl = [("MKL", str(p)) for folder in MKL_FOLDERS for p in sorted(folder.glob("libmkl_rt.so*"), reverse=True)]
    return [*mkl, ("MKL", "libmkl_rt.so"), ("OpenBLAS", "libopenblas.so.0")]


def _load_fast_blas() -> str:
    """Load the first BLAS that can be loaded, with global symbols. Returns its human name.

    The environment variable ICARUS_BLAS ("MKL", "OpenBLAS", "none") restricts the choice, for measurements.
    """
    if sys.platform != "linux":
        return "Accelerate"
    # Intel's OpenMP threads spin for 200 ms after each product and take the cores from MLX's own thread. Asleep at once,
    # decoding four sequences is 1.5 times quicker on two cores, and so is everything when the machine is shared.
    os.environ.setdefault("KMP_BLOCKTIME", "1")
    wanted = os.environ.get("ICARUS_BLAS", "").lower()
    if "mlx.core" in sys.modules and wanted != "none":
        warnings.warn(
            "mlx.core was imported before agents.lm, so a fast BLAS comes too late and products are 20 times slower. "
            "Import agents.lm first",
            stacklevel=2,
        )
        return SLOW
    for name, file in _candidates():
        if wanted in ("", name.lower()) and _loads(file):
            return name
    return SLOW


def _loads(file: str) -> bool:
    try:
        ctypes.CDLL(file, mode=ctypes.RTLD_GLOBAL)
    except OSError:
        return False
    return True


BLAS: str = _load_fast_blas()

import mlx.core as mx  # noqa: E402  the BLAS above must be in the process first


def on_cpu() -> bool:
    """True where arrays are computed on the CPU (no Metal, no CUDA)."""
    return bool(mx.default_device() == mx.Device(mx.cpu))


def device_name() -> str:
    """ "CPU with MKL", "Apple GPU (Metal)" or "NVIDIA GPU (CUDA)": one line for logs and reports."""
    if on_cpu():
        return f"CPU with {BLAS}"
    return "Apple GPU (Metal)" if mx.metal.is_available() else "NVIDIA GPU (CUDA)"


def default_dtype(own: mx.Dtype) -> mx.Dtype:
    """The floating type to compute in, given the model's own: float32 on a CPU, the model's own on Metal and CUDA.

    bfloat16, float16 and quantised products on the CPU are naive loops (2-5 GFLOPS).
    """
    return mx.float32 if on_cpu() else own


__all__ = ["BLAS", "default_dtype", "device_name", "mx", "on_cpu"]
