"""A server on this machine that speaks Anthropic's API as it is told to: well, badly, late or not at all. No network."""

from __future__ import annotations

import json
import os
import re
import signal
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


def stall_and_interrupt(handler: BaseHTTPRequestHandler) -> None:
    """Says nothing, and presses Ctrl-C in this process."""
    time.sleep(0.3)  # until the main thread waits: a signal that comes just before is seen only when the wait ends
    os.kill(os.getpid(), signal.SIGINT)
    stall(handler)


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    """Ends the connection without a word."""
    handler.connection.close()


class Batches:
    """A service that keeps batches, and answers single messages.

    looks: how often it is asked before a batch has ended; none: it presses Ctrl-C in place of an answer.
    """

    def __init__(self, looks: int | None = 2) -> None:
        self.looks = looks
        self.asked: list[list[dict[str, Any]]] = []
        self.cancelled = False

    def __call__(self, seen: Seen) -> Said:
        assert seen.headers["authorization"] == f"Bearer {CANARY}"
        if seen.path.endswith("/messages"):
            return Said(body=message("It grew."))
        if seen.path.endswith("/results"):
            return self.results()
        if seen.path.endswith("/cancel"):
            self.cancelled = True
            return self.state("canceling")
        if seen.method == "POST":
            self.asked.append(seen.body["requests"])
            return self.created()
        if self.looks is None:
            return Said(act=stall_and_interrupt)
        self.looks -= 1
        return self.state("in_progress" if self.looks > 0 else "ended")

    def created(self) -> Said:
        return self.state("in_progress")

    def state(self, status: str) -> Said:
        counts = dict.fromkeys(("processing", "succeeded", "errored", "canceled", "expired"), 0)
        batch = {"id": "msgbatch_1", "type": "message_batch", "processing_status": status, "request_counts": counts}
        # An address elsewhere: the key must not go there.
        return Said(body={**batch, "results_url": "http://127.0.0.1:9/steal"})

    def results(self) -> Said:
        rows = [{"custom_id": one["custom_id"], "result": self.result(one)} for one in self.asked[-1]]
        return Said(
            body="\n".join(map(json.dumps, reversed(rows))).encode(), headers={"content-type": "application/x-jsonl"}
        )

    def result(self, request: dict[str, Any]) -> Any:
        number = int(re.findall(r"reply (\d\d)", request["params"]["messages"][0]["content"])[-1])
        score = number + (2.0 if int(request["custom_id"][-6:]) % 2 == 0 else 1.0)
        return {"type": "succeeded", "message": message(json.dumps(judgement(score, narrative="one\u2028line")))}


class FakeTime:
    """A clock whose sleep takes no time and moves it on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []
        self.clock = Clock(now=lambda: self.now, wall=lambda: 1_000_000_000.0 + self.now, sleep=self._sleep)

    async def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt here, whatever an earlier program made of the signal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def timed(action: Callable[[], Any]) -> tuple[Any, float]:
    """What it returned, and how many seconds it took."""
    start = time.monotonic()
    return action(), time.monotonic() - start
