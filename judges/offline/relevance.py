"""Whether a reply answers this client: its likeness to this client's words, held against its likeness to other clients'.

    s_k = cos(reply, client_k) over the clients of the examples,   s = cos(reply, this client)
    answers = (s - mean s_k) / sd s_k        elsewhere = max_k s_k - s        particular = sd s_k        share = #(s_k > s) / n

A plain likeness cannot tell a reply that is about nothing from one that is about something else: both are far from this
client. The others' words can: the first is equally far from all, the second near to one of them.
"""

import numpy as np

RELEVANCE = ("likeness", "answers", "elsewhere", "particular", "share")


SAME = 1 - 1e-6  # a cosine from which the client's own words stand in the bank


def relevance(replies: np.ndarray, clients: np.ndarray, bank: np.ndarray) -> np.ndarray:
    """(q, 5) float64 in the order of RELEVANCE; replies and clients (q, width), bank (n >= 3, width), all of length 1.

    The client's own words, where they stand in the bank, are left out of it.
    """
    each = (replies @ bank.T).astype(np.float64)
    own = np.einsum("qd,qd->q", replies, clients, dtype=np.float64)[:, None]
    there = clients @ bank.T < SAME
    count = there.sum(axis=1, keepdims=True)
    mean = np.where(there, each, 0.0).sum(axis=1, keepdims=True) / count
    particular = np.sqrt(np.where(there, (each - mean) ** 2, 0.0).sum(axis=1, keepdims=True) / count)
    nearest = np.where(there, each, -np.inf).max(axis=1, keepdims=True)
    nearer = (there & (each > own)).sum(axis=1, keepdims=True) / count
    return np.concatenate([own, (own - mean) / particular, nearest - own, particular, nearer], axis=1)
