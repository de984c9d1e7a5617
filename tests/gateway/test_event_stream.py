"""AWS event streams are read and written as botocore does, and nothing damaged is believed."""

from __future__ import annotations

import struct
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from gateway.reasons import Refusal
from gateway.stream import MAX_EVENT
from gateway.wire.event_stream import EventStreamParser, write

HEADERS = {":message-type": "event", ":event-type": "contentBlockDelta", "ü": "é" * 40}
ONE = write(HEADERS, b'{"a": 1}')


def message(headers: bytes, payload: bytes = b"{}") -> bytes:
    """A message with these raw headers and right checksums."""
    prelude = struct.pack("!II", 16 + len(headers) + len(payload), len(headers))
    raw = prelude + struct.pack("!I", crc32(prelude)) + headers + payload
    return raw + struct.pack("!I", crc32(raw))


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=200), max_size=4),
            st.binary(max_size=200),
        ),
        max_size=4,
    )
)
def test_botocore_reads_what_is_written_and_so_does_the_parser(messages):
    raw = b"".join(write(headers, payload) for headers, payload in messages)
    buffer = EventStreamBuffer()
    buffer.add_data(raw)
    assert [(m.headers, m.payload) for m in buffer] == messages
    parser = EventStreamParser()
    assert [tuple(m) for m in parser.feed(raw)] == messages
    assert parser.empty


def test_messages_are_read_however_the_bytes_arrive():
    raw = ONE + write({}, b"") + ONE
    for size in (1, 2, 3, 11, 13):
        parser = EventStreamParser()
        found = [m for at in range(0, len(raw), size) for m in parser.feed(raw[at : at + size])]
        assert [m.payload for m in found] == [b'{"a": 1}', b"", b'{"a": 1}']
        assert found[0].headers == HEADERS
    parser = EventStreamParser()
    assert parser.feed(ONE[:-1]) == []
    assert not parser.empty


def test_every_byte_is_covered_by_a_checksum():
    for at in range(len(ONE)):
        damaged = ONE[:at] + bytes([ONE[at] ^ 1]) + ONE[at + 1 :]
        with pytest.raises(Refusal) as caught:
            EventStreamParser().feed(damaged)
        assert str(caught.value) == "WIRE.MALFORMED upstream"


@pytest.mark.parametrize(
    "headers",
    [
        b"\x01a\x00",  # other types than string: true, an integer, bytes
        b"\x01a\x04\x00\x00\x00\x01",
        b"\x01a\x06\x00\x01b",
        b"\x01a\x07\x00\x01b\x01a\x07\x00\x01c",  # twice the same name
        b"\x01",
        b"\x05a",
        b"\x01a\x07\x00",
        b"\x01a\x07\x00\x09b",
        b"\x01\xff\x07\x00\x01b",
        b"\x01a\x07\x00\x01\xff",
    ],
)
def test_headers_that_are_not_understood_are_refused(headers):
    with pytest.raises(Refusal):
        EventStreamParser().feed(message(headers))


def test_lengths_that_cannot_be_are_refused_before_the_message_arrives():
    def prelude(total, headers):
        raw = struct.pack("!II", total, headers)
        return raw + struct.pack("!I", crc32(raw))

    for total, headers, code in ((0, 0, "MALFORMED"), (20, 9, "MALFORMED"), (MAX_EVENT + 1, 0, "LIMIT")):
        with pytest.raises(Refusal, match=code):
            EventStreamParser().feed(prelude(total, headers))
    assert EventStreamParser().feed(prelude(MAX_EVENT, 0)) == []
