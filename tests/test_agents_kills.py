"""kill -9 at any moment, and going on: the run is byte for byte the one that was not killed.

ICARUS_KILLS=200 python -m pytest tests/test_agents_kills.py -s     the long form: it prints where the kills fell
"""

import json
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from fakes import tiny_llama
from test_agents_corpus import session
from test_agents_trainer import adapter_bytes, log_without_times, scores, settings

from agents.lm.adapters import tree_hash
from agents.lm.five_tuple import write_sessions
from agents.lm.run_folder import START, RunFolder
from agents.run import enter, phases
from agents.settings import CorpusPart, Settings, SftPart
from agents.trainer import TBNRLTrainer
from judges.scripted import ScriptedJudge

KILLS = int(os.environ.get("ICARUS_KILLS", "3"))
RUN = "run"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="a forked child may not use Metal")


def told(folder: Path, sessions: int) -> Settings:
    """A fine-tuned start, then self-play; a checkpoint every second step."""
    plain = settings(folder)
    return plain.model_copy(
        update={
            "run": plain.run.model_copy(update={"sessions": sessions}),
            "corpus": CorpusPart(sessions=str(folder.parent / "sessions.jsonl"), held_out=1, shared_by=2),
            "sft": SftPart(epochs=2, learning_rate=1e-2),
        }
    )


def in_a_process(folder: Path, sessions: int) -> int:
    """The whole run or what is left of it, in a child; its process number."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        run = RunFolder.existing(folder / RUN) if (folder / RUN / "settings.toml").exists() else None
        loaded = tiny_llama(layers=3)
        asked = told(folder, sessions)
        (folder / RUN).mkdir(parents=True, exist_ok=True)
        for trainer in phases(loaded, asked, run or _begun(folder, asked)):
            if isinstance(trainer, TBNRLTrainer):
                trainer = TBNRLTrainer(loaded, trainer.settings, trainer.folder, ScriptedJudge(scores))
            enter(trainer)
            trainer.train()
            trainer.close()
        code = 0
    finally:
        os._exit(code)


def _begun(folder: Path, asked: Settings) -> RunFolder:
    """A run folder of a known name, so that both runs are told the same."""
    (folder / RUN / "settings.toml").write_text(asked.to_toml())
    return RunFolder(folder / RUN)


def run_to_the_end(folder: Path, sessions: int) -> float:
    began = time.monotonic()
    _, status = os.waitpid(in_a_process(folder, sessions), 0)
    assert status == 0
    return time.monotonic() - began


def left_by(folder: Path) -> dict[str, object]:
    """All that a run leaves, but its times."""
    run = RunFolder(folder / RUN)
    saved = run.newest_checkpoint()[1]
    assert saved.optimizer is not None
    steps = (run / START / "steps.jsonl").read_text().splitlines()
    return {
        "turns": log_without_times(run.path),
        "steps": [{k: v for k, v in json.loads(line).items() if k != "seconds"} for line in steps],
        "adapters": adapter_bytes(run.path),
        "start": adapter_bytes(run / START),
        "optimizer": tree_hash(saved.optimizer),
        "state": {name: value for name, value in saved.state.items() if name != "log_bytes"},  # whose lines hold times
    }


def test_a_run_that_is_killed_and_goes_on_leaves_what_the_other_leaves(tmp_path: Path) -> None:
    write_sessions(tmp_path / "sessions.jsonl", [session(str(i)) for i in range(4)])
    sessions = 2 if KILLS <= 10 else 12
    whole = tmp_path / "whole"
    killed = tmp_path / "killed"
    seconds = run_to_the_end(whole, sessions)
    chance, kills, ended, places = random.Random(0), 0, 0, Counter[str]()
    while kills < KILLS:
        child = in_a_process(killed, sessions)
        # Between a process that has hardly begun and one that has nearly done a third of the run.
        deadline = time.monotonic() + chance.uniform(0.05, 0.35) * seconds
        while time.monotonic() < deadline and not _over(child):
            time.sleep(0.002)
        if _over(child):  # it had come to its end before: the next one begins anew
            assert os.waitpid(child, 0)[1] == 0
            assert left_by(killed) == left_by(whole)
            killed, ended = tmp_path / f"killed-{ended}", ended + 1
            continue
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        kills += 1
        places[_place(killed)] += 1
    if KILLS > 10:
        print(f"\n{kills} kills, {ended} whole runs between them; the run stood at: {dict(sorted(places.items()))}")
    run_to_the_end(killed, sessions)
    assert left_by(killed) == left_by(whole)


def _over(child: int) -> bool:
    return os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _place(folder: Path) -> str:
    """What the newest checkpoint of a killed run is of."""
    run = RunFolder(folder / RUN)
    for name, where in (("turn", run), ("step", RunFolder(folder / RUN / START))):
        if found := where.checkpoints():
            return f"{name} {RunFolder.count_of(found[0]):3d}"
    return "nothing"


def test_the_state_that_is_compared_holds_the_generators(tmp_path: Path) -> None:
    """The comparison above is of all that going on needs: client, environment's generator, guards, progress."""
    write_sessions(tmp_path / "sessions.jsonl", [session(str(i)) for i in range(4)])
    run_to_the_end(tmp_path / "whole", 1)
    state = left_by(tmp_path / "whole")["state"]
    assert isinstance(state, dict)
    assert {"progress", "environment", "guard", "best", "bad_in_a_row"} <= set(state)
    assert "chance" in state["environment"]
