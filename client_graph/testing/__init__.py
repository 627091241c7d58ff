"""What the project tests its person with, for users to test theirs: Hypothesis strategies, small catalogs, a plain engine.

Needs hypothesis, which nothing else in this package does.

    from hypothesis import given, strategies as st
    from client_graph.testing import catalogs, differences, scores, states

    @given(data=st.data())
    def test_my_engine(data):
        catalog = data.draw(catalogs())
        state, judged = data.draw(states(catalog, 3)), data.draw(scores(3))
        calm = ClientSettings(tmog_noise=0.0)  # the plain engine draws no noise
        ...  # after, report = mine(state, judged, catalog, calm)
        assert differences(state, judged, after, report, catalog, calm) == []
"""

from client_graph.state import out_of_range
from client_graph.testing.plain import bucket, edge, node, plain_catalog, row, sensitivity, with_rows
from client_graph.testing.reference import EITHER_WAY, PlainTurn, differences, one_turn
from client_graph.testing.strategies import (
    SCORE_EDGES,
    catalogs,
    client_settings,
    crowds,
    edges,
    health_sign,
    score_sequences,
    scores,
    seeds,
    states,
)

__all__ = [
    "EITHER_WAY", "SCORE_EDGES", "PlainTurn", "bucket", "catalogs", "client_settings", "crowds", "differences", "edge",
    "edges", "health_sign", "node", "one_turn", "out_of_range", "plain_catalog", "row", "score_sequences", "scores",
    "seeds", "sensitivity", "states", "with_rows",
]  # fmt: skip
