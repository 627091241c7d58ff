"""Where decent English ends: the mean log-probability of replies under the frozen base, beside garble made of the same words.

    python benchmarks/judge_likelihood.py [--model smollm2] [--replies 100]

Decent: authored replies whose mean score is 6 or more. Garble of each: its words in another order, the inner letters of its
words in another order, the reply in other words of the corpus, random tokens of the tokenizer. The limit of
judges/likelihood.py is set where no decent reply is lost; the last columns say what part lies below it, and below one half a
nat higher. Two minutes for 100 replies on two idle cores.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a neighbour has the name of a package

import numpy as np

from agents.lm.likelihood import mean_logprobs
from agents.lm.models import load_model
from agents.lm.prompt_tree import PromptTree
from judges.likelihood import LEAST, likelihood_prompt
from judges.offline.examples import read_examples
from judges.protocol import Exchange

DECENT = 6.0
QUANTILES = (0.0, 0.01, 0.05, 0.5, 0.95, 1.0)


def garbled(reply: str, rng: np.random.Generator, words: list[str], tokenizer: object) -> dict[str, str]:
    """The kinds of garble, made of one decent reply."""
    own = reply.split()
    random = [int(t) for t in rng.integers(100, 40_000, len(own))]
    return {
        "words in another order": " ".join(rng.permutation(own)),
        "letters in another order": " ".join(
            w[0] + "".join(rng.permutation(list(w[1:-1]))) + w[-1] if len(w) > 3 else w for w in own
        ),
        "words of others": " ".join(rng.choice(words, len(own))),
        "random tokens": tokenizer.decode(random),  # type: ignore[attr-defined]
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--replies", type=int, default=100)
    asked = parser.parse_args()
    loaded, rng, examples = load_model(asked.model), np.random.default_rng(5), read_examples()
    good = np.flatnonzero(examples.scores.mean(axis=1) >= DECENT)
    good = np.sort(rng.permutation(good)[: asked.replies])
    vocabulary = [w for i in good for w in examples.replies[i].split()]
    replies: dict[str, list[str]] = {"decent": [examples.replies[i] for i in good]}
    for reply in replies["decent"]:
        for kind, text in garbled(reply, rng, vocabulary, loaded.tokenizer).items():
            replies.setdefault(kind, []).append(text)
    prompts = [likelihood_prompt(Exchange(examples.clients[i], "", "")) for i in good]
    tree = PromptTree(loaded.model)
    print(f"{loaded.name}, {len(good)} replies; nats for each token; limit {LEAST:g}\n")
    print("| reply | " + " | ".join(f"{q:.0%}" for q in QUANTILES) + " | below the limit | half a nat above it |")
    print("|---" * (len(QUANTILES) + 3) + "|")
    for kind, texts in replies.items():
        found = mean_logprobs(loaded, tree, prompts, texts)
        cells = " | ".join(f"{v:.2f}" for v in np.quantile(found, QUANTILES))
        print(f"| {kind} | {cells} | {np.mean(found < LEAST):.0%} | {np.mean(found < LEAST + 0.5):.0%} |", flush=True)
        for i in np.argsort(found)[:3] if kind == "decent" else ():
            print(f"    {found[i]:.2f} {texts[i]}", file=sys.stderr)


if __name__ == "__main__":
    main()
