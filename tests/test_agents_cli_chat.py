"""icarus chat: the therapist's words and nothing else on standard output; a talk that can be stopped, undone and repeated."""

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import fakes
import pytest

from agents import cli
from agents.chat import Chat, put_adapter, talk
from agents.lm.adapters import save_adapter
from agents.lm.device import mx
from agents.lm.generate import Completion
from agents.lm.lora import LoraSettings, fresh, inject
from agents.lm.models import LoadedModel
from agents.prompts import therapist_messages
from agents.settings import GenerationPart
from agents.therapist import Therapist
from client_graph.catalog import load_catalog
from judges.protocol import Turn

SHORT = GenerationPart(
    max_tokens=12, remembered_turns=2, temperature=2.0, min_p=0
)  # bytes at random, most of them words of nobody
LORA = LoraSettings(attention_rank=2, mlp_rank=2)


class Page:
    """What was shown."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.notes: list[str] = []

    def say(self, words: str) -> None:
        self.said.append(words)

    def note(self, text: str) -> None:
        self.notes.append(text)

    def waiting(self) -> AbstractContextManager[Any]:
        return nullcontext()


def chat(seed: int = 0, stage: int = 1) -> Chat:
    return Chat(fakes.tiny_llama(layers=2), load_catalog(), SHORT, stage=stage, seed=seed)


def talked(lines: list[str], seed: int = 0) -> tuple[list[str], list[str], tuple[Turn, ...]]:
    page, one = Page(), chat(seed)
    talk(one, lines, page)
    return page.said, page.notes, one.history


@pytest.fixture
def spoken_by_rote(monkeypatch: pytest.MonkeyPatch) -> list[list[dict[str, str]]]:
    """The therapist counts its answers aloud after a thought; the prompts are kept."""
    prompts: list[list[dict[str, str]]] = []

    def reply(self: Therapist, prompt: Any, key: mx.array) -> Completion:
        prompts.append(prompt.messages)
        return Completion([1], f"<think>to be kept</think> Answer {len(prompts)}.", 2)

    monkeypatch.setattr(Therapist, "reply", reply)
    return prompts


def test_it_is_told_what_it_is_told_in_the_environment(spoken_by_rote: list[list[dict[str, str]]]) -> None:
    one, catalog = chat(stage=3), load_catalog()
    for words in ("first", "second", "third", "fourth"):
        one.answer(words)
    history = tuple(Turn(w, "to be kept", f"Answer {i}.") for i, w in enumerate(("first", "second", "third"), 1))
    observation = {"client": "fourth", "stage": 3, "stance": 0, "beliefs": catalog.start[0]}
    assert spoken_by_rote[-1] == therapist_messages(observation, history, catalog, 2, 0)
    assert "first" not in str(spoken_by_rote[-1])  # two turns are remembered
    assert "integration stage" in spoken_by_rote[-1][0]["content"]
    assert "You sense" not in spoken_by_rote[-1][0]["content"]


def test_the_same_seed_and_lines_give_the_same_words() -> None:
    lines = ["I laughed at the funeral.", "I don't know."]
    assert talked(lines, 4)[0] == talked(lines, 4)[0]
    assert talked(lines, 4)[0] != talked(lines, 5)[0]


def test_commands(spoken_by_rote: list[list[dict[str, str]]]) -> None:
    said, notes, history = talked(
        ["one", "", "elsewhere", "/undo", "/help", "/why not", "//shrug", "a\0b", "/quit", "never heard"]
    )
    assert said == ["Answer 1.", "Answer 2.", "Answer 3."]
    assert [turn.client for turn in history] == ["one", "/shrug"]
    assert [note.split()[0] for note in notes] == ["An", "Taken", "/undo", "no", "found"]
    assert 'Taken back: "elsewhere"' in notes
    assert notes[3].startswith("no command /why; ")
    assert "elsewhere" not in str(spoken_by_rote[-1])
    assert talked(["/undo"])[1] == ["There is nothing to take back."]


def test_ctrl_c_stops_an_answer_and_leaves_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    page, one = Page(), chat()

    def stopped(*_: object) -> Completion:
        raise KeyboardInterrupt

    def lines(then: Callable[[], None]) -> Iterator[str]:
        yield "this is not heard"
        then()
        yield "this is"
        raise KeyboardInterrupt

    with monkeypatch.context() as slow:
        slow.setattr(Therapist, "reply", stopped)
        talk(one, lines(slow.undo), page)
    assert [turn.client for turn in one.history] == ["this is"]
    assert page.notes == ["Stopped; what you said was not heard."]


# ---------------------------------------------------------------- the command


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agents.lm.models.load_model", lambda name: fakes.tiny_llama(layers=3))


def adapter(folder: Path, loaded: LoadedModel) -> Path:
    inject(loaded.model, LORA, mx.random.key(0))
    tree = fresh(loaded.model, mx.random.key(1))
    save_adapter(folder, {name: 3 * mx.ones_like(a) for name, a in tree.items()}, LORA, loaded.base_hash)
    return folder


def typed(monkeypatch: pytest.MonkeyPatch, text: bytes) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(text), encoding="utf-8"))


def test_through_a_pipe(
    tiny: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], spoken_by_rote: Any
) -> None:
    typed(monkeypatch, "Ich weiß nicht.\n\nsecond, without a line's end".encode())
    assert cli.main(["chat", "--seed", "3"]) == 0
    shown = capsys.readouterr()
    assert shown.out == "Answer 1.\nAnswer 2.\n"
    told = " ".join(shown.err.split())
    for part in (
        cli.NOTICE,
        "not a therapist",
        "crisis line",
        "no adapter",
        "the last 3 turns",
        "--seed 3",
        "An empty line",
    ):
        assert part in told, part
    assert "to be kept" not in shown.out + shown.err


def test_nothing_typed_at_all(tiny: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    typed(monkeypatch, b"")
    assert cli.main(["chat"]) == 0
    assert capsys.readouterr().out == ""


def test_a_line_that_is_no_text(
    tiny: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(monkeypatch, b"\xff\xfe\n")
    assert cli.main(["chat"]) == cli.WRONG_INPUT
    assert "not UTF-8" in capsys.readouterr().err


def test_an_adapter_speaks(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = adapter(tmp_path / "run" / "adapters", fakes.tiny_llama(layers=3))
    (tmp_path / "run" / "settings.toml").write_text("[generation]\nmax_tokens = 5\nremembered_turns = 0\n")
    heard = {}
    for name, more in {"base": [], "run": ["--adapter", tmp_path / "run"], "folder": ["--adapter", folder]}.items():
        typed(monkeypatch, b"hello\n")
        assert cli.main(["chat", "--seed", "1", *map(str, more)]) == 0
        shown = capsys.readouterr()
        heard[name] = shown.out
        assert ("the last 0 turns" in " ".join(shown.err.split())) == (name != "base")
    assert heard["run"] == heard["folder"] != heard["base"]


def test_an_adapter_of_dapt_speaks(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    adapter(tmp_path / "run" / "adapters", fakes.tiny_llama(layers=3))
    (tmp_path / "run" / "settings.toml").write_text('[corpus]\nsessions = "x"\nviews = ["uhd"]\n')
    typed(monkeypatch, b"hello\n")
    assert cli.main(["chat", "--seed", "1", "--adapter", str(tmp_path / "run")]) == 0
    assert capsys.readouterr().out.strip()


def test_an_adapter_of_another_base(
    tiny: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = adapter(tmp_path / "other", fakes.tiny_llama(9, layers=3))
    typed(monkeypatch, b"hello\n")
    assert cli.main(["chat", "--adapter", str(folder)]) == cli.WRONG_INPUT
    assert "trained on the base" in capsys.readouterr().err
    with pytest.raises(ValueError, match="no such folder"):
        put_adapter(fakes.tiny_llama(), tmp_path / "none")
