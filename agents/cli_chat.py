"""The command `icarus chat`: talk to the therapist in a terminal, as a client would."""

import argparse
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from agents.cli_play import Keyboard, drawn_seed, non_negative


def add_chat(commands: Any) -> None:
    """`chat` among the subcommands."""
    chat = commands.add_parser(
        "chat",
        help="talk to the therapist, as a client would",
        description="You are the client; no simulated client and no judge take part. Research software; not for clinical use.",
        epilog="/undo takes the last exchange back, /quit leaves. With lines on standard input, standard output has one line an "
        "answer: the therapist's words.",
    )
    chat.add_argument("--adapter", type=Path, metavar="DIR", help="a training run or an adapter folder; none: the base")
    chat.add_argument("--model", help='"smollm2" (embedded), a folder or a hub name; none: the run\'s, else smollm2')
    chat.add_argument("--stage", type=int, choices=(1, 2, 3, 4), default=1, help="stage of treatment it is told (1)")
    chat.add_argument(
        "--seed", type=non_negative, help="the same seed and lines, the same answers; none: drawn, and told"
    )
    chat.add_argument(
        "--remember", type=non_negative, metavar="N", help="past turns in its prompt; none: as the run had, else 3"
    )
    chat.set_defaults(run=run_chat)


def run_chat(asked: argparse.Namespace) -> int:
    """Talk until the person leaves; 0. Raises SettingsError, ModelUnavailable, AdapterMismatch."""
    from agents.chat import HELP, NOTICE, Chat, put_adapter, talk
    from agents.cli import NOTICE as PROJECT
    from agents.lm.models import load_model
    from agents.lm.run_folder import adapter_folder, settings_file
    from agents.settings import Settings, SettingsError, speaking_settings
    from client_graph.catalog import load_catalog

    told = settings_file(asked.adapter) if asked.adapter else None
    settings = speaking_settings(told) if told else Settings()
    changes = {} if asked.remember is None else {"remembered_turns": asked.remember}
    loaded = load_model(asked.model or settings.model.name)
    if asked.adapter:
        put_adapter(loaded, adapter_folder(asked.adapter))
    generation = settings.generation.model_copy(update=changes)
    seed = drawn_seed() if asked.seed is None else asked.seed
    screen = Terminal()
    for text in (PROJECT, NOTICE, HELP):
        screen.note(text)
    screen.note(
        f"{loaded.name}{f' with {asked.adapter}' if asked.adapter else ', no adapter'}; it is shown the last "
        f"{generation.remembered_turns} turns; --seed {seed} answers the same"
    )
    chat = Chat(
        loaded, load_catalog(), generation, stage=asked.stage, seed=seed
    )  # nothing of the tables reaches the prompt
    try:
        talk(chat, Keyboard() if screen.watched else Keyboard(""), screen)
    except UnicodeDecodeError as error:
        raise SettingsError(
            f"standard input: found a line that is not UTF-8 ({error.reason}); expected text"
        ) from error
    return 0


class Terminal:
    """The therapist's words on standard output, everything else on standard error."""

    def __init__(self) -> None:
        from rich.console import Console

        self._asides = Console(stderr=True)
        self.watched = sys.stdin.isatty() and sys.stdout.isatty()

    def say(self, words: str) -> None:
        """The therapist's words: beside a label where somebody watches, else one line."""
        from envs.rendering import labelled, printable

        if self.watched:
            print("\n".join(["", *labelled("therapist", words or "(says nothing)"), ""]), flush=True)
        else:
            print(printable(" ".join(words.split())), flush=True)

    def note(self, text: str) -> None:
        """Anything that the therapist has not said."""
        from envs.rendering import printable

        self._asides.print(printable(text), style="dim", markup=False, highlight=False, emoji=False)

    def waiting(self) -> AbstractContextManager[Any]:
        """A sign of life on a terminal."""
        return self._asides.status("") if self.watched else nullcontext()
