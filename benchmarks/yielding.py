"""How fast does the client yield to bland kindness? The same clients with four therapists who never learn.

    python benchmarks/yielding.py [--clients 24] [--turns 12] [--write]

bland: kind sentences that could be said to anybody. advice: what to do about it. silence: "Mm." attentive: of sixteen authored
replies to other clients, the one that the judge scores highest for this client now (`evaluate`), which is not a good therapist
either. Session-v0 with the default client and judge; shares of clients that have come to phase B or further by turn 4, 8 and the
last, and what moved. `--write` writes docs/yielding.md.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a neighbour has the name of a package

import gymnasium
import numpy as np

from client_graph.files import write_whole
from envs.session import SessionEnv
from judges.offline.embedding import EmbeddingJudge
from judges.pairs import PAIRS, read_pairs
from judges.protocol import JudgeFailure

DOCS = Path(__file__).resolve().parent.parent / "docs"
BLAND = (
    "Thank you for sharing that with me.", "That must be really hard for you.", "I'm so sorry you're going through this.",
    "Your feelings are completely valid.", "You are so strong for talking about this.", "I'm here for you, always.",
    "It's okay to feel that way.", "You're doing so well.", "I really appreciate your honesty.", "You are not alone in this.",
    "Take all the time you need.", "I can only imagine how that feels.",
)  # fmt: skip
ADVICE = (
    "Have you tried writing it down every evening?", "You should talk to them about it openly.", "Try to get more sleep first.",
    "Maybe take up some exercise, it helps many people.", "Make a list of what is good in your life.",
    "You need to set clear boundaries.", "Count to ten when it comes up.", "I would change the job, to be honest.",
    "Just try to think about something else.", "There are good apps for that.", "Go out more, meet people.",
    "Let it go, it's over.",
)  # fmt: skip
SILENCE = ("Mm.",)


@dataclass(frozen=True)
class Course:
    """What became of one client. opened: the turn at which phase B was reached, None if never."""

    opened: int | None
    composite: float
    alliance: float  # change
    coiling: float  # change
    left: bool


def attentive(choices: tuple[str, ...]) -> Callable[[SessionEnv, int], str]:
    def reply(env: SessionEnv, turn: int) -> str:
        found = env.evaluate(list(choices))
        worth = [-np.inf if isinstance(one, JudgeFailure) else one.judgement.composite for one in found]
        return choices[int(np.argmax(worth))]

    return reply


def in_turn(sentences: tuple[str, ...]) -> Callable[[SessionEnv, int], str]:
    return lambda env, turn: sentences[turn % len(sentences)]


def course(env: SessionEnv, reply: Callable[[SessionEnv, int], str], seed: int, turns: int) -> Course:
    _, info = env.reset(seed=seed)
    start: dict[str, Any] = info
    opened, scores = None, []
    for turn in range(turns):
        _, _, terminated, truncated, info = env.step(reply(env, turn))
        scores.append(float(np.mean(info["scores"])))
        if opened is None and info["phase"] != "A":
            opened = turn + 1
        if terminated or truncated:
            break
    return Course(
        opened,
        float(np.mean(scores)),
        info["alliance"] - start["alliance"],
        info["coiling"] - start["coiling"],
        info["ending"] == "left",
    )


HEAD = (
    "| therapist | judged | open by turn 4 | by turn 8 | by the end | alliance | coiling | left |\n|---|" + "--:|" * 7
)


def line(name: str, courses: list[Course]) -> str:
    by = [np.mean([c.opened is not None and c.opened <= turn for c in courses]) for turn in (4, 8, 10**6)]
    means = [np.mean([getattr(c, what) for c in courses]) for what in ("composite", "alliance", "coiling", "left")]
    opened = " | ".join(f"{share:.0%}" for share in by)
    return f"| {name} | {means[0]:.2f} | {opened} | {means[1]:+.3f} | {means[2]:+.3f} | {means[3]:.0%} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--write", action="store_true", help="write docs/yielding.md")
    asked = parser.parse_args()
    made = gymnasium.make(
        "envs:icarus/Session-v0", judge=EmbeddingJudge(), max_turns=asked.turns, disable_env_checker=True
    )
    env = made.unwrapped
    assert isinstance(env, SessionEnv)
    pairs = read_pairs(PAIRS)
    choices = tuple(pair.better for pair in pairs[:: len(pairs) // 16][:16])
    therapists = {
        "bland": in_turn(BLAND), "advice": in_turn(ADVICE), "silence": in_turn(SILENCE), "attentive": attentive(choices),
    }  # fmt: skip
    print(HEAD)
    lines = []
    for name, reply in therapists.items():
        lines.append(line(name, [course(env, reply, seed, asked.turns) for seed in range(asked.clients)]))
        print(lines[-1], flush=True)
    if asked.write:
        text = (
            "# How fast the client yields\n\nMade by `benchmarks/yielding.py`, whose first lines say who the therapists are: "
            f"{asked.clients} clients, {asked.turns} turns; alliance and coiling as change over the session (coiling: lower is "
            "better).\n\n"
        )
        write_whole(DOCS / "yielding.md", (text + "\n".join([HEAD, *lines]) + "\n").encode())


if __name__ == "__main__":
    main()
