"""The write-ahead log: events are on disk before the client has its answer.

A segment is `AISPMW1\\n` and then frames `length (u32) | crc32 (u32) | JSON`, big-endian. Each JSON object ends with
`"hash"`, the SHA-256 over the hash before it and the JSON without `hash`, so that a changed, missing or moved frame
shows. The first frame of a segment carries on from the last one of the segment before, across boots.

A segment being written is called `.open`; closed ones are renamed `<gateway_id>-<worker>-<segment_no>.wal`. With a
signing key each closed one has a `.sig` beside it: Ed25519 over its name and last hash, which by the chain covers all
that came before. Reading needs nothing but this file and orjson.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from gateway.durable import replace_durably, sync_folder
from gateway.errors import ConfigError, VerificationError

MAGIC = b"AISPMW1\n"
GENESIS = "0" * 64
MAX_FRAME = 1 << 20
"""Bytes of one frame's JSON; an event has some 1,000, so a larger length is damage."""

_HEAD = struct.Struct(">II")
_NAME = re.compile(r"(?P<gateway>.+)-(?P<worker>[0-9]+)-(?P<number>[0-9]{10})\.(?:wal|open)")
_HASH_SUFFIX = re.compile(rb',"hash":"([0-9a-f]{64})"}')
_SUFFIX_LENGTH = len(b',"hash":""}') + 64


class DamageError(VerificationError):
    """A segment does not hold. `frame` counts from 0 and `offset` is its first byte; None when it is the whole file."""

    def __init__(self, segment: str, problem: str, frame: int | None = None, offset: int | None = None) -> None:
        where = segment if frame is None else f"{segment}: frame {frame} at byte {offset}"
        super().__init__(f"{where}: {problem}")
        self.segment, self.problem, self.frame, self.offset = segment, problem, frame, offset


class SegmentName(NamedTuple):
    """What a segment's file name says."""

    gateway_id: str
    worker: int
    segment_no: int


def segment_name(path: Path) -> SegmentName:
    """Parse a segment's file name. Raises VerificationError when it is not one."""
    found = _NAME.fullmatch(path.name)
    if found is None:
        raise VerificationError(f"{path.name} is not the name of a log segment")
    return SegmentName(found["gateway"], int(found["worker"]), int(found["number"]))


def read_segment(path: Path, prev_hash: str | None = None) -> Iterator[dict[str, Any]]:
    """The events of a closed segment, each checked (length, CRC, hash chain) before it is handed out.

    `prev_hash` is the last hash of the segment before, when the caller holds it. Raises DamageError at the first frame
    that does not hold.
    """
    for event, _ in read_frames(path.read_bytes(), path.name, prev_hash):
        yield event


def read_frames(raw: bytes, name: str, prev_hash: str | None) -> Iterator[tuple[dict[str, Any], int]]:
    """(event, offset after its frame) of every frame; raises DamageError at the first that does not hold."""
    if not raw.startswith(MAGIC):
        raise DamageError(name, "not a log segment of this version")
    at, number, prev = len(MAGIC), 0, prev_hash
    while at < len(raw):
        if at + _HEAD.size > len(raw):
            raise DamageError(name, "cut off", number, at)
        length, crc = _HEAD.unpack_from(raw, at)
        body = raw[at + _HEAD.size : at + _HEAD.size + length]
        if length > MAX_FRAME or len(body) < length:
            raise DamageError(name, "cut off, or its length is damaged", number, at)
        if zlib.crc32(body) != crc:
            raise DamageError(name, "altered: its checksum does not hold", number, at)
        try:
            event, prev = _open_frame(body, prev)
        except ValueError as e:
            raise DamageError(name, str(e), number, at) from None
        at += _HEAD.size + length
        number += 1
        yield event, at


def _open_frame(body: bytes, prev: str | None) -> tuple[dict[str, Any], str]:
    """Raises ValueError saying what does not hold."""
    suffix = _HASH_SUFFIX.fullmatch(body[-_SUFFIX_LENGTH:])
    try:
        event = orjson.loads(body)
    except orjson.JSONDecodeError:
        event = None
    if suffix is None or not isinstance(event, dict) or not isinstance(event.get("prev_hash"), str):
        raise ValueError("not an event")
    if prev is not None and event["prev_hash"] != prev:
        raise ValueError("does not follow the one before: a frame is missing, added or moved")
    own = suffix[1].decode()
    if _chain(event["prev_hash"], body[:-_SUFFIX_LENGTH] + b"}") != own:
        raise ValueError("altered: its hash does not hold")
    return event, own


def _chain(prev_hash: str, body: bytes) -> str:
    return hashlib.sha256(prev_hash.encode() + body).hexdigest()


def signed_bytes(name: SegmentName, head: str) -> bytes:
    """What a segment's signature covers; the domain keeps it from passing for any other signed thing."""
    return b"\0".join((b"aispm.wal/1", f"{name.gateway_id}-{name.worker}-{name.segment_no}".encode(), head.encode()))


