"""What a therapist could know of a client, as ten numbers."""

from typing import NamedTuple

import numpy as np
from gymnasium.spaces import Box

from client_graph.names import SIGNALS
from envs.infos import MOST_SESSIONS

SEEN_LOW, SEEN_HIGH = -5.0, 20.0  # level points: what passes at a moment shows beyond where a level can stand
NO_TURN_YET = -1.0  # `felt_last_turn` at the start of a session


class Column(NamedTuple):
    """One number of the observation."""

    name: str
    low: float
    high: float
    meaning: str


def columns_of(max_turns: int) -> tuple[Column, ...]:
    """The columns of every (..., 10) observation, with their units."""
    signs = (
        f"client's {name} as it seems to the therapist at this moment, level points: how the client stands, what passes now, "
        "and noise" for name in SIGNALS
    )  # fmt: skip
    return (
        *(Column(name, SEEN_LOW, SEEN_HIGH, sign) for name, sign in zip(SIGNALS, signs, strict=True)),
        Column(
            "felt_last_turn", NO_TURN_YET, 10.0,
            "how the last turn seems to have gone, score points: its stage-weighted composite and noise; -1 before a first turn",
        ),
        Column("stage", 1.0, 4.0, "stage of treatment"),
        Column("turn", 0.0, float(max_turns), "completed turns of the session"),
        Column("stance", 0.0, 2.0, "0 rapport_building, 1 personhood_assemblage, 2 intervention"),
        Column("session", 1.0, float(MOST_SESSIONS), "number of the session"),
    )  # fmt: skip


COLUMNS = tuple(column.name for column in columns_of(1))
OPENNESS, DISCLOSURE, RESISTANCE, DEFENSIVENESS, OVERWHELM, FELT, STAGE, TURN, STANCE, SESSION = range(len(COLUMNS))


def observation_space(max_turns: int) -> Box:
    """Box of shape (10,), float32, in the order of `COLUMNS`."""
    columns = columns_of(max_turns)
    low, high = (np.array([getattr(column, end) for column in columns], dtype=np.float32) for end in ("low", "high"))
    return Box(low, high, dtype=np.float32)
