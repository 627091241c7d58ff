"""The Anthropic judge against a server on this machine that behaves: what is sent, in what order, what is kept and spent."""

import json
import threading
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from anthropic import types
from anthropic_server import CANARY, USAGE, Said, Seen, Server, error, judgement, message, serving
from pydantic import SecretStr, ValidationError

from judges.api.errors import BudgetSpent, Failure, JudgeRefused
from judges.api.judge import AnthropicJudge
from judges.api.ledger import Ledger, Usage
from judges.api.request import exchange_text, judging, named_in, worst_case
from judges.api.settings import AnthropicJudgeConfig, Prices, read_api_settings
from judges.api.views import ApiJudgement
from judges.protocol import Exchange, JudgeFailure, JudgeUnavailable, Turn
from judges.rubric import persona, rubric

EXCHANGE = Exchange("I miss {therapist} her.", "stay", "Yes. ```` {client}", (Turn("Hello.", "secret", "Good day."),))
PRICES = Prices(input=1.0, output=10.0, cache_write=2.0, cache_read=0.1, batch_factor=0.5)


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)


def config(server: Server, **changes: Any) -> AnthropicJudgeConfig:
    plain = {"base_url": server.url, "api_key": SecretStr(CANARY), "model": "m", "deadline": 60.0}
    return AnthropicJudgeConfig(**{**plain, **changes})


def is_harsh(seen: Seen) -> bool:
    return bool(seen.body["system"][1]["text"] == persona("harsh").strip())


def both(seen: Seen) -> Said:
    """Kind: 6 and up; harsh: 3 and up."""
    return Said(body=message(json.dumps(judgement(3.0 if is_harsh(seen) else 6.0))))


def numbered(count: int) -> list[Exchange]:
    return [Exchange(f"client {i}", "", f"reply {i:02d}") for i in range(count)]


def test_a_judgement_end_to_end() -> None:
    with serving(both) as server:
        judge = AnthropicJudge(config(server, prices=PRICES))
        (found,) = judge.judge([EXCHANGE])
    assert isinstance(found, ApiJudgement)
    assert np.allclose(found.kind.scores, 6 + np.arange(12) / 10)
    assert np.allclose(found.gap, 3.0)
    assert found.harsh.reasons[3] == "because of non_reactivity"
    assert found.model == "m"
    assert [view.persona for view in found.views] == ["kind", "harsh"]
    assert found.views[0].usage == Usage(100, 50, 20, 10)
    assert judge.name == "anthropic:m"
    assert judge.spending.used == Usage(200, 100, 40, 20)
    assert judge.spending.cost == pytest.approx(2 * (100 * 1 + 50 * 10 + 20 * 2 + 10 * 0.1) / 1e6)
    assert judge.spending.calls == 2
    assert judge.spending.lost == Usage()


def test_no_exchange_needs_no_request() -> None:
    with serving([error(500)]) as server:
        judge = AnthropicJudge(config(server))
        assert judge.judge([]) == judge.judge_batch([]) == []
    assert not server.seen


def test_what_is_sent() -> None:
    with serving(both) as server:
        AnthropicJudge(config(server, thinking="disabled", effort="low", temperature=0.0, cache_ttl="1h")).judge(
            [EXCHANGE]
        )
    first, second = sorted(server.seen, key=is_harsh)
    assert (first.method, first.path) == ("POST", "/v1/messages")
    assert first.headers["authorization"] == f"Bearer {CANARY}"
    body = first.body
    assert body["model"] == "m"
    assert body["temperature"] == 0.0
    assert body["thinking"] == {"type": "disabled"}
    assert body["output_config"]["effort"] == "low"
    assert body["output_config"]["format"]["type"] == "json_schema"
    assert [block["cache_control"] for block in body["system"]] == [{"type": "ephemeral", "ttl": "1h"}] * 2
    assert body["system"][1]["text"] == persona("kind").strip()
    assert body["system"][0] == second.body["system"][0]  # one cached rubric for both personas
    for row in rubric():
        for text in (row.name, row.question, row.poor, row.adequate, row.excellent):
            assert text in body["system"][0]["text"]
    assert body["messages"] == second.body["messages"] == [{"role": "user", "content": exchange_text(EXCHANGE)}]


def test_what_was_not_set_is_not_sent() -> None:
    with serving(both) as server:
        AnthropicJudge(config(server)).judge([EXCHANGE])
    assert set(server.seen[0].body) == {"model", "max_tokens", "system", "messages", "output_config"}
    assert set(server.seen[0].body["output_config"]) == {"format"}


