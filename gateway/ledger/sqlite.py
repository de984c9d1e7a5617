"""A ledger in one SQLite file, shared by all workers of a host.

WAL mode: a commit is a write to the page cache, so it survives the end of the process at once, and a power cut after
the next checkpoint. A power cut can therefore forget what was spent in its last moments; it never damages the file.
WAL mode needs shared memory: the file must lie on a disk of this host.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from gateway.ledger.ledger import LedgerError, Refused, Row, Share, Standing, decide

T = TypeVar("T")

BUSY_SECONDS = 2.0
"""How long a call waits for other workers' transactions, which take some 50 microseconds each."""
VERSION = 1
"""Of the table below, in `pragma user_version`."""

_TABLE = """
create table if not exists shares (
    account text not null,
    holder text not null,
    spent integer not null,
    lease integer not null,
    expires real not null,
    keep_until integer not null,
    primary key (account, holder)
) strict, without rowid
"""
_ROWS = "select holder, spent, lease, expires from shares where account = ?"
_WRITE = """
insert into shares (account, holder, spent, lease, expires, keep_until) values (?, ?, ?, ?, ?, ?)
on conflict do update
set spent = excluded.spent, lease = excluded.lease, expires = excluded.expires, keep_until = excluded.keep_until
"""


class SqliteStore:
    """One connection to the file at `path`, which is made if need be. Raises LedgerError when it is unusable."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            # Made here only for its mode, which SQLite gives to its side files too. Never opened when it exists:
            # closing a second handle would drop the locks that this process holds through the first (POSIX, fcntl).
            with contextlib.suppress(FileExistsError):
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            self._db = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
            self._use_wal()
            self._db.execute("pragma synchronous = normal")
        except (OSError, sqlite3.Error) as e:
            raise LedgerError(f"the ledger {path} cannot be opened: {e}") from None
        self._run(self._prepare)

    def _use_wal(self) -> None:
        """Workers that start together may all try to switch a new file, which SQLite refuses without waiting."""
        until = time.monotonic() + BUSY_SECONDS
        while True:
            try:
                self._db.execute("pragma journal_mode = wal")
                return
            except sqlite3.OperationalError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.02)

    def _prepare(self) -> None:
        version = self._db.execute("pragma user_version").fetchone()[0]
        if version not in (0, VERSION):
            raise LedgerError(f"the ledger {self._path} was written by another version; name another file")
        self._db.execute(_TABLE)
        self._db.execute("create index if not exists shares_keep_until on shares (keep_until)")
        self._db.execute(f"pragma user_version = {VERSION}")

    def _run(self, work: Callable[[], T]) -> T:
        """`work` in one transaction that holds the write lock from its beginning. Raises LedgerError."""
        try:
            self._db.execute("begin immediate")
            try:
                result = work()
                self._db.execute("commit")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("rollback")
                raise
        except (sqlite3.Error, OverflowError) as e:
            raise LedgerError(f"the ledger {self._path} does not answer: {e}") from None
        return result

    def update(
        self, holder: str, shares: Sequence[Share], expires: float, now: float
    ) -> tuple[Standing, ...] | Refused:
        """See `Store`."""

        def work() -> tuple[Standing, ...] | Refused:
            standings = []
            for index, share in enumerate(shares):
                rows = map(Row._make, self._db.execute(_ROWS, (share.account,)))
                found = decide(holder, share, rows, now)
                if isinstance(found, Refused):
                    return found._replace(place=index)
                standings.append(found)
            self._db.executemany(
                _WRITE,
                [
                    (share.account, holder, share.spent, standing.lease, expires, share.keep_until)
                    for share, standing in zip(shares, standings, strict=True)
                ],
            )
            return tuple(standings)

        return self._run(work)

    def purge(self, now: float) -> None:
        """See `Store`."""
        self._run(lambda: self._db.execute("delete from shares where keep_until <= ?", (now,)))

    def close(self) -> None:
        """See `Store`."""
        self._db.close()
