"""Stage weights and stage modifiers, from configs/rewards/*.csv."""

from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BeforeValidator, Field

from client_graph.names import CONFIGS, DIMENSIONS, STAGES
from client_graph.rows import Dimension
from client_graph.tables import Row, TableError, read_table

Weight = Annotated[float, Field(ge=0)]


def _dimensions(cell: object) -> object:
    names = tuple(str(cell).split())
    unknown = [name for name in names if name not in DIMENSIONS]
    if unknown or not names:
        raise ValueError(
            f"expected judge dimensions separated by spaces; unknown: {', '.join(unknown) or 'none given'}"
        )
    return names


class StageWeightRow(Row):
    dimension: Dimension
    stage_1: Weight
    stage_2: Weight
    stage_3: Weight
    stage_4: Weight


class ModifierRow(Row):
    stage: Annotated[int, Field(ge=1, le=4)]
    name: str
    dimensions: Annotated[tuple[str, ...], BeforeValidator(_dimensions)] = Field(
        description="Their mean is held against it."
    )
    relation: Literal["above", "below"]
    threshold: Annotated[float, Field(ge=0, le=10)]
    reward: float


@dataclass(frozen=True)
class RewardTables:
    """weights (4, 12) by stage and dimension; modifiers in file order."""

    weights: np.ndarray
    modifiers: tuple[ModifierRow, ...]


@cache
def load_reward_tables(folder: Path = CONFIGS / "rewards") -> RewardTables:
    """Read and check the reward tables; one error lists every mistake."""
    problems: list[str] = []
    weights = read_table(folder / "stage_weights.csv", StageWeightRow, problems)
    modifiers = read_table(folder / "modifiers.csv", ModifierRow, problems)
    names = [row.dimension for row in weights]
    if not problems and sorted(names) != sorted(DIMENSIONS):
        problems.append(
            f"stage_weights.csv: found dimensions {', '.join(names)}; expected each of {', '.join(DIMENSIONS)} once"
        )
    twice = [name for name, count in Counter(row.name for row in modifiers).items() if count > 1]
    problems.extend(
        f"modifiers.csv: {name} stands more than once; expected a name of its own for each" for name in twice
    )
    if problems:
        raise TableError(problems)
    by_name = {row.dimension: row for row in weights}
    matrix = np.array([[getattr(by_name[name], f"stage_{stage}") for name in DIMENSIONS] for stage in STAGES])
    matrix.setflags(write=False)
    return RewardTables(matrix, tuple(modifiers))
