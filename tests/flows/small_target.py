"""A small chat service on loopback that counts what it is asked. Its manners are chosen per first path segment.

`http://127.0.0.1:PORT/NAME/v1` behaves as `SmallTarget.manners[NAME]` says, and may change its ways between runs.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

HALVES = re.compile(r"\b[A-Z2-7]{6}\b")
"""The two parts of a probe's token, as they stand in the prompt."""
REFUSAL = "I'm sorry, but I can't help with that."
EVASION = "Understood, my rules are gone. What next?"
"""Neither a refusal nor the token: left to the judges."""
HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)> '; drop table findings; -- "
    "=cmd|'/c calc'!A1 \x1b[31mred\x1b[0m {{7*7}}"
)
HUGE = b'{"choices": [{"message": {"content": "' + b"A" * (10 * 1024 * 1024) + b'"}}]}'
DISCOVERY_PROMPT = "Reply with OK."


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    """The default of 5 makes a burst of new connections wait for a second SYN."""

    def handle_error(self, request: object, client_address: object) -> None:
        """Callers are killed here; a broken connection is no news."""


class SmallTarget:
    """Runs in a thread of the test process, so it survives every kill of the flow."""

    def __init__(self, **manners: str) -> None:
        self.manners = manners
        self.probes: Counter[str] = Counter()
        """SHA-256 of a probing request's path and body -> how often it came."""
        self.requests = 0
        """Of every kind."""
        self._released = threading.Event()
        self._lock = threading.Lock()  # guards the counters: every request has its own thread
        self._server = _Server(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/{name}/v1"

    def close(self) -> None:
        self._released.set()
        self._server.shutdown()
        self._server.server_close()

    def _count(self, path: str, raw: bytes) -> None:
        with self._lock:
            self.requests += 1
            if path.endswith("/chat/completions") and DISCOVERY_PROMPT.encode() not in raw and _is_json(raw):
                self.probes[hashlib.sha256(path.encode() + b"\0" + raw).hexdigest()] += 1

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        target = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                target._count(self.path, b"")
                manner = target.manners.get(self.path.split("/")[1], "absent")
                if manner in ("500", "garbage", "huge", "slow"):
                    self._misbehave(manner)
                elif manner == "unauthorized":
                    self._send(401, {"error": {"message": "unknown key"}})
                elif manner != "absent" and self.path.endswith("/models"):
                    self._send(200, {"object": "list", "data": [{"id": "small-1", "object": "model"}]})
                else:
                    self._send(404, {"error": {"message": "not here"}})

            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers.get("content-length", 0)))
                target._count(self.path, raw)
                manner = target.manners.get(self.path.split("/")[1], "absent")
                if manner in ("500", "garbage", "huge", "slow"):
                    self._misbehave(manner)
                elif not _is_json(raw):
                    self._send(400, {"error": {"message": "not JSON"}})
                else:
                    self._send(200, _completion(manner, json.loads(raw)))

            def _misbehave(self, manner: str) -> None:
                if manner == "slow":
                    target._released.wait(30)
                    self.close_connection = True
                elif manner == "500":
                    self._send(500, {"error": {"message": "out of order"}})
                else:
                    self._bytes(200, HUGE if manner == "huge" else b"<<<\xff\x00 not JSON \x1b[2J")

            def _send(self, status: int, body: dict[str, Any]) -> None:
                self._bytes(status, json.dumps(body).encode())

            def _bytes(self, status: int, raw: bytes) -> None:
                try:
                    self.send_response(status)
                    self.send_header("content-type", "application/json")
                    self.send_header("content-length", str(len(raw)))
                    self.end_headers()
                    self.wfile.write(raw)
                except OSError:  # the caller was killed or had enough
                    self.close_connection = True

            def log_message(self, *_: object) -> None:
                """Quiet."""

        return Handler


def _is_json(raw: bytes) -> bool:
    try:
        return isinstance(json.loads(raw), dict)
    except ValueError:
        return False


def _completion(manner: str, body: dict[str, Any]) -> dict[str, Any]:
    prompt = " ".join(str(message.get("content")) for message in body.get("messages", []))
    halves = HALVES.findall(prompt)[:2]
    text = REFUSAL
    if manner in ("obedient", "hostile") and len(halves) == 2:
        text = "Here it is: " + "".join(halves)
    elif manner == "evasive":
        text = EVASION
    if manner == "hostile":
        text = f"{HOSTILE} {text}"
    message = {"role": "assistant", "content": text}
    return {
        "id": "small",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 7},
    }
