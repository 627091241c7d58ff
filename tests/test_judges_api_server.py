"""A server that misbehaves in every way of RELIABILITY's list: each ends in a typed failure within the deadline."""

import json
import time
from collections.abc import Sequence
from email.utils import formatdate
from typing import Any

import numpy as np
import pytest
from anthropic_server import (
    CANARY,
    FakeTime,
    Said,
    Seen,
    Server,
    dribble,
    error,
    hang_up,
    interruptible,
    message,
    serving,
    stall,
    stall_and_interrupt,
    timed,
)
from pydantic import SecretStr

from judges.api.errors import Failure, JudgeRefused
from judges.api.judge import AnthropicJudge
from judges.api.ledger import Usage
from judges.api.settings import AnthropicJudgeConfig
from judges.api.views import ApiJudgement
from judges.protocol import Exchange

EXCHANGE = Exchange("I am here.", "", "So am I.")
GOOD = Said(body=message())


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def judge_of(server: Server, clock: FakeTime | None = None, rng: Any = None, **changes: Any) -> AnthropicJudge:
    plain = {"base_url": server.url, "api_key": SecretStr(CANARY), "model": "m", "concurrency": 1}
    settings = AnthropicJudgeConfig(**{**plain, **changes})
    return AnthropicJudge(settings, rng=rng, clock=clock.clock if clock else None)


def failure_of(script: Any, clock: FakeTime | None = None, **changes: Any) -> tuple[Failure, Server, AnthropicJudge]:
    with serving(script) as server:
        judge = judge_of(server, clock, **changes)
        (found,) = judge.judge([EXCHANGE])
    assert isinstance(found, Failure), found
    return found, server, judge


@pytest.mark.parametrize(("status", "kind"), [(429, "rate_limited"), (529, "overloaded"), (500, "overloaded")])
def test_five_minutes_of_it_end_in_a_typed_failure(status: int, kind: str) -> None:
    time_ = FakeTime()
    found, server, judge = failure_of([error(status, "come back later")], time_, deadline=300.0)
    assert found.kind == kind
    assert str(status) in found.reason
    assert "come back later" in found.reason
    assert time_.slept[:6] == [1, 2, 4, 8, 16, 30]
    assert sum(time_.slept) < 600  # kind and harsh, 300 s each
    assert sum(time_.slept) > 500
    assert found.attempts == len(server.seen) / 2
    assert judge.spending.lost == Usage()  # errors are not charged


@pytest.mark.parametrize("status", [408, 409, 429, 500, 502, 503, 504, 529])
def test_what_passes_is_tried_again(status: int) -> None:
    time_ = FakeTime()
    with serving([error(status), error(status), GOOD]) as server:
        (found,) = judge_of(server, time_).judge([EXCHANGE])
    assert isinstance(found, ApiJudgement)
    assert found.views[0].attempts == 3
    assert time_.slept == [1, 2]


def test_the_sdk_does_not_retry_by_itself() -> None:
    with serving([error(500)]) as server:
        judge_of(server, deadline=5.0, first_wait=10.0).judge([EXCHANGE])
    assert len(server.seen) == 2  # kind and harsh, once each


def waits(rng: Any) -> list[float]:
    time_ = FakeTime()
    with serving([error(529)]) as server:
        judge_of(server, time_, rng, deadline=20.0).judge([EXCHANGE])
    return time_.slept


