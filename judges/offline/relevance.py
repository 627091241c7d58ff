"""Whether a reply answers this client: its likeness to this client's words, held against its likeness to other clients'.

    s_k = cos(reply, client_k) over the clients of the examples,   s = cos(reply, this client)
    answers = (s - mean s_k) / sd s_k        elsewhere = max_k s_k - s        particular = sd s_k        share = #(s_k > s) / n

A plain likeness cannot tell a reply that is about nothing from one that is about something else: both are far from this
client. The others' words can: the first is equally far from all, the second near to one of them.
"""

import numpy as np

RELEVANCE = ("likeness", "answers", "elsewhere", "particular", "share")


def relevance(reply: np.ndarray, client: np.ndarray, bank: np.ndarray) -> np.ndarray:
    """(5,) float64 in the order of RELEVANCE; reply and client (width,), bank (n >= 2, width), all of length 1.

    The client's own words, where they stand in the bank, are left out of it.
    """
    others = bank[(bank != client).any(axis=1)].astype(np.float64) @ reply
    likeness = float(client.astype(np.float64) @ reply)
    particular = float(others.std())
    return np.array(
        [
            likeness,
            (likeness - float(others.mean())) / particular,
            float(others.max()) - likeness,
            particular,
            float((others > likeness).mean()),
        ]
    )
