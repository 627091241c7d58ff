"""`icarus judge`, `calibrate-judge` and `mine-judge`: what is printed and written, exit codes, one clear error."""

import csv
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from anthropic_server import CANARY, Batches, Said, Seen, Server, interruptible, judgement, message, serving

from agents import cli, judges
from agents.judges import Chosen, Paid, choose_judge
from client_graph.names import DIMENSIONS
from judges.calibration.run import Calibration
from judges.pairs import held_out
from judges.protocol import Exchange, JudgeFailure, JudgeUnavailable
from judges.screening.screen import Screened
from judges.scripted import ScriptedJudge

EXAMPLE = Path("docs/example_session.json")
TALK = "Client: I can't sleep.\nTherapist: How long has it been?\nClient: Weeks.\nTherapist: Weeks of it.\n"


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The judge of every name is scripted: longer replies score more, "Weeks of it." fails. What was chosen is told."""
    chosen: list[str] = []

    def choose(name: str, model: str | None = None, texts: bool = True, paid: Paid | None = None) -> Chosen:
        chosen.append(name if model is None else f"{name}:{model}")
        return Chosen(
            Screened(ScriptedJudge(_script, gap=1.0)), (lambda turns: f"{len(turns)} turns, read.") if texts else None
        )

    monkeypatch.setattr(judges, "choose_judge", choose)
    return chosen


def _script(exchange: Exchange) -> Any:
    return (
        JudgeFailure("it would not")
        if exchange.therapist == "Weeks of it."
        else min(9.0, 2 + len(exchange.therapist) / 10)
    )


def ran(capsys: pytest.CaptureFixture[str], *arguments: Any, code: int = 0) -> str:
    assert cli.main([str(argument) for argument in arguments]) == code
    out, err = capsys.readouterr()
    assert "Traceback" not in err
    return " ".join((err if code else out).split())


@pytest.mark.usefixtures("scripted")
def test_a_sheet_of_a_transcript(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "talk.txt").write_text(TALK)
    out = ran(capsys, "judge", tmp_path / "talk.txt", "--json", tmp_path / "out.json")
    for told in ("no measure of a person", "scripted: not calibrated here", "talk.txt: 2 turns", "composite 4.1",
                 "no score: it would not", "1 turns have no score", "2 turns, read."):  # fmt: skip
        assert told in out
    kept = json.loads((tmp_path / "out.json").read_text())
    first, second = kept["sessions"][0]["turns"]
    assert first["composite"] == pytest.approx(2 + 21 / 10)
    assert list(first["scores"]) == list(DIMENSIONS)
    assert second["failure"] == "it would not"
    assert kept["sessions"][0]["session"]["failures"] == 1
    assert kept["spending"] is None
    assert "spent:" not in out


def test_the_judge_is_chosen_by_name_and_model(scripted: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    out = ran(capsys, "judge", EXAMPLE, "--judge", "anthropic", "--model", "some")
    assert scripted == ["anthropic:some"]
    assert f"{len(json.loads(EXAMPLE.read_text())['turns'])} turns" in out


@pytest.mark.usefixtures("scripted")
def test_a_run_is_a_transcript_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from envs.recording import RecordTurns
    from envs.session import SessionEnv

    env = RecordTurns(SessionEnv(judge=ScriptedJudge(lambda _: 6.0), max_turns=2), tmp_path / "run.jsonl")
    env.reset(seed=1)
    for words in ("<think>slow</think>Take your time with that.", "I would like to hear more."):
        env.step(words)
    env.close()
    out = ran(capsys, "judge", tmp_path / "run.jsonl", "--json", tmp_path / "o.json")
    assert "session 1 with" in out
    turns = json.loads((tmp_path / "o.json").read_text())["sessions"][0]["turns"]
    assert [turn["therapist"] for turn in turns] == ["Take your time with that.", "I would like to hear more."]
    assert turns[0]["reasoning"] == "slow"


@pytest.mark.usefixtures("scripted")
def test_nothing_judged_is_an_error_that_says_why(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "talk.txt").write_text("C: Weeks.\nT: Weeks of it.")
    assert cli.main(["judge", str(tmp_path / "talk.txt")]) == cli.WRONG_INPUT
    out, err = capsys.readouterr()
    assert "no score: it would not" in out
    assert "judged no turn" in err


def test_a_bad_transcript_and_a_bad_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "talk.txt").write_text("Narrator: x")
    assert "found speaker 'Narrator'" in ran(capsys, "judge", tmp_path / "talk.txt", code=2)
    assert "No such file" in ran(capsys, "judge", tmp_path / "none.txt", code=2)
    assert f"found judge 'oracle'; expected {judges.NAMES}" in ran(
        capsys, "judge", EXAMPLE, "--judge", "oracle", code=2
    )
    assert "which has its own" in ran(capsys, "judge", EXAMPLE, "--model", "x", code=2)
    assert "found no folder" in ran(capsys, "judge", EXAMPLE, "--json", tmp_path / "no/o.json", code=2)


def test_no_key_is_one_clear_error(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    assert "ANTHROPIC_API_KEY" in ran(capsys, "judge", EXAMPLE, "--judge", "anthropic", code=2)
    with pytest.raises(JudgeUnavailable, match="expected one"):
        choose_judge("anthropic:a", "b")


# The judge behind the API, against a server on this machine


@pytest.fixture
def paid(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A key, no words of the screen's, and a dialogue of four turns."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("ANTHROPIC_API_KEY", CANARY)
    monkeypatch.setattr(judges, "SentenceEncoder", lambda: SimpleNamespace(vocabulary=frozenset))
    talk = tmp_path / "talk.txt"
    talk.write_text("".join(f"Client: I tell you {i}.\nTherapist: Is it so? reply {i:02d}\n" for i in range(4)))
    return talk


def settings_file(folder: Path, server: Server, text: str = "") -> Path:
    file = folder / "api.toml"
    prices = "[prices]\ninput = 1.0\noutput = 10.0\ncache_write = 2.0\ncache_read = 0.1\nbatch_factor = 0.5\n"
    file.write_text(f'base_url = "{server.url}"\nmodel = "m"\nbatch_poll = 0.05\nconcurrency = 1\n{text}\n{prices}')
    return file


def judged(seen: Seen) -> Said:
    """A judgement where one is asked for, else a text on the session."""
    return Said(body=message(json.dumps(judgement()) if "output_config" in seen.body else "It grew."))


def test_what_was_spent_is_told_and_a_cache_spends_it_once(
    paid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, cache = tmp_path / "o.json", tmp_path / "cache.sqlite"
    with serving(judged) as server:
        command = ("judge", paid, "--judge", "anthropic", "--api-settings", settings_file(tmp_path, server))
        told = ran(capsys, *command, "--cache", cache, "--json", out)
        assert "It grew." in told
        cost = 9 * (100 + 500 + 40 + 1) / 1e6  # kind and harsh of four turns, and the text
        assert (
            "spent: 9 requests answered, 1,620 tokens (input 900, output 450, cache write 180, cache read 90)" in told
        )
        assert f"cost {cost:.4f}" in told
        kept = json.loads(out.read_text())
        assert kept["spending"]["used"] == {"input": 900, "output": 450, "cache_write": 180, "cache_read": 90}
        assert kept["spending"]["cost"] == pytest.approx(cost)
        again = ran(capsys, *command, "--cache", cache)
        assert "spent: 1 requests answered" in again
        assert "8 judgements from the cache" in again
    assert len(server.seen) == 10


def test_a_budget_that_ends_on_the_way_leaves_the_sheet_of_what_was_judged(
    paid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "o.json"
    with serving(judged) as server:
        settings = settings_file(tmp_path, server, "max_tokens = 256")
        budget = ("--money-budget", "0.0215")  # room for a worst case, and a few answers
        command = ["judge", paid, "--judge", "anthropic", "--api-settings", settings, *budget, "--json", out]
        assert cli.main([str(part) for part in command]) == cli.WRONG_INPUT
    shown, wrong = capsys.readouterr()
    turns = json.loads(out.read_text())["sessions"][0]["turns"]
    missing = [turn for turn in turns if "failure" in turn]
    assert 0 < len(missing) < 4
    assert all("scores" in turn for turn in turns[: 4 - len(missing)])
    assert f"icarus: {len(missing)} of 4 turns were not judged: the judge's budget is spent" in wrong
    assert "budget 0.0215 in money" in wrong
    for told in ("composite", "no score: the judge's budget is spent", "spent: "):
        assert told in shown


def test_a_budget_that_holds_nothing_is_one_clear_error(
    paid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(judged) as server:
        settings = settings_file(tmp_path, server)
        for way in ((), ("--batch",)):
            command = ("judge", paid, "--judge", "anthropic", "--api-settings", settings, "--money-budget", 0.001, *way)
            assert "budget 0.001 in money" in ran(capsys, *command, code=2)
    assert not server.seen


def test_all_sessions_of_a_file_are_one_batch(
    paid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from agents import cli_judge

    (one,) = cli_judge.read_any(paid)
    monkeypatch.setattr(cli_judge, "read_any", lambda path: [one, replace(one, turns=one.turns[:2])])
    out = tmp_path / "o.json"
    with serving(batches := Batches()) as server:
        settings = settings_file(tmp_path, server)
        told = ran(capsys, "judge", paid, "--judge", "anthropic", "--api-settings", settings, "--batch", "--json", out)
    (requests,) = batches.asked
    assert len(requests) == 12
    assert "batch msgbatch_1 is under way" in told
    first, second = json.loads(out.read_text())["sessions"]
    assert [turn["kind"]["scores"]["attunement"] for turn in first["turns"]] == [2, 3, 4, 5]
    assert [turn["kind"]["scores"]["attunement"] for turn in second["turns"]] == [2, 3]
    cost = (12 * 0.5 + 2) * (100 + 500 + 40 + 1) / 1e6  # the two texts are no part of the batch
    assert f"cost {cost:.4f}" in told


def test_an_interrupted_batch_is_named_gone_on_with_and_ended(
    paid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with serving(batches := Batches(looks=None)) as server:
        command = ("judge", paid, "--judge", "anthropic", "--api-settings", settings_file(tmp_path, server))
        with interruptible():
            assert cli.main([str(part) for part in (*command, "--batch")]) == cli.INTERRUPTED
        shown, wrong = capsys.readouterr()
        assert "--resume-batch msgbatch_1" in wrong
        assert "--cancel-batch msgbatch_1" in wrong
        assert "perhaps charged without an answer" in shown
        batches.looks = 1
        told = ran(capsys, *command, "--resume-batch", "msgbatch_1")
        assert "composite" in told
        assert "spent: 9 requests answered" in told
        assert len(batches.asked) == 1
        assert not batches.cancelled
        assert "is being ended" in ran(capsys, *command, "--cancel-batch", "msgbatch_1")
        assert batches.cancelled
        assert "expected an id" in ran(capsys, *command, "--cancel-batch", "", code=2)
        assert "expected an id" in ran(capsys, *command, "--resume-batch", "../x", code=2)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--batch", "--cache", "c"), "found --cache, --batch for the judge embedding"),
        (("--judge", "self", "--money-budget", "0"), "found --money-budget for the judge self"),
        (("--cancel-batch", ""), "found --cancel-batch for the judge embedding"),
        (("--judge", "anthropic", "--money-budget", "5"), "found money_budget 5 without prices"),
        (("--judge", "anthropic", "--api-settings", "none.toml"), "none.toml: found no TOML file that can be read"),
        (("--judge", "anthropic", "--money-budget", "nan"), "money_budget: found nan"),
    ],
    ids=str,
)
def test_a_combination_that_cannot_be_is_one_clear_error(
    options: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in ran(capsys, "judge", EXAMPLE, *options, code=2)


def test_prices_are_of_one_model(paid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with serving(judged) as server:
        command = ("judge", paid, "--judge", "anthropic", "--api-settings", settings_file(tmp_path, server), "--model")
        assert "in the settings with its prices, m; expected one" in ran(capsys, *command, "n", code=2)
        assert "Judged by anthropic:m" in ran(capsys, *command, "m")


@pytest.mark.usefixtures("scripted")
def test_a_quick_calibration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = ran(capsys, "calibrate-judge", "--quick", "--markdown", "--write", tmp_path / "new")
    assert f"| pairs | {len(held_out()[::3])} |" in out
    assert "| kind - harsh, points | +1.00 |" in out
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "quick-calibration.md",
        "quick-calibration.png",
    ]


def test_a_whole_calibration_is_kept_and_quoted(
    scripted: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("judges.calibration.picture.write_picture", lambda path, found: None)  # drawn in the test above
    monkeypatch.setattr("judges.calibration.file.SHIPPED", tmp_path / "kept")
    ran(capsys, "calibrate-judge", "--judge", "one", "--judge", "one", "--write", tmp_path, "--keep")
    assert scripted == ["one"]  # asked for twice, measured once
    assert set(json.loads((tmp_path / "scripted.json").read_text())) >= set(Calibration.__dataclass_fields__)
    (tmp_path / "talk.txt").write_text(TALK)
    assert "held-out pairs rightly" in ran(capsys, "judge", tmp_path / "talk.txt", "--calibration", tmp_path)
    assert "held-out pairs rightly" in ran(capsys, "judge", tmp_path / "talk.txt")
    assert "leave out one" in ran(capsys, "calibrate-judge", "--quick", "--keep", code=2)


@pytest.fixture
def blind(monkeypatch: pytest.MonkeyPatch) -> None:
    """An encoder without weights: a text's vector counts its letters."""

    class Letters:
        def vocabulary(self) -> frozenset[str]:
            return frozenset()

        def encode(self, texts: list[str]) -> np.ndarray:
            found = np.array([[text.lower().count(chr(97 + i)) for i in range(26)] for text in texts], float) + 0.01
            return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True))

    monkeypatch.setattr("judges.offline.minilm.SentenceEncoder", Letters)  # imported where it is needed


