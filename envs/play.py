"""Play the therapist by hand: lines in, pages out. The keyboard is one iterator of lines, a test's list another."""

import difflib
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gymnasium.error import Error
from rich.console import Console

from client_graph.client import ClientGraph
from client_graph.names import DIMENSIONS
from envs import snapshot as env_snapshot
from envs.play_files import Played, SavedGameError, game_of, played_of, record_of, write_game
from envs.play_pages import (
    NOTICE,
    help_lines,
    opening_lines,
    reason_lines,
    summary_lines,
    trial_lines,
    turn_line,
    why_lines,
)
from envs.rendering import COLUMNS, dashboard, labelled, plain, printable, wrapped
from envs.text import therapist_words
from envs.types import Outcome, Snapshot
from judges.protocol import JudgeFailure

_GOES_ON = ("turn_limit", "closed_well")  # endings of a single session after which the client comes again


@dataclass(frozen=True)
class _Standing:
    """What of the game /undo takes back beside the environment; replaced as a whole."""

    turns: tuple[Played, ...]  # of all sessions
    first: int  # of them, where the present session begins
    start: Snapshot  # of the present session
    start_view: ClientGraph
    heard: tuple[str, str | None]  # the client's latest words, and what went with them unsaid
    last_view: ClientGraph | None = None  # the client right after the last turn
    ending: str | None = None

    @property
    def session(self) -> tuple[Played, ...]:
        """The turns of the present session."""
        return self.turns[self.first :]


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
        self.env, self.console, self.save = env, console, save
        self.made_of = dict(made_of or {})
        self._lines: Iterator[str] = iter(lines)
        self._past: list[tuple[Snapshot, _Standing]] = []
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
        self._standing = self._session_begins(*self.env.reset(seed=seed, options=options))

    def resume(self, game: dict[str, Any]) -> None:
        """The saved game goes on where it was left. Raises SavedGameError where it is of other tables or is damaged."""
        tables = self.env.catalog.hash()
        if game["catalog"] != tables:
            raise SavedGameError(
                f"the game was played with client tables of SHA-256 {game['catalog']}; found {tables} in "
                f"{self.env.catalog.folder}. Name the tables it began with: --catalog DIR"
            )
        try:
            start, now = (env_snapshot.from_json(game[name]) for name in ("start", "now"))
            turns = tuple(played_of(turn) for turn in game["turns"])
            self.env.restore(start)
            start_view = self.env.client_view
            heard = str(self.env.restore(now)["client"]), game["unsaid"]
        except (KeyError, TypeError, ValueError) as error:
            raise SavedGameError(f"the saved game is damaged ({error}); expected what /save wrote") from error
        view = self.env.client_view
        last_view = view if view.before is not None else None
        self._standing = _Standing(turns, game["first"], start, start_view, heard, last_view, game["ending"])
        self._kept = turns

    def run(self) -> None:
        """Play until the player leaves."""
        self._paragraph(NOTICE, "dim")
        self._introduce()
        if self._standing.ending is not None:
            self._tell_the_end()
        while not self._leaving:
            line = self._read()
            if line is not None:
                self._answer_unless_stopped(line)
        self._close()

    def _session_begins(
        self, observation: dict[str, Any], info: dict[str, Any], after: _Standing | None = None
    ) -> _Standing:
        """A session; `after` the ones before it, whose last turn can still be asked about."""
        heard = str(observation["client"]), info["client_reasoning"]
        turns, view = (after.turns, after.last_view) if after is not None else ((), None)
        return _Standing(turns, len(turns), self.env.snapshot(), self.env.client_view, heard, view)

    def _introduce(self) -> None:
        self._print(opening_lines(self.env.person, self.env.client_view, self._most_turns()))
        played = len(self._standing.session)
        if played and self._standing.ending is None:
            self._print([f"The game goes on after turn {played}."], "dim")
        self._client_says()

    def _most_turns(self) -> int | None:
        return getattr(self.env, "max_turns", None)

    def _read(self) -> str | None:
        """One input, its lines joined where they end with a backslash; None where there is nothing to answer."""
        gathered: list[str] = []
        try:
            while True:
                line = next(self._lines)
                if not line.endswith("\\"):
                    break
                gathered.append(line[:-1])
        except (StopIteration, KeyboardInterrupt):
            self._print([""])
            self._leave()
            return None
        text = "\n".join([*gathered, line]).strip()
        if not self.console.is_terminal:  # where the keyboard does not show what was typed, the page does
            self._print(labelled("you", text or "(an empty line)"), "green")
        return text

    def _leave(self) -> None:
        """Ctrl-D, Ctrl-C, /quit or the end of the lines; turns that are nowhere kept are told of first."""
        if self.save is None and self._unkept() and not self._warned:
            self._warned = True
            self._print([f"{self._unkept()} /save FILE keeps the game; once more to leave without."], "yellow")
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
            self._print(["", "Stopped. /state and /undo show where the session stands."], "yellow")

    def _answer(self, line: str) -> None:
        self._warned = self._warned and line == "/quit"
        if not line:
            self._print(
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
            self._print([f"no command {name}{cure} /help lists them; // begins words with a slash."], "yellow")
            return
        self._commands[name](rest.strip())

    def _print(self, lines: Iterable[str], style: str = "") -> None:
        for line in lines:
            self.console.print(printable(line), style=style, markup=False, emoji=False, highlight=False, soft_wrap=True)

    def _paragraph(self, text: str, style: str = "") -> None:
        self._print(wrapped(text, min(COLUMNS, self.console.width)), style)

    def _waiting(self, what: str) -> AbstractContextManager[Any]:
        """A sign of life where somebody watches: the first turn may compile for half a minute, a model may think."""
        return self.console.status(what) if self.console.is_terminal else nullcontext()

    def _client_says(self) -> None:
        width = min(COLUMNS, max(40, self.console.width))
        words = self._standing.heard[0] or "(says nothing)"
        self._print(["", *labelled(self.env.person.name[:10], words, width), ""], "cyan")

    def _say(self, words: str) -> None:
        """One turn; where judge or client fail, nothing has happened and the reason is told."""
        stood = self._standing
        if stood.ending is not None:
            following = "/next is the next one, " if stood.ending in _GOES_ON else ""
            self._print([f"The session is over. {following}/undo goes back, /quit leaves."], "yellow")
            return
        mark = self.env.snapshot()
        try:
            over, onward = self._turn(words)
        except Error as failure:
            self._paragraph(f"{failure} Nothing was said; try again.", "yellow")
            return
        except BaseException:  # also Ctrl-C between the step and its telling: all of a turn or nothing
            self.env.restore(mark)
            self._standing = stood
            raise
        self._past.append((mark, stood))
        self._tried = None
        self._print([turn_line(self.turns[-1], len(self._standing.session), self._most_turns())], "dim")
        self._client_says()
        if over:
            self._tell_the_end(onward is not None)
        if onward is not None:
            self._standing = onward
            self._introduce()

    def _turn(self, words: str) -> tuple[bool, _Standing | None]:
        """Step the environment; (whether the session is over, the next one where a treatment goes on by itself)."""
        before = self.env.client_view
        with self._waiting("the judge reads, the client thinks"):
            observation, reward, terminated, truncated, info = self.env.step(words)
        played = self._played(words, before, observation, float(reward), info)
        # In a treatment the step that ends a session tells of its end apart from the next one's beginning.
        told = info.get("session_ended", info)
        heard = (
            str(told.get("farewell", observation["client"])),
            told.get("farewell_reasoning", info["client_reasoning"]),
        )
        ending = info.get("treatment_ending") or told.get("ending")
        view = before.after(info["scores"])
        turns = (*self.turns, played)
        self._standing = replace(self._standing, turns=turns, heard=heard, last_view=view, ending=ending)
        over = ending is not None
        goes_on = over and not (terminated or truncated)
        return over, self._session_begins(observation, info, self._standing) if goes_on else None

    def _played(
        self, words: str, before: ClientGraph, observation: dict[str, Any], reward: float, info: dict[str, Any]
    ) -> Played:
        reasoning, utterance = therapist_words(words, self.env.action_space)
        heard, step = self._standing.heard, (observation, reward, {**info, **info.get("session_ended", {})})
        record = record_of(before, heard, (utterance, reasoning), step, self.env.reward_settings)
        judged = info["judgement"], float(info["composite"])
        return Played(heard[0], utterance, *judged, reward, dict(info["reward_parts"]), record)

    def _tell_the_end(self, goes_on: bool = False) -> None:
        """What the session was, and what can be done where it is over for good."""
        stood = self._standing
        view = stood.last_view if stood.session and stood.last_view is not None else self.env.client_view
        self._print(["─" * COLUMNS])
        self._print(summary_lines(self.env.person, stood.start_view, view, stood.session, stood.ending))
        if stood.ending is not None and not goes_on:
            following = "/next is the next session with the same client, " if stood.ending in _GOES_ON else ""
            told = (
                f"{following}/why tells of the last turn, /undo goes back one, /save FILE keeps the game, /quit leaves."
            )
            self._print(["", told], "dim")

    def _help(self, _: str) -> None:
        self._print(help_lines())

    def _who(self, _: str) -> None:
        self._paragraph(self.env.person.describe())

    def _hint(self, _: str) -> None:
        view = self.env.client_view
        self._paragraph(f"Asked for: {plain(view.stance)}. {view.guidance}")

    def _state(self, _: str) -> None:
        self._print(["The truth about the client, as the simulator has it. No therapist sees this page."], "yellow")
        words = self._standing.heard[0]
        self._print([dashboard(self.env.client_view, self.env.person, self.env.history, words)])

    def _try(self, text: str) -> None:
        if not text:
            self._print(["/try TEXT: the words to try are missing"], "yellow")
            return
        if self._standing.ending is not None:
            self._print(["The session is over: nothing can be tried. /undo goes back one turn."], "yellow")
            return
        try:
            with self._waiting("the judge reads"):
                found = self.env.evaluate([text])[0]
        except Error as failure:
            self._paragraph(str(failure), "yellow")
            return
        if isinstance(found, JudgeFailure):
            self._paragraph(f"The judge gave no score: {found.reason}", "yellow")
            return
        self._print(trial_lines(text, found, self.env.client_view, self._tried))
        self._tried = text, found

    def _why(self, name: str) -> None:
        if not self.turns:
            self._print(["No turn yet: say something first."], "yellow")
            return
        view = self._standing.last_view
        if view is None:
            self._print(["How the last turn moved the client was not kept over the end of a session."], "yellow")
            return
        wanted = name.lower().replace(" ", "_").replace("-", "_")
        if not wanted:
            self._print(why_lines(self.turns[-1], view, self.turns[-1].record["turn"]))
        elif wanted in DIMENSIONS:
            self._print(reason_lines(self.turns[-1], wanted))
        elif wanted in view.catalog.node_names:
            row = view.catalog.nodes[view.catalog.node(wanted)]
            self._print([f"low: {row.low}", f"high: {row.high}"], "dim")
            self._print(repr(view.explain(wanted)).split("\n"))
        else:
            known = [*view.catalog.node_names, *DIMENSIONS]
            near = difflib.get_close_matches(wanted, known, 3, cutoff=0.4) or [n for n in known if wanted in n][:3]
            cure = f" Did you mean {' or '.join(plain(n) for n in near)}?" if near else ""
            self._print([f"no node or dimension {name!r}.{cure} /state shows the nodes that moved."], "yellow")

    def _undo(self, _: str) -> None:
        if not self._past:
            self._print(["Nothing to take back: this is where the game began."], "yellow")
            return
        snapshot, self._standing = self._past.pop()
        self.env.restore(snapshot)
        self._tried = None
        over = self._standing.ending is not None
        told = "Back at the end of the session." if over else f"Back before turn {len(self._standing.session) + 1}."
        self._print([told], "dim")
        self._client_says()

    def _next(self, _: str) -> None:
        stood = self._standing
        if stood.ending is None:
            self._print(["The session is not over. /quit leaves it."], "yellow")
            return
        if stood.ending not in _GOES_ON:
            self._print(["There is no next session with this client. /undo goes back before the end."], "yellow")
            return
        mark = self.env.snapshot()
        try:
            observation, info = self.env.reset(options={"same_client": True})
        except Error as failure:
            self._paragraph(str(failure), "yellow")
            return
        self._past.append((mark, stood))
        self._standing = self._session_begins(observation, info, stood)
        self._introduce()

    def _save(self, name: str) -> None:
        wanted = name or self.save
        if not wanted:
            self._print(["/save FILE: name a file, such as /save talk"], "yellow")
            return
        if not self.turns:
            self._print(["Nothing to save yet: no turn has been played."], "yellow")
            return
        stood = self._standing
        game = game_of(
            start=stood.start, now=self.env.snapshot(), turns=stood.turns, first=stood.first, unsaid=stood.heard[1],
            ending=stood.ending, catalog=self.env.catalog.hash(), made_of=self.made_of,
        )  # fmt: skip
        try:
            transcript, saved = write_game(wanted, self.turns, game)
        except OSError as failure:
            self._paragraph(f"Not saved: {failure}. Name another place: /save FILE", "yellow")
            return
        self.save, self._kept = wanted, self.turns
        self._print([f"saved {transcript} (the transcript: icarus replay shows it)"], "dim")
        self._print([f"saved {saved} (the game: icarus play --resume goes on with it)"], "dim")

    def _close(self) -> None:
        if self._standing.session and self._standing.ending is None:
            self._tell_the_end()
        if self.save is not None and self.turns:
            self._save("")
        elif told := self._unkept():
            self._print([told], "dim")
