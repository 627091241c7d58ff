# %% [markdown]
# # Icarus in ten minutes
#
# Step a session by hand, branch it, look inside the client, run many at once, follow a treatment, record and replay it. The
# client is a simulator and the judge measures text: research software, not for clinical use.
#
# Runs as it stands (`python docs/tutorial.py`), also cell by cell in an editor that knows `# %%`.

# %%
import tempfile
from pathlib import Path

import gymnasium
import numpy as np

import envs  # registers icarus/Session-v0, icarus/Treatment-v0 and icarus/Skills-v0
from envs.recording import RecordTurns, read_turns
from envs.replay import write_replay
from envs.wrappers import DialogueHistory, RewardScaling

assert envs

# %% [markdown]
# ## A session
# Text in, text out. The observation is what a therapist could know; the truth is in `info`.

# %%
env = gymnasium.make("icarus/Session-v0", stage=2)
observation, info = env.reset(seed=7)
print(info["person"].describe(), "\n")
print("client:", observation["client"])

# %% [markdown]
# ## One client, three replies
# `evaluate` tells what each reply would do to this very client, at this very moment; nobody is changed by it.

# %%
replies = (
    "Six hours on it, and then it stayed with you. What were you afraid might happen if it went out as it was?",
    "Next time, set a timer for ten minutes and just press send.",
    "Everybody is a bit of a perfectionist. Anyway, let us fill in this form.",
)
session = env.unwrapped
for reply, outcome in zip(replies, session.evaluate(replies), strict=True):
    print(f"{outcome.reward:+6.1f} points, judged {outcome.composite:.1f} of 10: {reply}")

# %% [markdown]
# `snapshot` and `restore` go back, as often as you like: two futures of one client, and what differs between them.

# %%
here = session.snapshot()
env.step(replies[0])
kind = session.client_view
session.restore(here)
env.step(replies[2])
print(kind.diff(session.client_view))

# %% [markdown]
# ## Why did it move?
# Every change is traced: by which scores, over which edges, through which reservoir. The parts add up.

# %%
session.restore(here)
observation, reward, terminated, truncated, info = env.step(replies[0])
print({name: round(points, 2) for name, points in info["reward_parts"].items() if points})
print(session.client_view.explain("trust_capacity"))

# %% [markdown]
# ## For learners
# Wrappers: the last exchanges in the observation, a reward of about -1 to 1. Raw parts stay in `info`.

# %%
learner = RewardScaling(DialogueHistory(gymnasium.make("icarus/Session-v0"), length=4))
observation, info = learner.reset(seed=1)
observation, reward, *_, info = learner.step("I am glad you came. Where would you like to begin?")
print(f"reward {reward:.2f} (raw {info['raw_reward']:.2f}), {len(observation['history'])} exchange in the observation")

# %% [markdown]
# ## Many at once
# The numeric environment runs thousands of clients as one batch; the text environments batch their calls of judge and voice.
# Sub-environment i is the single environment with seed s + i, bit for bit.

# %%
many = gymnasium.make_vec("icarus/Skills-v0", num_envs=1000, vectorization_mode="vector_entry_point")
observations, _ = many.reset(seed=0)
total = np.zeros(1000)
for _ in range(20):
    observations, rewards, *_ = many.step(many.action_space.sample())
    total += rewards
print(
    f"a therapist who acts at random: {total.mean():.0f} points a session, from {total.min():.0f} to {total.max():.0f}"
)

# %% [markdown]
# ## A treatment, recorded
# Sessions back to back, a week apart, until a planned ending, a drop-out, or the sessions that were agreed on.

# %%
folder = Path(tempfile.mkdtemp())
treatment = RecordTurns(
    gymnasium.make("icarus/Treatment-v0", max_turns=4, max_sessions=2, stage=3), folder / "turns.jsonl"
)
observation, info = treatment.reset(seed=3)
over = False
while not over:
    reply = f"I hear how much is in that: “{observation['client'][:60]}”. What would you like me to understand?"
    observation, reward, terminated, truncated, info = treatment.step(reply)
    over = terminated or truncated
    if "session_ended" in info:
        print("session over:", info["session_ended"]["ending"], "- alliance", round(info["alliance"], 2))
treatment.close()
print("treatment:", info["treatment_ending"], "-", len(read_turns(folder / "turns.jsonl")), "turns recorded")

# %% [markdown]
# One page, to read: the dialogue beside phase, reservoirs, axes, and where each point of reward came from.

# %%
write_replay(folder / "turns.jsonl", folder / "replay.html")
print(f"{(folder / 'replay.html').stat().st_size / 1000:.0f} kB, no network needed: {folder / 'replay.html'}")
