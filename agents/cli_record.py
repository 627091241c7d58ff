"""The command `icarus record`: sessions played in the environment, in 5-tuple form, for others to learn from."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.cli_play import non_negative

if TYPE_CHECKING:
    from agents.played_session import Recorder
    from agents.settings import Settings

SIMULATED = (
    "Every session is simulated: a program speaks for the client and another for the therapist, and each line says so."
)
READ_FIRST = (
    "Read them before anything learns from them: a small model's words are seldom a therapist's, and a misstep is marked only "
    "where a rupture or the screen found one."
)


def add_record(commands: Any) -> None:
    """`record` among the subcommands."""
    record = commands.add_parser(
        "record",
        help="play sessions and write them in 5-tuple form, to learn from",
        description=f"Play sessions with a simulated client and write them as JSON lines. {SIMULATED} Research software; not for "
        "clinical use.",
        epilog="Nothing is filled in: a session in which client, judge or therapist fails is left out whole. Ctrl-C keeps whole "
        "sessions only. Then: icarus dapt or icarus train with corpus.sessions = FILE.",
    )
    record.add_argument("file", type=Path, metavar="FILE", help="the file to write, such as sessions.jsonl")
    record.add_argument("--sessions", type=positive, default=1, metavar="N", help="how many (1)")
    record.add_argument(
        "--seed",
        type=non_negative,
        default=0,
        metavar="S",
        help="session i of N has seed S + i - 1; the same, the same session (0)",
    )
    record.add_argument("--append", action="store_true", help="go on behind what FILE holds")
    record.add_argument(
        "--adapter",
        type=Path,
        metavar="DIR",
        help="the therapist's: a training run or an adapter folder; none: the base",
    )
    record.add_argument("--model", help='"smollm2" (embedded), a folder or a hub name; none: the run\'s, else smollm2')
    record.add_argument(
        "--client", choices=("authored", "chosen", "written"), default="chosen",
        help="authored: lines of the tables, drawn; chosen: the same lines, chosen by the base as an answer (the default); "
        "written: by the base",
    )  # fmt: skip
    record.add_argument(
        "--judge", choices=("embedding", "reading", "self"), default="embedding",
        help="whose scores move the client (embedding); it writes nothing",
    )  # fmt: skip
    record.add_argument(
        "--tmoc", choices=("beliefs", "written"), default="beliefs",
        help="the therapist's model of the client. beliefs: the environment's numbers in sentences of the tables (the default); "
        "written: by the therapist",
    )  # fmt: skip
    record.add_argument("--stage", type=int, choices=(1, 2, 3, 4), help="stage of treatment; none: drawn")
    record.add_argument("--strategy", help="attachment strategy, such as A3 or B2; none: drawn")
    record.add_argument("--concern", help="what brings the client, such as grief_after_loss; none: drawn")
    record.add_argument("--catalog", metavar="DIR", help="a folder of your own client tables")
    record.add_argument("--max-turns", type=positive, default=20, metavar="N", help="turns of a session (20)")
    record.add_argument(
        "--remember",
        type=non_negative,
        metavar="N",
        help="past turns in the therapist's chat; none: as the run had, else 3",
    )
    record.add_argument("--note-tokens", type=positive, default=80, metavar="N", help="longest note, in tokens (80)")
    record.set_defaults(run=run_record)


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"found {value}; expected 1 or more")
    return value


def run_record(asked: argparse.Namespace) -> int:
    """Play and write; 0, or 130 where Ctrl-C came.

    Raises SettingsError, SessionFileError, ModelUnavailable, AdapterMismatch before anything is played, and SessionsLeftOut at
    the end where sessions failed.
    """
    from rich.console import Console

    from agents.cli import NOTICE
    from agents.lm.session_file import GrowingSessions
    from agents.played_session import SessionsLeftOut, record
    from agents.report import RecordReport

    console = Console(soft_wrap=True)
    console.print(f"{NOTICE} {SIMULATED}", style="dim", highlight=False)
    file = GrowingSessions(asked.file, asked.append)  # before the model, which takes longer
    recorder = _recorder(asked, console)
    seeds = range(asked.seed, asked.seed + asked.sessions)
    with RecordReport(console, asked.sessions, asked.max_turns) as shown:
        try:
            left = record(recorder, file, seeds, shown.turn, shown.session)
        except KeyboardInterrupt:
            return _stopped(asked, shown.seen, shown.kept)
    console.print(
        f"{shown.kept} sessions of {shown.turns} turns written to {asked.file}", highlight=False, markup=False
    )
    console.print(READ_FIRST, style="dim", highlight=False)
    if left:
        raise SessionsLeftOut(left, asked.sessions, asked.file)
    return 0


def _stopped(asked: argparse.Namespace, seen: int, kept: int) -> int:
    from agents.cli import INTERRUPTED

    go_on = f"--seed {asked.seed + seen} --sessions {asked.sessions - seen}" + (
        " --append" if kept or asked.append else ""
    )
    print(
        f"icarus: stopped; {kept} whole sessions were written to {asked.file}, and nothing of the one that was being "
        f"played. To go on, the same command with {go_on}",
        file=sys.stderr,
    )
    return INTERRUPTED


def _recorder(asked: argparse.Namespace, console: Any) -> "Recorder":
    """Environment and therapist on one base. Raises SettingsError for a client that nobody can be."""
    import gymnasium
    import numpy as np

    from agents.client import client_voice
    from agents.judge import local_judge
    from agents.learner import FROZEN, THERAPIST
    from agents.lm.adapters import AdapterSets
    from agents.lm.device import device_name, mx
    from agents.lm.five_tuple import Maker
    from agents.lm.lora import fresh
    from agents.lm.models import load_model
    from agents.noting import NotingTherapist
    from agents.played_session import ENVIRONMENT, Recorder
    from agents.settings import SettingsError
    from agents.training import starting_adapters
    from client_graph.catalog import load_catalog
    from client_graph.personhood import draw

    settings = _settings(asked)
    catalog = load_catalog(asked.catalog)
    wishes = {"stage": asked.stage, "strategy": asked.strategy, "concern": asked.concern}
    try:
        draw(catalog, np.random.default_rng(asked.seed), **wishes)
    except ValueError as error:
        raise SettingsError(str(error)) from error
    loaded = load_model(settings.model.name)
    _, start = starting_adapters(loaded, settings)
    sets = AdapterSets(loaded.model)
    sets.add(THERAPIST, start)
    sets.add(FROZEN, fresh(loaded.model, mx.random.key(0)), frozen=True)  # adds nothing: the client is the base
    therapist = NotingTherapist(
        loaded, sets, THERAPIST, catalog, settings.generation,
        adapter=asked.adapter is not None, tmoc=asked.tmoc, note_tokens=asked.note_tokens,
    )  # fmt: skip
    env = gymnasium.make(
        f"envs:{ENVIRONMENT}", client=client_voice(asked.client, catalog, loaded, sets, FROZEN),
        judge=local_judge(asked.judge, loaded, sets, FROZEN), catalog=catalog, max_turns=asked.max_turns,
        disable_env_checker=True,
    )  # fmt: skip
    client = Maker(name="authored")
    if asked.client != "authored":
        client = Maker(name=asked.client, model=loaded.name, base=loaded.base_hash)
    recorder = Recorder(env, therapist, client, wishes)
    console.print(
        f"therapist {loaded.name}{f' with {asked.adapter}' if asked.adapter else ', no adapter'} on {device_name()}; client "
        f"{asked.client}; judge {recorder.session_env.judge.name}; seeds from {asked.seed}",
        highlight=False, markup=False,
    )  # fmt: skip
    return recorder


def _settings(asked: argparse.Namespace) -> "Settings":
    """How the therapist speaks: as the run whose adapter it has, what the command line says on top."""
    from agents.lm.run_folder import adapter_folder, settings_file
    from agents.settings import Settings, speaking_settings

    told = settings_file(asked.adapter) if asked.adapter else None
    settings = speaking_settings(told) if told else Settings()
    model = {
        "name": asked.model or settings.model.name,
        "adapter": str(adapter_folder(asked.adapter)) if asked.adapter else None,
    }
    generation = {} if asked.remember is None else {"remembered_turns": asked.remember}
    return settings.model_copy(
        update={
            "model": settings.model.model_copy(update=model),
            "generation": settings.generation.model_copy(update=generation),
        }
    )
