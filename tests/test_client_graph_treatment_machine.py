"""Whole treatments in any order: turns, ends of sessions, branches, restores, refused turns; what must hold after each."""

from typing import NamedTuple

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from client_graph.catalog import Catalog, load_catalog
from client_graph.drive import ScoreError
from client_graph.session import arrive, end_session
from client_graph.state import ClientState
from client_graph.testing import catalogs, out_of_range, scores, states
from client_graph.testing.reference import coiling_of, mood_of
from client_graph.turn import advance

CLIENTS = 2
DEFAULT = load_catalog()
Action = np.ndarray | None  # the scores of a turn, or the end of a session
either_catalog = catalogs(most=5) | st.just(DEFAULT)


def done(state: ClientState, action: Action, catalog: Catalog) -> ClientState:
    """The clients after an action."""
    return end_session(state, catalog)[0] if action is None else advance(state, action, catalog)[0]


class Kept(NamedTuple):
    """A snapshot, and the actions that led to it from the first state."""

    state: ClientState
    log: tuple[Action, ...]


class Treatment(RuleBasedStateMachine):
    """A model in plain numbers goes along: turns, sessions, core sessions, and the mood and coiling at the phase's start."""

    kept = Bundle("kept")

    @initialize(data=st.data(), target=kept)
    def intake(self, data: st.DataObject) -> Kept:
        self.catalog = data.draw(either_catalog)
        first = data.draw(states(self.catalog, CLIENTS, phase=0))
        for name in ("session", "core_sessions", "stage_ahead", "stage_behind"):
            getattr(first, name)[:] = 0
        self.first = self.state = arrive(first, self.catalog)
        self.log: tuple[Action, ...] = ()
        return Kept(self.state.snapshot(), ())

    @rule(judged=scores(CLIENTS))
    def turn(self, judged: np.ndarray) -> None:
        """One turn: one more of the session, at most one phase, the shift counted anew where the phase changed."""
        before = self.state
        after, report = advance(before, judged, self.catalog)
        assert (after.turn == before.turn + 1).all()
        assert (after.phase - before.phase == report.phase_step).all()
        assert (np.abs(report.phase_step) <= 1).all()
        assert (after.deepest_phase == np.maximum(before.deepest_phase, after.phase)).all()
        for name in ("stage", "stage_ahead", "stage_behind", "session", "core_sessions", "buckets_start", "axes_start"):
            assert getattr(after, name).tobytes() == getattr(before, name).tobytes(), name
        for i in range(CLIENTS):
            if report.phase_step[i] == 0:
                assert after.phase_mood[i] == before.phase_mood[i]
                assert after.phase_coiling[i] == before.phase_coiling[i]
            else:
                self.entered_now(after, i)
        self.state, self.log = after, (*self.log, judged)

    @rule()
    def end_of_session(self) -> None:
        """Stage by at most one, in range; a new session in phase A, counted from here."""
        before = self.state
        after, report = end_session(before, self.catalog)
        assert (after.session == before.session + 1).all()
        assert (after.core_sessions == before.core_sessions + (before.deepest_phase >= 2)).all()
        assert (np.abs(report.stage_step) <= 1).all()
        assert (after.stage == before.stage + report.stage_step).all()
        for name in ("turn", "phase", "deepest_phase", "stance", "arc"):
            assert not getattr(after, name).any(), name
        assert np.isnan(after.recent_attunement).all()
        assert np.isnan(after.recent_resistance).all()
        for name in ("levels", "tmog", "loa", "axes", "axes_window", "attunement", "stream"):
            assert getattr(after, name).tobytes() == getattr(before, name).tobytes(), name
        for i in range(CLIENTS):
            self.entered_now(after, i)
        self.state, self.log = after, (*self.log, None)

    def entered_now(self, state: ClientState, i: int) -> None:
        """The phase's first mood and coiling are those of `state`, by the plain formulas."""
        rows = self.catalog.rows
        bucket = dict(zip(self.catalog.bucket_names, state.buckets[i].tolist(), strict=True))
        level = dict(zip(self.catalog.node_names, state.levels[i].tolist(), strict=True))
        assert abs(state.phase_mood[i] - mood_of(bucket, rows)) < 1e-12
        assert abs(state.phase_coiling[i] - coiling_of(level, {row.name: row for row in rows["nodes"]})) < 1e-12

    @rule(target=kept)
    def snapshot(self) -> Kept:
        """What is kept is the present, and shares nothing with it."""
        copy = self.state.snapshot()
        assert copy.same_as(self.state)
        return Kept(copy, self.log)

    @rule(past=kept)
    def restore(self, past: Kept) -> None:
        """Back to a kept moment, the way one does it: a copy of the snapshot."""
        self.state, self.log = past.state.snapshot(), past.log

    @rule(past=kept, judged=scores(CLIENTS), target=kept)
    def branch(self, past: Kept, judged: np.ndarray) -> Kept:
        """Another reply tried from a kept moment leaves the present as it is, and leads where it always leads."""
        here = self.state.snapshot()
        one, other = advance(past.state, judged, self.catalog)[0], advance(past.state, judged, self.catalog)[0]
        assert one.same_as(other)
        assert self.state.same_as(here)
        return Kept(one, (*past.log, judged))

    @rule(
        judged=scores(CLIENTS),
        place=st.integers(0, 12 * CLIENTS - 1),
        bad=st.sampled_from((np.nan, np.inf, -1.0, 11.0)),
    )
    def refused(self, judged: np.ndarray, place: int, bad: float) -> None:
        """A turn with a bad score did not happen."""
        here, spoilt = self.state.snapshot(), judged.copy()
        spoilt.flat[place] = bad
        try:
            advance(self.state, spoilt, self.catalog)
        except ScoreError:
            assert self.state.same_as(here)
        else:
            raise AssertionError(f"a score of {bad} was taken")

    @precondition(lambda self: self.log)
    @rule(past=kept)
    def replay(self, past: Kept) -> None:
        """The same actions from the first state lead to the same bits, for the present and for what was kept."""
        for state, log in ((self.state, self.log), past):
            again = self.first
            for action in log:
                again = done(again, action, self.catalog)
            assert again.same_as(state)

    @invariant()
    def all_in_range(self) -> None:
        """Also: deepest phase not before the phase, core sessions not more than sessions."""
        if hasattr(self, "state"):
            assert out_of_range(self.state) == []

    @invariant()
    def the_log_is_counted(self) -> None:
        """Sessions are the ends in the log, turns those since the last."""
        if hasattr(self, "state"):
            ends = [k for k, action in enumerate(self.log) if action is None]
            assert (self.state.session == len(ends)).all()
            assert (self.state.turn == len(self.log) - (ends[-1] + 1 if ends else 0)).all()


TestTreatment = Treatment.TestCase
TestTreatment.settings = settings(stateful_step_count=25)  # of the profile that is loaded now
