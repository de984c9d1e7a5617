"""The lake → one read-only DuckDB file for analysts, swapped in whole."""

from __future__ import annotations

from pathlib import Path

from flows.engine import Engine
from tasks.crash import crash_point
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
    engine.progress.update("publish", 1, 1, str(published_file(run.settings.lake)))
    crash_point("publish:after")


def publish_database(run: Run) -> None:
    """Build the file beside its place, then rename it over the old one."""
    target = published_file(run.settings.lake)
    target.parent.mkdir(parents=True, exist_ok=True)
    con = run.lake.connect()
    crash_point("publish:during")
    try:
        build_sandbox(con, target)
    finally:
        con.close()
