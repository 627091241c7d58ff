"""What of a game of `envs.play` stands beside the environment: how it begins, what a turn makes of it, how it is resumed."""

from dataclasses import dataclass, replace
from typing import Any

from client_graph.client import ClientGraph
from envs import snapshot as env_snapshot
from envs.play_files import Played, SavedGameError, played_of, record_of
from envs.text import therapist_words
from envs.types import Snapshot


@dataclass(frozen=True)
class Standing:
    """What /undo takes back beside the environment; replaced as a whole."""

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


def session_begins(
    env: Any, observation: dict[str, Any], info: dict[str, Any], after: Standing | None = None
) -> Standing:
    """A session of `env`; `after` the ones before it, whose last turn can still be asked about."""
    heard = str(observation["client"]), info["client_reasoning"]
    turns, view = (after.turns, after.last_view) if after is not None else ((), None)
    return Standing(turns, len(turns), env.snapshot(), env.client_view, heard, view)


def take_turn(env: Any, stood: Standing, words: str) -> tuple[Standing, Standing | None]:
    """Step `env` from `stood`: (after the turn, in the next session where a treatment goes on by itself)."""
    before: ClientGraph = env.client_view
    observation, reward, terminated, truncated, info = env.step(words)
    # In a treatment the step that ends a session tells of its end apart from the next one's beginning.
    told = info.get("session_ended", info)
    heard = (
        str(told.get("farewell", observation["client"])),
        told.get("farewell_reasoning", info["client_reasoning"]),
    )
    reasoning, utterance = therapist_words(words, env.action_space)
    step = (observation, float(reward), {**info, **info.get("session_ended", {})})
    played = Played(
        client=stood.heard[0],
        therapist=utterance,
        judgement=info["judgement"],
        composite=float(info["composite"]),
        reward=float(reward),
        parts=dict(info["reward_parts"]),
        record=record_of(before, stood.heard, (utterance, reasoning), step, env.reward_settings),
    )
    ending = info.get("treatment_ending") or told.get("ending")
    view = before.after(info["scores"])
    now = replace(stood, turns=(*stood.turns, played), heard=heard, last_view=view, ending=ending)
    goes_on = ending is not None and not (terminated or truncated)
    return now, session_begins(env, observation, info, now) if goes_on else None


def resumed(env: Any, game: dict[str, Any]) -> Standing:
    """`env` and its game where they were saved. Raises SavedGameError where `game` is of other tables or is damaged."""
    tables = env.catalog.hash()
    if game["catalog"] != tables:
        raise SavedGameError(
            f"the game was played with client tables of SHA-256 {game['catalog']}; found {tables} in "
            f"{env.catalog.folder}. Name the tables it began with: --catalog DIR"
        )
    try:
        start, now = (env_snapshot.from_json(game[name]) for name in ("start", "now"))
        turns = tuple(played_of(turn) for turn in game["turns"])
        env.restore(start)
        start_view = env.client_view
        heard = str(env.restore(now)["client"]), game["unsaid"]
    except (KeyError, TypeError, ValueError) as error:
        raise SavedGameError(f"the saved game is damaged ({error}); expected what /save wrote") from error
    view = env.client_view
    last_view = view if view.before is not None else None
    return Standing(turns, game["first"], start, start_view, heard, last_view, game["ending"])
