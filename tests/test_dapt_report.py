"""The page of a pre-training run: of a whole one, one that goes on, one that measured nothing, and one that is damaged."""

from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from model_folder import model_folder
from test_dapt_trainer import log, run, told

from agents.cli import main
from agents.lm.run_folder import RunFolderError
from dapt.picture import png
from dapt.report import write_report
from dapt.run_log import read_run
from dapt.settings import ModelPart, WindowPart
from dapt.stages import NAMES
from dapt.trainer import DaptTrainer
from dapt.watching import PROBES, WINDOWS


class Words(HTMLParser):
    """The page's text, and the tags that it holds."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: object) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> DaptTrainer:
    return run(told(tmp_path_factory.mktemp("whole")))


@pytest.fixture
def folder(whole: DaptTrainer, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(whole.folder.path, tmp_path / "run"))


def test_the_page_says_what_it_is_and_shows_every_stage(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dapt", "--report", str(folder)]) == 0
    assert f"report: {folder / 'report.html'}" in capsys.readouterr().out
    page = (folder / "report.html").read_text()
    words = Words(page)
    for part in (
        "simulator", "not for clinical use", *NAMES, "Kurtosis", "slots of the history", "below the adapters", "garbage", "drift"
    ):  # fmt: skip
        assert part in words.text
    assert "script" not in words.tags
    assert "http" not in page.split("<img")[0]
    assert (folder / "report.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_ends_with_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = told(tmp_path, steps=1)
    changes = {
        "model": ModelPart(name=str(model_folder(tmp_path / "base"))),
        "run": settings.run.model_copy(update={"folder": str(tmp_path / "runs")}),
    }
    (tmp_path / "run.toml").write_text(settings.model_copy(update=changes).to_toml())
    assert main(["dapt", "--config", str(tmp_path / "run.toml")]) == 0
    (made,) = (tmp_path / "runs").iterdir()
    shown = capsys.readouterr().out
    assert f"report: {made / 'report.html'}" in shown
    assert "not for clinical use" in shown
    assert (made / "report.html").is_file()


def test_a_run_of_four_steps_has_seen_no_stage(folder: Path) -> None:
    assert [one.span for one in read_run(folder).stages][2] is None
    assert "not seen" in Words(write_report(folder).read_text()).text


def test_series_are_those_of_the_logs(whole: DaptTrainer) -> None:
    found, lines = read_run(whole.folder.path), log(whole, PROBES)
    assert found.at.tolist() == [line["windows"] for line in lines]
    keys = found.kurtosis("later", "keys")
    assert keys.shape == (3, len(lines))
    assert keys[2, 1] == lines[1]["kurtosis"]["later"]["keys"][2]
    both = [np.mean(lines[0]["kurtosis"]["later"][side]) for side in ("keys", "values")]
    assert found.mean_kurtosis("later")[0] == pytest.approx(np.mean(both))
    assert found.adapted == [1]


def test_the_picture_is_the_same_for_the_same_run(whole: DaptTrainer) -> None:
    found = read_run(whole.folder.path)
    assert png(found) == png(found)


def test_words_of_a_model_are_no_markup(folder: Path) -> None:
    lines = [json.loads(line) for line in (folder / WINDOWS).read_text().splitlines()]
    for line in lines:
        if line["recap"] is not None:
            line["recap"] = "<script>alert(1)</script> & </table>"
    (folder / WINDOWS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    words = Words(write_report(folder).read_text())
    assert "script" not in words.tags
    assert "<script>alert(1)</script> & </table>" in words.text


def test_a_run_that_is_not_done_has_a_page_too(tmp_path: Path) -> None:
    stopped = run(told(tmp_path), stop_after=2)
    with (stopped.folder / WINDOWS).open("ab") as file:
        file.write(b'{"step": 1, "los')  # being written
    text = Words(write_report(stopped.folder.path).read_text()).text
    assert "0 of 4 steps, 2 windows (not done" in text
    assert "too few to tell" in text


def test_a_run_without_recaps_and_measurements_says_so(tmp_path: Path) -> None:
    settings = told(tmp_path, steps=1)
    changes = {
        "corpus": settings.corpus.model_copy(update={"held_out": 0}),
        "window": WindowPart(size=120, slots=8, recap_tokens=0),
    }
    made = run(settings.model_copy(update=changes))
    text = Words(write_report(made.folder.path).read_text()).text
    assert "Nothing was measured" in text
    assert "no recap" in text


def test_every_broken_line_is_named(folder: Path) -> None:
    for name, number in ((WINDOWS, 2), (PROBES, 1)):
        lines = (folder / name).read_text().splitlines()
        lines[number - 1] = lines[number - 1][:-5]
        (folder / name).write_text("\n".join(lines) + "\n")
    with pytest.raises(RunFolderError, match=r"2 line\(s\)(.|\n)*windows.jsonl:2(.|\n)*probes.jsonl:1"):
        write_report(folder)
    assert not (folder / "report.html").exists()


def test_what_is_no_run_is_refused(tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dapt", "--report", str(tmp_path / "none")]) == 2
    assert "settings.toml" in capsys.readouterr().err
    (folder / WINDOWS).unlink()
    with pytest.raises(RunFolderError, match=r"found no line in windows\.jsonl"):
        write_report(folder)
