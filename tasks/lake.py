"""The evidence lake: the only module that opens the Delta tables or DuckDB on them.

One Delta table per file of `sql/schema/`. The DDL there is the schema of record *and* the row gate: its NOT NULL, CHECK
and PRIMARY KEY constraints decide which rows of a batch are committed and which are quarantined with the constraint
as the reason. A commit carries its batch key, so the same batch never lands twice, whoever retries it.
"""

from __future__ import annotations

import atexit
import datetime as dt
import hashlib
import json
import os
import random
import re
import threading
import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import duckdb
import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake import Schema as DeltaSchema
from deltalake.exceptions import CommitFailedError, TableNotFoundError

from tasks.errors import LakeError
from tasks.records import canonical_json
from tasks.settings import CONTENT_ROOT

SCHEMA_FOLDER = CONTENT_ROOT / "sql" / "schema"
VIEW_LAYERS = tuple(CONTENT_ROOT / "sql" / "views" / layer for layer in ("staging", "intermediate", "marts"))
STAGING, INTERMEDIATE = VIEW_LAYERS[:1], VIEW_LAYERS[1:2]
STAMPS = "recorded_at TIMESTAMPTZ NOT NULL, batch_key VARCHAR NOT NULL, row_sha256 VARCHAR NOT NULL"
MAX_COMMIT_TRIES = 50
_QUESTIONS = count()
_WRITING: defaultdict[Path, threading.RLock] = defaultdict(threading.RLock)
"""Per table, held while a thread appends to it: two at once would cost the later one its whole try. Other processes
still race; a writer that quarantines rows of `quarantined_rows` itself comes back to the lock it holds."""


@dataclass(frozen=True, slots=True)
class Table:
    """What the DDL of one table says."""

    name: str
    schema: pa.Schema
    key: tuple[str, ...]
    predicates: tuple[tuple[str, str], ...]
    """(SQL that must hold, reason when it does not)."""

    @property
    def partitions(self) -> list[str]:
        return ["dt"] if "dt" in self.schema.names else []


@dataclass(frozen=True, slots=True)
class Committed:
    """The batch is durable: `rows` in the table at `version`, `quarantined` beside it."""

    version: int
    rows: int
    quarantined: int


@dataclass(frozen=True, slots=True)
class Skipped:
    """The batch key was in the lake already; nothing was written."""

    rows: int = 0
    quarantined: int = 0


@cache
def tables() -> dict[str, Table]:
    """Every lake table by name, read from `sql/schema/`."""
    con = duckdb.connect()
    con.execute("set TimeZone = 'UTC'")
    found = {}
    for file in sorted(SCHEMA_FOLDER.glob("*.sql")):
        name = file.stem
        con.execute(file.read_text(encoding="utf-8"))
        con.execute(f"create view stamped as select *, {_empty_stamps()} from {name}")  # noqa: S608 - a file name of ours
        schema = con.table("stamped").to_arrow_table().schema
        con.execute("drop view stamped")
        rows = con.execute(
            """select constraint_type, constraint_column_names, expression
               from duckdb_constraints() where table_name = ?""",
            [name],
        ).fetchall()
        key = next(tuple(columns) for kind, columns, _ in rows if kind == "PRIMARY KEY")
        predicates = [
            (f'"{columns[0]}" is not null', f"{columns[0]} is missing")
            for kind, columns, _ in rows
            if kind == "NOT NULL"
        ]
        predicates += [(f"coalesce({sql}, true)", f"violates {sql}") for kind, _, sql in rows if kind == "CHECK"]
        found[name] = Table(name, schema, key, tuple(predicates))
    return found


def _empty_stamps() -> str:
    columns = (part.split()[:2] for part in STAMPS.split(", "))
    return ", ".join(f"null::{kind} as {name}" for name, kind in columns)


def row_hash(table: Table, row: Mapping[str, Any], columns: Sequence[str] | None = None) -> str:
    """SHA-256 of a row: 0x00 ‖ canonical JSON of the table name and all columns in DDL order (RFC 6962 leaf).

    `columns` are those that the table had when the row was written, when they were others than today.

    Integers and dates are written as strings so that no reader can round them; null stays null.
    """
    values: list[Any] = [table.name]
    for name in table.schema.names if columns is None else columns:
        if name == "row_sha256":
            continue
        value = row.get(name)
        if value is None or isinstance(value, str):
            values.append(value)
        elif isinstance(value, bool):
            values.append("true" if value else "false")
        elif isinstance(value, dt.datetime):
            values.append(str(int(value.timestamp()) * 1_000_000 + value.microsecond))
        elif isinstance(value, dt.date):
            values.append(value.isoformat())
        else:
            values.append(str(value))
    return hashlib.sha256(b"\x00" + canonical_json(values).encode("utf-8", "surrogatepass")).hexdigest()


