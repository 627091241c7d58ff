"""The command `icarus plan`: the memory that a run needs, before its model is anywhere near."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agents.run_plan import Change, RunPlan
    from judges.calibration.tables import Table

GB = 1_000_000_000


def add_plan(commands: Any) -> None:
    """`plan` among the subcommands."""
    plan = commands.add_parser(
        "plan",
        help="the memory that a run needs, by arithmetic: no model is loaded",
        description="The memory that a run needs, by part and by moment, from its settings and the model's config.json.",
        epilog="Shapes of the models that the shipped settings name are in configs/models; docs/memory.md says what is exact.",
    )
    plan.add_argument("config", type=Path, metavar="CONFIG", help="settings of a run, e.g. configs/icarus-9.2.toml")
    plan.add_argument("--model", help="wins over model.name: a folder with a config.json, or a name")
    plan.add_argument(
        "--memory", type=float, metavar="GB", help="say whether it fits, and what to change (GB of 10^9 bytes)"
    )
    plan.add_argument(
        "--turn", type=int, metavar="N", help="turn of a session that is planned for; the last one by default"
    )
    plan.add_argument(
        "--prompt-tokens", type=int, metavar="N", help="length of the therapist's prompt, where it is known"
    )
    plan.add_argument("--cpu", action="store_true", help="on a CPU, where weights are expanded to float32")
    plan.add_argument("--json", action="store_true", help="print every figure as JSON, in bytes")
    plan.set_defaults(run=run_plan)


def run_plan(asked: argparse.Namespace) -> int:
    """Print the plan; 0, also where it does not fit. Raises SettingsError and what `plan_run` raises."""
    from rich.console import Console

    from agents.run_plan import changes, plan_run
    from agents.settings import SettingsError, read_settings

    for name in ("memory", "turn", "prompt_tokens"):
        if (said := getattr(asked, name)) is not None and not said > 0:
            raise SettingsError(f"--{name.replace('_', '-')}: found {said:g}; expected more than 0")
    settings = read_settings(asked.config, {"model.name": asked.model} if asked.model else None)
    planned = plan_run(settings, turn=asked.turn, prompt_tokens=asked.prompt_tokens, cpu=asked.cpu)
    memory = None if asked.memory is None else round(asked.memory * GB)
    over = memory is not None and planned.plan.peak.total > memory
    smaller = changes(settings, planned, memory) if over or memory is None else []
    if asked.json:
        print(json.dumps(as_json(planned, memory, smaller), indent=1))
        return 0
    console = Console(soft_wrap=True)
    for line in heading(planned):
        console.print(line, highlight=False, markup=False)
    console.print(table(planned).rich())
    console.print(peak_line(planned), highlight=False)
    if memory is not None:
        console.print(verdict(planned, memory), style="yellow" if over else "green", highlight=False)
    for line in change_lines(smaller):
        console.print(line, highlight=False, markup=False)
    return 0


def heading(planned: "RunPlan") -> list[str]:
    """What is planned: the model, what is trained of it, the lengths."""
    shapes, lengths, lora = planned.plan.shapes, planned.plan.lengths, planned.lora
    layers = [i for i, layer in enumerate(shapes.layers) if layer.adapters]
    where = "on a CPU, float32" if planned.cpu else "in its own format, as on a GPU"
    base = ", ".join(f"{part} {size / GB:.2f}" for part, size in shapes.base.items() if size >= 0.005 * GB)
    judge = f"; the judge's prompt {lengths.judge:,}" if lengths.judge else ""
    again = "; gradients checkpointed" if planned.plan.checkpoint else ""
    return [
        f"{planned.model}: {shapes.parameters / 1e9:.3f} B parameters {where} (shapes: {planned.source})",
        f"base weights in GB: {base}",
        f"adapters on layers {_ranges(layers)} of {len(shapes.layers)}, ranks {lora.attention_rank} and {lora.mlp_rank}: "
        f"{shapes.adapter / 4e6:,.1f} M parameters{again}",
        f"turn {planned.turn}: the prompt {lengths.prompt:,} tokens, after feedback {lengths.correction:,}, "
        f"{lengths.rows} candidates of {lengths.reply}{judge}",
    ]


def _ranges(layers: Sequence[int]) -> str:
    if list(layers) == list(range(layers[0], layers[-1] + 1)):
        return f"{layers[0]}-{layers[-1]}"
    return ", ".join(map(str, layers))


def table(planned: "RunPlan") -> "Table":
    """Parts by moments, in GB; ≈ marks what is estimated."""
    from agents.lm.plan import PARTS
    from judges.calibration.tables import Table

    moments = planned.plan.moments
    places = 2 if planned.plan.peak.total >= 10 * GB else 3
    rows = [
        (part if exact else f"≈ {part}", *(_gb(moment.parts.get(part), places) for moment in moments))
        for part, exact in PARTS.items()
        if any(moment.parts.get(part) for moment in moments)
    ]
    rows.append(("together", *(_gb(moment.total, places) for moment in moments)))
    return Table("Memory in GB (10^9 bytes)", ("", *(moment.name for moment in moments)), tuple(rows))


def _gb(size: int | None, places: int) -> str:
    return f"{size / GB:.{places}f}" if size else ""


def peak_line(planned: "RunPlan") -> str:
    """When most is needed, and what it is needed for."""
    peak = planned.plan.peak
    part, size = max(peak.parts.items(), key=lambda item: item[1])
    return f"peak {peak.total / GB:.2f} GB, at the moment: {peak.name}; most of it {part} ({size / peak.total:.0%})"


def verdict(planned: "RunPlan", memory: int) -> str:
    """Whether it fits, in a sentence."""
    peak = planned.plan.peak.total
    if peak > memory:
        return f"does not fit {memory / GB:g} GB: {(peak - memory) / GB:.2f} GB too much"
    return f"fits {memory / GB:g} GB, of which it takes {peak / memory:.0%}"


def change_lines(smaller: "Sequence[Change]") -> list[str]:
    """What would need less, one change a line."""
    if not smaller:
        return []
    return ["what would need less, each alone:", *(f"  {c.peak / GB:8.2f} GB  {c.what}" for c in smaller)]


def as_json(planned: "RunPlan", memory: int | None, smaller: "Sequence[Change]") -> dict[str, Any]:
    """Every figure, in bytes."""
    plan = planned.plan
    return {
        "model": planned.model,
        "shapes_from": planned.source,
        "turn": planned.turn,
        "cpu": planned.cpu,
        "checkpoint_gradients": plan.checkpoint,
        "parameters": plan.shapes.parameters,
        "adapter": plan.shapes.adapter,
        "base": plan.shapes.base,
        "lengths": asdict(plan.lengths),
        "moments": {moment.name: moment.parts | {"together": moment.total} for moment in plan.moments},
        "peak": {"moment": plan.peak.name, "bytes": plan.peak.total},
        "memory": memory,
        "fits": None if memory is None else plan.peak.total <= memory,
        "changes": [asdict(change) for change in smaller],
    }
