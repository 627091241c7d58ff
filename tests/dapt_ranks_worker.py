"""What a rank does in tests/test_dapt_ranks.py: `mlx.launch -n 2 ... dapt_ranks_worker.py step|run|masked FOLDER [STOP_AFTER]`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parent.parent)]  # mlx.launch runs a file, not pytest
# ruff: noqa: E402

from fakes import tiny_llama
from test_dapt_masks import masked
from test_dapt_trainer import told

from agents.lm.adapters import tree_hash
from agents.lm.lora import flatten, trainable
from agents.lm.rank_folder import rank_folder
from agents.lm.ranks import Ranks
from dapt.settings import DaptSettings, OptimizerPart, WindowPart
from dapt.trainer import DaptTrainer


def still(settings: DaptSettings) -> DaptSettings:
    """One step without recaps and with a compressor that stands still, so that a sample's gradient is its own alone; with this
    seed the two samples have different numbers of windows."""
    changes = {
        "window": WindowPart(size=90, slots=8, recap_tokens=0),
        "optimizer": OptimizerPart(learning_rate=1e-2, compressor_share=1e-12),
        "run": settings.run.model_copy(update={"steps": 1, "seed": 0}),
    }
    return settings.model_copy(update=changes)


def learned(folder: Path, settings: DaptSettings, stop_after: int | None) -> dict[str, Any]:
    """A run, begun or gone on with; stopped by rank 1 where that is asked."""
    ranks, place = Ranks(), next(folder.glob("runs/*"), None)
    made = DaptTrainer(tiny_llama(layers=3), settings, None if place is None else rank_folder(place, ranks))

    def on_window(line: dict[str, Any]) -> None:
        made.stop = ranks.rank == 1 and made.progress.windows == stop_after

    made.on_window = on_window
    if place is None:
        made.begin()
    else:
        made.resume()
    summary = made.train()
    made.close()
    return {
        "done": summary is not None,
        "windows": made.progress.windows,
        "rounds": made.progress.rounds,
        "given": made.progress.given,
        "adapters": tree_hash(trainable(made.loaded.model)),
        "compressor": tree_hash(flatten(made.compressor.parameters())),
        "weights": {name: array.tolist() for name, array in trainable(made.loaded.model).items()},
    }


def main() -> None:
    what, folder = sys.argv[1], Path(sys.argv[2])
    stop_after = int(sys.argv[3]) if len(sys.argv) > 3 else None
    settings = masked(folder, "therapist_utterance", steps=2) if what == "masked" else told(folder, steps=2)
    found = learned(folder, still(settings) if what == "step" else settings, stop_after)
    (folder / f"{what}-{Ranks().rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
