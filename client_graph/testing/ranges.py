"""The ranges that `client_graph.state` promises, checked."""

import numpy as np

from client_graph.state import ClientState

RANGES = {
    "levels": (0, 10), "tmog": (0, 10), "buckets": (0, 1), "buckets_start": (0, 1), "loa": (-10, 10), "axes": (-10, 10),
    "axes_start": (-10, 10), "axes_window": (0, 30), "attunement": (0, 1), "phase": (0, 3), "phase_mood": (-1, 1),
    "phase_coiling": (0, 1), "deepest_phase": (0, 3), "stage": (0, 3), "stance": (0, 2), "recent_attunement": (0, 10),
    "recent_resistance": (0, 10),
}  # fmt: skip
COUNTS = ("stage_ahead", "stage_behind", "core_sessions", "session", "turn")
YOUNG = ("recent_attunement", "recent_resistance")  # NaN where the session is younger than the window
ROUNDING = 1e-12  # means of numbers at the end of a range


def out_of_range(state: ClientState) -> list[str]:
    """What of `state` lies outside its stated range, a sentence a field; empty where all is well."""
    problems = []
    for name, (low, high) in (RANGES | dict.fromkeys(COUNTS, (0, np.inf))).items():
        values = getattr(state, name)
        slack = ROUNDING if name in ("attunement", "phase_mood", "phase_coiling") else 0.0
        inside = (values >= low - slack) & (values <= high + slack)  # false for NaN
        if name in YOUNG:
            inside |= np.isnan(values) & (np.arange(values.shape[1]) < values.shape[1] - state.turn[:, None])
        if not inside.all():
            problems.append(f"{name}: found {values[~inside][0]}; expected numbers in [{low}, {high}]")
    for deeper, shallower in (("deepest_phase", "phase"), ("session", "core_sessions")):
        if (getattr(state, deeper) < getattr(state, shallower)).any():
            problems.append(f"{deeper} is less than {shallower}")
    return problems
