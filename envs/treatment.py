"""icarus/Treatment-v0: a treatment of many sessions, text in and text out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from client_graph.catalog import Catalog
from client_graph.settings import ClientSettings, CourseSettings
from envs.arguments import conduct_of, kind_problems, number_problems, render_problems, stage_problems
from envs.conduct import Begun
from envs.course import Treated, Treatments
from envs.infos import end_told, row, truth, turn_told
from envs.session import RENDER_MODES, SessionEnv
from envs.types import Outcome, SessionState
from envs.voice import ClientVoice
from judges.protocol import Judge, JudgeFailure
from rewards.settings import RewardSettings

MAX_SESSIONS = 26  # half a year of weekly sessions (Howard et al. 1986)


class TreatmentEnv(SessionEnv):
    """One treatment of a simulated client. Research software: a simulator, not for clinical use.

    Action, observation, reward and arguments are those of SessionEnv, with these differences:

    - A session that is over is no end: a week passes (gains settle, life goes on, the client arrives defended again), and
      the observation of the same step holds the first words of the next session. What the ended session showed is in
      `info["session_ended"]`: its `ending`, the client's `farewell`, `stage_step`, `session_assessment`, `session_measures`.
    - Terminated when the treatment ends: as `planned` (two sessions of stage 4), or because the client `left` (walked out)
      or `dropped_out` (came no more). Truncated at `max_sessions` (`session_limit`). `info["treatment_ending"]` says which.
    - The reward part `ending` settles an early end: 16 points for each turn that was not needed, -6 for each that was not
      held because the client went away, over the sessions that were agreed on. `evaluate` tells it as `step` pays it: whether
      the client would come again is told too, as the same chance decides.

    Args:
        max_sessions: sessions agreed on, a week apart.
        course: life between sessions, drop-out and the planned ending.
    """

    _treatment = True

    def __init__(
        self,
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
    ) -> None:
        conduct = conduct_of(
            client=client, judge=judge, catalog=catalog, max_turns=max_turns, reward=reward, settings=settings,
            judge_retries=judge_retries,
            also=[
                *stage_problems(stage),
                *render_problems(render_mode, RENDER_MODES),
                *treatment_problems(max_sessions, course),
            ],
        )  # fmt: skip
        self._set_up(conduct, stage, render_mode)
        self.treatments = Treatments(conduct, int(max_sessions), course or CourseSettings())

    def _begin(self, same_client: bool, wishes: dict[str, Any]) -> Begun:
        expect_no_same_client(same_client)
        states, people = self.conduct.newcomers([self.np_random], **wishes)
        return self.treatments.begin(states, people, [self.np_random])

    def _outcomes(self, asked: Sequence[tuple[SessionState, str]]) -> list[Outcome | JudgeFailure]:
        return self.treatments.outcomes(asked)

    def step(self, action: str) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """One turn, and where it was the session's last, the week after it."""
        treated = self.treatments.turn([self._running()], [action], [self.np_random])
        self._session = treated.sessions[0]
        self._show()
        return (
            self._observation(),
            float(treated.turned.parts.total[0]),
            bool(treated.terminated[0]),
            bool(treated.truncated[0]),
            treatment_info(treated, self.catalog),
        )


def expect_no_same_client(same_client: bool) -> None:
    """Raise ValueError where the option is set."""
    if same_client:
        raise ValueError("found the option same_client; expected none: a treatment goes on with its client by itself")


def treatment_problems(max_sessions: Any, course: Any) -> list[str]:
    """What is wrong with what only a treatment has."""
    return [*number_problems("max_sessions", max_sessions, 1), *kind_problems("course", course, CourseSettings)]


def treatment_info(treated: Treated, catalog: Catalog) -> dict[str, Any]:
    """The info of the one treatment of `treated`: the truth is the client's as they are now."""
    turned = treated.turned
    info = {
        **row(truth(treated.begun or turned, catalog), 0),
        **row(turn_told(turned), 0),
        "treatment_ending": treated.endings[0],
    }
    if len(turned.closed):
        info["session_ended"] = row(session_told(treated), 0)
    return info


def session_told(treated: Treated) -> dict[str, Any]:
    """Of the treatments whose session is over: how it ended and what it showed, as columns."""
    turned = treated.turned
    return {
        "ending": [turned.endings[i] for i in turned.closed],
        "farewell": [turned.sessions[i].words for i in turned.closed],
        "farewell_reasoning": [turned.sessions[i].reasoning for i in turned.closed],
        **end_told(turned),
    }
