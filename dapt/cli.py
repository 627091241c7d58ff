"""The command `icarus dapt`; agents finds it by its entry point and imports nothing of this package."""

from __future__ import annotations

import argparse
import signal
from pathlib import Path
from typing import Any

NOTICE = "Icarus is research software: a simulator of a client in treatment. It is not for clinical use."
INTERRUPTED = 130


def add_dapt(commands: Any) -> None:
    """Add the command to the parser of `icarus`."""
    told = "pre-train adapters on long sessions, in windows with a compressed history and recaps"
    dapt = commands.add_parser("dapt", help=told, description=f"{told}. {NOTICE}")
    source = dapt.add_mutually_exclusive_group(required=True)
    source.add_argument("--config", type=Path, help="settings of a new run, e.g. configs/dapt_quickstart.toml")
    source.add_argument("--resume", type=Path, metavar="RUN", help="folder of a run that was stopped")
    source.add_argument(
        "--report",
        type=Path,
        metavar="RUN",
        help="write RUN/report.html: losses, kurtosis, recaps; of any run, also one that goes on",
    )
    dapt.set_defaults(run=_dapt)


def _dapt(asked: argparse.Namespace) -> int:
    from rich.console import Console

    from dapt.report import write_report

    if asked.report:
        print(f"{NOTICE}\nreport: {write_report(asked.report)}")
        return 0
    from agents.lm.device import device_name
    from agents.lm.models import load_model
    from agents.lm.rank_folder import rank_folder
    from agents.lm.ranks import Ranks
    from agents.lm.run_folder import ADAPTERS, SETTINGS, RunFolder
    from dapt.settings import read_dapt_settings
    from dapt.trainer import DaptTrainer

    ranks = Ranks()
    console = Console(soft_wrap=True, quiet=ranks.rank > 0)
    console.print(NOTICE, style="dim")
    folder = rank_folder(RunFolder.existing(asked.resume).path, ranks) if asked.resume else None
    settings = read_dapt_settings(asked.resume / SETTINGS if asked.resume else asked.config)
    console.print(f"model {settings.model.name} on {device_name()}", highlight=False, markup=False)
    trainer = DaptTrainer(load_model(settings.model.name), settings, folder)

    def finish(number: int, frame: object) -> None:
        if trainer.stop:
            raise KeyboardInterrupt
        trainer.stop = True
        console.print("finishing this window, then saving; once more to stop at once", style="yellow")

    before = {number: signal.signal(number, finish) for number in (signal.SIGINT, signal.SIGTERM)}
    trainer.on_window = lambda line: console.print(_line(line), highlight=False, markup=False)
    try:
        if asked.resume:
            for warning in trainer.resume():
                console.print(warning, style="yellow")
        else:
            if trainer.held_out:
                console.print("looking at the held-out sessions first, a minute or two", style="dim")
            trainer.begin()
        console.print(f"run folder {trainer.folder.path}", highlight=False)
        summary = trainer.train()
    finally:
        trainer.close()
        for number, handler in before.items():
            signal.signal(number, handler)
    if summary is None:
        console.print(f"stopped after {trainer.progress.windows} windows; the run is whole. To go on:")
        console.print(f"  icarus dapt --resume {trainer.folder.path}", highlight=False)
        return INTERRUPTED
    for look in summary["looks"]:
        if "loss" in look:
            console.print(f"held-out sessions after step {look['step']}: {_looked(look)}", highlight=False)
    adapter = trainer.folder.path / ADAPTERS
    if ranks.rank == 0:
        console.print(f"report: {write_report(trainer.folder.path)}", highlight=False)
    console.print(f"adapter: {adapter}. To go on: icarus train --config FILE --adapter {adapter}", highlight=False)
    return 0


def _looked(look: dict[str, Any]) -> str:
    """The loss, of what is learned where that is not all, and of each component."""
    learned = f"; of what is learned {look['learned']:.3f}" if "learned" in look else ""
    each = ", ".join(f"{name} {nats:.2f}" for name, nats in look.get("components", {}).items())
    return f"{look['loss']:.3f} nats a token{learned} ({each})"


def _line(line: dict[str, Any]) -> str:
    quality = line["quality"]
    recap = "" if line["recap"] is None else f"  recap {quality['kind']}: {' '.join(line['recap'].split())[:90]}"
    loss = "none" if line["loss"] is None else f"{line['loss']:.3f}"
    loss = loss if line["learned"] else "none, all of it given: nothing is learned from it"
    return f"step {line['step']} window {line['window']}/{line['of']}  loss {loss}  {line['seconds']:.1f} s{recap}"
