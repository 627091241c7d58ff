"""Recordings: a line holds the whole turn, its parts add up, and what is torn or mistaken is said."""

import itertools
import json
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agents.lm.five_tuple import Session
from client_graph.catalog import load_catalog
from client_graph.names import DIMENSIONS
from envs.recording import RecordingError, RecordTurns, dapt_sessions, read_recording, read_turns
from envs.session import SessionEnv
from envs.snapshot import to_json
from envs.treatment import TreatmentEnv
from envs.turn_record import LONGEST, TurnRecord, plain
from judges.protocol import Exchange, JudgeFailure
from judges.scripted import ScriptedJudge

CATALOG = load_catalog()
CHAINS = "<think>They hold back.\n\nStay beside it.</think>"


def varied(exchange: Exchange) -> list[float]:
    return [float((7 * len(exchange.history) + 3 * d + len(exchange.therapist)) % 11) for d in range(12)]


def session(max_turns: int = 4, **wishes: Any) -> SessionEnv:
    return SessionEnv(
        catalog=CATALOG, judge=ScriptedJudge(wishes.pop("script", varied), gap=0.0), max_turns=max_turns, **wishes
    )


def played(path: Path, replies: int = 4, **wishes: Any) -> tuple[TurnRecord, ...]:
    env = RecordTurns(session(**wishes), path)
    env.reset(seed=5)
    for k in range(replies):
        env.step(f"{CHAINS}I hear you{'.' * k}")
    env.close()
    return read_turns(path)


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[TurnRecord, ...]]:
    path = tmp_path_factory.mktemp("recording") / "turns.jsonl"
    return path, played(path)


def test_the_environment_is_as_without_the_recorder(tmp_path: Path) -> None:
    plain_env, recorded = session(), RecordTurns(session(), tmp_path / "t.jsonl")
    assert recorded.reset(seed=3)[0]["client"] == plain_env.reset(seed=3)[0]["client"]
    for reply in ("One.", "Two, longer.", "Three", "Four?"):
        (seen, reward, *ends, info), (seen2, reward2, *ends2, info2) = plain_env.step(reply), recorded.step(reply)
        assert (seen["client"], reward, ends) == (seen2["client"], reward2, ends2)
        np.testing.assert_array_equal(info["levels"], info2["levels"])


def test_a_turn_is_whole(four: tuple[Path, tuple[TurnRecord, ...]]) -> None:
    _, turns = four
    assert [(t.treatment, t.session, t.turn) for t in turns] == [(1, 1, k) for k in (1, 2, 3, 4)]
    assert [t.therapist for t in turns] == ["I hear you" + "." * k for k in range(4)]
    assert {t.therapist_reasoning for t in turns} == {"They hold back.\n\nStay beside it."}
    for turn, following in itertools.pairwise(turns):
        assert (following.client, following.client_reasoning) == (turn.after.client, turn.after.client_reasoning)
        assert following.before is not None
        assert following.before.model_dump() == {
            name: getattr(turn.after, name) for name in following.before.model_dump()
        }
    assert [t.after.ending for t in turns] == [None, None, None, "turn_limit"]
    assert turns[0].therapist_model is not None
    assert list(turns[0].therapist_model.beliefs) == list(CATALOG.node_names)


def test_the_client_after_a_turn_is_the_one_that_the_environment_tells(tmp_path: Path) -> None:
    env = RecordTurns(session(), tmp_path / "t.jsonl")
    env.reset(seed=1)
    for k in range(4):
        *_, info = env.step("Tell me more." + "." * k)
        after = read_turns(tmp_path / "t.jsonl")[-1].after
        assert after.levels is not None
        np.testing.assert_allclose(list(after.levels.values()), info["levels"], atol=1e-6)
        np.testing.assert_allclose(list(after.axes.values()), info["axes"], atol=1e-6)
        assert (after.phase, after.phase_step, after.rupture) == (info["phase"], info["phase_step"], info["rupture"])


