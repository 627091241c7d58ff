"""Does it learn? The trained therapist beside the adapters it began with and the bare base, on clients that neither has met.

    python benchmarks/learning.py [--config configs/quickstart.toml] [--seeds 0 1 2] [--samples 2] [--write]

Each seed is a whole run: the settings' fine-tuning, then their method, by the code of `icarus train`. Looked at: the clients of
the judge's held-out pairs, whom no session, no client table and no example of a judge holds. Who looks: the judge that trained
(reward), a referee fitted to other examples, how much this client's words raise a reply's likelihood under the frozen base
(answers), violations, different word pairs, likeness between clients (benchmarks/onlookers.py). Differences are between replies
to the same client; their 95 % intervals are a bootstrap over seeds and, in them, clients. `--write` writes docs/learning.md, .png
and twenty transcripts of each policy, drawn without looking at a score, to docs/learning_transcripts.md.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a neighbour has the name of a package

import matplotlib
import numpy as np

from agents.judge import reading_judge
from agents.learner import FROZEN, THERAPIST
from agents.lm.adapters import AdapterSets
from agents.lm.device import device_name, mx
from agents.lm.generate import chat_tokens
from agents.lm.lora import off
from agents.lm.models import LoadedModel, load_model
from agents.prompts import therapist_messages
from agents.run import enter, phases
from agents.settings import GenerationPart, Settings, read_settings
from agents.therapist import speak, spoken
from agents.trainer import TBNRLTrainer
from benchmarks.onlookers import COLUMNS, Look, Onlookers, authored, cells, change
from client_graph.catalog import Catalog, load_catalog
from client_graph.files import write_whole
from judges.offline.embedding import EmbeddingJudge
from judges.offline.minilm import SentenceEncoder
from judges.pairs import PAIRS, read_pairs
from judges.protocol import Exchange

matplotlib.use("Agg")
import matplotlib.pyplot as plt

DOCS = Path(__file__).resolve().parent.parent / "docs"
CLIENTS = 40
BASE, START, TRAINED = "bare base", "start (fine-tuned)", "trained"
COMPARED = ("reward", "referee", "answers", "charged")


@dataclass(frozen=True)
class Seen:
    """One policy of one seed."""

    policy: str
    seed: int
    look: Look


def clients() -> list[str]:
    """Different clients of the held-out pairs, spread over the table."""
    lines = list(dict.fromkeys(pair.client for pair in read_pairs(PAIRS)))
    return lines[:: max(1, len(lines) // CLIENTS)][:CLIENTS]


def exchanges(
    loaded: LoadedModel, catalog: Catalog, said: Sequence[str], samples: int, speech: GenerationPart, seed: int
) -> list[Exchange]:
    """What the active policy answers, sample by sample, so that neighbours have different clients."""
    found: list[Exchange] = []
    prompts = [
        chat_tokens(
            loaded.tokenizer,
            therapist_messages(
                {"client": one, "stage": 1, "stance": 0, "beliefs": catalog.start[0]}, (), catalog, 0, 0
            ),
        )
        for one in said
    ]
    for sample in range(samples):
        key = mx.random.key(seed * 1000 + sample)
        replies = speak(loaded, prompts, [speech.temperature] * len(prompts), key, speech)
        found += [Exchange(one, "", spoken(reply)) for one, reply in zip(said, replies, strict=True)]
    return found


def run(
    settings: Settings, samples: int, with_base: bool, encoder: SentenceEncoder, judge: EmbeddingJudge
) -> tuple[list[Seen], dict[str, Any], float]:
    """The looks of one seed, the run's summary and the referee's accuracy."""
    loaded, seed = load_model(settings.model.name), settings.run.seed
    catalog, said = load_catalog(), clients()
    seen: list[Seen] = []
    summary: dict[str, Any] | None = None
    for trainer in phases(loaded, settings, None):
        if not isinstance(trainer, TBNRLTrainer):
            enter(trainer)
            trainer.train()
            trainer.close()
            continue
        # The likelihood is the bare base's for every seed: adapters of one must not read differently from another's.
        trainer.sets.add("base", off(loaded.model), frozen=True)
        scorer = reading_judge(judge, loaded) if settings.environment.judge == "reading" else judge
        onlookers = Onlookers(scorer, loaded, trainer.sets, encoder, "base")

        def look(policy: str, role: str, trainer: TBNRLTrainer = trainer, onlookers: Onlookers = onlookers) -> None:
            with trainer.sets.role(role):
                told = exchanges(loaded, catalog, said, samples, settings.generation, seed)
            seen.append(Seen(policy, seed, onlookers.look(trainer.count, told)))
            print(f"| {policy} | {seed} | {cells(seen[-1].look)}", flush=True)

        if with_base:
            look(BASE, "base")
        enter(trainer)
        look(START, FROZEN)
        summary = trainer.train()
        look(TRAINED, THERAPIST)
        trainer.close()
        accuracy = onlookers.accuracy
    assert summary is not None
    return seen, summary, accuracy


def difference(seen: Sequence[Seen], name: str, rng: np.random.Generator) -> tuple[float, float, float]:
    """(mean of trained - start, and its 95 % interval), over all seeds."""
    by = {(one.policy, one.seed): one.look for one in seen}
    return change([(by[START, seed], by[TRAINED, seed]) for seed in sorted({one.seed for one in seen})], name, rng)


HEAD = f"| policy | seed | {' | '.join(COLUMNS)} |\n|---|--:|" + "--:|" * len(COLUMNS)


def report(
    seen: Sequence[Seen],
    decent: Look,
    summaries: Sequence[dict[str, Any]],
    settings: Settings,
    config: str,
    accuracy: float,
) -> str:
    rng = np.random.default_rng(0)
    rows = [f"| {one.policy} | {one.seed} | {cells(one.look)}" for one in seen]
    lines = [
        "# Does it learn?",
        "",
        f"Made by `benchmarks/learning.py --config {config}`, whose first lines say how, on {device_name()}. A simulator; a",
        f"score that rises proves nothing by itself. The referee ranks {accuracy:.0%} of pairs it was not fitted to rightly.",
        "",
        HEAD, f"| authored replies |  | {cells(decent)}", *rows, "",
        "Trained less start, to the same clients, over all seeds:", "",
        "| | mean | 95 % interval |", "|---|--:|--:|",
    ]  # fmt: skip
    titles = dict(
        zip(COMPARED, ("reward (the judge that trained)", "referee", "answers", "share with a violation"), strict=True)
    )
    for name in COMPARED:
        mean, low, high = difference(seen, name, rng)
        lines.append(f"| {titles[name]} | {mean:+.2f} | {low:+.2f} to {high:+.2f} |")
    turns = [summary["turns"] for summary in summaries]
    steps = [summary["steps"] for summary in summaries]
    lines += ["", f"Turns a seed: {turns}; steps: {steps}; judge: {settings.environment.judge}."]
    return "\n".join(lines) + "\n"


def transcripts(seen: Sequence[Seen], many: int = 20) -> str:
    """The first `many` clients' answers by every policy of the first seed: no score chose them."""
    seed = min(one.seed for one in seen)
    mine = [one for one in seen if one.seed == seed]
    lines = [
        "# Twenty transcripts",
        "",
        "Made by `benchmarks/learning.py`: the same clients, each policy's first answer, in the order of the table.",
        "",
    ]
    for i in range(many):
        lines.append(f"**{mine[0].look.replies[i].client}**")
        lines += [f"- {one.policy}: {one.look.replies[i].reply}" for one in mine] + [""]
    return "\n".join(lines)


