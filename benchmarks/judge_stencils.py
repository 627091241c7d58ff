"""How often the commonest four words stand in sixty-four replies: by people, and by policies that were trained against a judge.

    python benchmarks/judge_stencils.py

The limit of judges/memory.py lies between them. `mean` and `most` are over windows of 64 replies, 16 further on each time; the
replies of a policy (docs/judge_under_pressure*.json) are one window of 24.
"""

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a neighbour has the name of a package

import numpy as np

from client_graph.names import CONFIGS
from judges.memory import MOST, phrases
from judges.offline.examples import read_examples

DOCS = Path(__file__).resolve().parent.parent / "docs"
WINDOW, STEP = 64, 16
GOOD, POOR = 6.0, 4.0  # mean scores


def commonest(replies: Sequence[str]) -> tuple[str, float]:
    """The four words in a row that stand in most of the replies, and in what share of them."""
    g, count = Counter(g for reply in replies for g in phrases(reply)).most_common(1)[0]
    return " ".join(g), count / len(replies)


def authored_replies() -> dict[str, list[str]]:
    """By people: the sessions' turns in their order, good and poor replies of the examples, shuffled."""
    sessions = [json.loads(path.read_text()) for path in sorted((CONFIGS / "sessions").glob("*.json"))]
    examples, rng = read_examples(), np.random.default_rng(0)
    means = examples.scores.mean(axis=1)
    return {
        "sessions": [turn["therapist_utterance"] for session in sessions for turn in session["turns"]],
        "good replies": [examples.replies[i] for i in rng.permutation(np.flatnonzero(means >= GOOD))],
        "poor replies": [examples.replies[i] for i in rng.permutation(np.flatnonzero(means < POOR))],
    }


def main() -> None:
    print(f"The limit is {MOST:.0%}.\n\n| replies | mean | most | of the worst window |\n|---|--:|--:|---|")
    for name, replies in authored_replies().items():
        found = [commonest(replies[start : start + WINDOW]) for start in range(0, len(replies) - WINDOW + 1, STEP)]
        words, most = max(found, key=lambda one: one[1])
        print(f"| {name} | {np.mean([share for _, share in found]):.1%} | {most:.1%} | {words} |")
    for path in sorted(DOCS.glob("judge_under_pressure*.json")):
        words, share = commonest([row["reply"] for row in json.loads(path.read_text())])
        print(f"| {path.stem} | {share:.1%} | {share:.1%} | {words} |")


if __name__ == "__main__":
    main()
