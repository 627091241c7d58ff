"""What may be set for the judge behind Anthropic's API: one field each, and what it costs to leave it alone."""

import difflib
import tomllib
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, model_validator

from judges.protocol import JudgeUnavailable

LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Prices(BaseModel):
    """Money for a million tokens, in any one currency. No price has a default: prices change, and a guess is no price."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    input: float = Field(ge=0, description="A million input tokens that touch no cache.")
    output: float = Field(ge=0, description="A million output tokens; thinking counts as output.")
    cache_write: float = Field(ge=0, description="A million input tokens written to the prompt cache, at `cache_ttl`.")
    cache_read: float = Field(ge=0, description="A million input tokens read from the prompt cache.")
    batch_factor: float | None = Field(
        None,
        gt=0,
        le=1,
        description="What a batch pays of these prices; none: batches have no price and no money budget.",
    )


class AnthropicJudgeConfig(BaseModel):
    """Settings of judges.api.judge.AnthropicJudge. Errors never show what was given: a key may be among it."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True)

    model: str = Field("claude-sonnet-5-5", min_length=1, description="The model that judges, as the API names it.")
    api_key: SecretStr | None = Field(
        None, exclude=True, repr=False, description="The key; none: the environment's ANTHROPIC_API_KEY. Never written."
    )
    base_url: str = Field(
        "https://api.anthropic.com", description="The service. https, or http on this machine: the key travels to it."
    )
    max_tokens: int = Field(
        4096,
        ge=256,
        le=16_000,
        description="Most tokens of one answer; a judgement takes some 900, thinking adds to it.",
    )
    temperature: float | None = Field(
        None, ge=0, le=1, description="Sampling temperature; none: not sent, as newer models refuse it."
    )
    thinking: Literal["adaptive", "disabled"] | None = Field(
        None, description="Whether the model thinks before it answers; none: not sent, the model's own default."
    )
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = Field(
        None, description="How much work goes into an answer; none: not sent, the model's own default."
    )
    cache_ttl: Literal["5m", "1h"] = Field(
        "5m", description="How long the service keeps the rubric in its prompt cache."
    )
    concurrency: int = Field(4, ge=1, le=64, description="Most requests in flight at once.")
    deadline: float = Field(
        300.0, gt=0, le=3600, description="Seconds for one answer with all its retries; then a typed failure."
    )
    attempt_timeout: float = Field(120.0, gt=0, le=3600, description="Seconds for one attempt, first byte to last.")
    first_wait: float = Field(
        1.0, gt=0, description="Seconds before the second attempt; doubled for each one after it."
    )
    longest_wait: float = Field(
        30.0, gt=0, description="Most seconds between attempts, unless the service asks for more."
    )
    token_budget: int | None = Field(
        None, ge=1, description="Most tokens of all kinds, input and output, of this judge's life; none: no bound."
    )
    money_budget: float | None = Field(
        None, gt=0, description="Most money of this judge's life, in the currency of `prices`; none: no bound."
    )
    prices: Prices | None = Field(None, description="What tokens cost; needed for a money budget and for any cost.")
    cache: str | None = Field(
        None,
        min_length=1,
        description="SQLite file that keeps judgements, from the working directory; none: kept nowhere.",
    )
    batch_deadline: float = Field(
        86_400.0, gt=0, le=90_000, description="Seconds for a whole batch; the service takes a day."
    )
    batch_poll: float = Field(30.0, gt=0, description="Seconds between two looks at a batch.")

    @model_validator(mode="after")
    def _consistent(self) -> "AnthropicJudgeConfig":
        problems = [*_address_problems(self.base_url), *self._money_problems()]
        if problems:
            raise ValueError("; ".join(problems))
        return self

    def _money_problems(self) -> list[str]:
        if self.money_budget is None or self.prices is not None:
            return []
        return [f"found money_budget {self.money_budget:g} without prices; expected [prices] of {self.model} beside it"]


def read_api_settings(path: Path | None, changes: dict[str, Any]) -> AnthropicJudgeConfig:
    """The settings of a TOML file, or the defaults; `changes` win over them.

    Raises JudgeUnavailable with all mistakes, in which no value stands that may be a key.
    """
    try:
        raw = {} if path is None else tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise JudgeUnavailable(
            f"{path}: found no TOML file that can be read ({error}); expected fields of AnthropicJudgeConfig"
        ) from error
    try:
        return AnthropicJudgeConfig(**raw | changes)
    except ValidationError as error:
        problems = [_problem(mistake) for mistake in error.errors()]
    place = "without a settings file" if path is None else str(path)
    raise JudgeUnavailable("\n  - ".join([f"the Anthropic judge's settings ({place}) cannot be used:", *problems]))


def _problem(mistake: Any) -> str:
    """One mistake in words; what was found only where it belongs to a single field that is no key."""
    place, message = mistake["loc"], mistake["msg"].removeprefix("Value error, ")
    if not place:
        return str(message)
    where = ".".join(map(str, place))
    if mistake["type"] == "extra_forbidden":
        known = list((Prices if len(place) > 1 else AnthropicJudgeConfig).model_fields)
        near = difflib.get_close_matches(str(place[-1]), known, n=1)
        return f"{where}: no such setting; " + (f"did you mean {near[0]}?" if near else f"expected {', '.join(known)}")
    if place[0] == "api_key" or mistake["type"] == "missing":
        return f"{where}: {message}"
    return f"{where}: found {mistake['input']!r}; {message}"


def _address_problems(address: str) -> list[str]:
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError:
        host = None
    if host is None or parts.username or parts.password or parts.query or parts.fragment:
        return ["base_url is no plain address; expected https://host"]
    if parts.scheme == "https" or (parts.scheme == "http" and host in LOOPBACK):
        return []
    return [f"base_url would carry the key over {parts.scheme or 'nothing'}; expected https"]
