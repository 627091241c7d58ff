"""Where the ranks of a run write, and from which checkpoint they go on together.

Rank 0 has the run's folder, rank N the folder rank-N in it: each has logs and checkpoints of its own, the adapters are the same.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from agents.lm.checkpoint import Checkpoint
from agents.lm.ranks import Ranks
from agents.lm.run_folder import RunFolder, RunFolderError


def new_folder(parent: Path, name: str, ranks: Ranks) -> RunFolder:
    """A new run's folder; of several ranks, the others write to folders of their own in that of the first."""
    with ranks.together("make the run's folder"):
        made = RunFolder.create(parent, name) if ranks.rank == 0 else None
    first = ranks.of_first(str(made.path.absolute()) if made else "")
    return made or rank_folder(Path(first), ranks)


def rank_folder(run: Path, ranks: Ranks) -> RunFolder:
    """The folder of this rank in a run's: the run's own for the first."""
    return RunFolder(run if ranks.rank == 0 else run / f"rank-{ranks.rank}")


def newest_common(folder: RunFolder, ranks: Ranks) -> tuple[Path, Checkpoint, list[str]]:
    """The newest checkpoint that every rank has whole, and warnings about broken ones.

    Raises RunFolderError where this rank has none left, and OtherRankFailed on the others.
    """
    at_most: int | None = None
    while True:
        with ranks.together("find a checkpoint to go on from"):
            path, saved, warnings = folder.newest_checkpoint(at_most)
        counts = [one for (one,) in ranks.every([RunFolder.count_of(path)])]
        if len(set(counts)) == 1:
            return path, saved, warnings
        at_most = min(counts)


def remove_newer(folder: RunFolder, path: Path) -> None:
    """Remove checkpoints after `path`, that of a run that goes on there: broken, or not had by every rank."""
    for newer in folder.checkpoints():
        if RunFolder.count_of(newer) > RunFolder.count_of(path):
            shutil.rmtree(newer)


def expect_ranks(path: Path, found: int, ranks: Ranks) -> None:
    """Raises RunFolderError unless the run of a checkpoint at `path`, of `found` processes, is gone on with by as many."""
    if found != ranks.size:
        raise RunFolderError(
            f"{path}: the run is one of {found} process(es); found {ranks.size}. Go on with as many: mlx.launch -n {found} ..."
        )
