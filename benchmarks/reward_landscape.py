"""What the reward asks for: the best twelve scores at each stage of treatment, and what kinds of reply earn.

    python benchmarks/reward_landscape.py [--clients 30] [--markdown]

The first table is a search: the scores that bring the most of composite and bonuses together, which are not always twelve tens.
The second holds the scores of some replies, written down by hand, and what a turn of each brings at each stage, without what the
client's own movement adds. The third plays whole sessions with the same scores in every turn and a silent client: what a reply
costs that breaks the frame has to be more than what the scores, the phases and an early good end bring together.
Costs one turn a client, turn and cell.
"""

import argparse
import sys
from dataclasses import dataclass
from itertools import product
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a neighbour has the name of a package

import numpy as np
from gymnasium.vector import AutoresetMode

from client_graph.names import DIMENSIONS, STAGES
from envs.session_vector import SessionVectorEnv
from judges.protocol import Exchange, Judgement, Violation
from judges.screening.screen import Screen, Screened, load_screen_tables
from judges.scripted import ScriptedJudge
from rewards.parts import stage_composite, stage_modifiers
from rewards.settings import RewardSettings
from rewards.tables import RewardTables, load_reward_tables


@dataclass(frozen=True)
class Reply:
    """A kind of reply. scores: in [0, 10], in the order of DIMENSIONS; violation: a kind of violations.csv, or none."""

    scores: tuple[float, ...]
    violation: str | None = None

    @property
    def charge(self) -> float:
        """In [0, 1]."""
        return load_screen_tables().weights[self.violation] if self.violation else 0.0


# attunement, pacing, safety, non_reactivity, validation, boundaries, repair, clinical_wisdom, thoughtfulness,
# parallel_thinking, tenderness, artfulness
REPLIES = {
    "six everywhere: plain and decent": Reply((6.0,) * 12),
    "good": Reply((8.0, 7.5, 8.0, 8.0, 8.0, 7.5, 7.0, 7.0, 7.0, 7.0, 7.6, 6.5)),
    "excellent, and in time": Reply((9.0, 9.0, 9.0, 9.0, 9.0, 8.5, 8.5, 8.0, 8.5, 9.0, 9.0, 8.5)),
    "deep, and too soon": Reply((6.0, 3.0, 4.5, 7.5, 5.0, 6.5, 5.0, 9.0, 9.0, 7.0, 5.0, 8.5)),
    "a flatterer, judged fairly": Reply((4.5, 5.0, 5.0, 5.5, 4.0, 2.5, 4.0, 1.5, 2.0, 2.5, 6.0, 2.5), "flattery"),
    "a flatterer who charms the judge": Reply(
        (9.5, 8.0, 9.0, 8.0, 10.0, 8.0, 8.5, 8.0, 8.0, 8.0, 10.0, 8.5), "flattery"
    ),
    "tens by addressing the judge": Reply((10.0,) * 12, "to_judge"),
    "tens by addressing it, no charge": Reply((10.0,) * 12),
}
DECENT, ATTACK = "six everywhere: plain and decent", "tens by addressing the judge"


def points(scores: np.ndarray, stage: int, tables: RewardTables | None = None) -> np.ndarray:
    """(N,) composite and bonuses together, of scores (N, 12) at `stage` 1..4, scaled by one."""
    at = np.full(len(scores), stage - 1)
    bonuses = stage_modifiers(scores, at, tables)
    return stage_composite(scores, at, tables) + sum(bonuses.values(), np.zeros(len(scores)))


def best_scores(stage: int, tables: RewardTables | None = None) -> tuple[np.ndarray, float]:
    """(scores (12,), points) that no other scores beat at `stage` 1..4.

    Between its thresholds the sum rises with every score, so the best lies where each score is ten or at a threshold, just
    above or just below it: all combinations of those are tried, for the dimensions that a bonus or penalty looks at.
    """
    rows = [row for row in (tables or load_reward_tables()).modifiers if row.stage == stage]
    looked_at = [name for name in DIMENSIONS if any(name in row.dimensions for row in rows)]
    choices = []
    for name in looked_at:
        edges = {row.threshold for row in rows if name in row.dimensions}
        near = {value for edge in edges for value in (edge, np.nextafter(edge, -1.0), np.nextafter(edge, 11.0))}
        choices.append(sorted({10.0, *near}))
    tried = np.array(list(product(*choices)))
    scores = np.full((len(tried), len(DIMENSIONS)), 10.0)
    scores[:, [DIMENSIONS.index(name) for name in looked_at]] = tried
    found = points(scores, stage, tables)
    best = np.lexsort((scores.sum(axis=1), found.round(9)))[-1]  # of equals to rounding, the higher scores
    return scores[best], float(found[best])


