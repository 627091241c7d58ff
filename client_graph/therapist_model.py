"""The Therapist's Model of Graph (TMoG): what the therapist believes about each node (paper 457-458)."""

import math

import numpy as np

from client_graph.compiled import compiled

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_TO_UNIT = 1.0 / 9007199254740992.0


@compiled
def next_uniform(streams, client):  # type: ignore[no-untyped-def]
    """u in (0, 1): one SplitMix64 step (Steele, Lea and Flood 2014) of the client's own stream, `streams` (N,) uint64.

    The stream is part of the client's state, seeded from the generator that drew the client: a snapshot holds it, so
    candidates that are tried from one snapshot meet the same chance, and a client is the same alone and in a batch.
    """
    streams[client] += _STEP
    z = streams[client]
    z = (z ^ (z >> _S30)) * _MIX_1
    z = (z ^ (z >> _S27)) * _MIX_2
    z = z ^ (z >> _S31)
    return (np.float64(z >> _S11) + 0.5) * _TO_UNIT


@compiled
def next_normal(streams, client):  # type: ignore[no-untyped-def]
    """A standard normal draw (Box and Muller 1958)."""
    radius = math.sqrt(-2.0 * math.log(next_uniform(streams, client)))
    return radius * math.cos(2.0 * math.pi * next_uniform(streams, client))


@compiled
def update_tmog(tmog, levels, helping, harming, dynamics, streams, client):  # type: ignore[no-untyped-def]
    """Move the belief `tmog` (n,) in place; `helping`, `harming` in [0, 10] are the drives of the attunement dimension.

    belief += (steady + good · help / 10) · (1 - harm / 10) · (level - belief)
    belief += noise · harm / 10 · ε,   ε ~ N(0, 1), drawn only when attunement is low;   kept in [0, 10]
    """
    rate = min(1.0, (dynamics.tmog_steady_rate + dynamics.tmog_good_rate * 0.1 * helping) * (1.0 - 0.1 * harming))
    spread = dynamics.tmog_noise * 0.1 * harming
    for n in range(tmog.shape[0]):
        belief = tmog[n] + rate * (levels[n] - tmog[n])
        if spread > 0.0:
            belief += spread * next_normal(streams, client)
        tmog[n] = min(10.0, max(0.0, belief))


@compiled
def attunement(tmog, levels):  # type: ignore[no-untyped-def]
    """Attunement = 1 - (1/N) Σ_n |belief_n - level_n| / 10, in [0, 1] (paper 457; levels divided by 10, see paper map)."""
    error = 0.0
    for n in range(levels.shape[0]):
        error += abs(tmog[n] - levels[n])
    return 1.0 - error / (10.0 * levels.shape[0])
