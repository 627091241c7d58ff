"""How soon a client opens: turns to phase B and to phase C, by stage of treatment and by the therapist's skill.

    python benchmarks/opening.py [--clients 300] [--mood-gain G --coiling-gain G] [--catalog DIR] [--markdown]

A therapist of skill s gets scores N(s, 0.6) in every dimension, every turn, for twenty turns. Each cell: the median turn in
which clients first reach the phase, and the share that does (no turn where fewer than half do). Last columns: how soon a
client who had opened closes again under harm, and what part of the phase score at opening is coiling's. A second table: mean
turn to B, and share that reaches C, by attachment strategy. DESIGN asks for a good therapist (8) to open a new client
(stage 1) in 6 to 8 turns with core access rare, and one at stage 3 in about 3; the two gains are set by that.
Costs one turn a client, turn and cell.
"""

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # a neighbour has the name of a package

import numpy as np

from client_graph.catalog import Catalog, load_catalog
from client_graph.names import STAGE_NAMES, STAGES
from client_graph.personhood import draw
from client_graph.session import measure
from client_graph.settings import ClientSettings
from client_graph.turn import advance

TURNS, SPREAD = 20, 0.6
SKILLS = {"harmful": 2.0, "mediocre": 5.0, "fair": 7.0, "good": 8.0, "excellent": 9.0}
A, B, C = range(3)


def phases_seen(
    catalog: Catalog,
    settings: ClientSettings,
    stage: int,
    skill: float,
    clients: int,
    start: int = A,
    strategy: str | None = None,
) -> np.ndarray:
    """(turns + 1, clients) phases from the start on, of clients that are drawn at `stage` and begin in phase `start`."""
    state, _ = draw(catalog, np.random.default_rng(1), clients, stage=stage, strategy=strategy, settings=settings)
    state.phase[:] = start
    rng = np.random.default_rng(2)
    seen = [state.phase.copy()]
    for _ in range(TURNS):
        scores = np.clip(rng.normal(skill, SPREAD, (clients, 12)), 0.0, 10.0)
        state, _ = advance(state, scores, catalog, settings)
        seen.append(state.phase.copy())
    return np.array(seen)


def coiling_share(catalog: Catalog, settings: ClientSettings, stage: int, clients: int, turns: int) -> float:
    """What part of the phase score after `turns` turns with a good therapist is coiling's, in [0, 1]; the paper weighs it 0.6."""
    state, _ = draw(catalog, np.random.default_rng(1), clients, stage=stage, settings=settings)
    before, rng = measure(state, catalog), np.random.default_rng(2)
    for _ in range(turns):
        scores = np.clip(rng.normal(SKILLS["good"], SPREAD, (clients, 12)), 0.0, 10.0)
        state, _ = advance(state, scores, catalog, settings)
    now = measure(state, catalog)
    mood = (now.adaptive_mean - now.maladaptive_mean) - (before.adaptive_mean - before.maladaptive_mean)
    coiling = 0.6 * settings.phase_coiling_gain * (before.coiling - now.coiling).mean()
    return float(coiling / (coiling + 0.4 * settings.phase_mood_gain * mood.mean()))


def turns_until(reached: np.ndarray) -> tuple[float, float]:
    """(median turn over all clients, infinite where fewer than half get there; share that does) of (turns + 1, clients) bool."""
    ever = reached.any(axis=0)
    return float(np.median(np.where(ever, reached.argmax(axis=0), np.inf))), float(ever.mean())


def main() -> None:
    """Run and print."""
    defaults = ClientSettings()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=300)
    parser.add_argument("--mood-gain", type=float, default=defaults.phase_mood_gain)
    parser.add_argument("--coiling-gain", type=float, default=defaults.phase_coiling_gain)
    parser.add_argument("--catalog", help="a folder of one's own client tables; default: the shipped ones")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    asked = parser.parse_args()
    settings = ClientSettings(phase_mood_gain=asked.mood_gain, phase_coiling_gain=asked.coiling_gain)
    catalog = load_catalog(asked.catalog)
    rows = [
        [
            "stage",
            *(f"{name} ({skill:g})" for name, skill in SKILLS.items()),
            "closes under harm (2)",
            "coiling's share",
        ]
    ]
    for stage in STAGES:
        cells = [f"{stage} {STAGE_NAMES[stage - 1]}"]
        for skill in SKILLS.values():
            seen = phases_seen(catalog, settings, stage, skill, asked.clients)
            cells.append("; ".join(_cell(name, seen >= phase) for name, phase in (("B", B), ("C", C))))
        opened, _ = turns_until(phases_seen(catalog, settings, stage, SKILLS["good"], asked.clients) >= B)
        share = coiling_share(catalog, settings, stage, asked.clients, int(opened)) if np.isfinite(opened) else np.nan
        closing = phases_seen(catalog, settings, stage, SKILLS["harmful"], asked.clients, start=B)
        rows.append([*cells, _cell("A", closing == A), f"{share:.0%}"])
    print(
        f"{asked.clients} clients a cell, scores N(skill, {SPREAD}), {TURNS} turns: median turn (share of clients that get there)"
    )
    _print(rows, asked.markdown)
    print(
        "Stage 1, a good therapist (8), by attachment strategy: who comes with less trust opens later and goes less deep"
    )
    by_strategy = [["", *(row.name for row in catalog.rows["strategies"])], ["B"], ["C"]]
    for row in catalog.rows["strategies"]:
        seen = phases_seen(catalog, settings, 1, SKILLS["good"], asked.clients, strategy=row.name)
        by_strategy[1].append(f"{np.where((seen >= B).any(axis=0), (seen >= B).argmax(axis=0), np.nan).mean():.1f}")
        by_strategy[2].append(f"{(seen >= C).any(axis=0).mean():.0%}")
    _print(by_strategy, asked.markdown)


def _print(rows: list[list[str]], markdown: bool) -> None:
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for number, row in enumerate(rows):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |")
        if number == 0 and markdown:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def _cell(name: str, reached: np.ndarray) -> str:
    turn, share = turns_until(reached)
    return f"{name} {turn:.0f} ({share:.0%})" if np.isfinite(turn) else f"{name} - ({share:.0%})"


if __name__ == "__main__":
    main()
