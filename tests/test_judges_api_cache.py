"""The file that keeps judgements: safe for several processes, never a failure, mended where it is damaged."""

import asyncio
import contextlib
import json
import sqlite3
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
from anthropic_server import CANARY, Said, Seen, Server, judgement, message, serving
from pydantic import SecretStr

from judges.api.cache import JudgementCache
from judges.api.judge import AnthropicJudge
from judges.api.ledger import Ledger, Usage
from judges.api.line import Answer
from judges.api.parsing import parse_assessment
from judges.api.reply import Reply
from judges.api.request import judging, remembered_as
from judges.api.settings import AnthropicJudgeConfig
from judges.api.views import ApiJudgement, Views
from judges.protocol import Assessment, Exchange, JudgeUnavailable


def assessment(score: float = 5.0) -> Assessment:
    found = parse_assessment(json.dumps(judgement(score)))
    assert isinstance(found, Assessment)
    return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "judgements.sqlite"


def rows(path: Path) -> list[tuple[str, ...]]:
    base = sqlite3.connect(path)
    try:
        return base.execute("SELECT * FROM judgements").fetchall()
    finally:
        base.close()


def test_what_is_kept_comes_back_equal(path: Path) -> None:
    cache = JudgementCache(path)
    assert cache.get("a") is None
    cache.put("a", "m", assessment(1.25))
    cache.put("b", "m", assessment(2.5))
    cache.put("b", "m", assessment(3.0))
    again = JudgementCache(path)
    assert again.get("a") == assessment(1.25)
    assert again.get("b") == assessment(3.0)
    assert len(again) == 2


def test_the_key_is_of_the_whole_request() -> None:
    exchange = Exchange("a", "b", "c")
    plain = judging(AnthropicJudgeConfig(), exchange, "kind")
    other = [
        judging(AnthropicJudgeConfig(), Exchange("a", "b", "d"), "kind"),
        judging(AnthropicJudgeConfig(), exchange, "harsh"),
        judging(AnthropicJudgeConfig(model="n"), exchange, "kind"),
        judging(AnthropicJudgeConfig(effort="low"), exchange, "kind"),
        judging(AnthropicJudgeConfig(), exchange, "kind", ("format",)),
    ]
    keys = {remembered_as(body, "https://a") for body in [plain, *other]} | {remembered_as(plain, "https://b")}
    assert len(keys) == 7
    assert remembered_as(judging(AnthropicJudgeConfig(), exchange, "kind"), "https://a") in keys


def test_the_schema_version_is_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    body = judging(AnthropicJudgeConfig(), Exchange("a", "b", "c"), "kind")
    before = remembered_as(body, "x")
    monkeypatch.setattr("judges.api.request.SCHEMA_VERSION", 2)
    assert remembered_as(body, "x") != before


def used(path: Path) -> JudgementCache:
    cache = JudgementCache(path)
    cache.get("0001")
    cache.put("new", "m", assessment(7.0))
    return cache


@pytest.mark.parametrize("damage", ["not a database", "header", "everything"])
def test_a_damaged_file_is_put_aside_and_begun_anew(path: Path, damage: str) -> None:
    cache = JudgementCache(path)
    for number in range(20):
        cache.put(f"{number:04d}", "m", assessment())
    whole = path.read_bytes()
    broken = {
        "not a database": b"text " * 500,
        "header": b"\0" * 100 + whole[100:],
        "everything": whole[:100] + b"\xff" * 9000,
    }
    path.write_bytes(broken[damage])
    with pytest.warns(UserWarning, match=r"put aside as judgements\.sqlite\.damaged-1"):
        mended = used(path)
    assert mended.get("new") == assessment(7.0)
    assert path.with_name("judgements.sqlite.damaged-1").read_bytes() == broken[damage]


def test_damage_that_comes_while_it_is_in_use_is_mended_too(path: Path) -> None:
    cache = JudgementCache(path)
    for round_ in (1, 2):
        path.write_bytes(b"gone")
        for tail in ("-wal", "-shm"):
            path.with_name(path.name + tail).unlink(missing_ok=True)
        with pytest.warns(UserWarning, match=f"damaged-{round_}"):
            assert cache.get("a") is None
    cache.put("a", "m", assessment())
    assert cache.get("a") == assessment()


def test_no_flipped_byte_gives_a_wrong_judgement(path: Path) -> None:
    cache = JudgementCache(path)
    cache.put("a", "m", assessment(6.0))
    whole = path.read_bytes()
    for place in range(0, len(whole), 97):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with contextlib.suppress(JudgeUnavailable):  # the mark of the file was hit: not ours any more
                assert JudgementCache(path).get("a") in (None, assessment(6.0))


def test_a_row_that_is_no_judgement_is_not_believed(path: Path) -> None:
    cache = JudgementCache(path)
    cache.put("a", "m", assessment())
    base = sqlite3.connect(path)
    with base:
        base.execute("UPDATE judgements SET text = replace(text, '5.0', '9.0')")
    base.close()
    with pytest.warns(UserWarning, match="is damaged and is asked for again"):
        assert cache.get("a") is None


def test_another_programs_database_is_left_alone(path: Path) -> None:
    path.parent.mkdir()
    base = sqlite3.connect(path)
    base.execute("CREATE TABLE theirs (x)")
    base.commit()
    base.close()
    before = path.read_bytes()
    with pytest.raises(JudgeUnavailable, match="another program"):
        JudgementCache(path)
    assert path.read_bytes() == before


