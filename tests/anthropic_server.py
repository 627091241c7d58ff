"""A server on this machine that speaks Anthropic's API as it is told to: well, badly, late or not at all. No network."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from client_graph.names import DIMENSIONS
from judges.api.guard import Clock

USAGE = {"input_tokens": 100, "output_tokens": 50, "cache_creation_input_tokens": 20, "cache_read_input_tokens": 10}
CANARY = "sk-canary-0123456789abcdef"


@dataclass
class Seen:
    """One request as it arrived; names of headers in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: Any


@dataclass
class Said:
    """One answer. `act` speaks on the socket itself instead, for what no HTTP library would say."""

    status: int = 200
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)
    reason: str | None = None
    act: Callable[[BaseHTTPRequestHandler], None] | None = None


Script = Callable[[Seen], Said]


class Server:
    """Where it listens, what it was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.seen: list[Seen] = []


@contextmanager
def serving(script: Script | Sequence[Said]) -> Iterator[Server]:
    """Answers by the script: a function of the request, or answers in order, the last one for ever."""
    lock = threading.Lock()
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            raw = self.rfile.read(length)
            headers = {name.lower(): value for name, value in self.headers.items()}
            seen = Seen(self.command, self.path, headers, json.loads(raw) if raw else None)
            with lock:
                place = len(server.seen)
                server.seen.append(seen)
            said = script(seen) if callable(script) else script[min(place, len(script) - 1)]
            if said.act is not None:
                self.over = over  # type: ignore[attr-defined]
                said.act(self)
                self.close_connection = True
                return
            body = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
            self.send_response(said.status, said.reason)
            for name, value in {"content-type": "application/json", **said.headers}.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST

        def log_message(self, *args: Any) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.daemon_threads = True
    http.block_on_close = False
    http.handle_error = lambda *args: None  # type: ignore[method-assign]  # a client that hangs up is what some tests want
    server = Server(f"http://127.0.0.1:{http.server_address[1]}")
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        over.set()
        http.shutdown()
        http.server_close()


def judgement(score: float = 6.0, **changes: Any) -> dict[str, Any]:
    """A judgement as a model writes it."""
    rows = {name: {"reason": f"because of {name}", "score": score + i / 10} for i, name in enumerate(DIMENSIONS)}
    return {
        "dimensions": rows,
        "narrative": "It hears the client.",
        "critical_moments": ["The second sentence."],
        "recommendations": ["Say less."],
        **changes,
    }


def message(text: str | None = None, stop: str | None = "end_turn", **changes: Any) -> dict[str, Any]:
    """A message as the service sends it, with a judgement in it where no text is given."""
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [{"type": "text", "text": json.dumps(judgement()) if text is None else text}],
        "stop_reason": stop,
        "stop_sequence": None,
        "usage": USAGE,
        **changes,
    }


def error(status: int, text: str = "no", headers: dict[str, str] | None = None, kind: str = "api_error") -> Said:
    """An error as the service sends it."""
    return Said(status, {"type": "error", "error": {"type": kind, "message": text}}, headers or {})


def stall(handler: BaseHTTPRequestHandler) -> None:
    """Says nothing."""
    handler.over.wait(10)  # type: ignore[attr-defined]


def dribble(handler: BaseHTTPRequestHandler) -> None:
    """A byte now and then: no read ever times out."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100000\r\n\r\n")
    while not handler.over.wait(0.05):  # type: ignore[attr-defined]
        handler.wfile.write(b" ")
        handler.wfile.flush()


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """Ends the connection without a word."""
    handler.connection.close()


class FakeTime:
    """A clock whose sleep takes no time and moves it on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self.clock = Clock(now=lambda: self.now, wall=lambda: 1_000_000_000.0 + self.now, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def timed(action: Callable[[], Any]) -> tuple[Any, float]:
    """What it returned, and how many seconds it took."""
    start = time.monotonic()
    return action(), time.monotonic() - start
