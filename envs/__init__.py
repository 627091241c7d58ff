"""Gymnasium environments of a simulated client in treatment. Importing this package registers the ids."""

import gymnasium

from envs.session import SessionEnv

if "icarus/Session-v0" not in gymnasium.registry:
    gymnasium.register(id="icarus/Session-v0", entry_point=SessionEnv)  # type: ignore[arg-type]  # the class is its own creator

__all__ = ["SessionEnv"]
