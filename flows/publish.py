"""The lake → one read-only DuckDB file for analysts, swapped in whole."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.closing import relative
from flows.engine import Engine
from tasks.crash import crash_point
from tasks.lake import STAGING, Lake
from tasks.live_events import add_events
from tasks.runs import Run
from tasks.sandbox import build_sandbox


def published_file(lake: Path) -> Path:
    """Where analysts find the evidence; a reader keeps the version it opened."""
    return lake / "published" / "evidence.duckdb"


def publish(run: Run, engine: Engine) -> None:
    """Materialise the marts and replace the published file."""
    crash_point("publish:before")
    engine.progress.update("publish", 0, 1)
    engine.run(publish_database, run=run)
    engine.progress.update("publish", 1, 1, relative(published_file(run.settings.lake)))
    crash_point("publish:after")


def publish_database(run: Run) -> None:
    """Build the file beside its place, then rename it over the old one."""
    target = published_file(run.settings.lake)
    with _turn(target):
        _build(run.lake, target)


def publish_events(lake: Lake) -> None:
    """Bring the published file up to date with the gateway's events; the other tables stay as they are."""
    target = published_file(lake.root)
    with _turn(target):
        if add_events(target, lake) is None:
            _build(lake, target)


def _build(lake: Lake, target: Path) -> None:
    # Listed before it is read: a file that comes in between is added again later and recognised by its events.
    event_files = lake.files("gateway_events")
    con = lake.connect(layers=STAGING)
    crash_point("publish:during")
    try:
        build_sandbox(con, target, event_files)
    finally:
        con.close()


@contextmanager
def _turn(target: Path) -> Iterator[None]:
    """One at a time: a file built from an older state must not replace a newer one."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / ".lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
