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
from envs.skills.policies import (
    ANSWERS,
    FOUR_CONSTANTS,
    Clinician,
    Knowing,
    RandomPolicy,
    emphasis_on,
    single_minded,
    told,
)
from envs.skills.rows import read_response_rows
from rewards.tables import load_reward_tables

MODEL = ResponseModel()
STILL = ResponseSettings(score_noise=0.0, day_spread=0.0, markers=False)
QUIET = ResponseModel(STILL)
CLINICIAN, TOLD_PHASE = Clinician(), Clinician(knows_phase=True)
MARKERS = MODEL.markers
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
    noisy = ResponseModel(ResponseSettings(day_spread=0.0, markers=False))
    errors = noisy.scores(np.full((n, 12), 0.2), many) - QUIET.scores(np.full((1, 12), 0.2), now)
    assert errors.std() == pytest.approx(noisy.settings.score_noise, rel=0.03)
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
    markers = (broken / "skills_markers.csv").read_text()
    (broken / "skills_markers.csv").write_text(markers[: markers.index("wondering")])
    with pytest.raises(TableError) as caught:
        read_response_rows(broken)
    said = str(caught.value)
    assert "(1, 'attunement') stands more than once" in said
    assert "no row for (4, 'artfulness')" in said
    assert "safety onto itself" in said
    assert "odds of phase_a sum to 0.98; expected 1" in said
    assert "marker 'wondering' does not exist" in said


def crowd(n: int, phase: str = "B", turn: int = 0) -> Moment:
    now = moment(2, phase)
    many = Moment(*(np.repeat(column, n, axis=0) for column in now[:-1]), np.arange(n, dtype=np.uint64) * 7_919)
    return many._replace(turn=np.full(n, turn))


def test_a_day_is_good_or_bad_for_all_that_is_said_in_the_session() -> None:
    n = 4_000
    days = ResponseModel(ResponseSettings(score_noise=0.0, markers=False))
    some = np.full((n, 12), 0.2)
    first, later = (days.scores(some, crowd(n, turn=turn)) - QUIET.scores(some, crowd(n)) for turn in (0, 7))
    assert np.ptp(first, axis=1) == pytest.approx(0.0, abs=1e-12)
    assert (first == later).all()
    assert first[:, 0].std() == pytest.approx(days.settings.day_spread, rel=0.05)
    assert abs(first.mean()) < 0.05


@pytest.mark.parametrize("phase", PHASES)
def test_markers_come_by_the_odds_of_the_phase_and_anew_at_every_turn(phase: str) -> None:
    n = 20_000
    first, second = (MODEL.marker(crowd(n, phase, turn)) for turn in (3, 4))
    odds = [getattr(row, f"phase_{phase.lower()}") for row in MODEL.rows.markers]
    assert np.bincount(first, minlength=len(MARKERS)) / n == pytest.approx(odds, abs=0.015)
    assert (first == second).mean() == pytest.approx(sum(p * p for p in odds), abs=0.015)


def test_a_marker_moves_the_needs_as_its_rows_say() -> None:
    many = crowd(2_000)
    marker, needs, still = MODEL.marker(many), MODEL.needs(many), QUIET.needs(many)
    assert set(marker.tolist()) == set(range(len(MARKERS)))
    moved = np.zeros((len(MARKERS), 12))
    for row in MODEL.rows.marker_needs:
        moved[MARKERS.index(row.marker), TURN[row.dimension]] = row.shift
    assert needs == pytest.approx(np.clip(still + moved[marker], 0.0, 1.0), abs=1e-12)
    assert (moved[0] == 0.0).all()


def test_no_two_markers_look_or_ask_alike() -> None:
    signs, asked = MODEL.tables.marker_signs, MODEL.tables.marker_needs
    for i in range(len(MARKERS)):
        for j in range(i):
            assert np.linalg.norm(signs[i] - signs[j]) >= 2.5
            assert np.abs(asked[i] - asked[j]).max() >= 0.6
    assert tuple(ANSWERS) == MARKERS


@pytest.mark.parametrize(
    ("signals", "marker"),
    [
        ([8.4, 9.1, 3.6, 2.4, 0.0], "reaching"),
        ([4.4, 3.1, 4.1, 3.4, 0.0], "withdrawing"),
        ([6.9, 6.6, 7.1, 4.9, 0.0], "confronting"),
        ([6.9, 6.6, 3.6, 2.9, 4.5], "flooded"),
        ([5.4, 7.1, 3.6, 5.9, 0.0], "distancing"),
        ([9.9, 6.1, 2.1, 2.4, 0.0], "wondering"),
        ([6.9, 6.1, 3.6, 2.9, 0.0], "steady"),
    ],
)
def test_a_clinician_reads_what_the_client_does(signals: list[float], marker: str) -> None:
    seen = np.array([[*signals, 6.0, 2, 8, 1, 1]])
    weight = CLINICIAN.weigh(seen, np.array([1]))[0, 1]
    assert MARKERS[int(weight.argmax())] == marker
    assert weight.sum() == pytest.approx(1.0)


@pytest.mark.many
def test_the_therapists_stand_in_order_and_no_constant_keeps_up() -> None:
    each, seed = 48, 5

    def worth(policy: object) -> float:
        return evaluate(policy, each, seed).mean()[0]  # type: ignore[arg-type]

    random = worth(RandomPolicy(np.random.default_rng(0)))
    constant = worth(best_constant(np.random.default_rng(0), generations=8, candidates=48, each=4))
    four, clinician, told_phase = worth(FOUR_CONSTANTS), worth(CLINICIAN), worth(TOLD_PHASE)
    told_all = worth(lambda envs: told(lambda: envs.marker))
    knowing = worth(
        lambda envs: Knowing(envs.sessions.response, lambda: envs.sessions.moment, load_reward_tables().weights)
    )
    no_stage, no_marker = worth(Clinician(reads_stage=False)), worth(Clinician(reads_markers=False))
    assert random + 50 < constant < four - 20
    assert four + 20 < clinician < told_phase - 4
    assert told_phase - 2 < told_all < knowing
    assert max(no_stage, no_marker) < clinician - 40


@pytest.mark.many
@pytest.mark.parametrize("dimension", DIMENSIONS)
def test_one_virtue_is_not_enough(dimension: str) -> None:
    single = evaluate(single_minded(dimension), 16, 6)
    assert single.mean()[0] < evaluate(RandomPolicy(np.random.default_rng(0)), 16, 6).mean()[0] + 15
    assert single.returns.max() < evaluate(CLINICIAN, 16, 6).mean()[0]


def test_a_clinician_reads_most_phases_and_markers_from_the_signals() -> None:
    from envs.skills import SkillsVectorEnv

    envs = SkillsVectorEnv(200, stage=np.resize([1, 2, 3, 4], 200).tolist())
    observations, _ = envs.reset(seed=4)
    phases, markers = [], []
    for _ in range(20):
        weight = CLINICIAN.weigh(observations)
        phases.append(weight.sum(axis=2).argmax(axis=1) == envs.phase)
        markers.append(weight.sum(axis=1).argmax(axis=1) == envs.marker)
        observations, *_ = envs.step(CLINICIAN.act(observations, envs.phase))
    assert np.mean(phases) > 0.8
    assert np.mean(markers) > 0.85


def test_priorities_fill_the_budget() -> None:
    assert emphasis_on("safety pacing validation boundaries repair").sum() == pytest.approx(MODEL.settings.budget)
