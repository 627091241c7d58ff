"""Draw a client: attachment strategy, presenting concern, stage of treatment -> a person and the state they arrive in."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from client_graph.catalog import Catalog
from client_graph.graph import tightness
from client_graph.names import STAGE_NAMES, STAGES
from client_graph.session import arrive
from client_graph.settings import ClientSettings
from client_graph.state import ASSESSMENTS, WINDOW, ClientState
from client_graph.strengths import Strength, signature, within_reach
from client_graph.therapist_model import attunement

STAGE_ODDS = (0.35, 0.45, 0.20, 0.0)  # paper 1564: stage 4 has to be asked for
STRATEGY_GRIP = (1.0, 0.75, 0.45, 0.2)  # how far a strategy still shifts levels, by stage; loosens as treatment goes
CONCERN_GRIP = (1.0, 0.8, 0.5, 0.25)  # likewise of a concern: what brought someone is what the work has been about
LEVEL_SPREAD = 0.6  # standard deviation between clients of one kind, in level points
BUCKET_SPREAD = 0.05
LOA_SPREAD = 0.8


@dataclass(frozen=True)
class Person:
    """Who the client is, in words; what a therapist would have on the referral note."""

    name: str
    strategy: str  # DMM attachment strategy: A1-A8, B0-B5, C1-C8
    coherence: str  # odd collapses inward, even protests outward, balanced
    manner: str  # how this person speaks
    concern: str
    opening: str  # the concern in the client's own words
    history: str
    stage: int  # 1..4 at intake
    strengths: tuple[Strength, ...] = ()  # as they stood at intake, accessible ones first; none without a table of them

    def __post_init__(self) -> None:
        """What JSON made of the strengths (lists) becomes what they were, so that a restored person is the same person."""
        object.__setattr__(self, "strengths", tuple(Strength(*strength) for strength in self.strengths))

    def describe(self) -> str:
        """The person as in a letter of referral, for people and for prompts: "They" throughout, a full stop at the end."""
        return " ".join(
            (
                f"Referral of {self.name}: {self.concern.replace('_', ' ')}.",
                f'In their own words: "{self.opening}"',
                self.history,
                f"In conversation {self.name} {_within(self.manner)}",
                f"Treatment is at stage {self.stage} ({STAGE_NAMES[self.stage - 1]}), attachment strategy {self.strategy}.",
                *(
                    f"Their {strength.name.replace('_', ' ')} {self._shows(strength)}: {_within(strength.words)}"
                    for strength in self.strengths
                ),
            )
        )

    def _shows(self, strength: Strength) -> str:
        if strength.state == "accessible":
            return "comes within reach at moments" if self.stage <= 2 else "is within reach"
        return {"blocked": "is there and held back", "shadow": "shows mostly as protection"}[strength.state]


def _within(sentence: str) -> str:
    """`sentence` as it goes on after a colon or a name."""
    return sentence[0].lower() + sentence[1:]


def draw(
    catalog: Catalog,
    rng: np.random.Generator,
    clients: int = 1,
    *,
    stage: int | None = None,
    strategy: str | None = None,
    concern: str | None = None,
    settings: ClientSettings | None = None,
) -> tuple[ClientState, tuple[Person, ...]]:
    """`clients` people and the state in which each arrives. What is not asked for is drawn from `rng`.

    level = start at the stage + grip · strategy shift + grip · concern shift + N(0, 0.6), kept in [0, 10]
    """
    if clients < 1:
        raise ValueError(f"found {clients} clients; expected at least 1")
    people = [_person(catalog, rng, stage, strategy, concern) for _ in range(clients)]
    states = [_arrival(catalog, person, rng, settings or ClientSettings()) for person in people]
    state = arrive(ClientState.stack(states), catalog)
    # Drawn last, so that a catalog with other strengths gives the same people in the same state.
    return state, tuple(
        replace(person, strengths=within_reach(signature(catalog, rng), levels, person.stage, catalog))
        for person, levels in zip(people, state.levels, strict=True)
    )


def _chosen(rows: Sequence[Any], name: str | None, what: str, rng: np.random.Generator) -> Any:
    known = {row.name: row for row in rows}
    if name is not None and name not in known:
        near = difflib.get_close_matches(str(name), known, 1, cutoff=0.4) or [
            row for row in known if str(name).lower() in row.lower()
        ]
        cure = f" (did you mean {near[0]}?)" if near else ""
        raise ValueError(f"found {what} {name!r}{cure}; expected one of {', '.join(known)}")
    drawn = rows[int(rng.integers(len(rows)))]  # drawn even when asked for, so that a wish does not shift other draws
    return known[name] if name is not None else drawn


def _person(
    catalog: Catalog, rng: np.random.Generator, stage: int | None, strategy: str | None, concern: str | None
) -> Person:
    if stage is not None and (
        isinstance(stage, bool) or not isinstance(stage, int | np.integer) or stage not in STAGES
    ):
        raise ValueError(f"found stage {stage!r}; expected one of {STAGES}")
    drawn_stage = int(rng.choice(STAGES, p=STAGE_ODDS))
    kind = _chosen(catalog.rows["strategies"], strategy, "attachment strategy", rng)
    reason = _chosen(catalog.rows["concerns"], concern, "concern", rng)
    name = _chosen(catalog.rows["names"], None, "name", rng)
    return Person(
        name=name.name,
        strategy=kind.name,
        coherence=kind.coherence,
        manner=kind.voice,
        concern=reason.name,
        opening=reason.opening,
        history=reason.history,
        stage=int(stage or drawn_stage),
    )


def _arrival(catalog: Catalog, person: Person, rng: np.random.Generator, settings: ClientSettings) -> ClientState:
    stage = person.stage - 1
    levels = catalog.start[stage].copy()
    for row in catalog.rows["strategy_nodes"]:
        if row.strategy == person.strategy:
            levels[catalog.node(row.node)] += STRATEGY_GRIP[stage] * row.shift
    for row in catalog.rows["concern_nodes"]:
        if row.concern == person.concern:
            levels[catalog.node(row.node)] += CONCERN_GRIP[stage] * row.shift
    levels = np.clip(levels + rng.normal(0.0, LEVEL_SPREAD, levels.shape), 0.0, 10.0)
    buckets = np.clip(
        catalog.bucket_start[stage] + rng.normal(0.0, BUCKET_SPREAD, catalog.bucket_start[stage].shape), 0, 1
    )
    loa = np.clip(catalog.loa_start[stage] + rng.normal(0.0, LOA_SPREAD, 7), -10, 10)
    tmog = np.clip(levels + rng.normal(0.0, settings.tmog_start_noise, levels.shape), 0.0, 10.0)
    axes = first_axes(levels, catalog)
    whole = np.zeros(1, dtype=np.int64)
    return ClientState(
        levels=levels[None],
        tmog=tmog[None],
        buckets=buckets[None],
        buckets_start=buckets[None].copy(),
        loa=loa[None],
        axes=axes[None],
        axes_start=axes[None].copy(),
        axes_window=np.full((1, ASSESSMENTS), np.abs(axes).sum()),
        attunement=np.array([attunement(np.abs(tmog - levels).sum(), len(levels))]),
        phase=whole.copy(),
        phase_mood=np.zeros(1),
        phase_coiling=np.zeros(1),
        deepest_phase=whole.copy(),
        stage=whole + stage,
        stage_ahead=whole.copy(),
        stage_behind=whole.copy(),
        core_sessions=whole.copy(),
        session=whole.copy(),
        turn=whole.copy(),
        stance=whole.copy(),
        recent_attunement=np.full((1, WINDOW), np.nan),
        recent_resistance=np.full((1, WINDOW), np.nan),
        stream=rng.integers(0, 2**64, size=1, dtype=np.uint64),
    )


def first_axes(levels: np.ndarray, catalog: Catalog) -> np.ndarray:
    """The three TAIE axes, in [-10, 10], that a client's node levels (n,) speak of at intake.

    axis_a = 10 · Σ_n loading_an · coiling_n / Σ_n |loading_an|,   coiling_n the node's distance from health in [0, 1]
    """
    return 10.0 * (catalog.loading @ tightness(levels, catalog.tables)) / np.abs(catalog.loading).sum(axis=1)
