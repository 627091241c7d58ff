"""Gymnasium environments of a simulated client in treatment. Importing this package registers the ids."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

import gymnasium

if TYPE_CHECKING:
    from envs.session import SessionEnv
    from envs.session_vector import SessionVectorEnv

# id: (the environment, the one that runs many at once); loaded when the first is made.
_IDS = {
    "icarus/Session-v0": ("envs.session:SessionEnv", "envs.session_vector:SessionVectorEnv"),
    "icarus/Treatment-v0": ("envs.treatment:TreatmentEnv", "envs.treatment_vector:TreatmentVectorEnv"),
    "icarus/Skills-v0": ("envs.skills.env:SkillsEnv", "envs.skills.vector:SkillsVectorEnv"),
}
_WHERE = {"check_twins": "envs.twins"} | {
    entry.partition(":")[2]: entry.partition(":")[0] for entries in _IDS.values() for entry in entries
}

for _id, (_one, _many) in _IDS.items():
    if _id not in gymnasium.registry:
        gymnasium.register(id=_id, entry_point=_one, vector_entry_point=_many)

__all__ = ["SessionEnv", "SessionVectorEnv", "check_twins"]  # found by __getattr__


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