def test_a_place_that_cannot_be_written_says_so_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for wrong in (tmp_path / "file" / "c.sqlite", tmp_path):
        with pytest.raises(JudgeUnavailable, match="cannot keep judgements here"):
            JudgementCache(wrong)


def test_a_file_that_cannot_be_used_later_warns_and_does_not_stop_the_judge(path: Path) -> None:
    cache = JudgementCache(path)
    for old in path.parent.iterdir():
        old.unlink()
    path.mkdir()
    with pytest.warns(UserWarning, match="cannot be written"):
        cache.put("a", "m", assessment())
    with pytest.warns(UserWarning, match="cannot be read"):
        assert cache.get("a") is None


WRITER = """
import sys
from pathlib import Path
from judges.api.cache import JudgementCache
from judges.api.parsing import parse_assessment
cache, found = JudgementCache(Path(sys.argv[1])), parse_assessment(sys.argv[3])
for number in range(20):
    cache.put(f"{sys.argv[2]}-{number}", "m", found)
    cache.put("shared", "m", found)
"""


def test_processes_write_at_once_and_lose_nothing(path: Path) -> None:
    root = Path(__file__).resolve().parent.parent
    text = json.dumps(judgement(1.0))
    commands = [[sys.executable, "-c", WRITER, str(path), name, text] for name in "ab"]
    writers = [subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE) for command in commands]
    for writer in writers:
        _, wrong = writer.communicate(timeout=120)
        assert writer.returncode == 0, wrong.decode()
        assert not wrong
    assert len(JudgementCache(path)) == 41
    assert len(rows(path)) == 41


def test_a_file_that_was_taken_away_is_begun_again(path: Path) -> None:
    cache = JudgementCache(path)
    cache.put("a", "m", assessment(1.0))
    for file in path.parent.glob(f"{path.name}*"):
        file.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert cache.get("a") is None
        cache.put("b", "m", assessment(2.0))
    assert cache.get("b") == assessment(2.0)


# In use by the judge, many requests at once


@pytest.fixture
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def judge_of(server: Server, path: Path, **changes: Any) -> AnthropicJudge:
    plain = {"base_url": server.url, "api_key": SecretStr(CANARY), "model": "m", "cache": str(path), "concurrency": 16}
    return AnthropicJudge(AnthropicJudgeConfig(**{**plain, **changes}))


def numbered(count: int) -> list[Exchange]:
    return [Exchange(f"client {i}", "", f"reply {i:02d}") for i in range(count)]


def watched(monkeypatch: pytest.MonkeyPatch, before: Callable[[str], None]) -> None:
    """`before` is called with "get" or "put" each time that the cache is used."""
    for name in ("get", "put"):
        plain = getattr(JudgementCache, name)

        def used(self: JudgementCache, *args: Any, name: str = name, plain: Any = plain) -> Any:
            before(name)
            return plain(self, *args)

        monkeypatch.setattr(JudgementCache, name, used)


@pytest.mark.usefixtures("_no_proxy")
def test_the_file_is_used_outside_the_event_loop(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[str] = []

    def outside(name: str) -> None:
        with pytest.raises(RuntimeError):
            asyncio.get_running_loop()
        used.append(name)

    watched(monkeypatch, outside)
    with serving([Said(body=message())]) as server:
        judge_of(server, path).judge(numbered(3))
        assert all(isinstance(answer, ApiJudgement) for answer in judge_of(server, path).judge(numbered(3)))
    assert (used.count("get"), used.count("put")) == (12, 6)


@pytest.mark.usefixtures("_no_proxy")
def test_a_slow_file_holds_up_nobody_else(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one look into the file waits, the other requests are sent: it goes on when they have been."""
    sent, looks = threading.Event(), 0

    def first_waits(name: str) -> None:
        nonlocal looks
        looks += 1
        if looks == 1:
            assert sent.wait(10), "nothing was sent while the file was waited for"

    def script(seen: Seen) -> Said:
        sent.set()
        return Said(body=message())

    watched(monkeypatch, first_waits)
    with serving(script) as server:
        assert len(judge_of(server, path).judge(numbered(2))) == 2


def test_what_was_paid_for_is_kept_though_the_call_is_cancelled(path: Path) -> None:
    config = AnthropicJudgeConfig(cache=str(path))
    answer = Answer(Reply(json.dumps(judgement()), Usage()), 1, judging(config, Exchange("a", "b", "c"), "kind"))

    async def cancelled() -> None:
        with anyio.CancelScope() as scope:
            scope.cancel()  # as a refusal of another request does
            await Views(config, Ledger(config)).made("kind", answer, ())

    anyio.run(cancelled)
    assert len(rows(path)) == 1


@pytest.mark.usefixtures("_no_proxy")
def test_damage_that_many_requests_find_at_once_is_mended_once(path: Path) -> None:
    with serving([Said(body=message())]) as server:
        judge = judge_of(server, path)
        path.write_bytes(b"gone" * 1000)
        for tail in ("-wal", "-shm"):
            path.with_name(path.name + tail).unlink(missing_ok=True)
        with pytest.warns(UserWarning, match="damaged-1"):
            found = judge.judge(numbered(8))
    assert all(isinstance(answer, ApiJudgement) for answer in found)
    assert len(rows(path)) == 16
    assert [file.name for file in path.parent.glob("*.damaged-*")] == [f"{path.name}.damaged-1"]
