"""What counts as a judgement, and that everything else is refused with its place, never mended."""

import json
from typing import Any

import numpy as np
import pytest
from anthropic_server import judgement
from hypothesis import given
from hypothesis import strategies as st

from client_graph.names import DIMENSIONS
from judges.api.parsing import LONGEST, Unreadable, parse_assessment, write_assessment
from judges.api.schema import judgement_schema
from judges.protocol import Assessment

PLAIN = [
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    "true",
    "false",
    "null",
    "11",
    "-1",
    "10.000001",
    "-1e-9",
    "[7]",
    "{}",
]


def refused(text: str) -> Unreadable:
    found = parse_assessment(text)
    assert isinstance(found, Unreadable), found
    assert found.problems
    assert all(problem.where in found.reason for problem in found.problems)
    found.reason.encode("ascii")
    return found


def with_score(raw: str, dimension: str = "repair") -> str:
    text = judgement()
    text["dimensions"][dimension]["score"] = "@"
    return json.dumps(text).replace('"@"', raw)


def with_change(*path: Any, value: Any) -> str:
    tree = judgement()
    place = tree
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    return json.dumps(tree)


def test_a_judgement_is_read_in_the_order_of_the_dimensions() -> None:
    tree = judgement(1.0)
    tree["dimensions"] = dict(reversed(tree["dimensions"].items()))
    found = parse_assessment(json.dumps(tree))
    assert isinstance(found, Assessment)
    assert np.allclose(found.scores, 1.0 + np.arange(12) / 10)
    assert found.reasons[0] == "because of attunement"
    assert found.critical_moments == ("The second sentence.",)
    assert parse_assessment(write_assessment(found)) == found


@pytest.mark.parametrize("raw", ["0", "10", "7", "7.25", "1e1", "0.0", "1e-300"])
def test_whole_and_broken_numbers_are_scores(raw: str) -> None:
    found = parse_assessment(with_score(raw))
    assert isinstance(found, Assessment)
    assert found.scores[6] == float(raw)


@pytest.mark.parametrize(
    "raw",
    [*PLAIN, '"10"', '"seven"', '""', '{"score": 7}', "9" * 4000],
    ids=lambda raw: raw[:20],
)
def test_what_is_no_score_is_refused_where_it_stands(raw: str) -> None:
    (problem,) = refused(with_score(raw)).problems
    assert problem.where == "dimensions.repair.score"
    assert problem.expected == "a number from 0 to 10"


def test_a_number_longer_than_python_reads_is_refused() -> None:
    refused(with_score("9" * 5000))


@pytest.mark.parametrize("field", ["dimensions", "narrative", "critical_moments", "recommendations"])
def test_a_missing_field_is_refused(field: str) -> None:
    tree = judgement()
    del tree[field]
    assert f"no {field}" in refused(json.dumps(tree)).reason


@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_a_missing_dimension_is_refused(dimension: str) -> None:
    tree = judgement()
    del tree["dimensions"][dimension]
    (problem,) = refused(json.dumps(tree)).problems
    assert (problem.where, problem.found) == ("dimensions", f"no {dimension}")


def test_a_missing_score_and_a_missing_reason_are_refused() -> None:
    for field in ("score", "reason"):
        tree = judgement()
        del tree["dimensions"]["pacing"][field]
        assert refused(json.dumps(tree)).problems[0].where == "dimensions.pacing"


@pytest.mark.parametrize("path", [("extra",), ("dimensions", "warmth"), ("dimensions", "safety", "weight")])
def test_an_extra_field_is_refused_at_every_level(path: tuple[str, ...]) -> None:
    assert f"'{path[-1]}'" in refused(with_change(*path, value=5)).reason


@pytest.mark.parametrize("key", ["narrative", "safety", "score"])
def test_a_repeated_field_is_refused_even_with_the_same_value(key: str) -> None:
    text = json.dumps(judgement())
    start = text.index(f'"{key}": ')
    reader = json.JSONDecoder()
    _, end = reader.raw_decode(text, start + len(key) + 4)
    doubled = f"{text[:end]}, {text[start:end]}{text[end:]}"
    assert f"twice '{key}'" in refused(doubled).reason


