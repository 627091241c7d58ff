"""What the reading judge adds: does a reply mean anything to this client, asked of clients that no fit has seen.

    python benchmarks/judge_reading.py [--model smollm2] [--states FOLDER] [--keep]

A frozen model reads the authored replies to every second client, the good ones also said to another client and turned into
nonsense (judges/reading/nonsense.py), and what a small model and its policies said (judges/reading/manner.py). Beside it stands
the embedding judge, as it is shipped (it has learned from these clients, but for authored replies, where its left-out predictions
stand), and both together: gated, without the cap for what could be said to anybody, which asks for more reading.

    ranked     share of pairs of replies to one client, two points apart in the authored mean, that are ranked rightly
    chain ... said     share of (decent authored reply, a row of this kind) in which the authored one scores higher
    decent     mean score of decent authored replies: what the doubt costs them

`--states FOLDER` keeps there what was read, or takes it from there; `--keep` writes the fit to configs/judges/reading.
Cost: one pass over a third of a million tokens up to the layer read, about a quarter of an hour on two cores.
"""

import argparse
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a neighbour has the name of a package

import numpy as np

from agents.judge import BaseReader
from agents.lm.models import load_model
from judges.offline.embedding import EmbeddingJudge
from judges.offline.fit import logit, sigmoid
from judges.offline.fit_cache import load_arrays, save_arrays
from judges.protocol import Exchange, Judgement
from judges.reading.fit import DECENT, SEED, Rows, fit, gates, held_against, read, rows_of
from judges.reading.kept import SHIPPED, file_name, save_fit
from judges.reading.nonsense import KINDS

MADE = (*KINDS, "swapped", "manner", "said")


def states_of(reader: BaseReader, rows: Rows, folder: Path | None) -> np.ndarray:
    """(n, width), read, or taken from `folder` where this reader has read these rows."""
    path = folder / f"states-{file_name(reader, rows)}" if folder else None
    kept = load_arrays(path, frozenset({"states"})) if path else None
    if kept is not None:
        return kept["states"]
    states = read(reader, rows)
    if path:
        save_arrays(path, {"states": states})
    return states


def embedded(judge: EmbeddingJudge, rows: Rows) -> np.ndarray:
    """(n,) mean logits of the shipped embedding judge; left-out ones for authored rows."""
    own = rows.kinds == "own"
    found = np.empty(len(own))
    found[own] = judge.fit.unseen[rows.examples[own]].mean(axis=1)
    made = np.flatnonzero(~own)
    answers = judge.judge([Exchange(rows.clients[i], "", rows.replies[i]) for i in made])
    found[made] = [logit(answer.scores).mean() if isinstance(answer, Judgement) else np.nan for answer in answers]
    return found


def measures(rows: Rows, scores: np.ndarray, means: np.ndarray) -> list[float]:
    """ranked, one of each kind of MADE, decent; means (examples,) of the authored scores."""
    own = np.flatnonzero(rows.kinds == "own")
    target = means[rows.examples[own]]
    right: list[bool] = []
    for client in dict.fromkeys(np.array(rows.clients)[own].tolist()):
        at = np.array([k for k, i in enumerate(own) if rows.clients[i] == client])
        apart = target[at][:, None] - target[at] > 2
        right += (scores[own[at]][:, None] > scores[own[at]])[apart].tolist()
    decent = scores[own][target >= DECENT]
    above = [float((decent[:, None] > scores[rows.kinds == kind]).mean()) for kind in MADE]
    return [float(np.mean(right)), *above, float(decent.mean())]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--states", type=Path)
    parser.add_argument("--keep", action="store_true", help="write the fit to configs/judges/reading")
    asked = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    embedding, reader = EmbeddingJudge(), BaseReader(load_model(asked.model))
    examples = embedding.examples
    rows = rows_of(examples, np.random.default_rng(SEED))
    made, unseen = fit(rows, states_of(reader, rows, asked.states), examples)
    counts = {kind: int((rows.kinds == kind).sum()) for kind in ("own", *MADE)}
    print(f"{asked.model}, {len(rows.clients)} rows: {', '.join(f'{n} {kind}' for kind, n in counts.items())}\n")
    print(f"| judge | ranked | {' | '.join(MADE)} | decent |\n|---|{'--:|' * (2 + len(MADE))}")
    means = examples.scores.mean(axis=1)
    judged, gate = 10 * sigmoid(embedded(embedding, rows)), gates(unseen, made.gate)
    lines = {"s, against nonsense": unseen[:, 0], "t, against what models said": unseen[:, 1]}
    for name, scores in {"embedding": judged, **lines, "gated": held_against(judged, gate)}.items():
        found = measures(rows, scores, means)
        decent = "" if name in lines else f"{found[-1]:.2f}"
        print(f"| {name} | {' | '.join(f'{value:.3f}' for value in found[:-1])} | {decent} |")
    decent = gate[(rows.kinds == "own") & (means[rows.examples] >= DECENT)]
    print(
        f"\nThe gate is {decent.mean():.2f} for decent replies on average, and below a half for {np.mean(decent < 0.5):.1%}."
    )
    if asked.keep:
        path = SHIPPED / file_name(reader, rows)
        print(f"kept: {path.name}" if save_fit(path, made) else f"{SHIPPED} cannot be written")


if __name__ == "__main__":
    main()
