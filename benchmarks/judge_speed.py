"""How quick the judges are: a local model read for digits beside the same by free generation, and the offline judge.

    python benchmarks/judge_speed.py [--model smollm2] [--candidates 4] [--only local|offline]

Local: twelve dimensions, two personas, so many candidates, one call of `DigitReader`. Beside it the model writes, for each
candidate and persona, the JSON object of twelve scores, greedy, bounded at the tokens that such an object needs: once text by
text as mlx-lm's own generation does, once all rows in one batch by ours. For all of them what every prompt begins with, rubric and
personas, is prefilled. Offline: the embedding judge on 64 replies to 32 clients it has not seen, then on the same again. About
four minutes on two cores.
"""

import argparse
import sys
import time
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a neighbour has the name of a package

import numpy as np

from agents.lm.device import device_name, mx
from agents.lm.digits import DigitReader
from agents.lm.generate import PrefixCache, chat_tokens, common_length, generate
from agents.lm.models import LoadedModel, load_model
from client_graph.names import DIMENSIONS
from judges.language_model import READERS, prompt, questions
from judges.offline.examples import read_examples
from judges.pairs import held_out
from judges.protocol import Exchange, Judge, Turn

# isort: split
from mlx_lm.generate import generate_step  # after agents.lm, which loads a fast BLAS before MLX
from mlx_lm.models.cache import make_prompt_cache

GROWTH = (1, 2, 4, 8)


def turn(number: int, candidates: int) -> list[Exchange]:
    """So many replies to one client, after one earlier turn."""
    examples = read_examples()
    clients = list(dict.fromkeys(examples.clients))
    client, before = clients[number], Turn(clients[number + 1], "", examples.replies[-number - 1])
    reason = "They may want to be heard before anything is asked of them."
    replies = [examples.replies[(7 * number + i) % len(examples.replies)] for i in range(candidates)]
    return [Exchange(client, reason, reply, (before,)) for reply in replies]


def seconds(work: Callable[[], object]) -> float:
    """How long it takes by the clock."""
    return both(work)[0]


def both(work: Callable[[], object]) -> np.ndarray:
    """(2,) seconds: by the clock, and of processor time, which other programs on the machine disturb less."""
    start, busy = time.perf_counter(), time.process_time()
    work()
    return np.array([time.perf_counter() - start, time.process_time() - busy])


class FreeGeneration:
    """The same scores as text, all rows in one batch, the shared beginning in a PrefixCache."""

    def __init__(self, loaded: LoadedModel) -> None:
        self.loaded, self.prefixes = loaded, PrefixCache("base", capacity=16)
        scores = ", ".join(f'"{name}": 5' for name in DIMENSIONS) + "}"
        self.tokens = len(loaded.tokenizer.encode(scores, add_special_tokens=False))

    def rows(self, exchanges: list[Exchange]) -> list[list[int]]:
        """The prompts, each to its own place: candidate by candidate, persona by persona."""
        tokenizer = self.loaded.tokenizer
        starts = [chat_tokens(tokenizer, [{"role": "user", "content": prompt(exchange)}]) for exchange in exchanges]
        openings = [
            tokenizer.encode(f'{{"reader": "{reader}", ', add_special_tokens=False) for reader in READERS.values()
        ]
        return [start + opening for start in starts for opening in openings]

    def __call__(self, exchanges: list[Exchange]) -> None:
        rows = self.rows(exchanges)
        generate(
            self.loaded,
            rows,
            temperatures=[0.0] * len(rows),
            keys=[mx.random.key(0)] * len(rows),
            max_tokens=self.tokens,
            prefixes=self.prefixes,
        )


class TextByText(FreeGeneration):
    """The same scores as text by mlx-lm's own generation, with its prompt cache of what all prompts of a run begin with."""

    def __init__(self, loaded: LoadedModel, exchanges: list[Exchange]) -> None:
        super().__init__(loaded)
        rows = self.rows(exchanges)
        self.begin = rows[0][: min(common_length(rows[0], row) for row in rows)]
        self.kept = make_prompt_cache(loaded.model)
        mx.eval(loaded.model(mx.array([self.begin]), cache=self.kept))

    def __call__(self, exchanges: list[Exchange]) -> None:
        for row in self.rows(exchanges):
            rest = mx.array(row[len(self.begin) :])
            cache = deepcopy(self.kept)
            for token, _ in generate_step(rest, self.loaded.model, max_tokens=self.tokens, prompt_cache=cache):
                if int(token) in self.loaded.tokenizer.eos_token_ids:
                    break


def local(model: str, candidates: int) -> None:
    """The table of the local judge."""
    loaded = load_model(model)
    reader, free, asked = DigitReader(loaded, chat=True), FreeGeneration(loaded), questions()

    def read(exchanges: list[Exchange]) -> None:
        reader.expected_scores([prompt(exchange) for exchange in exchanges], asked)

    print(f"{loaded.name} on {device_name()}; {candidates} candidates, 2 personas, 12 dimensions\n")
    cold = seconds(lambda: read(turn(0, 1)))
    free(turn(0, 1))
    plain = TextByText(loaded, [turn(number, 1)[0] for number in (0, 1, 2)])
    ways = {"expected digits": read, "text by text, mlx-lm": plain, "in one batch": free}
    times: dict[str, list[np.ndarray]] = {way: [] for way in ways}
    for number in (1, 2):  # by turns, so that a busy machine is busy for all
        exchanges = turn(number, candidates)
        for way, work in ways.items():
            times[way].append(both(lambda: work(exchanges)))  # noqa: B023  called at once
    best = {way: np.min(taken, axis=0) for way, taken in times.items()}
    print("| | seconds | of processor time | digits are so many times as fast |\n|---|--:|--:|--:|")
    for way, taken in best.items():
        print(f"| {way} | {taken[0]:.2f} | {taken[1]:.2f} | {taken[0] / best['expected digits'][0]:.1f} |")
    print(f"\n{2 * candidates} texts of {free.tokens} tokens; asked: 4.")
    print(f"First call of a run, one candidate, rubric and personas prefilled by it: {cold:.2f} s\n")
    print("| candidates | seconds | tokens forwarded |\n|---|---|---|")
    for number, count in enumerate(GROWTH, start=3):
        before = reader.tree.forwarded
        took = seconds(lambda: read(turn(number, count)))  # noqa: B023
        print(f"| {count} | {took:.2f} | {reader.tree.forwarded - before} |", flush=True)


def offline(batch: int = 64) -> None:
    """The table of the embedding judge."""
    from judges.offline.embedding import EmbeddingJudge

    judge: Judge = EmbeddingJudge()
    # Two replies to each client, as a trainer asks for several: pairs that the fit has not met, so that nothing of them is kept.
    asked = [Exchange(pair.client, "", reply) for pair in held_out() for reply in (pair.better, pair.worse)]
    sets = [asked[start : start + batch] for start in range(0, 4 * batch, batch)]
    judge.judge(sets[0][:2])
    first = [seconds(lambda: judge.judge(exchanges)) for exchanges in sets[1:]]  # noqa: B023
    again = seconds(lambda: judge.judge(sets[1]))
    print(f"\n| offline judge, batch {batch} | replies/s |\n|---|---|")
    print(f"| first | {batch / min(first):.0f} |\n| the same again | {batch / again:.0f} |")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--candidates", type=int, default=4)
    parser.add_argument("--only", choices=("local", "offline"))
    asked = parser.parse_args()
    if asked.only != "offline":
        local(asked.model, asked.candidates)
    if asked.only != "local":
        offline()


if __name__ == "__main__":
    main()
