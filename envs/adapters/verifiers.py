"""icarus/Session-v0 as a verifiers (v1) taskset and environment: a seed is a task, the client is the user.

verifiers finds a plugin by the name of a top-level module that says `__all__`. Write `icarus_session.py` beside your run:

    from envs.adapters.verifiers import TherapyEnv, TherapyTaskset, __all__

and name it: `--env.taskset.id icarus_session`.

What is mapped to what. A task -> a seed, with stage, strategy and concern where wished: its rollouts meet one client. The
task has no prompt: the client opens the conversation, as the user. A reply of the agent "therapist" -> one `step`; the
client's answer is the next user turn. When the session is over the exchange is closed: the client's last words are in
`trace.info["last_words"]`. Rewards -> each reward part's sum over the session under its own name, weight 1, in points;
their sum is the session's reward. Metrics -> `turns`. `trace.info["ending"]` -> SessionEnv's, None where the agent's own
limits ended the exchange first.

A judge or a voice that fails, or a reply that nobody can say (above 8,000 characters), fails the episode with no reward:
verifiers asks for it again as `--env.retries` says. SessionEnv runs in a thread, so that a judge that waits for a server
stops nobody. Not mapped: `evaluate`, several sessions with one client, private reasoning that a provider keeps apart.
"""

import asyncio
from collections.abc import Iterator
from itertools import count
from typing import Any

from envs.adapters import missing
from envs.arguments import WISHES
from envs.session import SessionEnv
from rewards.parts import RewardParts

try:
    import verifiers.v1 as vf  # type: ignore[import-not-found,unused-ignore]  # an extra
except ImportError as error:
    raise missing("verifiers (0.4 or newer)", "verifiers") from error

__all__ = ["TherapyEnv", "TherapyTaskset"]

SYSTEM = "You are a therapist in session. What you write is what the client hears. Reply as you would speak."


class TherapyConfig(vf.TasksetConfig):  # type: ignore[misc,unused-ignore]
    """Which clients: seeds from `first_seed` on, without end; None draws stage, strategy and concern from the seed."""

    first_seed: int = 0
    stage: int | None = None
    strategy: str | None = None
    concern: str | None = None


class TherapyData(vf.TaskData):  # type: ignore[misc,unused-ignore]
    """One client: SessionEnv's seed and reset options."""

    seed: int
    wishes: dict[str, Any]


class TherapyTask(vf.Task[TherapyData, vf.State, vf.TaskConfig]):  # type: ignore[misc,unused-ignore]
    """Nothing to set up: the environment scores."""


class TherapyTaskset(vf.Taskset[TherapyTask, TherapyConfig]):  # type: ignore[misc,unused-ignore]
    """A task a seed."""

    INFINITE = True

    def load(self) -> Iterator[TherapyTask]:
        """Tasks in the order of their seeds."""
        asked = {name: getattr(self.config, name) for name in WISHES}
        wishes = {name: wish for name, wish in asked.items() if wish is not None}
        for seed in count(self.config.first_seed):
            data = TherapyData(name=f"seed {seed}", system_prompt=SYSTEM, seed=seed, wishes=wishes)
            yield TherapyTask(data, self.config.task)


class TherapyEnvConfig(vf.EnvConfig):  # type: ignore[misc,unused-ignore]
    """Who plays, and how long a session is."""

    therapist: vf.AgentConfig = vf.AgentConfig(harness={"id": "null"})
    max_turns: int = 20


class TherapyEnv(vf.Env[TherapyEnvConfig]):  # type: ignore[misc,unused-ignore]
    """One session an episode. Research software: a simulator, not for clinical use."""

    def session(self) -> SessionEnv:
        """A session of its own for every episode; override it for another judge, client or tables."""
        return SessionEnv(max_turns=self.config.max_turns)

    async def run(self, task: Any, agents: Any) -> None:
        """The client speaks, the therapist answers, until one of them ends it."""
        env = await asyncio.to_thread(self.session)
        observation, _ = await asyncio.to_thread(env.reset, seed=task.data.seed, options=dict(task.data.wishes))
        parts, turns, ending = dict.fromkeys(RewardParts._fields, 0.0), 0, None
        async with agents.therapist.interaction(task) as interaction:
            while ending is None:
                segment = await interaction.turn(observation["client"])
                if segment.terminated:
                    break
                observation, _, _, _, info = await asyncio.to_thread(env.step, segment.last_reply)
                parts = {name: points + info["reward_parts"][name] for name, points in parts.items()}
                turns, ending = turns + 1, info["ending"]
        trace = interaction.trace
        for name, points in parts.items():
            trace.record_reward(name, points, 1.0)
        trace.record_metric("turns", float(turns))
        trace.info.update(ending=ending, last_words=observation["client"])
