"""The event log of one worker: what an answer waits for, and what happens when the disk refuses.

`wal.py` writes and reads segments; this adds the three promises of `[spool] audit` and says in the log itself when
something is missing from it.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from gateway.wal import Wal

log = logging.getLogger("gateway")

SYNC_SECONDS = 1.0
"""How much of the log a power cut may take with it, unless every answer waits for the disk."""


class EventLog:
    """`audit` as in the settings; `observe` is told every event, also one that could not be written."""

    def __init__(
        self,
        wal: Wal,
        audit: str,
        now: Callable[[], datetime],
        observe: Callable[[Mapping[str, Any]], None] | None = None,
    ) -> None:
        self._wal, self._audit, self._now, self._observe = wal, audit, now, observe
        self._written = 0  # appends so far, and how many of them the disk has confirmed
        self._synced = 0
        self._syncing: asyncio.Task[None] | None = None
        self._broken = False
        self.lost = 0
        """Events that could not be written and that no `gap` event tells of yet."""
        if wal.torn_bytes:
            self.append([{"event_kind": "gap", "reason_detail": "torn_tail"}])

    @property
    def strict(self) -> bool:
        """Whether `durable` has anything to wait for."""
        return self._audit == "strict"

    @property
    def writable(self) -> bool:
        """Whether the last attempt to write succeeded."""
        return not self.lost and not self._broken

    @property
    def segment_no(self) -> int:
        """Number of the newest segment."""
        return self._wal.segment_no

    def append(self, events: Sequence[Mapping[str, Any]]) -> None:
        """Write the events; a kill of the process after this call cannot lose them.

        Raises OSError when the disk refuses, unless `audit` is `available`; what was lost is then told by a `gap`
        event as soon as it can be.
        """
        if self._observe is not None:
            for event in events:
                self._observe(event)
        gap = [{"event_kind": "gap", "reason_detail": "not_written", "lost_events": self.lost}] if self.lost else []
        try:
            if self._broken:
                raise OSError(None, "an earlier write did not reach the disk; restart the gateway")
            self._wal.append([*gap, *events], self._now(), time.monotonic())
        except OSError as e:
            self.lost += len(events)
            if self._audit != "available":
                raise
            log.error("the event log cannot be written, %d events are lost: %s", self.lost, e.strerror)
            return
        self.lost = 0
        self._written += 1

    async def durable(self) -> None:
        """With `audit = "strict"`: return once all that was appended so far would survive a power cut.

        Waiting answers share one sync. Raises OSError when the disk refuses.
        """
        if self._audit != "strict":
            return
        mine = self._written
        while self._synced < mine:
            if self._syncing is None or self._syncing.done():
                self._syncing = asyncio.create_task(self._sync())
            # One waiter that is cancelled must not take the others' sync with it.
            await asyncio.shield(self._syncing)

    async def _sync(self) -> None:
        reaches, fd = self._written, self._wal.duplicate()
        if fd is not None:  # without an open segment all is in closed ones, which are synced
            try:
                await asyncio.to_thread(_sync_and_close, fd)
            except OSError:
                # The kernel may have dropped the pages and will then report success: only a restart, which reads the
                # segment back, knows what is there.
                self._broken = self._audit == "strict"
                raise
        self._synced = max(self._synced, reaches)

    async def keep(self, roll_seconds: float) -> None:
        """Until cancelled: close segments that are old enough, sync the open one, and try again after a failure."""
        while True:
            await asyncio.sleep(min(SYNC_SECONDS, roll_seconds / 2))
            try:
                if self.lost and not self._broken:
                    self.append([])
                if self._wal.due(time.monotonic()):
                    self._wal.roll()
                elif self._synced < self._written:
                    await self._sync()
            except OSError as e:
                log.error("the event log cannot be synced: %s", e.strerror)

    def roll(self) -> None:
        """Close the open segment, so that it can be ingested. Raises OSError."""
        self._wal.roll()

    def close(self) -> None:
        """Close the log for good."""
        self._wal.close()


def _sync_and_close(fd: int) -> None:
    try:
        os.fdatasync(fd)
    finally:
        os.close(fd)
