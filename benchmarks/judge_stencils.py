"""How much of a reply is stock, of people's and of policies that were trained against a judge (judges/memory.py).

    python benchmarks/judge_stencils.py [--window 64]

Of 64 replies (of a policy, those that docs/judge_under_pressure*.json keeps) each is looked at as if the others had been said to
other clients. `stock` is the mean share of a reply's words that stand in three words of which so many others were told, `highest`
what one reply in twenty exceeds, `charged` how many have any; `phrase` the commonest three words, and how many replies hold them.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a neighbour has the name of a package

import numpy as np

from client_graph.names import CONFIGS
from judges.memory import COMMON, FEWEST, Memory, phrases
from judges.offline.examples import read_examples
from judges.protocol import Exchange

DOCS = Path(__file__).resolve().parent.parent / "docs"
WINDOW = 64
GOOD, POOR = 6.0, 4.0  # mean scores


def stocks(replies: Sequence[str]) -> np.ndarray:
    """(n,) the share of each reply's words that is stock among the others."""
    memory = Memory(len(replies))
    for i, reply in enumerate(replies):
        memory.remember(str(i), [reply])
    found = [memory.stencil(Exchange(str(i), "", reply)) for i, reply in enumerate(replies)]
    return np.array([0.0 if one is None else one.share for one in found])


def commonest(replies: Sequence[str]) -> tuple[str, float]:
    """The words in a row that stand in most of the replies, and in what share of them."""
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--window", type=int, default=WINDOW, help=f"replies that are looked at together, {FEWEST + 1} or more"
    )
    asked = parser.parse_args()
    print(f"Stock: three words that {COMMON:.0%} of the other replies hold.\n")
    print("| replies | stock | highest | charged | phrase |\n|---|--:|--:|--:|---|")
    told = authored_replies()
    for path in sorted(DOCS.glob("judge_under_pressure*.json")):
        first = {row["client"]: row["reply"] for row in reversed(json.loads(path.read_text()))}  # one to each client
        told[path.stem] = list(first.values())[::-1]
    for name, replies in told.items():
        size = min(asked.window, len(replies))
        windows = [replies[start : start + size] for start in range(0, len(replies) - size + 1, size)]
        found = np.concatenate([stocks(window) for window in windows])
        words, share = max((commonest(window) for window in windows), key=lambda one: one[1])
        print(
            f"| {name} | {found.mean():.1%} | {np.quantile(found, 0.95):.0%} | {np.mean(found > 0):.0%} | {words} {share:.0%} |"
        )


if __name__ == "__main__":
    main()
