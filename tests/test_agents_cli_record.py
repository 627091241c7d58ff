"""icarus record: sessions by a tiny model, the same for one seed; what cannot be recorded is refused before anything is played."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import fakes
import pytest

from agents import cli
from agents.lm.adapters import AdapterSets, own_config, save_adapter
from agents.lm.device import mx
from agents.lm.five_tuple import Maker, read_sessions
from agents.lm.generate import Completion
from agents.lm.lora import LoraSettings, fresh, inject
from agents.lm.models import LoadedModel
from agents.noting import NotingTherapist
from agents.played_session import Moment, Recorder, Reply, TherapistFailure
from agents.prompts import believed
from agents.settings import GenerationPart, speaking_settings
from agents.therapist import Therapist
from client_graph.catalog import load_catalog
from judges.protocol import Turn
from judges.scripted import ScriptedJudge

LORA = LoraSettings(attention_rank=2, mlp_rank=2)
CATALOG = load_catalog()
SHORT = GenerationPart(max_tokens=8, remembered_turns=1)
MOMENT = Moment(
    {"client": "I don't know.", "turn": 1, "session": 1, "stage": 1, "stance": 0, "beliefs": CATALOG.start[0]},
    (Turn("It was fine.", "to be kept", "Was it?"),),
    believed(CATALOG.start[0], CATALOG),
    3,
)


def model(seed: int = 0) -> LoadedModel:
    """A byte is a token, so a prompt is long."""
    return fakes.tiny("llama", seed, num_hidden_layers=2, max_position_embeddings=1 << 15)


def noting(loaded: LoadedModel | None = None, **more: Any) -> NotingTherapist:
    loaded = loaded or model()
    inject(loaded.model, LORA, mx.random.key(0))
    sets = AdapterSets(loaded.model)
    sets.add("therapist", fresh(loaded.model, mx.random.key(0)))
    settings = {"adapter": False, "note_tokens": 12, **more}
    return NotingTherapist(loaded, sets, "therapist", CATALOG, SHORT, **settings)


# ---------------------------------------------------------------- the therapist who thinks first


@pytest.mark.parametrize("tmoc", ["beliefs", "written"])
def test_all_components_are_its_own(tmoc: str) -> None:
    found = noting(tmoc=tmoc).answer(MOMENT)
    assert isinstance(found, Reply)
    assert found.fault() is None
    assert (found.therapist_model == MOMENT.believed) == (tmoc == "beliefs")
    assert found == noting(tmoc=tmoc).answer(MOMENT)


def test_it_speaks_with_its_notes_in_mind(monkeypatch: pytest.MonkeyPatch) -> None:
    prompts = []

    def reply(self: Therapist, prompt: Any, key: mx.array) -> Completion:
        prompts.append(prompt.messages)
        return Completion([1], "<think>on the way</think>I hear you.", 2)

    monkeypatch.setattr(Therapist, "reply", reply)
    found = noting().answer(MOMENT)
    assert isinstance(found, Reply)
    assert found.utterance == "I hear you."
    told, *_, remembered, said, heard = prompts[0]
    assert found.gco in told["content"]
    assert found.omo in told["content"]
    assert "to be kept" not in str(prompts)
    assert (remembered["content"], said["content"], heard["content"]) == ("It was fine.", "Was it?", "I don't know.")


def test_a_model_that_says_nothing_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def reply(self: Therapist, prompt: Any, key: mx.array) -> Completion:
        asked.append(prompt.messages[0]["content"])
        return Completion([], "", 2)

    monkeypatch.setattr(Therapist, "reply", reply)
    found = noting().answer(MOMENT)
    assert isinstance(found, TherapistFailure)
    assert "3 attempts" in found.reason
    assert "no utterance" in found.reason
    assert len(set(asked)) == len(asked) == 2  # with other notes; at one attempt it had drawn an empty one


def test_a_model_that_writes_no_notes_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "agents.noting.FieldWriter.fill", lambda self, prompts, openings, most, key: [("one chain", " ")]
    )
    found = noting().answer(MOMENT)
    assert isinstance(found, TherapistFailure)
    assert "it wrote no omo" in found.reason


def test_a_session_that_is_longer_than_the_models_context() -> None:
    found = noting(fakes.tiny("llama", 0, num_hidden_layers=2)).answer(MOMENT)
    assert isinstance(found, TherapistFailure)
    assert "512 tokens" in found.reason
    assert "--max-turns" in found.reason


# ---------------------------------------------------------------- the command


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.lm.models.load_model", lambda name: model())
    monkeypatch.setattr("agents.judge.EmbeddingJudge", lambda: ScriptedJudge(lambda exchange: 7.0))


def adapter(run: Path, loaded: LoadedModel, settings: str) -> Path:
    inject(loaded.model, LORA, mx.random.key(0))
    tree = fresh(loaded.model, mx.random.key(1))
    save_adapter(run / "adapters", {n: 3 * mx.ones_like(a) for n, a in tree.items()}, LORA, loaded.base_hash)
    (run / "settings.toml").write_text(settings)
    return run


def command(file: Path, *more: Any) -> int:
    told = ["--max-turns", 2, "--note-tokens", 8, "--remember", 1]
    return cli.main(["record", str(file), *map(str, [*told, *more])])


def refused(capsys: pytest.CaptureFixture[str], file: Path, *more: Any) -> str:
    assert command(file, *more) == cli.WRONG_INPUT
    shown = capsys.readouterr().err
    assert shown.startswith("icarus: ")
    return shown


def test_a_file_of_sessions_the_same_for_one_seed(
    tiny: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path / "a.jsonl", "--sessions", 2, "--seed", 4, "--stage", 2) == 0
    shown = " ".join(capsys.readouterr().out.split())
    for part in (cli.NOTICE, "Every session is simulated", "session 1 of 2: 2 turns", "2 sessions of 4 turns"):
        assert part in shown, part
    sessions = read_sessions(tmp_path / "a.jsonl")
    assert [len(session.turns) for session in sessions] == [2, 2]
    assert {session.treatment_stage for session in sessions} == {2}
    for session in sessions:
        assert session.origin is not None
        base = model().base_hash
        assert session.origin.client == Maker(name="chosen", model="tiny-llama", base=base)
        assert (session.origin.therapist.base, session.origin.therapist.adapter) == (base, None)
        assert session.origin.arguments == {"max_turns": 2, "stage": 2}
    assert command(tmp_path / "b.jsonl", "--sessions", 1, "--seed", 4, "--stage", 2) == 0
    assert command(tmp_path / "b.jsonl", "--sessions", 1, "--seed", 5, "--stage", 2, "--append") == 0
    assert (tmp_path / "b.jsonl").read_bytes() == (tmp_path / "a.jsonl").read_bytes()


@pytest.mark.parametrize("settings", ["[generation]\nmax_tokens = 5\n", '[corpus]\nsessions = "x"\nviews = ["uhd"]\n'])
def test_an_adapter_speaks_and_is_named(settings: str, tiny: None, tmp_path: Path) -> None:
    run = adapter(tmp_path / "run", model(), settings)  # of a training run, and of icarus dapt
    for name, more in {"base": [], "run": ["--adapter", run], "folder": ["--adapter", run / "adapters"]}.items():
        assert command(tmp_path / f"{name}.jsonl", "--client", "authored", *more) == 0
    assert (tmp_path / "run.jsonl").read_bytes() == (tmp_path / "folder.jsonl").read_bytes()
    (base,), (trained,) = (read_sessions(tmp_path / f"{name}.jsonl") for name in ("base", "run"))
    assert trained.turns[0].client_utterance == base.turns[0].client_utterance
    assert trained.turns[0].therapist_reasoning != base.turns[0].therapist_reasoning
    assert trained.origin is not None
    assert trained.origin.therapist.adapter == own_config(run / "adapters")["adapter_hash"]
    assert trained.origin.therapist.settings is not None
    assert trained.origin.therapist.settings["max_tokens"] == (5 if "max_tokens" in settings else 40)
    assert trained.origin.client == Maker(name="authored")
    assert speaking_settings(run / "settings.toml").model.name == "smollm2"


def test_fine_tuning_and_dapt_learn_from_it(tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    played = tmp_path / "played.jsonl"
    with monkeypatch.context() as decent:  # what the random model says is a misstep each time, and not learned from
        decent.setattr(Therapist, "reply", lambda self, prompt, key: Completion([1], "You came anyway.", 2))
        assert command(played, "--client", "authored", "--sessions", 3) == 0
    lora = "[lora]\nattention_rank = 2\nmlp_rank = 2\n"
    run = f'[run]\nfolder = "{tmp_path}/runs"\nname = "NAME"\n'
    corpus = f'[corpus]\nsessions = "{played}"\nheld_out = 1\n'
    tuned, dapt = tmp_path / "sft.toml", tmp_path / "dapt.toml"
    tuned.write_text(run.replace("NAME", "sft") + 'method = "sft"\n' + lora + corpus + "[sft]\nepochs = 1\n")
    window = "[window]\nsize = 400\nslots = 4\nrecap_tokens = 0\n"
    dapt.write_text(run.replace("NAME", "dapt") + "steps = 1\n" + lora + corpus + window)
    assert cli.main(["train", "--config", str(tuned)]) == 0
    assert cli.main(["dapt", "--config", str(dapt)]) == 0
    assert len(list((tmp_path / "runs").glob("*/adapters/adapters.safetensors"))) == 2


def test_a_client_who_is_written_by_a_model_that_cannot(
    tiny: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = refused(capsys, tmp_path / "s.jsonl", "--client", "written", "--sessions", 2)
    assert "2 of 2 sessions were left out" in shown
    assert "none a client's speech" in shown
    assert not list(tmp_path.iterdir())


def test_ctrl_c_keeps_whole_sessions_and_says_how_to_go_on(
    tiny: None, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    played = Recorder.play
    path = tmp_path / "s.jsonl"

    def play(self: Recorder, seed: int, *more: Any) -> Any:
        if seed == 2:
            raise KeyboardInterrupt
        return played(self, seed, *more)

    with monkeypatch.context() as stopped:
        stopped.setattr(Recorder, "play", play)
        assert command(path, "--client", "authored", "--sessions", 4, "--seed", 1) == cli.INTERRUPTED
    assert "--seed 2 --sessions 3 --append" in capsys.readouterr().err
    assert len(read_sessions(path)) == 1
    assert command(path, "--client", "authored", "--seed", 2, "--sessions", 1, "--append") == 0
    assert [session.id[-1] for session in read_sessions(path)] == ["1", "2"]


def test_what_cannot_be_recorded(tiny: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "there.jsonl").write_text("{}\n")
    assert "--append" in refused(capsys, tmp_path / "there.jsonl")
    assert "id: missing" in refused(capsys, tmp_path / "there.jsonl", "--append")
    assert (tmp_path / "there.jsonl").read_text() == "{}\n"
    new = tmp_path / "new.jsonl"
    assert "did you mean" in refused(capsys, new, "--concern", "grief")
    assert "expected one of" in refused(capsys, new, "--strategy", "Z9")
    assert "found no folder" in refused(capsys, tmp_path / "none" / "s.jsonl")
    assert "no such folder" in refused(capsys, new, "--adapter", tmp_path / "none")
    other = adapter(tmp_path / "other", model(9), "")
    assert "trained on the base" in refused(capsys, new, "--adapter", other)
    for wrong in (["--sessions", "0"], ["--seed", "-1"], ["--max-turns", "0"], ["--note-tokens", "many"]):
        with pytest.raises(SystemExit) as ended:
            command(new, *wrong)
        assert ended.value.code == cli.WRONG_INPUT
    assert not new.exists()
