"""Sends a batch of a planned campaign and returns its rows.

A batch is sent at least once and lands in the lake exactly once: its spool keeps every reply, so a killed batch
re-sends only what was in flight.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tasks.errors import ConfigError
from tasks.interruption import STOPPING, StoppedError
from tasks.probing.catalog import Family
from tasks.probing.conversations import request_for
from tasks.probing.detectors import Finding, evaluate
from tasks.probing.expand import canary_values, render
from tasks.probing.meters import Meters
from tasks.probing.plan import Attempt, Batch
from tasks.probing.rows import attempt_row
from tasks.probing.sessions import converse, declared_values, stranger_of
from tasks.probing.spool import Spool, local_key
from tasks.records import Asset, Verdict
from tasks.settings import ProbingSettings
from tasks.targets import registry
from tasks.targets.budget import Amount
from tasks.targets.credentials import secrets_of, url_of
from tasks.targets.target import Reply, Target
from tasks.targets.wire import Pace, Wire


def campaign_key(campaign_id: str, settings: ProbingSettings, spool: Path) -> bytes:
    """The key behind a campaign's canaries: fixed by `probing.seed`, else from this installation's own secret."""
    if settings.seed is not None:
        return hashlib.sha256(f"aispm.canary/1 {settings.seed}".encode()).digest()
    return hmac.new(local_key(spool.parent), campaign_id.encode(), hashlib.sha256).digest()


Progress = Callable[[int, int], None]
"""(attempts finished in this batch, attempts in it)."""


def run_batch(
    batch: Batch,
    asset: Asset,
    families: Mapping[str, Family],
    settings: ProbingSettings,
    spool: Path,
    progress: Progress | None = None,
    *,
    meters: Meters | None = None,
    pace: Pace | None = None,
) -> list[dict[str, Any]]:
    """Send what the file `spool` does not hold yet; returns the `probe_attempts` rows of all finished attempts.

    Faults of the target end as rows with verdict `error`. An attempt has no row when the budget was spent or the target
    given up before it was sent, or before all its tries were: it can still be sent by a later execution. The caller
    calls `drop_replies` after the commit, and must name the same file when it resumes; the key of the canaries lies
    beside it.
    `meters` is shared by all batches of an execution; without it this batch has budget and limiter to itself.
    Raises ConfigError when the asset is no usable target, such as an unreadable credential, and StoppedError when the
    run is asked to stop: attempts in flight are finished first, and what is answered stays in the file.
    """
    secrets_known = secrets_of(asset)
    shared = meters or Meters(settings, [asset])
    store = Spool(spool)
    try:
        key = campaign_key(batch.campaign_id, settings, spool)
        runner = _Runner(batch, asset, families, settings, store, secrets_known, key, shared)
        with asyncio.Runner(loop_factory=_event_loop) as loop:
            loop.run(runner.run(progress, pace))
    finally:
        store.close()
    # A resumed attempt belongs to the run that commits it.
    return [{**store.rows[a.attempt_id], "run_id": batch.run_id} for a in batch.attempts if a.attempt_id in store.rows]


def _event_loop() -> asyncio.AbstractEventLoop:
    """uvloop where it exists: half the processor time of the standard loop for the same requests."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


_STOPPED = frozenset({"budget", "circuit_open", "throttled", "session_failed"})
"""Errors of an attempt that was cut short, when its target has been given up or the budget is spent."""


class _Worker:
    """One conversation at a time over connections of its own."""

    target: Target
    wire: Wire
    attempt_id = ""
    """Whose requests are being sent."""


