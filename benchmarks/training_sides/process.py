"""A side of benchmarks/training.py as the parent sees it: a process that is asked in JSON lines (lines.py answers them)."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

LAST_LINES = 8
# Intel's OpenMP threads spin after each product and take the cores from MLX's own (agents/lm/device.py).
ENVIRONMENT = {"KMP_BLOCKTIME": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}


class SideFailed(RuntimeError):
    """A side that ended or answered something else; the message has the last lines that it printed."""


class Process:
    """A running side. name: as it calls itself, with versions. trainable: number of parameters that it learns."""

    def __init__(self, command: Sequence[str | Path], told: dict[str, Any]) -> None:
        self._command = [str(part) for part in command]
        self._printed = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as the process
        self._process = subprocess.Popen(
            self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._printed, text=True,
            env={**os.environ, **ENVIRONMENT},
        )  # fmt: skip
        facts = self.ask(told)
        self.name, self.trainable = str(facts["name"]), int(facts["trainable"])

    def ask(self, line: dict[str, Any]) -> dict[str, Any]:
        """Send a line and wait for the answer. Raises SideFailed where none comes."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(line) + "\n")
            self._process.stdin.flush()
            said = self._process.stdout.readline()
            found: dict[str, Any] = json.loads(said)
        except (OSError, ValueError) as error:
            code = self.close()
            raise SideFailed(
                f"{' '.join(self._command)} gave no answer (exit code {code}; -9 is mostly a lack of memory); expected a line of "
                f"JSON. It printed last:\n{self._last_lines()}"
            ) from error
        return found

    def close(self) -> int | None:
        """Let it end; its exit code, None where it had to be killed."""
        try:
            self._process.communicate(timeout=30)
        except (subprocess.TimeoutExpired, OSError):
            self._process.kill()
            self._process.wait()
            return None
        return self._process.returncode

    def _last_lines(self) -> str:
        self._printed.seek(0)
        lines = self._printed.read().decode(errors="replace").splitlines()
        return "\n".join(f"    {line}" for line in lines[-LAST_LINES:])


def answer(command: Sequence[str | Path], asked: dict[str, Any]) -> dict[str, Any]:
    """What a process answers to one line, after which it ends; what it prints beside comes through."""
    done = subprocess.run(
        [str(part) for part in command], input=json.dumps(asked) + "\n", stdout=subprocess.PIPE, text=True, check=True,
        env={**os.environ, **ENVIRONMENT},
    )  # fmt: skip
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found