def a_turn(turn: int, text: str, score: float) -> dict[str, Any]:
    view = {"scores": dict.fromkeys(DIMENSIONS, score)}
    judged = {"composite": 1.0, "kind": view, "harsh": view}
    return {
        "session": 1, "turn": turn, "client": f"I am client line {turn}.", "therapist": {"text": text}, "judgement": judged,
        "candidates": [{"text": "I hear you. I hear you. I hear you.", "judgement": {"failure": "none"}}],
    }  # fmt: skip


@pytest.mark.usefixtures("blind")
def test_mining_a_run_and_a_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, replies, out = tmp_path / "run", tmp_path / "list.json", tmp_path / "mined.csv"
    run.mkdir()
    lines = [
        a_turn(1, "<think>warm</think>Buzzing, humming. Buzzing, humming. Buzzing, humming.", 9.0),
        a_turn(2, "Go on.", 3.0),
    ]
    (run / "turns.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"torn')
    replies.write_text(
        json.dumps(
            [
                {"client": "zzz", "reply": "Vex, vex, vex. Vex, vex, vex.", "score": 8, "likelihood": None},
                {"client": "zzz", "reply": "Xyz.", "score": None},
                {"client": "zzz", "reply": "Quo quixotic quizzes?", "score": 7, "violations": ["unlikely"]},
            ]
        )
    )
    told = ran(capsys, "mine-judge", run, replies, "--out", out)
    assert "3 of 4 replies are in" in told
    assert "unlikely: on record" in told
    with out.open(newline="") as file:
        rows = {row["reply"]: row for row in csv.DictReader(file)}
    buzzing = rows["Buzzing, humming. Buzzing, humming. Buzzing, humming."]  # without what was only thought
    assert buzzing["source"] == "mined: run, session 1, turn 1, scored 9.0"
    assert {buzzing[name] for name in DIMENSIONS} == {""}
    assert "holds something already" in ran(capsys, "mine-judge", run, "--out", out, code=2)
    assert "no score at all" in ran(capsys, "mine-judge", "--check", out, code=2)
    out.write_text(out.read_text().replace("," * 13, ",5" * 12 + ","))
    assert "nothing is missing" in ran(capsys, "mine-judge", "--check", out)


def test_mining_tells_all_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.json").write_text('[{"client": 1, "reply": "x", "score": true}, 3]')
    told = ran(capsys, "mine-judge", tmp_path / "a.json", tmp_path, "--out", tmp_path / "o.csv", code=2)
    for part in ("reply 1: client: found 1", "score: found True", "reply 2: found 3", "found no turns.jsonl"):
        assert part in told
    assert "found no run" in ran(capsys, "mine-judge", code=2)
    assert not (tmp_path / "o.csv").exists()
