"""Analysts' SQL, run as untrusted: in a child process, on a published copy, with nothing else in reach.

DuckDB knows no untrusted user: a read-only connection still reads and writes any file its process may. So the copy
holds tables only, the child shuts external access and locks its settings before it sees the query, and the kernel
bounds its memory, processor time, open files and file sizes. The child's environment is empty, and it is killed at the
time limit.
"""

from __future__ import annotations

import contextlib
import ctypes
import datetime as dt
import decimal
import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from tasks.errors import ConfigError, IncompleteError
from tasks.settings import CONTENT_ROOT

VIEWS_FOLDER = CONTENT_ROOT / "sql" / "views"
ADDRESS_SPACE_FACTOR = 3
"""Address space over DuckDB's own limit: room for the interpreter and the library, too little for a giant string."""
THREADS = 2
_M_ARENA_MAX = -8
"""glibc's mallopt(3): by default every thread reserves 64 MiB of address space, which the limit would count."""
SCRATCH_MB = 256
"""Largest file the child may write, all of them in its private scratch folder (spill and the answer)."""
OPEN_FILES = 64
_EXPLAIN = re.compile(r"\A(?:\s|--[^\n]*\n|/\*.*?\*/)*explain\b\s*(?:analyze\b\s*)?(?:\([^)]*\)\s*)?", re.I | re.S)


@dataclass(frozen=True, slots=True)
class QueryResult:
    """What a query gave. Values are JSON's own; times are ISO 8601 in UTC, other types their DuckDB text."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    truncated: bool
    """Whether a row or size limit cut the result."""


def build_sandbox(source: duckdb.DuckDBPyConnection, path: Path, event_files: Sequence[str] = ()) -> dict[str, int]:
    """Write all marts of `sql/views/marts` as tables into a new DuckDB file and put it at `path` in one step.

    `source` has the staging views of the lake. `event_files` are the files of gateway events that it reads, noted in
    `_event_files` so that later ones can be added (`live_events`). Readers of the old file keep it; `_snapshot` lists
    every table with its rows, which are also returned. Raises what DuckDB raises; the old file then stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    home = source.execute("select current_database()").fetchall()[0][0]
    with tempfile.TemporaryDirectory(prefix=".sandbox-", dir=path.parent) as folder:
        draft = Path(folder) / "sandbox.duckdb"
        quoted = str(draft).replace("'", "''")
        source.execute(f"attach '{quoted}' as published")
        source.execute("attach ':memory:' as workshop")
        try:
            counts = _fill(source, home)
            source.execute("create table published._event_files (file VARCHAR)")
            if event_files:
                source.executemany("insert into published._event_files values (?)", [[file] for file in event_files])
        finally:
            source.execute(f'use "{home}"')
            source.execute("detach workshop")
            source.execute("detach published")
        with draft.open("rb") as handle:
            os.fsync(handle.fileno())
        draft.replace(path)
    return counts


def _fill(con: duckdb.DuckDBPyConnection, home: str) -> dict[str, int]:
    """Marts into `published`. Intermediate views become tables of `workshop` first: many marts stand on each."""
    con.execute("use workshop")
    for file in sorted((VIEWS_FOLDER / "staging").glob("*.sql")):
        con.execute(f'create view "{file.stem}" as from "{home}".main."{file.stem}"')
    for file in sorted((VIEWS_FOLDER / "intermediate").glob("*.sql")):
        con.execute(f'create table "{file.stem}" as from (\n{view_body(file)}\n)')
    counts = {}
    for file in sorted((VIEWS_FOLDER / "marts").glob("*.sql")):
        con.execute(f'create table published."{file.stem}" as from (\n{view_body(file)}\n) order by all')
        row = con.execute(f'select count(*) from published."{file.stem}"').fetchone()  # noqa: S608 - a file name of ours
        counts[file.stem] = int(row[0]) if row else 0
    con.execute('create table published._snapshot ("table" VARCHAR primary key, rows BIGINT)')
    con.executemany("insert into published._snapshot values (?, ?)", [list(pair) for pair in counts.items()])
    return counts


def view_body(file: Path) -> str:
    """The query of a view's file."""
    return file.read_text(encoding="utf-8").strip().rstrip(";")


def run_query(
    database: Path,
    sql: str,
    *,
    wall_s: float = 10,
    memory_mb: int = 256,
    max_rows: int = 10_000,
    max_bytes: int = 8_000_000,
) -> QueryResult:
    """Run one SELECT (also FROM-first, WITH, VALUES, DESCRIBE) or an EXPLAIN of one on a file of `build_sandbox`.

    `max_bytes` bounds the result as JSON text. Raises ConfigError with DuckDB's message when the query is wrong or asks
    for what the sandbox does not have (files, settings, writing), IncompleteError when it needs more than its limits.
    """
    if not database.is_file():
        raise ConfigError("there is no published database yet; a finished run writes it", database)
    with tempfile.TemporaryDirectory(prefix="aispm-query-") as scratch:
        answer_file = Path(scratch) / "answer.json"
        job = {
            "database": str(database.resolve()),
            "sql": sql,
            "scratch": scratch,
            "wall_s": wall_s,
            "memory_mb": memory_mb,
            "max_rows": max_rows,
            "max_bytes": max_bytes,
        }
        bootstrap = f"import sys; sys.path.insert(0, {str(CONTENT_ROOT)!r}); from tasks.sandbox import main; main()"
        with answer_file.open("wb") as out:
            child = subprocess.Popen(
                [sys.executable, "-I", "-W", "ignore", "-c", bootstrap],
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.DEVNULL,
                env={},
                cwd=scratch,
                start_new_session=True,
            )
        try:
            # A child that dies early breaks the pipe; its missing answer is reported below.
            with contextlib.suppress(BrokenPipeError):
                child.communicate(json.dumps(job).encode("utf-8", "surrogatepass"), timeout=wall_s)
        except subprocess.TimeoutExpired:
            raise IncompleteError(f"the query was stopped after {wall_s:g} s; narrow it or raise the limit") from None
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        return _read_answer(answer_file, child.returncode, memory_mb)