def test_a_reward_point_can_be_followed(four: tuple[Path, tuple[TurnRecord, ...]]) -> None:
    for turn in four[1]:
        assert turn.trace is not None
        assert turn.moved is not None
        near = {"abs": 1e-4}
        assert sum(turn.reward_parts.values()) == pytest.approx(turn.reward, **near)
        assert list(turn.trace.composite) == list(DIMENSIONS)
        assert sum(turn.trace.composite.values()) == pytest.approx(turn.reward_parts["composite"], **near)
        assert sum(turn.trace.modifiers.values()) == pytest.approx(turn.reward_parts["modifiers"], **near)
        phase = turn.trace.phase
        assert phase.earlier + phase.buckets + phase.nodes == pytest.approx(turn.after.phase_score, **near)
        assert sum(b.phase_points for b in turn.trace.buckets.values()) == pytest.approx(phase.buckets, **near)
        for bucket in turn.trace.buckets.values():
            assert sum(bucket.parts.values()) + bucket.clipped == pytest.approx(bucket.after - bucket.before, **near)
        for node in turn.moved:
            carried = sum(cause.contribution for cause in node.causes) + node.other_edges + node.clipped
            assert node.before + carried == pytest.approx(node.after, **near)


def test_nothing_had_loosened_before_the_first_turn(four: tuple[Path, tuple[TurnRecord, ...]]) -> None:
    first, second, *_ = four[1]
    assert first.trace.phase.earlier == pytest.approx(0.0, abs=1e-6)
    if second.before.phase == first.before.phase:
        scale = second.trace.phase.alliance_factor / first.trace.phase.alliance_factor
        assert second.trace.phase.earlier == pytest.approx(first.trace.phase.score * scale, abs=1e-5)


def test_what_moved_most_stands_first(tmp_path: Path) -> None:
    env = RecordTurns(session(), tmp_path / "t.jsonl", moved=3)
    env.reset(seed=2)
    env.step("Hm.")
    (turn,) = read_turns(tmp_path / "t.jsonl")
    change = {name: abs(turn.after.levels[name] - turn.before.levels[name]) for name in turn.after.levels}
    assert [node.node for node in turn.moved] == sorted(change, key=lambda name: -change[name])[:3]


def test_a_treatment_is_recorded_with_its_farewells(tmp_path: Path) -> None:
    env = RecordTurns(
        TreatmentEnv(catalog=CATALOG, judge=ScriptedJudge(lambda _: 7.0), max_turns=2, max_sessions=2),
        tmp_path / "t.jsonl",
    )
    env.reset(seed=4)
    told, over = [], False
    while not over:
        *_, terminated, truncated, info = env.step("I am here.")
        told.append(info)
        over = terminated or truncated
    turns = read_turns(tmp_path / "t.jsonl")
    assert [(t.session, t.turn) for t in turns] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert [t.after.ending for t in turns] == [
        info["session_ended"]["ending"] if "session_ended" in info else None for info in told
    ]
    assert turns[1].after.client == told[1]["session_ended"]["farewell"]
    assert turns[3].after.treatment_ending == told[3]["treatment_ending"] is not None
    assert turns[2].client_reasoning == told[1]["client_reasoning"]


def test_clients_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    env = RecordTurns(session(max_turns=1), path)
    for options in (None, {"same_client": True}, None):
        env.reset(seed=1, options=options)
        env.step("Yes.")
    assert [(t.treatment, t.session) for t in read_turns(path)] == [(1, 1), (1, 2), (2, 1)]
    with pytest.raises(RecordingError, match="append=True"):
        RecordTurns(session(), path)
    again = RecordTurns(session(), path, append=True)
    again.reset(seed=1)
    again.step("Yes.")
    assert read_turns(path)[-1].treatment == 3


def test_a_session_restored_beneath_the_recorder(tmp_path: Path) -> None:
    env = RecordTurns(session(), tmp_path / "t.jsonl")
    env.reset(seed=6)
    env.step("First.")
    kept = env.unwrapped.snapshot()
    env.step("Second, one way.")
    env.unwrapped.restore(kept)
    env.step("Second, another way.")
    first, second, branch = read_turns(tmp_path / "t.jsonl")
    assert (branch.turn, branch.client, branch.client_reasoning) == (2, second.client, second.client_reasoning)
    assert branch.client == first.after.client


