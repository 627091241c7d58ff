"""Draw a client: attachment strategy, presenting concern, stage of treatment -> a person and the state they arrive in."""

from dataclasses import dataclass

import numpy as np

from client_graph.arrival import STRENGTHS, Kind, arrivals, kinds, newcomers
from client_graph.catalog import Catalog
from client_graph.names import STAGE_NAMES
from client_graph.settings import ClientSettings
from client_graph.state import ClientState
from client_graph.strengths import Strength, signature, within_reach
from client_graph.therapist_model import random_word

__all__ = ["Person", "draw", "newcomers", "person_of"]


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

    def describe(self, assessed: bool = True) -> str:
        """The person as in a letter of referral, for people and for prompts: "They" throughout, a full stop at the end.

        assessed: with what only an assessment finds: stage, attachment strategy, strengths.
        """
        found = (
            f"Treatment is at stage {self.stage} ({STAGE_NAMES[self.stage - 1]}), attachment strategy {self.strategy}.",
            *(
                f"Their {strength.name.replace('_', ' ')} {self._shows(strength)}: {_within(strength.words)}"
                for strength in self.strengths
            ),
        )
        return " ".join(
            (
                f"Referral of {self.name}: {self.concern.replace('_', ' ')}.",
                f'In their own words: "{self.opening}"',
                self.history,
                f"In conversation {self.name} {_within(self.manner)}",
                *(found if assessed else ()),
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
    """`clients` people and the state in which each arrives (`arrival.newcomers`), from as many words of `rng`."""
    if clients < 1:
        raise ValueError(f"found {clients} clients; expected at least 1")
    words = rng.integers(0, 2**64, size=clients, dtype=np.uint64)
    kind = kinds(catalog, words, stage=stage, strategy=strategy, concern=concern)
    state = arrivals(catalog, words, kind, settings)
    return state, tuple(person_of(catalog, words[i], kind, state, i) for i in range(clients))


def person_of(catalog: Catalog, word: np.uint64, kind: Kind, state: ClientState, client: int) -> Person:
    """The person in words who arrives as client number `client` of `state`, drawn from `word`."""
    strategy = catalog.rows["strategies"][kind.strategy[client]]
    concern = catalog.rows["concerns"][kind.concern[client]]
    stage = int(kind.stage[client]) + 1
    own = signature(catalog, np.random.default_rng(int(random_word(word, STRENGTHS))))
    return Person(
        name=catalog.rows["names"][kind.name[client]].name,
        strategy=strategy.name,
        coherence=strategy.coherence,
        manner=strategy.voice,
        concern=concern.name,
        opening=concern.opening,
        history=concern.history,
        stage=stage,
        strengths=within_reach(own, state.levels[client], stage, catalog),
    )
