"""`aispm ingest`: a gateway's log into the lake and the published database, once or for as long as it runs.

What is shipped belongs to a run of its own, opened with the first new segment and sealed (signed root) at the end or
after an hour. A run that was killed is sealed by the next one; the lake knows which segments it had committed.
"""

from __future__ import annotations

import datetime as dt
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from flows.engine import PlainEngine
from flows.ingest_gateway import Head, Shipped, ship, waiting
from flows.publish import publish_events
from tasks.errors import ConfigError
from tasks.evidence import seal
from tasks.lake import Lake
from tasks.records import digest
from tasks.reporting.signing import load_or_create_signer
from tasks.runs import Run, code_version, home_lock
from tasks.settings import Settings

FLOW = "gateway-ingest"
POLL_SECONDS = 2.0
SEAL_SECONDS = 3600.0
PUBLISH_SECONDS = 5.0
"""Between two publications at least; longer when one takes long, so that at most a fifth of the time goes into it."""

Say = Callable[[str], None]


def ingest_once(settings: Settings, *, skip_missing: bool = False) -> Shipped:
    """One pass: ship, publish, seal. Raises ConfigError without a spool in the settings."""
    with home_lock(settings.home / "ingest.lock"):
        worker = _Ingest(settings)
        try:
            return worker.ship(skip_missing)
        finally:
            worker.close()


def follow(settings: Settings, stop: threading.Event, say: Say) -> int:
    """Ship and publish until `stop` is set, then what is left, and seal; how many events were added.

    With segments closed every 10 s (`roll_seconds`) an event can be asked for some 17 s after its exchange. Troubles
    are told to `say` once each; they do not end it. Raises IncompleteError when another one follows already.
    """
    with home_lock(settings.home / "ingest.lock"):
        worker = _Ingest(settings)
        told: set[str] = set()
        events = 0
        try:
            while True:
                stopping = stop.wait(POLL_SECONDS)
                shipped = worker.ship()
                events += shipped.events
                for trouble in shipped.troubles:
                    if trouble not in told:
                        say(trouble)
                told = set(shipped.troubles)
                if stopping:
                    return events
        finally:
            worker.close()


class _Ingest:
    """The state between two passes: the open run, the chains' heads, what is not published yet."""

    def __init__(self, settings: Settings) -> None:
        if settings.gateway.spool is None:
            raise ConfigError("no gateway spool to ingest; set `spool` under [gateway] in aispm.toml")
        self._settings, self._spool, self._lake = settings, Path(settings.gateway.spool), Lake(settings.lake)
        self._heads: dict[str, Head] = {}
        self._run: Run | None = None
        self._opened = self._next_publication = 0.0
        self._unpublished = False
        self._troubles: tuple[str, ...] = ()
        self._params = digest(code_version(), FLOW, settings.gateway.spool)
        self._seal_killed_runs()

    def ship(self, skip_missing: bool = False) -> Shipped:
        """One pass over the spool; publishes when something new waits for it long enough."""
        shipped = Shipped()
        if not self._spool.is_dir():
            return replace(shipped, troubles=(f"there is no spool {self._spool}",))
        if waiting(self._lake, self._spool):
            run = self._run or self._open()
            shipped = ship(run, PlainEngine(), self._spool, skip_missing=skip_missing, heads=self._heads)
            self._unpublished = self._unpublished or bool(shipped.events)
            self._troubles = shipped.troubles
        if self._unpublished and time.monotonic() >= self._next_publication:
            self._publish()
        if self._run is not None and time.monotonic() - self._opened >= SEAL_SECONDS:
            self._finish(self._run)
            self._run = None
        return shipped

    def close(self) -> None:
        """Publish and seal what is left."""
        if self._unpublished:
            self._publish()
        if self._run is not None:
            self._finish(self._run)

    def _publish(self) -> None:
        began = time.monotonic()
        publish_events(self._lake)
        self._unpublished = False
        now = time.monotonic()
        self._next_publication = now + max(PUBLISH_SECONDS, 4 * (now - began))

    def _open(self) -> Run:
        now = dt.datetime.now(dt.UTC)
        self._run = Run(f"{now:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}", FLOW, self._settings, now, self._params)
        self._run.record("started")
        self._opened = time.monotonic()
        return self._run

    def _finish(self, run: Run, state: str | None = None) -> None:
        run.record(state or ("incomplete" if self._troubles else "complete"), {"troubles": list(self._troubles)})
        seal(
            run.lake,
            run.run_id,
            flow=FLOW,
            params_sha256=run.params_sha256,
            code=code_version(),
            quality="not checked",
            signer=load_or_create_signer(self._settings.keys),
        )

    def _seal_killed_runs(self) -> None:
        rows = self._lake.query(
            """select run_id, min(entered_at) as started_at, any_value(params_sha256) as params_sha256 from lake.runs
               where flow = ? and run_id not in (select run_id from lake.evidence where kind = 'root')
               group by run_id order by run_id""",
            [FLOW],
        )
        for row in rows:
            self._finish(Run(row["run_id"], FLOW, self._settings, row["started_at"], row["params_sha256"]), "abandoned")
