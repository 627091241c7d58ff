"""What sessions teach: which replies, in which chat, in which batches."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from fakes import ByteTokenizer
from hypothesis import given
from hypothesis import strategies as st

from agents.corpus import Chat, batch, batches, curriculum, digest, heard, pairs, replies, sessions_of
from agents.lm.five_tuple import (
    Counterfactual,
    Session,
    SessionFileError,
    TherapistReasoning,
    Turn,
    split,
    write_sessions,
)
from client_graph.catalog import load_catalog
from client_graph.names import STAGE_NAMES

TOKENIZER = ByteTokenizer()


def turn(i: int, *, misstep: bool | None = None, other: str | None = None, better: bool = False) -> Turn:
    found = None if other is None else Counterfactual(therapist_utterance=other, better=better, reason="r")
    return Turn(
        client_reasoning="t", client_utterance=f"client {i}", therapist_model="m",
        therapist_reasoning=TherapistReasoning(gco="g", omo="o"), therapist_utterance=f"reply {i}",
        misstep=misstep, counterfactual=found,
    )  # fmt: skip


def session(name: str = "s", stage: int | None = 2) -> Session:
    turns = (
        turn(0, other="worse 0"), turn(1), turn(2, misstep=True, other="better 2", better=True),
        turn(3, misstep=True), turn(4, other="worse 4"),
    )  # fmt: skip
    phases = ("A", "A", "B", "B", "C")
    return Session(id=name, turns=turns, treatment_stage=stage, session_phases=phases, session_number=7)


def chat(remembered: int = 1) -> Chat:
    return Chat(TOKENIZER, load_catalog(), remembered)


def words(tokens: list[int]) -> str:
    return TOKENIZER.decode(tokens)


def test_a_misstep_is_not_learned_but_what_should_have_been_said_is() -> None:
    found = replies([session()], chat())
    assert [words(one.chosen[:-1]) for one in found] == ["reply 0", "reply 1", "better 2", "reply 4"]
    assert {one.chosen[-1] for one in found} == {TOKENIZER.eos_token_id}


def test_of_a_pair_the_better_reply_is_chosen() -> None:
    found = pairs([session()], chat(), None)
    said = [(words(one.chosen[:-1]), words(one.rejected[:-1])) for one in found if one.rejected]
    assert said == [("reply 0", "worse 0"), ("better 2", "reply 2"), ("reply 4", "worse 4")]


def test_the_chat_is_that_of_self_play() -> None:
    made = chat().messages(session(), next(iter(curriculum(4, 5, 1)))._replace(marker=""))
    assert [m["content"] for m in made[-3:]] == ["client 3", "reply 3", "client 4"]
    assert f"in its {STAGE_NAMES[1].lower()} stage" in made[0]["content"]


def test_views_of_the_curriculum_run_forward_in_odd_windows_and_backward_in_even_ones() -> None:
    found = {(view.before, view.marker) for view in curriculum(2, 5, 4)}
    forward, backward = "[ADWC: FORWARD TEMPORAL ORDER]", "[ADWC: REVERSE TEMPORAL ORDER]"
    assert found == {((0, 1), "[UHD: SESSION]"), ((), forward), ((0, 1), forward), ((3,), backward)}
    made = chat().messages(session(), next(view for view in curriculum(2, 5, 2) if view.marker == backward))
    assert made[0]["content"].startswith(f"{backward}\nSession number: 7\n")
    assert [m["content"] for m in made[-3:]] == ["client 3", "reply 3", "client 2"]


@given(turns=st.integers(1, 30), longest=st.integers(1, 12), data=st.data())
def test_every_window_of_a_view_ends_with_its_turn_and_stays_in_the_session(
    turns: int, longest: int, data: st.DataObject
) -> None:
    at = data.draw(st.integers(0, turns - 1))
    for view in curriculum(at, turns, longest):
        whole = [*view.before, at]
        step = -1 if "REVERSE" in view.marker else 1
        assert all(b - a == step for a, b in itertools.pairwise(whole))
        assert all(0 <= i < turns for i in whole)


def test_batches_hold_each_example_once_and_share_a_prompt() -> None:
    found = replies([session("a"), session("b", stage=3)], chat(0))
    drawn = batches(found, 3, np.random.default_rng(0))
    whole = sorted(one.prompt + one.chosen for one in found)
    assert sorted(b.prompt + branch for b in drawn for branch in b.branches) == whole
    assert all(len(b.branches) <= 3 and b.prompt for b in drawn)
    learned = sorted(branch[g:] for b in drawn for branch, g in zip(b.branches, b.given, strict=True))
    assert learned == sorted(one.chosen for one in found)
    again = batches(found, 3, np.random.default_rng(0))
    assert again == drawn
    assert batches(found, 3, np.random.default_rng(1)) != drawn


def test_pairs_stand_in_two_halves() -> None:
    found = pairs([session()], chat(), None)
    one = batch(found)
    assert [words(branch[g:-1]) for branch, g in zip(one.branches, one.given, strict=True)] == [
        "reply 0", "better 2", "reply 4", "worse 0", "reply 2", "worse 4",
    ]  # fmt: skip


def test_sessions_are_split_whole_and_some_are_left_to_learn_from() -> None:
    found = [session(str(i)) for i in range(5)]
    learned, held_out = split(found, 2)
    assert len(held_out) == 2
    assert {s.id for s in learned} | {s.id for s in held_out} == {s.id for s in found}
    assert [s.id for s in split(found[::-1], 2)[1]] == [s.id for s in held_out][::-1]
    with pytest.raises(SessionFileError, match="5 of 5"):
        split(found, 5)


def test_sessions_without_a_stage_and_empty_files_are_refused(tmp_path: Path) -> None:
    write_sessions(tmp_path / "s.jsonl", [session("a", None), session("b", None)])
    with pytest.raises(SessionFileError, match="session a: found no treatment_stage") as error:
        sessions_of(str(tmp_path / "s.jsonl"))
    assert len(error.value.problems) == 2
    (tmp_path / "none").mkdir()
    with pytest.raises(SessionFileError, match="found no session"):
        sessions_of(str(tmp_path / "none"))


def test_a_folder_holds_one_session_a_file(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / f"{name}.json").write_text(json.dumps(json.loads(session(name).model_dump_json(exclude_none=True))))
    assert [s.id for s in sessions_of(str(tmp_path))] == ["a", "b"]
    (tmp_path / "c.json").write_text("{}")
    (tmp_path / "d.json").write_text(session("a").model_dump_json(exclude_none=True))
    with pytest.raises(SessionFileError) as error:
        sessions_of(str(tmp_path))
    assert len(error.value.problems) == 3  # id and turns missing in c, a again in d
    assert "first in a.json" in error.value.problems[-1]


def test_the_sessions_that_ship_are_whole() -> None:
    """At least twenty-four, four stages, eight strategies, ten schools, twelve to thirty turns, missteps with a cure."""
    found = sessions_of(None)
    assert len(found) >= 24
    assert {s.treatment_stage for s in found} == {1, 2, 3, 4}
    assert len({s.attachment_strategy for s in found}) >= 8
    assert len({s.school for s in found}) == 10
    assert all(12 <= len(s.turns) <= 30 for s in found)
    assert all(s.client_profile and s.session_number and s.session_phases and s.defenses for s in found)
    said = [t.therapist_utterance for s in found for t in s.turns]
    assert len(set(said)) == len(said)
    assert sum(bool(t.misstep) for s in found for t in s.turns) >= 20
    contrary = [t for s in found for t in s.turns if t.counterfactual and t.counterfactual.better and not t.misstep]
    assert contrary == []
    assert digest(found) == digest(sessions_of(None))


def test_what_is_told_in_brackets_is_not_said() -> None:
    assert heard("(Sits back.) Hat's on. (Waits.) We've stopped.") == "Hat's on. We've stopped."
    assert heard("(A long silence.)") == "(A long silence.)"
    said = [TOKENIZER.decode(one.chosen) for one in replies(sessions_of(None), chat())]
    assert not any("(" in reply for reply in said)
