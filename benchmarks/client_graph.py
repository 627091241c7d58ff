"""How fast the client's turn is, beside the same turn as others would write it; what a client costs in memory; start-up.

    python benchmarks/client_graph.py [--quick] [--markdown] [--one-core]

Everything runs in one process in turns (first one contestant, then the next, and round again), so that ratios hold on a busy
machine. Best is the figure to compare; the median tells how busy the machine was; the microseconds of processor time a client
(all threads together, least of the repetitions) are what is left when others wait for the same cores. All peers do the whole
turn, equal to the engine within 1e-9 (client_peers.py, tests/test_benchmarks_client_peers.py). Scores are uniform in [0, 10],
so that a third of the clients get noise in what the therapist believes of them; where `good` is said, uniform in [5, 10].

jax is no dependency of this project. To have its rows, give it an environment of its own beside the project's:

    python3 -m venv jaxenv && jaxenv/bin/pip install jax numpy numba pydantic networkx platformdirs
    jaxenv/bin/python benchmarks/client_graph.py

NumPy's BLAS and XLA take all cores they find; `--one-core` binds the whole process to one (Linux).
"""

import argparse
import hashlib
import importlib.util
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # this file has the name of the package it measures

import numpy as np

from benchmarks.client_peers import JaxCrowd, LoopClient, NumpyCrowd
from client_graph.catalog import Catalog, load_catalog
from client_graph.personhood import draw
from client_graph.state import ClientState
from client_graph.turn import advance, advance_in_place, empty_report

DRAWN = 256  # people drawn; larger crowds repeat them
GOOD = 5.0  # lowest of the good scores
TABLES = 4  # different tables of scores, taken in turns
ENGINE, BASELINE = "icarus", ("NumPy", 1)
START_UP = """
import time; begun = time.perf_counter()
import numpy as np
from client_graph.catalog import load_catalog
from client_graph.personhood import draw
from client_graph.turn import advance
imported = time.perf_counter()
catalog = load_catalog(); loaded = time.perf_counter()
state, _ = draw(catalog, np.random.default_rng(1), 1); drawn = time.perf_counter()
advance(state, np.full((1, 12), 7.0), catalog); advanced = time.perf_counter()
print(imported - begun, loaded - imported, drawn - loaded, advanced - drawn)
"""


@dataclass
class Contestant:
    """One row of the table: `turn` takes one turn of all its clients."""

    who: str
    clients: int
    threads: str
    turn: Callable[[], object]
    turns: int = 1  # in one repetition, so that it is long enough to be timed
    seconds: list[float] = field(default_factory=list)  # of one turn, by repetition
    busy: list[float] = field(default_factory=list)  # processor seconds of one turn, of all threads

    def repeat(self) -> None:
        """Time one repetition."""
        start, worked = time.perf_counter(), time.process_time()
        for _ in range(self.turns):
            self.turn()
        self.seconds.append((time.perf_counter() - start) / self.turns)
        self.busy.append((time.process_time() - worked) / self.turns)

    @property
    def best(self) -> float:
        """Client-turns a second."""
        return self.clients / min(self.seconds)

    @property
    def median(self) -> float:
        """Client-turns a second."""
        return self.clients / statistics.median(self.seconds)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="few and short repetitions, no compilation: about half a minute"
    )
    parser.add_argument("--markdown", action="store_true", help="the tables as Markdown")
    parser.add_argument("--one-core", action="store_true", help="bind the process to one core")
    asked = parser.parse_args()
    if (
        asked.one_core and _cores() > 1
    ):  # before NumPy and XLA count the cores: what is bound stays bound in a new process
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
        os.execv(sys.executable, [sys.executable, *sys.argv])
    print(f"load average {_load()} at the start; {_cores()} cores; {cores_to_be_had():.1f} of two to be had")
    catalog = load_catalog()
    people, _ = draw(catalog, np.random.default_rng(1), DRAWN)
    largest = 16_384 if asked.quick else 65_536
    told = memory(catalog, people, largest)
    contestants = [*engines(catalog, people, largest), *peers(catalog, people)]
    compete(contestants, rounds=7 if asked.quick else 40, least=0.003 if asked.quick else 0.01)
    show(contestants, asked.markdown)
    print("\n".join(flatness(contestants, largest) + told + start_up(compiling=not asked.quick)))
    print(f"load average {_load()} at the end; {cores_to_be_had():.1f} of two cores to be had")


def crowd(people: ClientState, clients: int) -> ClientState:
    """`clients` people, those that were drawn over and over; no memory shared."""
    return people.take(np.arange(clients) % people.clients)


