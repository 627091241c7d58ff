"""icarus/Treatment-v0 many times at once: one judge call and one voice call for all sub-environments."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode

from client_graph.catalog import Catalog
from client_graph.personhood import Person
from client_graph.settings import ClientSettings, CourseSettings
from client_graph.state import ClientState
from envs.arguments import conduct_of
from envs.conduct import Begun
from envs.course import Treated, Treatments
from envs.infos import Columns, truth, turn_told
from envs.session_vector import Landed, SessionVectorEnv, vector_problems
from envs.treatment import MAX_SESSIONS, expect_no_same_client, session_told, treatment_problems
from envs.types import Outcome, SessionState
from envs.voice import ClientVoice
from judges.protocol import Judge, JudgeFailure
from rewards.settings import RewardSettings


class TreatmentVectorEnv(SessionVectorEnv):
    """`num_envs` treatments, side by side: as SessionVectorEnv, with the episodes and arguments of TreatmentEnv.

    `infos["session_ended"]` holds columns for those whose session the step has ended, `infos["_session_ended"]` says whose.
    Research software: a simulator, not for clinical use.
    """

    _treatment = True

    def __init__(
        self,
        num_envs: int = 1,
        client: str | ClientVoice = "authored",
        judge: str | Judge = "embedding",
        catalog: str | Path | Catalog | None = None,
        stage: int | None = None,
        max_turns: int = 20,
        max_sessions: int = MAX_SESSIONS,
        reward: RewardSettings | None = None,
        settings: ClientSettings | None = None,
        course: CourseSettings | None = None,
        judge_retries: int = 1,
        render_mode: str | None = None,
        autoreset_mode: str | AutoresetMode = AutoresetMode.NEXT_STEP,
    ) -> None:
        conduct = conduct_of(
            client=client, judge=judge, catalog=catalog, max_turns=max_turns, reward=reward, settings=settings,
            judge_retries=judge_retries,
            also=[
                *vector_problems(num_envs, stage, render_mode, autoreset_mode),
                *treatment_problems(max_sessions, course),
            ],
        )  # fmt: skip
        self._set_up(conduct, num_envs, stage, render_mode, autoreset_mode)
        self.treatments = Treatments(conduct, int(max_sessions), course or CourseSettings())

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """New treatments everywhere, or where the option `reset_mask` is true; a refused reset changes nothing."""
        expect_no_same_client((options or {}).get("same_client", False))
        return super().reset(seed=seed, options=options)

    def _arrive(
        self, states: Sequence[ClientState], people: Sequence[Person], chances: Sequence[np.random.Generator]
    ) -> Begun:
        return self.treatments.arrive(states, people, chances)

    def _outcomes(self, asked: Sequence[tuple[SessionState, str]]) -> list[Outcome | JudgeFailure]:
        return self.treatments.outcomes(asked)

    def _land(
        self, sessions: Sequence[SessionState], replies: Sequence[str], chances: Sequence[np.random.Generator]
    ) -> Landed:
        treated = self.treatments.land(sessions, replies, chances)
        rewards = treated.turned.parts.total
        return Landed(treated, treated.batches, treated.sessions, rewards, treated.terminated, treated.truncated)

    def _columns(self, landed: Landed) -> tuple[Columns, list[tuple[np.ndarray, Columns]]]:
        treated: Treated = landed.turn
        turned, catalog = treated.turned, self.conduct.catalog
        told = truth(turned, catalog) | turn_told(turned) | {"treatment_ending": list(treated.endings)}
        ended = (turned.closed, {"session_ended": session_told(treated)})
        if treated.begun is None:
            return told, [ended]
        return told, [(treated.goes_on, truth(treated.begun, catalog)), ended]
