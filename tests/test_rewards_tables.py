"""A row of the reward tables: dimensions that the judge has, and an answer that names those it has not."""

import pytest
from pydantic import ValidationError

from rewards.tables import ModifierRow

ROW = {"stage": 1, "name": "n", "relation": "above", "threshold": 8.0, "reward": 1.0, "source": "test"}


def test_dimensions_are_separated_by_spaces() -> None:
    row = ModifierRow.model_validate(ROW | {"dimensions": "safety  attunement"})
    assert row.dimensions == ("safety", "attunement")


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("safety warmth candour", "separated by spaces; unknown: warmth, candour "),
        ("", "separated by spaces; unknown: none given "),
    ],
)
def test_unknown_or_missing_dimensions_are_named(cell: str, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ModifierRow.model_validate(ROW | {"dimensions": cell})
    assert said in str(caught.value)
