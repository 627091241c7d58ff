"""The reward in other units: a fixed map from points to numbers about 1, for one environment and for a vector of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.utils import RecordConstructorArgs
from gymnasium.vector import AutoresetMode
from pydantic import BaseModel, ConfigDict, Field, field_validator

from rewards.parts import RewardParts

JUMPS = ("phase_transition", "stage_transition")  # 20 to 150 points at once, where a turn is worth about 15


class RewardScale(BaseModel):
    """The map, in which only the two limits bend anything:

        r = (Σ_p s_p · points_p - centre) / width + Σ_jump clip(s_p · points_p / width, ±jump_limit)
            + clip(s_ending · points_ending / width, ±ending_limit)

    The jumps are phase_transition and stage_transition; p runs over the parts that are neither jumps nor `ending`.

    As it stands only the unit changes, and no policy is preferred that was not before. Measured over scripted scores in
    all four stages: an ordinary turn lies in -0.73 to 1.9 (on average -0.2 where every score is 0, 0.33 at 5, 0.94 at 8,
    1.2 at 10); a phase step adds 1.3 or takes 2, a stage adds 6.7 or takes 10. The part `ending` comes in one step for all
    turns that it stands for: 1.07 added for each that a session which closed well did not need, 0.4 taken for each that
    was not held because the client left. In a session of 20 turns that is 18 at most and -7.6 at least; in a treatment the
    turns of all sessions that are left count.

    With `jump_limit=1` a turn that ends no session lies in -1.8 to 2.9, and a step back costs no more than a step forward
    earns: the paper's -30 for 20 is then gone. `ending_limit` keeps the last step small too, and has a price: where it
    cuts, holding on to a client who is well pays again, and so does losing one who suffers. A larger `width`, or
    NormalizeReward on top, has no such price. A `centre` that is not 0 is paid in every turn that is held: it makes long
    sessions dearer or cheaper.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    centre: float = Field(0.0, description="Points a turn that become 0.")
    width: float = Field(15.0, gt=0, description="Points that become 1.")
    jump_limit: float | None = Field(
        None, ge=0, description="The most that one jump adds or takes, in scaled units; None for no limit."
    )
    scales: dict[str, float] = Field({}, description="Factors of named parts; a part that is not named has 1.")
    ending_limit: float | None = Field(
        None, ge=0, description="The most that the part `ending` adds or takes, in scaled units; None for no limit."
    )

    @field_validator("scales")
    @classmethod
    def _of_known_parts(cls, scales: dict[str, float]) -> dict[str, float]:
        if unknown := sorted(set(scales) - set(RewardParts._fields)):
            raise ValueError(f"found parts {unknown}; expected some of {RewardParts._fields}")
        return scales

    def of(self, parts: Mapping[str, Any]) -> Any:
        """The scaled reward of parts in points: numbers, or arrays (N,) of as many turns."""
        turn, limited = -self.centre, 0.0
        limits = {"ending": _bound(self.ending_limit)} | dict.fromkeys(JUMPS, _bound(self.jump_limit))
        for name in RewardParts._fields:
            points = self.scales.get(name, 1.0) * parts[name]
            if name in limits:
                limited = limited + np.clip(points / self.width, -limits[name], limits[name])
            else:
                turn = turn + points
        return turn / self.width + limited


def _bound(limit: float | None) -> float:
    return float("inf") if limit is None else limit


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
        ending_limit: scaled units, or None.
    """

    def __init__(
        self,
        env: gym.Env[Any, Any],
        centre: float = 0.0,
        width: float = 15.0,
        jump_limit: float | None = None,
        scales: Mapping[str, float] | None = None,
        ending_limit: float | None = None,
    ) -> None:
        RecordConstructorArgs.__init__(
            self, centre=centre, width=width, jump_limit=jump_limit, scales=scales, ending_limit=ending_limit
        )
        gym.Wrapper.__init__(self, env)
        self.scale = RewardScale(
            centre=centre, width=width, jump_limit=jump_limit, scales=dict(scales or {}), ending_limit=ending_limit
        )

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """As the environment's, with the scaled reward."""
        observation, raw, terminated, truncated, info = self.env.step(action)
        if "reward_parts" not in info:
            raise KeyError(f"found info of {sorted(info)}; expected reward_parts, as Icarus's environments give them")
        reward = float(self.scale.of(info["reward_parts"]))
        return observation, reward, terminated, truncated, {"raw_reward": float(raw), **info}


class VectorRewardScaling(gym.vector.VectorWrapper):
    """RewardScaling on a vector environment: sub-environment i is what RewardScaling makes of environment i, bit for bit.

    A step that only begins a new session keeps its reward of 0, whatever the centre; a turn of which no parts are told
    raises KeyError. `infos["raw_reward"]` is (N,) points, right where the mask `infos["_raw_reward"]` is true; of turns
    after which a session followed at once it stands in `infos["final_info"]`, by Gymnasium's convention.

    Args:
        env: a vector environment whose infos have `reward_parts`, in points.
        centre: see RewardScale, as the others.
        width: points that become 1.
        jump_limit: scaled units, or None.
        scales: factors of named parts.
        ending_limit: scaled units, or None.
    """

    def __init__(
        self,
        env: gym.vector.VectorEnv[Any, Any, Any],
        centre: float = 0.0,
        width: float = 15.0,
        jump_limit: float | None = None,
        scales: Mapping[str, float] | None = None,
        ending_limit: float | None = None,
    ) -> None:
        super().__init__(env)
        self.scale = RewardScale(
            centre=centre, width=width, jump_limit=jump_limit, scales=dict(scales or {}), ending_limit=ending_limit
        )
        self._over, self._told = np.zeros(self.num_envs, dtype=np.bool_), False

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """As the environment's."""
        begun = self.env.reset(seed=seed, options=options)  # type: ignore[arg-type]  # seeds may be a list
        self._over[(options or {}).get("reset_mask", slice(None))] = False
        return begun

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """As the environment's, with the scaled rewards, (N,)."""
        observations, raw, terminated, truncated, infos = self.env.step(actions)
        over = np.asarray(terminated) | np.asarray(truncated)
        rewards, infos, turns = np.zeros(self.num_envs), dict(infos), self._turns(raw, over)
        if "final_info" in infos:  # where a session follows at once, the turn that ended is told there
            infos["final_info"] = dict(infos["final_info"])
        for told in (infos, infos.get("final_info", {})):
            if "reward_parts" in told:
                held = told["_reward_parts"]
                rewards[held] = self.scale.of(told["reward_parts"])[held]
                told["raw_reward"], told["_raw_reward"] = np.where(held, raw, 0.0), held.copy()
                turns &= ~held
        if turns.any():
            raise KeyError(
                f"found no reward_parts of the turns of sub-environments {np.flatnonzero(turns)[:10].tolist()} in infos of "
                f"{sorted(infos)}; expected them of every turn, as Icarus's environments give them"
            )
        self._over, self._told = over, True
        return observations, rewards, terminated, truncated, infos

    def _turns(self, raw: np.ndarray, over: np.ndarray) -> np.ndarray:
        """(N,) bool, who took a turn. In NextStep the step after an end begins anew and takes none.

        Where a session that is over was restored beneath this wrapper its end was not seen here: then a step of an
        environment that has told parts before, without a reward and without an end, is such a beginning.
        """
        if self.metadata.get("autoreset_mode") != AutoresetMode.NEXT_STEP:
            return np.ones(self.num_envs, dtype=np.bool_)
        return ~(self._over | (self._told & (np.asarray(raw) == 0.0) & ~over))