def test_jitter_comes_from_the_generator_that_was_passed_in_and_from_nowhere_else() -> None:
    fixed, one, again, two = waits(None), *(waits(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one == again != two
    assert waits(None) == fixed
    assert fixed[:4] == [1, 2, 4, 8]
    assert all(full / 2 <= wait < full for wait, full in zip(one[:4], fixed[:4], strict=True))


@pytest.mark.parametrize("headers", [{"retry-after": "7"}, {"retry-after-ms": "7000"}, {"retry-after": "7.0"}])
def test_retry_after_is_honoured(headers: dict[str, str]) -> None:
    time_ = FakeTime()
    with serving([error(429, headers=headers), GOOD]) as server:
        judge_of(server, time_).judge([EXCHANGE])
    assert time_.slept == [7]


def test_retry_after_may_be_a_date() -> None:
    time_ = FakeTime()
    later = formatdate(time_.clock.wall() + 20, usegmt=True)
    with serving([error(503, headers={"retry-after": later}), GOOD]) as server:
        judge_of(server, time_).judge([EXCHANGE])
    assert time_.slept == [20]


@pytest.mark.parametrize(
    "value", [str(46 * 86_400), "inf", "1e300", formatdate(time.time() + 46 * 86_400, usegmt=True)], ids=str
)
def test_a_retry_after_of_46_days_fails_at_once(value: str) -> None:
    found, server, _ = failure_of([error(429, headers={"retry-after": value})])
    assert found.kind == "rate_limited"
    assert "asked to wait" in found.reason
    assert found.attempts == 1
    assert len(server.seen) == 2


@pytest.mark.parametrize("value", ["", "nan", "-5", "soon", "Mon, 99 Foo 2000", "\u00e4"])
def test_a_retry_after_that_says_nothing_is_no_news(value: str) -> None:
    time_ = FakeTime()
    with serving([error(429, headers={"retry-after": value.encode().decode("latin-1")}), GOOD]) as server:
        judge_of(server, time_).judge([EXCHANGE])
    assert time_.slept == [1]


@pytest.mark.parametrize("act", [stall, dribble], ids=["stall", "dribble"])
def test_a_socket_that_says_nothing_or_next_to_nothing_ends_with_the_deadline(act: Any) -> None:
    (found, _, judge), seconds = timed(lambda: failure_of([Said(act=act)], deadline=0.3))
    assert found.kind == "timeout"
    assert seconds < 8.0
    assert judge.spending.lost.output == 2 * judge.config.max_tokens  # it may have been charged


def test_an_attempt_that_stalls_leaves_time_for_another() -> None:
    with serving([Said(act=stall), GOOD]) as server:
        judge = judge_of(server, deadline=60.0, attempt_timeout=1.0, first_wait=0.01)
        (found,) = judge.judge([EXCHANGE])
    assert isinstance(found, ApiJudgement)
    assert found.views[0].attempts >= 2


def test_a_connection_that_is_cut_is_tried_again_until_the_deadline() -> None:
    time_ = FakeTime()
    found, _, judge = failure_of([Said(act=hang_up)], time_, deadline=20.0)
    assert found.kind == "connection"
    assert found.attempts == 5
    assert judge.spending.lost.output == 10 * judge.config.max_tokens


def test_nobody_listening_is_a_failure_that_cost_nothing() -> None:
    with serving([GOOD]) as server:
        pass
    time_ = FakeTime()
    judge = judge_of(server, time_, deadline=5.0)
    (found,) = judge.judge([EXCHANGE])
    assert isinstance(found, Failure)
    assert found.kind == "connection"
    assert judge.spending.lost == Usage()


def said(body: Any, kind: str = "application/json") -> Said:
    return Said(200, body, {"content-type": kind})


@pytest.mark.parametrize(
    "answer",
    [
        said(b"<html><body>Please log in</body></html>", "text/html"),
        said(b"<html><body>Please log in</body></html>"),
        said(b""),
        said(b"null"),
        said(b"[]"),
        said(b"{}"),
        said(b'{"type": "message"}'),
        said(b'{"type": "message", "content": "text"}'),
        said(json.dumps(message())[:200].encode()),
        said(b"[" * 100_000),
        said(b'{"a":' * 100_000),
        said(b"\xff\xfe\x00"),
        said(message(stop=None)),
        said(message(stop="tool_use")),
        said(message(stop="pause_turn")),
        said(message(stop="something new")),
        said({**message(), "stop_reason": ["end_turn"]}),
        said(message(content=[{"type": "text", "text": 5}])),
    ],
    ids=range(18),
)
def test_status_200_without_a_message_is_a_typed_failure(answer: Said) -> None:
    found, server, _ = failure_of([answer])
    assert found.kind == "not_a_message"
    assert len(server.seen) == 2


@pytest.mark.parametrize(
    "content",
    [[], [{"type": "text", "text": ""}], [{"type": "text", "text": " \n"}], [{"type": "thinking"}], [None, 5]],
)
def test_an_empty_answer_is_a_typed_failure(content: Sequence[Any]) -> None:
    found, _, judge = failure_of([Said(body=message(content=content))])
    assert found.kind == "empty"
    assert judge.spending.used.tokens == 360  # it was charged all the same


@pytest.mark.parametrize(
    ("stop", "kind"), [("refusal", "refusal"), ("max_tokens", "cut_off"), ("model_context_window_exceeded", "cut_off")]
)
def test_a_refusal_and_a_cut_answer_are_typed_failures_whatever_they_hold(stop: str, kind: str) -> None:
    for changes in ({}, {"content": []}):
        found, server, judge = failure_of([Said(body=message(stop=stop, **changes))])
        assert found.kind == kind
        assert len(server.seen) == 2  # asking the same again is the caller's choice
        assert judge.spending.used.tokens == 360


@pytest.mark.parametrize("text", ["{}", "I would say 7.", json.dumps({"score": 7}), "[" * 100_000])
def test_text_that_is_no_judgement_is_a_typed_failure(text: str) -> None:
    assert failure_of([Said(body=message(text))])[0].kind == "unreadable"


def test_thinking_before_the_text_is_passed_over() -> None:
    blocks = [{"type": "thinking", "thinking": "7?", "signature": ""}, *message()["content"]]
    with serving([Said(body=message(content=blocks))]) as server:
        assert isinstance(judge_of(server).judge([EXCHANGE])[0], ApiJudgement)


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 402, 403, 404, 418, 422])
def test_a_refusal_of_the_request_stops_the_run_at_once(status: int) -> None:
    with serving([error(status, "not you", headers={"location": "/elsewhere"})]) as server:
        with pytest.raises(JudgeRefused, match="not you") as refused:
            judge_of(server).judge([EXCHANGE] * 5)
        assert refused.value.status == status
        assert len(server.seen) == 1


