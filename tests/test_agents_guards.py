"""When a run pauses by itself."""

from dataclasses import replace

import pytest

from agents.guards import Guard, Seen, distinct
from agents.settings import GuardPart

WELL = Seen(reply="a b c d", kl=0.1, entropy=2.0, spoken=5, garbled=0, judged=6, failed=0)
WINDOW = 4


def alarms(found: list[Seen], **limits: float | None) -> list[str | None]:
    guard = Guard(GuardPart(window=WINDOW, **limits))  # type: ignore[arg-type]
    return [guard.alarm(seen) for seen in found]


def test_a_talk_that_lives_is_left_alone() -> None:
    words = [f"w{i} x{i} y{i} z{i}" for i in range(12)]
    assert alarms([replace(WELL, reply=text) for text in words]) == [None] * 12


@pytest.mark.parametrize(
    ("bad", "told"),
    [
        ({"kl": 40.0}, "divergence from the reference"),
        ({"entropy": 0.01}, "entropy"),
        ({"garbled": 5}, "garbled or empty"),
        ({"failed": 6}, "judgements that failed"),
    ],
)
def test_each_guard_pauses_with_its_reason(bad: dict[str, float], told: str) -> None:
    words = [f"w{i} x{i} y{i} z{i}" for i in range(WINDOW)]
    found = alarms([replace(WELL, reply=text, **bad) for text in words])  # type: ignore[arg-type]
    assert found[:-1] == [None] * (WINDOW - 1)
    assert found[-1] is not None
    assert told in found[-1]
    assert "allowed" in found[-1]


def test_saying_the_same_to_everybody_pauses() -> None:
    found = alarms([replace(WELL, reply="I can feel it. I can feel it.")] * WINDOW)
    assert found[-1] is not None
    assert "different word pairs" in found[-1]


def test_a_guard_that_is_off_says_nothing_and_no_guard_looks_at_the_reward() -> None:
    limits = {
        "most_kl": None,
        "least_entropy": None,
        "least_distinct": None,
        "most_garbled": None,
        "most_unjudged": None,
    }
    worst = Seen(reply="a a a a", kl=99.0, entropy=0.0, spoken=5, garbled=5, judged=6, failed=6)
    assert alarms([worst] * WINDOW, **limits) == [None] * WINDOW
    assert not any("reward" in name or "score" in name for name in GuardPart.model_fields)


def test_after_an_alarm_the_window_begins_anew_and_what_is_seen_survives_a_stop() -> None:
    worst = replace(WELL, kl=40.0)
    guard = Guard(GuardPart(window=WINDOW))
    heard = [guard.alarm(replace(worst, reply=f"w{i} x{i} y{i}")) for i in range(WINDOW + 2)]
    assert [bool(reason) for reason in heard] == [False] * 3 + [True] + [False] * 2
    other = Guard(GuardPart(window=WINDOW))
    other.restore(guard.state())
    rest = [replace(worst, reply=f"v{i} u{i} t{i}") for i in range(2)]
    assert [guard.alarm(seen) for seen in rest] == [other.alarm(seen) for seen in rest]


def test_distinct_pairs() -> None:
    assert distinct(["a b a b"], 2) == pytest.approx(2 / 3)
    assert distinct(["a"], 2) is None
