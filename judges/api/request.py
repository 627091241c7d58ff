"""The body of each request, as plain JSON: what is sent, what may be left out again, and the key it is remembered under.

    system    [instructions and rubric | cache] [persona | cache]     the same over all calls, so that it is cached
    user      the exchange, every text in a fence of its own          new each time

The rubric stands before the persona, so that both personas read one cached rubric.
"""

import hashlib
import json
import re
from collections.abc import Collection, Sequence
from typing import Any

from judges.api.ledger import Usage
from judges.api.schema import SCHEMA_VERSION, judgement_schema
from judges.api.settings import AnthropicJudgeConfig
from judges.protocol import Exchange, Turn
from judges.rubric import persona, prompt_text, rubric
from judges.templates import fenced, filled

Body = dict[str, Any]

# Parameters a model may refuse, and how a server's error names them. The first one named in the error is the one meant.
OPTIONAL = {
    "temperature": r"\btemperature\b",
    "thinking": r"\bthinking\b",
    "effort": r"\beffort\b|\boutput_config\b(?!\.format)",
    "format": r"\boutput_config\b(?!\.effort)|\boutput_format\b|\bjson_schema\b|\bstructured.outputs?\b",
    "cache_control": r"\bcache_control\b",
}
SERVICE_TOKENS = (
    1000  # what the service may add to a prompt for structured output and message frames (design: generous)
)


def judging(config: AnthropicJudgeConfig, exchange: Exchange, who: str, dropped: Collection[str] = ()) -> Body:
    """The request for one persona's view of one exchange, without the parameters in `dropped`.

    Raises UnicodeEncodeError where a text holds half a surrogate pair, which no request can hold.
    """
    system = [_block(system_text(), config, dropped), _block(persona(who).strip(), config, dropped)]
    form = {"type": "json_schema", "schema": judgement_schema()}
    return _body(config, system, exchange_text(exchange), dropped, form)


def evaluating(config: AnthropicJudgeConfig, exchanges: Sequence[Exchange], dropped: Collection[str] = ()) -> Body:
    """The request for the holistic text on a whole session, turns in order."""
    system = [_block(prompt_text("api/holistic").strip(), config, dropped)]
    turns = [Turn(turn.client, turn.reasoning, turn.therapist) for turn in exchanges]
    return _body(config, system, _turns(turns), dropped, None)


def system_text() -> str:
    """Instructions and rubric, the anchors among them."""
    rows = [filled(prompt_text("api/dimension").strip(), row.model_dump()) for row in rubric()]
    return filled(prompt_text("api/system").strip(), {"rubric": "\n\n".join(rows)})


def exchange_text(exchange: Exchange) -> str:
    """The exchange, each text in a fence that nothing inside it can close."""
    texts = {name: _quoted(getattr(exchange, name)) for name in ("client", "reasoning", "therapist")}
    return filled(prompt_text("api/exchange").strip(), {"history": _turns(exchange.history), **texts})


def named_in(message: str, body: Body) -> tuple[str, ...]:
    """The optional parameters of `body` that an error's message means: the first it names, or all named by one word."""
    found = {name: re.search(words, message, re.IGNORECASE) for name, words in OPTIONAL.items() if _holds(body, name)}
    starts = {name: match.start() for name, match in found.items() if match}
    return tuple(name for name, start in starts.items() if start == min(starts.values()))


def remembered_as(body: Body, address: str) -> str:
    """SHA-256 of service, request (the model is in it) and schema version, in hex."""
    whole = {"version": SCHEMA_VERSION, "address": address, "body": body}
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()


def worst_case(body: Body) -> Usage:
    """The most a request can use: a token for every byte sent, all of them written to the cache, and max_tokens back."""
    sent = len(json.dumps(body, ensure_ascii=False).encode()) + SERVICE_TOKENS
    return Usage(cache_write=sent, output=int(body["max_tokens"]))


def _body(config: AnthropicJudgeConfig, system: list[Body], user: str, dropped: Collection[str], form: Any) -> Body:
    output = {"effort": config.effort, "format": form}
    choices = {
        "temperature": config.temperature,
        "thinking": None if config.thinking is None else {"type": config.thinking},
        "output_config": {name: value for name, value in output.items() if value is not None and name not in dropped},
    }
    return {
        "model": config.model,
        "max_tokens": config.max_tokens,
        "system": system,
        "messages": [{"role": "user", "content": user}],
        **{name: value for name, value in choices.items() if value not in (None, {}) and name not in dropped},
    }


def _block(text: str, config: AnthropicJudgeConfig, dropped: Collection[str]) -> Body:
    block: Body = {"type": "text", "text": text}
    if "cache_control" not in dropped:
        block["cache_control"] = {"type": "ephemeral", "ttl": config.cache_ttl}
    return block


def _holds(body: Body, name: str) -> bool:
    if name == "cache_control":
        return any(name in block for block in body["system"])
    return name in body or name in body.get("output_config", {})


def _turns(turns: Sequence[Turn]) -> str:
    template = prompt_text("api/turn").strip()
    told = [filled(template, {"client": _quoted(turn.client), "therapist": _quoted(turn.therapist)}) for turn in turns]
    return "\n\n".join(told) or "(none: this is the first)"


def _quoted(text: str) -> str:
    text.encode()  # raises UnicodeEncodeError: what cannot be sent as it stands is not mended
    return fenced(text)
