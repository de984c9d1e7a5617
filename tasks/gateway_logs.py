"""The gateway's closed log segments as rows of `gateway_events`. Reads only; the caller commits and clears up."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from gateway.wal import closed_segments as _closed_segments
from gateway.wal import read_segment, segment_name
from tasks.errors import VerificationError
from tasks.lake import STAMPS, tables


@cache
def columns() -> tuple[str, ...]:
    """Of `sql/schema/gateway_events.sql`, without the run and what the lake adds to a commit."""
    added = {"run_id", *(column.split()[0] for column in STAMPS.split(", "))}
    return tuple(name for name in tables()["gateway_events"].schema.names if name not in added)


class SegmentIdentity(NamedTuple):
    """Names a segment for good: numbers continue across boots, so a replay of one is recognisable."""

    gateway_id: str
    worker: int
    segment_no: int


class ChainHead(NamedTuple):
    """What a segment continues from, and what the next one must continue from."""

    prev_hash: str
    hash: str


def closed_segments(spool: Path) -> list[Path]:
    """All closed segments in order of gateway, worker and number. An absent folder has none."""
    return _closed_segments(spool)


def segment_identity(path: Path) -> SegmentIdentity:
    """What the file name says. Raises VerificationError when it is not a segment's."""
    return SegmentIdentity(*segment_name(path))


def event_rows(segment: Path, prev_hash: str | None = None) -> list[dict[str, Any]]:
    """The events of a segment in order, one dict of exactly `columns()` each.

    `prev_hash` is the last hash of the segment before, when the caller knows it. `occurred_at` is a UTC datetime and
    `dt` its date. Raises VerificationError when a frame's length, checksum or hash does not hold, when the events say
    they belong to another segment, or when one has a column that the lake lacks.
    """
    identity = segment_identity(segment)
    rows = []
    for number, event in enumerate(read_segment(segment, prev_hash)):
        if (event.get("gateway_id"), event.get("worker"), event.get("segment_no")) != identity:
            raise VerificationError(f"{segment.name}: frame {number} belongs to another segment")
        occurred_at = datetime.fromisoformat(event["occurred_at"])
        row = {**dict.fromkeys(columns()), **event, "occurred_at": occurred_at, "dt": occurred_at.date()}
        if len(row) != len(columns()):
            raise VerificationError(f"{segment.name}: frame {number} has columns that gateway_events lacks")
        rows.append(row)
    return rows


def chain_head(rows: Sequence[dict[str, Any]]) -> ChainHead:
    """Both ends of a segment's chain. A segment's `prev_hash` must be the `hash` of the segment before it."""
    return ChainHead(rows[0]["prev_hash"], rows[-1]["hash"])
