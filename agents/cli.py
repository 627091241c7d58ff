"""The command `icarus`."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

NOTICE = "Icarus is research software: a simulator of a client in treatment. It is not for clinical use."
WRONG_INPUT = 2
INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code: 0 done, 2 wrong input (one clear error), 130 stopped by a signal."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    try:
        return int(asked.run(asked))
    except Exception as error:
        if not _is_expected(error):
            raise
        print(f"icarus: {error}", file=sys.stderr)
        return WRONG_INPUT


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="icarus", description=NOTICE, epilog=NOTICE)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    train = commands.add_parser("train", help="train a therapist adapter by self-play", description=NOTICE)
    source = train.add_mutually_exclusive_group(required=True)
    source.add_argument("--config", type=Path, help="settings of a new run, e.g. configs/quickstart.toml")
    source.add_argument("--resume", type=Path, metavar="RUN", help="folder of a run that was stopped")
    train.add_argument("--model", help='wins over model.name: "smollm2", a folder, or a hub name')
    train.add_argument("--adapter", help="wins over model.adapter: the folder of an adapter to begin with")
    train.add_argument("--seed", type=int, help="wins over run.seed")
    train.add_argument("--sessions", type=int, help="wins over run.sessions")
    train.add_argument("--folder", help="wins over run.folder")
    train.set_defaults(run=_train)
    return parser


def _train(asked: argparse.Namespace) -> int:
    from agents.settings import SettingsError, read_settings

    changes = {
        dotted: value
        for dotted, value in {
            "model.name": asked.model,
            "model.adapter": asked.adapter,
            "run.seed": asked.seed,
            "run.sessions": asked.sessions,
            "run.folder": asked.folder,
        }.items()
        if value is not None
    }
    if asked.resume and changes:
        raise SettingsError(f"--resume goes on with the run's own settings; leave out {', '.join(changes)}")
    settings = read_settings(asked.resume / "settings.toml" if asked.resume else asked.config, changes)

    from rich.console import Console

    from agents.lm.device import device_name
    from agents.lm.models import load_model
    from agents.report import LiveReport, closing_table
    from agents.run_folder import RunFolder
    from agents.trainer import TBNRLTrainer, peak_resident_gb

    console = Console(soft_wrap=True)
    console.print(NOTICE, style="dim")
    folder = RunFolder.existing(asked.resume) if asked.resume else None
    console.print(f"model {settings.model.name} on {device_name()}", highlight=False)
    loaded = load_model(settings.model.name)
    # A new run's folder is made last: what is wrong with the input is found before anything is written.
    trainer = TBNRLTrainer(loaded, settings, folder)
    with LiveReport(console, settings.run.sessions, settings.environment.max_turns) as report:
        trainer.on_turn, trainer.on_session = report.turn, report.session
        if asked.resume:
            for warning in trainer.resume():
                console.print(warning, style="yellow")
            report.resume_at(trainer.progress)
        else:
            trainer.begin()
        console.print(f"run folder {trainer.folder.path}", highlight=False)
        with _Signals(trainer, console):
            summary = trainer.train()
    if summary is None:
        console.print(f"stopped after {trainer.progress.total_turns} turns; the run is whole. To go on:")
        console.print(f"  icarus train --resume {trainer.folder.path}", highlight=False)
        return INTERRUPTED
    console.print(closing_table(summary))
    console.print(
        "A score that rises proves nothing by itself: read the replies in turns.jsonl and summary.json.", style="dim"
    )
    console.print(
        f"{summary['turns']} turns, {len(summary['sessions'])} sessions; the adapter moved by {summary['adapter_change']:.3f} "
        f"(Euclidean); peak memory {peak_resident_gb():.2f} GB\n"
        f"adapter: {trainer.folder.path / 'adapters'}   events: tensorboard --logdir {trainer.folder.path / 'events'}",
        highlight=False,
    )
    return 0


class _Signals:
    """SIGINT and SIGTERM end the run after the turn that is being played; a second one ends it at once."""

    def __init__(self, trainer: Any, console: Any) -> None:
        self._trainer, self._console = trainer, console
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._receive)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _receive(self, number: int, frame: FrameType | None) -> None:
        if self._trainer.stop:
            os.write(2, b"\nstopped at once; the last checkpoint is whole\n")
            os._exit(INTERRUPTED)
        self._trainer.stop = True
        self._console.print("finishing this turn, then saving; once more to stop at once", style="yellow")


def _is_expected(error: Exception) -> bool:
    """Whether an error is one that its reader can mend: it is printed as a sentence, without a traceback."""
    if isinstance(error, OSError):
        return True
    kinds = {
        ("agents.settings", "SettingsError"),
        ("agents.run_folder", "RunFolderError"),
        ("agents.learner", "BadGradients"),
        ("agents.lm.embedded", "ModelUnavailable"),
        ("agents.lm.adapters", "AdapterMismatch"),
        ("agents.lm.architecture", "UnknownArchitecture"),
        ("agents.lm.files", "BrokenFolder"),
        ("client_graph.tables", "TableError"),
        ("judges.protocol", "JudgeUnavailable"),
    }
    return any((kind.__module__, kind.__name__) in kinds for kind in type(error).__mro__)


if __name__ == "__main__":
    sys.exit(main())