def judged(clients: int, lowest: float = 0.0) -> Iterator[np.ndarray]:
    """(clients, 12) scores for ever."""
    rng = np.random.default_rng(clients)
    tables = [rng.uniform(lowest, 10.0, (clients, 12)) for _ in range(TABLES)]
    while True:
        yield from tables


# ---------------------------------------------------------------- contestants


def engines(catalog: Catalog, people: ClientState, largest: int) -> Iterator[Contestant]:
    """This project's engine, at every N and both ways of calling it."""
    for clients in (1, largest):
        yield Contestant(f"{ENGINE}, advance", clients, "1", _pure(catalog, crowd(people, clients)))
    for clients in (1, 64, 256, 1_024, 4_096, 16_384, 65_536):
        if clients <= largest:
            yield Contestant(f"{ENGINE}, in place", clients, "1", _in_place(catalog, crowd(people, clients), 1))
        if 64 < clients <= largest and _cores() > 1:
            yield Contestant(f"{ENGINE}, in place", clients, "2", _in_place(catalog, crowd(people, clients), 2))
    middle = 4_096
    yield Contestant(
        f"{ENGINE}, changes by node", middle, "1", _in_place(catalog, crowd(people, middle), 1, by_node=True)
    )
    yield Contestant(f"{ENGINE}, good", middle, "1", _in_place(catalog, crowd(people, middle), 1, lowest=GOOD))
    yield Contestant(f"{ENGINE}, good", largest, "1", _in_place(catalog, crowd(people, largest), 1, lowest=GOOD))


def _pure(catalog: Catalog, state: ClientState) -> Callable[[], object]:
    scores = judged(state.clients)

    def turn() -> None:
        nonlocal state
        state, _ = advance(state, next(scores), catalog)

    return turn


def _in_place(
    catalog: Catalog, state: ClientState, threads: int, by_node: bool = False, lowest: float = 0.0
) -> Callable[[], object]:
    scores, report = judged(state.clients, lowest), empty_report(state.clients, catalog, by_node=by_node)
    return lambda: advance_in_place(state, next(scores), catalog, report=report, threads=threads)


def peers(catalog: Catalog, people: ClientState) -> Iterator[Contestant]:
    """The same turn, written otherwise."""
    alone = LoopClient(catalog, people, 0)
    scores = (row[0].tolist() for row in judged(1))
    yield Contestant("networkx loops", 1, "1", lambda: alone.turn(next(scores)))
    for clients in (1, 1_024):
        yield Contestant("NumPy", clients, "all", _arrays(NumpyCrowd(catalog, crowd(people, clients)), clients))
    yield Contestant("NumPy, good", 1_024, "all", _arrays(NumpyCrowd(catalog, crowd(people, 1_024)), 1_024, GOOD))
    if importlib.util.find_spec("jax") is None:
        print("jax: not installed; its rows are left out (how to have them: --help)")
        return
    for clients in (1_024, 4_096):
        yield Contestant("JAX jit", clients, "all", _arrays(JaxCrowd(catalog, crowd(people, clients)), clients))
        yield Contestant(
            "JAX jit, good", clients, "all", _arrays(JaxCrowd(catalog, crowd(people, clients)), clients, GOOD)
        )


def _arrays(peer: NumpyCrowd | JaxCrowd, clients: int, lowest: float = 0.0) -> Callable[[], object]:
    scores = judged(clients, lowest)
    return lambda: peer.turn(next(scores))


def compete(contestants: list[Contestant], rounds: int, least: float) -> None:
    """Warm up, choose turns so that a repetition takes `least` seconds, then `rounds` repetitions, interleaved."""
    for one in contestants:
        one.turn()  # compiles
        one.repeat()
        while one.seconds[-1] * one.turns < least:  # the first turns find cold caches and say too much
            one.turns = max(one.turns + 1, min(8 * one.turns, round(1.2 * least / one.seconds[-1])))
            one.repeat()
        one.seconds.clear()
        one.busy.clear()
    for _ in range(rounds):
        for one in contestants:
            one.repeat()


# ---------------------------------------------------------------- what is printed


def show(contestants: list[Contestant], markdown: bool) -> None:
    """A row a contestant, with ratios to NumPy with one client and of our in-place turn to it at like N."""
    baseline = next(one for one in contestants if (one.who, one.clients) == BASELINE).best
    header = (
        "who",
        "N",
        "threads",
        "client-turns/s, best",
        "median",
        "us a client",
        "of CPU",
        f"to {BASELINE[0]} N=1",
        "icarus on 1 / 2 threads, to it",
    )
    rows = [
        (
            one.who, f"{one.clients:,}", one.threads, f"{one.best:,.0f}", f"{one.median:,.0f}", f"{1e6 / one.best:.2f}",
            f"{1e6 * min(one.busy) / one.clients:.2f}", f"{one.best / baseline:,.1f}", _against(one, contestants),
        )
        for one in contestants
    ]  # fmt: skip
    if markdown:
        print("\n".join("| " + " | ".join(row) + " |" for row in (header, ("---", *["---:"] * 8), *rows)))
        return
    widths = [max(len(row[c]) for row in (header, *rows)) for c in range(len(header))]
    for row in (header, *rows):
        print(
            "  ".join([row[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True))])
        )


