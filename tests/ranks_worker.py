"""What a rank does in tests/test_agents_ranks.py: `mlx.launch -n 2 ... ranks_worker.py steps|play FOLDER [STOP_AFTER]`."""

import json
import sys
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]  # mlx.launch runs a file, not pytest
# ruff: noqa: E402

from fakes import tiny_llama
from test_agents_learner import CANDIDATES, PROMPT, learner
from test_agents_trainer import scores, settings

from agents.learner import THERAPIST, Batch, Learner
from agents.lm.adapters import tree_hash
from agents.lm.ranks import Ranks
from agents.lm.run_folder import RunFolder
from agents.run import enter
from agents.self_play import TurnResult
from agents.settings import GrpoPart
from agents.trainer import Progress, TBNRLTrainer
from judges.scripted import ScriptedJudge

SHORT = Batch(PROMPT, [list(b" Hm."), list(b" What comes at night?")], [1, 1])
LONG = Batch(PROMPT, [list(b" That is a long night, and nobody to say so to.")], [1])
GROUPS = ((CANDIDATES, [6.0, 3.0, 7.0, 1.0]), (CANDIDATES[::-1], [2.0, 2.5, 9.0, 4.0]))


def steps(ranks: Ranks) -> dict[str, Any]:
    """Two fine-tuning steps, a GRPO step and a step that only rank 0 has something to learn from."""
    made: Learner = learner()
    assert made.ranks.size == ranks.size
    for batch in ((SHORT, LONG), (LONG, SHORT)):
        made.sft_step(batch[ranks.rank])
    candidates, found = GROUPS[ranks.rank]
    report = made.grpo_step(PROMPT, candidates, found, GrpoPart())
    alone = made.sft_step(SHORT) if ranks.rank == 0 else made.idle_step()
    nothing = made.idle_step()
    return {
        "hash": tree_hash(made.sets.get(THERAPIST)),
        "norms": [report.step.norm, alone.norm],
        "nothing": nothing.applied,
        "weights": {name: array.tolist() for name, array in made.sets.get(THERAPIST).items()},
    }


def play(ranks: Ranks, folder: Path, stop_after: int | None) -> dict[str, Any]:
    """Three sessions over two ranks, so that one waits at the end; stopped on rank 1 where that is asked."""
    told = settings(folder)
    told = told.model_copy(update={"run": told.run.model_copy(update={"sessions": 3, "name": "run"})})
    place = next(folder.glob("run-*"), None)
    mine = None
    if place is not None:
        mine = RunFolder.existing(place if ranks.rank == 0 else place / f"rank-{ranks.rank}")
    made = TBNRLTrainer(tiny_llama(layers=3), told, mine, ScriptedJudge(scores))

    def on_turn(result: TurnResult, progress: Progress) -> None:
        made.stop = ranks.rank == 1 and progress.total_turns == stop_after

    made.on_turn = on_turn
    enter(made)
    summary = made.train()
    made.close()
    return {
        "done": summary is not None,
        "rounds": made.progress.rounds,
        "sessions": [one["session"] for one in made.progress.sessions],
        "hash": tree_hash(made.sets.get(THERAPIST)),
    }


def main() -> None:
    what, folder = sys.argv[1], Path(sys.argv[2])
    ranks = Ranks()
    stop_after = int(sys.argv[3]) if len(sys.argv) > 3 else None
    found = steps(ranks) if what == "steps" else play(ranks, folder, stop_after)
    (folder / f"{what}-{ranks.rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
