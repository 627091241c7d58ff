"""The memory that `icarus plan` says beside what a run takes, and the plans of the shipped runs.

    python benchmarks/plan.py                           # measured on the embedded model, a few minutes on two cores
    python benchmarks/plan.py --write docs/memory.md    # and write both into the document
    python benchmarks/plan.py --plans-only --write docs/memory.md

Measured are the quickstart's own shapes on SmolLM2 (float32, as a CPU has it), the same with a long prompt, and that with
checkpointed gradients: a reply and candidates of full length, one RLAIF and one GRPO step, with the turn kept to take back, each
beside the planned moment. Active and peak bytes are MLX's own count; what the process holds beside them (Python, MKL, the offline
judge) is the last row.
"""

import argparse
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a neighbour has the name of a package

import numpy as np
from mlx.utils import tree_flatten

from agents.cli_plan import GB, change_lines, heading, peak_line, table, verdict
from agents.learner import FROZEN, THERAPIST, Learner
from agents.lm.adapters import AdapterSets
from agents.lm.device import device_name, mx
from agents.lm.generate import PrefixCache, generate
from agents.lm.models import LoadedModel, load_model
from agents.lm.plan import PARTS, Plan, adam_bytes, plan_shapes
from agents.run_plan import changes, plan_run
from agents.settings import Settings, read_settings
from agents.training import peak_resident_gb, starting_adapters
from client_graph.files import write_whole
from client_graph.names import CONFIGS
from judges.calibration.tables import Table
from judges.offline.embedding import EmbeddingJudge

RUNS = {
    "quickstart": 8,
    "llama-8b": 32,
    "glm-4.7-flash": 64,
    "icarus-9.2": 192,
    "minimax-m2": 256,
}  # config -> GB of a machine
TURNS = (1, 5, 10, 20)
LONG = 900  # tokens of a prompt as it is late in a session that is remembered


class Endless:
    """A tokenizer that knows no end, so that every reply is as long as allowed."""

    eos_token_ids: frozenset[int] = frozenset()

    def decode(self, tokens: list[int]) -> str:
        return ""


def nbytes(arrays: object) -> int:
    return sum(array.nbytes for _, array in tree_flatten(arrays))


def peak_of(work: Callable[[], object]) -> int:
    """MLX's peak while it runs, everything that was there before included."""
    mx.clear_cache()
    mx.reset_peak_memory()
    work()
    return int(mx.get_peak_memory())


def tokens(count: int, seed: int, vocabulary: int) -> list[int]:
    return np.random.default_rng(seed).integers(0, vocabulary, count).tolist()


def measured(settings: Settings, prompt_tokens: int | None = None, checkpoint: bool = False) -> Table:
    """Planned beside measured, on this machine; prompt_tokens as for `plan_run`."""
    optimizer = settings.optimizer.model_copy(update={"checkpoint_gradients": checkpoint})
    settings = settings.model_copy(update={"optimizer": optimizer})
    planned = plan_run(settings, cpu=True, prompt_tokens=prompt_tokens).plan
    lengths = replace(planned.lengths, judge=0, kept=0)  # no judge asks the model here
    planned = plan_shapes(planned.shapes, lengths, checkpoint)
    encoder = EmbeddingJudge()  # the process has it too
    loaded = replace(load_model(settings.model.name), tokenizer=Endless())
    base = nbytes(loaded.model.parameters())
    _, start = starting_adapters(loaded, settings)
    sets = AdapterSets(loaded.model)
    sets.add(THERAPIST, start)
    sets.add(FROZEN, dict(start), frozen=True)
    sets.activate(THERAPIST)
    learner, vocabulary = Learner(sets, loaded.model, settings.optimizer), planned.shapes.vocabulary
    prompt, after = (tokens(n, seed, vocabulary) for seed, n in enumerate((lengths.prompt, lengths.correction)))
    said = [tokens(lengths.reply, 7 + i, vocabulary) for i in range(lengths.rows)]
    scores = [float(i) for i in range(lengths.rows)]
    learner.grpo_step(prompt, said, scores, settings.grpo)  # from here therapist and frozen set are two
    sets.get(THERAPIST)
    mx.clear_cache()
    rows = [
        ("base weights", planned.moments[0].parts["base weights"], base),
        ("one adapter set", planned.shapes.adapter, nbytes(sets.get(THERAPIST))),
        ("Adam", adam_bytes(planned.shapes), nbytes(learner.optimizer.state)),
    ]
    at = {moment.name: moment.total for moment in planned.moments}
    held = {moment.name: sum(size for part, size in moment.parts.items() if PARTS[part]) for moment in planned.moments}
    rows.append(("between turns", at["between turns"], int(mx.get_active_memory())))
    remembered = learner.remember()
    prefixes = PrefixCache(THERAPIST, capacity=2)

    def speak(start: list[int], count: int) -> int:
        keys = list(mx.random.split(mx.random.key(count), count))
        return peak_of(
            lambda: generate(
                loaded,
                [start] * count,
                temperatures=[0.7] * count,
                keys=keys,
                max_tokens=lengths.reply,
                prefixes=prefixes,
            )
        )

    speak(prompt, 1), speak(after, 1)
    caches = sum(cache.nbytes for kept in prefixes._kept.values() for cache in kept)
    rows.append(("prompt caches", planned.moments[1].parts["prompt caches"], caches))
    rlaif = peak_of(lambda: learner.rlaif_step(prompt, said[0], said[1], 1.0, settings.rlaif))
    speaking = speak(prompt, lengths.rows)
    grpo = peak_of(lambda: learner.grpo_step(prompt, said, scores, settings.grpo))
    for name, found in (("speaking", speaking), ("RLAIF step", rlaif), ("GRPO step", grpo)):
        rows.append((name, at[name], found))
        rows.append((f"{name}: what is estimated of it", at[name] - held[name], found - held[name]))
    del remembered, encoder  # held until here, as in a run
    return _beside(planned, rows, loaded)


