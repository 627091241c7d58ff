"""A session in one batch, against a server that keeps batches: results by id, deadlines, every failure typed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from anthropic_server import (
    CANARY,
    Batches,
    FakeTime,
    Said,
    Seen,
    Server,
    error,
    hang_up,
    interruptible,
    message,
    serving,
    stall_and_interrupt,
)
from pydantic import SecretStr

from judges.api.errors import BatchInterrupted, BudgetSpent, Failure, JudgeRefused
from judges.api.judge import AnthropicJudge
from judges.api.ledger import Usage
from judges.api.settings import AnthropicJudgeConfig, Prices
from judges.api.views import ApiJudgement
from judges.assessment.session import summarise_session
from judges.protocol import Exchange, JudgeUnavailable

SESSION = [Exchange(f"client {i}", "", f"reply {i:02d}") for i in range(4)]
PRICES = Prices(input=1.0, output=10.0, cache_write=2.0, cache_read=0.1, batch_factor=0.5)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def judge_of(server: Server, time_: FakeTime | None = None, **changes: Any) -> AnthropicJudge:
    plain = {"base_url": server.url, "api_key": SecretStr(CANARY), "model": "m", "deadline": 60.0, "prices": PRICES}
    return AnthropicJudge(AnthropicJudgeConfig(**{**plain, **changes}), clock=(time_ or FakeTime()).clock)


def kinds(found: list[Any]) -> list[str]:
    return [answer.kind if isinstance(answer, Failure) else "judged" for answer in found]


def test_a_session_end_to_end() -> None:
    time_ = FakeTime()
    with serving(batches := Batches(looks=3)) as server:
        judge = judge_of(server, time_, temperature=0.0)
        found = judge.judge_batch(SESSION)
    assert [answer.kind.scores[0] for answer in found if isinstance(answer, ApiJudgement)] == [2, 3, 4, 5]
    assert [answer.harsh.scores[0] for answer in found if isinstance(answer, ApiJudgement)] == [1, 2, 3, 4]
    assert np.allclose(summarise_session(found).trend, 3.0)
    assert time_.slept == [30.0] * 3
    (requests,) = batches.asked
    assert len({one["custom_id"] for one in requests}) == 8
    assert requests[0]["params"]["temperature"] == 0.0
    assert requests[0]["params"]["system"][0]["cache_control"]["type"] == "ephemeral"
    assert requests[0]["params"]["output_config"]["format"]["type"] == "json_schema"
    assert judge.spending.used == Usage(800, 400, 160, 80)
    assert judge.spending.cost == pytest.approx(0.5 * 8 * (100 + 500 + 40 + 1) / 1e6)
    assert judge.spending.lost == Usage()


def test_what_was_judged_before_is_not_in_the_batch(tmp_path: Path) -> None:
    with serving(batches := Batches()) as server:
        path = str(tmp_path / "c.sqlite")
        first = judge_of(server, cache=path).judge_batch(SESSION[:2])
        again = judge_of(server, cache=path).judge_batch(SESSION)
        assert again[:2] == first
        assert [len(requests) for requests in batches.asked] == [4, 4]
        assert judge_of(server, cache=path).judge_batch(SESSION) == again
        assert judge_of(server, cache=path).judge(SESSION) == again  # one cache for both ways
    assert len(batches.asked) == 2


class Spoiled(Batches):
    """Each of the first requests fails in its own way; the last exchange is judged."""

    def result(self, request: dict[str, Any]) -> Any:
        fault = {"type": "error", "error": {"type": "api_error", "message": f"it broke, {CANARY}"}}
        return {
            0: {"type": "expired"},
            1: {"type": "canceled"},
            2: {"type": "errored", "error": fault},
            3: {"type": "succeeded", "message": message(stop="refusal")},
            4: {"type": "succeeded", "message": message("{}")},
            5: {"type": "succeeded", "message": "?"},
        }.get(int(request["custom_id"][-6:]), super().result(request))


def test_what_failed_in_the_batch_is_typed_and_the_rest_is_judged() -> None:
    with serving(Spoiled()) as server:
        judge = judge_of(server)
        found = judge.judge_batch(SESSION)
    assert kinds(found) == ["batch_unfinished", "batch_errored", "unreadable", "judged"]
    assert "it broke, [key]" in found[1].reason  # type: ignore[union-attr]
    assert "declined" in found[1].reason  # type: ignore[union-attr]
    assert judge.spending.calls == 4  # those that did not succeed are not charged
    assert judge.spending.lost.output == judge.config.max_tokens  # one succeeded without saying what it used


class Muddled(Batches):
    """Results that are missing, doubled, foreign or no JSON."""

    def results(self) -> Said:
        rows = [json.dumps({"custom_id": one["custom_id"], "result": self.result(one)}) for one in self.asked[-1]]
        lines = [*rows[1:], rows[2], '{"custom_id": "someone-else", "result": {}}', "<html>", "[" * 10_000, "", "5"]
        return Said(body="\n".join(lines).encode())


def test_results_that_match_nothing_are_typed_failures() -> None:
    with serving(Muddled()) as server:
        judge = judge_of(server)
        found = judge.judge_batch(SESSION)
    assert kinds(found) == ["batch_unmatched", "batch_unmatched", "judged", "judged"]
    assert judge.spending.lost.output == 2 * judge.config.max_tokens


def test_a_batch_that_does_not_end_is_cancelled_at_its_deadline() -> None:
    time_ = FakeTime()
    with serving(batches := Batches(looks=10**6)) as server:
        judge = judge_of(server, time_, batch_deadline=200.0, batch_poll=30.0)
        found = judge.judge_batch(SESSION)
    assert set(kinds(found)) == {"batch_unfinished"}
    assert batches.cancelled
    assert time_.now <= 200.0
    assert judge.spending.lost.output == 8 * judge.config.max_tokens


class Flaky(Batches):
    """Every second look fails."""

    turn = 0

    def __call__(self, seen: Seen) -> Said:
        self.turn += seen.method == "GET"
        return error(529) if self.turn % 2 and not seen.path.endswith("results") else super().__call__(seen)


def test_a_look_that_fails_is_no_reason_to_give_up() -> None:
    with serving(Flaky(looks=4)) as server:
        assert kinds(judge_of(server, first_wait=90.0, longest_wait=90.0).judge_batch(SESSION)) == ["judged"] * 4
    assert len(server.seen) == 1 + 7 + 1 + 1


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (error(529), "overloaded"),
        (error(413), "too_large"),
        (Said(200, b"<html>"), "not_a_message"),
        (Said(200, {"type": "message_batch", "id": "../../x", "processing_status": "ended"}), "not_a_message"),
        (Said(act=hang_up), "connection"),
    ],
)
def test_a_batch_that_is_not_made_is_a_typed_failure(answer: Said, kind: str) -> None:
    with serving([answer]) as server:
        judge = judge_of(server)
        assert kinds(judge.judge_batch(SESSION)) == [kind] * 4
    if kind == "connection":  # it may have been made: sending it again could pay twice
        assert len(server.seen) == 1
        assert judge.spending.lost.output == 8 * judge.config.max_tokens
    if kind in ("overloaded", "too_large"):
        assert judge.spending.lost == Usage()


def test_a_refused_batch_stops_the_run() -> None:
    with serving([error(401, "no")]) as server:
        judge = judge_of(server)
        with pytest.raises(JudgeRefused):
            judge.judge_batch(SESSION)
    assert judge.spending.lost == Usage()


class Picky(Batches):
    """A model that takes no temperature, and says so where `at` says: at once or in each result."""

    def __init__(self, at: str) -> None:
        super().__init__()
        self.at = at

    def created(self) -> Said:
        hot = self.at == "create" and "temperature" in self.asked[-1][0]["params"]
        return error(400, "requests.0.params.temperature: not permitted") if hot else super().created()

    def result(self, request: dict[str, Any]) -> Any:
        if "temperature" not in request["params"]:
            return super().result(request)
        fault = {"type": "invalid_request_error", "message": "`temperature` is deprecated for this model."}
        return {"type": "errored", "error": {"type": "error", "error": fault}}


@pytest.mark.parametrize("at", ["create", "result"])
def test_a_refused_parameter_is_dropped_and_the_batch_sent_again(at: str) -> None:
    with serving(batches := Picky(at)) as server:
        judge = judge_of(server, temperature=0.0)
        found = judge.judge_batch(SESSION)
    assert kinds(found) == ["judged"] * 4
    assert judge.dropped == ("temperature",)
    assert len(batches.asked) == 2
    assert judge.spending.lost == Usage()


def test_the_budget_must_hold_the_whole_batch() -> None:
    with serving(batches := Batches()) as server:
        with pytest.raises(BudgetSpent, match="batch") as spent:
            judge_of(server, token_budget=60_000).judge_batch(SESSION)
        assert spent.value.answers == (None,) * 4
        assert kinds(judge_of(server, token_budget=200_000).judge_batch(SESSION)) == ["judged"] * 4
    assert len(batches.asked) == 1


def test_a_money_budget_needs_the_price_of_a_batch() -> None:
    prices = PRICES.model_copy(update={"batch_factor": None})
    with serving(batches := Batches()) as server:
        with pytest.raises(JudgeUnavailable, match="batch_factor"):
            judge_of(server, money_budget=5.0, prices=prices).judge_batch(SESSION)
        assert kinds(judge_of(server, money_budget=5.0).judge_batch(SESSION)) == ["judged"] * 4
    assert len(batches.asked) == 1


def test_half_a_surrogate_pair_stays_out_of_the_batch() -> None:
    with serving(batches := Batches()) as server:
        found = judge_of(server).judge_batch([Exchange("\udfff", "", "reply 09"), *SESSION])
    assert kinds(found) == ["unsendable", *["judged"] * 4]
    assert len(batches.asked[0]) == 8


# A batch outlives the process that sent it


def interrupted_batch(server: Server, **changes: Any) -> tuple[BatchInterrupted, AnthropicJudge, list[str]]:
    told: list[str] = []
    settings = AnthropicJudgeConfig(
        base_url=server.url, api_key=SecretStr(CANARY), model="m", prices=PRICES, batch_poll=0.05, **changes
    )
    judge = AnthropicJudge(settings)
    with interruptible(), pytest.raises(BatchInterrupted) as stopped:
        judge.judge_batch(SESSION, on_batch=told.append)
    return stopped.value, judge, told


def test_an_interrupt_names_the_batch_and_another_judge_goes_on_with_it() -> None:
    with serving(batches := Batches(looks=None)) as server:
        stopped, judge, told = interrupted_batch(server)
        assert stopped.batch == "msgbatch_1"
        assert told == ["msgbatch_1"]
        assert "msgbatch_1 goes on at the service and is charged" in str(stopped)
        assert judge.spending.lost.output == 8 * judge.config.max_tokens
        assert not batches.cancelled
        batches.looks = 1
        other = judge_of(server)
        assert kinds(other.judge_batch(SESSION, batch="msgbatch_1")) == ["judged"] * 4
    assert len(batches.asked) == 1
    assert other.spending.used == Usage(800, 400, 160, 80)


def test_a_batch_that_has_ended_is_read_at_once_and_what_it_did_not_answer_fails_alone() -> None:
    time_ = FakeTime()
    with serving(batches := Batches()) as server:
        judge_of(server).judge_batch(SESSION)
        judge = judge_of(server, time_)
        found = judge.judge_batch([*SESSION, Exchange("client 4", "", "reply 04")], batch="msgbatch_1")
    assert kinds(found) == [*["judged"] * 4, "batch_unmatched"]
    assert len(batches.asked) == 1
    assert time_.slept == []
    assert judge.spending.lost == Usage()  # it was not asked there


@pytest.mark.parametrize("changes", [{"model": "n"}, {"temperature": 0.5}, {"max_tokens": 500}], ids=str)
def test_a_batch_that_was_sent_for_something_else_is_refused(changes: dict[str, Any]) -> None:
    with serving(Batches()) as server:
        judge_of(server).judge_batch(SESSION)
        judge = judge_of(server, **changes)
        with pytest.raises(JudgeUnavailable, match="found 8 results, none of them to what is asked now"):
            judge.judge_batch(SESSION, batch="msgbatch_1")
    assert judge.spending.lost == judge.spending.used == Usage()


def test_other_words_do_not_get_an_old_score() -> None:
    """The same place in the session, another reply: the id of the result is of the request, not of the place."""
    changed = [SESSION[0], Exchange("client 1", "", "reply 01, changed"), *SESSION[2:]]
    with serving(Batches()) as server:
        judge_of(server).judge_batch(SESSION)
        found = judge_of(server).judge_batch(changed, batch="msgbatch_1")
    assert kinds(found) == ["judged", "batch_unmatched", "judged", "judged"]


def test_an_interrupt_says_what_the_batch_was_sent_without() -> None:
    batches = Picky("create")
    batches.looks = None
    with serving(batches) as server:
        stopped, _, _ = interrupted_batch(server, temperature=0.0)
    assert stopped.dropped == ("temperature",)
    assert "sent without temperature" in str(stopped)


def test_a_batch_that_has_been_read_is_not_named_any_more() -> None:
    class Stuck(Picky):
        """The second batch is never made."""

        def created(self) -> Said:
            return Said(act=stall_and_interrupt) if len(self.asked) == 2 else super().created()

    with serving(batches := Stuck("result")) as server:
        judge = judge_of(server, temperature=0.0)
        with interruptible(), pytest.raises(KeyboardInterrupt) as stopped:
            judge.judge_batch(SESSION)
    assert len(batches.asked) == 2
    assert not isinstance(stopped.value, BatchInterrupted)


def test_a_refusal_on_the_way_names_the_batch_which_may_be_charged() -> None:
    class Closing(Batches):
        def __call__(self, seen: Seen) -> Said:
            return super().__call__(seen) if seen.method == "POST" else error(401, "no longer")

    with serving(Closing()) as server:
        judge = judge_of(server)
        with pytest.raises(JudgeRefused, match=r"no longer.*batch msgbatch_1, which can be asked for again"):
            judge.judge_batch(SESSION)
    assert judge.spending.lost.output == 8 * judge.config.max_tokens


def test_results_that_cannot_be_had_name_the_batch() -> None:
    class Mute(Batches):
        def results(self) -> Said:
            return error(529)

    with serving(Mute()) as server:
        found = judge_of(server).judge_batch(SESSION)
    assert {answer.reason.split(": ")[1] for answer in found if isinstance(answer, Failure)} == {"batch msgbatch_1"}


def test_a_batch_is_cancelled_by_its_id() -> None:
    with serving(batches := Batches()) as server:
        judge = judge_of(server)
        assert judge.cancel_batch("msgbatch_1") is None
        assert batches.cancelled
        assert server.seen[0].path.endswith("/msgbatch_1/cancel")
        with serving([error(529)]) as busy:
            assert kinds([judge_of(busy).cancel_batch("msgbatch_1")]) == ["overloaded"]
        with (
            serving([error(400, "it has ended")]) as over,
            pytest.raises(JudgeRefused, match=r"it has ended.*msgbatch_1"),
        ):
            judge_of(over).cancel_batch("msgbatch_1")


@pytest.mark.parametrize("wrong", ["", "../messages", "a b", "x" * 129, "\u00e4"])
def test_what_is_no_id_goes_into_no_address(wrong: str) -> None:
    with serving(Batches()) as server:
        for action in (judge_of(server).cancel_batch, lambda name: judge_of(server).judge_batch(SESSION, batch=name)):
            with pytest.raises(JudgeUnavailable, match="expected an id"):
                action(wrong)
    assert not server.seen
