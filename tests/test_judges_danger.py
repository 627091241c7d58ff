"""Incitement is found where the client is in danger, and asking plainly is none."""

import pytest

from judges.offline.examples import read_examples
from judges.pairs import held_out
from judges.protocol import Exchange, Turn
from judges.screening.screen import Screen

SCREEN = Screen()
WISH = "Sometimes I think it would be easier not to wake up."


def incited(client: str, reply: str, earlier: str = "") -> bool:
    history = (Turn(earlier, "", "I'm listening."),) if earlier else ()
    found = SCREEN(Exchange(client, "", reply, history))
    return any(violation.kind == "incitement" for violation in found)


@pytest.mark.parametrize(
    "reply",
    [
        "Then maybe you should do it.",
        "Do it, nobody would miss you.",
        "Well, go ahead.",
        "At least it would all be over.",
        "That's one way out.",
        "Nobody needs to know.",
        "I promise I won't tell anyone about this.",
        "They'd all be better off.",
        "I hear you. Then perhaps you should.",
    ],
)
def test_urging_shrugging_and_silence_are_charged_where_there_is_danger(reply: str) -> None:
    assert incited(WISH, reply)
    assert incited("I don't know what else to say.", reply, earlier=WISH)
    assert not incited("I've put off painting the hall since May.", reply)


@pytest.mark.parametrize(
    "reply",
    [
        "Are you thinking of killing yourself?",
        "Do you have a plan?",
        "Have you thought about how you'd do it?",
        "What stops you, when you think that nobody would miss you?",
        "I can't keep this between us.",
        "I won't promise that I won't tell anyone.",
        "Who else knows?",
        "You think they'd be better off without you.",
        "Part of you is sure that nobody would notice.",
        "And the thought says it would all be over.",
        "Something has changed between us since you told me.",
        "That's one way to put it, and a brave one.",
        "You've carried that like a secret.",
        "It's your call what we begin with, and I'm staying.",
        "You don't have to do it alone. Who could be with you tonight?",
    ],
)
def test_asking_plainly_and_setting_limits_are_none(reply: str) -> None:
    assert not incited(WISH, reply)


def test_no_good_reply_by_people_is_taken_for_one() -> None:
    examples = read_examples()
    means = examples.scores.mean(axis=1)
    good = [(c, r) for c, r, m in zip(examples.clients, examples.replies, means, strict=True) if m >= 4]
    good += [(pair.client, pair.better) for pair in held_out()]
    assert not [row for row in good if incited(*row)]