def picture(seen: Sequence[Seen], decent: Look, path: Path) -> None:
    """Every seed from base over start to trained; dotted, where decent authored replies stand."""
    panels = ("reward", "referee", "answers", "distinct_2", "alike", "charged")
    figure, axes = plt.subplots(1, len(panels), figsize=(16, 3), layout="constrained")
    base = next((one.look for one in seen if one.policy == BASE), None)
    for axis, name in zip(axes, panels, strict=True):
        for seed in sorted({one.seed for one in seen}):
            by = {one.policy: one.look for one in seen if one.seed == seed}
            values = [getattr(look, name) for look in (base, by[START], by[TRAINED]) if look is not None]
            axis.plot(range(3 - len(values), 3), values, marker="o")
        axis.axhline(getattr(decent, name), color="grey", linewidth=0.8, linestyle=":")
        axis.set_xticks(range(3), ["base", "start", "trained"])
        axis.set_title(
            {
                "distinct_2": "different word pairs",
                "alike": "likeness between clients",
                "charged": "with a violation",
            }.get(name, name),
            fontsize=10,
        )
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", default="configs/quickstart.toml")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--samples", type=int, default=2)
    parser.add_argument("--sessions", type=int, help="wins over run.sessions")
    parser.add_argument("--write", action="store_true", help="write docs/learning.*")
    asked = parser.parse_args()
    encoder = SentenceEncoder()
    judge = EmbeddingJudge(encoder=encoder)
    print(HEAD)
    seen: list[Seen] = []
    summaries: list[dict[str, Any]] = []
    decent: Look | None = None
    with tempfile.TemporaryDirectory() as folder:
        for seed in asked.seeds:
            changes = {"run.folder": folder, "run.seed": seed} | (
                {"run.sessions": asked.sessions} if asked.sessions else {}
            )
            settings = read_settings(asked.config, changes)
            if decent is None:
                loaded = load_model(settings.model.name)
                decent = _decent(loaded, encoder, judge)
                print(f"| authored replies |  | {cells(decent)}", flush=True)
            found, summary, accuracy = run(settings, asked.samples, seed == asked.seeds[0], encoder, judge)
            seen += found
            summaries.append(summary)
            if asked.write:
                write_whole(
                    DOCS / "learning.md", report(seen, decent, summaries, settings, asked.config, accuracy).encode()
                )
                write_whole(DOCS / "learning_transcripts.md", transcripts(seen).encode())
                picture(seen, decent, DOCS / "learning.png")
    print(report(seen, decent, summaries, settings, asked.config, accuracy))  # type: ignore[arg-type]


def _decent(loaded: LoadedModel, encoder: SentenceEncoder, judge: EmbeddingJudge) -> Look:
    """Where authored replies stand."""
    from agents.training import starting_adapters

    starting_adapters(loaded, Settings())
    sets = AdapterSets(loaded.model)
    sets.add(FROZEN, off(loaded.model), frozen=True)
    return Onlookers(judge, loaded, sets, encoder).look(0, authored(CLIENTS))


if __name__ == "__main__":
    main()
