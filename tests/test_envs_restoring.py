"""Going back: what is not whole is refused by name and changes nothing; on paper and off it, a snapshot is the same bits."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import gymnasium
import numpy as np
import pytest
from test_envs_session import CATALOG, by_turn, same

from client_graph.settings import CourseSettings
from client_graph.state import ClientState
from client_graph.turn import TurnReport
from envs.session import SessionEnv
from envs.session_vector import SessionVectorEnv
from envs.snapshot import from_json, to_json
from envs.treatment import TreatmentEnv
from envs.treatment_vector import TreatmentVectorEnv
from envs.types import Snapshot
from judges.scripted import ScriptedJudge


def made(kind: Any, *given: Any, **others: Any) -> Any:
    return kind(*given, **{"client": "silent", "judge": ScriptedJudge(by_turn), "catalog": CATALOG} | others)


def after(turns: int, kind: Any = SessionEnv, **others: Any) -> Any:
    """A single environment after so many turns."""
    env = made(kind, **others)
    env.reset(seed=3)
    for _ in range(turns):
        env.step("Go on.")
    return env


def changed(snapshot: Snapshot, **parts: Any) -> Snapshot:
    return replace(snapshot, session=replace(snapshot.session, **parts))


def with_state(snapshot: Snapshot, **arrays: Any) -> Snapshot:
    return changed(snapshot, state=snapshot.session.state._replace(**arrays))


def levels(snapshot: Snapshot, level: float) -> np.ndarray:
    found: np.ndarray = snapshot.session.state.levels.copy()
    found[0, 3] = level
    return found


def two_ruptures(snapshot: Snapshot) -> TurnReport:
    assert snapshot.session.report is not None
    return snapshot.session.report._replace(rupture=np.zeros(2, dtype=np.bool_))


UNFIT: dict[str, tuple[Callable[[Snapshot], Snapshot], str]] = {
    "kind of generator": (lambda s: replace(s, chance=np.random.MT19937(1).state), r"found MT19937 .*expected .*PCG64"),
    "no generator": (lambda s: replace(s, chance={"bit_generator": "PCG64"}), r"the generator: "),
    "null generator": (lambda s: replace(s, chance=None), r"the generator: "),
    "shape": (lambda s: with_state(s, levels=s.session.state.levels[:, :-5]), r"state\.levels: .*\(1, 137\)"),
    "dtype": (lambda s: with_state(s, tmog=s.session.state.tmog.astype(np.float32)), r"state\.tmog: found float32"),
    "range": (lambda s: with_state(s, levels=levels(s, 11.0)), r"state\.levels: found 11\.0"),
    "nan": (lambda s: with_state(s, levels=levels(s, float("nan"))), r"state\.levels: found nan"),
    "stage": (lambda s: with_state(s, stage=np.array([4])), r"state\.stage: found 4"),
    "two clients": (lambda s: changed(s, state=ClientState.stack([s.session.state] * 2)), r"state\.levels: .*\(2, 142\)"),
    "no client": (lambda s: changed(s, state=None), r"state: found a NoneType"),
    "a list": (lambda s: with_state(s, phase=[0]), r"state\.phase: found list"),
    "before": (lambda s: changed(s, before=None), r"the client before the last turn"),
    "report": (lambda s: changed(s, report=two_ruptures(s)), r"report\.rupture: "),
    "no session": (lambda s: Snapshot(None, s.chance), r"found a NoneType; expected a SessionState"),  # type: ignore[arg-type]
    "no person": (lambda s: changed(s, person="Ada"), r"found a str; expected a Person"),
    "history": (lambda s: changed(s, history=()), r"found 0 turns of history"),
    "scores": (lambda s: changed(s, scores=()), r"found 0 rows of scores; expected 2"),
    "over": (lambda s: changed(s, over=True), r"the client at their next session"),
    "count": (lambda s: changed(s, turns_in_integration=9), r"turns_in_integration 9"),
    "alliance": (lambda s: changed(s, alliance_at_start=float("nan")), r"alliance_at_start nan"),
    "words": (lambda s: changed(s, words="\ud800"), r"words: found a lone surrogate"),
}  # fmt: skip


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize(("spoilt", "said"), UNFIT.values(), ids=UNFIT)
def test_what_is_not_whole_is_refused_and_changes_nothing(
    many: bool, spoilt: Callable[[Snapshot], Snapshot], said: str
) -> None:
    good = after(2).snapshot()
    env = made(SessionVectorEnv, 2) if many else made(SessionEnv)
    for reset in (False, True):
        if reset:
            env.reset(seed=5)
            env.step(("a", "b") if many else "a")
        before = env.snapshot() if reset else None
        with pytest.raises(ValueError, match=said) as refused:
            env.restore([good, spoilt(good)] if many else spoilt(good))
        assert ("snapshot 1: " in str(refused.value)) == many
        if reset:
            assert env.snapshot() == before
            assert env.np_random_seed == ((5, 6) if many else 5)
        else:
            with pytest.raises(gymnasium.error.ResetNeeded):
                env.snapshot()


def test_all_that_is_wrong_is_named_at_once() -> None:
    snapshot = after(2).snapshot()
    wrong = replace(with_state(changed(snapshot, history=()), levels=levels(snapshot, -1.0)), chance=None)
    with pytest.raises(ValueError, match=r"state\.levels.*history.*the generator"):
        made(SessionEnv).restore(wrong)


@pytest.mark.parametrize("wrong", [None, "a snapshot", {}, [1, 2]])
def test_what_is_no_snapshot_is_refused(wrong: Any) -> None:
    with pytest.raises(TypeError, match="expected"):
        made(SessionEnv).restore(wrong)
    with pytest.raises(TypeError, match="expected"):
        made(SessionVectorEnv, 2).restore([wrong, wrong])


def test_a_session_is_no_treatment_and_a_treatment_no_session() -> None:
    alone, treatment = after(2).snapshot(), after(2, TreatmentEnv).snapshot()
    for kind, wrong, right in ((TreatmentEnv, alone, treatment), (SessionEnv, treatment, alone)):
        env = made(kind)
        with pytest.raises(ValueError, match=r"found a snapshot of .*; expected one of "):
            env.restore(wrong)
        env.restore(right)
        assert env.snapshot() == right
    with pytest.raises(ValueError, match="found a snapshot of a session alone"):
        made(TreatmentVectorEnv, 1).restore([alone])
    course = treatment.session.course._replace(ending=np.array([7]))
    with pytest.raises(ValueError, match="an ending in 0 to 3"):
        made(TreatmentEnv).restore(changed(treatment, course=course))


def test_a_session_longer_than_the_environments_is_refused() -> None:
    for turns, fits in ((2, True), (3, False), (4, False)):
        snapshot, env = after(turns, max_turns=9).snapshot(), made(SessionEnv, max_turns=3)
        if fits:
            assert env.observation_space.contains(env.restore(snapshot))
            assert env.step("Go on.")[3]
        else:
            with pytest.raises(ValueError, match=rf"found {turns} turns .*expected at most 2, as max_turns is 3"):
                env.restore(snapshot)
    env = made(SessionEnv, max_turns=3)
    env.restore(after(3, max_turns=3).snapshot())
    with pytest.raises(gymnasium.error.ResetNeeded):
        env.step("Go on.")


def test_where_an_end_begins_anew_at_once_nobody_is_restored_over() -> None:
    over, going = after(2, max_turns=2).snapshot(), after(1, max_turns=2).snapshot()
    for mode in ("NextStep", "Disabled"):
        made(SessionVectorEnv, 2, max_turns=2, autoreset_mode=mode).restore([going, over])
    env = made(SessionVectorEnv, 2, max_turns=2, autoreset_mode="SameStep")
    env.reset(seed=8)
    before = env.snapshot()
    with pytest.raises(ValueError, match=r"sub-environments \[1\] are over"):
        env.restore([going, over])
    assert env.snapshot() == before
    env.restore([going, going])


def test_the_seed_of_what_was_only_restored_is_unknown() -> None:
    snapshot = after(1).snapshot()
    env, many = made(SessionEnv), made(SessionVectorEnv, 2)
    env.restore(snapshot)
    many.restore([snapshot] * 2)
    assert env.np_random_seed == -1
    assert many.np_random_seed == (-1, -1)
    assert many.np_random[0] is not many.np_random[1]
    first = env.step("Go on.")
    for other in (made(SessionEnv), after(2)):
        seed = other._np_random_seed
        other.restore(snapshot)
        assert other.np_random_seed == (seed or -1)
        assert same(other.step("Go on."), first)


def test_snapshots_are_equal_where_their_bits_are() -> None:
    env = after(2, TreatmentEnv, max_turns=2)
    one, two = env.snapshot(), env.snapshot()
    assert one == two
    assert one != "a snapshot"
    assert one.session == two.session
    env.np_random.random()
    assert env.snapshot() != one
    two.session.state.levels[0, 0] = np.nextafter(two.session.state.levels[0, 0], 5.0)
    assert one != two
    with pytest.raises(TypeError, match="unhashable"):
        hash(one)
    (tried,), (again,) = env.evaluate(["a"]), made_again(env).evaluate(["a"])
    assert tried == again
    assert tried != env.evaluate(["bb"])[0]


def made_again(env: Any) -> Any:
    other = made(TreatmentEnv, max_turns=2)
    other.restore(env.snapshot())
    return other


def test_what_was_restored_cannot_be_written_into() -> None:
    """Also the client of the next session, whom a reset with same_client goes on with."""
    env = made(SessionVectorEnv, 1, max_turns=2)
    env.restore([from_json(to_json(after(2, max_turns=2).snapshot()))])
    (session,) = env.sessions
    for arrays in (session.state, session.before, session.report, session.next_state):
        assert not any(array.flags.writeable for array in arrays)


def test_a_snapshot_that_was_restored_may_be_scribbled_on() -> None:
    snapshot, env = after(2).snapshot(), made(SessionEnv)
    env.restore(snapshot)
    before = env.snapshot()
    snapshot.session.state.levels[:] = 0.0
    snapshot.chance["state"]["state"] = 1
    assert env.snapshot() == before


def test_replies_that_were_tried_stay_behind() -> None:
    env = after(1)
    env.evaluate(["a"])
    tried = env._session.tried
    env.restore(changed(env.snapshot(), tried=tried))
    assert env._session.tried == {}


# On paper


def on_paper(kind: Any = TreatmentEnv, turns: int = 2) -> Any:
    return json.loads(json.dumps(to_json(after(turns, kind).snapshot())))


def put(saved: Any, *path: Any) -> Any:
    """`saved` with the last of `path` where the others lead."""
    *way, last, value = path
    place = saved
    for step in way:
        place = place[step]
    place[last] = value
    return saved


def without(saved: Any, *path: Any) -> Any:
    place = saved
    for step in path[:-1]:
        place = place[step]
    del place[path[-1]]
    return saved


WRONG_ON_PAPER: dict[str, tuple[Callable[[Any], Any], str]] = {
    "no object": (lambda s: [1], r"found a list, not an object"),
    "missing": (lambda s: without(without(s, "words"), "chance"), r"found no chance, words"),
    "unknown": (lambda s: put(s, "mood", 1), r"found unknown mood"),
    "words": (lambda s: put(s, "words", 3), r"words is 3, no str"),
    "over": (lambda s: put(s, "over", 1), r"over is 1, no bool"),
    "alliance": (lambda s: put(s, "alliance_at_start", True), r"alliance_at_start is True, no float"),
    "state": (lambda s: put(s, "state", None), r"state is null"),
    "no state": (lambda s: put(s, "state", [1]), r"state is a list, no object"),
    "field": (lambda s: without(s, "state", "levels"), r"state has no levels"),
    "bytes": (lambda s: put(s, "report", "loa", "bytes", "!"), r"report\.loa holds no array"),
    "shape": (lambda s: put(s, "state", "levels", "shape", [1, 3]), r"state\.levels holds no array"),
    "dtype": (lambda s: put(s, "before", "tmog", "dtype", "O"), r"before\.tmog holds no array"),
    "no array": (lambda s: put(s, "before", "tmog", 3), r"before\.tmog holds no array"),
    "course": (lambda s: put(s, "course", "luck", 1), r"course has unknown luck"),
    "person": (lambda s: without(s, "person", "name"), r"person has no name"),
    "stage": (lambda s: put(s, "person", "stage", "2"), r"person\.stage is '2'"),
    "strengths": (lambda s: put(s, "person", "strengths", [["a"]]), r"person\.strengths holds \['a'\]"),
    "turn": (lambda s: without(s, "history", 1, "client"), r"history turn 2 has no client"),
    "said": (lambda s: put(s, "history", 0, "therapist", None), r"history turn 1: therapist is None"),
    "history": (lambda s: put(s, "history", {}), r"history is a dict, no list"),
    "scores": (lambda s: without(s, "scores", 0, 3), r"scores row 1 is .*no list of 12 numbers"),
    "chance": (lambda s: put(s, "chance", 3), r"chance is a int, no object"),
}  # fmt: skip


@pytest.mark.parametrize(("spoilt", "said"), WRONG_ON_PAPER.values(), ids=WRONG_ON_PAPER)
def test_paper_that_is_no_snapshot_is_refused_by_name(spoilt: Callable[[Any], Any], said: str) -> None:
    with pytest.raises(ValueError, match=rf"no snapshot of a session: .*{said}.*Expected what to_json wrote"):
        from_json(spoilt(on_paper()))


def test_all_faults_of_a_paper_are_in_one_error() -> None:
    paper = on_paper() | {"over": "no", "mood": 1}
    del paper["words"], paper["state"]["levels"]
    with pytest.raises(ValueError, match=r"no words; .*unknown mood; over is 'no', no bool; state has no levels"):
        from_json(paper)


@pytest.mark.parametrize("kind", [SessionEnv, TreatmentEnv])
@pytest.mark.parametrize("turns", [0, 2])
def test_paper_and_back_is_the_same_snapshot(kind: Any, turns: int) -> None:
    env = after(turns, kind, client="authored")
    assert from_json(json.loads(json.dumps(to_json(env.snapshot())))) == env.snapshot()


def test_paper_from_before_treatments_is_a_session_alone() -> None:
    paper = on_paper(SessionEnv)
    del paper["course"]
    assert from_json(paper) == after(2).snapshot()


# Many and one, whatever is done in what order


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["session", "treatment"])
def test_many_are_single_ones_whatever_is_done_in_whatever_order(kind: str, seed: int) -> None:
    """Steps, trials, resets of some with and without seeds, snapshots and ways back, by chance."""
    others: dict[str, Any] = {"judge": ScriptedJudge(by_length), "max_turns": 3}
    if kind == "treatment":
        others |= {"max_sessions": 3, "course": CourseSettings(dropout=0.2)}
    many_kind, one_kind = {
        "session": (SessionVectorEnv, SessionEnv), "treatment": (TreatmentVectorEnv, TreatmentEnv)
    }[kind]  # fmt: skip
    many, singles = made(many_kind, 3, autoreset_mode="Disabled", **others), [made(one_kind, **others) for _ in "abc"]
    rng, over, kept = np.random.default_rng(seed), np.zeros(3, dtype=bool), None
    together(many.reset(seed=seed), [env.reset(seed=seed + i) for i, env in enumerate(singles)])
    for _ in range(40):
        what = rng.integers(6)
        if what == 0 or over.any():
            mask = over | (rng.random(3) < 0.5)
            mask[0] |= not mask.any()
            options: dict[str, Any] = {"stage": int(rng.integers(1, 5))} if rng.random() < 0.5 else {}
            if kind == "session" and over[mask].all() and rng.random() < 0.5:
                options = {"same_client": True}
            seeds = [int(rng.integers(100)) if rng.random() < 0.4 else None for _ in range(3)]
            found = many.reset(seed=seeds, options={**options, "reset_mask": mask})
            places = np.flatnonzero(mask).tolist()
            together(found, [singles[i].reset(seed=seeds[i], options=options) for i in places], places)
            over &= ~mask
        elif what == 1:
            kept = many.snapshot()
            assert kept == tuple(env.snapshot() for env in singles)
        elif what == 2 and kept is not None:
            together((many.restore(kept), {}), [(env.restore(s), {}) for env, s in zip(singles, kept, strict=True)])
        else:
            replies = ["x" * int(rng.integers(12)) for _ in range(3)]
            if rng.random() < 0.3:
                tried = many.evaluate([[reply, reply + "!"] for reply in replies])
                assert tried == [
                    env.evaluate([reply, reply + "!"]) for env, reply in zip(singles, replies, strict=True)
                ]
            found = many.step(replies)
            together(found, [env.step(reply) for env, reply in zip(singles, replies, strict=True)])
            over = found[2] | found[3]
        assert many.snapshot() == tuple(env.snapshot() for env in singles)


def by_length(exchange: Any) -> list[float]:
    return [float((3 * len(exchange.therapist) + d) % 11) for d in range(12)]


def together(found: Any, expected: Any, places: Any = (0, 1, 2)) -> None:
    """What a vector returned and what the single environments at `places` did: observations, rewards, flags and infos."""
    for i, (observation, *numbers, info) in zip(places, expected, strict=True):
        assert same({name: column[i] for name, column in found[0].items()}, observation)
        for column, number in zip(found[1:-1], numbers, strict=True):
            assert column[i] == number
        for name, value in info.items():
            assert not isinstance(value, float | int | np.ndarray) or np.array_equal(found[-1][name][i], value), name
