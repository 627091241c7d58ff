"""How soon a client opens: the calibration of the phase gains.

    python benchmarks/opening.py [--clients 300] [--score 8.0] [--mood-gain G --coiling-gain G]

For each treatment stage: the turn in which clients reach phase B under a steadily good therapist (scores N(8, 0.6)), how many
reach core access within twenty turns, and how soon an opened client closes again under a poor one (scores N(2.5, 0.6)).
DESIGN asks for 6 to 8 turns and rare core access at stage 1, about 3 turns at stage 3. Costs one turn a client and turn.
"""

import argparse

import numpy as np

from client_graph.catalog import Catalog, load_catalog
from client_graph.names import STAGES
from client_graph.personhood import draw
from client_graph.settings import ClientSettings
from client_graph.turn import advance

TURNS, SPREAD, POOR = 20, 0.6, 2.5
NEVER = TURNS + 1


def first_turns(
    catalog: Catalog, settings: ClientSettings, stage: int, score: float, clients: int, start_phase: int
) -> tuple[np.ndarray, np.ndarray]:
    """((turns + 1, clients) phases, from the start on; (clients,) turn in which the phase first differed, NEVER if not)."""
    state, _ = draw(catalog, np.random.default_rng(1), clients, stage=stage, settings=settings)
    state.phase[:] = start_phase
    rng = np.random.default_rng(2)
    phases = [state.phase.copy()]
    for _ in range(TURNS):
        scores = np.clip(rng.normal(score, SPREAD, (clients, 12)), 0.0, 10.0)
        state, _ = advance(state, scores, catalog, settings)
        phases.append(state.phase.copy())
    seen = np.array(phases)
    differs = seen != start_phase
    return seen, np.where(differs.any(axis=0), differs.argmax(axis=0), NEVER)


def main() -> None:
    """Run and print."""
    defaults = ClientSettings()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=300)
    parser.add_argument("--score", type=float, default=8.0)
    parser.add_argument("--mood-gain", type=float, default=defaults.phase_mood_gain)
    parser.add_argument("--coiling-gain", type=float, default=defaults.phase_coiling_gain)
    asked = parser.parse_args()
    settings = ClientSettings(phase_mood_gain=asked.mood_gain, phase_coiling_gain=asked.coiling_gain)
    catalog = load_catalog()
    print(f"{asked.clients} clients, scores N({asked.score}, {SPREAD}), {TURNS} turns; poor: N({POOR}, {SPREAD})")
    print("stage   opens in turn (10/50/90 %)   core access   closes under poor care, turn (median)")
    for stage in STAGES:
        seen, opened = first_turns(catalog, settings, stage, asked.score, asked.clients, 0)
        _, closed = first_turns(catalog, settings, stage, POOR, asked.clients, 1)
        low, middle, high = np.percentile(opened, [10, 50, 90])
        core = (seen.max(axis=0) >= 2).mean()
        print(f"{stage:<8}{low:8.0f}{middle:6.0f}{high:6.0f}{core:19.0%}{np.median(closed):20.0f}")


if __name__ == "__main__":
    main()
