"""The key: where it comes from, and how it is kept out of everything that leaves the process."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import SecretStr

from judges.protocol import JudgeUnavailable

VARIABLE = "ANTHROPIC_API_KEY"
LOGGERS = ("anthropic", "httpx2", "httpcore2", "asyncio")
# A filter holds for its own logger only, and httpcore2 makes these when it first connects, after the filters are set.
MADE_LATE = tuple(f"httpcore2.{name}" for name in ("connection", "http11", "http2", "proxy", "socks"))
HIDDEN = "[key]"
SHORTEST = 8  # a shorter "key" would be blanked out of ordinary words


def find_key(given: SecretStr | None) -> SecretStr:
    """The key that was set, else the environment's. Raises JudgeUnavailable where there is none, or none that can be sent."""
    key = SecretStr((given.get_secret_value() if given else os.environ.get(VARIABLE, "")).strip())
    if not key.get_secret_value():
        raise JudgeUnavailable(
            f"no key for the Anthropic judge: set {VARIABLE} in the environment, or api_key in its settings; "
            'without a key use judge = "embedding", which works offline'
        )
    # Checked here because the HTTP library quotes a header it cannot send, key and all.
    if not _sendable(key.get_secret_value()):
        raise JudgeUnavailable(
            f"the key for the Anthropic judge ({VARIABLE} or api_key) holds characters no header can carry, or is shorter "
            f"than {SHORTEST}; expected one line of printable ASCII. Copy it again, without quotes or line breaks"
        )
    return key


def _sendable(key: str) -> bool:
    return len(key) >= SHORTEST and all("!" <= letter <= "~" for letter in key)


class Scrubber(logging.Filter):
    """Blanks the key out of any text. A server may echo it: in an error's message, a header, a reason phrase."""

    def __init__(self, key: SecretStr) -> None:
        super().__init__()
        self._key = key

    def __call__(self, text: str) -> str:
        """The text without the key."""
        return text.replace(self._key.get_secret_value(), HIDDEN)

    def filter(self, record: logging.LogRecord) -> bool:
        """Let the record pass, cleaned. Traceback and arguments become text where they hold the key."""
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # a log call with the wrong arguments is no reason to lose a request
            record.msg, record.args = "a log record whose arguments do not fit its text", ()
            message = record.msg
        if (clean := self(message)) != message:
            record.msg, record.args = clean, ()
        if record.exc_info:
            trace = logging.Formatter().formatException(record.exc_info)
            if (clean := self(trace)) != trace:
                record.exc_text, record.exc_info = clean, None
        for place in ("exc_text", "stack_info"):
            if told := getattr(record, place, None):
                setattr(record, place, self(told))
        return True

    @contextmanager
    def on_logs(self) -> Iterator[None]:
        """While inside, nothing the HTTP libraries log holds the key."""
        names = [name for name in logging.root.manager.loggerDict if name.split(".")[0] in LOGGERS]
        loggers = [logging.getLogger(name) for name in {*names, *LOGGERS, *MADE_LATE}]
        for logger in loggers:
            logger.addFilter(self)
        try:
            yield
        finally:
            for logger in loggers:
                logger.removeFilter(self)
