"""The body of an answer with status 200 -> its text and what it used, or why it holds none. Nothing is taken on trust."""

import json
from dataclasses import dataclass
from typing import Any

from judges.api.errors import Failure
from judges.api.ledger import Usage

ENDED = ("end_turn", "stop_sequence")
CUT = {"max_tokens": "raise max_tokens", "model_context_window_exceeded": "shorten the history"}
COUNTS = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")


@dataclass(frozen=True)
class Reply:
    """outcome: the model's text, or why there is none. usage: None where the body does not say; it was charged anyway."""

    outcome: str | Failure
    usage: Usage | None


def read_json(text: str) -> Any:
    """The JSON value, or None where there is none to read, however the text is broken."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def read_reply(body: Any) -> Reply:
    """What a parsed body holds. A body that is no message gives a Failure, never an exception."""
    if not isinstance(body, dict) or body.get("type") != "message" or not isinstance(body.get("content"), list):
        return Reply(_not_a_message(f"a {type(body).__name__}"), None)
    return Reply(_outcome(body), _usage(body.get("usage")))


def _outcome(body: dict[str, Any]) -> str | Failure:
    ended = body.get("stop_reason")
    if ended == "refusal":
        return Failure("the model declined to judge this exchange; mask the turn, or try another model", "refusal")
    if isinstance(ended, str) and ended in CUT:
        return Failure(f"the answer was cut off ({ended}): {CUT[ended]}", "cut_off")
    if ended not in ENDED:
        return _not_a_message(f"stop_reason {ended!a:.60}")
    blocks = [block for block in body["content"] if isinstance(block, dict) and block.get("type") == "text"]
    texts = [block.get("text") for block in blocks]
    if not all(isinstance(text, str) for text in texts):
        return _not_a_message("a text block without text")
    # Joined as they stand: two judgements in two blocks are two JSONs, which the parser refuses.
    text = "".join(str(text) for text in texts)
    return text if text.strip() else Failure("the answer holds no text; ask again, or mask the turn", "empty")


def _not_a_message(found: str) -> Failure:
    return Failure(
        f"status 200 with no message in it: found {found}, expected a finished message with text. "
        "A proxy may stand between: check base_url",
        "not_a_message",
    )


def _usage(found: Any) -> Usage | None:
    if not isinstance(found, dict):
        return None
    counts = [0 if found.get(name) is None else found[name] for name in COUNTS]
    if found.get("input_tokens") is None or found.get("output_tokens") is None:
        return None
    if any(type(count) is not int or count < 0 for count in counts):
        return None
    return Usage(*counts)
