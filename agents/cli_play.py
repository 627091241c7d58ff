"""The commands `icarus play` (a person as the therapist) and `icarus replay` (a recording as one HTML page)."""

import argparse
import importlib
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

_TURNS = 20
_SETTABLE = ("seed", "stage", "strategy", "concern", "max_turns", "client", "judge", "treatment")
_MADE_OF = ("client", "judge", "model", "catalog", "stage", "max_turns", "treatment")


def add_play(commands: Any) -> None:
    """`play` among the subcommands."""
    play = commands.add_parser(
        "play",
        help="be the therapist yourself, at the keyboard",
        description="A session with a simulated client, offline by default. Research software; not for clinical use.",
        epilog="While playing: /help. The client and the judge are programs; a score is no measure of a person.",
    )
    play.add_argument("--seed", type=non_negative, help="the same seed, the same client; none: drawn, and printed")
    play.add_argument("--stage", type=int, choices=(1, 2, 3, 4), help="stage of treatment; none: drawn")
    play.add_argument("--strategy", help="attachment strategy, such as A3 or B2; none: drawn")
    play.add_argument("--concern", help="what brings the client, such as grief_after_loss; none: drawn")
    play.add_argument("--catalog", metavar="DIR", help="a folder of your own client tables")
    play.add_argument("--max-turns", type=int, help=f"turns of a session; {_TURNS} where not given")
    play.add_argument("--treatment", action="store_true", default=None, help="many sessions with one client")
    play.add_argument(
        "--client", choices=("authored", "chosen", "written"),
        help="authored: lines of the tables, drawn (the default); chosen: the same lines, chosen by the model as an answer; "
        "written: by the model",
    )  # fmt: skip
    play.add_argument(
        "--judge", choices=("embedding", "self"), help="embedding: offline (the default); self: the model judges"
    )
    play.add_argument(
        "--model", help='for chosen, written and self: "smollm2" (embedded), a model folder or a hub name'
    )
    play.add_argument("--save", metavar="FILE", help="keep transcript (FILE.jsonl) and game (FILE.json) on leaving")
    play.add_argument("--resume", metavar="FILE", help="go on with a game that was saved")
    play.set_defaults(run=run_play)


def add_replay(commands: Any) -> None:
    """`replay` among the subcommands."""
    replay = commands.add_parser(
        "replay",
        help="a recorded session as one HTML page",
        description="Dialogue beside phase, reservoirs, axes and reward, in one HTML file that needs no network.",
    )
    replay.add_argument("recording", type=Path, metavar="RUN", help="a transcript (.jsonl) or a run's folder")
    replay.add_argument("--out", type=Path, metavar="FILE", help="the page; none: beside the recording, .html")
    replay.set_defaults(run=run_replay)


def run_play(asked: argparse.Namespace) -> int:
    """Play until the player leaves; 0. Raises SettingsError for what cannot be played."""
    from rich.console import Console

    from client_graph.tables import TableError
    from envs.play import Game
    from envs.play_files import read_game

    console = Console(soft_wrap=True)
    try:
        saved = read_game(asked.resume) if asked.resume else None
        made_of = _made_of(asked, saved["made_of"] if saved else None)
        game = Game(_environment(made_of), Keyboard(), console, save=asked.save or asked.resume, made_of=made_of)
        if saved:
            game.resume(saved)
        else:
            wishes = {"strategy": asked.strategy, "concern": asked.concern}
            seed = drawn_seed() if asked.seed is None else asked.seed
            game.begin(seed, {name: wish for name, wish in wishes.items() if wish is not None})
            console.print(f"seed {seed} (--seed {seed} meets this client again)", style="dim", highlight=False)
    except TableError:
        raise
    except ValueError as error:  # a wish that no client can have, or a saved game of other tables
        raise _refused(str(error)) from error
    game.run()
    return 0