def _read_answer(file: Path, code: int, memory_mb: int) -> QueryResult:
    try:
        answer = json.loads(file.read_bytes())
        kind = answer["kind"]
        if kind == "rows":
            return QueryResult(tuple(answer["columns"]), tuple(map(tuple, answer["rows"])), bool(answer["truncated"]))
    except (ValueError, KeyError, TypeError):
        raise IncompleteError(
            f"the query ended without an answer (exit {code}); it probably needs more than {memory_mb} MB"
        ) from None
    if kind == "limit":
        raise IncompleteError(f"the query needs more than its limits: {answer['message']}")
    raise ConfigError(answer["message"])


# -- in the child -------------------------------------------------------------------------------------------------


class _RefusedError(Exception):
    """The query is not one the sandbox runs; the message says why."""


def main() -> None:
    """The child: one job from stdin, one answer to stdout."""
    job = json.loads(sys.stdin.buffer.read())
    try:
        _bound(job["wall_s"], job["memory_mb"])
        answer = _run(job)
    except _RefusedError as e:
        answer = {"kind": "refused", "message": str(e)}
    except (duckdb.OutOfMemoryException, MemoryError) as e:
        answer = {"kind": "limit", "message": str(e).splitlines()[0] if str(e) else "out of memory"}
    except duckdb.Error as e:
        answer = {"kind": "refused", "message": str(e).strip()}
    sys.stdout.write(json.dumps(answer))
    sys.stdout.flush()
    os._exit(0)  # nothing is left to save, and the library's own shutdown could hang


def _bound(wall_s: float, memory_mb: int) -> None:
    """Limits the child can not raise again. The alarm ends it even if the parent is gone."""
    seconds = int(wall_s) + 1
    signal.alarm(seconds)
    with contextlib.suppress(AttributeError, OSError):  # other C libraries have no mallopt and need none
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)
    for kind, limit in (
        (resource.RLIMIT_AS, memory_mb * ADDRESS_SPACE_FACTOR * 1024 * 1024),
        (resource.RLIMIT_CPU, seconds * THREADS),
        (resource.RLIMIT_NOFILE, OPEN_FILES),
        (resource.RLIMIT_FSIZE, SCRATCH_MB * 1024 * 1024),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(kind, (limit, limit))


def _run(job: dict[str, Any]) -> dict[str, Any]:
    statement = _only_statement(job["sql"])
    con = duckdb.connect(
        job["database"], read_only=True, config={"python_enable_replacements": "false", "threads": THREADS}
    )
    scratch = job["scratch"].replace("'", "''")
    for setting in (
        # The order matters: spill still writes after external access is off, so its place is fixed before; the lock
        # comes last, and nothing of the query is run before it.
        f"set temp_directory = '{scratch}/spill'",
        f"set max_temp_directory_size = '{SCRATCH_MB}MB'",
        f"set memory_limit = '{int(job['memory_mb'])}MB'",
        f"set threads = {THREADS}",
        "set TimeZone = 'UTC'",
        "set allow_community_extensions = false",
        "set autoinstall_known_extensions = false",
        "set autoload_known_extensions = false",
        "set enable_external_access = false",
        "set lock_configuration = true",
    ):
        con.execute(setting)
    cursor = con.execute(statement)
    columns = [column[0] for column in cursor.description or ()]
    rows: list[list[Any]] = []
    size = 0
    while batch := cursor.fetchmany(100):
        for row in batch:
            values = [_json_value(value) for value in row]
            size += len(json.dumps(values))
            if len(rows) >= job["max_rows"] or size > job["max_bytes"]:
                return {"kind": "rows", "columns": columns, "rows": rows, "truncated": True}
            rows.append(values)
    return {"kind": "rows", "columns": columns, "rows": rows, "truncated": False}


def _only_statement(sql: str) -> duckdb.Statement:
    """The one statement of `sql`, when it only reads."""
    statements = duckdb.extract_statements(sql)
    if len(statements) != 1:
        raise _RefusedError(f"write exactly one statement; this text has {len(statements)}")
    statement = statements[0]
    if statement.type == duckdb.StatementType.EXPLAIN:
        inner = duckdb.extract_statements(_EXPLAIN.sub("", sql, count=1))
        if len(inner) == 1 and inner[0].type == duckdb.StatementType.SELECT:
            return statement
        raise _RefusedError("EXPLAIN works on a SELECT only")
    if statement.type != duckdb.StatementType.SELECT:
        raise _RefusedError(f"only SELECT, FROM and EXPLAIN run here, not {statement.type.name}")
    return statement


def _json_value(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else str(value)
    if isinstance(value, dt.datetime):
        return value.astimezone(dt.UTC).replace(tzinfo=None).isoformat() + "Z" if value.tzinfo else value.isoformat()
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, dict):
        return {str(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    return str(value)
