"""An empty lake in memory: the tables of `sql/schema`, and the views on top in the order the lake builds them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import duckdb

SQL = Path(__file__).resolve().parents[2] / "sql"


def view_files(*layers: str) -> list[Path]:
    return [file for layer in layers for file in sorted((SQL / "views" / layer).glob("*.sql"))]


def empty_lake() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect()
    con.execute("set TimeZone = 'UTC'")
    con.execute("create schema lake")
    for file in sorted((SQL / "schema").glob("*.sql")):
        ddl = re.sub(r"create table \w+ \(", f"create table lake.{file.stem} (", file.read_text(), count=1)
        con.execute(ddl)
        for column in ("recorded_at TIMESTAMPTZ", "batch_key VARCHAR", "row_sha256 VARCHAR"):
            con.execute(f"alter table lake.{file.stem} add column {column}")
    return con


def create_views(con: duckdb.DuckDBPyConnection) -> list[str]:
    files = view_files("staging", "intermediate", "marts")
    for file in files:
        con.execute(f"create view {file.stem} as {file.read_text()}")
    return [file.stem for file in files]


def insert(con: duckdb.DuckDBPyConnection, table: str, rows: Iterable[Mapping[str, Any]]) -> None:
    for row in rows:
        names = ", ".join(row)
        marks = ", ".join("?" for _ in row)
        con.execute(f"insert into lake.{table} ({names}) values ({marks})", list(row.values()))  # noqa: S608 - names of this test's own rows
