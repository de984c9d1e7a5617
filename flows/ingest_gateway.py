"""Closed log segments of a gateway → gateway_events, each segment once and in order.

Segments of one stream (gateway, worker) are committed several at a time under the key `gw/<gateway>/<worker>` with the
number of the last one. A commit names the number it follows, so of two writers that ship the same segments at once
only the first adds rows, and a replay after a crash adds none.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from flows.engine import Engine
from tasks.errors import VerificationError
from tasks.gateway_logs import closed_segments, event_rows, segment_identity
from tasks.lake import Lake, Skipped
from tasks.runs import Run

TABLE = "gateway_events"
BATCH_BYTES = 16 << 20
"""Of segments in one commit: some 16,000 events, a few seconds' work and 100 MB of memory."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive segments of one stream; `after` is the number before the first."""

    gateway_id: str
    worker: int
    after: int
    segments: tuple[Path, ...]

    @property
    def key(self) -> str:
        return f"gw/{self.gateway_id}/{self.worker}"

    @property
    def last(self) -> int:
        return segment_identity(self.segments[-1]).segment_no


class Head(NamedTuple):
    """Where a chain stands in the lake: the hash of the last event of this segment."""

    segment_no: int
    hash: str


@dataclass(frozen=True, slots=True)
class Shipped:
    """What one pass added, and what kept it from adding more."""

    events: int = 0
    segments: int = 0
    troubles: tuple[str, ...] = ()


def ingest_gateway(run: Run, engine: Engine) -> list[str]:
    """Nothing to do without a gateway spool in the settings. Returns what went wrong."""
    if run.settings.gateway.spool is None:
        return []
    return list(ship(run, engine, Path(run.settings.gateway.spool)).troubles)


def waiting(lake: Lake, spool: Path) -> bool:
    """Whether the spool holds segments that the lake lacks."""
    return any(
        segment_identity(list(segments)[-1]).segment_no > lake.last_number(TABLE, f"gw/{gateway_id}/{worker}")
        for (gateway_id, worker), segments in _streams(spool)
    )


def ship(
    run: Run, engine: Engine, spool: Path, *, skip_missing: bool = False, heads: dict[str, Head] | None = None
) -> Shipped:
    """Commit what the lake lacks. A damaged or missing segment stops its own stream and is a trouble.

    With `skip_missing` a hole in the numbering is committed as a `gap` event instead, for segments that are lost for
    good. `heads` spares a caller that ships again and again the question where each chain stands.
    """
    heads = {} if heads is None else heads
    total = len(closed_segments(spool))
    engine.progress.update("gateway", 0, total)
    events = shipped = 0
    troubles: list[str] = []
    for (gateway_id, worker), segments in _streams(spool):
        stream = f"gw/{gateway_id}/{worker}"
        try:
            for batch in _batches(run, gateway_id, worker, segments, skip_missing):
                head = heads.get(batch.key)
                known = head.hash if head is not None and head.segment_no == batch.after else None
                added, head = engine.run(commit_segments, run=run, batch=batch, known=known)
                if head is not None:
                    heads[batch.key] = head
                events += added
                shipped += len(batch.segments)
                engine.progress.update("gateway", shipped, total, f"{events} new events")
        except Exception as e:  # noqa: BLE001 - a bad segment is reported by name; the later ones of its stream must wait
            troubles.append(f"gateway log {stream}: {e}")
    if not troubles:
        engine.progress.update("gateway", total, total, f"{events} new events")
    return Shipped(events, shipped, tuple(troubles))


def _streams(spool: Path) -> Iterator[tuple[tuple[str, int], list[Path]]]:
    for stream, segments in groupby(closed_segments(spool), key=lambda path: segment_identity(path)[:2]):
        yield stream, list(segments)


def _batches(run: Run, gateway_id: str, worker: int, segments: list[Path], skip_missing: bool) -> Iterator[Batch]:
    """Raises VerificationError at a hole in the numbering, after what lies before it was handed out."""
    after = run.lake.last_number(TABLE, f"gw/{gateway_id}/{worker}")
    taken: list[Path] = []
    size, expected = 0, after + 1
    for path in segments:
        number = segment_identity(path).segment_no
        if number < expected:
            continue
        if number > expected or size >= BATCH_BYTES:
            if taken:
                yield Batch(gateway_id, worker, after, tuple(taken))
            taken, size, after = [], 0, expected - 1
        if number > expected:
            if not skip_missing:
                raise VerificationError(
                    f"segment {expected} is missing (next is {path.name}); bring it back, or write it off with "
                    "`aispm ingest --skip-missing`"
                )
            _write_off(run, gateway_id, worker, expected, number - 1)
            after = number - 1
        taken.append(path)
        size += path.stat().st_size
        expected = number + 1
    if taken:
        yield Batch(gateway_id, worker, after, tuple(taken))


def commit_segments(run: Run, batch: Batch, known: str | None = None) -> tuple[int, Head | None]:
    """Commit a batch; the events added (0 when another writer was first) and the chain's new head.

    `known` is the hash that it must continue from; without it the lake is asked. Raises VerificationError when a frame
    does not hold or the chain does not continue.
    """
    lake = run.lake
    head = known or _head(lake, batch)
    rows = []
    for segment in batch.segments:
        events = event_rows(segment, head)
        head = events[-1]["hash"] if events else head
        rows += [{**event, "run_id": run.run_id} for event in events]
    added = lake.append(TABLE, rows, key=batch.key, run_id=run.run_id, number=batch.last, after=batch.after)
    if added.quarantined:
        raise VerificationError(f"{added.quarantined} events up to segment {batch.last} were quarantined")
    if isinstance(added, Skipped):
        return 0, None
    return added.rows, None if head is None else Head(batch.last, head)


def _head(lake: Lake, batch: Batch) -> str | None:
    """The hash that the batch must continue from; None when the lake does not know it."""
    rows = lake.query(
        """select hash from lake.gateway_events
           where gateway_id = ? and worker = ? and segment_no = ?
             and reason_detail is distinct from 'segments_missing'
           order by seq desc limit 1""",
        [batch.gateway_id, batch.worker, batch.after],
    )
    return str(rows[0]["hash"]) if rows else None


def _write_off(run: Run, gateway_id: str, worker: int, first: int, last: int) -> None:
    now = dt.datetime.now(dt.UTC)
    name = f"written-off-{gateway_id}-{worker}-{first}-{last}"
    row = {
        "event_id": name,
        "run_id": run.run_id,
        "gateway_id": gateway_id,
        "worker": worker,
        "boot_id": name,
        "seq": 0,
        "segment_no": last,
        "occurred_at": now,
        "event_kind": "gap",
        "reason_detail": "segments_missing",
        "hash": "0" * 64,
        "dt": now.date(),
    }
    run.lake.append(TABLE, [row], key=f"gw/{gateway_id}/{worker}", run_id=run.run_id, number=last, after=first - 1)