class Lake:
    """The lake under one folder. Many processes may append and read at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    # -- writing ------------------------------------------------------------------------------------------------

    def append(
        self,
        table: str,
        rows: Sequence[Mapping[str, Any]],
        *,
        key: str,
        run_id: str,
        number: int = 1,
        after: int | None = None,
    ) -> Committed | Skipped:
        """Commit `rows` once under `key`; durable on disk when this returns.

        A second call with the same key (and a `number` not above the committed one) writes nothing; with `after`
        neither does a call that finds another number than that committed, as when a batch `after + 1 … number` was
        overtaken by another writer. Rows that break a
        constraint of the DDL go to `quarantined_rows`. Raises LakeError on columns the table does not have, or when
        the commit is refused for other reasons than a race.
        """
        spec = tables()[table]
        unknown = {name for row in rows for name in row} - set(spec.schema.names)
        if unknown:
            raise LakeError(f"{table} has no column {', '.join(sorted(unknown))}; add it to sql/schema/{table}.sql")
        for attempt in range(MAX_COMMIT_TRIES):
            with _WRITING[self.root / table]:
                done = self._append(spec, rows, key=key, run_id=run_id, number=number, after=after)
            if done is not None:
                return done
            time.sleep(random.uniform(0, 0.02 * (attempt + 1)))  # noqa: S311 - jitter, not a secret
        raise LakeError(f"{table}: gave up after {MAX_COMMIT_TRIES} refused commits; are many runs writing at once?")

    def _append(
        self,
        spec: Table,
        rows: Sequence[Mapping[str, Any]],
        *,
        key: str,
        run_id: str,
        number: int,
        after: int | None,
    ) -> Committed | Skipped | None:
        """One try of `append`; None when another writer came first."""
        delta = self._open(spec)
        last = delta.transaction_version(key) or 0
        if last >= number or (after is not None and last != after):
            return Skipped()
        now = dt.datetime.now(dt.UTC)
        good, bad = _gate(spec, [{**row, "recorded_at": now, "batch_key": f"{key}#{number}"} for row in rows])
        if bad:
            self._quarantine(spec.name, bad, key=f"{key}#{number}", run_id=run_id, now=now)
        try:
            # The very object that was asked for the key: a racing commit of the same key is then refused.
            write_deltalake(
                delta,
                good,
                mode="append",
                commit_properties=CommitProperties(
                    app_transactions=[Transaction(key, number)],
                    custom_metadata={"run_id": run_id, "batch_key": f"{key}#{number}"},
                    max_commit_retries=0,
                ),
                writer_properties=WriterProperties(compression="ZSTD", compression_level=3),
            )
        except CommitFailedError:
            return None
        version = delta.version()
        self._make_durable(spec.name, version)
        return Committed(version, len(good), len(bad))

    def committed(self, table: str, key: str, number: int = 1) -> bool:
        """Whether the batch is in the lake."""
        return self.last_number(table, key) >= number

    def last_number(self, table: str, key: str) -> int:
        """The number that `key` has reached; 0 before its first commit."""
        return self._open(tables()[table]).transaction_version(key) or 0

    def _open(self, spec: Table) -> DeltaTable:
        """The table at its newest version, made or widened when it needs to be: the first of several racers does it."""
        for attempt in range(MAX_COMMIT_TRIES):
            try:
                return self._made(spec)
            except CommitFailedError:
                time.sleep(random.uniform(0, 0.02 * (attempt + 1)))  # noqa: S311 - jitter, not a secret
        raise LakeError(f"{spec.name}: could not be created; are many runs starting at once?")

    def _made(self, spec: Table) -> DeltaTable:
        uri = self.root / "tables" / spec.name
        try:
            found = DeltaTable(str(uri))
        except TableNotFoundError:
            uri.mkdir(parents=True, exist_ok=True)
            # `ignore` settles most races, not all: a second creator may still be told that the protocol changed.
            DeltaTable.create(str(uri), schema=spec.schema, partition_by=spec.partitions, mode="ignore", name=spec.name)
            found = DeltaTable(str(uri))
        there = set(_columns(found))
        if missing := [field for field in spec.schema if field.name not in there]:
            # Written by an earlier version; columns are only ever added.
            found.alter.add_columns(DeltaSchema.from_arrow(pa.schema(missing)).fields)
        return found

    def _quarantine(
        self, table: str, bad: Sequence[tuple[Mapping[str, Any], str]], *, key: str, run_id: str, now: dt.datetime
    ) -> None:
        spec = tables()[table]
        rows = {
            (str([row.get(c) for c in spec.key]), reason): {
                "run_id": run_id,
                "table_name": table,
                "batch": key,
                "row_key": str([row.get(c) for c in spec.key]),
                "reason": reason,
                "body_sha256": hashlib.sha256(json.dumps(row, default=str, sort_keys=True).encode()).hexdigest(),
                "quarantined_at": now,
            }
            for row, reason in bad
        }
        self.append("quarantined_rows", list(rows.values()), key=f"{table}/{key}", run_id=run_id)

    def _make_durable(self, table: str, version: int) -> None:
        """fsync what a commit added (delta-rs does not), so that a power cut keeps what was acknowledged."""
        folder = self.root / "tables" / table
        log = folder / "_delta_log" / f"{version:020}.json"
        # Split on LF alone: the statistics in the log may hold U+2028 and the like, which splitlines() would cut at.
        actions = [json.loads(line) for line in log.read_text(encoding="utf-8").split("\n") if line]
        added = [folder / unquote(action["add"]["path"]) for action in actions if "add" in action]
        for path in [*added, *{file.parent for file in added}, log, log.parent]:
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)

    # -- reading ------------------------------------------------------------------------------------------------

    def connect(
        self, *, layers: Sequence[Path] = VIEW_LAYERS, keep: Collection[Path] = ()
    ) -> duckdb.DuckDBPyConnection:
        """An in-memory DuckDB with a view per lake table in schema `lake`, and those of the `layers` on top.

        The views name the exact files of each table's current version: a file planted in a folder is never read.
        Views of the layers in `keep` are computed once and kept as tables, for many questions that all go through them.
        """
        con = duckdb.connect()
        con.execute("set TimeZone = 'UTC'")
        con.execute("create schema lake")
        for name in tables():
            con.execute(self._view(tables()[name]))
        for layer in layers:
            for file in sorted(layer.glob("*.sql")):
                body = file.read_text(encoding="utf-8").strip().rstrip(";")
                try:
                    con.execute(f'create {"table" if layer in keep else "view"} "{file.stem}" as {body}')
                except duckdb.Error as e:
                    raise LakeError(f"{file}: {e}") from e
        return con

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Rows of a trusted query over the tables of schema `lake`, as dicts."""
        with _database() as con:
            con.execute("create schema lake")
            for name in set(re.findall(r"\blake\.(\w+)", sql)):
                con.execute(self._view(tables()[name]))
            cursor = con.execute(sql, list(parameters))
            names = [column[0] for column in cursor.description or ()]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def files(self, table: str) -> list[str]:
        """The data files of the table's current version."""
        uri = self.root / "tables" / table
        return sorted(DeltaTable(str(uri)).file_uris()) if DeltaTable.is_deltatable(str(uri)) else []

    def _view(self, spec: Table) -> str:
        uri = self.root / "tables" / spec.name
        delta = DeltaTable(str(uri)) if DeltaTable.is_deltatable(str(uri)) else None
        files = sorted(delta.file_uris()) if delta is not None else []
        if delta is None or not files:
            return empty_table(spec)
        # Columns added later stand at the end of the table, not where the DDL has them: some files then lack them.
        return parquet_view(spec, files, uniform=_columns(delta) == spec.schema.names)

    def batches(self, spec: Table, run_id: str) -> Iterator[dict[str, Any]]:
        """All rows of one run in a table, in key order, as stored."""
        order = ", ".join(f'"{name}"' for name in spec.key)
        yield from self.query(f"select * from lake.{spec.name} where run_id = ? order by {order}", [run_id])  # noqa: S608


