"""icarus/Session-v0 in the form that TRL's GRPOTrainer takes as `environment_factory`: an object with `reset` and tools.

    from functools import partial
    trainer = GRPOTrainer(model=..., train_dataset=Dataset.from_list(rows(range(64))), reward_funcs=[],
                          environment_factory=partial(TherapyTool, max_turns=8, catalog=load_catalog()), args=...)

What is mapped to what. A dataset row -> `reset(**row)`: its `seed` is SessionEnv's, so that the generations of one group
meet one client; `stage`, `strategy` and `concern` are its options; other columns are none of ours. The client's first
words are added to the end of the row's last message. The tool `say` -> one `step`: its result is the client's answer.
The reward of a rollout -> `get_reward()`: the sum of all turns' points. TRL leaves what the model writes outside of `say`
unspoken: the client does not hear it and the judge does not read it.

A model that never calls `say` has 0 points, which is more than a poor session's. A judge or a client voice that fails
ends the session: the rollout's reward is None, which TRL (tested with 1.16) leaves out of its group. Give
`max_completion_length` room for a whole session, both sides' words: TRL drops an answer that does not fit. Nothing here
imports TRL.
Not mapped: private reasoning (TRL gives a tool only its arguments), `evaluate`, several sessions with one client, TRL's
`rollout_func`, which leaves generation to its author.
"""

from collections.abc import Callable, Iterable
from typing import Any

from gymnasium.error import InvalidAction

from envs.arguments import WISHES
from envs.session import SessionEnv
from rewards.parts import RewardParts

SYSTEM = (
    "You are a therapist in session. Whatever you want the client to hear, say it with the tool say, and read the answer "
    "before you go on. Stop when the session is over."
)
OPENS = "The client sits down and says:\n\n"
OVER = "\n\n(The session is over.)"


class TherapyTool:
    """One session at a time, behind the tool `say`. Research software: a simulator, not for clinical use.

    `turns` counts replies, `parts` sums each reward part in points, `ending` is SessionEnv's ("left", "closed_well",
    "turn_limit"), None while it runs; `failure` says why there is no reward, None where there is one.

    Args:
        session: settings of SessionEnv. Give `catalog` once loaded: TRL makes one environment for each generation.
    """

    def __init__(self, **session: Any) -> None:
        self._env = SessionEnv(**session)
        self._begin()

    def _begin(self) -> None:
        self.turns, self._over = 0, False
        self.parts = dict.fromkeys(RewardParts._fields, 0.0)
        self.ending: str | None = None
        self.failure: str | None = None

    def reset(
        self,
        seed: int | None = None,
        stage: int | None = None,
        strategy: str | None = None,
        concern: str | None = None,
        **row: Any,
    ) -> str:
        """A new session; the client's first words. Raises ValueError for a wish that SessionEnv refuses."""
        if seed is None:
            raise ValueError(
                f"found a row of {sorted(row)}; expected a seed, so that a group meets one client: see rows()"
            )
        wishes = dict(zip(WISHES, (stage, strategy, concern), strict=True))
        asked = {name: wish for name, wish in wishes.items() if wish is not None}
        observation, _ = self._env.reset(seed=seed, options=asked)
        self._begin()
        return str(observation["client"])

    def say(self, words: str) -> str:
        """
        Say something to the client and hear what the client answers.

        Args:
            words: What you say aloud to the client, in your own words.

        Returns:
            What the client answers.
        """
        if self._over:
            raise ValueError("The session is over. The client has left the room; say nothing more.")
        try:
            observation, _, terminated, truncated, info = self._env.step(words)
        except InvalidAction:
            raise  # TRL tells the model what was wrong; the client heard nothing and the session goes on
        except Exception as error:  # TRL would go on, with a turn that no reward tells of
            self._over, self.failure = True, f"{type(error).__name__}: {error}"
            raise
        self.turns += 1
        for name, points in info["reward_parts"].items():
            self.parts[name] += points
        self.ending = info["ending"]
        self._over = terminated or truncated
        return str(observation["client"]) + (OVER if self._over else "")

    def get_reward(self) -> float | None:
        """Points of the session so far; None where a judge or a voice failed, and there is nothing to learn from."""
        return None if self.failure else sum(self.parts.values())


def part_reward(name: str) -> Callable[..., list[float | None]]:
    """A TRL reward function that reports one reward part in points: give it weight 0 to log it beside the whole."""
    if name not in RewardParts._fields:
        raise ValueError(f"found reward part {name!r}; expected one of {RewardParts._fields}")

    def reward(environments: list[TherapyTool], **_: Any) -> list[float | None]:
        return [None if env.failure else env.parts[name] for env in environments]

    reward.__name__ = name
    return reward


def rows(seeds: Iterable[int], system: str = SYSTEM, **wishes: Any) -> list[dict[str, Any]]:
    """A dataset: a row a seed, the prompt in chat messages, and `stage`, `strategy` or `concern` where wished."""
    if unknown := set(wishes) - set(WISHES):
        raise ValueError(f"found wishes {sorted(unknown)}; expected {', '.join(WISHES)}")
    prompt = [{"role": "system", "content": system}, {"role": "user", "content": OPENS}]
    return [{"prompt": [dict(message) for message in prompt], "seed": int(seed), **wishes} for seed in seeds]
