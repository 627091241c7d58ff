"""Runs training in children that may be killed: for each line "FOLDER SESSIONS" a child's number, then how it ended.

A process of its own, in which MLX has computed nothing: a child forked from one that has would wait for threads that it lacks.
"""

import os
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]
# ruff: noqa: E402

from fakes import tiny_llama
from test_agents_trainer import scores, settings

from agents import run as runs
from agents.lm.models import LoadedModel
from agents.lm.run_folder import RunFolder
from agents.run import enter, phases
from agents.settings import CorpusPart, Settings, SftPart
from agents.trainer import TBNRLTrainer
from judges.scripted import ScriptedJudge

RUN = "run"


def scripted(loaded: LoadedModel, settings: Settings, folder: RunFolder | None = None) -> TBNRLTrainer:
    """Self-play before a judge that takes no time."""
    return TBNRLTrainer(loaded, settings, folder, ScriptedJudge(scores))


runs.TBNRLTrainer = scripted  # type: ignore[assignment, misc]


def told(folder: Path, sessions: int) -> Settings:
    """A fine-tuned start, then self-play; a checkpoint every second step, a look at the held-out clients every third."""
    plain = settings(folder)
    return plain.model_copy(
        update={
            "run": plain.run.model_copy(update={"sessions": sessions, "probe_every": 3}),
            "environment": plain.environment.model_copy(update={"memory": 64}),
            "corpus": CorpusPart(sessions=str(folder.parent / "sessions.jsonl"), held_out=1, shared_by=2),
            "sft": SftPart(epochs=2, learning_rate=1e-2),
        }
    )


def run(folder: Path, sessions: int) -> None:
    """The whole run, or what is left of it, in a folder of a known name."""
    asked, place = told(folder, sessions), folder / RUN
    if not (place / "settings.toml").exists():
        place.mkdir(parents=True, exist_ok=True)
        (place / "settings.toml").write_text(asked.to_toml())
    loaded = tiny_llama(layers=3)
    for trainer in phases(loaded, asked, RunFolder(place)):
        enter(trainer)
        trainer.train()
        trainer.close()


def main() -> None:
    for line in sys.stdin:
        folder, sessions = line.split()
        child = os.fork()
        if child == 0:
            code = 1
            try:
                run(Path(folder), int(sessions))
                code = 0
            finally:
                os._exit(code)
        print(child, flush=True)
        print(os.waitpid(child, 0)[1], flush=True)


if __name__ == "__main__":
    main()