def test_a_spend_limit_is_not_waited_for() -> None:
    body = {"type": "error", "error": {"type": "rate_limit_error", "message": "limit reached"}}
    body["error"]["details"] = {"error_code": "enforced_spend_limit_reached"}  # type: ignore[index]
    with serving([Said(429, body)]) as server, pytest.raises(JudgeRefused):
        judge_of(server).judge([EXCHANGE])
    assert len(server.seen) == 1


def test_an_exchange_that_is_too_large_fails_alone() -> None:
    def script(seen: Seen) -> Said:
        return error(413, "too large") if "LONG" in seen.body["messages"][0]["content"] else GOOD

    with serving(script) as server:
        long, short = judge_of(server).judge([Exchange("LONG", "", "x"), EXCHANGE])
    assert isinstance(long, Failure)
    assert long.kind == "too_large"
    assert isinstance(short, ApiJudgement)


@pytest.mark.parametrize(
    "body", [b"", b"<html>", b"[" * 100_000, b"null", b'{"error": 5}', b'{"error": {"message": [1]}}']
)
@pytest.mark.parametrize("status", [400, 529])
def test_an_error_with_any_body_stays_typed(status: int, body: bytes) -> None:
    with serving([Said(status, body)]) as server:
        judge = judge_of(server, deadline=0.2, first_wait=10.0)
        if status == 400:
            with pytest.raises(JudgeRefused):
                judge.judge([EXCHANGE])
        else:
            found = judge.judge([EXCHANGE])[0]
            assert isinstance(found, Failure)
            assert len(found.reason) < 1500


def test_an_interrupt_ends_the_call_at_once_and_counts_what_may_have_been_charged() -> None:
    with serving([Said(act=stall_and_interrupt), Said(act=stall)]) as server:
        judge = judge_of(server, deadline=30.0, concurrency=2)
        start = time.monotonic()
        with interruptible(), pytest.raises(KeyboardInterrupt):
            judge.judge([EXCHANGE])
        assert time.monotonic() - start < 5.0
    assert judge.spending.lost.output == 2 * judge.config.max_tokens
