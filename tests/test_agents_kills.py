"""kill -9 at any moment, and going on: the run is byte for byte the one that was not killed.

ICARUS_KILLS=200 python -m pytest tests/test_agents_kills.py -s     the long form: it prints where the kills fell
"""

import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from kills_worker import RUN
from test_agents_corpus import session
from test_agents_trainer import adapter_bytes, log_without_times

from agents.lm.adapters import tree_hash
from agents.lm.five_tuple import write_sessions
from agents.lm.run_folder import START, RunFolder

KILLS = int(os.environ.get("ICARUS_KILLS", "3"))
WORKER = Path(__file__).parent / "kills_worker.py"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a forked child may not use Metal")


class Workers:
    """Children of kills_worker.py, one at a time."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, str(WORKER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )

    def begin(self, folder: Path, sessions: int) -> int:
        """The number of a child that runs."""
        assert self._server.stdin is not None
        self._server.stdin.write(f"{folder} {sessions}\n".encode())
        return self._line()

    def over(self, within: float) -> bool:
        """Whether the child ends within so many seconds."""
        return bool(select.select([self._server.stdout], [], [], max(0.0, within))[0])

    def status(self) -> int:
        """How the child ended; waits for it."""
        return self._line()

    def whole(self, folder: Path, sessions: int) -> float:
        """A child's whole run, in seconds."""
        began = time.monotonic()
        self.begin(folder, sessions)
        assert self.status() == 0
        return time.monotonic() - began

    def close(self) -> None:
        self._server.kill()
        self._server.wait()

    def _line(self) -> int:
        assert self._server.stdout is not None
        found = b""
        while not found.endswith(b"\n"):
            read = self._server.stdout.read(1)
            assert read, "the worker has ended"
            found += read
        return int(found)


@pytest.fixture
def workers() -> Iterator[Workers]:
    made = Workers()
    yield made
    made.close()


def left_by(folder: Path) -> dict[str, object]:
    """All that a run leaves, but its times."""
    run = RunFolder(folder / RUN)
    saved, first = run.newest_checkpoint()[1], RunFolder(run / START).newest_checkpoint()[1]
    assert saved.optimizer is not None
    steps = (run / START / "steps.jsonl").read_text().splitlines()
    return {
        "turns": log_without_times(run.path),
        "steps": [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in steps],
        "adapters": adapter_bytes(run.path),
        "start": adapter_bytes(run / START),
        "optimizer": tree_hash(saved.optimizer),
        "summary": {
            name: value
            for name, value in json.loads((run / "summary.json").read_text()).items()
            if name != "peak_resident_gb"
        },
        "start_state": {n: v for n, v in first.state.items() if n != "log_bytes"},
        "state": {name: value for name, value in saved.state.items() if name != "log_bytes"},  # whose lines hold times
    }


def test_a_run_that_is_killed_and_goes_on_leaves_what_the_other_leaves(tmp_path: Path, workers: Workers) -> None:
    write_sessions(tmp_path / "sessions.jsonl", [session(str(i)) for i in range(4)])
    sessions = 2 if KILLS <= 10 else 4
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    workers.whole(tmp_path / "warm", 1)
    seconds = workers.whole(whole, sessions)
    chance, kills, ended, places = random.Random(0), 0, 0, Counter[str]()
    while kills < KILLS:
        child = workers.begin(killed, sessions)
        # Between a process that has hardly begun and one that has done a third of the run.
        if workers.over(chance.uniform(0.02, 0.35) * seconds):
            assert workers.status() == 0
            assert left_by(killed) == left_by(whole)
            killed, ended = tmp_path / f"killed-{ended}", ended + 1  # the next one begins anew
            continue
        os.kill(child, signal.SIGKILL)
        workers.status()
        kills += 1
        places[_place(killed)] += 1
    if KILLS > 10:
        print(f"\n{kills} kills, {ended} whole runs between them; the run stood at: {dict(sorted(places.items()))}")
    workers.whole(killed, sessions)
    assert left_by(killed) == left_by(whole)


def _place(folder: Path) -> str:
    """What the newest checkpoint of a killed run is of."""
    run = RunFolder(folder / RUN)
    for name, where in (("turn", run), ("step", RunFolder(folder / RUN / START))):
        if found := where.checkpoints():
            return f"{name} {RunFolder.count_of(found[0]):3d}"
    return "nothing"


def test_the_state_that_is_compared_holds_the_generators(tmp_path: Path, workers: Workers) -> None:
    """The comparison above is of all that going on needs: client, environment's generator, guards, progress."""
    write_sessions(tmp_path / "sessions.jsonl", [session(str(i)) for i in range(4)])
    workers.whole(tmp_path / "whole", 1)
    state = left_by(tmp_path / "whole")["state"]
    assert isinstance(state, dict)
    assert {"progress", "environment", "guard", "memory", "best", "bad_in_a_row"} <= set(state)
    assert "chance" in state["environment"]
