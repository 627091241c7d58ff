"""Where a turn of self-play spends its time.

    python benchmarks/turn.py [--config configs/quickstart.toml] [--turns 5]

Plays a few turns of a real run in a temporary folder and prints the median seconds of each part, its share, and the time of
a role switch. The first turn (caches, compilation) is not counted. Every part but the client engine grows with the model;
generation and the two steps grow with reply length and K, `client` with the number of lines that are compared.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a neighbour has the name of a package

from agents.learner import FROZEN, THERAPIST
from agents.lm.device import device_name
from agents.lm.models import load_model
from agents.self_play import TurnResult
from agents.settings import read_settings
from agents.trainer import Progress, TBNRLTrainer
from agents.training import peak_resident_gb


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", default="configs/quickstart.toml")
    parser.add_argument("--turns", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = read_settings(asked.config, {"run.folder": folder, "run.sessions": 100})
        trainer = TBNRLTrainer(load_model(settings.model.name), settings)
        turns: list[dict[str, float]] = []

        def count(result: TurnResult, progress: Progress) -> None:
            turns.append(result.seconds)
            trainer.stop = progress.total_turns > asked.turns

        trainer.on_turn = count
        trainer.begin()
        trainer.train()
        switch = role_switch_seconds(trainer)
    report(turns[1:], switch)


def role_switch_seconds(trainer: TBNRLTrainer, times: int = 200) -> float:
    """Median seconds of one switch between the therapist's and the frozen set."""
    seconds = []
    for i in range(times):
        start = time.perf_counter()
        trainer.sets.activate((FROZEN, THERAPIST)[i % 2])
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def report(turns: list[dict[str, float]], switch: float) -> None:
    """The table."""
    whole = statistics.median(sum(turn.values()) for turn in turns)
    print(f"{device_name()}; {len(turns)} turns; median seconds")
    for part in dict.fromkeys(name for turn in turns for name in turn):
        median = statistics.median(turn.get(part, 0.0) for turn in turns)
        print(f"  {part:<12}{median:8.2f}{median / whole:8.0%}")
    print(f"  {'whole turn':<12}{whole:8.2f}")
    print(f"role switch {switch * 1e3:.3f} ms; peak memory {peak_resident_gb():.2f} GB")


if __name__ == "__main__":
    main()