def test_a_step_that_fails_is_no_turn(tmp_path: Path) -> None:
    answers = iter([JudgeFailure("no"), 7.0])
    env = RecordTurns(session(script=lambda _: next(answers), judge_retries=0), tmp_path / "t.jsonl")
    with pytest.raises(ResetNeeded):
        env.step("Too early.")
    env.reset(seed=1)
    with pytest.raises(gymnasium.error.Error, match="no"):
        env.step("Hello.")
    assert not (tmp_path / "t.jsonl").exists()
    env.step("Hello.")
    assert len(read_turns(tmp_path / "t.jsonl")) == 1


class Full:
    """A file that takes a hundred bytes, and then fails."""

    def __init__(self, file: Any, why: BaseException) -> None:
        self.file, self.why, self.room = file, why, 100

    def __enter__(self) -> "Full":
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, data: bytes) -> int:
        if not self.room:
            raise self.why
        self.room = 0
        return int(self.file.write(data[:100]))

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


def test_a_line_that_did_not_fit_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.jsonl"
    env = RecordTurns(session(), path)
    env.reset(seed=1)
    env.step("One.")
    whole = path.read_bytes()

    stood, mark = env.unwrapped.client_view, to_json(env.unwrapped.snapshot())
    for failure in (OSError(28, "No space left on device"), KeyboardInterrupt()):
        with monkeypatch.context() as patch:
            patch.setattr("builtins.open", lambda *args, _open=open, why=failure, **kw: Full(_open(*args, **kw), why))
            with pytest.raises(type(failure)):
                env.step("Two.")
        assert path.read_bytes() == whole
        assert env.unwrapped.client_view.state.same_as(stood.state)
        assert to_json(env.unwrapped.snapshot()) == mark
    env.step("Two.")
    first, second = read_turns(path)
    assert (second.turn, second.client) == (2, first.after.client)


