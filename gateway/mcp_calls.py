"""The calls of MCP sessions, remembered for rules that look back; one file that all workers of a gateway share (I/O).

Only names that the policy lists and keyed hashes are written.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from gateway.policy.tools import MAX_CALLS
from gateway.reasons import Refusal
from gateway.tools import Call, ToolRules

KEEP_S = 24 * 3600.0
"""Seconds that a silent session is remembered; servers forget theirs sooner."""
_BUSY_S = 5.0
"""Seconds to wait for another worker, which holds the file for one inspection at a time."""
_TABLE = """create table if not exists calls (
    session text not null, number integer not null, name text not null, arguments text not null, at real not null,
    primary key (session, number)) without rowid"""


class CallMemory:
    """Opened when the first call needs it. Every failure is a Refusal `SYSTEM.BACKEND`: what cannot be counted is not
    allowed."""

    def __init__(self, file: Path, now: Callable[[], float] = time.time) -> None:
        """`now`: seconds since the epoch."""
        self._file, self._now = file, now
        self._lock = threading.Lock()
        self._database: sqlite3.Connection | None = None

    @contextmanager
    def session(self, session: str, rules: ToolRules) -> Iterator[None]:
        """Give `rules` the calls of `session`; those that they let through inside the context are remembered.

        No other call is judged meanwhile: two at once cannot both be the first. `session`: a keyed hash.
        """
        try:
            with self._lock, self._open() as database:  # commits, or rolls back when the call is refused
                database.execute("begin immediate")
                rows = database.execute(
                    "select number, name, arguments from calls where session = ? order by number desc limit ?",
                    (session, rules.span),
                ).fetchall()
                number = rows[0][0] if rows else 0
                rules.calls = [Call(name, arguments) for _, name, arguments in reversed(rows)]
                yield
                for call in rules.calls[len(rows) :]:
                    number += 1
                    database.execute("insert into calls values (?, ?, ?, ?, ?)", (session, number, *call, self._now()))
                database.execute("delete from calls where session = ? and number <= ?", (session, number - MAX_CALLS))
        except sqlite3.Error:
            raise Refusal("SYSTEM.BACKEND", "ledger") from None

    def _open(self) -> sqlite3.Connection:
        if self._database is None:
            database = sqlite3.connect(self._file, timeout=_BUSY_S, isolation_level=None, check_same_thread=False)
            database.execute("pragma journal_mode = wal")
            database.execute("pragma synchronous = off")  # what a power cut loses are the sessions it ends anyway
            database.execute(_TABLE)
            database.execute("delete from calls where at < ?", (self._now() - KEEP_S,))
            self._database = database
        return self._database

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()
            self._database = None
