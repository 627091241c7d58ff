"""The client under a numeric action: emphasis over twelve dimensions in, noisy signals out."""

from envs.skills.env import SkillsEnv
from envs.skills.observation import COLUMNS, columns_of
from envs.skills.outcome import ENDINGS
from envs.skills.response import Moment, ResponseModel, ResponseSettings
from envs.skills.sessions import SkillsSnapshot
from envs.skills.vector import SkillsVectorEnv

__all__ = [
    "COLUMNS",
    "ENDINGS",
    "Moment",
    "ResponseModel",
    "ResponseSettings",
    "SkillsEnv",
    "SkillsSnapshot",
    "SkillsVectorEnv",
    "columns_of",
]
