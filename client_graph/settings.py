"""Gains and rates of the person's dynamics: the numbers that calibration may change, each with its sentence."""

from functools import lru_cache
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field


class Dynamics(NamedTuple):
    """The settings as the compiled turn reads them; meanings stand in `ClientSettings`."""

    literal_drive: bool
    node_gain: float
    engagement_floor: float
    source_damping: float
    target_damping: float
    loa_rate: float
    axis_rate: float
    axis_tolerance: float
    tmog_steady_rate: float
    tmog_good_rate: float
    tmog_noise: float
    phase_mood_gain: float
    phase_coiling_gain: float
    stance_lock_turns: int
    arc_steps: int


class ClientSettings(BaseModel):
    """How strongly the simulated person reacts. Facts about nodes, edges and thresholds stand in the tables instead."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    drive: Literal["excess", "literal"] = Field(
        "excess",
        description="`excess`: how far a score lies beyond its threshold, so that a worse score never harms less. "
        "`literal`: the raw score, as the paper prints it (lines 333, 348).",
    )
    node_gain: float = Field(
        1.0, gt=0, description="Multiplies every direct node change; 1 keeps the tables' own scale."
    )
    engagement_floor: float = Field(
        0.2, gt=0, le=1, description="Least engagement factor, so that nobody is frozen for good."
    )
    source_damping: float = Field(0.3, ge=0, le=1, description="Edge damping at the source (paper 345).")
    target_damping: float = Field(0.5, ge=0, le=1, description="Edge damping at the target (paper 345).")
    loa_rate: float = Field(0.15, gt=0, description="LOA points a turn at full drive and mapping weight 1.")
    axis_rate: float = Field(0.20, gt=0, description="TAIE axis points a turn at full drive and mapping weight 1.")
    axis_tolerance: float = Field(
        0.05,
        ge=0,
        description="Least change of |X|+|Y|+|Z| over the three-assessment window that counts as a direction.",
    )
    tmog_start_noise: float = Field(
        2.0, ge=0, description="Standard deviation, in level points, of the therapist's first error about each node."
    )
    tmog_steady_rate: float = Field(0.01, ge=0, le=1, description="Share of the remaining error that any turn removes.")
    tmog_good_rate: float = Field(
        0.10, ge=0, le=1, description="Further share removed at attunement 10 (none below 6.5)."
    )
    tmog_noise: float = Field(
        0.4, ge=0, description="Standard deviation of new error at attunement 0 (none above 3.5)."
    )
    phase_mood_gain: float = Field(
        8.3, gt=0, description="Scales bucket shifts in the phase score (calibrated; paper map)."
    )
    phase_coiling_gain: float = Field(
        3.3, gt=0, description="Scales coiling shifts in the phase score (calibrated; paper map)."
    )
    stance_lock_turns: int = Field(
        3, ge=0, description="First turns of a session locked to rapport_building (paper 414)."
    )
    arc_steps: int = Field(
        3,
        ge=0,
        le=1000,
        description="Turns of the intervention arc that reaching intervention begins: offer it, do it, take in what it brought "
        "(paper 415 gives no number). 0: none begins by itself.",
    )

    @property
    def dynamics(self) -> Dynamics:
        """These settings as the compiled turn takes them."""
        return _dynamics(self)


@lru_cache(maxsize=64)  # a single client's turn would feel it
def _dynamics(settings: ClientSettings) -> Dynamics:
    values = {name: getattr(settings, name) for name in Dynamics._fields if name != "literal_drive"}
    return Dynamics(literal_drive=settings.drive == "literal", **values)


class CourseSettings(BaseModel):
    """Life between sessions, drop-out and the planned ending: calibrated by benchmarks/clinic.py against published figures."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    weekly_recovery: float = Field(
        0.6, ge=0, description="Mean luck of a week, in level points: what gets better by itself."
    )
    weekly_spread: float = Field(
        2.0, ge=0, description="Standard deviation of luck from week to week, in level points."
    )
    fortune_spread: float = Field(
        1.3,
        ge=0,
        description="Standard deviation between clients of what life outside holds for them, in level points a week.",
    )
    dropout: float = Field(
        0.021,
        ge=0,
        lt=1,
        description="Probability that a client whose alliance is 0.5 does not come back after a session; 0: nobody.",
    )
    dropout_alliance: float = Field(
        3.0, ge=0, description="Log-odds of stopping that a whole unit of alliance takes away."
    )
    dropout_rupture: float = Field(1.0, ge=0, description="Log-odds that a session which ended in a rupture adds.")
    farewell_sessions: int = Field(2, ge=1, description="Sessions of stage 4 after which a treatment ends as planned.")
