"""The reward in other units: a fixed map from points to numbers about 1, for one environment and for a vector of them."""

from collections.abc import Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from pydantic import BaseModel, ConfigDict, Field, field_validator

from rewards.parts import RewardParts

JUMPS = ("phase_transition", "stage_transition")  # 20 to 150 points at once, where a turn is worth about 15


class RewardScale(BaseModel):
    """The map, in which only `jump_limit` bends anything:

        r = (Σ_p s_p · points_p - centre) / width + Σ_jump clip(s_p · points_p / width, ±jump_limit)

    The jumps are phase_transition and stage_transition; p runs over all other parts.

    As it stands only the unit changes, and no policy is preferred that was not before: a turn is worth about -0.4 to 1, a
    phase step +1.3 or -2, a stage +6.7 or -10. With `jump_limit=1` a turn stays within about ±2 (±3 where a stage changes
    with the phase), and a step back costs no more than a step forward earns: the paper's -30 for 20 is then gone. The part
    `ending` stands for turns that were not held; it is never limited, or going on would be paid for. A `centre` that is
    not 0 is paid in every turn that is held: it makes long sessions dearer or cheaper.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    centre: float = Field(0.0, description="Points a turn that become 0.")
    width: float = Field(15.0, gt=0, description="Points that become 1.")
    jump_limit: float | None = Field(
        None, ge=0, description="The most that one jump adds or takes, in scaled units; None for no limit."
    )
    scales: dict[str, float] = Field({}, description="Factors of named parts; a part that is not named has 1.")

    @field_validator("scales")
    @classmethod
    def _of_known_parts(cls, scales: dict[str, float]) -> dict[str, float]:
        if unknown := sorted(set(scales) - set(RewardParts._fields)):
            raise ValueError(f"found parts {unknown}; expected some of {RewardParts._fields}")
        return scales

    def of(self, parts: Mapping[str, Any]) -> Any:
        """The scaled reward of parts in points: numbers, or arrays (N,) of as many turns."""
        turn, jumps = -self.centre, 0.0
        limit = np.inf if self.jump_limit is None else self.jump_limit
        for name in RewardParts._fields:
            points = self.scales.get(name, 1.0) * parts[name]
            if name in JUMPS:
                jumps = jumps + np.clip(points / self.width, -limit, limit)
            else:
                turn = turn + points
        return turn / self.width + jumps


class RewardScaling(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """The reward by RewardScale, hiding nothing: `info["reward_parts"]` keeps the points, `info["raw_reward"]` their sum.

    gymnasium.wrappers.NormalizeReward divides by a running deviation of the discounted return instead. Take it where an
    algorithm needs returns of unit variance whatever the settings; take this one where the same reply has to be worth the
    same at every time, in every worker, and after a resume. NormalizeReward may stand on top of this one.

    Args:
        env: an environment whose `info` has `reward_parts`, in points.
        centre: see RewardScale, as the others.
        width: points that become 1.
        jump_limit: scaled units, or None.
        scales: factors of named parts.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        centre: float = 0.0,
        width: float = 15.0,
        jump_limit: float | None = None,
        scales: Mapping[str, float] | None = None,
    ) -> None:
        RecordConstructorArgs.__init__(self, centre=centre, width=width, jump_limit=jump_limit, scales=scales)
        gym.Wrapper.__init__(self, env)
        self.scale = RewardScale(centre=centre, width=width, jump_limit=jump_limit, scales=dict(scales or {}))

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """As the environment's, with the scaled reward."""
        observation, raw, terminated, truncated, info = self.env.step(action)
        if "reward_parts" not in info:
            raise KeyError(f"found info of {sorted(info)}; expected reward_parts, as Icarus's environments give them")
        reward = float(self.scale.of(info["reward_parts"]))
        return observation, reward, terminated, truncated, {"raw_reward": float(raw), **info}


class VectorRewardScaling(gym.vector.VectorWrapper):
    """RewardScaling on a vector environment: sub-environment i is what RewardScaling makes of environment i, bit for bit.

    A step that only begins a new session keeps its reward of 0, whatever the centre. `infos["raw_reward"]` is (N,) points.

    Args:
        env: a vector environment whose infos have `reward_parts`, in points.
        centre: see RewardScale, as the others.
        width: points that become 1.
        jump_limit: scaled units, or None.
        scales: factors of named parts.
    """

    def __init__(
        self,
        env: gym.vector.VectorEnv[Any, Any, Any],
        centre: float = 0.0,
        width: float = 15.0,
        jump_limit: float | None = None,
        scales: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(env)
        self.scale = RewardScale(centre=centre, width=width, jump_limit=jump_limit, scales=dict(scales or {}))

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """As the environment's, with the scaled rewards, (N,)."""
        observations, raw, terminated, truncated, infos = self.env.step(actions)
        rewards = np.zeros(self.num_envs)
        for told in (
            infos,
            infos.get("final_info", {}),
        ):  # a turn that ended is told there where a session follows at once
            if "reward_parts" in told:
                held = told["_reward_parts"]
                rewards[held] = self.scale.of(told["reward_parts"])[held]
        return observations, rewards, terminated, truncated, {"raw_reward": raw, **infos}
