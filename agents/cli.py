"""The command `icarus`."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib.metadata import entry_points
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from agents.cli_adapter import add_adapter
from agents.cli_calibrate import add_calibrate
from agents.cli_chat import add_chat
from agents.cli_judge import add_judge
from agents.cli_mine import add_mine
from agents.cli_plan import add_plan
from agents.cli_play import add_play, add_replay
from agents.cli_record import add_record

if TYPE_CHECKING:
    from rich.console import Console

    from agents.settings import Settings
    from agents.training import Training

NOTICE = "Icarus is research software: a simulator of a client in treatment. It is not for clinical use."
SMALL = "SmolLM2-135M is a subject to train, not a therapist: expect poor talk, and a client who says so. A turn takes 10 to 30 s."
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
    except KeyboardInterrupt:
        print("icarus: stopped; nothing was learned since the last checkpoint, if there is one", file=sys.stderr)
        return INTERRUPTED


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
    train.add_argument(
        "--catalog", metavar="DIR", help="wins over environment.catalog: a folder of your own client tables"
    )
    train.set_defaults(run=_train)
    check = commands.add_parser(
        "check-catalog", help="check client tables: the shipped ones, or your own", description=NOTICE
    )
    check.add_argument(
        "folder", type=Path, nargs="?", metavar="DIR", help="your own tables; begin with a copy of configs/client"
    )
    check.add_argument(
        "--paper", action="store_true", help="hold your own tables to the paper, as the shipped ones are"
    )
    check.set_defaults(run=_check_catalog)
    add_play(commands)
    add_replay(commands)
    add_record(commands)
    add_chat(commands)
    add_adapter(commands)
    add_judge(commands)
    add_calibrate(commands)
    add_mine(commands)
    add_plan(commands)
    for found in sorted(entry_points(group="icarus.commands"), key=lambda one: one.name):
        found.load()(commands)
    return parser


def _check_catalog(asked: argparse.Namespace) -> int:
    """What the tables hold, or every broken rule at once."""
    from client_graph.catalog import load_catalog
    from client_graph.inventory import by_file, inventory
    from client_graph.names import CONFIGS
    from client_graph.paper_rules import broken_paper_rules
    from client_graph.slips import slips
    from client_graph.tables import TableError, table_folder

    shipped = table_folder(CONFIGS / "client")
    folder = table_folder(asked.folder) if asked.folder else shipped
    by_the_paper = asked.paper or folder == shipped
    try:
        catalog = load_catalog(folder)
        problems = tuple(broken_paper_rules(catalog)) if by_the_paper else ()
    except TableError as error:
        problems = error.problems
    if problems:
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        print(f"icarus: {count} in {folder}\n{by_file(problems, folder)}", file=sys.stderr)
        return WRONG_INPUT
    print(inventory(catalog))
    if by_the_paper:
        print("no broken rule; the paper's are kept")
    elif doubtful := tuple(slips(catalog.rows)):
        print(f"no broken rule; {len(doubtful)} worth a look:\n{by_file(doubtful, folder)}")
    else:
        print(
            "no broken rule. Not looked at: whether help helps and harm harms, copies, counts and the paper's examples (--paper)"
        )
    return 0


def _train(asked: argparse.Namespace) -> int:
    from rich.console import Console

    from agents.lm.device import device_name
    from agents.lm.models import load_model
    from agents.lm.rank_folder import rank_folder
    from agents.lm.ranks import Ranks
    from agents.lm.run_folder import RunFolder
    from agents.run import phases

    settings = _settings(asked)
    ranks = Ranks()
    folder = rank_folder(RunFolder.existing(asked.resume).path, ranks) if asked.resume else None
    console = Console(soft_wrap=True, quiet=ranks.rank > 0)
    console.print(NOTICE, style="dim")
    if folder is not None and (folder / "summary.json").is_file():
        console.print(
            f"{folder.path} is finished; begin a new run, with its adapters: --adapter {folder.path / 'adapters'}"
        )
        return 0
    tables = _tables(settings)  # before the model, which takes longer
    console.print(f"model {settings.model.name} on {device_name()}{tables}", highlight=False, markup=False)
    # A new run's folder is made last: what is wrong with the input is found before anything is written.
    for trainer in phases(load_model(settings.model.name), settings, folder):
        try:
            summary = _phase(trainer, settings, console)
        finally:
            trainer.close()
        if (code := _close(trainer, summary, console)) != 0:
            return code
    return 0


def _phase(trainer: "Training", settings: "Settings", console: "Console") -> dict[str, Any] | None:
    """Begin or go on, and work under the eyes of a person. Returns the summary, None if it was stopped."""
    from agents.corpus_trainer import CorpusTrainer
    from agents.report import CorpusReport, LiveReport
    from agents.run import enter
    from agents.trainer import TBNRLTrainer

    with ExitStack() as shown:
        if isinstance(trainer, TBNRLTrainer):
            turns = shown.enter_context(LiveReport(console, settings.run.sessions, settings.environment.max_turns))
            trainer.on_turn, trainer.on_session = turns.turn, turns.session
            resume_at: Any = turns.resume_at
        else:
            assert isinstance(trainer, CorpusTrainer)
            steps = shown.enter_context(CorpusReport(console, trainer.method, trainer.steps))
            trainer.on_step, resume_at = steps.step, steps.resume_at
        for warning in _entered(trainer, enter, settings.run.folder):
            console.print(warning, style="yellow")
        resume_at(trainer.progress)
        console.print(f"run folder {trainer.folder.path}", highlight=False)
        if settings.model.name == "smollm2" and isinstance(trainer, TBNRLTrainer):
            console.print(SMALL, style="dim")
        with _Signals(trainer, console):
            return _trained(trainer)


def _settings(asked: argparse.Namespace) -> "Settings":
    """The settings file with what the command line says on top."""
    from agents.settings import SettingsError, read_settings

    said = {
        "model.name": asked.model,
        "model.adapter": asked.adapter,
        "run.seed": asked.seed,
        "run.sessions": asked.sessions,
        "run.folder": asked.folder,
        "environment.catalog": asked.catalog,
    }
    changes = {dotted: value for dotted, value in said.items() if value is not None}
    if asked.resume and changes:
        flags = ", ".join("--" + dotted.split(".")[1].replace("name", "model") for dotted in changes)
        raise SettingsError(f"--resume goes on with the run's own settings; leave out {flags}")
    if asked.resume and not (asked.resume / "settings.toml").is_file():
        raise SettingsError(
            f"{asked.resume}: no such run, or not a run folder; expected one that icarus train has made"
        )
    return read_settings(asked.resume / "settings.toml" if asked.resume else asked.config, changes)


def _tables(settings: "Settings") -> str:
    """Whose client tables a run uses, in words; nothing for the shipped ones. Raises TableError."""
    from client_graph.catalog import load_catalog

    if settings.environment.catalog is None:
        return ""
    catalog = load_catalog(settings.environment.catalog)
    return f", {len(catalog.nodes)} nodes of {catalog.folder}"


def _entered(trainer: "Training", enter: "Callable[[Training], list[str]]", folder: str) -> list[str]:
    made_here = not trainer.has_folder
    try:
        return enter(trainer)
    except OSError as error:
        left = f"The run could not begin in {folder} and nothing of it was left there. " if made_here else ""
        raise OSError(f"{error}. {left}Free some space, or name another folder with --folder") from error


def _trained(trainer: "Training") -> dict[str, Any] | None:
    try:
        return trainer.train()
    except OSError as error:
        raise OSError(
            f"{error}. The run is whole up to its last checkpoint. Free some space, then go on: {_resume(trainer)}"
        ) from error


def _resume(trainer: "Training") -> str:
    path = trainer.folder.path
    return f"{_program()} train --resume {path.parent if path.name == 'start' else path}"


def _program() -> str:
    """The command as it was called, so that what is printed can be typed again."""
    called = Path(sys.argv[0])
    return str(called) if called.name == "icarus" else "icarus"


def _close(trainer: "Training", summary: dict[str, Any] | None, console: "Console") -> int:
    """What is said at the end of a phase, and its exit code."""
    from agents.report import closing_table, corpus_table

    if summary is None:
        if trainer.paused:
            console.print(f"paused: {trainer.paused}", style="yellow")
        units = "turns" if trainer.log == "turns.jsonl" else "steps"
        console.print(f"stopped after {trainer.count} {units}; the run is whole. To go on:")
        console.print(f"  {_resume(trainer)}", highlight=False)
        return INTERRUPTED
    if summary["method"] != "C":
        console.print(corpus_table(summary))
        console.print(f"{summary['steps']} steps; adapter: {trainer.folder / 'adapters'}", highlight=False)
        return 0
    console.print(closing_table(summary))
    console.print(
        "A score that rises proves nothing by itself: read the replies, in summary.json beside the lines they answer.",
        style="dim",
    )
    path = trainer.folder.path
    console.print(
        f"{summary['turns']} turns, {len(summary['sessions'])} sessions, {summary['steps']['rlaif']} RLAIF and "
        f"{summary['steps']['grpo']} GRPO steps; the adapter moved by {summary['adapter_change']:.3f} "
        f"(Euclidean); peak memory {summary['peak_resident_gb']:.2f} GB\n"
        f"adapter: {path / 'adapters'}   TensorBoard events: {path / 'events'}",
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
            told = f"\nstopped at once; turns since the last checkpoint are played again: {_resume(self._trainer)}\n"
            os.write(2, told.encode())
            os._exit(INTERRUPTED)
        self._trainer.stop = True
        self._console.print("finishing this turn, then saving; once more to stop at once", style="yellow")


def _is_expected(error: Exception) -> bool:
    """Whether an error is one that its reader can mend: it is printed as a sentence, without a traceback."""
    if isinstance(error, OSError):
        return True
    kinds = {
        ("agents.settings", "SettingsError"),
        ("dapt.settings", "DaptSettingsError"),
        ("agents.lm.run_folder", "RunFolderError"),
        ("agents.lm.ranks", "OtherRankFailed"),
        ("agents.descriptions", "NoDescription"),
        ("agents.lm.blueprint", "BadDescription"),
        ("agents.lm.lora", "NoSuchLayers"),
        ("agents.lm.digits", "NoDigits"),
        ("envs.types", "ClientFailed"),
        ("agents.lm.embedded", "ModelUnavailable"),
        ("agents.lm.adapters", "AdapterMismatch"),
        ("agents.lm.interchange", "InterchangeError"),
        ("agents.lm.architecture", "UnknownArchitecture"),
        ("agents.lm.files", "BrokenFolder"),
        ("agents.lm.five_tuple", "SessionFileError"),
        ("agents.played_session", "SessionsLeftOut"),
        ("client_graph.tables", "TableError"),
        ("judges.protocol", "JudgeUnavailable"),
        ("judges.transcript", "TranscriptError"),
        ("judges.api.errors", "JudgeRefused"),
        ("judges.api.errors", "BudgetSpent"),
        ("envs.recording", "RecordingError"),
    }
    return any((kind.__module__, kind.__name__) in kinds for kind in type(error).__mro__)


if __name__ == "__main__":
    sys.exit(main())
