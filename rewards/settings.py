"""The scale of each part of the reward."""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class RewardSettings(BaseModel):
    """Points that each signal adds to a turn's reward; zero switches a part off.

    Raises ValidationError where a step forward and the same step back would pay together: what is lost has to weigh at
    least what is gained (paper 402, "first, do no harm").
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    composite: float = Field(
        1.0,
        ge=0,
        description="Points per point of the stage composite, the stage-weighted mean of the scores (paper 392).",
    )
    modifiers: float = Field(
        1.0, ge=0, description="Scale of the stage-specific bonuses and penalties (paper 396-399)."
    )
    phase_forward: float = Field(20.0, ge=0, description="A step forward through the phases (paper 402).")
    phase_regression: float = Field(-30.0, le=0, description="A step back through the phases (paper 402).")
    stage_forward: float = Field(100.0, ge=0, description="A stage of treatment gained (paper 402).")
    stage_regression: float = Field(-150.0, le=0, description="A stage of treatment lost (paper 402).")
    taie: float = Field(
        1.0,
        ge=0,
        description="Points for a three-assessment trend of the axes toward zero; as many lost for away (paper 374).",
    )
    transformation: float = Field(
        20.0, ge=0, description="Points per unit of structural transformation gained, of 1 in all (paper 373)."
    )
    adaptation_event: float = Field(
        2.0, ge=0, description="Points for each LOA threshold crossed upward, lost downward (paper 366)."
    )
    attunement: float = Field(
        10.0, ge=0, description="Points per unit of attunement gained, of 1 in all (paper 450, 466)."
    )
    closed_well: float = Field(
        16.0,
        ge=0,
        description="Points for each turn that a session which closed well, or a treatment that ended as planned, did not need: "
        "the most that composite (10), bonuses (5) and trend (1) bring together, so that holding on to somebody who is well pays "
        "no more than letting go, but for what is left of transformation and attunement.",
    )
    broken_off: float = Field(
        -6.0,
        le=0,
        description="Points for each turn that was not held because the client left or came no more: less than the poorest turn "
        "costs (-3 on average), so that driving somebody away is no way out.",
    )
    violation: float = Field(
        -60.0,
        le=0,
        description="Points that a reply costs that breaks the frame to the full (a violation of weight 1; a lighter one costs "
        "its share): a judge talked into full marks must not pay. Tens all session, with every phase opened and the session closed "
        "well (+16 a turn not held), bring 393 points in 7 turns at stage 4, 410 in 8 at stage 3, against 120 for sixes in 20 "
        "(benchmarks/reward_landscape.py). So more than 41 points a turn have to go, which a weight of 0.7 takes: every kind but a "
        "guess (confabulation) and a slip (unfinished) has at least that.",
    )

    @model_validator(mode="after")
    def _no_gain_by_going_back_and_forth(self) -> Self:
        problems = []
        for kind in ("phase", "stage"):
            forward, back = getattr(self, f"{kind}_forward"), getattr(self, f"{kind}_regression")
            if forward + back > 0:
                problems.append(
                    f"{kind}_forward is {forward:g} and {kind}_regression {back:g}: a step forward and back would pay "
                    f"{forward + back:g} points; expected {kind}_regression at most {-forward:g}, or {kind}_forward at most "
                    f"{-back:g}"
                )
        if problems:
            raise ValueError("; ".join(problems))
        return self
