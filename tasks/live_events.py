"""New gateway events into the published database, without building the rest of it again."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import duckdb

from tasks.lake import Lake, parquet_view, tables
from tasks.sandbox import VIEWS_FOLDER, view_body

TABLE = "gateway_events"


def add_events(published: Path, lake: Lake) -> int | None:
    """Add the events of files that the published database has not seen to a copy of it, and put the copy in its place.

    Readers of the old file keep it. Returns how many events were added; None when only building it anew will do:
    there is no such file yet, another version made it, or the lake has rewritten its files.
    """
    if not published.is_file():
        return None
    current = set(lake.files(TABLE))
    with tempfile.TemporaryDirectory(prefix=".live-", dir=published.parent) as folder:
        draft = Path(folder) / published.name
        shutil.copyfile(published, draft)
        con = duckdb.connect(str(draft))
        try:
            con.execute("set TimeZone = 'UTC'")
            known = {row[0] for row in con.execute("from _event_files").fetchall()}
            if known - current:
                return None
            if known == current:
                return 0
            added = _add(con, sorted(current - known))
        except (duckdb.CatalogException, duckdb.BinderException):
            return None
        finally:
            con.close()
        with draft.open("rb") as handle:
            os.fsync(handle.fileno())
        draft.replace(published)
    return added


def _add(con: duckdb.DuckDBPyConnection, files: Sequence[str]) -> int:
    """The marts of gateway events, brought up to date with `files` by their own SQL."""
    con.execute("begin")
    con.execute("create schema lake")
    con.execute(parquet_view(tables()[TABLE], files, uniform=False))
    con.execute(f'create view "stg_{TABLE}" as {_sql("staging", f"stg_{TABLE}")}')
    con.execute(f"create temp table fresh as from ({_sql('marts', TABLE)}) anti join {TABLE} using (event_id)")
    con.execute(f"insert into {TABLE} by name from fresh")
    con.execute(f'drop view "stg_{TABLE}"')
    con.execute("drop schema lake cascade")
    # Summaries are by day, so only the days that got events are made again.
    con.execute(f'create temp view "stg_{TABLE}" as from {TABLE} where dt in (select dt from fresh)')  # noqa: S608 - a constant
    con.execute("delete from gateway_summary where dt in (select dt from fresh)")
    con.execute(f"insert into gateway_summary by name from ({_sql('marts', 'gateway_summary')})")
    con.execute(f'drop view "stg_{TABLE}"')
    con.executemany("insert into _event_files values (?)", [[file] for file in files])
    for name in (TABLE, "gateway_summary"):
        con.execute(
            f'update _snapshot set rows = (select count(*) from {name}) where "table" = ?',  # noqa: S608 - one of two
            [name],
        )
    row = con.execute("select count(*) from fresh").fetchone()
    con.execute("drop table fresh")
    con.execute("commit")
    return int(row[0]) if row else 0


def _sql(layer: str, name: str) -> str:
    return view_body(VIEWS_FOLDER / layer / f"{name}.sql")
