"""Gymnasium wrappers: what was said before, for a policy without memory; what is true, for a critic; the reward's unit.

Each goes on a single environment, also as `gymnasium.make_vec(id, n, vectorization_mode="sync", wrappers=[...])`, and is
recorded in `env.spec`, so that `gymnasium.make(env.spec)` builds the same stack. On the batched environments
(`vectorization_mode="vector_entry_point"`) goes VectorRewardScaling.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict
from gymnasium.spaces import Sequence as SequenceSpace
from gymnasium.utils import RecordConstructorArgs

from client_graph.catalog import Catalog
from client_graph.client import ClientGraph
from client_graph.names import AXES, LOA_DIMENSIONS, PHASES, STAGE_NAMES, STANCES
from envs.scaling import RewardScaling, VectorRewardScaling
from envs.text import UnicodeText
from judges.protocol import Turn

__all__ = ["DialogueHistory", "GroundTruth", "RewardScaling", "VectorRewardScaling", "chat_messages"]

SHARES = ("coiling", "alliance", "attunement")


class DialogueHistory(gym.ObservationWrapper[Any, Any, Any], RecordConstructorArgs):
    """The observation gains `history`: the last `length` exchanges of this session, so that a policy needs no memory.

    `history` is a tuple, oldest first, of {"client": words, "therapist": words}: what was said aloud. It is empty when a
    session opens, and the client's newest words stay where they were, in `client`. It is read from the environment, so
    it is right after a branch too: `env.observation(env.unwrapped.restore(snapshot))`. AsyncVectorEnv wants
    `shared_memory=False`, as the text environments do anyway.

    Args:
        env: an environment whose observation is a Dict and whose `unwrapped.history` holds the turns so far.
        length: exchanges kept, at least 1.
    """

    def __init__(self, env: gym.Env[Any, Any], length: int = 8) -> None:
        RecordConstructorArgs.__init__(self, length=length)
        gym.ObservationWrapper.__init__(self, env)
        spaces = _spaces(env)
        if length < 1:
            raise ValueError(f"found length {length}; expected at least 1 exchange")
        if not env.has_wrapper_attr("history"):
            raise TypeError(
                f"found {env.unwrapped}, which has no history of what was said; expected icarus/Session-v0 or Treatment-v0"
            )
        self.length = length
        exchange = Dict(client=UnicodeText(), therapist=UnicodeText())
        self.observation_space = Dict({**spaces, "history": SequenceSpace(exchange)})

    def observation(self, observation: dict[str, Any]) -> dict[str, Any]:
        """The observation with the exchanges before it."""
        turns: Sequence[Turn] = self.get_wrapper_attr("history")[-self.length :]
        spoken = tuple({"client": turn.client, "therapist": turn.therapist} for turn in turns)
        return {**observation, "history": spoken}


class GroundTruth(gym.ObservationWrapper[Any, Any, Any], RecordConstructorArgs):
    """For a critic that may know more than the actor: {"observation": what was observed, "truth": what is true}.

    `truth` holds arrays, float64, their entries named in `columns`: levels (n,) in [0, 10]; buckets (B,) in [0, 1]; loa (7,)
    and axes (3,) in [-10, 10]; phase, deepest_phase, stage (4,) and stance (3,) one-hot; shares (3,) in [0, 1]: coiling,
    alliance, attunement. A policy that reads `truth` may not be compared with others: no therapist sees it.

    `gymnasium.spaces.flatten(env.truth_space, truth)` makes one vector, whose names are `flat_columns`. After a branch,
    `env.observation(env.unwrapped.restore(snapshot))` has the truth of the client that was restored.

    Args:
        env: icarus/Session-v0, Treatment-v0 or Skills-v0: its `unwrapped.client_view` is the true client.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)
        gym.ObservationWrapper.__init__(self, env)
        bare: Any = env.unwrapped
        self.columns = truth_columns(bare.catalog if hasattr(bare, "catalog") else bare.sessions.catalog)
        self.truth_space = truth_space(self.columns)
        self.observation_space = Dict(observation=env.observation_space, truth=self.truth_space)

    @property
    def flat_columns(self) -> tuple[str, ...]:
        """A name for every entry of the flattened truth, in its order: "levels/trust_capacity"."""
        return tuple(f"{part}/{name}" for part in self.truth_space for name in self.columns[part])

    def observation(self, observation: Any) -> dict[str, Any]:
        """The observation beside the truth of the same moment."""
        return {"observation": observation, "truth": truth_of(self.get_wrapper_attr("client_view"))}


def truth_columns(catalog: Catalog) -> dict[str, tuple[str, ...]]:
    """The names of the entries of every array of the truth."""
    return {
        "axes": AXES, "buckets": catalog.bucket_names, "deepest_phase": PHASES, "levels": catalog.node_names,
        "loa": LOA_DIMENSIONS, "phase": PHASES, "shares": SHARES, "stage": STAGE_NAMES, "stance": STANCES,
    }  # fmt: skip


def truth_space(columns: Mapping[str, tuple[str, ...]]) -> Dict:
    """Boxes for those columns; units in GroundTruth."""
    ranges = {"axes": (-10.0, 10.0), "levels": (0.0, 10.0), "loa": (-10.0, 10.0)}
    return Dict(
        {name: Box(*ranges.get(name, (0.0, 1.0)), (len(names),), np.float64) for name, names in columns.items()}
    )


def truth_of(view: ClientGraph) -> dict[str, np.ndarray]:
    """What is true of a client, as a member of `truth_space`; the arrays are the caller's own."""
    state, client = view.state, view.index
    return {
        "axes": state.axes[client].copy(),
        "buckets": state.buckets[client].copy(),
        "deepest_phase": np.eye(len(PHASES))[state.deepest_phase[client]],
        "levels": state.levels[client].copy(),
        "loa": state.loa[client].copy(),
        "phase": np.eye(len(PHASES))[state.phase[client]],
        "shares": np.array([view.coiling, view.alliance, view.attunement]),
        "stage": np.eye(len(STAGE_NAMES))[state.stage[client]],
        "stance": np.eye(len(STANCES))[state.stance[client]],
    }


def _spaces(env: gym.Env[Any, Any]) -> dict[str, gym.Space[Any]]:
    if not isinstance(env.observation_space, Dict):
        raise TypeError(
            f"found observations of {env.observation_space}; expected a Dict, as the text environments have"
        )
    return dict(env.observation_space.spaces)


def chat_messages(
    observation: Mapping[str, Any], history: Iterable[Turn | Mapping[str, str]] | None = None, system: str | None = None
) -> list[dict[str, str]]:
    """A session as chat messages for a therapist model: the client is "user", the therapist "assistant".

    `history` is `env.unwrapped.history`, or exchanges as DialogueHistory gives them; where it is None, the observation's
    own. The last message is the client's newest words, which the model is to answer. `system` goes first where given.
    """
    messages = [] if system is None else [{"role": "system", "content": system}]
    for past in observation.get("history", ()) if history is None else history:
        client, therapist = (
            (past.client, past.therapist) if isinstance(past, Turn) else (past["client"], past["therapist"])
        )
        messages += [{"role": "user", "content": client}, {"role": "assistant", "content": therapist}]
    return [*messages, {"role": "user", "content": observation["client"]}]