def run_replay(asked: argparse.Namespace) -> int:
    """Write the page and print where it is; 0. Raises SettingsError for what is no recording."""
    from envs.replay import write_replay

    page = asked.out or asked.recording.with_suffix(".html")
    if not page.parent.is_dir():
        raise _refused(f"{page}: found no folder {page.parent}; make it, or name another page: --out FILE")
    try:
        write_replay(asked.recording, page)
    except ValueError as error:
        raise _refused(str(error)) from error
    except OSError as error:
        raise _refused(f"{page}: could not be written ({error.strerror}); name another page: --out FILE") from error
    print(page)
    return 0


class Keyboard:
    """Lines from the keyboard, with history and editing where readline is there. Goes on after Ctrl-C and Ctrl-D."""

    def __init__(self, prompt: str = "you        ") -> None:
        self._prompt = prompt if sys.stdin.isatty() else ""
        with suppress(ImportError):  # input() edits and remembers once readline is imported
            importlib.import_module("readline")

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        try:
            return input(self._prompt)
        except EOFError:
            raise StopIteration from None


def _refused(why: str) -> Exception:
    """What `icarus` prints as one sentence."""
    from agents.settings import SettingsError  # brings MLX along, which the help does not need

    return SettingsError(why)


def non_negative(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"found {value}; expected 0 or more")
    return value


def drawn_seed() -> int:
    from numpy.random import SeedSequence

    return int(SeedSequence().generate_state(1)[0])


def _made_of(asked: argparse.Namespace, saved: dict[str, Any] | None) -> dict[str, Any]:
    """What the environment is made with: as asked for, or as the saved game was, whose tables and model may have moved."""
    if saved is not None:
        changed = [name for name in _SETTABLE if getattr(asked, name) is not None]
        if changed:
            flags = ", ".join("--" + name.replace("_", "-") for name in changed)
            raise _refused(f"--resume goes on with the game's own settings; leave out {flags}")
        moved = {name: getattr(asked, name) for name in ("catalog", "model") if getattr(asked, name) is not None}
        return saved | moved
    made_of = {name: getattr(asked, name) for name in _MADE_OF}
    defaults = {"client": "authored", "judge": "embedding", "max_turns": _TURNS, "treatment": False}
    made_of |= {name: value for name, value in defaults.items() if made_of[name] is None}
    if made_of["model"] is not None and made_of["client"] == "authored" and made_of["judge"] == "embedding":
        raise _refused("--model has nothing to do; add --client chosen, --client written or --judge self")
    return made_of


def _environment(made_of: dict[str, Any]) -> Any:
    """The bare environment, with the model behind it where client or judge ask for one."""
    import gymnasium

    import envs
    from client_graph.catalog import load_catalog

    name = "icarus/Treatment-v0" if made_of["treatment"] else "icarus/Session-v0"
    gymnasium.register_envs(envs)
    if name not in gymnasium.registry:
        raise _refused(f"--treatment: {name} is not in this version; leave it out for single sessions")
    catalog = load_catalog(made_of["catalog"])
    client, judge = made_of["client"], made_of["judge"]
    if client != "authored" or judge == "self":
        client, judge = _of_the_model(made_of, catalog)
    arguments = {name: made_of[name] for name in ("stage", "max_turns")}
    made = gymnasium.make(name, client=client, judge=judge, catalog=catalog, disable_env_checker=True, **arguments)
    return made.unwrapped


def _of_the_model(made_of: dict[str, Any], catalog: Any) -> tuple[Any, Any]:
    """(client, judge) for the environment; what the frozen model does not do stays a name."""
    from agents.client import client_voice
    from agents.judge import local_judge
    from agents.learner import FROZEN
    from agents.lm.adapters import AdapterSets
    from agents.lm.models import load_model
    from agents.settings import Settings
    from agents.training import starting_adapters

    loaded = load_model(made_of["model"] or "smollm2")
    _, start = starting_adapters(loaded, Settings())
    sets = AdapterSets(loaded.model)
    sets.add(FROZEN, dict(start), frozen=True)
    judge = made_of["judge"]
    return (
        client_voice(made_of["client"], catalog, loaded, sets, FROZEN),
        local_judge(judge, loaded, sets, FROZEN) if judge == "self" else judge,
    )
