"""Files are whole or absent, and a folder knows when it is broken."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agents.lm import files
from agents.lm.device import mx
from agents.lm.files import BrokenFolder, save_arrays, sha256_file, verify_folder, whole_folder, write_whole


def make(folder: Path, **contents: str) -> None:
    with whole_folder(folder) as inside:
        for name, text in contents.items():
            (inside / name).write_text(text)


def test_sha256_of_known_bytes(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_file(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_write_whole_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    write_whole(tmp_path / "a.json", "old")
    write_whole(tmp_path / "a.json", "nöw")
    assert (tmp_path / "a.json").read_bytes() == "nöw".encode()
    assert os.listdir(tmp_path) == ["a.json"]


@pytest.mark.parametrize("step", ["_sync", "replace"])
def test_write_whole_that_fails_keeps_the_old_file_and_no_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    write_whole(tmp_path / "a", "old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files if step == "_sync" else files.os, step, full)
    with pytest.raises(OSError, match="No space"):
        write_whole(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_save_arrays_on_a_full_disk_raises() -> None:
    with pytest.raises(OSError, match="No space"):
        save_arrays("/dev/full", {"a": mx.zeros(100_000)})


def test_whole_folder_verifies_and_replaces(tmp_path: Path) -> None:
    make(tmp_path / "f", a="1", b="2")
    verify_folder(tmp_path / "f")
    make(tmp_path / "f", c="3")
    verify_folder(tmp_path / "f")
    assert sorted(os.listdir(tmp_path / "f")) == ["c", "manifest.json"]
    assert os.listdir(tmp_path) == ["f"]


def test_whole_folder_without_atomic_exchange(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "_exchange", lambda a, b: False)
    make(tmp_path / "f", a="1")
    make(tmp_path / "f", a="2")
    assert (tmp_path / "f" / "a").read_text() == "2"
    assert os.listdir(tmp_path) == ["f"]


def test_a_folder_moved_aside_by_a_dead_process_comes_back(tmp_path: Path) -> None:
    make(tmp_path / "f", a="1")
    (tmp_path / "f").rename(tmp_path / ".f.old")
    verify_folder(tmp_path / "f")
    assert (tmp_path / "f" / "a").read_text() == "1"


def test_whole_folder_that_raises_leaves_the_old_one(tmp_path: Path) -> None:
    make(tmp_path / "f", a="1")
    with pytest.raises(FileNotFoundError), whole_folder(tmp_path / "f") as inside:
        (inside / "a" / "b" / "c").write_text("no folder for this")
    verify_folder(tmp_path / "f")
    assert (tmp_path / "f" / "a").read_text() == "1"
    assert os.listdir(tmp_path) == ["f"]


def test_keep_existing_lets_the_first_of_two_writers_win(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "f", keep_existing=True) as mine:
        (mine / "a").write_text("second")
        make(tmp_path / "f", a="first")
    assert (tmp_path / "f" / "a").read_text() == "first"
    assert os.listdir(tmp_path) == ["f"]


def test_verify_lists_every_mistake(tmp_path: Path) -> None:
    make(tmp_path / "f", a="1", b="2", c="3")
    (tmp_path / "f" / "a").unlink()
    (tmp_path / "f" / "b").write_text("x")
    with pytest.raises(BrokenFolder, match=r"2 of 3 .*a: missing; b: SHA-256"):
        verify_folder(tmp_path / "f")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"files": 3}', '{"files": {"a": 1}}'])
def test_a_manifest_that_cannot_be_read(tmp_path: Path, text: str) -> None:
    make(tmp_path / "f", a="1")
    (tmp_path / "f" / "manifest.json").write_text(text)
    with pytest.raises(BrokenFolder, match="readable"):
        verify_folder(tmp_path / "f")


def test_a_manifest_may_not_name_files_outside(tmp_path: Path) -> None:
    make(tmp_path / "f", a="1")
    (tmp_path / "f" / "manifest.json").write_text('{"files": {"../x": "00"}}')
    with pytest.raises(BrokenFolder, match="leaves the folder"):
        verify_folder(tmp_path / "f")


def test_old_litter_of_killed_writers_is_swept(tmp_path: Path) -> None:
    for name in ("old", "young"):
        (tmp_path / f".f.tmp-1-{name}").mkdir()
    os.utime(tmp_path / ".f.tmp-1-old", (0, 0))
    make(tmp_path / "f", a="1")
    assert sorted(os.listdir(tmp_path)) == [".f.tmp-1-young", "f"]


KILL = """
import os, sys
from agents.lm import files
at, folder = int(sys.argv[1]), sys.argv[2]
count = 0
def counted(inner):
    def call(*a, **k):
        global count
        count += 1
        if count == at:
            os.kill(os.getpid(), 9)
        return inner(*a, **k)
    return call
files._sync, files._sync_folder = counted(files._sync), counted(files._sync_folder)
files.os.replace, files.shutil.rmtree = counted(os.replace), counted(files.shutil.rmtree)
files._exchange = counted(files._exchange) if at % 2 else counted(lambda a, b: False)
files.Path.rename = counted(files.Path.rename)
with files.whole_folder(folder) as inside:
    (inside / "a").write_text("new")
print("done")
"""


@pytest.mark.parametrize("at", [1, 3, 6, 7, 8, 9])
def test_killed_at_a_step_the_folder_is_old_or_new(tmp_path: Path, at: int) -> None:
    make(tmp_path / "f", a="old")
    command = [sys.executable, "-c", KILL, str(at), str(tmp_path / "f")]
    ended = subprocess.run(command, capture_output=True, check=False)
    assert ended.returncode in (-9, 0), ended.stderr
    verify_folder(tmp_path / "f")
    assert (tmp_path / "f" / "a").read_text() in ("old", "new")
