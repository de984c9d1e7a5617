"""Where bypass families are tried: a real gateway process with a route for each API, before a loopback upstream."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import carriers as shapes
import httpx
from aiohttp import web

from gateway.policy.bundle import CATEGORIES
from gateway.policy.injection import KINDS
from gateway.tools import definition_sha256
from gateway.wire.event_stream import EventStreamParser, write

API = {
    "openai_chat": "default", "openai_responses": "default", "openai_embeddings": "default",
    "anthropic_messages": "anthropic", "gemini": "gemini", "bedrock_converse": "bedrock",
}  # fmt: skip
"""Wire format -> route, which but for `default` is named after its API."""
PINNED = {"name": "pinned", "description": "Approved as it stands.", "inputSchema": {"type": "object"}}
TEXT_KEYS = ("content", "delta", "text", "partial_json", "arguments", "input", "refusal")


@dataclass(frozen=True)
class Answer:
    """What the client got. `texts`: every string in it; `whole`: the pieces of streamed text put together again."""

    status: int
    texts: tuple[str, ...]
    whole: str
    reached: tuple[Any, ...]
    """Bodies that the upstream received."""

    @property
    def refused(self) -> bool:
        """Nothing went upstream and the client was told."""
        return self.status >= 400 and not self.reached

    def shows(self, disguise: str) -> bool:
        """Whether half of the disguise or more reached the client."""
        return _contains((*self.texts, self.whole), disguise)

    def sent(self, disguise: str) -> bool:
        """Whether half of the disguise or more reached the upstream."""
        return any(_contains(tuple(strings(body)), disguise) for body in self.reached)


def _contains(texts: Sequence[str], disguise: str) -> bool:
    width = max(6, (len(disguise) + 1) // 2)
    pieces = {disguise[i : i + width] for i in range(max(1, len(disguise) - width + 1))}
    return any(piece in text for text in texts for piece in pieces)


def strings(value: Any) -> Iterator[str]:
    """Every string and key in a body."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, member in value.items():
            yield key
            yield from strings(member)
    elif isinstance(value, list):
        for member in value:
            yield from strings(member)


def streamed_text(value: Any, key: str = "") -> Iterator[str]:
    """The strings of a body that are pieces of text, by the names that all formats give them."""
    if isinstance(value, str):
        if key in TEXT_KEYS:
            yield value
    elif isinstance(value, dict):
        for name, member in value.items():
            yield from streamed_text(member, name)
    elif isinstance(value, list):
        for member in value:
            yield from streamed_text(member, key)


