"""What one batch has learnt, on disk before anything else happens: a killed run re-sends only what is missing.

A finished attempt is written at once, which outlives the process; it is fsynced by a thread at most `SYNC_S` later, so
after a power cut the replies of that moment may be asked for again. What is reserved in the budget is written before
the request leaves, so that money spent on a reply that nobody lived to read stays spent.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
from datetime import date, datetime
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from gateway.durable import replace_durably
from tasks.targets.budget import Amount

SYNC_S = 0.05
"""Seconds between two fsyncs: one for each reply would hold every other request up."""
_TIMES = ("started_at", "ended_at")


class Spool:
    """JSON lines: finished attempts, and what was reserved for each request.

    Mode 0600, since replies may hold what should not be out.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.path = path
        found = _read(path)
        self.rows = found.rows
        """Finished attempts of an earlier, killed execution, by attempt id."""
        self.lost = found.lost
        """The upper bound of what earlier executions paid without having a finished attempt to show for it."""
        self._fd = os.open(self.path, os.O_WRONLY | os.O_CREAT, 0o600)
        os.ftruncate(self._fd, found.whole)  # a torn last line was never finished
        os.lseek(self._fd, found.whole, os.SEEK_SET)
        if self.lost != Amount():
            self._write({"lost": _units(self.lost)})
        self._dirty = threading.Event()
        self._closing = threading.Event()
        self._syncer = threading.Thread(target=self._sync, name="spool", daemon=True)
        self._syncer.start()

    def _sync(self) -> None:
        while not self._closing.wait(SYNC_S):
            if self._dirty.is_set():
                self._dirty.clear()
                os.fsync(self._fd)

    def reserve(self, attempt_id: str, amount: Amount) -> None:
        """Note the most that a request can cost which is about to be sent."""
        self._write({"for": attempt_id, "reserved": _units(amount)})

    def add(self, row: dict[str, Any]) -> None:
        """Note a finished attempt; it tells itself what it cost."""
        self._write(row)
        self._dirty.set()
        self.rows[row["attempt_id"]] = row

    def _write(self, entry: dict[str, Any]) -> None:
        line = orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)
        while line:
            line = line[os.write(self._fd, line) :]

    def close(self) -> None:
        self._closing.set()
        self._syncer.join()
        with contextlib.suppress(OSError):
            os.fsync(self._fd)
            os.close(self._fd)


def lost_in(path: Path) -> Amount:
    """As `Spool.lost`, of a file that nobody writes to."""
    return _read(path).lost


def drop_replies(path: Path) -> None:
    """Once a batch is committed: remove its file, or leave only what was spent without a row in the lake."""
    lost = lost_in(path)
    if lost == Amount():
        path.unlink(missing_ok=True)
        return
    replace_durably(path, orjson.dumps({"lost": _units(lost)}, option=orjson.OPT_APPEND_NEWLINE))


class _Found(NamedTuple):
    rows: dict[str, dict[str, Any]]
    lost: Amount
    whole: int
    """Bytes of the whole lines."""


def _read(path: Path) -> _Found:
    """A row settles what was reserved for its attempt since the file was last opened."""
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return _Found({}, Amount(), 0)
    rows: dict[str, dict[str, Any]] = {}
    open_ones: dict[str, Amount] = {}
    lost, whole = Amount(), 0
    for line in raw.splitlines(keepends=True):
        if not line.endswith(b"\n"):
            break
        try:
            entry = orjson.loads(line)
            if "lost" in entry:
                lost, open_ones = Amount(*entry["lost"]), {}
            elif "reserved" in entry:
                open_ones[entry["for"]] = open_ones.get(entry["for"], Amount()) + Amount(*entry["reserved"])
            else:
                rows[entry["attempt_id"]] = _with_times(entry)
                open_ones.pop(entry["attempt_id"], None)
        except (ValueError, KeyError, TypeError):
            break
        whole += len(line)
    return _Found(rows, sum(open_ones.values(), start=lost), whole)


def _units(amount: Amount) -> tuple[int, int, int]:
    return amount.requests, amount.tokens, amount.micro_usd


def local_key(folder: Path) -> bytes:
    """The installation's secret behind all canaries; made on first use, mode 0600, kept so that a resume finds it."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / "canary.key"
    fresh = folder / f".canary.{os.getpid()}.{secrets.token_hex(4)}"
    if not path.exists():
        fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(fd, secrets.token_bytes(32))
            os.fsync(fd)
        finally:
            os.close(fd)
        # Only one of several racing threads or processes wins; the others read the winner's.
        with contextlib.suppress(FileExistsError):
            os.link(fresh, path)
        fresh.unlink()
    return path.read_bytes()


def _with_times(row: dict[str, Any]) -> dict[str, Any]:
    for name in _TIMES:
        row[name] = datetime.fromisoformat(row[name])
    row["dt"] = date.fromisoformat(row["dt"])
    return row
