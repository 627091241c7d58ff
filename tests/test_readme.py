"""The README's code runs as printed, on the default client and judge; its tree names files that exist."""

import builtins
import re
import runpy
from pathlib import Path
from typing import Any

import pytest

from client_graph import ClientGraph

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
REPLIES = ("It sounds as if you have carried this alone for a long time.", "", "🙂", "What would help you to say more?")


@pytest.mark.real
def test_the_ten_lines_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[0]
    asked: list[str] = []

    def reply(prompt: str) -> str:
        asked.append(prompt)
        return REPLIES[len(asked) % len(REPLIES)]

    monkeypatch.setattr(builtins, "input", reply)
    exec(compile(code, "README.md", "exec"), {})
    shown = capsys.readouterr().out
    assert 3 <= len(asked) <= 20
    assert shown.count("client:") == len(asked)
    assert "'composite'" in shown


def test_the_notebook_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code = re.findall(r"```python\n(.*?)```", README, re.DOTALL)[1]
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    shown = capsys.readouterr().out
    for part in ("ClientGraph: ", "last turn moved: ", "shame core: ", "through edges", "difference"):
        assert part in shown
    assert ClientGraph.from_graphml(tmp_path / "client.graphml").state.same_as(names["kind"].state)


def test_the_tree_names_files_that_exist() -> None:
    tree = README.split("## The house")[1].split("## On your machine")[0]
    named = set(re.findall(r"\b[a-z_]+\.py\b", tree))
    existing = {
        path.name
        for folder in ("client_graph", "rewards", "judges", "envs", "agents", "dapt", "benchmarks", "docs")
        for path in (ROOT / folder).rglob("*.py")
    }
    assert named <= existing, named - existing
    for folder in ("client_graph", "envs", "benchmarks"):
        assert {path.name for path in (ROOT / folder).rglob("*.py")} - {"__init__.py"} <= named, folder


def test_the_first_lines_are_the_two_commands() -> None:
    lines = [line.strip() for line in README.splitlines() if line.strip()]
    assert lines[1].startswith("make train")
    assert lines[2].startswith("make test")


def test_no_registry_host_is_named() -> None:
    for path in (ROOT / "requirements.txt", ROOT / "pyproject.toml", ROOT / "Makefile"):
        assert not re.search(r"https?://", path.read_text()), path


@pytest.mark.real
def test_the_tutorial_runs(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(ROOT / "docs" / "tutorial.py"))
    shown = capsys.readouterr().out
    for part in ("Referral of", "points, judged", "trust capacity: ", "treatment: ", "turns recorded", "replay.html"):
        assert part in shown


@pytest.mark.parametrize("block", range(2))
def test_the_code_of_the_environments_page_runs(block: int, capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "environments.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) == 2
    names: dict[str, Any] = {}
    exec(compile(blocks[block], "environments.md", "exec"), names)
    if block == 0:
        assert capsys.readouterr().out.startswith("(moved, phase ")
    else:
        assert names["observations"].shape == (256, 10)
