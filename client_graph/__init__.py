"""The person: a client graph of 142 nodes that moves as they are treated. Research software, not for clinical use.

    from client_graph import ClientGraph
    client = ClientGraph.draw(seed=7, stage=1)

Names are loaded when they are first asked for: importing the package is free, and numba, networkx and matplotlib come when
they are needed.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from client_graph.catalog import Catalog, catalog_of, load_catalog
    from client_graph.client import ClientGraph
    from client_graph.difference import Difference
    from client_graph.drive import ScoreError
    from client_graph.explain import Explanation
    from client_graph.names import DIMENSIONS
    from client_graph.personhood import Person, draw
    from client_graph.session import SessionReport, end_session, measure
    from client_graph.settings import ClientSettings
    from client_graph.stance import begin_arc
    from client_graph.state import ClientState, StateError
    from client_graph.tables import TableError
    from client_graph.turn import TurnReport, advance, advance_in_place, empty_report

_HOME = {
    "Catalog": "catalog",
    "ClientGraph": "client",
    "ClientSettings": "settings",
    "ClientState": "state",
    "DIMENSIONS": "names",
    "Difference": "difference",
    "Explanation": "explain",
    "Person": "personhood",
    "ScoreError": "drive",
    "SessionReport": "session",
    "StateError": "state",
    "TableError": "tables",
    "TurnReport": "turn",
    "advance": "turn",
    "advance_in_place": "turn",
    "begin_arc": "stance",
    "catalog_of": "catalog",
    "draw": "personhood",
    "empty_report": "turn",
    "end_session": "session",
    "load_catalog": "catalog",
    "measure": "session",
}

__all__ = [
    "DIMENSIONS",
    "Catalog",
    "ClientGraph",
    "ClientSettings",
    "ClientState",
    "Difference",
    "Explanation",
    "Person",
    "ScoreError",
    "SessionReport",
    "StateError",
    "TableError",
    "TurnReport",
    "advance",
    "advance_in_place",
    "begin_arc",
    "catalog_of",
    "draw",
    "empty_report",
    "end_session",
    "load_catalog",
    "measure",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