class Wal:
    """The writer: one process, one worker, one chain.

    Raises ConfigError when another process holds the same spool, gateway id and worker. `append` raises OSError when
    the disk refuses; what was half written is cut off again, so the chain stays whole.
    """

    def __init__(
        self,
        spool: Path,
        gateway_id: str,
        worker: int,
        boot_id: str,
        roll_bytes: int,
        roll_seconds: float,
        sign: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """Sizes in bytes, ages in seconds. `sign` gives the Ed25519 signature of a closed segment's `signed_bytes`."""
        self.gateway_id, self.worker, self.boot_id = gateway_id, worker, boot_id
        self._spool, self._roll_bytes, self._roll_seconds = spool, roll_bytes, roll_seconds
        self._sign = sign
        self._stem = f"{gateway_id}-{worker}"
        self._head_file = spool / f"{self._stem}.head"
        self._fd: int | None = None
        self._path: Path | None = None
        self._size = 0
        self._opened_at = 0.0
        self._seq = 0
        self.torn_bytes = 0
        """Cut off from what the last boot left, for a `gap` event."""
        spool.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(spool / f"{self._stem}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise ConfigError(f"another gateway {gateway_id!r} worker {worker} writes to this spool", spool) from None
        self.segment_no, self.head = self._recover()

    def _recover(self) -> tuple[int, str]:
        """Finish what the last boot left open; the last used number and hash."""
        closed = closed_segments(self._spool, self.gateway_id, self.worker)
        number, head = 0, GENESIS
        if self._head_file.exists():
            try:
                known = orjson.loads(self._head_file.read_bytes())
                number, head = int(known["segment_no"]), str(known["hash"])
            except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
                raise VerificationError(
                    f"{self._head_file} is damaged; remove it only if all segments are kept"
                ) from None
        for path in closed:
            if segment_name(path).segment_no > number:  # closed, but the crash came before the head was written
                number = segment_name(path).segment_no
                for event in read_segment(path, head):
                    head = event["hash"]
        for path in sorted(self._spool.glob(f"{self._stem}-*.open")):
            name = segment_name(path)
            if (name.gateway_id, name.worker) != (self.gateway_id, self.worker):
                continue
            raw, end, last = path.read_bytes(), 0, None
            try:
                for event, after in read_frames(raw, path.name, head):
                    last, end = event["hash"], after
            except DamageError:
                pass  # the torn tail of a crash: everything before it held
            if last is None:
                path.unlink()
                continue
            if len(raw) > end:
                # Usually half a frame; kept aside, because cutting off anything more would destroy evidence.
                self.torn_bytes += len(raw) - end
                replace_durably(path.with_suffix(".torn"), raw[end:])
            fd = os.open(path, os.O_RDWR)
            try:
                os.ftruncate(fd, end)
                os.fsync(fd)
            finally:
                os.close(fd)
            number, head = name.segment_no, last
            self._publish(path, number, head)
        return number, head

    def append(self, events: Sequence[Mapping[str, Any]], now: datetime, monotonic: float) -> None:
        """Write the events in one `write`: a kill of the process after this call cannot lose them.

        `now` (UTC) stamps them, `monotonic` (seconds) ages the segment. Raises OSError.
        """
        fd = self._open(monotonic) if self._fd is None else self._fd
        prev, seq = self.head, self._seq
        frames: list[bytes] = []
        for event in events:
            record = {
                "event_id": f"{self.boot_id}-{self.worker}-{seq}",
                "gateway_id": self.gateway_id,
                "worker": self.worker,
                "boot_id": self.boot_id,
                "seq": seq,
                "segment_no": self.segment_no,
                "occurred_at": now,
                **event,
                "prev_hash": prev,
            }
            body = orjson.dumps(record)
            prev = _chain(prev, body)
            body = b'%b,"hash":"%b"}' % (body[:-1], prev.encode())
            frames += (_HEAD.pack(len(body), zlib.crc32(body)), body)
            seq += 1
        self._write(fd, b"".join(frames))
        self.head, self._seq = prev, seq
        if self._size >= self._roll_bytes:
            self.roll()

    def _write(self, fd: int, raw: bytes) -> None:
        view = memoryview(raw)
        try:
            while view:
                view = view[os.write(fd, view) :]
        except OSError:
            os.ftruncate(fd, self._size)
            raise
        self._size += len(raw)

    def _open(self, monotonic: float) -> int:
        path = self._spool / f"{self._stem}-{self.segment_no + 1:010d}.open"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        try:
            os.write(fd, MAGIC)
        except OSError:
            os.close(fd)
            path.unlink()
            raise
        self._fd, self._path, self._size, self._opened_at = fd, path, len(MAGIC), monotonic
        self.segment_no += 1
        return fd

    def due(self, monotonic: float) -> bool:
        """Whether the open segment is old enough to be closed."""
        return self._fd is not None and monotonic - self._opened_at >= self._roll_seconds

    @property
    def position(self) -> tuple[int, int]:
        """Segment number and its bytes so far: grows with every append."""
        return self.segment_no, self._size

    def duplicate(self) -> int | None:
        """A second handle on the open segment, to be synced and closed elsewhere while this one may roll."""
        return None if self._fd is None else os.dup(self._fd)

    def roll(self) -> None:
        """Close the open segment, if there is one, so that it can be read while the gateway goes on."""
        if self._fd is None or self._path is None:
            return
        os.fsync(self._fd)
        os.close(self._fd)
        path, self._fd, self._path = self._path, None, None
        self._publish(path, self.segment_no, self.head)

    def _publish(self, path: Path, number: int, head: str) -> None:
        if self._sign is not None:
            signed = signed_bytes(SegmentName(self.gateway_id, self.worker, number), head)
            replace_durably(path.with_suffix(".sig"), self._sign(signed).hex().encode() + b"\n")
        path.rename(path.with_suffix(".wal"))
        sync_folder(self._spool)
        replace_durably(self._head_file, orjson.dumps({"segment_no": number, "hash": head}))

    def close(self) -> None:
        """Roll, and let go of the spool."""
        self.roll()
        os.close(self._lock)


def closed_segments(spool: Path, gateway_id: str | None = None, worker: int | None = None) -> list[Path]:
    """All closed segments of a spool in order of gateway, worker and number."""
    found = [p for p in spool.glob("*.wal") if _NAME.fullmatch(p.name)]
    names = sorted((segment_name(p), p) for p in found)
    return [p for n, p in names if gateway_id in (None, n.gateway_id) and worker in (None, n.worker)]
