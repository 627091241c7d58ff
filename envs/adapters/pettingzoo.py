"""icarus/Session-v0 as a game of two agents in PettingZoo's AEC form, so that a client that speaks may be a model too.

    client speaks -> therapist replies -> the judge moves the client -> client speaks -> ...

What is mapped to what. The simulated person is SessionEnv's own: the judge scores the therapist's reply and moves the
person's state, whoever lends them a voice. The agent "client" is that voice: its action is what the client says, its
observation is the person's true state. The agent "therapist" has SessionEnv's action, observation, reward and info.
When the reply ends the session the client still has its last words; then both agents are done. A client agent that says
what SessionEnv's own voice would say makes the same session, bit for bit.

There is no parallel form: each speaks to what the other has just said, and moves made at once would answer nothing.
Not mapped: icarus/Treatment-v0, several clients at once, `snapshot` and `restore`; `session_env.evaluate` may be asked where
the therapist is to speak.
"""

import warnings
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from typing import Any

import numpy as np
from gymnasium.error import InvalidAction, ResetNeeded
from gymnasium.spaces import Dict, Discrete, Space, flatten

from envs.adapters import missing
from envs.arguments import WISHES
from envs.session import SessionEnv
from envs.text import UnicodeText, therapist_words
from envs.types import Snapshot
from envs.voice import SpeakingTurn, Utterance, VoiceFailure, private_reasoning
from envs.wrappers import truth_columns, truth_of, truth_space

try:
    from pettingzoo import AECEnv  # type: ignore[import-not-found,import-untyped,unused-ignore]  # an extra
    from pettingzoo.utils.wrappers import OrderEnforcingWrapper  # type: ignore[import-not-found,import-untyped,unused-ignore]
except ImportError as error:
    raise missing("pettingzoo", "pettingzoo") from error

CLIENT, THERAPIST = "client", "therapist"
MOMENTS = ("opening", "ordinary", "moved", "hurt", "closing")
MODES = ["ansi", "rgb_array"]
OPTIONS = ("same_client", *WISHES)


class _WaitingVoice:
    """Stands where a client's voice would: keeps what it may know, and leaves the words to the agent."""

    name = "the client agent"
    turn: SpeakingTurn | None = None

    def speak(self, turns: Sequence[SpeakingTurn]) -> list[Utterance | VoiceFailure]:
        self.turn = turns[0]
        return [Utterance("", "")]


