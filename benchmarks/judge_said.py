"""What a small model and its policies say, for the reading judge to learn from: makes configs/judges/said.csv.

    python benchmarks/judge_said.py [--model smollm2] [--only N] [--write]

The bare model answers each client that the reading judge is fitted on, once, with the therapist's prompt and the tokens of
benchmarks/judge_under_pressure.py; then come the replies that policies gave in runs of that benchmark against earlier judges,
without those to clients that its next run (seed 1) looks at. Another base says other things: sample it, and read anew
(benchmarks/judge_reading.py). Ten minutes on two cores. `--only N` samples the first N clients and says how many of their replies
the table holds; `--write` writes the table.
"""

import argparse
import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a neighbour has the name of a package

import numpy as np

from agents.lm.device import mx
from agents.lm.models import load_model
from benchmarks.judge_under_pressure import DOCS, clients_of, prompt, replies_to
from client_graph.catalog import load_catalog
from client_graph.files import write_whole
from judges.offline.examples import read_examples
from judges.reading.fit import EVERY
from judges.reading.manner import SAID, read_empty

ABREAST, KEY = 48, 1000  # clients that are answered in one batch; the batch that begins at client i has key KEY + i
TEMPERATURES = (0.6, 0.7, 0.8, 0.9)
NEXT_SEED = 1
# file -> what was trained against, in words; "step" where the replies say after how many steps they were given
POLICIES = {
    "blind_reading/judge_under_pressure_reading_one_line.json": "a policy after {step} steps against the reading judge",
    "judge_under_pressure_reading_without_memory.json": "a policy after 200 steps, {file}",
    "judge_under_pressure.json": "a policy after 200 steps, {file}",
}
Said = tuple[str, str, str]  # client, reply, source


def of_the_base(model: str, clients: list[str]) -> Iterator[Said]:
    """One reply to each client."""
    loaded, catalog = load_model(model), load_catalog()
    source = "sampled: SmolLM2-135M-Instruct, the therapist's prompt, temperatures 0.6 to 0.9"
    for start in range(0, len(clients), ABREAST):
        part = clients[start : start + ABREAST]
        heat = [TEMPERATURES[i % len(TEMPERATURES)] for i in range(len(part))]
        said, _ = replies_to(loaded, [prompt(loaded, catalog, c) for c in part], part, heat, mx.random.key(KEY + start))
        yield from ((one.client, one.therapist, source) for one in said)
        print(f"{start + len(part)} of {len(clients)} clients", flush=True)


def of_policies(clients: set[str]) -> Iterator[Said]:
    """What they said to these clients, but for those that the next run looks at."""
    kept_out = set(clients_of(load_catalog(), np.random.default_rng(NEXT_SEED))[1])
    for file, source in POLICIES.items():
        for row in json.loads((DOCS / file).read_text()):
            step = row.get("step")
            told = source.format(step=step, file=file)
            if step == 0:
                told = "SmolLM2-135M-Instruct, the therapist's prompt, temperature 0.7"
            if step != -1 and row["client"] in clients - kept_out:  # -1: people
                yield row["client"], row["reply"], f"sampled: {told}"


def table(rows: Iterator[Said]) -> list[Said]:
    """Each with a word in it, once, on one line; no reply of the examples."""
    examples = read_examples()
    authored = set(zip(examples.clients, examples.replies, strict=True))
    found: dict[tuple[str, str], Said] = {}
    for client, reply, source in rows:
        plain = " ".join(reply.split())
        if any(c.isalpha() for c in plain) and (client, plain) not in authored:
            found.setdefault((client, plain), (client, plain, source))
    return list(found.values())


def main() -> None:
    """Sample; compare or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--only", type=int, metavar="N", help="the first N clients, to be compared with the table")
    parser.add_argument("--write", action="store_true", help="write configs/judges/said.csv")
    asked = parser.parse_args()
    clients = list(dict.fromkeys(read_examples().clients))[::EVERY]
    base = table(of_the_base(asked.model, clients[: asked.only]))
    policies = table(of_policies(set(clients)))
    rows = table(iter([*base, *policies]))
    if asked.write and asked.only is None:
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(("client", "reply", "source"))
        writer.writerows(rows)
        write_whole(SAID, out.getvalue().encode())
    held = {(row.client, row.reply) for row in read_empty(SAID)}
    for name, part in (("the base", base), ("policies", policies)):
        print(f"{name}: {sum((c, r) in held for c, r, _ in part)} of {len(part)} replies stand in {SAID.name}")


if __name__ == "__main__":
    main()
