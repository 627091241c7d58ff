"""The TAIE assessor in its full mode: what the axes mean for this client, which realms are stuck, what to do (paper 375).

The lightweight mode moves the axes at every turn (client_graph/taie.py). The full mode is asked for where it is worth its
cost: it reads the states of the last three assessments and puts them into words by the tables configs/judges/taie_*.csv;
a model may be asked for an evaluation of its own beside it. Axes and trend are the state's: no model moves them.

    coiling of a realm = sum w_n · tightness_n / sum w_n over the nodes of the domain, in [0, 1]
    stuck:  coiling now >= the realm's far_from, and over the three assessments greatest - least <= STILL
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from client_graph.catalog import Catalog
from client_graph.client import ClientGraph
from client_graph.graph import tightness
from client_graph.names import AXES
from client_graph.settings import ClientSettings
from client_graph.state import ASSESSMENTS, ClientState
from client_graph.taie import axis_trend, transformation
from judges.assessment.taie_tables import TRENDS, RealmRow, TaieTables, taie_tables
from judges.protocol import Exchange, JudgeFailure
from judges.rubric import prompt_text
from judges.templates import fenced, filled
from judges.writer import Writer

# In two turns at stage 1 twelve scores of 8 move the median realm by 0.003, twelve scores of 7 by 0.001 (measured).
STILL = 0.002
ADVISED = 3  # most stuck realms that are named and advised on: a therapist can hold no more (design)
TOLD = 0.05  # least way along an axis that is told
LATEST = 6  # turns that a writer is shown
MOST_TOKENS = 300


@dataclass(frozen=True)
class StuckRealm:
    """A domain of the client graph that is far from health and does not move. coiling: in [0, 1], as it stands now."""

    domain: str
    coiling: float
    meaning: str
    recommendation: str


@dataclass(frozen=True)
class TaieAssessment:
    """One client, assessed in full.

    axes: in the order of AXES, [-10, 10]. trend: one of TRENDS, over the state's three-assessment window. assessments: how
    many states were given; below 3 nothing can be called stuck, and the narrative says so. stuck_realms: the farthest
    beyond their bound first. written: a model's own evaluation, JudgeFailure where it gave none, None where none was asked.
    """

    narrative: str
    stuck_realms: tuple[StuckRealm, ...]
    recommendations: tuple[str, ...]
    trend: str
    axes: tuple[float, float, float]
    transformation: float
    assessments: int
    written: str | JudgeFailure | None = None


def assess_taie(
    window: Sequence[ClientState],
    catalog: Catalog,
    settings: ClientSettings | None = None,
    tables: TaieTables | None = None,
) -> list[TaieAssessment]:
    """N clients assessed in full: `window` their states after the last one to three turns, oldest first, one batch each.

    Changes nothing and draws nothing by chance. Raises ValueError where the window has another length, or its states have
    different clients, or taie_realms.csv lacks a domain of theirs. Cost: a few tenths of a millisecond a client.
    """
    if not 1 <= len(window) <= ASSESSMENTS:
        raise ValueError(f"found {len(window)} states; expected those of the last 1 to {ASSESSMENTS} assessments")
    shapes = {state.levels.shape for state in window}
    if shapes != {(window[-1].clients, len(catalog.nodes))}:
        raise ValueError(
            f"found levels of shapes {sorted(shapes)}; expected the same clients in each state, {len(catalog.nodes)} nodes"
        )
    if any((state.axes_start != window[-1].axes_start).any() for state in window):  # no turn changes where they began
        raise ValueError("found states of different clients in one window; expected each client at the same place")
    texts, tolerance = tables or taie_tables(), (settings or ClientSettings()).axis_tolerance
    domains, coilings = _realms(window, catalog)
    if unknown := sorted(set(domains) - set(texts.realms)):
        raise ValueError(
            f"found domains {', '.join(unknown)}, of which taie_realms.csv says nothing; add a row for each"
        )
    return [
        _assessed(_Reading(window[-1], i, domains, coilings[:, i], tolerance), texts) for i in range(window[-1].clients)
    ]


def assess_client(*window: ClientGraph, tables: TaieTables | None = None) -> TaieAssessment:
    """One client by name: as they were after the last one to three turns, oldest first. Raises as `assess_taie`."""
    if not window:
        raise ValueError(f"found no client; expected one as they were at the last 1 to {ASSESSMENTS} assessments")
    now = window[-1]
    states = [client.state.take([client.index]) for client in window]
    return assess_taie(states, now.catalog, now.settings, tables)[0]


def with_writing(
    found: TaieAssessment, turns: Sequence[Exchange], writer: Writer, most_tokens: int = MOST_TOKENS
) -> TaieAssessment:
    """`found` with a model's own evaluation beside it; what is calculated stays. `turns`: the session so far, in order.

    A writer that raises or writes nothing becomes a JudgeFailure with its reason.
    """
    try:
        text = writer.write(taie_prompt(found, turns), most_tokens)
    except Exception as error:  # of a network, a budget or a model: a turn of training must outlive it
        return replace(found, written=JudgeFailure(f"the writer failed ({type(error).__name__}: {error})"))
    if not isinstance(text, str) or not text.strip():
        return replace(found, written=JudgeFailure("the writer wrote nothing"))
    return replace(found, written=text.strip())


def taie_prompt(found: TaieAssessment, turns: Sequence[Exchange]) -> str:
    """What a writer is asked: the measurements in words, and the latest turns in fences that nothing inside can close."""
    template = prompt_text("session_turn").strip()
    numbered = list(enumerate(turns, 1))[-LATEST:]
    told = [
        filled(
            template,
            {"number": str(number)} | {n: fenced(getattr(turn, n)) for n in ("client", "reasoning", "therapist")},
        )
        for number, turn in numbered
    ]
    return filled(
        prompt_text("taie"), {"measured": found.narrative, "turns": "\n\n".join(told) or "(none: the session begins)"}
    )


@dataclass(frozen=True)
class _Reading:
    """What is known of client `place` of `state`; coilings: (assessments, domains) in [0, 1], oldest first."""

    state: ClientState
    place: int
    domains: tuple[str, ...]
    coilings: np.ndarray
    tolerance: float

    @property
    def nearer(self) -> np.ndarray:
        """(domains,) how much nearer to health each realm has come over the window."""
        change: np.ndarray = self.coilings[0] - self.coilings[-1]
        return change

    @property
    def trend(self) -> str:
        return TRENDS[axis_trend(self.state.axes_window[self.place], self.tolerance) + 1]

    @property
    def transformation(self) -> float:
        now, start = self.state.axes[self.place], self.state.axes_start[self.place]
        return float(transformation(np.abs(now).sum(), np.abs(start).sum()))


def _realms(window: Sequence[ClientState], catalog: Catalog) -> tuple[tuple[str, ...], np.ndarray]:
    """(domains that have nodes, (assessments, N, domains) coiling of each)."""
    of_node = [row.domain for row in catalog.nodes]
    domains = tuple(dict.fromkeys(of_node))
    weight = catalog.tables.nodes["share"] * (np.array(of_node) == np.array(domains)[:, None])
    weight = weight / weight.sum(axis=1, keepdims=True)
    # Client by client and without BLAS, which sums a batch in another order than its singles.
    found = [[(weight * tightness(level, catalog.tables)).sum(axis=1) for level in state.levels] for state in window]
    return domains, np.array(found).reshape(len(window), -1, len(domains))


def _assessed(reading: _Reading, tables: TaieTables) -> TaieAssessment:
    stuck = tuple(StuckRealm(row.domain, c, row.stuck, row.recommendation) for row, c in _stuck(reading, tables))
    x, y, z = reading.state.axes[reading.place].tolist()
    return TaieAssessment(
        narrative=" ".join((*_axes_told(reading, tables), *_realms_told(reading, stuck))),
        stuck_realms=stuck,
        recommendations=tuple(dict.fromkeys(_advised(reading, stuck, tables))),
        trend=reading.trend,
        axes=(x, y, z),
        transformation=reading.transformation,
        assessments=len(reading.coilings),
    )


def _stuck(reading: _Reading, tables: TaieTables) -> list[tuple[RealmRow, float]]:
    """(realm, its coiling) of the stuck ones, the farthest beyond its bound first."""
    if len(reading.coilings) < ASSESSMENTS:
        return []
    still = np.ptp(reading.coilings, axis=0) <= STILL
    now = zip(reading.domains, reading.coilings[-1].tolist(), still, strict=True)
    found = [(tables.realms[domain], coiling) for domain, coiling, unmoved in now if unmoved]
    return sorted(((row, c) for row, c in found if c >= row.far_from), key=lambda pair: pair[0].far_from - pair[1])


def _axes_told(reading: _Reading, tables: TaieTables) -> Iterator[str]:
    for a, (name, now, start) in enumerate(
        zip(AXES, reading.state.axes[reading.place], reading.state.axes_start[reading.place], strict=True)
    ):
        region = tables.region(a, now)
        way = abs(start) - abs(now)
        moved = f" Since intake that is {abs(way):.1f} {'nearer to' if way > 0 else 'farther from'} zero."
        yield (
            f"On {name.replace('_', ' and ') if a != 1 else 'self-esteem'} they are {region.name} ({now:z.1f}): {region.meaning}."
            + (moved if abs(way) >= TOLD else "")
        )
    yield (
        f"Of the way to zero on all three axes {reading.transformation:.0%} lies behind them; "
        f"{tables.trends[reading.trend].meaning}."
    )


def _realms_told(reading: _Reading, stuck: Sequence[StuckRealm]) -> Iterator[str]:
    if len(reading.coilings) < ASSESSMENTS:
        yield f"What is stuck cannot be said yet: it takes {ASSESSMENTS} assessments, and there are {len(reading.coilings)}."
        return
    most, least = int(reading.nearer.argmax()), int(reading.nearer.argmin())
    if reading.nearer[most] > STILL:
        yield f"Most has moved toward health in {_plain(reading.domains[most])}."
    if reading.nearer[least] < -STILL:
        yield f"Ground is being lost most in {_plain(reading.domains[least])}."
    for realm in stuck[:ADVISED]:
        yield f"Stuck is {_plain(realm.domain)} (coiling {realm.coiling:.2f}): {realm.meaning}."
    if len(stuck) > ADVISED:
        yield f"{len(stuck) - ADVISED} more realms stand still and far from health."
    if not stuck:
        yield "No realm is both far from health and standing still."


def _advised(reading: _Reading, stuck: Sequence[StuckRealm], tables: TaieTables) -> Iterator[str]:
    """Repair before progress, then what is stuck; the axis that is farthest out, where nothing is."""
    trend = tables.trends[reading.trend].recommendation
    if reading.trend == TRENDS[0]:
        yield trend
    yield from (realm.recommendation for realm in stuck[:ADVISED])
    if not stuck:
        axes = reading.state.axes[reading.place]
        farthest = int(np.abs(axes).argmax())
        yield tables.region(farthest, axes[farthest]).recommendation
    if reading.trend != TRENDS[0]:
        yield trend


def _plain(domain: str) -> str:
    return domain.replace("_", " ")