@contextmanager
def _database() -> Iterator[duckdb.DuckDBPyConnection]:
    """An empty database for one question, in UTC: to open an instance takes 40 ms of CPU, a database in one 3 ms."""
    name = f"question_{next(_QUESTIONS)}"
    con = _instance().cursor()
    try:
        con.execute(f"attach ':memory:' as {name}")
        con.execute(f"use {name}")
        con.execute("set TimeZone = 'UTC'")
        yield con
    finally:
        con.execute("use memory")
        con.execute(f"detach database if exists {name}")
        con.close()


@cache
def _instance() -> duckdb.DuckDBPyConnection:
    atexit.register(_instance.cache_clear)  # one that lives longer than the interpreter is reported on stderr as a leak
    return duckdb.connect()


def empty_table(spec: Table) -> str:
    """SQL that makes the table, stamps included, without rows in schema `lake`."""
    ddl = (SCHEMA_FOLDER / f"{spec.name}.sql").read_text(encoding="utf-8")
    return ddl.replace(f"create table {spec.name} (", f"create table lake.{spec.name} ({STAMPS}, ", 1)


def parquet_view(spec: Table, files: Sequence[str], *, uniform: bool) -> str:
    """SQL that makes the view of these files in schema `lake`; `uniform` when all of them have every column."""
    listed = ", ".join("'" + file.replace("'", "''") + "'" for file in files)
    columns = ", ".join(f'"{name}"' for name in spec.schema.names)
    options = ", hive_partitioning = true, hive_types = {'dt': DATE}" if spec.partitions else ""
    rows = f"read_parquet([{listed}]{options})"
    if not uniform:
        shape = _sql_types(spec.name)
        typed = ", ".join(f'null::{shape[name]} as "{name}"' for name in spec.schema.names)
        some = f"read_parquet([{listed}]{options}, union_by_name = true)"
        rows = f"(select {typed} where false union all by name from {some})"  # noqa: S608 - names from our DDL
    return f"create view lake.{spec.name} as select {columns} from {rows}"  # noqa: S608 - our own paths, quoted


