"""Spread work on a batch of clients over threads: the compiled functions hold no interpreter lock."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from itertools import pairwise

from client_graph.compiled import LANES


@cache
def _pool(threads: int, process: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="clients")


def spread(work: Callable[[int, int], object], clients: int, threads: int) -> None:
    """Call `work(first, last)` on parts of 0..clients, whole blocks each, on `threads` threads at once; one is the caller."""
    if threads < 1:
        raise ValueError(f"found {threads} threads; expected at least 1")
    blocks = -(-clients // LANES)
    parts = min(threads, blocks)
    if parts <= 1:
        work(0, clients)
        return
    edges = [min(clients, LANES * (blocks * part // parts)) for part in range(parts + 1)]
    pool = _pool(threads - 1, os.getpid())  # a forked child has none of its parent's threads and makes its own
    others = [pool.submit(work, first, last) for first, last in pairwise(edges[1:])]
    try:
        work(edges[0], edges[1])
    finally:
        wait(others)  # nobody may look at the arrays while a part of them is being written
    for other in others:
        other.result()
