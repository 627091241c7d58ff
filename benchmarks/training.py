"""A GRPO step beside the trainers that others would use, and what makes Icarus' own quick, in one run.

    python benchmarks/training.py [--peers DIR] [--prompts 1 4] [--repeats 3] [--write]

One step: K = 4 replies of 40 tokens each to prompts of about 258, then loss, backward pass and optimizer with a KL term to where
the adapters began (the reference's log-probabilities are part of it), on SmolLM2-135M in float32 with LoRA on its middle third,
rank 32 on attention and 16 on the MLP, on every side. Replies cannot end early; sampling is at one temperature with min_p 0.1.
MLX sides have one fast BLAS, torch has its own MKL. Each side is a process of its own (benchmarks/training_sides/); they take
their steps in turns, and their memory is the most that each process ever held. A step with n prompts is repeated an n-th as often.

`--peers DIR` names the folder with the peers' environments, DIR/trl and DIR/mlx_lm_lora; where one is missing, the commands that
make it are printed and the run goes on without. After the sides: Icarus alone (training_sides/own.py), and a whole turn of
self-play beside the same turn sample by sample (turns.py). Ratios count, times do not; nothing else should run meanwhile.
`--write` writes docs/training_speed.md.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a neighbour has the name of a package

from agents.lm import device
from agents.lm.architecture import layers_of
from agents.lm.generate import chat_tokens
from agents.lm.lora import LoraSettings, adapted_layers
from agents.lm.models import LoadedModel, load_model
from agents.prompts import therapist_messages
from benchmarks.training_report import Row, decimals, report
from benchmarks.training_sides.process import Process, SideFailed, answer
from client_graph.catalog import load_catalog
from client_graph.files import write_whole
from judges.pairs import PAIRS, read_pairs
from judges.protocol import Turn

ROOT = Path(__file__).resolve().parent.parent
SIDES = ROOT / "benchmarks" / "training_sides"
PROMPT_TOKENS, GROUP = 258, 4
# name of the environment -> (script, packages). Any build of torch will do; --torch-backend cpu takes the small one.
PEERS = {
    "mlx_lm_lora": ("with_mlx_lm_lora.py", "mlx-lm-lora==5.10.2 'mlx[cpu]==0.32.4' mlx-lm==0.32.2"),
    "trl": ("with_trl.py", "--torch-backend cpu trl==1.16.0 peft==0.21.2 jmespath torch==2.13.0"),
}


def told(loaded: LoadedModel) -> dict[str, Any]:
    """What every side is told."""
    lora = LoraSettings()
    return {
        "folder": str(loaded.folder), "blas": blas_file(), "layers": adapted_layers(len(layers_of(loaded.model)), lora),
        "attention_rank": lora.attention_rank, "mlp_rank": lora.mlp_rank, "scale": lora.scale, "group": GROUP,
        "temperature": 0.7, "min_p": 0.1, "kl_weight": 0.02, "learning_rate": 1e-6,
    }  # fmt: skip


def blas_file() -> str:
    """The file of the BLAS that this process has loaded, for MLX in others; "" where there is none to load."""
    return next((file for name, file in device._candidates() if name == device.BLAS), "")


def prompts(loaded: LoadedModel, many: int) -> list[dict[str, Any]]:
    """The therapist's prompts to clients of the held-out pairs, two turns remembered: those nearest to 258 tokens."""
    catalog, pairs, found = load_catalog(), read_pairs(PAIRS), []
    for first, second, now in zip(pairs, pairs[1:], pairs[2:], strict=False):
        history = tuple(Turn(pair.client, "", pair.better) for pair in (first, second))
        seen = {"client": now.client, "stage": 1, "stance": 0, "beliefs": catalog.start[0]}
        messages = therapist_messages(seen, history, catalog, 2, 2)
        found.append({"messages": messages, "tokens": chat_tokens(loaded.tokenizer, messages)})
    return sorted(found, key=lambda prompt: abs(len(prompt["tokens"]) - PROMPT_TOKENS))[:many]


