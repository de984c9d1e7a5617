"""Walk a gateway's log: checksums, hash chains across segments and boots, numbering, signatures.

Reads only, and goes on after a problem, so that one damaged segment does not hide another. What it cannot see: that
the newest segments were removed together with the spool's own `.head`, or that the holder of the signing key wrote the
log anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import orjson

from gateway.errors import ConfigError, VerificationError
from gateway.wal import (
    GENESIS,
    MAGIC,
    DamageError,
    SegmentName,
    closed_segments,
    read_frames,
    segment_name,
    signed_bytes,
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that does not hold. `frame` counts from 0, `offset` in bytes; None when it is about the whole file."""

    file: str
    problem: str
    frame: int | None = None
    offset: int | None = None

    def __str__(self) -> str:
        where = self.file if self.frame is None else f"{self.file}: frame {self.frame} at byte {self.offset}"
        return f"{where}: {self.problem}"


@dataclass(slots=True)
class Stream:
    """One chain: what was found of it."""

    gateway_id: str
    worker: int
    first: int
    last: int
    segments: int = 0
    events: int = 0
    boots: int = 0
    head: str | None = None


@dataclass(slots=True)
class LogReport:
    """`notes` are not faults: what is normal after a crash or after segments were cleared away."""

    streams: list[Stream] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        return {"schema": "aispm.verify_log/1", "ok": not self.problems, **asdict(self)}

    def lines(self) -> Iterator[str]:
        """For a terminal."""
        for s in self.streams:
            yield (
                f"{s.gateway_id} worker {s.worker}: segments {s.first} to {s.last}, {s.events} events "
                f"of {s.boots} boots, head {(s.head or 'unknown')[:16]}"
            )
        yield from (f"note: {note}" for note in self.notes)
        yield from (f"problem: {problem}" for problem in self.problems)


def verify_log(path: Path, public: bytes | None = None) -> LogReport:
    """Check a spool folder, or one closed segment by itself.

    With `public` (32 bytes, Ed25519) every closed segment must carry that key's signature. Raises ConfigError when
    there is nothing to check, VerificationError when a file is not named as a segment.
    """
    if path.is_dir():
        segments = sorted([*closed_segments(path), *_open_segments(path)], key=lambda p: (segment_name(p), p.suffix))
    elif path.is_file():
        segments = [path]
    else:
        raise ConfigError("no such file or folder", path)
    if not segments:
        raise ConfigError("no log segments here", path)
    report = LogReport()
    for _, stream in groupby(segments, key=lambda p: segment_name(p)[:2]):
        _Walk(report, public).stream(list(stream), whole=path.is_dir())
    if path.is_dir():
        torn = sorted(path.glob("*.torn"))
        report.notes += [f"{p.name}: {p.stat().st_size} bytes that a crash cut off, kept aside" for p in torn]
    return report


def _open_segments(spool: Path) -> list[Path]:
    found = []
    for path in spool.glob("*.open"):
        try:
            segment_name(path)
        except VerificationError:
            continue
        found.append(path)
    return found


class _Walk:
    """Along one stream, holding the hash that must come next; None after something that did not hold."""

    def __init__(self, report: LogReport, public: bytes | None) -> None:
        self._report, self._public = report, public
        self._head: str | None = None
        self._boots: set[str] = set()
        self._position: tuple[str, int] | None = None

    def stream(self, segments: list[Path], *, whole: bool) -> None:
        first = segment_name(segments[0])
        found = Stream(first.gateway_id, first.worker, first.segment_no, first.segment_no)
        self._report.streams.append(found)
        if first.segment_no == 1:
            self._head = GENESIS
        elif whole:
            self._report.notes.append(f"{segments[0].name}: segments before it are not here")
        expected = first.segment_no
        for path in segments:
            number = segment_name(path).segment_no
            if number != expected:
                said = f"segment {number} is there twice" if number < expected else _missing(expected, number - 1)
                self._report.problems.append(Problem(path.name, said))
                self._head, self._position = None, None
            self._segment(path, found)
            found.last, expected = number, number + 1
            found.segments += 1
        found.boots, found.head = len(self._boots), self._head
        if whole:
            self._remembered(segments, found)

    def _segment(self, path: Path, found: Stream) -> None:
        name = segment_name(path)
        last, start = None, len(MAGIC)
        try:
            for number, (event, end) in enumerate(read_frames(path.read_bytes(), path.name, self._head)):
                if problem := self._misplaced(event, name):
                    self._report.problems.append(Problem(path.name, problem, number, start))
                self._head = last = str(event["hash"])
                start = end
                found.events += 1
        except DamageError as e:
            if path.suffix == ".open" and e.problem.startswith("cut off"):
                self._report.notes.append(f"{e}; normal while it is written and after a crash")
            else:
                self._report.problems.append(Problem(path.name, e.problem, e.frame, e.offset))
                self._head, self._position = None, None
        if self._public is not None and path.suffix == ".wal" and last is not None:
            self._signature(path, name, last)

    def _misplaced(self, event: dict[str, Any], name: SegmentName) -> str | None:
        """What contradicts the event's own account of where it stands."""
        boot, seq = str(event.get("boot_id")), event.get("seq")
        before, self._position = self._position, (boot, seq if isinstance(seq, int) else -1)
        self._boots.add(boot)
        if (event.get("gateway_id"), event.get("worker"), event.get("segment_no")) != name:
            return "it belongs to another segment"
        if before is not None and before[0] == boot and seq != before[1] + 1:
            return f"its position is {seq} and should be {before[1] + 1}"
        return None

    def _signature(self, path: Path, name: SegmentName, head: str) -> None:
        # Only here: reading a log needs no cryptography beyond hashes.
        from nacl.exceptions import BadSignatureError
        from nacl.signing import VerifyKey

        sidecar = path.with_suffix(".sig")
        try:
            signature = bytes.fromhex(sidecar.read_text(encoding="ascii").strip())
            VerifyKey(self._public or b"").verify(signed_bytes(name, head), signature)
        except FileNotFoundError:
            self._report.problems.append(Problem(path.name, "it is not signed"))
        except (BadSignatureError, ValueError, OSError):
            self._report.problems.append(Problem(path.name, "its signature does not hold for this key"))

    def _remembered(self, segments: list[Path], found: Stream) -> None:
        """The spool's own memory of the newest closed segment must agree with what lies there."""
        memory = segments[0].parent / f"{found.gateway_id}-{found.worker}.head"
        if not memory.exists():
            self._report.notes.append(f"{memory.name} is not here: that newer segments were removed would not show")
            return
        try:
            known = orjson.loads(memory.read_bytes())
            number, head = int(known["segment_no"]), str(known["hash"])
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError):
            self._report.problems.append(Problem(memory.name, "damaged"))
            return
        closed = [path for path in segments if path.suffix == ".wal"]
        newest = segment_name(closed[-1]).segment_no if closed else 0
        if number > newest:
            self._report.problems.append(Problem(memory.name, _missing(newest + 1, number)))
        elif number == newest and not self._ends_with(closed[-1], head):
            self._report.problems.append(Problem(memory.name, f"{closed[-1].name} ends with another hash"))

    @staticmethod
    def _ends_with(path: Path, head: str) -> bool:
        """Looked for in the raw end: what the frames say was judged before."""
        return path.read_bytes().endswith(f'"hash":"{head}"}}'.encode())


def _missing(first: int, last: int) -> str:
    return f"segment {first} is missing" if first == last else f"segments {first} to {last} are missing"
