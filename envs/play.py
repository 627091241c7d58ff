"""Play the therapist by hand: lines in, pages out. The keyboard is one iterator of lines, a test's list another."""

import difflib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from gymnasium.error import Error
from rich.console import Console

from envs.play_files import Played, game_of, write_game
from envs.play_pages import (
    NOTICE,
    help_lines,
    limits_of,
    opening_lines,
    summary_lines,
    told_of,
    trial_lines,
    turn_line,
)
from envs.play_screen import Screen
from envs.play_standing import Standing, resumed, session_begins, take_turn
from envs.rendering import COLUMNS, dashboard, plain
from envs.types import Outcome, Snapshot
from judges.protocol import JudgeFailure

_GOES_ON = ("turn_limit", "closed_well")  # endings of a single session after which the client comes again


class Game:
    """One person at the keyboard as the therapist of `env`: a SessionEnv, or a TreatmentEnv, beneath all wrappers.

    lines: what is typed, one line at a time; raises KeyboardInterrupt or ends where the player wants to leave.
    save: the name under which the game is kept when it is left; /save keeps it at any time. made_of: what the env was made
    with, in JSON values; it goes into the saved game.
    """

    def __init__(
        self, env: Any, lines: Iterable[str], console: Console, *, save: str | Path | None = None,
        made_of: dict[str, Any] | None = None,
    ) -> None:  # fmt: skip
        self.env, self.screen, self.save = env, Screen(lines, console), save
        self.made_of = dict(made_of or {})
        self._past: list[tuple[Snapshot, Standing]] = []
        self._kept: tuple[Played, ...] = ()  # the turns that the files on the disk hold
        self._tried: tuple[str, Outcome] | None = None
        self._leaving = self._warned = False
        self._commands: dict[str, Callable[[str], None]] = {
            "/help": self._help, "/silent": lambda _: self._say(""), "/who": self._who, "/hint": self._hint,
            "/try": self._try, "/why": self._why, "/state": self._state, "/undo": self._undo, "/next": self._next,
            "/save": self._save, "/quit": lambda _: self._leave(),
        }  # fmt: skip

    @property
    def turns(self) -> tuple[Played, ...]:
        """All turns that were played and not taken back."""
        return self._standing.turns

    def begin(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """A new client. Raises what the env's reset raises."""
        self._standing = session_begins(self.env, *self.env.reset(seed=seed, options=options))

    def resume(self, game: dict[str, Any]) -> None:
        """The saved game goes on where it was left. Raises SavedGameError where it is of other tables or is damaged."""
        self._standing = resumed(self.env, game)
        self._kept = self._standing.turns

    def run(self) -> None:
        """Play until the player leaves."""
        self.screen.paragraph(NOTICE, "dim")
        if limits := limits_of(self.env.voice.name, self.env.judge.name):
            self.screen.paragraph(limits, "dim")
        self._introduce()
        if self._standing.ending is not None:
            self._tell_the_end()
        while not self._leaving:
            line = self.screen.read()
            if line is None:
                self._leave()
            else:
                self._answer_unless_stopped(line)
        self._close()

    def _introduce(self) -> None:
        self.screen.show(opening_lines(self.env.person, self.env.client_view, self._most_turns()))
        played = len(self._standing.session)
        if played and self._standing.ending is None:
            self.screen.show([f"The game goes on after turn {played}."], "dim")
        self._client_says()

    def _most_turns(self) -> int | None:
        return getattr(self.env, "max_turns", None)

    def _leave(self) -> None:
        """Ctrl-D, Ctrl-C, /quit or the end of the lines; turns that are nowhere kept are told of first."""
        if self.save is None and self._unkept() and not self._warned:
            self._warned = True
            self.screen.show([f"{self._unkept()} /save FILE keeps the game; once more to leave without."], "yellow")
        else:
            self._leaving = True

    def _unkept(self) -> str:
        """What of the game would be lost, in words; nothing where nothing would."""
        count = sum(turn not in self._kept for turn in self.turns)
        return f"{count} turn{'s are' if count != 1 else ' is'} not saved." if count else ""

    def _answer_unless_stopped(self, line: str) -> None:
        try:
            self._answer(line)
        except KeyboardInterrupt:  # while judge or client think: a step changes all or nothing
            self.screen.show(["", "Stopped. /state and /undo show where the session stands."], "yellow")

    def _answer(self, line: str) -> None:
        self._warned = self._warned and line == "/quit"
        if not line:
            self.screen.show(
                ["An empty line says nothing. /silent stays silent on purpose; /help lists the commands."], "dim"
            )
        elif line.startswith("/") and not line.startswith("//"):
            self._command(line)
        else:
            self._say(line.removeprefix("/") if line.startswith("//") else line)

    def _command(self, line: str) -> None:
        name, _, rest = line.partition(" ")
        if name not in self._commands:
            near = difflib.get_close_matches(name.lower(), self._commands, 1, cutoff=0.5)
            cure = f"; did you mean {near[0]}?" if near else ""
            self.screen.show([f"no command {name}{cure} /help lists them; // begins words with a slash."], "yellow")
            return
        self._commands[name](rest.strip())

    def _client_says(self) -> None:
        self.screen.spoken(self.env.person.name, self._standing.heard[0])

    def _say(self, words: str) -> None:
        """One turn; where judge or client fail, nothing has happened and the reason is told."""
        stood = self._standing
        if stood.ending is not None:
            following = "/next is the next one, " if stood.ending in _GOES_ON else ""
            self.screen.show([f"The session is over. {following}/undo goes back, /quit leaves."], "yellow")
            return
        mark = self.env.snapshot()
        try:
            with self.screen.waiting("the judge reads, the client thinks"):
                self._standing, onward = take_turn(self.env, stood, words)
        except Error as failure:
            self.screen.paragraph(f"{failure} Nothing was said; try again.", "yellow")
            return
        except BaseException:  # also Ctrl-C between the step and its telling: all of a turn or nothing
            self.env.restore(mark)
            self._standing = stood
            raise
        self._past.append((mark, stood))
        self._tried = None
        self.screen.show([turn_line(self.turns[-1], len(self._standing.session), self._most_turns())], "dim")
        self._client_says()
        if self._standing.ending is not None:
            self._tell_the_end(onward is not None)
        if onward is not None:
            self._standing = onward
            self._introduce()

    def _tell_the_end(self, goes_on: bool = False) -> None:
        """What the session was, and what can be done where it is over for good."""
        stood = self._standing
        view = stood.last_view if stood.session and stood.last_view is not None else self.env.client_view
        self.screen.show(["─" * COLUMNS])
        self.screen.show(summary_lines(self.env.person, stood.start_view, view, stood.session, stood.ending))
        if stood.ending is not None and not goes_on:
            following = "/next is the next session with the same client, " if stood.ending in _GOES_ON else ""
            told = (
                f"{following}/why tells of the last turn, /undo goes back one, /save FILE keeps the game, /quit leaves."
            )
            self.screen.show(["", told], "dim")

    def _help(self, _: str) -> None:
        self.screen.show(help_lines())

    def _who(self, _: str) -> None:
        self.screen.paragraph(self.env.person.describe())

    def _hint(self, _: str) -> None:
        view = self.env.client_view
        self.screen.paragraph(f"Asked for: {plain(view.stance)}. {view.guidance}")

    def _state(self, _: str) -> None:
        self.screen.show(
            ["The truth about the client, as the simulator has it. No therapist sees this page."], "yellow"
        )
        words = self._standing.heard[0]
        self.screen.show([dashboard(self.env.client_view, self.env.person, self.env.history, words)])

    def _try(self, text: str) -> None:
        if not text:
            self.screen.show(["/try TEXT: the words to try are missing"], "yellow")
            return
        if self._standing.ending is not None:
            self.screen.show(["The session is over: nothing can be tried. /undo goes back one turn."], "yellow")
            return
        try:
            with self.screen.waiting("the judge reads"):
                found = self.env.evaluate([text])[0]
        except Error as failure:
            self.screen.paragraph(str(failure), "yellow")
            return
        if isinstance(found, JudgeFailure):
            self.screen.paragraph(f"The judge gave no score: {found.reason}", "yellow")
            return
        self.screen.show(trial_lines(text, found, self.env.client_view, self._tried))
        self._tried = text, found

    def _why(self, name: str) -> None:
        if not self.turns:
            self.screen.show(["No turn yet: say something first."], "yellow")
            return
        view = self._standing.last_view
        if view is None:
            self.screen.show(["How the last turn moved the client was not kept over the end of a session."], "yellow")
            return
        try:
            self.screen.show(told_of(name, self.turns[-1], view))
        except LookupError as unknown:
            self.screen.show([str(unknown.args[0])], "yellow")

    def _undo(self, _: str) -> None:
        if not self._past:
            self.screen.show(["Nothing to take back: this is where the game began."], "yellow")
            return
        snapshot, self._standing = self._past.pop()
        self.env.restore(snapshot)
        self._tried = None
        over = self._standing.ending is not None
        told = "Back at the end of the session." if over else f"Back before turn {len(self._standing.session) + 1}."
        self.screen.show([told], "dim")
        self._client_says()

    def _next(self, _: str) -> None:
        stood = self._standing
        if stood.ending is None:
            self.screen.show(["The session is not over. /quit leaves it."], "yellow")
            return
        if stood.ending not in _GOES_ON:
            self.screen.show(["There is no next session with this client. /undo goes back before the end."], "yellow")
            return
        mark = self.env.snapshot()
        try:
            observation, info = self.env.reset(options={"same_client": True})
        except Error as failure:
            self.screen.paragraph(str(failure), "yellow")
            return
        self._past.append((mark, stood))
        self._standing = session_begins(self.env, observation, info, stood)
        self._introduce()

    def _save(self, name: str) -> None:
        wanted = name or self.save
        if not wanted:
            self.screen.show(["/save FILE: name a file, such as /save talk"], "yellow")
            return
        if not self.turns:
            self.screen.show(["Nothing to save yet: no turn has been played."], "yellow")
            return
        stood = self._standing
        game = game_of(
            start=stood.start, now=self.env.snapshot(), turns=stood.turns, first=stood.first, unsaid=stood.heard[1],
            ending=stood.ending, catalog=self.env.catalog.hash(), made_of=self.made_of,
        )  # fmt: skip
        try:
            transcript, saved = write_game(wanted, self.turns, game)
        except OSError as failure:
            self.screen.paragraph(f"Not saved: {failure}. Name another place: /save FILE", "yellow")
            return
        self.save, self._kept = wanted, self.turns
        self.screen.show([f"saved {transcript} (the transcript: icarus replay shows it)"], "dim")
        self.screen.show([f"saved {saved} (the game: icarus play --resume goes on with it)"], "dim")

    def _close(self) -> None:
        if self._standing.session and self._standing.ending is None:
            self._tell_the_end()
        if self.save is not None and self.turns:
            self._save("")
        elif told := self._unkept():
            self.screen.show([told], "dim")
