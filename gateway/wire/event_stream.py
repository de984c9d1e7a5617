"""AWS event streams (`application/vnd.amazon.eventstream`): messages of headers and a payload. No I/O.

Layout, big-endian: total length, length of the headers, CRC-32 of these eight bytes; headers; payload; CRC-32 of all
before it. A header is the length of its name in one byte, the name, the type of its value, and the value; of the ten
types, model streams use one, the string.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import NamedTuple
from zlib import crc32

from gateway.fields import RESPONSE
from gateway.reasons import Refusal
from gateway.stream import MAX_EVENT
from gateway.wire.format import malformed

EVENT_STREAM_TYPE = "application/vnd.amazon.eventstream"

_PRELUDE = struct.Struct("!III")
_CRC = struct.Struct("!I")
_AROUND = _PRELUDE.size + _CRC.size
_STRING = 7


class Message(NamedTuple):
    """One message. Names of headers that AWS defines begin with a colon."""

    headers: dict[str, str]
    payload: bytes


def write(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One message as it is sent; a name may have 255 bytes, a value 65,535."""
    raw = b"".join(
        struct.pack("!B", len(n := name.encode())) + n + struct.pack("!BH", _STRING, len(v := value.encode())) + v
        for name, value in headers.items()
    )
    prelude = struct.pack("!II", _AROUND + len(raw) + len(payload), len(raw))
    message = prelude + _CRC.pack(crc32(prelude)) + raw + payload
    return message + _CRC.pack(crc32(message))


class EventStreamParser:
    """Incremental reader; both checksums are verified before anything is believed."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    @property
    def empty(self) -> bool:
        """Whether every message that began has ended."""
        return not self._buffer

    def feed(self, raw: bytes) -> list[Message]:
        """All messages that `raw` completes. Raises Refusal for one that is damaged or too large."""
        buffer, messages = self._buffer, []
        buffer += raw
        while len(buffer) >= _PRELUDE.size:
            total, headers, crc = _PRELUDE.unpack_from(buffer)
            if crc32(buffer[:8]) != crc or total < _AROUND + headers:
                raise malformed(RESPONSE)
            if total > MAX_EVENT:
                raise Refusal("WIRE.LIMIT", "upstream", RESPONSE)
            if len(buffer) < total:
                break
            message = bytes(buffer[:total])
            del buffer[:total]
            if crc32(message[:-4]) != _CRC.unpack(message[-4:])[0]:
                raise malformed(RESPONSE)
            begin = _PRELUDE.size + headers
            messages.append(Message(_headers(message[_PRELUDE.size : begin]), message[begin:-4]))
        return messages


def _headers(raw: bytes) -> dict[str, str]:
    headers: dict[str, str] = {}
    at = 0
    try:
        while at < len(raw):
            name, at = _text(raw, at + 1, raw[at])
            kind, length = struct.unpack_from("!BH", raw, at)
            value, at = _text(raw, at + 3, length)
            if kind != _STRING or name in headers:
                raise malformed(RESPONSE)
            headers[name] = value
    except (struct.error, UnicodeDecodeError):
        raise malformed(RESPONSE) from None
    return headers


def _text(raw: bytes, start: int, length: int) -> tuple[str, int]:
    end = start + length
    if end > len(raw):
        raise malformed(RESPONSE)
    return raw[start:end].decode(), end
