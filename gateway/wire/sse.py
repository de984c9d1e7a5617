"""Streams of server-sent events: the part that all formats share. No I/O."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import orjson

from gateway.fields import RESPONSE
from gateway.stream import SseParser
from gateway.strict_json import parse


def sse(value: Any, event: str | None = None) -> bytes:
    """One event, with its name where the format has names."""
    return (b"" if event is None else b"event: " + event.encode() + b"\n") + b"data: " + orjson.dumps(value) + b"\n\n"


class SseStream(ABC):
    """Base of streams whose events are JSON objects; `event` is what a format adds."""

    done = False

    def __init__(self) -> None:
        self._parser = SseParser()

    def feed(self, raw: bytes) -> Iterator[bytes]:
        """See `gateway.wire.format.Stream`."""
        for data in self._parser.feed(raw):
            if data == "[DONE]":
                self.done = True
                return
            piece = self.event(parse(data.encode(), scope=RESPONSE))
            if piece:
                yield piece
            if self.done:
                return

    @abstractmethod
    def event(self, value: Any) -> bytes:
        """What may be sent now that the provider sent this event."""