def test_the_exchange_is_fenced_and_filled_once() -> None:
    text = exchange_text(EXCHANGE)
    assert "```\nI miss {therapist} her.\n```" in text
    assert "`````\nYes. ```` {client}\n`````" in text
    assert "```\nGood day.\n```" in text
    assert "secret" not in text  # what the therapist thought in an earlier turn is not judged again


def test_the_rubric_does_not_change_with_the_exchange() -> None:
    one, two = (judging(AnthropicJudgeConfig(), exchange, "kind") for exchange in numbered(2))
    assert one["system"] == two["system"]
    assert one["messages"] != two["messages"]


def test_answers_keep_their_order_under_concurrency() -> None:
    left: list[int] = []

    def script(seen: Seen) -> Said:
        number = int(seen.body["messages"][0]["content"].split("reply ")[1][:2])
        threading.Event().wait(0.02 * (3 - number % 4))  # what came first leaves last
        left.append(number)
        return Said(body=message(json.dumps(judgement(number / 10, narrative=f"number {number}"))))

    with serving(script) as server:
        found = AnthropicJudge(config(server, concurrency=8)).judge(numbered(16))
    assert [answer.kind.narrative for answer in found if isinstance(answer, ApiJudgement)] == [
        f"number {i}" for i in range(16)
    ]
    assert left != sorted(left)


def test_no_more_requests_at_once_than_allowed() -> None:
    lock, now, most = threading.Lock(), 0, 0

    def script(seen: Seen) -> Said:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        threading.Event().wait(0.02)
        with lock:
            now -= 1
        return both(seen)

    with serving(script) as server:
        AnthropicJudge(config(server, concurrency=3)).judge(numbered(8))
    assert most == 3


def test_it_judges_inside_a_running_event_loop() -> None:
    async def inside() -> Any:
        with serving(both) as server:
            return AnthropicJudge(config(server)).judge([EXCHANGE])

    assert isinstance(anyio.run(inside)[0], ApiJudgement)


def test_one_failed_persona_fails_the_exchange_and_only_that_one() -> None:
    def script(seen: Seen) -> Said:
        bad = is_harsh(seen) and "reply 01" in seen.body["messages"][0]["content"]
        return Said(body=message("{}")) if bad else both(seen)

    with serving(script) as server:
        one, two, three = AnthropicJudge(config(server)).judge(numbered(3))
    assert isinstance(one, ApiJudgement)
    assert isinstance(three, ApiJudgement)
    assert isinstance(two, Failure)
    assert two.kind == "unreadable"
    assert two.reason.startswith("harsh persona: not a judgement")


def test_half_a_surrogate_pair_is_a_failure_and_no_request() -> None:
    with serving(both) as server:
        bad, good = AnthropicJudge(config(server)).judge([Exchange("a \ud800 b", "", "c"), EXCHANGE])
    assert isinstance(bad, Failure)
    assert bad.kind == "unsendable"
    assert isinstance(good, ApiJudgement)
    assert len(server.seen) == 2


# Budget