class _Runner:
    def __init__(
        self,
        batch: Batch,
        asset: Asset,
        families: Mapping[str, Family],
        settings: ProbingSettings,
        store: Spool,
        secrets_known: tuple[str, ...],
        key: bytes,
        meters: Meters,
    ) -> None:
        self._batch = batch
        self._asset = asset
        self._families = families
        self._settings = settings
        self._store = store
        self._secrets = secrets_known
        self._key = key
        self._meters = meters
        self._limiter, self._price = meters.limiter(asset), meters.price(asset)
        self._stranger = stranger_of(asset)
        # Planted mail and documents are shared state of the target: such attempts take turns.
        self._alone = asyncio.Lock()
        self._done = 0

    async def run(self, progress: Progress | None, pace: Pace | None) -> None:
        todo = [a for a in self._batch.attempts if a.attempt_id not in self._store.rows]
        self._done = len(self._batch.attempts) - len(todo)
        for row in (self._store.rows[a.attempt_id] for a in self._batch.attempts if a.attempt_id in self._store.rows):
            tokens = (row["tokens_in"] or 0) + (row["tokens_out"] or 0)
            self._meters.budget.charge(Amount(int(row["tries"]), tokens, row["cost_micro_usd"] or 0))
        self._meters.budget.charge(self._store.lost)
        queue = iter(todo)

        async def work() -> None:
            worker = self._worker(pace)
            try:
                for attempt in queue:
                    if STOPPING.is_set():
                        return
                    row = await self._one(attempt, worker)
                    if row is None:
                        continue  # what does not apply gets its row, whatever has stopped the rest
                    self._store.add(row)
                    self._done += 1
                    if progress is not None:
                        progress(self._done, len(self._batch.attempts))
            finally:
                await worker.target.close()

        if todo:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self._settings.concurrency, len(todo))):
                    group.create_task(work())
        if STOPPING.is_set() and self._done < len(self._batch.attempts):
            raise StoppedError(f"stopped after {self._done} of {len(self._batch.attempts)} attempts")

    def _worker(self, pace: Pace | None) -> _Worker:
        urls = [url_of(self._asset)]
        if self._asset.props.get("mailbox_url"):
            urls.append(str(self._asset.props["mailbox_url"]))
        worker = _Worker()
        try:
            worker.wire = Wire(
                tuple(urls),
                self._limiter,
                timeout_s=self._settings.timeout_s,
                budget=self._meters.budget,
                price=self._price,
                pace=pace,
                sending=lambda reserved: self._store.reserve(worker.attempt_id, reserved),
            )
        except ValueError as e:
            raise ConfigError(f"{self._asset.asset_id}: {e}; correct its url") from None
        worker.target = registry[str(self._asset.props["wire_format"])](self._asset, worker.wire)
        return worker

    async def _one(self, attempt: Attempt, worker: _Worker) -> dict[str, Any] | None:
        """The attempt's row; None when it was stopped before it was finished."""
        started = datetime.now(UTC)
        family = self._families.get(attempt.family_id)
        if attempt.skip is not None:
            finding = Finding(Verdict.NOT_APPLICABLE, "capability", attempt.skip)
            return self._row(attempt, family, started, Reply(), finding, {})
        if family is None or family.sha256 != attempt.family_sha256:
            # The plan is frozen; a family edited since then is another attack.
            finding = Finding(Verdict.ERROR, error_kind="family_changed")
            return self._row(attempt, family, started, Reply(), finding, {})
        values = canary_values(family, self._key, attempt.attempt_id)
        values |= declared_values(family, self._asset, attempt.attempt_id)
        if self._meters.stopped(self._limiter) is not None:
            return None
        rendered = render(family, family.seed(attempt.seed_id), attempt.transforms, values)
        request, context = request_for(family, rendered, attempt, self._asset, values)
        worker.attempt_id = attempt.attempt_id
        spent = worker.wire.micro_usd
        plant = rendered.plant
        if request.mails or request.documents or "sessions" in plant:
            async with self._alone:
                reply = await converse(worker.target, request, plant, self._stranger)
        else:
            reply = await converse(worker.target, request, plant, self._stranger)
        finding = evaluate(family, reply, context)
        if finding.error_kind in _STOPPED and self._meters.stopped(self._limiter) is not None:
            return None
        row = self._row(attempt, family, started, reply, finding, values)
        if self._price is not None:
            row["cost_micro_usd"] = worker.wire.micro_usd - spent
        return row

    def _row(
        self,
        attempt: Attempt,
        family: Family | None,
        started: datetime,
        reply: Reply,
        finding: Finding,
        values: Mapping[str, str],
    ) -> dict[str, Any]:
        return attempt_row(self._batch, attempt, self._asset, family, started, reply, finding, values, self._secrets)
