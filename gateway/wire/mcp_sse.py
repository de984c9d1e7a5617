"""The server-sent events of MCP: their ids, by which a broken stream goes on, are passed on. No I/O."""

from __future__ import annotations

import re
from typing import NamedTuple

from gateway.fields import RESPONSE
from gateway.reasons import Refusal
from gateway.stream import SseParser

EVENT_ID = re.compile(r"[\x21-\x7e]{1,512}")
"""Ids of events and of sessions are visible ASCII (MCP 2025-06-18, Session Management)."""


class Event(NamedTuple):
    """One event; without any field it is a comment, which keeps the connection alive."""

    data: str = ""
    id: str | None = None
    retry: int | None = None
    """Milliseconds before a client comes back."""

    def encode(self, data: bytes) -> bytes:
        """The event as sent to the client, with `data` in place of its own."""
        if self == Event() and not data:
            return b":\n\n"
        name = f"id: {self.id}\n" if self.id is not None else ""
        wait = f"retry: {self.retry}\n" if self.retry is not None else ""
        return f"event: message\n{name}{wait}".encode() + b"data: " + data + b"\n\n"


class EventReader(SseParser):
    """`SseParser` for streams whose events have more than data. Raises Refusal for other kinds of event."""

    def __init__(self) -> None:
        super().__init__()
        self._events: list[Event] = []
        self._id: str | None = None
        self._retry: int | None = None

    def read(self, raw: bytes) -> list[Event]:
        """All events that `raw` completes."""
        self._events = []
        self.feed(raw)
        return self._events

    def _line(self, line: bytes, events: list[str]) -> None:
        name, _, value = line.partition(b":")
        text = value.removeprefix(b" ").decode("ascii", "replace")
        if not line:
            done: list[str] = []
            super()._line(line, done)
            if done or self._id is not None or self._retry is not None:
                self._events.append(Event(done[0] if done else "", self._id, self._retry))
            self._id = self._retry = None
        elif not name:
            self._events.append(Event())
        elif name == b"id" and text:
            if not EVENT_ID.fullmatch(text):
                raise Refusal("WIRE.MALFORMED", "upstream", RESPONSE)
            self._id = text
        elif name == b"retry" and text.isdecimal() and len(text) < 8:
            self._retry = int(text)
        elif name == b"event" and text != "message":
            raise Refusal("WIRE.MALFORMED", "upstream", RESPONSE)
        else:
            super()._line(line, events)