@pytest.mark.parametrize(
    ("place", "max_turns"),
    [("turn_facts", 4), ("therapist_words", 1), ("TurnRecord", 4), ("_append", 1), ("os.fsync", 1)],
)
def test_a_step_that_is_stopped_is_no_turn(
    place: str, max_turns: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "t.jsonl"
    env = RecordTurns(session(max_turns=max_turns), path)
    env.reset(seed=1)
    mark = to_json(env.unwrapped.snapshot())
    with monkeypatch.context() as patch:
        patch.setattr(f"envs.recording.{place}", stopped)
        with pytest.raises(KeyboardInterrupt):
            env.step("One.")
    assert to_json(env.unwrapped.snapshot()) == mark
    assert not path.exists() or path.read_bytes() == b""
    env.step("One.")
    assert [turn.turn for turn in read_turns(path)] == [1]


def test_an_end_of_a_session_in_a_treatment_is_taken_back_with_the_week(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    env = RecordTurns(TreatmentEnv(catalog=CATALOG, judge=ScriptedJudge(varied), max_turns=1), tmp_path / "t.jsonl")
    env.reset(seed=1)
    mark = to_json(env.unwrapped.snapshot())

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space"):
            env.step("One.")
    assert to_json(env.unwrapped.snapshot()) == mark
    env.step("One.")
    (turn,) = read_turns(tmp_path / "t.jsonl")
    assert (turn.session, turn.turn) == (1, 1)


def test_an_environment_without_dialogue_is_refused_at_once(tmp_path: Path) -> None:
    import envs  # noqa: F401  # registers the ids

    with pytest.raises(TypeError, match=r"no dialogue to record; expected icarus/Session-v0"):
        RecordTurns(gymnasium.make("icarus/Skills-v0", catalog=CATALOG), tmp_path / "t.jsonl")
    assert not list(tmp_path.iterdir())


def test_a_torn_last_line_is_said_and_left_out(four: tuple[Path, tuple[TurnRecord, ...]], tmp_path: Path) -> None:
    data = four[0].read_bytes()
    torn = tmp_path / "torn.jsonl"
    torn.write_bytes(data[:-1000])
    found = read_recording(torn)
    assert found.turns == four[1][:3]
    assert f"{torn}:4" in (found.torn or "")
    with pytest.warns(UserWarning, match="torn"):
        assert len(read_turns(torn)) == 3
    with pytest.raises(RecordingError, match="torn"):
        RecordTurns(session(), torn, append=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert read_turns(four[0]) == four[1]


def test_every_mistake_of_a_file_is_in_one_error(four: tuple[Path, tuple[TurnRecord, ...]], tmp_path: Path) -> None:
    first, *_ = four[0].read_text(encoding="utf-8").splitlines()
    value = json.loads(first)
    without = {name: inner for name, inner in value.items() if name != "reward_parts"}
    lines = ["{broken", "", json.dumps(without), json.dumps(value | {"tunr": 1, "session": 0}), "[1]", first]
    path = tmp_path / "bad.jsonl"
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    with pytest.raises(RecordingError) as error:
        read_turns(path)
    told = str(error.value)
    for place, words in (
        (1, "no JSON"),
        (2, "no JSON"),
        (3, "reward_parts: missing"),
        (4, "tunr: unknown key"),
        (4, "session: found 0"),
        (5, ""),
    ):
        assert any(p.startswith(f"{path}:{place}:") and words in p for p in error.value.problems), (place, told)
    assert len(error.value.problems) == 6
    (tmp_path / "empty.jsonl").write_bytes(b"")
    with pytest.raises(RecordingError, match="empty file"):
        read_turns(tmp_path / "empty.jsonl")


def test_no_number_that_is_none_is_written(four: tuple[Path, tuple[TurnRecord, ...]]) -> None:
    assert plain({"a": float("nan"), "b": [np.float64("inf"), np.int64(3)], "c": (-0.0,)}) == {
        "a": None,
        "b": [None, 3],
        "c": [0.0],
    }
    with pytest.raises(ValidationError):
        four[1][0].model_validate(four[1][0].model_dump() | {"reward": float("nan")})


def test_a_flood_of_words_is_cut_and_says_so() -> None:
    assert plain("x" * LONGEST) == "x" * LONGEST
    assert plain("x" * (LONGEST + 5)).endswith(f"[cut here: {LONGEST + 5} characters]")


@given(words=st.text(min_size=1, max_size=60), reasoning=st.text(max_size=60))
def test_any_text_comes_back_as_it_was(four: tuple[Path, tuple[TurnRecord, ...]], words: str, reasoning: str) -> None:
    # st.text has no lone surrogates of its own; one is put in front, as a client's own code might.
    from envs.recording import _line

    turn = four[1][0].model_copy(
        update={"client": "\ud800" + words, "therapist": words, "therapist_reasoning": reasoning}
    )
    line = _line(turn)
    assert line.count(b"\n") == 1
    assert TurnRecord.model_validate(json.loads(line)) == turn


def test_a_line_stays_small(four: tuple[Path, tuple[TurnRecord, ...]]) -> None:
    assert max(len(line) for line in four[0].read_bytes().splitlines()) < 80_000


def test_the_schema_is_told_field_by_field() -> None:
    schema = TurnRecord.model_json_schema()
    assert set(schema["required"]) >= {
        "client",
        "client_reasoning",
        "therapist_model",
        "therapist_reasoning",
        "therapist",
        "moved",
    }
    assert schema["additionalProperties"] is False


def test_what_was_played_is_training_data_for_dapt(four: tuple[Path, tuple[TurnRecord, ...]]) -> None:
    (found,) = dapt_sessions(four[1])
    (session_,) = [Session.model_validate_json(json.dumps(found))]
    assert len(session_.turns) == 4
    assert session_.turns[0].therapist_reasoning.gco == "They hold back."
    assert session_.turns[0].therapist_reasoning.omo == "Stay beside it."
    assert session_.session_phases == tuple(t.before.phase for t in four[1])
    silent = four[1][1].model_copy(update={"therapist_reasoning": "One thought."})
    with pytest.raises(RecordingError, match="turn 2: found no second chain"):
        dapt_sessions([four[1][0], silent])


def test_the_wrapper_can_be_made_again_from_its_spec(tmp_path: Path) -> None:
    import envs  # noqa: F401  # registers the ids

    env = RecordTurns(gymnasium.make("icarus/Session-v0", judge=ScriptedJudge(varied)), tmp_path / "t.jsonl", moved=2)
    assert env.spec is not None
    assert env.spec.additional_wrappers[-1].kwargs == {"path": str(tmp_path / "t.jsonl"), "moved": 2, "append": False}
    with pytest.raises(ValueError, match="moved"):
        RecordTurns(session(), tmp_path / "u.jsonl", moved=-1)
