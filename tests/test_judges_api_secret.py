"""The key leaves the process in one header and nowhere else: not in logs, errors, tracebacks, files or settings."""

import logging
import pickle
import traceback
from pathlib import Path
from typing import Any

import pytest
from anthropic_server import CANARY, FakeTime, Said, error, message, serving
from pydantic import SecretStr, ValidationError

from judges.api.errors import BudgetSpent, Failure, JudgeRefused
from judges.api.judge import AnthropicJudge
from judges.api.secret import HIDDEN, Scrubber, find_key
from judges.api.settings import AnthropicJudgeConfig
from judges.protocol import Exchange, JudgeUnavailable

EXCHANGE = Exchange("I am here.", "", "So am I.")
ECHO = {"x-echo": CANARY, "retry-after": "0"}


@pytest.fixture(autouse=True)
def _key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("ANTHROPIC_API_KEY", CANARY)


def everything(thrown: BaseException) -> str:
    """All that a reporter could print of an exception: message, traceback, the chain behind it, the frames' locals."""
    shown = traceback.TracebackException.from_exception(thrown, capture_locals=True)
    texts = ["".join(shown.format(chain=True)), repr(thrown), str(vars(thrown))]
    for link in (thrown.__cause__, thrown.__context__):
        texts += [everything(link)] if link is not None else []
    return "\n".join(texts)


ANSWERS = {
    "good": Said(200, message(), ECHO, f"OK {CANARY}"),
    "html": Said(200, f"<html>{CANARY}</html>".encode(), {**ECHO, "content-type": "text/html"}),
    "prose": Said(200, message(f"your key is {CANARY}"), ECHO),
    "odd stop": Said(200, message(stop=CANARY), ECHO),
    "401": error(401, f"invalid x-api-key: {CANARY}", ECHO),
    "400": error(400, f"bad {CANARY} request", ECHO),
    "400 plain": Said(400, CANARY.encode(), ECHO, f"Bad {CANARY}"),
    "429": error(429, f"key {CANARY} is over its limit", ECHO),
    "529": Said(529, f"overloaded {CANARY}".encode(), ECHO),
    "redirect": Said(307, b"", {**ECHO, "location": f"/{CANARY}"}),
}


@pytest.mark.parametrize("answer", ANSWERS)
def test_a_key_that_the_server_echoes_is_nowhere_to_be_found(
    answer: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with caplog.at_level(logging.DEBUG), serving([ANSWERS[answer]]) as server:
        settings = AnthropicJudgeConfig(base_url=server.url, cache=str(tmp_path / "cache.sqlite"), deadline=30.0)
        judge = AnthropicJudge(settings, clock=FakeTime().clock)
        texts = []
        try:
            found = judge.judge([EXCHANGE])
            texts += [repr(found), str(vars(found[0]))]
        except JudgeRefused as refused:
            texts += [everything(refused)]
        assert server.seen[0].headers["authorization"] == f"Bearer {CANARY}"  # it did go where it belongs
    texts += [repr(judge), str(vars(judge)), repr(settings), settings.model_dump_json(), str(judge.spending)]
    texts += [*capfd.readouterr(), caplog.text, *(str(vars(record)) for record in caplog.records)]
    assert caplog.records  # the HTTP libraries did log
    assert CANARY not in "\n".join(texts)
    assert not [path for path in tmp_path.rglob("*") if CANARY.encode() in path.read_bytes()]


def test_the_scrubbed_message_is_still_shown() -> None:
    with serving([ANSWERS["401"]]) as server:
        with pytest.raises(JudgeRefused) as refused:
            AnthropicJudge(AnthropicJudgeConfig(base_url=server.url)).judge([EXCHANGE])
        assert f"invalid x-api-key: {HIDDEN}" in str(refused.value)
        assert "check the key" in str(refused.value)
        assert refused.value.__context__ is None


def test_the_log_filters_go_when_the_call_ends() -> None:
    with serving([ANSWERS["good"]]) as server:
        AnthropicJudge(AnthropicJudgeConfig(base_url=server.url)).judge([EXCHANGE])
    assert not logging.getLogger("anthropic._base_client").filters


def test_without_a_key_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    for value in ("", "  \n"):
        monkeypatch.setenv("ANTHROPIC_API_KEY", value)
        with pytest.raises(JudgeUnavailable, match=r"ANTHROPIC_API_KEY.*embedding"):
            AnthropicJudge()
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    with pytest.raises(JudgeUnavailable):
        AnthropicJudge()


@pytest.mark.parametrize("wrong", [f"{CANARY}\nx", f"{CANARY} x", f"{CANARY}\u00e4", f"{CANARY}\0", "short"])
def test_a_key_that_no_header_can_carry_is_refused_without_being_shown(wrong: str) -> None:
    with pytest.raises(JudgeUnavailable) as refused:
        find_key(SecretStr(wrong))
    assert wrong not in str(refused.value).replace("shorter", "")
    assert CANARY not in repr(refused.value)
    assert refused.value.__context__ is None


def test_a_key_set_by_hand_comes_before_the_environment() -> None:
    assert find_key(SecretStr(" other-key-12345 \n")).get_secret_value() == "other-key-12345"
    assert find_key(None).get_secret_value() == CANARY


@pytest.mark.parametrize("wrong", [{"modle": "m"}, {"deadline": -1}, {"money_budget": 1.0}, {"base_url": "ftp://x"}])
def test_an_error_about_the_settings_does_not_show_the_key(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as refused:
        AnthropicJudgeConfig(**{"api_key": CANARY, **wrong})
    assert CANARY not in str(refused.value)
    assert CANARY not in repr(refused.value)


def test_settings_are_written_without_the_key() -> None:
    settings = AnthropicJudgeConfig(api_key=SecretStr(CANARY))
    for text in (settings.model_dump_json(), str(settings.model_dump()), repr(settings), str(settings)):
        assert CANARY not in text
        assert "api_key" not in text


def test_errors_survive_pickling() -> None:
    for thrown in (JudgeRefused("no", 401), BudgetSpent("spent", (None, Failure("why", "timeout")))):
        copy = pickle.loads(pickle.dumps(thrown))
        assert (str(copy), vars(copy)) == (str(thrown), vars(thrown))


def test_a_log_call_that_does_not_fit_loses_no_request_and_a_stack_is_cleaned() -> None:
    clean = Scrubber(find_key(None)).filter
    record = logging.LogRecord("httpx2", logging.INFO, "f", 1, "%d and %d", ("one",), None)
    record.stack_info = f"Stack with {CANARY}"
    assert clean(record)
    assert CANARY not in f"{record.getMessage()} {record.stack_info}"
