"""In-session phases A -> B -> C -> D: when a client opens, and when protection returns (paper 376-383)."""

from client_graph.compiled import compiled


@compiled
def phase_score(mood_shift, coiling_shift, alliance, dynamics):  # type: ignore[no-untyped-def]
    """(0.4 · bucket shift + 0.6 · coiling shift) · (0.7 + 0.6 · alliance), shifts since the phase was entered, scaled by gains.

    bucket shift = change of (adaptive mean - maladaptive mean);   coiling shift = fall of the mean coiling
    """
    shift = 0.4 * dynamics.phase_mood_gain * mood_shift + 0.6 * dynamics.phase_coiling_gain * coiling_shift
    return shift * (0.7 + 0.6 * alliance)


@compiled
def next_phase(phase, score, forward, back):  # type: ignore[no-untyped-def]
    """The phase (0..3) after `score`: at most one step, forward at or above its threshold, back at or below its own.

    `forward`, `back` (3,): the thresholds of the client's stage, A->B, B->C, C->D and B->A, C->B, D->C.
    """
    if phase < 3 and score >= forward[phase]:
        return phase + 1
    if phase > 0 and score <= back[phase - 1]:
        return phase - 1
    return phase
