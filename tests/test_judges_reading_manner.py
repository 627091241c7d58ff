"""The tables of empty manner and of what models said: every mistake told, and none of their replies an example."""

from pathlib import Path

import pytest

from client_graph.tables import TableError
from judges.offline.examples import read_examples
from judges.pairs import held_out
from judges.reading.manner import SAID, read_empty

HEAD = "client,reply,source\n"


def test_the_shipped_table_is_of_the_examples_clients_and_says_nothing_that_they_say() -> None:
    examples = read_examples()
    clients = list(dict.fromkeys(examples.clients))
    rows = read_empty()
    assert len(rows) > 300
    assert len({row.client for row in rows}) > 300
    assert not {row.reply for row in rows} & set(examples.replies)
    assert not {row.client for row in rows} & {pair.client for pair in held_out()}
    assert all(row.client in clients[::2] for row in rows)  # those that are read


def test_what_models_said_is_no_example_and_to_no_client_of_the_held_out_pairs() -> None:
    examples, rows = read_examples(), read_empty(SAID)
    said = {(row.client, row.reply) for row in rows}
    assert len(said) > 1000
    assert not said & set(zip(examples.clients, examples.replies, strict=True))
    assert {row.client for row in rows} <= set(list(dict.fromkeys(examples.clients))[::2])  # those that are read
    assert not {row.client for row in rows} & {pair.client for pair in held_out()}


def test_all_mistakes_in_one_error(tmp_path: Path) -> None:
    path = tmp_path / "manner.csv"
    path.write_text(HEAD + "a,It stayed.,me and why\nb,It stayed.,me and why\na,It stayed.,me and why\nc,,me and why\n")
    with pytest.raises(TableError) as caught:
        read_empty(path)
    assert "manner.csv:3" not in str(caught.value)  # said to another client
    assert "manner.csv:4" in str(caught.value)
    assert "manner.csv:5" in str(caught.value)