@cache
def _sql_types(name: str) -> dict[str, str]:
    with _database() as con:
        con.execute("create schema lake")
        con.execute(empty_table(tables()[name]))
        return {column: kind for column, kind, *_ in con.execute(f"describe lake.{name}").fetchall()}


def _columns(delta: DeltaTable) -> list[str]:
    return [field.name for field in delta.schema().fields]


def _gate(spec: Table, rows: list[dict[str, Any]]) -> tuple[pa.Table, list[tuple[Mapping[str, Any], str]]]:
    """Split a batch into the rows to commit (hashed) and the rejected ones with a reason each."""
    bad: list[tuple[Mapping[str, Any], str]] = []
    typed: list[dict[str, Any]] = []
    bare = pa.schema([field for field in spec.schema if field.name != "row_sha256"])
    try:
        batch = pa.Table.from_pylist(rows, schema=bare)
        typed = rows
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        for row in rows:  # find the culprits one by one
            try:
                pa.Table.from_pylist([row], schema=bare)
                typed.append(row)
            except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError) as e:
                bad.append((row, f"wrong type: {str(e).splitlines()[0][:200]}"))
        batch = pa.Table.from_pylist(typed, schema=bare)
    reasons: dict[int, str] = {}
    tests = ", ".join(f"({sql})" for sql, _ in spec.predicates)
    keys = ", ".join(f'"{name}"' for name in spec.key)
    sql = f"select row_number() over () - 1, row_number() over (partition by {keys}) > 1, {tests} from batch"  # noqa: S608
    with _database() as con:
        con.register("batch", batch)
        held_or_not = con.execute(sql).fetchall() if typed else []
    for position, repeated, *held in held_or_not:
        failed = [reason for ok, (_, reason) in zip(held, spec.predicates, strict=True) if not ok]
        if failed:
            reasons[position] = "; ".join(failed)
        elif repeated:
            reasons[position] = "repeats the key of another row in the batch"
    bad += [(typed[position], reason) for position, reason in sorted(reasons.items())]
    kept = [row for position, row in enumerate(typed) if position not in reasons]
    good = [{**row, "row_sha256": row_hash(spec, row)} for row in kept]
    return pa.Table.from_pylist(good, schema=spec.schema), bad