@pytest.mark.parametrize("value", [None, "", "   ", "\n", 5, True, [], {}, ["a"], "\ud800"], ids=ascii)
@pytest.mark.parametrize(
    "path",
    [("narrative",), ("dimensions", "safety", "reason"), ("critical_moments", 0), ("recommendations", 0)],
    ids=str,
)
def test_a_text_that_says_nothing_or_is_none_is_refused(path: tuple[Any, ...], value: Any) -> None:
    refused(with_change(*path, value=value))


@pytest.mark.parametrize("field", ["critical_moments", "recommendations"])
def test_lists_may_be_empty_but_must_be_lists(field: str) -> None:
    assert isinstance(parse_assessment(with_change(field, value=[])), Assessment)
    for wrong in (None, "one", {"0": "one"}, 3):
        assert refused(with_change(field, value=wrong)).problems[0].where == field


@pytest.mark.parametrize("value", [None, [], [[7, "why"]] * 12, "x", 5])
def test_dimensions_that_are_no_object_are_refused(value: Any) -> None:
    assert refused(with_change("dimensions", value=value)).problems[0].where == "dimensions"
    refused(with_change("dimensions", "safety", value=value))


@pytest.mark.parametrize("text", ["", "  ", "null", "true", "7", '"text"', "[]", "{}", "[{}]", "\ufeff{}", "\0", "nul"])
def test_what_is_no_judgement_at_all_is_refused(text: str) -> None:
    refused(text)


def test_two_judgements_prose_and_fences_around_one_are_refused() -> None:
    text = json.dumps(judgement())
    for wrong in (
        text + text,
        f"{text}\n{text}",
        f"Here it is: {text}",
        f"{text} Hope it helps",
        f"```json\n{text}\n```",
    ):
        assert "one JSON object and nothing else" in refused(wrong).reason
    refused(f"[{text}]")


def test_every_truncation_is_refused() -> None:
    text = json.dumps(judgement())
    for end in range(0, len(text), 7):
        refused(text[:end])
    refused(text[:-1])


@pytest.mark.parametrize("opening", ["[", '{"dimensions":', '{"a":[', '[{"x":'])
def test_deep_nesting_is_refused_without_recursion(opening: str) -> None:
    assert "levels of brackets" in refused(opening * 100_000).reason
    refused(opening * 100_000 + "]" * 100_000)
    refused(with_score("[" * 90_000))


def test_brackets_in_a_text_are_no_nesting() -> None:
    assert isinstance(parse_assessment(with_change("narrative", value='[[[[[[[[[[{{{{{{{ \\" ]')), Assessment)


def test_a_text_without_end_is_refused() -> None:
    assert str(LONGEST) in refused(" " * (LONGEST + 1)).reason


def test_one_refusal_lists_every_mistake() -> None:
    tree = judgement(narrative=" ")
    tree["dimensions"]["safety"]["score"] = 11
    tree["dimensions"]["pacing"]["score"] = "5"
    del tree["dimensions"]["repair"]
    assert len(refused(json.dumps(tree)).problems) == 4


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: (
            st.lists(inner) | st.dictionaries(st.sampled_from(["dimensions", "narrative", "score", *DIMENSIONS]), inner)
        ),
    )
)
def test_nothing_is_raised_whatever_the_tree(tree: Any) -> None:
    refused(json.dumps(tree))


@given(st.text())
def test_nothing_is_raised_whatever_the_text(text: str) -> None:
    refused(text)


def test_the_schema_asks_for_what_the_parser_takes() -> None:
    schema = judgement_schema()
    assert schema["required"] == list(schema["properties"]) == list(judgement())
    dimensions = schema["properties"]["dimensions"]
    assert tuple(dimensions["required"]) == DIMENSIONS
    assert schema["$defs"]["dimension"]["required"] == ["reason", "score"]
    assert not schema["additionalProperties"]
    assert not dimensions["additionalProperties"]