def test_the_budget_is_looked_at_before_each_call() -> None:
    worst = worst_case(judging(AnthropicJudgeConfig(model="m"), numbered(1)[0], "kind")).tokens + 500
    with serving(both) as server:
        judge = AnthropicJudge(config(server, token_budget=worst + 180 * 4, concurrency=1))
        with pytest.raises(BudgetSpent, match="budget") as spent:
            judge.judge(numbered(6))
        answers = spent.value.answers
        done = len(server.seen)
        assert 5 <= done <= 8
        assert [answer is not None for answer in answers] == [True] * (done // 2) + [False] * (6 - done // 2)
        assert judge.spending.used.tokens == 180 * done
        with pytest.raises(BudgetSpent):
            judge.judge(numbered(1))
    assert len(server.seen) == done
    filled = spent.value.filled()
    assert [answer for answer in filled if not isinstance(answer, Failure)] == [
        one for one in answers if one is not None
    ]
    missing = [answer for answer in filled if isinstance(answer, Failure)]
    assert len(missing) == answers.count(None)
    assert all(failure.kind == "unpaid" and failure.reason == str(spent.value) for failure in missing)


def test_a_budget_below_one_call_sends_nothing() -> None:
    with serving(both) as server:
        for changes in ({"token_budget": 4000}, {"money_budget": 0.01, "prices": PRICES}):
            with pytest.raises(BudgetSpent):
                AnthropicJudge(config(server, **changes)).judge([EXCHANGE])
    assert not server.seen


def test_calls_in_flight_are_waited_for_before_the_budget_counts_as_spent() -> None:
    worst = worst_case(judging(AnthropicJudgeConfig(model="m"), EXCHANGE, "harsh")).tokens
    with serving(both) as server:  # room for one worst case at a time, and for all that is truly used
        found = AnthropicJudge(config(server, token_budget=worst + 1500, concurrency=8)).judge([EXCHANGE] * 4)
    assert all(isinstance(answer, ApiJudgement) for answer in found)


def test_judges_may_share_one_budget() -> None:
    with serving(both) as server:
        ledger = Ledger(config(server))
        for _ in range(2):
            AnthropicJudge(config(server), ledger=ledger).judge([EXCHANGE])
    assert ledger.spending().calls == 4


def test_an_answer_that_does_not_say_what_it_used_costs_its_worst_case() -> None:
    for usage in (None, {}, {"input_tokens": "5", "output_tokens": 5}, {"input_tokens": -5, "output_tokens": 5}):
        with serving([Said(body=message(usage=usage))]) as server:
            judge = AnthropicJudge(config(server))
            assert isinstance(judge.judge([EXCHANGE])[0], ApiJudgement)
        assert judge.spending.used == Usage()
        assert judge.spending.lost.output == 2 * judge.config.max_tokens


# Parameters a model refuses


def refusing(name: str, text: str) -> Any:
    def script(seen: Seen) -> Said:
        body = seen.body
        there = name in body or name in body.get("output_config", {}) or any(name in block for block in body["system"])
        return error(400, text, kind="invalid_request_error") if there else both(seen)

    return script


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("temperature", "`temperature` is deprecated for this model."),
        ("temperature", "`temperature` may only be set to 1 when thinking is enabled or in adaptive mode."),
        ("thinking", "adaptive thinking is not supported on this model"),
        ("effort", "output_config.effort: This model does not support the effort parameter."),
        ("format", "output_config.format: structured outputs are not supported by this model"),
        ("cache_control", "system.0.cache_control: Extra inputs are not permitted"),
    ],
)
def test_a_refused_parameter_is_dropped_once_and_remembered(name: str, text: str) -> None:
    with serving(refusing(name, text)) as server:
        settings = {"temperature": 0.0, "thinking": "adaptive", "effort": "low"}
        judge = AnthropicJudge(config(server, concurrency=1, **settings))
        (found,) = judge.judge([EXCHANGE])
        assert isinstance(found, ApiJudgement)
        assert judge.dropped == found.views[0].dropped == (name,)
        assert len(server.seen) == 3
        judge.judge(numbered(2))
    assert len(server.seen) == 7


def test_a_model_that_takes_none_of_them_is_asked_without() -> None:
    def script(seen: Seen) -> Said:
        body = seen.body
        for name in ("temperature", "thinking"):
            if name in body:
                return error(400, f"{name}: Extra inputs are not permitted")
        if "output_config" in body:
            return error(400, "output_config: Extra inputs are not permitted")
        if any("cache_control" in block for block in body["system"]):
            return error(400, "cache_control is not supported")
        return both(seen)

    with serving(script) as server:
        judge = AnthropicJudge(config(server, temperature=1.0, thinking="disabled", effort="high"))
        (found,) = judge.judge([EXCHANGE])
    assert isinstance(found, ApiJudgement)
    assert judge.dropped == ("cache_control", "effort", "format", "temperature", "thinking")


def test_a_server_that_refuses_without_end_is_left() -> None:
    wall = serving([error(400, "temperature thinking effort cache_control structured outputs")])
    with wall as server, pytest.raises(JudgeRefused):
        AnthropicJudge(config(server, temperature=0.5, concurrency=1)).judge([EXCHANGE])
    assert len(server.seen) <= 6


def test_only_what_was_sent_can_be_dropped() -> None:
    body = judging(AnthropicJudgeConfig(), EXCHANGE, "kind")
    assert named_in("temperature is not supported", body) == ()
    assert named_in("max_tokens is too large", body) == ()


# Cache


def test_what_was_judged_is_not_asked_again(tmp_path: Path) -> None:
    path = str(tmp_path / "kept" / "judgements.sqlite")
    with serving(both) as server:
        first = AnthropicJudge(config(server, cache=path)).judge(numbered(3))
        judge = AnthropicJudge(config(server, cache=path))
        again = judge.judge(numbered(3))
        assert len(server.seen) == 6
        assert first == again
        assert [view.kept for answer in again if isinstance(answer, ApiJudgement) for view in answer.views] == [
            True
        ] * 6
        assert judge.spending.answers_kept == 6
        assert judge.spending.calls == 0
        AnthropicJudge(config(server, cache=path, max_tokens=500)).judge(numbered(1))  # another request
        AnthropicJudge(config(server, cache=path, model="n")).judge(numbered(1))
    assert len(server.seen) == 10


