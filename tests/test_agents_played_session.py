"""Sessions of the environment in 5-tuple form: what is known is kept, nothing is filled in, each is there whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from fakes import ByteTokenizer

from agents.corpus import Chat, digest, replies, sessions_of
from agents.lm.five_tuple import Maker, Session, SessionFileError, read_sessions, write_sessions
from agents.lm.session_file import GrowingSessions
from agents.played_session import LeftOut, Moment, Recorder, Reply, TherapistFailure, record
from agents.prompts import believed, note_form, note_prompt, with_thought
from client_graph.catalog import load_catalog
from client_graph.personhood import draw
from dapt.adwc import Windows
from dapt.parsing import parse
from dapt.uhd import Samples
from envs.recording import RecordTurns, dapt_sessions, read_turns
from envs.session import SessionEnv
from envs.text import therapist_words
from envs.treatment import TreatmentEnv
from envs.voice import SpeakingTurn, Utterance, VoiceFailure
from judges.protocol import JudgeFailure
from judges.protocol import Turn as Said
from judges.scripted import ScriptedJudge

CATALOG = load_catalog()
WORDS = ("What was that like, {turn}?", "Take your time with it.", "You stayed there, {turn} times over.")


class Scripted:
    """Answers by a rule; `spoil` makes something else of an answer. The moments it was asked at are kept."""

    maker = Maker(name="scripted", settings={"rule": "WORDS"})

    def __init__(self, spoil: Callable[[int, Reply], Any] = lambda turn, reply: reply) -> None:
        self._spoil = spoil
        self.moments: list[Moment] = []

    def answer(self, moment: Moment) -> Any:
        self.moments.append(moment)
        turn = int(moment.observation["turn"])
        words = WORDS[turn % 3].format(turn=turn)
        return self._spoil(
            turn, Reply(moment.believed, f"Turn {turn}: stay.", f"A question, {moment.seed % 7}.", words)
        )


def environment(judge: Any = 7.0, **more: Any) -> SessionEnv:
    script = judge if callable(judge) else lambda exchange: judge
    return SessionEnv(judge=ScriptedJudge(script), catalog=CATALOG, **{"max_turns": 4, **more})


def recorded(path: Path, seeds: range = range(3), therapist: Any = None, **more: Any) -> tuple[Session, ...]:
    recorder = Recorder(environment(**more), therapist or Scripted())
    assert record(recorder, GrowingSessions(path), seeds) == []
    return read_sessions(path)


def test_a_session_is_what_was_played(tmp_path: Path) -> None:
    therapist = Scripted()
    (session,) = recorded(tmp_path / "s.jsonl", range(5, 6), therapist)
    env = environment()
    observation, info = env.reset(seed=5)
    levels, person = info["levels"], info["person"]
    for turn, moment in zip(session.turns, therapist.moments, strict=True):
        assert turn.client_utterance == observation["client"] == moment.observation["client"]
        assert turn.client_reasoning == info["client_reasoning"]
        assert turn.therapist_model == believed(observation["beliefs"], CATALOG)
        assert session.session_phases is not None
        assert session.session_phases[len(env.history)] == info["phase"]
        assert moment.history == env.history
        words = f"{turn.therapist_reasoning.gco}\n\n{turn.therapist_reasoning.omo}"
        observation, *_, info = env.step(f"<think>{words}</think>{turn.therapist_utterance}")
        assert env.history[-1] == Said(turn.client_utterance, words, turn.therapist_utterance)
        assert turn.misstep == (True if info["rupture"] or info["violations"] else None)
    assert info["ending"] is not None  # played to its end
    assert session.client_profile == person.describe(assessed=False)
    assert session.attachment_strategy == person.strategy
    assert session.treatment_stage == person.stage
    assert session.session_number == 1
    assert session.issues == (person.concern.replace("_", " "),)
    assert session.strengths == tuple(one.name.replace("_", " ") for one in person.strengths)
    assert session.defenses is not None
    for name in ("denial", "self attack", "avoidance"):
        assert (name in session.defenses) == (levels[CATALOG.node(name.replace(" ", "_"))] >= 5.0)
    assert session.school is session.focus is None
    assert len({moment.seed for moment in therapist.moments}) == len(therapist.moments)


def test_it_says_that_it_is_simulated_and_who_made_what(tmp_path: Path) -> None:
    (session,) = recorded(tmp_path / "s.jsonl", range(1), stage=3)
    origin = session.origin
    assert origin is not None
    assert session.id.startswith("simulated-")
    assert session.session_number is None  # in the middle of a treatment, after sessions that nobody counted
    profile = session.client_profile
    assert profile is not None
    assert session.attachment_strategy not in profile
    assert not [strength for strength in session.strengths if strength in profile]
    assert session.id.endswith("-seed-0")
    assert origin.simulated is True
    assert (origin.client.name, origin.therapist, origin.judge) == ("authored", Scripted.maker, "scripted")
    assert (origin.arguments, origin.seed, origin.tables) == ({"max_turns": 4, "stage": 3}, 0, CATALOG.hash())
    assert origin.therapist_model == "beliefs"
    plain = json.loads((tmp_path / "s.jsonl").read_text())
    assert plain["origin"]["simulated"] is True
    with pytest.raises(ValueError, match="simulated"):
        Session.model_validate_json(json.dumps(plain | {"origin": plain["origin"] | {"simulated": False}}))


def test_another_way_of_making_it_has_another_id() -> None:
    ids = [
        Recorder(environment(), Scripted()).id_of(3),
        Recorder(environment(max_turns=5), Scripted()).id_of(3),
        Recorder(environment(), Scripted(), wishes={"strategy": "A3"}).id_of(3),
        Recorder(environment(), Scripted(), client=Maker(name="somebody")).id_of(3),
        Recorder(environment(), Scripted()).id_of(4),
    ]
    assert len(set(ids)) == 5
    assert Recorder(environment(), Scripted(), wishes={"strategy": None}).id_of(3) == ids[0]


def test_the_same_seed_is_the_same_session_whatever_came_before(tmp_path: Path) -> None:
    first, again = tmp_path / "first.jsonl", tmp_path / "again.jsonl"
    sessions = recorded(first)
    np.random.seed(3)  # noqa: NPY002  # other uses of the global generator change nothing
    recorded(again)
    assert first.read_bytes() == again.read_bytes()
    (alone,) = recorded(tmp_path / "alone.jsonl", range(2, 3))
    assert alone == sessions[2]
    assert len({session.id for session in sessions}) == len({session.turns[0].client_utterance for session in sessions})


def test_what_learns_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    sessions = recorded(path)
    assert sessions_of(str(path)) == sessions
    assert digest(sessions) != digest(sessions[:2])
    learned = replies(sessions, Chat(ByteTokenizer(), CATALOG, 3))
    kept = [turn for session in sessions for turn in session.turns if not turn.misstep]
    assert len(learned) == len(kept) > 0
    for stretch in (*Samples(sessions), *Windows(sessions)):
        found = parse(stretch.text())
        components = [turn.model_copy(update={"misstep": None}) for turn in stretch.turns]
        assert list(found.turns) == components
        assert "simulated" not in stretch.text()  # what made it is not part of what is learned
    write_sessions(tmp_path / "other.jsonl", sessions)
    assert (tmp_path / "other.jsonl").read_bytes() == path.read_bytes()


def test_its_own_model_of_the_client(tmp_path: Path) -> None:
    def own(turn: int, reply: Reply) -> Reply:
        return Reply("They want me to go first.", reply.gco, reply.omo, reply.utterance) if turn == 2 else reply

    sessions = recorded(tmp_path / "s.jsonl", range(1), Scripted(own))
    assert sessions[0].turns[2].therapist_model == "They want me to go first."
    assert sessions[0].origin is not None
    assert sessions[0].origin.therapist_model == "written"


def test_beside_a_recording_of_every_turn(tmp_path: Path) -> None:
    env = RecordTurns(environment(), tmp_path / "turns.jsonl")
    record(Recorder(env, Scripted()), GrowingSessions(tmp_path / "s.jsonl"), range(2))
    kept = dapt_sessions(read_turns(tmp_path / "turns.jsonl"))
    for session, other in zip(read_sessions(tmp_path / "s.jsonl"), kept, strict=True):
        assert [turn.therapist_reasoning.omo for turn in session.turns] == [
            turn["therapist_reasoning"]["omo"] for turn in other["turns"]
        ]
        assert list(session.session_phases or ()) == other["session_phases"]


# ---------------------------------------------------------------- what fails


def spoilt(kind: str) -> Callable[[int, Reply], Any]:
    def spoil(turn: int, reply: Reply) -> Any:
        if turn < 2:
            return reply
        return {
            "failure": TherapistFailure("the line is dead"),
            "no omo": Reply(reply.therapist_model, reply.gco, " \n", reply.utterance),
            "no model": Reply("", reply.gco, reply.omo, reply.utterance),
            "not text": Reply(reply.therapist_model, None, reply.omo, reply.utterance),  # type: ignore[arg-type]
            "aloud": Reply(reply.therapist_model, "Say </think> aloud", reply.omo, reply.utterance),
            "nothing heard": Reply(reply.therapist_model, reply.gco, reply.omo, "<think>about this"),
            "too long": Reply(reply.therapist_model, reply.gco, reply.omo, "a" * 9000),
            "no text": Reply(reply.therapist_model, reply.gco, reply.omo, "a\ud800"),
            "no text in the model": Reply("a\ud800", reply.gco, reply.omo, reply.utterance),
        }[kind]

    return spoil


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("failure", "turn 3: the therapist scripted failed: the line is dead"),
        ("no omo", "gave no omo"),
        ("no model", "gave no therapist_model"),
        ("not text", "gave no gco"),
        ("aloud", "unspoken thinking"),
        ("too long", "characters; expected at most 8000"),
        ("no text", "lone surrogate"),
        ("no text in the model", "therapist_model: "),
    ],
)
def test_a_session_that_fails_is_left_out_whole_and_the_others_stay(kind: str, why: str, tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    whole = recorded(path, range(2))
    before = path.read_bytes()
    shown: list[Session | LeftOut] = []
    left = record(
        Recorder(environment(), Scripted(spoilt(kind))),
        GrowingSessions(path, append=True),
        [7],
        on_session=shown.append,
    )
    assert [one.seed for one in left] == [7]
    assert shown == left
    assert why in left[0].reason
    assert path.read_bytes() == before
    assert read_sessions(path) == whole
    assert list(tmp_path.iterdir()) == [path]


def test_words_that_open_a_thought_are_heard_as_they_are() -> None:
    reply = Reply("m", "g", "o", "<think>about this")
    assert reply.fault() is None
    assert therapist_words(reply.action, environment().action_space) == ("g\n\no", "<think>about this")


def test_nothing_is_written_where_nothing_was_whole(tmp_path: Path) -> None:
    record(Recorder(environment(), Scripted(spoilt("failure"))), GrowingSessions(tmp_path / "s.jsonl"), range(2))
    assert list(tmp_path.iterdir()) == []


def test_a_judge_or_a_client_that_fails(tmp_path: Path) -> None:
    class Mute:
        name = "mute"

        def speak(self, turns: list[SpeakingTurn]) -> list[Utterance | VoiceFailure]:
            return [VoiceFailure("no words today")] * len(turns)

    mute = Recorder(environment(client=Mute()), Scripted()).play(0)
    deaf = Recorder(environment(judge=lambda exchange: JudgeFailure("not in the mood")), Scripted()).play(0)
    assert isinstance(mute, LeftOut)
    assert isinstance(deaf, LeftOut)
    assert "no words today" in mute.reason
    assert "not in the mood" in deaf.reason


def test_a_client_without_reasoning_is_left_out(tmp_path: Path) -> None:
    class Plain:
        name = "plain"

        def speak(self, turns: list[SpeakingTurn]) -> list[Utterance | VoiceFailure]:
            return [Utterance("I don't know.", "") for _ in turns]

    found = Recorder(environment(client=Plain()), Scripted()).play(0)
    assert isinstance(found, LeftOut)
    assert "client_reasoning" in found.reason


@pytest.mark.parametrize("stopped", [KeyboardInterrupt, MemoryError])
def test_stopped_in_the_middle_it_keeps_whole_sessions(stopped: type[BaseException], tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    asked = 0

    def stop(turn: int, reply: Reply) -> Reply:
        nonlocal asked
        asked += 1
        if asked == 10:  # in the third session of four turns
            raise stopped
        return reply

    with pytest.raises(stopped):
        record(Recorder(environment(), Scripted(stop)), GrowingSessions(path), range(5))
    assert len(read_sessions(path)) == 2
    record(Recorder(environment(), Scripted()), GrowingSessions(path, append=True), range(2, 5))
    recorded(tmp_path / "whole.jsonl", range(5))
    assert path.read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_therapist_who_breaks_the_protocol() -> None:
    with pytest.raises(TypeError, match="returned a str; expected a Reply or a TherapistFailure"):
        Recorder(environment(), Scripted(lambda turn, reply: reply.utterance)).play(0)


def test_environments_that_cannot_be_recorded() -> None:
    with pytest.raises(TypeError, match="Session-v0"):
        Recorder(TreatmentEnv(judge=ScriptedJudge(lambda _: 7.0), catalog=CATALOG), Scripted())
    with pytest.raises(TypeError, match="Session-v0"):
        Recorder(gymnasium.make("CartPole-v1"), Scripted())
    with pytest.raises(ValueError, match="without words"):
        Recorder(environment(client="silent"), Scripted())


# ---------------------------------------------------------------- the file


def test_a_file_that_is_there(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    recorded(path, range(2))
    with pytest.raises(SessionFileError, match="--append"):
        GrowingSessions(path)
    therapist = Scripted()
    with pytest.raises(SessionFileError, match="seed-1' already"):
        record(Recorder(environment(), therapist), GrowingSessions(path, append=True), range(1, 4))
    assert therapist.moments == []  # refused before anything was played
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    record(Recorder(environment(), Scripted()), GrowingSessions(path, append=True), range(2, 4))
    assert [session.id[-1] for session in read_sessions(path)] == ["0", "1", "2", "3"]


@pytest.mark.parametrize("name", [".", "none/s.jsonl"])
def test_a_place_where_no_file_can_be(name: str, tmp_path: Path) -> None:
    with pytest.raises(SessionFileError, match="folder"):
        GrowingSessions(tmp_path / name)


def test_a_broken_file_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_text('{"id": "s1"}\n')
    with pytest.raises(SessionFileError, match="turns: missing"):
        GrowingSessions(path, append=True)
    assert path.read_text() == '{"id": "s1"}\n'


def test_two_who_write_the_same_file(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    ours, theirs = GrowingSessions(path), GrowingSessions(path)
    recorder = Recorder(environment(), Scripted())
    first, second = recorder.play(0), recorder.play(1)
    assert isinstance(first, Session)
    assert isinstance(second, Session)
    theirs.add(first)
    with pytest.raises(SessionFileError, match="somebody else"):
        ours.add(second)
    assert read_sessions(path) == (first,)


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "s.jsonl"
    whole = recorded(path, range(1))
    file = GrowingSessions(path, append=True)
    with monkeypatch.context() as full:
        full.setattr("agents.lm.files.os.replace", _refuse)
        with pytest.raises(OSError, match="No space"):
            record(Recorder(environment(), Scripted()), file, [1])
    assert read_sessions(path) == whole
    assert list(tmp_path.iterdir()) == [path]
    record(Recorder(environment(), Scripted()), file, [1])  # and the same file goes on
    assert len(read_sessions(path)) == 2


def _refuse(*_: object) -> None:
    raise OSError(28, "No space left on device")


# ---------------------------------------------------------------- what is asked of a model


def test_beliefs_in_words_are_the_tables_own() -> None:
    state, _ = draw(CATALOG, np.random.default_rng(0))
    beliefs = state.tmog[0].copy()
    beliefs[CATALOG.node("shame_core")] = 10.0
    said = believed(beliefs, CATALOG)
    row = CATALOG.nodes[CATALOG.node("shame_core")]
    assert f"Shame core 10.0 of 10: {row.high}" in said
    assert said.count(" of 10: ") == 3
    beliefs[CATALOG.node("shame_core")] = 0.0
    assert row.high not in believed(beliefs, CATALOG)


def test_the_notes_are_asked_for_with_what_was_said_fenced() -> None:
    observation = {"client": "```\n{stage} now", "stage": 2, "session": 3, "stance": 0, "beliefs": CATALOG.start[1]}
    history = (Said("first", "thought", "{client}"),)
    asked = note_prompt(observation, history, "I believe {that}.", ("gco", "omo"))
    assert "working stage" in asked
    assert "session 3" in asked
    assert "````\n```\n{stage} now\n````" in asked
    assert "```\n{client}\n```" in asked
    assert "I believe {that}." in asked
    assert "thought" not in asked.split("So far")[1].split("The client says now")[0]
    assert '"orientation"' in asked
    assert '"assessment"' not in asked
    assert note_form(("gco", "omo")) == ('{"orientation": "', '", "intervention": "')
    filled = "words".join((*note_form(("therapist_model", "gco", "omo")), '"}'))
    assert list(json.loads(filled)) == ["assessment", "orientation", "intervention"]
    told, last = with_thought(
        [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "x"}], "g {omo}", "o"
    )
    assert told["content"].startswith("Be kind. ")
    assert "g {omo}" in told["content"]
    assert last == {"role": "user", "content": "x"}
