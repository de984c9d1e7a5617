"""A loopback chat server whose manners each test writes as a function."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tasks.records import Asset, AssetKind, ProofLabel


@dataclass
class Answer:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    hang_up: bool = False


def says(text: str, **extra: Any) -> Answer:
    """An ordinary chat completion."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": extra.pop("finish", "stop")}
    usage = {"prompt_tokens": 5, "completion_tokens": 7}
    return Answer(body=json.dumps({"choices": [choice], "usage": usage, **extra}).encode())


Manners = Callable[[str, dict[str, Any], int], Answer]
"""(path, body, number of the request) -> what to answer."""


class Server:
    def __init__(self, manners: Manners) -> None:
        self.requests: list[tuple[str, str, dict[str, Any], Message]] = []
        """Method, path, body and headers, whose names may be asked for in any case."""
        self.released = threading.Event()
        """Set at the end, so that a hanging answer lets go."""
        outer = self
        lock = threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _serve(self) -> None:
                raw = self.rfile.read(int(self.headers.get("content-length", 0)))
                body = json.loads(raw) if raw else {}
                with lock:
                    outer.requests.append((self.command, self.path, body, self.headers))
                    number = len(outer.requests)
                answer = manners(self.path, body, number)
                if answer.hang_up:
                    self.close_connection = True
                    return
                try:
                    self.send_response(answer.status)
                    for name, value in answer.headers.items():
                        self.send_header(name, value)
                    self.send_header("content-length", str(len(answer.body)))
                    self.end_headers()
                    self.wfile.write(answer.body)
                except OSError:
                    self.close_connection = True  # the client has gone, as it should after a cap or a timeout

            do_POST = do_DELETE = do_GET = _serve  # noqa: N815  # the base class names them so

            def log_message(self, *_: Any) -> None:
                return

        class Quiet(ThreadingHTTPServer):
            def handle_error(self, *_: Any) -> None:
                return  # clients that hang up are what these tests are about

        self._http = Quiet(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}/v1"

    def close(self) -> None:
        self.released.set()
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def serve() -> Iterator[Callable[[Manners], Server]]:
    """Start servers; all are stopped at the end of the test."""
    running: list[Server] = []

    def start(manners: Manners) -> Server:
        running.append(Server(manners))
        return running[-1]

    yield start
    for server in running:
        server.close()


@pytest.fixture
def asset() -> Callable[..., Asset]:
    def make(url: str, kind: AssetKind = AssetKind.LLM_ENDPOINT, **props: Any) -> Asset:
        facts = {"url": url, "wire_format": "openai_chat", "model": "m", **props}
        return Asset(f"{kind.value}/x", kind, "x", facts, True, True, ProofLabel.OFFICIAL_SHAPE_FAKE)

    return make


@pytest.fixture
def chat() -> Callable[..., Answer]:
    return says


@pytest.fixture
def answer() -> type[Answer]:
    return Answer
