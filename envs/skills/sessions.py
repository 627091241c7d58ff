"""N sessions under a numeric action: what both the single and the vector environment are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from gymnasium.error import InvalidAction
from pydantic import BaseModel, ConfigDict, Field

from client_graph.arrival import Kind, arrivals, kinds
from client_graph.catalog import Catalog
from client_graph.client import ClientGraph
from client_graph.names import DIMENSIONS
from client_graph.personhood import Person, person_of
from client_graph.session import end_session
from client_graph.settings import ClientSettings
from client_graph.spread import spread
from client_graph.state import ClientState, read_only
from client_graph.therapist_model import random_word
from client_graph.turn import TurnReport, advance_in_place, empty_report
from envs.conduct import unchanged_on_failure
from envs.skills.compiled import compiled
from envs.skills.observation import COLUMNS
from envs.skills.outcome import (
    STAGE_TRANSITION,
    Client,
    Result,
    Rewarding,
    Running,
    Seeing,
    conclude,
    empty_result,
    look,
    looked_at,
    open_sessions,
    rewarding,
)
from envs.skills.response import Moment, ResponseModel
from envs.skills.snapshot import Seen, SkillsSnapshot, copied, fitting, set_chance
from rewards.settings import RewardSettings

CHANCE = 7  # which word of a client's own stream a session's noise is made of; arrival.py uses 1 to 6 and 16 on
NEXT_CHANCE = (
    2**40
)  # which word of a session's chance that of the client's next one is; turns use the first few hundred
MOST_NAMED = 12  # bad numbers that one error names


class SeeingSettings(BaseModel):
    """How blurred the therapist's view of the client is."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    signal_noise: float = Field(
        0.5, ge=0, description="Standard deviation of what the therapist sees of a signal, in level points."
    )
    felt_noise: float = Field(
        1.0, ge=0, description="Standard deviation of how the last turn seems to have gone, in score points."
    )


@dataclass(frozen=True)
class Turned:
    """What one turn of all sessions gave; arrays of its own, a row a session."""

    scores: np.ndarray  # (N, 12) in [0, 10]
    result: Result
    stage_step: np.ndarray  # (N,) int64: 1, 0 or -1 at the end of a session, else 0


@compiled
def _all_in_unit(values):  # type: ignore[no-untyped-def]
    valid = 0
    for value in values.flat:
        valid += int(0.0 <= value <= 1.0)
    return valid == values.size


@compiled
def _words_of(streams, draw):  # type: ignore[no-untyped-def]
    """Word `draw` of each of `streams` (k,) uint64."""
    words = np.empty_like(streams)
    for i in range(streams.shape[0]):
        words[i] = random_word(streams[i], draw)
    return words


def checked_emphasis(action: Any, sessions: int, unread: np.ndarray | None = None) -> np.ndarray:
    """`action` as a (N, 12) float64 array. Raises gymnasium.error.InvalidAction; nothing is clamped.

    unread: (k,) places whose rows may hold any numbers and are 0 in what is returned.
    """
    if type(action) is np.ndarray and action.dtype.kind == "f" and action.shape == (sessions, len(DIMENSIONS)):
        values = np.array(action, np.float64, order="C")  # a copy: a read-only array would compile everything anew
        if unread is not None:
            values[unread] = 0.0
        if _all_in_unit(values):
            return values
    return _refused_or_read(action, sessions, unread)


def _refused_or_read(action: Any, sessions: int, unread: np.ndarray | None) -> np.ndarray:
    each = f" for each of {sessions} sessions" if sessions > 1 else ""
    expected = f"expected {len(DIMENSIONS)} numbers in [0, 1]{each}. No client was changed"
    try:
        found = np.asarray(action)
    except ValueError as error:
        raise InvalidAction(f"found an action that is no array ({error}); {expected}") from error
    if found.dtype.kind not in "fiu":
        kind = f"array of {found.dtype}" if isinstance(action, np.ndarray) else type(action).__name__
        raise InvalidAction(f"found an action of type {kind}; {expected}")
    if found.shape != (sessions, len(DIMENSIONS)):
        raise InvalidAction(f"found an action of shape {found.shape}; {expected}")
    values = np.array(found, np.float64, order="C")
    if unread is not None:
        values[unread] = 0.0
    bad = np.argwhere(~((values >= 0.0) & (values <= 1.0)))
    if len(bad):
        named = [told for n in np.unique(bad[:, 0]).tolist() for told in _told(values[n], n if sessions > 1 else None)]
        more = f" and {len(named) - MOST_NAMED} more" if len(named) > MOST_NAMED else ""
        raise InvalidAction(f"found {', '.join(named[:MOST_NAMED])}{more}; {expected}")
    return values


def _told(emphasis: np.ndarray, session: int | None) -> list[str]:
    """Which numbers of an `emphasis` (12,) are none in [0, 1], one by one, or at once where all are the same."""
    where = "" if session is None else f" of session {session}"
    bad = [(name, str(value)) for name, value in zip(DIMENSIONS, emphasis, strict=True) if not 0.0 <= value <= 1.0]
    if len(bad) == len(DIMENSIONS) and len({value for _, value in bad}) == 1:
        return [f"{bad[0][1]} on every dimension{where}"]
    return [f"{name}{where} is {value}" for name, value in bad]