def test_a_failure_is_never_kept_and_its_other_half_is(tmp_path: Path) -> None:
    broken = True

    def script(seen: Seen) -> Said:
        return Said(body=message("", stop="refusal")) if broken and is_harsh(seen) else both(seen)

    with serving(script) as server:
        judge = AnthropicJudge(config(server, cache=str(tmp_path / "c.sqlite")))
        assert isinstance(judge.judge([EXCHANGE])[0], JudgeFailure)
        broken = False
        assert isinstance(judge.judge([EXCHANGE])[0], ApiJudgement)
    assert len(server.seen) == 3


# Holistic


def test_the_holistic_text_reads_the_whole_session() -> None:
    with serving([Said(body=message("  It grew.  "))]) as server:
        assert AnthropicJudge(config(server)).holistic([EXCHANGE, *numbered(2)]) == "It grew."
    (seen,) = server.seen
    assert "format" not in seen.body.get("output_config", {})
    assert seen.body["messages"][0]["content"].count("The therapist said:") == 3
    assert "cache_control" in seen.body["system"][0]


def test_a_holistic_text_that_does_not_come_is_a_typed_failure() -> None:
    with serving([Said(body=message("half", stop="max_tokens"))]) as server:
        found = AnthropicJudge(config(server)).holistic([EXCHANGE])
    assert isinstance(found, Failure)
    assert found.kind == "cut_off"
    with serving(both) as server, pytest.raises(ValueError, match="without turns"):
        AnthropicJudge(config(server)).holistic([])


# Settings


def test_every_setting_has_a_sentence_and_unknown_ones_are_refused() -> None:
    for model in (AnthropicJudgeConfig, Prices):
        assert all(field.description for field in model.model_fields.values())
        with pytest.raises(ValidationError):
            model(**{"modle": "m"})


def test_the_default_model_is_one_the_sdk_knows() -> None:
    assert AnthropicJudgeConfig().model in str(types.Model)


@pytest.mark.parametrize(
    "wrong",
    [
        {"money_budget": 1.0},
        {"base_url": "http://example.org"},
        {"base_url": "https://key:word@example.org"},
        {"base_url": "ftp://example.org"},
        {"base_url": "example.org"},
        {"base_url": ""},
        {"deadline": float("nan")},
        {"concurrency": 0},
        {"token_budget": 0},
        {"temperature": 3.0},
        {"prices": {"input": 1.0}},
    ],
    ids=str,
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AnthropicJudgeConfig(**wrong)


def test_settings_from_a_file_and_what_is_said_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "api.toml"
    file.write_text(
        'model = "m"\nmoney_budget = 3.0\ncache = "a"\n[prices]\n'
        + "\n".join(f"{name} = {price}" for name, price in PRICES.model_dump().items())
    )
    found = read_api_settings(file, {"money_budget": 1.5})
    assert found == AnthropicJudgeConfig(model="m", money_budget=1.5, cache="a", prices=PRICES)
    assert read_api_settings(None, {}) == AnthropicJudgeConfig()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ('modle = "m"\ndeadline = -1', ("modle: no such setting; did you mean model?", "deadline: found -1; ")),
        ("[prices]\ninput = 1\noutptu = 1", ("did you mean output?", "prices.cache_read: Field required")),
        (f'api_key = "{CANARY}"\nmoney_budget = 1.0', ("found money_budget 1 without prices",)),
        (f'api_kye = "{CANARY}"', ("did you mean api_key?",)),
        (f'api_key = ["{CANARY}"]', ("api_key: Input should be a valid string",)),
        (f'api_key = "{CANARY}', ("found no TOML file that can be read",)),
    ],
)
def test_mistakes_of_a_settings_file_are_told_at_once_without_the_key(
    text: str, parts: tuple[str, ...], tmp_path: Path
) -> None:
    file = tmp_path / "api.toml"
    file.write_text(text)
    with pytest.raises(JudgeUnavailable) as refused:
        read_api_settings(file, {})
    assert all(part in str(refused.value) for part in (*parts, str(file)))
    assert CANARY not in str(refused.value)


def test_a_settings_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(JudgeUnavailable, match=r"none\.toml.*expected fields of AnthropicJudgeConfig"):
        read_api_settings(tmp_path / "none.toml", {})


def test_usage_adds_and_costs() -> None:
    assert Usage(1, 2, 3, 4) + Usage(10, 20, 30, 40) == Usage(11, 22, 33, 44)
    assert Usage(1_000_000, 2_000_000, 3_000_000, 4_000_000).cost(PRICES, 0.5) == pytest.approx(
        0.5 * (1 + 20 + 6 + 0.4)
    )
    assert sum(USAGE.values()) == Usage(100, 50, 20, 10).tokens == 180