def started(peers: Path | None, told: dict[str, Any]) -> dict[str, Process]:
    """The sides that can be had here, started one after the other; what the others need is printed."""
    commands = {"Icarus": [sys.executable, SIDES / "icarus.py"]}
    commands["Icarus, naive"] = [*commands["Icarus"], "--naive"]
    for name, (script, packages) in PEERS.items():
        python = None if peers is None else peers.absolute() / name / "bin" / "python"
        if python is not None and python.exists():
            commands[name] = [python, SIDES / script]
        else:
            print(
                f"{name}: no environment at {python or '--peers DIR'}; going on without it. To make one:\n{made(name, packages)}"
            )
    sides = {}
    for name, command in commands.items():
        try:
            sides[name] = Process(command, told)
        except SideFailed as failure:
            print(f"{name}: did not start, going on without it. {failure}")
    return sides


def made(name: str, packages: str) -> str:
    return f"    uv venv --python 3.11 DIR/{name}\n    uv pip install --python DIR/{name} {packages}"


def compared(
    sides: dict[str, Process], asked: list[dict[str, Any]], counts: list[int], repeats: int, new_tokens: int
) -> list[Row]:
    """Each side's steps, in turns. The naive side learns prompt by prompt, so it is measured with one only."""
    rows = []
    for count in counts:
        times = max(1, repeats // count)
        taking = {name: side for name, side in sides.items() if count == 1 or "naive" not in name}
        steps: dict[str, list[dict[str, Any]]] = {name: [] for name in taking}
        for i in range(times):
            for name, side in list(taking.items()):
                try:
                    step = side.ask({"prompts": asked[:count], "new_tokens": new_tokens})
                    _expect_replies(name, step["replies"], count, new_tokens)
                except SideFailed as failure:
                    print(f"{name}: left out from here on. {failure}")
                    del taking[name]
                    sides.pop(name)
                    continue
                steps[name].append(step)
                print(
                    f"{count} prompt(s), {i + 1} of {times}: {side.name}: generate {decimals(step['generate'])} s, learn "
                    f"{step['learn']:.2f} s, {step['resident_gb']:.2f} GB",
                    flush=True,
                )
        rows += [Row.of(name, sides[name], count, found) for name, found in steps.items() if found and name in sides]
    return rows


def _expect_replies(name: str, found: list[int], count: int, new_tokens: int) -> None:
    if found != [new_tokens] * (count * GROUP):
        raise SideFailed(
            f"{name} learned from replies of {found} tokens; expected {count * GROUP} of {new_tokens}: not the same work"
        )


def main() -> None:
    """Run, print, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, help="folder with the peers' environments")
    parser.add_argument(
        "--model", default="smollm2", help="another llama folder in mlx-lm's format, e.g. a tiny one to try this"
    )
    parser.add_argument("--prompts", type=int, nargs="+", default=[1, 4], help="prompts a step")
    parser.add_argument("--repeats", type=int, default=3, help="steps with one prompt; with n, an n-th as many")
    parser.add_argument("--new-tokens", type=int, default=40, help="tokens of each reply")
    parser.add_argument("--no-turn", action="store_true", help="leave out the whole turn of self-play")
    parser.add_argument("--write", action="store_true", help="write docs/training_speed.md")
    asked = parser.parse_args()
    loaded = load_model(asked.model)
    facts, texts = told(loaded), prompts(loaded, max(asked.prompts))
    del loaded
    sides = started(asked.peers, facts)
    rows = compared(sides, texts, asked.prompts, asked.repeats, asked.new_tokens)
    for side in sides.values():
        side.close()
    once = {
        "told": facts,
        "prompt": texts[0]["tokens"],
        "new_tokens": asked.new_tokens,
        "repeats": max(1, asked.repeats - 1),
    }
    own = answer([sys.executable, SIDES / "own.py"], once)
    turn = {"folder": facts["folder"], "repeats": 1}
    whole = None if asked.no_turn else answer([sys.executable, SIDES / "turns.py"], turn)
    text = report(rows, own, whole, [len(prompt["tokens"]) for prompt in texts], asked)
    print(text)
    if asked.write:
        write_whole(ROOT / "docs" / "training_speed.md", text.encode())


if __name__ == "__main__":
    main()