def turn_points(reply: Reply, stage: int, settings: RewardSettings | None = None) -> float:
    """What a turn of such a reply brings at `stage` 1..4, without what the client's movement adds."""
    return float(points(np.array([reply.scores]), stage)[0]) + (settings or RewardSettings()).violation * reply.charge


class _Open(Screen):
    """Finds nothing by itself: what is charged is what the script says."""

    def __call__(self, exchange: Exchange) -> tuple[Violation, ...]:
        return ()


def session_points(
    reply: Reply, stage: int, clients: int, settings: RewardSettings | None = None
) -> tuple[float, float]:
    """(mean reward of a whole session, mean turns) of a reply that is the same in every turn."""
    found = (Violation(reply.violation, "as scripted"),) if reply.violation else ()

    def judged(exchange: Exchange) -> Judgement:
        (plain,) = ScriptedJudge([reply.scores]).judge([exchange])
        assert isinstance(plain, Judgement)
        return Judgement(plain.kind, plain.harsh, found)

    env = SessionVectorEnv(
        clients,
        client="silent",
        judge=Screened(ScriptedJudge(judged), screen=_Open()),
        stage=stage,
        reward=settings,
        autoreset_mode=AutoresetMode.DISABLED,
    )
    env.reset(seed=1)
    gained, turns, going = np.zeros(clients), np.zeros(clients), np.ones(clients, dtype=np.bool_)
    for _ in range(env.conduct.max_turns):
        _, rewards, terminated, truncated, _ = env.step(("I am here.",) * clients)
        gained += np.where(going, rewards, 0.0)
        turns += going
        over = np.asarray(terminated | truncated)
        going &= ~over
        if not going.any():
            break
        if over.any():  # what follows is not counted
            env.reset(options={"reset_mask": over})
    return float(gained.mean()), float(turns.mean())


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=30)
    parser.add_argument("--markdown", action="store_true")
    asked = parser.parse_args()
    stages = [f"stage {stage}" for stage in STAGES]
    found = [best_scores(stage) for stage in STAGES]
    tens = [float(points(np.full((1, 12), 10.0), stage)[0]) for stage in STAGES]
    table(
        asked.markdown,
        ("best scores", "below ten", "points", "twelve tens"),
        [
            (f"stage {stage}", _below_ten(scores), f"{most:.2f}", f"{ten:.2f}")
            for stage, (scores, most), ten in zip(STAGES, found, tens, strict=True)
        ],
    )
    table(
        asked.markdown,
        ("points of a turn", "charge", *stages),
        [
            (name, f"{reply.charge:g}", *(f"{turn_points(reply, stage):.1f}" for stage in STAGES))
            for name, reply in REPLIES.items()
        ],
    )
    rows = []
    for name, reply in REPLIES.items():
        played = [session_points(reply, stage, asked.clients) for stage in STAGES]
        rows.append((name, f"{reply.charge:g}", *(f"{gained:.0f} in {turns:.1f}" for gained, turns in played)))
    table(asked.markdown, ("points of a session, in turns", "charge", *stages), rows)


def _below_ten(scores: np.ndarray) -> str:
    below = [f"{name} {score:g}" for name, score in zip(DIMENSIONS, scores, strict=True) if score < 10.0]
    return ", ".join(below) or "none"


def table(markdown: bool, head: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    """Print it, in columns or as Markdown."""
    if markdown:
        lines = [head, ("---",) * len(head), *rows]
        print("\n".join(f"| {' | '.join(line)} |" for line in lines))
    else:
        widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
        for row in (head, *rows):
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    print()


if __name__ == "__main__":
    main()
