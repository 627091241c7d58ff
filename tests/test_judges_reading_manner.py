"""The table of empty manner: every mistake told, clients of the examples, and none of its replies an example."""

from pathlib import Path

import pytest

from client_graph.tables import TableError
from judges.offline.examples import read_examples
from judges.pairs import held_out
from judges.reading.manner import read_manner

HEAD = "client,reply,source\n"


def test_the_shipped_table_is_of_the_examples_clients_and_says_nothing_that_they_say() -> None:
    examples = read_examples()
    clients = list(dict.fromkeys(examples.clients))
    rows = read_manner(clients)
    assert len(rows) > 300
    assert len({row.client for row in rows}) > 300
    assert not {row.reply for row in rows} & set(examples.replies)
    assert not {row.client for row in rows} & {pair.client for pair in held_out()}
    assert all(row.client in clients[::2] for row in rows)  # those that are read


def test_all_mistakes_in_one_error(tmp_path: Path) -> None:
    path = tmp_path / "manner.csv"
    path.write_text(HEAD + "a,It stayed.,me and why\nb,It stayed.,me and why\nc,,me and why\n")
    with pytest.raises(TableError) as caught:
        read_manner(["a"], path)
    assert "manner.csv:3" in str(caught.value)
    assert "manner.csv:4" in str(caught.value)


def test_rows_of_unknown_clients_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "manner.csv"
    path.write_text(HEAD + "a,It stayed.,me and why\nb,It left.,me and why\n")
    assert [row.client for row in read_manner(["b", "x"], path)] == ["b"]
