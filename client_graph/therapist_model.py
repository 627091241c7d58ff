"""The Therapist's Model of Graph (TMoG): what the therapist believes about each node (paper 457-458)."""

import numpy as np

from client_graph.compiled import compiled
from client_graph.graph import TOP

_STEP = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31 = np.uint64(30), np.uint64(27), np.uint64(31)
_S16, _S32, _S48, _LOW_16 = np.uint64(16), np.uint64(32), np.uint64(48), np.uint64(0xFFFF)
_ROOT_3 = 3.0**0.5


@compiled
def random_word(stream, draw):  # type: ignore[no-untyped-def]
    """Word `draw` (1, 2, ...) of a stream: SplitMix64 (Steele, Lea and Flood 2014), whose words can be had in any order.

    The stream is part of the client's state, seeded from the generator that drew the client: a snapshot holds it, so
    candidates that are tried from one snapshot meet the same chance, and a client is the same alone and in a batch.
    """
    z = stream + np.uint64(draw) * _STEP
    z = (z ^ (z >> _S30)) * _MIX_1
    z = (z ^ (z >> _S27)) * _MIX_2
    return z ^ (z >> _S31)


@compiled
def bell(word):  # type: ignore[no-untyped-def]
    """ε of mean 0 and variance 1, nearly normal, |ε| < 3.47: the sum of four uniforms, one from each 16 bits of a word.

    ε = √3 (u₁ + u₂ + u₃ + u₄ - 2), u in (0, 1)  (Irwin-Hall); a logarithm and a cosine for each node would double the turn
    """
    total = (word & _LOW_16) + ((word >> _S16) & _LOW_16) + ((word >> _S32) & _LOW_16) + (word >> _S48)
    return _ROOT_3 * ((np.float64(np.int64(total)) + 2.0) / 65536.0 - 2.0)


@compiled
def blur(beliefs, spread, stream):  # type: ignore[no-untyped-def]
    """belief += spread · ε, one client's (n,) in place; returns the stream as it stands after n draws."""
    for n in range(beliefs.shape[0]):
        beliefs[n] += spread * bell(random_word(stream, n + 1))
    return stream + np.uint64(beliefs.shape[0]) * _STEP


@compiled
def update_tmog(tmog, first, levels, helping, harming, dynamics, streams, error):  # type: ignore[no-untyped-def]
    """Move the beliefs of the clients from `first` on: `tmog` (N, n) in place, `streams` (N,) where chance was used.

    `levels` (n, lanes); `helping`, `harming` (lanes,) in [0, 10], the drives of the attunement dimension; `error` (lanes,)
    is written: Σ_n |belief_n - level_n|.

    belief += noise · harm / 10 · ε,   ε of variance 1, drawn only when attunement is low
    belief += (steady + good · help / 10) · (1 - harm / 10) · (level - belief),   kept in [0, 10]
    """
    error[:] = 0.0
    rate = np.empty(error.shape[0])
    for k in range(error.shape[0]):
        learning = (dynamics.tmog_steady_rate + dynamics.tmog_good_rate * 0.1 * helping[k]) * (1.0 - 0.1 * harming[k])
        rate[k] = min(1.0, learning)
        spread = dynamics.tmog_noise * 0.1 * harming[k]
        if spread > 0.0:
            streams[first + k] = blur(tmog[first + k], spread, streams[first + k])
    for n in range(levels.shape[0]):
        for k in range(error.shape[0]):
            belief = tmog[first + k, n]
            belief = min(TOP, max(0.0, belief + rate[k] * (levels[n, k] - belief)))
            tmog[first + k, n] = belief
            error[k] += abs(belief - levels[n, k])


@compiled
def attunement(error, nodes):  # type: ignore[no-untyped-def]
    """Attunement = 1 - (1/N) Σ_n |belief_n - level_n| / 10, in [0, 1] (paper 457; levels divided by 10, see paper map)."""
    return 1.0 - error / (10.0 * nodes)
