"""The response model: what emphasis is worth, its tables, and which therapists it tells apart."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from client_graph.drive import HIGH, LOW
from client_graph.names import CONFIGS, DIMENSIONS, PHASES, SIGNALS
from client_graph.tables import TableError
from envs.skills import Moment, ResponseModel, ResponseSettings
from envs.skills.evaluation import best_constant, evaluate
from envs.skills.policies import CLINICIANS, Knowing, RandomPolicy, emphasis_on, single_minded
from envs.skills.rows import read_response_rows
from rewards.tables import load_reward_tables

MODEL = ResponseModel()
QUIET = ResponseModel(ResponseSettings(score_noise=0.0))
CLINICIAN, BLIND_TO_STAGE, BLIND_TO_PHASE, ORACLE = CLINICIANS
TURN = {name: d for d, name in enumerate(DIMENSIONS)}


def moment(stage: int = 1, phase: str = "A", last: float = float("nan"), chance: int = 1, **signals: float) -> Moment:
    """One client; signals that are not named are 0."""
    return Moment(
        np.array([stage - 1]),
        np.array([PHASES.index(phase)]),
        np.zeros(1, dtype=np.int64),
        np.array([[signals.get(name, 0.0) for name in SIGNALS]]),
        np.array([[np.nan, np.nan, np.nan, last]]),
        np.array([chance], dtype=np.uint64),
    )


levels = st.floats(0, 10)
moments = st.builds(
    moment,
    st.integers(1, 4),
    st.sampled_from(PHASES),
    st.one_of(st.just(float("nan")), levels),
    st.integers(0, 2**64 - 1),
    **dict.fromkeys(SIGNALS, levels),
)
emphases = arrays(np.float64, 12, elements=st.floats(0, 1))
within_budget = arrays(np.float64, 12, elements=st.floats(0, 0.27))  # eleven of them leave room for a twelfth of 1
dimensions = st.integers(0, 11)


@given(moments, emphases)
def test_scores_stay_in_range(now: Moment, emphasis: np.ndarray) -> None:
    scores = MODEL.scores(emphasis[None], now)
    assert ((scores >= 0) & (scores <= 10)).all()


@given(moments, within_budget, dimensions, st.floats(0, 1), st.floats(0, 1))
def test_more_fitting_emphasis_never_scores_lower_on_that_dimension(
    now: Moment, emphasis: np.ndarray, d: int, one: float, other: float
) -> None:
    need = MODEL.needs(now)[0, d]
    less, more = emphasis.copy(), emphasis.copy()
    less[d], more[d] = sorted((one * need, other * need))
    assert MODEL.scores(more[None], now)[0, d] >= MODEL.scores(less[None], now)[0, d] - 1e-12


@given(moments, within_budget, dimensions, st.floats(0, 1), st.floats(0, 1))
def test_emphasis_beyond_the_need_never_scores_higher_anywhere(
    now: Moment, emphasis: np.ndarray, d: int, one: float, other: float
) -> None:
    need = MODEL.needs(now)[0, d]
    enough, too_much = emphasis.copy(), emphasis.copy()
    enough[d], too_much[d] = sorted(need + (1.0 - need) * share for share in (one, other))
    assert (MODEL.scores(too_much[None], now) <= MODEL.scores(enough[None], now) + 1e-9).all()


@given(st.lists(st.tuples(moments, emphases), min_size=1, max_size=5))
def test_a_batch_is_its_singles_bit_for_bit(pairs: list[tuple[Moment, np.ndarray]]) -> None:
    together = Moment(*(np.concatenate(columns) for columns in zip(*(now for now, _ in pairs), strict=True)))
    scores = MODEL.scores(np.stack([emphasis for _, emphasis in pairs]), together)
    for i, (now, emphasis) in enumerate(pairs):
        assert scores[i].tobytes() == MODEL.scores(emphasis[None], now)[0].tobytes()
        assert MODEL.needs(together)[i].tobytes() == MODEL.needs(now)[0].tobytes()


@given(moments, emphases)
def test_what_counts_is_at_most_the_budget_and_keeps_its_proportions(now: Moment, emphasis: np.ndarray) -> None:
    spent = MODEL.within_budget(emphasis)
    assert spent.sum() <= MODEL.settings.budget + 1e-9
    assert MODEL.scores(spent[None], now)[0] == pytest.approx(MODEL.scores(emphasis[None], now)[0], abs=1e-9)


def test_no_moment_can_be_met_whole_within_the_budget() -> None:
    assert (MODEL.tables.needs.sum(axis=2) > MODEL.settings.budget + 1.0).all()


def test_no_two_moments_ask_for_the_same() -> None:
    needs = MODEL.tables.needs.reshape(16, 12)
    for i in range(16):
        for j in range(i):
            assert np.abs(needs[i] - needs[j]).max() >= 0.3


@pytest.mark.parametrize("stage", [1, 2, 3, 4])
@pytest.mark.parametrize("phase", PHASES)
def test_in_every_moment_fit_emphasis_helps_and_unfit_emphasis_harms(stage: int, phase: str) -> None:
    now = moment(stage, phase)
    needs = QUIET.needs(now)[0]
    most, least = int(needs.argmax()), int(needs.argmin())
    fit, unfit = np.zeros(12), np.zeros(12)
    fit[most], unfit[least] = needs[most], 1.0
    assert QUIET.scores(fit[None], now)[0, most] > HIGH
    assert QUIET.scores(unfit[None], now)[0, most] < LOW


def test_interpretation_at_a_defended_client_harms_and_frightens() -> None:
    now = moment(1, "A", defensiveness=7.0)
    scores = QUIET.scores(np.eye(12)[[TURN["clinical_wisdom"]]], now)[0]
    silent = QUIET.scores(np.zeros((1, 12)), now)[0]
    assert scores[TURN["clinical_wisdom"]] < LOW
    assert scores[TURN["safety"]] < silent[TURN["safety"]]


def test_core_access_in_the_foundation_stage_asks_for_containment_and_in_the_working_stage_for_a_witness() -> None:
    """Paper 387."""
    containing = [TURN[name] for name in ("safety", "pacing", "non_reactivity")]
    witnessing = [TURN[name] for name in ("attunement", "tenderness")]
    foundation, working = QUIET.needs(moment(1, "C"))[0], QUIET.needs(moment(2, "C"))[0]
    assert foundation[containing].min() > foundation[witnessing].max()
    assert working[witnessing].min() > working[[TURN["safety"], TURN["pacing"], TURN["validation"]]].max()


def test_termination_asks_for_no_new_material() -> None:
    """Paper 399."""
    assert MODEL.tables.needs[3, :, TURN["clinical_wisdom"]].max() <= 0.1


@pytest.mark.parametrize(
    ("sign", "more", "less"),
    [
        ("overwhelm", ("safety", "pacing", "non_reactivity"), ("clinical_wisdom", "thoughtfulness")),
        ("defensiveness", ("safety", "validation"), ("clinical_wisdom", "tenderness")),
        ("resistance", ("pacing", "validation"), ("clinical_wisdom",)),
        ("openness", ("attunement",), ("pacing",)),
    ],
)
def test_the_client_moves_what_is_needed(sign: str, more: tuple[str, ...], less: tuple[str, ...]) -> None:
    calm, moved = QUIET.needs(moment(2, "B"))[0], QUIET.needs(moment(2, "B", **{sign: 9.0}))[0]
    assert all(moved[TURN[name]] > calm[TURN[name]] for name in more)
    assert all(moved[TURN[name]] < calm[TURN[name]] for name in less)


def test_a_miss_asks_for_repair() -> None:
    repair = TURN["repair"]
    assert QUIET.needs(moment(1, "B", last=1.0))[0, repair] > QUIET.needs(moment(1, "B", last=7.0))[0, repair] + 0.5
    assert (QUIET.needs(moment(1, "B"))[0] == QUIET.needs(moment(1, "B", last=5.0))[0]).all()


def test_the_noise_has_the_spread_that_is_asked_for_and_no_bias() -> None:
    n = 4_000
    now = moment()
    many = Moment(*(np.repeat(column, n, axis=0) for column in now[:-1]), np.arange(n, dtype=np.uint64) * 7_919)
    errors = MODEL.scores(np.full((n, 12), 0.2), many) - QUIET.scores(np.full((1, 12), 0.2), now)
    assert errors.std() == pytest.approx(MODEL.settings.score_noise, rel=0.03)
    assert abs(errors.mean()) < 0.02
    assert abs(np.corrcoef(errors.T) - np.eye(12)).max() < 0.08


def test_the_tables_are_read_whole_and_all_their_mistakes_are_told_at_once(tmp_path: Path) -> None:
    for path in (CONFIGS / "envs").glob("skills_*.csv"):
        shutil.copy(path, tmp_path)
    assert read_response_rows(tmp_path) == read_response_rows()
    needs = (tmp_path / "skills_needs.csv").read_text().splitlines()
    broken = tmp_path / "broken"
    shutil.copytree(tmp_path, broken)
    (broken / "skills_needs.csv").write_text("\n".join([*needs[:-1], needs[1]]) + "\n")
    spill = (broken / "skills_spill.csv").read_text()
    (broken / "skills_spill.csv").write_text(spill + "safety,safety,1.0,design: no\n")
    with pytest.raises(TableError) as caught:
        read_response_rows(broken)
    told = str(caught.value)
    assert "(1, 'attunement') stands more than once" in told
    assert "no row for (4, 'artfulness')" in told
    assert "safety onto itself" in told


@pytest.mark.many
def test_the_therapists_stand_in_order_and_no_constant_keeps_up() -> None:
    each, seed = 48, 5
    random = evaluate(RandomPolicy(np.random.default_rng(0)), each, seed)
    constant = evaluate(best_constant(np.random.default_rng(0), generations=8, candidates=48, each=4), each, seed)
    clinician, no_stage, no_phase, oracle = (evaluate(policy, each, seed) for policy in CLINICIANS)
    knowing = evaluate(
        lambda envs: Knowing(envs.sessions.response, lambda: envs.sessions.moment, load_reward_tables().weights),
        each,
        seed,
    )
    order = [found.mean()[0] for found in (random, constant, clinician, oracle, knowing)]
    assert order[0] + 40 < order[1] < order[2] - 30
    assert order[2] + 5 < order[3] < order[4]
    assert no_stage.mean()[0] < clinician.mean()[0] - 60
    assert no_phase.mean()[0] < clinician.mean()[0] - 40
    for stage in (1, 2, 3, 4):
        assert clinician.mean(stage)[0] > max(no_stage.mean(stage)[0], no_phase.mean(stage)[0]) + 15


@pytest.mark.many
@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_one_virtue_is_not_enough(dimension: str) -> None:
    single = evaluate(single_minded(dimension), 16, 6)
    assert single.mean()[0] < evaluate(RandomPolicy(np.random.default_rng(0)), 16, 6).mean()[0]
    assert single.returns.max() < evaluate(CLINICIAN, 16, 6).mean()[0]


def test_a_clinician_reads_most_phases_from_the_signals() -> None:
    from envs.skills import SkillsVectorEnv

    envs = SkillsVectorEnv(200, stage=np.resize([1, 2, 3, 4], 200).tolist())
    observations, _ = envs.reset(seed=4)
    right = seen = 0
    for _ in range(40):
        phase = envs.phase
        early = phase < 3  # C and D look alike to whoever sees one turn
        right += int((CLINICIAN.guess(observations) == phase)[early].sum())
        seen += int(early.sum())
        observations, *_ = envs.step(ORACLE.act(observations, phase))
    assert right / seen > 0.9


def test_priorities_fill_the_budget() -> None:
    assert emphasis_on("safety pacing validation boundaries repair").sum() == pytest.approx(MODEL.settings.budget)
