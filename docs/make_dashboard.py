"""Draw docs/dashboard.png: what render_mode="rgb_array" shows after a few turns of one offline session.

Run from the repository: python docs/make_dashboard.py [FILE]
"""

import sys
from pathlib import Path

import gymnasium
import numpy as np
from matplotlib.image import imsave

import envs

REPLIES = (
    "Setting the table for two. You lived that way for eleven years. What is it like at that table in the evening?",
    "Then let us begin with the practical side. Where would you like to start?",
    "That sounds like a careful way of keeping something safe. We can go at the pace that suits you.",
    "You get along, and you keep most of it to yourself, and lately that has begun to feel lonely. What made you begin to mind?",
)


def main(path: Path) -> None:
    gymnasium.register_envs(envs)
    env = gymnasium.make("icarus/Session-v0", stage=2, render_mode="rgb_array")
    env.reset(seed=22, options={"concern": "after_divorce", "strategy": "B2"})
    for reply in REPLIES:
        env.step(reply)
    imsave(path, np.asarray(env.render()), metadata={"Software": ""})
    print(path)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "dashboard.png")