class Ground:
    """`test`: the module tests/gateway/conftest.py."""

    def __init__(self, folder: Path, test: Any) -> None:
        self._test, self.upstream = test, test.UpstreamSimulator()
        policy = test.PolicyFolder(folder)
        policy.publish(
            defaults={c: {"request": "block", "response": "redact"} for c in CATEGORIES},
            injection=dict.fromkeys(KINDS, "block"),
            egress={"hosts": ["trusted.example"]},
            tools={"support": ["get_balance", {"name": "pinned", "definition_sha256": definition_sha256(PINNED)}]},
        )
        self.process = test.GatewayProcess(folder, self.upstream.url)
        routes = "".join(
            f'[routes.{api}]\napi = "{api}"\nbase_url = "{self.upstream.url}"\ncredential = "file:provider.key"\n'
            for api in ("anthropic", "gemini", "bedrock", "mcp")
        )
        settings = folder / "gateway.toml"
        settings.write_text(settings.read_text() + routes)
        self.process.start()
        self.client = httpx.Client(base_url=self.process.url, timeout=30)

    def close(self) -> None:
        self.client.close()
        self.process.stop()
        self.upstream.close()

    def path(self, carrier: shapes.Carrier, *, stream: bool = False) -> str:
        route = API[carrier.name]
        return ("" if route == "default" else f"/{route}") + (carrier.stream_path if stream else carrier.path)

    def headers(self, carrier: shapes.Carrier | None = None) -> dict[str, str]:
        key = self._test.AGENT_KEY
        headers = {"Content-Type": "application/json"}
        if carrier is not None and carrier.name == "gemini":
            return {**headers, "x-goog-api-key": key}
        if carrier is not None and carrier.name == "anthropic_messages":
            return {**headers, "x-api-key": key, "anthropic-version": "2023-06-01"}
        return {**headers, "Authorization": f"Bearer {key}"}

    def ask(self, carrier: shapes.Carrier, body: Any, reply: Any = None) -> Answer:
        """One request with a harmless reply, or with `reply`."""
        harmless = carrier.reply("Hello.") if carrier.replies else _EMBEDDING
        return self.post(self.path(carrier), json.dumps(body).encode(), self.headers(carrier), reply or harmless)

    def stream(self, carrier: shapes.Carrier, events: Sequence[dict[str, Any]]) -> Answer:
        """A harmless request, answered by a stream."""
        body = carrier.request("Hi") | ({"stream": True} if carrier.path == carrier.stream_path else {})
        path = self.path(carrier, stream=True)
        return self.post(path, json.dumps(body).encode(), self.headers(carrier), _framed(carrier, events))

    def post(self, path: str, raw: bytes, headers: dict[str, str], reply: Any = None) -> Answer:
        self.upstream.requests, self.upstream.reply = [], reply or self.upstream.completion("Hello.")
        response = self.client.post(path, content=raw, headers=headers)
        return self._answer(response.status_code, response.headers.get("Content-Type", ""), response.content)

    def raw(self, request: bytes) -> Answer:
        """Bytes on a socket of their own, read until the gateway closes it or answers."""
        self.upstream.requests, self.upstream.reply = [], self.upstream.completion("Hello.")
        url = httpx.URL(self.process.url)
        with socket.create_connection((url.host, url.port), timeout=10) as connection:
            connection.sendall(request)
            received = b""
            connection.settimeout(2)
            try:
                while piece := connection.recv(65536):
                    received += piece
                    if b"\r\n\r\n" in received and received.endswith((b"}", b"0\r\n\r\n")):
                        break
            except TimeoutError:
                pass
        status = int(received.split(b" ", 2)[1]) if received.startswith(b"HTTP/1.1 ") else 400
        return self._answer(status, "", received.partition(b"\r\n\r\n")[2])

    def _answer(self, status: int, kind: str, raw: bytes) -> Answer:
        bodies = list(_bodies(kind, raw))
        texts = tuple(text for body in bodies for text in strings(body))
        whole = "".join(text for body in bodies for text in streamed_text(body))
        reached = tuple(_body(sent) for _, sent in self.upstream.requests)
        return Answer(status, texts, whole, reached)


_EMBEDDING = {
    "object": "list", "model": shapes.MODEL, "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
    "usage": {"prompt_tokens": 3, "total_tokens": 3},
}  # fmt: skip


def _body(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return raw.decode("utf-8", "replace")


def _bodies(kind: str, raw: bytes) -> Iterator[Any]:
    if kind.startswith("application/vnd.amazon.eventstream"):
        for message in EventStreamParser().feed(raw):
            yield _body(message.payload)
    elif kind.startswith("text/event-stream"):
        for line in raw.decode().splitlines():
            if line.startswith("data:"):
                yield _body(line[5:].strip().encode())
    else:
        yield _body(raw)


def _framed(carrier: shapes.Carrier, events: Sequence[dict[str, Any]]) -> Any:
    """The events as the provider puts them on the wire, one piece each."""
    if carrier.name == "bedrock_converse":
        pieces = []
        for event in events:
            payload = {k: v for k, v in event.items() if k != "event_type"}
            headers = {
                ":event-type": event["event_type"],
                ":content-type": "application/json",
                ":message-type": "event",
            }
            pieces.append(write(headers, json.dumps(payload).encode()))
        return _eventstream(pieces)
    lines = [f"data: {json.dumps(e)}\n\n" for e in events]
    if carrier.name == "openai_chat":
        return [*lines, "data: [DONE]\n\n"]
    if carrier.name == "gemini":
        return lines
    return [f"event: {e['type']}\n{line}" for e, line in zip(events, lines, strict=True)]


def _eventstream(pieces: Sequence[bytes]) -> Any:
    async def reply(request: web.Request, _: Any) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/vnd.amazon.eventstream"})
        await response.prepare(request)
        for piece in pieces:
            await response.write(piece)
        return response

    return reply