class TherapyAEC(AECEnv):  # type: ignore[misc,unused-ignore]  # untyped where pettingzoo is absent
    """One session between the agents "client" and "therapist". Research software: a simulator, not for clinical use.

    Actions: text of up to 8,000 characters for both; a leading <think>…</think> is kept private (the judge reads the
    therapist's; `infos["therapist"]["client_reasoning"]` keeps the client's).

    Observation of the therapist: SessionEnv's. Of the client: `therapist`, the words it has just heard ("" at the
    opening); `turn`, completed turns; `session`, from 1; `moment`, how the reply landed (0..4, MOMENTS); `self_knowledge`, what
    is true of it in the catalog's sentences; `truth`, its state in arrays (envs.wrappers.GroundTruth has the units). Its
    info has `person` (name, history, concern, an opening line) and `moment` in words.

    Rewards, in points: the therapist's are SessionEnv's, given at its own step. The client's are 0, or the therapist's
    with `client_reward="shared"`; no reward is offered for being hard to reach.

    Seeds: `reset(seed=s)` draws the person that SessionEnv draws with `seed=s`. Options stage, strategy, concern and
    same_client go to SessionEnv; others are ignored with a warning, since PettingZoo shares one dict among wrappers.

    Args:
        client_reward: "none" or "shared".
        session: settings of SessionEnv, without `client`.
    """

    metadata = {"name": "icarus_session_v0", "render_modes": MODES, "is_parallelizable": False}  # noqa: RUF012

    def __init__(self, client_reward: str = "none", **session: Any) -> None:
        super().__init__()
        if client_reward not in ("none", "shared"):
            raise ValueError(f'found client_reward {client_reward!r}; expected "none" or "shared"')
        if "client" in session:
            raise TypeError(
                f"found client {session['client']!r}; expected none: what the client says is the action of the agent "
                '"client". A voice of yours can be that agent: voice.speak([env.speaking_turn])'
            )
        if session.get("render_mode") not in (None, *MODES):
            raise ValueError(f"found render_mode {session['render_mode']!r}; expected one of {MODES} or None")
        self._voice = _WaitingVoice()
        self.session_env = SessionEnv(client=self._voice, **session)
        self.render_mode = self.session_env.render_mode
        self.client_reward = client_reward
        self.possible_agents = [CLIENT, THERAPIST]
        self.agents: list[str] = []
        spaces = self.session_env.observation_space
        assert isinstance(spaces, Dict)
        self.truth_space = truth_space(truth_columns(self.session_env.catalog))
        own = Dict(
            therapist=UnicodeText(), turn=spaces["turn"], session=spaces["session"], moment=Discrete(len(MOMENTS)),
            self_knowledge=UnicodeText(), truth=self.truth_space,
        )  # fmt: skip
        self.observation_spaces = {CLIENT: own, THERAPIST: spaces}
        self.action_spaces = {CLIENT: UnicodeText(), THERAPIST: self.session_env.action_space}

    def observation_space(self, agent: str) -> Space[Any]:
        """The same object at every call."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Space[Any]:
        """The same object at every call."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """A new person, who is to speak first."""
        wishes = {name: value for name, value in (options or {}).items() if name in OPTIONS}
        if unknown := sorted(set(options or {}) - set(wishes)):
            warnings.warn(f"found reset options {unknown}, ignored; this environment has {OPTIONS}", stacklevel=2)
        observation, info = self.session_env.reset(seed=seed, options=wishes)
        self.agents = list(self.possible_agents)
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self._ended = False, False
        self._listen(observation, info)

    @property
    def speaking_turn(self) -> SpeakingTurn:
        """What a ClientVoice may know where the client is to speak: `voice.speak([env.speaking_turn])`."""
        if self._voice.turn is None:
            raise ResetNeeded("nobody speaks yet; call reset() first")
        return self._voice.turn

    def observe(self, agent: str) -> dict[str, Any]:
        """What the agent knows now."""
        if agent == THERAPIST:
            return deepcopy(self._observation)
        turn = self.speaking_turn
        return {
            "therapist": turn.history[-1].therapist if turn.history else "",
            "turn": self._observation["turn"],
            "session": self._observation["session"],
            "moment": np.int64(MOMENTS.index(turn.moment)),
            "self_knowledge": private_reasoning(turn.view),
            "truth": truth_of(turn.view),
        }

    def state(self) -> np.ndarray:
        """The person's true state as one vector, float64, in the order of `truth_space`."""
        return np.asarray(flatten(self.truth_space, truth_of(self.session_env.client_view)))

    def step(self, action: str | None) -> None:
        """The words of the agent whose turn it is; None where it is done. A refused action changes nothing."""
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            return
        reward = self._reply(action) if agent == THERAPIST else self._say(action)
        self._cumulative_rewards[agent] = 0.0
        self.rewards = {CLIENT: reward if self.client_reward == "shared" else 0.0, THERAPIST: reward}
        self._accumulate_rewards()

    def _reply(self, action: Any) -> float:
        """The therapist's half of a turn: the judge moves the person, who is then to speak."""
        observation, reward, terminated, truncated, info = self.session_env.step(action)
        self._ended = terminated, truncated
        if "session_assessment" in info:  # as a dict, which PettingZoo's seed_test can compare
            info["session_assessment"] = vars(info["session_assessment"])
        self._listen(observation, info)
        return reward

    def _listen(self, observation: dict[str, Any], info: dict[str, Any]) -> None:
        turn = self.speaking_turn
        self._observation = observation
        self.infos = {CLIENT: {"person": turn.person, "moment": turn.moment}, THERAPIST: info}
        self.agent_selection = CLIENT

    def _say(self, action: Any) -> float:
        """The client's half: its words take the place that the waiting voice left empty."""
        fault = (
            self.action_spaces[CLIENT].fault(action) if isinstance(action, str) else f"found a {type(action).__name__}"
        )
        if fault is not None:
            raise InvalidAction(f"{fault}, as the client's words; expected text. Nothing was changed")
        reasoning, words = therapist_words(action, self.action_spaces[CLIENT])
        kept = self.session_env.snapshot()
        spoken = replace(kept.session, words=words, reasoning=reasoning)
        self._observation = self.session_env.restore(Snapshot(spoken, kept.chance))
        self.infos[THERAPIST] = {**self.infos[THERAPIST], "client_reasoning": reasoning}
        self.terminations = dict.fromkeys(self.agents, self._ended[0])
        self.truncations = dict.fromkeys(self.agents, self._ended[1])
        self.agent_selection = THERAPIST
        return 0.0

    def render(self) -> Any:
        """SessionEnv's: text where render_mode is "ansi", a picture where it is "rgb_array"."""
        return self.session_env.render()

    def close(self) -> None:
        """Nothing is held."""
        self.session_env.close()


def env(**settings: Any) -> Any:
    """TherapyAEC in PettingZoo's check that methods are called in order."""
    return OrderEnforcingWrapper(TherapyAEC(**settings))