def _beside(planned: Plan, rows: list[tuple[str, int, int]], loaded: LoadedModel) -> Table:
    most = max(found for _, _, found in rows)
    lengths = planned.lengths
    rows_of_text = [(name, f"{told:,}", f"{found:,}", f"{found / told:.3f}") for name, told, found in rows]
    rows_of_text.append(("the process beside its peak", "", f"{round(peak_resident_gb() * GB) - most:,}", ""))
    note = (
        f"{loaded.name} on {device_name()}: a prompt of {lengths.prompt} tokens, {lengths.correction} after feedback, "
        f"{lengths.rows} candidates of {lengths.reply}. Bytes; the last column is measured / planned."
    )
    again = ", gradients checkpointed" if planned.checkpoint else ""
    return Table(
        f"{lengths.prompt} tokens of prompt{again}", ("", "planned", "measured", "ratio"), tuple(rows_of_text), note
    )


def plans() -> str:
    """The plan of every shipped run, as `icarus plan CONFIG --memory GB` prints it; then the peaks by turn."""
    pages, by_turn = [], []
    for name, gigabytes in RUNS.items():
        settings = read_settings(CONFIGS / f"{name}.toml")
        planned, memory = plan_run(settings), gigabytes * GB
        over = planned.plan.peak.total > memory
        said = [*heading(planned), peak_line(planned), verdict(planned, memory)]
        said += change_lines(changes(settings, planned, memory)) if over else []
        page = [f"### `icarus plan configs/{name}.toml --memory {gigabytes}`", "", *_lines(said), "", ""]
        pages.append("\n".join(page) + table(planned).markdown().split("\n", 2)[2])
        turns = [turn for turn in TURNS if turn <= settings.environment.max_turns]
        peaks = {turn: plan_run(settings, turn=turn).plan.peak.total / GB for turn in turns}
        by_turn.append((name, *(f"{peaks[turn]:.1f}" if turn in peaks else "" for turn in TURNS)))
        print(f"{name}: planned", file=sys.stderr, flush=True)
    peaks_by_turn = Table(
        "Peak by turn, GB", ("", *(f"turn {turn}" for turn in TURNS)), tuple(by_turn),
        "Every reply as long as allowed: a session seldom comes near it.",
    )  # fmt: skip
    return "\n".join([peaks_by_turn.markdown(), *pages])


def _lines(said: list[str]) -> list[str]:
    return ["    " + line for line in said]


def put(text: str, name: str, block: str) -> str:
    """The document with what stands between its two marks replaced. Raises ValueError where they are not there."""
    marks = f"<!-- {name} -->", f"<!-- end of {name} -->"
    pattern = re.compile(re.escape(marks[0]) + r"\n.*?" + re.escape(marks[1]), re.DOTALL)
    if not pattern.search(text):
        raise ValueError(f"found no {marks[0]} ... {marks[1]} in the document; expected both marks, each on its line")
    return pattern.sub(lambda _: f"{marks[0]}\n\n{block.strip()}\n\n{marks[1]}", text)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=CONFIGS / "quickstart.toml")
    parser.add_argument("--plans-only", action="store_true", help="measure nothing")
    parser.add_argument("--measured-only", action="store_true", help="plan no shipped run")
    parser.add_argument(
        "--write", type=Path, metavar="FILE", help="write the tables into this document, between its marks"
    )
    asked = parser.parse_args()
    blocks = {}
    if not asked.plans_only:
        settings = read_settings(asked.config)
        looks = (None, False), (LONG, False), (LONG, True)
        blocks["measured"] = "\n".join(measured(settings, *look).markdown() for look in looks)
    if not asked.measured_only:
        blocks["plans"] = plans()
    for name, block in blocks.items():
        print(block)
        if asked.write:
            write_whole(asked.write, put(asked.write.read_text(), name, block).encode())


if __name__ == "__main__":
    main()
