"""What the arrays of a catalog promise the compiled turn: their types, that they are read-only, the order of the records."""

from types import SimpleNamespace

import numpy as np
import pytest

from client_graph.arrays import columns, tables_of
from client_graph.catalog import load_catalog

CATALOG = load_catalog()


def test_every_array_is_read_only() -> None:
    tables = tables_of(CATALOG.rows)
    assert [name for name, array in zip(tables._fields, tables, strict=True) if array.flags.writeable] == []


@pytest.mark.parametrize("field", ["alliance_nodes", "engagement_node"])
def test_an_index_without_entries_is_still_one_of_whole_numbers(field: str) -> None:
    """Another type would compile the turn anew, and no place can be looked up by it."""
    found = getattr(tables_of({**CATALOG.rows, "roles": ()}), field)
    assert (found.dtype, found.shape) == (np.int64, (0,))


def test_coefficients_come_by_node_and_then_by_bucket_whatever_the_order_of_the_rows() -> None:
    backwards = {**CATALOG.rows, "bucket_nodes": CATALOG.rows["bucket_nodes"][::-1]}
    found = tables_of(backwards).bucket_nodes
    places = [(record.node, record.bucket) for record in found]
    assert places == sorted(places)
    assert found.tobytes() == tables_of(CATALOG.rows).bucket_nodes.tobytes()


def test_columns_of_whole_numbers_are_floats_with_a_row_a_column() -> None:
    rows = [SimpleNamespace(level_1=1, level_2=2), SimpleNamespace(level_1=3, level_2=4)]
    found = columns(rows, "level", (1, 2))
    assert found.dtype == np.float64
    assert found.tolist() == [[1.0, 3.0], [2.0, 4.0]]
