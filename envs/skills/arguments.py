"""What Skills-v0 is made with; one error that names everything that has no meaning."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from client_graph.catalog import Catalog, load_catalog
from client_graph.settings import ClientSettings
from envs.arguments import _catalog_problems as catalog_problems
from envs.arguments import _voice_problems as voice_problems
from envs.arguments import kind_problems, number_problems, render_problems, stage_problems
from envs.skills.response import ResponseModel
from envs.skills.sessions import SeeingSettings, Sessions
from rewards.settings import RewardSettings

__all__ = ["sessions_of", "voice_problems"]


def sessions_of(
    num_envs: Any,
    *,
    judge: Any,
    catalog: str | Path | Catalog | None,
    stage: int | Sequence[int | None] | None,
    max_turns: Any,
    reward: Any,
    settings: Any,
    signal_noise: Any,
    felt_noise: Any,
    render_mode: Any,
    render_modes: Collection[str],
    stages_apart: bool = False,
    also: Collection[str] = (),
) -> Sessions:
    """The sessions that these arguments ask for. Raises ValueError naming every one that is wrong, and `also`.

    `stages_apart`: whether the stage may be a list, one for each session.
    """
    problems = [
        *number_problems("num_envs", num_envs, 1),
        *catalog_problems(catalog),
        *(_stages_problems(stage, num_envs) if stages_apart else stage_problems(stage)),
        *number_problems("max_turns", max_turns, 1),
        *render_problems(render_mode, render_modes),
        *_noise_problems("signal_noise", signal_noise),
        *_noise_problems("felt_noise", felt_noise),
        *kind_problems("reward", reward, RewardSettings),
        *kind_problems("settings", settings, ClientSettings),
        *also,
    ]
    if not (isinstance(judge, str) and judge == "response") and not isinstance(judge, ResponseModel):
        problems.append(f'found judge {judge!r}; expected "response", or a ResponseModel')
    if problems:
        raise ValueError("; ".join(problems))
    return Sessions(
        int(num_envs),
        catalog if isinstance(catalog, Catalog) else load_catalog(catalog),
        judge if isinstance(judge, ResponseModel) else ResponseModel(),
        stage,
        int(max_turns),
        reward or RewardSettings(),
        settings or ClientSettings(),
        SeeingSettings(signal_noise=signal_noise, felt_noise=felt_noise),
        watched=render_mode is not None,
    )


def _stages_problems(stages: Any, num_envs: Any) -> list[str]:
    if not (isinstance(stages, list | tuple) or (isinstance(stages, np.ndarray) and stages.ndim == 1)):
        return stage_problems(stages)
    problems = [problem for each in stages for problem in stage_problems(each)]
    if len(stages) != num_envs:
        problems.append(f"found {len(stages)} stages; expected one, or one for each of {num_envs} sessions")
    return problems


def _noise_problems(name: str, found: Any) -> list[str]:
    fine = isinstance(found, int | float | np.number) and not isinstance(found, bool) and 0.0 <= found < np.inf
    return [] if fine else [f"found {name} {found!r}; expected a finite number, at least 0"]