class Sessions:
    """N sessions and their clients, moved in place. Client `i` and all its chance are functions of `words[i]`.

    Args:
        sessions: N.
        catalog: the facts of the person.
        response: the response model.
        stages: treatment stage 1..4 of every session, or None to draw it, for all or for each.
        max_turns: turns of a session.
        reward: scales of the reward's parts.
        settings: gains of the client's dynamics.
        seeing: how blurred the view is.
        watched: whether the last turn is kept (`seen`) with its changes node by node, for explanations and pictures.
    """

    def __init__(
        self,
        sessions: int,
        catalog: Catalog,
        response: ResponseModel,
        stages: int | Sequence[int | None] | None,
        max_turns: int,
        reward: RewardSettings,
        settings: ClientSettings,
        seeing: SeeingSettings,
        watched: bool = False,
    ) -> None:
        self.sessions, self.catalog, self.response = sessions, catalog, response
        self.stages = _stages(stages, sessions)
        self.settings, self.max_turns = settings, max_turns
        self._facts: Rewarding = rewarding(reward)
        self._reward = reward
        tables, signs = response.tables, catalog.tables
        kinds_of_signs: Any = signs.signals  # records
        self._seeing = Seeing(
            seeing.signal_noise, seeing.felt_noise, max_turns, response.settings.markers, tables.odds, tables.marker_signs,
            np.array(kinds_of_signs.offset), np.array(kinds_of_signs.phase), signs.signal_nodes,
        )  # fmt: skip
        self._all = np.arange(sessions)
        self.words = np.zeros(sessions, dtype=np.uint64)
        # Nobody has come yet: these are clients of word 0, at no session, so that all arrays have their shapes.
        self.kind = kinds(catalog, self.words)
        self.state = arrivals(catalog, self.words, self.kind, settings)
        self.running = Running(
            chance=np.zeros(sessions, dtype=np.uint64),
            alliance_at_start=np.zeros(sessions),
            in_integration=np.zeros(sessions, dtype=np.int64),
            signals=np.zeros((sessions, 5)),
            composite=np.zeros(sessions),
            alliance=np.zeros(sessions),
            over=np.ones(sessions, dtype=bool),
        )
        self.report: TurnReport = empty_report(sessions, catalog, by_node=watched)
        self.watched = watched
        self.seen: Seen | None = None

    def begin(
        self, places: np.ndarray, words: np.ndarray, observation: np.ndarray, threads: int = 1, **wishes: Any
    ) -> None:
        """New clients at `places` (k,), one for each of `words` (k,) uint64; their rows of `observation` are written.

        `wishes` may name stage, strategy and concern; None is no wish. Raises ValueError for one that does not exist. What fails
        changes nothing.
        """
        kind = self._kind(words, places, wishes)
        arrived: dict[int, ClientState] = {}  # nothing is written before all have come

        def arrive(first: int, last: int) -> None:
            own = Kind(*(array[first:last] for array in kind))
            arrived[first] = arrivals(self.catalog, words[first:last], own, self.settings)

        def work(first: int, last: int) -> None:
            here = places[first:last]
            self._seat(here, arrived[first])
            open_sessions(here, self._clients, self.running, self.catalog.tables, self._seeing, observation)

        spread(arrive, len(places), threads)
        self.words[places] = words
        for array, new in zip(self.kind, kind, strict=True):
            array[places] = new
        self.running.chance[places] = _words_of(words, CHANCE)
        spread(work, len(places), threads)

    def _kind(self, words: np.ndarray, places: np.ndarray, wishes: Mapping[str, Any]) -> Kind:
        kind = kinds(self.catalog, words, **wishes)
        if wishes.get("stage") is None and self.stages is not None:
            asked = self.stages[places]
            kind.stage[:] = np.where(asked > 0, asked - 1, kind.stage)
        return kind

    def go_on(self, places: np.ndarray, observation: np.ndarray) -> None:
        """The next session of the clients at `places` (k,), whose last one is over; their rows of `observation` are written."""
        after, _ = end_session(self.state.take(places), self.catalog)
        self._seat(places, after)
        self.running.chance[places] = _words_of(self.running.chance[places], NEXT_CHANCE)
        open_sessions(places, self._clients, self.running, self.catalog.tables, self._seeing, observation)

    def turn(self, emphasis: np.ndarray, threads: int = 1) -> Turned:
        """One turn of every session under `emphasis` (N, 12), which was checked before.

        A session that is over gives no reward, and its row of the observation is not written: begin anew there.
        """
        state, running = self.state, self.running
        before = state.snapshot() if self.watched else None
        scores = self.response.scores(emphasis, self.moment, threads=threads)
        advance_in_place(state, scores, self.catalog, self.settings, report=self.report, threads=threads)
        result = empty_result(self.sessions)
        clients, alliance_nodes = self._clients, self.catalog.tables.alliance_nodes

        def work(first: int, last: int) -> None:
            places = self._all[first:last]
            conclude(clients, scores, running, alliance_nodes, self._facts, self._seeing, result, places)

        spread(work, self.sessions, threads)
        if before is not None:
            self.seen = Seen(before, copied(self.report), scores.copy(), emphasis.copy())
        return Turned(scores, result, self._close(result, threads))

    def _close(self, result: Result, threads: int) -> np.ndarray:
        """Assess the stage of those whose session has ended; the state stays, as the session left it."""
        steps = np.zeros(self.sessions, dtype=np.int64)
        places = np.flatnonzero(result.ending)
        if not len(places):
            return steps

        def work(first: int, last: int) -> None:
            here = places[first:last]
            ended = self.state if len(here) == self.sessions else self.state.take(here)
            steps[here] = end_session(ended, self.catalog)[1].stage_step

        spread(work, len(places), threads)
        for i in np.flatnonzero(steps):
            result.parts[STAGE_TRANSITION, i] = (
                self._reward.stage_forward if steps[i] > 0 else self._reward.stage_regression
            )
            result.reward[i] = sum(result.parts[:, i].tolist(), 0.0)  # part by part, the same sum as everywhere
        return steps

    @property
    def _clients(self) -> Client:
        return looked_at(self.state, self.report)

    @property
    def moment(self) -> Moment:
        """What the response model looks at."""
        state, running = self.state, self.running
        return Moment(state.stage, state.phase, state.turn, running.signals, state.recent_attunement, running.chance)

    @property
    def markers(self) -> np.ndarray:
        """(N,) int64: what each client does at this moment, a place in `response.markers`."""
        return self.response.marker(self.moment)

    def observe(self) -> np.ndarray:
        """(N, 10) float32: what the therapist sees now, of all sessions."""
        observation = new_observation(self.sessions)
        look(self._all, self._clients, self.running, self._seeing, observation)
        return observation

    def keep(self, generators: Sequence[np.random.Generator]) -> SkillsSnapshot:
        """Everything that `restore` needs to go on from here, byte for byte."""
        return self._now([rng.bit_generator.state for rng in generators], self.seen).copy()

    def _now(self, chance: Sequence[Any], seen: Seen | None) -> SkillsSnapshot:
        """The sessions as they stand, in their own memory."""
        return SkillsSnapshot(self.state, self.running, self.words, self.kind, chance, seen)

    def restore(
        self, snapshot: SkillsSnapshot, generators: Sequence[np.random.Generator], may_be_over: bool = True
    ) -> None:
        """Back to `snapshot`, which stays as it is. Raises TypeError, ValueError with everything as it was."""
        if not isinstance(snapshot, SkillsSnapshot):
            raise TypeError(f"found a {type(snapshot).__name__}; expected what snapshot() returned")
        table = np.empty((self.sessions, len(DIMENSIONS)))
        watched = Seen(self.state, self.report, table, table) if self.watched else None
        found = fitting(snapshot, self._now(generators, watched), self.catalog, self.max_turns, may_be_over)
        with unchanged_on_failure(generators):
            set_chance(generators, found.chance)
        self.put(found)

    def put(self, kept: SkillsSnapshot) -> None:
        """The sessions are those of `kept`, in its memory: of this very object, or checked by `restore`."""
        self.state, self.running, self.words, self.kind = kept.state, kept.running, kept.words, kept.kind
        self.seen = kept.seen if self.watched else None

    def view(self, place: int) -> ClientGraph:
        """The true client at `place` by name, in memory of its own, with the last turn where it is watched."""
        alone = [place]
        state = read_only(self.state.take(alone))
        if self.seen is None or self.state.turn[place] == 0:
            return ClientGraph(state, self.catalog, person=self.person(place), settings=self.settings)
        return ClientGraph(
            state,
            self.catalog,
            TurnReport(*(array[alone] for array in self.seen.report)),
            person=self.person(place),
            settings=self.settings,
            before=self.seen.before.take(alone),
            scores=self.seen.scores[alone],
        )

    def person(self, place: int) -> Person:
        """Who the client at `place` is, as they were when they first came."""
        word, kind = self.words[place : place + 1], Kind(*(array[place : place + 1] for array in self.kind))
        return person_of(self.catalog, word[0], kind, arrivals(self.catalog, word, kind, self.settings), 0)

    def _seat(self, places: np.ndarray, clients: ClientState) -> None:
        if len(places) == self.sessions:  # all of them, in order
            self.state = clients
            return
        for array, new in zip(self.state, clients, strict=True):
            array[places] = new


def new_observation(sessions: int) -> np.ndarray:
    """(N, 10) float32, to be written."""
    return np.empty((sessions, len(COLUMNS)), dtype=np.float32)


def _stages(stages: int | Sequence[int | None] | None, sessions: int) -> np.ndarray | None:
    """(N,) int64 with 0 for a stage that is to be drawn; None where all are."""
    if stages is None:
        return None
    each = [stages] * sessions if isinstance(stages, int | np.integer) else list(stages)
    return np.array([stage or 0 for stage in each], dtype=np.int64)
