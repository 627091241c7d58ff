"""The stance the therapist should take: rapport, then assembling the person, then intervention (paper 411-415)."""

from collections.abc import Sequence

import numpy as np

from client_graph.compiled import compiled
from client_graph.state import ClientState, StateError

RAPPORT, ASSEMBLAGE, INTERVENTION = 0, 1, 2

# Signals, each in [0, 10], in the order of names.SIGNALS.
OPENNESS, DISCLOSURE, RESISTANCE, DEFENSIVENESS, OVERWHELM = range(5)

STEADY_ATTUNEMENT = 5.5  # running average over four turns (paper 413)
LOW_RESISTANCE = 5.5
HIGH_DEFENSIVENESS = 5.0
HIGH_OVERWHELM = 3.0
MODERATE_RESISTANCE = 7.0  # the rubric's upper third begins here; the paper gives no number (paper map)
LOW_OVERWHELM = HIGH_OVERWHELM  # the paper's own line: no arc goes on over a client who is flooded
VISIBLE = 5.0  # disclosure or engagement one can observe; the paper gives no number (paper map)
RUPTURE = 3.5  # mean of attunement and safety below the rubric's "poor" edge


@compiled
def client_signals(levels, phase, tables, out):  # type: ignore[no-untyped-def]
    """What shows of the client now, `out` (5, lanes) in [0, 10]: signed weighted sum of nodes times the phase's factor."""
    for s in range(out.shape[0]):
        out[s] = tables.signals[s].offset
    for row in tables.signal_nodes:
        s, n, weight = row.signal, row.node, row.weight
        for k in range(out.shape[1]):
            out[s, k] += weight * levels[n, k]
    for s in range(out.shape[0]):
        factor = tables.signals[s].phase
        for k in range(out.shape[1]):
            out[s, k] = min(10.0, max(0.0, out[s, k] * factor[phase[k]]))


@compiled
def remember(window, value):  # type: ignore[no-untyped-def]
    """Shift a window (oldest first) by one and put `value` at its end."""
    for t in range(window.shape[0] - 1):
        window[t] = window[t + 1]
    window[window.shape[0] - 1] = value


@compiled
def mean_so_far(window):  # type: ignore[no-untyped-def]
    """Mean of the turns that the session has had: NaN stands where it is younger than the window."""
    total, turns = 0.0, 0
    for value in window:
        if not np.isnan(value):
            total += value
            turns += 1
    return total / turns


@compiled
def ruptured(attunement_score, safety_score, phase_step):  # type: ignore[no-untyped-def]
    """A turn that missed and frightened at once, or that threw the client back a phase."""
    return 0.5 * (attunement_score + safety_score) < RUPTURE or phase_step < 0


@compiled
def arc_holds(stance, arc, signals):  # type: ignore[no-untyped-def]
    """Whether an intervention that is under way rides out what would lead one step back (paper 415; never a rupture).

    `arc` turns are left of it, resistance now is moderate (< 7), overwhelm low (< 3).
    """
    calm = signals[RESISTANCE] < MODERATE_RESISTANCE and signals[OVERWHELM] < LOW_OVERWHELM
    return stance == INTERVENTION and arc > 0 and calm


@compiled
def next_stance(stance, arc, turn, signals, rupture, mean_attunement, mean_resistance, lock_turns):  # type: ignore[no-untyped-def]
    """The stance (0..2) for the coming turn; `turn` counts the turns of the session that are over.

    Down at once: rupture -> rapport; defensiveness >= 5 or signals[OVERWHELM] >= 3 -> one step back, unless an arc holds.
    Up only on sustained evidence: attunement >= 5.5 and resistance <= 5.5 over four turns, disclosure or openness seen.
    """
    if turn < lock_turns or rupture:
        return RAPPORT
    if signals[DEFENSIVENESS] >= HIGH_DEFENSIVENESS or signals[OVERWHELM] >= HIGH_OVERWHELM:
        return stance if arc_holds(stance, arc, signals) else max(RAPPORT, stance - 1)
    ready = mean_attunement >= STEADY_ATTUNEMENT and mean_resistance <= LOW_RESISTANCE
    if ready and max(signals[DISCLOSURE], signals[OPENNESS]) >= VISIBLE:
        return min(INTERVENTION, stance + 1)
    return stance


@compiled
def next_arc(before, after, arc, arc_steps):  # type: ignore[no-untyped-def]
    """Turns left of the intervention arc after a turn that led from stance `before` to `after`.

    Reaching intervention begins one of `arc_steps` turns; each turn takes one; leaving intervention ends it.
    """
    if after != INTERVENTION:
        return 0
    if before != INTERVENTION:
        return arc_steps
    return max(0, arc - 1)


def begin_arc(state: ClientState, steps: int, clients: Sequence[int] | np.ndarray | None = None) -> ClientState:
    """The clients with an intervention arc of `steps` turns from now on; 0 ends one that runs. Pure.

    `clients`: places or (N,) bool as in `ClientState.take`, all where it is None. Raises StateError where one of them is not
    in the stance of intervention: an arc holds that stance, and never brings it about.
    """
    if isinstance(steps, bool) or not isinstance(steps, int | np.integer) or steps < 0:
        raise StateError(f"found an arc of {steps!r} steps; expected a whole number of turns, 0 or more")
    places = np.arange(state.clients) if clients is None else np.asarray(clients)
    chosen = state._replace(turn=np.arange(state.clients)).take(places).turn  # `take` says which places there are
    elsewhere = chosen[state.stance[chosen] != INTERVENTION]
    if steps > 0 and len(elsewhere):
        raise StateError(
            f"found clients {elsewhere[:8].tolist()} in another stance than intervention; expected only clients who are there: "
            "choose them with clients=state.stance == 2"
        )
    after = state.snapshot()
    after.arc[chosen] = steps
    return after