def _against(one: Contestant, contestants: list[Contestant]) -> str:
    """Our turn in place at the same N, on one thread and on two, over `one`."""
    if one.who.startswith(ENGINE):
        return ""
    who = f"{ENGINE}, good" if one.who.endswith("good") else f"{ENGINE}, in place"
    same = [ours for ours in contestants if (ours.who, ours.clients) == (who, one.clients)]
    return " / ".join(f"{ours.best / one.best:,.1f}" for ours in same)


def flatness(contestants: list[Contestant], largest: int) -> list[str]:
    """What a client costs in the largest crowd, over what it costs among 256."""
    found = []
    for threads in ("1", "2"):
        ours = {
            one.clients: one for one in contestants if (one.who, one.threads) == (f"{ENGINE}, in place", threads)
        }  # fmt: skip
        if largest in ours:
            few, many = ours[256], ours[largest]
            work = (min(many.busy) / largest) / (min(few.busy) / 256)
            found.append(
                f"cost of a client, N = {largest:,} over N = 256, {threads} thread(s): {few.best / many.best:.2f}, "
                f"in processor time {work:.2f}"
            )
    return found


def memory(catalog: Catalog, people: ClientState, clients: int) -> list[str]:
    """Bytes a client, by the arrays and by what the process grew."""
    before = _resident()
    state = crowd(people, clients)
    report = empty_report(clients, catalog, by_node=False)
    advance_in_place(state, next(judged(clients)), catalog, report=report)
    after = _resident()
    own, told = (sum(array.nbytes for array in arrays) / clients for arrays in (state, report))
    wide = sum(array.nbytes for array in empty_report(1, catalog, by_node=True))
    lines = [f"bytes a client: state {own:,.0f}, report {told:,.0f} ({wide:,} with changes by node)"]
    if before is not None and after is not None:
        # The four tables of scores are alive as well when the process is measured.
        grown = (after - before) / clients - TABLES * 12 * 8
        lines.append(f"bytes a client, measured at N = {clients:,}: {grown:,.0f} for state and report")
    return lines


def _resident() -> int | None:
    """Bytes of memory that the process holds now; None where the system does not say."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return None


def start_up(compiling: bool) -> list[str]:
    """Seconds of a fresh process to its first turn, and of one that has no compiled code yet."""
    runs = [_fresh(dict(os.environ)) for _ in range(3)]
    whole, parts = min(runs)
    names = ("import", "catalog", "draw", "first turn")
    split = ", ".join(f"{name} {part:.2f}" for name, part in zip(names, parts, strict=True))
    lines = [f"start-up, compiled code in its cache: {whole:.2f} s ({split})"]
    if compiling:
        with tempfile.TemporaryDirectory() as folder:  # where platformdirs looks for a cache folder
            whole, parts = _fresh({**os.environ, "HOME": folder, "XDG_CACHE_HOME": folder, "LOCALAPPDATA": folder})
        lines.append(f"start-up, everything compiled anew: {whole:.1f} s, once for each version of the engine")
    return lines


def _fresh(environment: dict[str, str]) -> tuple[float, list[float]]:
    path = os.pathsep.join(filter(None, (sys.path[0], environment.get("PYTHONPATH"))))
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", START_UP], env={**environment, "PYTHONPATH": path}, check=True, capture_output=True,
        text=True,
    )  # fmt: skip
    return time.perf_counter() - start, [float(part) for part in done.stdout.split()]


def cores_to_be_had() -> float:
    """How much two threads do at once that need nothing of each other: near 1, no figure of two threads here says anything."""
    data, best = bytes(16 << 20), []
    for threads in (1, 2):
        seconds = []
        for _ in range(5):
            workers = [threading.Thread(target=hashlib.sha256, args=(data,)) for _ in range(threads)]
            start = time.perf_counter()
            for worker in workers:
                worker.start()
            for worker in workers:
                worker.join()
            seconds.append(time.perf_counter() - start)
        best.append(min(seconds))
    return 2.0 * best[0] / best[1]


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)


def _load() -> str:
    return f"{os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else "unknown"


if __name__ == "__main__":
    main()
